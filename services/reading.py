"""Read the lists: sealed by default, revealed with a reason. How a row is shown is said in `services.lists`.

A word of no vocabulary counts as `other`; its original is the personal field NAME_as_given.

A personal field reads as {"sealed": true}, {"shredded": true} or, revealed, its value; a field that nobody ever gave is
absent. {"lost": true} and {"broken": true} are findings for an operator and never look like a shred.

A reveal opens a page with one query for its keys, and leaves an access line before anything is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID, uuid4

from crypto.keystore import KeyStore
from crypto.opening import SHREDDED, Found, open_leaves
from crypto.roots import Roots
from crypto.sealing import head_of, open_seal
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.catalogue import CATALOGUE
from domain.errors import KeyLost, SealBroken, SettingsWrong, TenantIsClosed
from domain.ids import KeyId, TenantId, ThingId
from projections import articles, companies, contacts, erasures, forums, groups, reports, things, tickets
from projections.things import ThingRow
from services import lists
from services.desk_words import seal_words, seal_words_in
from services.lists import Personal, Shown
from services.log import STATEMENTS, Facts

#: Rows whose keys are fetched with one query.
PAGE_ROWS = 500
#: How long an opened page is shown from, in seconds: less than what a certificate allows a request.
ANSWER_SECONDS = 20.0

Row = TypeVar("Row")
Content = Mapping[str, Any] | str
#: By where on the log the seal stands: the thing on whose stream it was opened, and what it says there.
Contents = Mapping[int, tuple[ThingId, Content]]


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

    def contacts(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[Shown]:
        """List people, with the filters of `projections.contacts.rows`."""
        _check(reveal)
        with self._facts.connection() as connection, self._facts.connection() as second:
            for page in _pages(contacts.rows(connection, tenant, **choice)):
                consents = contacts.consents(second, tenant, [row.profile for row in page])
                seals = [seal for row in page for seal in lists.seals_in(row.profile, [row])]
                for row in page:
                    seals += lists.seals_of_consents(row.profile, consents[row.profile])
                opened = self._open(tenant, "contacts", seals, reveal)
                for row in page:
                    yield lists.profile(row, consents[row.profile], opened.fields)

    def tickets(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[Shown]:
        """List tickets with their conversations, with the filters of `projections.tickets.rows`."""
        return self._conversations(tenant, "tickets", reveal, choice)

    def calls(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[Shown]:
        """List calls with their recordings and transcripts, with the filters of `projections.tickets.rows`."""
        return self._conversations(tenant, "calls", reveal, {**choice, "kind": "call"})

    def chats(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[Shown]:
        """List chats with their messages, with the filters of `projections.tickets.rows`."""
        return self._conversations(tenant, "chats", reveal, {**choice, "kind": "chat"})

    def forums(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[Shown]:
        """List what stands in the forums, with the filters of `projections.forums.rows`."""
        return self._things(tenant, forums.name, forums.rows, reveal, choice)

    def articles(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[Shown]:
        """List articles, folders and categories, with the filters of `projections.articles.rows`."""
        return self._things(tenant, articles.name, articles.rows, reveal, choice)

    def companies(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[Shown]:
        """List companies, with the filters of `projections.companies.rows`."""
        return self._things(tenant, companies.name, companies.rows, reveal, choice)

    def groups(self, tenant: TenantId, reveal: Reveal | None = None, **choice: Any) -> Iterator[Shown]:
        """List the groups of the team, with the filters of `projections.groups.rows`."""
        return self._things(tenant, groups.name, groups.rows, reveal, choice)

    def _conversations(
        self, tenant: TenantId, what: str, reveal: Reveal | None, choice: Mapping[str, Any]
    ) -> Iterator[Shown]:
        """List tickets, calls or chats. Entries that were deleted upstream show with `all` only."""
        _check(reveal)
        shows_all = choice.get("all", False)
        with self._facts.connection() as connection, self._facts.connection() as second:
            for page in _pages(tickets.rows(connection, tenant, **choice)):
                entries = {
                    ticket: [entry for entry in listed if shows_all or not entry.deleted]
                    for ticket, listed in tickets.entries(second, tenant, [row.ticket for row in page]).items()
                }
                seals = (seal for row in page for seal in lists.seals_in(row.ticket, [row, *entries[row.ticket]]))
                opened = self._open(tenant, what, seals, reveal)
                for row in page:
                    yield lists.conversation(row, entries[row.ticket], opened.fields)

    def _things(
        self,
        tenant: TenantId,
        model: str,
        rows: Callable[..., Iterator[ThingRow]],
        reveal: Reveal | None,
        choice: Mapping[str, Any],
    ) -> Iterator[Shown]:
        _check(reveal)
        with self._facts.connection() as connection, self._facts.connection() as second:
            for page in _pages(rows(connection, tenant, **choice)):
                files = things.attachments(second, model, tenant, [row.thing for row in page])
                seals = (seal for row in page for seal in lists.seals_in(row.thing, [row, *files[row.thing]]))
                opened = self._open(tenant, model, seals, reveal)
                for row in page:
                    yield lists.thing(row, files[row.thing], opened.fields)

    def reports(self, tenant: TenantId) -> dict[str, Any]:
        """Summarise every ticket ever opened."""
        with self._facts.connection() as connection:
            return reports.summaries(connection, tenant)

    def erasures(self, tenant: TenantId) -> dict[str, Any]:
        """Summarise what was erased, by day."""
        with self._facts.connection() as connection:
            return erasures.summaries(connection, tenant)

    def _open(
        self, tenant: TenantId, what: str, sealed: Iterable[tuple[ThingId, int]], reveal: Reveal | None
    ) -> Opened:
        if reveal is None:
            return Opened()
        # A place that two things name is that of the first: for the other one it is broken.
        wanted: dict[int, ThingId] = {}
        for thing, at in sealed:
            wanted.setdefault(at, thing)
        seals = self._facts.seals(tenant, list(wanted))
        made = {at: _made_under(seals.get(at), tenant, thing) for at, thing in wanted.items()}
        places = {at: (wanted[at], under[0]) for at, under in made.items() if under is not None}

        def contents(tree: Tree) -> Contents:
            found = open_leaves(tree, tenant, places.values())
            # All of the page is opened here, so that its keys are gone before the first row is shown.
            return {
                at: (wanted[at], "broken")
                if under is None
                else (wanted[at], _content(tenant, wanted[at], seals[at], under[1], found[places[at]]))
                for at, under in made.items()
            }

        def opened() -> Contents:
            with self._keys.transaction() as cursor:
                return contents(Tree(cursor, self._roots))

        access, words, since = uuid4(), None, time.monotonic()
        # One transaction for both. The key of the line comes last: while it is issued, other reveals of the desk wait.
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            first = contents(tree)
            try:
                words = seal_words_in(tree, tenant, access, actor=reveal.actor, why=reveal.why)
            except TenantIsClosed:
                # Its desk seals no line any more. Perhaps it was closed since the look: in this one nothing opens.
                first = contents(tree)
        if words is not None:
            self._write_access_line(tenant, access, what, list(dict.fromkeys(wanted.values())), words)
        return Opened(opened, first, since)

    def leave_access_line(self, tenant: TenantId, what: str, ids: Iterable[UUID], reveal: Reveal) -> None:
        """Write who is about to see which things, and why. Who and why are sealed under the desk."""
        access = uuid4()
        words = seal_words(self._keys, self._roots, tenant, access, actor=reveal.actor, why=reveal.why)
        self._write_access_line(tenant, access, what, list(ids), words)

    def _write_access_line(self, tenant: TenantId, access: UUID, what: str, ids: list[UUID], words: bytes) -> None:
        with self._facts.connection() as connection:
            # By itself a transaction, in one round trip.
            connection.execute(
                STATEMENTS.write_access_line.sql,
                {
                    "access_id": access,
                    "tenant": tenant,
                    "at": self._clock(),
                    "what": what,
                    "ids": ids,
                    "words": words,
                },
            )


class Opened:
    """The personal fields of one page, by the place of their seal; or none when nothing is revealed.

    An answer that is read slowly is opened again after `ANSWER_SECONDS`: whoever was shredded meanwhile is not shown.
    """

    def __init__(
        self, opened: Callable[[], Contents] | None = None, first: Contents | None = None, since: float = 0.0
    ) -> None:
        self._opened = opened
        self._contents = first
        self._since = since

    def __repr__(self) -> str:
        return "Opened()"

    def fields(self, thing: ThingId, personal: Personal) -> Shown:
        """Show each personal field of a row; the original of a word stands beside the word that counts."""
        if self._opened is not None and time.monotonic() - self._since > ANSWER_SECONDS:
            self._contents, self._since = self._opened(), time.monotonic()
        return {
            f"{name}_as_given" if name in _WORD_COLUMNS else name: self._field(thing, name, at)
            for name, at in sorted(personal.items())
        }

    def _field(self, thing: ThingId, name: str, at: int | None) -> Any:
        if at is None:
            return {"shredded": True}
        if self._contents is None:
            return {"sealed": True}
        opened_for, content = self._contents[at]
        if opened_for is not thing and opened_for != thing:
            return {"broken": True}
        if isinstance(content, str):
            return {content: True}
        # A field that the seal does not hold was never in it: somebody has changed the row.
        return content.get(name, {"broken": True})


def _made_under(seal: bytes | None, tenant: TenantId, thing: ThingId) -> tuple[KeyId, str] | None:
    """Say of a seal its key and type; None if it is not there, or says that it was made elsewhere, or is no seal."""
    try:
        head = head_of(seal or b"")
    except SealBroken:
        return None
    if (head.tenant, head.stream) != (tenant.bytes, thing.bytes):
        return None
    return KeyId(UUID(bytes=head.key_id)), head.type


def _content(tenant: TenantId, thing: ThingId, seal: bytes, type_: str, key: Found) -> Content:
    """Open one seal where it stands: its fields, or the word for what became of it."""
    if key is SHREDDED:
        return "shredded"
    if isinstance(key, KeyLost):
        return "lost"
    if not isinstance(key, Key):
        return "broken"
    try:
        content = open_seal(seal, key, tenant=tenant, stream=thing, type=type_)
    except SealBroken:
        return "broken"
    texts = CATALOGUE[type_].texts if type_ in CATALOGUE else frozenset()
    return {
        field: "".join(value) if field in texts and isinstance(value, list) else value
        for field, value in content.items()
    }


_WORD_COLUMNS = frozenset(mark.stored_as for plan in CATALOGUE.values() for _, mark in plan.words)


def _check(reveal: Reveal | None) -> None:
    if reveal is not None and not reveal.why.strip():
        raise SettingsWrong("a reveal needs a reason: --why TEXT")


def _pages(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while page := list(islice(rows, PAGE_ROWS)):
        yield page
