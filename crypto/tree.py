"""The key tree: root epoch -> bucket (256 subjects of a tenant) -> subject -> leaf. Issue, re-wrap, destroy.

A wrapping key wraps other keys and never seals; a leaf key seals one fact. Wrapping is AES-256-GCM with the ids of
both ends as associated data, so that a row moved to another parent, child or tenant does not open. A leaf with several
owners is wrapped under each in turn and dies with any of them.

Keys are read inside one transaction and forgotten with it.
"""

from __future__ import annotations

import hmac
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import aiosql
from psycopg import Cursor
from psycopg.rows import DictRow

from crypto.keystore import rows_of
from crypto.roots import Roots
from crypto.wrapping import KEY_BYTES, Key, context, new_key, unwrap, wrap
from domain.errors import KeyLost, SealBroken, TenantIsClosed
from domain.ids import HOUSE, KeyId, SubjectId, TenantId, ThingId

SQL: Any = aiosql.from_str((files("crypto") / "sql/tree.sql").read_text(), "psycopg", mandatory_parameters=False)

#: Children of one bucket, or leaves of one desk key. A turn replaces a key and re-wraps its living children.
BUCKET_CHILDREN = 256
#: Rows of one register page, and of no more once a turn has replaced it. A lost row costs a turn as many rows, and each
#: page costs every turn one: of 100,000 references with 0.1 % lost, 34,000 rows in place of 85,000 with pages of 1,000.
PAGE_ROWS = 128


def ends(tenant: UUID, parent: bytes, child: UUID) -> bytes:
    """Bind a wrapped key to its place: tenant, parent and child."""
    return context(b"sealdesk/wrap/1", tenant.bytes, parent, child.bytes)


def epoch_end(epoch: int) -> bytes:
    """Name a root epoch as the parent in associated data."""
    return b"epoch" + epoch.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Person:
    """A subject as the key database knows it. `root` is whoever this person was merged into, or itself."""

    subject_id: SubjectId
    tenant: TenantId
    profile: ThingId
    parent: UUID
    root: SubjectId
    agent: bool
    upstream: bool
    living: bool
    key: Key | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Owner:
    """A parent of leaves: a subject, a desk key or a quarantine day, with its key."""

    id: UUID
    key: Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class LeafOrder:
    """A leaf key to be issued: for which thing, under which id, and whose it is (first owner first).

    The leaf of a blob has the id of the part that the blob is.
    """

    thing: UUID
    key_id: KeyId
    owners: tuple[Owner, ...]
    blob: bool = False


