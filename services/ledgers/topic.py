"""The ledger as a topic of Kafka: one partition, and nothing of it ever expires.

A record's value is the line; it has no key and no headers. Which records stand says `services.ledgers.course`. A writer
sends with `acks=all` as an idempotent producer, and says that its line stands after it has read the log as far as
that. If the brokers do not answer it may have been sent all the same: it is looked for, and stands or not by the same
rule, whenever it comes.

The first line makes the topic, with `SETTINGS`. A topic that lets lines expire, or may lose them, is refused whenever
it is looked at, and so is one whose log does not begin at offset 0. A topic that was deleted and made anew is an empty
ledger: behind the databases, which the start finds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    CorruptRecordError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from crypto.ledger import ChainedLedger
from crypto.lines import Line, Scribe
from crypto.roots import Roots
from domain.errors import BrokerUnavailable, LedgerBroken, LedgerUnavailable, SettingsWrong
from services.kafka.connecting import ANSWER_MILLISECONDS, Broker, client, told
from services.kafka.inspecting import administering, keeps_files, topics_by_name
from services.ledgers.course import Course

#: A line of a person with 100,000 references has 5 MB.
LINE_BYTES = 16 * 1024 * 1024
SETTINGS = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(LINE_BYTES),
    "unclean.leader.election.enable": "false",
    "compression.type": "producer",
}
#: What a topic has to say, or lines could go: `SETTINGS` without what only matters to a long line.
_NEEDED = ("cleanup.policy", "retention.ms", "retention.bytes", "unclean.leader.election.enable")
#: The election of another leader takes seconds; until then the writer holds the locks of whom it shreds.
SEND_MILLISECONDS = 30_000
FETCH_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Log:
    """The topic as it is now: its id, and from which offset to which it goes."""

    id: UUID
    end: int


class TopicPlace:
    """Keep lines as the records of a topic."""

    def __init__(self, broker: Broker, topic: str, scribe: Scribe) -> None:
        self._broker = broker
        self._topic = topic
        self._partition = TopicPartition(topic, 0)
        self._scribe = scribe
        self._course = Course(scribe)
        #: Of which topic the course is, and up to which offset.
        self._known = _Log(UUID(int=0), 0)
        self._is_made = False
        self._lock = threading.Lock()

    def last(self) -> tuple[int | None, bytes] | None:
        with self._reading() as (consumer, log):
            if log is None:
                return None
            return self._follow(consumer, log).last

    def lines(self, after: int = 0) -> Iterator[bytes]:
        with self._reading() as (consumer, log):
            if log is not None:
                yield from islice((raw for _, raw in self._standing(consumer, log)), after, None)

    def candidates(self, shred: UUID) -> Iterator[tuple[int, bytes]]:
        with self._reading() as (consumer, log):
            if log is None:
                return
            course = self._follow(consumer, log)
            if shred in course.places:
                offset, number = course.places[shred]
                yield from ((number, raw) for _, raw in self._records(consumer, offset, offset + 1))

    def add(self, line: Line) -> bool:
        # Never by sending: brokers that make topics by themselves make them with their own retention.
        if not self._is_made:
            with self._reachable("make the ledger"), administering(self._broker, "make the ledger") as admin:
                self._make(admin)
        sent = self._send(line.encoded())
        with self._reading() as (consumer, log):
            if log is None:
                raise LedgerUnavailable(f"the topic {self._topic} of the ledger has been deleted")
            # The leader has it before the readers may see it.
            course = self._follow(consumer, _Log(log.id, log.end if sent is None else max(log.end, sent + 1)))
            if course.head >= line.number:
                return course.has(line)
        raise LedgerUnavailable(
            f"the brokers of {self._topic} do not say whether they have line {line.number} of the ledger; what was "
            "asked for goes on, or is given up, with the next command"
        )

    def _send(self, raw: bytes) -> int | None:
        """Send a line. Returns its offset; None if nobody knows whether it was stored."""
        with self._reachable("take a line of the ledger"):
            producer = client(
                KafkaProducer,
                self._broker,
                acks="all",
                enable_idempotence=True,
                max_request_size=LINE_BYTES,
                request_timeout_ms=ANSWER_MILLISECONDS,
                delivery_timeout_ms=SEND_MILLISECONDS,
                max_block_ms=ANSWER_MILLISECONDS,
                bootstrap_timeout_ms=ANSWER_MILLISECONDS,
            )
            try:
                sending = producer.send(self._topic, value=raw, partition=0)
                try:
                    return int(sending.get(timeout=SEND_MILLISECONDS / 1000 + 1).offset)
                except (MessageSizeTooLargeError, TopicAuthorizationFailedError):
                    # They were told no, so nothing was stored.
                    raise
                except KafkaError:
                    return None
            finally:
                producer.close(timeout=1)

    def _make(self, admin: KafkaAdminClient) -> None:
        """Make the topic, on up to three brokers, if it is missing."""
        if topics_by_name(admin, [self._topic]):
            return
        alive = [each for each in admin.describe_cluster()["brokers"] if not each.get("is_fenced")]
        copies = min(3, len(alive))
        settings = SETTINGS | {"min.insync.replicas": str(max(1, copies - 1))}
        wanted = {"num_partitions": 1, "replication_factor": copies, "configs": settings}
        try:
            admin.create_topics({self._topic: wanted}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            return

    @contextmanager
    def _reading(self) -> Iterator[tuple[KafkaConsumer, _Log | None]]:
        """Look whether the topic keeps everything, and read it. None where there is no topic."""
        with self._reachable("show the ledger"):
            with administering(self._broker, "show the ledger") as admin:
                id_ = self._checked(admin)
            self._is_made = id_ is not None
            if id_ is None:
                yield None, None
                return
            consumer = client(
                KafkaConsumer,
                self._broker,
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                # An offset that is gone must not pass for the end.
                auto_offset_reset="none",
                max_partition_fetch_bytes=LINE_BYTES,
                fetch_max_bytes=FETCH_BYTES,
                request_timeout_ms=ANSWER_MILLISECONDS,
                bootstrap_timeout_ms=ANSWER_MILLISECONDS,
            )
            try:
                consumer.assign([self._partition])
                begin = consumer.beginning_offsets([self._partition])[self._partition]
                if begin > 0:
                    raise LedgerBroken(
                        f"line 1 of the ledger is missing: the topic {self._topic} begins at offset {begin}; see "
                        "docs/runbooks/loss-of-the-ledger.md"
                    )
                yield consumer, _Log(id_, consumer.end_offsets([self._partition])[self._partition])
            finally:
                consumer.close()

    def _checked(self, admin: KafkaAdminClient) -> UUID | None:
        """Return the id of the topic, None if it is missing.

        Raises:
            SettingsWrong: lines could go from it.
        """
        found = topics_by_name(admin, [self._topic]).get(self._topic)
        if found is None:
            return None
        wrong = [] if len(found["partitions"]) == 1 else ["it has to have one partition"]
        if keeps_files(admin):
            said = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, self._topic)], config_filter="all")
            settings = {name: str(each["value"]) for name, each in said.get("topic", {}).get(self._topic, {}).items()}
            if not settings:
                # Kafka answers with no setting at all. kafka-python does not say why.
                raise TopicAuthorizationFailedError("DescribeConfigs")
            wrong += [f"{name}={SETTINGS[name]}" for name in _NEEDED if settings.get(name) != SETTINGS[name]]
            copies = len(found["partitions"][0]["replica_nodes"])
            if copies > 1 and int(settings.get("min.insync.replicas", "1")) < 2:
                wrong.append("min.insync.replicas=2")
        if wrong:
            raise SettingsWrong(
                f"The topic {self._topic} may lose lines of the ledger. Set, with kafka-configs --alter: "
                f"{', '.join(wrong)}"
            )
        return UUID(str(found["topic_id"]))

    def _follow(self, consumer: KafkaConsumer, log: _Log) -> Course:
        """Take what came since the course was last followed: all of it, the first time."""
        with self._lock:
            end = log.end
            if self._known.id == log.id and self._known.end > end:
                # Another thread has followed it farther since this one asked; or the end was cut off.
                end = consumer.end_offsets([self._partition])[self._partition]
            if self._known.id != log.id or self._known.end > end:
                self._course, self._known = Course(self._scribe), _Log(log.id, 0)
            for offset, raw in self._records(consumer, self._known.end, end):
                self._course.take(offset, raw)
                self._known = _Log(log.id, offset + 1)
            return self._course

    def _standing(self, consumer: KafkaConsumer, log: _Log) -> Iterator[tuple[int, bytes]]:
        """Go through the lines that stand, with their offsets, from the first record on."""
        course = Course(self._scribe)
        return ((offset, raw) for offset, raw in self._records(consumer, 0, log.end) if course.take(offset, raw))

    def _records(self, consumer: KafkaConsumer, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Read the records from one offset to the one before another."""
        if start >= end:
            return
        consumer.seek(self._partition, start)
        while consumer.position(self._partition) < end:
            polled = consumer.poll(timeout_ms=ANSWER_MILLISECONDS, max_records=1000).get(self._partition, [])
            if not polled and consumer.position(self._partition) < end:
                raise LedgerUnavailable(f"the brokers of {self._topic} give no more of the ledger for now")
            for record in polled:
                if record.offset < end:
                    yield record.offset, record.value or b""

    @contextmanager
    def _reachable(self, doing: str) -> Iterator[None]:
        """Translate what kafka-python raises."""
        try:
            with told(self._broker, doing):
                yield
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, CorruptRecordError):
                raise LedgerBroken(f"a record of {self._topic} is not as its writer sent it") from error
            raise LedgerUnavailable(str(error)) from error


class TopicLedger(ChainedLedger):
    """Keep the ledger in a topic."""

    def __init__(self, broker: Broker, topic: str, signing: Ed25519PrivateKey, roots: Roots) -> None:
        scribe = Scribe(signing, roots)
        super().__init__(TopicPlace(broker, topic, scribe), scribe)
