"""Consuming: records from Kafka to intake, batch by batch.

How far a partition is read is stored in the transaction of the facts it gave. So a batch is stored with its
position or not at all, whenever the process ends and whoever reads the partition next. The group's offset at
the broker is a mirror for lag monitors: it is written and never read.

A topic that was deleted and created anew has another id, and is read from its beginning.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid5

import orjson
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.structs import OffsetAndMetadata

from domain.errors import BrokerUnavailable, RecordInvalid
from services.kafka.connecting import Broker, client, told
from services.log import Position
from services.publishing.sending import TOPIC
from services.records import RECORD_BYTES, Parcel, parcel_of

GROUP = "sealdesk"
#: Apache Kafka refuses less than 6 seconds by default. A consumer that is killed is missed after this long.
SESSION_SECONDS = 10.0
#: For the embedded broker, where a first consumer waits for half of this to be let in.
EMBEDDED_SESSION_SECONDS = 1.5
POLL_MILLISECONDS = 500
#: How long the broker may take for one answer while we wait for it.
ANSWER_MILLISECONDS = 10_000
#: How long a group may take to let us in before `until_idle` gives up: a rebalance waits for slow members.
JOIN_SECONDS = 60
#: Names the topics of brokers so old that they give them no id.
_TOPICS = UUID("5f0e6c1e-9a0b-4c58-8d52-0c3f3d3f8f5b")
_EVENT_TYPE = b"application/cloudevents"

_Tally = TypeVar("_Tally", covariant=True)


class Taker(Protocol[_Tally]):
    """Intake, as it is needed here: facts and positions in one transaction."""

    def take(self, parcels: Sequence[Parcel], *, at: datetime, positions: Sequence[Position] = ()) -> _Tally:
        """Store a batch and how far the partitions are read, or neither."""


class Positions(Protocol):
    """What is stored about Kafka partitions."""

    def stored_positions(self, topic_id: UUID) -> Mapping[int, int]:
        """Return the next offset to read of each partition that was ever read."""


class Stop(Protocol):
    """A wish to end, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Tell whether to end after the batch at hand."""


class Message(Protocol):
    """A record as kafka-python gives it."""

    @property
    def value(self) -> bytes | None:
        """Return what it holds."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Return what stands beside it, in order."""


