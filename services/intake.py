"""Intake: parcels in, sealed facts on the log. The border at which plaintext stops.

One batch, in this order, and why:
1. resolve     look every reference up; decide each parcel (`services.resolving`); nothing is written
2. issue       new subjects, things, register rows and leaf keys are committed first: no fact without its key
3. seal        in memory
4. hold        lock the batch's subjects and things, FOR SHARE; whoever was shredded meanwhile is refused after all
5. append      facts, quarantine, refusals and Kafka positions in one transaction of the log
6. keep        moves, merges and claims of this batch, under the same locks; then the locks go

A crash between 2 and 5 leaves keys that seal nothing; a crash between 5 and 6 is mended by `services.keeping`.
"""

from __future__ import annotations

import base64
import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from psycopg import Cursor
from psycopg.rows import DictRow

from crypto import tree as trees
from crypto.keystore import Disturbed, KeyStore, rows_of
from crypto.register import SQL as REGISTER
from crypto.register import Known, Register
from crypto.roots import Roots
from crypto.sealing import Place, header_of, seal
from crypto.tree import BUCKET_CHILDREN, LeafOrder, Owner, Person, Tree
from crypto.wrapping import Key, context
from domain.catalogue import CATALOGUE, PEOPLE
from domain.errors import (
    KeysUnavailable,
    NobodyCanAct,
    RecordFenced,
    RecordInvalid,
    RecordRefused,
    RecordWaits,
    ReferenceMalformed,
)
from domain.fact import Effect
from domain.ids import HOUSE, EventId, KeyId, SubjectId, TenantId, ThingId
from domain.personal import OWN_ROLES, Reference
from services import keeping
from services.changes import Changes, PlannedFact, Somebody, Something, Version, View
from services.fields import told_after
from services.log import STATEMENTS, Facts, Position, SealedFact
from services.opening_facts import opened_facts
from services.opening_records import QUARANTINE_TYPE, opened_records
from services.records import Draft, Parcel, parcel_of
from services.resolving import Desk, mentions_of
from services.tenants import Tenant, Tenants

DIGEST_BYTES = 16
#: How often a batch is decided anew because a shred or another writer came between.
TRIES = 20
#: Waiting records that are opened and judged as one batch.
WAITING_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Tally:
    """How a number of records fared. `read` is the sum of the others.

    A record that waited and was then taken counts as stored in the batch that took it, and -1 as quarantined there.
    """

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    quarantined: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.read + other.read,
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.refused + other.refused,
            self.quarantined + other.quarantined,
        )


@dataclass(slots=True)
class Judged:
    """One parcel on its way: its facts, or why it has none."""

    parcel: Parcel
    digests: tuple[bytes, ...] = ()
    facts: Sequence[PlannedFact] = ()
    refusal: RecordRefused | None = None
    known_before: bool = False
    #: Where the parcel comes from when it waited in the quarantine, and where it goes when it is put there.
    waited_as: UUID | None = None
    put_aside_as: UUID | None = None


