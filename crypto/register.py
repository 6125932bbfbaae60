"""The register: canonical reference -> blind index -> inside id; and the fences that a shred leaves behind.

A blind index is HMAC-SHA-256 (RFC 2104) of the canonical reference under a key of the tenant. References can be
guessed, so the row beside the index keeps its inside id sealed under the key of its page, and the way back from an id
to its indexes is sealed under the same page key. A fence is an HMAC of the index under the fence key of its quarter:
it has a day and no id, and dies with that key.

A fenced reference never resolves, unless somebody else has claimed it on a later day.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from importlib.resources import files
from types import MappingProxyType
from typing import Any
from uuid import UUID

import aiosql

from crypto.keystore import rows_of
from crypto.references import canonical
from crypto.tree import PAGE_ROWS, Owner, Tree
from crypto.tree import SQL as TREE
from crypto.wrapping import Key, context, unwrap, wrap
from domain.errors import KeyLost
from domain.ids import TenantId
from domain.personal import Reference

SQL: Any = aiosql.from_str((files("crypto") / "sql/register.sql").read_text(), "psycopg", mandatory_parameters=False)

ID_BYTES = 16
POSITION_BYTES = 8
_NO_PARTS: Mapping[bytes, UUID] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Known:
    """What the register says about one blind index: whose it is, and since when it is fenced. Either may be None.

    The reference of a part leads to its thing and says which part it is. `told` says that a fact on the log tells this
    reference, so that it need not be told again. `claimed` is the position on the log up to which it is known who
    claimed this address from whom; 0 if it leads to whoever had it first.
    """

    inside: UUID | None
    fenced: date | None
    told: bool
    part: UUID | None = None
    claimed: int = field(default=0, repr=False, compare=False)


def quarter(at: datetime) -> str:
    """Name the quarter of a time: the life of one fence key begins and ends with quarters."""
    return f"{at.year}-Q{(at.month + 2) // 3}"


def expire_fences(tree: Tree, *, at: datetime, days: int) -> int:
    """Let fences go whose quarter ended more than `days` ago, through the death of their key. Returns how many keys."""
    oldest = quarter(at - timedelta(days=days))
    keys = rows_of(tree.cursor, TREE.expired_fence_keys.sql, oldest=oldest)
    for row in keys:
        tree.cursor.execute(SQL.expire_fences.sql, {"tenant": row["tenant"], "periods": [row["period"]]})
    return len(keys)


class Register:
    """The register of one tenant, inside one transaction of the key database."""

    def __init__(self, tree: Tree, tenant: TenantId) -> None:
        self._tree = tree
        self._tenant = tenant
        self._index_key: Key | None = None
        self._pages: dict[UUID, Key] = {}

    def index(self, reference: Reference) -> bytes:
        """Compute the blind index of a reference (32 bytes).

        Raises:
            ReferenceMalformed: the value cannot be of its kind.
        """
        if self._index_key is None:
            self._index_key = self._tree.service_key(self._tenant, "index").key
        return hmac.digest(self._index_key.material, canonical(reference), "sha256")

    def knows(self, indexes: Collection[bytes]) -> bool:
        """Tell whether each of these blind indexes, all different, leads to somebody or something."""
        rows = rows_of(self._tree.cursor, SQL.known.sql, tenant=self._tenant, indexes=list(indexes))
        return bool(rows[0]["known"] == len(indexes))

    def alone(self) -> None:
        """Be the only one who brings new references to this tenant, until the transaction ends."""
        self._tree.cursor.execute(SQL.alone_on_tenant.sql, {"tenant": self._tenant})

    def look_up(self, indexes: Iterable[bytes]) -> dict[bytes, Known]:
        """Resolve blind indexes; those that are neither known nor fenced are left out."""
        wanted = list(dict.fromkeys(indexes))
        if not wanted:
            return {}
        entries = self._entries(wanted)
        fenced = self._fenced(wanted)
        for index, day in fenced.items():
            entries[index] = replace(entries.get(index, Known(None, None, False)), fenced=day)
        return {index: entries[index] for index in wanted if index in entries}

    def _entries(self, indexes: Sequence[bytes]) -> dict[bytes, Known]:
        """Resolve blind indexes; whether they are fenced is not looked for."""
        rows = rows_of(self._tree.cursor, SQL.look_up.sql, tenant=self._tenant, indexes=indexes)
        self._open_pages(row["page"] for row in rows)
        return {bytes(row["blind_index"]): self._open_entry(row) for row in rows}

    def _open_entry(self, row: Mapping[str, Any]) -> Known:
        """Open an entry: 16 bytes of an inside id; of a part 16 more, of a claimed address the 8 of a position."""
        bound = entry_ends(self._tenant, row["blind_index"], row["page"])
        opened = unwrap(self._pages[row["page"]], row["sealed"], ends=bound)
        inside, more = UUID(bytes=opened[:ID_BYTES]), opened[ID_BYTES:]
        if len(more) == POSITION_BYTES:
            return Known(inside, None, row["told"], claimed=int.from_bytes(more))
        return Known(inside, None, row["told"], UUID(bytes=more) if more else None)

    def _fenced(self, indexes: Sequence[bytes]) -> dict[bytes, date]:
        # Read after the rows, and at every look: a shred may have made the first fence key of its quarter meanwhile.
        fence_keys = self._tree.service_keys(self._tenant, "fence").values()
        tags = {hmac.digest(owner.key.material, index, "sha256"): index for owner in fence_keys for index in indexes}
        if not tags:
            return {}
        rows = rows_of(self._tree.cursor, SQL.look_up_fences.sql, tenant=self._tenant, tags=list(tags))
        fenced: dict[bytes, date] = {}
        for row in rows:
            index = tags[bytes(row["tag"])]
            fenced[index] = max(row["day"], fenced.get(index, row["day"]))
        return fenced

    def enter(
        self,
        entries: Sequence[tuple[bytes, UUID]],
        *,
        untold: Collection[bytes] = (),
        parts: Mapping[bytes, UUID] = _NO_PARTS,
        claimed: int = 0,
    ) -> Mapping[bytes, bytes]:
        """Store which blind index leads to which inside id. An index that led elsewhere leads here from now on.

        `parts` says of the references of parts which part of the thing each is, `claimed` at which position of the log
        these were claimed from others. Returns the seal that was written for each blind index.
        """
        if not entries:
            return {}
        places = self._tree.places(self._tenant, "page", len(entries), PAGE_ROWS)
        claim = claimed.to_bytes(POSITION_BYTES) if claimed else b""
        sealed = [
            wrap(
                page.key,
                inside.bytes + (parts[index].bytes if index in parts else claim),
                ends=entry_ends(self._tenant, index, page.id),
            )
            for page, (index, inside) in zip(places, entries, strict=True)
        ]
        self._tree.cursor.execute(
            SQL.insert_entries.sql,
            {
                "tenant": self._tenant,
                "indexes": [index for index, _ in entries],
                "pages": [page.id for page in places],
                "parts": list(parts),
                "told": [index not in untold for index, _ in entries],
                "sealed": sealed,
            },
        )
        self._enter_backs(places, entries)
        return {index: seal for (index, _), seal in zip(entries, sealed, strict=True)}

    def _enter_backs(self, places: Sequence[Owner], entries: Sequence[tuple[bytes, UUID]]) -> None:
        self._tree.cursor.execute(
            SQL.insert_backs.sql,
            {
                "owners": [inside for _, inside in entries],
                "pages": [page.id for page in places],
                "sealed": [
                    wrap(page.key, index, ends=back_ends(self._tenant, inside, page.id))
                    for page, (index, inside) in zip(places, entries, strict=True)
                ],
            },
        )

    def claim(self, claims: Mapping[bytes, UUID], position: int) -> None:
        """Let addresses lead to who claimed them from others, by the facts up to this position of the log.

        Of two claims the later one on the log wins, whichever is carried out first, and however often.
        """
        if not claims:
            return
        rows_of(self._tree.cursor, SQL.take_entries.sql, tenant=self._tenant, indexes=sorted(claims))
        known = self.look_up(claims)
        former = {
            index: entry.inside
            for index, entry in known.items()
            if entry.inside not in (None, claims[index]) and entry.claimed < position
        }
        self.give_up([(inside, index) for index, inside in former.items() if inside is not None])
        self.enter([(index, claims[index]) for index in former], claimed=position)

    def told(self, indexes: Collection[bytes]) -> None:
        """Note that the log tells these references now."""
        if indexes:
            self._tree.cursor.execute(SQL.mark_told.sql, {"tenant": self._tenant, "indexes": list(indexes)})

    def indexes_of(self, owners: Iterable[UUID]) -> list[tuple[UUID, bytes]]:
        """Find every blind index that leads to these people and things, as (owner, index)."""
        return self._still_of(owners, self._backs(owners))

    def _still_of(
        self, owners: Iterable[UUID], backs: Sequence[tuple[UUID, bytes, Mapping[str, Any]]]
    ) -> list[tuple[UUID, bytes]]:
        """Leave out what leads to somebody else by now: two claims at once leave a way back that is no longer true."""
        mine, known = set(owners), self._entries(list({index for _, index, _ in backs})) if backs else {}
        return [(owner, index) for owner, index, _ in backs if index in known and known[index].inside in mine]

    def _backs(self, owners: Iterable[UUID]) -> list[tuple[UUID, bytes, Mapping[str, Any]]]:
        rows = rows_of(self._tree.cursor, SQL.backs_of.sql, owners=list(owners))
        self._open_pages(row["page"] for row in rows)
        return [
            (
                row["owner"],
                unwrap(
                    self._pages[row["page"]], row["sealed"], ends=back_ends(self._tenant, row["owner"], row["page"])
                ),
                row,
            )
            for row in rows
        ]

    def give_up(self, former: Iterable[tuple[UUID, bytes]]) -> None:
        """Forget that these people had these addresses, because others have claimed them."""
        given_up = set(former)
        lost = [
            row for owner, index, row in self._backs({owner for owner, _ in given_up}) if (owner, index) in given_up
        ]
        if lost:
            self._tree.cursor.execute(
                SQL.delete_backs_at.sql,
                {"owners": [row["owner"] for row in lost], "sealed": [row["sealed"] for row in lost]},
            )
            self._tree.lose_children(Counter(row["page"] for row in lost))

    def tags(self, indexes: Sequence[bytes], at: datetime) -> list[bytes]:
        """Compute the fence tags of this quarter for these indexes (32 bytes each)."""
        key = self.fence_key(at)
        return [hmac.digest(key.material, index, "sha256") for index in indexes]

    def fence_key(self, at: datetime) -> Key:
        """Open the fence key of a quarter, or make it."""
        return self._tree.service_key(self._tenant, "fence", quarter(at)).key

    def tags_of_all_periods(self, index: bytes) -> list[bytes]:
        """Compute the tag of one index under every fence key that still lives."""
        fence_keys = self._tree.service_keys(self._tenant, "fence").values()
        return [hmac.digest(owner.key.material, index, "sha256") for owner in fence_keys]

    def fence(self, owners: Sequence[UUID], at: datetime) -> int:
        """Turn every reference of these people and things into a fence. Returns how many there were."""
        backs = self._backs(owners)
        if not backs:
            return 0
        indexes = list(dict.fromkeys(index for _, index in self._still_of(owners, backs)))
        self.fence_tags(self.tags(indexes, at), at)
        self._tree.cursor.execute(SQL.delete_entries.sql, {"tenant": self._tenant, "indexes": indexes})
        self._tree.cursor.execute(SQL.delete_backs.sql, {"owners": list(owners)})
        self._tree.lose_children(Counter(row["page"] for *_, row in backs))
        return len(indexes)

    def fence_part(self, thing: UUID, index: bytes, at: datetime) -> None:
        """Turn the reference of one part of a thing into a fence."""
        self.give_up([(thing, index)])
        self.fence_tags(self.tags([index], at), at)
        self._tree.cursor.execute(SQL.delete_entries.sql, {"tenant": self._tenant, "indexes": [index]})

    def fence_tags(self, tags: Sequence[bytes], at: datetime) -> None:
        """Store fences with the day of `at`."""
        self._tree.cursor.execute(
            SQL.insert_fences.sql,
            {"tenant": self._tenant, "tags": list(tags), "period": quarter(at), "day": at.date()},
        )

    def _open_pages(self, pages: Iterable[UUID]) -> None:
        missing = list(set(pages) - self._pages.keys())
        if missing:
            for row in rows_of(self._tree.cursor, SQL.pages.sql, pages=missing):
                self._pages[row["key_id"]] = self._tree.unwrap_row(row)
        if not self._pages.keys() >= set(missing):
            raise KeyLost("the key of a register page is missing")


def entry_ends(tenant: UUID, index: bytes, page: UUID) -> bytes:
    """Bind the row of a blind index to its place."""
    return context(b"sealdesk/register/1", tenant.bytes, index, page.bytes)


def back_ends(tenant: UUID, owner: UUID, page: UUID) -> bytes:
    """Bind a way back from a person or thing to its place."""
    return context(b"sealdesk/register-back/1", tenant.bytes, owner.bytes, page.bytes)
