"""Counts, response times and ratings: what a helpdesk may know for ever.

Rule: nothing in here is of a person except the agent's SubjectId, so deleting, purging and shredding change
nothing. Every summary is equal before and after, and this fold does not even look at those facts. Activity is
counted when it happens: what is edited, deleted or merged away later was done all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import Any
from uuid import UUID

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from domain.articles import ArticleAttachmentAdded, ArticleDrafted, ArticlePublished
from domain.calls import CallLogged, CallRecordingAdded, CallTranscriptAdded
from domain.chats import ChatMessageSent, ChatStarted
from domain.contacts import ConsentGiven, ConsentWithdrawn
from domain.discussions import DiscussionMessagePosted, DiscussionStarted
from domain.fact import FactAtRest
from domain.forums import (
    CommentAttachmentAdded,
    CommentPosted,
    CommentVoted,
    TopicAttachmentAdded,
    TopicPosted,
    TopicVoted,
)
from domain.ids import TenantId
from domain.tickets import (
    TicketAttachmentAdded,
    TicketForwarded,
    TicketNoteAdded,
    TicketOpened,
    TicketRated,
    TicketReplied,
    TicketTimeLogged,
    TicketUpdated,
)
from projections import clear, milestones
from projections.statements import Key, find, statements, write

name = "reports"

_SQL = statements(name)

_SECOND = timedelta(seconds=1)

#: Stands in a summary for a ticket that says nothing on the matter, and for what nobody known has done.
NONE = "none"

#: What is counted as activity, by the type of the fact.
ACTIVITY: Mapping[str, str] = MappingProxyType(
    {
        TicketReplied.TYPE: "reply",
        TicketNoteAdded.TYPE: "note",
        TicketForwarded.TYPE: "forward",
        TicketTimeLogged.TYPE: "time",
        TicketAttachmentAdded.TYPE: "attachment",
        DiscussionStarted.TYPE: "discussion",
        DiscussionMessagePosted.TYPE: "message",
        CallLogged.TYPE: "call",
        CallRecordingAdded.TYPE: "recording",
        CallTranscriptAdded.TYPE: "transcript",
        ChatStarted.TYPE: "chat",
        ChatMessageSent.TYPE: "chat_message",
        TopicPosted.TYPE: "topic",
        TopicVoted.TYPE: "vote",
        TopicAttachmentAdded.TYPE: "attachment",
        CommentPosted.TYPE: "comment",
        CommentVoted.TYPE: "vote",
        CommentAttachmentAdded.TYPE: "attachment",
        ArticleDrafted.TYPE: "article_drafted",
        ArticlePublished.TYPE: "article_published",
        ArticleAttachmentAdded.TYPE: "attachment",
        ConsentGiven.TYPE: "consent_given",
        ConsentWithdrawn.TYPE: "consent_withdrawn",
    }
)
#: What takes time, and the clear field that says how much, in seconds.
_SECONDS: Mapping[str, str] = MappingProxyType(
    {CallLogged.TYPE: "duration_seconds", TicketTimeLogged.TYPE: "time_spent_in_seconds"}
)
_TIMED = frozenset(ACTIVITY[type_] for type_ in _SECONDS)


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
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Activity:
    """How often something was done, and how long it took."""

    count: int = 0
    seconds: int = 0


@dataclass(slots=True)
class Counted:
    """The tickets that a page touches, as loaded and then as folded, and what came in it.

    A rating is (ticket, position, rating). Activity stands under (tenant, day, kind, by).
    """

    tickets: dict[Key, CountedTicket]
    ratings: list[tuple[Key, int, int]] = field(default_factory=list)
    activity: dict[tuple[UUID, date, str, str], Activity] = field(default_factory=dict)


_COLUMNS = tuple(column.name for column in fields(CountedTicket))
_all_but_words = attrgetter(*_COLUMNS[:-1])


def fold(held: Counted, fact: FactAtRest) -> None:
    """Fold one fact; deleting and shredding are not among those that count."""
    if kind := ACTIVITY.get(fact.type):
        _act(held, fact, kind)
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


def _act(held: Counted, fact: FactAtRest, kind: str) -> None:
    key = (fact.tenant, clear.day(fact.occurred_at), kind, clear.word(fact.clear.get("by")) or NONE)
    if (done := held.activity.get(key)) is None:
        done = held.activity[key] = Activity()
    done.count += 1
    if name := _SECONDS.get(fact.type):
        done.seconds += clear.number(fact.clear.get(name)) or 0


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
    if "words" in said:
        ticket.words = milestones.words_after(fact, ticket.words)


def _seconds(ticket: CountedTicket, at: datetime) -> int:
    return (at - ticket.opened_at) // _SECOND


def create(cursor: Cursor[Any]) -> None:
    """Create the tables in the current schema."""
    cursor.execute(_SQL["create"])


def fold_page(cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
    """Load the tickets that a page touches, fold, and write them back."""
    things = {clear.thing(fact) for fact in facts if fact.type in _OF_TICKETS}
    held = Counted({})
    for tenant, ticket, *columns, words in find(cursor, _SQL["load"], things):
        held.tickets[tenant, ticket] = CountedTicket(*[*columns, words or {}])
    for fact in facts:
        if fact.type in reads:
            fold(held, fact)
    folded = (
        (
            *key,
            clear.day(ticket.opened_at),
            ticket.resolved_at and _seconds(ticket, ticket.resolved_at),
            *_all_but_words(ticket),
            json.dumps(dict(ticket.words)) if ticket.words else None,
        )
        for key, ticket in held.tickets.items()
    )
    write(cursor, _SQL["store"], ("tenant", "ticket", "opened_on", "resolution_seconds", *_COLUMNS), folded)
    ratings = ((*key, position, rating) for key, position, rating in held.ratings)
    write(cursor, _SQL["rate"], ("tenants", "tickets", "positions", "ratings"), ratings)
    added = ((*key, done.count, done.seconds) for key, done in held.activity.items())
    write(cursor, _SQL["act"], ("tenants", "days", "kinds", "by", "counts", "seconds"), added)


def close(cursor: Cursor[Any], tenant: UUID, on: date) -> None:
    """Do nothing: what was counted stays counted when a tenant is closed."""


_OF_TICKETS = frozenset({TicketOpened.TYPE, TicketUpdated.TYPE, TicketReplied.TYPE, TicketRated.TYPE})
reads = frozenset(_OF_TICKETS | ACTIVITY.keys())

#: What tickets are counted by, whatever the tenant. A vocabulary of the same name is counted as `custom_<name>`.
_DIMENSIONS = frozenset({"opened_on", "status", "priority", "channel", "type", "group", "product", "agent"})


def summaries(connection: Connection[Any], tenant: TenantId) -> dict[str, Any]:
    """Sum up all tickets that were ever opened, from one snapshot.

    `tickets` holds the total and counts by `opened_on`, `status`, `priority`, `channel`, `type`, `group`,
    `product` and `agent` (a SubjectId), and by each vocabulary that was declared for a custom field.
    `first_response` and `resolution` hold, overall and by `priority` and `channel`, the `count` of tickets that
    have one, how many of these are `negative` (the clocks upstream disagree; they enter no average), and `mean`,
    `median` and `p90` in seconds of the others.
    `ratings` holds count, mean and counts by value. `activity` holds for each kind of it the `count`, counts
    `by_day` (UTC) and `by_author` (requester, agent, contact), and the `seconds` of calls and of time that was
    logged.
    """
    with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_SQL["summaries"], {"tenant": tenant, "none": NONE})
        found = cursor.fetchall()
    summary: dict[str, Any] = {
        "tickets": {"total": 0},
        "first_response": {"overall": _durations(0, 0, None, None, None)},
        "resolution": {"overall": _durations(0, 0, None, None, None)},
        "ratings": {"count": 0, "mean": None, "by_value": {}},
        "activity": {},
    }
    for section, dimension, value, count, negative, mean, median, p90, seconds in found:
        part = summary["tickets" if section == "words" else section.partition(".")[0]]
        match section, dimension:
            case "activity.by_day" | "activity.by_author", kind:
                done = part.setdefault(kind, {"count": 0})
                done.setdefault(section.partition(".")[2], {})[value] = count
                if section == "activity.by_day":
                    done["count"] += count
                    if kind in _TIMED:
                        done["seconds"] = done.get("seconds", 0) + seconds
            case "words", vocabulary:
                name = f"custom_{vocabulary}" if vocabulary in _DIMENSIONS else vocabulary
                part.setdefault(f"by_{name}", {})[value] = count
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
