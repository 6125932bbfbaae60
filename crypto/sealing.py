"""Seal and open the personal fields of one fact: format v1, byte by byte.

    seal       = version (1: 0x01) | header length (2, big endian) | header | nonce (12) | ciphertext | tag (16)
    header     = part*, each part after its own length (2, big endian):
                 tenant (16) | stream (16) | event id (16) | stored type (UTF-8) | key id (16) | field name (UTF-8)*
    cipher     = AES-256-GCM (NIST SP 800-38D) under the leaf key; everything before the nonce is associated data
    plaintext  = JSON length (4, big endian) | JSON object | zeros up to the Padme length

One leaf key seals one fact once. Padme (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
Communication with PURBs", PETS 2019, algorithm 1) leaks O(log log n) bits of a length for at most 12 % of padding.

A seal opens only where it was made. The opener says what it knows by itself, and all of that has to be in the header.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag

from crypto.wrapping import NONCE_BYTES, Key, context
from domain.errors import SealBroken
from domain.ids import EventId, KeyId, TenantId, ThingId

VERSION = 1
_PREFIX_BYTES = 3
_ID_BYTES = 16
#: What every seal begins with: version, header length, and then, each after its length, tenant, stream and event id;
#: the length of the type. Behind the type, the key id after its length.
_IDS = struct.Struct(">BHH16sH16sH16sH")
_KEY = struct.Struct(">H16s")
_NO_SEAL = "this is no seal of version 1"
_NO_HEADER = "the header of a seal does not parse"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a seal was made. `fields` are the names of the sealed fields, sorted."""

    tenant: TenantId
    stream: ThingId
    event_id: EventId
    type: str
    key_id: KeyId
    fields: tuple[str, ...]


def padme(length: int) -> int:
    """Round a length in bytes up so that it keeps only its most significant bits."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << low_bits) - 1
    return (length + mask) & ~mask


def seal(place: Place, key: Key, personal: Mapping[str, Any], nonce: bytes | None = None) -> bytes:
    """Encrypt the personal fields of one fact.

    `nonce` (12 bytes) lets a batch read the operating system's randomness once; without it one is read here.
    """
    head = _head(place)
    payload = orjson.dumps(personal)
    plain = len(payload).to_bytes(4, "big") + payload
    plain += bytes(padme(len(plain)) - len(plain))
    nonce = os.urandom(NONCE_BYTES) if nonce is None else nonce
    return head + nonce + key.cipher.encrypt(nonce, plain, head)


class Head(NamedTuple):
    """What stands before the nonce of a seal, its ids as bytes: a page reads hundreds, and building ids costs more.

    `end` is where the nonce begins. Nothing of it is proven until the seal opens.
    """

    tenant: bytes
    stream: bytes
    event_id: bytes
    type: str
    key_id: bytes
    fields: tuple[str, ...]
    end: int


def head_of(sealed: bytes) -> Head:
    """Take the header of a seal apart.

    Raises:
        SealBroken: these bytes are no seal of a known version.
    """
    try:
        version, length, of_tenant, tenant, of_stream, stream, of_event, event_id, of_type = _IDS.unpack_from(sealed)
        end, at_key = _PREFIX_BYTES + length, _IDS.size + of_type
        of_key, key_id = _KEY.unpack_from(sealed, at_key)
    except struct.error:
        version = sealed[0] if sealed else None
        raise SealBroken(_NO_HEADER if version == VERSION else _NO_SEAL) from None
    if version != VERSION:
        raise SealBroken(_NO_SEAL)
    at_names = at_key + _KEY.size
    if not at_names <= end <= len(sealed) or not of_tenant == of_stream == of_event == of_key == _ID_BYTES:
        raise SealBroken(_NO_HEADER)
    type_, fields = _text(sealed[_IDS.size : at_key]), _texts(sealed[at_names:end])
    return Head(tenant, stream, event_id, type_, key_id, fields, end)


def header_of(sealed: bytes) -> Place:
    """Read where a seal says it was made. Nothing is proven by that until the seal opens.

    Raises:
        SealBroken: these bytes are no seal of a known version.
    """
    head = head_of(sealed)
    return Place(
        TenantId(UUID(bytes=head.tenant)),
        ThingId(UUID(bytes=head.stream)),
        EventId(UUID(bytes=head.event_id)),
        head.type,
        KeyId(UUID(bytes=head.key_id)),
        head.fields,
    )


def fields_of(sealed: bytes) -> tuple[str, ...]:
    """Read the names of the sealed fields, and nothing else. Where this does not raise, `header_of` does not either.

    Raises:
        SealBroken: these bytes are no seal of a known version.
    """
    return head_of(sealed).fields


def open_seal(
    sealed: bytes,
    key: Key,
    *,
    tenant: TenantId,
    stream: ThingId,
    event_id: EventId | None = None,
    type: str | None = None,
    key_id: KeyId | None = None,
    fields: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Decrypt a seal at the place where it was made.

    Give what is known without the seal: on the log all of it, for a read model the tenant, the stream and the wanted
    field names.

    Raises:
        SealBroken: the seal was changed, or made elsewhere, or does not hold a wanted field.
    """
    head = head_of(sealed)
    if (
        head.tenant != tenant.bytes
        or head.stream != stream.bytes
        or (event_id is not None and head.event_id != event_id.bytes)
        or (type is not None and head.type != type)
        or (key_id is not None and head.key_id != key_id.bytes)
        or not set(fields).issubset(head.fields)
    ):
        raise SealBroken("a seal stands where it was not made")
    nonce_end = head.end + NONCE_BYTES
    try:
        plain = key.cipher.decrypt(sealed[head.end : nonce_end], sealed[nonce_end:], sealed[: head.end])
    except (InvalidTag, ValueError):
        raise SealBroken("a seal was changed, or its key is another's") from None
    personal: dict[str, Any] = orjson.loads(plain[4 : 4 + int.from_bytes(plain[:4], "big")])
    if tuple(sorted(personal)) != head.fields:
        raise SealBroken("a seal holds other fields than its header says")
    return personal


def _head(place: Place) -> bytes:
    said, names, prefix = _named(place.type, place.fields)
    ids = context(place.tenant.bytes, place.stream.bytes, place.event_id.bytes)
    return b"".join((prefix, ids, said, context(place.key_id.bytes), names))


@lru_cache(maxsize=1024)
def _named(type_: str, fields: tuple[str, ...]) -> tuple[bytes, bytes, bytes]:
    """Write what the headers of many seals share: the type, the declared field names, and what stands before all."""
    said, names = context(type_.encode()), context(*(name.encode() for name in fields))
    length = 4 * len(context(bytes(16))) + len(said) + len(names)
    return said, names, bytes((VERSION,)) + length.to_bytes(2, "big")


@lru_cache(maxsize=1024)
def _text(part: bytes) -> str:
    """Decode a type: the headers of many seals share it."""
    try:
        return part.decode()
    except UnicodeDecodeError:
        raise SealBroken(_NO_HEADER) from None


@lru_cache(maxsize=1024)
def _texts(parts: bytes) -> tuple[str, ...]:
    """Decode a list of field names, each after its length: the headers of many seals share it."""
    names: list[str] = []
    at = 0
    while at + 2 <= len(parts):
        start = at + 2
        at = start + int.from_bytes(parts[at:start], "big")
        names.append(_text(parts[start:at]))
    if at != len(parts):
        raise SealBroken(_NO_HEADER)
    return tuple(names)
