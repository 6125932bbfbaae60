"""What deciding reads: who and what is behind the references of a batch, and what stands of it. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from crypto import tree as trees
from crypto.keystore import rows_of
from crypto.register import Known
from crypto.sealing import header_of
from crypto.tree import Person, Tree
from domain.catalogue import CATALOGUE, PEOPLE
from domain.fact import Effect, FactAtRest
from domain.ids import SubjectId, TenantId, ThingId
from domain.personal import OWN_ROLES, Reference
from services import keeping
from services.changes import Somebody, Something, Version, View
from services.fields import told_after
from services.log import Facts
from services.opening_facts import opened_facts
from services.records import Draft
from services.resolving import mentions_of
from services.tenants import Tenant


def rewritten_by(
    drafts: Sequence[Draft], known: Mapping[bytes, Known], indexed: Mapping[Reference, bytes]
) -> list[UUID]:
    """Name the things and people of which these records write something anew."""
    found: list[UUID] = []
    rewriting = [draft for draft in drafts if draft.plan.record.EFFECT is Effect.REWRITES]
    if any(draft.plan.record.THING in PEOPLE for draft in rewriting):
        # Another record of the batch may find that two of its people are one: whose profile it is, turns out later.
        found.extend(entry.inside for entry in known.values() if entry.inside is not None)
    for draft in rewriting:
        if draft.plan.record.THING not in PEOPLE:
            which = [Reference(mark.kind, value) for _, mark, value in mentions_of(draft) if mark.role in OWN_ROLES]
            for reference in (*which, *([draft.subject] if draft.subject is not None else ())):
                entry = known.get(indexed.get(reference, b""))
                if entry is not None and entry.inside is not None:
                    found.append(entry.inside)
    return list(dict.fromkeys(found))


def view_of(
    facts: Facts, tree: Tree, tenant: Tenant, known: Mapping[bytes, Known], rewritten: Sequence[UUID]
) -> tuple[View, Mapping[UUID, Person]]:
    """Read the people and things behind register entries, and which things no fact has opened yet."""
    inside = {entry.inside for entry in known.values() if entry.inside is not None}
    rows = rows_of(tree.cursor, trees.SQL.things_by_id.sql, thing_ids=list(inside))
    for row in rows:
        if row["line"] is not None:
            tree.check_mark("thing", row["thing_id"], row)
    unopened = facts.without_facts([row["thing_id"] for row in rows])
    things = {
        row["thing_id"]: Something(
            ThingId(row["thing_id"]),
            row["kind"],
            None if row["owner"] == tenant.id else SubjectId(row["owner"]),
            row["line"] is None,
            row["thing_id"] not in unopened,
            parent=row["parent"],
        )
        for row in rows
    }
    owners = {thing.owner for thing in things.values() if thing.owner is not None}
    found = tree.people({*(inside - things.keys()), *owners})
    versions: dict[tuple[UUID, UUID | None], Version] = {}
    newest: dict[UUID, int] = {}
    unreadable: frozenset[tuple[UUID, UUID | None]] = frozenset()
    if rewritten:
        streams = [found[found[id_].root].profile if id_ in found else ThingId(id_) for id_ in rewritten]
        versions, newest, unreadable = _versions(facts, tree, tenant.id, streams)
        more = {owner for version in versions.values() for owner in version.owners} - found.keys()
        found = found | tree.people(more)
    people: dict[UUID, Somebody] = {
        person.subject_id: Somebody(person.subject_id, person.profile, person.agent, person.upstream, person.living)
        for person in found.values()
    }
    roots: dict[UUID, SubjectId] = {person.subject_id: person.root for person in found.values()}
    return View(tenant.id, known, people, roots, things, tenant.vocabulary, versions, newest, unreadable), found


def _versions(
    log: Facts, tree: Tree, tenant: TenantId, streams: Sequence[ThingId]
) -> tuple[dict[tuple[UUID, UUID | None], Version], dict[UUID, int], frozenset[tuple[UUID, UUID | None]]]:
    """Read what stands of some things and of their parts: the living fields, the last fact by position wins.

    Beside that, the newest position on each stream, and of which things and parts a seal was changed that says what
    stands: not one of before they were last written anew.
    """
    facts = log.streams(streams)
    newest: dict[UUID, int] = dict.fromkeys(streams, 0)
    newest.update({fact.stream: fact.position for fact in facts})
    told = [fact for fact in facts if keeping.is_version(fact)]
    # As the leaves say it: what moved has gained owners that its fact does not name.
    whose = {
        row["key_id"]: (row["owner"], *(row["co_owners"] or ()))
        for row in rows_of(tree.cursor, trees.SQL.owners_of_leaves.sql, thing_ids=list(dict.fromkeys(streams)))
    }
    personal: dict[tuple[UUID, UUID | None], dict[str, Any]] = {}
    owners: dict[tuple[UUID, UUID | None], dict[UUID, None]] = {}
    broken: list[FactAtRest] = []
    for fact, fields in opened_facts(tree, tenant, told, broken):
        place = _place_of(fact)
        personal[place] = told_after(CATALOGUE[fact.type], personal.get(place, {}), fact.clear, fields)
        assert fact.seal is not None
        owners.setdefault(place, {}).update(dict.fromkeys(whose[header_of(fact.seal).key_id]))
    subjects = tree.people({owner for found in owners.values() for owner in found})
    versions = {
        place: Version(fields, tuple(SubjectId(owner) for owner in owners[place] if owner in subjects))
        for place, fields in personal.items()
    }
    anew = {_place_of(fact): fact.position for fact in told if CATALOGUE[fact.type].record.EFFECT is Effect.REWRITES}
    unreadable = frozenset(place for fact in broken if anew.get(place := _place_of(fact), 0) <= fact.position)
    return versions, newest, unreadable


def _place_of(fact: FactAtRest) -> tuple[UUID, UUID | None]:
    part = fact.clear.get("part")
    return fact.stream, None if part is None else UUID(part)
