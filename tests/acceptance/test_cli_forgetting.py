"""Forgetting many people, one thing, and the trash, as an officer types it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Sealdesk

GONE = {"shredded": True}


def event(type_: str, id_: str, at: str = "2026-03-01T12:00:00Z", /, **data: Any) -> bytes:
    written = {
        "specversion": "1.0",
        "id": id_,
        "source": "tests",
        "type": f"sealdesk.{type_}.v1",
        "tenant": "acme",
        "time": at,
        "data": data,
    }
    return json.dumps(written).encode() + b"\n"


HISTORY = b"".join(
    [
        event("contact.created", "1", id=1, name="Ann Abbott", email="ann@home.example"),
        event("contact.created", "2", id=2, name="Bob Best", email="bob@home.example"),
        event("contact.created", "3", id=3, name="Cleo Cox", email="cleo@home.example"),
        event("ticket.opened", "4", id=20, requester_id=1, subject="Ann's lamp"),
        event("ticket.opened", "5", id=21, requester_id=2, subject="Bob's lamp"),
        event("ticket.opened", "6", id=22, requester_id=3, subject="Cleo's lamp"),
        event("ticket.deleted", "7", "2026-03-02T12:00:00Z", id=20),
        event("ticket.purged", "8", "2026-03-02T12:00:00Z", id=21),
        event("call.logged", "9", id=5, user_id=3, notes="Cleo called"),
    ]
)


@pytest.fixture
def desk(sealdesk: Sealdesk) -> Sealdesk:
    sealdesk.done("import", "-", "--format", "cloudevents", "--tenant", "acme", stdin=HISTORY)
    return sealdesk


def subjects(desk: Sealdesk) -> list[Any]:
    return [row["subject"] for row in desk.json("query", "tickets", "--all", "--reveal", "--why", "test")]


def test_everybody_in_a_file_is_forgotten_and_the_others_stay(desk: Sealdesk, tmp_path: Path) -> None:
    reports = desk.done("query", "reports", "--json").out
    people = tmp_path / "people.txt"
    people.write_text("contact 1\n\nbob@home.example\n2\ncontact 999\n")
    dry = desk.json("shred", "contact", "--from", str(people), "--ground", "test", "--dry-run")
    certificates = desk.json("shred", "contact", "--from", str(people), "--ground", "test", "--yes")
    assert len(certificates) == 2
    assert sum(certificate["counts"]["facts"] for certificate in certificates) == dry["facts"]
    assert all(certificate["residue"]["found"] == 0 for certificate in certificates)
    assert subjects(desk) == [GONE, GONE, "Cleo's lamp"]
    assert desk.done("query", "reports", "--json").out == reports
    again = desk("shred", "contact", "--from", str(people), "--ground", "test", "--yes")
    assert again.status == 0
    # Two lines named the same person, and one nobody.
    assert "shredded before, with their first certificates: 3; not known: 1;" in again.err


def test_texts_of_the_living_are_counted_over_everybody_of_a_file(desk: Sealdesk) -> None:
    ended = desk.done(
        "shred", "contact", "--from", "-", "--ground", "test", "--yes", "--living", stdin=b"contact 1\ncontact 2\n"
    )
    assert re.search("^living texts: [0-9]+ say a name$", ended.out, re.MULTILINE)


def test_whoever_is_held_stays_and_keeps_nobody_else(desk: Sealdesk) -> None:
    desk.done("hold", "add", "--contact", "1", "--why", "lawsuit")
    ended = desk(
        "shred", "contact", "--from", "-", "--ground", "test", "--yes", "--json", stdin=b"contact 1\ncontact 2\n"
    )
    assert ended.status == 4
    assert len(ended.json) == 1
    assert subjects(desk) == ["Ann's lamp", GONE, "Cleo's lamp"]


def test_the_brake_looks_at_all_of_them_together(desk: Sealdesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALDESK_BRAKE", "4")
    ended = desk("shred", "contact", "--from", "-", "--ground", "test", "--yes", stdin=b"1\n2\n3\n")
    assert ended.status == 4
    assert "--expect" in ended.err
    assert subjects(desk) == ["Ann's lamp", "Bob's lamp", "Cleo's lamp"]


@pytest.mark.parametrize("line", ["ticket 20", "call 5"])
def test_a_line_that_names_no_person_stops_before_anything_happens(desk: Sealdesk, line: str) -> None:
    ended = desk("shred", "contact", "--from", "-", "--ground", "test", "--yes", stdin=f"contact 1\n{line}\n".encode())
    assert ended.status == 2
    assert "Line 2" in ended.err
    assert line not in ended.err
    assert subjects(desk)[0] == "Ann's lamp"


def test_a_call_goes_alone(desk: Sealdesk) -> None:
    assert desk.json("shred", "thing", "call 5", "--ground", "test", "--yes")["counts"]["calls"] == 1
    [call] = desk.json("query", "calls", "--all", "--reveal", "--why", "test")
    assert call["notes"] == GONE
    assert subjects(desk)[2] == "Cleo's lamp"
    assert desk("shred", "thing", "call", "--ground", "test", "--yes").status == 2
    assert desk("shred", "thing", "call 77", "--ground", "test", "--yes").status == 3


def test_the_trash_is_purged_after_its_time_and_a_purge_of_upstream_waits_for_somebody(desk: Sealdesk) -> None:
    reports = desk.done("query", "reports", "--json").out
    assert sorted(row["because"] for row in desk.json("purge", "list")) == ["trash", "waits"]
    assert desk.json("purge", "run", "--dry-run")["tickets"] == 1
    assert len(desk.json("purge", "run", "--yes")) == 1
    assert subjects(desk) == [GONE, "Bob's lamp", "Cleo's lamp"]
    assert len(desk.json("purge", "run", "--asked", "--yes")) == 1
    assert subjects(desk) == [GONE, GONE, "Cleo's lamp"]
    assert desk.json("purge", "list") == []
    assert desk.done("query", "reports", "--json").out == reports


def test_a_tenant_may_trust_its_upstream_and_keep_its_trash_longer(desk: Sealdesk) -> None:
    said = desk.done("tenant", "set", "acme", "--trash-days", "10000", "--trust-purges").out
    assert "10000 days" in said
    assert [row["because"] for row in desk.json("purge", "list")] == ["due"]
    desk.done("purge", "run", "--yes")
    assert subjects(desk) == ["Ann's lamp", GONE, "Cleo's lamp"]
