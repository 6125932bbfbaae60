"""Whoever has a copy of everything at every moment, and gets hold of the keys that live in the end.

What was copied are locks: bytes that some key opens under associated data that the copies give away. Every key that is
known is tried on every lock; whatever opens is one more key, one more layer of a lock, or something to read; and so on
until nothing more opens. A leaf key is tried on seals and files alone: none ever wrapped anything.

Rule: a column of the key database that holds bytes is read here or stands in `NO_LOCKS`. An adversary who overlooks one
proves nothing.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import sql
from psycopg.rows import dict_row

from crypto.envelopes import open_envelope
from crypto.lines import SEALED_AS, Fences
from crypto.references import canonical
from crypto.register import back_ends, entry_ends
from crypto.sealing import header_of
from crypto.streaming import blob_bound, open_stream
from crypto.tree import ends, epoch_end
from crypto.wrapping import KEY_BYTES, NONCE_BYTES, Key, context
from domain.errors import SealBroken
from domain.ids import TenantId, ThingId
from domain.personal import Reference
from services.embedded import Endpoints

#: Columns of the key database that hold bytes, and neither a key nor anything sealed: MACs, indexes, public halves.
NO_LOCKS = frozenset({"subjects.bound", "subjects.mark", "things.mark", "leaves.bound", "leaves.mark", "pairs.bound",
                      "closings.mark", "register.blind_index", "fences.tag", "recipients.public_key",
                      "pairs.public_key"})  # fmt: skip
_LOCKS = frozenset({"wrapping_keys.wrapped", "pairs.wrapped", "subjects.wrapped", "leaves.wrapped", "register.sealed",
                    "register_backs.sealed", "outbox_pages.sealed"})  # fmt: skip
_BASE64 = re.compile(rb'"([A-Za-z0-9+/]{80,}={0,2})"')

Row = Mapping[str, Any]


class Lock(NamedTuple):
    """Bytes that a key opens under one of `ends`; `tells` says what it is when it is open, `about` of what."""

    content: bytes
    ends: frozenset[bytes]
    tells: str
    about: Any = None


@dataclass
class Opened:
    """What was opened: keys by the id under which they stand, and all that can be read."""

    keys: dict[UUID, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    said: dict[bytes, bytes] = field(default_factory=dict)
    entries: set[tuple[bytes, UUID]] = field(default_factory=set)
    fences: list[Fences] = field(default_factory=list)

    def text(self) -> bytes:
        """Give everything that a person said, or that a person is called, one after the other."""
        return b"\n".join(self.said.values())


class Adversary:
    """Copies both databases, the files and the ledger whenever asked to. `overheard` are envelopes from a topic."""

    def __init__(self, endpoints: Endpoints, *, blobs: Path | None = None, ledger: Path | None = None) -> None:
        self._endpoints = endpoints
        self._blobs = blobs
        self._ledger = ledger
        self.locks: set[Lock] = set()
        self.seals: set[bytes] = set()
        self.files: set[tuple[bytes, bytes]] = set()
        self.overheard: list[tuple[dict[str, str], bytes]] = []
        #: Ids and blind indexes that stand in the clear.
        self.ids: set[UUID] = set()
        self.tenants: set[UUID] = set()
        self._indexes: set[bytes] = set()
        self._index_keys: set[UUID] = set()

    # -- copying ------------------------------------------------------------------------------------------------------

    def copy(self) -> None:
        """Copy everything as it stands now."""
        keys = {name.removeprefix("public."): rows for name, rows in tables(self._endpoints.keys_dsn).items()}
        self.tenants |= {row["tenant"] for row in keys["wrapping_keys"]}
        self._index_keys |= {row["key_id"] for row in keys["wrapping_keys"] if row["kind"] == "index"}
        self._indexes |= {bytes(row["blind_index"]) for row in keys["register"]}
        news = {row["news_id"]: row["tenant"] for row in keys["outbox"]}
        for table, rows in keys.items():
            for row in rows:
                self.locks |= set(self._locks(table, row, news))
                self.ids |= {value for value in row.values() if isinstance(value, UUID)}
        log = tables(self._endpoints.log_dsn)
        values = {value for rows in log.values() for row in rows for value in row.values() if isinstance(value, bytes)}
        self.seals |= {seal for value in values for seal in _seals_in(value)}
        for row in log["public.blobs"] if self._blobs is not None else ():
            self._copy_file(row)
        if self._ledger is not None and self._ledger.exists():
            self.locks |= {_fences_of(raw) for raw in self._ledger.read_bytes().splitlines()}

    def _locks(self, table: str, row: Row, news: Mapping[UUID, UUID]) -> Iterator[Lock]:
        match table:
            case "wrapping_keys" | "pairs" if row["wrapped"] is not None:
                bound = ends(row["tenant"], epoch_end(row["epoch"]), row["key_id"])
                yield Lock(row["wrapped"], frozenset({bound}), "key", row["key_id"])
            case "subjects" if row["wrapped"] is not None:
                bound = ends(row["tenant"], row["parent"].bytes, row["subject_id"])
                yield Lock(row["wrapped"], frozenset({bound}), "key", row["subject_id"])
            case "leaves" if row["wrapped"] is not None:
                owners = (row["owner"], *(row["co_owners"] or ()))
                bounds = frozenset(ends(row["tenant"], owner.bytes, row["key_id"]) for owner in owners)
                yield Lock(row["wrapped"], bounds, "leaf", row["key_id"])
            case "register":
                bound = entry_ends(row["tenant"], row["blind_index"], row["page"])
                yield Lock(row["sealed"], frozenset({bound}), "entry", bytes(row["blind_index"]))
            case "register_backs":
                bounds = frozenset(back_ends(tenant, row["owner"], row["page"]) for tenant in self.tenants)
                yield Lock(row["sealed"], bounds, "back", row["owner"])
            case "outbox_pages":
                parts = (news[row["news_id"]].bytes, row["news_id"].bytes, row["page"].to_bytes(4, "big"))
                yield Lock(row["sealed"], frozenset({context(b"sealdesk/outbox/1", *parts)}), "said")

    def _copy_file(self, row: Row) -> None:
        assert self._blobs is not None
        bound = blob_bound(TenantId(row["tenant"]), ThingId(row["thing"]), row["blob_id"])
        for path in self._blobs.rglob(f"{row['blob_id']}.blob"):
            self.files.add((path.read_bytes(), bound))

    # -- opening ------------------------------------------------------------------------------------------------------

    def opens(self, living: Iterable[bytes]) -> Opened:
        """Open all that opens with some keys of 32 bytes to begin with."""
        return _Opening(self, living).opened

    # -- guessing -----------------------------------------------------------------------------------------------------

    def leads(self, opened: Opened, reference: Reference, *, ledger: bool = True) -> set[UUID]:
        """Guess a reference, and say to which inside ids it leads: through the register, or a tag on the ledger."""
        guessed = self._guessed(opened, reference)
        found = {inside for index, inside in opened.entries if index in guessed}
        for fences in opened.fences if ledger else ():
            assert fences.key is not None
            if any(hmac.digest(fences.key.material, index, "sha256") in fences.tags for index in guessed):
                found.update(fences.targets)
        return found

    def saw(self, opened: Opened, reference: Reference) -> bool:
        """Guess a reference, and say whether any copy of the register has its index."""
        return not self._indexes.isdisjoint(self._guessed(opened, reference))

    def _guessed(self, opened: Opened, reference: Reference) -> set[bytes]:
        keys = [material for key_id in self._index_keys for material in opened.keys[key_id]]
        return {hmac.digest(material, canonical(reference), "sha256") for material in keys}


class _Opening:
    """One attempt to open everything, with the keys and the layers of locks that it finds on the way."""

    def __init__(self, adversary: Adversary, living: Iterable[bytes]) -> None:
        self.opened = Opened()
        self._adversary = adversary
        self._locks = set(adversary.locks)
        self._ciphers: dict[bytes, AESGCM] = {}
        self._todo = [(material, "key") for material in living]
        while self._todo:
            material, kind = self._todo.pop()
            if material not in self._ciphers:
                cipher = self._ciphers[material] = AESGCM(material)
                self._read(material, cipher)
                for lock in () if kind == "leaf" else list(self._locks):
                    self._try(cipher, lock)
        for attributes, envelope in adversary.overheard:
            self.opened.said.update((envelope, event) for event in _events(attributes, envelope, self._ciphers))

    def _try(self, cipher: AESGCM, lock: Lock) -> None:
        for plain in _decrypted(cipher, lock):
            match lock.tells:
                case "key" | "leaf" if len(plain) > KEY_BYTES:
                    # A layer beneath, for the key of another owner. That may be known already.
                    below = lock._replace(content=plain)
                    if below not in self._locks:
                        self._locks.add(below)
                        for known in list(self._ciphers.values()):
                            self._try(known, below)
                case "key" | "leaf":
                    self.opened.keys[lock.about].add(plain)
                    self._todo.append((plain, lock.tells))
                case "entry":
                    self.opened.entries.add((lock.about, UUID(bytes=plain[:16])))
                case "back":
                    self.opened.entries.add((plain, lock.about))
                case "fences":
                    self.opened.fences.append(Fences.decoded(plain))
                    self._todo.append((plain[:KEY_BYTES], "key"))
                case "said":
                    self.opened.said[lock.content] = plain

    def _read(self, material: bytes, cipher: AESGCM) -> None:
        for seal in self._adversary.seals:
            end = 3 + int.from_bytes(seal[1:3], "big")
            try:
                plain = cipher.decrypt(seal[end : end + NONCE_BYTES], seal[end + NONCE_BYTES :], seal[:end])
            except (InvalidTag, ValueError):
                continue
            self.opened.said[seal] = _unpacked(plain)
        for content, bound in self._adversary.files:
            try:
                self.opened.said[content] = b"".join(open_stream(Key(material), bound, [content]))
            except SealBroken:
                continue


def unread_columns(keys_dsn: str) -> set[str]:
    """Name the columns of the key database that hold bytes and of which an adversary knows nothing."""
    with psycopg.connect(keys_dsn) as connection:
        rows = connection.execute(
            "SELECT table_name || '.' || column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND (data_type = 'bytea' OR udt_name = '_bytea')"
        ).fetchall()
    return {name for (name,) in rows} - _LOCKS - NO_LOCKS


def living_keys(roots: Path, *, without: Callable[[Path], bool] = lambda path: False) -> list[bytes]:
    """Read every root and every secret of a folder of roots as it lies there."""
    return [path.read_bytes() for path in sorted(roots.rglob("*.key")) if not without(path)]


def tables(dsn: str) -> dict[str, list[dict[str, Any]]]:
    """Read every row of every table of a database, by schema and name, as a dump would."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection, connection.cursor(binary=True) as cursor:
        names = cursor.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        found = {}
        for name in names:
            table = sql.Identifier(name["schemaname"], name["tablename"])
            rows = cursor.execute(sql.SQL("SELECT * FROM {}").format(table)).fetchall()
            found[f"{name['schemaname']}.{name['tablename']}"] = rows
        return found


