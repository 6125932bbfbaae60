"""A contract ends: the tenant gets its data back, everything of it is destroyed, the certificate says so."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.closed import Remains
from services.embedded import Endpoints
from services.exporting import Exported, Exporting
from services.residue import Left
from tests.acceptance.conftest import Sealdesk
from tests.desks import Desk, desk_house
from tests.services.test_closing import filled

ROOT = Path(__file__).parents[2]
DESK, WORDS = str(ROOT / "examples" / "desk.jsonl"), str(ROOT / "examples" / "acme_vocabulary.toml")
CLOSE = ("tenant", "close", "acme", "--ground", "contract-end")
WHY = ("--reveal", "--why", "to compare")


def test_the_end_of_a_contract(sealdesk: Sealdesk, tmp_path: Path) -> None:
    # given two tenants
    sealdesk.done("tenant", "add", "acme", "--vocabulary", WORDS)
    sealdesk.done("import", DESK, "--tenant", "acme")
    other = json.dumps(
        {
            "specversion": "1.0", "id": "1", "source": "tests", "type": "sealdesk.contact.created.v1",
            "subject": "contact 1", "tenant": "globex", "time": "2026-03-01T12:00:00Z",
            "data": {"id": 1, "name": "Gus"},
        }
    )  # fmt: skip
    sealdesk.done("tenant", "add", "globex")
    sealdesk.done("import", "-", "--tenant", "globex", stdin=other.encode())
    reports = sealdesk.json("query", "reports", "--tenant", "acme")
    names = {row.get("name") for row in sealdesk.json("query", "contacts", "--tenant", "acme", *WHY)}
    assert len(names) > 3, "the control: there is something to forget"

    # when the officer looks, and closes
    leaving = sealdesk.json(*CLOSE, "--dry-run")
    assert leaving["facts"] > 50
    assert sealdesk(*CLOSE, "--yes", "--expect", "1").status == 4
    assert sealdesk("tenant", "close", "acme", "--ground", "because", "--yes").status == 2
    assert sealdesk(*CLOSE).status == 2, "nobody is there to confirm"
    certificate, folder = tmp_path / "acme.json", tmp_path / "export"
    closed = sealdesk.done(
        *CLOSE, "--yes", "--expect", str(leaving["facts"]), "--export", str(folder), "--out", str(certificate),
        "--request", "C-17", "--note", "-", stdin=b"as agreed",
    )  # fmt: skip
    assert "residue found: 0" in closed.out
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    # then the certificate is whole, and says what went
    sealdesk.done("certificate", "verify", str(certificate))
    said = json.loads(certificate.read_bytes())
    assert (said["kind"], said["ground"], said["counts"]["facts"]) == ("tenant", "contract-end", leaving["facts"])
    assert "acme" not in certificate.read_text()
    assert "C-17" not in certificate.read_text()

    # and nothing can be read, counted differently, taken in or opened again
    rows = sealdesk.json("query", "contacts", "--tenant", "acme", "--all", *WHY)
    assert {json.dumps(row["name"]) for row in rows if "name" in row} == {'{"shredded": true}'}
    assert sealdesk.json("query", "reports", "--tenant", "acme") == reports
    assert sealdesk("import", DESK, "--tenant", "acme").status == 4
    assert sealdesk("tenant", "add", "acme").status == 4
    assert sealdesk("shred", "contact", "--ref", "200", "--ground", "test", "--yes", "--tenant", "acme").status == 4
    listed = {row["name"]: row["closed"] is not None for row in sealdesk.json("tenant", "list")}
    assert listed == {"acme": True, "globex": False}
    assert sealdesk.json(*CLOSE, "--yes") == said
    too_late = sealdesk(*CLOSE, "--yes", "--export", str(tmp_path / "second"))
    assert (too_late.status, "nothing was exported" in too_late.err) == (1, True)
    assert not (tmp_path / "second").exists()
    assert "nothing would go" in sealdesk.done(*CLOSE, "--dry-run").err
    unknown = sealdesk("tenant", "close", "amce", "--ground", "contract-end", "--yes")
    assert (unknown.status, "sealdesk tenant list" in unknown.err) == (2, True)
    assert [row["name"] for row in sealdesk.json("query", "contacts", "--tenant", "globex", *WHY)] == ["Gus"]
    sealdesk.done("keys", "check", "--deep")
    sealdesk.done("verify", "--tenant", "acme")

    # and the former customer reads everything elsewhere
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["facts"]["not_told"] == manifest["facts"]["lost"] == 0
    sealdesk.done("tenant", "add", "acme2", "--vocabulary", str(folder / "vocabularies.toml"))
    taken = sealdesk.json("import", str(folder / "records.jsonl"), "--tenant", "acme2")
    assert (taken["quarantined"], taken["refused"]) == (0, 0)
    assert {row.get("name") for row in sealdesk.json("query", "contacts", "--tenant", "acme2", *WHY)} == names


def test_records_that_come_in_meanwhile_are_exported_and_the_brake_still_counts(
    sealdesk: Sealdesk, databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(databases, tmp_path) as house:
        desk = filled(Desk(house))
        facts = house.closing.effect(desk.tenant.id).facts
    real, late = Exporting.export, [70, 71]

    def export(*args: Any, **kwargs: Any) -> Exported:
        done = real(*args, **kwargs)
        if late:
            number = late.pop(0)
            with desk_house(databases, tmp_path) as desk.house:
                desk.happens("ticket.opened", f"ticket {number}", id=number, requester_id=1, subject="later")
        return done

    monkeypatch.setattr(Exporting, "export", export)
    folder = tmp_path / "export"
    # It changes the number, so that has to be said again; until then nothing stays in clear.
    refused = sealdesk(*CLOSE, "--yes", "--expect", str(facts), "--export", str(folder))
    assert (refused.status, late) == (4, [71])
    assert f"--expect {facts + 1}" in refused.err
    assert not folder.exists()
    # Where there are fewer than the brake stops, nobody is asked.
    sealdesk.done(*CLOSE, "--yes", "--export", str(folder))
    assert late == []
    assert (folder / "records.jsonl").read_bytes().count(b"later") == 2


def test_an_export_that_never_ends_up_whole_is_removed(
    sealdesk: Sealdesk, databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(databases, tmp_path) as house:
        desk = filled(Desk(house))
    real, number = Exporting.export, 100

    def export(*args: Any, **kwargs: Any) -> Exported:
        nonlocal number
        done, number = real(*args, **kwargs), number + 1
        with desk_house(databases, tmp_path) as desk.house:
            desk.happens("ticket.opened", f"ticket {number}", id=number, requester_id=1, subject="late")
        return done

    monkeypatch.setattr(Exporting, "export", export)
    refused = sealdesk(*CLOSE, "--yes", "--export", str(tmp_path / "export"))
    assert refused.status == 4
    assert "removed" in refused.err
    assert not (tmp_path / "export").exists()


def test_an_export_with_gaps_closes_only_if_that_is_said(
    sealdesk: Sealdesk, databases: Endpoints, tmp_path: Path
) -> None:
    with desk_house(databases, tmp_path) as house:
        filled(Desk(house))
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("DELETE FROM leaves WHERE thing_id IN (SELECT thing_id FROM things WHERE kind = 'ticket')")
    folder = tmp_path / "export"
    refused = sealdesk(*CLOSE, "--yes", "--export", str(folder))
    assert refused.status == 4
    assert "GAP" in refused.err
    assert "--with-gaps" in refused.err
    assert json.loads((folder / "manifest.json").read_bytes())["gaps"]["facts_lost"] > 0
    assert [row["closed"] for row in sealdesk.json("tenant", "list")] == [None]
    closed = sealdesk.done(*CLOSE, "--yes", "--with-gaps", "--export", str(tmp_path / "again"))
    assert "GAP" in closed.err


def test_residue_is_no_success(
    sealdesk: Sealdesk, databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(databases, tmp_path) as house:
        filled(Desk(house))
    with monkeypatch.context() as patch:
        patch.setattr(Remains, "left", lambda *_: Left({"read model tickets": 1}))
        closed = sealdesk(*CLOSE, "--yes")
    assert closed.status == 1
    assert "residue found: 1" in closed.out
    assert "sealdesk verify" in closed.err
    assert sealdesk(*CLOSE, "--yes").status == 1, "and it stays none"


def test_verify_looks_at_all_of_a_closed_tenant(sealdesk: Sealdesk, databases: Endpoints, tmp_path: Path) -> None:
    with desk_house(databases, tmp_path) as house:
        desk = filled(Desk(house))
    sealdesk.done(*CLOSE, "--yes")
    sealdesk.done("verify", "--tenant", "acme")
    with psycopg.connect(databases.keys_dsn) as connection:
        # Nobody was shredded by this id.
        connection.execute(
            "INSERT INTO things (thing_id, tenant, kind, owner) VALUES (gen_random_uuid(), %s, 'ticket', %s)",
            (desk.tenant.id, desk.tenant.id),
        )
    found = sealdesk("verify", "--tenant", "acme")
    assert (found.status, json.loads(found.out.splitlines()[-1])["residue"]) == (1, 1)
