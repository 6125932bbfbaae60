"""`import`: files of CloudEvents or CSV, or an export of Freshdesk, taken in batch by batch."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from domain.errors import SettingsWrong
from domain.personal import Reference
from services import reading_files
from services.cli.entering import entered, settle
from services.cli.options import Data, Json, Tenant
from services.cli.printing import Advance, progress, tell, write_json, write_line
from services.csv_map import CsvMap, read_map
from services.freshdesk import folder as freshdesk_files
from services.freshdesk.folder import Export
from services.freshdesk.objects import Told
from services.freshdesk.standing import standing
from services.intake import Tally
from services.records import Parcel, parcel_of
from services.tenants import Tenant as Account
from services.wiring import House, now


class Format(StrEnum):
    """How a file of records is written."""

    CLOUDEVENTS = "cloudevents"
    CSV = "csv"
    FRESHDESK = "freshdesk"


def import_file(
    file: Annotated[
        str,
        typer.Argument(
            help="The file, '-' for standard input; .gz is unpacked. For freshdesk, the folder of an export.",
            metavar="FILE",
        ),
    ],
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="By default csv for a name that ends so, freshdesk for a folder, else cloudevents.",
            show_default=False,
        ),
    ] = None,
    map: Annotated[
        Path | None,
        typer.Option("--map", metavar="MAP.toml", help="What the columns of a CSV file mean.", show_default=False),
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Take in a file of records: seal what is personal and store the rest beside it.

    The same file twice stores nothing twice. The first import into an empty folder creates the tenant that it names.

    A record that cannot be taken goes to the quarantine, sealed, and the import goes on.

    A record about somebody who was shredded is refused, counted and not kept.

    An export of Freshdesk is a folder of JSON arrays as the API lists them, any of: contacts.json, agents.json,
    companies.json, groups.json, tickets.json, conversations.json, topics.json, articles.json and so on. A list may be
    split, as in tickets_001.json or tickets/1.json. Of a newer export, what has changed is stored.

    Examples:

        sealdesk import examples/desk.jsonl --data ./desk

        sealdesk import tickets.csv --map examples/support_tickets.toml --data ./desk

        sealdesk import examples/freshdesk --format freshdesk --tenant acme --data ./desk

        zcat records.jsonl.gz | sealdesk import - --tenant acme --json
    """
    chosen = format or _format(file)
    if chosen is Format.CSV and map is None:
        raise SettingsWrong("A CSV file needs a map: --map MAP.toml. An example is examples/support_tickets.toml.")
    if chosen is not Format.CSV and map is not None:
        raise SettingsWrong("A map goes with a CSV file: add --format csv.")
    if chosen is Format.FRESHDESK:
        tally = _import_export(Path(file), tenant, data)
    else:
        tally = _import_records(file, None if map is None else read_map(map), tenant, data)
    if json:
        write_json(asdict(tally))
    else:
        _report(tally)


def _format(file: str) -> Format:
    if file.removesuffix(".gz").endswith(".csv"):
        return Format.CSV
    return Format.FRESHDESK if file != "-" and Path(file).is_dir() else Format.CLOUDEVENTS


def _import_records(file: str, mapping: CsvMap | None, tenant: str | None, data: Path | None) -> Tally:
    with reading_files.opened(file) as opened, entered(data, makes=True) as house, progress("import") as shown:
        name = _tenant(house, tenant, mapping)
        if mapping is not None:
            # A CSV file says nothing about its tenant, so there is one by now.
            parcels = reading_files.rows(opened, mapping, house.tenants.named(name).name)
        else:
            parcels = reading_files.cloudevents(opened, name)
        tally = _take(house, parcels, shown, opened)
        settle(house)
    return tally


def _import_export(folder: Path, tenant: str | None, data: Path | None) -> Tally:
    """Take in a folder of lists, after a look at all of its files."""
    export = freshdesk_files.export_in(folder)
    for other in export.others:
        tell(f"left alone, its name says nothing of what it lists: {other}")
    with entered(data, makes=True) as house, progress("import") as shown:
        account = house.tenants.named(_tenant(house, tenant, None))
        tally = _take_export(house, account, export, shown, at=now())
        settle(house)
    return tally


def _take_export(house: House, account: Account, export: Export, shown: Advance, *, at: datetime) -> Tally:
    total = Tally()
    for batch in reading_files.batches(export.told(at=at), house.settings.batch_size):
        parcels, before = _told_now(house, account, batch)
        # What is told once, and stands already, was stored before; the objects of a batch are taken together, so that a
        # crash leaves none of them told by half.
        total += Tally(read=before, duplicates=before) + house.intake.take(parcels, at=now())
        shown.to(export.done, export.size, f"{total.read} read, {total.stored} stored")
    return total


def _told_now(house: House, account: Account, batch: list[Told]) -> tuple[list[Parcel], int]:
    """Make the parcels of a batch, by what stands when it is read; and count the objects that tell nothing any more."""
    wanted = (told.about for told in batch if told.about is not None)
    stands: set[Reference] = set(standing(house.keys, house.roots, house.facts, account.id, wanted))
    parcels: list[Parcel] = []
    before = 0
    for told in batch:
        made = told.parcels(account.name, stands=told.about in stands)
        before += not made and not told.beside
        parcels += made
        if told.about is not None:
            stands.add(told.about)
    return parcels, before


def _tenant(house: House, named: str | None, mapping: CsvMap | None) -> str | None:
    """Name the tenant that records belong to which name none, and create the first one.

    Raises:
        SettingsWrong: there are tenants already, and none has the name.
    """
    known = house.tenants.by_name()
    name = named or (mapping.tenant if mapping else None)
    if name is None:
        return next(iter(known)) if len(known) == 1 else None
    if known:
        house.tenants.named(name)
    house.tenants.add(name, mapping.vocabularies if mapping else None)
    return name


def _take(house: House, parcels: Iterator[Parcel], shown: Advance, file: BinaryIO) -> Tally:
    total, size = Tally(), _size(file)
    created: str | None = None
    for batch in reading_files.batches(parcels, house.settings.batch_size):
        created = created or _created_for(house, batch)
        if created is not None:
            batch = [_adopted(parcel, created) for parcel in batch]
        total += house.intake.take(batch, at=now())
        note = f"{total.read} read, {total.stored} stored"
        shown.to(total.read if size is None else file.tell(), size, note)
    return total


def _created_for(house: House, batch: list[Parcel]) -> str | None:
    """Create the first tenant, if there is none: the one that the first valid record names."""
    first = next((draft.tenant for parcel in batch for draft in parcel.drafts), None)
    if first is None or house.tenants.by_name():
        return None
    return house.tenants.add(first).name


def _adopted(parcel: Parcel, tenant: str) -> Parcel:
    """Give a record that names no tenant to the one that the file has created, as a second import would."""
    if parcel.tenant is not None or parcel.error is None:
        return parcel
    return parcel_of(parcel.raw, tenant) if parcel.error.code == "no_tenant" else replace(parcel, tenant=tenant)


def _size(file: BinaryIO) -> int | None:
    """Return the size of a plain file; of a pipe or a packed file nobody knows it beforehand."""
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) and file.seekable() and not hasattr(file, "mtime") else None


def _report(tally: Tally) -> None:
    write_line(f"{tally.read} read, {tally.stored} stored, {tally.duplicates} stored before")
    if tally.refused:
        write_line(f"{tally.refused} refused: they are about somebody or something that was shredded; nothing is kept")
    if tally.quarantined:
        write_line(f"{tally.quarantined} in the quarantine, sealed; why, says: sealdesk status")
    if not tally.read:
        tell("there was no record in it")
