"""Sources: when nothing of what was published before a shred is left in the brokers' folders.

After a shred, where each topic ends is noted. What lies below is gone from the disks once, for each partition,

    passed      a record stands behind the end that is newer than everything below it by more than a segment lasts.
                No segment on any replica holds both: whoever appends it begins a new segment first
    cleared     the log starts at or behind that record on every replica, all of them are in sync, and every broker
                that ever had one takes part: one that is away keeps its files
    delayed     all that has been so without a break for two rounds of the brokers' search for old segments (one may
                have just been past this partition), the rest after a start, and the delay of deleted files

A topic that was deleted counts as cleared, unless a broker was away then: Kafka does not delete what such a broker
finds on its return, but sets it aside in a folder that ends in `-stray`. The same holds for a replica that was moved.
Somebody has to look at those disks, and say so with `forget_broker`.

Then the certificate is signed anew with `source_cleared_since`. Ends
that are noted later than at the shred (Kafka was away) are later ends: the wait is longer and the word stays true.

Ends are noted only at a cluster that has a topic which was read. Of a topic that ever was seen with tiered storage
nothing is certified.

Not reached: copies that others made (mirrors, consumers), and the disk of a broker that never returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, Protocol
from uuid import UUID

import aiosql
from kafka import KafkaAdminClient, TopicPartition
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from crypto.accounts import TOPICS_READ
from crypto.keystore import KeyStore, rows_of
from domain.errors import BrokerUnavailable
from services.kafka.clearing import CLOCK_SECONDS, low_watermarks
from services.kafka.connecting import Broker
from services.kafka.ends import End, ends_of, is_there, led, why_not
from services.kafka.heartbeats import beat
from services.kafka.inspecting import (
    Seen,
    Spot,
    TopicsRead,
    administering,
    check_cluster,
    check_seconds,
    keeps_files,
    look,
    names_of,
)

SQL: Any = aiosql.from_str((files("services") / "sql/sources.sql").read_text(), "psycopg", mandatory_parameters=False)

#: A broker that starts does not look for old segments before this (log.initial.task.delay.ms, which it does not tell).
AFTER_START_SECONDS = 30.0
#: What a busy broker may be late.
LATE_SECONDS = 5.0
#: Who did not look for longer cannot know that it was without a break.
BREAK_SECONDS = 60.0


class Recertify(Protocol):
    """Issuing a certificate anew, in a transaction of the key database."""

    def __call__(self, cursor: Cursor[DictRow], shred: UUID, **changes: Any) -> object:
        """Change entries of a certificate."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a mark stands: since when, how many partitions it waits for, and what for."""

    noted_at: datetime
    shreds: int
    partitions: int
    waits_for: str


