"""Sweep what a destroyed key left beneath it: keys that open nothing any more, references of things, sealed files.

Nothing waits for it: what it takes away could not be opened before. So it goes slice by slice, and may run twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from uuid import UUID

from psycopg.rows import DictRow
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from crypto.keystore import Disturbed, KeyStore, rows_of
from crypto.register import Register
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from domain.errors import BlobsUnavailable, SettingsWrong
from domain.ids import TenantId, ThingId

#: Keys or references swept in one transaction, so that nobody waits long for their locks.
SLICE = 5_000


class Sweeping:
    """Sweep after shreds. `sweep_files` deletes files, given as (thing, key id)."""

    def __init__(
        self,
        keys: KeyStore,
        roots: Roots,
        sweep_files: Callable[[Iterable[tuple[ThingId, UUID]]], object],
        clock: Callable[[], datetime],
    ) -> None:
        self._keys = keys
        self._roots = roots
        self._sweep_files = sweep_files
        self._clock = clock

    @retry(
        retry=retry_if_exception_type(Disturbed), stop=stop_after_attempt(20), wait=wait_random(0, 0.1), reraise=True
    )
    def sweep(self, row: DictRow) -> None:
        """Drop the keys beneath, turn the references of the person's things into fences, delete sealed files."""
        if row["kind"] != "subject":
            self._sweep_files_of(row)
            return
        owners = row["targets"]
        gone = SLICE
        while gone == SLICE:
            with self._keys.transaction() as cursor:
                gone = cursor.execute(SQL.sweep_leaves.sql, {"owners": owners, "limit": SLICE}).rowcount
        with self._keys.transaction() as cursor:
            things = [thing["thing_id"] for thing in rows_of(cursor, SQL.things_of_owners.sql, owners=owners)]
            # A picture hangs in the profile and has a reference of its own.
            things += [row["profile"] for row in rows_of(cursor, SQL.profiles_of.sql, subject_ids=owners)]
        for start in range(0, len(things), SLICE):
            with self._keys.transaction() as cursor:
                register = Register(Tree(cursor, self._roots), TenantId(row["tenant"]))
                register.fence(things[start : start + SLICE], self._clock())
        self._sweep_files_of(row)

    def _sweep_files_of(self, row: DictRow) -> None:
        """Delete the files that nobody can open any more. A store that is down keeps them; nothing opens them there."""
        ids, things = ([], [row["target"]]) if row["kind"] == "thing" else (list(row["targets"]), [])
        with self._keys.transaction() as cursor:
            files = rows_of(cursor, SQL.files_of.sql, ids=ids, things=things)
        if files:
            # What cannot be deleted now, from here, is told as residue and swept later.
            with suppress(BlobsUnavailable, SettingsWrong):
                self._sweep_files((ThingId(file["thing_id"]), file["key_id"]) for file in files)
