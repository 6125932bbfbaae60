"""Who is told, and how that stands: the recipients of a tenant with what they have acknowledged and what is overdue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow

from crypto.keystore import KeyStore, rows_of
from crypto.outbox import Outbox
from crypto.recipients import Recipients as Stored
from crypto.roots import Roots
from crypto.tree import SQL as TREE
from crypto.tree import Tree
from domain.errors import ReferenceUnknown
from domain.ids import TenantId
from services.log import Facts


class Recipients:
    """Add, remove and list recipients. Nothing personal comes back: news is named by inside ids."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots, clock: Callable[[], datetime]) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._clock = clock

    def add(self, tenant: TenantId, name: str, kinds: Collection[str], public_key: bytes | None = None) -> bytes:
        """Tell one more recipient, from now on. Returns the secret (32 bytes) that it signs its answers with.

        Raises:
            SettingsWrong: the name is taken or malformed, a kind is unknown, or the key is no X25519 key.
        """
        since = self._facts.head()
        with self._keys.transaction() as cursor:
            recipients = Stored(Tree(cursor, self._roots))
            return recipients.add(tenant, name, kinds, public_key=public_key, since=since, at=self._clock())

    def remove(self, tenant: TenantId, name: str) -> None:
        """Tell a recipient nothing more. What it had not acknowledged is not waited for.

        Raises:
            ReferenceUnknown: there is none of that name.
        """
        with self._keys.transaction() as cursor:
            recipients = Stored(Tree(cursor, self._roots))
            recipients.remove(recipients.named(tenant, name), at=self._clock())

    def send_again(self, tenant: TenantId, name: str) -> int:
        """Have everything sent once more that a recipient has not acknowledged. Returns how many records that is.

        Raises:
            ReferenceUnknown: there is none of that name.
        """
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            return Outbox(tree).send_again(Stored(tree).named(tenant, name))

    def all(self, tenant: TenantId) -> list[dict[str, Any]]:
        """List recipients, also those that were removed, with counts of their news by how it stands."""
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            recipients = Stored(tree).of(tenant, gone=True)
            rows = Outbox(tree).standing(tenant, at=self._clock())
        counts = Counter((row["recipient_id"], state_of(row)) for row in rows)
        return [
            {
                "name": recipient.name,
                "kinds": sorted(recipient.kinds),
                "sealed": recipient.sealed,
                "added": recipient.added_at.isoformat(),
                "removed": None if recipient.removed_at is None else recipient.removed_at.isoformat(),
                **{state: counts[recipient.id, state] for state in STATES},
            }
            for recipient in recipients
        ]

    def show(self, tenant: TenantId, name: str) -> list[dict[str, Any]]:
        """List the news of one recipient, oldest first, and how each stands.

        Raises:
            ReferenceUnknown: there is none of that name.
        """
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            recipient = Stored(tree).named(tenant, name)
            return _told(Outbox(tree).standing(tenant, at=self._clock(), recipient=recipient.id))

    def told(self, tenant: TenantId, certificate: str) -> list[dict[str, Any]]:
        """List who was told of the shred that a certificate is about. A person may ask for that (Article 19 GDPR).

        Raises:
            ReferenceUnknown: there is no such certificate.
        """
        with self._keys.transaction() as cursor:
            shreds = rows_of(cursor, TREE.shred_of_certificate.sql, tenant=tenant, certificate=certificate)
            if not shreds:
                raise ReferenceUnknown("there is no certificate of that id")
            outbox = Outbox(Tree(cursor, self._roots))
            return _told(outbox.standing(tenant, at=self._clock(), shred=shreds[0]["shred_id"]))


#: How a news stands with one recipient; the first that fits. `overtaken`: the person was shredded before it was
#: answered, and that is told instead. `missed`: its ids were gone before it was ever sent.
STATES = ("acknowledged", "overtaken", "missed", "overdue", "failed", "waiting", "unsent")


def state_of(row: DictRow) -> str:
    """Say how a news stands with one recipient."""
    if row["acknowledged"] == row["records"]:
        return "acknowledged"
    if row["overtaken"]:
        return "overtaken"
    if row["key_destroyed_at"] is not None and row["sent"] < row["records"]:
        return "missed"
    if row["overdue"]:
        return "overdue"
    if row["failed"]:
        return "failed"
    return "waiting" if row["sent"] == row["records"] else "unsent"


def _told(rows: Iterable[DictRow]) -> list[dict[str, Any]]:
    return [
        {
            "recipient": row["name"],
            "news": str(row["news_id"]),
            "kind": row["kind"],
            "at": row["made_at"].isoformat(),
            "records": row["records"],
            "sent": row["sent"],
            "acknowledged": row["acknowledged"],
            "state": state_of(row),
            "answered": None if row["answered_at"] is None else row["answered_at"].isoformat(),
            "deadline": row["deadline"].isoformat(),
        }
        for row in rows
    ]
