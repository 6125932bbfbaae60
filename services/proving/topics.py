"""What Kafka still gives to whoever reads from the beginning: keys, values and headers of every record.

Upstream publishes in the clear unless it seals, so hits before clearing are expected: they are counted and are no
residue. Since when nothing of them is left is said by `source_cleared_since`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError

from domain.errors import SealdeskError
from services.kafka.connecting import ANSWER_MILLISECONDS, Broker, client
from services.kafka.decoding import Unreadable, tolerate
from services.kafka.inspecting import administering, keeps_files, names_of
from services.proving.matching import Matcher
from services.proving.places import NOTHING, NotSearched, Searched

POLL_MILLISECONDS = 200
#: A healthy broker gives the next records within a second.
SILENT_SECONDS = 30.0


class Topics:
    """Some topics, by name, and those that ever were read, by id. Both are asked when the search begins."""

    residue = NOTHING
    needed = False

    def __init__(
        self,
        name: str,
        broker: Broker | None,
        names: Callable[[], Iterable[str]],
        read: Callable[[], Collection[UUID]] = frozenset,
    ) -> None:
        self.name = name
        self._broker = broker
        self._names = names
        self._read = read

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Read every partition from its first record to where it ends now.

        Raises:
            NotSearched: there is no Kafka, or it cannot be read.
        """
        if self._broker is None:
            raise NotSearched("no broker is set")
        try:
            names = self._all_names(self._broker)
            consumer = client(
                KafkaConsumer,
                self._broker,
                group_id=None,
                # A search makes nothing.
                allow_auto_create_topics=False,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                # What a transaction gave up stands in the files all the same.
                isolation_level="read_uncommitted",
                bootstrap_timeout_ms=ANSWER_MILLISECONDS,
            )
            try:
                tolerate(consumer)
                reader = _Reader(consumer, into)
                for name in names:
                    reader.search(matcher, name)
            finally:
                with suppress(KafkaError):
                    consumer.close(timeout_ms=ANSWER_MILLISECONDS)
        except (KafkaError, SealdeskError):
            raise NotSearched("the brokers do not let it be read to its end") from None

    def _all_names(self, broker: Broker) -> list[str]:
        with administering(broker, "say which topics there are") as admin:
            return sorted({*self._names(), *(names_of(admin, self._read()) if keeps_files(admin) else ())})


class _Reader:
    def __init__(self, consumer: Any, into: Searched) -> None:
        self._consumer = consumer
        self._into = into

    def search(self, matcher: Matcher, topic: str) -> None:
        partitions = self._consumer.partitions_for_topic(topic)
        # Brokers say the same of a topic that is not there and of one that may not be seen.
        self._into.unread += not partitions
        matcher.count(self._bytes(topic, sorted(partitions or ())), self._into.hits)

    def _bytes(self, topic: str, partitions: Iterable[int]) -> Iterator[bytes]:
        for number in partitions:
            place = TopicPartition(topic, number)
            self._consumer.assign([place])
            end = self._consumer.end_offsets([place], timeout_ms=ANSWER_MILLISECONDS)[place]
            self._consumer.seek_to_beginning(place)
            silent_since = monotonic()
            while self._at(place) < end:
                found = self._consumer.poll(timeout_ms=POLL_MILLISECONDS).get(place, ())
                for record in found:
                    yield from self._parts(record)
                if found:
                    silent_since = monotonic()
                elif monotonic() > silent_since + SILENT_SECONDS:
                    raise KafkaTimeoutError(f"nothing came for {SILENT_SECONDS:g} seconds")

    def _at(self, place: TopicPartition) -> int:
        return int(self._consumer.position(place, timeout_ms=ANSWER_MILLISECONDS) or 0)

    def _parts(self, record: Any) -> Iterator[bytes]:
        """Give what a record holds, part by part: nothing reaches from one into the next."""
        self._into.unread += any(isinstance(name, Unreadable) for name, _ in record.headers)
        for name, value in record.headers:
            yield from (name.encode(), b"\0", value or b"", b"\0")
        yield from (record.key or b"", b"\0", record.value or b"", b"\0")
