"""Who is known: the read model of contacts and agents, one row a profile, and the lists that read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from domain import subjects
from domain.contacts import ContactMerged
from domain.fact import FactAtRest
from domain.ids import SubjectId, TenantId, ThingId
from projections import clear, seals, shredded
from projections.profiles import Profile, Profiles, fold
from projections.seals import FieldsOfSeal
from projections.statements import Key, find, statements, write

name = "contacts"

_SQL = statements(name)

_COLUMNS = tuple(column.name for column in fields(Profile))
_values = attrgetter(*_COLUMNS)


def create(cursor: Cursor[Any]) -> None:
    """Create the tables in the current schema."""
    cursor.execute(_SQL["create"])
    seals.create(cursor)
    shredded.create(cursor)


def fold_page(cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
    """Load the profiles that a page touches, fold, and write them back."""
    page = [fact for fact in facts if fact.type.startswith(_TYPES)]
    things, people, forgotten = _touched(page)
    held = Profiles(shredded=shredded.load(cursor, things | people))
    for tenant, profile, *columns in (
        *find(cursor, _SQL["load"], things),
        *find(cursor, _SQL["load_of_subjects"], forgotten),
    ):
        held.add((tenant, profile), Profile(*columns))
    held.seals = dict(stored := seals.load(cursor, held.profiles))
    shredded_before = dict(held.shredded)
    for fact in page:
        fold(held, fact)
    folded = ((*key, *_values(profile)) for key, profile in held.profiles.items())
    write(cursor, _SQL["store"], ("tenant", "profile", *_COLUMNS), folded)
    seals.store(cursor, stored, held.seals)
    shredded.store(cursor, shredded_before, held.shredded)


#: What any fact about a profile begins with, so that the conversations of a page cost nothing here.
_TYPES = ("sealdesk.contact.", "sealdesk.agent.", subjects.SUBJECT_SHREDDED, subjects.CONTENT_SHREDDED)


def _touched(page: Sequence[FactAtRest]) -> tuple[set[Key], set[Key], set[Key]]:
    """Return the profiles and the people that the facts name, and who is merged away or forgotten."""
    things: set[Key] = set()
    people: set[Key] = set()
    forgotten: set[Key] = set()
    for fact in page:
        tenant, said = fact.tenant, fact.clear
        things.add((tenant, fact.stream))
        people.update((tenant, owner) for owner in fact.owners)
        if person := clear.subject(said.get("person")):
            people.add((tenant, person))
        if fact.type == ContactMerged.TYPE:
            forgotten.update((tenant, person) for person in clear.subjects(said.get("secondary")))
            things.update((tenant, profile) for profile in clear.subjects(said.get("secondary_profiles")))
        elif fact.type == subjects.SUBJECT_SHREDDED:
            forgotten.update((tenant, person) for person in clear.subjects(said.get("subjects")))
    return things, people | forgotten, forgotten


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A row of the list of people. `profile` is the stream on which its seals open."""

    profile: ThingId
    first_position: int
    subject: SubjectId | None
    agent: bool
    deleted: bool
    merged: bool
    erased: bool
    language: str | None
    active: bool | None
    view_all_tickets: bool | None
    occasional: bool | None
    available: bool | None
    ticket_scope: int | None
    created_at: datetime | None
    updated_at: datetime | None
    seals: tuple[FieldsOfSeal, ...] = field(repr=False)

    @property
    def personal(self) -> Mapping[str, bytes | None]:
        """Return the seal of each personal field, or None for shredded. Absent: never given."""
        return seals.by_field(self.seals)


def rows(
    connection: Connection[Any],
    tenant: TenantId,
    *,
    after: int | None = None,
    limit: int | None = None,
    all: bool = False,
    profile: ThingId | None = None,
    subject: SubjectId | None = None,
    agent: bool | None = None,
) -> Iterator[ProfileRow]:
    """List people in the order in which they became known, from after a `first_position`.

    Without `all`, what is deleted, merged into another or erased stays out. The rows are streamed, in a
    transaction that lasts until the generator ends.
    """
    choice = {
        "tenant": tenant, "after": after or 0, "limit": limit, "all": all,
        "profile": profile, "subject": subject, "agent": agent,
    }  # fmt: skip
    with connection.transaction(), connection.cursor("people", row_factory=tuple_row) as cursor:
        cursor.execute(_SQL["list"], choice, binary=True)
        for *columns, names, contents in cursor:
            yield ProfileRow(*[*columns, seals.read(names, contents)])
