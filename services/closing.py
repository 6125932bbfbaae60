"""Close a tenant: checks and holds -> ledger line -> all its keys destroyed at once -> the log is told.

It is the protocol of a shred, for everything of a tenant in one stroke. A hold on anybody or anything of the tenant
refuses it, and so does the brake. The ledger line is the point of no return; the transaction behind it drops every key
that stands at the root, one for some hundreds of keys beneath, so it takes about as long for many people as for few.
Each step may run twice, and `resume` goes on with whatever a crash left.

    intended    the row stands; nothing is destroyed
    destroyed   keys and pairs are gone, and one row with our MAC says so: everything of the tenant reads as shredded
    told        tenant.closed stands on the log, and its quarantine is gone
    finished    read models blanked, what hung beneath swept, files and publication gone, certificate signed

Rule: who asked and why is sealed under the house: what was sealed under the desk of the tenant dies with it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg import Cursor
from psycopg.rows import DictRow
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from crypto import closing as rows
from crypto.keystore import Disturbed, KeyStore, rows_of
from crypto.ledger import Fences, Ledger, Line
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from crypto.wrapping import new_key
from domain.errors import BlobsUnavailable, LedgerBroken, ShredRefused
from domain.ids import HOUSE, EventId, TenantId, ThingId
from domain.requests import ShredWasRefused, abandon_shred, approve_shred, refuse_shred
from domain.subjects import TENANT_CLOSED
from services.arrived import STATEMENTS, Seen, came_in
from services.certifying import Begun, Certifying
from services.closed import Remains
from services.desk_words import as_text, seal_words
from services.destroying import step
from services.log import STATEMENTS as LOG
from services.log import Facts, SealedFact
from services.privacy import Privacy
from services.residue import Left
from services.shredding import Order, Shredding

#: How often somebody else's shred of the tenant is waited for. A start leaves the closing to a later one sooner.
_ROUNDS = 20
_ROUNDS_AT_START = 2
_HELD = "a hold on somebody or something of this tenant stands in the way; list them with: sealdesk hold list"
_ARRIVED = "records came in since the export was begun, so it lacks them; nothing is destroyed; ask again"
_UNDERWAY = "a shred of this tenant is under way in another process; nothing is destroyed; ask again in a moment"
_PAST_LINE = (
    "the closing of this tenant stands on the ledger, and waits for a shred that is under way in another process; "
    "every start goes on with it: ask again in a moment"
)
_UNFINISHED = (
    "this tenant is closed, and that is not finished: its files are not deleted yet, or another process is at it; "
    "ask again in a moment"
)
_FILES = (
    "the tenant is closed, and nothing of it opens any more; its files could not be deleted, because their store is "
    "out of reach or SEALDESK_BLOBS does not name it: mend that, and ask again; the certificate is signed then"
)


class Closing:
    """Close tenants. `shredding` finishes the shreds of a tenant first, `project` brings the read models up."""

    def __init__(
        self,
        facts: Facts,
        keys: KeyStore,
        roots: Roots,
        ledger: Ledger,
        privacy: Privacy,
        shredding: Shredding,
        certifying: Certifying,
        remains: Remains,
        project: Callable[[], object],
        *,
        brake: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._ledger = ledger
        self._privacy = privacy
        self._shredding = shredding
        self._certifying = certifying
        self._remains = remains
        self._project = project
        self._brake = brake
        self._clock = clock

    # -- asking -------------------------------------------------------------------------------------------------

    def effect(self, tenant: TenantId) -> rows.Leaving:
        """Count what would go. Nothing is changed."""
        with self._keys.transaction() as cursor:
            return rows.leaving(cursor, tenant)

    def left(self, tenant: TenantId) -> Left:
        """Count what is left of a closed tenant, by place: everything of it, not only what was shredded before."""
        return self._remains.left(tenant)

    def first_certificate(self, tenant: TenantId) -> dict[str, Any] | None:
        """Find the certificate of a tenant that is closed; None where it is open.

        Raises:
            ShredRefused: it is closed, and another process is still at its certificate.
        """
        with self._keys.transaction() as cursor:
            if not Tree(cursor, self._roots).hold_tenants([tenant]):
                return None
            [row] = rows_of(cursor, rows.SQL.closing_of.sql, tenant=tenant)[:1]
        if row["certificate"] is None:
            raise ShredRefused("underway", _UNFINISHED)
        return dict(row["certificate"])

    def check(self, order: Order) -> None:
        """Refuse what a hold or the brake stands in the way of, and record that; so that nobody exports in vain.

        Raises:
            ShredRefused: something does.
            TenantIsClosed: somebody else has closed it.
        """
        self._check(order, self._words(order, uuid4()))

    def request(self, order: Order, *, exported: Seen | None = None) -> dict[str, Any]:
        """Close the tenant of an order, and give the certificate.

        `exported` is what an export saw of it: what came in since stands in the way.

        Raises:
            ShredRefused: a hold, the brake, what came in or another process stands in the way; the refusal of a hold or
                of the brake is recorded. Nothing is destroyed, but where `code` is "underway": see there.
            TenantIsClosed: somebody else has closed it.
            BlobsUnavailable: it is closed; its files are not deleted yet, so there is no certificate yet.
        """
        self._shredding.mend()
        if exported is not None and came_in(self._facts, order.tenant, exported):
            # Before the brake: what came in changes the number that it compares.
            raise ShredRefused("arrived", _ARRIVED)
        shred = uuid4()
        with self._keys.tasks() as take:
            take(str(shred))
            words = self._words(order, shred)
            self._check(order, words)
            self._intend(order, shred)
            try:
                self._approve(order, shred, words)
            except ShredRefused:
                with self._keys.transaction() as cursor:
                    step(cursor, shred, "abandoned")
                raise
            line = self._destroyed(shred, rounds=_ROUNDS, may_begin=True, exported=exported)
            if line is None:
                raise ShredRefused("held", _HELD)
            certificate = self._finish(shred, line)
        if certificate is None:
            raise BlobsUnavailable(_FILES)
        return certificate

    def _words(self, order: Order, shred: UUID) -> str:
        said = {"actor": order.actor, "request": order.request or str(shred), "note": order.note}
        return as_text(seal_words(self._keys, self._roots, HOUSE, shred, **said))

    def _check(self, order: Order, words: str) -> None:
        if self._is_held(order.tenant):
            self._refuse(order, "held", words)
            raise ShredRefused("held", _HELD)
        facts = self.effect(order.tenant).facts
        if order.expect == facts or (order.expect is None and facts <= self._brake):
            return
        self._refuse(order, "brake", words)
        raise ShredRefused(
            "brake",
            f"this would take {facts} facts"
            + (f", not {order.expect}" if order.expect is not None else f", more than {self._brake}")
            + f"; look at --dry-run, and then say --expect {facts}",
        )

    def _refuse(self, order: Order, code: str, words: str) -> None:
        at = self._clock()
        self._privacy.decide(
            [order.tenant], lambda case: refuse_shred(case, code=code, ground=order.ground, words=words, at=at)
        )

    def _is_held(self, tenant: TenantId) -> bool:
        return any(hold.tenant == tenant for hold in self._privacy.holds())

    def _intend(self, order: Order, shred: UUID) -> None:
        with self._keys.transaction() as cursor:
            self._insert(cursor, order.tenant, shred, order.ground, self._clock())

    @staticmethod
    def _insert(cursor: Cursor[DictRow], tenant: TenantId, shred: UUID, ground: str, at: datetime) -> None:
        about = {"tenant": tenant, "target": tenant, "targets": [tenant], "profile": tenant}
        given = {"shred_id": shred, "kind": "tenant", "ground": ground, "begun_at": at}
        cursor.execute(SQL.insert_shred.sql, about | given)

    def _approve(self, order: Order, shred: UUID, words: str) -> None:
        at = self._clock()
        events = self._privacy.decide(
            [order.tenant], lambda case: approve_shred(case, shred=shred, ground=order.ground, words=words, at=at)
        )
        if any(isinstance(event, ShredWasRefused) for event in events):
            raise ShredRefused("held", _HELD)

    # -- carrying out -------------------------------------------------------------------------------------------

    def know(self, cursor: Cursor[DictRow], line: Line, ground: str) -> None:
        """Write down a closing that only the ledger tells of, for `resume` to carry out."""
        self._insert(cursor, line.tenant, line.shred, ground, line.at)

    def resume(self) -> int:
        """Finish, or abandon, every closing that a crash left. Returns how many there were.

        One that waits for somebody else's shred, or for the store of files, is left for a later start.
        """
        with self._keys.transaction() as cursor:
            unfinished = [row for row in rows_of(cursor, SQL.unfinished_shreds.sql) if row["kind"] == "tenant"]
        for row in unfinished:
            with self._keys.alone(str(row["shred_id"])) as alone:
                # Whoever holds the lock is alive and at it.
                if alone:
                    self._resume(row)
        return len(unfinished)

    def _resume(self, row: DictRow) -> None:
        if row["step"] == "told" and not self._remains.sweep_files(TenantId(row["tenant"])):
            return
        try:
            line = self._destroyed(row["shred_id"], rounds=_ROUNDS_AT_START, may_begin=False)
        except ShredRefused as refused:
            if refused.code != "underway":
                raise
            return
        if line is not None:
            self._finish(row["shred_id"], line)

    def _destroyed(self, shred: UUID, *, rounds: int, may_begin: bool, exported: Seen | None = None) -> Line | None:
        """Destroy, after whatever somebody else had begun of the tenant. None where the closing is abandoned.

        Raises:
            ShredRefused: another process does not come to the end of a shred of this tenant, or something came in. The
                closing is abandoned by then, unless its line stands: then a later start goes on with it.
        """
        for _ in range(rounds):
            self._shredding.resume()
            try:
                return self._destroy(shred, may_begin=may_begin, exported=exported)
            except Disturbed:
                continue
        with self._keys.transaction() as cursor:
            row = self._row(cursor, shred)
            past = row["step"] != "intended" or self._ledger.find(shred) is not None
            if not past:
                self._abandon(cursor, row)
        raise ShredRefused("underway", _PAST_LINE if past else _UNDERWAY)

    @retry(retry=retry_if_exception_type(Disturbed), stop=stop_after_attempt(5), wait=wait_random(0, 0.1), reraise=True)
    def _destroy(self, shred: UUID, *, may_begin: bool, exported: Seen | None) -> Line | None:
        """Write the ledger line and drop every key of the tenant, while nobody seals for it.

        Raises:
            LedgerBroken: the tenant was closed, and the ledger does not say so.
            ShredRefused: a record came in since the export.
            Disturbed: a deadlock, or somebody is at a shred of this tenant; if the line stands, this goes on behind it.
        """
        arrived = False
        with self._keys.transaction() as cursor:
            row = self._row(cursor, shred)
            line = self._ledger.find(shred)
            if row["step"] == "abandoned":
                return None
            if row["step"] != "intended":
                if line is None:
                    raise LedgerBroken("a tenant was closed, and the ledger does not know it")
                return line
            tenant = TenantId(row["tenant"])
            rows.take(cursor, tenant)
            tree = Tree(cursor, self._roots)
            self._wait_for_shreds(cursor, tenant)
            if line is None:
                arrived = exported is not None and came_in(self._facts, tenant, exported)
                if not may_begin or arrived or self._is_held(tenant) or tree.hold_tenants([tenant]):
                    self._abandon(cursor, row)
            if line is not None or self._row(cursor, shred)["step"] == "intended":
                # Not before: whoever had to be waited for could still read.
                at = self._clock()
                line = line or self._write_line(cursor, row, at)
                counts: dict[str, int] = {}
                if not tree.hold_tenants([tenant]):
                    counts["quarantine_dropped"] = rows.destroy(tree, tenant, shred=shred, line=line.number, at=at)
                epoch = self._roots.current()
                step(cursor, shred, "destroyed", line=line.number, at=at, counts=counts, epoch=epoch)
                # A copy from before is older than the log, whether or not anything was taken in since.
                rows_of(cursor, SQL.next_issue.sql)
        if arrived:
            raise ShredRefused("arrived", _ARRIVED)
        return line

    def _wait_for_shreds(self, cursor: Cursor[DictRow], tenant: TenantId) -> None:
        """Begin again if a shred of this tenant is past its ledger line: it would find nothing to finish with.

        One that is not there yet is abandoned by whoever is at it: it finds the tenant closed.
        """
        for row in rows_of(cursor, rows.SQL.open_shreds.sql, tenant=tenant):
            if row["step"] != "intended" or self._ledger.find(row["shred_id"]) is not None:
                raise Disturbed("a shred of this tenant is not finished")

    @staticmethod
    def _row(cursor: Cursor[DictRow], shred: UUID) -> DictRow:
        return rows_of(cursor, SQL.shred_by_id.sql, shred_id=shred)[0]

    def _write_line(self, cursor: Cursor[DictRow], row: DictRow, at: datetime) -> Line:
        if self._ledger.head() < rows_of(cursor, SQL.last_line.sql)[0]["line"]:
            raise LedgerBroken(
                "the ledger is behind the key database; restore the other copy before you close a tenant"
            )
        return self._ledger.append(
            tenant=TenantId(row["tenant"]),
            kind="tenant",
            key=row["tenant"],
            shred=row["shred_id"],
            at=at,
            # Nothing is fenced by its tag: of a closed tenant every record is refused. So the key fits nothing.
            fences=Fences((row["tenant"],), new_key(), ()),
            issue_counter=rows_of(cursor, SQL.last_issue.sql)[0]["issue"],
        )

    def _abandon(self, cursor: Cursor[DictRow], row: DictRow) -> None:
        at = self._clock()
        self._privacy.decide([row["tenant"]], lambda case: abandon_shred(case, shred=row["shred_id"], at=at))
        step(cursor, row["shred_id"], "abandoned")

    def tell(self, row: DictRow, line: Line) -> None:
        """Append the fact of the closing, and drop the quarantine. By its digest it is stored once."""
        tenant = TenantId(row["tenant"])
        clear = {"ground": row["ground"], "line": line.number}
        fact = SealedFact(
            ThingId(tenant), tenant, EventId(uuid4()), TENANT_CLOSED, row["shred_id"].bytes, 0, line.at, clear, (), None
        )

        with self._keys.transaction() as keys:
            issue = rows_of(keys, SQL.last_issue.sql)[0]["issue"]

        def beside(cursor: Cursor[DictRow]) -> None:
            cursor.execute(LOG.see_issue.sql, {"issue": issue})
            cursor.execute(STATEMENTS.close_tenant.sql, {"tenant": tenant, "at": line.at})
            cursor.execute(STATEMENTS.drop_quarantine.sql, {"tenant": tenant})

        self._facts.append([fact], beside)
        with self._keys.transaction() as cursor:
            if self._row(cursor, row["shred_id"])["step"] == "destroyed":
                step(cursor, row["shred_id"], "told")

    def tell_again(self, row: DictRow, line: Line) -> None:
        """Tell a log from before the closing, and take away what came back with it: publication, rows of files."""
        self.tell(row, line)
        self._remains.sweep(TenantId(row["tenant"]))

    def _finish(self, shred: UUID, line: Line) -> dict[str, Any] | None:
        """Tell the log, blank the read models, sweep, look for residue, certify.

        None comes back where files cannot be deleted yet: the closing stays at `told`, and a start tries again.
        """
        with self._keys.transaction() as cursor:
            row = self._row(cursor, shred)
        tenant = TenantId(row["tenant"])
        self.tell(row, line)
        self._project()
        self._shredding.mend()
        if not self._remains.sweep(tenant):
            return None
        with self._keys.transaction() as cursor:
            row = self._row(cursor, shred)
        return self._certifying.certify(row, Begun(row, line, ()), self._remains.left(tenant), False)
