"""The tables of a database, its catalogs and its large objects: all that a logical dump of it would hold, and more.

A table is copied out whole and looked through here, so no needle is ever part of a statement. It is copied in the
binary format, where a text stands as it is; numbers are copied once more as text, and so is a table with a type that
has no binary form. Catalogs are copied as text throughout. Among them are the statistics, which repeat the commonest
values of columns, and the comments.

A table that cannot be copied, or not to its end, is counted as unread and keeps no other from being read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from crypto.keystore import patient
from services.proving.matching import BLOCK_BYTES, Matcher
from services.proving.places import BOTH, Kind, NotSearched, Searched
from services.proving.statements import SQL

CATALOG = "pg_catalog"
#: Large objects are read by their own functions: here they stand in pages, and a value would be cut.
_IN_PAGES = "pg_largeobject"
#: What a role that is no superuser may read of statistics.
_STATISTICS, _OWN_STATISTICS = "pg_statistic", "pg_stats"
#: Times that tables are listed until no new one turns up: read models are built anew and renamed.
MOST_PASSES = 10
#: How long to wait for a table that somebody has locked.
LOCK_SECONDS = 30
#: The table is gone, or has another name by now.
_GONE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)


class Tables:
    """Some tables of a database. `holds` says by schema and name which."""

    def __init__(
        self,
        name: str,
        dsn: str,
        holds: Callable[[str, str], bool],
        residue: Collection[Kind] = BOTH,
        *,
        needed: bool = True,
    ) -> None:
        self.name = name
        self.residue = residue
        self.needed = needed
        self._dsn = dsn
        self._holds = holds

    def __repr__(self) -> str:
        return f"Tables({self.name!r})"

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Copy out each of its tables.

        Raises:
            NotSearched: the server cannot be reached, or goes away.
        """
        with _connected(self._dsn) as connection:
            _search_tables(connection, matcher, into, self._ours, "binary")

    def _ours(self, schema: str, name: str) -> bool:
        return schema != CATALOG and self._holds(schema, name)


class Catalogs:
    """The catalogs of a database, with statistics and comments, and its large objects."""

    residue = BOTH
    needed = False

    def __init__(self, name: str, dsn: str) -> None:
        self.name = name
        self._dsn = dsn

    def __repr__(self) -> str:
        return f"Catalogs({self.name!r})"

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Copy out each catalog, and read each large object.

        Raises:
            NotSearched: the server cannot be reached, or goes away.
        """
        with _connected(self._dsn) as connection:
            _search_tables(connection, matcher, into, _is_catalog, "text")
            for row in connection.execute(SQL.large_objects.sql).fetchall():
                try:
                    matcher.count(_large_object(connection, row["oid"]), into.hits)
                except psycopg.Error:
                    _go_on(connection, into)


def _is_catalog(schema: str, name: str) -> bool:
    return schema == CATALOG and name != _IN_PAGES


def _connected(dsn: str) -> closing[psycopg.Connection[dict[str, Any]]]:
    """Open a connection whose rows are all rows: where a policy would hide some, it is an error.

    Raises:
        NotSearched: the server cannot be reached.
    """
    try:
        connection = psycopg.connect(patient(dsn), autocommit=True, row_factory=dict_row)
        connection.execute(f"SET row_security = off; SET lock_timeout = '{LOCK_SECONDS}s'".encode())
        connection.execute("SET statement_timeout = 0")
    except psycopg.Error:
        raise NotSearched("the database cannot be reached") from None
    return closing(connection)


def _search_tables(
    connection: psycopg.Connection[dict[str, Any]],
    matcher: Matcher,
    into: Searched,
    holds: Callable[[str, str], bool],
    form: str,
) -> None:
    read: set[int] = set()
    for _ in range(MOST_PASSES):
        rows = connection.execute(SQL.tables.sql).fetchall()
        new = [row for row in rows if row["oid"] not in read and holds(row["schema"], row["name"])]
        if not new:
            return
        for row in new:
            try:
                _search_table(connection, matcher, into, row, form)
            except _GONE:
                # If it has another name by now, it stands in the next list.
                continue
            except psycopg.Error:
                _go_on(connection, into)
                if row["name"] == _STATISTICS:
                    _copy(connection, matcher, into, CATALOG, _OWN_STATISTICS, "text")
            read.add(row["oid"])
    into.unread += 1


def _search_table(
    connection: psycopg.Connection[dict[str, Any]], matcher: Matcher, into: Searched, row: dict[str, Any], form: str
) -> None:
    try:
        _copy(connection, matcher, into, row["schema"], row["name"], form)
    except psycopg.errors.UndefinedFunction:
        # One of its types has no binary form. This is told before the first row.
        _copy(connection, matcher, into, row["schema"], row["name"], "text")
        return
    if form == "binary" and row["numbers"]:
        _copy(connection, matcher, into, row["schema"], row["name"], "text", row["numbers"])


def _copy(
    connection: psycopg.Connection[Any],
    matcher: Matcher,
    into: Searched,
    schema: str,
    name: str,
    form: str,
    columns: Sequence[str] = (),
) -> None:
    statement = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT {})").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*"),
        sql.Identifier(schema, name),
        sql.SQL(form),
    )
    with connection.cursor() as cursor, cursor.copy(statement) as rows:
        matcher.count((bytes(row) for row in rows), into.hits)


def _go_on(connection: psycopg.Connection[Any], into: Searched) -> None:
    """Count what could not be read, and say whether there is a way to what comes next.

    Raises:
        NotSearched: the connection is lost.
    """
    into.unread += 1
    if connection.closed:
        raise NotSearched("the database went away") from None


def _large_object(connection: psycopg.Connection[dict[str, Any]], oid: int) -> Iterator[bytes]:
    start = 0
    while True:
        given = {"oid": oid, "start": start, "bytes": BLOCK_BYTES}
        row = connection.execute(SQL.part_of_large_object.sql, given, binary=True).fetchone()
        part = b"" if row is None else bytes(row["part"])
        if not part:
            return
        yield part
        start += len(part)
