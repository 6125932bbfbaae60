"""Keep the ledger in two places, so that neither a disk nor a restore takes a shred back.

A line counts once both places have it. Where one is behind, after a crash or a restore, it is brought up from the
other: the longer one must go on from where the shorter one ends, or both are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Unpack
from uuid import UUID

from crypto.ledger import Entry, Fences, FileLedger, Line
from domain.errors import LedgerBroken


class MirroredLedger:
    """Two files with the same lines. Both have to be there: a shred that only one place knows could be undone."""

    def __init__(self, first: FileLedger, second: FileLedger) -> None:
        self._first = first
        self._second = second

    def append(self, **entry: Unpack[Entry]) -> Line:
        self._level()
        line = self._first.append(**entry)
        self._level()
        return line

    def read(self) -> Iterator[Line]:
        self._level()
        return self._first.read()

    def find(self, shred: UUID) -> Line | None:
        self._level()
        return self._first.find(shred)

    def head(self) -> int:
        self._level()
        return self._first.head()

    def fences_of(self, line: Line) -> Fences:
        return self._first.fences_of(line)

    def _level(self) -> None:
        """Bring the place that is behind up to the other.

        Raises:
            LedgerBroken: they do not say the same.
        """
        first, second = self._first.last(), self._second.last()
        if first == second:
            return
        heads = [0 if line is None else line.number for line in (first, second)]
        if heads[0] == heads[1]:
            raise LedgerBroken(
                "the two copies of the ledger say different things: keep the one that verifies, see "
                "docs/runbooks/loss-of-the-ledger.md"
            )
        ahead, behind = (self._first, self._second) if heads[0] > heads[1] else (self._second, self._first)
        for line in islice(ahead.read(), min(heads), None):
            behind.take(line)
