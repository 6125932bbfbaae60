"""An export of Freshdesk, imported by whoever has the folder: once, again, in parts, anew, and after a shred."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from services.freshdesk.shapes import LISTED
from tests.acceptance.conftest import Sealdesk

EXPORT = Path(__file__).parents[2] / "examples" / "freshdesk"
FRESHDESK = ("--format", "freshdesk", "--tenant", "meadow")
SHRED = ("shred", "contact", "--ground", "art17-1-a", "--yes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, to be changed."""
    return Path(shutil.copytree(EXPORT, tmp_path / "export"))


def rewrite(folder: Path, name: str, id_: int | str, /, **changes: Any) -> None:
    """Change one object of a list, as a later export would show it."""
    path = folder / f"{name}.json"
    objects = json.loads(path.read_text())
    next(one for one in objects if one["id"] == id_).update(changes)
    path.write_text(json.dumps(objects))


def revealed(sealdesk: Sealdesk, what: str, tenant: str = "meadow") -> dict[Any, dict[str, Any]]:
    """List what there is, by the id of upstream; what was shredded has none."""
    rows = sealdesk.json("query", what, "--all", "--reveal", "--why", "test", "--tenant", tenant)
    return {row["id"] if isinstance(row.get("id"), int) else str(row.get("id")): row for row in rows}


def told(sealdesk: Sealdesk, tenant: str) -> list[Any]:
    """Say what was stored, without what differs from import to import: inside ids, and who was first an address."""
    tickets = revealed(sealdesk, "tickets", tenant)
    entries = [
        [id_, *(entry.get(name) for name in ("id", "kind", "at", "by", "body_text", "name"))]
        for id_, ticket in tickets.items()
        for entry in ticket["conversation"]
    ]
    people = [
        [row.get(name) for name in ("id", "name", "email", "agent", "deleted")]
        for id_, row in revealed(sealdesk, "contacts", tenant).items()
        if isinstance(id_, int)
    ]
    milestones = [
        [id_, *(ticket.get(name) for name in ("subject", "status", "resolved_at", "first_response_at", "deleted"))]
        for id_, ticket in tickets.items()
    ]
    reports = sealdesk.json("query", "reports", "--tenant", tenant)
    times = [reports[name] for name in ("first_response", "resolution", "ratings")]
    return [sorted(entries, key=str), sorted(people, key=str), sorted(milestones, key=str), times]


def test_an_export_is_imported_whole_and_a_second_time_stores_nothing(sealdesk: Sealdesk) -> None:
    first = sealdesk.json("import", str(EXPORT), *FRESHDESK)
    second = sealdesk.json("import", str(EXPORT), *FRESHDESK)

    assert first["stored"] == first["read"] > 50
    assert second == {**dict.fromkeys(second, 0), "read": second["read"], "duplicates": second["read"]}
    assert second["read"] > 40


def test_reports_and_lists_say_what_freshdesk_said(sealdesk: Sealdesk) -> None:
    sealdesk.done("import", str(EXPORT), *FRESHDESK)
    tickets, people = revealed(sealdesk, "tickets"), revealed(sealdesk, "contacts")

    short = tickets[1001]
    assert (short["status"], short["resolved_at"][:16]) == ("closed", "2025-10-07T14:00")
    assert short["first_response_at"][:16] == "2025-10-06T09:00"
    by_id = {entry.get("id"): entry for entry in short["conversation"]}
    # Jonas was in copy, and wrote; so what he wrote is his as well, and the file that he sent.
    jonas = people[502]["subject"]
    assert jonas in short["copied"]
    assert (by_id[2002]["author"], by_id[2002]["by"]) == (jonas, "contact")
    assert (by_id[9102]["author"], by_id[9102]["by"]) == (jonas, "contact")
    assert by_id[2004]["kind"] == "forward"
    # Paula asked before she joined the team, and answers now.
    assert tickets[1003]["requester"] == people[43]["subject"] == tickets[1004]["responder"]
    assert people[43]["agent"] is True
    assert (tickets[1005]["deleted"], people[505]["deleted"]) == (True, True)
    reports = sealdesk.json("query", "reports")
    assert reports["tickets"]["total"] == 5
    assert reports["resolution"]["by_priority"]["high"]["mean"] == 30 * 3600
    assert {name: found["count"] for name, found in reports["activity"].items() if name in ("topic", "comment")} == {
        "topic": 3,
        "comment": 3,
    }


def test_lists_can_be_imported_one_by_one_in_any_order(sealdesk: Sealdesk, tmp_path: Path) -> None:
    sealdesk.done("import", str(EXPORT), *FRESHDESK)
    sealdesk.done("tenant", "add", "apart")
    for kind in reversed(list(LISTED)):
        alone = tmp_path / kind
        alone.mkdir()
        shutil.copy(EXPORT / f"{kind}.json", alone)
        sealdesk.done("import", str(alone), "--tenant", "apart")

    assert sealdesk.json("quarantine", "list", "--tenant", "apart") == []
    assert told(sealdesk, "apart") == told(sealdesk, "meadow")
    again = sealdesk.json("import", str(EXPORT), "--tenant", "apart")
    assert (again["stored"], again["quarantined"]) == (0, 0)


