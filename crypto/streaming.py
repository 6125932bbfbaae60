"""Seal and open a file as a stream, in flat memory whatever its size.

    sealed   = header (40) | segment*, every one but the last so long that it ends at a multiple of 1 MiB (2^20)
    header   = its own length (1: 40) | salt (32) | nonce prefix (7), both from the operating system
    segment  = ciphertext | tag (16); the first is shorter by the header
    cipher   = AES-256-GCM under HKDF-SHA256(key, salt = salt, info = associated data), without associated data of its
               own; nonce = nonce prefix | number of the segment from 0 (4, big endian) | 1 if it is the last, else 0
    content  = the file | 0x80 | zeros up to the Padme length

Header, segments and cipher are AES256_GCM_HKDF_1MB of Tink, byte by byte
(https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming), which is the STREAM construction of Hoang,
Reyhanitabar, Rogaway and Vizar, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015.
The padding within is ISO/IEC 7816-4, up to the length of `crypto.sealing.padme`. The version of all this stands in the
associated data (`blob_bound`).

A segment opens only as what it is: the n-th, the last or not, of this stream. So a stream that was cut, continued,
reordered or mixed with another does not open; but that it was cut shows at its end only. Whoever opens a stream keeps
nothing of it until the end has come.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.sealing import padme
from crypto.wrapping import KEY_BYTES, Key, context
from domain.errors import SealBroken
from domain.ids import TenantId, ThingId

SEGMENT_BYTES = 2**20
TAG_BYTES = 16
SALT_BYTES = 32
PREFIX_BYTES = 7
HEADER_BYTES = 1 + SALT_BYTES + PREFIX_BYTES

_MARK = b"\x80"
#: Zeros are given out in pieces of this many bytes: the padding of a large file is larger than memory should be.
_ZEROS = bytes(64 * 1024)


def blob_bound(tenant: TenantId, thing: ThingId, blob_id: UUID) -> bytes:
    """Say where a file belongs: the associated data of its stream."""
    return context(b"sealdesk/blob/1", tenant.bytes, thing.bytes, blob_id.bytes)


def seal_stream(key: Key, bound: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Seal a file under a key that nothing else uses. Chunks may have any size; what comes out are segments."""
    return encrypted(key, bound, padded(chunks))


def open_stream(key: Key, bound: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Open what `seal_stream` sealed. Nothing comes out of a segment that is not authentic.

    Raises:
        SealBroken: the stream was changed, cut, continued or reordered, or belongs elsewhere. What came out before is
            a true beginning of the file and no more.
    """
    return unpadded(decrypted(key, bound, chunks))


# -- the cipher -------------------------------------------------------------------------------------------------------


def encrypted(key: Key, bound: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Encrypt a stream as Tink does, without padding."""
    salt, prefix = os.urandom(SALT_BYTES), os.urandom(PREFIX_BYTES)
    cipher = _cipher(key, salt, bound)
    header = bytes((HEADER_BYTES,)) + salt + prefix
    room = SEGMENT_BYTES - TAG_BYTES
    for number, (segment, last) in enumerate(cut(chunks, room - HEADER_BYTES, room)):
        yield header + cipher.encrypt(_nonce(prefix, number, last), segment, None)
        header = b""


def decrypted(key: Key, bound: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decrypt a stream as Tink does, a segment at a time.

    Raises:
        SealBroken: see `open_stream`.
    """
    pieces = cut(chunks, SEGMENT_BYTES, SEGMENT_BYTES)
    first, only = next(pieces)
    if len(first) < HEADER_BYTES or first[0] != HEADER_BYTES:
        raise SealBroken("this is no sealed file of version 1")
    cipher = _cipher(key, first[1 : 1 + SALT_BYTES], bound)
    prefix = first[1 + SALT_BYTES : HEADER_BYTES]
    for number, (segment, last) in enumerate(chain([(first[HEADER_BYTES:], only)], pieces)):
        try:
            plain = cipher.decrypt(_nonce(prefix, number, last), segment, None)
        except (InvalidTag, ValueError):
            raise SealBroken("a sealed file was changed, or its key is another's") from None
        yield plain


def _cipher(key: Key, salt: bytes, bound: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=salt, info=bound).derive(key.material))


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes((last,))


def cut(chunks: Iterable[bytes], first: int, size: int) -> Iterator[tuple[bytes, bool]]:
    """Cut a stream into pieces of these sizes, and say of each whether it is the last. An empty stream is one piece."""
    held, room = bytearray(), first
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            if len(held) == room:
                # Something follows, so this one is not the last.
                yield bytes(held), False
                held.clear()
                room = size
            part = rest[: room - len(held)]
            held += part
            rest = rest[len(part) :]
    yield bytes(held), True


# -- the padding ------------------------------------------------------------------------------------------------------


def padded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pad a stream to the Padme length of itself and the mark, so that the stored size says little of the true one."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        yield chunk
    size += len(_MARK)
    yield _MARK
    yield from _zeros(padme(size) - size)


def unpadded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Take the padding off. A mark and the zeros behind it are counted, not held, until it shows whether they are it.

    Raises:
        SealBroken: there is no padding, so `padded` did not make this.
    """
    marked, zeros = False, 0
    for chunk in chunks:
        said = chunk.rstrip(b"\0")
        if marked and not said:
            zeros += len(chunk)
            continue
        if marked:
            yield _MARK
            yield from _zeros(zeros)
        marked, zeros = said.endswith(_MARK), len(chunk) - len(said)
        if content := said.removesuffix(_MARK) if marked else chunk:
            yield content
    if not marked:
        raise SealBroken("a sealed file has no padding")


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield _ZEROS[:count]
        count -= len(_ZEROS)
