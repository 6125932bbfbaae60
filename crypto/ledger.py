"""The ledger of shreds: signed lines, outside the databases, so that no restore of theirs undoes one.

Rule: a line is never changed. Each is signed, numbered from 1 and holds the hash of the line before it
(`crypto.lines`), so a line that was changed, moved, added or taken out breaks the chain at a number that `read` names.
Lines taken off the end leave a whole chain: compare `head` with the numbers that log and key database keep.

Where lines lie is a place of its own: a file (`crypto.files`), or what `services.ledgers` knows. Writers compete for
the next number, and the place decides between them: one line has it, and the others draw theirs up anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Unpack
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.files import BLOCK_BYTES, FilePlace
from crypto.lines import TAGS_SEALED_AS, Entry, Fences, Line, Scribe, commitment, hash_of
from crypto.roots import Roots
from domain.errors import LedgerBroken

__all__ = [
    "BLOCK_BYTES",
    "TAGS_SEALED_AS",
    "ChainedLedger",
    "Copy",
    "Entry",
    "Fences",
    "FileLedger",
    "Ledger",
    "Line",
    "MemoryLedger",
    "Place",
    "commitment",
]


class Ledger(Protocol):
    """Keep the shreds that must survive a restore."""

    def append(self, **entry: Unpack[Entry]) -> Line:
        """Add one shred; when this returns, the line stands, and outlives a power failure.

        It does not look whether `shred` has a line already: who resumes asks `find` first.

        Raises:
            LedgerBroken: the last line is not whole. Nothing was added.
            LedgerUnavailable: the place does not answer, or cannot store it. Behind a network nobody knows then
                whether the line stands; `find` tells, as soon as the place answers.
            KeysUnavailable: the roots have no ledger key for the period, or not the one of the last line.
            SettingsWrong: others can write the ledger, or its place lets lines expire.
        """
        ...

    def read(self) -> Iterator[Line]:
        """Go through all lines, and check every one and the chain.

        Raises:
            LedgerBroken: says at which line.
            LedgerUnavailable, SettingsWrong: as `append`.
        """
        ...

    def since(self, number: int) -> Iterator[Line]:
        """Go through the lines behind a number, and check every one and the chain that they form. Raises as `read`."""
        ...

    def find(self, shred: UUID) -> Line | None:
        """Look for the line of a shred. Its signature is checked, the chain before it is not.

        Raises:
            LedgerBroken: the line is not whole.
            LedgerUnavailable, SettingsWrong: as `append`.
        """
        ...

    def head(self) -> int:
        """Return the number of the last line, and 0 before the first.

        Raises:
            LedgerBroken: the last line is not whole.
            LedgerUnavailable, SettingsWrong: as `append`.
        """
        ...

    def fences_of(self, line: Line) -> Fences:
        """Open what a line keeps sealed.

        Raises:
            KeyExpired: the ledger key of the period had its time, as the fences had. That is no loss.
            KeysUnavailable: the roots cannot be reached, or have lost the ledger key of the period.
            SealBroken: the fences are of another line.
        """
        ...


class Copy(Ledger, Protocol):
    """A ledger that another one with the same lines can be brought up from, and be brought up to."""

    def last(self) -> Line | None:
        """Read the last line; None before the first. Raises as `head`."""
        ...

    def take(self, line: Line) -> None:
        """Add a line that another copy of this ledger has. One that is here already is passed over.

        Raises:
            LedgerBroken: it does not follow from the last line here.
            LedgerUnavailable, SettingsWrong: as `append`.
        """
        ...


class Place(Protocol):
    """Where lines lie, as bytes. It knows which line comes first of several with one number, and opens none."""

    def last(self) -> tuple[int | None, bytes] | None:
        """Read the last line, with its number where the place says which one it is; None before the first."""
        ...

    def lines(self, after: int = 0) -> Iterator[bytes]:
        """Go through the lines behind a number, those that stood when the first was asked for."""
        ...

    def candidates(self, shred: UUID) -> Iterator[tuple[int, bytes]]:
        """Go through the lines, by number, that may be of this shred."""
        ...

    def add(self, line: Line) -> bool:
        """Add a line behind the one that it follows from. Tells whether it stands: False if another was faster."""
        ...


class ChainedLedger:
    """Keep a ledger in a place."""

    def __init__(self, place: Place, scribe: Scribe) -> None:
        self._place = place
        self._scribe = scribe

    def append(self, **entry: Unpack[Entry]) -> Line:
        last = self.last()
        while True:
            line = self._scribe.draw_up(last, **entry)
            if self._place.add(line):
                return line
            last = self._moved_on(last)

    def take(self, line: Line) -> None:
        last = self.last()
        while True:
            if last is not None and line.number <= last.number:
                return
            if line.number != (last.number if last else 0) + 1 or line.previous != hash_of(last):
                raise LedgerBroken(f"line {line.number} of the ledger does not follow from the last line of its copy")
            if self._place.add(line):
                return
            last = self._moved_on(last)

    def last(self) -> Line | None:
        found = self._place.last()
        if found is None:
            return None
        number, raw = found
        return self._scribe.check(raw, where="the last line") if number is None else self._scribe.check_at(number, raw)

    def _moved_on(self, last: Line | None) -> Line:
        """Read the last line again, after the place took none behind the one that was last.

        Whoever was faster has added one, so together the writers go on, however many they are.

        Raises:
            LedgerBroken: nobody has, so it would go on for ever.
        """
        now = self.last()
        if now is None or (last is not None and now.number <= last.number):
            number = 1 if last is None else last.number + 1
            raise LedgerBroken(
                f"something that is no line stands where line {number} of the ledger is due; see "
                "docs/runbooks/loss-of-the-ledger.md"
            )
        return now

    def read(self) -> Iterator[Line]:
        return self._scribe.follow(self._place.lines())

    def since(self, number: int) -> Iterator[Line]:
        return self._scribe.follow(self._place.lines(number), after=number)

    def find(self, shred: UUID) -> Line | None:
        for number, raw in self._place.candidates(shred):
            if (line := self._scribe.check_at(number, raw)).shred == shred:
                return line
        return None

    def head(self) -> int:
        last = self.last()
        return last.number if last else 0

    def fences_of(self, line: Line) -> Fences:
        return self._scribe.fences_of(line)


class FileLedger(ChainedLedger):
    """Keep the ledger in a folder of its own."""

    def __init__(self, folder: Path, signing: Ed25519PrivateKey, roots: Roots) -> None:
        scribe = Scribe(signing, roots)
        super().__init__(FilePlace(folder, scribe), scribe)


class MemoryLedger(ChainedLedger):
    """Keep the ledger in memory, for tests: the same lines and the same checks."""

    def __init__(self, signing: Ed25519PrivateKey, roots: Roots) -> None:
        self._lines: list[bytes] = []
        super().__init__(_Memory(self._lines), Scribe(signing, roots))


class _Memory:
    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines
        self._lock = threading.Lock()

    def last(self) -> tuple[int | None, bytes] | None:
        lines = list(self._lines)
        return (len(lines), lines[-1]) if lines else None

    def lines(self, after: int = 0) -> Iterator[bytes]:
        return iter(self._lines[after:])

    def candidates(self, shred: UUID) -> Iterator[tuple[int, bytes]]:
        return enumerate(list(self._lines), start=1)

    def add(self, line: Line) -> bool:
        with self._lock:
            if line.number != len(self._lines) + 1:
                return False
            self._lines.append(line.encoded())
            return True
