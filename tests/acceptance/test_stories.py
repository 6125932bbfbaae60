"""Stories of people and their tickets: what is left of whom, and what comes too late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from domain.errors import ReferenceUnknown
from domain.personal import Kind, Reference
from services.embedded import Endpoints
from services.intake import Tally
from services.log import STATEMENTS
from services.records import parcel_of
from services.wiring import House
from tests.desks import AT, Desk, desk_house

GONE = {"shredded": True}

_numbers = count(1)


@pytest.fixture(scope="module")
def opened(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with desk_house(module_databases, tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture
def desk(opened: House) -> Desk:
    """A helpdesk of its own for each story, with Ann and Bob who ask, and Nora who answers."""
    found = Desk(opened, f"desk {next(_numbers)}")
    found.happens("agent.created", "agent 7", id=7, name="Nora Beck", email="nora@desk.org", signature="Nora, desk")
    found.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.org", phone="+493055501")
    found.happens("contact.created", "contact 2", id=2, name="Bob Brown", email="bob@work.org")
    return found


def anns_ticket(desk: Desk, number: int = 20, **more: Any) -> None:
    desk.happens(
        "ticket.opened",
        f"ticket {number}",
        id=number,
        requester_id=1,
        subject="The bell is broken",
        description_text="It fell down. Ann",
        status="open",
        **more,
    )


def bobs_ticket(desk: Desk, number: int = 30, **more: Any) -> None:
    desk.happens(
        "ticket.opened", f"ticket {number}", id=number, requester_id=2, subject="Invoice", status="pending", **more
    )


def answer(desk: Desk, number: int, **more: Any) -> None:
    desk.happens(
        "ticket.replied",
        f"ticket {number}",
        AT + timedelta(hours=2),
        ticket_id=number,
        **{"user_id": 7, "incoming": False, "body_text": "Dear Ann, we look into it.", **more},
    )


def erased(desk: Desk) -> dict[str, Any]:
    """Find the one ticket whose requester was shredded."""
    [row] = [row for row in desk.tickets() if row["erased"]]
    return row


def facts_and_quarantine(desk: Desk) -> tuple[int, int]:
    """Count what is kept anywhere."""
    with desk.house.facts.cursor() as cursor:
        [counts] = cursor.execute(STATEMENTS.counts.sql).fetchall()
    return counts["facts"], counts["quarantined"]


def test_when_a_requester_is_shredded_her_ticket_stays_as_a_number_without_a_word(desk: Desk) -> None:
    anns_ticket(desk)
    answer(desk, 20)
    desk.happens("ticket.rated", "ticket 20", AT + timedelta(days=1), ticket_id=20, user_id=1, rating=103)
    before = desk.reports()

    desk.shred("contact 1")

    ticket = erased(desk)
    assert (ticket["status"], ticket["rating"], ticket["entries"]) == ("open", 103, 2)
    assert ticket["subject"] == ticket["description_text"] == ticket["id"] == GONE
    assert ticket["requester"] is None
    [reply] = [entry for entry in ticket["conversation"] if entry["kind"] == "reply"]
    assert reply["body_text"] == GONE
    assert desk.reports() == before
    assert not [row for row in desk.contacts() if row.get("name") == "Ann Abbott"]


def test_when_an_agent_is_shredded_the_work_stays_and_only_the_name_goes(desk: Desk) -> None:
    anns_ticket(desk, responder_id=7)
    answer(desk, 20)
    before = desk.reports()

    desk.shred("agent 7")

    ticket = desk.ticket(20)
    assert ticket["subject"] == "The bell is broken"
    assert [entry["body_text"] for entry in ticket["conversation"]] == ["Dear Ann, we look into it."]
    [nora] = [row for row in desk.contacts() if row["agent"]]
    assert nora["name"] == nora["email"] == nora["signature"] == GONE
    assert desk.reports() == before
    assert desk.reports()["tickets"]["by_agent"] != {}


def test_an_agent_who_is_also_a_contact_goes_as_one_person(desk: Desk) -> None:
    desk.happens("agent.created", "agent 2", id=2, name="Bob Brown", email="bob@desk.org")
    bobs_ticket(desk)

    desk.shred("agent 2")

    assert erased(desk)["subject"] == GONE
    with pytest.raises(ReferenceUnknown):
        desk.shred("bob@work.org")


def test_what_a_person_in_copy_wrote_goes_with_the_writer_and_the_ticket_stays(desk: Desk) -> None:
    anns_ticket(desk, cc_emails=["liv@home.org"])
    answer(desk, 20)
    answer(desk, 20, user_id=None, from_email="liv@home.org", incoming=True, body_text="I am her sister Liv.")

    desk.shred("liv@home.org")

    ticket = desk.ticket(20)
    assert ticket["subject"] == "The bell is broken"
    assert ticket["copied"] == []
    assert [entry["body_text"] for entry in ticket["conversation"]] == ["Dear Ann, we look into it.", GONE]
    assert ticket["conversation"][1]["author"] is None


def test_what_a_person_in_copy_wrote_goes_with_the_requester_too(desk: Desk) -> None:
    anns_ticket(desk)
    answer(desk, 20, user_id=2, incoming=True, body_text="I know this bell. Bob")

    desk.shred("contact 1")

    assert [entry["body_text"] for entry in erased(desk)["conversation"]] == [GONE]
    assert [row["name"] for row in desk.contacts() if not row["erased"] and not row["agent"]] == ["Bob Brown"]


@pytest.mark.parametrize("who", ["contact 1", "contact 2"], ids=["the first requester", "the later requester"])
def test_what_stood_in_a_ticket_before_it_moved_goes_with_either_requester(desk: Desk, who: str) -> None:
    anns_ticket(desk)
    desk.happens("ticket.updated", "ticket 20", AT + timedelta(hours=1), requester_id=2)

    desk.shred(who)

    [ticket] = desk.tickets()
    assert ticket["subject"] == ticket["description_text"] == GONE
    assert ticket["erased"] is (who == "contact 2")


def test_what_came_after_a_ticket_moved_is_the_later_requesters_alone(desk: Desk) -> None:
    anns_ticket(desk)
    desk.happens("ticket.updated", "ticket 20", AT + timedelta(hours=1), requester_id=2)
    answer(desk, 20, body_text="Dear Bob, it is yours now.")

    desk.shred("contact 1")

    [ticket] = desk.tickets()
    assert [entry["body_text"] for entry in ticket["conversation"]] == ["Dear Bob, it is yours now."]


def test_merged_contacts_are_one_person_and_go_as_one(desk: Desk) -> None:
    anns_ticket(desk)
    desk.happens("contact.created", "contact 3", id=3, name="Ann A.", email="ann@work.org")
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=3, subject="Same bell")
    desk.happens("contact.merged", "contact 1", AT, primary_contact_id=1, secondary_contact_ids=[3])

    desk.shred("ann@work.org")

    assert [row["subject"] for row in desk.tickets()] == [GONE, GONE]
    assert [row["name"] for row in desk.contacts() if row["erased"]] == [GONE, GONE]


def test_a_ticket_can_go_alone_and_its_requester_stays(desk: Desk) -> None:
    anns_ticket(desk)
    anns_ticket(desk, 21)
    before = desk.reports()

    desk.shred("ticket 20")

    assert erased(desk)["subject"] == GONE
    assert desk.ticket(21)["subject"] == "The bell is broken"
    assert desk.reports() == before
    tally = desk.take(desk.event("ticket.replied", "ticket 20", ticket_id=20, body_text="Hello?"))
    assert tally == Tally(read=1, refused=1)


LATE: dict[str, Callable[[Desk], bytes]] = {
    "the same record again": lambda desk: desk.said[1],
    "her ticket again": lambda desk: desk.said[3],
    "a late reply to her ticket": lambda desk: desk.event(
        "ticket.replied", "ticket 20", ticket_id=20, user_id=7, incoming=False, body_text="Dear Ann, it is done."
    ),
    "a late note on her ticket": lambda desk: desk.event(
        "ticket.note_added", "ticket 20", ticket_id=20, user_id=7, private=True, body_text="Ann called."
    ),
    "a late rating of her ticket": lambda desk: desk.event("ticket.rated", "ticket 20", ticket_id=20, rating=103),
    "a late change of her ticket": lambda desk: desk.event("ticket.updated", "ticket 20", status="closed"),
    "a late update of the contact": lambda desk: desk.event("contact.updated", "contact 1", phone="+493055502"),
    "a late update by address": lambda desk: desk.event("contact.updated", "ann@home.org", name="Ann Again"),
    "a new ticket by her id": lambda desk: desk.event("ticket.opened", "ticket 40", id=40, requester_id=1, subject="x"),
    "a new ticket by her address": lambda desk: desk.event(
        "ticket.opened", "ticket 41", id=41, email="ANN@home.org", subject="Me again"
    ),
    "a new ticket by her number": lambda desk: desk.event(
        "ticket.opened", "ticket 42", id=42, phone="+49 30 55501", subject="Me again"
    ),
    "a contact of that address on the same day": lambda desk: desk.event(
        "contact.created", "contact 9", datetime.now(UTC), id=9, email="ann@home.org", name="Ann Again"
    ),
    "somebody else's ticket that moves to her": lambda desk: desk.event("ticket.updated", "ticket 30", requester_id=1),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE.keys())
def test_a_late_record_about_somebody_shredded_is_refused_counted_and_nowhere_kept(
    desk: Desk, late: Callable[[Desk], bytes]
) -> None:
    anns_ticket(desk)
    bobs_ticket(desk)
    desk.shred("contact 1")
    tickets, contacts, kept = desk.tickets(), desk.contacts(), facts_and_quarantine(desk)

    assert desk.take(late(desk)) == Tally(read=1, refused=1)

    assert facts_and_quarantine(desk) == kept
    assert (desk.tickets(), desk.contacts()) == (tickets, contacts)


def test_a_refused_record_is_counted_by_day(desk: Desk) -> None:
    desk.shred("contact 1")
    with desk.house.facts.cursor() as cursor:
        [before] = cursor.execute(STATEMENTS.counts.sql).fetchall()

    desk.take(desk.event("contact.updated", "contact 1", phone="+493055502"))

    with desk.house.facts.cursor() as cursor:
        [after] = cursor.execute(STATEMENTS.counts.sql).fetchall()
    assert after["refused"] == before["refused"] + 1


def test_a_record_of_somebody_else_that_names_the_shredded_person_in_copy_loses_only_that_part(desk: Desk) -> None:
    desk.shred("contact 1")

    tally = desk.take(
        desk.event(
            "ticket.opened",
            "ticket 50",
            id=50,
            requester_id=2,
            subject="Invoice",
            description_text="As I said.",
            cc_emails=["ann@home.org", "liv@home.org"],
        )
    )

    assert tally == Tally(read=1, stored=1)
    ticket = desk.ticket(50)
    assert (ticket["subject"], ticket["description_text"]) == ("Invoice", "As I said.")
    [copied] = ticket["copied"]
    [liv] = [row for row in desk.contacts() if row.get("email") == "liv@home.org"]
    assert copied == liv["subject"]
    assert "ann@home.org" not in str(desk.tickets()) + str(desk.contacts())


def test_an_address_comes_back_as_a_new_person_with_a_new_id_on_a_later_day(desk: Desk) -> None:
    anns_ticket(desk)
    desk.shred("contact 1")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    again = desk.event("contact.created", "contact 9", tomorrow, id=9, name="Ann Abbott", email="ann@home.org")

    tally = desk.house.intake.take([parcel_of(again)], at=tomorrow)

    assert tally == Tally(read=1, stored=1)
    found = desk.house.shredding.find(desk.tenant.id, Reference(Kind.EMAIL, "ann@home.org"))
    assert found.things == ()
    assert desk.house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "9")).id == found.id
    assert erased(desk)["subject"] == GONE
    with pytest.raises(ReferenceUnknown):
        desk.house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "1"))


def test_an_address_does_not_come_back_under_the_id_that_was_shredded(desk: Desk) -> None:
    desk.shred("contact 1")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    again = desk.event("contact.created", "contact 1", tomorrow, id=1, name="Ann Abbott", email="ann@home.org")

    assert desk.house.intake.take([parcel_of(again)], at=tomorrow) == Tally(read=1, refused=1)


def test_a_clock_that_is_ahead_brings_no_address_back(desk: Desk) -> None:
    desk.shred("contact 1")
    ahead = datetime.now(UTC) + timedelta(days=1)
    again = desk.event("contact.created", "contact 9", ahead, id=9, name="Ann Abbott", email="ann@home.org")

    assert desk.take(again) == Tally(read=1, refused=1)


def test_a_tenant_knows_nothing_of_the_shreds_of_another(desk: Desk, opened: House) -> None:
    other = Desk(opened, f"desk {next(_numbers)}")
    other.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.org")

    desk.shred("ann@home.org")

    [ann] = other.contacts()
    assert ann["name"] == "Ann Abbott"
    assert other.happens("contact.updated", "contact 1", phone="+493055509") == Tally(read=1, stored=1)
