"""What an operator does with records that could not be taken: looks, finds out why, puts it right, takes them again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.embedded import Endpoints
from services.kafka.admission import read
from services.records import Place, parcel_of
from tests.acceptance.conftest import Sealdesk
from tests.desks import desk_house

FILE = """
[topics."acme.records"]
tenants = ["acme"]
[topics."globex.records"]
tenants = ["globex"]
"""


def _event(tenant: str, id_: str, **more: Any) -> bytes:
    event = {"specversion": "1.0", "id": id_, "source": "crm", "type": "sealdesk.contact.created.v1", "tenant": tenant}
    event |= {"subject": "contact 1", "time": "2026-03-01T12:00:00Z", "data": {"id": 1, "name": "Ann"}}
    return orjson.dumps(event | more)


@pytest.fixture
def topics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "topics.toml"
    path.write_text(FILE)
    monkeypatch.setenv("SEALDESK_TOPICS", str(path))
    return path


@pytest.fixture
def came(sealdesk: Sealdesk, databases: Endpoints, tmp_path: Path, topics: Path) -> Sealdesk:
    """Records came on a topic of acme: one that is globex's, and of its own three that are broken."""
    sealdesk.done("tenant", "add", "acme")
    sealdesk.done("tenant", "add", "globex")
    raws = [_event("globex", "claims"), b"no json", b"none either", _event("acme", "2", data={"id": {}})]
    with desk_house(databases, tmp_path) as house:
        parcels = [replace(parcel_of(raw), place=Place("acme.records", 0, at)) for at, raw in enumerate(raws)]
        admit = read(topics).admit
        house.intake.take_each([admit(parcel) for parcel in parcels], at=datetime.now(UTC))
    return sealdesk


def _listed(sealdesk: Sealdesk, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sealdesk.json("quarantine", "list", *words)
    return rows


def test_records_are_listed_with_where_they_stood_page_by_page_and_counted(came: Sealdesk) -> None:
    rows = _listed(came, "--tenant", "acme")
    assert [(row["code"], row["topic"], row["partition"], row["offset"]) for row in rows] == [
        ("not_json", "acme.records", 0, 1),
        ("not_json", "acme.records", 0, 2),
        ("wrong_field", "acme.records", 0, 3),
    ]
    first = came.done("quarantine", "list", "--tenant", "acme", "--limit", "1")
    assert f"go on with --after {rows[0]['record']}" in first.err
    assert "1 more name no known tenant" in first.err
    behind = _listed(came, "--tenant", "acme", "--after", rows[0]["record"], "--limit", "1")
    assert [row["offset"] for row in behind] == [2]
    assert [row["offset"] for row in _listed(came, "--tenant", "acme", "--code", "wrong_field")] == [3]
    assert _listed(came, "--tenant", "acme", "--topic", "globex.records") == []
    summary = _listed(came, "--tenant", "acme", "--summary")
    assert {row["code"]: row["records"] for row in summary} == {"not_json": 2, "wrong_field": 1}


def test_what_claims_another_tenant_is_seen_by_neither_and_taken_once_its_topic_may_bring_it(
    came: Sealdesk, topics: Path
) -> None:
    assert _listed(came, "--tenant", "globex") == []
    [row] = _listed(came, "--unclaimed")
    assert (row["code"], row["offset"]) == ("wrong_tenant", 0)
    replayed = came.json("quarantine", "replay", "--unclaimed")
    assert (replayed["stored"], replayed["quarantined"]) == (0, 1)
    topics.write_text(FILE.replace('["acme"]', '["acme", "globex"]'))
    assert came.json("quarantine", "replay", "--unclaimed", "--code", "wrong_tenant")["stored"] == 1
    assert _listed(came, "--unclaimed") == []
    assert len(came.json("query", "contacts", "--tenant", "globex")) == 1


def test_what_stays_broken_stays_where_it_lies(came: Sealdesk) -> None:
    before = _listed(came, "--tenant", "acme")
    replayed = came.json("quarantine", "replay", "--tenant", "acme")
    assert (replayed["read"], replayed["quarantined"]) == (3, 3)
    assert _listed(came, "--tenant", "acme") == before


def test_many_are_dropped_only_by_those_who_say_so(came: Sealdesk) -> None:
    refused = came("quarantine", "drop", "--tenant", "acme", "--code", "not_json")
    assert (refused.status, "destroy 2 records" in refused.err) == (2, True)
    assert came("quarantine", "drop", "--tenant", "acme", "--yes").status == 2
    assert came.json("quarantine", "drop", "--tenant", "acme", "--code", "not_json", "--yes") == {"dropped": 2}
    assert [row["code"] for row in _listed(came, "--tenant", "acme")] == ["wrong_field"]


def test_a_record_is_shown_with_a_reason_and_an_access_line_stays(
    came: Sealdesk, databases: Endpoints, tmp_path: Path
) -> None:
    [row] = _listed(came, "--unclaimed")

    def show(*words: str) -> subprocess.CompletedProcess[bytes]:
        command = [
            sys.executable,
            "-c",
            "from services.cli.app import main; main()",
            "quarantine",
            "show",
            row["record"],
            *words,
        ]
        return subprocess.run(command, capture_output=True, check=False, timeout=60)

    assert show("--unclaimed").returncode == 2
    assert show("--tenant", "acme", "--why", "curious").returncode == 3
    shown = show("--unclaimed", "--why", "whose is it")
    assert json.loads(shown.stdout)["id"] == "claims"
    with desk_house(databases, tmp_path) as house, house.facts.cursor() as cursor:
        lines = cursor.execute("SELECT what, ids FROM access_lines ORDER BY at").fetchall()
    assert [(line["what"], [str(id_) for id_ in line["ids"]]) for line in lines] == [
        ("quarantine", [row["record"]])
    ] * 2
