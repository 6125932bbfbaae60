"""`rights`: which database role may do what, which logins may take it, and letting a login take one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from crypto.roles import Role
from domain.errors import SettingsWrong
from services import rights, schema
from services.cli.migrating import databases_of
from services.cli.options import Data, Json
from services.cli.printing import table, write_json, write_line
from services.logins import provide, read_logins
from services.settings import keys_dsn_of, log_dsn_of

commands = typer.Typer(help="Who may do what in the two databases: roles, and the logins that may take them.")


@contextmanager
def _served(data: Path | None) -> Iterator[dict[schema.Schema, str]]:
    """Find the databases of an installation whose processes have logins of their own.

    Raises:
        SettingsWrong: they are those of a data folder. Whoever starts there is the owner and does everything; a login
            for the projector would make all of them leave the read models to a process that never comes.
    """
    if log_dsn_of() is None and keys_dsn_of() is None:
        raise SettingsWrong(
            "Logins are for databases that somebody else runs: set SEALDESK_LOG_DSN and SEALDESK_KEYS_DSN. In a data "
            "folder whoever starts does everything as the owner."
        )
    with databases_of(data) as databases:
        yield databases


@commands.command("show")
def show(json: Json = False, data: Data = None) -> None:
    """Show what each role may do with each table, and which logins may take it. Superusers may do everything.

    Example:

        sealdesk rights show
    """
    logins: dict[str, list[dict[str, str]]] = {}
    with databases_of(data, make=False) as databases:
        for one, dsn in databases.items():
            with schema.connected(one, dsn) as connection:
                logins[one.what] = [{"login": login, "role": role} for login, role in rights.who(connection)]
    declared = {"log": rights.LOG, "keys": rights.KEYS}
    if json:
        may = {
            which: {table_: {str(role): said for role, said in given.items()} for table_, given in tables.items()}
            for which, tables in declared.items()
        }
        write_json({"may": may, "logins": logins})
        return
    for which, tables in declared.items():
        rows = [(name, role.short, given[role]) for name, given in tables.items() for role in Role if role in given]
        table((which, "role", "may"), rows, whole=True)
    for which, found in logins.items():
        table((f"login ({which})", "may be"), [(row["login"], row["role"]) for row in found], whole=True)


@commands.command("grant")
def grant(
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="A login of the databases, the same name in both.")],
    to: Annotated[
        str, typer.Option("--to", metavar="ROLE", help=f"What it may be: {', '.join(role.short for role in Role)}.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the statements.")] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    """Let a login of the databases be intake, projector, reader or keeper. Prints the statements.

    The login is made in each database first: CREATE ROLE ... LOGIN. A REVOKE of the same takes it back. A keeper may be
    intake and reader as well; a projector needs no login in the key database.

    Examples:

        sealdesk rights grant sealdesk_consume --to intake

        sealdesk rights grant sealdesk_consume --to intake --dry-run
    """
    roles = {role.short: role for role in Role}
    if to not in roles:
        raise SettingsWrong(f"--to is one of {', '.join(roles)}.")
    done: list[dict[str, object]] = []
    with _served(data) as databases, ExitStack() as stack:
        ways = {one: stack.enter_context(schema.connected(one, dsn)) for one, dsn in databases.items()}
        # Both are asked before anything is granted in one of them.
        for one, connection in ways.items():
            rights.let(connection, one.what, login, roles[to], dry_run=True)
        for one, connection in ways.items():
            statement = rights.let(connection, one.what, login, roles[to], dry_run=dry_run)
            if statement is not None:
                done.append({"database": one.what, "statement": statement, "done": not dry_run})
    if json:
        write_json(done)
        return
    for row in done:
        write_line(f"{row['statement']} -- in the {row['database']} database")


@commands.command("logins")
def logins(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Which logins there are to be.")],
    json: Json = False,
    data: Data = None,
) -> None:
    """Make the logins of an installation in both databases, set their passwords, and let each be what the file says.

    It is run by the owner, as sealdesk migrate is, and may be run again: a changed password file changes the password.
    A login that the file no longer names is left as it is.

    Example:

        sealdesk rights logins deploy/logins.toml
    """
    wanted = read_logins(file)
    made: dict[str, list[str]] = {}
    with _served(data) as databases:
        for one, dsn in databases.items():
            with schema.connected(one, dsn) as connection:
                made[one.what] = provide(connection, one.what, wanted)
    if json:
        write_json(made)
        return
    for which, names in made.items():
        write_line(f"{which}: {', '.join(names)}")
