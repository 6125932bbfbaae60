"""A group of consumers and a broker in memory: as much of kafka-python's consumer as `services.kafka.reading` uses.

Who owns a partition changes by `share`; a member hears of it at its next poll, as one that was taken for dead does.
`tests/contracts/test_kafka_contract.py` holds it and the real client to the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import IllegalStateError, KafkaTimeoutError, TopicAuthorizationFailedError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from services.kafka.joining import Member


@dataclass
class Log:
    """One partition: records by offset, with gaps, and where it begins."""

    records: dict[int, bytes] = field(default_factory=dict)
    begin: int = 0
    end: int = 0
    #: The leader that appends, and where it began.
    epoch: int = 0
    epoch_began: int = 0

    def append(self, value: bytes) -> int:
        """Append a record."""
        self.records[self.end] = value
        self.end += 1
        return self.end - 1

    def skip(self, count: int) -> None:
        """Leave a gap, as the end of a transaction does."""
        self.end += count


@dataclass
class Group:
    """A broker with one topic and one group."""

    topic: str
    partitions: int
    topic_id: UUID = field(default_factory=uuid4)
    logs: list[Log] = field(default_factory=list)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    owners: dict[TopicPartition, Consumer] = field(default_factory=dict)
    members: list[Consumer] = field(default_factory=list)
    keeps_files: bool = True
    #: Partitions that no broker leads, and whether nobody may read the topic.
    unled: set[TopicPartition] = field(default_factory=set)
    closed: bool = False

    def __post_init__(self) -> None:
        self.logs = [Log() for _ in range(self.partitions)]

    def recreate(self) -> None:
        """Delete the topic and create it anew."""
        self.topic_id = uuid4()
        self.logs = [Log() for _ in range(self.partitions)]

    def share(self, pick: Callable[[TopicPartition, Sequence[Consumer]], Consumer]) -> None:
        """Give each partition to a member."""
        for number in range(self.partitions):
            partition = TopicPartition(self.topic, number)
            if self.members:
                self.owners[partition] = pick(partition, self.members)
            else:
                self.owners.pop(partition, None)

    @contextmanager
    def joined(self) -> Iterator[Member]:
        """Be a member for a while."""
        consumer = Consumer(self)
        self.members.append(consumer)
        self.share(lambda partition, members: self.owners.get(partition, members[-1]))
        try:
            yield Member(consumer, consumer, consumer.epoch_ends, lambda: self.keeps_files)
        finally:
            self.members.remove(consumer)
            self.share(
                lambda partition, members: (
                    members[0] if self.owners.get(partition) in (consumer, None) else self.owners[partition]
                )
            )

    # What `kafka.cluster` knows.

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Name the partitions of a topic."""
        return set(range(self.partitions)) if topic == self.topic else set()


