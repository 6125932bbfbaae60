"""Which version the tables of a database have, and whether this program may work with them.

The log and the key database are changed by numbered files, one folder each; `services.migrating` runs them. Here is
what every start asks, with one query a database: a database that a newer program has changed is refused, and an older
one, too, unless it is of our own data folder: that one is brought up at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

import psycopg
from psycopg import sql

from crypto.keystore import patient
from domain.errors import KeysUnavailable, LogUnavailable, OperatorCanAct, RightMissing, SchemaUnfit

#: In autocommit mode.
Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]

_APPLIED = sql.SQL("SELECT migration_id, migration_hash FROM {}")


@dataclass(frozen=True)
class Schema:
    """The tables of one database, as the files of a folder make them.

    `sign` is a table that the first file makes; `away` is what is raised where the database does not answer.
    """

    what: str
    #: What a sentence calls the database.
    called: str
    folder: Path
    sign: str
    away: type[OperatorCanAct] = field(repr=False)

    @property
    def table(self) -> str:
        """Name the table that says which files were applied."""
        return f"{self.what}_migrations"

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Give the SHA-256 (hexadecimal) of each file by its name without `.sql`, in the order of the numbers."""
        return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(self.folder.glob("*.sql"))}


LOG = Schema("log", "log database", Path(str(files("services"))) / "sql/migrations", "facts_events", LogUnavailable)
KEYS = Schema("keys", "key database", Path(str(files("crypto"))) / "sql/migrations", "wrapping_keys", KeysUnavailable)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a database stands to the files of this program, each by its name.

    applied   what was applied to it, in order
    missing   what this program has beyond that
    unknown   what was applied and is not known here: a newer program was at work
    changed   what was applied, and reads otherwise today
    """

    applied: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    changed: tuple[str, ...]


def standing(connection: Connection, schema: Schema) -> Standing:
    """Ask a database, on a connection in autocommit mode, which files were applied to it.

    Raises:
        SchemaUnfit: this login may not know.
    """
    return standing_of(connection.cursor(), schema)


def standing_of(cursor: psycopg.Cursor[tuple[object, ...]], schema: Schema) -> Standing:
    """Ask it on a cursor, whose connection is in autocommit mode.

    Raises:
        SchemaUnfit: this login may not know.
    """
    rows = []
    try:
        rows = cursor.execute(_APPLIED.format(sql.Identifier(schema.table))).fetchall()
        may = True
    except psycopg.errors.UndefinedTable:
        # Whoever may not enter the schema of the tables is told the same.
        may = cursor.execute("SELECT current_schema()").fetchone() != (None,)
    except psycopg.errors.InsufficientPrivilege:
        may = False
    if not may:
        raise SchemaUnfit(
            f"this login may not read which version the {schema.called} has: it has none of the roles of sealdesk. "
            "Whoever owns the database runs sealdesk migrate, and then sealdesk rights grant"
        )
    applied = {str(name): str(digest) for name, digest in rows}
    return Standing(
        applied=tuple(sorted(applied)),
        missing=tuple(name for name in schema.files if name not in applied),
        unknown=tuple(sorted(applied.keys() - schema.files.keys())),
        changed=tuple(name for name in sorted(applied) if schema.files.get(name, applied[name]) != applied[name]),
    )


def refuse_newer(found: Standing, schema: Schema) -> None:
    """Refuse a database that a newer program has changed.

    Raises:
        SchemaUnfit: it was.
    """
    if found.unknown:
        raise SchemaUnfit(
            f"a newer version of sealdesk has migrated the {schema.called} ({found.unknown[-1]}); install it"
        )


def see_to(connection: Connection, schema: Schema, dsn: str, *, ours: bool) -> None:
    """See to it that this program fits a database. One of our own data folder is brought to today's version.

    Raises:
        SchemaUnfit: it is of another version.
    """
    found = standing(connection, schema)
    refuse_newer(found, schema)
    if found.missing and not ours:
        has = "is of an older version of sealdesk" if found.applied else "is not set up for this version of sealdesk"
        raise SchemaUnfit(f"the {schema.called} {has}; run: sealdesk migrate")
    if found.missing:
        bring(schema, dsn)


def ready(schema: Schema, dsn: str, *, ours: bool) -> None:
    """See to it on a connection that is made for that.

    Raises:
        SchemaUnfit: the database is of another version.
        LogUnavailable, KeysUnavailable: it cannot be reached.
    """
    with connected(schema, dsn) as connection:
        see_to(connection, schema, dsn, ours=ours)


def create(log_dsn: str, keys_dsn: str) -> None:
    """Bring both databases to today's version, as the owner of their tables.

    Raises:
        SchemaUnfit: a database does not let itself be brought there.
        LogUnavailable, KeysUnavailable: a database cannot be reached.
    """
    ready(LOG, log_dsn, ours=True)
    ready(KEYS, keys_dsn, ours=True)


def create_log(dsn: str) -> None:
    """Bring the log database alone to today's version, as the owner of its tables.

    Raises:
        SchemaUnfit: it does not let itself be brought there.
        LogUnavailable: it cannot be reached.
    """
    ready(LOG, dsn, ours=True)


def bring(schema: Schema, dsn: str, said: Callable[[str], object] | None = None) -> None:
    """Apply what is missing. What does it is imported here alone, so that no other start waits for it."""
    from services.migrating import migrate

    migrate(schema, dsn, said)


def connected(schema: Schema, dsn: str) -> Connection:
    """Connect to a database in autocommit mode; whoever asks for the connection closes it.

    Raises:
        LogUnavailable, KeysUnavailable: it cannot be reached.
        RightMissing: it lets this login not in.
    """
    try:
        return psycopg.connect(patient(dsn), autocommit=True)
    except psycopg.OperationalError as error:
        # A connection that is refused comes with no code, and with the name of the database.
        if "permission denied for database" in str(error):
            raise RightMissing(
                f"the {schema.called} refuses this login: no role that it has is let in there. Run this command with a "
                "login that has the role for it (sealdesk rights show)"
            ) from None
        raise schema.away(f"the {schema.called} cannot be reached") from None
