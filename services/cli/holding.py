"""`hold`: what forbids the shred of a person or a thing, until somebody lifts it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from domain.errors import SettingsWrong
from domain.personal import Kind, Reference
from services.cli.asking import found, one_line, thing_reference, whole_text
from services.cli.entering import entered
from services.cli.options import Data, Email, Json, Tenant
from services.cli.printing import table, write_json, write_line

commands = typer.Typer(help="Holds: what must not be shredded, and why.")

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why; it is sealed. '-' reads standard input.")]


def _id(name: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(f"--{name}", metavar="ID", help=f"The {name}.", show_default=False)
    return option


@commands.command("add")
def add(
    why: Why,
    thing: Annotated[
        str | None,
        typer.Argument(metavar="THING", help="What it is and its id: 'call 5', 'topic 3', ...", show_default=False),
    ] = None,
    contact: Annotated[str | None, _id("contact")] = None,
    agent: Annotated[str | None, _id("agent")] = None,
    ticket: Annotated[str | None, _id("ticket")] = None,
    email: Email = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Forbid the shred of a person or a thing: whatever 'sealdesk shred' can take.

    Examples:

        sealdesk hold add --contact 432 --why "court case 12/2026"

        sealdesk hold add "call 5" --why "court case 12/2026"
    """
    given = [(kind, text) for kind, text in _given(contact, agent, ticket, email) if text is not None]
    if len(given) + (thing is not None) != 1:
        raise SettingsWrong(
            "Say what to hold: one of --contact ID, --agent ID, --ticket ID, --email ADDRESS and a THING like 'call 5'."
        )
    wanted = thing_reference(thing) if thing is not None else Reference(given[0][0], one_line(given[0][1], "reference"))
    reason = _said(why)
    with entered(data) as house:
        account = house.tenants.named(tenant).id
        target = found(house, account, wanted, must_be_agent=agent is not None)
        hold = house.holds.add(account, target, actor=house.settings.actor, why=reason)
    if json:
        write_json({"hold": str(hold), "target": str(target.id)})
    else:
        write_line(str(hold))


@commands.command("release")
def release(
    hold: Annotated[str, typer.Argument(metavar="HOLD", help="The id of the hold.")],
    why: Why,
    tenant: Tenant = None,
    data: Data = None,
) -> None:
    """Lift a hold.

    Example:

        sealdesk hold release 0b9c5a52-6b6e-4d8a-b1a4-0c6ad6f3b8c1 --why "the case is closed"
    """
    try:
        id_ = UUID(hold)
    except ValueError:
        raise SettingsWrong("HOLD is an id as 'sealdesk hold list' shows it.") from None
    reason = _said(why)
    with entered(data) as house:
        house.holds.release(house.tenants.named(tenant).id, id_, actor=house.settings.actor, why=reason)
    write_line(f"hold {id_} is lifted")


@commands.command("list")
def list_all(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """List the holds that stand: what is held, since when, by whom and why.

    Example:

        sealdesk hold list --json
    """
    with entered(data) as house:
        holds = house.holds.list(house.tenants.named(tenant).id)
    if json:
        write_json(holds)
        return
    names = ("hold", "target", "since", "actor", "why")
    table(names, [[hold.get(name) for name in names] for hold in holds])


def _given(
    contact: str | None, agent: str | None, ticket: str | None, email: str | None
) -> tuple[tuple[Kind, str | None], ...]:
    return (Kind.PERSON, contact), (Kind.PERSON, agent), (Kind.TICKET, ticket), (Kind.EMAIL, email)


def _said(why: str) -> str:
    reason = whole_text(why, "reason") or ""
    if not reason.strip():
        raise SettingsWrong("Say why: --why TEXT.")
    return reason
