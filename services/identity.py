"""Who is who: which person or thing the references of a record mean. No I/O: it reads a view.

The rules of identity:
- contacts and agents share upstream's ids, so `agent 7` and `contact 7` are one person;
- when one record names references of two people, the one with an upstream id is primary; an address whose person has
  another upstream id goes to whoever claims it now; a person who has no upstream id is merged into the primary;
- a fenced reference refuses the record where it says whose the fact is, and is left out where it merely names somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from domain.catalogue import CATALOGUE
from domain.contacts import ContactCreated
from domain.errors import RecordFenced, RecordInvalid
from domain.ids import SubjectId, ThingId
from domain.personal import Kind, Reference
from services.changes import Changes, Mentioned, Somebody, Something, Version, View
from services.fields import told_after
from services.records import Draft

#: How far ahead of our clock a publisher's may be before a shredded address could come back too early.
CLOCK_AHEAD = timedelta(minutes=5)


class Identity:
    """Who and what is meant by the references of one parcel, on top of the view and of the batch so far."""

    def __init__(
        self,
        view: View,
        before: Changes,
        index: Callable[[Reference], bytes],
        new_id: Callable[[], UUID],
        now: datetime,
    ) -> None:
        self.view = view
        self.before = before
        self.index = index
        self.new_id = new_id
        self.now = now
        self.changes = Changes()

    # -- what is known so far -----------------------------------------------------------------------------------

    def inside(self, index: bytes) -> UUID | None:
        """Find the inside id that a reference leads to; of a part, that of its thing."""
        for changes in (self.changes, self.before):
            for entries in (changes.claims, changes.entries):
                if index in entries:
                    return entries[index]
        known = self.view.known.get(index)
        return None if known is None else known.inside

    def part(self, index: bytes) -> UUID | None:
        """Find which part of its thing a reference is, as far as a fact of it stands on the log, or will.

        An entry that a crash left without its fact is none: the record that makes the part may come again.
        """
        made = self.changes.parts.get(index) or self.before.parts.get(index)
        known = self.view.known.get(index)
        return made or (known.part if known is not None and known.told else None)

    def person(self, inside: UUID) -> Somebody:
        """Find a person, or whoever that person was merged into."""
        root = self.view.roots.get(inside, inside)
        while True:
            above = self.changes.merged.get(root) or self.before.merged.get(root)
            if above is None:
                break
            root = self.view.roots.get(above, above)
        person = self.changes.people.get(root) or self.before.people.get(root) or self.view.people[root]
        return person

    def thing(self, inside: UUID) -> Something | None:
        """Find a thing."""
        return self.changes.things.get(inside) or self.before.things.get(inside) or self.view.things.get(inside)

    def version(self, thing: UUID, part: UUID | None) -> Version | None:
        """Say what a thing or a part says as it stands, this batch included; None if nothing of it lives.

        Raises:
            RecordInvalid: nobody can say it, because a seal was changed. Written anew, what it holds would be gone.
        """
        if (thing, part) in self.view.unreadable:
            raise RecordInvalid("stands_unreadable", "subject")
        stood = self.view.versions.get((thing, part))
        personal: dict[str, Any] = dict(stood.personal) if stood is not None else {}
        owners = dict.fromkeys(stood.owners if stood is not None else ())
        found = stood is not None
        for fact in (*self.before.facts, *self.changes.facts):
            if fact.stream == thing and fact.clear.get("part") == (None if part is None else part.hex):
                plan = CATALOGUE[fact.type]
                if plan.tells and not plan.record.APART:
                    found = True
                    personal = told_after(plan, personal, fact.clear, fact.personal)
                    owners.update(dict.fromkeys(fact.owners))
            if found and fact.stream == thing and "requester" in fact.clear:
                # What moved in between belongs to whoever it moved to, too.
                owners.update(dict.fromkeys(fact.owners))
        return Version(personal, tuple(owners)) if found else None

    def is_agent(self, person: Somebody) -> bool:
        """Tell whether a person is an agent, as far as is known up to this record."""
        for changes in (self.changes, self.before):
            if person.id in changes.agents:
                return changes.agents[person.id]
        return person.agent

    def is_upstream(self, person: Somebody) -> bool:
        """Tell whether an id of upstream leads to a person."""
        return person.upstream or person.id in self.changes.upstream or person.id in self.before.upstream

    def is_fenced(self, mentioned: Mentioned, day: date) -> bool:
        """Tell whether a reference is that of somebody or something shredded, for a record of this day."""
        if mentioned.index in self.changes.ended or mentioned.index in self.before.ended:
            return True
        known = self.view.known.get(mentioned.index)
        if known is None or known.fenced is None:
            return False
        return self.inside(mentioned.index) is None or day <= known.fenced

    # -- people -------------------------------------------------------------------------------------------------

    def readmits(self, draft: Draft, mentions: Sequence[Mentioned], day: date) -> bool:
        """Tell whether a fenced address may come back as a new person with this record."""
        ids = [mention for mention in mentions if mention.reference.kind.is_upstream_id]
        return (
            draft.type == ContactCreated.TYPE
            and bool(ids)
            and not any(self.is_fenced(mention, day) for mention in ids)
            and all(
                mention.reference.kind in (Kind.EMAIL, Kind.PHONE) and day > self.view.known[mention.index].fenced  # type: ignore[operator]
                for mention in mentions
                if self.is_fenced(mention, day)
            )
            and draft.occurred_at <= self.now + CLOCK_AHEAD
        )

    def identify(self, mentions: Sequence[Mentioned], *, agent: bool = False) -> Somebody:
        """Find the one person whom these references mean, or make a new one; merge and reassign as the rules say.

        Raises:
            RecordFenced: one of them leads to somebody who was shredded.
        """
        found: dict[UUID, Somebody] = {}
        by_index: dict[bytes, Somebody] = {}
        for mention in mentions:
            inside = self.inside(mention.index)
            if inside is not None:
                person = self.person(inside)
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
                if self.is_upstream(other):
                    if has_id:
                        self.changes.claims[mention.index] = primary.id
                elif other.id not in self.changes.merged:
                    self.merge(other, primary)
        if has_id and not self.is_upstream(primary):
            self.changes.upstream.add(primary.id)
        if agent and not self.is_agent(primary):
            self.changes.agents[primary.id] = True
        self.changes.named.add(primary.id)
        return primary

    def means_somebody(self, mentions: Sequence[Mentioned]) -> bool:
        """Tell whether these references mean somebody who is known, so that `identify` would make nobody.

        Beside an id of upstream that nobody has, an address that is another id's means nobody: it may have moved.
        """
        people = {
            mention.index: self.person(inside)
            for mention in mentions
            if (inside := self.inside(mention.index)) is not None
        }
        ids = [mention.index for mention in mentions if mention.reference.kind.is_upstream_id]
        if not ids or not people.keys().isdisjoint(ids):
            return bool(people)
        return any(not person.living or not self.is_upstream(person) for person in people.values())

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
            free = [person for person in found.values() if not self.is_upstream(person)]
            return free[0] if free else self._make_person()
        if found:
            return next((person for person in found.values() if self.is_upstream(person)), next(iter(found.values())))
        return self._make_person()

    def _make_person(self) -> Somebody:
        person = Somebody(SubjectId(self.new_id()), ThingId(self.new_id()), False, False, True, new=True)
        self.changes.people[person.id] = person
        return person

    def merge(self, secondary: Somebody, primary: Somebody) -> None:
        """Make one person of two, for good."""
        self.changes.merged[secondary.id] = primary.id
        if self.is_agent(secondary) and not self.is_agent(primary):
            self.changes.agents[primary.id] = True
        if self.is_upstream(secondary) and not self.is_upstream(primary):
            self.changes.upstream.add(primary.id)
