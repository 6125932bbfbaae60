"""Find what a reference leads to: people and things, by inside id. Nothing personal comes back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal
from uuid import UUID

from crypto.keystore import rows_of
from crypto.register import Register
from crypto.tree import SQL, Person, Tree
from domain.catalogue import PEOPLE
from domain.errors import ReferenceMalformed, ReferenceUnknown
from domain.ids import SubjectId, TenantId, ThingId
from domain.personal import Kind, Reference

Target = Literal["subject", "thing"]

_THINGS = {kind.value: kind for kind in Kind if kind.is_thing}


@dataclass(frozen=True, slots=True)
class Found:
    """What one reference leads to. `group` is the person and everyone who was ever merged into that person.

    `things` are that person's living things, and `kinds` what each of them is. Of a thing, `person` is whose it is now,
    None for what belongs to the desk, and `kinds` what it is itself.
    """

    kind: Target
    id: UUID
    profile: ThingId
    agent: bool = False
    group: tuple[SubjectId, ...] = ()
    profiles: tuple[ThingId, ...] = ()
    reference: Kind | None = None
    things: tuple[ThingId, ...] = ()
    kinds: tuple[str, ...] = ()
    person: SubjectId | None = None


def references_in(value: str) -> list[Reference]:
    """List what a value may be a reference of: `contact 7`, `ticket 7`, `call 7`, an address, a number, a bare id."""
    what, _, which = value.strip().partition(" ")
    if which and (what in PEOPLE or what in _THINGS):
        return [Reference(_THINGS.get(what, Kind.PERSON), which)]
    if "@" in value:
        return [Reference(Kind.EMAIL, value)]
    return [Reference(kind, value) for kind in Kind if not kind.is_part and kind is not Kind.EMAIL]


def look_up(
    tree: Tree, tenant: TenantId, references: Sequence[Reference]
) -> tuple[dict[Reference, Found], dict[Reference, tuple[bytes, date]]]:
    """Look references up: whoever is found living, and the fences of those that were shredded, with their index."""
    register = Register(tree, tenant)
    indexes: dict[Reference, bytes] = {}
    for reference in references:
        try:
            indexes[reference] = register.index(reference)
        except ReferenceMalformed:
            continue
    known = register.look_up(indexes.values())
    found: dict[Reference, Found] = {}
    fenced: dict[Reference, tuple[bytes, date]] = {}
    for reference, index in indexes.items():
        entry = known.get(index)
        if entry is None:
            continue
        if entry.inside is not None:
            found[reference] = inside(tree, entry.inside, reference.kind)
        elif entry.fenced is not None:
            fenced[reference] = index, entry.fenced
    return found, fenced


def inside(tree: Tree, id_: UUID, reference: Kind | None = None, *, beneath: bool = True) -> Found:
    """Describe a person or a thing by its inside id. Without `beneath` the person's things are not looked for."""
    rows = rows_of(tree.cursor, SQL.things_by_id.sql, thing_ids=[id_])
    if rows:
        owner = rows[0]["owner"]
        people = tree.people([owner])
        person = people[owner].root if owner in people else None
        return Found("thing", id_, ThingId(id_), reference=reference, kinds=(rows[0]["kind"],), person=person)
    people = tree.people([id_])
    if id_ not in people:
        raise ReferenceUnknown("nobody and nothing is known by this id")
    root = people[people[id_].root]
    group = rows_of(tree.cursor, SQL.everyone_merged.sql, subject_id=root.subject_id)
    profiles = {row["subject_id"]: row["profile"] for row in group}
    return _person(tree, root, profiles, reference, beneath=beneath)


def of_people(tree: Tree, ids: Sequence[UUID]) -> Found:
    """Describe some people, the first of them as the one whom it is about, and what is theirs; nobody besides.

    Raises:
        ReferenceUnknown: one of them is not known.
    """
    people = tree.people(ids)
    if not people.keys() >= set(ids):
        raise ReferenceUnknown("nobody and nothing is known by this id")
    return _person(tree, people[ids[0]], {id_: people[id_].profile for id_ in ids}, None, beneath=True)


def of_targets(tree: Tree, ids: Sequence[UUID]) -> Found:
    """Describe the targets of a shred: one thing, or some people and nobody whom they were merged into."""
    is_thing = bool(rows_of(tree.cursor, SQL.things_by_id.sql, thing_ids=list(ids[:1])))
    return inside(tree, ids[0]) if is_thing else of_people(tree, ids)


def _person(
    tree: Tree, person: Person, profiles: Mapping[UUID, UUID], reference: Kind | None, *, beneath: bool
) -> Found:
    things = rows_of(tree.cursor, SQL.things_of_owners.sql, owners=list(profiles)) if beneath else ()
    return Found(
        "subject",
        person.subject_id,
        person.profile,
        person.agent,
        tuple(SubjectId(id_) for id_ in profiles),
        tuple(ThingId(profile) for profile in profiles.values()),
        reference,
        tuple(ThingId(row["thing_id"]) for row in things if row["living"]),
        tuple(row["kind"] for row in things if row["living"]),
    )


def living_of(tree: Tree, people: Collection[UUID], things: Collection[UUID]) -> set[UUID]:
    """Choose, of some things, those that live and belong to one of these people."""
    rows = rows_of(tree.cursor, SQL.things_by_id.sql, thing_ids=list(things)) if things else ()
    return {row["thing_id"] for row in rows if row["line"] is None and row["owner"] in people}
