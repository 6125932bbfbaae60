"""Two processes at once, or three: every schedule with so many switches between them.

SEALDESK_TEST_SWITCHES says how many. `make model` takes two, and every pair; there processes also stop at every read
and before every commit, and one of the two is killed at every step before the other comes.
"""

from __future__ import annotations

import os

import pytest

from tests.protocol import seams
from tests.protocol.exploring import Explorer
from tests.protocol.test_one_is_killed import world_of

pytestmark = pytest.mark.slow

SWITCHES = int(os.environ.get("SEALDESK_TEST_SWITCHES", "1"))
#: Three at once have one switch less, which leaves every order in which they may come.
FEWER = SWITCHES - 1

#: Two acts, the world in which they begin, and whether this pair is looked at every time.
PAIRS = {
    ("shred ann", "reply"): ("filled", True),
    ("shred ann", "merge"): ("filled", True),
    ("shred ann", "shred ann too"): ("filled", True),
    ("shred ann", "turn"): ("lossy", True),
    ("shred bob", "move"): ("filled", True),
    ("purge", "edit"): ("filled", True),
    ("turn", "reply"): ("lossy", True),
    ("turn", "move"): ("lossy", True),
    ("turn", "merge"): ("lossy", True),
    ("destroy", "rectify"): ("turned", True),
    ("shred ann", "hold"): ("filled", False),
    ("shred ann", "edit"): ("filled", False),
    ("shred ann", "delete"): ("filled", False),
    ("shred ann", "move"): ("filled", False),
    ("shred ann", "shred bob"): ("filled", False),
    ("shred ann", "purge"): ("filled", False),
    ("shred ann", "resume"): ("filled", False),
    ("shred ann", "keep"): ("left", False),
    ("shred ann", "destroy"): ("turned", False),
    ("shred bob", "merge"): ("filled", False),
    ("shred bob", "rectify"): ("filled", False),
    ("purge", "reply"): ("filled", False),
    ("purge", "move"): ("filled", False),
    ("purge", "merge"): ("filled", False),
    ("purge", "turn"): ("lossy", False),
    ("turn", "create"): ("lossy", False),
    ("turn", "rectify"): ("lossy", False),
    ("turn", "keep"): ("left", False),
    ("start", "start too"): ("restored", False),
    ("move", "edit"): ("filled", False),
    ("move", "merge"): ("filled", False),
}
TRIPLES = {
    ("turn", "reply", "shred ann"): "lossy",
    ("turn", "move", "shred bob"): "lossy",
    ("merge", "shred ann", "purge"): "filled",
}


@pytest.mark.parametrize(
    "pair", [pair for pair, (_, always) in PAIRS.items() if always or SWITCHES > 1], ids=" x ".join
)
def test_two_at_once_end_as_if_one_had_come_after_the_other(explorer: Explorer, pair: tuple[str, str]) -> None:
    world = world_of(explorer, PAIRS[pair][0])
    if SWITCHES > 1:
        explorer.stops = seams.ALL
    assert explorer.interleaved(world, *pair, switches=1) > 2
    if SWITCHES > 1:
        explorer.stops = seams.CHANGES
        explorer.interleaved(world, *pair, switches=SWITCHES)
        explorer.one_killed(world, *pair)
        explorer.one_killed(world, *reversed(pair))


@pytest.mark.parametrize("three", TRIPLES, ids=" x ".join)
def test_three_at_once_end_as_if_each_had_come_after_the_others(
    explorer: Explorer, three: tuple[str, str, str]
) -> None:
    assert explorer.interleaved(world_of(explorer, TRIPLES[three]), *three, switches=FEWER) >= 6
