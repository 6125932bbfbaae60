"""Things that stand in a tree: what the read models of forums, articles, companies and groups have in common.

Each of these models is this one with kinds of its own, in a schema of its own. A row is one thing, in its place. Its
clear fields are one column, `said`, by name and the last one given: what they are is declared by the record types in
`domain`, so a field that is added there is kept and listed without a second list to forget. Whose a thing is needs no
column: it is its author's, unless an agent wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg import Connection, Cursor, sql
from psycopg.rows import tuple_row

from domain import subjects
from domain.agents import AgentDeleted
from domain.contacts import ContactMerged
from domain.fact import FactAtRest
from domain.ids import SubjectId, TenantId, ThingId
from projections import branches, clear, seals, shredded
from projections.branches import Attachment, Branches, Implied, Thing
from projections.seals import FieldsOfSeal, Seal
from projections.statements import Key, array, find, statements, write

_SQL = statements("things")

_COLUMNS = tuple(column.name for column in fields(Thing))


def create(cursor: Cursor[Any]) -> None:
    """Create the tables in the current schema."""
    cursor.execute(_SQL["create"])
    seals.create(cursor)
    shredded.create(cursor)


def fold_page(
    cursor: Cursor[Any], facts: Sequence[FactAtRest], kinds: frozenset[str], implied: Implied | None = None
) -> None:
    """Load what a page touches of these kinds of things, fold, and write back what differs."""
    types = branches.folded(kinds)
    page = [fact for fact in facts if fact.type in types]
    if not page:
        return
    held = _load(cursor, page, with_members=branches.have_members(kinds))
    held.implied = implied or {}
    things_before = {key: replace(thing) for key, thing in held.things.items()}
    seals_before, shredded_before = dict(held.seals), dict(held.shredded)
    files_before = {key: dict(files) for key, files in held.attachments.items()}
    for fact in page:
        branches.fold(held, fact)
    _store_things(cursor, things_before, held)
    seals.store(cursor, seals_before, held.seals)
    _store_attachments(cursor, files_before, held)
    shredded.store(cursor, shredded_before, held.shredded)


def close(cursor: Cursor[Any], tenant: UUID, on: date) -> None:
    """Erase every thing of a tenant that was closed."""
    for statement in ("close_things", "close_attachments"):
        cursor.execute(_SQL[statement], {"tenant": tenant})
    seals.close(cursor, tenant)


def _load(cursor: Cursor[Any], page: Sequence[FactAtRest], *, with_members: bool) -> Branches:
    """Load the things of a page, what they hang from, and whatever may go in it."""
    named, forgotten, leaving = _people(page)
    streams = {clear.thing(fact) for fact in page}
    parents = {(fact.tenant, id_) for fact in page if (id_ := clear.subject(fact.clear.get("parent")))}
    held = Branches(shredded=shredded.load(cursor, streams | named | forgotten))
    _take(held, find(cursor, _SQL["load"], streams | parents))
    whole = _take(held, find(cursor, _SQL["load_of_authors"], forgotten))
    if with_members:
        _take(held, find(cursor, _SQL["load_of_members"], leaving))
    whole |= _load_doomed(cursor, held, page)
    whole |= {clear.thing(fact) for fact in page if fact.type not in _OF_PEOPLE}
    held.seals = seals.load(cursor, whole & held.things.keys())
    held.attachments = _load_attachments(cursor, whole & held.things.keys())
    return held


#: Facts on the stream of a person.
_OF_PEOPLE = frozenset({ContactMerged.TYPE, AgentDeleted.TYPE, subjects.SUBJECT_SHREDDED})


def _take(held: Branches, rows: Sequence[tuple[Any, ...]]) -> set[Key]:
    """Take loaded rows in, unless they are there, and return their keys."""
    found: set[Key] = set()
    for tenant, thing, *columns, members, said in rows:
        found.add((tenant, thing))
        if (tenant, thing) not in held.things:
            held.add((tenant, thing), Thing(*[*columns, tuple(members), said]))
    return found


def _load_doomed(cursor: Cursor[Any], held: Branches, page: Sequence[FactAtRest]) -> set[Key]:
    """Load whatever may be deleted in this page: beneath what ends in it, and beneath what hangs itself under that.

    Returns all of these. What hangs under something that was deleted earlier is deleted already.
    """
    hung = [(clear.thing(fact), (fact.tenant, clear.subject(fact.clear["parent"]))) for fact in page if _hangs(fact)]
    doomed: set[Key] = set()
    new = {clear.thing(fact) for fact in page if branches.ends(fact)}
    new |= {thing for thing, (tenant, above) in hung if above and _is_deleted(held, (tenant, above))}
    while new:
        doomed |= new
        doomed |= _take(held, find(cursor, _SQL["load_beneath"], new))
        new = {thing for thing, above in hung if above in doomed} - doomed
    return doomed


def _hangs(fact: FactAtRest) -> bool:
    return "parent" in fact.clear


def _is_deleted(held: Branches, key: Key) -> bool:
    return key in held.things and held.things[key].deleted


def _people(page: Sequence[FactAtRest]) -> tuple[set[Key], set[Key], set[Key]]:
    """Return whom the facts name or belong to, who is merged away or forgotten, and who leaves the team."""
    named: set[Key] = set()
    forgotten: set[Key] = set()
    leaving: set[Key] = set()
    for fact in page:
        tenant, said = fact.tenant, fact.clear
        named.update((tenant, owner) for owner in fact.owners)
        named.update((tenant, id_) for role in ("author", "person") if (id_ := clear.subject(said.get(role))))
        if fact.type == ContactMerged.TYPE:
            forgotten.update((tenant, person) for person in clear.subjects(said.get("secondary")))
        elif fact.type == subjects.SUBJECT_SHREDDED:
            forgotten.update((tenant, person) for person in clear.subjects(said.get("subjects")))
        elif fact.type == AgentDeleted.TYPE and (agent := clear.subject(said.get("person"))):
            leaving.add((tenant, agent))
    return named, forgotten, leaving | forgotten


def _load_attachments(cursor: Cursor[Any], things: Collection[Key]) -> dict[Key, dict[int, Attachment]]:
    found: dict[Key, dict[int, Attachment]] = {}
    for tenant, thing, position, *columns, names, owners, at in find(cursor, _SQL["load_attachments"], things):
        seal = Seal(position, tuple(names), tuple(owners), at)
        found.setdefault((tenant, thing), {})[position] = Attachment(*[*columns, seal])
    return found


def _store_things(cursor: Cursor[Any], before: Mapping[Key, Thing], held: Branches) -> None:
    changed = (
        (*key, *(getattr(thing, name) for name in _COLUMNS[:-2]), array(thing.members), json.dumps(dict(thing.said)))
        for key, thing in held.things.items()
        if thing != before.get(key)
    )
    write(cursor, _SQL["store"], ("tenant", "thing", *_COLUMNS), changed)


def _store_attachments(cursor: Cursor[Any], before: Mapping[Key, Mapping[int, Attachment]], held: Branches) -> None:
    new, changed = [], []
    for key, files in held.attachments.items():
        stored = before.get(key, {})
        for position, file in files.items():
            if position not in stored:
                new.append((*key, file.part, file.at, file.inline, *seals.row(file.seal)))
            elif file is not stored[position]:
                changed.append((*key, position))
    write(cursor, _SQL["blank_attachments"], ("tenants", "things", "positions"), changed)
    columns = ("tenants", "things", "parts", "at", "inline", "positions", "fields", "owners", "seals")
    write(cursor, _SQL["insert_attachments"], columns, new)


@dataclass(frozen=True, slots=True)
class ThingRow:
    """A row of a list of things. `thing` is the stream on which its seals open.

    `said` holds the clear fields by name, without those that nobody gave; `members` are agents.
    """

    thing: ThingId
    kind: str
    first_position: int
    at: datetime
    parent: ThingId | None
    author: SubjectId | None
    by: str | None
    deleted: bool
    erased: bool
    votes: int
    members: tuple[SubjectId, ...]
    said: Mapping[str, Any]
    seals: tuple[FieldsOfSeal, ...]

    @property
    def personal(self) -> Mapping[str, int | None]:
        """Return where the seal of each personal field stands, or None for shredded. Absent: never given."""
        return seals.by_field(self.seals)


@dataclass(frozen=True, slots=True)
class AttachmentRow:
    """A file that came with a thing, by the position of its fact. Its seal opens on the stream of the thing.

    `part` is the inside id by which its content is found.
    """

    thing: ThingId
    position: int
    part: UUID | None
    at: datetime
    inline: bool | None
    seals: tuple[FieldsOfSeal, ...]

    @property
    def personal(self) -> Mapping[str, int | None]:
        """Return where the seal of each personal field stands, or None for shredded. Absent: never given."""
        return seals.by_field(self.seals)


def rows(
    connection: Connection[Any],
    model: str,
    tenant: TenantId,
    *,
    after: int | None = None,
    limit: int | None = None,
    all: bool = False,
    erased: bool = False,
    kind: str | None = None,
    thing: ThingId | None = None,
    parent: ThingId | None = None,
    thread: ThingId | None = None,
    authors: Collection[SubjectId] | None = None,
    said: Mapping[str, str] | None = None,
) -> Iterator[ThingRow]:
    """List the things of a model in the order in which they were recorded, from after a `first_position`.

    `thread` is a thing together with what stands right beneath it; `authors` are one person, under every id that
    the person ever had; `said` are clear fields that have to be so. Without `all`, what is deleted stays out, and
    what is erased, unless `erased` says that it keeps its place. The rows are streamed, in a transaction that lasts
    until the generator ends.
    """
    choice = {
        "tenant": tenant, "after": after or 0, "limit": limit, "all": all, "erased": erased, "kind": kind,
        "thing": thing, "parent": parent, "thread": thread, "authors": None if authors is None else list(authors),
        "said": json.dumps(dict(said or {})),
    }  # fmt: skip
    with connection.transaction(), connection.cursor("things", row_factory=tuple_row) as cursor:
        cursor.execute(_in_schema("list", model), choice, binary=True)
        for *columns, members, kept, names, places in cursor:
            yield ThingRow(*[*columns, tuple(members), kept, seals.read(names, places)])


def attachments(
    connection: Connection[Any], model: str, tenant: TenantId, things: Collection[ThingId]
) -> dict[ThingId, list[AttachmentRow]]:
    """Return the files that came with some things, each thing's in the order of the log."""
    found: dict[ThingId, list[AttachmentRow]] = {thing: [] for thing in things}
    with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_in_schema("list_attachments", model), {"tenant": tenant, "things": list(things)})
        for *columns, names, at in cursor:
            row = AttachmentRow(*[*columns, (FieldsOfSeal(tuple(names), at),) if names else ()])
            found[row.thing].append(row)
    return found


def _in_schema(statement: str, model: str) -> sql.Composed:
    """Let a statement of a list read the tables of one model. Its name is ours: no input reaches this."""
    return sql.SQL(_SQL[statement].decode()).format(schema=sql.Identifier(model))
