"""Tickets, calls and chats with their conversations: the read model, and the lists that read it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from domain import subjects
from domain.contacts import ContactMerged
from domain.fact import FactAtRest
from domain.ids import SubjectId, TenantId, ThingId
from projections import clear, seals, shredded
from projections.conversations import FOLDED, MOVES, TELLS, Conversations, Ticket, fold
from projections.entries import DELETIONS, EDITS, Entry, parts_of
from projections.seals import FieldsOfSeal, Seal
from projections.statements import Key, alone, array, find, page_cursor, statements, write

name = "tickets"

reads = FOLDED

_SQL = statements(name)

_COLUMNS = tuple(column.name for column in fields(Ticket))
_plain_columns = attrgetter(*_COLUMNS[:-2])
_ENTRY_COLUMNS = tuple(column.name for column in fields(Entry))[:-1]
_entry_columns = attrgetter(*_ENTRY_COLUMNS)


def create(cursor: Cursor[Any]) -> None:
    """Create the tables in the current schema."""
    cursor.execute(_SQL["create"])
    seals.create(cursor)
    shredded.create(cursor)


def fold_page(cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
    """Load what a page touches, fold, and write back what differs."""
    page = [fact for fact in facts if fact.type in reads]
    apart = _erased_apart(cursor, page)
    held, stored_seals, stored_entries = _load(cursor, page, apart)
    shredded_before = dict(held.shredded)
    for fact in page:
        fold(held, fact)
    _store_charges(cursor, held)
    _store_tickets(cursor, held)
    write(cursor, _SQL["end"], ("tenants", "parts"), held.newly_ended)
    seals.store(cursor, stored_seals, held.seals)
    _store_entries(cursor, stored_entries, held)
    _store_involved(cursor, held, forgotten=held.shredded.keys() - shredded_before.keys())
    for statement in ("erase", "blank_entries", "forget_tickets"):
        write(cursor, _SQL[statement], ("tenants", "ids"), apart)
    seals.blank(cursor, apart)
    shredded.store(cursor, shredded_before, held.shredded)


def close(cursor: Cursor[Any], tenant: UUID, on: date) -> None:
    """Erase every ticket, call and chat of a tenant that was closed."""
    for statement in ("close_tickets", "close_entries", "close_involved"):
        cursor.execute(_SQL[statement], {"tenant": tenant})
    seals.close(cursor, tenant)


def _erased_apart(cursor: Cursor[Any], page: Sequence[FactAtRest]) -> set[Key]:
    """Name the tickets that go with their requester and of which the page says nothing else.

    What is left of them is the same whatever they hold, so a statement a table sees to it, however many they are. Where
    people are merged in the same page, whose a ticket is changes on the way: then it is folded like any other.
    """
    if any(fact.type == ContactMerged.TYPE for fact in page):
        return set()
    shreds = [fact for fact in page if fact.type == subjects.SUBJECT_SHREDDED]
    gone = {(fact.tenant, person) for fact in shreds for person in clear.subjects(fact.clear.get("subjects"))}
    told = {clear.thing(fact) for fact in page}
    return {(tenant, ticket) for tenant, ticket in find(cursor, _SQL["of_requesters"], gone)} - told


def _load(
    cursor: Cursor[Any], page: Sequence[FactAtRest], apart: Collection[Key]
) -> tuple[Conversations, Mapping[Key, seals.Seals], Mapping[Key, Mapping[int, Entry]]]:
    """Load the tickets of a page but those `apart`, and their seals and entries where the page may change these."""
    named, forgotten = _people(page)
    things = {(fact.tenant, fact.stream) for fact in page}
    held = Conversations(shredded=shredded.load(cursor, things | named | forgotten))
    for tenant, subject, ticket in find(cursor, _SQL["load_involved"], forgotten):
        if (tenant, ticket) not in apart:
            held.involved.setdefault((tenant, subject), set()).add((tenant, ticket))
    whole = {key for tickets in held.involved.values() for key in tickets}
    for tenant, id_, *columns, words, copied in find(cursor, _SQL["load"], things | whole):
        held.tickets[tenant, id_] = Ticket(*[*columns, words or {}, tuple(copied)])
    told, conversed = set(), _load_ended(cursor, held, page)
    for fact in page:
        key = clear.thing(fact)
        if fact.type == subjects.CONTENT_SHREDDED:
            whole.add(key)
        elif fact.type in MOVES and key in held.tickets:
            if fact.type in TELLS:
                told.add(key)
            requester = clear.subject(fact.clear.get("requester"))
            if requester not in (None, held.tickets[key].requester):
                whole.add(key)
    held.seals = dict(stored_seals := seals.load(cursor, told | whole))
    held.entries = _load_entries(cursor, conversed | whole)
    return held, stored_seals, {key: dict(entries) for key, entries in held.entries.items()}


def _load_ended(cursor: Cursor[Any], held: Conversations, page: Sequence[FactAtRest]) -> set[Key]:
    """Load which parts that the page names were deleted. Return the tickets that need their entries for it."""
    parts = [(fact, parts_of(fact)) for fact in page if "part" in fact.clear or "within" in fact.clear]
    found = find(cursor, _SQL["load_ended"], {part for _, named in parts for part in named})
    held.ended = {(tenant, part) for tenant, part in found}
    return {
        clear.thing(fact)
        for fact, named in parts
        if fact.type in EDITS or fact.type in DELETIONS or not held.ended.isdisjoint(named)
    }


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
    for tenant, ticket, position, *columns, names, owners, at in find(cursor, _SQL["load_entries"], tickets):
        seal = Seal(position, tuple(names), tuple(owners), at)
        found.setdefault((tenant, ticket), {})[position] = Entry(*[*columns, seal])
    return found


def _store_charges(cursor: Cursor[Any], held: Conversations) -> None:
    """Let the tickets that the page does not hold follow what was handed over, step by step, in one statement."""
    final: dict[Key, UUID | None] = {}
    for (tenant, agent), successor in reversed(held.handovers):
        final[tenant, agent] = final.get((tenant, successor), successor) if successor is not None else None
    changes = ((*agent, successor) for agent, successor in final.items())
    write(cursor, _SQL["hand_over"], ("tenants", "agents", "successors"), changes)


def _store_tickets(cursor: Cursor[Any], held: Conversations) -> None:
    folded = (
        (
            *key,
            clear.day(ticket.opened_at),
            *_plain_columns(ticket),
            json.dumps(dict(ticket.words)) if ticket.words else None,
            array(ticket.copied),
        )
        for key, ticket in held.tickets.items()
    )
    write(cursor, _SQL["store"], ("tenant", "ticket", "opened_on", *_COLUMNS), folded)


def _store_entries(cursor: Cursor[Any], before: Mapping[Key, Mapping[int, Entry]], held: Conversations) -> None:
    new, changed = [], []
    for key, entries in held.entries.items():
        stored = before.get(key, {})
        for position, entry in entries.items():
            if position not in stored:
                new.append((*key, *_entry_columns(entry), *seals.row(entry.seal)))
            elif entry is not stored[position]:
                columns = (entry.by, entry.author, entry.private, entry.incoming, entry.source, entry.edited_at)
                changed.append((*key, *columns, entry.deleted, *seals.row(entry.seal)))
    keys, of_seal = ("tenants", "tickets"), ("positions", "fields", "owners", "seals")
    columns_of_change = ("by", "authors", "private", "incoming", "sources", "edited_at", "deleted")
    write(cursor, _SQL["change_entries"], (*keys, *columns_of_change, *of_seal), changed)
    write(cursor, _SQL["insert_entries"], (*keys, *_ENTRY_COLUMNS, *of_seal), new)


def _store_involved(cursor: Cursor[Any], held: Conversations, *, forgotten: Collection[Key]) -> None:
    """Remember who came to have to do with a ticket, and forget it of the forgotten and in the erased."""
    pairs = ((*subject, ticket) for subject, (_, ticket) in held.newly_involved)
    write(cursor, _SQL["involve"], ("tenants", "subjects", "tickets"), pairs)
    write(cursor, _SQL["forget_subjects"], ("tenants", "ids"), forgotten)
    write(cursor, _SQL["forget_tickets"], ("tenants", "ids"), held.newly_erased)


@dataclass(frozen=True, slots=True)
class TicketRow:
    """A row of the list of tickets, calls and chats. `ticket` is the stream on which its seals open.

    `words` holds the word of each vocabulary that was declared for a custom field. A call or chat has no status
    and no priority; `parent` is the ticket that it belongs to.
    """

    ticket: ThingId
    kind: str
    first_position: int
    opened_at: datetime
    opened_on: date
    status: str | None
    priority: str | None
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
    parent: ThingId | None
    merged_into: ThingId | None
    deleted_at: datetime | None
    purge_asked_at: datetime | None
    direction: str | None
    duration_seconds: int | None
    ended_at: datetime | None
    words: Mapping[str, str]
    copied: tuple[SubjectId, ...]
    seals: tuple[FieldsOfSeal, ...]

    @property
    def personal(self) -> Mapping[str, int | None]:
        """Return where the seal of each personal field stands, or None for shredded. Absent: never given."""
        return seals.by_field(self.seals)


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry of a ticket, by the position of the fact that made it. Its seal opens on the ticket's stream.

    `part` is the inside id by which it is known, `within` the part in which it hangs. `seconds` are the length
    of a recording, or the time that was spent.
    """

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
    part: UUID | None
    within: UUID | None
    seconds: int | None
    discussion: str | None
    billable: bool | None
    edited_at: datetime | None
    deleted: bool
    seals: tuple[FieldsOfSeal, ...]

    @property
    def personal(self) -> Mapping[str, int | None]:
        """Return where the seal of each personal field stands, or None for shredded. Absent: never given."""
        return seals.by_field(self.seals)


