"""The quarantine: records that could not be taken, sealed whole under the key of their day.

They can be listed without opening any, shown with a reason, taken up again, dropped, and they end with the key of their
day. A shred judges them: a record that holds a reference or a value of the person goes; one that cannot be read is
counted, and ends with its day.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from psycopg.rows import DictRow

from crypto.keystore import KeyStore, rows_of
from crypto.register import Register
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from domain.catalogue import CATALOGUE, Plan
from domain.errors import RecordInvalid, ReferenceMalformed, ReferenceUnknown
from domain.ids import HOUSE, TenantId
from domain.personal import Kind, Reference
from services.finding import references_in
from services.log import STATEMENTS, Facts
from services.opening_records import opened_records
from services.records import event_of

PAGE = 1_000


def _owning(plan: Plan) -> dict[str, Kind]:
    """Name the references of a type that say whose its fact is, by field. Whoever the team names as writer is not."""
    roles = {"self", "requester"} if plan.record.TEAM else {"self", "requester", "author"}
    return {name: mark.kind for name, mark in plan.names if mark.role in roles}


#: Which kinds of reference stand in a field of that name, in any record type, where they say whose the record is.
_KINDS: dict[str, frozenset[Kind]] = {}
for _plan in CATALOGUE.values():
    for _name, _kind in _owning(_plan).items():
        _KINDS[_name] = _KINDS.get(_name, frozenset()) | {_kind}
#: Whoever stands only here is named in the record of somebody else, who loses no more than that.
_MERELY_NAMED = {name for plan in CATALOGUE.values() for name, _ in plan.names} - _KINDS.keys()


class Quarantine:
    """The quarantined records of one installation."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots

    def listed(self, tenant: TenantId) -> list[dict[str, Any]]:
        """List a tenant's records, and those of no known tenant: id, code, declared field, since when. Open none."""
        with self._facts.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.quarantine_list.sql, {"tenants": [tenant, HOUSE]}).fetchall()
        return [
            {
                "record": str(row["quarantine_id"]),
                "code": row["code"],
                "path": row["path"],
                "at": row["at"].isoformat(),
                "waits": row["waits_for"] is not None,
                "tenant_known": row["tenant"] != HOUSE,
            }
            for row in rows
        ]

    def show(self, tenant: TenantId, record: UUID) -> bytes:
        """Open one record. Leave an access line before.

        Raises:
            ReferenceUnknown: there is no such record, or its day is over.
        """
        for _, raw in opened_records(self._keys, self._roots, self._rows(tenant, [record])):
            return raw
        raise ReferenceUnknown("there is no such record in the quarantine; list them with: sealdesk quarantine list")

    def drop(self, tenant: TenantId, records: Collection[UUID]) -> int:
        """Destroy the keys of some records, and the records. Returns how many there were."""
        rows = self._rows(tenant, records)
        self._destroy(rows)
        return len(rows)

    def opened(self, tenant: TenantId, records: Collection[UUID] | None = None) -> Iterator[tuple[UUID, bytes]]:
        """Open some records, or all of a tenant, as (id, raw bytes)."""
        for row, raw in opened_records(self._keys, self._roots, self._rows(tenant, records)):
            yield row["quarantine_id"], raw

    def expire(self, *, at: datetime, days: int) -> int:
        """Let the records go whose day was more than `days` ago, through the death of its key. Returns how many."""
        oldest = (at - timedelta(days=days)).date()
        with self._keys.transaction() as cursor:
            cursor.execute(SQL.expire_days.sql, {"oldest": oldest.isoformat()})
        with self._facts.cursor() as cursor:
            return cursor.execute(STATEMENTS.expire_quarantine.sql, {"oldest": oldest}).rowcount

    def judge(self, tenant: TenantId, values: Sequence[str]) -> tuple[int, int]:
        """Drop a tenant's records that hold a fenced reference, or one of these values.

        Returns how many were dropped, and how many could not be judged: what is no JSON, without values to look for,
        and what names no known tenant.
        """
        wanted = [value.casefold() for value in values]
        condemned: list[DictRow] = []
        all_rows = self._rows(tenant, None)
        rows = [row for row in all_rows if row["tenant"] == tenant]
        unjudged = len(all_rows) - len(rows)
        for start in range(0, len(rows), PAGE):
            page = list(opened_records(self._keys, self._roots, rows[start : start + PAGE]))
            read = [_references(raw) for _, raw in page]
            fenced = self._fenced(tenant, {reference for found in read if found for reference in found})
            for (row, raw), found in zip(page, read, strict=True):
                if _says(raw, wanted, is_json=found is not None) or (found and not fenced.isdisjoint(found)):
                    condemned.append(row)
                elif found is None and not wanted:
                    unjudged += 1
        self._destroy(condemned)
        return len(condemned), unjudged

    def is_empty(self, tenant: TenantId) -> bool:
        """Tell whether nothing of this tenant is in the quarantine."""
        return not self._rows(tenant, None)

    def _fenced(self, tenant: TenantId, references: Collection[Reference]) -> set[Reference]:
        if not references:
            return set()
        with self._keys.transaction() as cursor:
            register = Register(Tree(cursor, self._roots), tenant)
            indexes = dict(_indexed(register.index, references))
            known = register.look_up(indexes.values())
        return {
            reference
            for reference, index in indexes.items()
            if index in known and known[index].fenced is not None and known[index].inside is None
        }

    def _rows(self, tenant: TenantId, records: Collection[UUID] | None) -> list[DictRow]:
        with self._facts.cursor() as cursor:
            given = {"tenants": [tenant, HOUSE], "ids": None if records is None else list(records)}
            return cursor.execute(STATEMENTS.quarantine_rows.sql, given).fetchall()

    def _destroy(self, rows: Sequence[DictRow]) -> None:
        """Keys first: a crash in between leaves rows that nobody can open, and that end with their day."""
        ids = [row["quarantine_id"] for row in rows]
        if ids:
            with self._keys.transaction() as cursor:
                rows_of(cursor, SQL.destroy_records.sql, things=ids)
            with self._facts.cursor() as cursor:
                cursor.execute(STATEMENTS.leave_quarantine.sql, {"ids": ids})


