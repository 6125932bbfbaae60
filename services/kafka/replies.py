"""Replies: what recipients answer on the topic `sealdesk.privacy.replies`, each answer signed with a secret of theirs.

A reply is JSON, `{"id": ID, "status": STATUS, "mac": MAC}`: the id of the record that it answers; `done`, `unknown` (we
have nothing of these) or `failed` (not yet); and 64 hexadecimal digits of the signature (see `crypto.recipients`).

Anybody whom the brokers let write there can write anything. So a reply without the right signature changes nothing; it
is counted and passed over, and so is what is no reply at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID, uuid5

import orjson
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError

from crypto.keystore import KeyStore, rows_of
from crypto.outbox import Answer, Outbox
from crypto.recipients import SQL
from crypto.roots import Roots
from crypto.tree import Tree
from services.kafka.connecting import Broker, client, told
from services.kafka.decoding import Unreadable, tolerate
from services.kafka.heartbeats import HEARTBEAT

TOPIC = "sealdesk.privacy.replies"
#: A reply has 150 bytes or so; whatever is much larger is none.
REPLY_BYTES = 4_096
#: Replies that are noted in one transaction.
BATCH = 500
#: How long the broker may take for one answer while we wait for it.
ANSWER_MILLISECONDS = 10_000
POLL_MILLISECONDS = 500
#: A broker that lives gives something within this long, where there is something.
SILENT_SECONDS = 20.0
#: Names the topics of brokers so old that they give them no id.
_TOPICS = UUID("0d0c7f0e-4a5b-4a86-9a3f-7b4d0d3a9c11")


@dataclass(frozen=True, slots=True)
class Answered:
    """How many records were read, and how many of them are no reply, nobody's reply, or forged."""

    read: int = 0
    refused: int = 0


class Replies:
    """Read replies, from where the last step ended. How far that was is stored with what they say."""

    def __init__(
        self, broker: Broker, keys: KeyStore, roots: Roots, *, clock: Callable[[], datetime], topic: str = TOPIC
    ) -> None:
        self._broker = broker
        self._keys = keys
        self._roots = roots
        self._clock = clock
        self._topic = topic

    def step(self) -> Answered:
        """Note every reply that the topic holds now.

        Raises:
            BrokerUnavailable: Kafka does not answer or refuses; what was noted is noted.
        """
        read = refused = 0
        with (
            told(self._broker, f"serve the topic {self._topic}"),
            closing(_Reader(self._broker, self._topic)) as reader,
        ):
            for partition in reader.partitions:
                stored = self._stored(reader.topic_id).get(partition, 0)
                if reader.go_to(partition, stored) < stored:
                    self._note(reader.topic_id, partition, _Batch((), 0))
                while (batch := reader.read()) is not None:
                    refused += self._note(reader.topic_id, partition, batch)
                    read += len(batch.values)
        return Answered(read, refused)

    def _stored(self, topic_id: UUID) -> Mapping[int, int]:
        with self._keys.transaction() as cursor:
            rows = rows_of(cursor, SQL.reply_positions.sql, topic_id=topic_id)
        return {row["partition"]: row["next_offset"] for row in rows}

    def _note(self, topic_id: UUID, partition: int, batch: _Batch) -> int:
        answers = [answer for answer in map(answer_of, batch.values) if answer is not None]
        given = {"topic_id": topic_id, "partitions": [partition], "offsets": [batch.next_offset]}
        with self._keys.transaction() as cursor:
            forged = Outbox(Tree(cursor, self._roots)).answer(answers, at=self._clock())
            cursor.execute(SQL.store_reply_positions.sql, given)
        return len(batch.values) - len(answers) + forged


def answer_of(value: bytes | None) -> Answer | None:
    """Read one reply; None for what is none. It never raises."""
    if value is None or len(value) > REPLY_BYTES:
        return None
    try:
        said = orjson.loads(value)
        return Answer(UUID(said["id"]), str(said["status"]), bytes.fromhex(said["mac"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some records of one partition, and the offset behind them."""

    values: Sequence[bytes | None]
    next_offset: int


class _Reader:
    """Reads one partition after the other up to where it ended when it was begun, without a group."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._consumer: Any = client(
            KafkaConsumer,
            broker,
            group_id=None,
            enable_auto_commit=False,
            # Where the stored position is gone: retention has taken what nobody read in time.
            auto_offset_reset="earliest",
            max_poll_records=BATCH,
            bootstrap_timeout_ms=ANSWER_MILLISECONDS,
        )
        tolerate(self._consumer)
        self._topic = topic
        self._end = 0
        #: A topic that does not exist yet has none.
        self.partitions: list[int] = sorted(self._consumer.partitions_for_topic(topic) or ())
        # There is no public way to it in kafka-python 3.0. A broker before Kafka 2.8 gives out none.
        found: UUID | None = self._consumer._cluster.topic_id(topic)
        self.topic_id: UUID = found if found is not None and found.int else uuid5(_TOPICS, topic)

    def go_to(self, partition: int, offset: int) -> int:
        """Read this partition from now on, from this offset up to its end of today. Returns where it begins.

        Where the offset is beyond the end, the topic has lost records, and what is new stands below: so it is read from
        its beginning. An answer may come twice.
        """
        place = TopicPartition(self._topic, partition)
        self._consumer.assign([place])
        self._end = self._consumer.end_offsets([place], timeout_ms=ANSWER_MILLISECONDS)[place]
        start = offset if offset <= self._end else 0
        self._consumer.seek(place, start)
        return start

    def read(self) -> _Batch | None:
        """Give the next records; None at the end."""
        [place] = self._consumer.assignment()
        silent_since = monotonic()
        while self._at(place) < self._end:
            if monotonic() > silent_since + SILENT_SECONDS:
                raise KafkaTimeoutError(f"nothing came for {SILENT_SECONDS:g} seconds")
            found = self._consumer.poll(timeout_ms=POLL_MILLISECONDS).get(place, ())
            if found:
                values = [_value_of(record) for record in found if not _is_heartbeat(record)]
                return _Batch(values, found[-1].offset + 1)
        return None

    def close(self) -> None:
        self._consumer.close(timeout_ms=ANSWER_MILLISECONDS)

    def _at(self, place: TopicPartition) -> int:
        return int(self._consumer.position(place, timeout_ms=ANSWER_MILLISECONDS) or 0)


def _value_of(record: Any) -> bytes | None:
    """Give what a record holds; None of one that cannot be read."""
    value: bytes | None = record.value
    return None if any(isinstance(name, Unreadable) for name, _ in record.headers) else value


def _is_heartbeat(record: Any) -> bool:
    return any(name.lower() == "content-type" and value == HEARTBEAT for name, value in record.headers)
