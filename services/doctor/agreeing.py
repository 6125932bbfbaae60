"""Whether log, key database, roots and ledger are of one time; and what is left undone in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from crypto.integrity import SQL as INTEGRITY
from crypto.keystore import KeyStore, rows_of
from crypto.roles import BY_POWER, Role, login_of
from crypto.roots import Roots
from crypto.tree import SQL
from services import epochs, gate
from services.doctor.findings import Case, Finding, State, guarded
from services.doctor.opening import ledger_of, misfits_of, roots_of
from services.doctor.servers import STATEMENTS
from services.log import Facts, LogDatastore
from services.projecting import Projecting
from services.schema import KEYS, LOG, Schema, connected

#: How long a shred, or a read model, may be under way before somebody should look.
BEGUN = timedelta(hours=1)
BEHIND = timedelta(minutes=5)
#: When a record of the quarantine is about to go for good.
SOON = timedelta(days=3)


def findings(case: Case) -> Iterator[Finding]:
    """Look at both databases together; one alone says little."""
    if case.log_dsn is None or case.keys_dsn is None:
        return
    with _looking(case.log_dsn, case.keys_dsn) as (facts, keys):
        yield from guarded("gate", lambda: _gate(case, facts, keys))
        roots = roots_of(case)
        if roots is None:
            yield from guarded("roots in use", lambda: _rootless(case, keys))
        else:
            yield from guarded("roots in use", lambda: _in_use(keys, roots))
            yield from guarded("epochs", lambda: _epochs(case, keys, roots))
        yield from guarded("shreds", lambda: _shreds(case, keys))
        yield from guarded("read models", lambda: _models(case, facts))
        yield from guarded("quarantine", lambda: _quarantine(case, facts))


@contextmanager
def _looking(log_dsn: str, keys_dsn: str) -> Iterator[tuple[Facts, KeyStore]]:
    """Connect to both as the most that the logins may be. Rights that are not up to date are left as they are."""
    datastore, keys = LogDatastore(log_dsn, _role(LOG, log_dsn)), KeyStore(keys_dsn, _role(KEYS, keys_dsn))
    facts = Facts(datastore)
    try:
        yield facts, keys
    finally:
        keys.close()
        facts.close()
        datastore.close()


def _role(which: Schema, dsn: str) -> Role | None:
    with connected(which, dsn) as connection:
        roles = login_of(connection).roles
    return next((role for role in BY_POWER if role in roles), None)


def _gate(case: Case, facts: Facts, keys: KeyStore) -> Iterator[Finding]:
    """Ask what a start would, and leave alone what it would carry out."""
    ledger = ledger_of(case, case.settings.ledger)
    if ledger is None:
        yield Finding("gate", State.UNKNOWN, "without signing key and roots the ledger cannot be read", "see above")
        return
    unknown, untold = gate.lines_missing(facts, keys, ledger)
    with keys.transaction() as cursor:
        kept = rows_of(cursor, SQL.kept_now.sql)[0]["position"]
    # The head is read afterwards, so that what is stored meanwhile does not look like a log from before it.
    is_log_older = facts.head() < kept
    if unknown:
        yield Finding(
            "gate",
            State.WARNING,
            f"the key database is an older copy: it has not carried out {len(unknown)} lines of the ledger",
            f"{_who_mends(case)} the start carries them out, and destroys again who was shredded since",
        )
    if is_log_older:
        yield Finding(
            "gate",
            State.WARNING,
            "the log is an older copy than the key database",
            f"{_who_mends(case)} the start does the key work of its facts again from where it ends; what was taken in "
            "since has to come once more, from Kafka or from upstream",
        )
    if unknown or is_log_older:
        return
    if untold:
        yield Finding("gate", State.OK, "they fit together; the next start tells the log of the newest shreds")
    else:
        yield Finding("gate", State.OK, "log, key database and ledger fit together")


def _who_mends(case: Case) -> str:
    """Say which start mends a copy that is older: one of a login that may not is refused."""
    assert case.log_dsn is not None
    assert case.keys_dsn is not None
    if {_role(LOG, case.log_dsn), _role(KEYS, case.keys_dsn)} == {Role.KEEPER}:
        return "start sealdesk once, before anybody asks it for anything:"
    return "this login may not mend it, and its start is refused. Start sealdesk keep, with the keeper's login:"


def _in_use(keys: KeyStore, roots: Roots) -> Iterator[Finding]:
    gate.check_roots(keys, roots)
    yield Finding("roots in use", State.OK, "every root that keys stand under opens")


def _rootless(case: Case, keys: KeyStore) -> Iterator[Finding]:
    """See whether keys stand under a root that does not lie where it should."""
    if case.is_keeper_untold or misfits_of(case):
        yield Finding("roots in use", State.UNKNOWN, "without the roots nobody can say", "see above")
        return
    with keys.transaction() as cursor:
        used = [row["epoch"] for row in rows_of(cursor, INTEGRITY.tops.sql)]
    if used:
        yield Finding(
            "roots in use",
            State.WRONG,
            f"keys stand under root epoch {max(used)}, and no root is there",
            "restore the newest copy of the roots, and start nothing before; see docs/runbooks/restore.md",
        )


def _epochs(case: Case, keys: KeyStore, roots: Roots) -> Iterator[Finding]:
    """See that the epoch turns, and that a copy of the keys opens."""
    settings = case.settings
    found = epochs.status(keys, roots, at=case.at, backup_hours=settings.backup_hours)
    current = max((epoch for epoch in found.epochs if epoch["age_hours"] is not None), key=_number, default=None)
    if current is not None and current["age_hours"] > 2 * settings.epoch_hours:
        yield Finding(
            "epochs",
            State.WARNING,
            f"epoch {current['epoch']} is {current['age_hours']} hours old; it should end after {settings.epoch_hours}",
            "keep a 'sealdesk keep' running: until the turn, copies of the key database open what was shredded",
        )
    elif found.is_unfinished:
        yield Finding("epochs", State.WARNING, "a turn was begun and is not finished", "run: sealdesk keys turn")
    else:
        yield Finding("epochs", State.OK, "the current one is young" if current else "the first one has not begun")
    if found.is_backup_late:
        yield Finding(
            "key backup",
            State.WARNING,
            "none was told of that opens everything and is young enough",
            f"make one at least every {settings.backup_hours} hours, and then: sealdesk keys backed-up",
        )
    else:
        yield Finding("key backup", State.OK, "the newest opens everything")


def _number(epoch: object) -> int:
    assert isinstance(epoch, dict)
    return int(epoch["epoch"])


def _shreds(case: Case, keys: KeyStore) -> Iterator[Finding]:
    with keys.transaction() as cursor:
        [row] = rows_of(cursor, STATEMENTS.shreds_unfinished.sql)
    if not row["shreds"]:
        yield Finding("shreds", State.OK, "none is unfinished")
        return
    state = State.WRONG if _is_older(row["since"], BEGUN, case.at) else State.WARNING
    yield Finding(
        "shreds",
        state,
        f"{row['shreds']} were begun and are not finished",
        "keep a 'sealdesk keep' running, or start any command that may: it resumes them",
    )


def _models(case: Case, facts: Facts) -> Iterator[Finding]:
    behind = {}
    for name, position in Projecting(facts).positions().items():
        with facts.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.oldest_behind.sql, {"position": position}).fetchall()
        if rows and _is_older(rows[0]["since"], BEHIND, case.at):
            behind[name] = rows[0]["since"]
    for name in behind:
        yield Finding(
            "read models",
            State.WARNING,
            f"{name} has not folded facts for minutes",
            "keep a 'sealdesk project' running",
        )
    if not behind:
        yield Finding("read models", State.OK, "all are up to date")


def _quarantine(case: Case, facts: Facts) -> Iterator[Finding]:
    with facts.cursor() as cursor:
        [row] = cursor.execute(STATEMENTS.oldest_quarantined.sql).fetchall()
    days = timedelta(days=case.settings.quarantine_days)
    if row["records"] and _is_older(row["oldest"], days - SOON, case.at):
        yield Finding(
            "quarantine",
            State.WARNING,
            f"the oldest of {row['records']} records goes for good within {SOON.days} days",
            "see why: sealdesk quarantine; then retry or drop them",
        )
    else:
        yield Finding("quarantine", State.OK, f"{row['records']} records, none about to go")


def _is_older(since: datetime, than: timedelta, at: datetime) -> bool:
    return at - since > than