def rows(
    connection: Connection[Any],
    tenant: TenantId,
    *,
    after: int | None = None,
    limit: int | None = None,
    all: bool = False,
    kind: str | None = "ticket",
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

    `kind` is `ticket`, `call` or `chat`, or None for all of them. Without `all`, deleted and erased tickets stay
    out, and those that were merged into another one. Both days of opening are included. More rows than a page are
    streamed, in a transaction that lasts until the generator ends.
    """
    choice = {
        "tenant": tenant, "after": after or 0, "limit": limit, "all": all, "kind": kind, "ticket": ticket,
        "requester": requester, "responder": responder, "status": status, "priority": priority,
        "channel": channel, "type": type, "group": group, "product": product,
        "opened_from": opened_from, "opened_until": opened_until,
    }  # fmt: skip
    with page_cursor(connection, name, limit) as cursor:
        cursor.execute(_SQL["list"], choice, binary=True)
        for *columns, words, copied, names, places in cursor:
            yield TicketRow(*[*columns, words or {}, tuple(copied), seals.read(names, places)])


def entries(
    connection: Connection[Any], tenant: TenantId, tickets: Collection[ThingId]
) -> dict[ThingId, list[EntryRow]]:
    """Return the entries of some tickets, each ticket's in the order of the log."""
    found: dict[ThingId, list[EntryRow]] = {ticket: [] for ticket in tickets}
    with alone(connection), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_SQL["list_entries"], {"tenant": tenant, "tickets": list(tickets)})
        for *columns, names, at in cursor:
            entry = EntryRow(*[*columns, (FieldsOfSeal(tuple(names), at),) if names else ()])
            found[entry.ticket].append(entry)
    return found


def purgeable(
    connection: Connection[Any], tenant: TenantId, *, trashed_before: datetime | None, asked: bool
) -> list[ThingId]:
    """List the tickets, calls and chats that may go for good, in the order in which they were recorded.

    These are, of those that are not erased yet, the ones that went to the trash at `trashed_before` or earlier
    and are still in it, and, if `asked`, the ones whose purge upstream asked for.
    """
    choice = {"tenant": tenant, "trashed_before": trashed_before, "asked": asked}
    with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_SQL["purgeable"], choice)
        return [ThingId(ticket) for (ticket,) in cursor]
