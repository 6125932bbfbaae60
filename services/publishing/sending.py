"""Publishing: CloudEvents from a file to Kafka, each looked at before it is sent.

Structured mode sends the event as it is, in JSON; binary mode puts its attributes into `ce_` headers and its
`data` into the value. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md

Rule: a record counts as sent when every replica has it. What is not acknowledged is sent again, over a new
producer if need be; a record carries its id, so intake stores it once however often it arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

import orjson
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from domain.errors import BrokerUnavailable, RecordInvalid
from domain.personal import Kind
from services.kafka.connecting import Broker, client, told
from services.records import RECORD_BYTES, Draft, Parcel

TOPIC = "sealdesk.records"
Mode = Literal["structured", "binary"]
STRUCTURED_TYPE = "application/cloudevents+json"

#: kafka-python can spin for ever when metadata names a leader that is not among the brokers. A healthy broker
#: acknowledges within milliseconds, one that elects a leader within seconds.
STALE_SECONDS = 30.0
#: A producer that has nothing left to send needs this long at most to close its connections.
CLOSE_SECONDS = 5.0
#: Producers that achieve nothing before we give up.
PRODUCERS = 3
#: What may wait for its acknowledgement: enough to keep the line busy, little enough to send again.
WAITING = 10_000
#: Attributes, headers and framing around the largest record.
_FRAME_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Published:
    """How many records were read, how many of them every replica has, and how many are no valid records."""

    read: int = 0
    sent: int = 0
    invalid: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A Kafka record to be."""

    key: bytes = field(repr=False)
    value: bytes = field(repr=False)
    headers: list[tuple[str, bytes]] = field(repr=False)


class Acknowledgement(Protocol):
    """The answer to one send, as kafka-python gives it."""

    is_done: bool

    def get(self, timeout: float | None = None) -> Any:
        """Wait so many seconds for the answer, and raise it if it is an error."""


