"""Look for residue: anything readable about somebody or something that was shredded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import UUID

import aiosql
from psycopg.rows import DictRow

from crypto.keystore import KeyStore, rows_of
from crypto.opening import open_leaves
from crypto.roots import Roots
from crypto.sealing import fields_of, header_of
from crypto.tree import SQL, Tree
from crypto.wrapping import Key
from domain.errors import SealBroken
from domain.fact import FactAtRest
from domain.ids import TenantId
from services.log import STATEMENTS as LOG
from services.log import Facts

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/residue.sql").read_text(), "psycopg", mandatory_parameters=False
)

MODELS = ("contacts", "tickets", "erasures", "forums", "articles", "companies", "groups")
#: What a search of the live databases cannot see; every certificate says so, unless a proof has looked there.
BACKUPS = "backups"
NOT_SEARCHED = (BACKUPS, "database files and write-ahead logs", "broker topics", "process logs")
PAGE = 5_000
#: Streams whose facts are read with one query, and shreds that are looked for with one.
STREAMS = 500
SHREDS = 500


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a shred, by place, and of how many seals nobody can say whether they open: they were changed."""

    found: Mapping[str, int]
    not_judged: int = 0


class Residue:
    """Search the live databases."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots

    def of_shred(self, row: DictRow) -> Left:
        """Count what is left of one shred, by place: keys, ways of the register, news, facts, read models."""
        ids, things = _targets(row)
        tenant = TenantId(row["tenant"])
        opened, broken = self._in_streams(tenant, {*ids, *things}, self._streams(ids, things))
        return Left(self._in_tables(tenant, ids, things) | {"log": opened}, broken)

    def of_shreds(self, rows: Sequence[DictRow]) -> list[Left]:
        """Count what is left of several shreds of one tenant, each by place. What is clean is clean in one pass."""
        ids, things = [], []
        for row in rows:
            people, alone = _targets(row)
            ids.extend(people)
            things.extend(alone)
        tenant = TenantId(rows[0]["tenant"])
        found = self._in_tables(tenant, ids, things)
        found["log"], broken = self._in_streams(tenant, {*ids, *things}, self._streams(ids, []) + things)
        if broken or any(found.values()):
            return [self.of_shred(row) for row in rows]
        return [Left(found)] * len(rows)

    def _in_tables(self, tenant: TenantId, ids: Sequence[UUID], things: Sequence[UUID]) -> dict[str, int]:
        ids, things = list(ids), list(things)
        found: dict[str, int] = {}
        with self._keys.transaction() as cursor:
            found["keys"] = rows_of(cursor, SQL.residue_of_keys.sql, ids=ids, things=things)[0]["found"]
            found["register"] = rows_of(cursor, SQL.residue_of_register.sql, ids=ids, things=things)[0]["found"]
            given = {"tenant": tenant, "ids": ids, "things": things}
            found["outbox"] = rows_of(cursor, STATEMENTS.outbox.sql, **given)[0]["found"]
            blobs = [row["key_id"] for row in rows_of(cursor, SQL.files_of.sql, ids=ids, things=things)]
        with self._facts.cursor() as cursor:
            found["files"] = rows_of(cursor, LOG.count_blobs.sql, blob_ids=blobs)[0]["found"]
            for model in MODELS:
                statement = getattr(STATEMENTS, model).sql
                found[f"read model {model}"] = rows_of(cursor, statement, **given)[0]["found"]
        return found

    def of_all(self, tenant: TenantId, broken: list[FactAtRest] | None = None) -> dict[str, int]:
        """Count what is left of every shred of a tenant, by place. The log is read once, whole.

        Facts of which nobody can say it, because their seals were changed, are put into `broken`.
        """
        changed = [] if broken is None else broken
        found: Counter[str] = Counter(dict.fromkeys(("keys", "register", "outbox", "files", "log"), 0))
        found.update({f"read model {model}": 0 for model in MODELS})
        with self._keys.transaction() as cursor:
            shreds = rows_of(cursor, SQL.finished_shreds.sql, tenant=tenant)
        gone: set[UUID] = set()
        for start in range(0, len(shreds), SHREDS):
            ids: list[UUID] = []
            things: list[UUID] = []
            for row in shreds[start : start + SHREDS]:
                people, alone = _targets(row)
                ids.extend(people)
                things.extend(alone)
                gone.update([row["target"], *row["targets"]])
            found.update(self._in_tables(tenant, ids, things))
        after = 0
        while gone and (page := self._facts.page(after, PAGE)):
            after = page[-1].position
            found["log"] += self._opens(tenant, gone, page, changed)
        return dict(found)

    def _streams(self, ids: Sequence[UUID], things: Sequence[UUID]) -> list[UUID]:
        """List the streams that hold a fact of these people, or are these things."""
        if not ids:
            return list(things)
        with self._keys.transaction() as cursor:
            return [row["thing_id"] for row in rows_of(cursor, SQL.streams_of_owners.sql, owners=list(ids))]

    def _in_streams(self, tenant: TenantId, gone: set[UUID], streams: Sequence[UUID]) -> tuple[int, int]:
        """Count the seals in some streams that open, and those of which nobody can say it.

        A seal opens with a leaf of its own stream. Where none of these lives, there is nothing to open, and all that
        can be said of a seal is whether it was changed.
        """
        with self._keys.transaction() as cursor:
            alive = {row["thing_id"] for row in rows_of(cursor, SQL.living_streams.sql, things=list(streams))}
        broken: list[FactAtRest] = []
        living = [stream for stream in streams if stream in alive]
        opened = sum(
            self._opens(tenant, gone, self._facts.streams(living[start : start + STREAMS]), broken)
            for start in range(0, len(living), STREAMS)
        )
        dead = [stream for stream in streams if stream not in alive]
        return opened, len(broken) + self._changed(tenant, gone, dead)

    def _changed(self, tenant: TenantId, gone: set[UUID], streams: Sequence[UUID]) -> int:
        """Count the seals of shredded people and things in some streams whose headers nobody can read."""
        changed, given = 0, {"tenant": tenant, "gone": list(gone)}
        for start in range(0, len(streams), STREAMS):
            with self._facts.cursor() as cursor:
                heads = rows_of(cursor, STATEMENTS.heads.sql, **given, streams=list(streams[start : start + STREAMS]))
            changed += sum(not _is_head(row["head"]) for row in heads)
        return changed

    def _opens(self, tenant: TenantId, gone: set[UUID], facts: Sequence[FactAtRest], broken: list[FactAtRest]) -> int:
        """Count the seals of shredded people and things that can still be opened; there should be none."""
        theirs = [
            fact
            for fact in facts
            if fact.tenant == tenant and (fact.stream in gone or not gone.isdisjoint(fact.owners))
        ]
        broken.extend(fact for fact in theirs if fact.broken)
        places = [
            (fact.stream, header_of(fact.seal).key_id) for fact in theirs if fact.seal is not None and not fact.broken
        ]
        if not places:
            return 0
        with self._keys.transaction() as cursor:
            found: Mapping[Any, Any] = open_leaves(Tree(cursor, self._roots), tenant, places)
        return sum(isinstance(key, Key) for key in found.values())


def _targets(row: DictRow) -> tuple[list[UUID], list[UUID]]:
    """Split the targets of a shred into people and things."""
    return ([], [row["target"]]) if row["kind"] == "thing" else (list(row["targets"]), [])


def _is_head(head: bytes) -> bool:
    """Tell whether these bytes are the header of a seal."""
    try:
        fields_of(head)
    except SealBroken:
        return False
    return True
