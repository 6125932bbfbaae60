"""SQL files into named statements, rows into column arrays.

A file holds statements, each under a line `-- name: ...`. A statement that stores or looks for many rows
takes one array a column and `unnest`s them: one round trip a page, never one a fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

#: (tenant, inside id). Nothing is shared between tenants, so an id alone never finds a row.
Key = tuple[UUID, UUID]

#: Rows that may be in memory at once; a list without a limit, or beyond this, is streamed.
PAGE_ROWS = 100

_FOLDER = Path(__file__).parent / "sql"
_HEADING = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(name: str) -> Mapping[str, bytes]:
    """Read the statements of `sql/<name>.sql`, by their names."""
    _, *parts = _HEADING.split((_FOLDER / f"{name}.sql").read_text(encoding="utf-8"))
    return dict(zip(parts[::2], (part.encode() for part in parts[1::2]), strict=True))


def find(cursor: Cursor[Any], statement: bytes, keys: Iterable[Key]) -> Sequence[tuple[Any, ...]]:
    """Return the rows that a statement finds for these keys (its parameters are `tenants` and `ids`)."""
    pairs = list(keys)
    if not pairs:
        return ()
    cursor.execute(statement, {"tenants": [tenant for tenant, _ in pairs], "ids": [id_ for _, id_ in pairs]})
    return cursor.fetchall()


def write(cursor: Cursor[Any], statement: bytes, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Run a statement over all rows at once; `names` are its parameters, one a column.

    A column without any value goes as NULL: `unnest` fills it up, and nothing has to be written out for it.
    """
    columns = list(zip(*rows, strict=True))
    if columns:
        values = (None if column.count(None) == len(column) else list(column) for column in columns)
        cursor.execute(statement, dict(zip(names, values, strict=True)))


def alone(connection: Connection[Any]) -> AbstractContextManager[Any]:
    """Give a block for statements that only read: in autocommit each is a transaction by itself, in one round trip."""
    return nullcontext() if connection.autocommit else connection.transaction()


@contextmanager
def page_cursor(connection: Connection[Any], name: str, limit: int | None) -> Iterator[Cursor[Any]]:
    """Give a cursor whose rows are tuples: for a page a plain one, which needs one round trip, and no transaction.

    For more than a page it streams, in a transaction of its own, so that not all rows are in memory at once.
    """
    if limit is not None and limit <= PAGE_ROWS:
        with alone(connection), connection.cursor(row_factory=tuple_row) as cursor:
            yield cursor
    else:
        with connection.transaction(), connection.cursor(name, row_factory=tuple_row) as streaming:
            yield streaming


def array(items: Iterable[UUID] | Iterable[str]) -> str:
    """Write ids or declared field names as an array literal: `unnest` cannot take rows of uneven arrays.

    Neither can hold a character that would need quoting.
    """
    return "{" + ",".join(map(str, items)) + "}"