@dataclass(slots=True)
class TenantBatch:
    """What one batch does to one tenant."""

    tenant: Tenant
    judged: list[Judged]
    register: Register | None = None
    view: View | None = None
    people: dict[UUID, Person] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    #: One a fact that has a seal, in their order.
    orders: list[LeafOrder] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record on its way to the quarantine."""

    id: UUID
    tenant: TenantId
    key_id: KeyId
    refusal: RecordRefused
    seal: bytes = field(repr=False)


class Intake:
    """Take parcels in. One instance serves one process; it holds no keys between batches."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots, tenants: Tenants) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._tenants = tenants
        #: Waiting records that this instance counted as quarantined.
        self._put_aside: set[UUID | None] = set()
        #: Whether a crash, or somebody in the way, may have left key work undone or records waiting for what is there.
        self._behind = True

    def take(self, parcels: Sequence[Parcel], *, at: datetime, positions: Sequence[Position] = ()) -> Tally:
        """Store one batch of parcels, and with it how far the given Kafka partitions are read.

        Raises:
            KeysUnavailable, LogUnavailable: nothing was acknowledged; taking the same parcels again is safe.
        """
        if self._behind or keeping.is_behind(self._keys, self._facts):
            keeping.catch_up(self._keys, self._roots, self._facts)
            self._behind = False
            self._take_up(self._known_by_now(self._waited_for()), at)
        judged = [Judged(parcel) for parcel in parcels]
        tally, appeared = self._take(judged, at, positions)
        # What a record waits for may have come through another writer while this one put it aside.
        waits = [
            (tenant.id, index)
            for one in judged
            if isinstance(one.refusal, RecordWaits) and (tenant := self._tenants.by_name().get(one.parcel.tenant or ""))
            for index in one.refusal.waits_for
        ]
        return tally + self._take_up([*appeared, *self._known_by_now(waits)], at)

    def replay(self, records: Sequence[tuple[UUID, Parcel]], *, at: datetime) -> Tally:
        """Take quarantined records once more, given as (id, parcel). Those that are taken or refused leave."""
        tally, appeared = self._take([Judged(parcel, waited_as=record) for record, parcel in records], at, ())
        self._take_up(appeared, at)
        return tally

    def _take_up(self, appeared: Sequence[tuple[TenantId, bytes]], at: datetime) -> Tally:
        """Take the quarantined records that waited for what is known now, and those that waited for these.

        Returns what has to be added to earlier counts: a record that this instance read and put aside is not
        quarantined any more once it is stored or refused.
        """
        correction = Tally()
        while appeared:
            more: list[tuple[TenantId, bytes]] = []
            for waiting in self._waiting(appeared):
                more.extend(self._take(waiting, at, ())[1])
                for one in waiting:
                    if one.waited_as in self._put_aside and not isinstance(one.refusal, RecordWaits):
                        self._put_aside.discard(one.waited_as)
                        if one.refusal is None:
                            # It may have come once more, and been stored, before it was looked at here.
                            stored = bool(one.facts)
                            correction += Tally(stored=stored, duplicates=not stored, quarantined=-1)
                        elif isinstance(one.refusal, RecordFenced):
                            correction += Tally(refused=1, quarantined=-1)
            appeared = more
        return correction

    def _take(
        self, judged: Sequence[Judged], at: datetime, positions: Sequence[Position]
    ) -> tuple[Tally, list[tuple[TenantId, bytes]]]:
        for _ in range(TRIES):
            try:
                return self._try(judged, at, positions)
            except Disturbed:
                for one in judged:
                    one.facts, one.refusal, one.known_before = (), None, False
        raise NobodyCanAct(f"a batch was disturbed {TRIES} times; take it again")

    def _try(
        self, judged: Sequence[Judged], at: datetime, positions: Sequence[Position]
    ) -> tuple[Tally, list[tuple[TenantId, bytes]]]:
        batches = self._by_tenant(judged)
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            for batch in batches:
                self._decide(tree, batch, at)
                self._issue(tree, batch)
            quarantined = self._seal_quarantined(tree, batches, judged, at)
            issue = rows_of(cursor, trees.SQL.next_issue.sql)[0]["issue"]
        beside = partial(self._beside, batches, judged, quarantined, at, positions, issue)
        sealed = [fact for batch in batches for fact in _sealed(batch)]
        appended: dict[tuple[bytes, int], int] | None = None
        try:
            with self._keys.transaction() as cursor:
                tree = Tree(cursor, self._roots)
                for batch in batches:
                    self._hold(cursor, batch)
                    self._hold_parts(tree, batch)
                    opening = _opened_by(batch)
                    if len(self._facts.without_facts(sorted(opening))) < len(opening):
                        raise Disturbed("somebody else opened the same thing meanwhile")
                head, appended = self._facts.append(sealed, beside)
                newest = max(appended.values(), default=0)
                for batch in batches:
                    self._keep(tree, batch, newest)
                if appended:
                    keeping.advance(cursor, head, newest)
        except (Disturbed, KeysUnavailable):
            # The facts stand on the log, so the batch is taken; its key work is caught up before the next one.
            if appended is None:
                raise
            self._behind = True
        if any(batch.changes.words for batch in batches):
            self._tenants.forget()
        tally = self._tally(judged, {digest for digest, _ in appended})
        self._put_aside.update(record.id for record in quarantined if isinstance(record.refusal, RecordWaits))
        appeared = [(batch.tenant.id, index) for batch in batches for index in _appeared(batch.changes)]
        return tally, appeared

    def _tally(self, judged: Sequence[Judged], stored: set[bytes]) -> Tally:
        counts: Counter[str] = Counter()
        waiting: set[UUID | None] = set()
        for one in judged:
            if isinstance(one.refusal, RecordFenced):
                counts["refused"] += 1
            elif isinstance(one.refusal, RecordWaits) and (
                one.put_aside_as in self._put_aside or one.put_aside_as in waiting
            ):
                # It waits already, and will be stored once.
                counts["duplicates"] += 1
            elif one.refusal is not None:
                counts["quarantined"] += 1
                waiting.add(one.put_aside_as)
            elif stored.intersection(one.digests):
                counts["stored"] += 1
                stored.difference_update(one.digests)
            else:
                counts["duplicates"] += 1
        return Tally(len(judged), **counts)

    # -- 1. resolve ---------------------------------------------------------------------------------------------

    def _by_tenant(self, judged: Sequence[Judged]) -> list[TenantBatch]:
        known = self._tenants.by_name()
        if any(one.parcel.tenant is not None and one.parcel.tenant not in known for one in judged):
            # Another process may have added it since.
            known = self._tenants.by_name(fresh=True)
        groups: dict[str, list[Judged]] = {}
        for one in judged:
            name = one.parcel.tenant if not one.parcel.drafts else one.parcel.drafts[0].tenant
            if one.parcel.error is not None:
                one.refusal = one.parcel.error
            elif name not in known:
                one.refusal = RecordInvalid("unknown_tenant", "tenant")
            elif any(draft.tenant != name for draft in one.parcel.drafts):
                one.refusal = RecordInvalid("several_tenants", "tenant")
            if name is not None and name in known:
                groups.setdefault(name, []).append(one)
        return [TenantBatch(known[name], group) for name, group in sorted(groups.items())]

    def _decide(self, tree: Tree, batch: TenantBatch, at: datetime) -> None:
        tenant = batch.tenant.id
        register = Register(tree, tenant)
        dedup = tree.service_key(tenant, "dedup").key
        pending = [one for one in batch.judged if one.refusal is None]
        for one in pending:
            one.digests = tuple(digest_of(dedup, tenant, draft) for draft in one.parcel.drafts)
        indexes, indexed = _index_all(register, (draft for one in pending for draft in one.parcel.drafts))
        known = register.look_up(indexes)
        if len(known) < len(indexes) or any(entry.inside is None for entry in known.values()):
            # Somebody new: look again, alone, so that two writers who meet a person at once end with one.
            register.alone()
            known = register.look_up(indexes)
        view, opened = self._view(tree, batch.tenant, known, self._rewritten(pending, known, indexed))
        # After the view: a ticket that another writer opens meanwhile with this very record was opened once.
        stored = self._facts.stored_already([digest for one in pending for digest in one.digests])
        for one in pending:
            one.known_before = bool(one.digests) and stored.issuperset(one.digests)
        batch.register, batch.view, batch.people = register, view, dict(opened)
        desk = Desk(view, index=partial(_index, register, indexed), new_id=uuid4, now=at)
        seen: set[bytes] = set()
        for one in pending:
            try:
                if one.known_before or seen.issuperset(one.digests):
                    desk.refuse_fenced(one.parcel.drafts)
                else:
                    one.facts = desk.decide(list(zip(one.parcel.drafts, one.digests, strict=True)))
                    seen.update(one.digests)
            except RecordRefused as refusal:
                one.refusal = refusal
                if isinstance(refusal, RecordFenced):
                    # What comes on a refused ticket is refused as well, and so is what waits for it.
                    for index in (index for draft in one.parcel.drafts for index in desk.fence_with(draft)):
                        register.fence_tags(register.tags([index], at), at)
                        desk.changes.appeared.append(index)
        batch.changes = desk.changes

    def _rewritten(
        self, pending: Sequence[Judged], known: Mapping[bytes, Known], indexed: Mapping[Reference, bytes]
    ) -> list[UUID]:
        """Name the things and people of which records of the batch write something anew."""
        drafts = [draft for one in pending for draft in one.parcel.drafts]
        found: list[UUID] = []
        rewriting = [draft for draft in drafts if draft.plan.record.EFFECT is Effect.REWRITES]
        if any(draft.plan.record.THING in PEOPLE for draft in rewriting):
            # Another record of the batch may find that two of its people are one: whose profile it is, turns out later.
            found.extend(entry.inside for entry in known.values() if entry.inside is not None)
        for draft in rewriting:
            if draft.plan.record.THING not in PEOPLE:
                which = [Reference(mark.kind, value) for _, mark, value in mentions_of(draft) if mark.role in OWN_ROLES]
                for reference in (*which, *([draft.subject] if draft.subject is not None else ())):
                    entry = known.get(indexed.get(reference, b""))
                    if entry is not None and entry.inside is not None:
                        found.append(entry.inside)
        return list(dict.fromkeys(found))

    def _view(
        self, tree: Tree, tenant: Tenant, known: Mapping[bytes, Known], rewritten: Sequence[UUID]
    ) -> tuple[View, Mapping[UUID, Person]]:
        """Read the people and things behind register entries, and which things no fact has opened yet."""
        inside = {entry.inside for entry in known.values() if entry.inside is not None}
        rows = rows_of(tree.cursor, trees.SQL.things_by_id.sql, thing_ids=list(inside))
        for row in rows:
            if row["line"] is not None:
                tree.check_mark("thing", row["thing_id"], row)
        unopened = self._facts.without_facts([row["thing_id"] for row in rows])
        things = {
            row["thing_id"]: Something(
                ThingId(row["thing_id"]),
                row["kind"],
                None if row["owner"] == tenant.id else SubjectId(row["owner"]),
                row["line"] is None,
                row["thing_id"] not in unopened,
                parent=row["parent"],
            )
            for row in rows
        }
        owners = {thing.owner for thing in things.values() if thing.owner is not None}
        found = tree.people({*(inside - things.keys()), *owners})
        versions: dict[tuple[UUID, UUID | None], Version] = {}
        newest: dict[UUID, int] = {}
        if rewritten:
            streams = [found[found[id_].root].profile if id_ in found else ThingId(id_) for id_ in rewritten]
            versions, newest = self._versions(tree, tenant.id, streams)
            more = {owner for version in versions.values() for owner in version.owners} - found.keys()
            found = found | tree.people(more)
        people: dict[UUID, Somebody] = {
            person.subject_id: Somebody(person.subject_id, person.profile, person.agent, person.upstream, person.living)
            for person in found.values()
        }
        roots: dict[UUID, SubjectId] = {person.subject_id: person.root for person in found.values()}
        return View(tenant.id, known, people, roots, things, tenant.vocabulary, versions, newest), found

    def _versions(
        self, tree: Tree, tenant: TenantId, streams: Sequence[ThingId]
    ) -> tuple[dict[tuple[UUID, UUID | None], Version], dict[UUID, int]]:
        """Read what stands of some things and of their parts: the living fields, the last fact by position wins."""
        facts = self._facts.streams(streams)
        newest: dict[UUID, int] = dict.fromkeys(streams, 0)
        newest.update({fact.stream: fact.position for fact in facts})
        told = [fact for fact in facts if keeping.is_version(fact)]
        # As the leaves say it: what moved has gained owners that its fact does not name.
        whose = {
            row["key_id"]: (row["owner"], *(row["co_owners"] or ()))
            for stream in dict.fromkeys(streams)
            for row in rows_of(tree.cursor, trees.SQL.leaves_of_thing.sql, thing_id=stream)
        }
        personal: dict[tuple[UUID, UUID | None], dict[str, Any]] = {}
        owners: dict[tuple[UUID, UUID | None], dict[UUID, None]] = {}
        for fact, fields in opened_facts(tree, tenant, told):
            part = fact.clear.get("part")
            place = (fact.stream, None if part is None else UUID(part))
            personal[place] = told_after(CATALOGUE[fact.type], personal.get(place, {}), fact.clear, fields)
            assert fact.seal is not None
            owners.setdefault(place, {}).update(dict.fromkeys(whose[header_of(fact.seal).key_id]))
        subjects = tree.people({owner for found in owners.values() for owner in found})
        return {
            place: Version(fields, tuple(SubjectId(owner) for owner in owners[place] if owner in subjects))
            for place, fields in personal.items()
        }, newest

    # -- 2. and 3. issue and seal -------------------------------------------------------------------------------

    def _issue(self, tree: Tree, batch: TenantBatch) -> None:
        changes, tenant = batch.changes, batch.tenant.id
        # Keys and references are for the living: a shred that comes now waits for this transaction, and finds them.
        self._hold(tree.cursor, batch)
        if changes.upstream:
            # With the register entries of their ids: another writer has to see at once that these are known upstream,
            # lest an address that two contacts share should make one person of them.
            tree.cursor.execute(trees.SQL.mark_upstream.sql, {"subject_ids": sorted(changes.upstream)})
        issued = tree.issue_subjects(
            tenant,
            [
                (person.id, person.profile, changes.agents.get(person.id, False), person.id in changes.upstream)
                for person in changes.people.values()
                if person.new
            ],
        )
        owners: dict[UUID, Owner] = {owner.id: owner for owner in issued}
        tree.store_things(
            tenant,
            [
                (thing.id, thing.kind, thing.owner or tenant, thing.parent)
                for thing in changes.things.values()
                if thing.new
            ],
        )
        tree.place_things(
            [
                # Whose a moved thing is, is said once the log says so.
                (thing.id, thing.owner or tenant, thing.parent)
                for thing in (changes.things[id_] for id_ in changes.placed - changes.moved.keys())
                if not thing.new
            ]
        )
        if batch.register is not None:
            batch.register.enter(
                list(changes.entries.items()),
                untold=changes.mentioned | changes.parts.keys(),
                parts=changes.parts,
            )
        needed = {owner for fact in changes.facts for owner in fact.owners} - owners.keys()
        # Whoever the view opened in this transaction is not opened twice; `_hold` looks whether all still live.
        for person in (batch.people | tree.people(needed - batch.people.keys())).values():
            if person.key is not None:
                owners.setdefault(person.subject_id, Owner(person.subject_id, person.key))
        ofdesk = sum(not fact.owners for fact in changes.facts if fact.personal)
        desk = iter(tree.places(tenant, "desk", ofdesk, BUCKET_CHILDREN) if ofdesk else ())
        blobs: list[LeafOrder] = []
        for fact in changes.facts:
            if fact.personal:
                parents = tuple(owners[owner] for owner in fact.owners) or (next(desk),)
                batch.orders.append(LeafOrder(fact.stream, KeyId(uuid4()), parents))
                if fact.blob is not None:
                    blobs.append(LeafOrder(fact.stream, KeyId(fact.blob), parents, blob=True))
        batch.keys = tree.issue_leaves(tenant, batch.orders)
        tree.issue_leaves(tenant, blobs)

    def _seal_quarantined(
        self, tree: Tree, batches: Sequence[TenantBatch], judged: Sequence[Judged], at: datetime
    ) -> list[Quarantined]:
        tenant_of = {id(one): batch.tenant.id for batch in batches for one in batch.judged}
        kept = [
            one
            for one in judged
            if one.refusal is not None and not isinstance(one.refusal, RecordFenced) and one.waited_as is None
        ]
        by_tenant: dict[TenantId, list[Judged]] = {}
        for one in kept:
            by_tenant.setdefault(tenant_of.get(id(one), HOUSE), []).append(one)
        sealed: list[Quarantined] = []
        for tenant, group in by_tenant.items():
            day = tree.service_key(tenant, "day", at.date().isoformat())
            dedup = tree.service_key(tenant, "dedup").key
            orders = [LeafOrder(quarantine_id(dedup, one.parcel.raw), KeyId(uuid4()), (day,)) for one in group]
            for one, order, key in zip(group, orders, tree.issue_leaves(tenant, orders), strict=True):
                assert one.refusal is not None
                record = ThingId(order.thing)
                one.put_aside_as = record
                place = Place(tenant, record, EventId(record), QUARANTINE_TYPE, order.key_id, ("record",))
                body = seal(place, key, {"record": base64.b64encode(one.parcel.raw).decode()})
                sealed.append(Quarantined(record, tenant, order.key_id, one.refusal, body))
        return sealed

    # -- 4. hold ------------------------------------------------------------------------------------------------

    def _hold(self, cursor: Cursor[DictRow], batch: TenantBatch) -> None:
        """Lock whoever and whatever the facts are about, and whoever they name.

        Raises:
            Disturbed: somebody or something was shredded, or moved, since the batch was decided.
        """
        changes = batch.changes
        things_known = changes.things.keys() | (batch.view.things.keys() if batch.view is not None else set())
        rewritten = changes.settled - things_known
        changed = {*changes.merged, *changes.merged.values(), *changes.agents, *changes.upstream}
        # Whoever writes a profile anew does so alone, lest one of two should not know what the other said.
        changed |= {owner for fact in changes.facts if fact.stream in rewritten for owner in fact.owners}
        named = {owner for fact in changes.facts for owner in fact.owners} | changes.named
        taken = rows_of(cursor, trees.SQL.take_subjects.sql, subject_ids=sorted(changed))
        people = [*taken, *rows_of(cursor, trees.SQL.hold_subjects.sql, subject_ids=sorted(named - changed))]
        touched = {fact.stream for fact in changes.facts}
        # Only parents that this batch gives: what hangs in something that was shredded may still change or end.
        decided_on = batch.view.things if batch.view is not None else {}
        touched |= {
            thing.parent
            for id_, thing in changes.things.items()
            if thing.parent is not None and (id_ not in decided_on or decided_on[id_].parent != thing.parent)
        }
        alone = changes.moved.keys() | _opened_by(batch) | (changes.settled & things_known)
        things = [
            *rows_of(cursor, trees.SQL.take_things.sql, thing_ids=sorted(alone)),
            *rows_of(cursor, trees.SQL.hold_things.sql, thing_ids=sorted(touched - alone)),
        ]
        if not all(row["living"] for row in (*people, *things)):
            raise Disturbed("somebody or something was shredded meanwhile")
        if batch.view is not None:
            for row in taken:
                person = batch.view.people.get(row["subject_id"])
                merging = {*changes.merged, *changes.merged.values()}
                if person is not None and person.id in merging:
                    gained = row["upstream"] and not person.upstream and person.id not in changes.upstream
                    if row["merged"] or (gained and person.id in changes.merged):
                        raise Disturbed("somebody was merged, or became known upstream, meanwhile")
        leaned = sorted(changes.leaned)
        if len(rows_of(cursor, REGISTER.still_known.sql, tenant=batch.tenant.id, indexes=leaned)) < len(leaned):
            raise Disturbed("a part that something hangs in ended meanwhile")
        newest = batch.view.newest if batch.view is not None else {}
        known = {stream: position for stream, position in newest.items() if stream in changes.settled}
        if known != self._facts.newest(sorted(known)):
            raise Disturbed("something that is written anew changed meanwhile")
        for row in things:
            thing = decided_on.get(row["thing_id"])
            if thing is not None and thing.opened and (thing.owner or batch.tenant.id) != row["owner"]:
                raise Disturbed("something moved meanwhile")

    @staticmethod
    def _hold_parts(tree: Tree, batch: TenantBatch) -> None:
        """Hold the references of the parts that this batch makes.

        Raises:
            Disturbed: another writer has brought one of them meanwhile, under an id of its own.
        """
        if not (parts := batch.changes.parts):
            return
        indexes = sorted(parts)
        rows_of(tree.cursor, REGISTER.take_entries.sql, tenant=batch.tenant.id, indexes=indexes)
        known = Register(tree, batch.tenant.id).look_up(indexes)
        if any(index not in known or known[index].part != part for index, part in parts.items()):
            raise Disturbed("somebody else brought the same part meanwhile")

    # -- 5. append ----------------------------------------------------------------------------------------------

    @staticmethod
    def _beside(
        batches: Sequence[TenantBatch],
        judged: Sequence[Judged],
        quarantined: Sequence[Quarantined],
        at: datetime,
        positions: Sequence[Position],
        issue: int,
        cursor: Cursor[DictRow],
    ) -> None:
        """Write what has to be true together with the facts."""
        cursor.execute(STATEMENTS.see_issue.sql, {"issue": issue})
        if positions:
            cursor.execute(
                STATEMENTS.store_positions.sql,
                {
                    "topic_ids": [position.topic_id for position in positions],
                    "partitions": [position.partition for position in positions],
                    "offsets": [position.offset for position in positions],
                },
            )
        if quarantined:
            cursor.execute(STATEMENTS.quarantine.sql, _quarantine_columns(quarantined))
        for batch in batches:
            if batch.changes.words:
                words = sorted(batch.changes.words)
                cursor.execute(
                    STATEMENTS.declare_words.sql,
                    {
                        "tenant_id": batch.tenant.id,
                        "vocabularies": [name for name, _ in words],
                        "words": [word for _, word in words],
                    },
                )
        refused = Counter(
            (batch.tenant.id, one.refusal.code)
            for batch in batches
            for one in batch.judged
            if isinstance(one.refusal, RecordFenced)
        )
        if refused:
            cursor.execute(
                STATEMENTS.count_refusals.sql,
                {
                    "day": at.date(),
                    "tenants": [tenant for tenant, _ in refused],
                    "codes": [code for _, code in refused],
                    "refused": list(refused.values()),
                },
            )
        waited = [(one.waited_as, one.refusal) for one in judged if one.waited_as is not None]
        left = [id_ for id_, refusal in waited if refusal is None or isinstance(refusal, RecordFenced)]
        if left:
            cursor.execute(STATEMENTS.leave_quarantine.sql, {"ids": left})
        stay = [(id_, refusal) for id_, refusal in waited if refusal is not None and id_ not in left]
        if stay:
            cursor.execute(
                STATEMENTS.wait_on.sql,
                {
                    "ids": [id_ for id_, _ in stay],
                    "codes": [refusal.code for _, refusal in stay],
                    "paths": [refusal.path for _, refusal in stay],
                    "waits_for": [_waits_for(refusal) for _, refusal in stay],
                },
            )

    # -- 6. keep ------------------------------------------------------------------------------------------------

    def _keep(self, tree: Tree, batch: TenantBatch, newest: int) -> None:
        """Carry out what the facts of a batch call for; the newest of them stands at this position."""
        changes = batch.changes
        for is_agent, statement in ((True, trees.SQL.mark_agents), (False, trees.SQL.unmark_agents)):
            if ids := sorted(id_ for id_, agent in changes.agents.items() if agent is is_agent):
                tree.cursor.execute(statement.sql, {"subject_ids": ids})
        if changes.upstream:
            tree.cursor.execute(trees.SQL.mark_upstream.sql, {"subject_ids": sorted(changes.upstream)})
        for secondary, primary in changes.merged.items():
            keeping.merge(tree, self._facts, SubjectId(secondary), primary)
        for thing in changes.moved:
            keeping.move(tree, self._facts, ThingId(thing))
        if changes.claims or changes.mentioned or changes.parts:
            register = Register(tree, batch.tenant.id)
            register.claim(changes.claims, newest)
            register.told(changes.mentioned | changes.parts.keys())
        for thing in sorted(changes.settled):
            keeping.settle(tree, self._facts, batch.tenant.id, ThingId(thing))

    # -- what waited --------------------------------------------------------------------------------------------

    def _waiting(self, appeared: Iterable[tuple[TenantId, bytes]]) -> Iterator[list[Judged]]:
        """Open the quarantined records that waited for what has appeared, a page at a time, as they came."""
        names = {tenant.id: tenant.name for tenant in self._tenants.by_name().values()}
        for tenant, indexes in _grouped(appeared).items():
            after = 0
            while True:
                parameters = {"tenant": tenant, "indexes": indexes, "after": after, "limit": WAITING_PAGE}
                with self._facts.cursor() as cursor:
                    rows = cursor.execute(STATEMENTS.waiting_for.sql, parameters).fetchall()
                if not rows:
                    break
                after = rows[-1]["arrived"]
                yield [
                    Judged(parcel_of(raw, names[tenant]), waited_as=row["quarantine_id"])
                    for row, raw in opened_records(self._keys, self._roots, rows)
                ]

    def _waited_for(self) -> list[tuple[TenantId, bytes]]:
        with self._facts.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.waited_for.sql).fetchall()
        return [(TenantId(row["tenant"]), bytes(row["waits_for"])) for row in rows]

    def _known_by_now(self, wanted: Sequence[tuple[TenantId, bytes]]) -> list[tuple[TenantId, bytes]]:
        """Tell which of these references the register knows."""
        found: list[tuple[TenantId, bytes]] = []
        for tenant, indexes in _grouped(wanted).items():
            with self._keys.transaction() as cursor:
                known = Register(Tree(cursor, self._roots), tenant).look_up(indexes)
            inside = {index: entry.inside for index, entry in known.items() if entry.inside is not None}
            with self._keys.transaction() as cursor:
                rows = rows_of(cursor, trees.SQL.things_by_id.sql, thing_ids=list(inside.values()))
            # A thing that was only named as the parent of another is nothing to take up records for.
            begun = self._facts.without_facts([row["thing_id"] for row in rows])
            found.extend((tenant, index) for index, id_ in inside.items() if id_ not in begun)
        return found


