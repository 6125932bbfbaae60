"""Clearing: what is stored is deleted from the topics, and quiet partitions are made to let go of it.

Rule: nothing is deleted at or above the stored position, nor above what the group has committed: between the two,
receipts may still have to be said. Nor is anything where the log was cut below what was read, and others' records stand
in its place (`epochs`). Positions belong to the id of a topic, and Kafka deletes by name. So the id is asked
for once more right before each deletion; a topic that is deleted and created anew between that answer and the deletion
(milliseconds; a second while its leader moves), and has as many records by then, would lose its first ones. Do not do
that while `sealdesk keep` runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from typing import Protocol
from uuid import UUID

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    KafkaError,
    NotCoordinatorError,
    OffsetOutOfRangeError,
    RetriableError,
)

from services.kafka.connecting import Broker
from services.kafka.epochs import epoch_ends, was_cut
from services.kafka.heartbeats import beat
from services.kafka.inspecting import (
    Partition,
    Seen,
    Spot,
    Topic,
    administering,
    keeps_files,
    look,
    names_of,
    topic_ids,
)

#: How long one partition may wait for its replicas to follow. The leader has deleted by then.
FOLLOW_MILLISECONDS = 1_000
#: How far the clocks of brokers and ours may differ.
CLOCK_SECONDS = 5
#: How often it is asked who else reads the topics.
OTHERS_SECONDS = 600.0


class Positions(Protocol):
    """What is stored about Kafka partitions."""

    def stored_positions(self, topic_id: UUID) -> Mapping[int, int]:
        """Return the next offset to read of each partition that was ever read."""

    def stored_epochs(self, topic_id: UUID) -> Mapping[int, int]:
        """Return the leader under which the last record before it was appended, where that is known."""

    def topics_read(self) -> set[UUID]:
        """Return the ids of all topics of which a position is stored."""

    def heartbeats(self, topic_id: UUID) -> Mapping[int, int]:
        """Return the offset behind our last heartbeat in each partition that had one."""

    def note_heartbeat(self, topic_id: UUID, partition: int, offset: int) -> None:
        """Note the offset behind a heartbeat."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What one turn did: records deleted, heartbeats sent. `able` is False where the broker cannot delete records."""

    able: bool
    records: int = 0
    heartbeats: int = 0


@dataclass(frozen=True, slots=True)
class Behind:
    """Another group that reads one of our topics and has not read everything that is there."""

    group: str
    topic: str
    records: int


