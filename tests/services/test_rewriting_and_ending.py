"""What upstream edits or deletes can never be read again, by anybody with every living key; the rest stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from domain.personal import Kind, Reference
from services import keeping
from services.embedded import Endpoints
from services.intake import Intake
from services.living import opened
from services.records import parcel_of
from services.shredding import Order
from services.wiring import House
from tests.desks import AT, Desk, desk_house

LATER = AT + timedelta(days=1)


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened_house:
        yield opened_house


@pytest.fixture
def desk(house: House) -> Desk:
    desk = Desk(house)
    desk.happens("agent.created", "agent 7", id=7, name="Nora Quill", email="nora@desk.example")
    desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.example")
    desk.happens("contact.created", "contact 2", id=2, name="Bob Best", email="bob@home.example")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="lamp")
    return desk


def readable(desk: Desk) -> str:
    """Open every seal on the log that still opens, and write all of it down."""
    facts = desk.house.facts.page(0, 10_000)
    return repr([personal for _, personal in opened(desk.house.keys, desk.house.roots, facts)])


def entry(desk: Desk, number: int) -> dict[str, object]:
    """Find one fact of a part by its number upstream, newest first, as its seal says it."""
    facts = desk.house.facts.page(0, 10_000)
    found = [
        p for f, p in opened(desk.house.keys, desk.house.roots, facts) if p.get("id") == number and "part" in f.clear
    ]
    return found[-1]


def reply(desk: Desk, number: int = 3, body: str = "call me at the harbour", **data: object) -> None:
    desk.happens("ticket.replied", "ticket 20", id=number, ticket_id=20, user_id=1, incoming=True, body=body, **data)


# -- edited ---------------------------------------------------------------------------------------------------------


def test_the_old_text_of_an_edited_reply_is_gone_and_what_was_not_given_stays(desk: Desk) -> None:
    reply(desk, support_email="help@desk.example", to_emails=["help@desk.example"])
    assert "harbour" in readable(desk)
    tally = desk.happens("ticket.entry_edited", "ticket 20", LATER, id=3, body="call me at the office")
    assert tally.stored == 1
    assert "harbour" not in readable(desk)
    assert entry(desk, 3) | {"body": ["call me at the office"], "support_email": "help@desk.example"} == entry(desk, 3)


def test_a_reply_that_is_edited_twice_says_the_last_only(desk: Desk) -> None:
    reply(desk)
    desk.happens("ticket.entry_edited", "ticket 20", id=3, body="first correction")
    desk.happens("ticket.entry_edited", "ticket 20", id=3, body="second correction")
    assert "harbour" not in readable(desk)
    assert "first" not in readable(desk)
    assert "second correction" in readable(desk)


def test_a_reply_may_be_edited_in_the_batch_that_brings_it(desk: Desk) -> None:
    raws = [
        desk.event(
            "ticket.replied",
            "ticket 20",
            AT,
            "a",
            id=3,
            ticket_id=20,
            user_id=1,
            body="harbour",
            support_email="s@d.example",
        ),
        desk.event("ticket.entry_edited", "ticket 20", AT, "b", id=3, body="office"),
        desk.event("ticket.entry_edited", "ticket 20", AT, "c", id=3, body="garden"),
    ]
    assert desk.take(*raws).stored == 3
    assert "harbour" not in readable(desk)
    assert "office" not in readable(desk)
    assert entry(desk, 3)["support_email"] == "s@d.example"


def test_an_edit_that_comes_before_its_reply_waits_for_it(desk: Desk) -> None:
    assert desk.happens("ticket.entry_edited", "ticket 20", id=3, body="office").quarantined == 1
    reply(desk)
    assert "harbour" not in readable(desk)
    assert "office" in readable(desk)


def test_what_a_colleague_wrote_goes_with_him_after_an_edit_as_before(desk: Desk) -> None:
    desk.happens("ticket.replied", "ticket 20", id=4, ticket_id=20, user_id=2, incoming=True, body="I am his brother")
    desk.happens("ticket.entry_edited", "ticket 20", id=4, body="I am his cousin")
    assert "cousin" in readable(desk)
    desk.shred("contact 2")
    assert "cousin" not in readable(desk)
    assert "lamp" in readable(desk)


def test_a_message_of_a_discussion_is_found_by_its_thread_and_edited_by_its_number(desk: Desk) -> None:
    desk.happens("discussion.started", "ticket 20", id="28", parent={"id": 20, "type": "ticket"}, title="who is he?")
    raw = desk.event(
        "discussion.message_posted", "ticket 20", AT, "m", id="51", thread_id="28", created_by=7, body="a crook"
    )
    assert desk.take(raw.replace(b'"subject":"ticket 20",', b"")).stored == 1
    desk.happens("discussion.message_edited", "ticket 20", id="51", body="a customer")
    assert "crook" not in readable(desk)
    desk.happens("discussion.message_deleted", "ticket 20", id="51")
    assert "a customer" not in readable(desk)
    assert "who is he?" in readable(desk)


def test_a_rectified_profile_keeps_everything_but_what_was_wrong(desk: Desk) -> None:
    desk.happens("contact.updated", "contact 1", id=1, job_title="harbour master", email="ann@wrong.example")
    desk.happens("contact.rectified", "contact 1", LATER, id=1, email="ann@right.example")
    said = readable(desk)
    assert "wrong.example" not in said
    assert "ann@home.example" not in said
    for kept in ("Ann Abbott", "harbour master", "ann@right.example", "Bob Best"):
        assert kept in said


def test_a_consent_outlives_a_rectification(desk: Desk) -> None:
    desk.happens("contact.consent_given", "contact 1", id=1, purpose="newsletter of the harbour", wording="v3")
    desk.happens("contact.rectified", "contact 1", LATER, id=1, name="Anne Abbott")
    assert "newsletter of the harbour" in readable(desk)
    assert "Ann Abbott" not in readable(desk)


def test_an_edited_topic_keeps_its_title(desk: Desk) -> None:
    desk.happens("topic.posted", "topic 5", id=5, user_id=1, forum_id=2, title="Lamps", message="I live at the harbour")
    desk.happens("topic.edited", "topic 5", LATER, id=5, message="I like lamps")
    assert "harbour" not in readable(desk)
    assert "Lamps" in readable(desk)
    assert "I like lamps" in readable(desk)


# -- ended ----------------------------------------------------------------------------------------------------------


def test_a_deleted_reply_takes_its_attachments_along_and_leaves_the_other_nine(desk: Desk) -> None:
    for number in range(100, 110):
        reply(desk, number, body=f"reply {number}")
    desk.happens("ticket.attachment_added", "ticket 20", id=900, ticket_id=20, conversation_id=103, name="passport.png")
    desk.happens("ticket.attachment_added", "ticket 20", id=901, ticket_id=20, conversation_id=104, name="lamp.png")
    assert "passport.png" in readable(desk)
    desk.happens("ticket.entry_deleted", "ticket 20", LATER, ticket_id=20, id=103)
    said = readable(desk)
    assert "reply 103" not in said
    assert "passport.png" not in said
    assert all(f"reply {number}" in said for number in range(100, 110) if number != 103)
    assert "lamp.png" in said


def test_what_ended_does_not_come_back(desk: Desk) -> None:
    reply(desk)
    desk.happens("ticket.entry_deleted", "ticket 20", ticket_id=20, id=3)
    again = desk.event("ticket.replied", "ticket 20", AT, "other", id=3, ticket_id=20, user_id=1, body="harbour again")
    edit = desk.event("ticket.entry_edited", "ticket 20", AT, "edit", id=3, body="harbour again")
    file = desk.event("ticket.attachment_added", "ticket 20", AT, "file", id=9, ticket_id=20, conversation_id=3)
    assert desk.take(again).refused == 1
    assert desk.take(edit).refused == 1
    assert desk.take(file).refused == 1
    assert "harbour" not in readable(desk)


def test_within_one_batch_nothing_follows_an_end(desk: Desk) -> None:
    reply(desk)
    raws = [
        desk.event("ticket.entry_deleted", "ticket 20", AT, "a", ticket_id=20, id=3),
        desk.event("ticket.entry_edited", "ticket 20", AT, "b", id=3, body="harbour again"),
    ]
    tally = desk.take(*raws)
    assert (tally.stored, tally.refused) == (1, 1)
    assert "harbour" not in readable(desk)


def test_a_deleted_topic_takes_its_comments_along(desk: Desk) -> None:
    desk.happens("topic.posted", "topic 5", id=5, user_id=1, title="Lamps", message="at the harbour")
    desk.happens("comment.posted", "comment 8", id=8, topic_id=5, user_id=2, body="in the garden")
    desk.happens("topic.deleted", "topic 5", id=5)
    assert "harbour" not in readable(desk)
    assert "garden" not in readable(desk)
    assert desk.happens("comment.edited", "comment 8", id=8, body="again").refused == 1
    assert desk.happens("topic.edited", "topic 5", id=5, message="again").refused == 1


def test_a_comment_that_comes_before_its_topic_hangs_in_it_all_the_same(desk: Desk) -> None:
    assert desk.happens("comment.posted", "comment 8", id=8, topic_id=5, user_id=2, body="in the garden").stored == 1
    desk.happens("topic.posted", "topic 5", id=5, user_id=1, title="Lamps", message="at the harbour")
    desk.happens("topic.deleted", "topic 5", id=5)
    assert "garden" not in readable(desk)


def test_a_deleted_company_is_forgotten_and_its_people_stay(desk: Desk) -> None:
    desk.happens("company.created", "company 9", id=9, name="Harbour Ltd", domains=["harbour.example"])
    assert "Harbour Ltd" in readable(desk)
    desk.happens("company.deleted", "company 9", id=9)
    assert "Harbour Ltd" not in readable(desk)
    assert "Ann Abbott" in readable(desk)


@pytest.mark.parametrize("number", [1, 2])
def test_what_a_crash_left_is_ended_before_anything_else_happens(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    reply(desk)
    desk.happens("topic.posted", "topic 5", id=5, user_id=1, title="Lamps", message="at the harbour")
    with monkeypatch.context() as patch:
        patch.setattr(Intake, "_keep", lambda *_: None)
        patch.setattr(keeping, "advance", lambda *_: None)
        desk.happens("ticket.entry_edited", "ticket 20", id=3, body="office")
        desk.happens("topic.deleted", "topic 5", id=5)
    for _ in range(number):
        keeping.catch_up(desk.house.keys, desk.house.roots, desk.house.facts)
    assert "harbour" not in readable(desk)
    assert "office" in readable(desk)
    assert desk.happens("topic.edited", "topic 5", id=5, message="again").refused == 1


def test_settling_a_stream_once_more_changes_nothing(desk: Desk) -> None:
    reply(desk)
    desk.happens("ticket.entry_edited", "ticket 20", id=3, body="office")
    desk.happens("ticket.entry_edited", "ticket 20", id=3, body="garden")
    before = _leaves(desk)
    thing = next(fact.stream for fact in desk.house.facts.page(0, 1000) if "opened" in fact.type)
    with desk.house.keys.transaction() as cursor:
        keeping.settle(keeping.Tree(cursor, desk.house.roots), desk.house.facts, desk.tenant.id, thing)
    assert _leaves(desk) == before


def _leaves(desk: Desk) -> str:
    with desk.house.keys.transaction() as cursor:
        return repr(cursor.execute("SELECT * FROM leaves ORDER BY thing_id, key_id").fetchall())


def test_an_ended_text_reads_as_shredded_and_never_as_lost(desk: Desk) -> None:
    reply(desk)
    desk.happens("ticket.entry_edited", "ticket 20", id=3, body="office")
    desk.happens("ticket.entry_deleted", "ticket 20", ticket_id=20, id=3)
    assert sum(desk.house.residue.of_all(desk.tenant.id).values()) == 0
    desk.shred("contact 1")
    assert sum(desk.house.residue.of_all(desk.tenant.id).values()) == 0


# -- whose it is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("going", ["contact 1", "contact 2"])
def test_a_ticket_that_was_merged_into_anothers_goes_with_either(desk: Desk, going: str) -> None:
    reply(desk)
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=2, subject="the other lamp")
    assert desk.happens("ticket.merged", "ticket 21", primary_id=21, ticket_ids=[20]).stored == 1
    assert "harbour" in readable(desk)
    desk.shred(going)
    assert "harbour" not in readable(desk)
    assert ("the other lamp" in readable(desk)) == (going == "contact 1")
    assert sum(desk.house.residue.of_all(desk.tenant.id).values()) == 0


def test_a_merge_waits_for_a_ticket_that_is_not_known_yet(desk: Desk) -> None:
    assert desk.happens("ticket.merged", "ticket 20", primary_id=20, ticket_ids=[21]).quarantined == 1
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=2, subject="the other lamp")
    types = [fact.type for fact in desk.house.facts.page(0, 1000)]
    assert types[-2:] == ["sealdesk.ticket.merged.v1", "sealdesk.ticket.merged_away.v1"]


def test_the_work_of_an_agent_stays_and_what_the_same_person_wrote_as_a_contact_goes(desk: Desk) -> None:
    desk.happens("topic.posted", "topic 5", id=5, user_id=2, title="Bob as a customer", message="mine")
    desk.happens("contact.made_agent", "contact 2", id=2, signature="yours, Bob")
    desk.happens("topic.posted", "topic 6", id=6, user_id=2, title="How to lamp", message="official answer")
    desk.happens(
        "article.published", "article 9", id=9, agent_id=2, title="All about lamps", description="official text"
    )
    desk.shred("agent 2")
    said = readable(desk)
    for gone in ("Bob as a customer", "yours, Bob", "bob@home.example", "Bob Best"):
        assert gone not in said
    for stays in ("How to lamp", "official answer", "All about lamps"):
        assert stays in said


def test_an_agent_who_left_writes_as_a_contact(desk: Desk) -> None:
    desk.happens("agent.deleted", "agent 7", id=7)
    desk.happens("topic.posted", "topic 5", id=5, user_id=7, title="I was here", message="mine")
    desk.shred("contact 7")
    assert "I was here" not in readable(desk)


def test_the_comments_of_others_stay_when_the_author_of_a_topic_is_forgotten(desk: Desk) -> None:
    desk.happens("topic.posted", "topic 5", id=5, user_id=1, title="Lamps", message="at the harbour")
    desk.happens("comment.posted", "comment 8", id=8, topic_id=5, user_id=2, body="in the garden")
    desk.happens("topic.voted", "topic 5", id=5, user_id=2, vote=1)
    desk.shred("contact 1")
    assert "harbour" not in readable(desk)
    assert "in the garden" in readable(desk)
    late = desk.happens("comment.posted", "comment 9", LATER, id=9, topic_id=5, user_id=2, body="still here")
    assert late.stored == 1


def test_a_call_and_a_chat_are_the_contacts_and_those_of_nobody_the_desks(desk: Desk) -> None:
    desk.happens("call.logged", "call 5", id=5, phone="+49 30 5550101", agent_id=7, notes="about a lamp", ticket_id=20)
    desk.happens("call.transcript_added", "call 5", call_id=5, body="I live at the harbour")
    desk.happens("call.logged", "call 6", id=6, agent_id=7, notes="withheld number")
    desk.happens("chat.started", "chat 6", id=6, user_id=1, agent_id=7)
    desk.happens("chat.message_sent", "chat 6", chat_id=6, id="m1", actor_type="user", user_id=1, body="chat of Ann")
    found = desk.house.shredding.find(desk.tenant.id, Reference(Kind.PHONE, "+49305550101"))
    assert found.kinds == ("call",)
    desk.shred("contact 1")
    assert "chat of Ann" not in readable(desk)
    assert "harbour" in readable(desk)
    desk.house.shredding.request(found, _order(desk))
    assert "harbour" not in readable(desk)
    assert "withheld number" in readable(desk)


def _order(desk: Desk) -> Order:
    return Order(desk.tenant.id, "test", "tester")


# -- words ----------------------------------------------------------------------------------------------------------


def test_a_declared_custom_field_stands_in_the_clear_from_then_on(desk: Desk) -> None:
    tier = {"cf_tier": "gold", "cf_note": "prefers evenings"}
    desk.happens("ticket.updated", "ticket 20", id=20, custom_fields=tier)
    raw = desk.event("vocabulary.declared", "", AT, "v", vocabulary="cf_tier", words=["gold", "silver"])
    update = desk.event("ticket.updated", "ticket 20", AT, "u", id=20, custom_fields=tier)
    assert desk.take(raw.replace(b'"subject":"",', b""), update).stored == 2
    desk.happens("ticket.updated", "ticket 20", id=20, custom_fields=tier | {"cf_tier": "for Ann only"})
    words = [fact.clear.get("words") for fact in desk.house.facts.page(0, 1000) if "ticket.updated" in fact.type]
    assert words == [None, {"cf_tier": "gold"}, {"cf_tier": "other"}]
    assert "for Ann only" in readable(desk)


@pytest.mark.parametrize("word", ["ann@home.example", "+49 30 555 01 01", "x" * 61, " ", ""])
def test_a_vocabulary_is_no_place_for_an_address_or_a_number(desk: Desk, word: str) -> None:
    raw = desk.event("vocabulary.declared", "", AT, "v", vocabulary="type", words=["Question", word])
    parcel = parcel_of(raw.replace(b'"subject":"",', b""))
    assert parcel.error is not None
    assert (parcel.error.code, parcel.error.path) == ("wrong_field", "data.words")


def test_the_number_of_a_group_is_a_word_once_the_group_is_known(desk: Desk) -> None:
    desk.happens("ticket.updated", "ticket 20", id=20, group_id=4)
    desk.happens("group.created", "group 4", id=4, name="Harbour team", agent_ids=[7])
    desk.happens("ticket.updated", "ticket 20", id=20, group_id=4)
    groups = [fact.clear["group"] for fact in desk.house.facts.page(0, 1000) if "ticket.updated" in fact.type]
    assert groups == ["other", "4"]
