"""Transactions on the key database, and the one place where its errors are translated.

An unreachable key store is `KeysUnavailable` and nothing else: it never looks like a missing key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from crypto.roles import LACKING, Role, acting, as_role, confined, refused
from domain.errors import KeysBehind, KeysUnavailable, NobodyCanAct, RightMissing, SealdeskError

#: How long a caller waits for a connection before the key store counts as down, in seconds.
CONNECT_SECONDS = 10.0
#: The advisory lock that every transaction shares, and that whoever replaces keys holds alone.
REPLACING = "hashtextextended('sealdesk/replacing', 0)"
#: How long a replacement waits for the transactions at hand; those that come after it wait as long, and no longer.
REPLACING_WAIT = "200ms"
#: What a network has swallowed answers nothing, and Linux would go on asking for a quarter of an hour. A DSN may say
#: otherwise: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 30_000}
#: What a server raises that is there but not to be worked with now: it was made a standby, or has ended a transaction
#: that waited for too long. https://www.postgresql.org/docs/current/errcodes-appendix.html
AWAY = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.IdleInTransactionSessionTimeout)
#: A lock on one number of 64 bits is listed as its two halves:
#: https://www.postgresql.org/docs/current/view-pg-locks.html
_IS_TAKEN = """
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = hashtextextended(%(task)s, 0)
) AS taken
"""


def patient(dsn: str) -> str:
    """Give a DSN the times after which a database counts as away (seconds, milliseconds), where it says none itself.

    Its connections find tables where ours are, and nowhere else: see `crypto.roles.confined`.
    """
    said = conninfo_to_dict(dsn)
    return make_conninfo(confined(dsn), **{name: value for name, value in _PATIENCE.items() if name not in said})


class Disturbed(SealdeskError):
    """Another transaction stood in the way (a deadlock); nothing was done, and the batch may be tried again."""


@dataclass(slots=True)
class _Seen:
    """The highest number of issues that a process has seen, whichever role looked."""

    issue: int = 0


class KeyStore:
    """The key database. Reads go to the primary only; nothing is cached between transactions.

    Every connection takes `role` while it is made; without one it is what the login of the DSN is.
    """

    def __init__(self, dsn: str, role: Role | None = None, *, seen: _Seen | None = None) -> None:
        self.role = role
        self._plain = dsn
        self._dsn = as_role(patient(dsn), role)
        self._seen = seen or _Seen()
        self._pool: ConnectionPool[psycopg.Connection[DictRow]] = ConnectionPool(
            self._dsn,
            min_size=0,
            max_size=4,
            # Whoever opens a connection: four at most are opened, and three threads for that are slow to start.
            num_workers=1,
            open=False,
            timeout=CONNECT_SECONDS,
            check=ConnectionPool.check_connection,
            connection_class=psycopg.Connection[DictRow],
            kwargs={"row_factory": dict_row},
            name="keys",
        )

    def __repr__(self) -> str:
        return "KeyStore()"

    def as_role(self, role: Role | None) -> KeyStore:
        """Give the same database to work in as another role, with a pool of its own that opens when it is needed."""
        return KeyStore(self._plain, role, seen=self._seen)

    def acting(self, cursor: Cursor[DictRow], role: Role | None) -> AbstractContextManager[None]:
        """Do a part of a transaction as another role, and the rest of it as before. The login has to be let take it."""
        return acting(cursor, role if role is not self.role else None, self.role)

    @contextmanager
    def transaction(self) -> Iterator[Cursor[DictRow]]:
        """Open one transaction; it commits at the end of the block. No key is replaced meanwhile.

        Raises:
            KeysUnavailable: the database cannot be reached, went away, or is a standby now.
            KeysBehind: it is older than it was when this process looked last.
            Disturbed: a deadlock with another transaction; nothing was done.
            RightMissing: the role may not do what was asked for; nothing was done.
        """
        with self._lent() as connection, connection.cursor(binary=True) as cursor:
            self._look(cursor, f"SELECT pg_advisory_xact_lock_shared({REPLACING}), issue FROM issued")
            yield cursor

    @contextmanager
    def snapshot(self) -> Iterator[Cursor[DictRow]]:
        """Open one short transaction that sees all rows as they stood at one moment.

        Raises:
            KeysUnavailable, KeysBehind, Disturbed: as for `transaction`.
        """
        with self._lent() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # The moment is that of the next statement: whoever replaces keys has not begun or is through.
            self._look(cursor, f"SELECT pg_advisory_xact_lock_shared({REPLACING}), issue FROM issued")
            yield cursor

    @contextmanager
    def replacing(self) -> Iterator[Cursor[DictRow]]:
        """Open one short transaction, alone, in which keys may be replaced: nobody holds a key of them meanwhile.

        Raises:
            KeysUnavailable: the database cannot be reached, or went away.
            Disturbed: others were at work for all of `REPLACING_WAIT`; nothing was done, and it may be tried again.
        """
        with self._lent() as connection, connection.cursor(binary=True) as cursor:
            # Whoever comes while this waits has to wait behind it, so it does not wait for long.
            cursor.execute(f"SET LOCAL lock_timeout = '{REPLACING_WAIT}'")
            self._look(cursor, f"SELECT pg_advisory_xact_lock({REPLACING}), issue FROM issued")
            cursor.execute("SET LOCAL lock_timeout = 0")
            yield cursor

    def _look(self, cursor: Cursor[DictRow], statement: str) -> None:
        """Take a lock, and see that the counter of issues has not fallen."""
        # Read before the statement: another thread may see a newer number meanwhile.
        seen = self._seen.issue
        row = cursor.execute(statement.encode()).fetchone()
        assert row is not None
        if row["issue"] < seen:
            raise KeysBehind(
                "the key database is older than it was a moment ago: a standby or a copy that lacks the last batches "
                "took its place; stop all processes, and see docs/runbooks/restore.md"
            )
        self._seen.issue = max(seen, row["issue"])

    @contextmanager
    def _lent(self) -> Iterator[psycopg.Connection[DictRow]]:
        """Lend a connection of the pool, and translate what psycopg raises."""
        try:
            self._pool.open()
            with self._pool.connection() as connection:
                yield connection
        except (
            psycopg.errors.DeadlockDetected,
            psycopg.errors.SerializationFailure,
            psycopg.errors.LockNotAvailable,
        ):
            raise Disturbed("another transaction stood in the way") from None
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, *AWAY):
            raise KeysUnavailable("the key database cannot be reached") from None
        except LACKING:
            raise RightMissing(refused(self.role, "key")) from None
        except psycopg.Error as error:
            raise NobodyCanAct(f"the key database refused a statement ({error.sqlstate})") from None

    @contextmanager
    def alone(self, task: str) -> Iterator[bool]:
        """Try to be the only process at a task, and say whether that worked. The end of the process ends it, too."""
        with self.tasks() as take:
            yield take(task)

    def is_taken(self, task: str) -> bool:
        """Tell whether some process is at a task, without taking it away from whoever would be."""
        with self.transaction() as cursor:
            row = cursor.execute(_IS_TAKEN, {"task": f"sealdesk/task/{task}"}).fetchone()
        return row is not None and bool(row["taken"])

    @contextmanager
    def waiting(self, task: str) -> Iterator[None]:
        """Wait until nobody is at a task any more, and be the only one at it."""
        try:
            connection = psycopg.connect(self._dsn, autocommit=True, row_factory=dict_row)
        except psycopg.OperationalError:
            raise KeysUnavailable("the key database cannot be reached") from None
        with closing(connection):
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"sealdesk/task/{task}",))
            yield
            connection.execute("SELECT pg_advisory_unlock_all()")

    @contextmanager
    def tasks(self) -> Iterator[Callable[[str], bool]]:
        """Give a way to be the only process at one task after the other; all end together, or with the process."""
        # Not of the pool: it is held for long, and whoever holds it needs connections of the pool.
        try:
            connection = psycopg.connect(self._dsn, autocommit=True, row_factory=dict_row)
        except psycopg.OperationalError:
            raise KeysUnavailable("the key database cannot be reached") from None

        def take(task: str) -> bool:
            row = connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS alone", (f"sealdesk/task/{task}",)
            ).fetchone()
            return row is not None and bool(row["alone"])

        with closing(connection):
            yield take
            # The server notices a closed connection in its own time; whoever comes next need not wait for that.
            connection.execute("SELECT pg_advisory_unlock_all()")

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()


def rows_of(cursor: Cursor[DictRow], statement: str, **parameters: Any) -> list[DictRow]:
    """Run one named statement and read all its rows."""
    return cursor.execute(statement, parameters).fetchall()
