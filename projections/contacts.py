"""Who is known: the read model of contacts and agents, one row a profile, and the lists that read it.

With it stands what they consented to, one row a fact: what has ended is found by reading, and a consent to a
purpose that is no word is never taken for another one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from domain import subjects
from domain.catalogue import CATALOGUE, PEOPLE
from domain.contacts import ContactMerged
from domain.fact import FactAtRest
from domain.ids import SubjectId, TenantId, ThingId
from domain.vocabularies import OTHER
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
    page = [fact for fact in facts if fact.type in reads]
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
    _store_consents(cursor, held)
    shredded.store(cursor, shredded_before, held.shredded)


def _store_consents(cursor: Cursor[Any], held: Profiles) -> None:
    """Write down what was said of consent, without the seals of the erased."""
    write(cursor, _SQL["blank_consents"], ("tenants", "ids"), held.erased)
    new = (
        (*key, consent.given, consent.at, consent.purpose, consent.wording, *seals.row(consent.seal))
        for key, consents in held.consents.items()
        for consent in consents
    )
    columns = ("tenants", "profiles", "given", "at", "purposes", "wordings", "positions", "fields", "owners", "seals")
    write(cursor, _SQL["insert_consents"], columns, new)


def close(cursor: Cursor[Any], tenant: UUID, on: date) -> None:
    """Erase everybody of a tenant that was closed."""
    cursor.execute(_SQL["close_profiles"], {"tenant": tenant})
    cursor.execute(_SQL["close_consents"], {"tenant": tenant})
    seals.close(cursor, tenant)


#: What any fact about a profile begins with, so that the conversations of a page cost nothing here.
reads = frozenset(
    {
        *(type_ for type_, plan in CATALOGUE.items() if plan.record.THING in PEOPLE),
        subjects.SUBJECT_SHREDDED,
        subjects.CONTENT_SHREDDED,
    }
)


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
    """A row of the list of people. `profile` is the stream on which its seals open.

    `former_agent` was of the team once and is a contact now; `avatar` is the part that the newest picture is.
    """

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
    blocked: bool
    former_agent: bool
    avatar: UUID | None
    seals: tuple[FieldsOfSeal, ...]

    @property
    def personal(self) -> Mapping[str, int | None]:
        """Return where the seal of each personal field stands, or None for shredded. Absent: never given."""
        return seals.by_field(self.seals)


@dataclass(frozen=True, slots=True)
class ConsentRow:
    """A consent, from when to when it held. Its seals open on the stream of the profile.

    `seals` belong to the fact at `position`, `withdrawn_seals` to that which took the consent back. A purpose
    that is no word reads `other`: that one was taken back stands in a row of its own, without `given_at`.
    """

    purpose: str
    wording: str | None
    given_at: datetime | None
    withdrawn_at: datetime | None
    position: int
    seals: tuple[FieldsOfSeal, ...]
    withdrawn_seals: tuple[FieldsOfSeal, ...] = ()


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
        for *columns, names, places in cursor:
            yield ProfileRow(*[*columns, seals.read(names, places)])


def consents(
    connection: Connection[Any], tenant: TenantId, profiles: Collection[ThingId]
) -> dict[ThingId, list[ConsentRow]]:
    """Return what some people consented to, each one's in the order of the log."""
    found: dict[ThingId, list[ConsentRow]] = {profile: [] for profile in profiles}
    with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_SQL["list_consents"], {"tenant": tenant, "profiles": list(profiles)})
        for profile, position, given, at, purpose, wording, names, place in cursor:
            kept = (FieldsOfSeal(tuple(names), place),) if names else ()
            rows = found[profile]
            if given:
                rows.append(ConsentRow(purpose, wording, at, None, position, kept))
            elif not _withdraw(rows, purpose, at, kept):
                rows.append(ConsentRow(purpose, wording, None, at, position, kept))
    return found


def _withdraw(rows: list[ConsentRow], purpose: str, at: datetime, kept: tuple[FieldsOfSeal, ...]) -> bool:
    """End every consent to a purpose that still holds. Tell whether there was one."""
    open_rows = [number for number, row in enumerate(rows) if row.purpose == purpose and row.withdrawn_at is None]
    if purpose == OTHER:
        return False
    for number in open_rows:
        rows[number] = replace(rows[number], withdrawn_at=at, withdrawn_seals=kept)
    return bool(open_rows)