def consume(
    broker: Broker,
    taker: Taker[_Tally],
    positions: Positions,
    *,
    topic: str = TOPIC,
    group: str = GROUP,
    until_idle: bool = False,
    stop: Stop | None = None,
    batch_size: int = 1000,
    session_seconds: float = SESSION_SECONDS,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[_Tally]:
    """Take batch after batch, and yield how each fared once it is stored.

    It ends after the batch at hand when `stop` is set, and with `until_idle` once everything is read that the
    topic held when it first ran dry. A SIGTERM (as SystemExit) or a failing taker gives up the batch.

    Raises:
        BrokerUnavailable: Kafka does not answer or refuses. What was yielded is stored; start again to go on.
    """
    with _joined(broker, topic, group, batch_size, session_seconds) as reader:
        while not (stop and stop.is_set()):
            batch = reader.poll(positions)
            if batch:
                parcels = [parcel_from(message) for messages in batch.values() for message in messages]
                tally = taker.take(parcels, at=clock(), positions=reader.positions_after(batch))
                reader.mirror(batch)
                yield tally
            if until_idle and reader.is_idle():
                return


def parcel_from(message: Message) -> Parcel:
    """Read one Kafka record, whichever way it carries its CloudEvent. It never raises.

    What is kept of a record in binary mode is the same event in structured mode, to be read again.
    """
    headers = {name.lower(): value or b"" for name, value in message.headers}
    content_type = headers.get("content-type", b"").strip().lower()
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce_")}
    if message.value is None:
        return Parcel(b"", None, (), RecordInvalid("no_value"))
    if attributes and not content_type.startswith(_EVENT_TYPE):
        return _binary(attributes, message.value)
    if content_type.startswith(_EVENT_TYPE) and not content_type.startswith(_EVENT_TYPE + b"+json"):
        return _refused(message.value, "wrong_content_type")
    return _structured(message.value)


def _structured(value: bytes) -> Parcel:
    if len(value) > RECORD_BYTES:
        return _refused(value, "too_large")
    if value.lstrip().startswith(b"["):
        return _refused(value, "not_an_object")
    return parcel_of(value)


def _binary(attributes: Mapping[str, bytes], value: bytes) -> Parcel:
    event: dict[str, Any] = {"specversion": "1.0"}
    try:
        event |= {name: text.decode() for name, text in attributes.items()}
        orjson.loads(value)
        event["data"] = orjson.Fragment(value)
    except UnicodeDecodeError:
        lines = [b"ce_" + name.encode() + b": " + text + b"\n" for name, text in attributes.items()]
        return _refused(b"".join([*lines, value]), "wrong_header")
    except orjson.JSONDecodeError:
        event.pop("data", None)
        event["data_base64"] = base64.b64encode(value).decode()
    return _structured(orjson.dumps(event))


def _refused(raw: bytes, code: str) -> Parcel:
    return Parcel(raw[:RECORD_BYTES], None, (), RecordInvalid(code))


@contextmanager
def _joined(broker: Broker, topic: str, group: str, batch_size: int, session_seconds: float) -> Iterator[_Reader]:
    """Be a member of the group for a while."""
    consumer = None
    try:
        with told(broker, f"serve the topic {topic} to the group {group}"):
            consumer = client(
                KafkaConsumer,
                broker,
                group_id=group,
                enable_auto_commit=False,
                # Where a stored position is gone from the topic: intake knows what it has seen.
                auto_offset_reset="earliest",
                max_poll_records=batch_size,
                session_timeout_ms=int(session_seconds * 1000),
                heartbeat_interval_ms=int(session_seconds * 1000 / 3),
                bootstrap_timeout_ms=ANSWER_MILLISECONDS,
            )
            yield _Reader(consumer, topic)
    except UnicodeDecodeError:
        # The client reads names of headers as UTF-8, and cannot read past one that is not. It would quote it.
        raise BrokerUnavailable(
            f"A record in the topic {topic} has a header whose name is no UTF-8: delete what is up to it."
        ) from None
    finally:
        if consumer is not None:
            consumer.close(timeout_ms=ANSWER_MILLISECONDS)


class _Reader:
    """A consumer that follows the stored positions rather than the broker's."""

    def __init__(self, consumer: KafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._assigned = _Assigned()
        self._topic_id: UUID | None = None
        self._dry = False
        self._ends: dict[TopicPartition, int] | None = None
        self._joining_since = monotonic()
        consumer.subscribe([topic], listener=self._assigned)

    def poll(self, positions: Positions) -> dict[TopicPartition, list[Message]]:
        """Fetch the next records by partition. After an assignment it goes to the stored positions first."""
        batch: dict[TopicPartition, list[Message]] = self._consumer.poll(timeout_ms=POLL_MILLISECONDS)
        topic_id = self._found_topic_id()
        if self._assigned.anew or (batch and topic_id != self._topic_id):
            # What was just fetched stood at the broker's idea of our position.
            self._assigned.anew, self._dry, self._ends = False, False, None
            self._topic_id = topic_id
            self._seek(positions.stored_positions(topic_id))
            return {}
        self._dry = not batch
        return batch

    def positions_after(self, batch: Mapping[TopicPartition, Sequence[Any]]) -> list[Position]:
        """Say how far each partition is read with this batch."""
        assert self._topic_id is not None
        return [Position(self._topic_id, tp.partition, found[-1].offset + 1) for tp, found in batch.items()]

    def mirror(self, batch: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Tell the broker how far we are, without waiting whether it listens."""
        self._consumer.commit_async(
            {tp: OffsetAndMetadata(found[-1].offset + 1, "", -1) for tp, found in batch.items()}
        )

    def is_idle(self) -> bool:
        """Tell whether all is read that was there when a poll first came back empty."""
        if self._topic_id is None:
            if monotonic() > self._joining_since + JOIN_SECONDS:
                raise KafkaTimeoutError(f"not let into the group within {JOIN_SECONDS} seconds")
            return False
        if self._ends is None:
            if not self._dry:
                return False
            assigned = self._consumer.assignment()
            self._ends = self._consumer.end_offsets(list(assigned), timeout_ms=ANSWER_MILLISECONDS) if assigned else {}
        return all(self._at(tp) >= end for tp, end in self._ends.items())

    def _at(self, partition: TopicPartition) -> int:
        return self._consumer.position(partition, timeout_ms=ANSWER_MILLISECONDS) or 0

    def _seek(self, stored: Mapping[int, int]) -> None:
        for partition in self._consumer.assignment():
            if partition.partition in stored:
                self._consumer.seek(partition, stored[partition.partition])
            else:
                self._consumer.seek_to_beginning(partition)

    def _found_topic_id(self) -> UUID:
        # There is no public way to it in kafka-python 3.0. A broker before Kafka 2.8 gives out none.
        found: UUID | None = self._consumer._cluster.topic_id(self._topic)
        return found if found is not None and found.int else uuid5(_TOPICS, self._topic)


class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types.
    """Remembers that partitions were assigned. A batch is stored whole before the next poll, so giving one up
    loses nothing."""

    anew = False

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.anew = True

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        pass
