"""The forums: categories, forums, topics and comments. What a forgotten person wrote keeps its place in its topic.

So other people's comments keep their context, and an erased one reads as shredded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from psycopg import Connection, Cursor

from domain.fact import FactAtRest
from domain.ids import SubjectId, TenantId, ThingId
from projections import branches, things
from projections.things import ThingRow

name = "forums"

KINDS = frozenset({"category", "forum", "topic", "comment"})

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
    kind: str | None = None,
    thing: ThingId | None = None,
    parent: ThingId | None = None,
    topic: ThingId | None = None,
    authors: Collection[SubjectId] | None = None,
) -> Iterator[ThingRow]:
    """List what stands in the forums, as `things.rows` does; `topic` gives one with its comments, in their order.

    Without `all`, what is deleted stays out. What is erased keeps its place.
    """
    return things.rows(
        connection, name, tenant, after=after, limit=limit, all=all, erased=True, kind=kind, thing=thing,
        parent=parent, thread=topic, authors=authors,
    )  # fmt: skip
