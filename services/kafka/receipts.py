"""Receipts: what became of each record from Kafka, on a topic that its publishers read.

    key     record hash (32 bytes)
    value   {"record": base64 of that hash, "status": ..., "code": ..., "topic": ..., "partition": ..., "offset": ...}

The record hash is SHA-256 of tenant, source and id as the publisher sent them (`services.records.record_hash`); topic,
partition and offset are those that the publisher's send was acknowledged with. Nothing else of the record is in it.

    stored       its facts are on the log
    duplicate    they were before. With a code it is one of a record that waits. So reads, too, a record that was stored
                 just before a crash: the receipt could not be sent at once
    refused      it is about somebody or something that was shredded; it is not kept
    quarantined  it could not be taken, and the code says why. With `unknown_...` it waits: once what it is about is
                 known, a later receipt says what became of it. Its hash names the id inside, also of a sealed record

That later receipt is lost in a crash between its commit and its sending, and there is none of what `sealdesk keep` took
up after a crash. Whoever has to know sends the record again: it is stored once, and has a receipt each time. The first
receipt counts, but for a record that waited. What an operator replays from the quarantine has none.

Rule: receipts never stop intake. While the brokers do not take them they are kept, and the group's offset at the broker
stays where the last receipt was acknowledged. So a start after a crash reads again what has no receipt yet, and only
says what became of it.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Protocol, get_args

import orjson
from kafka import KafkaProducer
from kafka.errors import KafkaError

from domain.errors import BrokerUnavailable
from services.kafka.connecting import Broker, client
from services.kafka.topics import RECEIPTS
from services.outcomes import Outcome, Status
from services.publishing.line import Line, Message, Producer
from services.records import Parcel, Place, record_hash

#: A producer that gets no answer for so long is replaced; a leader is elected within seconds.
STALE_SECONDS = 5.0
#: After brokers did not take receipts they are asked again after this long, and then ever less often.
FIRST_RETRY_SECONDS = 15.0
LONGEST_RETRY_SECONDS = 300.0
#: Receipts that are kept while brokers take none, in memory: some 50 MB.
KEPT = 100_000
#: Receipts of one batch go in few requests; kafka-python's own 16 KiB would be a hundred each.
_BATCH_BYTES = 512 * 1024
_STATUSES: tuple[str, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one record."""

    record: bytes = field(repr=False)
    status: Status
    code: str
    place: Place


def written(record: bytes, place: Place, outcome: Outcome) -> bytes:
    """Write the value of a receipt."""
    said = {
        "record": base64.b64encode(record).decode(),
        "status": outcome.status,
        "code": outcome.code,
        "topic": place.topic,
        "partition": place.partition,
        "offset": place.offset,
    }
    return orjson.dumps(said)


def read(value: bytes | None) -> Receipt | None:
    """Read the value of a receipt; None for what is none: who else writes to the topic is for the brokers to keep."""
    try:
        said = orjson.loads(value or b"")
        record = base64.b64decode(said["record"], validate=True)
        place = Place(said["topic"], said["partition"], said["offset"])
        receipt = Receipt(record, said["status"], said["code"], place)
    except (orjson.JSONDecodeError, binascii.Error, KeyError, TypeError, ValueError, AttributeError):
        return None
    fits = isinstance(place.topic, str) and isinstance(place.partition, int) and isinstance(place.offset, int)
    return receipt if fits and receipt.status in _STATUSES and isinstance(receipt.code, str) else None


class Carried(Protocol):
    """A record as kafka-python gives it."""

    @property
    def value(self) -> bytes | None:
        """Return what it holds."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Return what stands beside it, in order."""


def record_in(message: Carried, parcel: Parcel) -> bytes:
    """Hash tenant, source and id of a record as its publisher sent them, before admission. What it lacks is empty.

    `parcel` is what was read of it: then nothing has to be read a second time. An event in structured mode may have
    some of its attributes beside it as well, for whoever routes it; what counts is the event.
    """
    if parcel.told_as:
        return parcel.told_as
    if parcel.drafts:
        draft = parcel.drafts[0]
        return record_hash(draft.tenant, draft.source, draft.id)
    headers = {name.lower(): value for name, value in message.headers if value is not None}
    attributes = {name[3:]: said.decode(errors="replace") for name, said in headers.items() if name.startswith("ce_")}
    if attributes and not headers.get("content-type", b"").lower().startswith(b"application/cloudevents"):
        return _hashed(attributes)
    try:
        event = orjson.loads(message.value or b"")
    except orjson.JSONDecodeError:
        event = None
    return _hashed(event if isinstance(event, dict) else {})


