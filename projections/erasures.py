"""How much was forgotten, by day, and how many of the open tickets that touches.

Reports count a ticket for ever, with its last status: an open ticket of a forgotten person stays open in
them. From this model one learns how many of the open ones nobody can answer any more, without anybody's
name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from domain import subjects
from domain.contacts import ContactMerged
from domain.fact import FactAtRest
from domain.ids import TenantId
from domain.tickets import TicketMergedAway, TicketOpened, TicketUpdated
from projections import clear, milestones, shredded
from projections.shredded import Shredded
from projections.statements import Key, find, statements, write

name = "erasures"

_SQL = statements(name)

reads = frozenset(
    {
        TicketOpened.TYPE,
        TicketUpdated.TYPE,
        TicketMergedAway.TYPE,
        ContactMerged.TYPE,
        subjects.SUBJECT_SHREDDED,
        subjects.CONTENT_SHREDDED,
    }
)


@dataclass(slots=True)
class Erasable:
    """A ticket as far as this matters: whose it is, until that is forgotten, and its status."""

    requester: UUID | None = None
    status: str = milestones.DEFAULT_STATUS
    erased: bool = False


@dataclass(slots=True)
class Day:
    """What was erased in one page on one day."""

    subjects: int = 0
    things: int = 0
    tickets: int = 0
    open_tickets: int = 0


@dataclass(slots=True)
class Erasures:
    """The tickets that a page touches, as loaded and then as folded, and what the page adds to each day."""

    tickets: dict[Key, Erasable] = field(default_factory=dict)
    shredded: Shredded = field(default_factory=dict)
    #: The tickets that each subject is or was the requester of.
    of_requester: dict[Key, set[Key]] = field(default_factory=dict)
    days: dict[tuple[UUID, date], Day] = field(default_factory=dict)

    def add(self, key: Key, ticket: Erasable) -> None:
        """Take a ticket in under its requester."""
        self.tickets[key] = ticket
        if ticket.requester is not None:
            self.of_requester.setdefault((key[0], ticket.requester), set()).add(key)

    def day(self, tenant: UUID, on: date) -> Day:
        """Return what this page adds to a day."""
        return self.days.setdefault((tenant, on), Day())


def fold(held: Erasures, fact: FactAtRest) -> None:
    """Fold one fact; a type that says nothing about whose a ticket is changes nothing."""
    match fact.type:
        case TicketOpened.TYPE | TicketUpdated.TYPE | TicketMergedAway.TYPE:
            _update(held, fact)
        case ContactMerged.TYPE:
            _merge(held, fact)
        case subjects.SUBJECT_SHREDDED:
            people = clear.subjects(fact.clear.get("subjects"))
            on = clear.day(fact.occurred_at)
            if not all((fact.tenant, person) in held.shredded for person in people):
                held.day(fact.tenant, on).subjects += 1
            _forget(held, fact.tenant, people, on)
        case subjects.CONTENT_SHREDDED:
            key, on = clear.thing(fact), clear.day(fact.occurred_at)
            if key not in held.shredded:
                held.shredded[key] = on
                held.day(fact.tenant, on).things += 1
            _erase(held, key, on)
        case _:
            pass


def _update(held: Erasures, fact: FactAtRest) -> None:
    key = clear.thing(fact)
    ticket = held.tickets.get(key)
    if ticket is None:
        if fact.type != TicketOpened.TYPE:
            return
        ticket = held.tickets[key] = Erasable()
    ticket.status = milestones.status_after(fact, ticket.status)
    if on := held.shredded.get(key):
        _erase(held, key, on)
    requester = clear.subject(fact.clear.get("requester"))
    if requester is not None and not ticket.erased:
        _give(held, key, requester)


def _give(held: Erasures, key: Key, requester: UUID) -> None:
    """Give a ticket to a requester; if that one is forgotten already, it counts where the person counted."""
    ticket = held.tickets[key]
    if on := held.shredded.get((key[0], requester)):
        _erase(held, key, on)
    else:
        ticket.requester = requester
        held.add(key, ticket)


def _merge(held: Erasures, fact: FactAtRest) -> None:
    primary = clear.subject(fact.clear.get("person"))
    secondaries = clear.subjects(fact.clear.get("secondary"))
    if primary is None:
        return
    if on := held.shredded.get((fact.tenant, primary)):
        _forget(held, fact.tenant, secondaries, on)
        return
    for secondary in secondaries:
        for key in tuple(held.of_requester.get((fact.tenant, secondary), ())):
            if held.tickets[key].requester == secondary:
                _give(held, key, primary)


def _forget(held: Erasures, tenant: UUID, people: Collection[UUID], on: date) -> None:
    for person in people:
        held.shredded.setdefault((tenant, person), on)
    for person in people:
        for key in held.of_requester.get((tenant, person), ()):
            if held.tickets[key].requester == person:
                _erase(held, key, on)


def _erase(held: Erasures, key: Key, on: date) -> None:
    ticket = held.tickets.get(key)
    if ticket is None or ticket.erased:
        return
    ticket.erased, ticket.requester = True, None
    day = held.day(key[0], on)
    day.tickets += 1
    day.open_tickets += milestones.is_open(ticket.status)


def create(cursor: Cursor[Any]) -> None:
    """Create the tables in the current schema."""
    cursor.execute(_SQL["create"])
    shredded.create(cursor)


def fold_page(cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
    """Load the tickets that a page touches, fold, and write them back."""
    page = [fact for fact in facts if fact.type in reads]
    things, named, forgotten = _touched(page)
    held = Erasures(shredded=shredded.load(cursor, things | named | forgotten))
    for tenant, ticket, *columns in (
        *find(cursor, _SQL["load"], things),
        *find(cursor, _SQL["load_of_requesters"], forgotten),
    ):
        if (tenant, ticket) not in held.tickets:
            held.add((tenant, ticket), Erasable(*columns))
    shredded_before = dict(held.shredded)
    for fact in page:
        fold(held, fact)
    folded = ((*key, ticket.requester, ticket.status, ticket.erased) for key, ticket in held.tickets.items())
    write(cursor, _SQL["store"], ("tenants", "tickets", "requesters", "statuses", "erased"), folded)
    added = ((*key, day.subjects, day.things, day.tickets, day.open_tickets) for key, day in held.days.items())
    write(cursor, _SQL["count"], ("tenants", "days", "subjects", "things", "tickets", "open_tickets"), added)
    shredded.store(cursor, shredded_before, held.shredded)


def close(cursor: Cursor[Any], tenant: UUID, on: date) -> None:
    """Count what was left of a tenant as erased on the day on which it was closed."""
    cursor.execute(_SQL["close"], {"tenant": tenant, "on": on})


def _touched(page: Sequence[FactAtRest]) -> tuple[set[Key], set[Key], set[Key]]:
    """Return the things and the people that the facts name, and who is merged away or forgotten."""
    things: set[Key] = set()
    named: set[Key] = set()
    forgotten: set[Key] = set()
    for fact in page:
        tenant, said = fact.tenant, fact.clear
        things.add((tenant, fact.stream))
        named.update((tenant, id_) for role in ("requester", "person") if (id_ := clear.subject(said.get(role))))
        if fact.type == ContactMerged.TYPE:
            forgotten.update((tenant, person) for person in clear.subjects(said.get("secondary")))
        elif fact.type == subjects.SUBJECT_SHREDDED:
            forgotten.update((tenant, person) for person in clear.subjects(said.get("subjects")))
    return things, named, forgotten


def summaries(connection: Connection[Any], tenant: TenantId) -> dict[str, Any]:
    """Sum up what was erased, from one snapshot.

    `by_day` holds for each day (UTC) how many `subjects` (a merged person is one), `things` and `tickets`
    were erased, and how many of the tickets were open then (`open_tickets`). `open_erased_total` is how
    many tickets that count as open in `reports` are erased.
    """
    with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_SQL["summaries"], {"tenant": tenant})
        found = cursor.fetchall()
    by_day: dict[str, dict[str, int]] = {}
    summary: dict[str, Any] = {"by_day": by_day, "open_erased_total": 0}
    for on, people, things, tickets, open_tickets in found:
        if on is None:
            summary["open_erased_total"] = open_tickets
        else:
            counts = {"open_tickets": open_tickets, "subjects": people, "things": things, "tickets": tickets}
            by_day[on.isoformat()] = counts
    return summary
