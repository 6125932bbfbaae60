"""The public half of a desk's pair as a file: what a publisher needs to seal, signed by the desk.

A flat JSON object:

    format        `sealdesk-public-half/1`
    tenant        whose records are sealed with it
    epoch         number of the pair, from 1
    public_key    base64: the 32 bytes of the X25519 key (RFC 7748)
    made_at       when the pair was made, UTC
    signing_key   base64: the 32 bytes of the Ed25519 key (RFC 8032) that signs this desk's certificates
    signature     base64: Ed25519 over "sealdesk-public-half/1\\n" and the canonical bytes (RFC 8785) of all the rest

Rule: whoever swaps the key in this file reads everything that is sealed with it. So a publisher checks the signature,
against a `certificate.pub` that came another way than the file.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from crypto.canonical import canonical
from domain.errors import CertificateInvalid, SettingsWrong

FORMAT = "sealdesk-public-half/1"
_SIGNED_AS = FORMAT.encode() + b"\n"
_FIELDS = frozenset({"format", "tenant", "epoch", "public_key", "made_at", "signing_key", "signature"})


@dataclass(frozen=True, slots=True)
class PublicHalf:
    """What records of a tenant are sealed with, from one turn of its pair to the next."""

    tenant: str
    epoch: int
    key: X25519PublicKey = field(repr=False)
    made_at: datetime


def write_half(half: PublicHalf, signing: Ed25519PrivateKey) -> dict[str, Any]:
    """Write a public half as the object of its file, and sign it."""
    said = {
        "format": FORMAT,
        "tenant": half.tenant,
        "epoch": half.epoch,
        "public_key": base64.b64encode(half.key.public_bytes_raw()).decode(),
        "made_at": half.made_at.astimezone(UTC).isoformat(timespec="seconds"),
        "signing_key": base64.b64encode(signing.public_key().public_bytes_raw()).decode(),
    }
    return said | {"signature": base64.b64encode(signing.sign(_SIGNED_AS + canonical(said))).decode()}


def read_half(content: bytes, signed_by: bytes | None = None) -> PublicHalf:
    """Read the file of a public half and check its signature.

    `signed_by` is the desk's `certificate.pub` (PEM). Without it the key inside the file is used: that finds a damage,
    but anybody could have signed the whole.

    Raises:
        SettingsWrong: the file is no public half, was changed, or was signed by another key.
    """
    try:
        said = orjson.loads(content)
        if not isinstance(said, dict) or said.get("format") != FORMAT or said.keys() != _FIELDS:
            raise ValueError
        signing = _signing_key(said["signing_key"], signed_by)
        signed = {name: value for name, value in said.items() if name != "signature"}
        signing.verify(_bytes(said["signature"]), _SIGNED_AS + canonical(signed))
        if type(said["tenant"]) is not str or type(said["epoch"]) is not int or not 0 < said["epoch"] < 2**31:
            raise ValueError
        key = X25519PublicKey.from_public_bytes(_bytes(said["public_key"]))
        # A key of low order (RFC 7748, section 6.1) agrees on zeros with everybody; nothing is sealed to one.
        X25519PrivateKey.generate().exchange(key)
        return PublicHalf(said["tenant"], said["epoch"], key, datetime.fromisoformat(said["made_at"]))
    except (ValueError, TypeError, binascii.Error, InvalidSignature, CertificateInvalid):
        raise SettingsWrong(
            "This is no public half of a desk, or it was changed: ask for it anew, sealdesk keys public"
        ) from None


def _signing_key(embedded: object, trusted: bytes | None) -> Ed25519PublicKey:
    key = Ed25519PublicKey.from_public_bytes(_bytes(embedded))
    if trusted is None:
        return key
    try:
        ours = load_pem_public_key(trusted)
    except (ValueError, UnsupportedAlgorithm):
        ours = None
    if not isinstance(ours, Ed25519PublicKey):
        raise SettingsWrong("What has to have signed the public half is no Ed25519 key in PEM: give certificate.pub")
    if ours.public_bytes_raw() != key.public_bytes_raw():
        raise SettingsWrong("The public half was signed by another desk: ask for it anew, sealdesk keys public")
    return ours


def _bytes(text: object) -> bytes:
    if type(text) is not str:
        raise ValueError
    return base64.b64decode(text, validate=True)
