"""A tenant is exported, closed, and imported elsewhere: the same people, tickets, texts and counts."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import SettingsWrong, ShredRefused
from domain.personal import Kind, Reference
from services.closing import Closing
from services.csv_map import read_vocabularies
from services.embedded import Endpoints
from services.exporting import Exported
from services.generating import Wanted, history
from services.reading import Reveal
from services.records import parcel_of
from services.shredding import Order
from services.wiring import House, now
from tests.desks import Desk, desk_house

WHY = Reveal("tester", "the contract ends")
EXAMPLE = Path(__file__).parents[2] / "examples/desk.jsonl"
#: Inside ids, places on the log and whatever is made of them: these are given anew.
OURS = {
    *("ticket", "profile", "thing", "first_position", "position", "part", "within", "parent", "merged_into", "avatar"),
    *("requester", "responder", "author", "members", "copied", "voter"),
}


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path, SEALDESK_BLOBS=str(tmp_path / "blobs")) as opened:
        yield opened


@pytest.fixture
def acme(house: House) -> Desk:
    """The desk of the example, and the things that it lacks."""
    desk = Desk(house)
    lines = EXAMPLE.read_bytes().splitlines()
    desk.take(*(line for line in lines if b'"tenant": "acme"' in line and line.endswith(b"}")))
    desk.happens("contact.created", "contact 1001", id=1001, name="Ada L", email="ada.l@example.org", cf_plan="gold")
    desk.happens("agent.created", "agent 1009", id=1009, contact={"name": "Gwen", "email": "gwen.g@example.org"})
    ticket = {"requester_id": 1001, "responder_id": 1009, "cc_emails": ["Bob <bob.b@example.org>"], "status": 2}
    desk.happens("ticket.opened", "ticket 1020", id=1020, subject="broken", description="it is", **ticket)
    desk.happens("ticket.replied", "ticket 1020", id=1031, ticket_id=1020, body="we look", user_id=1009, incoming=False)
    desk.happens("ticket.replied", "ticket 1020", id=1032, ticket_id=1020, body="thanks", user_id=1001, incoming=True)
    desk.happens("ticket.entry_edited", "ticket 1020", id=1031, ticket_id=1020, body="we looked")
    desk.happens("ticket.entry_deleted", "ticket 1020", id=1032, ticket_id=1020)
    attached = {"ticket_id": 1020, "name": "scan.pdf", "content_type": "application/pdf", "size": 4}
    desk.happens("ticket.attachment_added", "ticket 1020", id=1041, **attached)
    by_mail = {"email": "new.one@example.org", "name": "New One", "subject": "by mail"}
    desk.happens("ticket.opened", "ticket 1021", id=1021, **by_mail)
    rating = {"user_id": 1001, "ratings": {"default_question": 103}}
    desk.happens("ticket.rated", "ticket 1020", id=1051, ticket_id=1020, **rating)
    desk.happens("contact.rectified", "contact 1001", id=1001, name="Ada Lovelace")
    return desk


def imported(house: House, folder: Path, name: str) -> Desk:
    """Do what the manifest says."""
    house.tenants.add(name, read_vocabularies(folder / "vocabularies.toml"))
    desk = Desk(house, name)
    parcels = [parcel_of(line, name) for line in (folder / "records.jsonl").read_bytes().splitlines()]
    assert [parcel.error for parcel in parcels if parcel.error is not None] == []
    tally = house.intake.take(parcels, at=now())
    assert tally.quarantined == tally.refused == 0
    for file in json.loads((folder / "manifest.json").read_bytes())["files"]:
        if file["file"]:
            kind, _, value = file["reference"].partition(" ")
            house.attaching.put(desk.tenant.id, Reference(Kind(kind), value), [(folder / file["file"]).read_bytes()])
    return desk


def shown(desk: Desk) -> dict[str, list[Any]]:
    """List everything that can be read of a tenant, without what is given anew."""
    desk.house.projecting.catch_up()
    reading, tenant = desk.house.reading, desk.tenant.id
    lists = {
        "contacts": reading.contacts, "tickets": reading.tickets, "calls": reading.calls, "chats": reading.chats,
        "forums": reading.forums, "articles": reading.articles, "companies": reading.companies,
        "groups": reading.groups,
    }  # fmt: skip
    found = {name: [without(row) for row in rows(tenant, WHY, all=True)] for name, rows in lists.items()}
    return {name: sorted(rows, key=in_order) for name, rows in found.items()}


def in_order(row: Any) -> str:
    return json.dumps(row, sort_keys=True, default=str)


def without(value: Any) -> Any:
    if isinstance(value, dict):
        # Of a contact, `subject` is an inside id; of a ticket it is what it is about. What was edited or deleted leaves
        # no mark of the fields that it had.
        kept = {name: item for name, item in value.items() if name not in OURS and not is_id(item)}
        return {name: without(item) for name, item in kept.items() if item != {"shredded": True}}
    return [without(item) for item in value] if isinstance(value, list) else value


def is_id(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8}-[0-9a-f-]{27}", value) is not None


def export(desk: Desk, folder: Path) -> Exported:
    desk.house.tenants.forget()
    return desk.house.exporting.export(desk.house.tenants.named(desk.name), folder, WHY)


def test_what_was_exported_reads_the_same_where_it_is_imported(acme: Desk, tmp_path: Path) -> None:
    acme.house.attaching.put(acme.tenant.id, Reference(Kind.ATTACHMENT, "1041"), [b"%PDF"])
    before, reports = shown(acme), acme.reports()
    done = export(acme, tmp_path / "export")
    assert done.files == 1
    assert done.facts["not_told"] == done.facts["lost"] == 0
    acme.house.closing.request(Order(acme.tenant.id, "contract-end", "tester"), exported=done.seen)
    globex = imported(acme.house, tmp_path / "export", "globex")
    after = shown(globex)
    for name, rows in before.items():
        assert [row for row in rows if row not in after[name]] == [], name
        assert len(after[name]) == len(rows), name
    assert by_agent_aside(globex.reports()) == by_agent_aside(reports)
    got = acme.house.attaching.get(globex.tenant.id, Reference(Kind.ATTACHMENT, "1041"), WHY)
    assert b"".join(got) == b"%PDF"


def by_agent_aside(reports: dict[str, Any]) -> dict[str, Any]:
    """Agents have other ids there."""
    tickets = dict(reports["tickets"])
    tickets["by_agent"] = sorted(tickets["by_agent"].values())
    return reports | {"tickets": tickets}


def test_an_export_is_for_nobody_else_to_read_counted_and_whole_or_not_at_all(
    acme: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme.shred("contact 1001")
    acme.take(b"{")
    done = export(acme, tmp_path / "export")
    assert stat.S_IMODE((tmp_path / "export").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "export").glob("*.*")} == {0o600}
    manifest = json.loads((tmp_path / "export/manifest.json").read_bytes())
    ours = [fact for fact in acme.house.facts.page(0, 100_000) if fact.tenant == acme.tenant.id]
    assert sum(manifest["facts"].values()) == len(ours)
    assert manifest["facts"]["shredded"] > 0
    assert done.records == len((tmp_path / "export/records.jsonl").read_bytes().splitlines())
    assert b"Lovelace" not in (tmp_path / "export/records.jsonl").read_bytes()
    with pytest.raises(SettingsWrong, match="new folder"):
        export(acme, tmp_path / "export")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SettingsWrong, match="No space"):
            export(acme, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir() if "other" in path.name] == []


def test_an_export_leaves_one_access_line(acme: Desk, tmp_path: Path) -> None:
    export(acme, tmp_path / "export")
    with acme.house.facts.cursor() as cursor:
        rows = cursor.execute("SELECT what FROM access_lines WHERE tenant = %s", (acme.tenant.id,)).fetchall()
    assert [row["what"] for row in rows] == ["export"]


def test_a_record_that_came_in_since_the_export_stands_in_the_way(acme: Desk, tmp_path: Path) -> None:
    done = export(acme, tmp_path / "export")
    acme.happens("ticket.opened", "ticket 1070", id=1070, requester_id=1001, subject="late")
    order = Order(acme.tenant.id, "contract-end", "tester")
    with pytest.raises(ShredRefused, match="export"):
        acme.house.closing.request(order, exported=done.seen)
    assert acme.ticket(1070)["subject"] == "late"
    again = export(acme, tmp_path / "again")
    assert acme.house.closing.request(order, exported=again.seen)["residue"]["found"] == 0


def test_a_quarantined_record_or_a_file_that_came_in_since_the_export_stands_in_the_way(
    acme: Desk, tmp_path: Path
) -> None:
    order, attachment = Order(acme.tenant.id, "contract-end", "tester"), Reference(Kind.ATTACHMENT, "1041")
    waiting = {"ticket_id": 1090, "body": "for a ticket", "user_id": 1001}
    acme.happens("ticket.replied", "ticket 1090", id=1091, **waiting)
    first = export(acme, tmp_path / "first")
    assert (first.files, first.never_sent > 0, first.gaps) == (0, True, {})
    acme.house.attaching.put(acme.tenant.id, attachment, [b"%PDF"])
    with pytest.raises(ShredRefused, match="since the export"):
        acme.house.closing.request(order, exported=first.seen)
    second = export(acme, tmp_path / "second")
    assert second.files == 1
    # In place of one that was exported.
    acme.house.attaching.put(acme.tenant.id, attachment, [b"%PDF-2"])
    with pytest.raises(ShredRefused, match="since the export"):
        acme.house.closing.request(order, exported=second.seen)
    third = export(acme, tmp_path / "third")
    acme.happens("ticket.replied", "ticket 1090", id=1092, **waiting)
    with pytest.raises(ShredRefused, match="since the export"):
        acme.house.closing.request(order, exported=third.seen)
    last = export(acme, tmp_path / "last")
    waiting_there = len((tmp_path / "last/quarantine.jsonl").read_bytes().splitlines())
    assert waiting_there >= 2
    assert acme.house.closing.request(order, exported=last.seen)["quarantine"]["dropped"] == waiting_there


def test_what_comes_in_between_the_question_and_the_line_stands_in_the_way(
    acme: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, real = export(acme, tmp_path / "export"), Closing._approve

    def late(self: Closing, *args: Any) -> None:
        acme.happens("ticket.replied", "ticket 1090", id=1091, ticket_id=1090, body="waits", user_id=1001)
        real(self, *args)

    monkeypatch.setattr(Closing, "_approve", late)
    with pytest.raises(ShredRefused, match="since the export"):
        acme.house.closing.request(Order(acme.tenant.id, "contract-end", "tester"), exported=done.seen)
    assert acme.house.closing.first_certificate(acme.tenant.id) is None
    assert not acme.house.quarantine.is_empty(acme.tenant.id)


def test_an_export_says_what_it_lacks_although_nobody_shredded_it(
    acme: Desk, databases: Endpoints, tmp_path: Path
) -> None:
    acme.house.attaching.put(acme.tenant.id, Reference(Kind.ATTACHMENT, "1041"), [b"%PDF"])
    [stored] = acme.house.attaching.listed([acme.tenant.id])
    for path in (tmp_path / "blobs").rglob("*"):
        if path.is_file() and path.stat().st_size:
            path.unlink()
    with psycopg.connect(databases.keys_dsn) as connection:
        gone = connection.execute(
            "DELETE FROM leaves WHERE NOT blob AND key_id IN (SELECT key_id FROM leaves JOIN things USING (thing_id)"
            " WHERE kind = 'ticket' AND NOT blob AND wrapped IS NOT NULL LIMIT 2)"
        ).rowcount
    done = export(acme, tmp_path / "export")
    assert done.files == 0
    assert done.gaps["facts_lost"] == gone == 2
    assert done.gaps["files_lost"] == 1
    manifest = json.loads((tmp_path / "export/manifest.json").read_bytes())
    assert [file for file in manifest["files"] if file["why"] == "it was stored, and the store has lost it"]
    assert manifest["gaps"]["files_lost"] == 1
    assert stored["bytes"] > 0


def test_a_generated_helpdesk_reads_the_same_where_it_is_imported(house: House, tmp_path: Path) -> None:
    """What upstream deleted has a number of ours there, so that it counts."""
    desk = Desk(house)
    desk.take(*history(Wanted(tickets=40, seed=7, tenant="acme")))
    house.shredding.mend()
    before, reports = shown(desk), desk.reports()
    done = export(desk, tmp_path / "export")
    assert done.facts["told"] + done.facts["derived"] == sum(done.facts.values())
    globex = imported(house, tmp_path / "export", "globex")
    after = shown(globex)
    for name, rows in before.items():
        assert [row for row in rows if row not in after[name]] == [], name
        assert len(after[name]) == len(rows), name
    assert by_agent_aside(globex.reports()) == by_agent_aside(reports)
