"""Lines of the ledger that no place has any more are written again from the key database, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto.integrity import Integrity
from crypto.ledger import Entry, Fences, Line
from crypto.register import quarter
from crypto.tree import Tree
from crypto.wrapping import new_key
from domain.errors import GateShut, LedgerBroken
from services import wiring
from services.drill import Copies
from services.embedded import Endpoints
from services.log import STATEMENTS
from services.rewriting import write_again
from services.settings import Settings
from services.wiring import now
from tests.desks import Desk, desk_house
from tests.services.test_closing import close
from tests.services.test_restoring import fill, names, opened


@pytest.fixture
def copies(databases: Endpoints) -> Iterator[Copies]:
    made = Copies(databases)
    yield made
    made.drop()


def shred_three(databases: Endpoints, folder: Path) -> tuple[Settings, list[Line]]:
    """Shred a person with whoever was merged into that one, a ticket, and another person."""
    with opened(databases, folder) as desk:
        fill(desk)
        desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[3])
        desk.shred("contact 1")
        desk.shred("ticket 22")
        desk.shred("contact 2")
        return desk.house.settings, list(desk.house.ledger.read())


def lose(folder: Path, keep: int) -> None:
    """Take lines off the end of the ledger."""
    path = folder / "ledger" / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))


def rewritten(settings: Settings) -> range:
    with wiring.examined(settings) as found:
        return write_again(found.facts, found.keys, found.roots, found.ledger, at=now())


def said_by(line: Line) -> tuple[object, ...]:
    return line.number, line.tenant, line.kind, line.key, line.shred, line.at


@pytest.mark.parametrize("left", [0, 1, 2])
def test_lost_lines_say_again_who_went_and_the_house_starts(databases: Endpoints, tmp_path: Path, left: int) -> None:
    settings, lines = shred_three(databases, tmp_path)
    with wiring.examined(settings) as found:
        targets = [found.ledger.fences_of(line).targets for line in lines]
    lose(tmp_path, left)
    with pytest.raises(LedgerBroken, match="behind the key database"), opened(databases, tmp_path):
        pass
    assert rewritten(settings) == range(left + 1, 4)
    with opened(databases, tmp_path) as desk:
        house = desk.house
        again = list(house.ledger.read())
        assert again[:left] == lines[:left]
        assert [said_by(line) for line in again] == [said_by(line) for line in lines]
        assert [set(house.ledger.fences_of(line).targets) for line in again] == [set(each) for each in targets]
        for line in again[left:]:
            fences = house.ledger.fences_of(line)
            with house.keys.transaction() as cursor:
                kept = Tree(cursor, house.roots).service_keys(line.tenant, "fence")[quarter(line.at)]
            assert fences.key is not None
            assert (fences.tags, fences.key.material) == ((), kept.key.material)
        assert names(desk) == set()
        for number, name in ((1, "ann"), (2, "bob"), (3, "cy")):
            assert desk.happens("contact.updated", f"contact {number}", id=number, name=name).refused == 1
        assert Integrity(house.keys, house.roots, house.ledger, now).check().is_clean
        desk.happens("contact.created", "contact 4", id=4, name="dee")
        desk.shred("contact 4")
        assert house.ledger.head() == 4


def test_a_restored_copy_is_brought_up_to_lines_that_were_written_again(
    databases: Endpoints, tmp_path: Path, copies: Copies
) -> None:
    with opened(databases, tmp_path) as desk:
        fill(desk)
    copies.make("b0")
    with opened(databases, tmp_path) as desk:
        desk.shred("contact 1")
        settings = desk.house.settings
    lose(tmp_path, 0)
    assert rewritten(settings) == range(1, 2)
    copies.restore("b0")
    with opened(databases, tmp_path) as desk:
        assert names(desk) == {"bob", "cy"}


def test_a_closed_tenant_is_closed_again_on_the_ledger(databases: Endpoints, tmp_path: Path) -> None:
    with desk_house(databases, tmp_path) as house:
        desk = Desk(house)
        fill(desk)
        desk.shred("contact 1")
        close(desk)
        settings, lines = house.settings, list(house.ledger.read())
    lose(tmp_path, 0)
    assert rewritten(settings) == range(1, 3)
    with desk_house(databases, tmp_path) as house:
        again = list(house.ledger.read())
        assert [said_by(line) for line in again] == [said_by(line) for line in lines]
        assert [line.kind for line in again] == ["subject", "tenant"]
        assert house.tenants.named("acme").closed_at is not None
        assert Integrity(house.keys, house.roots, house.ledger, now).check().is_clean


def test_nothing_is_written_where_nothing_is_missing_or_the_key_database_does_not_know_it(
    databases: Endpoints, tmp_path: Path
) -> None:
    settings, lines = shred_three(databases, tmp_path)
    assert list(rewritten(settings)) == []
    with wiring.examined(settings) as found:
        assert list(found.ledger.read()) == lines
    lose(tmp_path, 1)
    with wiring.examined(settings) as found:
        with found.keys.transaction() as cursor:
            cursor.execute("UPDATE shreds SET line = NULL WHERE line = 2")
        with pytest.raises(LedgerBroken, match="does not know what line 2"):
            write_again(found.facts, found.keys, found.roots, found.ledger, at=now())
        with found.keys.transaction() as cursor:
            cursor.execute("UPDATE shreds SET line = 2 WHERE line IS NULL")
        found.facts.see_line(4)
        with pytest.raises(LedgerBroken, match="does not know what line 4"):
            write_again(found.facts, found.keys, found.roots, found.ledger, at=now())
        assert list(found.ledger.read()) == lines[:1]


def test_another_ledger_or_an_older_key_database_is_refused(databases: Endpoints, tmp_path: Path) -> None:
    settings, lines = shred_three(databases, tmp_path)
    path = tmp_path / "ledger" / "ledger.jsonl"
    with wiring.examined(settings) as found:
        shutil.rmtree(tmp_path / "ledger")
        found.ledger.append(**entry(lines[1]))
        with pytest.raises(LedgerBroken, match="another ledger"):
            write_again(found.facts, found.keys, found.roots, found.ledger, at=now())
        path.unlink()
        with found.facts.cursor() as cursor:
            cursor.execute(STATEMENTS.see_issue.sql, {"issue": found.facts.issue_seen() + 100})
        with pytest.raises(GateShut, match="older than its log"):
            write_again(found.facts, found.keys, found.roots, found.ledger, at=now())
    assert not path.exists()


def entry(line: Line) -> Entry:
    return {
        "tenant": line.tenant,
        "kind": line.kind,
        "key": line.key,
        "shred": line.shred,
        "at": line.at,
        "fences": Fences((line.key,), new_key(), ()),
        "issue_counter": line.issue_counter,
    }


def test_a_line_of_a_quarter_whose_ledger_key_expired_is_written_as_of_now(
    databases: Endpoints, tmp_path: Path
) -> None:
    settings, lines = shred_three(databases, tmp_path)
    lose(tmp_path, 0)
    with wiring.examined(settings) as found:
        with found.keys.transaction() as cursor:
            cursor.execute("UPDATE shreds SET destroyed_at = '2024-02-03T00:00Z' WHERE line = 1")
        found.roots.secret("ledger-2024-Q1")
        found.roots.expire("ledger-2024-Q1")
        write_again(found.facts, found.keys, found.roots, found.ledger, at=now())
        again = list(found.ledger.read())
        assert [line.shred for line in again] == [line.shred for line in lines]
        assert again[0].at > lines[2].at
        assert lines[0].key in found.ledger.fences_of(again[0]).targets
