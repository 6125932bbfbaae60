"""A certificate is the signed account of a shred. It proves what was done and names nobody.

Rule: no SubjectId, key id, reference or reason stands in it; it points at the ledger by a salted commitment,
which only the holder of the line can check.

A certificate is a flat JSON object around the body:

    format        `sealdesk-certificate/1`
    ...           the body; keys that a reader does not know are signed as well
    public_key    base64: the 32 bytes of the Ed25519 key (RFC 8032) that signed it
    signature     base64: Ed25519 over SIGNED_AS and the canonical bytes of everything but the signature

Canonical bytes are those of RFC 8785 (JSON Canonicalization Scheme), for the part of JSON that certificates
use: objects with ASCII keys, arrays, strings, integers that a double holds exactly, true, false and null.
Anything else, floats above all, is refused. White space and the order of keys in a stored certificate do not
matter.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import orjson
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

from crypto.roots import locked, once, private_folder, reachable, write_new
from domain.errors import CertificateInvalid, KeysUnavailable, SettingsWrong

FORMAT = "sealdesk-certificate/1"
SIGNED_AS = b"sealdesk-certificate/1\n"
OURS = frozenset({"format", "public_key", "signature"})
EXACT_INTEGERS = 2**53 - 1
DEEPEST = 16
#: What becomes known only after a shred is done: a certificate is issued again when it changes.
LATER = frozenset({"told", "source_cleared_since", "quarantine", "unrecoverable_since"})
#: Whether records come in through topics of Kafka, where they lie until they are cleared.
TOPICS_READ, NO_TOPICS = "topics are read here", "no topics are read here"
PUBLIC_KEY_BYTES = 32
#: A kind, a ground or a place is a phrase of our own vocabulary; no inside id and no address fits in.
PHRASE = re.compile(r"(?!.*[0-9a-fA-F]{8})[A-Za-z0-9][A-Za-z0-9_ .,:()/-]{0,119}")

Body: TypeAlias = dict[str, Any]


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
    certificate = {"format": FORMAT, **body, "public_key": _base64(key.public_key().public_bytes_raw())}
    return certificate | {"signature": _base64(key.sign(_to_sign(certificate)))}


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


def shred_certificate(
    *,
    certificate_id: UUID,
    kind: str,
    ground: str,
    issued_at: datetime,
    unreadable_since: datetime,
    unrecoverable_since: datetime | None,
    meaning_of_destruction: str,
    ledger_salt: bytes,
    ledger_commitment: bytes,
    counts: Mapping[str, int],
    residue_found: int,
    searched: Sequence[str],
    not_searched: Sequence[str],
    living_text_searched: bool,
    living_text_found: int | None,
    living_text_not_judged: int = 0,
    residue_not_judged: int = 0,
    quarantine_dropped: int = 0,
    quarantine_not_judged: int = 0,
    quarantine_not_judged_gone_by: date | None = None,
    told: Body | None = None,
    sources: str = NO_TOPICS,
) -> Body:
    """Draw up the account of one shred, to be signed.

    `certificate_id` is random and used nowhere else. `meaning_of_destruction` is the sentence of the root
    provider; `unrecoverable_since` stays None until the last root that ever stood above the key is destroyed.
    `quarantine_dropped` counts records of the person that waited there, `quarantine_not_judged` those that nobody
    could read, `quarantine_not_judged_gone_by` the day by which they are gone. `counts` says how much was erased at
    each place (facts, things, references, blanked rows); `searched` and `not_searched` name the places of the residue
    search. `residue_not_judged` and `living_text_not_judged` count seals that somebody has changed, so that nobody can
    say of them what they hold. `told` is what `told_entry` gives.
    `sources` is `TOPICS_READ` or `NO_TOPICS`; `source_cleared_since` is none until no topic holds what was published
    before the shred.
    """
    gone_by = quarantine_not_judged_gone_by
    if living_text_searched is (living_text_found is None):
        raise ValueError("living text has a count if it was searched, and only then")
    for phrase in (kind, ground, *counts, *searched, *not_searched):
        if not PHRASE.fullmatch(phrase):
            raise ValueError("a kind, a ground and a place are phrases of our own vocabulary")
    return {
        "certificate_id": str(certificate_id),
        "kind": kind,
        "ground": ground,
        "issued_at": _time(issued_at),
        "unreadable_since": _time(unreadable_since),
        "unrecoverable_since": None if unrecoverable_since is None else _time(unrecoverable_since),
        "meaning_of_destruction": meaning_of_destruction,
        "sources": sources,
        "source_cleared_since": None,
        "ledger_commitment": {"salt": _base64(ledger_salt), "commitment": _base64(ledger_commitment)},
        "counts": dict(counts),
        "residue": {
            "found": residue_found,
            "not_judged": residue_not_judged,
            "searched": list(searched),
            "not_searched": list(not_searched),
        },
        "living_text": {
            "searched": living_text_searched,
            "found": living_text_found,
            "not_judged": living_text_not_judged,
        },
        "quarantine": {
            "dropped": quarantine_dropped,
            "not_judged": quarantine_not_judged,
            "not_judged_gone_by": None if gone_by is None else gone_by.isoformat(),
        },
        "told": told_entry() if told is None else told,
    }


def told_entry(
    *,
    recipients: int = 0,
    acknowledged: int = 0,
    deadline: datetime | None = None,
    outbox_key_destroyed_at: datetime | None = None,
    unnamed: int = 0,
    in_clear: int = 0,
    in_clear_until: datetime | None = None,
) -> Body:
    """Write the entry `told`: how many recipients were to be told (Article 19 GDPR), and how many have acknowledged.

    Until `outbox_key_destroyed_at` what upstream called the person and things is kept here, sealed, and nowhere else
    here; its last key dies with the last acknowledgement, or at the deadline. `in_clear` counts recipients without a
    key, to whom it was sent in clear: the topic holds that until `in_clear_until`. `unnamed` counts things that went
    and that nobody could be told of, because changed seals hid what upstream called them.
    """
    return {
        "recipients": recipients,
        "acknowledged": acknowledged,
        "unnamed": unnamed,
        "in_clear": in_clear,
        "in_clear_until": None if in_clear_until is None else _time(in_clear_until),
        "deadline": None if deadline is None else _time(deadline),
        "outbox_key_destroyed_at": None if outbox_key_destroyed_at is None else _time(outbox_key_destroyed_at),
    }


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
    said = {name: _time(value) if isinstance(value, datetime) else value for name, value in changes.items()}
    if all(name in certificate and certificate[name] == value for name, value in said.items()):
        return certificate
    body = {name: value for name, value in certificate.items() if name not in OURS}
    return sign(body | said | {"issued_at": _time(at)}, key)


def canonical(value: object) -> bytes:
    """Write the canonical bytes of a value, or refuse it.

    Raises:
        CertificateInvalid: it holds what canonical JSON cannot say.
    """
    _refuse_ambiguous(value, depth=0)
    try:
        # Of what passed, orjson writes what RFC 8785 asks for: shortest escapes, and ASCII keys sort alike.
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise CertificateInvalid("a text of the certificate is no valid Unicode") from None


def _refuse_ambiguous(value: object, *, depth: int) -> None:
    if depth > DEEPEST:
        raise CertificateInvalid("the certificate is nested too deeply")
    if value is None or type(value) in (str, bool):
        return
    if type(value) is int and abs(value) <= EXACT_INTEGERS:
        return
    if type(value) is list:
        for item in value:
            _refuse_ambiguous(item, depth=depth + 1)
        return
    if type(value) is dict and all(type(name) is str and name.isascii() for name in value):
        for item in value.values():
            _refuse_ambiguous(item, depth=depth + 1)
        return
    raise CertificateInvalid("the certificate holds a value that has no canonical form")


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


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _from_base64(text: object) -> bytes:
    """Read base64 in its one form: a last character whose spare bits were changed is refused."""
    try:
        content = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        content = b""
    if not content or _base64(content) != text:
        raise CertificateInvalid("the key or the signature of the certificate is not whole")
    return content


def _time(at: datetime) -> str:
    if at.utcoffset() is None:
        raise ValueError("a time is aware")
    return at.astimezone(UTC).isoformat(timespec="seconds")
