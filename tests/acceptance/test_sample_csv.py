"""The whole of a public data set: imported, asked, one person of it forgotten, and everything compared."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.acceptance.conftest import Ended, Sealdesk

ROOT = Path(__file__).parents[2]
SAMPLE = Path(os.environ.get("SEALDESK_SAMPLE_CSV") or ROOT.parent / "shared" / "data" / "customer_support_tickets.csv")
MAP = str(ROOT / "examples" / "support_tickets.toml")
ADDRESS = "asmith@example.com"
IMPORT_SECONDS = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not SAMPLE.is_file(),
        reason=f"no sample at {SAMPLE}: get the Customer Support Ticket Dataset and set SEALDESK_SAMPLE_CSV",
    ),
]


@dataclass
class History:
    """What the commands said, in order: the tests look at it from several sides."""

    seconds: float = 0
    first: Any = None
    second: Any = None
    found: Any = None
    dry: Any = None
    tickets: list[list[dict[str, Any]]] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    erasures: Any = None
    certificate: Any = None
    rebuilt: list[dict[str, Any]] = field(default_factory=list)
    third: Any = None
    revealed: list[str] = field(default_factory=list)
    verified: Ended | None = None
    checked: Ended | None = None
    forged: Ended | None = None
    repeated: Any = None


@pytest.fixture(scope="module")
def history(shared_sealdesk: Sealdesk, tmp_path_factory: pytest.TempPathFactory) -> History:
    sealdesk, folder, told = shared_sealdesk, tmp_path_factory.mktemp("certificates"), History()
    import_sample = ("import", str(SAMPLE), "--format", "csv", "--map", MAP)

    def look() -> None:
        told.tickets.append(sealdesk.json("query", "tickets"))
        told.reports.append(sealdesk.done("query", "reports", "--json").out)

    began = monotonic()
    told.first = sealdesk.json(*import_sample)
    told.seconds = monotonic() - began
    told.second = sealdesk.json(*import_sample)
    look()
    told.found = sealdesk.json("find", "-", stdin=ADDRESS.encode())
    shred = ("shred", "contact", "--email", "-", "--ground", "art17-1-a")
    told.dry = sealdesk.json(*shred, "--dry-run", stdin=ADDRESS.encode())
    certificate = folder / "certificate.json"
    told.certificate = sealdesk.json(*shred, "--yes", "--out", str(certificate), stdin=ADDRESS.encode())
    look()
    sealdesk.done("rebuild", "all")
    look()
    told.erasures = sealdesk.json("query", "erasures")
    told.repeated = sealdesk.json(*shred, "--yes", stdin=ADDRESS.encode())
    told.third = sealdesk.json(*import_sample)
    look()
    told.revealed = sealdesk.done("query", "tickets", "--json", "--reveal", "--why", "test").out.splitlines()
    told.verified = sealdesk("verify", "--json")
    told.checked = sealdesk("certificate", "verify", str(certificate), "--json")
    changed = json.loads(certificate.read_text())
    changed["counts"]["facts"] -= 1
    (folder / "forged.json").write_text(json.dumps(changed))
    told.forged = sealdesk("certificate", "verify", str(folder / "forged.json"))
    return told


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with SAMPLE.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_whole_file_is_imported_in_under_a_minute_and_counted(history: History, rows: list[dict[str, str]]) -> None:
    assert history.seconds < IMPORT_SECONDS
    assert history.first == {"read": len(rows), "stored": len(rows), "duplicates": 0, "refused": 0, "quarantined": 0}
    assert json.loads(history.reports[0])["tickets"]["total"] == len(rows) == len(history.tickets[0])


def test_the_same_file_again_stores_nothing(history: History, rows: list[dict[str, str]]) -> None:
    assert history.second == {"read": len(rows), "stored": 0, "duplicates": len(rows), "refused": 0, "quarantined": 0}


def test_an_address_under_four_names_is_one_person_with_four_tickets(
    history: History, rows: list[dict[str, str]]
) -> None:
    theirs = [row for row in rows if row["Customer Email"] == ADDRESS]
    assert len({row["Customer Name"] for row in theirs}) == len(theirs) == 4
    [person] = history.found["found"]
    assert (person["kind"], person["tickets"]) == ("person", 4)


def test_the_dry_run_told_what_the_shred_did(history: History) -> None:
    assert history.dry["tickets"] == 4
    assert history.certificate["counts"] == history.dry


def test_the_shred_changes_exactly_the_four_tickets_of_the_person(history: History) -> None:
    before, after, *_ = history.tickets
    assert len(before) == len(after)
    changed = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert len(changed) == 4
    for one, other in changed:
        assert other["ticket"] == one["ticket"]
        assert (other["erased"], other["requester"]) == (True, None)
        assert other["subject"] == other["description"] == {"shredded": True}
        assert (other["status"], other["opened_at"], other["rating"]) == (
            one["status"],
            one["opened_at"],
            one["rating"],
        )


def test_the_reports_are_equal_byte_for_byte_whatever_happens(history: History) -> None:
    assert len(set(history.reports)) == 1
    assert len(history.reports) == 4


def test_building_every_read_model_anew_changes_no_row(history: History) -> None:
    _, shredded, rebuilt, _ = history.tickets
    assert rebuilt == shredded


def test_the_erasures_count_the_person_and_the_tickets(history: History) -> None:
    [day] = history.erasures["by_day"].values()
    assert (day["subjects"], day["tickets"]) == (1, 4)


def test_the_same_file_once_more_is_refused_where_it_is_about_the_person(
    history: History, rows: list[dict[str, str]]
) -> None:
    assert history.third == {
        "read": len(rows),
        "stored": 0,
        "duplicates": len(rows) - 4,
        "refused": 4,
        "quarantined": 0,
    }
    assert history.tickets[3] == history.tickets[1]


def test_nothing_of_the_person_is_revealed_afterwards(history: History, rows: list[dict[str, str]]) -> None:
    names = {row["Customer Name"] for row in rows if row["Customer Email"] == ADDRESS}
    shredded = [line for line in history.revealed if '"shredded":true' in line]
    assert len(shredded) == 4
    assert not [line for line in shredded if ADDRESS in line or any(name in line for name in names)]


def test_no_residue_is_found(history: History) -> None:
    assert history.verified is not None
    assert history.verified.status == 0
    assert history.verified.json["residue"] == 0


def test_the_certificate_verifies_and_with_one_number_changed_it_does_not(history: History) -> None:
    assert history.checked is not None
    assert history.forged is not None
    assert history.checked.json == {"valid": True, "origin_checked": False}
    assert (history.forged.status, history.forged.out) == (1, "")


def test_a_repeated_shred_gives_the_first_certificate(history: History) -> None:
    assert history.repeated == history.certificate
