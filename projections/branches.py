"""The fold behind `things`: what stands where, who wrote it, what goes when something ends or somebody is forgotten.

It is driven by what the record types declare: a fact that `OPENS` makes a thing, one that `REWRITES` tells it anew, one
that `ENDS` ends it with everything beneath it, and the marks of the fields say what stands in the clear.

Rules: what is deleted stays deleted, and so does whatever comes beneath it later. What a shredded person wrote is
erased and keeps its place among what others said. In both the seals are gone, and the contact who wrote; an agent stays
as the author, because the work is the desk's. Merged people bring along what they wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any
from uuid import UUID

from domain import subjects
from domain.agents import AgentDeleted
from domain.catalogue import CATALOGUE, marks_of
from domain.contacts import ContactMerged
from domain.fact import Effect, FactAtRest
from domain.personal import Clear
from projections import clear, milestones
from projections.seals import Seal, Seals, after, blanked, seal_of
from projections.shredded import Shredded
from projections.statements import Key

#: Facts about people, and about what was shredded, that any thing may have to follow.
_OF_PEOPLE = frozenset({ContactMerged.TYPE, AgentDeleted.TYPE, subjects.SUBJECT_SHREDDED, subjects.CONTENT_SHREDDED})

#: Clear fields that a fact implies by its type alone: {type: {name: value}}. What it says itself counts more.
Implied = Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class Thing:
    """One thing of a kind. `said` holds its clear fields by name, the last one given; times are in ISO 8601, UTC.

    `parent` may never have been opened. `author` is None if nobody said, or if the contact is forgotten.
    """

    kind: str
    first_position: int
    at: datetime
    parent: UUID | None = None
    author: UUID | None = None
    by: str | None = None
    deleted: bool = False
    erased: bool = False
    votes: int = 0
    members: tuple[UUID, ...] = ()
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> UUID | None:
        """Say with whom it goes: with the contact who wrote it. What an agent wrote goes with nobody."""
        return None if self.by == "agent" else self.author

    @property
    def gone(self) -> bool:
        """Tell whether nothing of it may be read any more."""
        return self.deleted or self.erased


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a thing, by the position of its fact, which its seal has too."""

    part: UUID | None
    at: datetime
    inline: bool | None
    seal: Seal


@dataclass(slots=True)
class Branches:
    """The things that a page touches, as loaded and then as folded."""

    things: dict[Key, Thing] = field(default_factory=dict)
    seals: dict[Key, Seals] = field(default_factory=dict)
    attachments: dict[Key, dict[int, Attachment]] = field(default_factory=dict)
    shredded: Shredded = field(default_factory=dict)
    #: What stands, or stood once, right beneath each thing.
    beneath: dict[Key, set[Key]] = field(default_factory=dict)
    #: What each contact wrote, or once counted as the author of.
    of_owner: dict[Key, set[Key]] = field(default_factory=dict)
    implied: Implied = field(default_factory=dict)

    def add(self, key: Key, thing: Thing) -> None:
        """Take a thing in where it stands, and under its owner."""
        self.things[key] = thing
        if thing.parent is not None:
            self.beneath.setdefault((key[0], thing.parent), set()).add(key)
        if thing.owner is not None:
            self.of_owner.setdefault((key[0], thing.owner), set()).add(key)


@cache
def folded(kinds: frozenset[str]) -> frozenset[str]:
    """Name every type of fact that tells of these kinds of things, or of what they have to follow."""
    return _OF_PEOPLE | {name for name, plan in CATALOGUE.items() if plan.record.THING in kinds}


@cache
def have_members(kinds: frozenset[str]) -> bool:
    """Tell whether people can belong to a thing of these kinds."""
    plans = (plan for plan in CATALOGUE.values() if plan.record.THING in kinds)
    return any(mark.role == "member" for plan in plans for _, mark in plan.names)


@cache
def clear_fields(kind: str) -> tuple[str, ...]:
    """Name the clear fields that a thing of this kind may have, in the order in which its types declare them."""
    types = (name for name, plan in CATALOGUE.items() if kind == plan.record.THING)
    return tuple(dict.fromkeys(name for type_ in types for name in _readers(type_)))


