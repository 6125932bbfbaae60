"""Certify: judge the quarantine, draw up the account of a shred, sign it; and sign it anew when something changed.

What becomes known later (who was told, when the source was cleared) does not change what was done. So a certificate
that is issued again keeps its id and everything else, and has a later `issued_at`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from crypto import accounts, certificates, outbox
from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Line, commitment
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from domain.errors import NobodyCanAct, ReferenceUnknown
from domain.fact import FactAtRest
from domain.ids import TenantId
from services.living import Living
from services.proving.gathering import Known
from services.proving.proof import Proof
from services.quarantine import Quarantine
from services.residue import NOT_SEARCHED, Left

#: How long a request that began before a shred may still hold a key in memory, in seconds.
REQUEST_SECONDS = 30
SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Begun:
    """A shred whose key is gone: its row, its ledger line, and what the person was called, where that is needed.

    `known` is what to look for where a proof was ordered.
    """

    row: DictRow = field(repr=False)
    line: Line
    values: Sequence[str] = field(repr=False)
    known: Known | None = field(default=None, repr=False)


class Certifying:
    """Sign the accounts of shreds."""

    def __init__(
        self,
        keys: KeyStore,
        roots: Roots,
        signing: Ed25519PrivateKey,
        quarantine: Quarantine,
        living: Living,
        reads_topics: Callable[[], bool],
        clock: Callable[[], datetime],
        topic_days: int,
    ) -> None:
        self._keys = keys
        self._roots = roots
        self._signing = signing
        self._quarantine = quarantine
        self._living = living
        self._reads_topics = reads_topics
        self._clock = clock
        self._topic_days = topic_days

    def certify(
        self, row: DictRow, begun: Begun, left: Left, search_living: bool, proof: Proof | None = None
    ) -> dict[str, Any]:
        """Draw up and sign the account of a shred that is swept. `left` counts the residue of each place."""
        line, values = begun.line, begun.values
        if row["step"] == "finished":
            return dict(row["certificate"])
        if row["destroyed_at"] is None:
            raise NobodyCanAct("a destroyed key has no time of destruction")
        judged = self._quarantine.judge(TenantId(row["tenant"]), values, shred=row["shred_id"])
        counts = {name: int(count) for name, count in row["counts"].items()}
        # What a process dropped that died behind it.
        dropped = counts.pop("quarantine_dropped", 0) + judged.dropped
        changed: list[FactAtRest] = []
        in_text = self._living.count(TenantId(row["tenant"]), values, changed) if search_living and values else None
        salt = os.urandom(SALT_BYTES)
        account = accounts.shred_certificate(
            certificate_id=uuid4(),
            kind=row["kind"],
            ground=row["ground"],
            issued_at=self._clock(),
            unreadable_since=row["destroyed_at"] + timedelta(seconds=REQUEST_SECONDS),
            unrecoverable_since=None,
            meaning_of_destruction=self._roots.meaning_of_destruction(),
            ledger_salt=salt,
            ledger_commitment=commitment(line, salt=salt),
            counts=counts,
            quarantine_dropped=dropped,
            quarantine_not_judged=judged.not_judged,
            quarantine_not_judged_gone_by=judged.gone_by,
            residue_found=sum(left.found.values()),
            residue_not_judged=left.not_judged,
            searched=sorted(left.found),
            not_searched=list(NOT_SEARCHED if proof is None else proof.leaves_unsearched()),
            living_text_searched=in_text is not None,
            living_text_found=in_text,
            living_text_not_judged=len(changed),
            sources=accounts.TOPICS_READ if self._reads_topics() else accounts.NO_TOPICS,
            proof=None if proof is None else proof.as_entry(),
        )
        with self._keys.transaction() as cursor:
            # Under the lock of the row: whoever answers from here on finds a certificate to issue anew.
            [current] = rows_of(cursor, SQL.shred_by_id.sql, shred_id=row["shred_id"])
            if current["certificate"] is not None:
                # Somebody else was at it, too. One shred has one certificate.
                return dict(current["certificate"])
            body = account | {"told": self._told_of(cursor, row["shred_id"])}
            certificate = certificates.sign(body, self._signing)
            _store(cursor, row["shred_id"], certificate)
        return certificate

    def recertify(self, shred: UUID, **changes: Any) -> dict[str, Any] | None:
        """Issue the certificate of a shred anew with some entries changed. Returns the one that stands then.

        `changes` are entries of the body as they will stand there (a time as an aware datetime). None comes back where
        there is no certificate yet: whoever certifies will see what changed. Nothing is signed where nothing changes.

        Raises:
            CertificateInvalid: an entry is no part of a certificate, or has no canonical form.
        """
        with self._keys.transaction() as cursor:
            return self.recertify_within(cursor, shred, **changes)

    def standing(self, tenant: TenantId, certificate: str) -> dict[str, Any]:
        """Give a certificate as it was issued last, by its `certificate_id`.

        Raises:
            ReferenceUnknown: there is none of that id.
        """
        with self._keys.transaction() as cursor:
            rows = rows_of(cursor, SQL.shred_of_certificate.sql, tenant=tenant, certificate=certificate)
        if not rows:
            raise ReferenceUnknown("there is no certificate of that id")
        return dict(rows[0]["certificate"])

    def recertify_told(self, limit: int) -> int:
        """Issue the certificates anew that say less than is known of who was told. Returns how many there were."""
        with self._keys.transaction() as cursor:
            box = outbox.Outbox(Tree(cursor, self._roots))
            due = box.to_recertify(limit)
            for shred in due.values():
                rows_of(cursor, SQL.shred_by_id.sql, shred_id=shred)
                self.recertify_within(cursor, shred, told=self._told_of(cursor, shred))
            box.looked(list(due))
        return len(due)

    def _told_of(self, cursor: Cursor[DictRow], shred: UUID) -> accounts.Body:
        return outbox.told_of(cursor, shred, topic_days=self._topic_days)

    def recertify_within(self, cursor: Cursor[DictRow], shred: UUID, **changes: Any) -> dict[str, Any] | None:
        """Do the same in a transaction of the key database that is open already."""
        rows = rows_of(cursor, SQL.shred_by_id.sql, shred_id=shred)
        if not rows or rows[0]["certificate"] is None:
            return None
        old = dict(rows[0]["certificate"])
        new = certificates.reissued(old, changes, self._signing, at=self._clock())
        if new is not old:
            _store(cursor, shred, new)
        return new


def _store(cursor: Cursor[DictRow], shred: UUID, certificate: Mapping[str, Any]) -> None:
    cursor.execute(SQL.certify_shred.sql, {"shred_id": shred, "certificate": Jsonb(certificate)})
