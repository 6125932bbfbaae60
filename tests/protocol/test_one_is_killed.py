"""Whatever a process does may be cut off at every step: whoever comes next finishes or abandons what it left."""

from __future__ import annotations

import pytest

from tests.protocol.exploring import FILLED, Explorer, World
from tests.protocol.stepping import Schedule

pytestmark = pytest.mark.slow

#: What a killed process does, and from which world.
ACTS = {
    "reply": "filled",
    "edit": "filled",
    "delete": "filled",
    "move": "filled",
    "merge": "filled",
    "shred ann": "filled",
    "purge": "filled",
    "turn": "lossy",
    "destroy": "turned",
    "keep": "left",
    "start": "restored",
}


def world_of(explorer: Explorer, name: str) -> World:
    """Make one of the worlds in which schedules begin."""
    match name:
        case "lossy":
            # A subject, a bucket and a register page have lost something.
            return explorer.make("lossy", explorer.make("edited", FILLED, "edit"), "delete")
        case "turned":
            return explorer.make("turned", world_of(explorer, "lossy"), "turn")
        case "left":
            # Intake died right behind its append, so its key work is left to others.
            [behind] = explorer.find(FILLED, ["edit"], lambda step: step.point == "log appended")
            return explorer.make("left", FILLED, "edit", until=Schedule("edit", kills=(behind,)))
        case "restored":
            # Both databases are from before a merge and two shreds that the ledger tells of.
            made = explorer.make("shredded", explorer.make("merged", FILLED, "merge"), "purge his", "shred ann")
            return World(made.name, keys=FILLED.name, log=FILLED.name)
        case _:
            return FILLED


@pytest.mark.parametrize("act", ACTS)
def test_a_process_that_is_killed_at_any_step_leaves_nothing_half_done(explorer: Explorer, act: str) -> None:
    assert explorer.one_killed(world_of(explorer, ACTS[act]), act) > 1