@cache
def _readers(type_: str) -> Mapping[str, Callable[[Any], Any]]:
    """Say for each clear field of a fact that describes its thing how to read it. A part or vote describes none."""
    plan = CATALOGUE[type_]
    if any(mark.role in ("part", "voter") for _, mark in plan.names):
        return {}
    what = {name: mark.what for name, mark in marks_of(plan.record).items() if isinstance(mark, Clear)}
    readers = {name: _READ[what[name]] for name in plan.clear}
    return MappingProxyType({**readers, **{mark.stored_as: clear.word for _, mark in plan.words}})


def _moment(value: Any) -> str | None:
    at = clear.moment(value)
    return None if at is None else at.isoformat()


_READ: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"number": clear.number, "flag": clear.flag, "time": _moment}
)


def opens(fact: FactAtRest) -> bool:
    """Tell whether a fact may be the first of its thing."""
    return CATALOGUE[fact.type].record.OPENS


def ends(fact: FactAtRest) -> bool:
    """Tell whether a fact ends its thing, rather than a part of it."""
    plan = CATALOGUE.get(fact.type)
    return plan is not None and plan.record.EFFECT is Effect.ENDS and "part" not in fact.clear


def fold(held: Branches, fact: FactAtRest) -> None:
    """Fold one fact of a type that is `folded`."""
    key, said = clear.thing(fact), fact.clear
    if fact.type == ContactMerged.TYPE:
        _merge(held, fact)
    elif fact.type == AgentDeleted.TYPE:
        _replace_member(held, fact.tenant, clear.subject(said.get("person")), None)
    elif fact.type == subjects.SUBJECT_SHREDDED:
        _forget(held, fact, clear.subjects(said.get("subjects")))
    elif fact.type == subjects.CONTENT_SHREDDED:
        held.shredded.setdefault(key, clear.day(fact.occurred_at))
        _erase(held, key)
    elif ends(fact):
        if key not in held.things:
            held.add(key, Thing(CATALOGUE[fact.type].record.THING, fact.position, fact.occurred_at))
        _end(held, key)
        _keep_gone(held, key)
    elif "part" in said:
        _change_part(held, key, fact)
    else:
        _tell(held, key, fact)


def _tell(held: Branches, key: Key, fact: FactAtRest) -> None:
    """Take in what a fact says of a thing: what it gives replaces, what it does not stays."""
    plan, said = CATALOGUE[fact.type], {**held.implied.get(fact.type, {}), **fact.clear}
    thing = held.things.get(key)
    if thing is None:
        if not opens(fact):
            return
        thing = Thing(plan.record.THING, fact.position, fact.occurred_at, by=clear.word(said.get("by")))
        thing.author = clear.subject(said.get("author"))
    elif thing.by != "contact" and said.get("by") == "agent":
        # What a contact began stays that contact's; the work of the team may pass from hand to hand.
        thing.by, thing.author = "agent", clear.subject(said.get("author"))
    if "parent" in said:
        thing.parent = clear.subject(said["parent"])
    if "members" in said:
        thing.members = clear.subjects(said["members"])
    if any(mark.role == "voter" for _, mark in plan.names):
        thing.votes += clear.number(said.get("vote")) or 0
    thing.said = _said_after(fact, said, thing.said)
    if plan.tells:
        held.seals[key] = after(held.seals.get(key, {}), fact, shredded=_owned_by_shredded(held, fact))
    held.add(key, thing)
    _keep_gone(held, key)


