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

import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

from psycopg import Cursor
from psycopg.rows import DictRow

from crypto import tree as trees
from crypto.keystore import Disturbed, KeyStore, rows_of
from crypto.register import Register
from crypto.roots import Roots
from crypto.sealing import Place, seal
from crypto.tree import BUCKET_CHILDREN, LeafOrder, Owner, Tree
from crypto.wrapping import Key, context
from domain.errors import (
    BatchDisturbed,
    KeysUnavailable,
    PositionMoved,
    RecordFenced,
    RecordInvalid,
    RecordRefused,
    RecordWaits,
    ReferenceMalformed,
)
from domain.ids import HOUSE, KeyId, SubjectId, TenantId, ThingId
from domain.personal import Reference
from services import garbage, keeping, key_work, locking
from services.batches import Judged, TakenUp, TenantBatch, opened_by, taken_of, taken_up_as, tell_outcomes
from services.changes import Changes
from services.key_work import KeyWork
from services.log import STATEMENTS, Facts, Position, SealedFact, store_positions
from services.outcomes import Later, Outcome, Taken, Tally
from services.quarantining import Quarantined, sealed_records
from services.records import Draft, Parcel
from services.refusing import refuse_fenced
from services.resolving import Desk, mentions_of
from services.tenants import Tenants
from services.viewing import rewritten_by, view_of
from services.waiting import Waiting

__all__ = ["Intake", "Later", "Outcome", "Taken", "Tally", "digest_of"]

DIGEST_BYTES = 16
#: How often a batch is decided anew because a shred or another writer came between.
TRIES = 20
#: Of so many waiting records an instance knows that it counted them. Those that waited the longest are forgotten first:
#: their counts are not put right any more, and if they come once more, they are told of as if they had not come before.
PUT_ASIDE = 100_000


