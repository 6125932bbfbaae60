"""What became of records: of each one, and in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from services.records import Place

Status = Literal["stored", "duplicate", "refused", "quarantined"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record.

    stored       its facts are on the log
    duplicate    they were before; with a code, it is one of a record that waits in the quarantine
    refused      it is about somebody or something that was shredded; it was counted and not kept
    quarantined  it could not be taken; with a code that starts with `unknown_` it may be taken up by itself later

    `code` is a word of a closed list that says why.
    """

    status: Status
    code: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """How a number of records fared. `read` is the sum of the others.

    A record that waited and was then taken counts as stored in the batch that took it, and -1 as quarantined there.
    """

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    quarantined: int = 0

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Tally:
        """Count outcomes."""
        by_status = Counter(outcome.status for outcome in outcomes)
        return cls(
            by_status.total(),
            by_status["stored"],
            by_status["duplicate"],
            by_status["refused"],
            by_status["quarantined"],
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.read + other.read,
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.refused + other.refused,
            self.quarantined + other.quarantined,
        )


@dataclass(frozen=True, slots=True)
class Later:
    """What became of a record of an earlier batch that waited. `record` is its `services.records.record_hash`."""

    place: Place
    record: bytes = field(repr=False)
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Taken:
    """How a batch fared: one outcome a parcel, in their order; and what records from Kafka were taken up with it."""

    tally: Tally
    outcomes: tuple[Outcome, ...]
    later: tuple[Later, ...] = ()
