"""Tickets and their conversations: the read model, and the lists that read it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from operator import attrgetter
from typing import Any

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from domain import subjects
from domain.contacts import ContactMerged
from domain.fact import FactAtRest
from domain.ids import SubjectId, TenantId, ThingId
from domain.tickets import TicketOpened, TicketUpdated
from projections import clear, seals, shredded
from projections.conversations import Conversations, Entry, Ticket, fold
from projections.seals import STORED, FieldsOfSeal, Seal
from projections.statements import Key, array, find, statements, write

name = "tickets"

_SQL = statements(name)

_COLUMNS = tuple(column.name for column in fields(Ticket))
_all_but_copied = attrgetter(*_COLUMNS[:-1])

#: What any fact that matters to tickets begins with, so that the profiles of a page cost nothing here.
_TYPES = ("sealdesk.ticket.", ContactMerged.TYPE, subjects.SUBJECT_SHREDDED, subjects.CONTENT_SHREDDED)


def create(cursor: Cursor[Any]) -> None:
    """Create the tables in the current schema."""
    cursor.execute(_SQL["create"])
    seals.create(cursor)
    shredded.create(cursor)


def fold_page(cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
    """Load what a page touches, fold, and write back what differs."""
    page = [fact for fact in facts if fact.type.startswith(_TYPES)]
    held, stored_seals, stored_entries = _load(cursor, page)
    shredded_before = dict(held.shredded)
    for fact in page:
        fold(held, fact)
    _store_tickets(cursor, held)
    seals.store(cursor, stored_seals, held.seals)
    _store_entries(cursor, stored_entries, held)
    _store_involved(cursor, held, forgotten=held.shredded.keys() - shredded_before.keys())
    shredded.store(cursor, shredded_before, held.shredded)


def _load(
    cursor: Cursor[Any], page: Sequence[FactAtRest]
) -> tuple[Conversations, Mapping[Key, seals.Seals], Mapping[Key, Mapping[int, Entry]]]:
    """Load the tickets of a page, and their seals and entries where the page may change these."""
    named, forgotten = _people(page)
    things = {(fact.tenant, fact.stream) for fact in page}
    held = Conversations(shredded=shredded.load(cursor, things | named | forgotten))
    for tenant, subject, ticket in find(cursor, _SQL["load_involved"], forgotten):
        held.involved.setdefault((tenant, subject), set()).add((tenant, ticket))
    whole = {key for tickets in held.involved.values() for key in tickets}
    for tenant, id_, *columns, copied in find(cursor, _SQL["load"], things | whole):
        held.tickets[tenant, id_] = Ticket(*[*columns, tuple(copied)])
    updated = set()
    for fact in page:
        key = clear.thing(fact)
        if fact.type == subjects.CONTENT_SHREDDED:
            whole.add(key)
        elif fact.type in (TicketOpened.TYPE, TicketUpdated.TYPE) and key in held.tickets:
            updated.add(key)
            requester = clear.subject(fact.clear.get("requester"))
            if requester not in (None, held.tickets[key].requester):
                whole.add(key)
    held.seals = dict(stored_seals := seals.load(cursor, updated | whole))
    held.entries = _load_entries(cursor, whole)
    return held, stored_seals, {key: dict(entries) for key, entries in held.entries.items()}


def _people(page: Sequence[FactAtRest]) -> tuple[set[Key], set[Key]]:
    """Return everybody whom the facts name, and those who are merged away or forgotten."""
    named: set[Key] = set()
    forgotten: set[Key] = set()
    for fact in page:
        tenant, said = fact.tenant, fact.clear
        people = [*fact.owners, *clear.subjects(said.get("copied"))]
        people += [id_ for role in ("requester", "author", "person") if (id_ := clear.subject(said.get(role)))]
        named.update((tenant, person) for person in people)
        if fact.type == ContactMerged.TYPE:
            forgotten.update((tenant, person) for person in clear.subjects(said.get("secondary")))
        elif fact.type == subjects.SUBJECT_SHREDDED:
            forgotten.update((tenant, person) for person in clear.subjects(said.get("subjects")))
    return named, forgotten


def _load_entries(cursor: Cursor[Any], tickets: Collection[Key]) -> dict[Key, dict[int, Entry]]:
    found: dict[Key, dict[int, Entry]] = {}
    for tenant, ticket, position, *columns, names, owners, is_blank in find(cursor, _SQL["load_entries"], tickets):
        seal = Seal(position, tuple(names), tuple(owners), None if is_blank else STORED)
        found.setdefault((tenant, ticket), {})[position] = Entry(*[*columns, seal])
    return found


def _store_tickets(cursor: Cursor[Any], held: Conversations) -> None:
    folded = (
        (*key, clear.day(ticket.opened_at), *_all_but_copied(ticket), array(ticket.copied))
        for key, ticket in held.tickets.items()
    )
    write(cursor, _SQL["store"], ("tenant", "ticket", "opened_on", *_COLUMNS), folded)


def _store_entries(cursor: Cursor[Any], before: Mapping[Key, Mapping[int, Entry]], held: Conversations) -> None:
    new, changed = [], []
    for key, entries in held.entries.items():
        stored = before.get(key, {})
        for position, entry in entries.items():
            if position not in stored:
                new.append((
                    *key, entry.kind, entry.at, entry.by, entry.author, entry.private, entry.incoming,
                    entry.source, entry.rating, *seals.row(entry.seal),
                ))  # fmt: skip
            elif entry is not stored[position]:
                changed.append((*key, entry.author, *seals.change(entry.seal)))
    keys = ("tenants", "tickets")
    write(
        cursor,
        _SQL["change_entries"],
        (*keys, "authors", "positions", "fields", "owners", "shredded"),
        changed,
    )
    columns = ("kinds", "at", "by", "authors", "private", "incoming", "sources", "ratings")
    write(cursor, _SQL["insert_entries"], (*keys, *columns, "positions", "fields", "owners", "seals"), new)


def _store_involved(cursor: Cursor[Any], held: Conversations, *, forgotten: Collection[Key]) -> None:
    """Remember who came to have to do with a ticket, and forget it of the forgotten and in the erased."""
    pairs = ((*subject, ticket) for subject, (_, ticket) in held.newly_involved)
    write(cursor, _SQL["involve"], ("tenants", "subjects", "tickets"), pairs)
    write(cursor, _SQL["forget_subjects"], ("tenants", "ids"), forgotten)
    write(cursor, _SQL["forget_tickets"], ("tenants", "ids"), held.newly_erased)


@dataclass(frozen=True, slots=True)
class TicketRow:
    """A row of the list of tickets. `ticket` is the stream on which its seals open."""

    ticket: ThingId
    first_position: int
    opened_at: datetime
    opened_on: date
    status: str
    priority: str
    channel: str | None
    type: str | None
    group: str | None
    product: str | None
    requester: SubjectId | None
    responder: SubjectId | None
    spam: bool | None
    due_by: datetime | None
    fr_due_by: datetime | None
    created_at: datetime | None
    updated_at: datetime | None
    deleted: bool
    erased: bool
    entries: int
    first_response_at: datetime | None
    resolved_at: datetime | None
    rating: int | None
    copied: tuple[SubjectId, ...]
    seals: tuple[FieldsOfSeal, ...] = field(repr=False)

    @property
    def personal(self) -> Mapping[str, bytes | None]:
        """Return the seal of each personal field, or None for shredded. Absent: never given."""
        return seals.by_field(self.seals)


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry of a ticket. Its seal opens on the ticket's stream."""

    ticket: ThingId
    position: int
    kind: str
    at: datetime
    by: str | None
    author: SubjectId | None
    private: bool | None
    incoming: bool | None
    source: str | None
    rating: int | None
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
    ticket: ThingId | None = None,
    requester: SubjectId | None = None,
    responder: SubjectId | None = None,
    status: str | None = None,
    priority: str | None = None,
    channel: str | None = None,
    type: str | None = None,
    group: str | None = None,
    product: str | None = None,
    opened_from: date | None = None,
    opened_until: date | None = None,
) -> Iterator[TicketRow]:
    """List tickets in the order in which they were recorded, from after a `first_position`.

    Without `all`, deleted and erased tickets stay out. Both days of opening are included. The rows are
    streamed, in a transaction that lasts until the generator ends.
    """
    choice = {
        "tenant": tenant, "after": after or 0, "limit": limit, "all": all, "ticket": ticket,
        "requester": requester, "responder": responder, "status": status, "priority": priority,
        "channel": channel, "type": type, "group": group, "product": product,
        "opened_from": opened_from, "opened_until": opened_until,
    }  # fmt: skip
    with connection.transaction(), connection.cursor("tickets", row_factory=tuple_row) as cursor:
        cursor.execute(_SQL["list"], choice, binary=True)
        for *columns, copied, names, contents in cursor:
            yield TicketRow(*[*columns, tuple(copied), seals.read(names, contents)])


def entries(
    connection: Connection[Any], tenant: TenantId, tickets: Collection[ThingId]
) -> dict[ThingId, list[EntryRow]]:
    """Return the entries of some tickets, each ticket's in the order of the log."""
    found: dict[ThingId, list[EntryRow]] = {ticket: [] for ticket in tickets}
    with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_SQL["list_entries"], {"tenant": tenant, "tickets": list(tickets)})
        for *columns, names, content in cursor:
            entry = EntryRow(*[*columns, (FieldsOfSeal(tuple(names), content),) if names else ()])
            found[entry.ticket].append(entry)
    return found
