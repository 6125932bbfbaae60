"""The roles under which a process works in the databases, and how a connection takes one.

A role is a group without a login: an operator makes logins, and lets each take what its process needs. A connection
takes its role while it is made, so that nothing in a pool is ever without one, and no reset takes it away.

```
sealdesk_intake      appends facts, issues keys and references; destroys nothing
sealdesk_projector   reads facts, owns the read models; has nothing to do with the key database
sealdesk_reader      reads and opens; writes nothing but that it did
sealdesk_keeper      shreds, keeps, purges, turns; it may work as intake and as a reader as well
```

What each may is declared in `services.rights`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import Connection, Cursor
from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Role(StrEnum):
    """A database role, by its name in the cluster."""

    INTAKE = "sealdesk_intake"
    PROJECTOR = "sealdesk_projector"
    READER = "sealdesk_reader"
    KEEPER = "sealdesk_keeper"

    @property
    def short(self) -> str:
        """Name it as commands do: `intake`."""
        return self.value.removeprefix("sealdesk_")


#: From the one that may most to the one that may least.
BY_POWER = (Role.KEEPER, Role.READER, Role.INTAKE, Role.PROJECTOR)


#: Whoever may make a schema could put tables of the same names in the way: one that is called as a login is comes first
#: in PostgreSQL's own search path. And where somebody's policy would hide rows, reading is an error.
_CONFINED = "-c search_path=public -c row_security=off"


def confined(dsn: str) -> str:
    """Give a DSN whose connections look for tables in `public` alone, whatever else it, or the server, says.

    https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATTERNS
    """
    said = conninfo_to_dict(dsn).get("options")
    return make_conninfo(dsn, options=f"{said} {_CONFINED}" if said else _CONFINED)


def as_role(dsn: str, role: Role | None) -> str:
    """Give a DSN whose connections take a role while they are made; with None they are what their login is.

    It stands with the other options of the DSN, so RESET ALL and DISCARD ALL come back to it:
    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS
    """
    if role is None:
        return dsn
    said = conninfo_to_dict(dsn)
    options = f"{said['options']} -c role={role}" if said.get("options") else f"-c role={role}"
    # The server shows the login of a connection, and not the role that it took; so it says that itself.
    return make_conninfo(dsn, options=options, application_name=said.get("application_name") or str(role))


@dataclass(frozen=True, slots=True)
class Login:
    """What a login may be in one database: whether it owns it, and which roles it may take there."""

    owns: bool
    roles: frozenset[Role]


def login_of(connection: Connection[Any]) -> Login:
    """Ask whom a connection may work as. A database without the roles knows of none."""
    row = connection.execute(
        "SELECT pg_has_role(session_user, (SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE')"
        ", ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname = ANY(%s) AND pg_has_role(session_user, oid, 'SET'))",
        ([*Role],),
    ).fetchone()
    owns, roles = row.values() if isinstance(row, dict) else row or (False, [])
    return Login(owns, frozenset(map(Role, roles)))


@contextmanager
def acting(cursor: Cursor[Any], role: Role | None, back: Role | None) -> Iterator[None]:
    """Do a part of a transaction as another role that the login may take; its end, or an error, ends that."""
    if role is None:
        yield
        return
    _take(cursor, role)
    yield
    # After an error there is no transaction any more, and with it went the role.
    _take(cursor, back)


def _take(cursor: Cursor[Any], role: Role | None) -> None:
    cursor.execute(f"SET LOCAL ROLE {role or 'NONE'}".encode())


def refused(role: Role | None, database: str) -> str:
    """Say what to do where the database refused what a role, or a login without one, may not do."""
    who = f"as {role}" if role is not None else "with this login"
    return (
        f"the {database} database refused what may not be done {who}. Run this command with a login that has the role "
        "for it (sealdesk rights show), or bring the rights up to date, as the owner: sealdesk migrate"
    )


#: What a server raises where a right is missing.
LACKING = psycopg.errors.InsufficientPrivilege
