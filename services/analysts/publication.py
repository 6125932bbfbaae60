"""Publish what analysts read: counts, durations and rows without people, in a schema of each tenant.

Rules:

- The tables are copies, written anew in one transaction from `reports`, which never held a name; so the roles of
  `services.analysts.roles` need no right on anything else. A statement sees the publication before or the one
  after, and so does a transaction that is REPEATABLE READ.
- No group has fewer than k tickets (`services.analysts.folding`); durations are rounded; a text column holds words.
- An agent is `agent-` and 16 hex digits: HMAC-SHA-256 of tenant and SubjectId under a secret in the key database. A
  rebuild changes none of them; `rotate` destroys the secret, and all of them change.

A further summary is a table in `create` of `sql/analysts.sql`, a line in its `empty`, the name in SUMMARIES, and a step
in `_write`. Adding or changing one makes the schemas anew at the next refresh.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

from psycopg import Connection, Cursor, IsolationLevel
from psycopg.rows import dict_row, tuple_row
from psycopg.sql import SQL, Identifier, Literal

from crypto.keystore import KeyStore
from crypto.roots import Roots
from crypto.tree import Tree
from crypto.wrapping import Key, context
from domain.errors import SettingsWrong
from domain.ids import TenantId
from domain.vocabularies import CLOSED, OTHER
from projections.reports import NONE
from services.analysts import roles as analyst_roles
from services.analysts.folding import Pieces, averages, fold
from services.analysts.roles import STATEMENTS, SUMMARIES, UNPUBLISHED, confine, explained, make, schema, shape
from services.log import Facts, translated

#: Fewer than two would be no group.
LEAST_K = 2
#: A publication a day: it is a copy, and each further one could be compared with the last.
FRESH_FOR = timedelta(days=1)
#: 64 bits: among a million agents two alike are as likely as one in thirty million.
PSEUDONYM_DIGITS = 16
#: Dimensions whose words come from vocabularies. The others are of a form that nothing else has.
_VOCABULARIES = ("status", "priority", "channel", "type", "group", "product")
#: Dimensions that durations and ratings are told by: by status or by rating, they would say the same twice.
_MEASURED = ("all", "opened_in", "priority", "channel", "type", "group", "product", "agent")
#: What is averaged, in the order of the columns of `sizes`.
_SECTIONS = ("first_response", "resolution", "rating")

T = TypeVar("T")
#: By dimension, then by word.
Groups = Mapping[str, Mapping[str, T]]


@dataclass(frozen=True, slots=True)
class Counted:
    """How many tickets a group has, and by section how these divide."""

    tickets: int
    pieces: Mapping[str, Pieces]


class Analysts:
    """Publish for the analysts of one installation."""

    def __init__(
        self,
        facts: Facts,
        keys: KeyStore,
        roots: Roots,
        project: Callable[[], object],
        clock: Callable[[], datetime],
        k: int,
        fresh_for: timedelta = FRESH_FOR,
    ) -> None:
        if k < LEAST_K:
            raise SettingsWrong(f"SEALDESK_FOLD has to be a whole number, {LEAST_K} or more.")
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._project = project
        self._clock = clock
        self._k = k
        self._fresh_for = fresh_for

    def refresh(self, tenant: TenantId) -> dict[str, Any]:
        """Publish anew, from read models brought to the head of the log. Returns the row of `freshness`.

        Raises:
            SettingsWrong: the database user may not make roles, or a role could do more than read its schema.
        """
        return self._publish(tenant, new_secret=False)

    def rotate(self, tenant: TenantId) -> dict[str, Any]:
        """Destroy the secret of the pseudonyms and publish under a new one. Returns the row of `freshness`.

        Whoever kept an older publication cannot tell which of the new pseudonyms is which of the old ones by name; an
        agent may still be recognised by the counts.

        Raises:
            SettingsWrong: as for `refresh`. The secret is new all the same, so a refresh finishes what this began.
        """
        return self._publish(tenant, new_secret=True)

    def published(self, tenant: TenantId) -> dict[str, Any]:
        """Read the summaries as they were last published: rows as dictionaries, by table; `freshness` is one row.

        `freshness` has an entry `stale`, whether a newer publication is due.

        Raises:
            SettingsWrong: nothing was published yet.
        """
        with self._facts.connection() as connection, connection.transaction():
            # One snapshot, or a publication in between would show half of each.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if shape(connection, tenant) is None:
                raise SettingsWrong(UNPUBLISHED)
            cursor = connection.cursor(row_factory=dict_row)
            connection.execute(STATEMENTS.enter.sql, {"schema": schema(tenant)})
            read = {
                # Never prepared: in the schema of the next tenant the same words mean tables with other columns.
                name: cursor.execute(
                    SQL("SELECT * FROM {} ORDER BY 1, 2, 3").format(Identifier(name)), prepare=False
                ).fetchall()
                for name in SUMMARIES
            }
        [freshness] = read["freshness"]
        freshness["stale"] = self._clock() > freshness["stale_at"]
        return {**read, "freshness": freshness}

    def grant(self, tenant: TenantId, login: str, *, rows: bool = False, dry_run: bool = False) -> str:
        """Let a login role of the database read what is published. Returns the statement that does it.

        Raises:
            SettingsWrong: nothing was published yet, there is no such role, or it is a superuser, who needs no grant.
        """
        with self._facts.connection() as connection, explained(), connection.transaction():
            return analyst_roles.grant(connection, tenant, login, rows=rows, dry_run=dry_run)

    def withdraw(self, tenant: TenantId) -> None:
        """Take back what is published of a tenant, with its roles; do nothing where nothing is.

        A role that the database user may not drop stays, and reads nothing any more.
        """
        with translated(), self._facts.own_connection() as connection:
            connection.execute(STATEMENTS.lock_publication.sql, {"schema": schema(tenant)})
            analyst_roles.drop(connection, tenant)

    def _publish(self, tenant: TenantId, *, new_secret: bool) -> dict[str, Any]:
        as_of = self._clock()
        self._project()
        with translated(), explained(), self._facts.own_connection() as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.execute(STATEMENTS.lock_publication.sql, {"schema": schema(tenant)})
            connection.execute(STATEMENTS.lock_swap.sql)
            # Behind the lock: otherwise a refresh that began before a rotation could publish old pseudonyms after it.
            secret = self._secret(tenant, new=new_secret)
            with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
                cursor.execute(STATEMENTS.enter.sql, {"schema": schema(tenant)})
                make(connection, tenant)
                confine(connection, tenant)
                connection.execute(STATEMENTS.empty.sql)
                _count(cursor, tenant, secret)
                self._write(cursor, _words(cursor, tenant))
                [position] = cursor.execute(STATEMENTS.position.sql).fetchone() or (0,)
                freshness = {"as_of": as_of, "stale_at": as_of + self._fresh_for, "position": position, "k": self._k}
                cursor.execute(STATEMENTS.write_freshness.sql, freshness)
            analyst_roles.drop_emptied(connection)
        return freshness

    def _write(self, cursor: Cursor[Any], words: Mapping[str, frozenset[str]]) -> None:
        """Fold what was counted, and fill the tables."""
        groups = _counted(cursor)
        shown = {dimension: _shown(counted, words.get(dimension), self._k) for dimension, counted in groups.items()}
        _declare(cursor.connection, (word for name in _VOCABULARIES for word in shown.get(name, {}).values()))
        sizes: Counter[tuple[str, str]] = Counter()
        for dimension, value, word in _flat(shown):
            sizes[dimension, word] += groups[dimension][value].tickets
        _store(cursor, "write_tickets", ((*at, tickets) for at, tickets in sizes.items()))
        _store(cursor, "write_rows", _flat(shown))
        for section in _SECTIONS:
            told = {
                dimension: averages(
                    shown[dimension], {word: one.pieces[section] for word, one in counted.items()}, self._k
                )
                for dimension, counted in groups.items()
                if dimension in _MEASURED
            }
            rows = [(dimension, word, one.word, one.tickets, one.negative) for dimension, word, one in _flat(told)]
            if section == "rating":
                _store(cursor, "write_ratings", (row[:-1] for row in rows))
            else:
                _store(cursor, "write_durations", ((section, *row) for row in rows))

    def _secret(self, tenant: TenantId, *, new: bool) -> Key:
        """Open the secret of the pseudonyms, or issue it."""
        with self._keys.transaction() as cursor:
            if new:
                cursor.execute(STATEMENTS.destroy_secret.sql, {"tenant": tenant})
            return Tree(cursor, self._roots).service_key(tenant, "pseudonym").key


def pseudonym(secret: Key, tenant: TenantId, agent: UUID) -> str:
    """Compute under which name an agent appears."""
    message = context(b"sealdesk/pseudonym/1", tenant.bytes, agent.bytes)
    return f"agent-{hmac.digest(secret.material, message, 'sha256').hex()[:PSEUDONYM_DIGITS]}"


def _words(cursor: Cursor[Any], tenant: TenantId) -> dict[str, frozenset[str]]:
    """Read the words that may stand in the clear, by dimension."""
    words = {name: {*CLOSED.get(name, {}).values(), NONE, OTHER} for name in _VOCABULARIES}
    for vocabulary, word in cursor.execute(STATEMENTS.declared.sql, {"tenant": tenant}).fetchall():
        if vocabulary in words:
            words[vocabulary].add(word)
    return {name: frozenset(found) for name, found in words.items()}


def _declare(connection: Connection[Any], shown: Iterable[str]) -> None:
    """Let the tables take the words that are about to be told and no others, not even those that were folded.

    Everybody who logs in reads the constraint in the catalogue, so a rare word must not stand there either.
    """
    listed = sorted({"all", NONE, OTHER, *shown})
    digest = sha256(repr(listed).encode()).hexdigest()[:16]
    if connection.execute(STATEMENTS.words_known.sql).fetchone() == (digest,):
        return
    literals = SQL(", ").join(Literal(word) for word in listed)
    connection.execute(SQL(STATEMENTS.declare_words.sql).format(words=literals, digest=Literal(digest)))


def _count(cursor: Cursor[Any], tenant: TenantId, secret: Key) -> None:
    """Lay out what is counted of each ticket in a table of this transaction."""
    agents = [agent for (agent,) in cursor.execute(STATEMENTS.agents.sql, {"tenant": tenant}).fetchall()]
    cursor.execute(STATEMENTS.create_counted.sql)
    pseudonyms = [pseudonym(secret, tenant, agent) for agent in agents]
    cursor.execute(STATEMENTS.count.sql, {"tenant": tenant, "none": NONE, "agents": agents, "pseudonyms": pseudonyms})


def _counted(cursor: Cursor[Any]) -> dict[str, dict[str, Counted]]:
    """Count the groups of every dimension."""
    found: dict[str, dict[str, Counted]] = {}
    for dimension, value, tickets, *numbers in cursor.execute(STATEMENTS.sizes.sql, {"none": NONE}).fetchall():
        pairs = zip(_SECTIONS, zip(numbers[::2], numbers[1::2], strict=True), strict=True)
        pieces = {section: Pieces(some, negative, tickets - some - negative) for section, (some, negative) in pairs}
        found.setdefault(dimension, {})[value] = Counted(tickets, pieces)
    return found


def _shown(groups: Mapping[str, Counted], known: frozenset[str] | None, k: int) -> dict[str, str]:
    """Say under which word each group is told. A word that no vocabulary knows any more is `other` from the start."""
    named = {value: value if known is None or value in known else OTHER for value in groups}
    sizes: Counter[str] = Counter()
    for value, word in named.items():
        sizes[word] += groups[value].tickets
    folded = fold(sizes, k)
    return {value: folded[word] for value, word in named.items() if word in folded}


def _flat(groups: Groups[T]) -> Iterator[tuple[str, str, T]]:
    return ((dimension, word, one) for dimension, found in groups.items() for word, one in found.items())


def _store(cursor: Cursor[Any], statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Run a statement whose parameters are the columns of some rows, in their order: `column_1` and so on."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    if columns:
        parameters = {f"column_{number}": column for number, column in enumerate(columns, 1)}
        cursor.execute(getattr(STATEMENTS, statement).sql, parameters)
