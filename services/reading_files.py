"""Files of records, read as parcels: CloudEvents in JSON, and CSV with a map; and the objects of a JSON file.

Memory stays flat whatever the file: what is read at once is a record, and a record has a size limit.

Rule: nothing in a file stops the import. What cannot be read becomes a parcel with an error and its bytes,
for the quarantine; of what is larger than a record may be, only that much is kept.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import BinaryIO, TypeVar, cast

from domain.errors import RecordInvalid, SettingsWrong
from services.csv_map import CsvMap
from services.csv_rows import parcel_of_row
from services.records import RECORD_BYTES, Parcel, parcel_of

_BOM = b"\xef\xbb\xbf"
_CHUNK_BYTES = 64 * 1024
#: What matters for finding where an element of a JSON array ends.
_STRUCTURE = re.compile(rb'["\[\]{},]')
_IN_STRING = re.compile(rb'["\\]')
#: Within an element only brackets matter: everything up to the next one, with whole strings, is passed over at once.
_WITHIN = re.compile(rb'(?s)(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+')
#: A quote that nobody closes would swallow the rest of the file. A row may have this many lines, and as many
#: characters as a record has bytes; beyond that its quotes count as broken.
ROW_LINES = 10_000

_Item = TypeVar("_Item")


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a file to read: `-` is standard input, and a name that ends in `.gz` is unpacked.

    Raises:
        SettingsWrong: the file cannot be opened, or breaks off, or is no gzip file after all.
    """
    try:
        if path == "-":
            yield sys.stdin.buffer
        elif path.endswith(".gz"):
            with gzip.open(path, "rb") as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            with open(path, "rb") as file:
                yield file
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SettingsWrong(f"The file {path} is no whole gzip file; what came before the damage is read.") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if error.filename != path:
            raise
        raise SettingsWrong(f"The file {path} cannot be read: {error.strerror}.") from error


def batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Gather items into lists of `size`; the last may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def cloudevents(file: BinaryIO, tenant: str | None = None) -> Iterator[Parcel]:
    """Read CloudEvents, one a line; or an array of them, if the first thing in the file is a `[`.

    `tenant` is whose the events are that name none. Blank lines and a byte order mark are passed over.
    """
    for piece in objects(file):
        if len(piece) > RECORD_BYTES:
            yield Parcel(piece[:RECORD_BYTES], tenant, (), RecordInvalid("too_large"))
        elif piece.startswith(b"["):
            yield Parcel(piece, tenant, (), RecordInvalid("not_an_object"))
        else:
            yield parcel_of(piece, tenant)


def objects(file: BinaryIO) -> Iterator[bytes]:
    """Cut a file of JSON into its objects: one a line; or an array of them, if the first thing in the file is a `[`.

    Nothing is understood here: a piece may be no object, and one that is larger than a record may be is cut off.
    """
    first = _first_line(file)
    return _elements(file, first) if first.lstrip().startswith(b"[") else _lines(file, first)


def rows(file: BinaryIO, mapping: CsvMap, tenant: str) -> Iterator[Parcel]:
    """Read a CSV file by its map, one parcel a row. A row that makes no fact by the map is passed over.

    Broken quotes cost the line they begin in: the next line is read as a row again.

    Raises:
        SettingsWrong: the header lacks columns of the map, or the file is not in the map's encoding at all.
    """
    with _text(file, mapping.dialect.encoding) as text:
        found = _rows(text, mapping.dialect.delimiter)
        header = next(found, [])
        if not isinstance(header, list):
            raise SettingsWrong("The first line of the file, its header, has broken quotes or no end. Correct it.")
        names = [name.strip() for name in header]
        mapping.check_header(names)
        for cells in found:
            parcel = cells if isinstance(cells, Parcel) else _parcel(cells, names, mapping, tenant)
            if parcel.error is not None:
                yield Parcel(parcel.raw[:RECORD_BYTES], tenant, (), parcel.error)
            elif parcel.drafts:
                yield parcel


def _parcel(cells: list[str], header: Sequence[str], mapping: CsvMap, tenant: str) -> Parcel:
    if len(cells) != len(header):
        # Not with orjson: it refuses the lone surrogates that stand for undecodable bytes.
        return Parcel(json.dumps(cells).encode(), tenant, (), RecordInvalid("wrong_cells"))
    parcel = parcel_of_row(mapping, dict(zip(header, cells, strict=True)), tenant)
    if len(parcel.raw) > RECORD_BYTES:
        return Parcel(parcel.raw, tenant, (), RecordInvalid("too_large"))
    return parcel


# -- how files are cut --------------------------------------------------------------------------------------


