"""The gate at the start: what must fit together before anything is served.

A key database that is older than its log, or older than the ledger, would lose keys or bring shredded people back; a
ledger that is behind the key database would let a number be given twice. Each stops the start and says what to do.
"""

from __future__ import annotations

from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Ledger
from crypto.tree import SQL
from domain.errors import GateShut, LedgerBroken
from services.log import Facts


def check(facts: Facts, keys: KeyStore, ledger: Ledger) -> None:
    """Compare the counters of log, key database and ledger.

    Raises:
        GateShut: the key database is older than its log, or than the ledger.
        LedgerBroken: the ledger is behind the key database.
    """
    seen = facts.issue_seen()
    with keys.transaction() as cursor:
        issued = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]
        carried_out = rows_of(cursor, SQL.last_line.sql)[0]["line"]
        head = ledger.head()
        behind = head > carried_out and any(
            rows_of(cursor, SQL.unknown_lines.sql, shreds=[line.shred for line in ledger.read()])
        )
    if issued < seen:
        raise GateShut("the key database is older than its log; restore a newer copy of the key database")
    if behind:
        raise GateShut("the key database has not heard of a shred on the ledger; restore a newer copy of it")
    if head < carried_out:
        raise LedgerBroken("the ledger is behind the key database; restore the other copy of the ledger")
