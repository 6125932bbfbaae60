"""Look for residue: anything readable about somebody or something that was shredded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from uuid import UUID

import aiosql
from psycopg.rows import DictRow

from crypto.keystore import KeyStore, rows_of
from crypto.opening import open_leaves
from crypto.roots import Roots
from crypto.sealing import header_of
from crypto.tree import SQL, Tree
from crypto.wrapping import Key
from domain.ids import TenantId
from services.log import Facts

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/residue.sql").read_text(), "psycopg", mandatory_parameters=False
)

MODELS = ("contacts", "tickets", "erasures")
#: What a search of the live databases cannot see; every certificate says so.
NOT_SEARCHED = ("backups", "database files and write-ahead logs", "broker topics", "process logs", "quarantine")
PAGE = 5_000


class Residue:
    """Search the live databases."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots

    def of_shred(self, row: DictRow) -> dict[str, int]:
        """Count what is left of one shred, by place."""
        is_thing = row["kind"] == "thing"
        ids = [] if is_thing else list(row["targets"])
        things = [row["target"]] if is_thing else []
        found: dict[str, int] = {}
        with self._keys.transaction() as cursor:
            found["keys"] = rows_of(cursor, SQL.residue_of_keys.sql, ids=ids, things=things)[0]["found"]
            found["register"] = rows_of(cursor, SQL.residue_of_register.sql, ids=ids, things=things)[0]["found"]
        with self._facts.cursor() as cursor:
            for model in MODELS:
                statement = getattr(STATEMENTS, model).sql
                given = {"tenant": row["tenant"], "ids": ids, "things": things}
                found[f"read model {model}"] = rows_of(cursor, statement, **given)[0]["found"]
        return found

    def of_all(self, tenant: TenantId) -> dict[str, int]:
        """Count what is left of every shred of a tenant, by place, and try to open each of their seals on the log."""
        found: Counter[str] = Counter({"keys": 0, "register": 0, "log": 0})
        found.update({f"read model {model}": 0 for model in MODELS})
        with self._keys.transaction() as cursor:
            shreds = rows_of(cursor, SQL.finished_shreds.sql, tenant=tenant)
        gone: set[UUID] = set()
        for row in shreds:
            found.update(self.of_shred(row))
            gone.update([row["target"], *row["targets"]])
        found["log"] += self._opens_on_log(tenant, gone) if gone else 0
        return dict(found)

    def _opens_on_log(self, tenant: TenantId, gone: set[UUID]) -> int:
        opened, after = 0, 0
        while page := self._facts.page(after, PAGE):
            after = page[-1].position
            places = [
                (fact.stream, header_of(fact.seal).key_id)
                for fact in page
                if fact.seal is not None
                and fact.tenant == tenant
                and (fact.stream in gone or not gone.isdisjoint(fact.owners))
            ]
            if places:
                with self._keys.transaction() as cursor:
                    found: Mapping[Any, Any] = open_leaves(Tree(cursor, self._roots), tenant, places)
                opened += sum(isinstance(key, Key) for key in found.values())
        return opened
