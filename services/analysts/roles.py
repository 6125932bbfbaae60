"""The schema of a tenant's analysts and its two roles: who may read what, and that nobody may do more.

```
analysts_<12 hex>             a schema in the log database, named by the first digits of the tenant's id
analysts_<12 hex>_summaries   may read freshness, tickets_by, durations_by, ratings_by and dictionary
analysts_<12 hex>_rows        may read ticket_rows as well
```

The roles are groups without a login. An operator makes the logins, and gives each one of the roles.

Rule: what PUBLIC may, the roles may. So PUBLIC loses what PostgreSQL gives it in a new database, and nothing is
published while a role could do anything beyond reading its schema. The catalogue stays open to every login: it shows
names and sizes of all tables, and no row of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.resources import files
from typing import Any

import aiosql
import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier, Literal

from crypto.roles import Role
from domain.errors import SettingsWrong
from domain.ids import TenantId

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/analysts.sql").read_text(), "psycopg", mandatory_parameters=False
)

#: What the role `..._summaries` reads, in the order in which it is shown.
SUMMARIES = ("freshness", "tickets_by", "durations_by", "ratings_by")
#: What the role `..._rows` reads besides.
ROWS = ("ticket_rows",)

#: PostgreSQL cuts a longer name off, and would take another role for it.
NAME_BYTES = 63

#: What the keeper may do there: see that nothing is left, and see to it.
_EMPTIES = (
    "GRANT USAGE ON SCHEMA {schema} TO {keeper}",
    "GRANT SELECT, DELETE ON ALL TABLES IN SCHEMA {schema} TO {keeper}",
)

UNPUBLISHED = "Nothing is published yet; do that with: sealdesk analysts refresh"


def schema(tenant: TenantId) -> str:
    """Name the schema of a tenant."""
    return f"analysts_{tenant.hex[:12]}"


def roles(tenant: TenantId) -> tuple[str, str]:
    """Name the roles of a tenant: who reads the summaries, and who reads the rows as well."""
    return f"{schema(tenant)}_summaries", f"{schema(tenant)}_rows"


def shape(connection: Connection[Any], tenant: TenantId) -> str | None:
    """Read what the schema of a tenant was made from; None if it or one of its roles is not there."""
    parameters = {"schema": schema(tenant), "roles": list(roles(tenant))}
    row = connection.execute(STATEMENTS.shape.sql, parameters).fetchone()
    return None if row is None else row[0]


def make(connection: Connection[Any], tenant: TenantId) -> None:
    """Make schema, tables and roles, unless they are what this version would make."""
    made_from = repr((STATEMENTS.create.sql, STATEMENTS.declare_words.sql, SUMMARIES, ROWS, _EMPTIES, Role.KEEPER))
    expected = sha256(made_from.encode()).hexdigest()[:16]
    if shape(connection, tenant) == expected:
        return
    name, (summaries, rows) = Identifier(schema(tenant)), map(Identifier, roles(tenant))
    connection.execute(STATEMENTS.lock_rights.sql)
    for role in (summaries, rows):
        connection.execute(SQL(STATEMENTS.create_role.sql).format(role=role))
    connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
    connection.execute(SQL("CREATE SCHEMA {}").format(name))
    connection.execute(STATEMENTS.create.sql)
    # Whoever closes a tenant empties its publication. The schema stays the owner's, since its owner decides what runs.
    for statement in _EMPTIES:
        connection.execute(SQL(statement).format(schema=name, keeper=Identifier(Role.KEEPER)))
    connection.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}, {}").format(name, summaries, rows))
    for table in (*SUMMARIES, "dictionary"):
        connection.execute(SQL("GRANT SELECT ON {} TO {}, {}").format(Identifier(table), summaries, rows))
    for table in ROWS:
        connection.execute(SQL("GRANT SELECT ON {} TO {}").format(Identifier(table), rows))
    connection.execute(SQL("COMMENT ON SCHEMA {} IS {}").format(name, Literal(expected)))


def drop(connection: Connection[Any], tenant: TenantId) -> None:
    """Drop schema and roles of a tenant, as far as they are there. The connection is in autocommit mode.

    Who does not own the schema empties its tables, and the owner's next publication of anything drops it.
    """
    try:
        _drop(connection, schema(tenant))
    except psycopg.errors.InsufficientPrivilege:
        for table in (*SUMMARIES, *ROWS):
            connection.execute(SQL("DELETE FROM {}").format(Identifier(schema(tenant), table)))


def drop_emptied(connection: Connection[Any]) -> None:
    """Drop every schema that a closing has emptied, with its roles, as the owner. In autocommit mode."""
    connection.execute(STATEMENTS.lock_rights.sql)
    for (name,) in connection.execute(STATEMENTS.schemas.sql).fetchall():
        fresh = SQL("SELECT EXISTS (SELECT FROM {})").format(Identifier(name, "freshness"))
        if connection.execute(fresh).fetchone() == (False,):
            _drop(connection, name)


def _drop(connection: Connection[Any], name: str) -> None:
    connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(name)))
    for role in (f"{name}_summaries", f"{name}_rows"):
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
            # What one may not drop can read nothing any more.
            unable = (psycopg.errors.InsufficientPrivilege, psycopg.errors.DependentObjectsStillExist)
            with suppress(*unable), connection.transaction():
                connection.execute(SQL("DROP OWNED BY {}").format(Identifier(role)))
                connection.execute(SQL("DROP ROLE {}").format(Identifier(role)))


def confine(connection: Connection[Any], tenant: TenantId) -> None:
    """Take from everybody what the roles would have through it.

    Raises:
        SettingsWrong: a role can still do something beyond reading its own schema.
    """
    if not _beyond(connection, tenant):
        return
    connection.execute(STATEMENTS.lock_rights.sql)
    connection.execute(SQL(STATEMENTS.close.sql).format(database=Identifier(connection.info.dbname)))
    if found := _beyond(connection, tenant):
        raise SettingsWrong(
            f"Nothing was published: the analysts' roles could also {', '.join(found)}. "
            "Revoke that, as the owner of the log database."
        )


def _beyond(connection: Connection[Any], tenant: TenantId) -> list[str]:
    given = [{"schema": schema(tenant), "role": role} for role in roles(tenant)]
    return sorted({row[0] for one in given for row in connection.execute(STATEMENTS.beyond.sql, one)})


def grant(connection: Connection[Any], tenant: TenantId, login: str, *, rows: bool, dry_run: bool) -> str:
    """Let a login role read what is published. Returns the statement that does it.

    Raises:
        SettingsWrong: nothing was published yet, there is no such role, or it is a superuser, who needs no grant.
    """
    if not login or "\0" in login or len(login.encode()) > NAME_BYTES:
        raise SettingsWrong(f"The name of a database role has 1 to {NAME_BYTES} bytes.")
    statement = SQL("GRANT {} TO {}").format(Identifier(roles(tenant)[int(rows)]), Identifier(login))
    if shape(connection, tenant) is None:
        raise SettingsWrong(UNPUBLISHED)
    found = connection.execute(STATEMENTS.login.sql, {"login": login}).fetchone()
    if found is None:
        raise SettingsWrong("The log database has no role of that name. Make it first: CREATE ROLE ... LOGIN.")
    if found[0]:
        raise SettingsWrong("That role is a superuser: it reads everything, and is none for an analyst.")
    if not dry_run:
        connection.execute(statement)
    return f"{statement.as_string(connection)};"


@contextmanager
def explained() -> Iterator[None]:
    """Say what to do where the database user lacks a right."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege:
        raise SettingsWrong(
            "The user of SEALDESK_LOG_DSN may not do that in the log database. It has to own the database and to have "
            "CREATEROLE."
        ) from None