class Consumer:
    """A member of the group."""

    member_assignment: Any = None

    def __init__(self, group: Group) -> None:
        self._group = group
        self._at: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._listener: Any = None
        #: Polls in a row that gave nothing though nothing was paused.
        self.empty = 0
        self._cluster = _Cluster(group)

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        """Ask for partitions."""
        self._listener = listener

    def group_metadata(self) -> ConsumerGroupMetadata:
        """Tell whether the group has let us in."""
        return ConsumerGroupMetadata(group_id="group", state=MemberState.STABLE)

    def hear(self) -> None:
        """Hear which partitions are ours."""
        ours = {partition for partition, owner in self._group.owners.items() if owner is self}
        if gone := self._at.keys() - ours:
            for partition in gone:
                del self._at[partition]
            self._paused -= gone
            self._listener.on_partitions_revoked(gone)
        if new := ours - self._at.keys():
            for partition in new:
                self._at[partition] = self._group.committed.get(partition, self._log(partition).begin)
            self._listener.on_partitions_assigned(new)

    def poll(self, timeout_ms: int = 0, max_records: int = 500) -> dict[TopicPartition, list[Any]]:
        """Fetch records of what is ours and not paused."""
        self.hear()
        found: dict[TopicPartition, list[Any]] = {}
        for partition, at in sorted(self._at.items()):
            if partition in self._paused or partition in self._group.unled or not max_records:
                continue
            if self._group.closed:
                raise TopicAuthorizationFailedError({partition.topic})
            log = self._log(partition)
            if not log.begin <= at <= log.end:
                at = log.begin
            offsets = sorted(offset for offset in log.records if offset >= at)[:max_records]
            if offsets:
                found[partition] = [self._record(partition, offset) for offset in offsets]
            last = len(offsets) < max_records
            self._at[partition] = log.end if last else offsets[-1] + 1
            max_records -= len(offsets)
        if not self._paused:
            self.empty = 0 if found else self.empty + 1
        return found

    def _record(self, partition: TopicPartition, offset: int) -> Any:
        value = self._log(partition).records[offset]
        epoch = self._log(partition).epoch
        return ConsumerRecord(*partition, epoch, offset, 0, 0, None, value, [], None, -1, len(value), -1)

    def _log(self, partition: TopicPartition) -> Log:
        return self._group.logs[partition.partition]

    def assignment(self) -> set[TopicPartition]:
        """Name what is ours, as far as we have heard."""
        return set(self._at)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on from an offset."""
        if partition not in self._at:
            raise ValueError("Unassigned partition")
        self._at[partition] = offset

    def position(self, partition: TopicPartition, timeout_ms: int | None = None) -> int:
        """Tell where we are."""
        if partition not in self._at:
            raise IllegalStateError("Partition is not assigned")
        return self._at[partition]

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch nothing of these for now."""
        self._paused.update(partitions)

    def paused(self) -> set[TopicPartition]:
        """Name what is paused."""
        return set(self._paused)

    def resume(self, *partitions: TopicPartition) -> None:
        """Fetch them again."""
        self._paused.difference_update(partitions)

    def beginning_offsets(self, partitions: Sequence[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        """Tell where partitions begin."""
        self._ask_leaders(partitions)
        return {partition: self._log(partition).begin for partition in partitions}

    def _ask_leaders(self, partitions: Collection[TopicPartition]) -> None:
        if not self._group.unled.isdisjoint(partitions):
            raise KafkaTimeoutError("Failed to get offsets by timestamps in 10000 ms")

    def epoch_ends(self, asked: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Tell where leaders' epochs end: at the beginning of the one that appends now, or at the end."""
        self._ask_leaders(asked)
        return {
            partition: self._log(partition).end
            if epoch == self._log(partition).epoch
            else self._log(partition).epoch_began
            for partition, epoch in asked.items()
        }

    def end_offsets(self, partitions: Sequence[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        """Tell where they end; a broker without files says where the last batch of at most five records begins."""
        self._ask_leaders(partitions)
        less = 0 if self._group.keeps_files else 4
        return {partition: max(0, self._log(partition).end - less) for partition in partitions}

    def committed(self, partition: TopicPartition, timeout_ms: int | None = None) -> int | None:
        """Tell what the group has committed."""
        return self._group.committed.get(partition)

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], timeout_ms: int | None = None) -> None:
        """Commit."""
        self._group.committed |= {partition: said.offset for partition, said in offsets.items()}

    def commit_async(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit; who is not a member any more, or has not heard of the others, is refused without a word."""
        if self in self._group.members and all(self._group.owners.get(partition) is self for partition in offsets):
            self.commit(offsets)


@dataclass
class _Cluster:
    _group: Group
    unauthorized_topics: frozenset[str] = frozenset()

    def leader_for_partition(self, partition: TopicPartition) -> int:
        """Name the broker that leads a partition, -1 if none does."""
        return -1 if partition in self._group.unled else 0

    def topic_id(self, topic: str) -> UUID:
        """Name the topic that has this name now."""
        return self._group.topic_id

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Name its partitions."""
        return self._group.partitions_for_topic(topic)
