"""`quarantine`: what could not be taken, without opening it; and to show, to replay or to drop it.

Rule: what names no known tenant, or one that its topic may not bring, is seen with --unclaimed only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from domain.errors import SettingsWrong
from domain.ids import HOUSE, TenantId
from services.cli.entering import entered, settle
from services.cli.listing import After, Limit, most
from services.cli.listing import show as show_rows
from services.cli.options import Data, Json, Tenant
from services.cli.printing import table, tell, write_json, write_line, write_rows
from services.csv_map import read_map
from services.csv_rows import replayed_row
from services.kafka.admission import admission_of
from services.outcomes import Tally
from services.publishing.opening import Opening
from services.quarantine import Choice, Opened
from services.reading import Reveal
from services.records import Parcel, parcel_of
from services.sealed import OpenSealed, parcel_sealed, sealed_in
from services.wiring import House, now

commands = typer.Typer(help="The quarantine: records that could not be taken. They end after SEALDESK_QUARANTINE_DAYS.")

Record = Annotated[str, typer.Argument(metavar="RECORD", help="The id of a record; see: sealdesk quarantine list")]
Records = Annotated[list[str] | None, typer.Argument(metavar="[RECORD...]", help="The ids of records.")]
Codes = Annotated[
    list[str] | None,
    typer.Option("--code", metavar="CODE", help="Only with this reason; may be given again.", show_default=False),
]
Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", metavar="NAME", help="Only from this topic; may be given again.", show_default=False),
]
Unclaimed = Annotated[
    bool, typer.Option("--unclaimed", help="Those that name no known tenant, or one that their topic may not bring.")
]

_COLUMNS = ("record", "code", "path", "at", "gone_by", "topic", "partition", "offset", "waits")
_SUMMARY = ("code", "path", "topic", "records", "oldest", "newest")


@dataclass(frozen=True, slots=True)
class _Account:
    """Under whom records lie: a tenant, or without a name the house."""

    id: TenantId
    name: str | None


@commands.command("list")
def list_(
    codes: Codes = None,
    topics: Topics = None,
    unclaimed: Unclaimed = False,
    summary: Annotated[bool, typer.Option("--summary", help="Only count them, by code, field and topic.")] = False,
    limit: Limit = None,
    after: After = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List what is in the quarantine: why, in which field, since when, until when, from where. Nothing is opened.

    Example:

        sealdesk quarantine list --code not_json --json
    """
    choice = Choice(codes=codes, topics=topics)
    with entered(data) as house:
        account = _account(house, tenant, unclaimed)
        if summary:
            _write_summary(house.quarantine.summary(account.id, choice), json)
            return
        behind = None if after is None else _id(after)
        rows = house.quarantine.listed(account.id, choice, limit=most(limit, json), after=behind)
        show_rows(rows, _COLUMNS, _cells, limit=limit, json=json, spare=("path", "gone_by"))
        if json:
            return
        others = 0 if unclaimed else house.quarantine.count_unclaimed()
    if others:
        tell(f"{others} more name no known tenant, or one that their topic may not bring; see them with --unclaimed")


