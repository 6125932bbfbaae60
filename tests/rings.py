"""A ring of keys for tests: a key store with short ways to issue, open, merge and destroy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import DictRow

from crypto.keystore import KeyStore, rows_of
from crypto.opening import Found, open_leaves
from crypto.roots import Roots
from crypto.tree import SQL, LeafOrder, Owner, Tree
from crypto.wrapping import Key
from domain.ids import KeyId, SubjectId, TenantId, ThingId

ACME, OTHER = TenantId(UUID(int=1)), TenantId(UUID(int=2))
LINE = 7

Leaf = tuple[ThingId, KeyId]


class Ring:
    """A key store with short ways to issue, open and destroy, each in a transaction of its own."""

    def __init__(self, keys: KeyStore, roots: Roots) -> None:
        self.keys = keys
        self.roots = roots

    @contextmanager
    def tree(self) -> Iterator[Tree]:
        with self.keys.transaction() as cursor:
            yield Tree(cursor, self.roots)

    def subjects(self, number: int = 1, tenant: TenantId = ACME) -> list[Owner]:
        with self.tree() as tree:
            new = [(SubjectId(uuid4()), ThingId(uuid4()), False, False) for _ in range(number)]
            return tree.issue_subjects(tenant, new)

    def leaf(self, *owners: Owner, tenant: TenantId = ACME, thing: UUID | None = None) -> tuple[Leaf, Key]:
        with self.tree() as tree:
            order = LeafOrder(thing or uuid4(), KeyId(uuid4()), owners)
            [key] = tree.issue_leaves(tenant, [order])
        return (ThingId(order.thing), order.key_id), key

    def open(self, leaf: Leaf, tenant: TenantId = ACME) -> Found:
        with self.tree() as tree:
            return open_leaves(tree, tenant, [leaf])[leaf]

    def merge(self, secondary: Owner, primary: Owner) -> None:
        with self.tree() as tree:
            people = tree.people([secondary.id, primary.id])
            tree.merge(people[secondary.id], people[primary.id])

    def shred(self, *owners: Owner, line: int = LINE) -> None:
        """Destroy people with everyone merged into them, as a shred does."""
        with self.tree() as tree:
            for owner in owners:
                group = rows_of(tree.cursor, SQL.everyone_merged.sql, subject_id=owner.id)
                tree.destroy_subjects([row for row in group if row["line"] is None], line)

    def shred_thing(self, thing: ThingId, line: int = LINE) -> int:
        with self.tree() as tree:
            tree.store_things(ACME, [(thing, "ticket", uuid4(), None)])
            return tree.destroy_thing(ACME, thing, line)

    def sql(self, statement: str, *parameters: Any) -> list[DictRow]:
        """Change or read rows behind the tree's back."""
        with self.keys.transaction() as cursor:
            cursor.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def losses(self, key: UUID) -> int:
        rows = self.sql(
            "SELECT losses FROM subjects WHERE subject_id = %s"
            " UNION ALL SELECT losses FROM wrapping_keys WHERE key_id = %s",
            key,
            key,
        )
        return int(rows[0]["losses"])

    def parent(self, owner: Owner) -> UUID:
        return UUID(str(self.sql("SELECT parent FROM subjects WHERE subject_id = %s", owner.id)[0]["parent"]))
