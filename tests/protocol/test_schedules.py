"""Schedules that are worth a name. Each is found by what holds at the step, so that it stays what it says."""

from __future__ import annotations

import pytest

from domain.errors import GateShut
from services import gate, wiring
from tests.protocol import judging, seams
from tests.protocol.exploring import FILLED, Explorer, World
from tests.protocol.scene import ACTS, BEFORE, BOB, REFUSED
from tests.protocol.stepping import Schedule, Step

pytestmark = pytest.mark.slow

_BUCKET = "SELECT epoch, losses FROM wrapping_keys WHERE kind = 'bucket'"
_SUBJECTS = "SELECT subject_id, wrapped, losses FROM subjects"


def test_a_purge_whose_subjects_key_is_replaced_while_its_bucket_is_not(explorer: Explorer) -> None:
    """The turn dies between the two: the key beneath the merged one is new, all above it is still the old one."""
    merged = explorer.make("merged", FILLED, "merge")
    explorer.worlds.put_back(merged.name)
    before = {row["subject_id"]: bytes(row["wrapped"]) for row in explorer.worlds.sql("keys", _SUBJECTS)}

    def only_the_subject_is_new(step: Step) -> bool:
        [bucket] = explorer.worlds.sql("keys", _BUCKET)
        now = {row["subject_id"]: bytes(row["wrapped"]) for row in explorer.worlds.sql("keys", _SUBJECTS)}
        return bool(bucket["epoch"] == 1 and now != before and len(set(now.items()) - set(before.items())) == 1)

    purged = explorer.make("purged", merged, "purge his")
    found = explorer.find(purged, ["turn"], only_the_subject_is_new)
    assert found
    for number in found:
        explorer.run(purged, ["turn"], Schedule("turn", kills=(number,)))
        explorer.run(merged, ["turn", "purge his"], Schedule("turn", switches=((number, "purge his"),)))


def test_a_turn_does_not_write_back_a_key_that_a_shred_has_just_dropped(explorer: Explorer) -> None:
    """The turn has read the key and wrapped it anew, and stands before its commit; or the shred stands before its."""
    explorer.stops = seams.CHANGES | {"keys wrote"}
    lossy = explorer.make("lossy", FILLED, "edit")
    waited = 0
    for number in explorer.find(lossy, ["turn", "shred ann"], lambda step: step.point == "keys wrote"):
        steps = explorer.run(lossy, ["turn", "shred ann"], Schedule("turn", switches=((number, "shred ann"),)))
        # The shred came to the lock, and the turn went on without having been asked.
        waited += steps[number].who == "shred ann" and steps[number + 1].who == "turn"
    assert waited, "whoever is in a replacement is alone"
    gave_way = 0
    for number in explorer.find(lossy, ["shred ann", "turn"], lambda step: step.point in ("lined", "keys wrote")):
        steps = explorer.run(lossy, ["shred ann", "turn"], Schedule("shred ann", switches=((number, "turn"),)))
        gave_way += any(step.point == "again" for step in steps)
    assert gave_way, "a replacement gives way to whoever is at work"


def test_a_shred_after_its_bucket_was_done_in_this_turn_is_finished_by_the_next(explorer: Explorer) -> None:
    lossy = explorer.make("lossy", FILLED, "edit")
    done = "SELECT filled_at IS NULL AS unfilled FROM epochs WHERE epoch = 2"

    def bucket_is_done(step: Step) -> bool:
        rows = explorer.worlds.sql("keys", done)
        return bool(rows and rows[0]["unfilled"] and explorer.worlds.sql("keys", _BUCKET)[0]["epoch"] == 2)

    [number, *_] = explorer.find(lossy, ["turn", "shred ann"], bucket_is_done)
    schedule = Schedule("turn", switches=((number, "shred ann"),))
    explorer.worlds.put_back(lossy.name)
    explorer.step([ACTS["turn"], ACTS["shred ann"]], schedule)
    [bucket] = explorer.worlds.sql("keys", _BUCKET)
    assert bucket["epoch"] == 2
    assert bucket["losses"] > 0, "the turn does not forget a loss that it has not carried out"
    explorer.run(lossy, ["turn", "shred ann"], schedule)


def test_a_requester_change_and_an_old_backup(explorer: Explorer) -> None:
    """Who gained the ticket is shredded. Copies from before the change know nothing of that."""
    moved = explorer.make("moved", FILLED, "move")
    after = explorer.make("gone", moved, "shred bob")
    # Both databases are old: the change is not known, is sent again, and refused.
    both = World(after.name, keys=FILLED.name, log=FILLED.name)
    explorer.one_killed(both, "start")
    explorer.worlds.put_back(after.name, keys=FILLED.name, log=FILLED.name)
    with explorer.opened("again") as desk:
        assert ACTS["move"].do(desk) == REFUSED
    # The log alone is old: the keys of what was moved have died, and stay dead, though the log knows of no move.
    readable = explorer.known[moved.name].model.readable([BOB])
    explorer.worlds.put_back(after.name, log=FILLED.name)
    with explorer.opened("judge") as desk:
        judging.check_log(desk, readable)
        assert ACTS["move"].do(desk) == REFUSED
        judging.check_log(desk, readable)
    # The keys alone are old: once the loss is accepted, the change that stands on the log is carried out anew.
    explorer.worlds.put_back(after.name, keys=FILLED.name)
    accept_loss(explorer)
    with explorer.opened("judge") as desk:
        desk.house.shredding.mend()
        judging.check_log(desk, readable, lost_after=_length(explorer, FILLED))
        judging.check_thief(desk, explorer.worlds)


def test_a_shred_that_is_refused_after_its_line_is_carried_out(explorer: Explorer) -> None:
    """The line is the point of no return: neither the end of the transaction behind it nor a hold takes it back."""
    [number] = explorer.find(FILLED, ["shred ann", "hold"], lambda step: step.point == "lined")
    for schedule in (Schedule("shred ann", kills=(number,)), Schedule("shred ann", switches=((number, "hold"),))):
        explorer.run(FILLED, ["shred ann", "hold"], schedule)
        with explorer.opened("look") as desk:
            assert desk.house.ledger.head() == 1
            assert {row["name"] for row in desk.contacts() if isinstance(row.get("name"), str)} == {"bob's name"}


def test_a_key_database_that_is_older_than_its_log_serves_nothing_until_the_loss_is_accepted(
    explorer: Explorer,
) -> None:
    replied = explorer.make("replied", FILLED, "reply", "create")
    after = explorer.make("replied and gone", replied, "shred bob")
    explorer.worlds.put_back(after.name, keys=FILLED.name)
    with pytest.raises(GateShut), explorer.opened("start"):
        pass
    accept_loss(explorer)
    with explorer.opened("judge") as desk:
        desk.house.shredding.resume()
        judging.check_log(desk, BEFORE.readable([BOB]), lost_after=_length(explorer, FILLED))
        judging.check_thief(desk, explorer.worlds)
    with explorer.opened("again") as desk:
        assert ACTS["rectify"].do(desk) == REFUSED


def accept_loss(explorer: Explorer) -> None:
    with wiring.databases(explorer.worlds.seen_by("officer")) as (facts, keys):
        before, seen = gate.accept_loss(facts, keys)
    assert before < seen


def _length(explorer: Explorer, world: World) -> int:
    """Count the facts of a world: the position of the last of them."""
    return sum(explorer.known[world.name].facts.values())