@commands.command("show")
def show(
    record: Record,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Why you have to see it; it is sealed.")],
    unclaimed: Unclaimed = False,
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
        account = _account(house, tenant, unclaimed)
        found = _id(record)
        house.reading.leave_access_line(account.id, "quarantine", [found], Reveal(house.settings.actor, why))
        raw = house.quarantine.show(account.id, found)
    sys.stdout.buffer.write(raw + b"\n")


@commands.command("drop")
def drop(
    records: Records = None,
    codes: Codes = None,
    topics: Topics = None,
    unclaimed: Unclaimed = False,
    yes: Annotated[bool, typer.Option("--yes", help="Drop all that --code and --topic choose.")] = False,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Destroy records and their keys: those with these ids, or with --yes all of a code or a topic.

    Example:

        sealdesk quarantine drop --code not_json --topic acme.records --yes
    """
    choice = _choice(records, codes, topics)
    if not (records or codes or topics):
        raise SettingsWrong("Say which: the ids of records, or --code or --topic with --yes.")
    with entered(data) as house:
        account = _account(house, tenant, unclaimed)
        if not (records or yes):
            many = sum(row["records"] for row in house.quarantine.summary(account.id, choice))
            raise SettingsWrong(f"This would destroy {many} records for good; say so with --yes.")
        dropped = house.quarantine.drop(account.id, choice)
    if json:
        write_json({"dropped": dropped})
    else:
        write_line(f"dropped: {dropped}")


@commands.command("replay")
def replay(
    records: Records = None,
    codes: Codes = None,
    topics: Topics = None,
    unclaimed: Unclaimed = False,
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="MAP.toml", help="The map, for rows that came from a CSV file.")
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Take records once more, after a tenant, a vocabulary, a map or SEALDESK_TOPICS was put right; by default all.

    Whether the topic of a record may bring it is judged again. A sealed record is opened, if its pair is there by now.

    Example:

        sealdesk quarantine replay --code wrong_tenant --unclaimed
    """
    total = Tally()
    with entered(data) as house:
        account = _account(house, tenant, unclaimed)
        read = _reader(account, map_)
        for page in house.quarantine.opened_pages(account.id, _choice(records, codes, topics)):
            with Opening(house.pairs, house.tenants).batch() as open_sealed:
                parcels = [read(opened, open_sealed) for opened in page]
            replayed = [
                # What was opened just now does not stay as it lay.
                (opened.id, account.id if sealed_in(parcel.raw) or not sealed_in(opened.raw) else None, parcel)
                for opened, parcel in zip(page, parcels, strict=True)
            ]
            total += house.intake.replay(replayed, at=now()).tally
        settle(house)
    figures = asdict(total)
    if json:
        write_json(figures)
    else:
        write_line(", ".join(f"{count} {name}" for name, count in figures.items()))


def _reader(account: _Account, map_: Path | None) -> Callable[[Opened, OpenSealed], Parcel]:
    """Say how records are read again: rows with their map, records from Kafka as their topic may bring them.

    Sealed ones are opened, if they can be by now.
    """
    if map_ is not None:
        if (name := account.name) is None:
            raise SettingsWrong("Rows of a file belong to a tenant: --map does not go with --unclaimed.")
        mapping = read_map(map_)
        return lambda opened, _: replayed_row(mapping, opened.raw, name)
    admission = admission_of(os.environ)

    def read(opened: Opened, open_sealed: OpenSealed) -> Parcel:
        if opened.place is None:
            return parcel_of(opened.raw, account.name)
        if (sealed := sealed_in(opened.raw)) is not None:
            parcel = admission.admit(parcel_sealed(*sealed, opened.place, open_sealed))
        else:
            parcel = admission.admit(replace(parcel_of(opened.raw, None, opened.place), told_as=opened.told_as))
        # What says of no tenant that it is theirs stays where it lies.
        return replace(parcel, tenant=account.name) if parcel.tenant is None else parcel

    return read


def _account(house: House, tenant: str | None, unclaimed: bool) -> _Account:
    if not unclaimed:
        found = house.tenants.named(tenant)
        return _Account(found.id, found.name)
    if tenant is not None:
        raise SettingsWrong("What is unclaimed is of no tenant: --unclaimed does not go with --tenant.")
    return _Account(HOUSE, None)


def _choice(records: list[str] | None, codes: list[str] | None, topics: list[str] | None) -> Choice:
    return Choice(codes=codes or None, topics=topics or None, ids=[_id(record) for record in records or ()] or None)


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    return tuple(row[column] for column in _COLUMNS)


def _write_summary(rows: list[dict[str, Any]], json: bool) -> None:
    if json:
        write_rows(rows)
    else:
        table(_SUMMARY, [[row[column] for column in _SUMMARY] for row in rows], spare=("newest", "path"))


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise SettingsWrong("A record has an id like those of: sealdesk quarantine list") from None
