"""The gate at the start: what must fit together before anything is served.

A copy that was restored is older than what happened since. What the ledger says is carried out again
(`services.restoring`); what nothing can bring back stops the start, and the message says what to do:

    key database older than its log     keys are missing: restore a newer copy, or accept the loss
    ledger older than log or keys       a number would be given twice: restore the other copy of the ledger
    a line of the ledger is changed     somebody tampered, or the disk did: restore the other copy
    a root does not open                the copy is from before the last turn, or the roots are another house's
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol
from uuid import UUID

from crypto.agreement import TOLD_BY_THE_LEDGER
from crypto.integrity import check_tops
from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Ledger, Line
from crypto.roots import Roots
from crypto.tree import SQL
from domain.errors import GateShut, LedgerBroken
from services.log import STATEMENTS, Facts

#: A start checks every line of a ledger up to this long, which takes a second; of a longer one the lines that the log
#: was not told of by a start, and those that the key database lacks. `sealdesk keys check` always checks all.
LINES = 10_000
#: A batch is one issue: a thousand of them a second for thirty years.
ABSURD = 10**12
_OLDER = (
    "the key database is older than its log: it lacks the keys of what was taken in since, and the shreds. Restore a "
    "newer copy of it, or promote its standby; if there is none: sealdesk keys accept-loss"
)
_BEHIND = "the ledger is behind {what}: restore the other copy of the ledger; see docs/runbooks/loss-of-the-ledger.md"


def check(facts: Facts, keys: KeyStore, ledger: Ledger) -> None:
    """Compare what a running house knows with its databases and its ledger, in little time.

    Of the ledger it reads the end, and lines that the key database lacks.

    Raises:
        GateShut: the key database is older than its log, or has not heard of a shred on the ledger.
        LedgerBroken: the ledger is behind.
    """
    if _unknown(keys, _read(ledger, _compared(facts, keys, ledger).missing)) or _is_half_restored(keys):
        raise GateShut(
            "the key database has not heard of a shred on the ledger: a copy, or a standby that lacks it, took its "
            "place. Stop every process and start again: the start carries it out"
        )


def check_strictly(facts: Facts, keys: KeyStore, ledger: Ledger) -> None:
    """Check that nothing has to be carried out before something is served, for whoever may not carry it out.

    What the log has still to be told of may wait for the keeper: the key database knows of it, so nothing opens.

    Raises:
        GateShut: the key database has not heard of a shred, or its key work is ahead of the log.
        LedgerBroken: the ledger is behind.
    """
    with keys.transaction() as cursor:
        kept = rows_of(cursor, SQL.kept_now.sql)[0]["position"]
    # The head is read afterwards, so that what is stored meanwhile does not look like a log from before it.
    is_behind = facts.head() < kept or bool(lines_missing(facts, keys, ledger)[0])
    if is_behind or _is_half_restored(keys) or is_cut_off(keys, ledger):
        raise GateShut(
            "log, key database and ledger are not of one time, and this login may not mend that: start sealdesk keep, "
            "or run any command with a login that has the role of the keeper"
        )


def _is_half_restored(keys: KeyStore) -> bool:
    """Tell whether somebody wrote down what only the ledger told of, and has not carried it out: it opens still."""
    with keys.transaction() as cursor:
        return bool(rows_of(cursor, SQL.told_and_intended.sql, ground=TOLD_BY_THE_LEDGER))


def is_cut_off(keys: KeyStore, ledger: Ledger) -> bool:
    """Tell whether a line stands whose shred was begun and is not carried out, and nobody is at it: it opens still.

    It takes nothing that others look for: of many who ask at once, each hears the same. A closing waits for the shreds
    of its tenant that others are at, and stops nobody meanwhile.
    """
    steps = _unfinished(keys)
    if "intended" not in steps.values():
        return False
    lines = {shred: ledger.find(shred) for shred in steps}
    taken = {shred for shred in steps if keys.is_taken(str(shred))}
    # Before its line nobody here can say whose a shred is: it may be awaited.
    awaited = {line.tenant if (line := lines[shred]) else None for shred in taken}
    left = {
        shred
        for shred, line in lines.items()
        if line is not None
        and steps[shred] == "intended"
        and shred not in taken
        and not (line.kind == "tenant" and awaited & {line.tenant, None})
    }
    # Whoever was at it may have ended well since.
    still = _unfinished(keys) if left else {}
    return any(still.get(shred) == "intended" for shred in left)


def _unfinished(keys: KeyStore) -> dict[UUID, str]:
    with keys.transaction() as cursor:
        return {row["shred_id"]: row["step"] for row in rows_of(cursor, SQL.begun_and_not_ended.sql)}


def lines_missing(facts: Facts, keys: KeyStore, ledger: Lines) -> tuple[list[Line], list[Line]]:
    """Name the lines of the ledger that the key database has not carried out, and those that the log may not know.

    It checks every line of a short ledger; of a longer one those that either of them lacks.

    Raises:
        GateShut: the key database is older than its log.
        LedgerBroken: the ledger is behind log or key database, or a line is not as it was written.
    """
    found = _compared(facts, keys, ledger)
    untold = range(found.told + 1, found.head + 1)
    lines = list(ledger.read()) if found.head <= LINES else _read(ledger, _spanning(found.missing, untold))
    return _unknown(keys, lines), [line for line in lines if line.number > found.told]


class Lines(Protocol):
    """What the gate asks of a ledger: see `crypto.ledger`."""

    def head(self) -> int: ...

    def read(self) -> Iterator[Line]: ...

    def since(self, number: int) -> Iterator[Line]: ...


@dataclass(frozen=True, slots=True)
class _Compared:
    """The last line; up to which the log was told; and a range that has every line which the key database lacks."""

    head: int
    told: int
    missing: range


def _compared(facts: Facts, keys: KeyStore, ledger: Lines) -> _Compared:
    """Compare numbers alone. What the log was told says nothing about the key database: each is restored by itself."""
    seen, told = facts.issue_seen(), facts.line_seen()
    with keys.transaction() as cursor:
        issued = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]
        carried_out = rows_of(cursor, SQL.last_line.sql)[0]["line"]
        gaps = rows_of(cursor, SQL.lines_left_out.sql)
    if issued < seen:
        raise GateShut(_OLDER)
    # Afterwards: a shred that is carried out at this moment writes its line first.
    head = ledger.head()
    if head < carried_out:
        raise LedgerBroken(_BEHIND.format(what="the key database"))
    if head < told:
        raise LedgerBroken(_BEHIND.format(what="the log"))
    left_out = (range(gap["first"], gap["last"] + 1) for gap in gaps)
    return _Compared(head, told, _spanning(*left_out, range(carried_out + 1, head + 1)))


def _spanning(*ranges: range) -> range:
    """Span what is in any of some ranges, with what is between."""
    some = [each for each in ranges if each]
    return range(min(each.start for each in some), max(each.stop for each in some)) if some else range(0)


def _read(ledger: Lines, numbers: range) -> list[Line]:
    """Read lines, and check them and the chain that they form."""
    return list(islice(ledger.since(numbers.start - 1), len(numbers))) if numbers else []


def _unknown(keys: KeyStore, lines: list[Line]) -> list[Line]:
    """Choose the lines of which the key database has never heard. What is under way has a row without its line."""
    if not lines:
        return []
    with keys.transaction() as cursor:
        given = [line.shred for line in lines]
        unknown = {row["shred"] for row in rows_of(cursor, SQL.unknown_lines.sql, shreds=given)}
    return [line for line in lines if line.shred in unknown]


def check_roots(keys: KeyStore, roots: Roots) -> None:
    """Check that every root in use opens, before a new one is made in an empty folder.

    Raises:
        KeysUnavailable: one does not; the message says what to restore.
    """
    check_tops(keys, roots)


def check_age(facts: Facts, keys: KeyStore) -> None:
    """Check that the key database is not older than its log.

    Raises:
        GateShut: it is.
    """
    seen = facts.issue_seen()
    with keys.transaction() as cursor:
        issued = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]
    if issued < seen:
        raise GateShut(_OLDER)


def accept_loss(facts: Facts, keys: KeyStore) -> tuple[int, int]:
    """Let a key database be older than its log: what was sealed since stays lost.

    Returns the number of issues that the key database had seen, and that which the log has.

    Raises:
        GateShut: that number cannot be.
    """
    seen = facts.issue_seen()
    with keys.transaction() as cursor:
        issued = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]
        if seen - issued > ABSURD:
            raise GateShut(
                "the log names more issues than any house has: somebody has written that number. Set it right first, "
                "as the owner of the log database: UPDATE issue_seen SET issue = 0"
            )
        cursor.execute(SQL.accept_issue.sql, {"issue": seen})
    if issued < seen:
        with facts.cursor() as log:
            log.execute(STATEMENTS.accept_loss.sql, {"issued": issued, "seen": seen})
    return issued, seen
