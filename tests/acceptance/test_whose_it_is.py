"""Whose each thing is, and when it is gone: row by row, told of people and of what they did.

Ann (1) and Bob (2) ask, Nora (7) answers. Nora was a customer before she joined the team: agent 7 was contact 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from services.embedded import Endpoints
from services.reading import Reveal
from services.wiring import House
from tests.desks import AT, Desk, desk_house

GONE = {"shredded": True}
LATER = AT + timedelta(days=1)

_numbers = count(1)


@pytest.fixture(scope="module")
def opened(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with desk_house(module_databases, tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture
def desk(opened: House) -> Desk:
    found = Desk(opened, f"whose {next(_numbers)}")
    found.happens("contact.created", "contact 7", id=7, name="Nora Beck", email="nora@home.example")
    found.happens("topic.posted", "topic 70", id=70, user_id=7, title="My lamp", message="I wrote this as a customer")
    found.happens("contact.made_agent", "contact 7", id=7, email="nora@desk.example", signature="Nora, desk")
    found.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.example")
    found.happens("contact.created", "contact 2", id=2, name="Bob Best", email="bob@home.example")
    found.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="lamp", description="it is dark")
    return found


def read(desk: Desk, what: str, **choice: Any) -> list[dict[str, Any]]:
    """List everything of one kind, revealed."""
    desk.house.projecting.catch_up()
    lists = getattr(desk.house.reading, what)
    return list(lists(desk.tenant.id, Reveal("tester", "test"), all=True, **choice))


def everything(desk: Desk) -> str:
    """Write down whatever any list says."""
    lists = ("contacts", "tickets", "calls", "chats", "forums", "articles", "companies", "groups")
    return repr([read(desk, what) for what in lists])


def replies(desk: Desk, ticket: int = 20) -> list[Any]:
    return [entry.get("body") for entry in desk.ticket(ticket)["conversation"] if entry["kind"] == "reply"]


def says(desk: Desk, number: int, user: int, body: str, ticket: int = 20, *, incoming: bool = True) -> None:
    said = {"id": number, "ticket_id": ticket, "user_id": user, "incoming": incoming, "body": body}
    assert desk.happens("ticket.replied", f"ticket {ticket}", **said).stored == 1


# -- a contact's profile --------------------------------------------------------------------------------------------


def test_a_profile_goes_with_its_contact(desk: Desk) -> None:
    desk.shred("contact 2")
    said = everything(desk)
    assert "Bob Best" not in said
    assert "bob@home.example" not in said
    assert "Ann Abbott" in said


def test_a_rectified_profile_says_what_is_right_and_never_again_what_was_wrong(desk: Desk) -> None:
    desk.happens("contact.rectified", "contact 2", LATER, id=2, name="Bob Better")
    [bob] = [row for row in desk.contacts() if row.get("email") == "bob@home.example"]
    assert bob["name"] == "Bob Better"
    assert "Bob Best" not in everything(desk)


# -- an agent -------------------------------------------------------------------------------------------------------


def test_agent_7_who_was_contact_7_goes_as_a_person_and_the_work_stays(desk: Desk) -> None:
    desk.happens("ticket.updated", "ticket 20", id=20, responder_id=7)
    says(desk, 3, 7, "Have you tried a new bulb?", incoming=False)
    desk.happens("topic.posted", "topic 71", id=71, user_id=7, title="How to change a bulb", message="turn it left")
    desk.happens("article.published", "article 9", id=9, agent_id=7, title="Bulbs", description="all about them")
    before = desk.reports()
    desk.shred("agent 7")
    said = everything(desk)
    for gone in ("Nora Beck", "nora@home.example", "nora@desk.example", "Nora, desk", "My lamp", "as a customer"):
        assert gone not in said
    assert replies(desk) == ["Have you tried a new bulb?"]
    for stays in ("How to change a bulb", "turn it left", "all about them"):
        assert stays in said
    assert desk.reports() == before


def test_an_agent_who_leaves_keeps_nobody_waiting_and_no_count_changes(desk: Desk) -> None:
    desk.happens("ticket.updated", "ticket 20", id=20, responder_id=7)
    before = desk.reports()
    desk.happens("agent.deleted", "agent 7", id=7)
    assert desk.ticket(20)["responder"] is None
    assert [row["agent"] for row in desk.contacts() if row.get("name") == "Nora Beck"] == [False]
    assert desk.reports() == before


# -- a ticket and what stands in it ---------------------------------------------------------------------------------


def test_one_reply_out_of_ten_goes_alone(desk: Desk) -> None:
    for number in range(10):
        says(desk, 100 + number, 1, f"reply {number}")
    desk.happens("ticket.entry_deleted", "ticket 20", ticket_id=20, id=104)
    assert replies(desk) == [f"reply {number}" if number != 4 else GONE for number in range(10)]
    assert desk.ticket(20)["entries"] == 10
    shown = list(desk.house.reading.tickets(desk.tenant.id, Reveal("tester", "test")))
    assert len(shown[0]["conversation"]) == 9


def test_an_edited_reply_says_the_new_text_in_its_old_place(desk: Desk) -> None:
    for number in range(3):
        says(desk, 100 + number, 1, f"reply {number}")
    desk.happens("ticket.entry_edited", "ticket 20", LATER, id=101, body="what I meant")
    assert replies(desk) == ["reply 0", "what I meant", "reply 2"]
    assert "reply 1" not in everything(desk)


def test_discussions_files_ratings_and_times_go_with_the_requester(desk: Desk) -> None:
    desk.happens("discussion.started", "ticket 20", id="28", created_by=7, title="about Ann")
    desk.happens(
        "discussion.message_posted", "ticket 20", id="29", thread_id="28", created_by=7, body="a good customer"
    )
    desk.happens("ticket.attachment_added", "ticket 20", id=4, ticket_id=20, name="ann-at-home.png")
    desk.happens("ticket.rated", "ticket 20", id=5, ticket_id=20, user_id=1, rating=103, feedback="thank you, Ann")
    desk.happens("ticket.time_logged", "ticket 20", id=6, ticket_id=20, agent_id=7, time_spent="00:10", note="for Ann")
    before = desk.reports()
    desk.shred("contact 1")
    said = everything(desk)
    for gone in ("about Ann", "a good one", "ann-at-home", "thank you", "for Ann"):
        assert gone not in said
    assert desk.reports() == before


def test_a_shredded_ticket_takes_its_discussions_and_attachments_and_leaves_its_people(desk: Desk) -> None:
    desk.happens("discussion.started", "ticket 20", id="28", created_by=7, title="about Ann")
    desk.happens("ticket.attachment_added", "ticket 20", id=4, ticket_id=20, name="ann-at-home.png")
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=1, subject="another lamp")
    certificate = desk.shred("ticket 20")
    assert certificate["counts"]["files"] == 1
    said = everything(desk)
    assert "about Ann" not in said
    assert "ann-at-home" not in said
    assert "another lamp" in said
    assert "Ann Abbott" in said
    assert [row["erased"] for row in desk.tickets()] == [True, False]
    assert len(list(desk.house.reading.tickets(desk.tenant.id))) == 1


def test_what_a_person_in_copy_wrote_goes_with_either_of_the_two(desk: Desk) -> None:
    desk.happens("ticket.updated", "ticket 20", id=20, cc_emails=["Bob <bob@home.example>"])
    says(desk, 3, 1, "it is Ann who writes")
    says(desk, 4, 2, "and Bob, in copy")
    desk.shred("contact 2")
    assert replies(desk) == ["it is Ann who writes", GONE]
    assert desk.ticket(20)["copied"] == []


def test_what_stood_in_a_ticket_before_it_moved_goes_with_either_and_the_rest_with_the_new_one(desk: Desk) -> None:
    says(desk, 3, 1, "before")
    desk.happens("ticket.updated", "ticket 20", LATER, id=20, requester_id=2)
    says(desk, 4, 2, "after")
    desk.shred("contact 1")
    assert [entry.get("body") for row in desk.tickets() for entry in row["conversation"]] == [GONE, "after"]
    assert not desk.tickets()[0]["erased"]


@pytest.mark.parametrize(("going", "left"), [("contact 1", "her own"), ("contact 2", "")])
def test_a_ticket_that_was_merged_into_anothers_goes_with_either(desk: Desk, going: str, left: str) -> None:
    says(desk, 3, 1, "in the merged one")
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=2, subject="Bob's lamp", description="her own")
    before = desk.reports()
    desk.happens("ticket.merged", "ticket 21", primary_id=21, ticket_ids=[20])
    assert desk.reports()["tickets"] == before["tickets"]
    assert [row.get("id") for row in desk.house.reading.tickets(desk.tenant.id, Reveal("tester", "test"))] == [21]
    desk.shred(going)
    said = everything(desk)
    assert "in the merged one" not in said
    assert (left in said) == bool(left) or going == "contact 2"
    assert desk.reports()["tickets"]["total"] == 2


# -- calls and chats ------------------------------------------------------------------------------------------------


def test_a_call_with_its_recording_and_transcript_goes_with_the_caller(desk: Desk) -> None:
    desk.happens("contact.updated", "contact 1", id=1, phone="+49 30 5550101")
    call = {"id": 5, "phone": "+49 30 5550101", "agent_id": 7, "direction": 1, "duration_seconds": 65, "notes": "dark"}
    desk.happens("call.logged", "call 5", ticket_id=20, **call)
    desk.happens("call.recording_added", "call 5", id=50, call_id=5, name="ann.mp3")
    desk.happens("call.transcript_added", "call 5", call_id=5, body="hello, it is Ann")
    [row] = read(desk, "calls")
    assert (row["direction"], row["duration_seconds"], row["notes"]) == ("incoming", 65, "dark")
    assert [entry["kind"] for entry in row["conversation"]] == ["recording", "transcript"]
    before = desk.reports()
    desk.shred("contact 1")
    [row] = read(desk, "calls")
    assert row["erased"]
    assert row["duration_seconds"] == 65
    assert "it is Ann" not in everything(desk)
    assert desk.reports() == before


def test_a_chat_goes_with_the_contact_and_a_purged_one_leaves_the_contact(desk: Desk) -> None:
    for number in (6, 8):
        desk.happens("chat.started", f"chat {number}", id=number, user_id=1, agent_id=7)
        message = {"chat_id": number, "id": f"m{number}", "user_id": 1, "actor_type": "user", "body": f"chat {number}"}
        desk.happens("chat.message_sent", f"chat {number}", **message)
        desk.happens("chat.ended", f"chat {number}", LATER, id=number)
    desk.happens("chat.purged", "chat 8", id=8)
    account = desk.house.tenants.named(desk.name)
    assert desk.house.purging.due(account) == []
    waiting = desk.house.purging.waiting(account)
    assert [found.kinds for found in waiting] == [("chat",)]
    assert "chat 8" in everything(desk)
    desk.house.purging.purge(account, waiting, actor="tester")
    assert "chat 8" not in everything(desk)
    assert "chat 6" in everything(desk)
    desk.shred("contact 1")
    assert "chat 6" not in everything(desk)


def test_an_upstream_that_is_trusted_purges_by_itself_and_the_trash_after_its_time(desk: Desk) -> None:
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=1, subject="in the trash")
    desk.happens("ticket.opened", "ticket 22", id=22, requester_id=1, subject="restored in time")
    for number in (21, 22):
        desk.happens("ticket.deleted", f"ticket {number}", id=number)
    desk.happens("ticket.restored", "ticket 22", LATER, id=22)
    desk.happens("ticket.purged", "ticket 20", LATER, id=20)
    desk.house.tenants.set_trash(desk.name, trusts_purges=True)
    account = desk.house.tenants.named(desk.name)
    before = desk.reports()
    assert len(desk.house.purging.purge(account, desk.house.purging.due(account), actor="purge")) == 2
    assert [row["erased"] for row in desk.tickets()] == [True, True, False]
    assert desk.reports() == before


# -- forums and articles --------------------------------------------------------------------------------------------


def test_an_erased_post_keeps_its_place_so_that_answers_keep_their_sense(desk: Desk) -> None:
    desk.happens("forum.posted", "forum 2", id=2, name="Lamps", forum_type=1)
    desk.happens("topic.posted", "topic 5", id=5, forum_id=2, user_id=1, title="dark", message="my lamp is dark")
    desk.happens("comment.posted", "comment 8", id=8, topic_id=5, user_id=2, body="buy a bulb")
    desk.happens("comment.posted", "comment 9", id=9, topic_id=5, user_id=1, body="which one?")
    desk.happens("comment.posted", "comment 10", id=10, topic_id=5, user_id=7, body="the yellow one")
    desk.shred("contact 1")
    rows = [row for row in read(desk, "forums") if row["kind"] in ("topic", "comment")]
    thread = [row for row in rows if row.get("title") not in ("My lamp",)]
    assert [row.get("body", row.get("message")) for row in thread] == [GONE, "buy a bulb", GONE, "the yellow one"]
    assert [row["erased"] for row in thread] == [True, False, True, False]
    topic = thread[0]["thing"]
    assert [row["parent"] for row in thread[1:]] == [topic] * 3


def test_articles_and_companies_are_the_desks_and_go_when_they_are_deleted(desk: Desk) -> None:
    desk.happens("company.created", "company 3", id=3, name="Lamps & Sons", domains=["lamps.example"])
    desk.happens("article.drafted", "article 9", id=9, agent_id=7, title="Bulbs", description="first draft")
    desk.happens("article.published", "article 9", LATER, id=9, description="the final text")
    said = everything(desk)
    assert "first draft" not in said
    assert "the final text" in said
    for person in ("contact 1", "contact 2", "agent 7"):
        desk.shred(person)
    said = everything(desk)
    assert "Lamps & Sons" in said
    assert "Bulbs" in said
    desk.happens("company.deleted", "company 3", id=3)
    desk.happens("article.deleted", "article 9", id=9)
    said = everything(desk)
    assert "Lamps & Sons" not in said
    assert "Bulbs" not in said
