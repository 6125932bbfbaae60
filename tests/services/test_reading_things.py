"""Calls, chats, forums, articles, companies and groups as they are listed: sealed, revealed, shredded, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from domain.errors import SettingsWrong
from domain.personal import Kind, Reference
from services.embedded import Endpoints
from services.reading import Reveal
from tests.desks import AT, Desk, desk_house

ME = Reveal("tester", "test")


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        desk = Desk(opened)
        desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org")
        desk.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org")
        desk.happens("agent.created", "agent 7", id=7, name="Eve Ellis", email="eve@desk.example")
        yield desk


@pytest.fixture
def forum(desk: Desk) -> Desk:
    desk.happens("category.posted", "category 1", id=1, name="All")
    desk.happens("forum.posted", "forum 2", id=2, forum_category_id=1, name="Bikes", forum_visibility=1)
    desk.happens("topic.posted", "topic 3", id=3, forum_id=2, user_id=1, title="My bike", message="it broke", hits=9)
    desk.happens("comment.posted", "comment 4", id=4, topic_id=3, user_id=2, body="mine too")
    desk.happens("comment.posted", "comment 5", id=5, topic_id=3, user_id=7, body="send it in", answer=True)
    desk.happens("comment.posted", "comment 6", id=6, topic_id=3, user_id=1, body="thank you")
    desk.happens("topic.attachment_added", "topic 3", id=30, name="bike.jpg", content_type="image/jpeg", size=9)
    return desk


def listed(desk: Desk, what: str, *, reveal: bool = True, **choice: Any) -> list[dict[str, Any]]:
    desk.house.projecting.catch_up()
    return list(getattr(desk.house.reading, what)(desk.tenant.id, ME if reveal else None, **choice))


def inside(desk: Desk, kind: Kind, id_: int) -> Any:
    return desk.house.shredding.find(desk.tenant.id, Reference(kind, str(id_)))


def access_lines(desk: Desk) -> list[dict[str, Any]]:
    with desk.house.facts.cursor() as cursor:
        return cursor.execute("SELECT what, ids FROM access_lines ORDER BY at, what").fetchall()


def test_a_topic_is_listed_with_its_comments_in_order(forum: Desk) -> None:
    rows = listed(forum, "forums", topic=inside(forum, Kind.TOPIC, 3).id)
    assert [row["kind"] for row in rows] == ["topic", "comment", "comment", "comment"]
    topic, first, answer, _ = rows
    assert (topic["title"], topic["message"], topic["hits"], topic["by"]) == ("My bike", "it broke", 9, "contact")
    assert (topic["locked"], topic["votes"], topic["words"]) == (None, 0, {})
    assert [(file["name"], file["size"]) for file in topic["attachments"]] == [("bike.jpg", 9)]
    assert (first["body"], first["parent"]) == ("mine too", topic["thing"])
    assert (answer["by"], answer["answer"], answer["attachments"]) == ("agent", True, [])


def test_whatever_is_listed_is_sealed_without_a_reason_and_leaves_an_access_line_with_one(forum: Desk) -> None:
    forum.happens("company.created", "company 50", id=50, name="Abbott Ltd", domains=["abbott.example"])
    forum.happens("group.created", "group 60", id=60, name="Support", agent_ids=[7])
    forum.happens("article.drafted", "article 70", id=70, agent_id=7, title="How to", description="like so")
    forum.happens("call.logged", "call 80", id=80, user_id=1, notes="it broke")
    forum.happens("chat.started", "chat 90", id=90, user_id=1, subject="hello")
    before = len(access_lines(forum))
    for what in ("forums", "companies", "groups", "articles", "calls", "chats"):
        rows = listed(forum, what, reveal=False, all=True)
        assert rows
        assert any({"sealed": True} in row.values() for row in rows)
        said = orjson.dumps(rows).decode()
        assert not [text for text in ("bike", "Abbott", "Support", "How", "broke", "hello") if text in said]
        assert len(access_lines(forum)) == before
    for what in ("forums", "companies", "groups", "articles", "calls", "chats"):
        rows = listed(forum, what, all=True)
        line = access_lines(forum)[-1]
        assert line["what"] == what
        ids = {row.get("thing") or row.get("call") or row.get("chat") for row in rows}
        assert ids == {str(id_) for id_ in line["ids"]}
    with pytest.raises(SettingsWrong, match="reason"):
        next(forum.house.reading.forums(forum.tenant.id, Reveal("me", " ")))


def test_what_a_shredded_person_wrote_keeps_its_place(forum: Desk) -> None:
    certificate = forum.shred("contact 1")
    assert certificate["residue"]["found"] == 0
    rows = listed(forum, "forums", kind=None, parent=None)
    topic, first, answer, last = [row for row in rows if row["kind"] in ("topic", "comment")]
    assert (topic["erased"], topic["author"], topic["title"]) == (True, None, {"shredded": True})
    assert topic["attachments"][0]["name"] == {"shredded": True}
    assert (first["erased"], first["body"]) == (False, "mine too")
    assert answer["body"] == "send it in"
    assert (last["erased"], last["author"], last["body"]) == (True, None, {"shredded": True})


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE forums.seals SET seal = 1, owners = ARRAY[%(who)s::uuid] WHERE seal IS NULL",
        "UPDATE forums.attachments SET seal = 1, owners = ARRAY[%(who)s::uuid] WHERE seal IS NULL",
        "UPDATE forums.things SET author = %(who)s, erased = false WHERE erased",
        "UPDATE contacts.consents SET seal = 1, owners = ARRAY[%(who)s::uuid] WHERE seal IS NULL",
    ],
)
def test_residue_in_a_read_model_is_found(forum: Desk, damage: str) -> None:
    forum.happens("contact.consent_given", "contact 1", id=1, purpose="newsletter", evidence="ticked the box")
    person = inside(forum, Kind.PERSON, 1).id
    forum.shred("contact 1")
    assert sum(forum.house.residue.of_all(forum.tenant.id).values()) == 0
    with forum.house.as_login.cursor() as cursor:
        cursor.execute(damage.encode(), {"who": person})
        assert cursor.rowcount > 0
    model = damage.split()[1].partition(".")[0]
    assert forum.house.residue.of_all(forum.tenant.id)[f"read model {model}"] > 0


def test_what_a_shredded_agent_wrote_stays(forum: Desk) -> None:
    forum.happens("article.published", "article 70", id=70, agent_id=7, title="How to", description="like so")
    forum.shred("agent 7")
    assert listed(forum, "articles")[0]["title"] == "How to"
    [answer] = [row for row in listed(forum, "forums") if row.get("by") == "agent"]
    assert (answer["body"], answer["erased"]) == ("send it in", False)


def test_an_edited_comment_reads_anew_and_a_deleted_topic_is_hidden_with_its_comments(forum: Desk) -> None:
    forum.happens("comment.edited", "comment 4", id=4, body="mine as well")
    forum.happens("comment.voted", "comment 4", id=4, user_id=1, vote=1)
    [comment] = [row for row in listed(forum, "forums") if row.get("body") == "mine as well"]
    assert comment["votes"] == 1
    forum.happens("topic.deleted", "topic 3", id=3)
    assert [row["kind"] for row in listed(forum, "forums")] == ["category", "forum"]
    gone = [row for row in listed(forum, "forums", all=True) if row["deleted"]]
    assert len(gone) == 4
    assert {orjson.dumps(row.get("body", row.get("title"))) for row in gone} == {b'{"shredded":true}'}
    assert sum(forum.house.residue.of_all(forum.tenant.id).values()) == 0


def test_posts_of_one_author_are_found(forum: Desk) -> None:
    person = inside(forum, Kind.PERSON, 1)
    rows = listed(forum, "forums", authors=person.group)
    assert [row["kind"] for row in rows] == ["topic", "comment"]


def test_articles_are_listed_by_folder_and_status(desk: Desk) -> None:
    desk.happens("article_category.posted", "article_category 1", id=1, name="Help")
    desk.happens("article_folder.posted", "article_folder 2", id=2, category_id=1, name="Bikes", visibility=2)
    desk.happens("article.drafted", "article 3", id=3, folder_id=2, agent_id=7, title="Brakes", description="so")
    desk.happens("article.drafted", "article 4", id=4, folder_id=2, agent_id=7, title="Bells", description="so")
    desk.happens("article.published", "article 3", id=3)
    desk.happens("article.attachment_added", "article 3", id=9, name="brakes.pdf")
    folder = inside(desk, Kind.ARTICLE_FOLDER, 2).id
    assert [row["title"] for row in listed(desk, "articles", folder=folder)] == ["Brakes", "Bells"]
    [published] = listed(desk, "articles", status="published")
    assert (published["title"], published["description"]) == ("Brakes", "so")
    assert [file["name"] for file in published["attachments"]] == ["brakes.pdf"]
    assert [row["visibility"] for row in listed(desk, "articles", kind="article_folder")] == ["logged_in"]


def test_a_company_is_forgotten_when_it_is_deleted(desk: Desk) -> None:
    desk.happens("company.created", "company 50", id=50, name="Abbott Ltd", domains=["abbott.example"])
    desk.happens("company.updated", "company 50", id=50, note="pays late", renewal_date="2027-01-01T00:00:00Z")
    [row] = listed(desk, "companies")
    assert (row["name"], row["note"]) == ("Abbott Ltd", "pays late")
    assert row["renewal_date"] == "2027-01-01T00:00:00+00:00"
    desk.happens("company.deleted", "company 50", id=50)
    assert listed(desk, "companies") == []
    assert listed(desk, "companies", all=True)[0]["name"] == {"shredded": True}


def test_groups_show_their_members(desk: Desk) -> None:
    desk.happens("group.created", "group 60", id=60, name="Support", agent_ids=[7])
    [row] = listed(desk, "groups")
    assert (row["name"], row["members"]) == ("Support", [str(inside(desk, Kind.PERSON, 7).id)])


def test_calls_and_chats_are_lists_of_their_own(desk: Desk) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help")
    desk.happens(
        "call.logged",
        "call 80",
        id=80,
        user_id=1,
        agent_id=7,
        ticket_id=20,
        direction=1,
        duration_seconds=61,
        notes="so",
    )
    desk.happens("call.transcript_added", "call 80", call_id=80, body="what was said")
    desk.happens("chat.started", "chat 90", id=90, user_id=2, channel=7, subject="hello")
    desk.happens("chat.message_sent", "chat 90", id=91, chat_id=90, user_id=2, actor_type="User", body="hi")
    desk.happens("chat.ended", "chat 90", id=90)
    [ticket], [call], [chat] = (listed(desk, what) for what in ("tickets", "calls", "chats"))
    assert (ticket["kind"], ticket["subject"], ticket["status"]) == ("ticket", "help", "open")
    assert (call["kind"], call["notes"], call["direction"], call["duration_seconds"]) == ("call", "so", "incoming", 61)
    assert call["parent"] == ticket["ticket"]
    assert "status" not in call
    assert [(entry["kind"], entry["body"]) for entry in call["conversation"]] == [("transcript", "what was said")]
    assert (chat["kind"], chat["channel"], chat["ended_at"]) == ("chat", "chat", AT.isoformat())
    assert [(entry["kind"], entry["body"]) for entry in chat["conversation"]] == [("chat_message", "hi")]
    assert listed(desk, "calls", requester=inside(desk, Kind.PERSON, 2).id) == []
    desk.shred("contact 1")
    assert listed(desk, "calls") == []
    assert listed(desk, "calls", all=True)[0]["notes"] == {"shredded": True}


def test_an_entry_that_was_deleted_shows_with_all_only(desk: Desk) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help")
    desk.happens("ticket.replied", "ticket 20", id=21, body="one")
    desk.happens("ticket.replied", "ticket 20", id=22, body="two")
    desk.happens("ticket.entry_deleted", "ticket 20", id=21)
    [ticket] = listed(desk, "tickets")
    assert [entry["body"] for entry in ticket["conversation"]] == ["two"]
    assert ticket["entries"] == 2
    [ticket] = listed(desk, "tickets", all=True)
    assert [(entry["deleted"], entry["body"]) for entry in ticket["conversation"]] == [
        (True, {"shredded": True}),
        (False, "two"),
    ]


def test_contacts_show_what_they_consented_to(desk: Desk) -> None:
    desk.happens("contact.consent_given", "contact 1", id=1, purpose="newsletter", evidence="ticked the box")
    desk.happens("contact.consent_withdrawn", "contact 1", id=1, purpose="newsletter", evidence="a call")
    [ann] = [row for row in listed(desk, "contacts") if row["name"] == "Ann Abbott"]
    assert (ann["blocked"], ann["former_agent"], ann["avatar"]) == (False, False, None)
    # The tenant has no word for this purpose, so nobody can say that what was taken back is what was given.
    given, withdrawn = ann["consents"]
    assert (given["purpose"], given["purpose_as_given"], given["evidence"]) == ("other", "newsletter", "ticked the box")
    assert (given["given_at"], given["withdrawn_at"]) == (AT.isoformat(), None)
    assert (withdrawn["given_at"], withdrawn["withdrawn_at"]) == (None, AT.isoformat())
    desk.shred("contact 1")
    [ann] = [row for row in listed(desk, "contacts", all=True) if row["erased"]]
    assert [consent["evidence"] for consent in ann["consents"]] == [{"shredded": True}] * 2


def test_a_consent_shows_what_came_with_its_withdrawal(desk: Desk) -> None:
    declared = orjson.loads(
        desk.event("vocabulary.declared", "", AT, "declared", vocabulary="purpose", words=["newsletter"])
    )
    del declared["subject"]
    assert desk.take(orjson.dumps(declared)).stored == 1
    desk.happens("contact.consent_given", "contact 1", id=1, purpose="newsletter", evidence="ticked the box")
    desk.happens("contact.consent_withdrawn", "contact 1", id=1, purpose="newsletter", evidence="a call")
    [ann] = [row for row in listed(desk, "contacts") if row["name"] == "Ann Abbott"]
    [consent] = ann["consents"]
    assert (consent["purpose"], consent["evidence"]) == ("newsletter", "ticked the box")
    assert consent["withdrawn_at"] == AT.isoformat()
    assert consent["withdrawal"]["evidence"] == "a call"
