"""`analysts`: publish what analysts may read, look at it, let somebody read it, and change the agents' pseudonyms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from services.analysts.roles import roles, schema
from services.cli.entering import entered
from services.cli.options import Data, Json, Tenant
from services.cli.printing import table, tell, write_json, write_line

commands = typer.Typer(
    help="What analysts read: counts and durations without people, in a schema and with database roles of their own."
)


@commands.command("refresh")
def refresh(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """Publish anew, from everything that is on the log now. Readers see the old tables until they see the new ones.

    No group of fewer than SEALDESK_FOLD tickets is told. Once a day keeps it fresh; more often tells what changed
    between two times, which may be a single ticket.

    Example:

        sealdesk analysts refresh
    """
    with entered(data) as house:
        account = house.tenants.named(tenant).id
        freshness = house.analysts.refresh(account)
    _write_published(freshness, schema(account), json)


@commands.command("rotate")
def rotate(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """Give every agent a new pseudonym, and publish anew. The secret behind the old ones is destroyed.

    Whoever kept an old publication can no longer tell by the pseudonyms who is who in the new one.

    Example:

        sealdesk analysts rotate
    """
    with entered(data) as house:
        account = house.tenants.named(tenant).id
        freshness = house.analysts.rotate(account)
    _write_published(freshness, schema(account), json)


@commands.command("show")
def show(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """Show the summaries as they were last published, and how old they are.

    Example:

        sealdesk analysts show --json
    """
    with entered(data) as house:
        published = house.analysts.published(house.tenants.named(tenant).id)
    if json:
        write_json(published)
        return
    freshness = published.pop("freshness")
    for name, rows in published.items():
        headings = list(rows[0]) if rows else []
        table(headings, [list(row.values()) for row in rows], title=name)
    _write_freshness(freshness)
    if freshness["stale"]:
        tell("this is stale; publish anew with: sealdesk analysts refresh")


@commands.command("grant")
def grant(
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="A login role of the log database.")],
    rows: Annotated[
        bool, typer.Option("--rows", help="Also the table with one row a ticket, without ids, durations rounded.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the statement.")] = False,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Let somebody read what is published: the summaries, with --rows the rows as well. Prints the statement.

    The login is made in the database first: CREATE ROLE ... LOGIN. A REVOKE of the same takes it back.

    Examples:

        sealdesk analysts grant mira

        sealdesk analysts grant mira --rows --dry-run
    """
    with entered(data) as house:
        account = house.tenants.named(tenant).id
        statement = house.analysts.grant(account, login, rows=rows, dry_run=dry_run)
    if json:
        write_json({"statement": statement, "role": roles(account)[int(rows)], "done": not dry_run})
        return
    write_line(statement)


def _write_published(freshness: Mapping[str, Any], name: str, json: bool) -> None:
    if json:
        write_json({"schema": name, **freshness})
        return
    write_line(f"published in the schema {name}")
    _write_freshness(freshness)


def _write_freshness(freshness: Mapping[str, Any]) -> None:
    write_line(f"as of {freshness['as_of']:%Y-%m-%d %H:%M} UTC, up to position {freshness['position']}")
    write_line(f"fresh until {freshness['stale_at']:%Y-%m-%d %H:%M} UTC")
    write_line(f"groups of fewer than {freshness['k']} tickets are in 'other'")
