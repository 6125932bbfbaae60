"""The logins of an installation, made from a file: what each may be, and where its password lies.

```toml
[consume]
may_be = "intake"
password_file = "/run/secrets/consume-password"
```

Rule: a password is never sent. What goes to the server is its SCRAM verifier (RFC 5802), made here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier, Literal

from crypto.roles import Role
from domain.errors import SettingsWrong
from services import rights

_WHAT = "Each table of the file is a login, with may_be = intake|projector|reader|keeper and password_file."


@dataclass(frozen=True, slots=True)
class Wanted:
    """A login: its name in both clusters, what it may be, and the file of its password, None where it needs none."""

    name: str
    role: Role
    password_file: Path | None


def read_logins(path: Path) -> list[Wanted]:
    """Read which logins there are to be.

    Raises:
        SettingsWrong: the file cannot be read, or says something else.
    """
    try:
        said = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise SettingsWrong(f"{path} cannot be read, or is no TOML.") from None
    if not said:
        raise SettingsWrong(f"{path} names no login. {_WHAT}")
    roles = {role.short: role for role in Role}
    logins: list[Wanted] = []
    for name, one in said.items():
        if not isinstance(one, dict) or one.keys() - {"may_be", "password_file"} or one.get("may_be") not in roles:
            raise SettingsWrong(f"{path}, login {name}: {_WHAT}")
        if name in (*Role,):
            raise SettingsWrong(f"{path}, login {name}: a login cannot be called as a role is.")
        file = one.get("password_file")
        logins.append(Wanted(name, roles[one["may_be"]], None if file is None else Path(file)))
    return logins


def provide(connection: Connection[Any], which: str, logins: list[Wanted]) -> list[str]:
    """Make the logins that are missing in one cluster, set their passwords, and let each take its role and no other.

    Returns the names of those that this database lets in.

    Raises:
        SettingsWrong: this user may not make logins, a password file cannot be read, or a login is a superuser.
    """
    made: list[str] = []
    try:
        with connection.transaction():
            connection.execute(rights.STATEMENTS.lock.sql)
            for one in logins:
                if one.role in rights.ENTER[which]:
                    _make(connection, which, one)
                    made.append(one.name)
                else:
                    _take_back(connection, which, one)
    except psycopg.errors.InsufficientPrivilege:
        raise SettingsWrong(
            f"The user of the {which} database may not make logins: it has to have CREATEROLE."
        ) from None
    return made


def _make(connection: Connection[Any], which: str, one: Wanted) -> None:
    name = Identifier(one.name)
    found = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", (one.name,)).fetchone()
    if found is None:
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(name))
    elif found[0]:
        raise SettingsWrong(f"The login {one.name} is a superuser, whom no role confines: choose another name.")
    if one.password_file is not None:
        verifier = connection.pgconn.encrypt_password(_password(one), one.name.encode(), b"scram-sha-256")
        connection.execute(SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, Literal(verifier.decode())))
    _take_back(connection, which, one)
    rights.let(connection, which, one.name, one.role, dry_run=False)
    may = {one.role, *(rights.KEEPERS_TOO if one.role is rights.KEEPER else ())}
    if any(login == one.name and role not in may for login, role in rights.who(connection)):
        raise SettingsWrong(
            f"The login {one.name} may be more in the {which} database than the file says, through another role of the "
            "cluster: revoke that one from it (sealdesk rights show)."
        )


def _take_back(connection: Connection[Any], which: str, one: Wanted) -> None:
    """Take every role from a login that is not its own, also where its own has nothing to do with the database."""
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (one.name,)).fetchone() is None:
        return
    for role in rights.ENTER[which]:
        if role is not one.role:
            connection.execute(SQL("REVOKE {} FROM {}").format(Identifier(role), Identifier(one.name)))


def _password(one: Wanted) -> bytes:
    assert one.password_file is not None
    try:
        password = one.password_file.read_bytes().rstrip(b"\r\n")
    except OSError:
        password = b""
    if not password:
        raise SettingsWrong(f"The password file of the login {one.name}, {one.password_file}, is empty or unreadable.")
    return password
