"""Bring the tables of a database to today's version, with yoyo-migrations.

yoyo reads the numbered files, splits them into statements, runs them and keeps the table of what was applied. What it
would do differently from what we need is overridden in one class, and a contract test guards each of these members:

- a file and its line in the table are one transaction, on one connection, so a process may be killed at any moment;
- the lock is PostgreSQL's (advisory), which ends with the session, and not a row that a killed process leaves behind;
- neither the name of an account nor that of a machine is noted;
- the digest in the table is that of the file's content.

Rule: a refused file leaves the database as it was, and no message repeats a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from importlib.resources import files
from typing import Any

import aiosql
import psycopg
from psycopg import Connection, sql
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.migrations import Migration, read_migrations

from domain.errors import NobodyCanAct, SchemaUnfit
from services import rights
from services.schema import Schema, Standing, connected, refuse_newer, standing

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/migrating.sql").read_text(), "psycopg", mandatory_parameters=False
)
#: While it waits for a table, everybody who comes after it waits, too; so it does not wait for long.
LOCK_WAIT = "5s"
#: After a kill the server would work on a long statement to its end, and only then notice.
#: https://www.postgresql.org/docs/current/runtime-config-connection.html#GUC-CLIENT-CONNECTION-CHECK-INTERVAL
NOTICED_WITHIN = "1s"
#: What a server refuses while it stays, by SQLSTATE, and what to do before the next run.
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
_REFUSED: Mapping[str, str] = {
    "55P03": "waited for tables that others use, and gave up. Stop what works for long, a rebuild or a backup",
    "57014": "was cut short by somebody who cancels statements. See that nobody does",
    "40P01": "and another session waited for each other. Stop what works for long, a rebuild or a backup",
    "53100": "found the disk of the server full. Make room there",
    "53200": "found the memory of the server full. Make room there",
    "53300": "found no connection free. Stop some of those that use the server",
}
#: How the SQLSTATE of an error begins after which there is no session any more.
_GONE = ("08", "57P")
#: Where a database is built to compare with, in a transaction that is rolled back.
_BASELINE = "sealdesk_baseline"


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was, or would be, done: what stood before, whether it was taken as the first version, what was applied."""

    before: Standing
    adopted: bool
    applied: tuple[str, ...]


def migrate(
    schema: Schema, dsn: str, said: Callable[[str], object] | None = None, *, dry_run: bool = False
) -> Migrated:
    """Apply every file that is missing, each in a transaction of its own; then say who may do what.

    A database that has the tables of the first version and no account of how they came is taken for that version, if
    they are the same. `said` is called with the name of each file that was applied. It may be killed, and run
    again; of two that come together one waits.

    Raises:
        SchemaUnfit: the database is newer than this program, was made otherwise, or refuses a file.
        LogUnavailable, KeysUnavailable: it cannot be reached, or went away; whatever was applied stays.
    """
    try:
        with connected(schema, dsn) as connection, _alone(connection):
            before = standing(connection, schema)
            refuse_newer(before, schema)
            missing = list(before.missing)
            adopted = not before.applied and _is_there(connection, schema.sign)
            if adopted:
                with _told("the comparison with the first file", schema):
                    _compare(connection, schema, missing.pop(0))
            if not dry_run:
                _apply(connection, schema, before.missing[:1] if adopted else (), missing, said)
                with _told("the granting of rights", schema):
                    _grant(connection, schema)
            return Migrated(before, adopted, tuple(missing))
    except psycopg.errors.InsufficientPrivilege:
        raise SchemaUnfit(
            f"this login may not change the {schema.called}: run sealdesk migrate with the login that owns its tables"
        ) from None
    except psycopg.errors.ReadOnlySqlTransaction:
        raise SchemaUnfit(f"the {schema.called} cannot be written, as a standby cannot: name the primary") from None
    except (psycopg.OperationalError, psycopg.InterfaceError):
        raise schema.away(f"the {schema.called} went away; run sealdesk migrate again") from None


@contextmanager
def _told(what: str, schema: Schema) -> Iterator[None]:
    """Say of what the server refuses why it does, and what to do; whoever may not, and who went away, is told above.

    Raises:
        SchemaUnfit: it was refused, and nothing of it was done.
    """
    try:
        yield
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
        raise
    except psycopg.Error as error:
        if why := _REFUSED.get(error.sqlstate or ""):
            raise SchemaUnfit(
                f"{what} {why}, and run sealdesk migrate again; nothing of it was done, and what was applied before it "
                "stays"
            ) from None
        state = error.sqlstate
        if state is None or state.startswith(_GONE):
            raise
        todo = (
            "See what its own log says, and run sealdesk migrate again"
            if isinstance(error, psycopg.OperationalError)
            else "Ask for a version of sealdesk that mends it"
        )
        raise SchemaUnfit(
            f"the {schema.called} refused {what} ({state}); nothing of it was done, and what was applied before it "
            f"stays. {todo}"
        ) from None


