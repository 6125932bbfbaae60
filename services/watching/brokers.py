"""What the brokers say of the topics: how far intake is behind, and what still lies there.

Asking takes a client and several answers, so it is a step of `sealdesk keep` and not done while somebody scrapes. Other
lag monitors look at the group's committed offsets, which are a mirror; here it is the stored positions that count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic
from typing import Protocol
from uuid import UUID

from prometheus_client.core import GaugeMetricFamily, Metric

from services.kafka.connecting import Broker
from services.kafka.inspecting import Seen, Topic, administering, look
from services.watching.standing import Source

#: How often the brokers are asked.
SECONDS = 15.0
#: What was seen longer ago than this is not told any more.
OLD_SECONDS = 4 * SECONDS


class Positions(Protocol):
    """What is stored about Kafka partitions."""

    def stored_positions(self, topic_id: UUID) -> Mapping[int, int]:
        """Return the next offset to read of each partition that was ever read."""


class Brokers:
    """The topics that are read, as their brokers have them."""

    def __init__(
        self,
        broker: Broker,
        positions: Positions,
        topics: Collection[str],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._broker = broker
        self._positions = positions
        self._topics = frozenset(topics)
        self._clock = clock
        self._found: Sequence[Metric] | None = None
        self._found_at = 0.0

    def step(self) -> None:
        """Ask once.

        Raises:
            BrokerUnavailable: Kafka does not answer, or refuses.
        """
        self._found = None
        with administering(self._broker, "say how far its topics are read") as admin:
            seen = look(admin, self._topics)
        stored = {topic.id: self._positions.stored_positions(topic.id) for topic in seen.topics.values()}
        self._found, self._found_at = families(seen, stored), self._clock()

    def answer(self) -> bool:
        """Tell whether the brokers answered when they were last asked, and that was not long ago."""
        return self._found is not None and self._clock() - self._found_at < OLD_SECONDS

    def source(self) -> Source:
        """Tell what was found, to whoever scrapes."""
        return Source("kafka", lambda: self._found if self.answer() else None)


def families(seen: Seen, stored: Mapping[UUID, Mapping[int, int]]) -> list[Metric]:
    """Turn what was seen of the topics, and what is stored of them, into numbers."""
    lag = GaugeMetricFamily(
        "sealdesk_consumer_lag_records",
        "Records of a partition that are not stored yet: its end, less the stored position.",
        labels=("topic", "partition"),
    )
    lying = GaugeMetricFamily(
        "sealdesk_topic_records", "Records of a topic that whoever may read it can still read.", labels=("topic",)
    )
    uncleared = GaugeMetricFamily(
        "sealdesk_topic_uncleared_records",
        "Records of a topic that are stored and could be deleted, and are not yet.",
        labels=("topic",),
    )
    size = GaugeMetricFamily("sealdesk_topic_bytes", "Bytes of a topic in the files of all brokers.", labels=("topic",))
    for topic in seen.topics.values():
        known = stored.get(topic.id, {})
        for partition, records in _lag(topic, known).items():
            lag.add_metric((topic.name, str(partition)), records)
        lying.add_metric((topic.name,), sum((one.end or 0) - (one.start or 0) for one in topic.partitions))
        uncleared.add_metric(
            (topic.name,),
            sum(max(0, known.get(one.number, 0) - one.start) for one in topic.partitions if one.start is not None),
        )
        size.add_metric((topic.name,), sum(sum(one.size.values()) for one in topic.partitions))
    missing = GaugeMetricFamily(
        "sealdesk_topics_missing", "Topics that should be read and do not exist.", value=len(seen.missing)
    )
    return [lag, lying, uncleared, size, missing]


def _lag(topic: Topic, stored: Mapping[int, int]) -> dict[int, int]:
    """Count what is not stored yet; a partition that nobody leads is left out."""
    return {
        one.number: max(0, one.end - max(stored.get(one.number, 0), one.start))
        for one in topic.partitions
        if one.end is not None and one.start is not None
    }
