"""Root epochs as an operator sees them: which copies of the key database still open, and which shreds nobody can undo.

A copy of the key database opens as long as the roots of its time live. So a turn, with the destruction of the root
before it, ends the copies of before: that is what makes a shred final, and why a new copy is due after every turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow

from crypto.keepers import MovingRoots
from crypto.keystore import KeyStore, rows_of
from crypto.roots import FIRST_EPOCH, Roots
from crypto.turning import SQL, Turning
from domain.errors import SettingsWrong

#: How long a root outlives the turn that replaced it: for a batch of yesterday's that has to be restored.
GRACE = timedelta(hours=24)
#: Certificates that are looked for with one query.
PAGE = 500
#: How far the clock of whoever made a copy may be ahead of ours.
AHEAD = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Status:
    """What stands under which root.

    epochs                 by number: since when, filled, destroyed, effective, and how many keys stand under it
    keys                   how many keys stand at the root, by epoch and kind
    living, shredded       people
    recoverable            finished shreds whose certificate does not say `unrecoverable_since` yet
    is_unfinished          whether a turn was begun and not finished
    opens_something_since  a copy of the key database made since then opens something; None: every copy does
    opens_all_since        one made since then opens everything; None: every copy does
    backup                 the newest copy that the operator told of and that opens everything
    is_backup_late         whether that is older than the setting says, or there is none
    """

    epochs: Sequence[Mapping[str, Any]]
    keys: Sequence[Mapping[str, Any]]
    living: int
    shredded: int
    recoverable: int
    is_unfinished: bool
    opens_something_since: datetime | None
    opens_all_since: datetime | None
    backup: datetime | None
    is_backup_late: bool


def status(keys: KeyStore, roots: Roots, *, at: datetime, backup_hours: int) -> Status:
    """Say how the epochs stand.

    Raises:
        KeysUnavailable: the key database or the roots cannot be reached.
    """
    current = roots.current()
    with keys.snapshot() as cursor:
        rows = {row["epoch"]: row for row in rows_of(cursor, SQL.epochs.sql)}
        kinds = rows_of(cursor, SQL.keys_by_epoch.sql)
        people = rows_of(cursor, SQL.people.sql)[0]
        recoverable = rows_of(cursor, SQL.recoverable.sql)[0]["shreds"]
        backup = rows_of(cursor, SQL.newest_backup.sql)[0]["made_at"]
    oldest = _destroyed_through(rows, at) + 1
    first = oldest == FIRST_EPOCH or oldest not in rows
    all_since = None if first else rows[oldest]["filled_at"]
    if backup is not None and all_since is not None and backup < all_since:
        backup = None
    return Status(
        epochs=[_epoch(number, rows.get(number), kinds, at) for number in sorted({*rows, *_used(kinds), current})],
        keys=kinds,
        living=people["living"],
        shredded=people["shredded"],
        recoverable=recoverable,
        is_unfinished=current > FIRST_EPOCH and (current not in rows or rows[current]["filled_at"] is None),
        opens_something_since=None if first else rows[oldest]["begun_at"],
        opens_all_since=all_since,
        backup=backup,
        is_backup_late=backup is None or at - backup > timedelta(hours=backup_hours),
    )


def note_backup(keys: KeyStore, *, made_at: datetime, at: datetime) -> None:
    """Note that a copy of the key database was made.

    Raises:
        SettingsWrong: it is said to be made in the future.
        KeysUnavailable: the key database cannot be reached.
    """
    if made_at > at + AHEAD:
        raise SettingsWrong("A backup that is still to be made cannot be told of.")
    with keys.transaction() as cursor:
        cursor.execute(SQL.note_backup.sql, {"made_at": made_at, "at": at})


def keep_turning(
    turning: Turning, keys: KeyStore, roots: Roots, recertify: Callable[..., object], *, at: datetime, hours: int
) -> None:
    """Do what is due: finish or begin a turn, destroy older roots after their grace, issue certificates anew.

    A turn begins once the current epoch is `hours` old.

    Raises:
        Disturbed, KeysUnavailable, KeyLost, SealBroken: as for a turn; what is left is done the next time.
    """
    with keys.transaction() as cursor:
        rows = {row["epoch"]: row for row in rows_of(cursor, SQL.epochs.sql)}
    current = roots.current()
    if current not in rows:
        turning.note_current()
    elif turning.is_unfinished() or at - rows[current]["begun_at"] >= timedelta(hours=hours):
        turning.turn()
    turning.destroy_older(grace=GRACE)
    certify_destroyed(keys, recertify, at=at)


def move(turning: Turning, roots: MovingRoots, progress: Callable[[int, int], object] | None = None) -> None:
    """Begin, or finish, the turn whose root lies in the new place. Only keys that stand at the root are wrapped anew.

    Raises:
        Disturbed, KeysUnavailable, KeyLost, SealBroken: as for a turn.
    """
    roots.take_secrets()
    if not roots.has_begun() or turning.is_unfinished():
        turning.turn(progress)


def certify_destroyed(keys: KeyStore, recertify: Callable[..., object], *, at: datetime) -> int:
    """Have the certificates issued anew of shreds whose last root is gone for good. Returns how many.

    `recertify(shred_id, unrecoverable_since=time)` issues one. A root whose destruction takes effect later (a waiting
    period) counts from then on, so this is called again now and then.

    Raises:
        KeysUnavailable: the key database cannot be reached; the rest is issued next time.
    """
    with keys.transaction() as cursor:
        rows = {row["epoch"]: row for row in rows_of(cursor, SQL.epochs.sql)}
    through, after, done = _destroyed_through(rows, at), 0, 0
    while through >= FIRST_EPOCH:
        with keys.transaction() as cursor:
            page = rows_of(cursor, SQL.certified_until.sql, epoch=through, after=after, limit=PAGE)
        if not page:
            break
        for shred in page:
            recertify(UUID(str(shred["shred_id"])), unrecoverable_since=_since(rows, shred["epoch"]))
        done, after = done + len(page), page[-1]["line"]
    return done


def _since(rows: Mapping[int, DictRow], epoch: int) -> datetime:
    """Say since when no root up to an epoch can be brought back, in whole seconds and never too early."""
    latest: datetime = max(rows[number]["effective_at"] for number in range(FIRST_EPOCH, epoch + 1))
    return latest if not latest.microsecond else latest.replace(microsecond=0) + timedelta(seconds=1)


def _destroyed_through(rows: Mapping[int, DictRow], at: datetime) -> int:
    """Give the newest epoch up to which every root is destroyed, in effect; 0 if the first one lives."""
    epoch = FIRST_EPOCH
    while (row := rows.get(epoch)) is not None and row["effective_at"] is not None and row["effective_at"] <= at:
        epoch += 1
    return epoch - 1


def _used(kinds: Sequence[Mapping[str, Any]]) -> set[int]:
    return {row["epoch"] for row in kinds}


def _epoch(number: int, row: DictRow | None, kinds: Sequence[Mapping[str, Any]], at: datetime) -> dict[str, Any]:
    times = ("begun_at", "filled_at", "destroyed_at", "effective_at")
    said: dict[str, Any] = {"epoch": number, **{name: row[name] if row else None for name in times}}
    said["age_hours"] = None if said["begun_at"] is None else int((at - said["begun_at"]) / timedelta(hours=1))
    said["keys"] = sum(kind["keys"] for kind in kinds if kind["epoch"] == number)
    return said