class Producer(Protocol):
    """What is needed of a `KafkaProducer`."""

    def send(self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> Acknowledgement:
        """Send a record, or put it where it will be sent from."""

    def close(self, timeout: float | None = None) -> None:
        """Close, and give up after so many seconds."""


def publish(
    parcels: Iterable[Parcel],
    broker: Broker,
    topic: str = TOPIC,
    *,
    mode: Mode = "structured",
    stale_seconds: float = STALE_SECONDS,
    connect: Callable[[], Producer] | None = None,
) -> Published:
    """Send every valid event, in order, and return when all are acknowledged. Each parcel is one CloudEvent.

    Raises:
        BrokerUnavailable: the broker does not answer or refuses; publishing the same file again is safe.
    """
    connect = connect or partial(connected, broker, stale_seconds)
    with told(broker, f"take the records for the topic {topic}"):
        try:
            with closing(_Line(connect, topic, stale_seconds)) as line:
                read = invalid = 0
                for parcel in parcels:
                    read += 1
                    try:
                        message = message_of(parcel, mode)
                    except (RecordInvalid, orjson.JSONEncodeError):
                        invalid += 1
                    else:
                        line.send(message)
                line.settle(0)
                return Published(read, read - invalid, invalid)
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise BrokerUnavailable(
                f"The broker takes no records as large as ours: set max.message.bytes of the topic {topic} to "
                f"{RECORD_BYTES + _FRAME_BYTES} or more. Then publish the file again."
            ) from error


def message_of(parcel: Parcel, mode: Mode = "structured") -> Message:
    """Write one event as a Kafka record.

    Raises:
        RecordInvalid: it is no valid one.
        orjson.JSONEncodeError: its data is nested too deeply to be written anew, as the binary mode must.
    """
    if parcel.error is not None:
        raise parcel.error
    (draft,) = parcel.drafts
    event = orjson.loads(parcel.raw)
    implied = {"specversion": "1.0", "tenant": draft.tenant}
    missing = {name: value for name, value in implied.items() if name not in event}
    if mode == "structured":
        # The publisher's own bytes, and before them what they left to us.
        value = orjson.dumps(missing)[:-1] + b"," + parcel.raw.lstrip()[1:] if missing else parcel.raw
        return Message(key_of(draft), value, [("content-type", STRUCTURED_TYPE.encode())])
    event |= missing
    data = event.pop("data")
    event.pop("datacontenttype", None)
    headers = [(f"ce_{name}", _header(value)) for name, value in event.items() if value is not None]
    return Message(key_of(draft), orjson.dumps(data), [("content-type", b"application/json"), *headers])


def key_of(draft: Draft) -> bytes:
    """Name what the record is about, for Kafka to keep its records in order: by an id, or else an address.

    Order is a help and no promise: intake takes records in any.
    """
    own = [
        (mark.kind, getattr(draft.data, name))
        for name, mark in draft.plan.names
        if mark.role == "self" and getattr(draft.data, name)
    ]
    if draft.subject is not None:
        own.append((draft.subject.kind, draft.subject.value))
    ids = [found for found in own if found[0].is_upstream_id]
    addresses = [found for found in own if found[0] is Kind.EMAIL]
    kind, value = next(iter([*ids, *addresses, *own]), ("", ""))
    return f"{draft.tenant}/{kind} {str(value).strip().casefold()}".encode()


def connected(broker: Broker, stale_seconds: float) -> Producer:
    """Connect an idempotent producer.

    Raises:
        KafkaError: the broker does not answer.
    """
    producer: Producer = client(
        KafkaProducer,
        broker,
        acks="all",
        enable_idempotence=True,
        max_request_size=RECORD_BYTES + _FRAME_BYTES,
        linger_ms=5,  # A file has thousands of records: few large batches are faster.
        bootstrap_timeout_ms=int(min(10, stale_seconds) * 1000),
        max_block_ms=int(stale_seconds * 1000),
        request_timeout_ms=int(stale_seconds * 1000) - 10,
        delivery_timeout_ms=int(stale_seconds * 1000),
    )
    return producer


class _Line:
    """Keeps what is not acknowledged, in order, and sends it again over a new producer when nothing moves."""

    def __init__(self, connect: Callable[[], Producer], topic: str, stale_seconds: float) -> None:
        self._connect = connect
        self._topic = topic
        self._stale_seconds = stale_seconds
        self._waiting: deque[tuple[Message, Acknowledgement]] = deque()
        self._fruitless = 0
        self._producer = connect()

    def send(self, message: Message) -> None:
        """Send a record, as soon as few enough wait for their acknowledgement."""
        self.settle(WAITING - 1)
        while True:
            try:
                self._waiting.append((message, self._sent(message)))
                return
            except KafkaTimeoutError:
                self._renew()

    def settle(self, most: int) -> None:
        """Wait until at most so many records lack their acknowledgement."""
        while self._waiting and (self._waiting[0][1].is_done or len(self._waiting) > most):
            try:
                self._waiting[0][1].get(self._stale_seconds)
            except KafkaTimeoutError:
                self._renew()
            else:
                self._waiting.popleft()
                self._fruitless = 0

    def close(self) -> None:
        """Close the producer. What is not acknowledged by now is not waited for."""
        try:
            self._producer.close(0 if self._waiting else CLOSE_SECONDS)
        except KafkaTimeoutError:
            # It had records left and so it did not close; its thread would go on for ever.
            if sender := getattr(self._producer, "_sender", None):
                sender.force_close()

    def _sent(self, message: Message) -> Acknowledgement:
        return self._producer.send(self._topic, key=message.key, value=message.value, headers=message.headers)

    def _renew(self) -> None:
        self._fruitless += 1
        if self._fruitless >= PRODUCERS:
            raise KafkaTimeoutError(f"{PRODUCERS} producers got no acknowledgement")
        self.close()
        self._producer = self._connect()
        self._waiting = deque((message, self._sent(message)) for message, _ in self._waiting)


def _header(value: object) -> bytes:
    # An extension may be a number or a flag; CloudEvents writes those as JSON does.
    return value.encode() if isinstance(value, str) else orjson.dumps(value)
