"""What came in of a tenant since it was exported: a closing would destroy it, and nobody would have it back.

Facts are seen by their position. Records of the quarantine and files are seen one by one: they are no facts, and
neither their numbers nor their times are given in the order in which they are committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

import aiosql

from crypto.keystore import rows_of
from domain.ids import TenantId
from services.log import Facts

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/closing.sql").read_text(), "psycopg", mandatory_parameters=False
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What an export saw.

    position     of the log, up to which it saw every fact
    quarantined  ids of the records in the quarantine
    files        ids of the stored files, each with the time at which it was stored
    """

    position: int
    quarantined: frozenset[UUID] = field(default=frozenset(), repr=False)
    files: frozenset[tuple[UUID, datetime]] = field(default=frozenset(), repr=False)


def came_in(facts: Facts, tenant: TenantId, seen: Seen) -> bool:
    """Tell whether a fact, a quarantined record or a file of a tenant is there that an export has not seen.

    A file that is on its way is not: whoever sends it is told that it is refused.
    """
    with facts.cursor() as cursor:
        given = {"tenant": tenant, "after": seen.position, "known": list(seen.quarantined)}
        if rows_of(cursor, STATEMENTS.came_in.sql, **given)[0]["found"]:
            return True
        stored = rows_of(cursor, STATEMENTS.stored_files.sql, tenant=tenant)
    return any((row["blob_id"], row["stored_at"]) not in seen.files for row in stored)