def _indexed(
    index: Callable[[Reference], bytes], references: Collection[Reference]
) -> Iterator[tuple[Reference, bytes]]:
    for reference in references:
        try:
            yield reference, index(reference)
        except ReferenceMalformed:
            continue


def _says(raw: bytes, wanted: Collection[str], *, is_json: bool) -> bool:
    """Tell whether a field of a record is one of these values; of what is no JSON, whether it says one anywhere."""
    if is_json:
        return any(str(item).strip().casefold() in wanted for _, item in _leaves(orjson.loads(raw)))
    text = raw.decode(errors="replace").casefold()
    return any(value in text for value in wanted)


def _references(raw: bytes) -> set[Reference] | None:
    """Read whatever may be a reference in a record that may be wrong in any way; None when it is no JSON at all."""
    try:
        events = orjson.loads(raw) if raw.lstrip()[:1] == b"[" else [event_of(raw)]
    except (RecordInvalid, orjson.JSONDecodeError):
        return None
    found: set[Reference] = set()
    for event in events:
        if isinstance(event, dict):
            plan = CATALOGUE.get(str(event.get("type")))
            envelope = {name: item for name, item in event.items() if name != "data"}
            found.update(reference for reference in _walk(envelope, None) if reference.kind is Kind.EMAIL)
            found.update(_walk(event.get("data"), plan))
            if isinstance(subject := event.get("subject"), str):
                found.update(references_in(subject))
    return found


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """List the single values in a record with the name of their field. It may nest deeper than Python calls."""
    left = [("", value)]
    while left:
        name, item = left.pop()
        if isinstance(item, dict):
            left.extend((str(key), inner) for key, inner in item.items())
        elif isinstance(item, list):
            left.extend((name, inner) for inner in item)
        elif name not in _MERELY_NAMED:
            yield name, item


def _walk(value: Any, plan: Plan | None) -> Iterator[Reference]:
    """Find addresses, and ids in the fields that are known to hold them, but for those who are merely named.

    The number of a comment is no number of a person: what a field holds, the record's type says, if it has one.
    """
    kinds_of = _KINDS
    if plan is not None:
        declared = _owning(plan)
        kinds_of = {name: kinds for name, kinds in _KINDS.items() if name not in plan.record.model_fields}
        kinds_of |= {name: frozenset({kind}) for name, kind in declared.items()}
    for name, item in _leaves(value):
        if isinstance(item, str | int | float) and not isinstance(item, bool):
            kinds = set(kinds_of.get(name, ()))
            if isinstance(item, str) and "@" in item:
                kinds.add(Kind.EMAIL)
            for kind in kinds:
                yield Reference(kind, str(item))
