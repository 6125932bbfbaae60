"""Find what was rolled back, swapped, changed or lost in the key database, and name it.

Every row is judged by itself and by what stands above it: a wrapped key has to open at its place, a row has to hang
where its MAC says, a shredded one has to carry our mark, and what the ledger says was shredded has to be. Only the
topmost row of what is wrong is named; what hangs beneath it is counted.

A page of rows is one short snapshot, so that the check runs beside everything and takes flat memory. What an adversary
rolls back whole, with everything that hangs together, is found by the counters of log and ledger, at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from typing import Any, TypeAlias
from uuid import UUID

import aiosql
from psycopg import Cursor
from psycopg.rows import DictRow

from crypto.agreement import check_lines, check_pages
from crypto.closing import SQL as CLOSING
from crypto.findings import Report, Wrong
from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Ledger
from crypto.opening import Path
from crypto.roots import Roots
from crypto.tree import SQL as TREE
from crypto.tree import Tree
from crypto.turning import SQL as TURNING
from crypto.wrapping import Key
from domain.errors import KeyLost, KeysUnavailable, SealBroken, SealdeskError
from domain.ids import HOUSE

SQL: Any = aiosql.from_str((files("crypto") / "sql/integrity.sql").read_text(), "psycopg", mandatory_parameters=False)

#: Rows of one snapshot. A page of leaves opens its owners once.
PAGE = 1_000
#: Pages of the register in one snapshot; each has up to a thousand rows.
PAGES = 4
_FIRST = UUID(int=0)

#: Told what is looked at, how many rows of it are done, and of how many.
Progress: TypeAlias = Callable[[str, int, int], object]


def check_tops(keys: KeyStore, roots: Roots) -> None:
    """Check at a start that every root epoch in use opens, by one key of each.

    Raises:
        KeysUnavailable: one does not; the message says what to restore.
    """
    with keys.snapshot() as cursor:
        for row in rows_of(cursor, SQL.tops.sql):
            try:
                Tree(cursor, roots).unwrap_row(row)
            except (KeysUnavailable, SealBroken) as error:
                why = str(error) if isinstance(error, KeysUnavailable) else "the root of that number is another one"
                raise KeysUnavailable(
                    f"{row['keys']} keys stand under root epoch {row['epoch']}, which does not open ({why}); restore "
                    "the newest copy of the roots (SEALDESK_ROOTS), or a copy of the key database from after the last "
                    "turn; see docs/runbooks/restore.md"
                ) from None


class CarefulTree(Tree):
    """A tree that takes a root which is gone for one that does not open, so that the rest can be judged."""

    def __init__(self, cursor: Cursor[DictRow], roots: Roots, rootless: frozenset[int]) -> None:
        super().__init__(cursor, roots)
        self._rootless = rootless

    def epoch(self, number: int) -> Key:
        """Open a root epoch.

        Raises:
            SealBroken: it is known to be gone, or to be another.
        """
        if number in self._rootless:
            raise SealBroken("a root is gone, or is another")
        return super().epoch(number)


class Integrity:
    """Check one key database, once."""

    def __init__(
        self,
        keys: KeyStore,
        roots: Roots,
        ledger: Ledger,
        clock: Callable[[], datetime],
        progress: Progress | None = None,
    ) -> None:
        self._keys = keys
        self._roots = roots
        self._ledger = ledger
        self._clock = clock
        self._progress: Progress = progress or (lambda what, done, total: None)
        #: Epochs in use whose roots are gone, or are others, as far as `check` has come.
        self.rootless: frozenset[int] = frozenset()
        #: Whether the key of marks opens, without which no shred can be told from a loss.
        self.can_judge_shreds = False
        self._head = 0
        self.report = Report()

    def check(self) -> Report:
        """Look at everything.

        Raises:
            KeysUnavailable: the key database or the roots cannot be reached.
            LedgerBroken: the ledger is not whole, so that nobody can be compared with it.
        """
        with self._keys.snapshot() as cursor:
            rows = rows_of(cursor, SQL.rows.sql)[0]
        self._head = self._ledger.head()
        self._check_epochs()
        self._each("key", TURNING.all_keys.sql, self._judge_keys, rows["keys"])
        self.can_judge_shreds = self._find_mark_key()
        if not self.can_judge_shreds:
            return self.report
        self._each("subject", SQL.subjects_after.sql, self._judge_subjects, rows["subjects"])
        self._each("thing", SQL.things_after.sql, self._judge_things, rows["things"])
        self._check_leaves(rows["leaves"])
        self._check_closings()
        self._check_counts()
        self._check_register(rows["register"])
        self._check_ledger()
        return self.report

    # -- epochs and what stands at the root -----------------------------------------------------------------------

    def _check_epochs(self) -> None:
        with self._keys.snapshot() as cursor:
            tops = rows_of(cursor, SQL.tops.sql)
            ended = {row["epoch"] for row in rows_of(cursor, SQL.ended_epochs.sql, at=self._clock())}
        missing = {row["epoch"]: self._opens(row["epoch"]) for row in tops}
        if tops and all(missing.values()):
            raise next(error for error in missing.values() if error is not None)
        self.rootless = frozenset(epoch for epoch, error in missing.items() if error is not None)
        for epoch in sorted(self.rootless):
            self.report.add("epoch", Wrong.ROOTLESS, number=epoch)
        for epoch in sorted(ended):
            if self._opens(epoch) is None:
                self.report.add("epoch", Wrong.RETURNED, number=epoch)
        self.report.looked_at["epoch"] += len(missing.keys() | ended)

    def _opens(self, epoch: int) -> KeysUnavailable | None:
        try:
            self._roots.open(epoch)
        except KeysUnavailable as error:
            return error
        return None

    def _judge_keys(self, tree: Tree, rows: Sequence[DictRow]) -> None:
        for row in rows:
            try:
                tree.unwrap_row(row)
            except SealBroken:
                rootless = row["epoch"] in self.rootless
                self.report.add(row["kind"], Wrong.ROOTLESS if rootless else Wrong.BROKEN, row["key_id"])

    def _find_mark_key(self) -> bool:
        """Tell whether the key of marks opens. Without it every mark would look forged, and a new one be made."""
        with self._tree() as tree:
            rows = rows_of(tree.cursor, SQL.mark_key.sql, tenant=HOUSE)
            if not rows:
                bound = bool(rows_of(tree.cursor, SQL.bound_rows.sql)[0]["bound"])
                if bound:
                    self.report.add("mark", Wrong.MISSING)
                return not bound
            try:
                tree.unwrap_row(rows[0])
            except SealBroken:
                return False
            return True

    # -- what hangs beneath ---------------------------------------------------------------------------------------

    def _judge_subjects(self, tree: Tree, rows: Sequence[DictRow]) -> None:
        ids = [row["subject_id"] for row in rows]
        path = Path(tree, rows_of(tree.cursor, SQL.subject_paths.sql, subject_ids=ids))
        for id_ in ids:
            row = path.row_of(id_)
            assert row is not None
            if row["line"] is not None:
                self._judge_mark("subject", row, path.is_marked("subject", row))
            elif not tree.is_bound(row, id_, id_, row["parent"]):
                self.report.add("subject", Wrong.UNBOUND, id_)
            elif isinstance(found := path.owner(id_, row["tenant"]), SealdeskError):
                self._blame(path, found, "subject", row, [row["parent"]])

    def _judge_things(self, tree: Tree, rows: Sequence[DictRow]) -> None:
        path = Path(tree, ())
        for row in rows:
            if row["line"] is not None:
                self._judge_mark("thing", row, path.is_marked("thing", row))
            if not row["owned"]:
                self.report.add("owner", Wrong.MISSING, row["owner"])

    def _check_leaves(self, total: int) -> None:
        after, after_key, done = _FIRST, _FIRST, 0
        while True:
            with self._tree() as tree:
                given = {"after": after, "after_key": after_key, "limit": PAGE}
                places = [
                    (row["thing_id"], row["key_id"]) for row in rows_of(tree.cursor, SQL.leaves_after.sql, **given)
                ]
                if not places:
                    return
                things, key_ids = [thing for thing, _ in places], [key_id for _, key_id in places]
                given = {"thing_ids": things, "key_ids": key_ids, "tenant": None}
                path = Path(tree, rows_of(tree.cursor, TREE.paths.sql, **given))
                for thing, key_id in places:
                    self._judge_leaf(tree, path, thing, key_id)
            after, after_key = places[-1]
            done += len(places)
            self._tell("leaf", done, len(places), total)

    def _judge_leaf(self, tree: Tree, path: Path, thing: UUID, key_id: UUID) -> None:
        row = path.row_of_leaf(thing, key_id)
        assert row is not None
        owners = [row["parent"], *(row["co_owners"] or ())]
        if row["line"] is not None:
            self._judge_mark("leaf", row, path.is_marked("leaf", row))
        elif not tree.is_bound(row, thing, key_id, *owners):
            self.report.add("leaf", Wrong.UNBOUND, key_id)
        elif path.is_thing_shredded(thing):
            if row["wrapped"] is not None:
                self.report.add("leaf", Wrong.KEPT, key_id)
        elif isinstance(found := path.leaf(thing, key_id, row["tenant"]), SealdeskError):
            self._blame(path, found, "leaf", row, owners)

    def _judge_mark(self, kind: str, row: DictRow, is_ours: bool) -> None:
        if not is_ours:
            self.report.add(kind, Wrong.FORGED, row["id"])
            return
        if row["line"] > self._head:
            # It may have been written meanwhile.
            self._head = self._ledger.head()
        if row["line"] > self._head:
            self.report.add(kind, Wrong.NO_LINE, row["id"], row["line"])

    def _blame(self, path: Path, found: SealdeskError, kind: str, row: DictRow, owners: Sequence[UUID]) -> None:
        """Name the topmost row that is wrong."""
        missing = [owner for owner in owners if path.row_of(owner) is None]
        for owner in missing:
            self.report.add("owner", Wrong.MISSING, owner)
        if missing or any(isinstance(path.owner(owner, row["tenant"]), SealdeskError) for owner in owners):
            self.report.beneath += 1
        else:
            self.report.add(kind, Wrong.LOST if isinstance(found, KeyLost) else Wrong.BROKEN, row["id"])

    def _check_closings(self) -> None:
        """Check that whoever was closed was closed by us, and that nothing of it is left."""
        with self._tree() as tree:
            path = Path(tree, ())
            for row in rows_of(tree.cursor, CLOSING.all_closings.sql):
                closing = {**row, "id": row["tenant"], "wrapped": None}
                self._judge_mark("tenant", closing, path.is_marked("tenant", closing))
            for row in rows_of(tree.cursor, CLOSING.keys_of_closed.sql):
                self.report.add(row["kind"], Wrong.KEPT, row["id"])
            for row in rows_of(tree.cursor, CLOSING.rows_of_closed.sql):
                self.report.add("tenant", Wrong.KEPT, row["id"])

    # -- counters, register, ledger -------------------------------------------------------------------------------

    def _check_counts(self) -> None:
        with self._keys.snapshot() as cursor:
            for row in rows_of(cursor, SQL.losses_below_zero.sql) + rows_of(cursor, SQL.more_than_counted.sql):
                self.report.add(row["kind"], Wrong.COUNT, row["id"])
            for row in rows_of(cursor, SQL.under_older.sql):
                self.report.add(row["kind"], Wrong.OLDER, row["id"])
            for row in rows_of(cursor, SQL.without_service_key.sql):
                self.report.add(row["kind"], Wrong.MISSING, row["id"])
            for row in rows_of(cursor, SQL.without_page.sql):
                self.report.add("page", Wrong.MISSING, row["id"])
            counters = rows_of(cursor, SQL.counters.sql)[0]
        if counters["issued_rows"] != 1 or counters["issue"] < 0:
            self.report.add("issued", Wrong.COUNT)
        if counters["kept_rows"] != 1 or counters["kept"] < 0:
            self.report.add("kept", Wrong.COUNT)

    def _check_register(self, total: int) -> None:
        after, done = _FIRST, 0
        while True:
            with self._tree() as tree:
                pages = rows_of(tree.cursor, SQL.pages_after.sql, after=after, limit=PAGES)
                if not pages:
                    return
                looked_at = check_pages(tree, pages, self.report)
            after = pages[-1]["key_id"]
            done += looked_at
            self._tell("register", done, looked_at, total)

    def _check_ledger(self) -> None:
        def tell(done: int, more: int) -> None:
            self._tell("line", done, more, self._head)

        check_lines(self._keys, self._ledger, self.report, tell)

    # -- pages ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _tree(self) -> Iterator[Tree]:
        with self._keys.snapshot() as cursor:
            yield CarefulTree(cursor, self._roots, self.rootless)

    def _each(self, kind: str, statement: str, judge: Callable[[Tree, Sequence[DictRow]], None], total: int) -> None:
        """Judge all rows of a table, a page after the other, by the id that comes first in them."""
        after, done = _FIRST, 0
        while True:
            with self._tree() as tree:
                rows = rows_of(tree.cursor, statement, after=after, limit=PAGE)
                if not rows:
                    return
                judge(tree, rows)
            after = next(iter(rows[-1].values()))
            done += len(rows)
            self._tell(kind, done, len(rows), total)

    def _tell(self, kind: str, done: int, more: int, total: int) -> None:
        self.report.looked_at[kind] += more
        self._progress(kind, done, max(done, total))