def _first_line(file: BinaryIO) -> bytes:
    """Read up to the first line that is not blank, which may be too long to be whole."""
    line = file.readline(RECORD_BYTES + 1).removeprefix(_BOM)
    while line.isspace():
        line = file.readline(RECORD_BYTES + 1)
    return line


def _lines(file: BinaryIO, line: bytes) -> Iterator[bytes]:
    """Cut the file into lines. One that is too long comes as its first part, too long by a byte."""
    while line:
        start, complete = line, line.endswith(b"\n")
        while not complete and (rest := file.readline(_CHUNK_BYTES)):
            start += rest[: max(0, RECORD_BYTES + 1 - len(start))]
            complete = rest.endswith(b"\n")
        if start := start.strip():
            yield start
        line = file.readline(RECORD_BYTES + 1)


def _elements(file: BinaryIO, chunk: bytes) -> Iterator[bytes]:
    """Cut a JSON array into its elements, without understanding them.

    If the array has no end, or something follows it, the rest comes as pieces that will not parse.
    """
    piece, depth, quoted, escaped = bytearray(), 0, False, False

    def taken(part: bytes) -> bytes:
        piece.extend(part[: max(0, RECORD_BYTES + 1 - len(piece))])
        whole = bytes(piece).strip()
        piece.clear()
        return whole

    while chunk:
        start, at = 0, 1 if escaped else 0
        escaped = False
        while True:
            if depth > 1 and not quoted and (passed := _WITHIN.match(chunk, at)):
                at = passed.end()
            sign = (_IN_STRING if quoted else _STRUCTURE).search(chunk, at)
            if sign is None:
                break
            at = sign.end()
            match sign[0]:
                case b'"':
                    quoted = not quoted
                case b"\\":
                    at += 1
                    escaped = at > len(chunk)
                case b"[" | b"{":
                    depth += 1
                    if depth == 1:
                        if junk := taken(chunk[start : at - 1]):
                            yield junk
                        start = at if sign[0] == b"[" else at - 1
                case b"]" | b"}":
                    depth = max(0, depth - 1)
                    if depth == 0:
                        if last := taken(chunk[start : at - 1]):
                            yield last
                        start = at
                case b"," if depth == 1:
                    if element := taken(chunk[start : at - 1]):
                        yield element
                    start = at
        piece.extend(chunk[start : start + max(0, RECORD_BYTES + 1 - len(piece))])
        chunk = file.read(_CHUNK_BYTES)
    if rest := taken(b""):
        yield rest


@contextmanager
def _text(file: BinaryIO, encoding: str) -> Iterator[io.TextIOWrapper]:
    """Decode a file whose owner closes it. Bytes that are not in the encoding become lone surrogates."""
    try:
        # A byte order mark is no part of the first column's name.
        name = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        text = io.TextIOWrapper(file, name, errors="surrogateescape", newline="")
        try:
            yield text
        finally:
            with suppress(ValueError):  # Its owner may have closed it already.
                text.detach()
    except UnicodeError:
        # What it says repeats a part of the file.
        raise SettingsWrong(f"The file is not written in {encoding}: correct dialect.encoding in the map.") from None


def _rows(file: io.TextIOWrapper, delimiter: str) -> Iterator[list[str] | Parcel]:
    """Cut the file into rows of cells, and into lines with an error where that cannot be done."""
    csv.field_size_limit(RECORD_BYTES + 1)
    ahead: deque[str] = deque()
    while True:
        used: list[str] = []
        cells: list[str] | None
        try:
            cells = next(csv.reader(_fed(file, ahead, used), delimiter=delimiter, strict=True))
        except StopIteration:
            return
        except csv.Error:
            cells = None
        if len(used[0]) > RECORD_BYTES or cells is None:
            code = "too_large" if len(used[0]) > RECORD_BYTES else "broken_quoting"
            ahead.extendleft(reversed(used[1:]))
            yield Parcel(used[0].encode("utf-8", "surrogateescape"), None, (), RecordInvalid(code))
        elif cells:
            yield cells


def _fed(file: io.TextIOWrapper, ahead: deque[str], used: list[str]) -> Iterator[str]:
    """Give out line by line what one row may consist of, and note it."""
    characters = 0
    while len(used) < ROW_LINES and characters <= RECORD_BYTES:
        line = ahead.popleft() if ahead else _line(file)
        if not line:
            return
        used.append(line)
        characters += len(line)
        yield line


def _line(file: io.TextIOWrapper) -> str:
    """Read a line. Of one that is too long, only the first part stays, too long by a character."""
    line = rest = file.readline(RECORD_BYTES + 1)
    while rest and not rest.endswith(("\n", "\r")):
        rest = file.readline(_CHUNK_BYTES)
    return line
