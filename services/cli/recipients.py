"""`recipients`: who is told what was erased, rectified or restricted, and who has acknowledged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypto.recipients import WANTED
from domain.errors import SettingsWrong
from services.cli.entering import entered
from services.cli.options import Data, Json, Tenant
from services.cli.printing import table, tell, write_json, write_line
from services.recipients import STATES

commands = typer.Typer(help="Recipients: who is told what was erased, rectified or restricted (Article 19 GDPR).")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The recipient.")]

_TOLD = ("recipient", "kind", "at", "records", "sent", "acknowledged", "state", "answered", "deadline")


@commands.command("add")
def add(
    name: Name,
    kinds: Annotated[
        str, typer.Option("--kinds", metavar="KIND,...", help=f"What it is told: {', '.join(WANTED)}; all by default.")
    ] = ",".join(WANTED),
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="PUBLIC.pem",
            help="Seal its news to this X25519 key, so that nobody else can read the topic.",
            show_default=False,
        ),
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Tell one more recipient from now on. Prints the secret that it signs its answers with, this once.

    How a recipient reads its news and answers: docs/recipients.md.

    Example:

        sealdesk recipients add crm --kinds erased,rectified --key crm.pem > crm.secret
    """
    wanted = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    try:
        public_key = None if key is None else key.read_bytes()
    except OSError as error:
        raise SettingsWrong(f"--key: {key} cannot be read ({error.strerror}).") from error
    with entered(data) as house:
        account = house.tenants.named(tenant).id
        secret = house.recipients.add(account, name, wanted, public_key).hex()
    if json:
        write_json({"name": name, "secret": secret})
        return
    tell("hand this secret over to the recipient; it is not shown again")
    write_line(secret)


@commands.command("remove")
def remove(name: Name, tenant: Tenant = None, data: Data = None) -> None:
    """Tell a recipient nothing more, and wait for no answer of it. That it was told stays known.

    Example:

        sealdesk recipients remove crm
    """
    with entered(data) as house:
        house.recipients.remove(house.tenants.named(tenant).id, name)
    write_line(f"{name} is told nothing more")


@commands.command("list")
def list_all(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """List recipients with how much of their news is acknowledged, overdue, or waits.

    Example:

        sealdesk recipients list --json
    """
    with entered(data) as house:
        found = house.recipients.all(house.tenants.named(tenant).id)
    if json:
        write_json(found)
        return
    names = ("name", "kinds", "sealed", *STATES, "added", "removed")
    table(names, [[one[name] for name in names] for one in found], spare=("added", "removed", "kinds"))


@commands.command("show")
def show(name: Name, tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """List what one recipient was told, and what it answered. The ids themselves are in no list.

    Example:

        sealdesk recipients show crm
    """
    with entered(data) as house:
        found = house.recipients.show(house.tenants.named(tenant).id, name)
    if json:
        write_json(found)
        return
    table(_TOLD, [[one[name] for name in _TOLD] for one in found])


@commands.command("resend")
def resend(name: Name, tenant: Tenant = None, data: Data = None) -> None:
    """Send a recipient once more what it has not acknowledged, as long as its ids are kept.

    For one that was away for longer than the topic keeps its records; 'sealdesk keep' or 'up' sends them.

    Example:

        sealdesk recipients resend crm
    """
    with entered(data) as house:
        count = house.recipients.send_again(house.tenants.named(tenant).id, name)
    write_line(f"{count} records are sent again")


@commands.command("told")
def told(
    certificate: Annotated[str, typer.Argument(metavar="CERTIFICATE_ID", help="The `certificate_id` of a shred.")],
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List who was told of one shred: the person may ask for that (Article 19 GDPR).

    Example:

        sealdesk recipients told 0b9c5a52-6b6e-4d8a-b1a4-0c6ad6f3b8c1
    """
    with entered(data) as house:
        found = house.recipients.told(house.tenants.named(tenant).id, certificate)
    if json:
        write_json(found)
        return
    table(_TOLD, [[one[name] for name in _TOLD] for one in found])
