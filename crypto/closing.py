"""A closed tenant: one row with a ledger line and a MAC answers for everything of it, however much was stored.

Every key of a tenant that stands at the root goes in one transaction. What hangs beneath is swept afterwards and opened
nothing meanwhile. So a missing key of a closed tenant reads as shredded because of this row alone; a row with another
MAC is no closing, and everything beneath reads as broken.

Rule: whoever seals for a tenant holds it in common (`Tree.hold_tenants`) from before it decides until the log has
committed. Whoever closes it takes it alone: batches in flight come before, and none comes after.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

import aiosql
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from crypto.keystore import KeyStore, rows_of
from crypto.tree import Tree
from domain.ids import TenantId

SQL: Any = aiosql.from_str((files("crypto") / "sql/closing.sql").read_text(), "psycopg", mandatory_parameters=False)

#: Rows that are looked at, or go, in one transaction of the sweep.
SLICE = 5_000
_FIRST = UUID(int=0)
#: What is swept, in this order: the ways back are found by the pages that went; whether a leaf was that of a fact is
#: known as long as its thing is there. Three tables are gone through in the order of their ids, because they have no
#: index by tenant: intake need not pay for one.
_SWEEPS = ("sweep_backs", "sweep_register", "sweep_fences", "sweep_leaves", "sweep_subjects", "sweep_things")


@dataclass(frozen=True, slots=True)
class Leaving:
    """What goes with a tenant.

    subjects    people who are not shredded yet
    things      tickets, calls, posts and whatever else is erased as one
    facts       facts that open
    files       attachments, pictures and recordings that open
    references  ids and addresses that lead somewhere
    quarantined records that could not be taken, and wait or lie in the quarantine
    untold      records for recipients that were not acknowledged, and cannot be sent again
    """

    subjects: int = 0
    things: int = 0
    facts: int = 0
    files: int = 0
    references: int = 0
    quarantined: int = 0
    untold: int = 0

    def as_dict(self) -> dict[str, int]:
        """Give the counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def take(cursor: Cursor[DictRow], tenant: TenantId) -> None:
    """Wait until nobody seals for a tenant, and let nobody begin before this transaction ends."""
    rows_of(cursor, SQL.take_tenant.sql, tenant=tenant)


def leaving(cursor: Cursor[DictRow], tenant: TenantId) -> Leaving:
    """Count what would go with a tenant. It reads every row of the tenant, so it holds nobody up by a lock."""
    return Leaving(**rows_of(cursor, SQL.effect.sql, tenant=tenant)[0])


def destroy(tree: Tree, tenant: TenantId, *, shred: UUID, line: int, at: datetime) -> int:
    """Drop every key of a tenant and say so in one row. The tenant is taken alone before.

    Returns how many quarantined records went with it.
    """
    given = {"tenant": tenant, "at": at}
    mark = tree.mark("tenant", tenant, tenant, line)
    tree.cursor.execute(SQL.end_news.sql, given)
    tree.cursor.execute(SQL.remove_recipients.sql, given)
    tree.cursor.execute(SQL.destroy_pairs.sql, {"tenant": tenant})
    [gone] = rows_of(tree.cursor, SQL.destroy_keys.sql, tenant=tenant)
    row = {**given, "shred": shred, "line": line, "mark": mark, "pages": gone["pages"]}
    tree.cursor.execute(SQL.insert_closing.sql, row)
    return int(gone["quarantined"])


def begun(cursor: Cursor[DictRow], tenant: UUID) -> list[UUID]:
    """Name the closings of a tenant that somebody began, and that have destroyed nothing yet."""
    return [row["shred_id"] for row in rows_of(cursor, SQL.closing_begun.sql, tenant=tenant)]


def is_closed(cursor: Cursor[DictRow], tenant: UUID) -> bool:
    """Tell whether there is a row that closes a tenant. Whose it is, whoever opens something looks."""
    return bool(rows_of(cursor, SQL.closed.sql, tenant=tenant))


def sweep(keys: KeyStore, tenant: TenantId) -> None:
    """Take away the rows that open nothing any more, slice by slice; nothing waits for it, and it may run twice.

    What it takes is counted in the row of the shred: nothing can come to it since the keys are gone.
    """
    for name in _SWEEPS:
        statement = getattr(SQL, name).sql
        at: dict[str, Any] = {"after": _FIRST, "after_key": _FIRST}
        full = True
        while full:
            with keys.transaction() as cursor:
                rows = rows_of(cursor, statement, tenant=tenant, limit=SLICE, **at)
                row = dict(rows[0]) if rows else {"looked_at": 0}
                full = row.pop("looked_at") == SLICE
                at |= {key: row.pop(key) for key in tuple(at) if key in row}
                if any(row.values()):
                    cursor.execute(SQL.count_swept.sql, {"tenant": tenant, "counts": Jsonb(row)})
    with keys.transaction() as cursor:
        cursor.execute(SQL.forget_pages.sql, {"tenant": tenant})


def left(cursor: Cursor[DictRow], tenant: TenantId) -> dict[str, int]:
    """Count what is left of a closed tenant: key rows that could open a seal, and ways of the register."""
    return dict(rows_of(cursor, SQL.left.sql, tenant=tenant)[0])
