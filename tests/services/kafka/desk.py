"""An intake in memory, and events for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.errors import PositionMoved
from services.log import Position
from services.outcomes import Outcome, Taken, Tally
from services.records import Parcel


@dataclass
class Desk:
    """An intake in memory: facts and positions change together or not at all."""

    facts: dict[tuple[str, str], Parcel] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    positions: dict[UUID, dict[int, int]] = field(default_factory=dict)
    takes: int = 0
    #: Which call of `take` fails, if any.
    fails_at: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take_each(
        self, parcels: Sequence[Parcel], *, at: datetime, positions: Sequence[Position] = (), again: bool = False
    ) -> Taken:
        """Store a batch."""
        with self.lock:
            self.takes += 1
            assert at.tzinfo is not None
            if self.takes == self.fails_at:
                raise ConnectionResetError("the log went away")
            for place in positions:
                if self.positions.get(place.topic_id, {}).get(place.partition) != place.expected:
                    raise PositionMoved("somebody else was first")
            outcomes = [self.taken(parcel) for parcel in parcels]
            for place in positions:
                self.positions.setdefault(place.topic_id, {})[place.partition] = place.offset
            return Taken(Tally.of(outcomes), tuple(outcomes))

    def taken(self, parcel: Parcel) -> Outcome:
        """Store one."""
        if parcel.error:
            self.refused.append(parcel.error.code)
            return Outcome("quarantined", parcel.error.code)
        new = {(draft.source, draft.id): parcel for draft in parcel.drafts}
        outcome = Outcome("duplicate" if new.keys() <= self.facts.keys() else "stored")
        self.facts |= new
        return outcome

    def stored_epochs(self, topic_id: UUID) -> Mapping[int, int]:
        return {}

    def stored_positions(self, topic_id: UUID) -> Mapping[int, int]:
        """Tell how far partitions are stored."""
        return dict(self.positions.get(topic_id, {}))


def event(number: int, **more: Any) -> bytes:
    """Write an event about one of forty tickets."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(number),
            "source": "/test",
            "type": "sealdesk.ticket.opened.v1",
            "time": "2024-01-01T00:00:00Z",
            "subject": f"ticket {number % 40}",
            "tenant": "acme",
            "data": {"email": f"person{number}@example.org", "subject": "Grüße"},
            **more,
        }
    ).encode()
