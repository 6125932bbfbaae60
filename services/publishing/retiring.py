"""Retiring pairs: the private half of a superseded pair dies once no topic holds a record that was sealed to it.

`crypto.pairs` has the rule; here the brokers are asked where the topics start and end. `sealdesk keep` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from crypto.pairs import Extent, Pairs
from domain.errors import BrokerUnavailable
from services.kafka.connecting import Broker
from services.kafka.inspecting import Seen, TopicsRead, administering, check_cluster, keeps_files, look, names_of


class Retiring:
    """Looks at the topics that are consumed, or ever were, and lets pairs go that they need no more."""

    def __init__(
        self,
        broker: Broker,
        pairs: Pairs,
        positions: TopicsRead,
        topics: Collection[str],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._broker = broker
        self._pairs = pairs
        self._positions = positions
        self._topics = frozenset(topics)
        self._clock = clock

    def step(self) -> int:
        """Note ends, and drop private halves. Returns how many went; Kafka is asked only if a pair is due.

        Raises:
            BrokerUnavailable: Kafka does not answer or refuses, has none of the topics that were read, or not one that
                should be; then no pair dies.
            SealBroken: the row of a pair was changed.
        """
        # One time for both: ends that were asked for within the grace of a pair are none to wait for.
        at = self._clock()
        waited_for = self._pairs.waits_for(at=at)
        if waited_for is None:
            return 0
        ids = self._positions.topics_read()
        with administering(self._broker, "say what its topics hold") as admin:
            read = names_of(admin, ids) if keeps_files(admin) else set()
            seen = look(admin, {*self._topics, *waited_for, *read})
        check_cluster(seen, ids)
        if missing := sorted(self._topics.intersection(seen.missing)):
            raise BrokerUnavailable(
                f"There is no topic {missing[0]}, so no pair can be let go; make it with: sealdesk topics create"
            )
        extents = extents_of(seen)
        return 0 if extents is None else self._pairs.step(extents, cluster=seen.cluster, at=at)


def extents_of(seen: Seen) -> list[Extent] | None:
    """Say what each partition holds; None while nobody leads one of them."""
    found = []
    for topic in seen.topics.values():
        for one in topic.partitions:
            if one.start is None or one.end is None:
                return None
            found.append(Extent(topic.name, topic.id, one.number, one.start, one.end))
    return found
