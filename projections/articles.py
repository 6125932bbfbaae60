"""The articles, and the categories and folders in which they stand. They are the desk's, whoever wrote them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from types import MappingProxyType
from typing import Any

from psycopg import Connection, Cursor

from domain.articles import ArticleDrafted, ArticlePublished
from domain.fact import FactAtRest
from domain.ids import SubjectId, TenantId, ThingId
from projections import branches, things
from projections.branches import Implied
from projections.things import ThingRow

name = "articles"

KINDS = frozenset({"article_category", "article_folder", "article"})

reads = branches.folded(KINDS)

#: An article is what its fact says that it became, unless upstream says something else.
_IMPLIED: Implied = MappingProxyType(
    {
        ArticleDrafted.TYPE: {"article_status": "draft"},
        ArticlePublished.TYPE: {"article_status": "published"},
    }
)

create = things.create
close = things.close


def fold_page(cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
    """Fold a page of facts."""
    things.fold_page(cursor, facts, KINDS, _IMPLIED)


def rows(
    connection: Connection[Any],
    tenant: TenantId,
    *,
    after: int | None = None,
    limit: int | None = None,
    all: bool = False,
    kind: str | None = None,
    thing: ThingId | None = None,
    folder: ThingId | None = None,
    status: str | None = None,
    authors: Collection[SubjectId] | None = None,
) -> Iterator[ThingRow]:
    """List articles, folders and categories, as `things.rows` does; `folder` gives what stands right in one."""
    return things.rows(
        connection, name, tenant, after=after, limit=limit, all=all, kind=kind, thing=thing, parent=folder,
        authors=authors, said={} if status is None else {"article_status": status},
    )  # fmt: skip
