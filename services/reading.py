"""Read the lists of people and tickets: sealed by default, revealed with a reason.

A word of no vocabulary counts as `other`; its original is the personal field NAME_as_given.

A personal field reads as {"sealed": true}, {"shredded": true} or, revealed, its value; a field that nobody ever gave is
absent. {"lost": true} and {"broken": true} are findings for an operator and never look like a shred.

A reveal opens a page with one query for its keys, and leaves an access line before anything is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID, uuid4

from crypto.keystore import KeyStore
from crypto.opening import SHREDDED, Found, open_leaves
from crypto.roots import Roots
from crypto.sealing import header_of, open_seal
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.catalogue import CATALOGUE
from domain.errors import KeyLost, SealBroken, SettingsWrong
from domain.ids import KeyId, TenantId, ThingId
from projections import contacts, erasures, reports, tickets
from projections.contacts import ProfileRow
from projections.tickets import EntryRow, TicketRow
from services.desk_words import seal_words
from services.log import STATEMENTS, Facts

#: Rows whose keys are fetched with one query.
PAGE_ROWS = 500
#: How long an opened page is shown from, in seconds: less than what a certificate allows a request.
ANSWER_SECONDS = 20.0

Row = TypeVar("Row")
Personal = Mapping[str, bytes | None]
Content = Mapping[str, Any] | str
Contents = Mapping[tuple[ThingId, KeyId], Content]


@dataclass(frozen=True, slots=True)
class Reveal:
    """Who wants to see personal data, and why."""

    actor: str
    why: str


class Reading:
    """Answer queries for one installation."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots, clock: Callable[[], datetime]) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._clock = clock

    def contacts(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[dict[str, Any]]:
        """List people, with the filters of `projections.contacts.rows`."""
        _check(reveal)
        with self._facts.connection() as connection:
            for page in _pages(contacts.rows(connection, tenant, **choice)):
                opened = self._open(tenant, "contacts", _seals_of_profiles(page), reveal)
                for row in page:
                    yield {
                        "profile": str(row.profile),
                        "subject": _id(row.subject),
                        **_clear(row, _PROFILE_COLUMNS),
                        **opened.fields(row.profile, row.personal),
                    }

    def tickets(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[dict[str, Any]]:
        """List tickets with their conversations, with the filters of `projections.tickets.rows`."""
        _check(reveal)
        with self._facts.connection() as connection, self._facts.connection() as second:
            for page in _pages(tickets.rows(connection, tenant, **choice)):
                entries = tickets.entries(second, tenant, [row.ticket for row in page])
                opened = self._open(tenant, "tickets", _seals_of_tickets(page, entries), reveal)
                for row in page:
                    yield {
                        "ticket": str(row.ticket),
                        "requester": _id(row.requester),
                        "responder": _id(row.responder),
                        "copied": [str(subject) for subject in row.copied],
                        **_clear(row, _TICKET_COLUMNS),
                        **opened.fields(row.ticket, row.personal),
                        "conversation": [
                            {
                                "author": _id(entry.author),
                                **_clear(entry, _ENTRY_COLUMNS),
                                **opened.fields(row.ticket, entry.personal),
                            }
                            for entry in entries[row.ticket]
                        ],
                    }

    def reports(self, tenant: TenantId) -> dict[str, Any]:
        """Summarise every ticket ever opened."""
        with self._facts.connection() as connection:
            return reports.summaries(connection, tenant)

    def erasures(self, tenant: TenantId) -> dict[str, Any]:
        """Summarise what was erased, by day."""
        with self._facts.connection() as connection:
            return erasures.summaries(connection, tenant)

    def _open(
        self, tenant: TenantId, what: str, seals: Sequence[tuple[ThingId, bytes]], reveal: Reveal | None
    ) -> Opened:
        if reveal is None:
            return Opened(None)
        things = list(dict.fromkeys(thing for thing, _ in seals))
        self.leave_access_line(tenant, what, things, reveal)
        places = [(thing, header_of(seal).key_id) for thing, seal in seals]

        def opened() -> Contents:
            with self._keys.transaction() as cursor:
                found = open_leaves(Tree(cursor, self._roots), tenant, places)
            # All of the page is opened here, so that its keys are gone before the first row is shown.
            return {
                place: _content(tenant, place[0], seal, found[place])
                for place, (_, seal) in zip(places, seals, strict=True)
            }

        return Opened(opened)

    def leave_access_line(self, tenant: TenantId, what: str, things: Sequence[UUID], reveal: Reveal) -> None:
        """Write who is about to see which things, and why. Who and why are sealed under the desk."""
        access = uuid4()
        words = seal_words(self._keys, self._roots, tenant, access, actor=reveal.actor, why=reveal.why)
        with self._facts.cursor() as cursor:
            cursor.execute(
                STATEMENTS.write_access_line.sql,
                {
                    "access_id": access,
                    "tenant": tenant,
                    "at": self._clock(),
                    "what": what,
                    "ids": list(things),
                    "words": words,
                },
            )


class Opened:
    """The personal fields of one page, by the place of their seal; or none when nothing is revealed.

    An answer that is read slowly is opened again after `ANSWER_SECONDS`: whoever was shredded meanwhile is not shown.
    """

    def __init__(self, opened: Callable[[], Contents] | None) -> None:
        self._opened = opened
        self._contents = None if opened is None else opened()
        self._since = time.monotonic()

    def __repr__(self) -> str:
        return "Opened()"

    def fields(self, thing: ThingId, personal: Personal) -> dict[str, Any]:
        """Show each personal field of a row; the original of a word stands beside the word that counts."""
        if self._opened is not None and time.monotonic() - self._since > ANSWER_SECONDS:
            self._contents, self._since = self._opened(), time.monotonic()
        return {
            f"{name}_as_given" if name in _WORD_COLUMNS else name: self._field(thing, name, seal)
            for name, seal in sorted(personal.items())
        }

    def _field(self, thing: ThingId, name: str, seal: bytes | None) -> Any:
        if seal is None:
            return {"shredded": True}
        if self._contents is None:
            return {"sealed": True}
        content = self._contents[thing, header_of(seal).key_id]
        if isinstance(content, str):
            return {content: True}
        # A field that the seal does not hold was never in it: somebody has changed the row.
        return content.get(name, {"broken": True})


def _content(tenant: TenantId, thing: ThingId, seal: bytes, key: Found) -> Content:
    """Open one seal where it stands: its fields, or the word for what became of it."""
    if key is SHREDDED:
        return "shredded"
    if isinstance(key, KeyLost):
        return "lost"
    if not isinstance(key, Key):
        return "broken"
    try:
        content = open_seal(seal, key, tenant=tenant, stream=thing)
    except SealBroken:
        return "broken"
    type_ = header_of(seal).type
    texts = CATALOGUE[type_].texts if type_ in CATALOGUE else frozenset()
    return {
        field: "".join(value) if field in texts and isinstance(value, list) else value
        for field, value in content.items()
    }


_PROFILE_COLUMNS = (
    "agent",
    "deleted",
    "merged",
    "erased",
    "language",
    "active",
    "view_all_tickets",
    "occasional",
    "available",
    "ticket_scope",
    "created_at",
    "updated_at",
)
_TICKET_COLUMNS = (
    "opened_at",
    "opened_on",
    "status",
    "priority",
    "channel",
    "type",
    "group",
    "product",
    "spam",
    "due_by",
    "fr_due_by",
    "created_at",
    "updated_at",
    "deleted",
    "erased",
    "entries",
    "first_response_at",
    "resolved_at",
    "rating",
)
_WORD_COLUMNS = frozenset(mark.stored_as for plan in CATALOGUE.values() for _, mark in plan.words)
_ENTRY_COLUMNS = ("kind", "at", "by", "private", "incoming", "source", "rating")


def _check(reveal: Reveal | None) -> None:
    if reveal is not None and not reveal.why.strip():
        raise SettingsWrong("a reveal needs a reason: --why TEXT")


def _pages(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while page := list(islice(rows, PAGE_ROWS)):
        yield page


def _seals_of_profiles(page: Iterable[ProfileRow]) -> list[tuple[ThingId, bytes]]:
    return [(row.profile, part.seal) for row in page for part in row.seals if part.seal is not None]


def _seals_of_tickets(
    page: Iterable[TicketRow], entries: Mapping[ThingId, Sequence[EntryRow]]
) -> list[tuple[ThingId, bytes]]:
    found: list[tuple[ThingId, bytes]] = []
    for row in page:
        parts = [*row.seals, *(part for entry in entries[row.ticket] for part in entry.seals)]
        found.extend((row.ticket, part.seal) for part in parts if part.seal is not None)
    return found


def _clear(row: object, columns: Sequence[str]) -> dict[str, Any]:
    return {name: _plain(getattr(row, name)) for name in columns}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime | date) else value


def _id(value: UUID | None) -> str | None:
    return None if value is None else str(value)
