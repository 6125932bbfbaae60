"""Compare the keys with the log: what each sealed fact answers, and whether the key work of all facts is still done.

A sealed fact gives one of four answers: it opens, it was shredded, its key is lost, or something is broken; a store
that is down is an error and none of them. A fact without a seal never had a key. Lost and broken ones are named by
position.

The log also says what may not open any more: a reply that was edited, a ticket that was deleted, whoever was merged, a
ticket that moved. A single row of the key database that was rolled back to before such a fact is found by that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import groupby
from typing import Any
from uuid import UUID

import aiosql
from psycopg.rows import DictRow

from crypto.findings import Report, Wrong
from crypto.integrity import CarefulTree, Progress
from crypto.keystore import KeyStore, rows_of
from crypto.opening import Found, Shredded, open_leaves
from crypto.roots import Roots
from crypto.sealing import header_of, open_seal
from crypto.tree import SQL, Tree
from crypto.wrapping import Key
from domain.catalogue import CATALOGUE, MOVES
from domain.contacts import ContactMerged
from domain.errors import KeyLost, SealBroken, SealdeskError
from domain.fact import Effect, FactAtRest
from domain.ids import EventId, KeyId, SubjectId, TenantId, ThingId
from services import keeping
from services.log import Facts

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/integrity.sql").read_text(), "psycopg", mandatory_parameters=False
)

#: Facts whose seals are opened with one query for keys, and streams that are read with one.
PAGE = 1_000
STREAMS = 200


@dataclass(slots=True)
class Answers:
    """What the facts of the log answer: `opens`, `shredded`, `lost`, `broken`; and `never had a key`."""

    counts: Counter[str] = field(
        default_factory=lambda: Counter(dict.fromkeys(("opens", "shredded", "lost", "broken"), 0))
    )
    report: Report = field(default_factory=Report)


class LogIntegrity:
    """Compare one key database with its log, once.

    What stands under one of the `rootless` epochs counts as broken, so that the rest can be looked at.
    """

    def __init__(
        self,
        facts: Facts,
        keys: KeyStore,
        roots: Roots,
        progress: Progress | None = None,
        *,
        rootless: frozenset[int] = frozenset(),
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._progress: Progress = progress or (lambda what, done, total: None)
        self._rootless = rootless
        self._answers = Answers()
        self._report = self._answers.report

    def check(self) -> Answers:
        """Open every seal of the log in memory, and look whether the key work of all facts is done.

        Raises:
            KeysUnavailable, LogUnavailable: a store is down; that is no answer about any fact.
        """
        # In this order: what the key database says of the log is not ahead of it.
        with self._keys.snapshot() as cursor:
            kept = rows_of(cursor, SQL.kept_now.sql)[0]["position"]
            issued = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]
        with self._facts.cursor() as log:
            rows = rows_of(log, STATEMENTS.sealed.sql)[0]
        if kept > rows["head"]:
            self._report.add("kept", Wrong.COUNT, number=kept)
        self._check_issue(issued)
        self._answers.counts["never had a key"] = rows["never"]
        self._check_seals(rows["sealed"])
        self._check_key_work(min(kept, rows["head"]))
        return self._answers

    def _check_issue(self, issued: int) -> None:
        seen = self._facts.issue_seen()
        if issued < seen:
            with self._keys.snapshot() as cursor:
                # It may have grown between the two looks.
                issued = rows_of(cursor, SQL.last_issue.sql)[0]["issue"]
        if issued < seen:
            self._report.add("issued", Wrong.COUNT, number=issued)

    # -- seals ----------------------------------------------------------------------------------------------------

    def _check_seals(self, total: int) -> None:
        after, done = 0, 0
        while True:
            with self._facts.cursor() as log:
                page = rows_of(log, STATEMENTS.sealed_after.sql, after=after, limit=PAGE)
            if not page:
                return
            for tenant, rows in groupby(sorted(page, key=_tenant), key=_tenant):
                self._judge(TenantId(tenant), list(rows))
            after = page[-1]["position"]
            done += len(page)
            self._report.looked_at["fact"] += len(page)
            self._progress("fact", done, max(done, total))

    def _judge(self, tenant: TenantId, rows: Sequence[DictRow]) -> None:
        places: dict[int, tuple[ThingId, KeyId]] = {}
        for row in rows:
            try:
                places[row["position"]] = ThingId(row["stream"]), header_of(row["seal"]).key_id
            except SealBroken:
                self._say("broken", row["position"])
        with self._keys.snapshot() as cursor:
            found = open_leaves(CarefulTree(cursor, self._roots, self._rootless), tenant, places.values())
        for row in rows:
            if (place := places.get(row["position"])) is not None:
                self._say(_answer(row, tenant, place[1], found[place]), row["position"])

    def _say(self, answer: str, position: int) -> None:
        self._answers.counts[answer] += 1
        if answer in ("lost", "broken"):
            self._report.add("fact", Wrong.LOST if answer == "lost" else Wrong.BROKEN, number=position)

    # -- key work -------------------------------------------------------------------------------------------------

    def _check_key_work(self, until: int) -> None:
        after = 0
        while True:
            with self._facts.cursor() as log:
                page = rows_of(log, STATEMENTS.kept_after.sql, after=after, until=until, limit=STREAMS)
            if not page:
                return
            with self._keys.snapshot() as cursor:
                tree = CarefulTree(cursor, self._roots, self._rootless)
                for stream in self._streams({row["stream"] for row in page}):
                    told = [fact for fact in stream if fact.position <= until]
                    self._check_ended(tree, [fact for fact in told if fact.type in CATALOGUE])
                    self._check_moved(tree, told)
                    self._check_merged(tree, told)
            after = page[-1]["position"]
            self._report.looked_at["key work"] += len(page)
            self._progress("key work", after, until)

    def _streams(self, things: set[UUID]) -> Iterator[list[FactAtRest]]:
        try:
            found = self._facts.streams(list(things))
        except SealBroken:
            # Named by its position already; the others are looked at one by one.
            if len(things) > 1:
                for thing in things:
                    yield from self._streams({thing})
            return
        by_stream: dict[UUID, list[FactAtRest]] = {}
        for fact in found:
            by_stream.setdefault(fact.stream, []).append(fact)
        yield from by_stream.values()

    def _check_ended(self, tree: Tree, told: Sequence[FactAtRest]) -> None:
        """Check that nothing opens which a later fact wrote anew or ended."""
        ends = [
            fact.position
            for fact in told
            if CATALOGUE[fact.type].record.EFFECT is Effect.ENDS and "part" not in CATALOGUE[fact.type].roles
        ]
        gone = [fact for fact in told if ends and fact.position < ends[0]] if ends else _given_way(told)
        wanted = {(fact.stream, key_id): fact for fact in gone for key_id in keeping.key_ids_of(fact)}
        if wanted:
            tenant = next(iter(wanted.values())).tenant
            for place, found in open_leaves(tree, tenant, wanted).items():
                if isinstance(found, Key):
                    self._report.add("fact", Wrong.KEPT, number=wanted[place].position)

    def _check_moved(self, tree: Tree, stream: Sequence[FactAtRest]) -> None:
        """Check that what stood in a ticket before it moved dies with each later requester."""
        if not any(fact.type in MOVES and fact.clear.get("requester") for fact in stream):
            return
        moves = [(fact.position, UUID(fact.clear["requester"])) for fact in stream if fact.clear.get("requester")]
        rows = rows_of(tree.cursor, SQL.leaves_of_thing.sql, thing_id=stream[0].stream)
        owners = {
            row["key_id"]: {row["owner"], *(row["co_owners"] or ())} for row in rows if row["wrapped"] is not None
        }
        for fact in stream:
            later = {requester for position, requester in moves if position > fact.position}
            if any(not later <= owners[key_id] for key_id in keeping.key_ids_of(fact) if key_id in owners):
                self._report.add("fact", Wrong.ALONE, number=fact.position)

    def _check_merged(self, tree: Tree, stream: Sequence[FactAtRest]) -> None:
        for fact in stream:
            if fact.type == ContactMerged.TYPE:
                primary = SubjectId(UUID(fact.clear["person"]))
                for secondary in (SubjectId(UUID(text)) for text in fact.clear["secondary"]):
                    if not _is_merged(tree, secondary, primary):
                        self._report.add("subject", Wrong.ALONE, secondary, fact.position)


def _answer(row: DictRow, tenant: TenantId, key_id: KeyId, found: Found) -> str:
    match found:
        case Shredded.SHREDDED:
            return "shredded"
        case KeyLost():
            return "lost"
        case SealdeskError():
            return "broken"
        case Key():
            return "opens" if _opens(row, tenant, key_id, found) else "broken"


def _opens(row: DictRow, tenant: TenantId, key_id: KeyId, key: Key) -> bool:
    stream, event_id = ThingId(row["stream"]), EventId(row["event_id"])
    try:
        open_seal(row["seal"], key, tenant=tenant, stream=stream, event_id=event_id, type=row["topic"], key_id=key_id)
    except SealBroken:
        return False
    return True


def _given_way(told: Sequence[FactAtRest]) -> list[FactAtRest]:
    return [older for older, _ in keeping.given_way(told)]


def _is_merged(tree: Tree, secondary: SubjectId, primary: SubjectId) -> bool:
    try:
        people = tree.people([secondary, primary])
    except SealdeskError:
        # Whatever is wrong with a row is named by the check of the key database.
        return True
    if secondary not in people or primary not in people:
        return True
    return people[secondary].root == people[primary].root or not people[people[secondary].root].living


def _tenant(row: DictRow) -> UUID:
    tenant: UUID = row["tenant"]
    return tenant
