"""Wrap one key under another: AES-256-GCM (NIST SP 800-38D), nonce from the operating system.

A wrapped key is `nonce (12) | ciphertext (32) | tag (16)` = 60 bytes; each further layer adds 28. The associated
data are the length-prefixed ids of both ends, so that a wrapped key opens only at its own place in the tree.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import SealBroken

NONCE_BYTES = 12
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Key:
    """Hold 32 bytes of key material. Never printed, never compared, never longer alive than its batch."""

    material: bytes = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.material) != KEY_BYTES:
            raise SealBroken("a key must have 32 bytes")


def new_key() -> Key:
    """Make a key from the operating system's randomness."""
    return Key(os.urandom(KEY_BYTES))


def context(*parts: bytes) -> bytes:
    """Join associated data so that no two different lists give the same bytes: each part after its u16 length."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def wrap(parent: Key, child: bytes, *, ends: bytes) -> bytes:
    """Encrypt `child` (key material, or a key that is wrapped already) under `parent`, bound to `ends`."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(parent.material).encrypt(nonce, child, ends)


def unwrap(parent: Key, wrapped: bytes, *, ends: bytes) -> bytes:
    """Decrypt what `wrap` made.

    Raises:
        SealBroken: the bytes, the parent or the ends are not those of the wrapping.
    """
    try:
        return AESGCM(parent.material).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], ends)
    except (InvalidTag, ValueError):
        raise SealBroken("a wrapped key does not open at its place") from None
