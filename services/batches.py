"""What intake carries from step to step: parcels, what was decided of them by tenant, and what is told of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from crypto.register import Register
from crypto.tree import LeafOrder, Person
from crypto.wrapping import Key
from domain.errors import RecordFenced, RecordRefused, RecordWaits
from domain.ids import TenantId
from services.changes import Changes, PlannedFact, View
from services.outcomes import Later, Outcome, Taken, Tally
from services.records import Parcel, record_hash
from services.tenants import Tenant


@dataclass(slots=True)
class Judged:
    """One parcel on its way: its facts, or why it has none."""

    parcel: Parcel
    digests: tuple[bytes, ...] = ()
    facts: Sequence[PlannedFact] = ()
    refusal: RecordRefused | None = None
    known_before: bool = False
    #: Where the parcel comes from when it waited in the quarantine, and where it goes when it is put there.
    waited_as: UUID | None = None
    put_aside_as: UUID | None = None
    #: Under whom it waited; a record that turns out to be another's is put aside anew.
    waited_under: TenantId | None = None
    #: It was taken before, and somebody only has to be told once more what became of it.
    again: bool = False
    outcome: Outcome | None = None

    @property
    def leaves(self) -> bool:
        """Tell whether it waited, and stays no longer where it did."""
        taken = self.refusal is None or isinstance(self.refusal, RecordFenced)
        return self.waited_as is not None and (taken or self.put_aside_as is not None)


@dataclass(slots=True)
class TenantBatch:
    """What one batch does to one tenant."""

    tenant: Tenant
    judged: list[Judged]
    register: Register | None = None
    view: View | None = None
    people: dict[UUID, Person] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    #: One a fact that has a seal, in their order.
    orders: list[LeafOrder] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    #: The seal of each entry of the register that it wrote.
    written: Mapping[bytes, bytes] = field(default_factory=dict)
    #: Whether its references are in the register, or are about to be, in the transaction that looked last.
    entered: bool = False
    #: Whether the tenant was closed when this was decided: then all of it is refused.
    closed: bool = False


def opened_by(batch: TenantBatch) -> set[UUID]:
    """Name the things that this batch opens."""
    before = batch.view.things if batch.view is not None else {}
    return {id_ for id_ in batch.changes.things if id_ not in before or not before[id_].opened}


def tell_outcomes(judged: Sequence[Judged], stored: set[bytes], put_aside: Collection[UUID | None]) -> None:
    """Say of each parcel what became of it, given the digests of the records that were stored just now.

    `put_aside` are the records of which was told before that they wait.
    """
    waiting: set[UUID | None] = set()
    for one in judged:
        if isinstance(one.refusal, RecordFenced):
            one.outcome = Outcome("refused", one.refusal.code)
        elif (
            isinstance(one.refusal, RecordWaits)
            and one.put_aside_as is not None
            and (one.put_aside_as in put_aside or one.put_aside_as in waiting)
        ):
            # It waits already, and will be stored once.
            one.outcome = Outcome("duplicate", one.refusal.code)
        elif one.refusal is not None:
            one.outcome = Outcome("quarantined", one.refusal.code)
            waiting.add(one.put_aside_as)
        elif stored.intersection(one.digests):
            one.outcome = Outcome("stored")
            stored.difference_update(one.digests)
        else:
            one.outcome = Outcome("duplicate")


#: The id that a record had in the quarantine, and what to tell of it if it came from Kafka.
TakenUp: TypeAlias = tuple[UUID | None, Outcome, Later | None]


def taken_up_as(one: Judged) -> TakenUp:
    """Say what became of a record that waited. One that came sealed is named as it was sent."""
    assert one.outcome is not None
    place, drafts = one.parcel.place, one.parcel.drafts
    if place is None or not drafts:
        return one.waited_as, one.outcome, None
    record = one.parcel.told_as or record_hash(drafts[0].tenant, drafts[0].source, drafts[0].id)
    return one.waited_as, one.outcome, Later(place, record, one.outcome)


def taken_of(judged: Sequence[Judged], tally: Tally, taken_up: Sequence[TakenUp]) -> Taken:
    """Tell of a batch: what was put aside by it and taken up meanwhile has one outcome, not two."""
    by_id = {id_: outcome for id_, outcome, _ in taken_up}
    own = {one.put_aside_as for one in judged if one.put_aside_as is not None}
    outcomes = [one.outcome for one in judged if one.outcome is not None]
    return Taken(
        tally,
        tuple(
            by_id.get(one.put_aside_as, outcome) if outcome.status == "quarantined" else outcome
            for one, outcome in zip(judged, outcomes, strict=True)
        ),
        tuple(later for id_, _, later in taken_up if later is not None and id_ not in own),
    )
