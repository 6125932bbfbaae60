"""Shred a person or a thing: checks and holds -> ledger line -> key destroyed, references fenced -> the log is told.

The ledger line is the point of no return. Each step may run twice, and `resume` goes on with whatever a crash left:
an intended shred without a ledger line is abandoned, any other is finished.

    intended    the row stands, and what recipients will be told is held, sealed; nothing is destroyed
    destroyed   key material dropped, rows marked, references fenced: nothing opens any more; recipients may be told
    told        subject.shredded or content.shredded stands on the log
    finished    read models blanked, keys beneath swept, residue looked for, certificate signed
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg import Cursor
from psycopg.rows import DictRow

from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Ledger, Line
from crypto.register import Register, quarter
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from domain.errors import KeyExpired, ReferenceUnknown, ShredRefused, TenantIsClosed
from domain.ids import EventId, TenantId, ThingId
from domain.personal import Reference
from domain.requests import ShredWasRefused, abandon_shred, approve_shred, refuse_shred
from domain.subjects import CONTENT_SHREDDED
from services import finding, keeping, key_work
from services.certifying import Begun, Certifying
from services.desk_words import as_text, seal_words
from services.destroying import Destroying, step
from services.effects import Effect, effect_on, facts_of
from services.finding import Found
from services.living import values_of
from services.log import STATEMENTS, Facts, SealedFact
from services.news import Held, News
from services.privacy import Privacy
from services.proving.gathering import Known
from services.proving.proof import Progress, Proving
from services.quarantine import Quarantine
from services.residue import Residue

#: Shreds of one order that share a pass over the read models and the log.
TOGETHER = 1_000
_CLOSING = "this tenant is being closed; ask again in a moment"
_HELD = "a hold stands in the way; list them with: sealdesk hold list"


@dataclass(frozen=True, slots=True)
class Order:
    """A shred that was asked for: who asks, on what ground, and how many facts the asker expects to go."""

    tenant: TenantId
    ground: str
    actor: str
    request: str | None = None
    note: str | None = None
    expect: int | None = None
    living: bool = False
    prove: bool = False


class Shredding:
    """Carry shreds out, and have written down before what recipients will be told.

    `project` brings every read model to the head of the log; `sweep` tidies up beneath.
    """

    def __init__(
        self,
        facts: Facts,
        keys: KeyStore,
        roots: Roots,
        ledger: Ledger,
        privacy: Privacy,
        residue: Residue,
        quarantine: Quarantine,
        project: Callable[[], object],
        sweep: Callable[[DictRow], object],
        certifying: Certifying,
        news: News,
        access_line: Callable[[TenantId, Sequence[UUID], str], object],
        proving: Proving,
        *,
        brake: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._ledger = ledger
        self._privacy = privacy
        self._residue = residue
        self._quarantine = quarantine
        self._project = project
        self._sweep = sweep
        self._destroying = Destroying(keys, roots, ledger, privacy, news, clock)
        self._destroy = self._destroying.destroy
        self._certify = certifying.certify
        self._certifying = certifying
        self._news = news
        self._access_line = access_line
        self._proving = proving
        self._brake = brake
        self._clock = clock

    # -- asking -------------------------------------------------------------------------------------------------

    def find(self, tenant: TenantId, reference: Reference) -> Found:
        """Find the person or thing that a reference means.

        Raises:
            ReferenceUnknown: nobody living is known by it. If it was shredded, see `first_certificate`.
        """
        with self._keys.transaction() as cursor:
            found, _ = finding.look_up(Tree(cursor, self._roots), tenant, [reference])
        if reference not in found:
            raise ReferenceUnknown("nobody and nothing is known by this reference")
        return found[reference]

    def first_certificate(self, tenant: TenantId, reference: Reference) -> dict[str, Any] | None:
        """Find the certificate of the shred that fenced a reference; None if it is not fenced.

        The fence has no id, so the ledger is searched for its tag.

        Raises:
            ShredRefused: it was a thing that went with its person, or another process is still at its shred.
        """
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            _, fenced = finding.look_up(tree, tenant, [reference])
            if reference not in fenced:
                return None
            tags = set(Register(tree, tenant).tags_of_all_periods(fenced[reference][0]))
        for line in self._ledger.read():
            if line.tenant == tenant and tags.intersection(self._tags(line)):
                with self._keys.transaction() as cursor:
                    rows = rows_of(cursor, SQL.shred_by_id.sql, shred_id=line.shred)
                if rows and rows[0]["certificate"] is not None:
                    return dict(rows[0]["certificate"])
                if rows and rows[0]["step"] != "finished":
                    raise ShredRefused("underway", "this is gone, and its shred is not finished: ask again in a moment")
        raise ShredRefused("fenced", "this is gone already: it went with its person, and has no certificate of its own")

    def first_certificates(
        self, tenant: TenantId, references: Sequence[Reference]
    ) -> tuple[dict[UUID, dict[str, Any]], set[Reference]]:
        """Find what `first_certificate` finds of many references, by shred, with one look through the ledger.

        Also returns the references that led to one of them; several may lead to the same.
        """
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            _, fenced = finding.look_up(tree, tenant, references)
            register = Register(tree, tenant)
            tags = {
                tag: reference
                for reference, (index, _) in fenced.items()
                for tag in register.tags_of_all_periods(index)
            }
        found: dict[UUID, dict[str, Any]] = {}
        led = set[Reference]()
        for line in self._ledger.read() if tags else ():
            if line.tenant == tenant and (hit := tags.keys() & set(self._tags(line))):
                with self._keys.transaction() as cursor:
                    rows = rows_of(cursor, SQL.shred_by_id.sql, shred_id=line.shred)
                if rows and rows[0]["certificate"] is not None:
                    found[line.shred] = dict(rows[0]["certificate"])
                    led.update(tags[tag] for tag in hit)
        return found, led

    def _tags(self, line: Line) -> tuple[bytes, ...]:
        try:
            return self._ledger.fences_of(line).tags
        except KeyExpired:
            # Its fences went with the fence key of the quarter, so it fences nothing.
            return ()

    def effect(self, found: Found) -> Effect:
        """Count what a shred would take. Nothing is changed."""
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            return effect_on(tree, found)

    def _facts_of(self, wanted: Sequence[Found]) -> int:
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            return sum(facts_of(tree, found) for found in wanted)

    def request(self, found: Found, order: Order, searching: Progress | None = None) -> dict[str, Any]:
        """Shred what was found, and give the certificate. `searching` is told where a proof looks next.

        Raises:
            ShredRefused: a hold or the brake stands in the way; the refusal is recorded.
            TenantIsClosed: it was closed meanwhile.
        """
        self.mend()
        found = self._again(order.tenant, found)
        shred = uuid4()
        words = self._words(order, shred)
        self._check_count(found, self._facts_of([found]), order, words)
        with self._keys.tasks() as take:
            begun = self._begin(found, order, shred, words, take)
            return self._finish([begun], order.living, searching)[0]

    def request_all(
        self,
        wanted: Sequence[Found],
        order: Order,
        progress: Callable[[int], object] | None = None,
        searching: Progress | None = None,
    ) -> list[dict[str, Any] | ShredRefused]:
        """Shred many people or things on one ground: a certificate each, or why it was refused.

        Each has a ledger line of its own. The read models are brought up to date, the residue is looked for and the
        beneath is swept once for `TOGETHER` of them, and one proof is made for these. `progress` is told how many are
        done.

        Raises:
            ShredRefused: the brake stands in the way of all of them; nothing was changed.
            TenantIsClosed: it was closed meanwhile; whoever has a certificate by then is shredded.
        """
        self.mend()
        self._refuse_closed(order.tenant)
        facts = self._facts_of(wanted)
        if wanted:
            self._check_count(wanted[0], facts, order, self._words(order, uuid4()))
        outcomes: dict[UUID, dict[str, Any] | ShredRefused] = {}
        # Whoever is named twice, or was merged into another of them, goes once.
        now = {found.id: self._again(order.tenant, found).id for found in wanted}
        targets = list(dict.fromkeys(now.values()))
        for start in range(0, len(targets), TOGETHER):
            begun: dict[UUID, Begun] = {}
            with self._keys.tasks() as take:
                for target in targets[start : start + TOGETHER]:
                    shred = uuid4()
                    try:
                        found = self._inside(order.tenant, target)
                        begun[target] = self._begin(found, order, shred, self._words(order, shred), take)
                    except ShredRefused as refused:
                        outcomes[target] = refused
                outcomes.update(zip(begun, self._finish(list(begun.values()), order.living, searching), strict=True))
            if progress is not None:
                progress(len(outcomes))
        return [outcomes[now[found.id]] for found in wanted]

    def _words(self, order: Order, shred: UUID) -> str:
        """Seal who asks, by which request, and the note."""
        return as_text(
            seal_words(
                self._keys,
                self._roots,
                order.tenant,
                shred,
                actor=order.actor,
                request=order.request or str(shred),
                note=order.note,
            )
        )

    def _begin(self, found: Found, order: Order, shred: UUID, words: str, take: Callable[[str], bool]) -> Begun:
        """Go as far as telling the log: from there on nothing of it opens.

        Raises:
            ShredRefused: a hold stands in the way.
        """
        take(str(shred))
        # The row comes before the approval, so that a crash between the two leaves something to abandon.
        self._intend(found, order, shred)
        try:
            self._approve(found, order, shred, words)
        except (ShredRefused, TenantIsClosed):
            with self._keys.transaction() as cursor:
                step(cursor, shred, "abandoned")
            raise
        needed = order.living or (found.kind == "subject" and not self._quarantine.is_empty(order.tenant))
        if needed or order.prove:
            # Looking for what a person is called is a reveal, though nobody sees it.
            self._access_line(order.tenant, [shred], order.actor)
        values = self._values(found, order) if needed else ()
        known = self._proving.known(order.tenant, found) if order.prove else None
        held = self._news.hold(order.tenant, shred, [*found.group] or [found.id])
        begun = self._destroy_and_tell(shred, values, held, may_begin=True, known=known)
        if begun is None:
            self._refuse_closed(order.tenant)
            raise ShredRefused("held", _HELD)
        return begun

    def _intend(self, found: Found, order: Order, shred: UUID) -> None:
        with self._keys.transaction() as cursor:
            # A fence key that went with a failed transaction would leave tags on the ledger that nothing matches.
            Tree(cursor, self._roots).service_key(order.tenant, "fence", quarter(self._clock()))
            cursor.execute(
                SQL.insert_shred.sql,
                {
                    "shred_id": shred,
                    "tenant": order.tenant,
                    "kind": found.kind,
                    "target": found.id,
                    "targets": [*found.group] if found.group else [found.id],
                    "profile": found.profile,
                    "ground": order.ground,
                    "begun_at": self._clock(),
                },
            )

    def _again(self, tenant: TenantId, found: Found) -> Found:
        """Look the target up once more: whoever was merged into it meanwhile goes along."""
        return self._inside(tenant, found.id)

    def _inside(self, tenant: TenantId, id_: UUID) -> Found:
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            tree.refuse_closed(tenant)
            return finding.inside(tree, id_, beneath=False)

    def _refuse_closed(self, tenant: TenantId) -> None:
        with self._keys.transaction() as cursor:
            Tree(cursor, self._roots).refuse_closed(tenant)
            if self._destroying.is_closing(cursor, tenant):
                raise ShredRefused("underway", _CLOSING)

    def _check_count(self, found: Found, facts: int, order: Order, words: str) -> None:
        """Let the brake stop what is larger than usual, or other than the asker expects."""
        if order.expect == facts or (order.expect is None and facts <= self._brake):
            return
        self._refuse(found, order, "brake", words)
        raise ShredRefused(
            "brake",
            f"this would take {facts} facts"
            + (f", not {order.expect}" if order.expect is not None else f", more than {self._brake}")
            + f"; look at --dry-run, and then say --expect {facts}",
        )

    def _approve(self, found: Found, order: Order, shred: UUID, words: str) -> None:
        """Let a hold stop the shred: on the person, on anybody merged in, on one of the person's things.

        Of a thing, a hold on the thing or on the person whose it is.
        """
        ids: list[UUID] = [*found.group] or [found.id]
        taken = {*ids}
        if found.person is not None:
            taken.update(self._inside(order.tenant, found.person).group)
        if self._is_held(taken, found.group):
            self._refuse(found, order, "held", words)
            raise ShredRefused("held", _HELD)
        events = self._privacy.decide(
            ids,
            lambda case: approve_shred(case, shred=shred, ground=order.ground, words=words, at=self._clock()),
        )
        if any(isinstance(event, ShredWasRefused) for event in events):
            self._privacy.decide(ids, lambda case: abandon_shred(case, shred=shred, at=self._clock()))
            raise ShredRefused("held", _HELD)

    def _is_held(self, ids: Collection[UUID], people: Collection[UUID]) -> bool:
        """Tell whether a hold stands on one of these, or on a living thing of these people."""
        if not (held := {hold.target for hold in self._privacy.holds()}):
            return False
        with self._keys.transaction() as cursor:
            theirs = finding.living_of(Tree(cursor, self._roots), people, held)
        return not held.isdisjoint(ids) or bool(theirs)

    def _refuse(self, found: Found, order: Order, code: str, words: str) -> None:
        self._privacy.decide(
            [found.id], lambda case: refuse_shred(case, code=code, ground=order.ground, words=words, at=self._clock())
        )

    def _values(self, found: Found, order: Order) -> tuple[str, ...]:
        """Read what the person is called, before nobody can: names, addresses, numbers, signature."""
        return values_of(self._facts, self._keys, self._roots, order.tenant, found.profiles)

    # -- carrying out -------------------------------------------------------------------------------------------

    def resume(self) -> int:
        """Finish, or abandon, every shred that a crash left. Returns how many there were."""
        with self._keys.transaction() as cursor:
            # `services.closing` finishes what closes a whole tenant.
            rows = [row for row in rows_of(cursor, SQL.unfinished_shreds.sql) if row["kind"] != "tenant"]
        for row in rows:
            with self._keys.alone(str(row["shred_id"])) as alone:
                # Whoever holds the lock is alive and at it.
                if alone and (begun := self._resumed(row["shred_id"])) is not None:
                    self._finish([begun], search_living=False)
        return len(rows)

    def recertify(self, shred: UUID, **changes: Any) -> dict[str, Any] | None:
        """Issue a certificate anew with some entries changed: see `Certifying.recertify`."""
        return self._certifying.recertify(shred, **changes)

    def mend(self) -> int:
        """Carry out the key work that facts of upstream called for and that a crash left.

        Returns how many of these facts have a seal that somebody has changed: see `services.keeping`.
        """
        changed = keeping.catch_up(self._keys, self._roots, self._facts)
        key_work.destroy_left(self._facts, self._keys)
        return changed

    def _resumed(self, shred: UUID) -> Begun | None:
        with self._keys.transaction() as cursor:
            row = rows_of(cursor, SQL.shred_by_id.sql, shred_id=shred)[0]
        # Behind the ledger line nothing is taken back, so what recipients must be told is written down once more.
        goes_on = row["step"] == "intended" and self._ledger.find(shred) is not None
        held = self._news.hold(TenantId(row["tenant"]), shred, row["targets"]) if goes_on else None
        return self._destroy_and_tell(shred, (), held, may_begin=False)

    def _destroy_and_tell(
        self, shred: UUID, values: Sequence[str], held: Held | None, *, may_begin: bool, known: Known | None = None
    ) -> Begun | None:
        """Destroy the key and tell the log; None if the shred was abandoned instead."""
        line = self._destroy(shred, held, may_begin=may_begin)
        if line is None:
            return None
        with self._keys.transaction() as cursor:
            row = rows_of(cursor, SQL.shred_by_id.sql, shred_id=shred)[0]
        self.tell(row, line)
        return Begun(row, line, values, known)

    def _finish(
        self, begun: Sequence[Begun], search_living: bool, searching: Progress | None = None
    ) -> list[dict[str, Any]]:
        """Blank the read models, sweep what is beneath, look for residue, and certify; one certificate a shred."""
        if not begun:
            return []
        self._project()
        for one in begun:
            self._sweep(one.row)
        self.mend()
        with self._keys.transaction() as cursor:
            rows = [rows_of(cursor, SQL.shred_by_id.sql, shred_id=one.row["shred_id"])[0] for one in begun]
        residue = self._residue.of_shreds(rows)
        known = [one.known for one in begun if one.known is not None]
        proof = self._proving.prove(known, [row["shred_id"] for row in rows], searching) if known else None
        return [
            self._certify(row, one, found, search_living, proof)
            for row, one, found in zip(rows, begun, residue, strict=True)
        ]

    def tell(self, row: DictRow, line: Line) -> None:
        """Append the fact of the shred. Its digest says which shred it is, so it is stored once."""
        if row["kind"] == "subject":
            fact = keeping.shredded_fact(row, ThingId(row["profile"]), row["targets"])
        else:
            fact = SealedFact(
                ThingId(row["profile"]),
                TenantId(row["tenant"]),
                EventId(uuid4()),
                CONTENT_SHREDDED,
                row["shred_id"].bytes,
                0,
                line.at,
                {"ground": row["ground"], "line": line.number, "thing": row["target"].hex},
                (),
                None,
            )
        with self._keys.transaction() as cursor:
            issue = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]

        def beside(log: Cursor[DictRow]) -> None:
            # It is the number that the shred raised, so that a copy of the keys from before it is found.
            log.execute(STATEMENTS.see_issue.sql, {"issue": issue})

        self._facts.append([fact], beside)
        with self._keys.transaction() as cursor:
            current = rows_of(cursor, SQL.shred_by_id.sql, shred_id=row["shred_id"])[0]
            if current["step"] == "destroyed":
                step(cursor, row["shred_id"], "told")