class Clearing:
    """Delete what is stored, turn by turn. `tell` takes a sentence for whoever reads the process log.

    Topics that are `spared` keep what they have, even if records were read from them once: the ledger may be there.
    """

    def __init__(
        self,
        broker: Broker,
        positions: Positions,
        topics: Collection[str],
        *,
        group: str,
        tell: Callable[[str], object],
        clock: Callable[[], datetime],
        spared: Collection[str] = (),
    ) -> None:
        self._broker = broker
        self._spared = frozenset(spared)
        self._positions = positions
        self._topics = frozenset(topics)
        self._group = group
        self._tell = tell
        self._clock = clock
        self._others_at = -OTHERS_SECONDS
        self._told: set[str] = set()

    def step(self) -> Cleared:
        """Delete what is stored by now. It may be called at any time, and twice.

        Raises:
            BrokerUnavailable: Kafka does not answer, or does not let us delete.
        """
        with administering(self._broker, "clear its topics") as admin:
            if not keeps_files(admin):
                self._say("clearing: this broker cannot delete records; it is for demos and tests")
                return Cleared(able=False)
            self._warn(admin)
            seen = self._look(admin)
            records = self._delete(admin, seen)
        return Cleared(able=True, records=records, heartbeats=self._roll(seen))

    def _look(self, admin: KafkaAdminClient) -> Seen:
        """Look at the topics that are read, and at those that were read once and lie there still."""
        seen = look(admin, self._topics - self._spared)
        for name in sorted(names_of(admin, self._positions.topics_read()) - self._topics - self._spared):
            try:
                seen = replace(seen, topics={**seen.topics, **look(admin, [name]).topics})
            except KafkaError as error:
                self._cannot(name, error)
        return seen

    def _cannot(self, topic: str, error: KafkaError) -> None:
        self._say(
            f"clearing: the topic {topic} cannot be cleared ({type(error).__name__}); what is stored stays there, and "
            "certificates wait for it"
        )

    def _delete(self, admin: KafkaAdminClient, seen: Seen) -> int:
        mirrors = committed(admin, self._group, seen)
        deleted = 0
        for topic in seen.topics.values():
            stored = self._positions.stored_positions(topic.id)
            wanted = self._uncut(admin, topic, safe_to_delete(topic, stored, mirrors), stored)
            for one in topic.partitions:
                # A replica that lags holds up each deletion, so the id is asked for before each.
                if one.number in wanted and topic_ids(admin, [topic.name]).get(topic.name) != topic.id:
                    break
                try:
                    if one.number in wanted and _delete_up_to(admin, topic.name, one.number, wanted[one.number]):
                        deleted += wanted[one.number] - (one.start or 0)
                except KafkaError as error:
                    self._cannot(topic.name, error)
                    break
        return deleted

    def _uncut(
        self, admin: KafkaAdminClient, topic: Topic, wanted: Mapping[int, int], stored: Mapping[int, int]
    ) -> dict[int, int]:
        """Keep the partitions in which what is there is what was read: its last record, under the same leader."""
        epochs = self._positions.stored_epochs(topic.id)
        leaders = {TopicPartition(topic.name, one.number): one.leader for one in topic.partitions}
        asked = {
            place: epochs[number] for place in leaders if (number := place.partition) in wanted and number in epochs
        }
        if not asked:
            return dict(wanted)
        try:
            ends = epoch_ends(admin, asked, leaders)
        except RetriableError:
            # A leader moved: the next turn asks the new one.
            return {}
        cut = {place.partition for place, end in ends.items() if was_cut(stored.get(place.partition), end)}
        for number in sorted(cut):
            self._say(
                f"clearing: the broker lost records of {topic.name}-{number} and has others in their place; nothing is "
                "deleted there before 'sealdesk consume' has read them"
            )
        return {number: up_to for number, up_to in wanted.items() if number not in cut}

    def _roll(self, seen: Seen) -> int:
        """Send a heartbeat where everything is cleared and the last segment still holds it."""
        now = self._clock().timestamp() * 1000
        quiet: dict[Spot, tuple[UUID, int]] = {}
        for topic in seen.topics.values():
            due = [one for one in topic.partitions if holds_cleared(topic, one, now)]
            known = self._positions.heartbeats(topic.id) if due else {}
            for one in due:
                if one.end != known.get(one.number):
                    quiet[(topic.name, one.number)] = (topic.id, one.number)
        for place, sent in beat(self._broker, quiet).items():
            self._positions.note_heartbeat(*quiet[place], sent.offset + 1)
        return len(quiet)

    def _warn(self, admin: KafkaAdminClient) -> None:
        """Say once of each other group that it loses what it has not read."""
        if monotonic() < self._others_at + OTHERS_SECONDS:
            return
        self._others_at = monotonic()
        try:
            others = behind(admin, self._group, look(admin, self._topics))
        except RetriableError:
            # A broker is away. What is stored can go all the same.
            return
        for other in others:
            self._say(
                f"clearing: the group {other.group} reads the topic {other.topic}, too, and loses what it has not "
                "read before sealdesk has; give it a topic of its own, or set SEALDESK_CLEARING=off"
            )

    def _say(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._tell(sentence)


def safe_to_delete(topic: Topic, stored: Mapping[int, int], mirrors: Mapping[Spot, int]) -> dict[int, int]:
    """Say up to which offset each partition of a topic may be deleted; those with nothing to delete are left out."""
    found = {}
    for one in topic.partitions:
        up_to = min(stored.get(one.number, 0), mirrors.get((topic.name, one.number), 0))
        if one.start is not None and one.end is not None and one.start < up_to <= one.end:
            found[one.number] = up_to
    return found


def holds_cleared(topic: Topic, one: Partition, now: float) -> bool:
    """Tell whether a partition has nothing left to read, files that are not empty, and a last segment that is due."""
    if one.newest is None or one.start is None or one.start != one.end:
        return False
    due = one.newest + topic.milliseconds("segment.ms") + CLOCK_SECONDS * 1000
    return any(one.size.values()) and now > due


def low_watermarks(admin: KafkaAdminClient, places: Collection[Spot]) -> dict[Spot, int]:
    """Ask where the log of each partition starts on that living replica which is furthest behind.

    Kafka tells nobody but who deletes. So what lies below offset 0 is deleted, which is nothing, ever. A partition that
    does not exist, or may not be deleted from, is left out: nobody can say that it is cleared.
    """
    lowest = {}
    for topic, partition in places:
        try:
            answer = admin.delete_records({TopicPartition(topic, partition): 0}, timeout_ms=FOLLOW_MILLISECONDS)
        except KafkaError:
            continue
        lowest.update({(each.topic, each.partition): said["low_watermark"] for each, said in answer.items()})
    return lowest


def behind(admin: KafkaAdminClient, group: str, seen: Seen) -> list[Behind]:
    """List the other groups that have committed something of these topics and have not read all.

    A group that we may not describe is left out.
    """
    others = sorted({found["group_id"] for found in admin.list_groups()} - {group})
    found = []
    for other in others:
        try:
            mirrors = committed(admin, other, seen)
        except GroupAuthorizationFailedError:
            continue
        for topic in seen.topics.values():
            ends = {(topic.name, one.number): one.end or 0 for one in topic.partitions}
            lag = sum(max(0, end - mirrors[place]) for place, end in ends.items() if place in mirrors)
            if lag:
                found.append(Behind(other, topic.name, lag))
    return found


def committed(admin: KafkaAdminClient, group: str, seen: Seen) -> dict[Spot, int]:
    """Read what a group has committed of these topics; a partition that it never committed is left out.

    A coordinator that has just taken over tells what stood below its high watermark, so perhaps an earlier commit. What
    a consumer commits only rises, so that one is lower, and holds back what could go.
    """
    places = [TopicPartition(name, one.number) for name, topic in seen.topics.items() for one in topic.partitions]
    if not places:
        return {}
    try:
        said = admin.list_group_offsets({group: places}).get(group, {})
    except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
        # A cluster where nobody has committed yet, or a coordinator that moves: as if nothing were committed.
        return {}
    return {(place.topic, place.partition): at.offset for place, at in said.items() if at.offset >= 0}


def _delete_up_to(admin: KafkaAdminClient, topic: str, partition: int, up_to: int) -> bool:
    try:
        admin.delete_records({TopicPartition(topic, partition): up_to}, timeout_ms=FOLLOW_MILLISECONDS)
    except OffsetOutOfRangeError:
        # Another topic, which is shorter, or a leader that lost its end: the next turn looks anew.
        return False
    except RetriableError:
        # A replica did not follow in time, or the leader moved: the next turn sees how far it came.
        return False
    return True
