"""Copies of all times: key database and log, each as it stood behind any act of a history, beside today's ledger."""

from __future__ import annotations

from itertools import product

import pytest

from domain.errors import GateShut, KeysUnavailable
from tests.protocol import judging
from tests.protocol.exploring import FILLED, Explorer, World
from tests.protocol.scene import BOB, HIS
from tests.protocol.test_schedules import accept_loss
from tests.protocol.test_several_at_once import SWITCHES

pytestmark = pytest.mark.slow

#: One after the other. After the turn, the older root is destroyed.
HISTORY = ("move", "reply", "purge his", "edit", "shred bob", "create")
TURNED = (*HISTORY[:4], "turn", "destroy", *HISTORY[4:])


def history(explorer: Explorer, acts: tuple[str, ...]) -> list[World]:
    """Make a world behind each act."""
    worlds = [FILLED]
    for number, act in enumerate(acts):
        worlds.append(explorer.make(f"{len(acts)} {number} {act}", worlds[-1], act))
    return worlds


#: The longer one has the same acts in it, so `make test` is content with that.
HISTORIES = {"two epochs": TURNED} if SWITCHES < 2 else {"one epoch": HISTORY, "two epochs": TURNED}


@pytest.mark.parametrize("acts", HISTORIES.values(), ids=HISTORIES)
def test_copies_of_any_two_times_bring_nobody_back_and_lose_nothing_else(
    explorer: Explorer, acts: tuple[str, ...]
) -> None:
    worlds = history(explorer, acts)
    destroyed = acts.index("destroy") + 1 if "destroy" in acts else 0
    for keys, log in product(range(len(worlds)), repeat=2):
        print(f"keys from behind act {keys}, log from behind act {log} of {acts}")
        explorer.worlds.put_back(worlds[-1].name, keys=worlds[keys].name, log=worlds[log].name)
        if keys < destroyed - 1:
            with pytest.raises(KeysUnavailable), explorer.opened("start"):
                pass
            continue
        is_behind = _issued(explorer, worlds[keys]) < _seen(explorer, worlds[log])
        if is_behind:
            with pytest.raises(GateShut), explorer.opened("start"):
                pass
            accept_loss(explorer)
        model = explorer.known[worlds[log].name].model
        # What the keys have seen ended stays ended, and what they have not seen is lost.
        seen = explorer.known[worlds[max(keys, log)].name].model
        issued = explorer.known[worlds[keys].name].model
        readable = model.texts.keys() & seen.readable([BOB, HIS])
        if is_behind:
            readable &= issued.texts.keys()
        lost_after = sum(explorer.known[worlds[keys].name].facts.values()) if is_behind else None
        with explorer.opened("judge") as desk:
            desk.house.shredding.resume()
            desk.house.shredding.mend()
            judging.check_log(desk, readable, lost_after=lost_after)
            judging.check_thief(desk, explorer.worlds)
            judging.check_log(desk, readable, lost_after=lost_after)


def _issued(explorer: Explorer, world: World) -> int:
    return int(explorer.worlds.sql("keys", f'SELECT issue FROM "world_{world.name}"."public.issued"')[0]["issue"])


def _seen(explorer: Explorer, world: World) -> int:
    return int(explorer.worlds.sql("log", f'SELECT issue FROM "world_{world.name}"."public.issue_seen"')[0]["issue"])
