"""End sessions at a server.

PostgreSQL sleeps a tenth of a second between two looks whether a session is gone (`pg_terminate_backend` with a time,
DROP DATABASE with FORCE). Most are gone in a millisecond, so we look ourselves.
"""

from __future__ import annotations

import time
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier

PATIENCE_SECONDS = 5.0
_END = SQL(
    "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE {} = %s AND pid <> pg_backend_pid()"
)


def end(connection: Connection[Any], column: str, value: str) -> None:
    """End all sessions with this value in a column of `pg_stat_activity`, and wait until they are gone.

    `connection` is in autocommit mode and gives tuples.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while connection.execute(_END.format(Identifier(column)), (value,)).fetchone() != (0,):
        assert time.monotonic() < until, f"sessions with {column} = {value} do not end"
        time.sleep(0.001)
