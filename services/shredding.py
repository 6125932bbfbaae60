"""Shred a person or a thing: checks and holds -> ledger line -> key destroyed, references fenced -> the log is told.

The ledger line is the point of no return. Each step may run twice, and `resume` goes on with whatever a crash left:
an intended shred without a ledger line is abandoned, any other is finished.

    intended    the row stands; nothing is destroyed
    destroyed   key material dropped, rows marked, references fenced: nothing opens any more
    told        subject.shredded or content.shredded stands on the log
    finished    read models blanked, keys beneath swept, residue looked for, certificate signed
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from crypto import certificates
from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Fences, Ledger, Line, commitment
from crypto.register import SQL as REGISTER
from crypto.register import Register, quarter
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from domain.errors import BlobsUnavailable, LedgerBroken, NobodyCanAct, ReferenceUnknown, SettingsWrong, ShredRefused
from domain.ids import EventId, TenantId, ThingId
from domain.personal import Kind, Reference
from domain.requests import ShredWasRefused, abandon_shred, approve_shred, refuse_shred
from domain.subjects import CONTENT_SHREDDED
from services import finding, keeping
from services.desk_words import as_text, seal_words
from services.finding import Found
from services.living import Living, values_of
from services.log import Facts, SealedFact
from services.privacy import Privacy
from services.quarantine import Quarantine
from services.residue import NOT_SEARCHED, Residue

#: How long a request that began before a shred may still hold a key in memory, in seconds.
REQUEST_SECONDS = 30
#: Keys or references swept in one transaction, so that nobody waits long for their locks.
SLICE = 5_000
SALT_BYTES = 32
#: Shreds of one order that share a pass over the read models and the log.
TOGETHER = 1_000
_HELD = "a hold stands in the way; list them with: sealdesk hold list"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a shred takes, and what it changes for others. The dry run and the certificate count alike.

    facts              facts that nobody can read any more
    tickets            tickets that go whole
    calls, chats       calls and chats that do
    posts              topics and comments that do
    files              attachments, pictures and recordings that nobody can open any more
    references         ids and addresses that are fenced
    others_tickets     tickets and other things of other people in which something becomes unreadable
    others_entries     how many facts that is
    merged             people who were merged into this one, and go along
    """

    facts: int = 0
    tickets: int = 0
    calls: int = 0
    chats: int = 0
    posts: int = 0
    files: int = 0
    references: int = 0
    others_tickets: int = 0
    others_entries: int = 0
    merged: int = 0

    def as_dict(self) -> dict[str, int]:
        """Give the counts by name."""
        return asdict(self)

    def __add__(self, other: Effect) -> Effect:
        mine, theirs = asdict(self), asdict(other)
        return Effect(**{name: mine[name] + theirs[name] for name in mine})


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


@dataclass(frozen=True, slots=True)
class _Begun:
    """A shred whose key is gone: its row, its ledger line, and what the person was called, where that is needed."""

    row: DictRow = field(repr=False)
    line: Line
    values: Sequence[str] = field(repr=False)


