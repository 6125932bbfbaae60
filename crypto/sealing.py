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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag

from crypto.wrapping import NONCE_BYTES, Key, context
from domain.errors import SealBroken
from domain.ids import EventId, KeyId, TenantId, ThingId

VERSION = 1
_PREFIX_BYTES = 3
_FIXED_PARTS = 5
#: Of these: tenant, stream, event id, type, key id.
_TENANT_PART, _STREAM_PART, _EVENT_PART, _TYPE_PART, _KEY_PART = range(_FIXED_PARTS)
_ID_PARTS = (_TENANT_PART, _STREAM_PART, _EVENT_PART, _KEY_PART)
_ID_BYTES = 16


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


def header_of(sealed: bytes) -> Place:
    """Read where a seal says it was made. Nothing is proven by that until the seal opens.

    Raises:
        SealBroken: these bytes are no seal of a known version.
    """
    parts = _parts(sealed)
    try:
        tenant, stream, event_id, type_, key_id = parts[:_FIXED_PARTS]
        return Place(
            TenantId(UUID(bytes=tenant)),
            ThingId(UUID(bytes=stream)),
            EventId(UUID(bytes=event_id)),
            type_.decode(),
            KeyId(UUID(bytes=key_id)),
            tuple(part.decode() for part in parts[_FIXED_PARTS:]),
        )
    except ValueError:
        raise SealBroken("the header of a seal does not parse") from None


def fields_of(sealed: bytes) -> tuple[str, ...]:
    """Read the names of the sealed fields, and nothing else. Where this does not raise, `header_of` does not either.

    Raises:
        SealBroken: these bytes are no seal of a known version.
    """
    return _read(sealed)[2]


def key_and_type_of(sealed: bytes) -> tuple[KeyId, str]:
    """Read under which key a seal says it was made, and of which type. Where this does not raise, `header_of` does not.

    Raises:
        SealBroken: these bytes are no seal of a known version.
    """
    parts, type_, _ = _read(sealed)
    return KeyId(UUID(bytes=parts[_KEY_PART])), type_


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

    Give what is known without the seal: on the log all of it, in a read model the tenant, the stream and the wanted
    field names.

    Raises:
        SealBroken: the seal was changed, or made elsewhere, or does not hold a wanted field.
    """
    parts, made_as, names = _read(sealed)
    # Compared as bytes: a page opens hundreds of seals, and building five ids of each costs more than its cipher.
    if (
        parts[_TENANT_PART] != tenant.bytes
        or parts[_STREAM_PART] != stream.bytes
        or (event_id is not None and parts[_EVENT_PART] != event_id.bytes)
        or (type is not None and made_as != type)
        or (key_id is not None and parts[_KEY_PART] != key_id.bytes)
        or not set(fields).issubset(names)
    ):
        raise SealBroken("a seal stands where it was not made")
    end = _PREFIX_BYTES + int.from_bytes(sealed[1:_PREFIX_BYTES], "big")
    try:
        plain = key.cipher.decrypt(sealed[end : end + NONCE_BYTES], sealed[end + NONCE_BYTES :], sealed[:end])
    except (InvalidTag, ValueError):
        raise SealBroken("a seal was changed, or its key is another's") from None
    personal: dict[str, Any] = orjson.loads(plain[4 : 4 + int.from_bytes(plain[:4], "big")])
    if tuple(sorted(personal)) != names:
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


def _read(sealed: bytes) -> tuple[list[bytes], str, tuple[str, ...]]:
    """Take a header apart, and decode its type and its field names. What this takes, `header_of` takes."""
    parts = _parts(sealed)
    if any(len(parts[which]) != _ID_BYTES for which in _ID_PARTS):
        raise SealBroken("the header of a seal does not parse")
    try:
        return parts, parts[_TYPE_PART].decode(), tuple([part.decode() for part in parts[_FIXED_PARTS:]])
    except UnicodeDecodeError:
        raise SealBroken("the header of a seal does not parse") from None


def _parts(sealed: bytes) -> list[bytes]:
    if len(sealed) < _PREFIX_BYTES or sealed[0] != VERSION:
        raise SealBroken("this is no seal of version 1")
    end = _PREFIX_BYTES + int.from_bytes(sealed[1:_PREFIX_BYTES], "big")
    parts: list[bytes] = []
    at = _PREFIX_BYTES
    while at + 2 <= end:
        start = at + 2
        at = start + int.from_bytes(sealed[at:start], "big")
        parts.append(sealed[start:at])
    if at != end or end > len(sealed) or len(parts) < _FIXED_PARTS:
        raise SealBroken("the header of a seal does not parse")
    return parts
