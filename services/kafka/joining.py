"""Joining: being a member of a consumer group, and hearing which partitions it gives and takes.

Rebalances are cooperative (KIP-429): what stays with a member is read on while the group settles. The client's memory
is bounded by bytes, whatever the records are like.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.protocol.api_key import ApiKey

from services.kafka.connecting import Broker, client
from services.kafka.decoding import tolerate
from services.kafka.epochs import epoch_ends
from services.kafka.stalling import Timed

#: How long the broker may take for one answer while we wait for it.
ANSWER_MILLISECONDS = 10_000
#: A batch takes less than a second. Who does not poll for this long loses the partitions to others.
MAX_POLL_SECONDS = 60.0
#: A group hears that we leave within milliseconds.
CLOSE_MILLISECONDS = 5_000
#: Bytes of one answer of one broker, and of one partition in it. A record is given out even if it is larger.
FETCH_BYTES = 8 * 1024 * 1024
PARTITION_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group, and who shares out the partitions if it becomes the group's leader.

    `epoch_ends` asks where leaders' epochs end (`services.kafka.epochs`), `keeps_files` whether the broker has files:
    if so, its word for where a partition ends can be relied on.
    """

    consumer: Any
    assignor: Any
    epoch_ends: Callable[[Mapping[TopicPartition, int]], Mapping[TopicPartition, int]]
    keeps_files: Callable[[], bool]


@contextmanager
def joined(broker: Broker, group: str, *, session_seconds: float) -> Iterator[Member]:
    """Be a member of the group for a while, and leave it at once at the end.

    Raises:
        KafkaError: the broker does not answer, or does not let us in.
    """
    assignor = CooperativeStickyAssignor()
    consumer = client(
        KafkaConsumer,
        broker,
        group_id=group,
        enable_auto_commit=False,
        # Where a stored position is gone from the topic: intake knows what it has seen.
        auto_offset_reset="earliest",
        # Records of a transaction that was aborted never happened.
        isolation_level="read_committed",
        partition_assignment_strategy=[assignor],
        fetch_max_bytes=FETCH_BYTES,
        max_partition_fetch_bytes=PARTITION_BYTES,
        max_poll_interval_ms=int(MAX_POLL_SECONDS * 1000),
        session_timeout_ms=int(session_seconds * 1000),
        heartbeat_interval_ms=int(session_seconds * 1000 / 3),
        bootstrap_timeout_ms=ANSWER_MILLISECONDS,
        metrics_enabled=False,
    )
    timed = Timed(consumer)
    try:
        tolerate(consumer)
        yield Member(
            timed,
            assignor,
            epoch_ends=lambda asked: timed.ask(lambda client: epoch_ends(client, asked)),
            keeps_files=lambda: bool(timed.ask(_keeps_files)),
        )
    finally:
        # A client that does not close is left behind: its thread may spin.
        with suppress(KafkaError):
            timed.close(autocommit=False, timeout_ms=CLOSE_MILLISECONDS)
        timed.end()


def _keeps_files(consumer: Any) -> bool:
    """Ask a consumer what `services.kafka.inspecting.keeps_files` asks a client for administration."""
    return ApiKey.DescribeLogDirs in consumer._manager.broker_version_data.api_versions


class Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types.
    """Forgets where we were in partitions that come and go. A batch at hand is not waited for: whoever gets its
    partitions next and whoever has the batch find out by the stored position which of them was first.

    It is called in the client's own thread.
    """

    def __init__(self, forget: Callable[[Collection[TopicPartition]], None], assignor: Any) -> None:
        self._forget = forget
        self._assignor = assignor
        self.lost = False

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Forget, and so seek, what is new."""
        self._forget(assigned)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Forget what goes."""
        self._forget(revoked)

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Forget what others have had for a while."""
        self._forget(lost)
        self.lost = True
        # kafka-python 3.0 would go on claiming them, and then the group may leave them to nobody.
        self._assignor.member_assignment = None
