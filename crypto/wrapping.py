"""Wrap one key under another: AES-256-GCM (NIST SP 800-38D), nonce from the operating system.

A wrapped key is `nonce (12) | ciphertext (32) | tag (16)` = 60 bytes; each further layer adds 28. The associated
data are the length-prefixed ids of both ends, so that a wrapped key opens only at its own place in the tree.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import SealBroken

NONCE_BYTES = 12
KEY_BYTES = 32
#: Every length that a part may have, as it is written: associated data are joined several times a fact.
_LENGTHS = tuple(length.to_bytes(2, "big") for length in range(2**16))


class Key:
    """Hold 32 bytes of key material. Never printed, never compared, never longer alive than its batch."""

    __slots__ = ("_cipher", "material")

    def __init__(self, material: bytes) -> None:
        if len(material) != KEY_BYTES:
            raise SealBroken("a key must have 32 bytes")
        self.material = material
        self._cipher: AESGCM | None = None

    def __repr__(self) -> str:
        return "Key()"

    @property
    def cipher(self) -> AESGCM:
        """Set the cipher up once: a page key or an owner's key is used many times in one batch."""
        if self._cipher is None:
            self._cipher = AESGCM(self.material)
        return self._cipher


def new_key() -> Key:
    """Make a key from the operating system's randomness."""
    return Key(os.urandom(KEY_BYTES))


def context(*parts: bytes) -> bytes:
    """Join associated data so that no two different lists give the same bytes: each part after its u16 length.

    Raises IndexError for a part of 64 KiB or more; ids, types and declared names never are.
    """
    pieces: list[bytes] = []
    for part in parts:
        pieces += (_LENGTHS[len(part)], part)
    return b"".join(pieces)


def wrap(parent: Key, child: bytes, *, ends: bytes) -> bytes:
    """Encrypt `child` (key material, or a key that is wrapped already) under `parent`, bound to `ends`."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + parent.cipher.encrypt(nonce, child, ends)


def unwrap(parent: Key, wrapped: bytes, *, ends: bytes) -> bytes:
    """Decrypt what `wrap` made.

    Raises:
        SealBroken: the bytes, the parent or the ends are not those of the wrapping.
    """
    try:
        return parent.cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], ends)
    except (InvalidTag, ValueError):
        raise SealBroken("a wrapped key does not open at its place") from None
