"""What a check of the keys can find, and the report that names it: by kind and inside id, which name nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

#: So many findings are named; the others are only counted, so that a lost root does not fill the memory.
NAMED = 1_000


class Wrong(StrEnum):
    """What can be wrong with a row."""

    BROKEN = "broken"
    LOST = "lost"
    MISSING = "missing"
    UNBOUND = "unbound"
    FORGED = "forged"
    LIVING = "living"
    KEPT = "kept"
    ALONE = "alone"
    NO_LINE = "no line"
    ONE_WAY = "one way"
    OLDER = "older"
    ROOTLESS = "rootless"
    KEYLESS = "keyless"
    RETURNED = "returned"
    COUNT = "count"


#: In words, for whoever has to look.
MEANING: Mapping[Wrong, str] = MappingProxyType(
    {
        Wrong.BROKEN: "it does not open at its place: changed, swapped, or rolled back",
        Wrong.LOST: "its key is gone, and no shred explains it",
        Wrong.MISSING: "other rows lead to it, and it is not there",
        Wrong.UNBOUND: "its MAC says that it hung elsewhere: moved, or rolled back",
        Wrong.FORGED: "it is marked as shredded, and the mark is not ours",
        Wrong.LIVING: "it was shredded, and its row lives: rolled back",
        Wrong.KEPT: "it is left of something that was shredded or ended: rolled back",
        Wrong.ALONE: "it does not hang from everybody whose it became by a move or a merge: rolled back",
        Wrong.NO_LINE: "it is marked with a line that the ledger does not have",
        Wrong.ONE_WAY: "the register leads one way and not back",
        Wrong.OLDER: "it stands under an older root, though none did after the last turn: rolled back",
        Wrong.ROOTLESS: "it stands under a root that is gone or is another",
        Wrong.KEYLESS: "the ledger key of its quarter is out of reach: whoever went along with it cannot be looked for",
        Wrong.RETURNED: "its root was destroyed, and opens again",
        Wrong.COUNT: "a counter says what cannot be",
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `number` is an epoch, a ledger line, or a position of the log, where there is one."""

    kind: str
    wrong: Wrong
    id: UUID | None = None
    number: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give it for JSON."""
        said: dict[str, Any] = {
            "kind": self.kind,
            "wrong": self.wrong.value,
            "id": None if self.id is None else str(self.id),
        }
        return said if self.number is None else said | {"number": self.number}


@dataclass(slots=True)
class Report:
    """What a check looked at, and what it found.

    looked_at  rows by kind
    found      findings by kind and what is wrong; of these the first `NAMED` are in `named`
    beneath    rows that could not be judged, because a finding stands above them
    """

    looked_at: Counter[str] = field(default_factory=Counter)
    found: Counter[tuple[str, Wrong]] = field(default_factory=Counter)
    named: dict[Finding, None] = field(default_factory=dict)
    beneath: int = 0

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing was found."""
        return not self.found

    def add(self, kind: str, wrong: Wrong, id_: UUID | None = None, number: int | None = None) -> None:
        """Add a finding. What many rows lead to is found once, as long as it can be named."""
        finding = Finding(kind, wrong, id_, number)
        if finding not in self.named:
            self.found[kind, wrong] += 1
            if len(self.named) < NAMED:
                self.named[finding] = None

    def as_dict(self) -> dict[str, Any]:
        """Give it for JSON."""
        return {
            "looked_at": dict(sorted(self.looked_at.items())),
            "found": [
                {"kind": kind, "wrong": wrong.value, "count": count}
                for (kind, wrong), count in sorted(self.found.items())
            ],
            "named": [finding.as_dict() for finding in self.named],
            "beneath": self.beneath,
        }
