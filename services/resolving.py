"""Resolve the references of drafts to inside ids, and decide whose each fact is. No I/O: it reads a view.

Deciding may refuse. A parcel is decided whole: its changes go to a `Changes` over the view, and only a parcel that
raised nothing is merged into it, so that later parcels of the batch see it.

Who is who (the rules of identity):
- contacts and agents share upstream's ids, so `agent 7` and `contact 7` are one person;
- when one record names references of two people, the one with an upstream id is primary; an address whose person has
  another upstream id goes to whoever claims it now; a person who has no upstream id is merged into the primary;
- a fenced reference refuses the record where it says whose the fact is, and is left out where it merely names somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from email.utils import parseaddr
from typing import Any
from uuid import UUID

from crypto.register import Known
from domain.contacts import ContactMentioned, ContactMerged
from domain.errors import RecordFenced, RecordInvalid, RecordWaits, ReferenceMalformed
from domain.fact import UNKNOWN
from domain.ids import EventId, SubjectId, TenantId, ThingId
from domain.personal import Kind, Names, Reference
from domain.tickets import EntryFields, TicketRated
from domain.vocabularies import OTHER, word
from services.records import Draft

#: How far ahead of our clock a publisher's may be before a shredded address could come back too early.
CLOCK_AHEAD = timedelta(minutes=5)

_MENTION_FIELDS = {
    Kind.PERSON: "id",
    Kind.EMAIL: "email",
    Kind.PHONE: "phone",
    Kind.EXTERNAL: "unique_external_id",
    Kind.TWITTER: "twitter_id",
    Kind.FACEBOOK: "facebook_id",
}


@dataclass(slots=True)
class Somebody:
    """A person as far as deciding needs to know."""

    id: SubjectId
    profile: ThingId
    agent: bool
    upstream: bool
    living: bool
    new: bool = False


@dataclass(slots=True)
class Something:
    """A thing as far as deciding needs to know. `opened` says that a fact of it stands on the log, or will."""

    id: ThingId
    owner: SubjectId
    living: bool
    opened: bool = True
    new: bool = False


@dataclass(frozen=True, slots=True)
class PlannedFact:
    """A fact that is decided and not sealed yet."""

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
    #: References of things that had an id before, and are opened only now.
    appeared: list[bytes] = field(default_factory=list)
    claims: dict[bytes, UUID] = field(default_factory=dict)
    given_up: list[tuple[UUID, bytes]] = field(default_factory=list)
    #: References that a mention fact tells, and those that a profile's own record tells.
    mentioned: set[bytes] = field(default_factory=set)
    told: set[bytes] = field(default_factory=set)
    people: dict[UUID, Somebody] = field(default_factory=dict)
    things: dict[UUID, Something] = field(default_factory=dict)
    merged: dict[UUID, SubjectId] = field(default_factory=dict)
    moved: dict[UUID, SubjectId] = field(default_factory=dict)
    named: set[UUID] = field(default_factory=set)
    agents: set[UUID] = field(default_factory=set)
    upstream: set[UUID] = field(default_factory=set)
    facts: list[PlannedFact] = field(default_factory=list)

    def take_in(self, other: Changes) -> None:
        """Add the changes of a parcel that was decided."""
        for index, inside in other.entries.items():
            self.entries.setdefault(index, inside)
        self.appeared.extend(other.appeared)
        self.claims.update(other.claims)
        self.given_up.extend(other.given_up)
        self.mentioned |= other.mentioned
        self.told |= other.told
        self.people.update(other.people)
        self.things.update(other.things)
        self.merged.update(other.merged)
        self.moved.update(other.moved)
        self.named |= other.named
        self.agents |= other.agents
        self.upstream |= other.upstream
        self.facts.extend(other.facts)


@dataclass(frozen=True, slots=True)
class View:
    """What the key database said about the references of a batch, for one tenant."""

    tenant: TenantId
    known: Mapping[bytes, Known]
    people: Mapping[UUID, Somebody]
    roots: Mapping[UUID, SubjectId]
    things: Mapping[UUID, Something]
    vocabulary: Mapping[str, frozenset[str]]


class Desk:
    """Decide the parcels of one tenant, in order."""

    def __init__(
        self, view: View, *, index: Callable[[Reference], bytes], new_id: Callable[[], UUID], now: datetime
    ) -> None:
        self._view = view
        self._index = index
        self._new_id = new_id
        self._now = now
        self.changes = Changes()

    def decide(self, drafts: Sequence[tuple[Draft, bytes]]) -> Sequence[PlannedFact]:
        """Decide one parcel: its drafts, each with its record digest.

        Raises:
            RecordRefused: nothing of the parcel is taken.
        """
        decision = Decision(self._view, self.changes, self._index, self._new_id, self._now)
        for draft, digest in drafts:
            decision.take(draft, digest)
        self.changes.take_in(decision.changes)
        return decision.changes.facts

    def fence_with(self, draft: Draft) -> list[bytes]:
        """Name the ticket that a shredded person would have opened: what follows on it is about that person, too."""
        if draft.plan.record.THING != "ticket" or not draft.plan.record.OPENS:
            return []
        own = _Take(Decision(self._view, self.changes, self._index, self._new_id, self._now), draft, b"")._mentions
        return [mention.index for mention in own.get("self", []) if mention.index not in self._view.known]

    def refuse_fenced(self, drafts: Sequence[Draft]) -> None:
        """Check a parcel that is stored already: whoever it was about may have been shredded since.

        Raises:
            RecordRefused: it is about somebody or something that was shredded.
        """
        for draft in drafts:
            Decision(self._view, self.changes, self._index, self._new_id, self._now).refuse_fenced(draft)


class Decision:
    """The decision about one parcel."""

    def __init__(
        self,
        view: View,
        before: Changes,
        index: Callable[[Reference], bytes],
        new_id: Callable[[], UUID],
        now: datetime,
    ) -> None:
        self._view = view
        self._before = before
        self._index = index
        self._new_id = new_id
        self._now = now
        self.changes = Changes()

    # -- what is known so far -----------------------------------------------------------------------------------

    def _inside(self, index: bytes) -> UUID | None:
        for changes in (self.changes, self._before):
            for entries in (changes.claims, changes.entries):
                if index in entries:
                    return entries[index]
        known = self._view.known.get(index)
        return None if known is None else known.inside

    def _person(self, inside: UUID) -> Somebody:
        root = self._view.roots.get(inside, inside)
        while True:
            above = self.changes.merged.get(root) or self._before.merged.get(root)
            if above is None:
                break
            root = self._view.roots.get(above, above)
        person = self.changes.people.get(root) or self._before.people.get(root) or self._view.people[root]
        return person

    def _thing_or_none(self, inside: UUID) -> Something | None:
        return self.changes.things.get(inside) or self._before.things.get(inside) or self._view.things.get(inside)

    def _is_agent(self, person: Somebody) -> bool:
        return person.agent or person.id in self.changes.agents or person.id in self._before.agents

    def _is_upstream(self, person: Somebody) -> bool:
        return person.upstream or person.id in self.changes.upstream or person.id in self._before.upstream

    def _is_fenced(self, mentioned: Mentioned, day: date) -> bool:
        known = self._view.known.get(mentioned.index)
        if known is None or known.fenced is None:
            return False
        return self._inside(mentioned.index) is None or day <= known.fenced

    # -- people -------------------------------------------------------------------------------------------------

    def _readmits(self, draft: Draft, mentions: Sequence[Mentioned], day: date) -> bool:
        """Tell whether a fenced address may come back as a new person with this record."""
        ids = [mention for mention in mentions if mention.reference.kind.is_upstream_id]
        return (
            draft.type == "sealdesk.contact.created.v1"
            and bool(ids)
            and not any(self._is_fenced(mention, day) for mention in ids)
            and all(
                mention.reference.kind in (Kind.EMAIL, Kind.PHONE) and day > self._view.known[mention.index].fenced  # type: ignore[operator]
                for mention in mentions
                if self._is_fenced(mention, day)
            )
            and draft.occurred_at <= self._now + CLOCK_AHEAD
        )

    def _identify(self, mentions: Sequence[Mentioned], *, agent: bool = False) -> Somebody:
        """Find the one person whom these references mean, or make a new one; merge and reassign as the rules say."""
        found: dict[UUID, Somebody] = {}
        by_index: dict[bytes, Somebody] = {}
        inside_of: dict[bytes, UUID] = {}
        for mention in mentions:
            inside = self._inside(mention.index)
            if inside is not None:
                inside_of[mention.index] = inside
                person = self._person(inside)
                if not person.living:
                    raise RecordFenced("fenced", mention.path)
                found[person.id] = by_index[mention.index] = person
        primary = self._primary(mentions, found, by_index)
        has_id = any(mention.reference.kind.is_upstream_id for mention in mentions)
        for mention in mentions:
            other = by_index.get(mention.index)
            if other is None:
                self.changes.entries[mention.index] = primary.id
            elif other.id != primary.id:
                if self._is_upstream(other):
                    if has_id:
                        # Whoever has it may be somebody who was merged into the other: the way back starts there.
                        self.changes.given_up.append((inside_of[mention.index], mention.index))
                        self.changes.claims[mention.index] = primary.id
                elif other.id not in self.changes.merged:
                    self._merge(other, primary)
        if has_id and not self._is_upstream(primary):
            self.changes.upstream.add(primary.id)
        if agent and not self._is_agent(primary):
            self.changes.agents.add(primary.id)
        self.changes.named.add(primary.id)
        return primary

    def _primary(
        self,
        mentions: Sequence[Mentioned],
        found: Mapping[UUID, Somebody],
        by_index: Mapping[bytes, Somebody],
    ) -> Somebody:
        ids = [mention for mention in mentions if mention.reference.kind.is_upstream_id]
        by_id = [by_index[mention.index] for mention in ids if mention.index in by_index]
        if by_id:
            return by_id[0]
        if ids:
            free = [person for person in found.values() if not self._is_upstream(person)]
            return free[0] if free else self._new_person()
        if found:
            return next((person for person in found.values() if self._is_upstream(person)), next(iter(found.values())))
        return self._new_person()

    def _new_person(self) -> Somebody:
        person = Somebody(SubjectId(self._new_id()), ThingId(self._new_id()), False, False, True, new=True)
        self.changes.people[person.id] = person
        return person

    def _merge(self, secondary: Somebody, primary: Somebody) -> None:
        self.changes.merged[secondary.id] = primary.id
        if self._is_agent(secondary) and not self._is_agent(primary):
            self.changes.agents.add(primary.id)
        if self._is_upstream(secondary) and not self._is_upstream(primary):
            self.changes.upstream.add(primary.id)

    # -- one draft ----------------------------------------------------------------------------------------------

    def take(self, draft: Draft, digest: bytes) -> None:
        """Decide one record and add its facts.

        Raises:
            RecordRefused: the record cannot be taken.
        """
        _Take(self, draft, digest).run()

    def refuse_fenced(self, draft: Draft) -> None:
        """Refuse a record about somebody or something that was shredded, and do nothing else."""
        _Take(self, draft, b"").refuse_fenced()


class _Take:
    """One record on its way through the decision."""

    def __init__(self, decision: Decision, draft: Draft, digest: bytes) -> None:
        self._d = decision
        self._draft = draft
        self._digest = digest
        self._day = draft.occurred_at.date()
        self._mentions = self._read_mentions()
        self._clear: dict[str, Any] = {}
        self._personal: dict[str, Any] = {}
        self._extra: list[tuple[ThingId, str, dict[str, Any], dict[str, Any], SubjectId]] = []

    def run(self) -> None:
        self._sort_fields()
        if self._draft.plan.record.THING == "ticket":
            stream, owners = self._ticket()
        else:
            stream, owners = self._profile()
        self._add(stream, self._draft.type, self._clear, self._personal, owners, 0)
        for ordinal, (thing, type_, clear, personal, owner) in enumerate(self._extra, start=1):
            self._add(thing, type_, clear, personal, (owner,), ordinal)

    def refuse_fenced(self) -> None:
        for role in ("self", "requester"):
            mentions = self._mentions.get(role, [])
            self._refuse_fenced(mentions)
            for mention in mentions:
                inside = self._d._inside(mention.index)
                if inside is None:
                    continue
                thing = self._d._thing_or_none(inside)
                person = self._d._person(inside if thing is None else thing.owner)
                if not person.living or (thing is not None and not thing.living):
                    raise RecordFenced("fenced", mention.path)

    def _add(
        self,
        stream: ThingId,
        type_: str,
        clear: Mapping[str, Any],
        personal: Mapping[str, Any],
        owners: tuple[SubjectId, ...],
        ordinal: int,
    ) -> None:
        self._d.changes.facts.append(
            PlannedFact(
                stream,
                self._d._view.tenant,
                EventId(self._d._new_id()),
                type_,
                self._digest,
                ordinal,
                self._draft.occurred_at,
                clear,
                personal,
                owners,
            )
        )

    # -- fields -------------------------------------------------------------------------------------------------

    def _sort_fields(self) -> None:
        data, plan = self._draft.data, self._draft.plan
        given = data.model_fields_set
        for name in plan.clear:
            if name in given:
                value = getattr(data, name)
                self._clear[name] = value.isoformat() if isinstance(value, datetime) else value
        for name, mark in plan.words:
            if name in given:
                value = getattr(data, name)
                found = None if value is None else word(mark.vocabulary, value, self._d._view.vocabulary)
                self._clear[mark.stored_as] = OTHER if value is not None and found is None else found
                if value is not None and found is None:
                    self._personal[name] = value
        for name in plan.personal:
            if name in given and (name != UNKNOWN or data.unknown_fields):
                value = getattr(data, name)
                self._personal[name] = [value] if name in plan.texts and value is not None else value
        for name, names in plan.names:
            if names.role == "self" and name in given:
                self._personal[name] = getattr(data, name)

    def _read_mentions(self) -> dict[str, list[Mentioned]]:
        mentions: dict[str, list[Mentioned]] = {}
        data = self._draft.data
        for name, mark in self._draft.plan.names:
            value = getattr(data, name)
            if value is None:
                continue
            for item in value if isinstance(value, list) else (value,):
                mentions.setdefault(mark.role, []).append(self._mention(name, mark, item))
        self._read_subject(mentions)
        return mentions

    def _mention(self, path: str, mark: Names, said: str | int) -> Mentioned:
        name = ""
        if isinstance(said, str) and mark.kind is Kind.EMAIL and mark.role in ("copied", "author"):
            name, said = parseaddr(said)
        reference = Reference(mark.kind, str(said))
        try:
            return Mentioned(path, reference, self._d._index(reference), said, name)
        except ReferenceMalformed:
            raise RecordInvalid("malformed_reference", f"data.{path}") from None

    def _read_subject(self, mentions: dict[str, list[Mentioned]]) -> None:
        """Let the CloudEvents subject say what the record is about, and check it against the data."""
        subject = self._draft.subject
        if subject is None:
            return
        if subject.kind.is_thing != (self._draft.plan.record.THING == "ticket"):
            raise RecordInvalid("subject_differs", "subject")
        own = mentions.setdefault("self", [])
        try:
            mention = Mentioned("subject", subject, self._d._index(subject), subject.value)
        except ReferenceMalformed:
            raise RecordInvalid("malformed_reference", "subject") from None
        same_kind = [other.index for other in own if other.reference.kind is subject.kind]
        if mention.index in same_kind:
            return
        if same_kind:
            raise RecordInvalid("subject_differs", "subject")
        own.append(mention)

    # -- what a profile fact is about ---------------------------------------------------------------------------

    def _profile(self) -> tuple[ThingId, tuple[SubjectId, ...]]:
        own = self._mentions.get("self", [])
        if not own:
            raise RecordInvalid("no_reference", "subject")
        if not self._d._readmits(self._draft, own, self._day):
            own = self._without_fenced(own)
        if not self._draft.plan.record.OPENS and all(self._d._inside(mention.index) is None for mention in own):
            raise RecordWaits("unknown_person", "subject", waits_for=own[0].index)
        before = set(self._d.changes.merged)
        person = self._d._identify(own, agent=self._draft.plan.record.THING == "agent")
        for mention in own:
            self._d.changes.told.add(mention.index)
            field_name = _MENTION_FIELDS.get(mention.reference.kind)
            declared = self._draft.plan.record.model_fields
            if mention.path == "subject" and field_name in declared and field_name not in self._personal:
                self._personal[field_name] = mention.reference.value
        self._clear["person"] = person.id.hex
        self._tell_merges(before, person)
        if self._draft.type == ContactMerged.TYPE:
            self._merge_secondaries(person)
        return person.profile, (person.id,)

    def _merge_secondaries(self, primary: Somebody) -> None:
        """Carry out an explicit merge; the fact itself tells it."""
        secondaries: list[Somebody] = []
        for mention in self._mentions.get("secondary", []):
            if self._d._is_fenced(mention, self._day):
                continue
            inside = self._d._inside(mention.index)
            person = self._d._identify([mention]) if inside is None else self._d._person(inside)
            if person.living and person.id != primary.id:
                self._d._merge(person, primary)
                secondaries.append(person)
        self._clear["secondary"] = [person.id.hex for person in secondaries]
        self._clear["secondary_profiles"] = [person.profile.hex for person in secondaries]

    def _tell_merges(self, before: Iterable[UUID], primary: Somebody) -> None:
        """Add a merge fact for whoever was merged because one record named two people."""
        known = set(before)
        for secondary_id in [key for key in self._d.changes.merged if key not in known]:
            secondary = (
                self._d.changes.people.get(secondary_id)
                or self._d._before.people.get(secondary_id)
                or self._d._view.people[secondary_id]
            )
            clear = {
                "person": primary.id.hex,
                "secondary": [secondary.id.hex],
                "secondary_profiles": [secondary.profile.hex],
            }
            self._extra.append((primary.profile, ContactMerged.TYPE, clear, {}, primary.id))

    # -- what a ticket fact is about ----------------------------------------------------------------------------

    def _ticket(self) -> tuple[ThingId, tuple[SubjectId, ...]]:
        own = self._mentions.get("self", [])
        if not own:
            raise RecordInvalid("no_reference", "subject")
        self._refuse_fenced(own)
        inside = self._d._inside(own[0].index)
        thing = None if inside is None else self._d._thing_or_none(inside)
        if inside is None or thing is None or not thing.opened:
            if not self._draft.plan.record.OPENS:
                # What a shredded person wrote is refused at once; in the quarantine it would wait readable.
                if getattr(self._draft.data, "incoming", None) is not False:
                    self._refuse_fenced(self._mentions.get("author", []))
                raise RecordWaits("unknown_ticket", "subject", waits_for=own[0].index)
            return self._open_ticket(own[0], thing)
        if self._draft.plan.record.OPENS:
            raise RecordInvalid("opened_already", "subject")
        requester = self._d._person(thing.owner)
        if not thing.living or not requester.living:
            raise RecordFenced("fenced", "subject")
        owners: tuple[SubjectId, ...] = (requester.id,)
        moves_to = self._requester()
        if moves_to is not None and moves_to.id != requester.id:
            self._clear["requester"] = moves_to.id.hex
            self._d.changes.things[inside] = Something(thing.id, moves_to.id, True, True, thing.new)
            self._d.changes.moved[inside] = moves_to.id
            owners = (moves_to.id, requester.id)
        self._name_others(requester)
        if isinstance(self._draft.data, EntryFields | TicketRated):
            owners = self._author(requester)
        return thing.id, owners

    def _open_ticket(self, own: Mentioned, begun: Something | None) -> tuple[ThingId, tuple[SubjectId, ...]]:
        """Open a ticket; one that was begun before a crash keeps its id."""
        requester = self._requester()
        if requester is None:
            raise RecordInvalid("no_requester", "data.requester_id")
        if begun is None:
            thing = Something(ThingId(self._d._new_id()), requester.id, True, new=True)
            self._d.changes.entries[own.index] = thing.id
        else:
            thing = Something(begun.id, requester.id, True)
            self._d.changes.appeared.append(own.index)
            if begun.owner != requester.id:
                self._d.changes.moved[begun.id] = requester.id
        self._d.changes.things[thing.id] = thing
        self._personal.setdefault("id", own.reference.value)
        self._clear["requester"] = requester.id.hex
        self._name_others(requester)
        return thing.id, (requester.id,)

    def _requester(self) -> Somebody | None:
        mentions = self._mentions.get("requester", [])
        if not mentions:
            return None
        mentions = self._without_fenced(mentions)
        before = set(self._d.changes.merged)
        person = self._d._identify(mentions)
        self._tell_merges(before, person)
        self._mention_person(person, mentions, self._profile_of("requester"))
        return person

    def _profile_of(self, role: str) -> dict[str, Any]:
        return {
            name: getattr(self._draft.data, name)
            for name, mark in self._draft.plan.profile
            if mark.role == role and getattr(self._draft.data, name) is not None
        }

    def _name_others(self, requester: Somebody) -> None:
        given = self._draft.data.model_fields_set
        for name, mark in self._draft.plan.names:
            if mark.role == "responder" and name in given:
                self._clear["responder"] = self._responder()
        if any(mark.role == "copied" and name in given for name, mark in self._draft.plan.names):
            copied = [self._named(mention) for mention in self._mentions.get("copied", [])]
            ids = [person.id.hex for person in copied if person is not None]
            self._clear["copied"] = list(dict.fromkeys(ids))

    def _responder(self) -> str | None:
        for mention in self._mentions.get("responder", []):
            person = self._named(mention, agent=True)
            return None if person is None else person.id.hex
        return None

    def _named(self, mention: Mentioned, *, agent: bool = False) -> Somebody | None:
        """Find somebody whom the record merely names: None when that person was shredded."""
        if self._is_gone(mention):
            return None
        person = self._d._identify([mention], agent=agent)
        self._mention_person(person, [mention], {"name": mention.name} if mention.name else {})
        return person

    def _is_gone(self, mention: Mentioned) -> bool:
        if self._d._is_fenced(mention, self._day):
            return True
        inside = self._d._inside(mention.index)
        return inside is not None and not self._d._person(inside).living

    def _author(self, requester: Somebody) -> tuple[SubjectId, ...]:
        """Say who wrote this and whose it is: the requester's, and with him a writer's who is no agent."""
        incoming = getattr(self._draft.data, "incoming", None)
        mentions = self._author_mentions(incoming)
        gone = [mention for mention in mentions if self._is_gone(mention)]
        if gone and incoming is not False:
            raise RecordFenced("fenced", f"data.{gone[0].path}")
        mentions = [mention for mention in mentions if mention not in gone]
        if not mentions:
            if isinstance(self._draft.data, TicketRated):
                return (requester.id,)
            self._clear["by"] = "requester" if incoming is True else "agent"
            return (requester.id,)
        before = set(self._d.changes.merged)
        author = self._d._identify(mentions)
        self._tell_merges(before, author)
        self._mention_person(author, mentions, {})
        self._clear["author"] = author.id.hex
        if author.id == requester.id:
            self._clear["by"] = "requester"
            return (requester.id,)
        if incoming is False or (self._d._is_agent(author) and incoming is not True):
            self._clear["by"] = "agent"
            return (requester.id,)
        self._clear["by"] = "contact"
        return (requester.id, author.id)

    def _author_mentions(self, incoming: bool | None) -> list[Mentioned]:
        """List who may have written this. What goes out is sent from an address of the desk, which names nobody."""
        mentions = self._mentions.get("author", [])
        if incoming is False:
            for mention in mentions:
                if mention.path == "from_email":
                    self._personal["from_email"] = mention.said
            mentions = [mention for mention in mentions if mention.path != "from_email"]
        return mentions

    def _mention_person(self, person: Somebody, mentions: Sequence[Mentioned], told: dict[str, Any]) -> None:
        """Tell the profile of somebody what this record alone says about that person."""
        untold = [mention for mention in mentions if not self._is_told(mention)]
        personal = dict(told)
        for mention in untold:
            personal.setdefault(_MENTION_FIELDS[mention.reference.kind], mention.said)
            self._d.changes.mentioned.add(mention.index)
        if personal:
            clear = {"person": person.id.hex}
            self._extra.append((person.profile, ContactMentioned.TYPE, clear, personal, person.id))

    def _is_told(self, mention: Mentioned) -> bool:
        for changes in (self._d.changes, self._d._before):
            if mention.index in changes.mentioned or mention.index in changes.told:
                return True
        known = self._d._view.known.get(mention.index)
        return known is not None and known.inside is not None and known.told

    def _without_fenced(self, mentions: list[Mentioned]) -> list[Mentioned]:
        """Leave the addresses of shredded people out where an id says that the record is about somebody living.

        Raises:
            RecordFenced: no id says so; then a fenced reference says whose the record is.
        """
        ids = [self._d._inside(mention.index) for mention in mentions if mention.reference.kind is Kind.PERSON]
        if not any(id_ is not None and self._d._person(id_).living for id_ in ids):
            self._refuse_fenced(mentions)
        gone = [mention for mention in mentions if self._d._is_fenced(mention, self._day)]
        self._refuse_fenced(mention for mention in gone if mention.reference.kind is Kind.PERSON)
        for mention in gone:
            left = self._personal.pop(mention.path, None)
            if isinstance(left, list) and (rest := [item for item in left if item != mention.reference.value]):
                self._personal[mention.path] = rest
        return [mention for mention in mentions if mention not in gone]

    def _refuse_fenced(self, mentions: Iterable[Mentioned]) -> None:
        for mention in mentions:
            if self._d._is_fenced(mention, self._day):
                raise RecordFenced("fenced", mention.path)


def mentions_of(draft: Draft) -> Iterable[tuple[str, Names, str]]:
    """List every reference of a draft as (field, mark, value), to look all of a batch up at once."""
    for name, mark in draft.plan.names:
        value = getattr(draft.data, name)
        if value is not None:
            for item in value if isinstance(value, list) else (value,):
                text = str(item)
                if mark.kind is Kind.EMAIL and mark.role in ("copied", "author"):
                    text = parseaddr(text)[1]
                yield name, mark, text
