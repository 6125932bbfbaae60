"""The gate at the start: what must fit together before anything is served.

A copy that was restored is older than what happened since. What the ledger says is carried out again
(`services.restoring`); what nothing can bring back stops the start, and the message says what to do:

    key database older than its log     keys are missing: restore a newer copy, or accept the loss
    ledger older than log or keys       a number would be given twice: restore the other copy of the ledger
    a line of the ledger is changed     somebody tampered, or the disk did: restore the other copy
    a root does not open                the copy is from before the last turn, or the roots are another house's
"""

from __future__ import annotations

from crypto.integrity import check_tops
from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Ledger, Line
from crypto.roots import Roots
from crypto.tree import SQL
from domain.errors import GateShut, LedgerBroken
from services.log import STATEMENTS, Facts

#: A start checks every line of a ledger up to this long, which takes a second; of a longer one the lines since the
#: last start. `sealdesk keys check` always checks all.
LINES = 10_000
_OLDER = (
    "the key database is older than its log: the keys of what was taken in since are missing. Restore a newer copy of "
    "the key database, or promote its standby; if there is none: sealdesk keys accept-loss"
)
_BEHIND = "the ledger is behind {what}: restore the other copy of the ledger; see docs/runbooks/loss-of-the-ledger.md"


def check(facts: Facts, keys: KeyStore, ledger: Ledger) -> None:
    """Compare what a running house knows with its databases and its ledger, in little time.

    Raises:
        GateShut: the key database is older than its log, or has not heard of a shred on the ledger.
        LedgerBroken: the ledger is behind.
    """
    if lines_missing(facts, keys, ledger)[0]:
        raise GateShut(
            "the key database has not heard of a shred on the ledger: a copy, or a standby that lacks it, took its "
            "place. Stop every process and start again: the start carries it out"
        )


def lines_missing(facts: Facts, keys: KeyStore, ledger: Ledger) -> tuple[list[Line], list[Line]]:
    """Name the lines of the ledger that the key database has not carried out, and those that the log may not know.

    Raises:
        GateShut: the key database is older than its log.
        LedgerBroken: the ledger is behind log or key database, or a line is not as it was written.
    """
    seen, told = facts.issue_seen(), facts.line_seen()
    with keys.transaction() as cursor:
        issued = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]
        carried_out = rows_of(cursor, SQL.last_line.sql)[0]["line"]
    if issued < seen:
        raise GateShut(_OLDER)
    # Afterwards: a shred that is carried out at this moment writes its line first.
    head = ledger.head()
    if head < carried_out:
        raise LedgerBroken(_BEHIND.format(what="the key database"))
    if head < told:
        raise LedgerBroken(_BEHIND.format(what="the log"))
    # Log and key database are restored each by itself, so what one has heard says nothing about the other.
    if head == told == carried_out and head > LINES:
        return [], []
    lines = list(ledger.read())
    with keys.transaction() as cursor:
        given = [line.shred for line in lines]
        unknown = {row["shred"] for row in rows_of(cursor, SQL.unknown_lines.sql, shreds=given)}
    return [line for line in lines if line.shred in unknown], [line for line in lines if line.number > told]


def check_roots(keys: KeyStore, roots: Roots) -> None:
    """Check that every root in use opens, before a new one is made in an empty folder.

    Raises:
        KeysUnavailable: one does not; the message says what to restore.
    """
    check_tops(keys, roots)


def accept_loss(facts: Facts, keys: KeyStore) -> tuple[int, int]:
    """Let a key database be older than its log: what was sealed since stays lost.

    Returns the number of issues that the key database had seen, and that which the log has.
    """
    seen = facts.issue_seen()
    with keys.transaction() as cursor:
        issued = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]
        cursor.execute(SQL.accept_issue.sql, {"issue": seen})
    if issued < seen:
        with facts.cursor() as log:
            log.execute(STATEMENTS.accept_loss.sql, {"issued": issued, "seen": seen})
    return issued, seen
