"""After a restore: carry out again what the ledger says, before anything is served.

A line says, sealed, who went, by what their references are known, and with which fence key. So a key database from
before the shred learns of it whole: whoever is there is destroyed, and the references are fenced, also those of people
whom that copy has never met. A log from before it is told once more. Everything here may run twice.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from crypto.agreement import TOLD_BY_THE_LEDGER
from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Fences, Ledger, Line
from crypto.register import Register, quarter
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from domain.errors import GateShut, KeyExpired
from domain.ids import TenantId
from services import finding
from services.gate import is_cut_off, lines_missing
from services.log import Facts


class Restoring:
    """Bring key database and log up to the ledger. `resume` finishes a shred whose row stands."""

    def __init__(
        self,
        facts: Facts,
        keys: KeyStore,
        roots: Roots,
        ledger: Ledger,
        resume: Callable[[], object],
        tell: Callable[[DictRow, Line], object],
        know_closing: Callable[[Cursor[DictRow], Line, str], object],
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._ledger = ledger
        self._resume = resume
        self._tell = tell
        self._know_closing = know_closing

    def bring_up(self) -> int:
        """Carry out what is missing. Returns how many shreds the key database had not heard of.

        Raises:
            GateShut, LedgerBroken, KeysUnavailable: what is missing cannot be brought back; see `services.gate`.
        """
        # One after the other: whoever comes second looks for itself, and serves nothing that the first could not mend.
        with self._keys.waiting("restoring"):
            self._rewind()
            unknown, untold = lines_missing(self._facts, self._keys, self._ledger)
            for line in unknown:
                self._know(line)
            if self._is_pending() or unknown:
                self._resume()
                if is_cut_off(self._keys, self._ledger):
                    raise GateShut("a shred on the ledger could not be carried out; start again")
            for line in untold:
                self._tell_again(line)
            if untold:
                self._facts.see_line(untold[-1].number)
            return len(unknown)

    def _is_pending(self) -> bool:
        """Tell whether a shred is not carried out yet that only the ledger told of, or whose line stands on it."""
        with self._keys.transaction() as cursor:
            rows = rows_of(cursor, SQL.unfinished_shreds.sql)
        return any(
            row["ground"] == TOLD_BY_THE_LEDGER
            or (row["step"] == "intended" and self._ledger.find(row["shred_id"]) is not None)
            for row in rows
        )

    def _rewind(self) -> None:
        """Do the key work of the log again from its head, if the log is older than the key database."""
        head = self._facts.head()
        with self._keys.transaction() as cursor:
            cursor.execute(SQL.rewind_kept.sql, {"head": head})

    def _know(self, line: Line) -> None:
        """Write down a shred that only the ledger tells of, for `resume` to carry out."""
        with self._keys.transaction() as cursor:
            if rows_of(cursor, SQL.shred_by_id.sql, shred_id=line.shred):
                # It was given up because its line was not there yet: it came late over a network, and counts.
                cursor.execute(SQL.revive_shred.sql, {"shred_id": line.shred})
                return
            if line.kind == "tenant":
                self._know_closing(cursor, line, TOLD_BY_THE_LEDGER)
                return
            fences = self._fences_of(line)
            tree = Tree(cursor, self._roots)
            if fences.key is not None:
                tree.adopt_service_key(line.tenant, "fence", quarter(line.at), fences.key)
            Register(tree, line.tenant).fence_tags(fences.tags, line.at)
            known = _known(cursor, [line.key, *fences.targets])
            target = known[0] if known else line.key
            cursor.execute(
                SQL.insert_shred.sql,
                {
                    "shred_id": line.shred,
                    "tenant": TenantId(line.tenant),
                    "kind": line.kind,
                    "target": target,
                    "targets": known or [line.key],
                    "profile": finding.of_targets(tree, [target]).profile if known else line.key,
                    "ground": TOLD_BY_THE_LEDGER,
                    "begun_at": line.at,
                },
            )
            if not known:
                # This copy has never met them: with their references fenced, there is nothing else to do.
                cursor.execute(SQL.close_shred.sql, {"shred_id": line.shred, "line": line.number, "at": line.at})

    def _fences_of(self, line: Line) -> Fences:
        """Open what a line keeps sealed.

        Where that has expired, the person that was asked for goes, and whoever this copy knows to be merged into that
        one: the line says no more, and late records of them would be taken again, copy or no copy. A ledger key that is
        out of reach stops the start: without the fences, late records would bring them back too soon.
        """
        try:
            return self._ledger.fences_of(line)
        except KeyExpired:
            return Fences((line.key,), None, ())

    def _tell_again(self, line: Line) -> None:
        """Tell the log of a shred once more, if it has not heard of it: a fact is stored once."""
        with self._keys.transaction() as cursor:
            [row] = rows_of(cursor, SQL.shred_by_id.sql, shred_id=line.shred)
        if row["destroyed_at"] is not None:
            self._tell(row, line)


def _known(cursor: Cursor[DictRow], ids: list[UUID]) -> list[UUID]:
    """Tell which of these people and things the key database knows, the first ones first."""
    found = {row["id"] for row in rows_of(cursor, SQL.known_ids.sql, ids=ids)}
    return [id_ for id_ in dict.fromkeys(ids) if id_ in found]