class Tree:
    """The key tree inside one transaction of the key database."""

    def __init__(self, cursor: Cursor[DictRow], roots: Roots) -> None:
        self.cursor = cursor
        self._roots = roots
        self._epochs: dict[int, Key] = {}
        self._mark_key: Key | None = None
        #: Tenants that this transaction holds, so that nobody can close them.
        self._held: set[TenantId] = set()

    def epoch(self, number: int) -> Key:
        """Open a root epoch, once a transaction."""
        if number not in self._epochs:
            self._epochs[number] = self._roots.open(number)
        return self._epochs[number]

    def unwrap_row(self, row: DictRow) -> Key:
        """Open a row of `wrapping_keys`."""
        bound = ends(row["tenant"], epoch_end(row["epoch"]), row["key_id"])
        return Key(unwrap(self.epoch(row["epoch"]), row["wrapped"], ends=bound))

    # -- keys directly under the root ---------------------------------------------------------------------------

    def new_wrapping_key(self, tenant: TenantId, kind: str, period: str = "") -> Owner:
        """Issue a key under the current root epoch."""
        return self._store_wrapping_keys(tenant, kind, period, [new_key()])[0]

    def _store_wrapping_keys(self, tenant: TenantId, kind: str, period: str, keys: Sequence[Key]) -> list[Owner]:
        self.refuse_closed(tenant)
        epoch = self._roots.current()
        root, above = self.epoch(epoch), epoch_end(epoch)
        owners = [Owner(uuid4(), key) for key in keys]
        self.cursor.execute(
            SQL.insert_wrapping_keys.sql,
            {
                "key_ids": [owner.id for owner in owners],
                "tenants": [tenant] * len(owners),
                "kinds": [kind] * len(owners),
                "periods": [period] * len(owners),
                "epochs": [epoch] * len(owners),
                "wrapped": [wrap(root, owner.key.material, ends=ends(tenant, above, owner.id)) for owner in owners],
            },
        )
        return owners

    def service_keys(self, tenant: TenantId, kind: str) -> dict[str, Owner]:
        """Open the keys of one kind of a tenant, by period."""
        found = rows_of(self.cursor, SQL.service_keys.sql, tenant=tenant, kind=kind)
        return {row["period"]: Owner(row["key_id"], self.unwrap_row(row)) for row in found}

    def service_key(self, tenant: TenantId, kind: str, period: str = "all") -> Owner:
        """Open the key of one kind and period, or issue it. Two writers at once end with one key."""
        keys = self.service_keys(tenant, kind)
        if period not in keys:
            self.new_wrapping_key(tenant, kind, period)
            keys = self.service_keys(tenant, kind)
        return keys[period]

    def adopt_service_key(self, tenant: TenantId, kind: str, period: str, key: Key) -> None:
        """Store a key that is known from elsewhere, unless there is one of that kind and period."""
        if period not in self.service_keys(tenant, kind):
            self._store_wrapping_keys(tenant, kind, period, [key])

    def places(self, tenant: TenantId, kind: str, wanted: int, limit: int) -> list[Owner]:
        """Find `wanted` places under keys with room, and the rest under new keys."""
        found: list[Owner] = []
        while len(found) < wanted:
            row = self.cursor.execute(SQL.key_to_fill.sql, {"tenant": tenant, "kind": kind, "limit": limit}).fetchone()
            if row is None:
                break
            room = min(wanted - len(found), limit - row["children"])
            found.extend([Owner(row["key_id"], self.unwrap_row(row))] * room)
            self.cursor.execute(SQL.count_children.sql, {"key_ids": [row["key_id"]], "added": [room]})
        left = wanted - len(found)
        if left > 0:
            rooms = [min(limit, left - filled) for filled in range(0, left, limit)]
            new = self._store_wrapping_keys(tenant, kind, "", [new_key() for _ in rooms])
            self.cursor.execute(SQL.count_children.sql, {"key_ids": [owner.id for owner in new], "added": rooms})
            for owner, room in zip(new, rooms, strict=True):
                found.extend([owner] * room)
        return found

    # -- tenants ------------------------------------------------------------------------------------------------

    def hold_tenants(self, tenants: Iterable[TenantId]) -> set[TenantId]:
        """Let nobody close these tenants until the transaction ends. Returns those that are closed already.

        Raises:
            SealBroken: the row that says so is not ours.
        """
        wanted = sorted(set(tenants) - self._held - {HOUSE})
        if not wanted:
            return set()
        rows_of(self.cursor, SQL.hold_tenants.sql, tenants=wanted)
        # In a statement of its own: whoever was waited for may have closed one.
        rows = rows_of(self.cursor, SQL.closings.sql, tenants=wanted)
        for row in rows:
            self.check_mark("tenant", row["tenant"], row)
        closed = {TenantId(row["tenant"]) for row in rows}
        self._held.update(set(wanted) - closed)
        return closed

    def refuse_closed(self, tenant: TenantId) -> None:
        """Hold a tenant for whom a key is about to be issued.

        Raises:
            TenantIsClosed: it was closed.
        """
        if self.hold_tenants([tenant]):
            raise TenantIsClosed("this tenant was closed: nothing of it can be read, and nothing is sealed for it")

    # -- subjects and things ------------------------------------------------------------------------------------

    def people(self, ids: Iterable[UUID]) -> dict[UUID, Person]:
        """Open the subjects with these ids and everyone they were merged into."""
        wanted = list(set(ids))
        if not wanted:
            return {}
        rows = {row["subject_id"]: row for row in rows_of(self.cursor, SQL.chains.sql, subject_ids=wanted)}
        people: dict[UUID, Person] = {}
        buckets: dict[UUID, Key] = {}

        def bucket(row: DictRow) -> Key:
            if row["bucket_wrapped"] is None:
                raise KeyLost("the bucket of a subject is missing")
            if row["parent"] not in buckets:
                bound = ends(row["tenant"], epoch_end(row["epoch"]), row["parent"])
                buckets[row["parent"]] = Key(unwrap(self.epoch(row["epoch"]), row["bucket_wrapped"], ends=bound))
            return buckets[row["parent"]]

        def person(subject_id: UUID) -> None:
            row = rows[subject_id]
            above = people.get(row["parent"])
            parent_key: Key | None = None
            if above is not None:
                parent_key = above.key
            elif row["wrapped"] is not None:
                parent_key = bucket(row)
            key: Key | None = None
            if row["wrapped"] is not None and parent_key is not None:
                bound = ends(row["tenant"], row["parent"].bytes, subject_id)
                key = Key(unwrap(parent_key, row["wrapped"], ends=bound))
            if row["line"] is not None:
                self.check_mark("subject", subject_id, row)
            if above is not None and not above.living and not self.is_bound(row, subject_id, subject_id, row["parent"]):
                raise SealBroken("a subject hangs where it was not hung")
            living = row["line"] is None and (above is None or above.living)
            if living and key is None:
                raise KeyLost("the key of a living subject is missing")
            people[subject_id] = Person(
                SubjectId(subject_id),
                row["tenant"],
                ThingId(row["profile"]),
                row["parent"],
                SubjectId(subject_id) if above is None else above.root,
                row["agent"],
                row["upstream"],
                living,
                key,
            )

        for found in rows:
            # From the top down, and not by recursion: people can be merged a thousand times in a row.
            chain: list[UUID] = []
            up: UUID = found
            while up in rows and up not in people and len(chain) <= len(rows):
                chain.append(up)
                up = rows[up]["parent"]
            for below in reversed(chain):
                person(below)
        return people

    def issue_subjects(self, tenant: TenantId, new: Sequence[tuple[SubjectId, ThingId, bool, bool]]) -> list[Owner]:
        """Store new subjects, given as (id, profile, agent, known upstream), each with its key."""
        if not new:
            return []
        buckets = self.places(tenant, "bucket", len(new), BUCKET_CHILDREN)
        owners = [Owner(subject_id, new_key()) for subject_id, *_ in new]
        self.cursor.execute(
            SQL.insert_subjects.sql,
            {
                "tenant": tenant,
                "subject_ids": [subject_id for subject_id, *_ in new],
                "profiles": [profile for _, profile, *_ in new],
                "parents": [bucket.id for bucket in buckets],
                "agents": [agent for *_, agent, _ in new],
                "upstreams": [upstream for *_, upstream in new],
                "bound": [
                    self.bind(tenant, owner.id, owner.id, bucket.id)
                    for bucket, owner in zip(buckets, owners, strict=True)
                ],
                "wrapped": [
                    wrap(bucket.key, owner.key.material, ends=ends(tenant, bucket.id.bytes, owner.id))
                    for bucket, owner in zip(buckets, owners, strict=True)
                ],
            },
        )
        return owners

    def store_things(self, tenant: TenantId, new: Sequence[tuple[ThingId, str, UUID, UUID | None]]) -> None:
        """Store new things, given as (id, kind, owner, parent). What belongs to the desk has the tenant as owner."""
        if new:
            self.cursor.execute(
                SQL.insert_things.sql,
                {
                    "tenant": tenant,
                    "thing_ids": [thing for thing, *_ in new],
                    "kinds": [kind for _, kind, *_ in new],
                    "owners": [owner for *_, owner, _ in new],
                    "parents": [parent for *_, parent in new],
                },
            )

    def place_things(self, placed: Sequence[tuple[ThingId, UUID, UUID | None]]) -> None:
        """Say whose things are and where they hang, given as (id, owner, parent)."""
        if placed:
            self.cursor.execute(
                SQL.place_things.sql,
                {
                    "thing_ids": [thing for thing, *_ in placed],
                    "owners": [owner for _, owner, _ in placed],
                    "parents": [parent for *_, parent in placed],
                },
            )

    # -- leaves -------------------------------------------------------------------------------------------------

    def issue_leaves(self, tenant: TenantId, orders: Sequence[LeafOrder]) -> list[Key]:
        """Store one leaf key an order, wrapped under each of its owners in turn."""
        if not orders:
            return []
        material = os.urandom(KEY_BYTES * len(orders))
        keys = [Key(material[at : at + KEY_BYTES]) for at in range(0, len(material), KEY_BYTES)]
        wrapped = [self._wrap_leaf(tenant, order, key) for order, key in zip(orders, keys, strict=True)]
        self.cursor.execute(
            SQL.insert_leaves.sql,
            {
                "tenant": tenant,
                "thing_ids": [order.thing for order in orders],
                "key_ids": [order.key_id for order in orders],
                "owners": [order.owners[0].id for order in orders],
                "co_owners": [
                    "{" + ",".join(str(owner.id) for owner in order.owners[1:]) + "}" if order.owners[1:] else None
                    for order in orders
                ],
                "blobs": [order.blob for order in orders],
                "bound": [
                    self.bind(tenant, order.thing, order.key_id, *(owner.id for owner in order.owners))
                    for order in orders
                ],
                "wrapped": wrapped,
            },
        )
        return keys

    @staticmethod
    def _wrap_leaf(tenant: TenantId, order: LeafOrder, key: Key) -> bytes:
        wrapped = key.material
        for owner in order.owners:
            wrapped = wrap(owner.key, wrapped, ends=ends(tenant, owner.id.bytes, order.key_id))
        return wrapped

    def add_owner(self, leaf: DictRow, owner: Owner) -> bool:
        """Wrap a leaf under one more owner. Its key itself stays unopened.

        The former outer wrapping is still in old files; the last owner's lost child says so until the next turn.
        """
        co_owners = [*(leaf["co_owners"] or ()), owner.id]
        bound = ends(leaf["tenant"], owner.id.bytes, leaf["key_id"])
        changed = self.cursor.execute(
            SQL.rewrap_leaf.sql,
            {
                "thing_id": leaf["thing_id"],
                "key_id": leaf["key_id"],
                "co_owners": co_owners,
                "expected": leaf["co_owners"],
                "bound": self.bind(leaf["tenant"], leaf["thing_id"], leaf["key_id"], leaf["owner"], *co_owners),
                "wrapped": wrap(owner.key, leaf["wrapped"], ends=bound),
            },
        ).rowcount
        if changed:
            self.lose_children(Counter({(leaf["co_owners"] or [leaf["owner"]])[-1]: 1}))
        return bool(changed)

    def lose_children(self, lost: Counter[UUID]) -> None:
        """Count on each parent how many children it lost, whether the parent is a subject or stands at the root."""
        given = {"lost": list(lost.values())}
        if lost:
            self.cursor.execute(SQL.count_subject_losses.sql, {"subject_ids": list(lost), **given})
            self.cursor.execute(SQL.count_key_losses.sql, {"key_ids": list(lost), **given})

    def lose_child(self, parent: UUID) -> None:
        """Count on a parent that it lost one child."""
        self.lose_children(Counter([parent]))

    # -- merging and destroying ---------------------------------------------------------------------------------

    def merge(self, secondary: Person, primary: Person) -> None:
        """Hang a subject under another: whoever shreds the one shreds both."""
        assert secondary.key is not None
        assert primary.key is not None
        bound = ends(secondary.tenant, primary.subject_id.bytes, secondary.subject_id)
        self.cursor.execute(
            SQL.reparent_subject.sql,
            {
                "subject_id": secondary.subject_id,
                "parent": primary.subject_id,
                "bound": self.bind(secondary.tenant, secondary.subject_id, secondary.subject_id, primary.subject_id),
                "wrapped": wrap(primary.key, secondary.key.material, ends=bound),
            },
        )
        self.lose_children(Counter({secondary.parent: 1}))
        if secondary.agent:
            self.cursor.execute(SQL.mark_agents.sql, {"subject_ids": [primary.subject_id]})
        if secondary.upstream:
            self.cursor.execute(SQL.mark_upstream.sql, {"subject_ids": [primary.subject_id]})

    def _mac(self, *parts: bytes) -> bytes:
        """Authenticate what a row says, under the mark key of the house (HMAC-SHA-256)."""
        if self._mark_key is None:
            self._mark_key = self.service_key(HOUSE, "mark").key
        return hmac.digest(self._mark_key.material, context(*parts), "sha256")

    def mark(self, kind: str, key_id: UUID, tenant: TenantId, line: int) -> bytes:
        """Compute the MAC that a shredded row carries instead of a key."""
        number = line.to_bytes(8, "big", signed=True)
        return self._mac(b"sealdesk/mark/1", kind.encode(), key_id.bytes, tenant.bytes, number)

    def bind(self, tenant: TenantId, thing: UUID, key_id: UUID, *parents: UUID) -> bytes:
        """Compute the MAC by which a row says under which parents it hangs.

        Opening needs no MAC: a key unwraps only at its place. It is for the row whose parent was shredded, so that
        nobody makes a living row look shredded by naming another parent. Of a subject, `thing` is the subject itself.
        """
        return self._mac(
            b"sealdesk/bound/1", tenant.bytes, thing.bytes, key_id.bytes, *(parent.bytes for parent in parents)
        )

    def is_bound(self, row: DictRow, thing: UUID, key_id: UUID, *parents: UUID) -> bool:
        """Tell whether a row hangs where it was hung."""
        return hmac.compare_digest(bytes(row["bound"]), self.bind(TenantId(row["tenant"]), thing, key_id, *parents))

    def check_mark(self, kind: str, key_id: UUID, row: DictRow) -> None:
        """Check that a row which says that it was shredded says so with our MAC.

        Raises:
            SealBroken: the mark is not ours; this is no shred.
        """
        expected = self.mark(kind, key_id, TenantId(row["tenant"]), row["line"])
        if not hmac.compare_digest(bytes(row["mark"] or b""), expected):
            raise SealBroken("the mark of a shred is not ours")

    def destroy_subjects(self, rows: Sequence[DictRow], line: int) -> None:
        """Drop the key material of subjects and mark their rows with the ledger line."""
        ids = [row["subject_id"] for row in rows]
        self.cursor.execute(
            SQL.destroy_subjects.sql,
            {
                "subject_ids": ids,
                "lines": [line] * len(ids),
                "marks": [self.mark("subject", row["subject_id"], row["tenant"], line) for row in rows],
            },
        )
        self.lose_children(Counter(row["parent"] for row in rows))

    def destroy_leaf(self, leaf: DictRow, line: int) -> bool:
        """Drop the key of one fact or blob and mark its row; False if it was marked before.

        `line` is a ledger line or, below zero, the position of the fact of upstream that calls for it.
        """
        mark = self.mark("leaf", leaf["key_id"], leaf["tenant"], line)
        named = {"thing_id": leaf["thing_id"], "key_id": leaf["key_id"], "line": line, "mark": mark}
        gone = bool(self.cursor.execute(SQL.destroy_leaf.sql, named).rowcount)
        if gone:
            self.lose_children(Counter([leaf["owner"], *(leaf["co_owners"] or ())]))
        return gone

    def destroy_thing(self, tenant: TenantId, thing: ThingId, line: int) -> int:
        """Drop every key of one thing and mark it with the ledger line. Returns how many keys went."""
        leaves = rows_of(self.cursor, SQL.leaves_of_thing.sql, thing_id=thing)
        mark = self.mark("thing", thing, tenant, line)
        self.cursor.execute(SQL.destroy_thing.sql, {"thing_id": thing, "line": line, "mark": mark})
        gone = self.cursor.execute(SQL.destroy_leaves_of_thing.sql, {"thing_id": thing}).rowcount
        lost: Counter[UUID] = Counter()
        for leaf in leaves:
            if leaf["wrapped"] is not None:
                lost.update([leaf["owner"], *(leaf["co_owners"] or ())])
        self.lose_children(lost)
        return gone
