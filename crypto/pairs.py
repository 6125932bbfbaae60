"""The pairs of keys to which publishers seal: one current pair a tenant, and those before it until nothing needs them.

A pair is an X25519 key pair (RFC 7748) with a number, its epoch. The private half is wrapped under a root epoch as
other keys are; the public half is bound to its place by a MAC, so that nobody who writes to the key database has
publishers seal to another key. The MAC holds the times of its turn and its death as well.

How a pair dies:

1. `turn` makes its successor. Publishers may go on with the old public half for the grace.
2. The first `step` after the grace notes where each partition of the consumed topics ends.
3. Once every partition starts at or behind that end, no topic holds a record from before, and `step` drops the
   private half. Whatever is sealed to it from then on is refused as `pair_unknown`.

A topic that was made anew, or was deleted, has the ends noted anew: it may be a copy of the old one. So has everything
at another cluster. A pair whose ends were noted anew lives for another grace at least, so that whoever asked the wrong
brokers has the time to notice. Rule: a pair whose topics cannot be asked does not die.

Of a number there are four answers: a pair that opens; one that has gone, or that there never was (None); one that is
lost or was changed (`SealBroken`); and a key database that is away (`KeysUnavailable`).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import aiosql
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from crypto.keystore import KeyStore, rows_of
from crypto.roots import Roots
from crypto.tree import Tree, ends, epoch_end
from crypto.wrapping import Key, context, wrap
from domain.errors import SealBroken
from domain.ids import HOUSE, TenantId

SQL: Any = aiosql.from_str((files("crypto") / "sql/pairs.sql").read_text(), "psycopg", mandatory_parameters=False)

#: How long publishers may take to fetch the new public half.
GRACE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair as it can be shown: without its private half."""

    number: int
    public: X25519PublicKey = field(repr=False)
    made_at: datetime
    superseded_at: datetime | None
    gone_at: datetime | None
    #: What keeps the private half of a superseded pair alive, in words.
    waits_for: str = ""

    @property
    def state(self) -> str:
        """Say in a word what it is good for: `current` seals and opens, `superseded` opens, `gone` does neither."""
        if self.gone_at is not None:
            return "gone"
        return "current" if self.superseded_at is None else "superseded"


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds: the records from the offset `start` up to, and without, `end`."""

    topic: str
    topic_id: UUID
    partition: int
    start: int
    end: int


class Pairs:
    """The pairs of all tenants. Private halves are opened for one batch and forgotten with it."""

    def __init__(self, keys: KeyStore, roots: Roots, grace: timedelta = GRACE) -> None:
        self._keys = keys
        self._roots = roots
        self._grace = grace

    def turn(self, tenant: TenantId, *, at: datetime) -> Pair:
        """Make the next pair of a tenant; the one before it opens what is on its way and seals no more."""
        with self._tree(tenant) as tree:
            return self._made(tree, tenant, at)

    def current(self, tenant: TenantId, *, at: datetime) -> Pair:
        """Give the pair that publishers seal to; the first to ask makes it.

        Raises:
            SealBroken: the row of the pair was changed.
        """
        with self._tree(tenant) as tree:
            for pair in self._listed(tree, tenant):
                if pair.superseded_at is None:
                    return pair
            return self._made(tree, tenant, at)

    def listed(self, tenant: TenantId) -> list[Pair]:
        """List the pairs that a tenant ever had, oldest first.

        Raises:
            SealBroken: the row of a pair was changed.
        """
        with self._keys.transaction() as cursor:
            return self._listed(Tree(cursor, self._roots), tenant)

    @contextmanager
    def batch(self) -> Iterator[PrivateHalves]:
        """Open private halves for one batch, each once."""
        halves = PrivateHalves(self._keys, self._roots)
        try:
            yield halves
        finally:
            halves.forget()

    def waits_for(self, *, at: datetime) -> set[str] | None:
        """Name the topics on which pairs wait that are past their grace; None if there is no such pair."""
        with self._keys.transaction() as cursor:
            rows = rows_of(cursor, SQL.past_grace.sql, before=at - self._grace)
        return {topic for row in rows for topic, *_ in row["ends"] or ()} if rows else None

    def step(self, extents: Sequence[Extent], *, cluster: str, at: datetime) -> int:
        """Drop the private halves that nothing needs any more, and return how many went. It may run at any time.

        `extents` are all partitions of all topics that are consumed, and of those that `waits_for` names, as far as
        they exist at this cluster (the id that Kafka gave it); just asked for. With no topic at all no pair dies.

        Raises:
            SealBroken: the row of a pair was changed.
        """
        known = {(str(extent.topic_id), extent.partition): extent for extent in extents}
        gone = 0
        with self._keys.transaction() as cursor:
            rows = rows_of(cursor, SQL.past_grace.sql, before=at - self._grace) if extents else []
            mark = _mark(Tree(cursor, self._roots)) if rows else None
            for row in rows:
                assert mark is not None
                _check(mark, row)
                noted, due_at = row["ends"], row["due_at"]
                if row["cluster"] != cluster or any((id_, part) not in known for _, id_, part, _ in noted):
                    # Of another cluster, or a topic was deleted, or made anew from a copy. Later ends will do.
                    due_at = at if noted is None else at + self._grace
                    noted = [[one.topic, str(one.topic_id), one.partition, one.end] for one in extents]
                    said = {"ends": Jsonb(noted), "cluster": cluster, "due_at": due_at}
                    cursor.execute(SQL.note_ends.sql, said | {"key_id": row["key_id"]})
                if at >= due_at and all(known[id_, part].start >= end for _, id_, part, end in noted):
                    said = {"at": at, "bound": _mac(mark, row | {"gone_at": at})}
                    gone += cursor.execute(SQL.destroy_pair.sql, said | {"key_id": row["key_id"]}).rowcount
        return gone

    @contextmanager
    def _tree(self, tenant: TenantId) -> Iterator[Tree]:
        with self._keys.transaction() as cursor:
            cursor.execute(SQL.hold_tenant.sql, {"tenant": tenant})
            yield Tree(cursor, self._roots)

    def _made(self, tree: Tree, tenant: TenantId, at: datetime) -> Pair:
        tree.refuse_closed(tenant)
        mark, rows = _mark(tree), self._rows(tree, tenant)
        for row in rows:
            if row["superseded_at"] is None:
                bound = _mac(mark, row | {"superseded_at": at})
                tree.cursor.execute(SQL.supersede.sql, {"key_id": row["key_id"], "at": at, "bound": bound})
        private, epoch = X25519PrivateKey.generate(), self._roots.current()
        new: dict[str, Any] = {
            "key_id": uuid4(),
            "tenant": tenant,
            "number": 1 + max((row["number"] for row in rows), default=0),
            "public_key": private.public_key().public_bytes_raw(),
            "epoch": epoch,
            "made_at": at,
        }
        where = ends(tenant, epoch_end(epoch), new["key_id"])
        wrapped = wrap(tree.epoch(epoch), private.private_bytes_raw(), ends=where)
        tree.cursor.execute(SQL.insert_pair.sql, new | {"wrapped": wrapped, "bound": _mac(mark, new)})
        return Pair(new["number"], private.public_key(), at, None, None)

    @staticmethod
    def _rows(tree: Tree, tenant: TenantId) -> list[DictRow]:
        rows = rows_of(tree.cursor, SQL.pairs_of.sql, tenant=tenant)
        mark = _mark(tree)
        for row in rows:
            _check(mark, row)
        return rows

    def _listed(self, tree: Tree, tenant: TenantId) -> list[Pair]:
        return [
            Pair(
                row["number"],
                X25519PublicKey.from_public_bytes(row["public_key"]),
                row["made_at"],
                row["superseded_at"],
                row["gone_at"],
                self._waits_for(row),
            )
            for row in self._rows(tree, tenant)
        ]

    def _waits_for(self, row: DictRow) -> str:
        if row["superseded_at"] is None or row["gone_at"] is not None:
            return ""
        if row["ends"] is None:
            until = row["superseded_at"] + self._grace
            return f"publishers have until {_day(until)} to fetch its successor; then topics are looked at"
        names = ", ".join(sorted({topic for topic, *_ in row["ends"]}))
        return (
            f"what {names} held at a look is not all cleared, or was looked at anew; not before {_day(row['due_at'])}"
        )


class PrivateHalves:
    """The private halves of one batch, each opened when it is asked for first."""

    def __init__(self, keys: KeyStore, roots: Roots) -> None:
        self._keys = keys
        self._roots = roots
        #: The rows of a tenant's pairs by number; whoever makes up numbers costs one question a batch.
        self._rows: dict[TenantId, Mapping[int, DictRow]] = {}
        self._opened: dict[tuple[TenantId, int], X25519PrivateKey] = {}

    def __repr__(self) -> str:
        return "PrivateHalves()"

    def of(self, tenant: TenantId, number: int) -> X25519PrivateKey | None:
        """Give the private half of a pair, or None where there never was one or it has gone.

        Raises:
            KeysUnavailable: the key database or the root cannot be reached.
            SealBroken: the row of the pair was changed, or is missing between others.
        """
        if (found := self._opened.get((tenant, number))) is not None:
            return found
        if tenant not in self._rows:
            with self._keys.transaction() as cursor:
                rows = rows_of(cursor, SQL.pairs_of.sql, tenant=tenant)
            self._rows[tenant] = {row["number"]: row for row in rows}
        row = self._rows[tenant].get(number)
        if row is None:
            if 0 < number < max(self._rows[tenant], default=0):
                raise SealBroken(f"{_named(tenant, number)} is missing: bring it back from a backup")
            return None
        private = self._open(row)
        if private is not None:
            self._opened[tenant, number] = private
        return private

    def forget(self) -> None:
        """Forget all of them."""
        self._opened.clear()
        self._rows.clear()

    def _open(self, row: DictRow) -> X25519PrivateKey | None:
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            _check(_mark(tree), row)
            if row["gone_at"] is not None:
                return None
            try:
                return X25519PrivateKey.from_private_bytes(tree.unwrap_row(row).material)
            except SealBroken:
                raise SealBroken(f"{_named(TenantId(row['tenant']), row['number'])} does not open") from None


def _mark(tree: Tree) -> Key:
    return tree.service_key(HOUSE, "mark").key


def _mac(mark: Key, row: Mapping[str, Any]) -> bytes:
    times = [_exact(row.get(name)) for name in ("made_at", "superseded_at", "gone_at")]
    said = context(
        b"sealdesk/pair/2",
        row["tenant"].bytes,
        row["key_id"].bytes,
        row["number"].to_bytes(4, "big"),
        bytes(row["public_key"]),
        *times,
    )
    return hmac.digest(mark.material, said, "sha256")


def _exact(at: datetime | None) -> bytes:
    return b"" if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").encode()


def _day(at: datetime) -> str:
    return at.astimezone(UTC).date().isoformat()


def _named(tenant: TenantId, number: int) -> str:
    return f"the row of pair {number} of the tenant {tenant} in the key database"


def _check(mark: Key, row: DictRow) -> None:
    if not hmac.compare_digest(bytes(row["bound"]), _mac(mark, row)):
        raise SealBroken(f"{_named(TenantId(row['tenant']), row['number'])} is not ours: somebody changed it")