class Shredding:
    """Carry shreds out. `project` brings every read model to the head of the log, `sweep_files` deletes files."""

    def __init__(
        self,
        facts: Facts,
        keys: KeyStore,
        roots: Roots,
        ledger: Ledger,
        signing: Ed25519PrivateKey,
        privacy: Privacy,
        residue: Residue,
        living: Living,
        quarantine: Quarantine,
        project: Callable[[], object],
        sweep_files: Callable[[Iterable[tuple[ThingId, UUID]]], object],
        access_line: Callable[[TenantId, Sequence[UUID], str], object],
        *,
        brake: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._ledger = ledger
        self._signing = signing
        self._privacy = privacy
        self._residue = residue
        self._living = living
        self._quarantine = quarantine
        self._project = project
        self._sweep_files = sweep_files
        self._access_line = access_line
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
            ShredRefused: it was a thing that went with its person.
        """
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            _, fenced = finding.look_up(tree, tenant, [reference])
            if reference not in fenced:
                return None
            tags = set(Register(tree, tenant).tags_of_all_periods(fenced[reference][0]))
        for line in self._ledger.read():
            if line.tenant == tenant and tags.intersection(self._ledger.fences_of(line).tags):
                with self._keys.transaction() as cursor:
                    rows = rows_of(cursor, SQL.shred_by_id.sql, shred_id=line.shred)
                if rows and rows[0]["certificate"] is not None:
                    return dict(rows[0]["certificate"])
        raise ShredRefused("fenced", "this is gone already: it went with its person, and has no certificate of its own")

    def effect(self, found: Found) -> Effect:
        """Count what a shred would take. Nothing is changed."""
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            return self._effect(tree, found)

    def _effect(self, tree: Tree, found: Found) -> Effect:
        if found.kind == "thing":
            rows = rows_of(tree.cursor, SQL.leaves_of_thing.sql, thing_id=found.id)
            living = Counter(bool(row["blob"]) for row in rows if row["wrapped"] is not None)
            references = rows_of(tree.cursor, REGISTER.count_backs.sql, owners=[found.id])[0]["backs"]
            return Effect(facts=living[False], files=living[True], references=references, **_by_kind(found.kinds))
        owners = list(found.group)
        counts = rows_of(tree.cursor, SQL.effect_on_leaves.sql, owners=owners, profiles=list(found.profiles))[0]
        backs = rows_of(tree.cursor, REGISTER.count_backs.sql, owners=[*owners, *found.things])[0]["backs"]
        return Effect(references=backs, merged=len(owners) - 1, **_by_kind(found.kinds), **counts)

    def request(self, found: Found, order: Order) -> dict[str, Any]:
        """Shred what was found, and give the certificate.

        Raises:
            ShredRefused: a hold or the brake stands in the way; the refusal is recorded.
        """
        self.mend()
        found = self._again(found)
        shred = uuid4()
        words = self._words(order, shred)
        self._check_count(found, self.effect(found).facts, order, words)
        with self._keys.tasks() as take:
            begun = self._begin(found, order, shred, words, take)
            return self._finish([begun], order.living)[0]

    def request_all(
        self, wanted: Sequence[Found], order: Order, progress: Callable[[int], object] | None = None
    ) -> list[dict[str, Any] | ShredRefused]:
        """Shred many people or things on one ground: a certificate each, or why it was refused.

        Each has a ledger line of its own. The read models are brought up to date, the residue is looked for and the
        beneath is swept once for `TOGETHER` of them. `progress` is told how many are done.

        Raises:
            ShredRefused: the brake stands in the way of all of them; nothing was changed.
        """
        self.mend()
        facts = sum(self.effect(found).facts for found in wanted)
        if wanted:
            self._check_count(wanted[0], facts, order, self._words(order, uuid4()))
        outcomes: dict[UUID, dict[str, Any] | ShredRefused] = {}
        # Whoever is named twice, or was merged into another of them, goes once.
        now = {found.id: self._again(found).id for found in wanted}
        targets = list(dict.fromkeys(now.values()))
        for start in range(0, len(targets), TOGETHER):
            begun: dict[UUID, _Begun] = {}
            with self._keys.tasks() as take:
                for target in targets[start : start + TOGETHER]:
                    shred = uuid4()
                    try:
                        found = self._inside(target)
                        begun[target] = self._begin(found, order, shred, self._words(order, shred), take)
                    except ShredRefused as refused:
                        outcomes[target] = refused
                outcomes.update(zip(begun, self._finish(list(begun.values()), order.living), strict=True))
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

    def _begin(self, found: Found, order: Order, shred: UUID, words: str, take: Callable[[str], bool]) -> _Begun:
        """Go as far as telling the log: from there on nothing of it opens.

        Raises:
            ShredRefused: a hold stands in the way.
        """
        take(str(shred))
        # The row comes before the approval, so that a crash between the two leaves something to abandon.
        self._intend(found, order, shred)
        try:
            self._approve(found, order, shred, words)
        except ShredRefused:
            with self._keys.transaction() as cursor:
                self._step(cursor, shred, "abandoned")
            raise
        needed = order.living or (found.kind == "subject" and not self._quarantine.is_empty(order.tenant))
        values = self._values(found, order, shred) if needed else ()
        begun = self._destroy_and_tell(shred, values, may_begin=True)
        if begun is None:
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

    def _again(self, found: Found) -> Found:
        """Look the target up once more: whoever was merged into it meanwhile goes along."""
        return self._inside(found.id)

    def _inside(self, id_: UUID) -> Found:
        with self._keys.transaction() as cursor:
            return finding.inside(Tree(cursor, self._roots), id_)

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
        taken = {*ids, *found.things}
        if found.person is not None:
            taken.update(self._inside(found.person).group)
        if any(hold.target in taken for hold in self._privacy.holds()):
            self._refuse(found, order, "held", words)
            raise ShredRefused("held", _HELD)
        events = self._privacy.decide(
            ids,
            lambda case: approve_shred(case, shred=shred, ground=order.ground, words=words, at=self._clock()),
        )
        if any(isinstance(event, ShredWasRefused) for event in events):
            self._privacy.decide(ids, lambda case: abandon_shred(case, shred=shred, at=self._clock()))
            raise ShredRefused("held", _HELD)

    def _refuse(self, found: Found, order: Order, code: str, words: str) -> None:
        self._privacy.decide(
            [found.id], lambda case: refuse_shred(case, code=code, ground=order.ground, words=words, at=self._clock())
        )

    def _values(self, found: Found, order: Order, shred: UUID) -> tuple[str, ...]:
        """Read what the person is called, before nobody can: names, addresses, numbers, signature.

        Looking for these in living seals and in the quarantine is a reveal, though nobody sees it; it leaves an access
        line.
        """
        self._access_line(order.tenant, [shred], order.actor)
        return values_of(self._facts, self._keys, self._roots, order.tenant, found.profiles)

    # -- carrying out -------------------------------------------------------------------------------------------

    def resume(self) -> int:
        """Finish, or abandon, every shred that a crash left. Returns how many there were."""
        with self._keys.transaction() as cursor:
            rows = rows_of(cursor, SQL.unfinished_shreds.sql)
        for row in rows:
            with self._keys.alone(str(row["shred_id"])) as alone:
                # Whoever holds the lock is alive and at it.
                if alone and (begun := self._destroy_and_tell(row["shred_id"], (), may_begin=False)) is not None:
                    self._finish([begun], search_living=False)
        return len(rows)

    def mend(self) -> None:
        """Carry out the key work that facts of upstream called for and that a crash left."""
        keeping.catch_up(self._keys, self._roots, self._facts)

    def _destroy_and_tell(self, shred: UUID, values: Sequence[str], *, may_begin: bool) -> _Begun | None:
        """Destroy the key and tell the log; None if the shred was abandoned instead."""
        line = self._destroy(shred, may_begin=may_begin)
        if line is None:
            return None
        with self._keys.transaction() as cursor:
            row = rows_of(cursor, SQL.shred_by_id.sql, shred_id=shred)[0]
        self._tell(row, line)
        return _Begun(row, line, values)

    def _finish(self, begun: Sequence[_Begun], search_living: bool) -> list[dict[str, Any]]:
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
        return [
            self._certify(row, one, found, search_living) for row, one, found in zip(rows, begun, residue, strict=True)
        ]

    def _destroy(self, shred: UUID, *, may_begin: bool) -> Line | None:
        """Write the ledger line and drop the key material, under the locks of whoever it is about."""
        with self._keys.transaction() as cursor:
            row = rows_of(cursor, SQL.shred_by_id.sql, shred_id=shred)[0]
            line = self._ledger.find(shred)
            if row["step"] != "intended":
                if line is None:
                    raise LedgerBroken("a shred was carried out that the ledger does not know")
                return line
            if line is None and not may_begin:
                self._abandon(cursor, row)
                return None
            tree = Tree(cursor, self._roots)
            tenant = TenantId(row["tenant"])
            register = Register(tree, tenant)
            if row["kind"] == "thing":
                targets, people = [row["target"]], []
                rows_of(cursor, SQL.take_things.sql, thing_ids=targets)
                rows_of(cursor, SQL.take_leaves_of_thing.sql, thing_id=row["target"])
            else:
                people = self._take_group(cursor, row["target"])
                targets = [person["subject_id"] for person in people]
            # Not before: whoever had to be waited for could still read.
            at = self._clock()
            if line is None and any(self._privacy.case(id_).holds for id_ in {*targets} - {*row["targets"]}):
                # Somebody who joined since the approval is held, and would go along.
                self._abandon(cursor, row)
                return None
            counts = self._effect(tree, finding.inside(tree, row["target"])).as_dict()
            if line is None:
                line = self._write_line(cursor, register, row, targets, at)
            if row["kind"] == "thing":
                tree.destroy_thing(tenant, ThingId(row["target"]), line.number)
            else:
                living = [person for person in people if person["line"] is None]
                tree.destroy_subjects(living, line.number)
            register.fence(targets, line.at)
            self._step(cursor, shred, "destroyed", line=line.number, at=at, targets=targets, counts=counts)
        return line

    @staticmethod
    def _take_group(cursor: Cursor[DictRow], root: UUID) -> list[DictRow]:
        """Lock a person and everyone merged into that person, until nobody joins any more."""
        group = rows_of(cursor, SQL.everyone_merged.sql, subject_id=root)
        while True:
            rows_of(cursor, SQL.take_subjects.sql, subject_ids=[row["subject_id"] for row in group])
            again = rows_of(cursor, SQL.everyone_merged.sql, subject_id=root)
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
        self._step(cursor, row["shred_id"], "abandoned")

    @staticmethod
    def _step(
        cursor: Cursor[DictRow],
        shred: UUID,
        step: str,
        *,
        line: int | None = None,
        at: datetime | None = None,
        targets: Sequence[UUID] | None = None,
        counts: Mapping[str, int] | None = None,
        certificate: Mapping[str, Any] | None = None,
    ) -> None:
        cursor.execute(
            SQL.step_shred.sql,
            {
                "shred_id": shred,
                "step": step,
                "line": line,
                "destroyed_at": at,
                "targets": None if targets is None else list(targets),
                "counts": Jsonb(counts or {}),
                "certificate": None if certificate is None else Jsonb(certificate),
            },
        )

    def _tell(self, row: DictRow, line: Line) -> None:
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
        self._facts.append([fact])
        with self._keys.transaction() as cursor:
            current = rows_of(cursor, SQL.shred_by_id.sql, shred_id=row["shred_id"])[0]
            if current["step"] == "destroyed":
                self._step(cursor, row["shred_id"], "told")

    def _sweep(self, row: DictRow) -> None:
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

    def _certify(self, row: DictRow, begun: _Begun, found: Mapping[str, int], search_living: bool) -> dict[str, Any]:
        line, values = begun.line, begun.values
        if row["step"] == "finished":
            return dict(row["certificate"])
        if row["destroyed_at"] is None:
            raise NobodyCanAct("a destroyed key has no time of destruction")
        dropped, unjudged = self._quarantine.judge(TenantId(row["tenant"]), values)
        in_text = self._living.count(TenantId(row["tenant"]), values) if search_living and values else None
        salt = os.urandom(SALT_BYTES)
        body = certificates.shred_certificate(
            certificate_id=uuid4(),
            kind=row["kind"],
            ground=row["ground"],
            issued_at=self._clock(),
            unreadable_since=row["destroyed_at"] + timedelta(seconds=REQUEST_SECONDS),
            unrecoverable_since=None,
            meaning_of_destruction=self._roots.meaning_of_destruction(),
            ledger_salt=salt,
            ledger_commitment=commitment(line, salt=salt),
            counts={name: int(count) for name, count in row["counts"].items()},
            quarantine_dropped=dropped,
            quarantine_not_judged=unjudged,
            residue_found=sum(found.values()),
            searched=sorted(found),
            not_searched=list(NOT_SEARCHED),
            living_text_searched=in_text is not None,
            living_text_found=in_text,
        )
        certificate = certificates.sign(body, self._signing)
        with self._keys.transaction() as cursor:
            self._step(cursor, row["shred_id"], "finished", certificate=certificate)
        return certificate


def _by_kind(kinds: Iterable[str]) -> dict[str, int]:
    """Count things by what a person would call them. What belongs to the desk (an article) has no count of its own."""
    names = {Kind.TICKET: "tickets", Kind.CALL: "calls", Kind.CHAT: "chats", Kind.TOPIC: "posts", Kind.COMMENT: "posts"}
    return dict(Counter(names[kind] for kind in map(Kind, kinds) if kind in names))
