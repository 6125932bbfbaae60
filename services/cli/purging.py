"""`purge`: what lay in the trash for long enough, and what upstream deleted for good."""

from __future__ import annotations

from typing import Annotated

import typer

from domain.errors import ShredRefused
from services.cli.asking import agrees
from services.cli.entering import entered
from services.cli.options import Data, Json, Tenant
from services.cli.printing import table, tell, write_json, write_line
from services.cli.shredding import DryRun, Expect, Yes

commands = typer.Typer(help="Purge what lay in the trash for long enough, or what upstream deleted for good.")


@commands.command("list")
def list_due(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """List what would be purged now, and what waits for somebody to agree: upstream asked for it.

    Example:

        sealdesk purge list --json
    """
    with entered(data) as house:
        account = house.tenants.named(tenant)
        due = {found.id: "trash" if not account.trusts_purges else "due" for found in house.purging.due(account)}
        waits = {found.id: "waits" for found in house.purging.waiting(account)}
        kinds = {found.id: found.kinds[0] for found in house.purging.due(account, asked=True)}
    rows = [{"id": str(id_), "kind": kinds.get(id_), "because": why} for id_, why in (waits | due).items()]
    if json:
        write_json(rows)
        return
    table(("id", "kind", "because"), [list(row.values()) for row in rows])


@commands.command("run")
def run(
    asked: Annotated[
        bool, typer.Option("--asked", help="Agree to what upstream asked for, and purge that too.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Destroy the keys of what is due. Nobody can undo it; what is held stays.

    Examples:

        sealdesk purge run --dry-run

        sealdesk purge run --asked --yes --json
    """
    with entered(data) as house:
        account = house.tenants.named(tenant)
        due = house.purging.due(account, asked=asked)
        effect = house.purging.effect(due)
        if dry_run or not yes:
            tell(f"goes: {len(due)} things with {effect.facts} facts and {effect.files} files")
        if dry_run:
            if json:
                write_json(effect.as_dict())
            return
        if due and not yes and not agrees("Purge? Nobody can undo it."):
            tell("nothing was changed")
            raise typer.Exit(1)
        outcomes = house.purging.purge(account, due, actor=house.settings.actor, expect=expect)
    certificates = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    if json:
        write_json(certificates)
    else:
        write_line(f"purged: {len(certificates)} things")
    if held := len(outcomes) - len(certificates):
        tell(f"{held} are held, and stay")
        raise typer.Exit(ShredRefused.exit_status)
