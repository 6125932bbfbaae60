"""Create the tables of both databases, once. The first numbered file of each is the whole schema of today."""

from __future__ import annotations

from importlib.resources import files

import psycopg

from domain.errors import KeysUnavailable, LogUnavailable


def create(log_dsn: str, keys_dsn: str) -> None:
    """Bring both databases to the current schema; do nothing where that is done already.

    Raises:
        LogUnavailable, KeysUnavailable: a database cannot be reached.
    """
    create_log(log_dsn)
    try:
        _create(keys_dsn, (files("crypto") / "sql/0001.keys.sql").read_text(), "wrapping_keys")
    except psycopg.OperationalError:
        raise KeysUnavailable("the key database cannot be reached") from None


def create_log(dsn: str) -> None:
    """Bring the log database alone to the current schema.

    Raises:
        LogUnavailable: it cannot be reached.
    """
    try:
        _create(dsn, (files("services") / "sql/0001.log.sql").read_text(), "facts_events")
    except psycopg.OperationalError:
        raise LogUnavailable("the log database cannot be reached") from None


def _create(dsn: str, script: str, sign: str) -> None:
    with psycopg.connect(dsn) as connection:
        # Two first starts at once would both create; the second waits here and then sees the tables.
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('sealdesk/schema', 0))")
        row = connection.execute("SELECT to_regclass(%s)", (f"public.{sign}",)).fetchone()
        if row is not None and row[0] is None:
            connection.execute(script.encode())
