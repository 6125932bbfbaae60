"""What lies on the disks of a database server at every moment: pages of its tables, and all that was ever in its WAL.

The server has to run with `wal_keep_size`, so that no segment of its WAL is written over: that is an archive of it.
Wrapped keys and seals are dug out of these bytes by their shape, as somebody would who has the disks and no SQL.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crypto.tree import ends, epoch_end
from crypto.wrapping import KEY_BYTES, NONCE_BYTES

PAGE_BYTES = 8192
#: Headers of a WAL page, that of the first one in a segment and those of the others (xlog_internal.h).
FIRST_HEADER_BYTES, HEADER_BYTES = 40, 24
#: Bytes of a tuple of `leaves` or `subjects` before its wrapped key: at most so many ids and a MAC.
REACH_BYTES = 400
#: The row of a leaf has this many at most, with three owners.
NEAREST_IDS = 8
#: A wrapped key has 60 bytes, and 28 more for each further owner. Before it stands its length with this byte's own
#: (a varlena of one byte, PostgreSQL's varatt.h): (1 + length) * 2 + 1. With more than three owners it has four bytes.
_WRAPPED = re.compile(rb"(?=([\x7b\xb3\xeb]))", re.DOTALL)
LENGTHS = (60, 88, 116)
_LENGTH_OF = {(1 + length) * 2 + 1: length for length in LENGTHS}
#: A random id: version 4, RFC 9562.
_RANDOM_ID = re.compile(rb"(?=(.{6}[\x40-\x4f].[\x80-\xbf].{7}))", re.DOTALL)
#: The beginning of a seal: version, length of its header, a tenant and a stream of 16 bytes each.
_SEAL = re.compile(rb"(?=\x01..\x00\x10.{16}\x00\x10.{16}\x00\x10)", re.DOTALL)


@dataclass
class RawCopies:
    """The disks of one cluster. `folder` is its data folder."""

    folder: Path
    dsn: str = field(repr=False)
    pages: set[bytes] = field(default_factory=set, repr=False)

    def copy(self) -> None:
        """Copy the pages of all tables as they lie on the disk now; what is only in memory is not among them."""
        with psycopg.connect(self.dsn) as connection:
            [[oid]] = connection.execute(
                "SELECT oid::text FROM pg_database WHERE datname = current_database()"
            ).fetchall()
        for path in sorted((self.folder / "base" / oid).iterdir()):
            # The server removes caches of its own meanwhile.
            with suppress(FileNotFoundError):
                content = path.read_bytes()
                self.pages.update(content[at : at + PAGE_BYTES] for at in range(0, len(content), PAGE_BYTES))

    def checkpoint(self) -> None:
        """Have everything written to the tables' files."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def wal(self) -> bytes:
        """Give all that the WAL ever held, as one text without the headers of its pages."""
        parts = []
        for path in sorted((self.folder / "pg_wal").iterdir()):
            if path.is_file() and len(path.name) == 24:
                content = path.read_bytes().rstrip(b"\0")
                for at in range(0, len(content), PAGE_BYTES):
                    parts.append(content[at + (HEADER_BYTES if at else FIRST_HEADER_BYTES) : at + PAGE_BYTES])
        return b"".join(parts)

    def texts(self) -> Iterator[bytes]:
        """Give every page of all times, and the WAL."""
        yield from self.pages
        yield self.wal()


def wrapped_in(texts: Iterable[bytes], ids: Collection[UUID]) -> dict[bytes, set[UUID]]:
    """Dig out what may be a wrapped key: bytes of its length, with the ids before it that are known from elsewhere."""
    known, dug = {id_.bytes for id_ in ids}, dict[bytes, set[UUID]]()
    for text in texts:
        found = [(match.start(), match[1]) for match in _RANDOM_ID.finditer(text) if match[1] in known]
        first = last = 0
        for match in _WRAPPED.finditer(text) if found else ():
            at = match.start()
            while first < len(found) and found[first][0] + REACH_BYTES < at:
                first += 1
            while last < len(found) and found[last][0] + 16 <= at:
                last += 1
            content = text[at + 1 : at + 1 + _LENGTH_OF[text[at]]]
            if first < last and len(content) == _LENGTH_OF[text[at]]:
                near = list(dict.fromkeys(id_ for _, id_ in reversed(found[first:last])))[:NEAREST_IDS]
                dug.setdefault(content, set()).update(UUID(bytes=id_) for id_ in near)
    return dug


def unwrapped(
    dug: Mapping[bytes, Collection[UUID]],
    tenants: Collection[UUID],
    keys: Mapping[UUID, Collection[bytes]],
    roots: Collection[bytes],
    epochs: int,
) -> set[bytes]:
    """Try on what was dug out every key that stands under one of the ids near it, and every root. Gives the keys in it.

    Which of the ids are parent, child and tenant is tried out.
    """
    found: set[bytes] = set()
    ciphers = {material: AESGCM(material) for materials in (*keys.values(), roots) for material in materials}
    for content, near in dug.items():
        parents = [(id_.bytes, keys.get(id_, ())) for id_ in near]
        parents += [(epoch_end(epoch), roots) for epoch in range(1, epochs + 1)]
        layers = [content]
        while layers:
            layer = layers.pop()
            if len(layer) == KEY_BYTES:
                found.add(layer)
                continue
            for parent, materials in parents:
                bounds = [ends(tenant, parent, child) for tenant in tenants for child in near] if materials else ()
                layers += [
                    plain for bound in bounds for one in materials for plain in _opened(ciphers[one], layer, bound)
                ]
    return found


def _opened(cipher: AESGCM, wrapped: bytes, bound: bytes) -> Iterator[bytes]:
    with suppress(InvalidTag, ValueError):
        yield cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound)


def seals_in(text: bytes) -> Iterator[bytes]:
    """Dig out what may be a seal, whole, with the length that stands before it."""
    for match in _SEAL.finditer(text):
        at = match.start()
        short, long = text[at - 1], int.from_bytes(text[max(0, at - 4) : at], "little")
        length = (short >> 1) - 1 if short & 1 else (long >> 2) - 4
        if 0 < length <= PAGE_BYTES:
            yield text[at : at + length]
