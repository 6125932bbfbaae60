"""Tenants that were closed: everything of them folds as shredded, whichever came first.

Rule: what stands on the log behind the closing of its tenant is folded, so that it counts, and the tenant is closed
once more after each of these facts. So it does not matter how the log was paged, and no seal of theirs ever stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Protocol
from uuid import UUID

from psycopg import Cursor
from psycopg.sql import SQL, Identifier

from domain.fact import FactAtRest
from domain.subjects import TENANT_CLOSED
from projections import clear
from projections.statements import statements

_SQL = statements("closed")


class Closable(Protocol):
    """A read model, as far as it matters here."""

    def fold_page(self, cursor: Cursor[Any], facts: Sequence[FactAtRest], /) -> None:
        """Fold facts."""

    def close(self, cursor: Cursor[Any], tenant: UUID, on: date, /) -> None:
        """Leave of a tenant what can be counted."""


def create(cursor: Cursor[Any]) -> None:
    """Create the table in the schema of the read model."""
    cursor.execute(_SQL["create"])


def add_to(cursor: Cursor[Any], schema: str) -> None:
    """Create the table in a read model that an earlier version began, when nobody could be closed."""
    cursor.execute(_SQL["exists"], {"table": f"{schema}.closed"})
    found = cursor.fetchone()
    if found and not found[0]:
        cursor.execute(SQL("SET LOCAL search_path TO {}").format(Identifier(schema)))
        create(cursor)


def fold(cursor: Cursor[Any], model: Closable, facts: Sequence[FactAtRest]) -> None:
    """Fold a page, and close the tenants that are closed in it, or were before."""
    cursor.execute(_SQL["load"], {"tenants": list({fact.tenant for fact in facts})})
    days: dict[UUID, date] = dict(cursor.fetchall())
    pending: list[FactAtRest] = []
    for fact in facts:
        if fact.type == TENANT_CLOSED:
            if fact.tenant in days:
                continue
            days[fact.tenant] = clear.day(fact.occurred_at)
            cursor.execute(_SQL["insert"], {"tenant": fact.tenant, "on": days[fact.tenant]})
        else:
            pending.append(fact)
        if fact.tenant in days:
            if pending:
                model.fold_page(cursor, pending)
                pending = []
            model.close(cursor, fact.tenant, days[fact.tenant])
    if pending:
        model.fold_page(cursor, pending)
