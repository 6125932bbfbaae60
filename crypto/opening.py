"""The way down the tree: from a root epoch to the leaf keys of one page, with one query.

Shredded is a type, not a string. A key is `SHREDDED` only if its row, its thing, one of its owners or the closing of
its tenant says so with a ledger line and the right MAC. A key that is missing without that is `KeyLost`; an unreachable
store has raised `KeysUnavailable` before anything here runs; a row that does not open at its place raises `SealBroken`.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from enum import Enum
from uuid import UUID

from psycopg.rows import DictRow

from crypto.keystore import rows_of
from crypto.tree import SQL, Tree, ends, epoch_end
from crypto.wrapping import Key, unwrap
from domain.errors import KeyLost, SealBroken, SealdeskError
from domain.ids import KeyId, TenantId, ThingId


class Shredded(Enum):
    """The one value that says: this was destroyed on purpose."""

    SHREDDED = "shredded"


SHREDDED = Shredded.SHREDDED

#: What became of a leaf key: the key, its shred, or the error that stands in its place.
Found = Key | Shredded | SealdeskError


class Path:
    """The rows between the root and the leaves of one page."""

    def __init__(self, tree: Tree, rows: Iterable[DictRow]) -> None:
        self._tree = tree
        self._leaves: dict[tuple[UUID, UUID], DictRow] = {}
        self._things: dict[UUID, DictRow] = {}
        self._subjects: dict[UUID, DictRow] = {}
        self._tops: dict[UUID, DictRow] = {}
        self._closings: dict[UUID, DictRow] = {}
        self._keys: dict[UUID, Found] = {}
        for row in rows:
            match row["level"]:
                case "leaf":
                    self._leaves[row["thing_id"], row["id"]] = row
                case "thing":
                    self._things[row["id"]] = row
                case "subject":
                    self._subjects[row["id"]] = row
                case "closing":
                    self._closings[row["id"]] = row
                case _:
                    self._tops[row["id"]] = row

    def row_of(self, id_: UUID) -> DictRow | None:
        """Give the row of an owner: a subject, or a key that stands at the root."""
        return self._subjects.get(id_) or self._tops.get(id_)

    def row_of_leaf(self, thing: UUID, key_id: UUID) -> DictRow | None:
        """Give the row of a leaf."""
        return self._leaves.get((thing, key_id))

    def is_thing_shredded(self, thing: UUID) -> bool:
        """Tell whether a thing says with our MAC that it was shredded."""
        return self.is_marked("thing", self._things.get(thing))

    def closing(self, tenant: UUID) -> Found | None:
        """Say what the row of a closed tenant means for everything of it; None where it is open."""
        if (row := self._closings.get(tenant)) is None:
            return None
        return SHREDDED if self.is_marked("tenant", row) else SealBroken("the closing of a tenant is not ours")

    def leaf(self, thing: UUID, key_id: UUID, tenant: UUID) -> Found:
        """Open one leaf key, or say what became of it."""
        if (closing := self.closing(tenant)) is not None:
            return closing
        row = self._leaves.get((thing, key_id))
        if row is None or row["tenant"] != tenant:
            return KeyLost("the key of a fact is missing")
        if self.is_marked("leaf", row) or self.is_thing_shredded(thing):
            return SHREDDED
        ids = (row["parent"], *(row["co_owners"] or ()))
        owners = [self.owner(owner, tenant) for owner in ids]
        if SHREDDED in owners:
            is_bound = self._tree.is_bound(row, thing, key_id, *ids)
            return SHREDDED if is_bound else SealBroken("a leaf hangs where it was not hung")
        for owner in owners:
            if isinstance(owner, SealdeskError):
                return owner
        if row["wrapped"] is None:
            return KeyLost("the key of a fact is missing, and no shred explains it")
        wrapped: bytes = row["wrapped"]
        for owner_id, owner in reversed(list(zip(ids, owners, strict=True))):
            assert isinstance(owner, Key)
            try:
                wrapped = unwrap(owner, wrapped, ends=ends(tenant, owner_id.bytes, key_id))
            except SealBroken as error:
                return error
        return Key(wrapped)

    def owner(self, owner: UUID, tenant: UUID) -> Found:
        """Open the key of an owner, a subject or a key that stands at the root, or say what became of it."""
        # From the top down, and not by recursion: people can be merged a thousand times in a row.
        chain = [owner]
        while chain[-1] not in self._keys and chain[-1] in self._subjects:
            if len(chain) > len(self._subjects):
                self._keys.update(dict.fromkeys(chain, SealBroken("subjects hang from each other in a circle")))
                break
            chain.append(self._subjects[chain[-1]]["parent"])
        for below in reversed(chain):
            if below not in self._keys:
                self._keys[below] = self._find_owner(below, tenant)
        return self._keys[owner]

    def _find_owner(self, owner: UUID, tenant: UUID) -> Found:
        top = self._tops.get(owner)
        if top is not None:
            bound = ends(top["tenant"], epoch_end(top["epoch"]), owner)
            try:
                return Key(unwrap(self._tree.epoch(top["epoch"]), top["wrapped"], ends=bound))
            except SealBroken as error:
                return error
        row = self._subjects.get(owner)
        if row is None or row["tenant"] != tenant:
            return KeyLost("an owner of a fact is missing")
        if self.is_marked("subject", row):
            return SHREDDED
        above = self.owner(row["parent"], tenant)
        if above is SHREDDED and not self._tree.is_bound(row, owner, owner, row["parent"]):
            return SealBroken("a subject hangs where it was not hung")
        if not isinstance(above, Key):
            return above
        if row["wrapped"] is None:
            return KeyLost("the key of a subject is missing, and no shred explains it")
        try:
            return Key(unwrap(above, row["wrapped"], ends=ends(tenant, row["parent"].bytes, owner)))
        except SealBroken as error:
            return error

    def is_marked(self, kind: str, row: DictRow | None) -> bool:
        """Tell whether the row of a `leaf`, `thing`, `subject` or `tenant` says with our MAC that it was shredded."""
        if row is None or row["line"] is None:
            return False
        expected = self._tree.mark(kind, row["id"], TenantId(row["tenant"]), row["line"])
        return row["wrapped"] is None and hmac.compare_digest(bytes(row["mark"] or b""), expected)


def open_leaves(
    tree: Tree, tenant: TenantId, wanted: Iterable[tuple[ThingId, KeyId]]
) -> dict[tuple[ThingId, KeyId], Found]:
    """Open the leaf keys of one page, given as (thing, key id)."""
    pairs = list(dict.fromkeys(wanted))
    if not pairs:
        return {}
    rows = rows_of(
        tree.cursor,
        SQL.paths.sql,
        thing_ids=[thing for thing, _ in pairs],
        key_ids=[key_id for _, key_id in pairs],
        tenant=tenant,
    )
    path = Path(tree, rows)
    return {(thing, key_id): path.leaf(thing, key_id, tenant) for thing, key_id in pairs}
