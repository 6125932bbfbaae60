"""Turn the root epoch: every key that still lives gets under a new root, and whatever lost a child is replaced.

PostgreSQL does not forget: a key that was dropped stands on in old files, wrapped under its parent. So a parent that
lost a child since the last turn is replaced, from the bottom up to the key that stands at the root, and its living
children are wrapped anew. Then nothing that lives opens what died, once the roots of the time are destroyed too. (A
tree of wrapping keys over one small erasable root: Reardon, Ritzdorf, Basin, Capkun, "Secure Data Deletion from
Persistent Media", CCS 2013.)

A loss is counted on the parent's row by whoever takes a child, and cleared only by the transaction that replaces the
parent. A replaced key is a lost child of its own parent. Each replacement is one transaction in which nobody else holds
a key (`crypto.replacing`), so a turn runs beside everything. What is left to do is what stands under an older root:
a turn that was killed goes on from there.

    begun      the new root exists; new keys are wrapped under it
    filled     no key stands under an older root: counted in a transaction of its own, alone
    destroyed  the older roots are gone; nothing in any copy of the key database from before opens any more
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow
from tenacity import retry, retry_if_exception_type, wait_random

from crypto.keystore import Disturbed, KeyStore, rows_of
from crypto.replacing import (
    SQL,
    Ready,
    Turned,
    all_of,
    made_ready,
    replace_subject,
    reseal_page,
    rewrap_leaves,
    rewrap_subjects,
    subject_made_ready,
)
from crypto.roots import FIRST_EPOCH, Roots
from crypto.tree import Owner, Tree, ends, epoch_end
from crypto.wrapping import new_key, wrap
from domain.errors import NobodyCanAct

__all__ = ["SQL", "Turning"]

#: Keys without a loss that are wrapped under the new root in one transaction.
TOGETHER = 500

#: So many leaves are taken over in one transaction, unless one person has more: a few milliseconds.
LEAVES = 1_000

#: A replacement gives way to whoever is at work, and tries again: it never gives up.
_again = retry(retry=retry_if_exception_type(Disturbed), wait=wait_random(0.0, 0.2))


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
        moved = self._step(epoch, self._made_ready(epoch))
        # Whoever wrapped a key under the old root before the new one existed may have committed only now.
        return moved or self._fill(epoch)

    def _made_ready(self, epoch: int) -> Mapping[UUID, Ready]:
        """Do beforehand, while everybody works, what can be done for the key that is replaced next."""
        with self._keys.transaction() as cursor:
            rows = rows_of(cursor, SQL.to_turn.sql, epoch=epoch, limit=TOGETHER)
            if not rows or not all(row["lossy"] for row in rows):
                return {}
            key_id, kind, tree = rows[0]["key_id"], rows[0]["kind"], Tree(cursor, self._roots)
            if kind in ("desk", "day"):
                return {key_id: made_ready(tree, rows[0]["tenant"], Owner(key_id, tree.unwrap_row(rows[0])))}
            people = [row["subject_id"] for row in rows_of(cursor, SQL.lossy_children.sql, parent=key_id)]
        self._replace_people(epoch, people)
        return {}

    @_again
    def _step(self, epoch: int, ready: Mapping[UUID, Ready]) -> int:
        with self._keys.replacing() as cursor:
            tree = Tree(cursor, self._roots)
            rows = rows_of(cursor, SQL.to_turn.sql, epoch=epoch, limit=TOGETHER)
            whole = [row for row in rows if not row["lossy"]]
            if whole:
                turned = self._rewrap(tree, epoch, whole, SQL.rewrap_keys.sql)
            elif rows:
                turned = self._replace(tree, epoch, rows[0], ready.get(rows[0]["key_id"]))
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
        all_of(tree.cursor.execute(statement, given).rowcount, len(rows))
        return Turned(rewrapped=len(rows))

    def _replace(self, tree: Tree, epoch: int, row: DictRow, ready: Ready | None) -> Turned:
        """Replace a key that stands at the root: what lives beneath it is wrapped anew, and it gets under the new root.

        A key for indexes, marks or fences has nothing beneath it; no loss is ever counted on one.
        """
        below = Turned()
        if row["kind"] == "bucket":
            # Those who lost something only now: the others were replaced before.
            for child in rows_of(tree.cursor, SQL.lossy_children.sql, parent=row["key_id"]):
                below += replace_subject(tree, child["subject_id"])
        old = Owner(row["key_id"], tree.unwrap_row(row))
        new = Owner(row["key_id"], new_key() if ready is None else ready.new)
        match row["kind"]:
            case "bucket":
                # A page is filled up again; a bucket is not: its dead keep their rows in it.
                children, stay = rewrap_subjects(tree, row["tenant"], old, new), None
            case "page":
                children, stay = reseal_page(tree, row["tenant"], old, new)
            case "desk" | "day":
                children = stay = rewrap_leaves(tree, row["tenant"], old, new, ready)
            case _:
                raise NobodyCanAct(f"a key of the kind {row['kind']} has lost a child, and has none")
        bound = ends(row["tenant"], epoch_end(epoch), row["key_id"])
        wrapped = wrap(tree.epoch(epoch), new.key.material, ends=bound)
        given = {"key_id": row["key_id"], "epoch": epoch, "wrapped": wrapped, "children": stay}
        all_of(tree.cursor.execute(SQL.replace_key.sql, given).rowcount, 1)
        return below + Turned(replaced=1, children=children)

    def _replace_merged(self, epoch: int) -> None:
        """Replace subjects that lost a child and hang from other subjects, from the bottom up."""
        while True:
            with self._keys.transaction() as cursor:
                people = [row["subject_id"] for row in rows_of(cursor, SQL.lossy_merged.sql, limit=TOGETHER)]
            if not people:
                return
            self._replace_people(epoch, people)

    def _replace_people(self, epoch: int, people: Sequence[UUID]) -> None:
        """Replace subjects that lost a child, a few at a time. Nobody waits for longer than for their leaves."""
        left = deque(people)
        while left:
            ready: dict[UUID, Ready | None] = {}
            leaves = 0
            with self._keys.transaction() as cursor:
                tree = Tree(cursor, self._roots)
                while left and leaves < LEAVES:
                    subject = left.popleft()
                    ready[subject] = made = subject_made_ready(tree, subject)
                    leaves += len(made.leaves) if made is not None else 0
            self._take_over(epoch, ready)

    @_again
    def _take_over(self, epoch: int, ready: Mapping[UUID, Ready | None]) -> None:
        with self._keys.replacing() as cursor:
            tree, turned = Tree(cursor, self._roots), Turned()
            for row in rows_of(cursor, SQL.still_lossy.sql, subject_ids=list(ready)):
                turned += replace_subject(tree, row["subject_id"], ready[row["subject_id"]])
            self._count(cursor, epoch, turned)
