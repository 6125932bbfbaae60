"""One connection of its own to a database, for whoever only looks.

It takes none from the pools that the work needs, and gives up soon: whoever scrapes waits for the answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow, dict_row

from crypto.keystore import patient

#: A server that takes longer to let us in is down, for whoever asks.
CONNECT_SECONDS = 2
#: What is asked here takes some milliseconds; behind a lock it must not wait for long.
STATEMENT_MILLISECONDS = 2_000

_T = TypeVar("_T")


class Look:
    """A look at one database; the connection is made at the first, and anew after it broke."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection[DictRow] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "Look()"

    def __call__(self, read: Callable[[Connection[DictRow]], _T]) -> _T | None:
        """Read something; None if the database does not answer."""
        with self._lock:
            # A connection that its server has left behind says so only when it is used.
            for _ in range(2):
                fresh = self._connection is None
                try:
                    return read(self._connected())
                except psycopg.Error:
                    self._forget()
                    if fresh:
                        return None
            return None

    def _connected(self) -> Connection[Any]:
        if self._connection is None:
            self._connection = psycopg.connect(
                patient(self._dsn),
                autocommit=True,
                row_factory=dict_row,
                connect_timeout=CONNECT_SECONDS,
                # A server that a network has swallowed answers nothing at all, not even to the statement's own limit.
                tcp_user_timeout=STATEMENT_MILLISECONDS,
            )
            self._connection.execute(f"SET statement_timeout = {STATEMENT_MILLISECONDS}")
        return self._connection

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._forget()
