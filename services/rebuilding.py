"""Build a read model anew beside the living one, and swap.

Readers see the old tables until the moment they see the new ones. A rebuild that died leaves a schema
behind that nobody reads; the next rebuild drops it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import Connection, errors, sql
from psycopg.rows import tuple_row

from projections import paging
from projections.paging import FactLog, Progress, ReadModel

#: Held by the session, not the transaction: a rebuild is many of them.
_LOCK_REBUILD = "SELECT pg_advisory_lock(hashtextextended('sealdesk rebuild ' || %(model)s, 0))"

#: Renaming takes no lock on the tables within, so it waits for no reader and no reader for it.
_RENAME = sql.SQL("ALTER SCHEMA {} RENAME TO {}")

_DROP = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE")

#: A reader who began before the swap may hold the old tables. Waiting less long than PostgreSQL's
#: deadlock_timeout (one second by default) makes us the one who steps back, never the reader.
_WAIT_SHORTLY = "SET LOCAL lock_timeout = '200ms'"


def rebuild(
    connect: Callable[[], Connection[Any]],
    log: FactLog,
    model: ReadModel,
    *,
    page_size: int = paging.PAGE_SIZE,
    progress: Progress | None = None,
) -> int:
    """Fold the whole log into new tables, swap them for the living ones, and return the position reached.

    The projector may go on meanwhile: it waits during the swap and then finds its position moved. `connect`
    opens a connection of our own, whose end frees the lock that keeps two rebuilds of one model apart.
    Returns when the old tables are gone, which takes as long as the last reader who began before the swap.
    """
    live, following, former = model.name, f"{model.name}_next", f"{model.name}_former"
    with connect() as connection:
        _lock_out_other_rebuilds(connection, model)
        _drop(connection, following)
        _drop(connection, former)
        paging.catch_up(connection, log, model, page_size=page_size, progress=progress, schema=following)
        with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
            paging.lock_swap(cursor, model)
            reached = paging.catch_up(connection, log, model, page_size=page_size, schema=following)
            if paging.exists(cursor, live):
                _rename(connection, live, former)
            _rename(connection, following, live)
        _drop(connection, former)
    return reached


def _lock_out_other_rebuilds(connection: Connection[Any], model: ReadModel) -> None:
    with connection.transaction():
        connection.execute(_LOCK_REBUILD, {"model": model.name})


def _rename(connection: Connection[Any], schema: str, name: str) -> None:
    connection.execute(_RENAME.format(sql.Identifier(schema), sql.Identifier(name)))


def _drop(connection: Connection[Any], schema: str) -> None:
    """Drop a schema that nobody will look for any more, as soon as its last reader has gone."""
    while True:
        try:
            with connection.transaction():
                connection.execute(_WAIT_SHORTLY)
                connection.execute(_DROP.format(sql.Identifier(schema)))
        except errors.LockNotAvailable:
            continue
        return
