"""The quarantine: records that could not be taken, sealed whole under the key of their day.

They can be listed without opening any, shown with a reason, taken up again, dropped, and they end with the key of their
day. A shred judges them: a record that holds a reference or a value of the person goes; one that cannot be read is
counted, and ends with its day.

Rule: what names no known tenant, or one that its topic may not claim, lies under the house. No tenant is shown it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow

from crypto.keystore import KeyStore, rows_of
from crypto.register import Register
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from domain.errors import ReferenceUnknown
from domain.ids import HOUSE, TenantId
from domain.personal import Reference
from services.log import STATEMENTS, Facts
from services.naming import events_in, fenced_among, references_named, says
from services.opening_records import opened_records
from services.records import Place, place_of
from services.sealed import sealed_in

#: Rows that are opened together, and the bytes of their seals after which a page ends: a record may have 4 MiB.
PAGE = 1_000
PAGE_BYTES = 32 * 1024 * 1024
DAYS = 14
#: Reasons of records that are kept as ciphertext, or as a batch that may be compressed.
_BLIND = frozenset({"seal_broken", "pair_unknown", "corrupt"})
#: As a LIMIT, this is none.
_ALL = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Some records of a tenant: those of these reason codes, from these topics, with these ids. None is any."""

    codes: Collection[str] | None = None
    topics: Collection[str] | None = None
    ids: Collection[UUID] | None = None

    def as_parameters(self) -> dict[str, Any]:
        """Say the same for a statement."""
        given = {"codes": self.codes, "topics": self.topics, "ids": self.ids}
        return {name: None if which is None else list(which) for name, which in given.items()}


EVERY = Choice()


