"""What only Apache Kafka itself can show of consuming: transactions, rebalances, files that rot, clients that hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition

from services.kafka import stalling
from services.kafka.connecting import Broker, client, told
from services.kafka.consuming import Consuming, Stored, consume
from services.kafka.heartbeats import beat
from services.kafka.joining import joined
from services.kafka.reading import Reader
from tests.kafka.cluster import Cluster
from tests.services.kafka.desk import Desk, event

SESSION_SECONDS = 10.0


def read(broker: Broker, desk: Desk, topic: str, **options: Any) -> list[Stored]:
    usual: dict[str, Any] = {"topics": [topic], "group": topic, "until_idle": True}
    return list(consume(broker, desk, desk, **(usual | options)))


@contextmanager
def producing(broker: Broker, **settings: Any) -> Iterator[Any]:
    producer = client(KafkaProducer, broker, **settings)
    try:
        yield producer
    finally:
        producer.close()


class Odd(str):
    """A name that is written as no UTF-8."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfeKarl"


def test_whatever_stands_in_a_topic_is_stored_or_said_to_be_wrong_and_nothing_stops(single: Cluster) -> None:
    topic = single.create_topic("whatever")
    with producing(single.broker) as producer:
        producer.send(topic, event(1))
        producer.send(topic, event(2), headers=[(Odd("x"), b"1")])
        producer.send(topic, key=b"k", value=None)
        producer.send(topic, event(3), headers=[("content-type", b"application/cloudevents+json")])
    beat(single.broker, [(topic, 0)])
    for number, packed_by in enumerate(["gzip", "snappy", "lz4", "zstd"], 10):
        with producing(single.broker, compression_type=packed_by) as producer:
            producer.send(topic, event(number))
    desk = Desk()

    batches = read(single.broker, desk, topic)

    assert desk.refused == ["wrong_header", "no_value"]
    assert {id_ for _, id_ in desk.facts} == {"1", "3", "10", "11", "12", "13"}
    assert [place.offset for stored in batches for place, _, _ in stored.records] == [0, 1, 2, 3, 5, 6, 7, 8]


def test_what_a_transaction_took_back_never_happened_and_what_is_still_open_is_waited_for(single: Cluster) -> None:
    topic = single.create_topic("transactions")
    desk = Desk()
    with producing(single.broker, transactional_id=topic) as producer:
        producer.init_transactions()
        for number, ends in enumerate([producer.commit_transaction, producer.abort_transaction]):
            producer.begin_transaction()
            producer.send(topic, event(number)).get(timeout=30)
            ends()
        producer.begin_transaction()
        producer.send(topic, event(7)).get(timeout=30)
        with producing(single.broker) as other:
            other.send(topic, event(8)).get(timeout=30)
        read(single.broker, desk, topic)
        assert {id_ for _, id_ in desk.facts} == {"0"}
        producer.commit_transaction()

    read(single.broker, desk, topic)

    assert {id_ for _, id_ in desk.facts} == {"0", "7", "8"}


def test_a_batch_that_rotted_on_the_disk_is_put_aside_and_the_others_are_read(single: Cluster) -> None:
    topic = single.create_topic("rotten")
    with producing(single.broker) as producer:
        for number in range(3):
            producer.send(topic, event(number, source="/rots" if number == 1 else "/test")).get(timeout=30)
    [segment] = [path for path in single.holding(b"/rots") if path.parent.name.startswith(topic)]
    whole = segment.read_bytes()
    segment.write_bytes(whole.replace(b"/rots", b"/rost"))
    desk = Desk()

    read(single.broker, desk, topic)

    assert desk.refused == ["corrupt"]
    assert {id_ for _, id_ in desk.facts} == {"0", "2"}
    assert [sum(found.values()) for found in desk.positions.values()] == [3]


