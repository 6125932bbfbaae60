"""After a shred: what comes late about the person is refused, and what is about somebody living is not lost with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crypto.references import canonical
from crypto.tree import Tree
from domain.personal import Kind, Reference
from services.embedded import Endpoints
from services.intake import Intake
from services.records import parcel_of
from tests.desks import AT, Desk, desk_house

NUMBER = "+49301234567"


class Crash(Exception):
    """What a test throws where a process could die."""


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        desk = Desk(opened)
        desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org", phone=NUMBER)
        desk.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org", phone=NUMBER)
        yield desk


def test_a_colleague_who_shares_a_number_with_the_shredded_person_loses_only_that_number(desk: Desk) -> None:
    desk.shred("contact 2")
    today = datetime.now(UTC)
    assert desk.happens("contact.updated", "contact 1", today, id=1, name="Ann A.", phone=NUMBER).stored == 1
    assert desk.happens("ticket.opened", "ticket 20", today, id=20, requester_id=1, phone=NUMBER).stored == 1
    shown = next(row for row in desk.contacts() if row.get("name") == "Ann A.")
    assert shown["phone"] == NUMBER
    assert desk.happens("contact.updated", "contact 2", today, id=2, phone=NUMBER).refused == 1


def test_what_follows_on_a_refused_ticket_is_refused_and_what_waited_for_it_does_not_stay(desk: Desk) -> None:
    desk.happens("ticket.replied", "ticket 40", body="Dear Bo, too early")
    desk.shred("contact 2")
    assert desk.happens("ticket.opened", "ticket 40", id=40, email="BO@example.org").refused >= 1
    assert desk.happens("ticket.replied", "ticket 40", body="Dear Bo", incoming=False).refused == 1
    assert list(desk.house.quarantine.listed(desk.tenant.id)) == []


def test_an_address_that_two_people_claimed_belongs_to_the_last_and_outlives_the_shred_of_the_other(desk: Desk) -> None:
    desk.happens("contact.updated", "contact 1", id=1, other_emails=["shared@example.org"])
    desk.happens("contact.updated", "contact 2", id=2, other_emails=["shared@example.org"])
    desk.shred("contact 1")
    assert desk.happens("ticket.opened", "ticket 20", id=20, email="shared@example.org").stored == 1


def test_the_first_certificate_is_found_after_a_crash_at_the_first_shred_of_a_quarter(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Tree, "destroy_subjects", dying)
        with pytest.raises(Crash):
            desk.shred("contact 1")
    assert desk.house.shredding.resume() == 1
    certificate = desk.house.shredding.first_certificate(desk.tenant.id, Reference(Kind.EMAIL, "ann@example.org"))
    assert certificate is not None
    assert certificate["counts"]["facts"] > 0


def test_a_reply_that_another_process_takes_right_after_a_crashed_move_belongs_to_the_new_requester(
    desk: Desk, databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help")
    with desk_house(databases, tmp_path) as other:
        other.intake.take(
            [parcel_of(desk.event("ticket.rated", "ticket 20", AT, "rated", rating=103))], at=datetime.now(UTC)
        )

        def dying(*_: Any) -> None:
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(Intake, "_keep", dying)
            with pytest.raises(Crash):
                desk.happens("ticket.updated", "ticket 20", requester_id=2)
        reply = desk.event("ticket.replied", "ticket 20", AT, "reply", body="for Bo")
        assert other.intake.take([parcel_of(reply)], at=datetime.now(UTC)).stored == 1
    desk.shred("contact 2")
    assert sum(desk.house.residue.of_all(desk.tenant.id).values()) == 0
    assert all(entry.get("body") in (None, {"shredded": True}) for entry in desk.tickets()[0]["conversation"])


def test_what_an_agent_writes_as_a_contact_goes_with_the_person(desk: Desk) -> None:
    desk.happens("agent.created", "agent 2", id=2, name="Bo Brook")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    desk.happens("ticket.replied", "ticket 20", body="my own trouble", user_id=2, incoming=True)
    desk.happens("ticket.replied", "ticket 20", body="my work", user_id=2)
    desk.shred("contact 2")
    assert [entry["body"] for entry in desk.tickets()[0]["conversation"]] == [{"shredded": True}, "my work"]


def test_the_address_that_an_answer_is_sent_from_is_nobodys(desk: Desk) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    for agent in (7, 8):
        said = {"body": "hello", "user_id": agent, "incoming": False, "from_email": "support@example.org"}
        desk.happens("ticket.replied", "ticket 20", **said)
    authors = [entry["author"] for entry in desk.tickets()[0]["conversation"]]
    assert len(set(authors)) == 2
    assert [entry["from_email"] for entry in desk.tickets()[0]["conversation"]] == ["support@example.org"] * 2
    assert not any(row.get("email") == "support@example.org" for row in desk.contacts())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("u@straße.de", "u@strasse.de", False),
        ("u@straße.de", "u@xn--strae-oqa.de", True),
        ("u@example.org", "u@Example.ORG.", True),
    ],
)
def test_domains_are_the_same_where_idna_says_so(one: str, other: str, same: bool) -> None:
    assert (canonical(Reference(Kind.EMAIL, one)) == canonical(Reference(Kind.EMAIL, other))) is same
