"""Recipients: whom a tenant passed data on to, the secret each signs its answers with, and the key news is sealed to.

An answer is signed with HMAC-SHA-256 (RFC 2104) under the 32 bytes that the recipient got when it was added, over

    sealdesk-reply/1 LF record id LF status        (UTF-8, the id in lower case with hyphens)

News is signed with HMAC-SHA-256 under the same secret, so that nobody else who may write the topic can order anything

    sealdesk-told/1 LF record id LF type LF tenant LF recipient LF time LF content

where the content is `data_base64` as it stands there, or the canonical JSON (RFC 8785) of `data`.

News for a recipient with a public key travels as HPKE in base mode (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM),
`encapsulated key (32) | ciphertext`, with the info

    sealdesk-news/1 LF record id LF type LF tenant LF recipient

The plaintext is JSON, padded with spaces up to the Padme length (see `crypto.sealing`).

The secret is a row of `wrapping_keys`, so that a turn of the root epoch takes it along like every key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal, get_args
from uuid import UUID, uuid4

import aiosql
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from crypto.keystore import rows_of
from crypto.sealing import padme
from crypto.tree import Tree
from domain.errors import ReferenceUnknown, SettingsWrong
from domain.ids import TenantId

SQL: Any = aiosql.from_str((files("crypto") / "sql/outbox.sql").read_text(), "psycopg", mandatory_parameters=False)

#: What a recipient can be told. Whoever is told of restrictions is told of their end.
Kind = Literal["erased", "content_erased", "rectified", "restricted", "unrestricted"]
WANTED: tuple[Kind, ...] = ("erased", "content_erased", "rectified", "restricted")
#: `done`: it is erased, or whatever the news asks for. `unknown`: we have nothing of these. `failed`: not yet.
Status = Literal["done", "unknown", "failed"]
STATUSES: frozenset[str] = frozenset(get_args(Status))

#: A name stands in records and on screens, and is a word like that of a topic: no address fits in.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: RFC 7748.
PUBLIC_KEY_BYTES = 32
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who is told. `since` is the head of the log when it was added: nothing before concerns it."""

    id: UUID
    tenant: TenantId
    name: str
    kinds: frozenset[str]
    since: int
    added_at: datetime
    removed_at: datetime | None
    sealed: bool

    def wants(self, kind: Kind) -> bool:
        """Tell whether this recipient is to be told of such news."""
        return ("restricted" if kind == "unrestricted" else kind) in self.kinds


class Recipients:
    """The recipients, inside one transaction of the key database."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def of(self, tenant: TenantId | None = None, *, gone: bool = False) -> list[Recipient]:
        """List the recipients of a tenant, or of all; with `gone` also those that were removed."""
        rows = rows_of(self._tree.cursor, SQL.recipients_of.sql, tenant=tenant, gone=gone)
        return [
            Recipient(
                row["recipient_id"],
                TenantId(row["tenant"]),
                row["name"],
                frozenset(row["kinds"]),
                row["since"],
                row["added_at"],
                row["removed_at"],
                row["public_key"] is not None,
            )
            for row in rows
        ]

    def named(self, tenant: TenantId, name: str) -> Recipient:
        """Find a recipient by name.

        Raises:
            ReferenceUnknown: there is none of that name.
        """
        for recipient in self.of(tenant):
            if recipient.name == name:
                return recipient
        raise ReferenceUnknown("there is no recipient of that name; list them with: sealdesk recipients list")

    def add(
        self,
        tenant: TenantId,
        name: str,
        kinds: Collection[str],
        *,
        public_key: bytes | None,
        since: int,
        at: datetime,
    ) -> bytes:
        """Add a recipient, and give the secret (32 bytes) that it signs its answers with. Nobody can read it again.

        `public_key` is X25519 in PEM form or as 32 bytes.

        Raises:
            SettingsWrong: the name is taken or malformed, a kind is unknown, or the key is no X25519 key.
        """
        if not NAME.fullmatch(name):
            raise SettingsWrong("a recipient's name has up to 63 small letters, digits, dots, hyphens and underscores")
        if not kinds or not set(kinds) <= set(WANTED):
            raise SettingsWrong(f"a recipient is told of one or more of: {', '.join(WANTED)}")
        raw = None if public_key is None else _raw(public_key)
        if any(recipient.name == name for recipient in self.of(tenant)):
            raise SettingsWrong("there is a recipient of that name already; remove it first, or choose another name")
        secret = self._tree.new_wrapping_key(tenant, "recipient")
        self._tree.cursor.execute(
            SQL.add_recipient.sql,
            {
                "recipient_id": uuid4(),
                "tenant": tenant,
                "name": name,
                "kinds": sorted(kinds),
                "key_id": secret.id,
                "public_key": raw,
                "since": since,
                "at": at,
            },
        )
        return secret.key.material

    def remove(self, recipient: Recipient, *, at: datetime) -> None:
        """Tell a recipient nothing more, and wait for no answer of it. That it was told stays known."""
        self._tree.cursor.execute(SQL.remove_recipient.sql, {"recipient_id": recipient.id, "at": at})


def sign_reply(secret: bytes, record: UUID, status: str) -> bytes:
    """Sign an answer (32 bytes), as a recipient does."""
    return hmac.digest(secret, f"sealdesk-reply/1\n{record}\n{status}".encode(), "sha256")


def is_signed(secret: bytes, record: UUID, status: str, mac: bytes) -> bool:
    """Tell whether an answer is the recipient's own, in a time that says nothing of the right one."""
    return hmac.compare_digest(sign_reply(secret, record, status), mac)


def sign_news(secret: bytes, event: Mapping[str, str], content: bytes) -> bytes:
    """Sign a record for a recipient (32 bytes): the attributes of its event, and its content as bytes."""
    said = "\n".join(["sealdesk-told/1", *(event[name] for name in ("id", "type", "tenant", "recipient", "time"))])
    return hmac.digest(secret, said.encode() + b"\n" + content, "sha256")


def seal_news(public_key: bytes, content: bytes, *, record: UUID, type_: str, tenant: str, recipient: str) -> bytes:
    """Seal what a record says to one recipient: only the private key opens it, and only as this record.

    `content` is JSON. Spaces behind it hide how long it is, as far as Padme does.
    """
    info = f"sealdesk-news/1\n{record}\n{type_}\n{tenant}\n{recipient}".encode()
    padded = content.ljust(padme(len(content)), b" ")
    return _SUITE.encrypt(padded, X25519PublicKey.from_public_bytes(public_key), info)


def _raw(public_key: bytes) -> bytes:
    try:
        raw = len(public_key) == PUBLIC_KEY_BYTES
        key = X25519PublicKey.from_public_bytes(public_key) if raw else load_pem_public_key(public_key)
        if isinstance(key, X25519PublicKey):
            # A point of small order is found here, and not when there is news.
            _SUITE.encrypt(b"", key, b"")
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, X25519PublicKey):
        raise SettingsWrong("the public key of a recipient is X25519: openssl genpkey -algorithm x25519 makes a pair")
    return key.public_bytes_raw()
