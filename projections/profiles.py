"""The fold behind `contacts`: what is known of a person, profile by profile.

Rules: a person is gone at once and with everybody who was ever merged into that person; only the SubjectId of
somebody who is an agent, or was one, stays, so that reports by agent keep their meaning. What is gone does not
come back, whichever came first. What was said of consent stays as a word and a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from domain import subjects
from domain.agents import AgentCreated, AgentDeleted, AgentRectified, AgentUpdated
from domain.contacts import (
    ConsentGiven,
    ConsentWithdrawn,
    ContactAvatarAdded,
    ContactBlocked,
    ContactCreated,
    ContactDeleted,
    ContactMadeAgent,
    ContactMentioned,
    ContactMerged,
    ContactRectified,
    ContactRestored,
    ContactUnblocked,
    ContactUpdated,
)
from domain.fact import FactAtRest
from domain.vocabularies import OTHER
from projections import clear
from projections.seals import Seal, Seals, after, blanked, seal_of
from projections.shredded import Shredded
from projections.statements import Key


@dataclass(slots=True)
class Profile:
    """One profile of one person, a contact or an agent or both. `avatar` is the part that the newest picture is."""

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
    blocked: bool = False
    former_agent: bool = False
    avatar: UUID | None = None

    @property
    def worked(self) -> bool:
        """Tell whether this is, or was, somebody of the team."""
        return self.agent or self.former_agent


@dataclass(frozen=True, slots=True)
class Consent:
    """That somebody consented to something, or took that back. `purpose` and `wording` are words."""

    given: bool
    at: datetime
    purpose: str
    wording: str | None
    seal: Seal


@dataclass(slots=True)
class Profiles:
    """The profiles that a page touches, as loaded and then as folded."""

    profiles: dict[Key, Profile] = field(default_factory=dict)
    seals: dict[Key, Seals] = field(default_factory=dict)
    shredded: Shredded = field(default_factory=dict)
    #: The profiles of each subject: a merged person has several.
    of_subject: dict[Key, set[Key]] = field(default_factory=dict)
    #: What was said of consent in this page, by profile.
    consents: dict[Key, list[Consent]] = field(default_factory=dict)
    #: The profiles that were erased in this page, or were already.
    erased: dict[Key, None] = field(default_factory=dict)

    def add(self, key: Key, profile: Profile) -> None:
        """Take a profile in, as loaded."""
        self.profiles[key] = profile
        if profile.subject is not None:
            self.of_subject.setdefault((key[0], profile.subject), set()).add(key)


def fold(held: Profiles, fact: FactAtRest) -> None:
    """Fold one fact; a type that says nothing about profiles changes nothing."""
    match fact.type:
        case ContactCreated.TYPE | ContactMentioned.TYPE | ContactUpdated.TYPE | ContactRectified.TYPE:
            _learn(held, fact, agent=False)
        case AgentCreated.TYPE | AgentUpdated.TYPE | AgentRectified.TYPE | ContactMadeAgent.TYPE:
            _learn(held, fact, agent=True)
        case AgentDeleted.TYPE:
            _known(held, clear.thing(fact), fact, agent=False)
        case ContactMerged.TYPE:
            _merge(held, fact)
        case ContactDeleted.TYPE | ContactRestored.TYPE:
            _known(held, clear.thing(fact), fact).deleted = fact.type == ContactDeleted.TYPE
        case ContactBlocked.TYPE | ContactUnblocked.TYPE:
            _known(held, clear.thing(fact), fact).blocked = fact.type == ContactBlocked.TYPE
        case ContactAvatarAdded.TYPE:
            profile = _known(held, clear.thing(fact), fact)
            profile.avatar = None if profile.erased else clear.subject(fact.clear.get("part"))
        case ConsentGiven.TYPE | ConsentWithdrawn.TYPE:
            _consent(held, fact)
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
    profile = _known(held, key, fact, agent=True if agent else None)
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
    held.seals[key] = after(held.seals.get(key, {}), fact, shredded=_takes_no_seal_of(held, profile, fact))


def _consent(held: Profiles, fact: FactAtRest) -> None:
    """Note a consent, or its end. Each stands for itself: a later one takes nothing away from an earlier one."""
    key, said = clear.thing(fact), fact.clear
    profile = _known(held, key, fact)
    consent = Consent(
        given=fact.type == ConsentGiven.TYPE,
        at=fact.occurred_at,
        purpose=clear.word(said.get("purpose")) or OTHER,
        wording=clear.word(said.get("wording")),
        seal=seal_of(fact, shredded=_takes_no_seal_of(held, profile, fact)),
    )
    held.consents.setdefault(key, []).append(consent)


def _takes_no_seal_of(held: Profiles, profile: Profile, fact: FactAtRest) -> bool:
    return profile.erased or any((fact.tenant, owner) in held.shredded for owner in fact.owners)


def _known(held: Profiles, key: Key, fact: FactAtRest, *, agent: bool | None = None) -> Profile:
    """Return the profile that a fact is about, under the SubjectId it says; its first fact begins it.

    `agent` is what the fact says of that: somebody of the team, not any more, or nothing.
    """
    tenant, person = fact.tenant, clear.subject(fact.clear.get("person"))
    profile = held.profiles.get(key) or Profile(first_position=fact.position)
    if agent is not None:
        profile.agent, profile.former_agent = agent, not agent
    gone = profile.erased or key in held.shredded or (person is not None and (tenant, person) in held.shredded)
    if person is not None and (not gone or profile.worked):
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
            profile.former_agent = not profile.agent and (profile.former_agent or secondary.former_agent)
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
    profile.erased, profile.avatar = True, None
    if not profile.worked:
        profile.subject = None
    held.erased[key] = None
    held.seals[key] = {position: blanked(seal) for position, seal in held.seals.get(key, {}).items()}
    if key in held.consents:
        held.consents[key] = [replace(consent, seal=blanked(consent.seal)) for consent in held.consents[key]]