def _seals_in(value: bytes) -> Iterator[bytes]:
    """Find the seals that a value is or, as text within JSON, holds."""
    for one in (value, *(base64.b64decode(text) for text in _BASE64.findall(value))):
        try:
            header_of(one)
        except SealBroken:
            continue
        yield one


def _fences_of(raw: bytes) -> Lock:
    said = orjson.loads(raw)
    key = UUID(said["key"])
    place = (said["number"].to_bytes(8, "big"), UUID(said["tenant"]).bytes, key.bytes)
    return Lock(base64.b64decode(said["fences"]), frozenset({context(SEALED_AS, *place)}), "fences", key)


def _decrypted(cipher: AESGCM, lock: Lock) -> Iterator[bytes]:
    for bound in lock.ends:
        try:
            yield cipher.decrypt(lock.content[:NONCE_BYTES], lock.content[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            continue


def _events(attributes: dict[str, str], envelope: bytes, materials: Iterable[bytes]) -> Iterator[bytes]:
    for material in materials:
        private = X25519PrivateKey.from_private_bytes(material)
        try:
            yield open_envelope(envelope, private, epoch=int(attributes["pairepoch"]), attributes=attributes)
        except SealBroken:
            continue


def _unpacked(plain: bytes) -> bytes:
    """Give the JSON of a seal; of a quarantined record, what it holds in base64 as well."""
    text = plain[4 : 4 + int.from_bytes(plain[:4], "big")]
    whole = orjson.loads(text)
    return text + base64.b64decode(whole["record"]) if "record" in whole and "told_as" in whole else text