def _said_after(fact: FactAtRest, said: Mapping[str, Any], before: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the clear fields of a thing after a fact. A null takes a field back."""
    given = {name: read(said[name]) for name, read in _readers(fact.type).items() if name in said}
    if "words" in said:
        given["words"] = milestones.words_after(fact, before.get("words", {})) or None
    return {name: value for name, value in {**before, **given}.items() if value is not None}


def _keep_gone(held: Branches, key: Key) -> None:
    """Let a thing be gone if it was shredded before, or belongs to somebody or stands beneath something that is."""
    tenant, _ = key
    thing = held.things[key]
    if key in held.shredded or (thing.owner is not None and (tenant, thing.owner) in held.shredded):
        _erase(held, key)
    above = None if thing.parent is None else held.things.get((tenant, thing.parent))
    if above is not None and above.deleted:
        _end(held, key)
    if thing.gone:
        _blank(held, key)


def _change_part(held: Branches, key: Key, fact: FactAtRest) -> None:
    """Add a file to a thing, or end one."""
    thing, part = held.things.get(key), clear.subject(fact.clear["part"])
    if thing is None:
        return
    files = held.attachments.setdefault(key, {})
    if CATALOGUE[fact.type].record.EFFECT is None:
        seal = seal_of(fact, shredded=thing.gone or _owned_by_shredded(held, fact))
        inline = clear.flag(fact.clear.get("inline"))
        files[fact.position] = Attachment(part, fact.occurred_at, inline, seal)
        return
    for position, file in files.items():
        if file.part == part:
            files[position] = replace(file, seal=blanked(file.seal))


def _owned_by_shredded(held: Branches, fact: FactAtRest) -> bool:
    return any((fact.tenant, owner) in held.shredded for owner in fact.owners)


def _end(held: Branches, key: Key) -> None:
    """Mark a thing, and everything that stands beneath it, as deleted."""
    waiting = [key]
    while waiting:
        key = waiting.pop()
        thing = held.things[key]
        if thing.deleted:
            continue
        thing.deleted = True
        _blank(held, key)
        waiting += [child for child in held.beneath.get(key, ()) if held.things[child].parent == key[1]]


def _merge(held: Branches, fact: FactAtRest) -> None:
    """Give what merged people wrote to the person whom they turned out to be."""
    tenant, primary = fact.tenant, clear.subject(fact.clear.get("person"))
    secondaries = clear.subjects(fact.clear.get("secondary"))
    if primary is None:
        return
    for secondary in secondaries:
        _replace_member(held, tenant, secondary, primary)
    if (tenant, primary) in held.shredded:
        _forget(held, fact, secondaries)
        return
    for key, thing in _of_owners(held, tenant, secondaries):
        thing.author = primary
        held.add(key, thing)


def _replace_member(held: Branches, tenant: UUID, member: UUID | None, successor: UUID | None) -> None:
    """Let somebody leave every group, or be in it as somebody else."""
    for (of_tenant, _), thing in held.things.items():
        if of_tenant == tenant and member in thing.members:
            changed = (successor if one == member else one for one in thing.members)
            thing.members = tuple(dict.fromkeys(one for one in changed if one is not None))


def _forget(held: Branches, fact: FactAtRest, people: Collection[UUID]) -> None:
    """Erase what people wrote."""
    for person in people:
        held.shredded.setdefault((fact.tenant, person), clear.day(fact.occurred_at))
    for key, _ in _of_owners(held, fact.tenant, people):
        _erase(held, key)


def _of_owners(held: Branches, tenant: UUID, people: Iterable[UUID]) -> list[tuple[Key, Thing]]:
    """List what belongs to people now."""
    found = [(key, person) for person in people for key in held.of_owner.get((tenant, person), ())]
    return [(key, held.things[key]) for key, person in found if held.things[key].owner == person]


def _erase(held: Branches, key: Key) -> None:
    if thing := held.things.get(key):
        thing.erased = True
        _blank(held, key)


def _blank(held: Branches, key: Key) -> None:
    """Leave of a thing its place and what can be counted."""
    thing = held.things[key]
    if thing.owner is not None:
        thing.author = None
    held.seals[key] = {position: blanked(seal) for position, seal in held.seals.get(key, {}).items()}
    files = held.attachments.get(key, {})
    held.attachments[key] = {
        position: file if (seal := blanked(file.seal)) is file.seal else replace(file, seal=seal)
        for position, file in files.items()
    }
