"""Destroy: the ledger line and the key material, in one transaction of the key database under all locks.

What is about to go is locked, then counted; what recipients will be told is completed; the line is written, which is
the point of no return; the keys are dropped, the rows marked, the references fenced, the news released. A deadlock with
intake changes nothing of it but the line, so all begins again, and goes on behind a line that stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from crypto import closing, outbox
from crypto.keystore import Disturbed, KeyStore, rows_of
from crypto.ledger import Fences, Ledger, Line
from crypto.register import Register, quarter
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from domain.errors import KeyExpired, LedgerBroken, ShredRefused
from domain.ids import TenantId, ThingId
from domain.requests import abandon_shred
from services import finding
from services.effects import effect_on
from services.news import Held, News
from services.privacy import Privacy

_ABANDONED = "the databases were out of reach for so long that it was given up; nothing is destroyed; ask again"


class Destroying:
    """Carry out what a shred destroys, once."""

    def __init__(
        self,
        keys: KeyStore,
        roots: Roots,
        ledger: Ledger,
        privacy: Privacy,
        news: News,
        clock: Callable[[], datetime],
    ) -> None:
        self._keys = keys
        self._roots = roots
        self._ledger = ledger
        self._privacy = privacy
        self._news = news
        self._clock = clock

    @retry(
        retry=retry_if_exception_type(Disturbed), stop=stop_after_attempt(20), wait=wait_random(0, 0.1), reraise=True
    )
    def destroy(self, shred: UUID, held: Held | None, *, may_begin: bool) -> Line | None:
        """Write the ledger line and drop the key material, under the locks of whoever it is about.

        A deadlock with intake changes nothing, so it begins again; if the line stands by then, it goes on behind it.
        None comes back where the shred is abandoned.

        Raises:
            LedgerBroken: the shred was carried out, and the ledger does not say so.
            ShredRefused: somebody who took it for left has abandoned it meanwhile.
        """
        with self._keys.transaction() as cursor:
            row = rows_of(cursor, SQL.shred_by_id.sql, shred_id=shred)[0]
            line = self._ledger.find(shred)
            if row["step"] == "abandoned":
                if may_begin:
                    raise ShredRefused("abandoned", _ABANDONED)
                return None
            if row["step"] != "intended":
                if line is None:
                    raise LedgerBroken("a shred was carried out that the ledger does not know")
                return line
            if line is None and not may_begin:
                self._abandon(cursor, row)
                return None
            tree = Tree(cursor, self._roots)
            tenant = TenantId(row["tenant"])
            if tree.hold_tenants([tenant]):
                # Whoever closed the tenant took this along.
                if line is None:
                    self._abandon(cursor, row)
                else:
                    # The line came late over a network: nobody saw it when the tenant was closed, and it counts.
                    step(cursor, shred, "destroyed", line=line.number, at=line.at, epoch=self._roots.current())
                return line
            if line is None and self.is_closing(cursor, tenant):
                self._abandon(cursor, row)
                return None
            register = Register(tree, tenant)
            on_line = self._on_line(tree, register, line) if line is not None else []
            if row["kind"] == "thing":
                targets, people = [row["target"]], []
                rows_of(cursor, SQL.take_things.sql, thing_ids=targets)
                rows_of(cursor, SQL.take_leaves_of_thing.sql, thing_id=row["target"])
            else:
                people = self._take_group(cursor, [*row["targets"], *on_line])
                targets = [person["subject_id"] for person in people]
            if line is None and self._is_held(tree, {*targets}.difference(row["targets"]), targets if people else ()):
                # Somebody or something that came to the person since the approval is held, and would go along.
                self._abandon(cursor, row)
                return None
            # Not of whoever the person may have been merged into since the approval: they live.
            found = finding.of_people(tree, targets) if people else finding.inside(tree, row["target"])
            counts = effect_on(tree, found).as_dict()
            if held is None:
                # Somebody may have been added who wants to know.
                held = self._news.hold(tenant, shred, row["targets"])
            if held is not None:
                self._news.complete(held, targets)
            outbox.stop_following(cursor)
            # Not before: whoever had to be waited for could still read.
            at = self._clock()
            if line is None:
                line = self._write_line(cursor, register, row, targets, at)
            if row["kind"] == "thing":
                tree.destroy_thing(tenant, ThingId(row["target"]), line.number)
            else:
                living = [person for person in people if person["line"] is None]
                tree.destroy_subjects(living, line.number)
                outbox.overtake(cursor, targets, at=at)
            register.fence(targets, line.at)
            until = self._news.deadline()
            outbox.release_of(cursor, shred, deadline=until)
            # Whatever stood above what is gone stood under this root or an older one.
            epoch = self._roots.current()
            step(
                cursor,
                shred,
                "destroyed",
                line=line.number,
                at=at,
                targets=targets,
                counts=counts,
                until=until,
                epoch=epoch,
            )
            # A copy from before the shred is older than the log, whether or not anything was taken in since.
            rows_of(cursor, SQL.next_issue.sql)
        return line

    def _on_line(self, tree: Tree, register: Register, line: Line) -> Sequence[UUID]:
        """Fence what a line says, and name whom this database knows of those who went with it.

        The row may be from a copy that was made while the shred was under way: whoever was merged into the person
        afterwards, and what else led there, stands on the line alone. Where that has expired, the row has to do.
        """
        try:
            fences = self._ledger.fences_of(line)
        except KeyExpired:
            return ()
        if fences.key is not None:
            tree.adopt_service_key(line.tenant, "fence", quarter(line.at), fences.key)
        register.fence_tags(fences.tags, line.at)
        return [row["id"] for row in rows_of(tree.cursor, SQL.known_ids.sql, ids=list(fences.targets))]

    def is_closing(self, cursor: Cursor[DictRow], tenant: TenantId) -> bool:
        """Tell whether the closing of a tenant is past its line, and waits for the shreds that were begun before."""
        return any(self._ledger.find(shred) is not None for shred in closing.begun(cursor, tenant))

    def _is_held(self, tree: Tree, added: Collection[UUID], people: Collection[UUID]) -> bool:
        """Tell whether a hold stands on somebody who was added, or on a thing that is one of these people's by now."""
        held = {hold.originator_id for hold in self._privacy.holds()}
        return not held.isdisjoint(added) or bool(finding.living_of(tree, people, held))

    @staticmethod
    def _take_group(cursor: Cursor[DictRow], people: Sequence[UUID]) -> list[DictRow]:
        """Lock people and everyone merged into them, until nobody joins any more."""
        group = _everyone_merged(cursor, people)
        while True:
            rows_of(cursor, SQL.take_subjects.sql, subject_ids=[row["subject_id"] for row in group])
            again = _everyone_merged(cursor, people)
            if len(again) == len(group):
                return again
            group = again

    def _write_line(
        self, cursor: Cursor[DictRow], register: Register, row: DictRow, targets: Sequence[UUID], at: datetime
    ) -> Line:
        carried_out = rows_of(cursor, SQL.last_line.sql)[0]["line"]
        if self._ledger.head() < carried_out:
            raise LedgerBroken("the ledger is behind the key database; restore the other copy before you shred")
        indexes = [index for _, index in register.indexes_of(targets)]
        return self._ledger.append(
            tenant=TenantId(row["tenant"]),
            kind=row["kind"],
            key=row["target"],
            shred=row["shred_id"],
            at=at,
            fences=Fences(tuple(targets), register.fence_key(at), tuple(register.tags(indexes, at))),
            issue_counter=rows_of(cursor, SQL.last_issue.sql)[0]["issue"],
        )

    def _abandon(self, cursor: Cursor[DictRow], row: DictRow) -> None:
        at = self._clock()
        self._privacy.decide(row["targets"], lambda case: abandon_shred(case, shred=row["shred_id"], at=at))
        outbox.drop(cursor, row["shred_id"])
        step(cursor, row["shred_id"], "abandoned")


def _everyone_merged(cursor: Cursor[DictRow], people: Sequence[UUID]) -> list[DictRow]:
    rows = [row for id_ in people for row in rows_of(cursor, SQL.everyone_merged.sql, subject_id=id_)]
    return list({row["subject_id"]: row for row in rows}.values())


def step(
    cursor: Cursor[DictRow],
    shred: UUID,
    step: str,
    *,
    line: int | None = None,
    at: datetime | None = None,
    targets: Sequence[UUID] | None = None,
    counts: Mapping[str, int] | None = None,
    until: datetime | None = None,
    epoch: int | None = None,
) -> None:
    """Note how far a shred got, and what is known of it by now."""
    cursor.execute(
        SQL.step_shred.sql,
        {
            "shred_id": shred,
            "step": step,
            "line": line,
            "destroyed_at": at,
            "targets": None if targets is None else list(targets),
            "counts": Jsonb(counts or {}),
            "news_until": until,
            "epoch": epoch,
        },
    )