def test_of_a_newer_export_what_has_changed_is_one_fact_more_each(sealdesk: Sealdesk, folder: Path) -> None:
    changes: list[tuple[str, int | str, dict[str, Any]]] = [
        ("contacts", 501, {"name": "Rosa Lind", "phone": None}),
        ("agents", 41, {"signature": "<p>Mette</p>"}),
        ("companies", 61, {"note": "Pays on the first day"}),
        ("groups", 71, {"description": "All of it"}),
        ("tickets", 1001, {"subject": "Two pallets"}),
        ("conversations", 2003, {"body_text": "Call after noon"}),
        ("messages", "311", {"body_text": "Fourth time"}),
        ("topics", 8111, {"message": "We count"}),
        ("comments", 81112, {"body_text": "Seen"}),
        ("articles", 1111, {"description": "Ask"}),
        ("articles", 1112, {"status": 2}),
        ("categories", 81, {"name": "All orders"}),
        ("forums", 811, {"name": "All deliveries"}),
        ("article_categories", 101, {"name": "All"}),
        ("article_folders", 111, {"name": "Missing"}),
    ]
    sealdesk.done("import", str(folder), *FRESHDESK)
    for name, id_, fields in changes:
        rewrite(folder, name, id_, updated_at="2025-12-24T12:00:00Z", **fields)
    newer = sealdesk.json("import", str(folder), *FRESHDESK)
    again = sealdesk.json("import", str(folder), *FRESHDESK)

    assert (newer["stored"], newer["quarantined"], newer["refused"]) == (len(changes), 0, 0)
    assert again["stored"] == 0


def test_an_edited_text_is_the_only_one_left_and_a_cleared_field_is_clear(sealdesk: Sealdesk, folder: Path) -> None:
    sealdesk.done("import", str(folder), *FRESHDESK)
    rewrite(folder, "conversations", 2003, updated_at="2025-12-24T12:00:00Z", body="Later", body_text="Later")
    rewrite(folder, "contacts", 501, updated_at="2025-12-24T12:00:00Z", name="Rosa Lind", phone=None)
    rewrite(folder, "tickets", 1004, updated_at="2025-12-24T12:00:00Z", status=4, responder_id=None)
    sealdesk.done("import", str(folder), *FRESHDESK)

    tickets, rosa = revealed(sealdesk, "tickets"), revealed(sealdesk, "contacts")[501]
    entry = next(one for one in tickets[1001]["conversation"] if one.get("id") == 2003)
    assert entry["body_text"] == "Later"
    assert "before noon" not in json.dumps(list(tickets.values()))
    assert (rosa["name"], rosa.get("phone")) == ("Rosa Lind", None)
    assert (tickets[1004]["status"], tickets[1004]["responder"]) == ("resolved", None)
    assert tickets[1004]["resolved_at"][:10] == "2025-12-24"


def test_somebody_who_was_forgotten_does_not_come_back_with_the_next_export(sealdesk: Sealdesk, folder: Path) -> None:
    sealdesk.done("import", str(folder), *FRESHDESK)
    before = sealdesk.json("query", "reports")
    sealdesk.done(*SHRED, "--ref", "501")
    rewrite(folder, "contacts", 501, updated_at="2025-12-24T12:00:00Z", name="Rosa Lind")
    rewrite(folder, "tickets", 1001, updated_at="2025-12-24T12:00:00Z", subject="Two pallets")
    again = sealdesk.json("import", str(folder), *FRESHDESK)

    assert (again["stored"], again["quarantined"]) == (0, 0)
    assert again["refused"] > 0
    assert sealdesk.json("query", "reports") == before
    assert "Rosa" not in json.dumps([*revealed(sealdesk, "contacts").values()])


def test_bad_objects_go_to_the_quarantine_one_by_one(sealdesk: Sealdesk, folder: Path) -> None:
    whole = sealdesk.json("import", str(EXPORT), "--format", "freshdesk", "--tenant", "whole")
    topics = json.loads((folder / "topics.json").read_text())
    bad = [{"title": "secret-of-rosa"}, {**topics[0], "id": 7, "title": ["secret-of-rosa"]}, "secret-of-rosa"]
    (folder / "topics.json").write_text(json.dumps([bad[0], *topics, *bad[1:]]))
    sealdesk.done("tenant", "add", "meadow")
    ended = sealdesk.done("import", str(folder), *FRESHDESK, "--json")

    assert ended.json["stored"] == whole["stored"]
    assert ended.json["quarantined"] == 3
    assert "secret-of-rosa" not in ended.out + ended.err + sealdesk.done("quarantine", "list", "--tenant", "meadow").out


def test_files_of_other_names_are_named_and_skipped(sealdesk: Sealdesk, folder: Path) -> None:
    (folder / "settings.json").write_text("{}")
    ended = sealdesk.done("import", str(folder), "--tenant", "meadow")

    assert "left alone" in ended.err
    assert "settings.json" in ended.err
    assert "59 read, 59 stored" in ended.out


def test_an_export_that_cannot_be_read_is_said_before_anything_is_stored(sealdesk: Sealdesk, folder: Path) -> None:
    missing = sealdesk("import", str(folder / "nowhere"), *FRESHDESK)
    (folder / "tickets.json").write_text("<html>secret</html>")
    broken = sealdesk("import", str(folder), *FRESHDESK)
    nameless = sealdesk("import", str(EXPORT), "--format", "freshdesk")
    mapped = sealdesk("import", str(EXPORT), "--map", "x.toml", *FRESHDESK)

    assert [one.status for one in (missing, broken, nameless, mapped)] == [2, 2, 2, 2]
    assert "is no folder" in missing.err
    assert "tickets.json" in broken.err
    assert "secret" not in broken.err
    assert "tenant" in nameless.err
    assert sealdesk.json("status")["counts"]["facts"] == 0


def test_an_unknown_tenant_is_told_as_with_a_csv_file(sealdesk: Sealdesk) -> None:
    sealdesk.done("import", str(EXPORT), *FRESHDESK)
    ended = sealdesk("import", str(EXPORT), "--format", "freshdesk", "--tenant", "nobody")

    assert (ended.status, "no tenant of that name" in ended.err) == (2, True)