class Intake:
    """Take parcels in. One instance serves one process; it holds no keys between batches."""

    def __init__(
        self, facts: Facts, keys: KeyStore, roots: Roots, tenants: Tenants, work: KeyWork | None = None
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._tenants = tenants
        self._work = work or KeyWork(facts, keys, roots)
        self._waiting = Waiting(facts, keys, roots, tenants)
        #: Waiting records that this instance counted as quarantined.
        self._put_aside: dict[UUID | None, None] = {}
        #: Whether a crash, or somebody in the way, may have left key work undone or records waiting for what is there.
        self._behind = True
        #: What became of records that waited, until somebody is told.
        self._taken_up: list[TakenUp] = []

    def take(self, parcels: Sequence[Parcel], *, at: datetime, positions: Sequence[Position] = ()) -> Tally:
        """Store one batch of parcels, and with it how far the given Kafka partitions are read.

        Raises:
            KeysUnavailable, LogUnavailable: nothing was acknowledged; taking the same parcels again is safe.
            BatchDisturbed: the same, while many others change what these parcels are about.
        """
        return self.take_each(parcels, at=at, positions=positions).tally

    @garbage.looked_for_less()
    def take_each(
        self, parcels: Sequence[Parcel], *, at: datetime, positions: Sequence[Position] = (), again: bool = False
    ) -> Taken:
        """Store one batch of parcels like `take`, and tell of each what became of it.

        With `again` these records were taken before, and somebody only has to be told once more: what is stored reads
        as a duplicate, refusals are not counted a second time, and nothing is put into the quarantine again.

        Raises:
            KeysUnavailable, LogUnavailable: nothing was acknowledged; taking the same parcels again is safe.
            BatchDisturbed: the same, while many others change what these parcels are about.
        """
        correction = Tally()
        with self._behind_if_it_stops():
            if self._behind or self._work.is_behind():
                self._work.catch_up()
                self._behind = False
                correction += self._take_up(self._waiting.known_by_now(self._waiting.all_waited_for()), at)
            judged = [Judged(parcel, again=again) for parcel in parcels]
            tally, appeared = self._take(judged, at, positions)
            # What a record waits for may have come through another writer while this one put it aside.
            waits = [
                (tenant.id, index)
                for one in judged
                if isinstance(one.refusal, RecordWaits)
                and (tenant := self._tenants.by_name().get(one.parcel.tenant or ""))
                for index in one.refusal.waits_for
            ]
            correction += self._take_up([*appeared, *self._waiting.known_by_now(waits)], at)
        return self._told(judged, tally + correction)

    def take_up(self, *, at: datetime) -> Tally:
        """Look whether something is known by now that records wait for, and take those.

        Every batch does so for what it brings. This is for what a writer that was killed left, once nothing comes any
        more that would make others look.

        Raises:
            KeysUnavailable, LogUnavailable, BatchDisturbed: whatever was not taken goes on waiting.
        """
        self._behind = True
        return self.take((), at=at)

    @garbage.looked_for_less()
    def replay(self, records: Sequence[tuple[UUID, TenantId | None, Parcel]], *, at: datetime) -> Taken:
        """Take quarantined records once more, given as (id, under whom it lies, parcel).

        Those that are taken or refused leave the quarantine. With None for under whom, one that cannot be taken is put
        aside anew, as it is now.
        """
        judged = [Judged(parcel, waited_as=id_, waited_under=tenant) for id_, tenant, parcel in records]
        with self._behind_if_it_stops():
            tally, appeared = self._take(judged, at, ())
            correction = self._take_up(appeared, at)
        return self._told(judged, tally + correction)

    @contextmanager
    def _behind_if_it_stops(self) -> Iterator[None]:
        """Look with the next batch for what this one leaves undone: it may be on the log though an answer was lost."""
        try:
            yield
        except PositionMoved:
            # Nothing of it was stored.
            raise
        except BaseException:
            self._behind = True
            raise

    def _told(self, judged: Sequence[Judged], tally: Tally) -> Taken:
        taken_up, self._taken_up = self._taken_up, []
        return taken_of(judged, tally, taken_up)

    def _take_up(self, appeared: Sequence[tuple[TenantId, bytes]], at: datetime) -> Tally:
        """Take the quarantined records that waited for what is known now, and those that waited for these.

        Returns what has to be added to earlier counts: a record that this instance read and put aside is not
        quarantined any more once it is stored or refused.
        """
        correction = Tally()
        while appeared:
            more: list[tuple[TenantId, bytes]] = []
            for waiting in self._waiting.opened(appeared):
                more.extend(self._take(waiting, at, ())[1])
                for one in waiting:
                    if one.waited_as in self._put_aside and not isinstance(one.refusal, RecordWaits):
                        del self._put_aside[one.waited_as]
                        if one.refusal is None:
                            # It may have come once more, and been stored, before it was looked at here.
                            stored = bool(one.facts)
                            correction += Tally(stored=stored, duplicates=not stored, quarantined=-1)
                        elif isinstance(one.refusal, RecordFenced):
                            correction += Tally(refused=1, quarantined=-1)
                    if one.outcome is not None and one.outcome.status != "quarantined":
                        self._taken_up.append(taken_up_as(one))
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
                    one.facts, one.refusal, one.known_before, one.put_aside_as = (), None, False, None
        raise BatchDisturbed(f"a batch was disturbed {TRIES} times; take it again")

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
                locking.hold_tenants(tree, batches)
                for batch in batches:
                    locking.hold(self._facts, cursor, batch)
                    locking.hold_parts(tree, batch)
                    opening = opened_by(batch)
                    if len(self._facts.without_facts(sorted(opening))) < len(opening):
                        raise Disturbed("somebody else opened the same thing meanwhile")
                head, appended = self._facts.append(sealed, beside)
                self._work.records_go(cursor, self._keys, _leaving(judged))
                newest = max(appended.values(), default=0)
                kept = [self._keep(tree, batch, newest) for batch in batches if not batch.closed]
                if appended and all(kept):
                    self._work.advance(cursor, self._keys, head, newest)
        except (Disturbed, KeysUnavailable):
            # The facts stand on the log, so the batch is taken; its key work is caught up before the next one.
            if appended is None:
                raise
            self._behind = True
        if any(batch.changes.words for batch in batches):
            self._tenants.forget()
        tell_outcomes(judged, {digest for digest, _ in appended}, self._put_aside)
        self._note_put_aside(record.id for record in quarantined if isinstance(record.refusal, RecordWaits))
        appeared = [(batch.tenant.id, index) for batch in batches for index in _appeared(batch.changes)]
        return Tally.of(one.outcome for one in judged if one.outcome is not None), appeared

    def _note_put_aside(self, records: Iterable[UUID]) -> None:
        self._put_aside |= dict.fromkeys(records)
        for oldest in list(islice(self._put_aside, max(0, len(self._put_aside) - PUT_ASIDE))):
            del self._put_aside[oldest]

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
        batch.closed = tenant in tree.hold_tenants([tenant])
        if batch.closed:
            # Whatever is wrong with a record besides: nothing of this tenant is kept, not even in the quarantine.
            for one in batch.judged:
                one.refusal = RecordFenced("tenant_closed", "tenant")
            return
        register = Register(tree, tenant)
        dedup = tree.service_key(tenant, "dedup").key
        pending = [one for one in batch.judged if one.refusal is None]
        for one in pending:
            one.digests = tuple(digest_of(dedup, tenant, draft) for draft in one.parcel.drafts)
        indexes, indexed = _index_all(register, (draft for one in pending for draft in one.parcel.drafts))
        # Mostly somebody is new, and what a first look finds need not be opened.
        known = register.look_up(indexes) if register.knows(indexes) else {}
        if len(known) < len(indexes) or any(entry.inside is None for entry in known.values()):
            # Somebody new: look again, alone, so that two writers who meet a person at once end with one.
            register.alone()
            known = register.look_up(indexes)
        drafts = [draft for one in pending for draft in one.parcel.drafts]
        view, opened = view_of(self._facts, tree, batch.tenant, known, rewritten_by(drafts, known, indexed))
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
        refuse_fenced(tree, register, batch, desk.changes)
        batch.changes = desk.changes

    # -- 2. and 3. issue and seal -------------------------------------------------------------------------------

    def _issue(self, tree: Tree, batch: TenantBatch) -> None:
        if batch.closed:
            return
        changes, tenant = batch.changes, batch.tenant.id
        # Keys and references are for the living: a shred that comes now waits for this transaction, and finds them.
        locking.hold(self._facts, tree.cursor, batch)
        batch.entered = True
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
            batch.written = batch.register.enter(
                list(changes.entries.items()),
                untold=changes.mentioned | changes.parts.keys(),
                parts=changes.parts,
            )
        needed = {owner for fact in changes.facts for owner in fact.owners} - owners.keys()
        # Whoever the view opened in this transaction is not opened twice; `_hold` looks whether all still live.
        for person in (batch.people | tree.people(needed - batch.people.keys())).values():
            if person.key is not None:
                owners.setdefault(person.subject_id, Owner(person.subject_id, person.key))
        ofdesk = sum(not fact.owners for fact in changes.facts if fact.is_sealed)
        desk = iter(tree.places(tenant, "desk", ofdesk, BUCKET_CHILDREN) if ofdesk else ())
        blobs: list[LeafOrder] = []
        for fact in changes.facts:
            if fact.is_sealed:
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
        by_tenant: dict[TenantId, list[Judged]] = {}
        for one in judged:
            tenant = tenant_of.get(id(one), HOUSE)
            stays = one.again or (one.waited_as is not None and one.waited_under == tenant)
            if one.refusal is not None and not isinstance(one.refusal, RecordFenced) and not stays:
                by_tenant.setdefault(tenant, []).append(one)
        sealed: list[Quarantined] = []
        for tenant, group in by_tenant.items():
            refused = [(one.parcel, one.refusal) for one in group if one.refusal is not None]
            records = sealed_records(tree, tenant, refused, at)
            for one, record in zip(group, records, strict=True):
                one.put_aside_as = record.id
            sealed.extend(records)
        return sealed

    # -- 5. append ----------------------------------------------------------------------------------------------

    def _beside(
        self,
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
            store_positions(cursor, positions)
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
            if isinstance(one.refusal, RecordFenced) and not one.again
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
        waited = [one for one in judged if one.waited_as is not None and not one.leaves]
        stay = [(one.waited_as, one.refusal) for one in waited if one.refusal is not None]
        left = _leaving(judged)
        if not (left or stay):
            return
        with self._work.judging(cursor, self._facts):
            if left:
                key_work.leave(cursor, left, self._work)
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

    def _keep(self, tree: Tree, batch: TenantBatch, newest: int) -> bool:
        """Carry out what the facts of a batch call for; the newest of them stands at this position.

        Returns whether that is all of it. What could destroy is left to the keeper by whoever may not.
        """
        changes = batch.changes
        for is_agent, statement in ((True, trees.SQL.mark_agents), (False, trees.SQL.unmark_agents)):
            if ids := sorted(id_ for id_, agent in changes.agents.items() if agent is is_agent):
                tree.cursor.execute(statement.sql, {"subject_ids": ids})
        if changes.mentioned or changes.parts:
            Register(tree, batch.tenant.id).told(changes.mentioned | changes.parts.keys())
        if not (changes.merged or changes.moved or changes.claims or changes.settled):
            return True
        if not self._work.mine:
            return False
        with self._work.doing(tree.cursor, self._keys):
            for secondary, primary in changes.merged.items():
                keeping.merge(tree, self._work.facts, SubjectId(secondary), primary)
            for thing in changes.moved:
                keeping.move(tree, self._facts, ThingId(thing))
            if changes.claims:
                Register(tree, batch.tenant.id).claim(changes.claims, newest)
            for thing in sorted(changes.settled):
                keeping.settle(tree, self._facts, batch.tenant.id, ThingId(thing))
        return True


def _leaving(judged: Sequence[Judged]) -> list[UUID]:
    """Name the quarantined records that are taken, or refused, and leave the quarantine with that."""
    return [one.waited_as for one in judged if one.leaves and one.waited_as is not None]


def _appeared(changes: Changes) -> Iterator[bytes]:
    """Name the references for which records may have waited."""
    for index, inside in changes.entries.items():
        thing = changes.things.get(inside)
        if thing is None or thing.opened:
            yield index
    yield from changes.appeared


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
    # Two that differ in writing may be one reference.
    return list(dict.fromkeys(indexed.values())), indexed


def _index(register: Register, indexed: Mapping[Reference, bytes], reference: Reference) -> bytes:
    found = indexed.get(reference)
    return register.index(reference) if found is None else found


def _sealed(batch: TenantBatch) -> Iterable[SealedFact]:
    """Seal the facts of a batch, each under its own leaf key."""
    issued = iter(zip(batch.orders, batch.keys, strict=True))
    for fact in batch.changes.facts:
        sealed: bytes | None = None
        owners: tuple[UUID, ...] = fact.owners
        if fact.is_sealed:
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
        "topics": [None if record.place is None else record.place.topic for record in quarantined],
        "partitions": [None if record.place is None else record.place.partition for record in quarantined],
        "offsets": [None if record.place is None else record.place.offset for record in quarantined],
        "tenants": [record.tenant for record in quarantined],
        "key_ids": [record.key_id for record in quarantined],
        "codes": [record.refusal.code for record in quarantined],
        "paths": [record.refusal.path for record in quarantined],
        "waits_for": [_waits_for(record.refusal) for record in quarantined],
        "seals": [record.seal for record in quarantined],
    }