def _hashed(attributes: Mapping[str, Any]) -> bytes:
    tenant, source, id_ = (attributes.get(name) for name in ("tenant", "source", "id"))
    return record_hash(*(said if isinstance(said, str) else "" for said in (tenant, source, id_)))


class Batch(Protocol):
    """A batch that is stored: each record with where it stood, its hash, and what became of it.

    Records that were taken up meanwhile (`services.outcomes.Later`) are among them.
    """

    @property
    def records(self) -> Sequence[tuple[Place, bytes, Outcome]]:
        """Return them in order."""


class Receipts:
    """Sends the receipts of batches, in order. `tell` takes a sentence for whoever reads the process log."""

    def __init__(
        self,
        broker: Broker,
        topic: str = RECEIPTS,
        *,
        tell: Callable[[str], object] = lambda text: None,
        stale_seconds: float = STALE_SECONDS,
        connect: Callable[[], Producer] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._tell = tell
        self._stale_seconds = stale_seconds
        self._connect = connect or partial(_connected, broker, stale_seconds)
        self._clock = clock
        self._line: Line | None = None
        self._unsent: deque[Message] = deque()
        self._overflowed = False
        self._retry_seconds = 0.0
        self._retry_at = 0.0

    def __call__(self, batch: Batch) -> bool:
        """Send the receipts of a batch, and wait until every replica has them.

        Returns whether all receipts up to here are told: only then may the group's offset at the broker follow.

        Raises:
            BrokerUnavailable: more receipts than are kept could not be sent, and now they can be. Start consuming
                again: what has no receipt is read again, and nothing is stored twice.
        """
        self._unsent.extend(
            Message(record, written(record, place, outcome), [], record) for place, record, outcome in batch.records
        )
        if self._retry_seconds and self._clock() < self._retry_at:
            return self._kept()
        try:
            self._send()
        except KafkaError as error:
            self._failed(error)
            return self._kept()
        self._well()
        return True

    def close(self) -> None:
        """Close the producer. Receipts that were not taken are said after the next start."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _send(self) -> None:
        if self._line is None:
            self._line = Line(self._connect, self._topic, self._stale_seconds)
        for message in self._unsent:
            self._line.send(message)
        self._line.settle(0)
        self._unsent.clear()

    def _failed(self, error: KafkaError) -> None:
        self.close()
        if not self._retry_seconds:
            self._tell(
                f"Kafka at {self._broker.bootstrap} takes no receipts on the topic {self._topic} "
                f"({type(error).__name__}). Intake goes on; publishers learn later what became of their records. "
                "Make the topic with: sealdesk topics create; or say SEALDESK_RECEIPTS=off"
            )
        self._retry_seconds = min(max(2 * self._retry_seconds, FIRST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)
        self._retry_at = self._clock() + self._retry_seconds

    def _kept(self) -> bool:
        if len(self._unsent) > KEPT:
            self._overflowed = True
            # The newest show, when they are sent, that receipts are taken again.
            self._unsent = deque([self._unsent[-1]])
        return False

    def _well(self) -> None:
        if self._retry_seconds:
            self._retry_seconds = 0.0
            self._tell(f"Kafka takes receipts again on the topic {self._topic}")
        if self._overflowed:
            self._overflowed = False
            raise BrokerUnavailable("Receipts have to be said that were not kept: start consuming again.")


def _connected(broker: Broker, stale_seconds: float) -> Producer:
    """Connect an idempotent producer that sends receipts in few large batches.

    Raises:
        KafkaError: the broker does not answer.
    """
    milliseconds = int(stale_seconds * 1000)
    producer: Producer = client(
        KafkaProducer,
        broker,
        acks="all",
        enable_idempotence=True,
        batch_size=_BATCH_BYTES,
        linger_ms=5,
        bootstrap_timeout_ms=milliseconds,
        max_block_ms=milliseconds,
        request_timeout_ms=milliseconds - 10,
        delivery_timeout_ms=milliseconds,
    )
    return producer
