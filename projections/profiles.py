"""The fold behind `contacts`: what is known of a person, profile by profile.

Rules: a person is gone at once and with everybody who was ever merged into that person; only an agent's
SubjectId stays, so that reports by agent keep their meaning. What is gone does not come back, whichever
came first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain import subjects
from domain.agents import AgentCreated, AgentUpdated
from domain.contacts import (
    ContactCreated,
    ContactDeleted,
    ContactMentioned,
    ContactMerged,
    ContactRestored,
    ContactUpdated,
)
from domain.fact import FactAtRest
from projections import clear
from projections.seals import Seals, after, blanked
from projections.shredded import Shredded
from projections.statements import Key


@dataclass(slots=True)
class Profile:
    """One profile of one person, a contact or an agent or both."""

    first_position: int
    subject: UUID | None = None
    agent: bool = False
    deleted: bool = False
    merged: bool = False
    erased: bool = False
    language: str | None = None
    active: bool | None = None
    view_all_tickets: bool | None = None
    occasional: bool | None = None
    available: bool | None = None
    ticket_scope: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(slots=True)
class Profiles:
    """The profiles that a page touches, as loaded and then as folded."""

    profiles: dict[Key, Profile] = field(default_factory=dict)
    seals: dict[Key, Seals] = field(default_factory=dict)
    shredded: Shredded = field(default_factory=dict)
    #: The profiles of each subject: a merged person has several.
    of_subject: dict[Key, set[Key]] = field(default_factory=dict)

    def add(self, key: Key, profile: Profile) -> None:
        """Take a profile in, as loaded."""
        self.profiles[key] = profile
        if profile.subject is not None:
            self.of_subject.setdefault((key[0], profile.subject), set()).add(key)


def fold(held: Profiles, fact: FactAtRest) -> None:
    """Fold one fact; a type that says nothing about profiles changes nothing."""
    match fact.type:
        case ContactCreated.TYPE | ContactMentioned.TYPE | ContactUpdated.TYPE:
            _learn(held, fact, agent=False)
        case AgentCreated.TYPE | AgentUpdated.TYPE:
            _learn(held, fact, agent=True)
        case ContactMerged.TYPE:
            _merge(held, fact)
        case ContactDeleted.TYPE | ContactRestored.TYPE:
            _known(held, clear.thing(fact), fact).deleted = fact.type == ContactDeleted.TYPE
        case subjects.SUBJECT_SHREDDED:
            _forget(held, fact, clear.subjects(fact.clear.get("subjects")))
            _erase(held, clear.thing(fact))
        case subjects.CONTENT_SHREDDED:
            held.shredded.setdefault(clear.thing(fact), clear.day(fact.occurred_at))
            _erase(held, clear.thing(fact))
        case _:
            pass


def _learn(held: Profiles, fact: FactAtRest, *, agent: bool) -> None:
    """Take in what a fact says of a profile: what it gives replaces, what it does not stays."""
    key, said = clear.thing(fact), fact.clear
    profile = _known(held, key, fact, agent=agent)
    if "language" in said:
        profile.language = clear.word(said["language"])
    if "active" in said:
        profile.active = clear.flag(said["active"])
    if "view_all_tickets" in said:
        profile.view_all_tickets = clear.flag(said["view_all_tickets"])
    if "occasional" in said:
        profile.occasional = clear.flag(said["occasional"])
    if "available" in said:
        profile.available = clear.flag(said["available"])
    if "ticket_scope" in said:
        profile.ticket_scope = clear.number(said["ticket_scope"])
    if "created_at" in said:
        profile.created_at = clear.moment(said["created_at"])
    if "updated_at" in said:
        profile.updated_at = clear.moment(said["updated_at"])
    gone = profile.erased or any((fact.tenant, owner) in held.shredded for owner in fact.owners)
    held.seals[key] = after(held.seals.get(key, {}), fact, shredded=gone)


def _known(held: Profiles, key: Key, fact: FactAtRest, *, agent: bool = False) -> Profile:
    """Return the profile that a fact is about, under the SubjectId it says; its first fact begins it."""
    tenant, person = fact.tenant, clear.subject(fact.clear.get("person"))
    profile = held.profiles.get(key) or Profile(first_position=fact.position)
    profile.agent = profile.agent or agent
    gone = profile.erased or key in held.shredded or (person is not None and (tenant, person) in held.shredded)
    if person is not None and (not gone or profile.agent):
        profile.subject = person
    held.add(key, profile)
    if gone:
        _erase(held, key)
    return profile


def _merge(held: Profiles, fact: FactAtRest) -> None:
    """Mark the secondaries' profiles. They keep their seals and their subjects, with whom these die."""
    primary, said = clear.thing(fact), fact.clear
    profile = _known(held, primary, fact)
    for thing in clear.subjects(said.get("secondary_profiles")):
        secondary = held.profiles.get((fact.tenant, thing))
        if secondary is not None and thing != fact.stream:
            secondary.merged = True
            profile.agent = profile.agent or secondary.agent
    if profile.erased:
        _forget(held, fact, clear.subjects(said.get("secondary")))


def _forget(held: Profiles, fact: FactAtRest, people: Iterable[UUID]) -> None:
    """Forget people, in every profile there is."""
    for person in people:
        subject = (fact.tenant, person)
        held.shredded.setdefault(subject, clear.day(fact.occurred_at))
        for key in held.of_subject.get(subject, ()):
            _erase(held, key)


def _erase(held: Profiles, key: Key) -> None:
    profile = held.profiles.get(key)
    if profile is None:
        return
    profile.erased = True
    if not profile.agent:
        profile.subject = None
    held.seals[key] = {position: blanked(seal) for position, seal in held.seals.get(key, {}).items()}
