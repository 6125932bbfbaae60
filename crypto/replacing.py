"""Replace one key: whatever lives beneath it is wrapped anew under another, in one transaction in which nobody else is.

Such a transaction is short, whatever hangs from the key. The leaves are wrapped anew before it, while everybody works,
under a key that nothing stored stands under yet; the transaction takes over those that are as they were, and wraps the
others itself. What was made ready and not taken over is dropped with its key.

A page of the register that has more rows than it should is split by that: its rows go to as many pages as it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from uuid import UUID

import aiosql
from psycopg.rows import DictRow

from crypto.keystore import rows_of
from crypto.register import back_ends, entry_ends
from crypto.tree import PAGE_ROWS, Owner, Tree, ends
from crypto.tree import SQL as TREE
from crypto.wrapping import Key, new_key, unwrap, wrap
from domain.errors import KeyLost
from domain.ids import TenantId

SQL: Any = aiosql.from_str((files("crypto") / "sql/turning.sql").read_text(), "psycopg", mandatory_parameters=False)


@dataclass(frozen=True, slots=True)
class Turned:
    """What a turn did.

    rewrapped  keys that were only wrapped under the new root
    replaced   keys that were replaced, because they or a key beneath them had lost a child
    children   keys and rows that were wrapped anew beneath those
    """

    rewrapped: int = 0
    replaced: int = 0
    children: int = 0

    def __add__(self, other: Turned) -> Turned:
        return Turned(self.rewrapped + other.rewrapped, self.replaced + other.replaced, self.children + other.children)


@dataclass(frozen=True, slots=True)
class Ready:
    """Leaves that were wrapped anew before anybody has to wait: under the key that is to come, with what they were."""

    new: Key = field(repr=False)
    leaves: Sequence[DictRow] = field(repr=False)
    wrapped: Sequence[bytes] = field(repr=False)


def made_ready(tree: Tree, tenant: TenantId, old: Owner) -> Ready:
    """Wrap the living leaves beneath an owner under a key that is to take its place. Nothing is written."""
    new, rows = new_key(), rows_of(tree.cursor, SQL.leaves_beneath.sql, owner=old.id)
    return Ready(new, *_wrapped_anew(tree, tenant, old, new, rows))


def subject_made_ready(tree: Tree, subject: UUID) -> Ready | None:
    """Make the leaves of a subject ready; None if there is no key to replace."""
    try:
        person = tree.people([subject]).get(subject)
    except KeyLost:
        # Its tenant may be closed at this moment. Whoever replaces it looks again, and says so if it is not that.
        return None
    if person is None or not person.living or person.key is None:
        return None
    return made_ready(tree, person.tenant, Owner(subject, person.key))


def replace_subject(tree: Tree, subject: UUID, ready: Ready | None = None) -> Turned:
    """Replace the key of a subject, under the parent that it has. Its parent has lost a child by that.

    Whoever is dead, or hangs from somebody dead, has no key to replace: the loss is forgotten. Of a closed tenant the
    row itself may have been swept meanwhile.
    """
    person = tree.people([subject]).get(subject)
    if person is None or not person.living or person.key is None:
        tree.cursor.execute(SQL.forget_losses.sql, {"subject_id": subject})
        return Turned()
    old, new = Owner(subject, person.key), Owner(subject, new_key() if ready is None else ready.new)
    children = rewrap_leaves(tree, person.tenant, old, new, ready) + rewrap_subjects(tree, person.tenant, old, new)
    parent = _keys_of(tree, [person.parent])[person.parent]
    wrapped = wrap(parent, new.key.material, ends=ends(person.tenant, person.parent.bytes, subject))
    given = {"subject_id": subject, "wrapped": wrapped}
    all_of(tree.cursor.execute(SQL.replace_subject.sql, given).rowcount, 1)
    tree.lose_child(person.parent)
    return Turned(replaced=1, children=children)


def rewrap_subjects(tree: Tree, tenant: TenantId, old: Owner, new: Owner) -> int:
    """Wrap the living subjects beneath a key anew. Returns how many."""
    rows = rows_of(tree.cursor, SQL.subjects_beneath.sql, parent=old.id)
    wrapped = []
    for row in rows:
        bound = ends(tenant, old.id.bytes, row["subject_id"])
        wrapped.append(wrap(new.key, unwrap(old.key, row["wrapped"], ends=bound), ends=bound))
    given = {"parent": old.id, "subject_ids": [row["subject_id"] for row in rows], "wrapped": wrapped}
    if rows:
        all_of(tree.cursor.execute(SQL.rewrap_subjects.sql, given).rowcount, len(rows))
    return len(rows)


def rewrap_leaves(tree: Tree, tenant: TenantId, old: Owner, new: Owner, ready: Ready | None = None) -> int:
    """Wrap the living leaves beneath an owner anew, whichever of their owners it is. Returns how many.

    Those that were made `ready`, and are as they were then, are taken over.
    """
    if ready is None or not ready.leaves:
        taken, rest = 0, rows_of(tree.cursor, SQL.leaves_beneath.sql, owner=old.id)
    else:
        given = {
            "owner": old.id,
            **_ids_of(ready.leaves),
            "before": [row["wrapped"] for row in ready.leaves],
            "after": ready.wrapped,
        }
        found = rows_of(tree.cursor, SQL.take_over_leaves.sql, **given)
        taken, rest = found[0]["taken"], [row for row in found if row["key_id"] is not None]
    kept, wrapped = _wrapped_anew(tree, tenant, old, new.key, rest)
    if kept:
        all_of(tree.cursor.execute(SQL.rewrap_leaves.sql, {**_ids_of(kept), "wrapped": wrapped}).rowcount, len(kept))
    return int(taken) + len(kept)


def _wrapped_anew(
    tree: Tree, tenant: TenantId, old: Owner, new: Key, rows: Sequence[DictRow]
) -> tuple[list[DictRow], list[bytes]]:
    """Wrap leaves under a new key in place of the old one. Nothing is written.

    The layers above are taken off and put on again, so every later owner has to live. Where one is dead, so is the
    leaf, and its sweep has not come to it yet: it is left.
    """
    above = {id_ for row in rows for id_ in _later(row, old.id)}
    others = _keys_of(tree, above) if above else {}
    kept, wrapped = [], []
    for row in rows:
        later = _later(row, old.id)
        if any(id_ not in others for id_ in later):
            continue
        layer = row["wrapped"]
        for id_ in reversed(later):
            layer = unwrap(others[id_], layer, ends=ends(tenant, id_.bytes, row["key_id"]))
        bound = ends(tenant, old.id.bytes, row["key_id"])
        layer = wrap(new, unwrap(old.key, layer, ends=bound), ends=bound)
        for id_ in later:
            layer = wrap(others[id_], layer, ends=ends(tenant, id_.bytes, row["key_id"]))
        kept.append(row)
        wrapped.append(layer)
    return kept, wrapped


def _ids_of(leaves: Sequence[DictRow]) -> dict[str, list[UUID]]:
    return {"thing_ids": [row["thing_id"] for row in leaves], "key_ids": [row["key_id"] for row in leaves]}


def _later(leaf: DictRow, owner: UUID) -> list[UUID]:
    """Name the owners under whose keys a leaf was wrapped after it was wrapped under this one."""
    owners: list[UUID] = [leaf["owner"], *(leaf["co_owners"] or ())]
    return owners[owners.index(owner) + 1 :]


def reseal_page(tree: Tree, tenant: TenantId, old: Owner, new: Owner) -> tuple[int, int]:
    """Seal the rows of a register page anew, and split it if it has too many. Returns how many there are, and stay.

    An entry and its way back stay together. Which rows go where is chance: an index says nothing about its person.
    """
    entries = [(row, bytes(row["blind_index"])) for row in rows_of(tree.cursor, SQL.entries_of_page.sql, page=old.id)]
    backs = [
        (row, unwrap(old.key, row["sealed"], ends=back_ends(tenant, row["owner"], old.id)))
        for row in rows_of(tree.cursor, SQL.backs_of_page.sql, page=old.id)
    ]
    indexes = sorted({index for _, index in (*entries, *backs)})
    pages = [new, *(tree.new_wrapping_key(tenant, "page") for _ in range(PAGE_ROWS, len(indexes), PAGE_ROWS))]
    place = {index: pages[rank // PAGE_ROWS] for rank, index in enumerate(indexes)}
    _reseal_entries(tree, tenant, old, entries, place)
    _reseal_backs(tree, tenant, old, backs, place)
    counts = _rows_a_page([place[index].id for _, index in entries], [place[index].id for _, index in backs])
    further = {page.id: counts[page.id] for page in pages[1:]}
    if further:
        given = {"key_ids": list(further), "added": list(further.values())}
        tree.cursor.execute(TREE.count_children.sql, given)
    return sum(counts.values()), counts.get(new.id, 0)


def _rows_a_page(*places: Iterable[UUID]) -> Counter[UUID]:
    """Count how many places are taken on each page: by its entries or by its ways back, whichever are more."""
    counts: Counter[UUID] = Counter()
    for taken in places:
        counts |= Counter(taken)
    return counts


def _reseal_entries(
    tree: Tree, tenant: TenantId, old: Owner, entries: Sequence[tuple[DictRow, bytes]], place: Mapping[bytes, Owner]
) -> None:
    sealed = [
        wrap(
            place[index].key,
            unwrap(old.key, row["sealed"], ends=entry_ends(tenant, index, old.id)),
            ends=entry_ends(tenant, index, place[index].id),
        )
        for row, index in entries
    ]
    if entries:
        given = {
            "tenant": tenant,
            "page": old.id,
            "indexes": [index for _, index in entries],
            "pages": [place[index].id for _, index in entries],
            "sealed": sealed,
        }
        all_of(tree.cursor.execute(SQL.reseal_entries.sql, given).rowcount, len(entries))


def _reseal_backs(
    tree: Tree, tenant: TenantId, old: Owner, backs: Sequence[tuple[DictRow, bytes]], place: Mapping[bytes, Owner]
) -> None:
    if backs:
        given = {
            "page": old.id,
            "places": [row["place"] for row, _ in backs],
            "pages": [place[index].id for _, index in backs],
            "sealed": [
                wrap(place[index].key, index, ends=back_ends(tenant, row["owner"], place[index].id))
                for row, index in backs
            ],
        }
        all_of(tree.cursor.execute(SQL.reseal_backs.sql, given).rowcount, len(backs))


def _keys_of(tree: Tree, ids: Iterable[UUID]) -> dict[UUID, Key]:
    """Open the keys of living owners, whether they are subjects or stand at the root. The dead are left out."""
    wanted = list(ids)
    found = {id_: person.key for id_, person in tree.people(wanted).items() if person.living and person.key is not None}
    rest = [id_ for id_ in wanted if id_ not in found]
    return found | {row["key_id"]: tree.unwrap_row(row) for row in rows_of(tree.cursor, SQL.keys_by_id.sql, ids=rest)}


def all_of(changed: int, expected: int) -> None:
    """Compare counts: what was read has to be what was written."""
    if changed != expected:
        raise KeyLost("a key changed while it was replaced, though nobody else should be at work")
