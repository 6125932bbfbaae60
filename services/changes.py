"""What deciding reads and what it leaves: people, things, planned facts, and the changes of a batch. No I/O.

A parcel is decided whole: its `Changes` stand over those of the batch, and only a parcel that raised nothing is taken
into them, so that later parcels of the batch see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from crypto.register import Known
from domain.catalogue import MOVES, TAKES
from domain.contacts import ContactMerged
from domain.ids import EventId, SubjectId, TenantId, ThingId
from domain.personal import Reference


@dataclass(slots=True)
class Somebody:
    """A person as far as deciding needs to know."""

    id: SubjectId
    profile: ThingId
    agent: bool
    upstream: bool
    living: bool
    new: bool = False


@dataclass(frozen=True, slots=True)
class Something:
    """A thing as far as deciding needs to know. Without an owner it belongs to the desk.

    `opened` says that a fact of it stands on the log, or will: a thing that was only named as the parent of another
    one has an id and no fact.
    """

    id: ThingId
    kind: str
    owner: SubjectId | None
    living: bool = True
    opened: bool = True
    new: bool = False
    parent: ThingId | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """What a thing or part says as it stands: the living fields, the last fact by position wins, and whose they are."""

    personal: Mapping[str, Any] = field(repr=False)
    owners: tuple[SubjectId, ...]


@dataclass(frozen=True, slots=True)
class PlannedFact:
    """A fact that is decided and not sealed yet. Without owners it belongs to the desk.

    `blob` is the part that a file with a key of its own is, if one may come along.
    """

    stream: ThingId
    tenant: TenantId
    event_id: EventId
    type: str
    record_digest: bytes
    ordinal: int
    occurred_at: datetime
    clear: Mapping[str, Any]
    personal: Mapping[str, Any] = field(repr=False)
    owners: tuple[SubjectId, ...] = ()
    blob: UUID | None = None

    @property
    def is_sealed(self) -> bool:
        """Tell whether it gets a seal: for its personal fields, or so that the key work it calls for is vouched for."""
        return (
            bool(self.personal)
            or self.type in TAKES
            or self.type == ContactMerged.TYPE
            or "parent" in self.clear
            or (self.type in MOVES and "requester" in self.clear)
        )


@dataclass(frozen=True, slots=True)
class Mentioned:
    """One reference of a record: in which field it stood, and its blind index."""

    path: str
    reference: Reference
    index: bytes
    #: The value as it came: an id that was a number is told as a number.
    said: str | int = field(repr=False)
    #: A display name that stood beside an address.
    name: str = field(default="", repr=False)


@dataclass(slots=True)
class Changes:
    """What the parcels of a batch change: on top of the register, or on top of other changes."""

    entries: dict[bytes, UUID] = field(default_factory=dict)
    #: Which part of its thing a reference in `entries` is.
    parts: dict[bytes, UUID] = field(default_factory=dict)
    #: References of things that had an id before, and are opened only now.
    appeared: list[bytes] = field(default_factory=list)
    #: Addresses that somebody has claimed from somebody else.
    claims: dict[bytes, UUID] = field(default_factory=dict)
    #: References that a mention fact tells, and those that a profile's own record tells.
    mentioned: set[bytes] = field(default_factory=set)
    told: set[bytes] = field(default_factory=set)
    people: dict[UUID, Somebody] = field(default_factory=dict)
    things: dict[UUID, Something] = field(default_factory=dict)
    #: Things that were known and are opened, or hang elsewhere, from now on.
    placed: set[UUID] = field(default_factory=set)
    merged: dict[UUID, SubjectId] = field(default_factory=dict)
    moved: dict[UUID, SubjectId] = field(default_factory=dict)
    named: set[UUID] = field(default_factory=set)
    #: Who turned out to be an agent, or to be none any more.
    agents: dict[UUID, bool] = field(default_factory=dict)
    upstream: set[UUID] = field(default_factory=set)
    #: Words that the tenant declared, as (vocabulary, word).
    words: set[tuple[str, str]] = field(default_factory=set)
    #: Streams on which something was written anew or ended, and the references of parts that ended.
    settled: set[UUID] = field(default_factory=set)
    #: References of known parts that records of the batch change, or hang something in.
    leaned: set[bytes] = field(default_factory=set)
    ended: set[bytes] = field(default_factory=set)
    facts: list[PlannedFact] = field(default_factory=list)

    def take_in(self, other: Changes) -> None:
        """Add the changes of a parcel that was decided."""
        for index, inside in other.entries.items():
            self.entries.setdefault(index, inside)
        self.parts.update(other.parts)
        self.appeared.extend(other.appeared)
        self.claims.update(other.claims)
        self.mentioned |= other.mentioned
        self.told |= other.told
        self.people.update(other.people)
        self.things.update(other.things)
        self.placed |= other.placed
        self.merged.update(other.merged)
        self.moved.update(other.moved)
        self.named |= other.named
        self.agents.update(other.agents)
        self.upstream |= other.upstream
        self.words |= other.words
        self.settled |= other.settled
        self.ended |= other.ended
        self.leaned |= other.leaned
        self.facts.extend(other.facts)


@dataclass(frozen=True, slots=True)
class View:
    """What the databases said about the references of a batch, for one tenant.

    `versions` holds what stands of the things and parts that records of the batch write anew, by thing and part;
    `newest` the position of the newest fact on those streams. Of what is `unreadable` nobody can say what stands:
    somebody has changed a seal.
    """

    tenant: TenantId
    known: Mapping[bytes, Known]
    people: Mapping[UUID, Somebody]
    roots: Mapping[UUID, SubjectId]
    things: Mapping[UUID, Something]
    vocabulary: Mapping[str, frozenset[str]]
    versions: Mapping[tuple[UUID, UUID | None], Version] = field(default_factory=dict, repr=False)
    newest: Mapping[UUID, int] = field(default_factory=dict)
    unreadable: frozenset[tuple[UUID, UUID | None]] = frozenset()