@dataclass(frozen=True, slots=True)
class Opened:
    """A record in memory, as it came."""

    id: UUID
    place: Place | None
    raw: bytes = field(repr=False)
    told_as: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a shred found in the quarantine: how many records went, how many nobody could judge.

    The latter are gone by the day `gone_by`, None if there are none.
    """

    dropped: int
    not_judged: int
    gone_by: date | None


class Quarantine:
    """The quarantined records of one installation. A record stays for `days` days after the day it came."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots, days: int = DAYS) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._days = days

    def listed(
        self, tenant: TenantId, choice: Choice = EVERY, *, limit: int | None = None, after: UUID | None = None
    ) -> Iterator[dict[str, Any]]:
        """List a tenant's records, or those of the house, as they came; those behind one of them. Open none.

        Raises:
            ReferenceUnknown: there is no record with the id `after`.
        """
        at = 0 if after is None else self._arrived(tenant, after)
        left = _ALL if limit is None else limit
        while left > 0:
            parameters = {"tenant": tenant, "after": at, "limit": min(left, PAGE), **choice.as_parameters()}
            with self._facts.cursor() as cursor:
                rows = cursor.execute(STATEMENTS.quarantine_list.sql, parameters).fetchall()
            yield from (self._shown(row) for row in rows)
            if len(rows) < PAGE:
                return
            at, left = rows[-1]["arrived"], left - len(rows)

    def _shown(self, row: DictRow) -> dict[str, Any]:
        return {
            "record": str(row["quarantine_id"]),
            "code": row["code"],
            "path": row["path"],
            "at": row["at"].isoformat(),
            "gone_by": self._gone_by(row["at"]).isoformat(),
            "topic": row["topic"],
            "partition": row["partition"],
            "offset": row["record_offset"],
            "waits": row["waits_for"] is not None,
        }

    def summary(self, tenant: TenantId, choice: Choice = EVERY) -> list[dict[str, Any]]:
        """Count records by reason code, declared field and topic, with the times of the oldest and the newest."""
        with self._facts.cursor() as cursor:
            rows = cursor.execute(
                STATEMENTS.quarantine_summary.sql, {"tenant": tenant, **choice.as_parameters()}
            ).fetchall()
        return [row | {"oldest": row["oldest"].isoformat(), "newest": row["newest"].isoformat()} for row in rows]

    def show(self, tenant: TenantId, record: UUID) -> bytes:
        """Open one record. Leave an access line before.

        Raises:
            ReferenceUnknown: there is no such record, or its day is over.
        """
        for opened in self.opened(tenant, Choice(ids=[record])):
            return opened.raw
        raise ReferenceUnknown("there is no such record in the quarantine; list them with: sealdesk quarantine list")

    def drop(self, tenant: TenantId, choice: Choice) -> int:
        """Destroy the keys of some records, and the records. Returns how many there were."""
        dropped = 0
        for rows in self._pages(tenant, choice):
            self._destroy(rows)
            dropped += len(rows)
        return dropped

    def opened(self, tenant: TenantId, choice: Choice = EVERY) -> Iterator[Opened]:
        """Open some records, page by page, as they came."""
        for page in self.opened_pages(tenant, choice):
            yield from page

    def opened_pages(self, tenant: TenantId, choice: Choice = EVERY) -> Iterator[list[Opened]]:
        """Open some records. A page holds few enough to be in memory at once."""
        for rows in self._pages(tenant, choice):
            yield [
                Opened(row["quarantine_id"], place_of(row), raw, row["told_as"])
                for row, raw in opened_records(self._keys, self._roots, rows)
            ]

    def expire(self, *, at: datetime) -> int:
        """Let the records go that have had their days, through the death of their day's key. Returns how many."""
        oldest = (at - timedelta(days=self._days)).date()
        with self._keys.transaction() as cursor:
            cursor.execute(SQL.expire_days.sql, {"oldest": oldest.isoformat()})
        with self._facts.cursor() as cursor:
            return cursor.execute(STATEMENTS.expire_quarantine.sql, {"oldest": oldest}).rowcount

    def judge(self, tenant: TenantId, values: Sequence[str], *, shred: UUID | None = None) -> Judgement:
        """Drop a tenant's records that hold a fenced reference, or one of these values.

        The row of `shred` counts those that went for it, also if a crash comes before anybody is told.

        What names no known tenant cannot be judged, nor can ciphertext, what is compressed, or what was cut; nor,
        without values to look for, what is no JSON.
        """
        wanted = [value.casefold() for value in values]
        dropped, unjudged, newest = 0, *self._of_the_house()
        for rows in self._pages(tenant, EVERY):
            condemned: list[DictRow] = []
            page = list(opened_records(self._keys, self._roots, rows))
            named = [references_named(raw) for _, raw in page]
            fenced = self._fenced(tenant, {reference for found in named for reference in found})
            for (row, raw), found in zip(page, named, strict=True):
                if not fenced.isdisjoint(found) or says(raw, wanted):
                    condemned.append(row)
                elif _is_blind(row["code"], raw, bool(wanted)):
                    unjudged += 1
                    newest = row["at"] if newest is None else max(newest, row["at"])
            self._destroy(condemned, shred)
            dropped += len(condemned)
        return Judgement(dropped, unjudged, None if newest is None else self._gone_by(newest))

    def is_empty(self, tenant: TenantId) -> bool:
        """Tell whether nothing of this tenant is in the quarantine."""
        return next(self.listed(tenant, limit=1), None) is None

    def count_unclaimed(self) -> int:
        """Count the records that lie under the house."""
        return self._of_the_house()[0]

    def _of_the_house(self) -> tuple[int, datetime | None]:
        """Count the records of no known tenant, and say when the newest came."""
        with self._facts.cursor() as cursor:
            [row] = cursor.execute(STATEMENTS.quarantine_count.sql, {"tenant": HOUSE}).fetchall()
        return row["records"], row["newest"]

    def _fenced(self, tenant: TenantId, references: Collection[Reference]) -> set[Reference]:
        if not references:
            return set()
        with self._keys.transaction() as cursor:
            return fenced_among(Register(Tree(cursor, self._roots), tenant), references)

    def _arrived(self, tenant: TenantId, record: UUID) -> int:
        given = {"tenant": tenant, "after": 0, "limit": 1, **Choice(ids=[record]).as_parameters()}
        with self._facts.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.quarantine_list.sql, given).fetchall()
        if not rows:
            raise ReferenceUnknown("There is no record with the id that --after names.")
        return int(rows[0]["arrived"])

    def _pages(self, tenant: TenantId, choice: Choice) -> Iterator[list[DictRow]]:
        """Read records with their seals, as they came; what comes meanwhile is read, too."""
        after = 0
        while True:
            bounds = {"tenant": tenant, "after": after, "limit": PAGE, "bytes": PAGE_BYTES}
            with self._facts.cursor() as cursor:
                rows = cursor.execute(STATEMENTS.quarantine_page.sql, {**bounds, **choice.as_parameters()}).fetchall()
            if not rows:
                return
            after = rows[-1]["arrived"]
            yield rows

    def _gone_by(self, at: datetime) -> date:
        """Say on which day at the latest the key of a day is dead, if a process of sealdesk runs on it."""
        return at.astimezone(UTC).date() + timedelta(days=self._days + 1)

    def _destroy(self, rows: Sequence[DictRow], shred: UUID | None = None) -> None:
        """Keys first: a crash in between leaves rows that nobody can open, and that end with their day."""
        ids = [row["quarantine_id"] for row in rows]
        if ids:
            with self._keys.transaction() as cursor:
                gone = rows_of(cursor, SQL.destroy_records.sql, things=ids)
                cursor.execute(SQL.count_dropped.sql, {"shred_id": shred, "dropped": len(gone)})
            with self._facts.cursor() as cursor:
                cursor.execute(STATEMENTS.leave_quarantine.sql, {"ids": ids})


def _is_blind(code: str, raw: bytes, values: bool) -> bool:
    """Tell whether a search in a record says nothing. `values` is whether there are any to look for."""
    if code in _BLIND or sealed_in(raw) is not None:
        return True
    return (code == "too_large" or not values) and events_in(raw) is None