def _appeared(changes: Changes) -> Iterator[bytes]:
    """Name the references for which records may have waited."""
    for index, inside in changes.entries.items():
        thing = changes.things.get(inside)
        if thing is None or thing.opened:
            yield index
    yield from changes.appeared


def _opened_by(batch: TenantBatch) -> set[UUID]:
    """Name the things that this batch opens."""
    before = batch.view.things if batch.view is not None else {}
    return {id_ for id_ in batch.changes.things if id_ not in before or not before[id_].opened}


def _grouped(pairs: Iterable[tuple[TenantId, bytes]]) -> dict[TenantId, list[bytes]]:
    by_tenant: dict[TenantId, list[bytes]] = {}
    for tenant, index in pairs:
        by_tenant.setdefault(tenant, []).append(index)
    return by_tenant


def digest_of(key: Key, tenant: TenantId, draft: Draft) -> bytes:
    """Compute the record digest: HMAC-SHA-256 of tenant, source and id, cut to 16 bytes (RFC 2104, section 5)."""
    message = context(tenant.bytes, draft.source.encode(), draft.id.encode())
    return hmac.digest(key.material, message, "sha256")[:DIGEST_BYTES]


def _index_all(register: Register, drafts: Iterable[Draft]) -> tuple[list[bytes], dict[Reference, bytes]]:
    """Compute each blind index of a batch once."""
    indexed: dict[Reference, bytes] = {}
    for draft in drafts:
        references = [Reference(mark.kind, value) for _, mark, value in mentions_of(draft)]
        if draft.subject is not None:
            references.append(draft.subject)
        for reference in references:
            if reference not in indexed:
                try:
                    indexed[reference] = register.index(reference)
                except ReferenceMalformed:
                    continue
    return list(indexed.values()), indexed