@dataclass
class Member:
    """A consumer in a thread."""

    broker: Broker
    desk: Desk
    topic: str
    batches: list[Stored] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for stored in consume(
                self.broker, self.desk, self.desk, topics=[self.topic], group=self.topic, stop=self.stop, batch_size=20
            ):
                self.batches.append(stored)
        except BaseException as error:
            self.failed.append(error)

    def end(self) -> float:
        began = time.monotonic()
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        assert self.failed == []
        return time.monotonic() - began


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_members_that_come_and_go_move_partitions_and_store_every_record_once_in_order(single: Cluster) -> None:
    topic = single.create_topic("moving", partitions=6)
    desk = Desk()
    count = 0

    def publish(more: int) -> None:
        nonlocal count
        with producing(single.broker) as producer:
            for number in range(count, count + more):
                producer.send(topic, event(number), partition=number % 6)
        count += more

    members: list[Member] = []
    publish(200)
    for _ in range(3):
        members.append(Member(single.broker, desk, topic))
        end = time.monotonic() + 60
        while not members[-1].batches:
            assert time.monotonic() < end
            publish(60)
    first, *others = members
    took = first.end()
    publish(300)
    until(lambda: len(desk.facts) == count, SESSION_SECONDS + 20)
    for member in others:
        member.end()

    assert took < SESSION_SECONDS
    [positions] = desk.positions.values()
    assert sum(positions.values()) == count == len(desk.facts)
    places = [place for member in members for stored in member.batches for place, _, _ in stored.records]
    assert len(places) == len(set(places)) == count
    # Cooperative: what stays with a member is not asked of the stored positions again, so nobody gave a batch up.
    assert desk.takes == sum(len(member.batches) for member in members)


def test_what_one_member_leaves_another_has_before_the_session_is_over(single: Cluster) -> None:
    topic = single.create_topic("leaving")
    desk = Desk()
    with producing(single.broker) as producer:
        producer.send(topic, event(1)).get(timeout=30)
        one = Member(single.broker, desk, topic)
        until(lambda: len(desk.facts) == 1)
        two = Member(single.broker, desk, topic)
        time.sleep(1)
        one.end()
        began = time.monotonic()
        producer.send(topic, event(2)).get(timeout=30)
        until(lambda: len(desk.facts) == 2)
        took = time.monotonic() - began
    two.end()
    assert took < SESSION_SECONDS / 2


@dataclass
class Trouble:
    """Hears what went wrong."""

    heard: list[str] = field(default_factory=list)

    def step(self, name: str, seconds: float) -> None:
        pass

    def failed(self, name: str, error: BaseException) -> None:
        self.heard.append(str(error))

    def member(self, is_in: bool) -> None:
        pass


def test_a_client_whose_thread_hangs_is_replaced_and_the_rest_is_read(
    single: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalling, "CALL_SECONDS", 3.0)
    topic = single.create_topic("hanging")
    desk, trouble, hangs = Desk(), Trouble(), threading.Event()
    consumers: list[Any] = []

    def read(member: Any) -> Reader:
        consumers.append(member.consumer)
        return Reader(member, [topic], batch_size=10, tells=False)

    running = Consuming(
        join=lambda: joined(single.broker, topic, session_seconds=6.0),
        read=read,
        taker=desk,
        positions=desk,
        admit=lambda parcel: parcel,
        opener=nullcontext,
        followers=[],
        stop=threading.Event(),
        until_idle=True,
        observer=trouble,
        clock=lambda: datetime.now(UTC),
    ).run(lambda: told(single.broker, "serve this"))
    with producing(single.broker) as producer:
        for number in range(10):
            producer.send(topic, event(number))
    next(running)
    with producing(single.broker) as producer:
        for number in range(10, 20):
            producer.send(topic, event(number))
    was_in = list(consumers[0].assignment())
    consumers[0]._net.call_soon_threadsafe(hangs.wait)

    try:
        list(running)
    finally:
        hangs.set()

    assert was_in == [TopicPartition(topic, 0)]
    assert len(consumers) == 2
    assert any("Wedged" in said for said in trouble.heard)
    assert len(desk.facts) == 20
