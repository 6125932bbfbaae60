"""A line to Kafka that keeps what is not acknowledged, in order, and sends it again over a new producer.

Rule: a record counts as sent when every replica has it. A record carries its id, so intake stores it once however often
it arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from services.kafka.connecting import Broker, client
from services.sealed import MESSAGE_BYTES

#: kafka-python can spin for ever when metadata names a leader that is not among the brokers. A healthy broker
#: acknowledges within milliseconds, one that elects a leader within seconds.
STALE_SECONDS = 30.0
#: A producer that has nothing left to send needs this long at most to close its connections.
CLOSE_SECONDS = 5.0
#: Producers that achieve nothing before we give up.
PRODUCERS = 3
#: What may wait for its acknowledgement: enough to keep the line busy, little enough to send again.
WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Message:
    """A Kafka record to be. `record` is the hash by which its receipt names it."""

    key: bytes = field(repr=False)
    value: bytes = field(repr=False)
    headers: list[tuple[str, bytes]] = field(repr=False)
    record: bytes = field(repr=False)


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
        max_request_size=MESSAGE_BYTES,
        linger_ms=5,  # A file has thousands of records: few large batches are faster.
        bootstrap_timeout_ms=int(min(10, stale_seconds) * 1000),
        max_block_ms=int(stale_seconds * 1000),
        request_timeout_ms=int(stale_seconds * 1000) - 10,
        delivery_timeout_ms=int(stale_seconds * 1000),
    )
    return producer


class Line:
    """Keeps what is not acknowledged, in order, and sends it again over a new producer when nothing moves."""

    def __init__(self, connect: Callable[[], Producer], topic: str, stale_seconds: float = STALE_SECONDS) -> None:
        self._connect = connect
        self._topic = topic
        self._stale_seconds = stale_seconds
        self._waiting: deque[tuple[Message, Acknowledgement]] = deque()
        self._fruitless = 0
        self._producer = connect()

    def send(self, message: Message) -> None:
        """Send a record, as soon as few enough wait for their acknowledgement.

        Raises:
            KafkaError: the broker refuses, or nothing was acknowledged over several producers.
        """
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
