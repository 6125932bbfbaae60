"""Seeking: where to read on in partitions that were assigned, and whether anything of them was lost meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid5

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from services.kafka.epochs import was_cut
from services.kafka.faring import name_of
from services.kafka.joining import ANSWER_MILLISECONDS, Member

#: Names the topics of brokers so old that they give them no id.
_TOPICS = UUID("5f0e6c1e-9a0b-4c58-8d52-0c3f3d3f8f5b")


class Positions(Protocol):
    """What is stored about Kafka partitions."""

    def stored_positions(self, topic_id: UUID) -> Mapping[int, int]:
        """Return the next offset to read of each partition that was ever read."""

    def stored_epochs(self, topic_id: UUID) -> Mapping[int, int]:
        """Return the leader under which the last record before it was appended, where that is known."""


@dataclass(slots=True)
class Place:
    """Where we are in one partition."""

    topic_id: UUID
    #: The next offset as it is stored; None where nothing is.
    stored: int | None
    #: The next offset to hand out.
    next: int
    #: What lies below was stored before.
    again_below: int = 0
    #: The leader under which the last record was appended; -1 where nobody said.
    epoch: int = -1


class Seeking:
    """What a member asks the broker about partitions before it reads them.

    `missed` is where it says what is lost; `tells` is whether anybody hears of what is stored.
    """

    def __init__(self, member: Member, missed: list[str], *, tells: bool) -> None:
        self._consumer = member.consumer
        self._epoch_ends = member.epoch_ends
        self._keeps_files = member.keeps_files
        self._missed = missed
        self._tells = tells

    def seek(
        self, new: Sequence[TopicPartition], positions: Positions, places: MutableMapping[TopicPartition, Place]
    ) -> None:
        """Go to the stored positions of partitions that somebody leads, and note where we are in `places`.

        Raises:
            LogUnavailable: nothing was sought.
            KafkaError: the broker does not answer.
        """
        topics = {partition.topic: self.topic_id(partition.topic) for partition in new}
        stored = {topic: positions.stored_positions(topic_id) for topic, topic_id in topics.items()}
        epochs = self._stored_epochs(positions, new)
        cut = self._epoch_ends(epochs)
        begins = self._consumer.beginning_offsets(new, timeout_ms=ANSWER_MILLISECONDS)
        ends = self._consumer.end_offsets(new, timeout_ms=ANSWER_MILLISECONDS)
        wrong: dict[TopicPartition, int] = {}
        for partition in new:
            begin, end = begins[partition], ends[partition]
            known = stored[partition.topic].get(partition.partition)
            place = Place(topics[partition.topic], known, begin if known is None else max(begin, known))
            place.epoch = epochs.get(partition, -1)
            if known is not None and (self._is_lost(known, end) or was_cut(known, cut.get(partition))):
                said = f"the broker lost records of {name_of(partition)}; it is read from its beginning"
                self._missed.append(said)
                place.next = begin
            elif known is not None and known < begin:
                self._miss(partition, begin - known)
            places[partition] = place
            if self._tells and not self._resume_telling(partition, place, begin):
                wrong[partition] = place.next
        if wrong:
            with suppress(KafkaError):  # Then a crash may leave the first batch untold.
                self._consumer.commit(commits(wrong), timeout_ms=ANSWER_MILLISECONDS // 2)
        for partition in new:
            if sought := places.get(partition):
                with suppress(ValueError):  # It was taken from us meanwhile.
                    self._consumer.seek(partition, sought.next)

    def _is_lost(self, stored: int, end: int) -> bool:
        """Tell whether a partition ends below what was read. The embedded broker only knows where batches begin."""
        return stored > end and self._keeps_files()

    def _stored_epochs(self, positions: Positions, new: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        topics = {partition.topic for partition in new}
        by_topic = {topic: positions.stored_epochs(self.topic_id(topic)) for topic in topics}
        return {
            partition: by_topic[partition.topic][partition.partition]
            for partition in new
            if partition.partition in by_topic[partition.topic]
        }

    def _resume_telling(self, partition: TopicPartition, place: Place, begin: int) -> bool:
        """Go back to where somebody stopped telling. False if the broker's idea of the group is nothing to go by."""
        mirror: int | None = self._consumer.committed(partition, timeout_ms=ANSWER_MILLISECONDS)
        if mirror is None or mirror > place.next:
            return False
        if place.stored is not None and mirror < place.stored == place.next:
            place.next, place.again_below = max(mirror, begin), place.stored
        return True

    def look_for_loss(self, partition: TopicPartition, expected: int) -> None:
        """Say so if records were deleted that were not read. Where transactions end, too, offsets are missing."""
        begin = self._consumer.beginning_offsets([partition], timeout_ms=ANSWER_MILLISECONDS)[partition]
        if begin > expected:
            self._miss(partition, begin - expected)

    def _miss(self, partition: TopicPartition, count: int) -> None:
        self._missed.append(f"the broker deleted {count} records of {name_of(partition)} that were not read")

    def topic_id(self, topic: str) -> UUID:
        """Name the topic that has this name now, also if a broker before Kafka 2.8 gives out no id."""
        # There is no public way to it in kafka-python 3.0.
        found: UUID | None = self._consumer._cluster.topic_id(topic)
        return found if found is not None and found.int else uuid5(_TOPICS, topic)


def commits(offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    """Write offsets as kafka-python commits them."""
    return {partition: OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
