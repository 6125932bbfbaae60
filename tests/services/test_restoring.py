"""Copies that are restored: who was shredded stays gone, all others open, what cannot be brought back is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from crypto.integrity import Integrity
from crypto.keystore import rows_of
from crypto.tree import Tree
from crypto.turning import Turning
from domain.errors import GateShut, KeysBehind, KeysUnavailable, LedgerBroken, LedgerUnavailable
from domain.personal import Kind, Reference
from services import drill, epochs, gate, wiring
from services.cli.app import run
from services.drill import Copies
from services.embedded import Endpoints
from services.restoring import Restoring
from services.shredding import Order
from services.wiring import House, now
from tests.desks import Desk, desk_house


@pytest.fixture
def copies(databases: Endpoints) -> Iterator[Copies]:
    made = Copies(databases)
    yield made
    made.drop()


@contextmanager
def opened(databases: Endpoints, folder: Path) -> Iterator[Desk]:
    """Open the house as a command does: what a crash or a restore left is carried out first."""
    with desk_house(databases, folder) as house:
        house.shredding.resume()
        yield desk_of(house)


def desk_of(house: House) -> Desk:
    """Give a desk whose records have numbers that no desk before it gave."""
    desk = Desk(house)
    desk.said = [b""] * (1_000 * next(_desks))
    return desk


_desks = count(1)


def fill(desk: Desk) -> None:
    for number, name in ((1, "ann"), (2, "bob"), (3, "cy")):
        desk.happens("contact.created", f"contact {number}", id=number, name=name, email=f"{name}@example.org")
        ticket = number + 20
        desk.happens("ticket.opened", f"ticket {ticket}", id=ticket, requester_id=number, subject=f"from {name}")


@pytest.fixture
def filled(databases: Endpoints, tmp_path: Path, copies: Copies) -> Copies:
    """Fill a house in which nobody was shredded yet, and keep it as the copy `b0`."""
    with opened(databases, tmp_path) as desk:
        fill(desk)
    copies.make("b0")
    return copies


class Crash(BaseException):
    """The process ends here."""


def dying(*_: Any, **__: Any) -> None:
    raise Crash


def go_on(house: House) -> None:
    """Let the process that began a shred go on with it, although others came in between."""
    with house.keys.transaction() as cursor:
        [row] = rows_of(cursor, "SELECT shred_id FROM shreds")
    begun = house.shredding._destroy_and_tell(row["shred_id"], (), None, may_begin=True)
    assert begun is not None
    house.shredding._finish([begun], search_living=False)


def turn(house: House) -> None:
    """Turn the epoch and destroy the root before it, at once."""
    turning = Turning(house.keys, house.roots, now)
    turning.turn()
    turning.destroy_older(grace=timedelta(0))
    epochs.certify_destroyed(house.keys, house.certifying.recertify, at=now())


def subjects(desk: Desk) -> dict[int, Any]:
    return {row["id"]: row["subject"] for row in desk.tickets() if isinstance(row.get("id"), int)}


def names(desk: Desk) -> set[str]:
    return {row["name"] for row in desk.contacts() if isinstance(row.get("name"), str)}


def test_after_a_restore_within_an_epoch_shreds_are_carried_out_again_before_anything_is_served(
    databases: Endpoints, tmp_path: Path, filled: Copies
) -> None:
    with opened(databases, tmp_path) as desk:
        desk.happens("contact.created", "contact 9", id=9, name="zoe", email="zoe@example.org")
        desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[3])
        desk.shred("contact 1")
        desk.shred("ticket 22")
        desk.shred("contact 9")
        after = (names(desk), subjects(desk))
    filled.restore("b0")
    with desk_house(databases, tmp_path) as house:
        desk = desk_of(house)
        assert names(desk) == after[0] == {"bob"}
        assert subjects(desk) == after[1]
        for number, name in ((1, "ann"), (3, "cy"), (9, "zoe")):
            assert desk.happens("contact.updated", f"contact {number}", id=number, name=name).refused == 1, name
        assert desk.happens("ticket.replied", "ticket 22", ticket_id=22, body="late", user_id=2).refused == 1
        assert sum(house.residue.of_all(desk.tenant.id).values()) == 0
        assert desk.happens("contact.updated", "contact 2", id=2, name="bobby").stored == 1
    with desk_house(databases, tmp_path) as again:
        assert names(Desk(again)) == {"bobby"}


@pytest.mark.parametrize("which", [("keys", "log"), ("keys",)], ids=" and ".join)
def test_a_copy_that_was_made_during_a_shred_is_brought_up_to_all_that_its_line_says(
    databases: Endpoints, tmp_path: Path, copies: Copies, monkeypatch: pytest.MonkeyPatch, which: tuple[str, ...]
) -> None:
    """The copy has the row as it was approved. Whoever was merged in since, and a new address, is on the line alone."""
    with opened(databases, tmp_path) as desk:
        fill(desk)
        with monkeypatch.context() as patch:
            patch.setattr(desk.house.shredding, "_destroy", dying)
            with pytest.raises(Crash):
                desk.shred("contact 1")
    copies.make("b0")
    with desk_house(databases, tmp_path) as house:
        desk = desk_of(house)
        assert desk.happens("contact.updated", "contact 1", id=1, email="second@example.org").stored == 1
        merged = desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[3])
        assert merged.stored == 1
        go_on(house)
        assert names(desk) == {"bob"}
    copies.restore("b0", *which)
    if which == ("keys",):
        with wiring.databases(databases) as (facts, keys):
            gate.accept_loss(facts, keys)
    with desk_house(databases, tmp_path) as house:
        desk = desk_of(house)
        assert names(desk) == {"bob"}
        for number, address in enumerate(("ann@example.org", "second@example.org", "cy@example.org"), start=80):
            late = desk.happens("ticket.opened", f"ticket {number}", id=number, email=address, subject="late")
            assert late.refused == 1, address
        assert sum(house.residue.of_all(desk.tenant.id).values()) == 0
        assert Integrity(house.keys, house.roots, house.ledger, now).check().is_clean


def test_whoever_may_not_mend_gets_nothing_while_a_line_is_not_carried_out_and_nobody_is_at_it(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(databases, tmp_path) as house:
        desk = Desk(house)
        fill(desk)
        with monkeypatch.context() as patch:
            patch.setattr(Tree, "destroy_subjects", dying)
            with pytest.raises(Crash):
                desk.shred("contact 1")
        with pytest.raises(GateShut, match="may not mend"):
            gate.check_strictly(house.facts, house.keys, house.ledger)
        [shred] = [line.shred for line in house.ledger.read()]
        with ThreadPoolExecutor() as pool:
            # Many start at once, and none takes another's look for the one who is at it.
            looks = [pool.submit(gate.is_cut_off, house.keys, house.ledger) for _ in range(24)]
            assert all(look.result(timeout=30) for look in looks)
        with house.keys.alone(str(shred)):
            # Somebody is at it, and the next look finds it done.
            assert house.keys.is_taken(str(shred))
            gate.check_strictly(house.facts, house.keys, house.ledger)
        assert not house.keys.is_taken(str(shred))
        house.shredding.resume()
        gate.check_strictly(house.facts, house.keys, house.ledger)
        assert names(desk) == {"bob", "cy"}


def test_the_fact_of_a_shred_is_told_of_the_one_who_went_and_not_of_whom_that_one_was_merged_into(
    databases: Endpoints, tmp_path: Path, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(databases, tmp_path) as desk:
        fill(desk)
        found = desk.house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "1"))
        merged = desk.happens("contact.merged", "contact 2", primary_contact_id=2, secondary_contact_ids=[1])
        assert merged.stored == 1
    copies.make("b0")
    with opened(databases, tmp_path) as desk:
        # As if the merge had come between the look and the row.
        with monkeypatch.context() as patch:
            patch.setattr(desk.house.shredding, "_again", lambda tenant, found: found)
            desk.house.shredding.request(found, Order(desk.tenant.id, "test", "tester"))
        assert names(desk) == {"bob", "cy"}
    copies.restore("b0")
    with opened(databases, tmp_path) as desk:
        assert names(desk) == {"bob", "cy"}
        desk.house.projecting.rebuild("contacts")
        assert names(desk) == {"bob", "cy"}


def test_once_the_old_root_is_destroyed_an_older_copy_of_the_keys_opens_nothing(
    databases: Endpoints, tmp_path: Path, filled: Copies
) -> None:
    with opened(databases, tmp_path) as desk:
        desk.shred("contact 1")
        turn(desk.house)
        certificate = desk.house.shredding.first_certificate(desk.tenant.id, Reference(Kind.PERSON, "1"))
        assert certificate is not None
        assert certificate["unrecoverable_since"] is not None
    filled.make("b1")
    filled.restore("b0", "keys")
    with pytest.raises(KeysUnavailable), opened(databases, tmp_path):
        pass
    filled.restore("b1", "keys")
    filled.restore("b0", "log")
    with opened(databases, tmp_path) as desk:
        assert names(desk) == {"bob", "cy"}
        assert subjects(desk)[22] == "from bob"
        assert desk.happens("ticket.replied", "ticket 22", ticket_id=22, body="after", user_id=2).stored == 1


def test_keys_that_are_older_than_their_log_stop_the_start_until_the_loss_is_accepted(
    databases: Endpoints, tmp_path: Path, filled: Copies
) -> None:
    with opened(databases, tmp_path) as desk:
        desk.happens("contact.created", "contact 9", id=9, name="zoe", email="zoe@example.org")
        desk.shred("contact 1")
    filled.restore("b0", "keys")
    with pytest.raises(GateShut, match="older than its log"), opened(databases, tmp_path):
        pass
    with wiring.databases(databases) as (facts, keys):
        before, seen = gate.accept_loss(facts, keys)
    assert before < seen
    with opened(databases, tmp_path) as desk:
        shown = desk.contacts()
        assert {row["name"] for row in shown if isinstance(row.get("name"), str)} == {"bob", "cy"}
        assert sum(desk.house.residue.of_all(desk.tenant.id).values()) == 0


def test_a_log_from_before_a_shred_is_told_of_it_again(databases: Endpoints, tmp_path: Path, copies: Copies) -> None:
    with opened(databases, tmp_path) as desk:
        fill(desk)
        desk.house.projecting.catch_up()
    copies.make("b0")
    with opened(databases, tmp_path) as desk:
        desk.shred("contact 1")
        desk.shred("ticket 22")
    copies.restore("b0", "log")
    with opened(databases, tmp_path) as desk:
        assert names(desk) == {"bob", "cy"}
        assert {number: text for number, text in subjects(desk).items() if text == "from cy"} == {23: "from cy"}
        assert "from ann" not in subjects(desk).values()
        assert "from bob" not in subjects(desk).values()


@pytest.mark.parametrize("change", ["older", "removed", "changed", "added", "gone"])
def test_a_ledger_that_is_not_as_it_was_stops_the_start(databases: Endpoints, tmp_path: Path, change: str) -> None:
    with opened(databases, tmp_path) as desk:
        fill(desk)
        for number in (1, 2, 3):
            desk.shred(f"contact {number}")
    path = tmp_path / "ledger" / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    match change:
        case "older":
            lines = lines[:-1]
        case "removed":
            lines = [lines[0], lines[2]]
        case "changed":
            lines[1] = re.sub(rb'"issue_counter":\d+', b'"issue_counter":0', lines[1])
        case "added":
            lines = [*lines, lines[-1]]
        case _:
            lines = []
    path.write_bytes(b"".join(lines))
    with pytest.raises(LedgerBroken) as error, opened(databases, tmp_path):
        pass
    assert re.search("restore the other copy|line 2|line 4", str(error.value))


def test_a_running_house_stops_when_an_older_copy_takes_the_place_of_its_keys(
    databases: Endpoints, tmp_path: Path, filled: Copies
) -> None:
    with opened(databases, tmp_path) as desk:
        desk.shred("contact 1")
        filled.restore("b0", "keys")
        with pytest.raises(KeysBehind):
            desk.contacts()
        with pytest.raises(KeysBehind):
            desk.happens("contact.created", "contact 5", id=5, name="eve")
        with pytest.raises(KeysBehind):
            gate.check(desk.house.facts, desk.house.keys, desk.house.ledger)


@pytest.mark.parametrize("longest", [gate.LINES, 0])
def test_a_key_database_from_before_a_shred_is_found_however_long_the_ledger(
    databases: Endpoints, tmp_path: Path, filled: Copies, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    """The log was told of every line and is not restored: it cannot answer for the key database."""
    monkeypatch.setattr(gate, "LINES", longest)
    with opened(databases, tmp_path) as desk:
        desk.shred("contact 1")
        desk.shred("ticket 22")
    with opened(databases, tmp_path) as desk:
        assert desk.house.facts.line_seen() == desk.house.ledger.head() == 2
    filled.restore("b0", "keys")
    with pytest.raises(GateShut, match="older than its log"), opened(databases, tmp_path):
        pass
    with wiring.databases(databases) as (facts, keys):
        gate.accept_loss(facts, keys)
    with wiring.examined(desk.house.settings) as found, pytest.raises(GateShut, match="has not heard of a shred"):
        gate.check(found.facts, found.keys, found.ledger)
    with opened(databases, tmp_path) as desk:
        assert names(desk) == {"bob", "cy"}
        assert desk.happens("contact.updated", "contact 1", id=1, name="ann").refused == 1
        assert desk.happens("ticket.replied", "ticket 22", ticket_id=22, body="late", user_id=2).refused == 1
        gate.check(desk.house.facts, desk.house.keys, desk.house.ledger)


@pytest.mark.parametrize("lacking", [[1], [2], [3], [1, 3], [2, 3], [1, 2, 3]])
def test_whichever_lines_the_key_database_lacks_are_named_and_nothing_else_is_read(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: list[int]
) -> None:
    with opened(databases, tmp_path) as desk:
        fill(desk)
        for number in (1, 2, 3):
            desk.shred(f"contact {number}")
    monkeypatch.setattr(gate, "LINES", 0)
    with opened(databases, tmp_path) as desk:
        house = desk.house
        read: list[int] = []
        whole = house.ledger.since

        def since(number: int) -> Iterator[Any]:
            for line in whole(number):
                read.append(line.number)
                yield line

        monkeypatch.setattr(house.ledger, "since", since)
        monkeypatch.setattr(house.ledger, "read", lambda: pytest.fail("the whole ledger was read"))
        gate.check(house.facts, house.keys, house.ledger)
        assert read == [], "where nothing is new, only the end is looked at"
        with house.keys.transaction() as cursor:
            cursor.execute("DELETE FROM shreds WHERE line = ANY(%s)", [lacking])
        with pytest.raises(GateShut, match="has not heard of a shred"):
            gate.check(house.facts, house.keys, house.ledger)
        assert read == list(range(min(lacking), max(lacking) + 1))
        unknown, untold = gate.lines_missing(house.facts, house.keys, house.ledger)
        assert ([line.number for line in unknown], untold) == (lacking, [])


def test_every_root_in_use_has_to_open_before_anything_is_made(databases: Endpoints, tmp_path: Path) -> None:
    with opened(databases, tmp_path) as desk:
        fill(desk)
    (tmp_path / "roots" / "epochs" / "000001.key").rename(tmp_path / "elsewhere")
    with pytest.raises(KeysUnavailable), opened(databases, tmp_path):
        pass
    assert list((tmp_path / "roots" / "epochs").iterdir()) == [], "nothing was made in its place"
    (tmp_path / "elsewhere").rename(tmp_path / "roots" / "epochs" / "000001.key")
    with opened(databases, tmp_path) as desk, desk.house.keys.transaction() as cursor:
        assert rows_of(cursor, "SELECT DISTINCT epoch FROM wrapping_keys") == [{"epoch": 1}]


def test_a_start_that_was_killed_while_it_carried_out_leaves_it_to_the_next(
    databases: Endpoints, tmp_path: Path, filled: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(databases, tmp_path) as desk:
        desk.shred("contact 1")
    filled.restore("b0")

    class Killed(BaseException):
        pass

    def killed(self: Restoring) -> bool:
        raise Killed

    with monkeypatch.context() as patch:
        # The shred is written down, and nothing of it carried out.
        patch.setattr(Restoring, "_is_pending", killed)
        with pytest.raises(Killed), desk_house(databases, tmp_path):
            pass
    with desk_house(databases, tmp_path) as house:
        assert names(Desk(house)) == {"bob", "cy"}


def test_a_ledger_key_that_is_out_of_reach_stops_the_start_and_carries_out_no_half(
    databases: Endpoints, tmp_path: Path, filled: Copies
) -> None:
    with opened(databases, tmp_path) as desk:
        desk.shred("contact 1")
    filled.restore("b0")
    [secret] = (tmp_path / "roots" / "secrets").glob("ledger-*.key")
    secret.rename(tmp_path / "elsewhere")
    with pytest.raises(KeysUnavailable), desk_house(databases, tmp_path):
        pass
    (tmp_path / "elsewhere").rename(secret)
    with desk_house(databases, tmp_path) as house:
        desk = desk_of(house)
        assert names(desk) == {"bob", "cy"}
        assert desk.happens("contact.updated", "contact 1", id=1, name="ann").refused == 1


def test_once_the_fences_have_expired_a_restored_copy_still_carries_the_shred_out(
    databases: Endpoints, tmp_path: Path, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(databases, tmp_path) as desk:
        fill(desk)
        desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[3])
    copies.make("b0")
    with opened(databases, tmp_path) as desk:
        desk.happens("contact.created", "contact 9", id=9, name="zoe", email="zoe@example.org")
        desk.shred("contact 1")
        desk.shred("contact 9")
    monkeypatch.setattr(wiring, "now", lambda: now() + timedelta(days=600))
    with desk_house(databases, tmp_path):
        assert not list((tmp_path / "roots" / "secrets").glob("ledger-*.key")), "the ledger key went with the fences"
    copies.restore("b0")
    with desk_house(databases, tmp_path) as house:
        desk = desk_of(house)
        assert names(desk) == {"bob"}
        assert sum(house.residue.of_all(desk.tenant.id).values()) == 0
        assert Integrity(house.keys, house.roots, house.ledger, wiring.now).check().is_clean
    with desk_house(databases, tmp_path) as house:
        desk = desk_of(house)
        # As without a restore: the fences have had their time, and whoever comes is somebody new.
        for number, name in ((1, "ann"), (9, "zoe")):
            assert desk.happens("contact.updated", f"contact {number}", id=number, name=name).stored == 1
        assert names(desk) == {"bob", "ann", "zoe"}


def test_a_reference_that_expired_says_nothing_of_an_earlier_certificate(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(databases, tmp_path) as desk:
        fill(desk)
        desk.shred("contact 1")
    monkeypatch.setattr(wiring, "now", lambda: now() + timedelta(days=600))
    with desk_house(databases, tmp_path) as house:
        desk = desk_of(house)
        certificate = desk.shred("contact 2")
        for number, found in ((1, None), (2, certificate)):
            reference = Reference(Kind.PERSON, str(number))
            assert house.shredding.first_certificate(desk.tenant.id, reference) == found


def test_a_line_that_comes_late_over_a_network_is_carried_out_although_its_shred_was_given_up(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(databases, tmp_path) as house:
        desk, append, sent = desk_of(house), house.ledger.append, []

        def unanswered(**entry: Any) -> Any:
            sent.append(entry)
            raise LedgerUnavailable("the brokers do not say")

        fill(desk)
        monkeypatch.setattr(house.ledger, "append", unanswered)
        with pytest.raises(LedgerUnavailable):
            desk.shred("contact 1")
        assert house.shredding.resume() == 1
        assert names(desk) == {"ann", "bob", "cy"}, "it was given up"
        append(**sent[0])
        with pytest.raises(GateShut, match="has not heard of a shred"):
            gate.check(house.facts, house.keys, house.ledger)
    with desk_house(databases, tmp_path) as house:
        desk = desk_of(house)
        assert names(desk) == {"bob", "cy"}
        assert desk.happens("contact.updated", "contact 1", id=1, name="ann").refused == 1
        gate.check(house.facts, house.keys, house.ledger)
        assert Integrity(house.keys, house.roots, house.ledger, now).check().is_clean


def test_the_drill_holds_in_every_case_and_says_so_in_its_last_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["drill", "restore", "--json"]) == 0
    said = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert said["ok"] is True
    assert set(said["cases"]) == {
        "same_epoch",
        "only_the_log",
        "only_the_keys",
        "ledger_older",
        "ledger_removed",
        "ledger_changed",
        "ledger_added",
        "standby",
        "after_a_turn",
        "old_log",
    }
    assert all(said["cases"].values())


def test_a_drill_in_which_nothing_is_carried_out_again_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the gate the restored copy brings people back, and the drill notices."""
    monkeypatch.setattr(Restoring, "bring_up", lambda self: 0)
    with pytest.raises(drill.DrillFailed, match="the living open, and nobody else"):
        drill.restore(lambda case: None)
