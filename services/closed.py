"""What remains of a closed tenant: sweep it, and look for residue in all of it.

Nothing waits for the sweep: what it takes away could not be opened before. It may run twice.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import aiosql

from crypto import closing as rows
from crypto.keystore import KeyStore, rows_of
from crypto.opening import open_leaves
from crypto.roots import Roots
from crypto.sealing import header_of
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.errors import BlobsUnavailable, SealBroken, SettingsWrong
from domain.ids import KeyId, TenantId, ThingId
from services.analysts.publication import Analysts
from services.blobs.attaching import Attaching
from services.log import Facts
from services.residue import MODELS, Left

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/closing.sql").read_text(), "psycopg", mandatory_parameters=False
)

#: Seals of the newest facts that are tried. What proves that none opens is that no key is left.
TRIED = 1_000


class Remains:
    """What a closing leaves in the live databases, in the store of files, and with the analysts."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots, attaching: Attaching, analysts: Analysts) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._attaching = attaching
        self._analysts = analysts

    def sweep(self, tenant: TenantId) -> bool:
        """Take away what opens nothing any more: rows beneath, the publication for analysts, and files.

        Returns whether it is all gone: what cannot be deleted now opens nothing, and is swept later.
        """
        rows.sweep(self._keys, tenant)
        self._analysts.withdraw(tenant)
        return self.sweep_files(tenant)

    def sweep_files(self, tenant: TenantId) -> bool:
        """Delete the files of a closed tenant. Returns False where their store is out of reach, or none is set."""
        stored = ((ThingId(row["thing"]), row["blob_id"]) for row in self._attaching.listed([tenant]))
        try:
            self._attaching.sweep(stored)
        except (BlobsUnavailable, SettingsWrong):
            return False
        return True

    def left(self, tenant: TenantId) -> Left:
        """Count what is left of a closed tenant, by place: keys, ways of the register, seals, files, read models."""
        found: dict[str, int] = {}
        with self._keys.transaction() as cursor:
            found |= rows.left(cursor, tenant)
        with self._facts.cursor() as cursor:
            sealed = rows_of(cursor, STATEMENTS.sealed_of_tenant.sql, tenant=tenant, limit=TRIED)
            for place in ("files", "quarantined"):
                found[place] = rows_of(cursor, getattr(STATEMENTS, place).sql, tenant=tenant)[0]["found"]
            for model in MODELS:
                statement = getattr(STATEMENTS, model).sql
                found[f"read model {model}"] = rows_of(cursor, statement, tenant=tenant)[0]["found"]
        places: list[tuple[ThingId, KeyId]] = []
        broken = 0
        for row in sealed:
            try:
                places.append((ThingId(row["stream"]), header_of(row["seal"]).key_id))
            except SealBroken:
                broken += 1
        with self._keys.transaction() as cursor:
            opened = open_leaves(Tree(cursor, self._roots), tenant, places)
        found["log"] = sum(isinstance(key, Key) for key in opened.values())
        return Left(found, broken)
