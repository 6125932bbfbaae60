"""The ids of subjects and things that were shredded, and since when.

Rule: what is shredded stays shredded, whichever came first. A late fact folds as if its seal were gone,
because it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from psycopg import Cursor

from projections.statements import Key, find, statements, write

_SQL = statements("shredded")

#: The day on which each subject or thing was shredded.
Shredded = dict[Key, date]


def create(cursor: Cursor[Any]) -> None:
    """Create the table in the schema of the read model."""
    cursor.execute(_SQL["create"])


def load(cursor: Cursor[Any], ids: Iterable[Key]) -> Shredded:
    """Say which of these ids were shredded before."""
    return {(tenant, id_): on for tenant, id_, on in find(cursor, _SQL["load"], ids)}


def store(cursor: Cursor[Any], before: Mapping[Key, date], now: Mapping[Key, date]) -> None:
    """Write down what was shredded since `before`."""
    rows = [(*key, on) for key, on in now.items() if key not in before]
    write(cursor, _SQL["insert"], ("tenants", "ids", "days"), rows)
