"""Seal a record at its publisher, to the public half of the desk's pair: format v1, byte by byte.

    envelope   = version (1: 0x01) | encapsulated key (32) | ciphertext | tag (16)
    cipher     = HPKE in base mode, one shot (RFC 9180, section 6.1): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
                 AES-256-GCM
    info       = part*, each part after its own length (2, big endian):
                 "sealdesk/envelope/1" | tenant | source | epoch of the pair (4, big endian) | (name | value)*
                 with every attribute that stands outside, sorted by name, in UTF-8
    plaintext  = JSON length (4, big endian) | CloudEvent in JSON | zeros up to the Padme length

Rule: an envelope opens only beside the attributes that it was sealed with. They stand in `info` and not in `aad`: RFC
9180, section 8.1, tells who seals in one shot to use `info`, and the key itself then depends on all of it. So any
library opens it whose one shot takes no `aad`, as those of pyca/cryptography and Tink.

HPKE authenticates no sender. Who may publish for a tenant is a matter of the topic.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from crypto.sealing import padme
from crypto.wrapping import context
from domain.errors import SealBroken

VERSION = 1
FORMAT = b"sealdesk/envelope/1"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_LENGTH_BYTES = 4
#: What an envelope has around its padded plaintext: version, encapsulated key, tag.
_FRAME_BYTES = 1 + 32 + 16


def envelope_bytes(event_bytes: int) -> int:
    """Say how many bytes the envelope of an event of so many bytes has."""
    return _FRAME_BYTES + padme(_LENGTH_BYTES + event_bytes)


def seal_envelope(event: bytes, to: X25519PublicKey, *, epoch: int, attributes: Mapping[str, str]) -> bytes:
    """Encrypt a CloudEvent (JSON) so that only the holder of the pair's private half reads it.

    `attributes` are all that will stand outside, among them `tenant` and `source`; a value has less than 64 KiB.
    """
    plain = len(event).to_bytes(_LENGTH_BYTES, "big") + event
    plain += bytes(padme(len(plain)) - len(plain))
    return bytes([VERSION]) + _SUITE.encrypt(plain, to, _bound(epoch, attributes))


def open_envelope(envelope: bytes, private: X25519PrivateKey, *, epoch: int, attributes: Mapping[str, str]) -> bytes:
    """Decrypt an envelope beside the attributes that stand outside, and return the CloudEvent.

    Raises:
        SealBroken: a byte or an attribute was changed, added or left out, or it was sealed to another pair.
    """
    if envelope[:1] != bytes([VERSION]):
        raise SealBroken("these bytes are no envelope of a known version")
    try:
        plain = _SUITE.decrypt(envelope[1:], private, _bound(epoch, attributes))
    except (InvalidTag, ValueError, IndexError, KeyError, OverflowError):
        raise SealBroken("an envelope does not open beside its attributes") from None
    end = _LENGTH_BYTES + int.from_bytes(plain[:_LENGTH_BYTES], "big")
    if len(plain) != padme(end) or any(plain[end:]):
        raise SealBroken("an envelope is not padded as ours are")
    return plain[_LENGTH_BYTES:end]


def _bound(epoch: int, attributes: Mapping[str, str]) -> bytes:
    said = [part.encode() for name in sorted(attributes) for part in (name, attributes[name])]
    return context(
        FORMAT, attributes["tenant"].encode(), attributes["source"].encode(), epoch.to_bytes(4, "big"), *said
    )
