"""`quarantine`: what could not be taken, without opening it; and to show, to replay or to drop it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from domain.errors import SettingsWrong
from services.cli.entering import entered, settle
from services.cli.options import Data, Json, Tenant
from services.cli.printing import table, write_json, write_line
from services.csv_map import read_map
from services.csv_rows import replayed_row
from services.reading import Reveal
from services.records import Parcel, parcel_of
from services.wiring import now

commands = typer.Typer(help="The quarantine: records that could not be taken. They end after SEALDESK_QUARANTINE_DAYS.")

Record = Annotated[str, typer.Argument(metavar="RECORD", help="The id of a record; see: sealdesk quarantine list")]
Records = Annotated[list[str], typer.Argument(metavar="RECORD...", help="The ids of records.")]


@commands.command("list")
def list_(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """List what is in the quarantine: why, in which field, since when. Nothing is opened.

    Example:

        sealdesk quarantine list --json
    """
    with entered(data) as house:
        rows = house.quarantine.listed(house.tenants.named(tenant).id)
    if json:
        write_json(rows)
    else:
        columns = ("record", "code", "path", "at", "waits")
        table(columns, [[str(row[column]) for column in columns] for row in rows])


@commands.command("show")
def show(
    record: Record,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Why you have to see it; it is sealed.")],
    tenant: Tenant = None,
    data: Data = None,
) -> None:
    """Print one record as it came. This leaves an access line.

    Example:

        sealdesk quarantine show 0b5c... --why "the publisher asks what is wrong"
    """
    if not why.strip():
        raise SettingsWrong("Showing a record needs a reason: --why TEXT")
    with entered(data) as house:
        account = house.tenants.named(tenant).id
        found = _id(record)
        house.reading.leave_access_line(account, "quarantine", [found], Reveal(house.settings.actor, why))
        raw = house.quarantine.show(account, found)
    sys.stdout.buffer.write(raw + b"\n")


@commands.command("drop")
def drop(records: Records, tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """Destroy records and their keys.

    Example:

        sealdesk quarantine drop 0b5c...
    """
    with entered(data) as house:
        dropped = house.quarantine.drop(house.tenants.named(tenant).id, [_id(record) for record in records])
    if json:
        write_json({"dropped": dropped})
    else:
        write_line(f"dropped: {dropped}")


@commands.command("replay")
def replay(
    records: Annotated[list[str] | None, typer.Argument(metavar="[RECORD...]", help="Their ids; without, all.")] = None,
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="MAP.toml", help="The map, for rows that came from a CSV file.")
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Take records once more: after a tenant, a vocabulary or a map was put right.

    Example:

        sealdesk quarantine replay --map examples/support_tickets.toml
    """
    mapping = None if map_ is None else read_map(map_)
    with entered(data) as house:
        account = house.tenants.named(tenant)

        def read(raw: bytes) -> Parcel:
            return parcel_of(raw, account.name) if mapping is None else replayed_row(mapping, raw, account.name)

        wanted = None if not records else [_id(record) for record in records]
        opened = [(record, read(raw)) for record, raw in house.quarantine.opened(account.id, wanted)]
        tally = house.intake.replay(opened, at=now())
        settle(house)
    figures = {
        "read": tally.read,
        "stored": tally.stored,
        "duplicates": tally.duplicates,
        "refused": tally.refused,
        "quarantined": tally.quarantined,
    }
    if json:
        write_json(figures)
    else:
        write_line(", ".join(f"{count} {name}" for name, count in figures.items()))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise SettingsWrong("A record has an id like those of: sealdesk quarantine list") from None
