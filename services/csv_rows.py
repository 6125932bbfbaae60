"""Rows of a CSV file made into parcels, by the map that says which column is which field of which fact.

The facts of a row are taken or refused as one. The raw bytes of a parcel are the cells by column, in JSON:
what `replayed_row` needs to take the row after all, once the map is mended.

Rule: an error names a code and a column, never what stood there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from domain.errors import RecordInvalid
from services.csv_map import ANY, PLACE, Cell, Condition, CsvMap, Target
from services.records import Parcel, parcel_of_events

#: A row of a file by the names of its columns.
Row = Mapping[str, str]

#: 18 digits fit into 64 bits, as every JSON reader expects.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parcel_of_row(mapping: CsvMap, row: Row, tenant: str) -> Parcel:
    """Make the facts of one row. It never raises: one that cannot be read becomes a parcel with an error."""
    try:
        raw = orjson.dumps(row)
    except orjson.JSONEncodeError:
        # Bytes that are not in the encoding of the file; `json` keeps them, as lone surrogates.
        return Parcel(json.dumps(row).encode(), tenant, (), RecordInvalid("wrong_encoding"))
    try:
        events = events_of_row(mapping, row)
    except RecordInvalid as error:
        return Parcel(raw, tenant, (), error)
    return parcel_of_events(raw, events, tenant)


def replayed_row(mapping: CsvMap, raw: bytes, tenant: str) -> Parcel:
    """Read a row again that was kept as `raw`: with this map it may be taken after all. It never raises."""
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Parcel(raw, tenant, (), RecordInvalid("not_json"))
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in mapping.columns):
        return Parcel(raw, tenant, (), RecordInvalid("wrong_cells"))
    return parcel_of_row(mapping, row, tenant)


def events_of_row(mapping: CsvMap, row: Row) -> list[dict[str, Any]]:
    """Make the CloudEvents of one row, in the order of the map.

    Raises:
        RecordInvalid: a cell cannot be read, with the name of its column.
    """
    row_id = "/".join(_id_part(row, name) for name in mapping.id.columns)
    return [
        {
            "specversion": "1.0",
            "type": fact.type,
            "source": mapping.source,
            "id": f"{row_id}/{number}",
            "time": _date(mapping, fact.time, row),
            "subject": _filled_in(fact.subject, row) if fact.subject else None,
            "data": _data(mapping, fact.data, row),
        }
        for number, fact in enumerate(mapping.fact)
        if _holds(fact.when, row)
    ]


def _data(mapping: CsvMap, targets: Mapping[str, Target], row: Row) -> dict[str, Any]:
    found = {
        name: _value(mapping, target, row) if isinstance(target, Cell) else _data(mapping, target, row)
        for name, target in targets.items()
    }
    return {name: value for name, value in found.items() if value not in (None, {}, [])}


def _value(mapping: CsvMap, cell: Cell, row: Row) -> Any:
    if cell.constant is not None:
        return cell.constant
    if cell.template is not None:
        return _filled_in(cell.template, row)
    if cell.format is not None or cell.column in mapping.formats:
        return _date(mapping, cell, row)
    column = cell.column or ""
    text = row[column].strip()
    if cell.split is not None:
        parts = (part.strip() for part in text.split(cell.split))
        return [_read(mapping, part, cell, column) for part in parts if part]
    return _read(mapping, text, cell, column) if text else None


def _read(mapping: CsvMap, text: str, cell: Cell, column: str) -> Any:
    if cell.values is not None:
        table = mapping.values[cell.values]
        if text not in table and ANY not in table:
            raise RecordInvalid("unknown_word", f"column {column}")
        return table.get(text, table.get(ANY))
    return _typed(text, cell.kind, column)


def _date(mapping: CsvMap, cell: Cell, row: Row) -> str | None:
    if cell.constant is not None:
        return str(cell.constant)
    column = cell.column or ""
    text = row[column].strip()
    if not text:
        return None
    wanted = cell.format or mapping.formats.get(column, "iso")
    try:
        at = datetime.fromisoformat(text) if wanted == "iso" else datetime.strptime(text, wanted)  # noqa: DTZ007
        if at.tzinfo is None:
            at = at.replace(tzinfo=ZoneInfo(mapping.timezone))
        return at.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        # What these say repeats the cell.
        raise RecordInvalid("wrong_cell", f"column {column}") from None


def _id_part(row: Row, column: str) -> str:
    text = row[column].strip()
    if not text:
        raise RecordInvalid("no_row_id", f"column {column}")
    # Only what could make two ids of several columns look alike is written otherwise.
    return text.replace("%", "%25").replace("/", "%2F")


def _holds(when: Condition, row: Row) -> bool:
    return all(row[name].strip() for name in when.filled) and all(
        row[name].strip() in ([wanted] if isinstance(wanted, str) else wanted) for name, wanted in when.equal.items()
    )


def _filled_in(template: str, row: Row) -> str | None:
    """Put cells into a template; without a single cell there is nothing to say."""
    cells = {name: row[name].strip() for name in PLACE.findall(template)}
    if cells and not any(cells.values()):
        return None
    return PLACE.sub(lambda place: cells[place[1]], template).strip() or None


def _typed(text: str, kind: str, column: str) -> str | int | float | bool:
    match kind:
        case "integer" if _INTEGER.fullmatch(text):
            return int(text)
        case "number" if (number := _number(text)) is not None:
            return number
        case "flag" if text.casefold() in _FLAGS:
            return _FLAGS[text.casefold()]
        case "text":
            return text
        case _:
            raise RecordInvalid("wrong_cell", f"column {column}")


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
