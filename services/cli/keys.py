"""`keys`: the pairs of keys to which publishers seal."""

from __future__ import annotations

import typer

from crypto.halves import PublicHalf, write_half
from crypto.pairs import Pair
from services.cli.entering import entered
from services.cli.options import Data, Json, Tenant
from services.cli.printing import table, write_json, write_line, write_sorted
from services.wiring import now

commands = typer.Typer(
    help="Root epochs, whether every key is what it should be, and the pairs to which publishers seal."
)
pair_commands = typer.Typer(help="Pairs of keys: publishers seal to the public half, and the desk opens.")
commands.add_typer(pair_commands, name="pair")


@commands.command("public")
def public(tenant: Tenant = None, data: Data = None) -> None:
    """Write the public half of the current pair as a signed file, for publishers. The first use makes the pair.

    Give publishers certificate.pub, from the folder of SEALDESK_SIGNING, on another way: with it they check the file.

    Example:

        sealdesk keys public --tenant acme > desk.pub.json
    """
    with entered(data) as house:
        account = house.tenants.named(tenant)
        pair = house.pairs.current(account.id, at=now())
        half = write_half(PublicHalf(account.name, pair.number, pair.public, pair.made_at), house.signing)
    write_sorted(half)


@pair_commands.command("turn")
def turn(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """Make the next pair of a tenant. Publishers have a week to fetch its public half.

    The private half of the pair before it dies once the week is over and no topic holds what was published until then.

    Example:

        sealdesk keys pair turn --tenant acme
    """
    with entered(data) as house:
        account = house.tenants.named(tenant)
        pair = house.pairs.turn(account.id, at=now())
    if json:
        write_json(_shown(pair))
        return
    write_line(f"the current pair is {pair.number}; give publishers the file of: sealdesk keys public")


@pair_commands.command("list")
def list_(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """List the pairs of a tenant: the current one, those that still open what is on its way, and those that are gone.

    Example:

        sealdesk keys pair list --json
    """
    with entered(data) as house:
        account = house.tenants.named(tenant)
        rows = [_shown(pair) for pair in house.pairs.listed(account.id)]
    if json:
        write_json(rows)
        return
    columns = ("epoch", "state", "made_at", "superseded_at", "gone_at", "waits_for")
    table(columns, [[row[column] for column in columns] for row in rows], spare=("made_at", "gone_at"))


def _shown(pair: Pair) -> dict[str, object]:
    times = {"made_at": pair.made_at, "superseded_at": pair.superseded_at, "gone_at": pair.gone_at}
    said = {name: None if at is None else at.isoformat(timespec="seconds") for name, at in times.items()}
    return {"epoch": pair.number, "state": pair.state, **said, "waits_for": pair.waits_for}
