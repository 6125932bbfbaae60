"""Which records of a topic are lines of the ledger: the order of the log decides between writers.

Rule: a record stands if it is numbered behind the last one that stands, and holds its hash. It is passed over if it
once could have stood: it follows from a line that stands, but another record with its number came first. So its writer
lost a race, or sent it twice. Every reader decides alike, from the log alone. Everything else is no race: what is no
signed line, leaves a number out, or follows from no line that stands, was changed, moved, added or left behind where
something was taken out.

Both kinds are signed, so only a writer of this ledger makes them; whoever may send to the topic can send them again,
any number of times and in any order, and they are passed over. So the end of the log alone does not say which line is
the last: the course does. One thing stays hidden from the log itself: the line that won the last race, taken out of
the log's files, lets the loser stand in its place. `sealdesk keys check` finds that, because the shred that the key
database carried out has no line.
"""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from crypto.lines import NOTHING_BEFORE, Line, Scribe
from domain.errors import LedgerBroken


class Course:
    """The lines that stand, from the first record on. It keeps 32 bytes a line, and where each shred's line is."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe
        self._hashes = [bytes.fromhex(NOTHING_BEFORE)]
        #: Offset and number of the line of each shred.
        self.places: dict[UUID, tuple[int, int]] = {}
        #: The last line that stands, with its number.
        self.last: tuple[int, bytes] | None = None

    @property
    def head(self) -> int:
        """The number of the last line that stands."""
        return len(self._hashes) - 1

    def has(self, line: Line) -> bool:
        """Tell whether this very line stands."""
        return line.number <= self.head and self._hashes[line.number] == sha256(line.encoded()).digest()

    def take(self, offset: int, raw: bytes) -> bool:
        """Take the next record. Tells whether it stands.

        Raises:
            LedgerBroken: it neither stands nor lost a race.
        """
        following = self.head + 1
        line = self._scribe.check(raw, where=f"the record at offset {offset}, where line {following} is due,")
        if not 1 <= line.number <= following:
            raise LedgerBroken(f"line {following} of the ledger is missing: line {line.number} comes in its place")
        if bytes.fromhex(line.previous) != self._hashes[line.number - 1]:
            raise LedgerBroken(f"line {line.number} of the ledger does not follow from the line before it")
        if line.number < following:
            return False
        self._hashes.append(sha256(raw).digest())
        self.last = line.number, raw
        self.places.setdefault(line.shred, (offset, line.number))
        return True
