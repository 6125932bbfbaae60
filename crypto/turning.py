"""Turn the root epoch: every key that still lives gets under a new root, and whatever lost a child is replaced.

PostgreSQL does not forget: a key that was dropped stands on in old files, wrapped under its parent. So a parent that
lost a child since the last turn is replaced, from the bottom up to the key that stands at the root, and its living
children are wrapped anew. Then nothing that lives opens what died, once the roots of the time are destroyed too. (A
tree of wrapping keys over one small erasable root: Reardon, Ritzdorf, Basin, Capkun, "Secure Data Deletion from
Persistent Media", CCS 2013.)

A loss is counted on the parent's row by whoever takes a child, and cleared only by the transaction that replaces the
parent. A replaced key is a lost child of its own parent. Each replacement is one transaction in which nobody else holds
a key (`KeyStore.replacing`), so a turn runs beside everything. What is left to do is what stands under an older root:
a turn that was killed goes on from there.

    begun      the new root exists; new keys are wrapped under it
    filled     no key stands under an older root: counted in a transaction of its own, alone
    destroyed  the older roots are gone; nothing in any copy of the key database from before opens any more
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID

import aiosql
from psycopg import Cursor
from psycopg.rows import DictRow
from tenacity import retry, retry_if_exception_type, wait_random

from crypto.keystore import Disturbed, KeyStore, rows_of
from crypto.register import back_ends, entry_ends
from crypto.roots import FIRST_EPOCH, Roots
from crypto.tree import Owner, Tree, ends, epoch_end
from crypto.wrapping import Key, new_key, unwrap, wrap
from domain.errors import KeyLost, NobodyCanAct
from domain.ids import TenantId

SQL: Any = aiosql.from_str((files("crypto") / "sql/turning.sql").read_text(), "psycopg", mandatory_parameters=False)

#: Keys without a loss that are wrapped under the new root in one transaction.
TOGETHER = 500

#: A replacement gives way to whoever is at work, and tries again: it never gives up.
_again = retry(retry=retry_if_exception_type(Disturbed), wait=wait_random(0.0, 0.2))


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


class Turning:
    """The epochs of one key database. One process turns at a time."""

    def __init__(self, keys: KeyStore, roots: Roots, clock: Callable[[], datetime]) -> None:
        self._keys = keys
        self._roots = roots
        self._clock = clock

    def is_unfinished(self) -> bool:
        """Tell whether a turn was begun and not finished."""
        with self._keys.transaction() as cursor:
            return self._roots.current() > FIRST_EPOCH and self._row(cursor, self._roots.current())["filled_at"] is None

    def turn(self, progress: Callable[[int, int], object] | None = None) -> int:
        """Finish the turn that was begun, or begin one and finish it. Returns the number of the new epoch.

        `progress` is told how many keys that stand at the root are done, and of how many.

        Raises:
            Disturbed: another process is turning.
            KeysUnavailable: the key database or the roots cannot be reached; turning again goes on where this ended.
            KeyLost, SealBroken: a key does not open, so it cannot be taken along; `sealdesk keys check` names it.
        """
        with self._keys.alone("turn") as alone:
            if not alone:
                raise Disturbed("another process is turning the epoch")
            epoch = self._begun()
            self._replace_merged(epoch)
            with self._keys.transaction() as cursor:
                total = rows_of(cursor, SQL.left_to_turn.sql, epoch=epoch)[0]["keys"]
            done = 0
            while moved := self._next(epoch):
                done += moved
                if progress is not None:
                    progress(done, max(total, done))
            return epoch

    def counted(self) -> dict[str, int]:
        """Tell what the turn to the current epoch did, by the names of `Turned`."""
        with self._keys.transaction() as cursor:
            row = self._row(cursor, self._roots.current())
        return {name: row[name] for name in ("rewrapped", "replaced", "children")}

    def destroy_older(self, *, grace: timedelta) -> list[int]:
        """Destroy every root but the current one, if that has been filled for as long as `grace`.

        Returns the epochs whose roots were destroyed. A crash in between leaves roots to destroy once more.

        Raises:
            KeysUnavailable: the key database or the roots cannot be reached.
            NobodyCanAct: a key still stands under an older root, though the epoch was filled.
        """
        with self._keys.alone("turn") as alone:
            if not alone:
                return []
            at = self._clock()
            with self._keys.transaction() as cursor:
                current = self._row(cursor, self._roots.current())
                ended = {row["epoch"] for row in rows_of(cursor, SQL.epochs.sql) if row["destroyed_at"] is not None}
            if current["filled_at"] is None or current["filled_at"] + grace > at:
                return []
            due = [epoch for epoch in range(FIRST_EPOCH, current["epoch"]) if epoch not in ended]
            if due:
                self._refuse_older(current["epoch"])
            for epoch in due:
                effective = self._roots.destroy(epoch)
                with self._keys.transaction() as cursor:
                    cursor.execute(SQL.end_epoch.sql, {"epoch": epoch, "at": at, "effective": effective})
            return due

    def note_current(self) -> None:
        """Note that the current epoch has begun, where nobody has yet: its age counts from now."""
        with self._keys.transaction() as cursor:
            self._row(cursor, self._roots.current())

    # -- beginning and ending -----------------------------------------------------------------------------------

    def _row(self, cursor: Cursor[DictRow], epoch: int) -> DictRow:
        """Read the row of an epoch, after making it if a crash came between its root and its row."""
        cursor.execute(SQL.begin_epoch.sql, {"epoch": epoch, "at": self._clock()})
        return rows_of(cursor, SQL.epoch.sql, epoch=epoch)[0]

    def _begun(self) -> int:
        current = self._roots.current()
        with self._keys.transaction() as cursor:
            filled = self._row(cursor, current)["filled_at"] is not None
        if current > FIRST_EPOCH and not filled:
            return current
        epoch = self._roots.turn(current)
        with self._keys.transaction() as cursor:
            self._row(cursor, epoch)
        return epoch

    @_again
    def _fill(self, epoch: int) -> int:
        """Say that the epoch is filled, if that is so. Returns how many keys stand under older roots."""
        with self._keys.replacing() as cursor:
            left = int(rows_of(cursor, SQL.left_to_turn.sql, epoch=epoch)[0]["keys"])
            if not left:
                cursor.execute(SQL.fill_epoch.sql, {"epoch": epoch, "at": self._clock()})
            return left

    @_again
    def _refuse_older(self, epoch: int) -> None:
        with self._keys.replacing() as cursor:
            if rows_of(cursor, SQL.left_to_turn.sql, epoch=epoch)[0]["keys"]:
                raise NobodyCanAct("keys still stand under an older root; turn the epoch once more")

    # -- one step -----------------------------------------------------------------------------------------------

    def _next(self, epoch: int) -> int:
        """Take the next keys to the new root. Returns how many; 0 once the epoch is filled."""
        moved = self._step(epoch)
        # Whoever wrapped a key under the old root before the new one existed may have committed only now.
        return moved or self._fill(epoch)

    @_again
    def _step(self, epoch: int) -> int:
        with self._keys.replacing() as cursor:
            tree = Tree(cursor, self._roots)
            rows = rows_of(cursor, SQL.to_turn.sql, epoch=epoch, limit=TOGETHER)
            whole = [row for row in rows if not row["lossy"]]
            if whole:
                turned = self._rewrap(tree, epoch, whole, SQL.rewrap_keys.sql)
            elif rows:
                turned = self._replace(tree, epoch, rows[0])
            else:
                # The private halves to which publishers seal stand at the root, too, and have nothing beneath them.
                whole = rows_of(cursor, SQL.pairs_to_turn.sql, epoch=epoch, limit=TOGETHER)
                if not whole:
                    return 0
                turned = self._rewrap(tree, epoch, whole, SQL.rewrap_pairs.sql)
            self._count(cursor, epoch, turned)
        return len(whole) or 1

    @staticmethod
    def _count(cursor: Cursor[DictRow], epoch: int, turned: Turned) -> None:
        given = {"rewrapped": turned.rewrapped, "replaced": turned.replaced, "children": turned.children}
        cursor.execute(SQL.count_turned.sql, {"epoch": epoch, **given})

    @staticmethod
    def _rewrap(tree: Tree, epoch: int, rows: Sequence[DictRow], statement: str) -> Turned:
        """Wrap keys under the new root."""
        root = tree.epoch(epoch)
        wrapped = [
            wrap(root, tree.unwrap_row(row).material, ends=ends(row["tenant"], epoch_end(epoch), row["key_id"]))
            for row in rows
        ]
        given = {"epoch": epoch, "key_ids": [row["key_id"] for row in rows], "wrapped": wrapped}
        _all(tree.cursor.execute(statement, given).rowcount, len(rows))
        return Turned(rewrapped=len(rows))

    def _replace(self, tree: Tree, epoch: int, row: DictRow) -> Turned:
        """Replace a key that stands at the root: what lives beneath it is wrapped anew, and it gets under the new root.

        A key for indexes, marks or fences has nothing beneath it; no loss is ever counted on one.
        """
        below = Turned()
        if row["kind"] == "bucket":
            for child in rows_of(tree.cursor, SQL.lossy_children.sql, parent=row["key_id"]):
                below += _replace_subject(tree, child["subject_id"])
        old, new = Owner(row["key_id"], tree.unwrap_row(row)), Owner(row["key_id"], new_key())
        match row["kind"]:
            case "bucket":
                children = _rewrap_subjects(tree, row["tenant"], old, new)
            case "page":
                children = _reseal_page(tree, row["tenant"], old, new)
            case "desk" | "day":
                children = _rewrap_leaves(tree, row["tenant"], old, new)
            case _:
                raise NobodyCanAct(f"a key of the kind {row['kind']} has lost a child, and has none")
        bound = ends(row["tenant"], epoch_end(epoch), row["key_id"])
        given = {
            "key_id": row["key_id"],
            "epoch": epoch,
            "wrapped": wrap(tree.epoch(epoch), new.key.material, ends=bound),
        }
        # A page is filled up again; a bucket is not: its dead keep their rows in it.
        given["children"] = children if row["kind"] != "bucket" else None
        _all(tree.cursor.execute(SQL.replace_key.sql, given).rowcount, 1)
        return below + Turned(replaced=1, children=children)

    def _replace_merged(self, epoch: int) -> None:
        """Replace subjects that lost a child and hang from other subjects, from the bottom up."""
        while self._replace_merged_page(epoch):
            pass

    @_again
    def _replace_merged_page(self, epoch: int) -> bool:
        with self._keys.replacing() as cursor:
            rows = rows_of(cursor, SQL.lossy_merged.sql, limit=TOGETHER)
            tree = Tree(cursor, self._roots)
            turned = Turned()
            for row in rows:
                turned += _replace_subject(tree, row["subject_id"])
            self._count(cursor, epoch, turned)
            return bool(rows)


def _replace_subject(tree: Tree, subject: UUID) -> Turned:
    """Replace the key of a subject, under the parent that it has. Its parent has lost a child by that.

    Whoever is dead, or hangs from somebody dead, has no key to replace: the loss is forgotten.
    """
    person = tree.people([subject])[subject]
    if not person.living or person.key is None:
        tree.cursor.execute(SQL.forget_losses.sql, {"subject_id": subject})
        return Turned()
    old, new = Owner(subject, person.key), Owner(subject, new_key())
    children = _rewrap_leaves(tree, person.tenant, old, new) + _rewrap_subjects(tree, person.tenant, old, new)
    parent = _keys_of(tree, [person.parent])[person.parent]
    wrapped = wrap(parent, new.key.material, ends=ends(person.tenant, person.parent.bytes, subject))
    given = {"subject_id": subject, "wrapped": wrapped}
    _all(tree.cursor.execute(SQL.replace_subject.sql, given).rowcount, 1)
    tree.lose_child(person.parent)
    return Turned(replaced=1, children=children)


def _rewrap_subjects(tree: Tree, tenant: TenantId, old: Owner, new: Owner) -> int:
    """Wrap the living subjects beneath a key anew. Returns how many."""
    rows = rows_of(tree.cursor, SQL.subjects_beneath.sql, parent=old.id)
    wrapped = []
    for row in rows:
        bound = ends(tenant, old.id.bytes, row["subject_id"])
        wrapped.append(wrap(new.key, unwrap(old.key, row["wrapped"], ends=bound), ends=bound))
    given = {"parent": old.id, "subject_ids": [row["subject_id"] for row in rows], "wrapped": wrapped}
    if rows:
        _all(tree.cursor.execute(SQL.rewrap_subjects.sql, given).rowcount, len(rows))
    return len(rows)


def _rewrap_leaves(tree: Tree, tenant: TenantId, old: Owner, new: Owner) -> int:
    """Wrap the living leaves beneath an owner anew, whichever of their owners it is. Returns how many.

    The layers above are taken off and put on again, so every later owner has to live. Where one is dead, so is the
    leaf, and its sweep has not come to it yet: it is left.
    """
    rows = rows_of(tree.cursor, SQL.leaves_beneath.sql, owner=old.id)
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
        layer = wrap(new.key, unwrap(old.key, layer, ends=bound), ends=bound)
        for id_ in later:
            layer = wrap(others[id_], layer, ends=ends(tenant, id_.bytes, row["key_id"]))
        kept.append(row)
        wrapped.append(layer)
    if kept:
        given = {"thing_ids": [row["thing_id"] for row in kept], "key_ids": [row["key_id"] for row in kept]}
        _all(tree.cursor.execute(SQL.rewrap_leaves.sql, {**given, "wrapped": wrapped}).rowcount, len(kept))
    return len(kept)


def _later(leaf: DictRow, owner: UUID) -> list[UUID]:
    """Name the owners under whose keys a leaf was wrapped after it was wrapped under this one."""
    owners: list[UUID] = [leaf["owner"], *(leaf["co_owners"] or ())]
    return owners[owners.index(owner) + 1 :]


def _reseal_page(tree: Tree, tenant: TenantId, old: Owner, new: Owner) -> int:
    """Seal the rows of a register page anew. Returns how many places they take."""
    entries = rows_of(tree.cursor, SQL.entries_of_page.sql, page=old.id)
    backs = rows_of(tree.cursor, SQL.backs_of_page.sql, page=old.id)

    def resealed(sealed: bytes, bound: bytes) -> bytes:
        return wrap(new.key, unwrap(old.key, sealed, ends=bound), ends=bound)

    if entries:
        given = {
            "tenant": tenant,
            "page": old.id,
            "indexes": [row["blind_index"] for row in entries],
            "sealed": [resealed(row["sealed"], entry_ends(tenant, row["blind_index"], old.id)) for row in entries],
        }
        _all(tree.cursor.execute(SQL.reseal_entries.sql, given).rowcount, len(entries))
    if backs:
        given = {
            "page": old.id,
            "places": [row["place"] for row in backs],
            "sealed": [resealed(row["sealed"], back_ends(tenant, row["owner"], old.id)) for row in backs],
        }
        _all(tree.cursor.execute(SQL.reseal_backs.sql, given).rowcount, len(backs))
    return max(len(entries), len(backs))


def _keys_of(tree: Tree, ids: Iterable[UUID]) -> dict[UUID, Key]:
    """Open the keys of living owners, whether they are subjects or stand at the root. The dead are left out."""
    wanted = list(ids)
    found = {id_: person.key for id_, person in tree.people(wanted).items() if person.living and person.key is not None}
    rest = [id_ for id_ in wanted if id_ not in found]
    return found | {row["key_id"]: tree.unwrap_row(row) for row in rows_of(tree.cursor, SQL.keys_by_id.sql, ids=rest)}


def _all(changed: int, expected: int) -> None:
    """Compare counts: what was read has to be what was written."""
    if changed != expected:
        raise KeyLost("a key changed while it was replaced, though nobody else should be at work")