@contextmanager
def _alone(connection: Connection[tuple[object, ...]]) -> Iterator[None]:
    """Wait until nobody else migrates this database. The end of the session ends it, too."""
    connection.execute(f"SET client_connection_check_interval = '{NOTICED_WITHIN}'")
    connection.execute(STATEMENTS.without_limits.sql)
    connection.execute("SELECT pg_advisory_lock(hashtextextended('sealdesk/migrate', 0))")
    connection.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
    yield
    # The server notices a closed connection in its own time; whoever waits need not wait for that.
    connection.execute("SELECT pg_advisory_unlock_all()")


def _apply(
    connection: Connection[tuple[object, ...]],
    schema: Schema,
    taken: tuple[str, ...],
    missing: list[str],
    said: Callable[[str], object] | None,
) -> None:
    """Note the first file where its tables are there already, and apply the others."""
    runner = _Runner(connection, schema)
    numbered = {migration.id: migration for migration in read_migrations(escape(str(schema.folder)))}
    for name, digest in schema.files.items():
        numbered[name].hash = digest
    with _told("the account of files", schema):
        runner.prepare()
        for name in taken:
            with runner.transaction():
                runner.mark_one(numbered[name], log=False)
    for name in missing:
        with _told(name, schema):
            runner.apply_one(numbered[name])
        if said is not None:
            said(name)


class _Runner(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no py.typed.
    """yoyo on a connection of ours."""

    def __init__(self, connection: Connection[tuple[object, ...]], schema: Schema) -> None:
        self._ours = connection
        # A benchmark has both schemas in one database, so each has tables of its own.
        self.log_table = f"{schema.table}_log"
        self.version_table = f"{schema.table}_version"
        super().__init__(parse_uri("postgresql+psycopg://"), schema.table)

    def connect(self, dburi: object) -> Connection[tuple[object, ...]]:
        """Take the connection that is there: yoyo's URIs know less than a connection string of PostgreSQL."""
        return self._ours

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        """Do nothing: whoever calls holds the advisory lock."""
        yield

    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        """Run a file and note it, in one transaction."""
        migration.load()
        if not migration.use_transactions:
            raise NobodyCanAct(f"{migration.id} wants to run outside a transaction, and then a kill could halve it")
        with self.transaction():
            migration.process_steps(self, "apply")
            self.mark_one(migration, log=False)

    def prepare(self) -> None:
        """Make the tables of yoyo, in one transaction, unless they are there."""
        self.ensure_internal_schema_updated()
        for table, text in {
            self.migration_table: "A row is a file that was applied to this database: its name, the SHA-256 of its "
            "content, and when.",
            self.log_table: "Stays empty: the library would note the names of an account and a machine here.",
            self.version_table: "The one row is the version of these three tables.",
        }.items():
            self._ours.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(table), sql.Literal(text)))


def _is_there(connection: Connection[tuple[object, ...]], table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return row is not None and bool(row[0])


def _compare(connection: Connection[tuple[object, ...]], schema: Schema, first: str) -> None:
    """Compare a database with what the first file makes, which is built beside it and rolled back.

    Whoever runs the server may have added an index that refuses nothing; every other difference counts.

    Raises:
        SchemaUnfit: a table, a column, a default, a constraint, an index or a trigger is missing, is another, or is too
            many.
    """
    row = connection.execute("SELECT current_schema()").fetchone()
    here = _parts(connection, "" if row is None else str(row[0]))
    with connection.transaction(force_rollback=True):
        connection.execute(f"CREATE SCHEMA {_BASELINE}")
        connection.execute(f"SET LOCAL search_path = {_BASELINE}")
        connection.execute((schema.folder / f"{first}.sql").read_bytes())
        wanted = _parts(connection, _BASELINE)
    relations = {relation for relation, _, _ in wanted}
    there = {part for part in here if part[0] in relations}
    added = {part for part in there - wanted if not part[2].startswith("CREATE INDEX ")}
    wrong = sorted({f"{relation}.{name}".rstrip(".") for relation, name, _ in added | (wanted - there)})
    if wrong:
        raise SchemaUnfit(
            f"the {schema.called} has tables of sealdesk that are not those of {first} (the first difference is "
            f"{wrong[0]}, of {len(wrong)}): an early version made them, or somebody changed them. Nothing was changed "
            "now. Restore a whole copy, or publish its records to a new house"
        )


def _parts(connection: Connection[tuple[object, ...]], schema: str) -> set[tuple[str, str, str]]:
    """Read what the relations of a schema are made of: relation, name and definition of each part."""
    rows = connection.execute(STATEMENTS.parts_of_schema.sql, {"schema": schema}).fetchall()
    return {(str(relation), str(name), str(definition)) for relation, name, definition in rows}


def _grant(connection: Connection[tuple[object, ...]], schema: Schema) -> None:
    """Say who may do what with the tables that there are now."""
    {"log": rights.grant_log, "keys": rights.grant_keys}[schema.what](connection)