class Sources:
    """Follow marks until they are cleared. `recertify` issues a certificate anew."""

    def __init__(
        self,
        broker: Broker,
        keys: KeyStore,
        positions: TopicsRead,
        topics: Collection[str],
        recertify: Recertify,
        *,
        clock: Callable[[], datetime],
        after_start_seconds: float = AFTER_START_SECONDS,
    ) -> None:
        self._broker = broker
        self._keys = keys
        self._positions = positions
        self._topics = frozenset(topics)
        self._recertify = recertify
        self._clock = clock
        self._after_start_seconds = after_start_seconds

    def step(self) -> int:
        """Note the ends for new shreds, look how far older ones are. Returns how many certificates were issued anew.

        Raises:
            BrokerUnavailable: Kafka does not answer or refuses, or has none of the topics that were read. What was to
                be noted is noted later.
        """
        with self._keys.transaction() as cursor:
            [state] = rows_of(cursor, SQL.unmarked.sql, read=TOPICS_READ)
            shreds = [row["shred_id"] for row in rows_of(cursor, SQL.shreds_to_mark.sql, read=TOPICS_READ)]
        if not state["unmarked"] and not state["open"]:
            return 0
        with administering(self._broker, "say what its topics hold") as admin:
            read = self._positions.topics_read()
            seen = look(admin, self._names(admin, read))
            wrong = None
            if shreds:
                try:
                    check_cluster(seen, read)
                    self._mark(seen, shreds)
                except BrokerUnavailable as error:
                    # Older marks know their cluster.
                    wrong = error
            done = self._advance(admin, seen)
        if wrong is not None:
            raise wrong
        return done

    def _names(self, admin: KafkaAdminClient, ids: Collection[UUID]) -> set[str]:
        """Name the topics that are read, those that were read once and still exist, and those that marks wait for."""
        with self._keys.transaction() as cursor:
            marked = {said["topic"] for row in rows_of(cursor, SQL.marks.sql) for said in row["ends"]}
        read = names_of(admin, ids) if keeps_files(admin) else set()
        return {*self._topics, *marked, *read}

    def _mark(self, seen: Seen, shreds: Sequence[UUID]) -> None:
        """Note where the topics end, for shreds that were finished before they were looked at."""
        now = int(self._clock().timestamp() * 1000)
        ends = ends_of(seen, now)
        if ends is None:
            # Nobody leads a partition. Later ends will do.
            return
        with self._keys.transaction() as cursor:
            stored = Jsonb([end.stored() for end in ends])
            row = rows_of(cursor, SQL.begin_mark.sql, cluster=seen.cluster, at=self._clock(), ends=stored)[0]
            cursor.execute(SQL.mark_shreds.sql, {"mark": row["mark"], "shreds": list(shreds)})

    def _advance(self, admin: KafkaAdminClient, seen: Seen) -> int:
        with self._keys.transaction() as cursor:
            marks = rows_of(cursor, SQL.marks.sql)
        if not marks:
            return 0
        filed = keeps_files(admin)
        lowest = low_watermarks(admin, led(seen)) if filed else {}
        delay = timedelta(seconds=self._delay_seconds(admin, seen) if filed else 0)
        return sum(self._look(admin, seen, lowest, row, delay) for row in marks)

    def _delay_seconds(self, admin: KafkaAdminClient, seen: Seen) -> float:
        checks, of_topics = check_seconds(admin, seen.alive)
        files_of = [topic.milliseconds("file.delete.delay.ms") / 1000 for topic in seen.topics.values()]
        return 2 * checks + self._after_start_seconds + max([of_topics, *files_of]) + LATE_SECONDS

    def _look(
        self, admin: KafkaAdminClient, seen: Seen, lowest: Mapping[Spot, int], row: DictRow, delay: timedelta
    ) -> int:
        """Look at one mark. Returns how many certificates it let go."""
        if row["cluster"] != seen.cluster:
            self._note(row, row["ends"], None, "it was noted at another cluster of Kafka")
            return 0
        at = self._clock()
        # A clock that went back says nothing of how long nobody looked.
        unbroken = abs(at - row["looked_at"]) <= timedelta(seconds=BREAK_SECONDS)
        now = int(at.timestamp() * 1000)
        ends = [End.read(said).looked_at(seen, now=now, unbroken=unbroken) for said in row["ends"]]
        ends = self._passed(admin, ends, seen)
        reasons = [f"{end.topic} {end.partition}: {reason}" for end in ends if (reason := why_not(end, seen, lowest))]
        since = None if reasons else row["held_since"] if unbroken and row["held_since"] else at
        if since is not None and at - since >= delay:
            return self._certify(row, at)
        self._note(row, [end.stored() for end in ends], since, reasons[0] if reasons else "the brokers' delays")
        return 0

    def _note(self, row: DictRow, ends: Sequence[dict[str, Any]], since: datetime | None, waits_for: str) -> None:
        with self._keys.transaction() as cursor:
            said = {"ends": Jsonb(ends), "held_since": since, "at": self._clock(), "waits_for": waits_for}
            cursor.execute(SQL.look_at_mark.sql, _as_read(row) | said)

    def _certify(self, row: DictRow, at: datetime) -> int:
        with self._keys.transaction() as cursor:
            if not cursor.execute(SQL.end_mark.sql, _as_read(row)).rowcount:
                return 0
            shreds = [each["shred_id"] for each in rows_of(cursor, SQL.shreds_of_mark.sql, mark=row["mark"])]
            for shred in shreds:
                self._recertify(cursor, shred, source_cleared_since=at)
        return len(shreds)

    def _passed(self, admin: KafkaAdminClient, ends: Sequence[End], seen: Seen) -> list[End]:
        """Look for a record that has begun a later segment; where none comes by itself, a heartbeat is one."""
        open_ends = {end.place: end for end in ends if end.passed is None and is_there(end, seen)}
        due = {
            place: end.newest + seen.topics[end.topic].milliseconds("segment.ms") + CLOCK_SECONDS * 1000
            for place, end in open_ends.items()
            if seen.topics[end.topic].settings
        }
        found: dict[Spot, int] = {}
        wanted = {TopicPartition(*place): at for place, at in due.items() if place in set(led(seen))}
        if wanted:
            said = admin.list_partition_offsets(wanted)
            found = {(each.topic, each.partition): at.offset for each, at in said.items() if at.offset >= 0}
        now = self._clock().timestamp() * 1000
        quiet = [(each.topic, each.partition) for each, at in wanted.items() if now > at]
        for place, sent in beat(self._broker, [place for place in quiet if place not in found]).items():
            if sent.at >= due[place]:
                found[place] = sent.offset
        return [replace(end, passed=found.get(end.place)) if end.place in open_ends else end for end in ends]


def _as_read(row: DictRow) -> dict[str, Any]:
    """Name a mark as it was read. Of two processes that look at it, one at a time goes on from what stands there."""
    return {"mark": row["mark"], "looked_at": row["looked_at"], "known": Jsonb(row["ends"])}


def standing_of(keys: KeyStore) -> list[Standing]:
    """Say what certificates wait for, as far as that is stored."""
    with keys.transaction() as cursor:
        return [
            Standing(
                row["noted_at"],
                len(rows_of(cursor, SQL.shreds_of_mark.sql, mark=row["mark"])),
                len(row["ends"]),
                row["waits_for"],
            )
            for row in rows_of(cursor, SQL.marks.sql)
        ]


def forget_broker(keys: KeyStore, broker: int) -> int:
    """Wait no longer for what a broker may have set aside: its disks are destroyed, or somebody has looked at them.

    Returns how many marks it was part of.
    """
    forgotten = 0
    with keys.transaction() as cursor:
        for row in rows_of(cursor, SQL.marks_to_change.sql):
            ends = [End.read(said) for said in row["ends"]]
            if any(broker in end.brokers for end in ends):
                stored = Jsonb([end.without(broker).stored() for end in ends])
                cursor.execute(SQL.set_ends.sql, {"mark": row["mark"], "ends": stored})
                forgotten += 1
    return forgotten
