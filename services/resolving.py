"""Decide whose each fact is, and what it is about: drafts -> planned facts. No I/O: it reads a view.

Deciding may refuse. What a record may do is declared by its type (`WHOSE`, `OPENS`, `EFFECT`, `TEAM`), and the roles of
its references say who is who; nothing here knows a single type of a forum or a call.

Whose a fact is:
- a profile's: the person;
- a ticket's, call's or chat's: its requester, and with him a writer who is another contact;
- a topic's or comment's: its author, unless that is an agent;
- everything else is the desk's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from email.utils import parseaddr
from typing import Any
from uuid import UUID

from domain.agents import AgentDeleted
from domain.catalogue import PEOPLE
from domain.contacts import ContactMadeAgent, ContactMentioned, ContactMerged
from domain.errors import RecordFenced, RecordInvalid, RecordWaits, ReferenceMalformed
from domain.fact import Effect
from domain.ids import EventId, SubjectId, ThingId
from domain.personal import Kind, Names, Reference, Role
from domain.tickets import TicketMerged, TicketMergedAway, TicketRated
from services.changes import Changes, Mentioned, PlannedFact, Somebody, Something, View
from services.fields import laid_over, sorted_fields
from services.identity import Identity
from services.records import Draft

_MENTION_FIELDS = {
    Kind.PERSON: "id",
    Kind.EMAIL: "email",
    Kind.PHONE: "phone",
    Kind.EXTERNAL: "unique_external_id",
    Kind.TWITTER: "twitter_id",
    Kind.FACEBOOK: "facebook_id",
}
#: Lists of people whom a record names, by the clear field that they become, and whether these are agents.
_LISTS: tuple[tuple[Role, str, bool], ...] = (
    ("copied", "copied", False),
    ("member", "members", True),
    ("named", "named", False),
)


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
        identity = self._identity()
        for draft, digest in drafts:
            _Take(identity, draft, digest).run()
        self.changes.take_in(identity.changes)
        return identity.changes.facts

    def fence_with(self, draft: Draft) -> list[bytes]:
        """Name the thing that a shredded person would have opened: what follows on it is about that person, too."""
        if draft.plan.record.WHOSE is None:
            return []
        own = _Take(self._identity(), draft, b"").mentions.get("self", [])
        return [mention.index for mention in own if not self._is_opened(mention.index)]

    def _is_opened(self, index: bytes) -> bool:
        """Tell whether a thing is known by more than having been named as the parent of another."""
        known = self._view.known.get(index)
        thing = None if known is None or known.inside is None else self._view.things.get(known.inside)
        return thing is not None and thing.opened

    def refuse_fenced(self, drafts: Sequence[Draft]) -> None:
        """Check a parcel that is stored already: whoever it was about may have been shredded since.

        Raises:
            RecordRefused: it is about somebody or something that was shredded.
        """
        for draft in drafts:
            _Take(self._identity(), draft, b"").refuse_fenced()

    def _identity(self) -> Identity:
        return Identity(self._view, self.changes, self._index, self._new_id, self._now)


class _Take:
    """One record on its way through the decision."""

    def __init__(self, identity: Identity, draft: Draft, digest: bytes) -> None:
        self._d = identity
        self._draft = draft
        self._record = draft.plan.record
        self._digest = digest
        self._day = draft.occurred_at.date()
        self.mentions = self._read_mentions()
        self._clear: dict[str, Any] = {}
        self._personal: dict[str, Any] = {}
        self._blob: UUID | None = None
        self._extra: list[tuple[ThingId, str, dict[str, Any], dict[str, Any], tuple[SubjectId, ...]]] = []

    def run(self) -> None:
        """Decide the record and add its facts.

        Raises:
            RecordRefused: the record cannot be taken.
        """
        self._clear, self._personal = sorted_fields(self._draft, self._vocabulary())
        if self._record.THING in PEOPLE:
            stream, owners = self._profile()
        elif self._record.THING == "tenant":
            stream, owners = self._declare()
        else:
            stream, owners = self._thing()
        if self._record.EFFECT is not None:
            self._d.changes.settled.add(stream)
        self._add(stream, self._draft.type, self._clear, self._personal, owners, 0, self._blob)
        for ordinal, (thing, type_, clear, personal, whose) in enumerate(self._extra, start=1):
            self._add(thing, type_, clear, personal, whose, ordinal)

    def refuse_fenced(self) -> None:
        """Refuse a record about somebody or something that was shredded, and do nothing else."""
        for role in ("self", "requester"):
            mentions = self.mentions.get(role, [])
            self._refuse_fenced(mentions)
            for mention in mentions:
                inside = self._d.inside(mention.index)
                if inside is None:
                    continue
                thing = self._d.thing(inside)
                whose = inside if thing is None else thing.owner
                if (whose is not None and not self._d.person(whose).living) or (thing is not None and not thing.living):
                    raise RecordFenced("fenced", mention.path)

    def _add(
        self,
        stream: ThingId,
        type_: str,
        clear: Mapping[str, Any],
        personal: Mapping[str, Any],
        owners: tuple[SubjectId, ...],
        ordinal: int,
        blob: UUID | None = None,
    ) -> None:
        self._d.changes.facts.append(
            PlannedFact(
                stream,
                self._d.view.tenant,
                EventId(self._d.new_id()),
                type_,
                self._digest,
                ordinal,
                self._draft.occurred_at,
                clear,
                personal,
                owners,
                blob,
            )
        )

    # -- references and words -----------------------------------------------------------------------------------

    def _vocabulary(self) -> Mapping[str, frozenset[str]]:
        """Give the words of the tenant, with those that this batch declared."""
        added = self._d.before.words | self._d.changes.words
        if not added:
            return self._d.view.vocabulary
        words = dict(self._d.view.vocabulary)
        for name, word in added:
            words[name] = words.get(name, frozenset()) | {word}
        return words

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
            return Mentioned(path, reference, self._d.index(reference), said, name)
        except ReferenceMalformed:
            raise RecordInvalid("malformed_reference", f"data.{path}") from None

    def _read_subject(self, mentions: dict[str, list[Mentioned]]) -> None:
        """Let the CloudEvents subject say what the record is about, and check it against the data."""
        subject = self._draft.subject
        if subject is None:
            return
        expected = self._record.THING
        if expected not in (PEOPLE if not subject.kind.is_thing else {subject.kind.value}):
            raise RecordInvalid("subject_differs", "subject")
        own = mentions.setdefault("self", [])
        try:
            mention = Mentioned("subject", subject, self._d.index(subject), subject.value)
        except ReferenceMalformed:
            raise RecordInvalid("malformed_reference", "subject") from None
        same_kind = [other.index for other in own if other.reference.kind is subject.kind]
        if mention.index in same_kind:
            return
        if same_kind:
            raise RecordInvalid("subject_differs", "subject")
        own.append(mention)

    def _only(self, role: Role) -> Mentioned | None:
        found = self.mentions.get(role, [])
        return found[0] if found else None

    def _names(self, role: Role) -> bool:
        """Tell whether the record says anything of this role, be it that there is nobody."""
        names = self._draft.plan.roles.get(role)
        return names is not None and not names.isdisjoint(self._draft.data.model_fields_set)

    # -- what a tenant declares ---------------------------------------------------------------------------------

    def _declare(self) -> tuple[ThingId, tuple[SubjectId, ...]]:
        if self._draft.subject is not None:
            raise RecordInvalid("subject_differs", "subject")
        self._d.changes.words.update((self._clear["vocabulary"], word) for word in self._clear["words"])
        return ThingId(self._d.view.tenant), ()

    # -- what a profile fact is about ---------------------------------------------------------------------------

    def _profile(self) -> tuple[ThingId, tuple[SubjectId, ...]]:
        own = self.mentions.get("self", [])
        if not own:
            raise RecordInvalid("no_reference", "subject")
        self._refuse_fenced(self.mentions.get("part", []))
        if not self._d.readmits(self._draft, own, self._day):
            own = self._without_fenced(own)
        if not self._record.OPENS and not self._d.means_somebody(own):
            # Any of those that lead nowhere may be the one by which the person becomes known.
            waits_for = [mention.index for mention in own if self._d.inside(mention.index) is None]
            raise RecordWaits("unknown_person", "subject", waits_for=waits_for)
        before = set(self._d.changes.merged)
        is_agent = self._record.THING == "agent" or self._draft.type == ContactMadeAgent.TYPE
        person = self._d.identify(own, agent=is_agent)
        if self._draft.type == AgentDeleted.TYPE:
            self._d.changes.agents[person.id] = False
        claimed: set[str] = set()
        for mention in own:
            self._d.changes.told.add(mention.index)
            field_name = _MENTION_FIELDS[mention.reference.kind]
            declared = self._record.model_fields
            if mention.path == "subject" and field_name in declared and field_name not in self._personal:
                self._personal[field_name] = mention.reference.value
            if self._claims(mention, person):
                claimed.add(field_name if mention.path == "subject" else mention.path)
        self._clear["person"] = person.id.hex
        if claimed:
            self._clear["claimed"] = sorted(claimed)
        self._tell_merges(before, person)
        if self._draft.type == ContactMerged.TYPE:
            self._merge_secondaries(person)
        self._set_part(person.profile)
        self._take_along(person.profile)
        return person.profile, (person.id,)

    def _merge_secondaries(self, primary: Somebody) -> None:
        """Carry out an explicit merge; the fact itself tells it."""
        secondaries: list[Somebody] = []
        for mention in self.mentions.get("secondary", []):
            if self._d.is_fenced(mention, self._day):
                continue
            inside = self._d.inside(mention.index)
            person = self._d.identify([mention]) if inside is None else self._d.person(inside)
            if person.living and person.id != primary.id:
                self._d.merge(person, primary)
                secondaries.append(person)
        self._clear["secondary"] = [person.id.hex for person in secondaries]
        self._clear["secondary_profiles"] = [person.profile.hex for person in secondaries]

    def _tell_merges(self, before: Iterable[UUID], primary: Somebody) -> None:
        """Add a merge fact for whoever was merged because one record named two people."""
        known = set(before)
        for secondary_id in [key for key in self._d.changes.merged if key not in known]:
            secondary = (
                self._d.changes.people.get(secondary_id)
                or self._d.before.people.get(secondary_id)
                or self._d.view.people[secondary_id]
            )
            clear = {
                "person": primary.id.hex,
                "secondary": [secondary.id.hex],
                "secondary_profiles": [secondary.profile.hex],
            }
            self._extra.append((primary.profile, ContactMerged.TYPE, clear, {}, (primary.id,)))

    # -- what any other fact is about ---------------------------------------------------------------------------

    def _thing(self) -> tuple[ThingId, tuple[SubjectId, ...]]:
        own = self.mentions.get("self", [])
        within = [mention for role in ("part", "within") for mention in self.mentions.get(role, [])]
        self._refuse_fenced([*own, *within])
        inside = self._which(own, within)
        thing = None if inside is None else self._d.thing(inside)
        if thing is None or not thing.opened:
            if not self._record.OPENS:
                # What a shredded person wrote is refused at once; in the quarantine it would wait readable.
                if getattr(self._draft.data, "incoming", None) is not False and not self._record.TEAM:
                    self._refuse_fenced(self.mentions.get("author", []))
                # A message waits for its thread, not for itself.
                missing = (own or self.mentions.get("within") or within)[0].index
                raise RecordWaits(f"unknown_{self._record.THING}", "subject", waits_for=[missing])
            if not own:
                raise RecordInvalid("no_reference", "subject")
            return self._open(own[0], thing)
        if thing.kind != self._record.THING:
            raise RecordInvalid("subject_differs", "subject")
        if self._record.OPENS and self._record.EFFECT is None:
            raise RecordInvalid("opened_already", "subject")
        owner = None if thing.owner is None else self._d.person(thing.owner)
        if not thing.living or (owner is not None and not owner.living):
            raise RecordFenced("fenced", "subject")
        return thing.id, self._happen(thing, owner)

    def _which(self, own: Sequence[Mentioned], within: Sequence[Mentioned]) -> UUID | None:
        """Find the thing that the record is about: by its own reference, or by that of a part of it."""
        if not own and not within:
            raise RecordInvalid("no_reference", "subject")
        places = {inside for mention in (*own, *within) if (inside := self._d.inside(mention.index)) is not None}
        if len(places) > 1 or (places and own and self._d.inside(own[0].index) is None):
            raise RecordInvalid("subject_differs", "subject")
        return next(iter(places), None)

    def _open(self, own: Mentioned, begun: Something | None) -> tuple[ThingId, tuple[SubjectId, ...]]:
        """Open a thing; one that was begun before a crash, or named as the parent of another, keeps its id."""
        owner = self._opener(own)
        whose = None if owner is None else owner.id
        parent = self._parent()
        if begun is None:
            thing = Something(ThingId(self._d.new_id()), self._record.THING, whose, new=True, parent=parent)
            self._d.changes.entries[own.index] = thing.id
        else:
            thing = replace(begun, owner=whose, opened=True, parent=parent)
            self._d.changes.appeared.append(own.index)
            self._d.changes.placed.add(thing.id)
        self._d.changes.things[thing.id] = thing
        self._personal.setdefault("id", own.reference.value)
        if self._record.WHOSE == "requester" and owner is not None:
            self._clear["requester"] = owner.id.hex
        self._name_others()
        if self._record.TEAM:
            self._team_author()
        if self._record.THING == "group" and isinstance(own.said, int):
            self._d.changes.words.add(("group", str(own.said)))
        return thing.id, () if owner is None else (owner.id,)

    def _opener(self, own: Mentioned) -> Somebody | None:
        """Find whose a new thing is; None if it is the desk's."""
        match self._record.WHOSE:
            case "requester":
                requester = self._requester()
                if requester is None and self._record.THING == Kind.TICKET:
                    raise RecordInvalid("no_requester", "data.requester_id")
                return requester
            case "author":
                mentions = self.mentions.get("author", [])
                if not mentions:
                    raise RecordInvalid("no_author", "data.user_id")
                self._refuse_fenced(mentions)
                author = self._known_author(mentions)
                self._clear["by"] = "agent" if self._d.is_agent(author) else "contact"
                return None if self._d.is_agent(author) else author
            case _:
                return None

    def _happen(self, thing: Something, owner: Somebody | None) -> tuple[SubjectId, ...]:
        """Say what happens to a thing that is known, and whose that is."""
        owners: tuple[SubjectId, ...] = () if owner is None else (owner.id,)
        moves_to = self._requester()
        if moves_to is not None and moves_to.id != thing.owner:
            self._clear["requester"] = moves_to.id.hex
            self._move(thing, moves_to)
            owners = (moves_to.id, *owners)
        if self._names("parent") and (parent := self._parent()) is not None:
            self._d.changes.things[thing.id] = replace(thing, parent=parent)
            self._d.changes.placed.add(thing.id)
        if self._draft.type == TicketMerged.TYPE:
            self._merge_tickets(thing, owner)
        self._name_others()
        self._set_part(thing.id)
        if self._record.TEAM:
            self._team_author()
        elif self._names_author():
            owners = self._author(owner)
        owners = (*owners, *(id_ for id_ in self._take_along(thing.id) if id_ not in owners))
        if self._record.EFFECT is Effect.ENDS and not self.mentions.get("part"):
            self._d.changes.things[thing.id] = replace(thing, living=False)
        return owners

    def _move(self, thing: Something, to: Somebody) -> None:
        self._d.changes.things[thing.id] = replace(thing, owner=to.id)
        self._d.changes.moved[thing.id] = to.id

    def _merge_tickets(self, primary: Something, owner: Somebody | None) -> None:
        """Let other tickets move to the requester of this one. One that is not known yet is waited for."""
        merged: list[str] = []
        for mention in self.mentions.get("secondary", []):
            if self._d.is_fenced(mention, self._day):
                continue
            inside = self._d.inside(mention.index)
            thing = None if inside is None else self._d.thing(inside)
            if thing is None or not thing.opened:
                raise RecordWaits("unknown_ticket", f"data.{mention.path}", waits_for=[mention.index])
            former = None if thing.owner is None else self._d.person(thing.owner)
            if thing.id == primary.id or not thing.living or former is None or not former.living or owner is None:
                continue
            merged.append(thing.id.hex)
            self._move(thing, owner)
            whose = tuple(dict.fromkeys((owner.id, former.id)))
            clear = {"into": primary.id.hex, "requester": owner.id.hex}
            self._extra.append((thing.id, TicketMergedAway.TYPE, clear, {}, whose))
        self._clear["secondary"] = merged

    def _parent(self) -> ThingId | None:
        """Find the thing in which this one hangs. One that is not known yet gets its id now, and waits to be opened.

        One that was shredded is left out: what others said in it stays.
        """
        mention = self._only("parent")
        if mention is None or self._d.is_fenced(mention, self._day):
            return None
        inside = self._d.inside(mention.index)
        thing = None if inside is None else self._d.thing(inside)
        if thing is None:
            thing = Something(ThingId(self._d.new_id()), mention.reference.kind.value, None, opened=False, new=True)
            self._d.changes.entries[mention.index] = thing.id
            self._d.changes.things[thing.id] = thing
        if not thing.living:
            return None
        self._clear["parent"] = thing.id.hex
        return thing.id

    # -- parts, and what is written anew ------------------------------------------------------------------------

    def _set_part(self, thing: ThingId) -> None:
        """Say which part of the thing the record makes, changes or ends, and in which part that hangs."""
        if (within := self._only("within")) is not None:
            self._clear["within"] = self._known_part(within).hex
        mention = self._only("part")
        if mention is None:
            if self._record.EFFECT is not None and "part" in self._draft.plan.roles:
                # Without saying which part, it would be taken to mean all of the thing.
                raise RecordInvalid("no_reference", "data.id")
            return
        if self._record.EFFECT is not None:
            part = self._known_part(mention)
            if self._record.EFFECT is Effect.ENDS:
                self._d.changes.ended.add(mention.index)
        elif self._d.part(mention.index) is not None:
            raise RecordInvalid("opened_already", f"data.{mention.path}")
        else:
            part = self._d.new_id()
            self._d.changes.entries[mention.index] = thing
            self._d.changes.parts[mention.index] = part
        self._clear["part"] = part.hex
        if self._record.BLOB:
            self._blob = part

    def _known_part(self, mention: Mentioned) -> UUID:
        part = self._d.part(mention.index)
        if part is None:
            raise RecordWaits("unknown_part", f"data.{mention.path}", waits_for=[mention.index])
        if mention.index in self._d.view.known:
            self._d.changes.leaned.add(mention.index)
        return part

    def _take_along(self, thing: ThingId) -> tuple[SubjectId, ...]:
        """Take what a record that writes anew does not give from what stood there; return whose that was."""
        if self._record.EFFECT is not Effect.REWRITES:
            return ()
        mention = self._only("part")
        version = self._d.version(thing, None if mention is None else self._d.part(mention.index))
        if version is None:
            if mention is not None:
                raise RecordFenced("fenced", f"data.{mention.path}")
            return ()
        stored_as = {name: mark.stored_as for name, mark in self._draft.plan.words}
        for name in self._draft.plan.sealable:
            if name in version.personal and stored_as.get(name) not in self._clear:
                self._personal[name] = laid_over(name, version.personal[name], self._personal)
        return tuple(dict.fromkeys(self._d.person(owner).id for owner in version.owners))

    # -- people -------------------------------------------------------------------------------------------------

    def _requester(self) -> Somebody | None:
        mentions = self.mentions.get("requester", [])
        if not mentions:
            return None
        mentions = self._without_fenced(mentions)
        before = set(self._d.changes.merged)
        person = self._d.identify(mentions)
        self._tell_merges(before, person)
        self._mention_person(person, mentions, self._profile_of("requester"))
        return person

    def _profile_of(self, role: str) -> dict[str, Any]:
        return {
            name: getattr(self._draft.data, name)
            for name, mark in self._draft.plan.profile
            if mark.role == role and getattr(self._draft.data, name) is not None
        }

    def _name_others(self) -> None:
        """Put an inside id for everybody whom the record merely names; whoever was shredded is left out."""
        if self._names("responder"):
            self._clear["responder"] = self._named_one("responder", agent=True)
        if self._names("voter"):
            self._clear["voter"] = self._named_one("voter")
        for role, key, agent in _LISTS:
            if self._names(role):
                people = [self._named(mention, agent=agent) for mention in self.mentions.get(role, [])]
                self._clear[key] = list(dict.fromkeys(person.id.hex for person in people if person is not None))

    def _named_one(self, role: Role, *, agent: bool = False) -> str | None:
        mention = self._only(role)
        person = None if mention is None else self._named(mention, agent=agent)
        return None if person is None else person.id.hex

    def _named(self, mention: Mentioned, *, agent: bool = False) -> Somebody | None:
        """Find somebody whom the record merely names: None when that person was shredded."""
        if self._is_gone(mention):
            return None
        person = self._d.identify([mention], agent=agent)
        self._mention_person(person, [mention], {"name": mention.name} if mention.name else {})
        return person

    def _is_gone(self, mention: Mentioned) -> bool:
        if self._d.is_fenced(mention, self._day):
            return True
        inside = self._d.inside(mention.index)
        return inside is not None and not self._d.person(inside).living

    def _team_author(self) -> None:
        """Say which agent wrote what only the team writes."""
        if self._names("author"):
            self._clear["author"] = self._named_one("author", agent=True)
            self._clear["by"] = "agent"

    def _names_author(self) -> bool:
        """Tell whether the record says who wrote a part of a thing; a thing keeps the author it was opened with."""
        makes_part = self._record.WHOSE is None and self._record.THING in _CONVERSATIONS
        is_told = self._names("author") if self._record.EFFECT is not None else "author" in self._draft.plan.roles
        return makes_part and is_told

    def _author(self, requester: Somebody | None) -> tuple[SubjectId, ...]:
        """Say who wrote this and whose it is: the requester's, and with him a writer's who is no agent."""
        base = () if requester is None else (requester.id,)
        incoming = getattr(self._draft.data, "incoming", None)
        mentions = self._author_mentions(incoming)
        gone = [mention for mention in mentions if self._is_gone(mention)]
        if gone and incoming is not False:
            raise RecordFenced("fenced", f"data.{gone[0].path}")
        mentions = [mention for mention in mentions if mention not in gone]
        if not mentions:
            if isinstance(self._draft.data, TicketRated):
                return base
            self._clear["by"] = "requester" if incoming is True else "agent"
            return base
        author = self._known_author(mentions)
        if requester is not None and author.id == requester.id:
            self._clear["by"] = "requester"
            return base
        if incoming is False or (self._d.is_agent(author) and incoming is not True):
            self._clear["by"] = "agent"
            return base
        self._clear["by"] = "contact"
        return (*base, author.id)

    def _known_author(self, mentions: Sequence[Mentioned]) -> Somebody:
        before = set(self._d.changes.merged)
        author = self._d.identify(mentions)
        self._tell_merges(before, author)
        self._mention_person(author, mentions, {})
        self._clear["author"] = author.id.hex
        return author

    def _author_mentions(self, incoming: bool | None) -> list[Mentioned]:
        """List who may have written this. What goes out is sent from an address of the desk, which names nobody."""
        mentions = self.mentions.get("author", [])
        if incoming is False:
            for mention in mentions:
                if mention.path == "from_email":
                    self._personal["from_email"] = mention.said
            mentions = [mention for mention in mentions if mention.path != "from_email"]
        return mentions

    def _mention_person(self, person: Somebody, mentions: Sequence[Mentioned], told: dict[str, Any]) -> None:
        """Tell the profile of somebody what this record alone says about that person."""
        claimed = {_MENTION_FIELDS[one.reference.kind] for one in mentions if self._claims(one, person)}
        untold = [mention for mention in mentions if claimed or not self._is_told(mention)]
        personal = dict(told)
        for mention in untold:
            personal.setdefault(_MENTION_FIELDS[mention.reference.kind], mention.said)
            self._d.changes.mentioned.add(mention.index)
        if personal:
            clear: dict[str, Any] = {"person": person.id.hex}
            if claimed:
                clear["claimed"] = sorted(claimed)
            self._extra.append((person.profile, ContactMentioned.TYPE, clear, personal, (person.id,)))

    def _claims(self, mention: Mentioned, person: Somebody) -> bool:
        """Tell whether the record claims an address from somebody else. The log says so: claims are key work."""
        return self._d.changes.claims.get(mention.index) == person.id

    def _is_told(self, mention: Mentioned) -> bool:
        for changes in (self._d.changes, self._d.before):
            if mention.index in changes.mentioned or mention.index in changes.told:
                return True
        known = self._d.view.known.get(mention.index)
        return known is not None and known.inside is not None and known.told

    def _without_fenced(self, mentions: list[Mentioned]) -> list[Mentioned]:
        """Leave the addresses of shredded people out where an id says that the record is about somebody living.

        Raises:
            RecordFenced: no id says so; then a fenced reference says whose the record is.
        """
        ids = [self._d.inside(mention.index) for mention in mentions if mention.reference.kind is Kind.PERSON]
        if not any(id_ is not None and self._d.person(id_).living for id_ in ids):
            self._refuse_fenced(mentions)
        gone = [mention for mention in mentions if self._d.is_fenced(mention, self._day)]
        self._refuse_fenced(mention for mention in gone if mention.reference.kind is Kind.PERSON)
        for mention in gone:
            left = self._personal.pop(mention.path, None)
            if isinstance(left, list) and (rest := [item for item in left if item != mention.reference.value]):
                self._personal[mention.path] = rest
        return [mention for mention in mentions if mention not in gone]

    def _refuse_fenced(self, mentions: Iterable[Mentioned]) -> None:
        for mention in mentions:
            if self._d.is_fenced(mention, self._day):
                raise RecordFenced("fenced", mention.path)


#: Things whose parts are written by one side or the other.
_CONVERSATIONS = frozenset({Kind.TICKET.value, Kind.CALL.value, Kind.CHAT.value})


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
