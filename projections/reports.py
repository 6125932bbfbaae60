"""Counts, response times and ratings: what a helpdesk may know for ever.

Rule: nothing in here is of a person except the agent's SubjectId, so deleting, purging and shredding change
nothing. Every summary is equal before and after, and this fold does not even look at those facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from domain.fact import FactAtRest
from domain.ids import TenantId
from domain.tickets import TicketOpened, TicketRated, TicketReplied, TicketUpdated
from projections import clear, milestones
from projections.statements import Key, find, statements, write

name = "reports"

_SQL = statements(name)

_SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class CountedTicket:
    """What is counted of one ticket. Durations are whole seconds from its opening, rounded down."""

    opened_at: datetime
    status: str = milestones.DEFAULT_STATUS
    priority: str = milestones.DEFAULT_PRIORITY
    channel: str | None = None
    type: str | None = None
    group: str | None = None
    product: str | None = None
    agent: UUID | None = None
    first_response_seconds: int | None = None
    resolved_at: datetime | None = None


@dataclass(slots=True)
class Counted:
    """The tickets that a page touches, as loaded and then as folded, and the ratings that came in it."""

    tickets: dict[Key, CountedTicket]
    ratings: list[tuple[Key, int, int]]


_COLUMNS = tuple(column.name for column in fields(CountedTicket))
_values = attrgetter(*_COLUMNS)


def fold(held: Counted, fact: FactAtRest) -> None:
    """Fold one fact; deleting and shredding are not among those that count."""
    match fact.type:
        case TicketOpened.TYPE:
            held.tickets.setdefault(clear.thing(fact), CountedTicket(fact.occurred_at))
            _update(held, fact)
        case TicketUpdated.TYPE:
            _update(held, fact)
        case TicketReplied.TYPE:
            ticket = held.tickets.get(clear.thing(fact))
            if ticket is not None and milestones.is_response(fact):
                seconds, earlier = _seconds(ticket, fact.occurred_at), ticket.first_response_seconds
                ticket.first_response_seconds = seconds if earlier is None else min(earlier, seconds)
        case TicketRated.TYPE:
            rating = clear.number(fact.clear.get("rating"))
            if rating is not None and clear.thing(fact) in held.tickets:
                held.ratings.append((clear.thing(fact), fact.position, rating))
        case _:
            pass


def _update(held: Counted, fact: FactAtRest) -> None:
    ticket, said = held.tickets.get(clear.thing(fact)), fact.clear
    if ticket is None:
        return
    status = milestones.status_after(fact, ticket.status)
    ticket.resolved_at = milestones.resolved_after(ticket.status, status, ticket.resolved_at, at=fact.occurred_at)
    ticket.status = status
    ticket.priority = milestones.priority_after(fact, ticket.priority)
    if "channel" in said:
        ticket.channel = clear.word(said["channel"])
    if "type" in said:
        ticket.type = clear.word(said["type"])
    if "group" in said:
        ticket.group = clear.word(said["group"])
    if "product" in said:
        ticket.product = clear.word(said["product"])
    if "responder" in said:
        ticket.agent = clear.subject(said["responder"])


def _seconds(ticket: CountedTicket, at: datetime) -> int:
    return (at - ticket.opened_at) // _SECOND


def create(cursor: Cursor[Any]) -> None:
    """Create the tables in the current schema."""
    cursor.execute(_SQL["create"])


def fold_page(cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
    """Load the tickets that a page touches, fold, and write them back."""
    page = [fact for fact in facts if fact.type in _COUNTED]
    things = {clear.thing(fact) for fact in page}
    loaded = find(cursor, _SQL["load"], things)
    held = Counted({(tenant, ticket): CountedTicket(*columns) for tenant, ticket, *columns in loaded}, [])
    for fact in page:
        fold(held, fact)
    folded = (
        (
            *key,
            clear.day(ticket.opened_at),
            ticket.resolved_at and _seconds(ticket, ticket.resolved_at),
            *_values(ticket),
        )
        for key, ticket in held.tickets.items()
    )
    write(cursor, _SQL["store"], ("tenant", "ticket", "opened_on", "resolution_seconds", *_COLUMNS), folded)
    ratings = ((*key, position, rating) for key, position, rating in held.ratings)
    write(cursor, _SQL["rate"], ("tenants", "tickets", "positions", "ratings"), ratings)


_COUNTED = frozenset({TicketOpened.TYPE, TicketUpdated.TYPE, TicketReplied.TYPE, TicketRated.TYPE})

#: Stands in a summary for a ticket that says nothing on the matter.
NONE = "none"


def summaries(connection: Connection[Any], tenant: TenantId) -> dict[str, Any]:
    """Sum up all tickets that were ever opened, from one snapshot.

    `tickets` holds the total and counts by `opened_on`, `status`, `priority`, `channel`, `type`, `group`,
    `product` and `agent` (a SubjectId). `first_response` and `resolution` hold, overall and by `priority`
    and `channel`, the `count` of tickets that have one, how many of these are `negative` (the clocks
    upstream disagree; they enter no average), and `mean`, `median` and `p90` in seconds of the others.
    `ratings` holds count, mean and counts by value.
    """
    with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_SQL["summaries"], {"tenant": tenant, "none": NONE})
        found = cursor.fetchall()
    summary: dict[str, Any] = {
        "tickets": {"total": 0},
        "first_response": {"overall": _durations(0, 0, None, None, None)},
        "resolution": {"overall": _durations(0, 0, None, None, None)},
        "ratings": {"count": 0, "mean": None, "by_value": {}},
    }
    for section, dimension, value, count, negative, mean, median, p90 in found:
        part = summary[section]
        match section, dimension:
            case "tickets", "total":
                part["total"] = count
            case "tickets", _:
                part.setdefault(f"by_{dimension}", {})[value] = count
            case "ratings", "total":
                part.update(count=count, mean=_rounded(mean))
            case "ratings", _:
                part["by_value"][value] = count
            case _, "total":
                part["overall"] = _durations(count, negative, mean, median, p90)
            case _:
                part.setdefault(f"by_{dimension}", {})[value] = _durations(count, negative, mean, median, p90)
    return _sorted(summary)


def _durations(count: int, negative: int, mean: Any, median: Any, p90: Any) -> dict[str, int | float | None]:
    return {
        "count": count,
        "negative": negative,
        "mean": _rounded(mean),
        "median": _rounded(median),
        "p90": _rounded(p90),
    }


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 2)


def _sorted(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: _sorted(value) if isinstance(value, dict) else value for key, value in sorted(summary.items())}
