"""Receipts at the publisher: what became of each record at the desk, told by the hash of its id.

Rule: a record counts as taken when its receipt says so. One without a receipt after a while is sent again; intake
stores it once however often it arrives. Receipts may come twice, and the first one counts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from domain.errors import BrokerUnavailable
from services.kafka import receipts
from services.kafka.connecting import ANSWER_MILLISECONDS, Broker, client, told
from services.kafka.topics import RECEIPTS
from services.outcomes import Status
from services.publishing.line import Line, Message

#: A desk that runs says a receipt within a second or two, one that restarts within half a minute.
RESEND_SECONDS = 60.0
#: What may be without a receipt: so many records are kept in memory, to be sent again.
UNTOLD = 10_000
#: How long a desk may say nothing at all while a publisher has no room for more.
SILENT_SECONDS = 300.0
#: How often receipts are looked at while there is room for more records.
LOOK_SECONDS = 1.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class NamedReceipt:
    """What became of one record, by the id that its publisher gave it, with a reason code unless it was stored.

    The receipt itself (`services.kafka.receipts`) says a hash in its place.
    """

    id: str = field(repr=False)
    status: Status
    code: str = ""


@dataclass(frozen=True, slots=True)
class Receipted:
    """How the records of a publisher fared at the desk. `missing` have no receipt yet."""

    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    quarantined: int = 0
    missing: int = 0


@dataclass(slots=True)
class _Untold:
    """A record that has no receipt yet."""

    message: Message = field(repr=False)
    id: str = field(repr=False)
    sent_at: float


class Awaiting:
    """Sends over a line and keeps every record until its receipt has come."""

    def __init__(
        self, line: Line, broker: Broker, topic: str = RECEIPTS, *, resend_seconds: float = RESEND_SECONDS
    ) -> None:
        self._line = line
        self._resend_seconds = resend_seconds
        self._untold: dict[bytes, _Untold] = {}
        self._counts: Counter[Status] = Counter()
        self._fresh: deque[NamedReceipt] = deque(maxlen=UNTOLD)
        self._reader = _Reader(broker, topic)
        self._received_at = monotonic()

    def send(self, message: Message, id: str = "") -> None:
        """Send a record, as soon as few enough lack their receipt.

        Raises:
            BrokerUnavailable: there is no room, and no receipt comes.
        """
        heard_at = monotonic()
        while len(self._untold) >= UNTOLD:
            if self._receive(_POLL_SECONDS):
                heard_at = monotonic()
            elif monotonic() > heard_at + SILENT_SECONDS:
                raise BrokerUnavailable(
                    f"{len(self._untold)} records have no receipt and none comes: does 'sealdesk consume' run?"
                )
        if monotonic() > self._received_at + LOOK_SECONDS:
            # What lies without a receipt for too long is sent again, also while there is room.
            self._receive(0.0)
        self._line.send(message)
        # They stand in the order of their sending: one that is published again goes to the end.
        self._untold.pop(message.record, None)
        self._untold[message.record] = _Untold(message, id, monotonic())

    def fresh(self, seconds: float = 0.0) -> list[NamedReceipt]:
        """Give the receipts that have come since this was asked last (the last 10,000), or wait so long for the first.

        What has waited too long for its receipt is sent again.
        """
        self._receive(0.0 if self._fresh else seconds)
        found = list(self._fresh)
        self._fresh.clear()
        return found

    def wait(self, seconds: float) -> Receipted:
        """Wait until every record has its receipt, at most so long."""
        end = monotonic() + seconds
        while self._untold and (left := end - monotonic()) > 0:
            self._receive(min(left, _POLL_SECONDS))
        return self.receipted()

    def receipted(self) -> Receipted:
        """Say how all records fared so far."""
        counts = self._counts
        return Receipted(
            counts["stored"], counts["duplicate"], counts["refused"], counts["quarantined"], len(self._untold)
        )

    def close(self) -> None:
        """Read no more receipts."""
        self._reader.close()

    def _receive(self, seconds: float) -> int:
        self._received_at = monotonic()
        before = len(self._untold)
        for said in self._reader.read(seconds):
            untold = self._untold.pop(said.record, None)
            if untold is not None:
                self._counts[said.status] += 1
                self._fresh.append(NamedReceipt(untold.id, said.status, said.code))
        found = before - len(self._untold)
        self._send_again()
        return found

    def _send_again(self) -> None:
        now = monotonic()
        # They stand in the order of their sending, so the first that is young ends it.
        while self._untold:
            record, untold = next(iter(self._untold.items()))
            if untold.sent_at + self._resend_seconds > now:
                return
            self._line.send(untold.message)
            untold.sent_at = now
            self._untold[record] = self._untold.pop(record)


class _Reader:
    """Reads all partitions of the receipts from now on, for itself and without a group."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        with self._told():
            self._consumer: Any = client(
                KafkaConsumer,
                broker,
                group_id=None,
                enable_auto_commit=False,
                # A partition that comes later is read from its beginning.
                auto_offset_reset="earliest",
                bootstrap_timeout_ms=ANSWER_MILLISECONDS,
            )
            try:
                partitions = self._assign()
                self._consumer.seek_to_end(*partitions)
                for partition in partitions:
                    self._consumer.position(partition, timeout_ms=ANSWER_MILLISECONDS)
            except BaseException:
                self._consumer.close(timeout_ms=ANSWER_MILLISECONDS)
                raise

    def read(self, seconds: float) -> Iterator[receipts.Receipt]:
        """Give the receipts that have come, and wait so long for the first."""
        with self._told():
            self._assign()
            batch = self._consumer.poll(timeout_ms=int(seconds * 1000))
        for messages in batch.values():
            for message in messages:
                if (said := receipts.read(message.value)) is not None:
                    yield said

    def close(self) -> None:
        self._consumer.close(timeout_ms=ANSWER_MILLISECONDS)

    def _assign(self) -> list[TopicPartition]:
        known = self._consumer.assignment()
        found = {
            TopicPartition(self._topic, number) for number in self._consumer.partitions_for_topic(self._topic) or ()
        }
        if not found:
            raise BrokerUnavailable(f"There is no topic {self._topic}; make it with: sealdesk topics create")
        if found - known:
            # Positions of those that were assigned before are kept.
            self._consumer.assign(sorted(known | found))
        return sorted(found)

    def _told(self) -> Any:
        return told(self._broker, f"serve the topic {self._topic}")
