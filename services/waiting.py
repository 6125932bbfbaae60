"""What waits in the quarantine for something that is not known yet, and what of that is known by now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from crypto import tree as trees
from crypto.keystore import KeyStore, rows_of
from crypto.register import Register
from crypto.roots import Roots
from crypto.tree import Tree
from domain.ids import TenantId
from services.batches import Judged
from services.log import STATEMENTS, Facts
from services.opening_records import opened_records
from services.records import parcel_of, place_of
from services.tenants import Tenants

#: Waiting records that are opened and judged as one batch, and the bytes of their seals after which it ends.
PAGE = 1_000
PAGE_BYTES = 32 * 1024 * 1024


class Waiting:
    """The records of one installation that wait. What they wait for is given as (tenant, blind index)."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots, tenants: Tenants) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._tenants = tenants

    def opened(self, appeared: Iterable[tuple[TenantId, bytes]]) -> Iterator[list[Judged]]:
        """Open the quarantined records that waited for what has appeared, a page at a time, as they came."""
        grouped = _grouped(appeared)
        names = self._names()
        if not grouped.keys() <= names.keys():
            # Another process may have added one since.
            names = self._names(fresh=True)
        for tenant, indexes in grouped.items():
            after = 0
            while True:
                bounds = {"after": after, "limit": PAGE, "bytes": PAGE_BYTES}
                with self._facts.cursor() as cursor:
                    rows = cursor.execute(
                        STATEMENTS.waiting_for.sql, {"tenant": tenant, "indexes": indexes, **bounds}
                    ).fetchall()
                if not rows:
                    break
                after = rows[-1]["arrived"]
                yield [
                    Judged(
                        replace(parcel_of(raw, names[tenant], place_of(row)), told_as=row["told_as"]),
                        waited_as=row["quarantine_id"],
                        waited_under=tenant,
                    )
                    for row, raw in opened_records(self._keys, self._roots, rows)
                ]

    def _names(self, *, fresh: bool = False) -> dict[TenantId, str]:
        return {tenant.id: tenant.name for tenant in self._tenants.by_name(fresh=fresh).values()}

    def all_waited_for(self) -> list[tuple[TenantId, bytes]]:
        """List whatever some record waits for."""
        with self._facts.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.waited_for.sql).fetchall()
        return [(TenantId(row["tenant"]), bytes(row["waits_for"])) for row in rows]

    def known_by_now(self, wanted: Sequence[tuple[TenantId, bytes]]) -> list[tuple[TenantId, bytes]]:
        """Tell which of these references the register knows."""
        found: list[tuple[TenantId, bytes]] = []
        for tenant, indexes in _grouped(wanted).items():
            with self._keys.transaction() as cursor:
                known = Register(Tree(cursor, self._roots), tenant).look_up(indexes)
            inside = {index: entry.inside for index, entry in known.items() if entry.inside is not None}
            with self._keys.transaction() as cursor:
                rows = rows_of(cursor, trees.SQL.things_by_id.sql, thing_ids=list(inside.values()))
            # A thing that was only named as the parent of another is nothing to take up records for.
            begun = self._facts.without_facts([row["thing_id"] for row in rows])
            found.extend((tenant, index) for index, id_ in inside.items() if id_ not in begun)
        return found


def _grouped(pairs: Iterable[tuple[TenantId, bytes]]) -> dict[TenantId, list[bytes]]:
    by_tenant: dict[TenantId, list[bytes]] = {}
    for tenant, index in pairs:
        by_tenant.setdefault(tenant, []).append(index)
    return by_tenant
