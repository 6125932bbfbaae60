"""Faring: whether the group has let a member in, what it cannot read now, and whether it has read all there was.

Rule: what one topic or partition lacks stops that one alone. The client asks about all partitions in one question, and
waits until the last of them answers: so those that nobody leads are left out of every question.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from kafka import TopicPartition
from kafka.errors import (
    IllegalStateError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import MemberState

from domain.errors import BrokerUnavailable
from services.kafka.joining import ANSWER_MILLISECONDS, Rebalances

#: How long a group may take to let us in before `is_idle` gives up: a rebalance waits for slow members. A partition may
#: be without a leader for as long.
JOIN_SECONDS = 60.0
#: Whether a right was given back is looked at this often.
RIGHTS_SECONDS = 15.0


class GivenUp(BrokerUnavailable):
    """What was waited for did not come in time, and waiting on is no use to whoever wants an end."""


class Faring:
    """How one member of a group gets on with some topics."""

    def __init__(self, consumer: Any, topics: Sequence[str], rebalances: Rebalances) -> None:
        self._consumer = consumer
        self._topics = topics
        self._rebalances = rebalances
        self._since = monotonic()
        self._ends: Mapping[TopicPartition, int] | None = None
        self._said: dict[str, set[str]] = {}
        #: Topics whose records we were refused, until we ask again.
        self._refused: dict[str, float] = {}
        self._unled_since: float | None = None
        #: What went wrong without an error, to be said once.
        self.missed: list[str] = []

    # -- what can be read ---------------------------------------------------------------------------------------

    def led(self) -> set[TopicPartition]:
        """Name those of our partitions that somebody leads, and whose records we may read."""
        # There is no public way to the leaders in kafka-python 3.0: None is an unknown partition, -1 one without.
        leader_of = self._consumer._cluster.leader_for_partition
        return {
            partition
            for partition in self._consumer.assignment()
            if (leader := leader_of(partition)) is not None and leader >= 0 and partition.topic not in self._refused
        }

    def check_rights(self) -> None:
        """Refuse to begin where a right is missing.

        Raises:
            TopicAuthorizationFailedError: we may not read a topic.
        """
        if forbidden := self._forbidden():
            raise TopicAuthorizationFailedError(forbidden)

    def refused(self, topics: Collection[str]) -> None:
        """Note that we may not read the records of topics, and leave these alone for a while."""
        self._refused |= dict.fromkeys(topics, monotonic() + RIGHTS_SECONDS)
        self._consumer.pause(*self._of(topics))

    def ask_again(self) -> None:
        """Ask for what we were refused, if it is time."""
        if again := [topic for topic, at in self._refused.items() if at <= monotonic()]:
            for topic in again:
                del self._refused[topic]
            self._consumer.resume(*self._of(again))

    def _of(self, topics: Collection[str]) -> list[TopicPartition]:
        return [partition for partition in self._consumer.assignment() if partition.topic in topics]

    def _forbidden(self) -> set[str]:
        # The client finds this out in its own thread, and keeps it to itself.
        found: set[str] = set(self._consumer._cluster.unauthorized_topics)
        return (found | self._refused.keys()) & set(self._topics)

    def _missing_topics(self) -> set[str]:
        return {topic for topic in self._topics if not self._consumer._cluster.partitions_for_topic(topic)}

    # -- how it goes --------------------------------------------------------------------------------------------

    def trouble(self) -> Iterator[str]:
        """Say, once each, what went wrong without an error."""
        if self.is_in():
            yield from self._lacking()
        if self._rebalances.lost:
            self._rebalances.lost = False
            yield "the group took us for dead and gave our partitions to others; reading goes on where it is stored"
        while self.missed:
            yield self.missed.pop()

    def _lacking(self) -> Iterator[str]:
        forbidden, missing = self._forbidden(), self._missing_topics()
        unled = {name_of(partition) for partition in self._unled() if partition.topic not in forbidden | missing}
        if new := self._new("missing", missing - forbidden):
            yield f"there is no topic {new}; make it with: sealdesk topics create"
        if new := self._new("forbidden", forbidden):
            yield f"we may not read {new}, and read the other topics on; who may do what, says: sealdesk topics rights"
        if new := self._new("unled", unled):
            yield f"no broker leads {new}, and the other partitions are read on; look at the brokers that have it"

    def _new(self, what: str, found: set[str]) -> str:
        new, self._said[what] = found - self._said.get(what, set()), found
        return ", ".join(sorted(new))

    def _unled(self) -> set[TopicPartition]:
        assigned: set[TopicPartition] = self._consumer.assignment()
        return assigned - self.led()

    def is_in(self) -> bool:
        """Tell whether the group has let us in, be it that it left us no partition."""
        return bool(self._consumer.assignment()) or self._consumer.group_metadata().state is MemberState.STABLE

    def is_served(self) -> bool:
        """Tell whether the group has let us in, and every topic is there for us."""
        return self.is_in() and not self._missing_topics()

    # -- whether all is read ------------------------------------------------------------------------------------

    def begin_anew(self) -> None:
        """Forget where partitions ended: others came."""
        self._ends = None

    def find_ends(self) -> None:
        """Note once where our partitions end, when nothing came of them and none has to wait for a leader."""
        if self._ends is None and self.is_in() and not self._unled():
            self._ends = self._found_ends()

    def is_idle(self) -> bool:
        """Tell whether all is read that was there when a poll first came back empty.

        Raises:
            KafkaTimeoutError: the group does not let us in.
            UnknownTopicOrPartitionError: there is no such topic.
            GivenUp: nobody has led one of our partitions for a while.
        """
        if not self.is_in():
            if monotonic() > self._since + JOIN_SECONDS:
                raise KafkaTimeoutError(f"not let into the group within {JOIN_SECONDS:.0f} seconds")
            return False
        if self._missing_topics():
            if monotonic() > self._since + ANSWER_MILLISECONDS / 1000:
                raise UnknownTopicOrPartitionError
            return False
        if self._has_unled() or self._ends is None:
            return False
        ours = self._consumer.assignment()
        return all(self.at(partition) >= end for partition, end in self._ends.items() if partition in ours)

    def _has_unled(self) -> bool:
        if not (unled := self._unled()):
            self._unled_since = None
            return False
        self._unled_since = self._unled_since or monotonic()
        if monotonic() > self._unled_since + JOIN_SECONDS:
            names = ", ".join(sorted(map(name_of, unled)))
            raise GivenUp(f"No broker leads {names}, so it was not read to its end; look at the brokers that have it.")
        return True

    def unread(self) -> dict[TopicPartition, int]:
        """Return where we are in each partition of which there is more.

        Raises:
            KafkaError: the broker does not answer.
        """
        return {partition: at for partition, end in self._found_ends().items() if (at := self.at(partition)) < end}

    def _found_ends(self) -> Mapping[TopicPartition, int]:
        led = sorted(self.led())
        found: Mapping[TopicPartition, int] = {}
        if led:
            found = self._consumer.end_offsets(led, timeout_ms=ANSWER_MILLISECONDS)
        return found

    def at(self, partition: TopicPartition) -> int:
        """Tell where we are in a partition; 0 if it was taken from us, or the client looks for its place."""
        with suppress(IllegalStateError):
            # Any time at all would be spent on partitions that nobody leads.
            return self._consumer.position(partition, timeout_ms=0) or 0
        return 0


def name_of(partition: TopicPartition) -> str:
    """Write the name of a partition."""
    return f"{partition.topic}-{partition.partition}"
