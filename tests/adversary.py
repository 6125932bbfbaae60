"""Whoever keeps every row of the key database of all times, and gets the roots that still live in the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from crypto.register import back_ends, entry_ends
from crypto.roots import Roots
from crypto.tree import ends, epoch_end
from crypto.wrapping import Key, unwrap
from domain.errors import KeysUnavailable, SealBroken

#: What holds keys, or is sealed under one of them.
TABLES = ("wrapping_keys", "subjects", "leaves", "register", "register_backs")


class Adversary:
    """A thief of rows. `tenant` is whose ways back are stolen: their rows do not say it."""

    def __init__(self, roots: Roots, tenant: UUID) -> None:
        self._roots = roots
        self._tenant = tenant
        #: (parent's name, child, bytes, ends): everything that was ever wrapped.
        self._rows: set[tuple[bytes, UUID, bytes, bytes]] = set()
        self._leaves: set[tuple[UUID, UUID, UUID, tuple[UUID, ...], bytes]] = set()
        self._entries: set[tuple[UUID, bytes, bytes]] = set()

    def steal(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows of one of `TABLES`, as a backup or an old WAL has them."""
        for row in rows:
            match table:
                case "wrapping_keys":
                    name = epoch_end(row["epoch"])
                    self._keep(name, row["key_id"], row["wrapped"], ends(row["tenant"], name, row["key_id"]))
                case "subjects" if row["wrapped"] is not None:
                    bound = ends(row["tenant"], row["parent"].bytes, row["subject_id"])
                    self._keep(row["parent"].bytes, row["subject_id"], row["wrapped"], bound)
                case "leaves" if row["wrapped"] is not None:
                    owners = (row["owner"], *(row["co_owners"] or ()))
                    self._leaves.add((row["thing_id"], row["key_id"], row["tenant"], owners, bytes(row["wrapped"])))
                case "register":
                    bound = entry_ends(row["tenant"], bytes(row["blind_index"]), row["page"])
                    self._entries.add((row["page"], bytes(row["sealed"]), bound))
                case "register_backs":
                    bound = back_ends(self._tenant, row["owner"], row["page"])
                    self._entries.add((row["page"], bytes(row["sealed"]), bound))
                case _:
                    pass

    def _keep(self, parent: bytes, child: UUID, wrapped: bytes, bound: bytes) -> None:
        self._rows.add((parent, child, bytes(wrapped), bound))

    def _keys(self) -> dict[bytes, set[bytes]]:
        """Open all that opens, by the name of each key; a key that was replaced has several."""
        known: dict[bytes, set[bytes]] = {}
        for epoch in range(1, self._roots.current() + 1):
            try:
                known[epoch_end(epoch)] = {self._roots.open(epoch).material}
            except KeysUnavailable:
                continue
        grown = True
        while grown:
            grown = False
            for parent, child, wrapped, bound in self._rows:
                for material in _tried(known.get(parent, ()), wrapped, bound):
                    if material not in known.setdefault(child.bytes, set()):
                        known[child.bytes].add(material)
                        grown = True
        return known

    def opened_leaves(self) -> dict[bytes, tuple[UUID, UUID, frozenset[UUID]]]:
        """Open every leaf key that anything opens, with the thing, the key id, and under whom it opens."""
        known = self._keys()
        found: dict[bytes, tuple[UUID, UUID, frozenset[UUID]]] = {}
        for thing, key_id, tenant, owners, wrapped in self._leaves:
            layers = {wrapped}
            for owner in reversed(owners):
                bound = ends(tenant, owner.bytes, key_id)
                layers = {m for layer in layers for m in _tried(known.get(owner.bytes, ()), layer, bound)}
            found |= dict.fromkeys(layers, (thing, key_id, frozenset(owners)))
        return found

    def opened_entries(self) -> set[bytes]:
        """Open every row of the register, and every way back, that anything opens."""
        known = self._keys()
        return {m for page, sealed, bound in self._entries for m in _tried(known.get(page.bytes, ()), sealed, bound)}


def _tried(materials: Iterable[bytes], wrapped: bytes, bound: bytes) -> Iterator[bytes]:
    for material in materials:
        try:
            yield unwrap(Key(material), wrapped, ends=bound)
        except SealBroken:
            continue
