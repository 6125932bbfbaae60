"""The life of a data-subject request: what stands against a shred, and what became of it.

A case is kept for each person and each thing that was ever asked about. Deciding may refuse, evolving never does.
Free text is sealed under the desk before it gets here; a case holds inside ids, words and times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from domain.errors import ShredRefused


@dataclass(frozen=True)
class HoldPlaced:
    """Somebody forbade the shred of a person or thing. `words` is sealed: who and why.

    A hold on a thing stands in the case of the thing and in that of its person: whoever shreds the person would take
    the thing along. `target` is what the hold was placed on.
    """

    TOPIC: ClassVar[str] = "sealdesk.case.hold_placed.v1"
    originator_id: UUID
    originator_version: int
    at: datetime
    hold: UUID
    tenant: UUID
    target: UUID
    words: str = field(repr=False)


@dataclass(frozen=True)
class HoldReleased:
    """A hold was lifted."""

    TOPIC: ClassVar[str] = "sealdesk.case.hold_released.v1"
    originator_id: UUID
    originator_version: int
    at: datetime
    hold: UUID
    words: str = field(repr=False)


@dataclass(frozen=True)
class ShredWasRefused:
    """A shred was asked for and refused; `code` says why."""

    TOPIC: ClassVar[str] = "sealdesk.case.shred_refused.v1"
    originator_id: UUID
    originator_version: int
    at: datetime
    code: str
    ground: str
    words: str = field(repr=False)


@dataclass(frozen=True)
class ShredApproved:
    """A shred was asked for and nothing stood in its way. From here no hold is taken."""

    TOPIC: ClassVar[str] = "sealdesk.case.shred_approved.v1"
    originator_id: UUID
    originator_version: int
    at: datetime
    shred: UUID
    ground: str
    words: str = field(repr=False)


@dataclass(frozen=True)
class ShredAbandoned:
    """An approved shred ended before its ledger line; nothing was destroyed."""

    TOPIC: ClassVar[str] = "sealdesk.case.shred_abandoned.v1"
    originator_id: UUID
    originator_version: int
    at: datetime
    shred: UUID


CaseEvent = HoldPlaced | HoldReleased | ShredWasRefused | ShredApproved | ShredAbandoned


@dataclass(frozen=True)
class Case:
    """What the next decision about one person or thing needs to know."""

    id: UUID
    version: int = 0
    holds: frozenset[UUID] = frozenset()
    approved: UUID | None = None


def evolve(case: Case, events: Iterable[CaseEvent]) -> Case:
    """Fold events into a case."""
    for event in events:
        holds, approved = case.holds, case.approved
        match event:
            case HoldPlaced():
                holds = holds | {event.hold}
            case HoldReleased():
                holds = holds - {event.hold}
            case ShredApproved():
                approved = event.shred
            case ShredAbandoned():
                approved = None
            case ShredWasRefused():
                pass
        case = Case(case.id, event.originator_version, holds, approved)
    return case


def place_hold(case: Case, *, hold: UUID, tenant: UUID, target: UUID, words: str, at: datetime) -> HoldPlaced:
    """Forbid the shred of what the case is about.

    Raises:
        ShredRefused: a shred is under way or done; a hold comes too late.
    """
    if case.approved is not None:
        raise ShredRefused("shredded", "a shred of this was begun already; a hold comes too late")
    return HoldPlaced(case.id, case.version + 1, at, hold, tenant, target, words)


def release_hold(case: Case, *, hold: UUID, words: str, at: datetime) -> HoldReleased | None:
    """Lift a hold; None where it does not stand any more."""
    if hold not in case.holds:
        return None
    return HoldReleased(case.id, case.version + 1, at, hold, words)


def approve_shred(case: Case, *, shred: UUID, ground: str, words: str, at: datetime) -> ShredApproved | ShredWasRefused:
    """Decide whether a shred may go on.

    Raises:
        ShredRefused: another shred of the same was approved and is under way or done.
    """
    if case.approved is not None:
        raise ShredRefused("under_way", "a shred of this is under way already; ask again for its certificate")
    if case.holds:
        return ShredWasRefused(case.id, case.version + 1, at, "held", ground, words)
    return ShredApproved(case.id, case.version + 1, at, shred, ground, words)


def refuse_shred(case: Case, *, code: str, ground: str, words: str, at: datetime) -> ShredWasRefused:
    """Record that a shred was refused for a reason outside the case."""
    return ShredWasRefused(case.id, case.version + 1, at, code, ground, words)


def abandon_shred(case: Case, *, shred: UUID, at: datetime) -> ShredAbandoned | None:
    """Record that an approved shred ended before its ledger line; None if that shred was not the approved one."""
    return ShredAbandoned(case.id, case.version + 1, at, shred) if case.approved == shred else None