def _index(register: Register, indexed: Mapping[Reference, bytes], reference: Reference) -> bytes:
    found = indexed.get(reference)
    return register.index(reference) if found is None else found


def quarantine_id(key: Key, raw: bytes) -> UUID:
    """Give a record that cannot be taken one id however often it comes: an HMAC of its bytes, cut to 16."""
    return UUID(bytes=hmac.digest(key.material, b"quarantine" + raw, "sha256")[:DIGEST_BYTES])


def _sealed(batch: TenantBatch) -> Iterable[SealedFact]:
    """Seal the facts of a batch, each under its own leaf key."""
    issued = iter(zip(batch.orders, batch.keys, strict=True))
    for fact in batch.changes.facts:
        sealed: bytes | None = None
        owners: tuple[UUID, ...] = fact.owners
        if fact.personal:
            order, key = next(issued)
            owners = tuple(owner.id for owner in order.owners)
            fields = tuple(sorted(fact.personal))
            place = Place(fact.tenant, fact.stream, fact.event_id, fact.type, order.key_id, fields)
            sealed = seal(place, key, fact.personal)
        yield SealedFact(
            fact.stream,
            fact.tenant,
            fact.event_id,
            fact.type,
            fact.record_digest,
            fact.ordinal,
            fact.occurred_at,
            fact.clear,
            owners,
            sealed,
        )


def _waits_for(refusal: RecordRefused) -> str | None:
    """List what a record waits for, in hexadecimal with commas: no array of arrays can be given to `unnest`."""
    return ",".join(index.hex() for index in refusal.waits_for) if isinstance(refusal, RecordWaits) else None


def _quarantine_columns(quarantined: Sequence[Quarantined]) -> dict[str, list[Any]]:
    return {
        "ids": [record.id for record in quarantined],
        "tenants": [record.tenant for record in quarantined],
        "key_ids": [record.key_id for record in quarantined],
        "codes": [record.refusal.code for record in quarantined],
        "paths": [record.refusal.path for record in quarantined],
        "waits_for": [_waits_for(record.refusal) for record in quarantined],
        "seals": [record.seal for record in quarantined],
    }
