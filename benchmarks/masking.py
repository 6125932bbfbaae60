"""Forget by masking: rewrite every fact and row of a person in place, in one transaction.

It is given what it needs to be fast: an index by person on each table, fresh statistics, and one statement a table.
What it does not do: backups, write-ahead log and, until the tables are rewritten, dead rows keep the clear text; no
reference is fenced, so a late record brings the person back; and nobody looks whether something was missed.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any
from uuid import UUID

import aiosql
import psycopg

from domain.catalogue import CATALOGUE

_SQL: Any = aiosql.from_str(
    (files("benchmarks") / "sql/masking.sql").read_text(), "psycopg", mandatory_parameters=False
)
#: Every field that sealdesk would have sealed.
_PERSONAL = sorted({name for plan in CATALOGUE.values() for name in plan.sealable})


class Masking:
    """Read models in clear over a log in clear, and the statements that mask both."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)

    def project(self) -> None:
        """Build the read models of all facts that are stored."""
        for statement in (_SQL.create, _SQL.project_tickets, _SQL.project_entries, _SQL.project_contacts, _SQL.index):
            self._connection.execute(statement.sql)

    def mask(self, person: UUID) -> int:
        """Mask one person, and return how many facts that changed."""
        with self._connection.transaction():
            given = {"person": person, "personal": _PERSONAL}
            facts = self._connection.execute(_SQL.mask_facts.sql, given).rowcount
            for statement in (_SQL.mask_tickets, _SQL.mask_entries, _SQL.mask_contacts):
                self._connection.execute(statement.sql, given)
        return facts

    def rewrite(self) -> None:
        """Write the tables anew without the rows that were masked, so that their files hold the clear text no more.

        VACUUM alone frees the room of dead rows, and leaves their bytes in it.
        """
        self._connection.execute(_SQL.rewrite.sql)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
