"""Whether the register leads both ways, and whether the key database did what the ledger says.

Each blind index that leads to somebody needs a way back, or a shred would not fence it; each way back needs its index,
unless that is fenced or leads to whoever claimed it since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import islice
from typing import Any
from uuid import UUID

import aiosql
from psycopg.rows import DictRow

from crypto.findings import Report, Wrong
from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Ledger, Line
from crypto.register import ID_BYTES, Register, back_ends, entry_ends
from crypto.register import SQL as REGISTER
from crypto.tree import Tree
from crypto.turning import SQL as TURNING
from crypto.wrapping import Key, unwrap
from domain.errors import KeyExpired, KeysUnavailable, SealBroken
from domain.ids import TenantId

SQL: Any = aiosql.from_str((files("crypto") / "sql/integrity.sql").read_text(), "psycopg", mandatory_parameters=False)

#: What stands as the ground of a shred that a key database learned of from the ledger alone, after a restore.
TOLD_BY_THE_LEDGER = "told by the ledger"

#: Ledger lines that are compared in one snapshot.
LINES = 500

#: (tenant, blind index, who it leads to)
_Way = tuple[UUID, bytes, UUID]


def check_pages(tree: Tree, pages: Sequence[DictRow], report: Report) -> int:
    """Check some pages of the register. Returns how many rows were looked at."""
    looked_at = 0
    for page in pages:
        entries = rows_of(tree.cursor, TURNING.entries_of_page.sql, page=page["key_id"])
        backs = rows_of(tree.cursor, TURNING.backs_of_page.sql, page=page["key_id"])
        looked_at += len(entries)
        try:
            key = tree.unwrap_row(page)
        except SealBroken:
            report.beneath += len(entries) + len(backs)
            continue
        there = {way for row in entries for way in _entry(key, page, row, report)}
        back = {way for row in backs for way in _back(key, page, row, report)}
        _check_insides(tree, there, report)
        _check_ways_back(tree, there - back, report)
        _check_ways_there(tree, back - there, report)
    return looked_at


def _entry(key: Key, page: DictRow, row: DictRow, report: Report) -> Iterator[_Way]:
    index = bytes(row["blind_index"])
    try:
        opened = unwrap(key, row["sealed"], ends=entry_ends(row["tenant"], index, page["key_id"]))
    except SealBroken:
        report.add("register row on page", Wrong.BROKEN, page["key_id"])
        return
    yield row["tenant"], index, UUID(bytes=opened[:ID_BYTES])


def _back(key: Key, page: DictRow, row: DictRow, report: Report) -> Iterator[_Way]:
    try:
        index = unwrap(key, row["sealed"], ends=back_ends(page["tenant"], row["owner"], page["key_id"]))
    except SealBroken:
        report.add("way back of", Wrong.BROKEN, row["owner"])
        return
    yield page["tenant"], index, row["owner"]


def _check_insides(tree: Tree, ways: Iterable[_Way], report: Report) -> None:
    """Check that the register leads to somebody who is there and lives."""
    wanted = {inside: tenant for tenant, _, inside in ways}
    found = {row["id"]: row for row in rows_of(tree.cursor, SQL.insides.sql, ids=list(wanted))}
    for inside, tenant in wanted.items():
        if inside not in found or found[inside]["tenant"] != tenant:
            report.add("owner", Wrong.MISSING, inside)
        elif not found[inside]["living"]:
            report.add("reference of", Wrong.KEPT, inside)


def _check_ways_back(tree: Tree, ways: Iterable[_Way], report: Report) -> None:
    """Look on other pages for the ways back that are not on the page of their entry."""
    wanted = set(ways)
    rows = rows_of(tree.cursor, SQL.backs_by_owner.sql, owners=[inside for *_, inside in wanted]) if wanted else []
    pages = _opened_pages(tree, rows)
    for row in rows:
        page = pages.get(row["page"])
        if page is not None:
            wanted.difference_update(_back(page[1], page[0], row, Report()))
    for *_, inside in wanted:
        report.add("way back of", Wrong.ONE_WAY, inside)


def _check_ways_there(tree: Tree, ways: Iterable[_Way], report: Report) -> None:
    by_tenant: dict[UUID, list[_Way]] = {}
    for way in ways:
        by_tenant.setdefault(way[0], []).append(way)
    for tenant, some in by_tenant.items():
        indexes = [index for _, index, _ in some]
        rows = rows_of(tree.cursor, SQL.entries_by_index.sql, tenant=tenant, indexes=indexes)
        there = {bytes(row["blind_index"]) for row in rows}
        gone = [way for way in some if way[1] not in there]
        if gone and tree.service_keys(TenantId(tenant), "index"):
            fenced = Register(tree, TenantId(tenant)).look_up(index for _, index, _ in gone)
            gone = [way for way in gone if way[1] not in fenced]
        for *_, inside in gone:
            report.add("reference of", Wrong.ONE_WAY, inside)


def _opened_pages(tree: Tree, rows: Iterable[DictRow]) -> dict[UUID, tuple[DictRow, Key]]:
    """Open the pages of some rows. A page that does not open is named by itself, and left out here."""
    opened: dict[UUID, tuple[DictRow, Key]] = {}
    for page in rows_of(tree.cursor, REGISTER.pages.sql, pages=list({row["page"] for row in rows})):
        try:
            opened[page["key_id"]] = page, tree.unwrap_row(page)
        except SealBroken:
            continue
    return opened


def check_lines(keys: KeyStore, ledger: Ledger, report: Report, tell: Callable[[int, int], object]) -> None:
    """Check that whoever the ledger says was shredded is marked dead, and that the issue counter did not fall.

    A shred that has its line and was not carried out yet is no finding: the next start carries it out.

    Raises:
        LedgerBroken: the ledger is not whole.
    """
    lines, done, issued = ledger.read(), 0, 0
    while some := list(islice(lines, LINES)):
        named = {line.shred: (line, _targets(ledger, line, report)) for line in some}
        # In this order: whoever was at work when the line was read may have come to the end by now.
        with keys.snapshot() as cursor:
            shreds = {row["shred_id"]: row for row in rows_of(cursor, SQL.steps.sql, shreds=list(named))}
            ids = [target for _, targets in named.values() for target in targets]
            rows = {row["id"]: row for row in rows_of(cursor, SQL.targets.sql, ids=ids)}
            closed = {row["tenant"] for row in rows_of(cursor, SQL.closed_tenants.sql)}
        for shred, (line, targets) in named.items():
            if shred not in shreds:
                report.add("shred", Wrong.MISSING, shred, line.number)
            if line.tenant in closed and line.kind != "tenant":
                # Whoever was shredded before a tenant was closed has no row any more.
                targets = tuple(id_ for id_ in targets if id_ in rows)
            if shred not in shreds:
                _check_targets(line, targets, rows, report)
            elif shreds[shred]["step"] not in ("intended", "abandoned"):
                _check_targets(line, [id_ for id_ in targets if id_ in rows or _met(shreds[shred], id_)], rows, report)
            if not _is_restored(shreds.get(shred)):
                issued = max(issued, line.issue_counter)
        done += len(some)
        tell(done, len(some))
    with keys.snapshot() as cursor:
        if (rows_of(cursor, SQL.counters.sql)[0]["issue"] or 0) < issued:
            report.add("issued", Wrong.COUNT)


def _is_restored(shred: DictRow | None) -> bool:
    """Tell whether a restored copy learned of a shred from its line, which counts issues that it never saw."""
    return shred is not None and shred["ground"] == TOLD_BY_THE_LEDGER


def _met(shred: DictRow, target: UUID) -> bool:
    """Tell whether this key database ever knew somebody who went with a shred.

    A restored copy names as targets of a shred only whom it knows, and notes no epoch if that is nobody.
    """
    return not _is_restored(shred) or (shred["epoch"] is not None and target in shred["targets"])


def _check_targets(line: Line, targets: Iterable[UUID], rows: dict[UUID, DictRow], report: Report) -> None:
    for target in targets:
        if target not in rows:
            report.add(line.kind, Wrong.MISSING, target, line.number)
        elif rows[target]["line"] is None:
            report.add(rows[target]["kind"], Wrong.LIVING, target, line.number)


def _targets(ledger: Ledger, line: Line, report: Report) -> tuple[UUID, ...]:
    """Name whoever went with a line; only who was asked for, if that is all that can be read of it."""
    try:
        return ledger.fences_of(line).targets
    except KeyExpired:
        # Nobody can be known again by this line any more, as it should be.
        return (line.key,)
    except KeysUnavailable:
        report.add("line", Wrong.KEYLESS, number=line.number)
        return (line.key,)
    except SealBroken:
        report.add("line", Wrong.BROKEN, number=line.number)
        return (line.key,)
