"""Who does the key work of a batch: intake itself, at once, or a process that may destroy, right behind it.

Intake may not destroy. Where its login may take the role of the keeper as well, it does the key work of its batch in
the batch's own transaction, as the keeper. Else it stores the facts that call for it and leaves the rest to
`sealdesk keep`, which hears of every append. The next batch waits until that is done: it would be decided by what is
not true any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from crypto.keystore import KeyStore, rows_of
from crypto.roles import acting
from crypto.roots import Roots
from crypto.tree import SQL
from domain.errors import KeysUnavailable
from services import keeping
from services.log import STATEMENTS, Facts

#: How long a batch waits for a keeper before it is given up, to be taken again.
WAIT_SECONDS = 10.0
#: A keeper that hears of the append is through within some milliseconds.
LOOK_SECONDS = 0.02
#: Records whose keys are destroyed in one transaction.
PAGE = 1_000


class KeyWork:
    """The key work that a process does, or waits for. `facts` and `keys` are what it is done, or watched, with."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots, *, mine: bool = True) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        #: Whether this process does it.
        self.mine = mine
        #: Up to which position this process knows that nothing is left, where it may not note that in the database.
        self._done = 0

    @property
    def facts(self) -> Facts:
        """Give the log as whoever does the work."""
        return self._facts

    def is_behind(self) -> bool:
        """Tell whether a fact may still call for key work."""
        return keeping.is_behind(self._keys, self._facts, self._done)

    def advance(self, cursor: Cursor[DictRow], keys: KeyStore, head: int, newest: int) -> None:
        """Note in a transaction of intake's own store that all up to `newest` is done, if all up to `head` was."""
        if self.mine:
            with self.doing(cursor, keys):
                keeping.advance(cursor, head, newest)
        elif max(self._done, rows_of(cursor, SQL.kept_now.sql)[0]["position"]) >= head:
            # What is done is for a keeper to say: whoever could say it of work that is not done would hide a merge.
            self._done = newest

    def catch_up(self) -> None:
        """Do what a crash left; or wait until somebody has done what is left.

        Raises:
            KeysUnavailable: nobody has, for `WAIT_SECONDS`.
        """
        if self.mine:
            keeping.catch_up(self._keys, self._roots, self._facts)
            return
        waiting = Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_delay(WAIT_SECONDS),
            wait=wait_fixed(LOOK_SECONDS),
            retry_error_callback=lambda _: True,
        )
        if waiting(self.is_behind):
            raise KeysUnavailable(
                "records call for key work that this login may not do, and nobody does it: start sealdesk keep"
            )

    def doing(self, cursor: Cursor[DictRow], keys: KeyStore) -> AbstractContextManager[None]:
        """Do some of it in a transaction of intake's own store."""
        return keys.acting(cursor, self._keys.role)

    def judging(self, cursor: Cursor[DictRow], facts: Facts) -> AbstractContextManager[None]:
        """Take records out of the quarantine in a transaction of intake's own log, also those that waited for none."""
        return acting(
            cursor, self._facts.role if self.mine and self._facts.role is not facts.role else None, facts.role
        )

    def records_go(self, cursor: Cursor[DictRow], keys: KeyStore, records: Sequence[UUID]) -> None:
        """Destroy the keys of records that have left the quarantine; a copy of it must not open them."""
        if records and self.mine:
            with self.doing(cursor, keys):
                rows_of(cursor, SQL.destroy_records.sql, things=list(records))


def leave(cursor: Cursor[Any], records: Sequence[UUID], work: KeyWork) -> None:
    """Take records out of the quarantine, in a transaction of the log, and note whose keys are left."""
    cursor.execute(STATEMENTS.leave_quarantine.sql, {"ids": list(records)})
    if not work.mine:
        cursor.execute(STATEMENTS.leave_to_keeper.sql, {"ids": list(records)})


def destroy_left(facts: Facts, keys: KeyStore) -> None:
    """Destroy the keys of the records that an intake has taken up and left. May run twice, and in several processes."""
    while True:
        with facts.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.left_to_keeper.sql, {"limit": PAGE}).fetchall()
        ids = [row["quarantine_id"] for row in rows]
        if ids:
            with keys.transaction() as transaction:
                rows_of(transaction, SQL.destroy_records.sql, things=ids)
            with facts.cursor() as cursor:
                cursor.execute(STATEMENTS.forget_left.sql, {"ids": ids})
        if len(ids) < PAGE:
            return
