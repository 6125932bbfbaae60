"""The groups of the team, and which agents belong to them. Somebody who leaves the team leaves its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection, Cursor

from domain.fact import FactAtRest
from domain.ids import TenantId, ThingId
from projections import branches, things
from projections.things import ThingRow

name = "groups"

KINDS = frozenset({"group"})

reads = branches.folded(KINDS)

create = things.create
close = things.close


def fold_page(cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
    """Fold a page of facts."""
    things.fold_page(cursor, facts, KINDS)


def rows(
    connection: Connection[Any],
    tenant: TenantId,
    *,
    after: int | None = None,
    limit: int | None = None,
    all: bool = False,
    thing: ThingId | None = None,
) -> Iterator[ThingRow]:
    """List groups, as `things.rows` does."""
    return things.rows(connection, name, tenant, after=after, limit=limit, all=all, thing=thing)
