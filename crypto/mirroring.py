"""Keep the ledger in two places, so that neither a disk nor a restore takes a shred back.

A line counts once both places have it. Where one is behind, after a crash or a restore, it is brought up from the
other: the longer one must go on from where the shorter one ends, or both are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Unpack
from uuid import UUID

from crypto.ledger import Copy, Entry, Fences, Line
from domain.errors import LedgerBroken, LedgerUnavailable, SettingsWrong


class MirroredLedger:
    """Two places with the same lines. Both have to be there: a shred that only one place knows could be undone.

    `names` is what errors call them, and `way_out` what else can be done if the second is out of reach.
    """

    def __init__(
        self,
        first: Copy,
        second: Copy,
        *,
        names: tuple[str, str] = ("the first place", "the second place"),
        way_out: str = "",
    ) -> None:
        self._first = first
        self._second = second
        self._names = names
        self._way_out = way_out

    def append(self, **entry: Unpack[Entry]) -> Line:
        self._level()
        with self._named(self._first):
            line = self._first.append(**entry)
        self._level()
        return line

    def read(self) -> Iterator[Line]:
        return self.since(0)

    def since(self, number: int) -> Iterator[Line]:
        self._level()
        return self._since(self._first, number)

    def find(self, shred: UUID) -> Line | None:
        self._level()
        with self._named(self._first):
            return self._first.find(shred)

    def head(self) -> int:
        last = self._level()
        return last.number if last else 0

    def fences_of(self, line: Line) -> Fences:
        return self._first.fences_of(line)

    def _level(self) -> Line | None:
        """Bring the place that is behind up to the other. Returns the last line.

        Raises:
            LedgerBroken: they do not say the same.
        """
        first, second = self._last(self._first), self._last(self._second)
        if first == second:
            return first
        heads = [0 if line is None else line.number for line in (first, second)]
        if heads[0] == heads[1]:
            raise LedgerBroken(
                f"{' and '.join(self._names)} say different things: keep the copy of the ledger that verifies, see "
                "docs/runbooks/loss-of-the-ledger.md"
            )
        ahead, behind = (self._first, self._second) if heads[0] > heads[1] else (self._second, self._first)
        for line in self._since(ahead, min(heads)):
            with self._named(behind):
                behind.take(line)
        return first if heads[0] > heads[1] else second

    def _last(self, place: Copy) -> Line | None:
        with self._named(place):
            return place.last()

    def _since(self, place: Copy, number: int) -> Iterator[Line]:
        with self._named(place):
            yield from place.since(number)

    @contextmanager
    def _named(self, place: Copy) -> Iterator[None]:
        """Say in an error which place it is about."""
        try:
            yield
        except (LedgerBroken, SettingsWrong) as error:
            is_second = place is self._second
            can_go = is_second and isinstance(error, LedgerUnavailable | SettingsWrong)
            raise type(error)(f"{self._names[is_second]}: {error}{self._way_out if can_go else ''}") from error
