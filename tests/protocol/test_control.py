"""The controls: the explorer finds what it is there for. Each breaks the product in one place and names a schedule."""

from __future__ import annotations

import re
from typing import Any

import pytest

from crypto.keystore import KeyStore, rows_of
from crypto.ledger import FileLedger, Line
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from services import keeping
from services.destroying import Destroying
from services.log import Facts
from tests.protocol import seams
from tests.protocol.exploring import FILLED, Explorer
from tests.protocol.stepping import Schedule
from tests.protocol.test_one_is_killed import world_of

_NAMES_IT = r"explorer.run\(World\(.*\), \[.*\], Schedule\('"


def test_a_replacement_without_its_lock_is_found(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyStore, "replacing", KeyStore.transaction)
    explorer.stops = seams.CHANGES | {"keys wrote"}
    with pytest.raises(AssertionError, match=_NAMES_IT):
        explorer.interleaved(world_of(explorer, "lossy"), "shred ann", "turn", switches=1)


def test_a_line_that_is_written_after_the_keys_are_destroyed_is_found(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, destroy = FileLedger.append, Destroying.destroy
    late: list[Any] = []

    def drafted(self: FileLedger, **entry: Any) -> Line:
        late.append(entry)
        drawn = {name: value for name, value in entry.items() if name != "fences"}
        return Line(number=self.head() + 1, previous="", fences=b"", period="", **drawn)

    def destroyed(self: Destroying, *arguments: Any, **more: Any) -> Line | None:
        line = destroy(self, *arguments, **more)
        return append(self._ledger, **late.pop()) if late else line

    monkeypatch.setattr(FileLedger, "append", drafted)
    monkeypatch.setattr(Destroying, "destroy", destroyed)
    explorer.run(FILLED, ["shred ann"], Schedule("shred ann"))
    with pytest.raises(AssertionError, match=_NAMES_IT):
        explorer.one_killed(FILLED, "shred ann")


def test_key_work_that_is_marked_as_done_before_it_is_done_is_found(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    catch_up = keeping.catch_up

    def marks_first(keys: KeyStore, roots: Roots, facts: Facts) -> None:
        head = facts.head()
        with keys.transaction() as cursor:
            before = rows_of(cursor, SQL.kept_position.sql)[0]["position"]
            cursor.execute(SQL.advance_kept.sql, {"position": head})
        with keys.transaction() as cursor:
            cursor.execute(SQL.rewind_kept.sql, {"head": before})
        catch_up(keys, roots, facts)

    world = world_of(explorer, "left")
    monkeypatch.setattr(keeping, "catch_up", marks_first)
    explorer.run(world, ["keep"], Schedule("keep"))
    with pytest.raises(AssertionError, match=_NAMES_IT):
        explorer.one_killed(world, "keep")


def test_a_loss_that_nobody_counts_is_found(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tree, "lose_children", lambda self, lost: None)
    with pytest.raises(AssertionError, match="a thief opens"):
        explorer.run(FILLED, ["shred ann"], Schedule("shred ann"))


def test_a_schedule_that_fails_is_named_so_that_it_can_be_run_again(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tree, "lose_children", lambda self, lost: None)
    with pytest.raises(AssertionError) as error:
        explorer.interleaved(FILLED, "shred ann", "reply", switches=1)
    named = re.match(r"explorer\.run\((World\(.*?\)), (\[.*?\]), (Schedule\(.*?\)\))", str(error.value))
    assert named is not None
    assert eval(named[3], {"Schedule": Schedule}).first in ("shred ann", "reply")
