"""A certificate is the signed account of a shred. It proves what was done and names nobody.

Rule: no SubjectId, key id, reference or reason stands in it; it points at the ledger by a salted commitment,
which only the holder of the line can check.

A certificate is a flat JSON object around the body:

    format        `sealdesk-certificate/1`
    ...           the body; keys that a reader does not know are signed as well
    public_key    base64: the 32 bytes of the Ed25519 key (RFC 8032) that signed it
    signature     base64: Ed25519 over SIGNED_AS and the canonical bytes of everything but the signature

The body is what `crypto.accounts` draws up. Canonical bytes are those of `crypto.canonical`: white space and the order
of keys in a stored certificate do not matter.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from crypto.accounts import LATER, Body
from crypto.canonical import as_base64, as_time, canonical
from crypto.roots import locked, once, private_folder, reachable, write_new
from domain.errors import CertificateInvalid, KeysUnavailable, SettingsWrong

FORMAT = "sealdesk-certificate/1"
SIGNED_AS = b"sealdesk-certificate/1\n"
OURS = frozenset({"format", "public_key", "signature"})
PUBLIC_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Verified:
    """A certificate that is whole. Only with `origin_checked` is it known who signed it."""

    origin_checked: bool


def load_or_create(folder: Path) -> Ed25519PrivateKey:
    """Load the key that signs certificates. The first use makes it, and `certificate.pub` for who verifies.

    The folder is neither that of the roots nor within the data folder.

    Raises:
        KeysUnavailable: the key cannot be reached, or the file holds something else.
        RootsUnsafe: others can read it.
        SettingsWrong: `certificate.pub` belongs to another key.
    """
    private, public = folder / "certificate.key", folder / "certificate.pub"
    with reachable(folder):
        private_folder(folder)
        pem = once(private, _new_signing_key)
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeysUnavailable(f"{private}: this is no Ed25519 key in PEM form")
        half = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with locked(folder):
            try:
                exported = public.read_bytes()
            except FileNotFoundError:
                write_new(public, half, mode=0o644)
            else:
                if exported != half:
                    raise SettingsWrong(f"{public}: this is not the public half of {private.name}")
    return key


def sign(body: Body, key: Ed25519PrivateKey) -> dict[str, Any]:
    """Make a certificate of a body.

    Raises:
        CertificateInvalid: the body holds what canonical JSON cannot say, or a key that the signature needs.
    """
    if not OURS.isdisjoint(body):
        raise CertificateInvalid("the body uses a key that belongs to the signature")
    certificate = {"format": FORMAT, **body, "public_key": as_base64(key.public_key().public_bytes_raw())}
    return certificate | {"signature": as_base64(key.sign(_to_sign(certificate)))}


def verify(certificate: dict[str, Any], public_key: bytes | None = None) -> Verified:
    """Check that a certificate is unchanged, and with a public key (PEM or 32 bytes) also who signed it.

    Without `public_key` the key inside the certificate is used. That finds every change, but anybody could
    have signed the whole.

    Raises:
        CertificateInvalid: it was changed, is not whole, or was signed by another key.
    """
    if not isinstance(certificate, dict) or certificate.get("format") != FORMAT:
        raise CertificateInvalid(f"this is no certificate of the format {FORMAT}")
    embedded = _from_base64(certificate.get("public_key"))
    if public_key is not None and _raw(public_key) != embedded:
        raise CertificateInvalid("the certificate was signed by another key")
    said = {name: value for name, value in certificate.items() if name != "signature"}
    try:
        key = Ed25519PublicKey.from_public_bytes(embedded)
        key.verify(_from_base64(certificate.get("signature")), _to_sign(said))
    except (InvalidSignature, ValueError):
        raise CertificateInvalid("the signature does not fit the certificate") from None
    return Verified(origin_checked=public_key is not None)


def reissued(
    certificate: dict[str, Any], changes: Mapping[str, Any], key: Ed25519PrivateKey, *, at: datetime
) -> dict[str, Any]:
    """Sign a certificate anew with some entries changed; the same one comes back where nothing changes.

    Only an entry of `LATER` can change; a time is given as an aware datetime. Id and all else stay.

    Raises:
        CertificateInvalid: an entry may not change, or has no canonical form.
    """
    if not LATER.issuperset(changes):
        raise CertificateInvalid("what a certificate says of the shred itself does not change")
    said = {name: as_time(value) if isinstance(value, datetime) else value for name, value in changes.items()}
    if all(name in certificate and certificate[name] == value for name, value in said.items()):
        return certificate
    body = {name: value for name, value in certificate.items() if name not in OURS}
    return sign(body | said | {"issued_at": as_time(at)}, key)


def _to_sign(said: dict[str, Any]) -> bytes:
    return SIGNED_AS + canonical(said)


def _new_signing_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _raw(public_key: bytes) -> bytes:
    if len(public_key) == PUBLIC_KEY_BYTES:
        return public_key
    try:
        key = load_pem_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsWrong("the public key is neither PEM nor 32 bytes of Ed25519")
    return key.public_bytes_raw()


def _from_base64(text: object) -> bytes:
    """Read base64 in its one form: a last character whose spare bits were changed is refused."""
    try:
        content = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        content = b""
    if not content or as_base64(content) != text:
        raise CertificateInvalid("the key or the signature of the certificate is not whole")
    return content
