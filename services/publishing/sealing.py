"""Sealing at the publisher: the topic holds an envelope and nothing that names anybody.

A sealed record is a CloudEvent in binary mode whose content type is `application/vnd.sealdesk.sealed`:

    in the clear   specversion, type, source, tenant, time, and `pairepoch`, the number of the desk's pair
    hashed         id, subject and the Kafka key: HMAC-SHA-256 under a secret of the publisher, base64url
    the value      an envelope (`crypto.envelopes`) around the whole event in JSON, bound to all that stands outside

The hashes are the same every time, so that a thing keeps its partition and a receipt finds its record; without the
secret nobody can tell by trying whose they are. The secret never leaves the publisher.
"""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import Any

import orjson

from crypto.envelopes import seal_envelope
from crypto.halves import PublicHalf, read_half
from crypto.roots import once, reachable
from crypto.wrapping import KEY_BYTES, Key, context, new_key
from domain.errors import KeysUnavailable, RecordInvalid, SettingsWrong
from services.publishing.line import Message
from services.publishing.sending import key_of, structured
from services.records import Parcel, record_hash
from services.sealed import EPOCH, SEALED_TYPE

_CLEAR = ("type", "source", "time")


class Sealer:
    """Seals the records of one tenant to the public half of its desk's pair."""

    def __init__(self, half: PublicHalf, secret: Key) -> None:
        self._half = half
        self._secret = secret

    @classmethod
    def read(cls, half: Path, secret: Path, signed_by: Path | None, *, unchecked: bool = False) -> Sealer:
        """Read the public half and the secret; the first use makes the secret (32 bytes, mode 0600).

        With `signed_by`, the desk's `certificate.pub`, it is known that the public half is the desk's, or was once: a
        half that was superseded is signed as well. Without it, `unchecked` has to say that this is meant.

        Raises:
            SettingsWrong: a file cannot be read, or is not what it should be, or nobody says what to check it by.
            KeysUnavailable, RootsUnsafe: the secret cannot be reached or made, or others can read it.
        """
        if signed_by is None and not unchecked:
            raise SettingsWrong(
                "Whoever swaps the public half reads what is sealed: check it by the desk's certificate.pub "
                "(signed_by, --signed-by), or say that it is not checked (unchecked=True, --unchecked)."
            )
        trusted = None if signed_by is None else _content(signed_by)
        return cls(read_half(_content(half), trusted), _read_secret(secret))

    def message(self, parcel: Parcel) -> Message:
        """Write one event as a sealed Kafka record.

        Raises:
            RecordInvalid: it is no valid event, or not of the tenant whose public half this is.
        """
        raw = structured(parcel)
        (draft,) = parcel.drafts
        if draft.tenant != self._half.tenant:
            raise RecordInvalid("wrong_tenant", "tenant")
        event: dict[str, Any] = orjson.loads(raw)
        attributes = {"specversion": "1.0", "tenant": draft.tenant, EPOCH: str(self._half.epoch)}
        attributes |= {name: event[name] for name in _CLEAR}
        attributes["id"] = self._hash("id", draft.tenant, draft.source, draft.id)
        if event.get("subject") is not None:
            attributes["subject"] = self._hash("subject", draft.tenant, event["subject"])
        value = seal_envelope(raw, self._half.key, epoch=self._half.epoch, attributes=attributes)
        headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
        return Message(
            self._hash("key", draft.tenant, key_of(draft).decode()).encode(),
            value,
            [("content-type", SEALED_TYPE.encode()), *headers],
            record_hash(draft.tenant, draft.source, attributes["id"]),
        )

    def _hash(self, *said: str) -> str:
        parts = [part.encode() for part in said]
        digest = hmac.digest(self._secret.material, context(b"sealdesk/publisher/1", *parts), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsWrong(f"{path} cannot be read: {error.strerror}.") from None


def _read_secret(path: Path) -> Key:
    with reachable(path):
        material = once(path, lambda: new_key().material)
    if len(material) != KEY_BYTES:
        raise KeysUnavailable(f"{path}: a secret has {KEY_BYTES} bytes, this file has {len(material)}")
    return Key(material)
