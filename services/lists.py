"""How a row of a read model is shown: what its JSON says, sealed or revealed. Pure: rows in, objects out.

Clear fields stand under the names of their columns, or under those that the record types declare. Every personal field
comes from `Fields`, which knows whether it may be opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from operator import attrgetter
from typing import Any, Protocol
from uuid import UUID

from domain.ids import ThingId
from projections import branches
from projections.contacts import ConsentRow, ProfileRow
from projections.seals import FieldsOfSeal, by_field
from projections.things import AttachmentRow, ThingRow
from projections.tickets import EntryRow, TicketRow

Shown = dict[str, Any]
#: Where on the log the seal of each personal field stands, or None for shredded.
Personal = Mapping[str, int | None]
#: Shows the personal fields of a row, given the stream on which its seals open.
Fields = Callable[[ThingId, Personal], Shown]

_PROFILE = (
    "agent", "deleted", "merged", "erased", "language", "active", "view_all_tickets", "occasional", "available",
    "ticket_scope", "created_at", "updated_at", "blocked", "former_agent", "avatar",
)  # fmt: skip
_CONVERSATION = (
    "kind", "opened_at", "opened_on", "group", "created_at", "updated_at", "deleted", "deleted_at", "purge_asked_at",
    "erased", "entries", "words",
)  # fmt: skip
#: What a ticket, a call or a chat has beside what all of them have.
_OF_KIND = {
    "ticket": (
        "status", "priority", "channel", "type", "product", "spam", "due_by", "fr_due_by", "first_response_at",
        "resolved_at", "rating", "merged_into", "copied",
    ),
    "call": ("parent", "direction", "duration_seconds", "ended_at"),
    "chat": ("parent", "channel", "ended_at"),
}  # fmt: skip
_ENTRY = (
    "author", "kind", "at", "by", "private", "incoming", "source", "rating", "part", "within", "seconds", "discussion",
    "billable", "edited_at", "deleted",
)  # fmt: skip
_THING = ("kind", "parent", "at", "author", "by", "deleted", "erased")
#: Kinds of things for which people vote, and kinds to which people belong.
_VOTED = frozenset({"topic", "comment"})
_JOINED = frozenset({"group"})
_ATTACHMENT = ("part", "at", "inline")
_AS_THEY_ARE = frozenset({str, bool, int, type(None)})
_CONSENT = ("purpose", "wording", "given_at", "withdrawn_at")


class Sealed(Protocol):
    """A row with the seals from which its personal fields read."""

    @property
    def seals(self) -> tuple[FieldsOfSeal, ...]:
        """Return where a seal stands, or None for shredded, for each fact that gave a field."""
        ...


def profile(row: ProfileRow, consents: Sequence[ConsentRow], fields: Fields) -> Shown:
    """Show a person, and what that person consented to."""
    return {
        "profile": str(row.profile),
        "subject": _plain(row.subject),
        **_columns(row, _PROFILE),
        **fields(row.profile, row.personal),
        "consents": [_consent(row.profile, consent, fields) for consent in consents],
    }


def _consent(profile: ThingId, row: ConsentRow, fields: Fields) -> Shown:
    """Show a consent; what came with its withdrawal stands apart, because both may give the same fields."""
    shown = {**_columns(row, _CONSENT), **fields(profile, by_field(row.seals))}
    if row.withdrawn_seals:
        shown["withdrawal"] = fields(profile, by_field(row.withdrawn_seals))
    return shown


def conversation(row: TicketRow, entries: Sequence[EntryRow], fields: Fields) -> Shown:
    """Show a ticket, call or chat with its entries. Its id stands under the name of its kind."""
    return {
        row.kind: str(row.ticket),
        "requester": _plain(row.requester),
        "responder": _plain(row.responder),
        **_columns(row, (*_CONVERSATION, *_OF_KIND[row.kind])),
        **fields(row.ticket, row.personal),
        "conversation": [{**_columns(entry, _ENTRY), **fields(row.ticket, by_field(entry.seals))} for entry in entries],
    }


def thing(row: ThingRow, attachments: Sequence[AttachmentRow], fields: Fields) -> Shown:
    """Show a thing with its files. A clear field that nobody gave is null."""
    shown = {"thing": str(row.thing), **_columns(row, _THING)}
    if row.kind in _VOTED:
        shown["votes"] = row.votes
    if row.kind in _JOINED:
        shown["members"] = _plain(row.members)
    declared = {name: row.said.get(name) for name in branches.clear_fields(row.kind)}
    files = [{**_columns(file, _ATTACHMENT), **fields(row.thing, file.personal)} for file in attachments]
    return {
        **shown,
        **declared,
        "words": row.said.get("words", {}),
        **fields(row.thing, row.personal),
        "attachments": files,
    }


def seals_in(thing: ThingId, rows: Iterable[Sealed]) -> Iterator[tuple[ThingId, int]]:
    """List where the seals of some rows of a thing stand that may be opened, each with the stream on which it does."""
    return ((thing, part.at) for row in rows for part in row.seals if part.at is not None)


def seals_of_consents(profile: ThingId, rows: Iterable[ConsentRow]) -> Iterator[tuple[ThingId, int]]:
    """List where the seals stand of what a person consented to, and of what was taken back."""
    parts = (part for row in rows for part in (*row.seals, *row.withdrawn_seals))
    return ((profile, part.at) for part in parts if part.at is not None)


def _columns(row: object, names: Sequence[str]) -> Shown:
    values = zip(names, _getter(names)(row), strict=True)
    # Most of the columns of a page are as they are shown.
    return {name: value if type(value) in _AS_THEY_ARE else _plain(value) for name, value in values}


@cache
def _getter(names: Sequence[str]) -> attrgetter[Any]:
    return attrgetter(*names)


def _plain(value: Any) -> Any:
    match value:
        case datetime() | date():
            return value.isoformat()
        case UUID():
            return str(value)
        case tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return dict(value)
        case _:
            return value
