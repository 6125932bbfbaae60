"""Write lost lines of the ledger again, where no place has them any more: from the shreds of the key database.

A line comes back with its number, kind, key, shred, time and whoever went, signed anew; so what names its number fits.
What does not come back: the tags of the references, because what leads from a person to them went with the person.
The fences stand in the key database, and on no line. So an older copy of the key database must not be restored any
more: its roots have to die (`sealdesk keys turn --grace 0`). A certificate commits to the line that was lost, and fits
no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from psycopg import Cursor
from psycopg.rows import DictRow

from crypto.agreement import TOLD_BY_THE_LEDGER
from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Fences, Ledger, Line
from crypto.register import quarter
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from crypto.wrapping import new_key
from domain.errors import KeyExpired, LedgerBroken
from domain.ids import TenantId
from services import gate
from services.log import Facts


def write_again(facts: Facts, keys: KeyStore, roots: Roots, ledger: Ledger, *, at: datetime) -> range:
    """Write the lines behind the last one that the ledger has. Returns their numbers, none if nothing is missing.

    What was interrupted goes on with the next call. `at` is the time now.

    Raises:
        GateShut: the key database is older than its log.
        KeysUnavailable: a ledger key is out of reach.
        LedgerBroken: a line that is there is not whole or is of another ledger, or the key database does not know what
            a missing line said.
    """
    # No start may look meanwhile. Whoever shreds is refused until the last line is there.
    with keys.waiting("restoring"):
        gate.check_age(facts, keys)
        found = deque(ledger.read(), maxlen=1)
        last = found[0] if found else None
        head = last.number if last else 0
        with keys.transaction() as cursor:
            rows = rows_of(cursor, SQL.shreds_from_line.sql, line=head)
            open_ = rows_of(cursor, SQL.unfinished_shreds.sql)
        missing = [row for row in rows if row["line"] > head]
        _check(last, rows, missing, open_, ledger, told=facts.line_seen())
        for row in missing:
            _write(keys, roots, ledger, row, at)
        return range(head + 1, head + 1 + len(missing))


def _check(
    last: Line | None,
    rows: Sequence[DictRow],
    missing: Sequence[DictRow],
    unfinished: Sequence[DictRow],
    ledger: Ledger,
    *,
    told: int,
) -> None:
    """See that what will be written is what was lost, and all of it."""
    head = last.number if last else 0
    for row in rows:
        if last is not None and row["line"] == head and row["shred_id"] != last.shred:
            raise LedgerBroken(f"line {head} is of a shred that the key database does not know: this is another ledger")
    end = max(told, *(row["line"] for row in missing), head)
    left_out = sorted(set(range(head + 1, end + 1)) - {row["line"] for row in missing})
    if left_out or len(missing) > end - head:
        number = left_out[0] if left_out else end
        raise LedgerBroken(
            f"nothing was written: the key database does not know what line {number} of the ledger said; find a copy "
            "of the ledger that has it, or a newer copy of the key database"
        )
    known = [row for row in unfinished if row["ground"] == TOLD_BY_THE_LEDGER and row["line"] is None]
    if any(ledger.find(row["shred_id"]) is None for row in known):
        raise LedgerBroken(
            "nothing was written: a restored key database has not carried out yet what a lost line of the ledger said; "
            "restore a newer copy of the key database"
        )


def _write(keys: KeyStore, roots: Roots, ledger: Ledger, row: DictRow, at: datetime) -> None:
    with keys.transaction() as cursor:
        fences = _fences(cursor, roots, row)
        issued = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]

    def append(at: datetime) -> Line:
        return ledger.append(
            tenant=TenantId(row["tenant"]),
            kind=row["kind"],
            key=row["target"],
            shred=row["shred_id"],
            at=at,
            fences=fences,
            issue_counter=issued,
        )

    try:
        line = append(row["destroyed_at"])
    except KeyExpired:
        # The ledger key of its quarter had its time, as the fences had. Who went has still to be said.
        line = append(at)
    if line.number != row["line"]:
        raise LedgerBroken(f"somebody else has written line {row['line']} of the ledger meanwhile: stop every process")


def _fences(cursor: Cursor[DictRow], roots: Roots, row: DictRow) -> Fences:
    """Say who went. The fence key of the quarter goes along if it lives; if not, one that fits nothing."""
    fence_keys = Tree(cursor, roots).service_keys(TenantId(row["tenant"]), "fence")
    owner = fence_keys.get(quarter(row["destroyed_at"]))
    return Fences(tuple(row["targets"]), new_key() if owner is None else owner.key, ())
