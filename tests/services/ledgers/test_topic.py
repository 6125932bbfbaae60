"""The ledger in a topic: races, sends that nobody answers, and lines that come late. On Kafka itself: tests/kafka."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka import KafkaProducer

from crypto.ledger import ChainedLedger, Fences, Line
from crypto.lines import Scribe
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import LedgerUnavailable
from domain.ids import TenantId
from services.kafka.connecting import Broker, client
from services.ledgers.topic import TopicPlace

#: kafka-python forgets sockets that it was still connecting.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
SIGNING = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


class Losing(TopicPlace):
    """A place whose connection breaks with the next send: before the brokers have it, or before they say so."""

    breaks: Literal["before", "after", "never"] = "never"

    def _send(self, raw: bytes) -> int | None:
        breaks, self.breaks = self.breaks, "never"
        if breaks == "before":
            return None
        sent = super()._send(raw)
        return None if breaks == "after" else sent


class Writer(ChainedLedger):
    """A ledger in a topic, with all that it is made of."""

    def __init__(self, broker: Broker, topic: str, folder: Path) -> None:
        self.scribe = Scribe(SIGNING, FileRoots(folder / "roots"))
        self.place = Losing(broker, topic, self.scribe)
        super().__init__(self.place, self.scribe)

    def draw_up(self, last: Line | None) -> Line:
        return self.scribe.draw_up(last, **entry())

    def shred(self) -> Line:
        return self.append(**entry())


def entry() -> dict[str, object]:
    return {
        "tenant": TenantId(UUID(int=1)),
        "kind": "subject",
        "key": uuid4(),
        "shred": uuid4(),
        "at": datetime(2026, 11, 24, tzinfo=UTC),
        "fences": Fences((), Key(bytes(32)), ()),
        "issue_counter": 1,
    }


@pytest.fixture
def topic() -> str:
    return f"ledger-{uuid4()}"


@pytest.fixture
def writer(broker: Broker, topic: str, tmp_path: Path) -> Writer:
    return Writer(broker, topic, tmp_path)


@pytest.fixture
def other(broker: Broker, topic: str, tmp_path: Path) -> Writer:
    return Writer(broker, topic, tmp_path)


def test_who_comes_second_hears_it_and_has_the_next_number(writer: Writer, other: Writer) -> None:
    first = writer.shred()
    late = other.draw_up(first)
    second = writer.shred()
    assert other.place.add(late) is False
    assert other.find(late.shred) is None
    third = other.shred()
    for ledger in (writer, other):
        assert list(ledger.read()) == [first, second, third]
        assert (ledger.head(), ledger.last()) == (3, third)


def test_a_line_that_was_sent_and_not_acknowledged_is_looked_for_and_stands(writer: Writer, other: Writer) -> None:
    first = writer.shred()
    writer.place.breaks = "after"
    second = writer.shred()
    assert list(other.read()) == [first, second]


def test_a_line_that_nobody_knows_of_is_no_line_and_the_next_takes_its_number(writer: Writer, other: Writer) -> None:
    first = writer.shred()
    writer.place.breaks = "before"
    lost = writer.draw_up(first)
    with pytest.raises(LedgerUnavailable, match="line 2 of the ledger"):
        writer.place.add(lost)
    assert other.find(lost.shred) is None
    assert other.shred().number == 2


def test_an_unanswered_line_whose_number_another_has_by_now_is_drawn_up_anew(writer: Writer, other: Writer) -> None:
    first = writer.shred()
    draft = writer.draw_up(first)
    second = other.shred()
    writer.place.breaks = "before"
    assert writer.place.add(draft) is False, "whenever it comes, it has lost"
    third = writer.shred()
    assert list(other.read()) == [first, second, third]


def test_a_line_that_comes_late_stands_if_its_number_is_free_and_is_passed_over_if_not(
    broker: Broker, topic: str, writer: Writer, other: Writer
) -> None:
    first = writer.shred()
    late = [writer.draw_up(first), writer.draw_up(first)]
    producer = client(KafkaProducer, broker)
    for line in late:
        producer.send(topic, value=line.encoded()).get(timeout=10)
    producer.close()
    for ledger in (writer, other):
        assert list(ledger.read()) == [first, late[0]]
        assert [ledger.find(line.shred) for line in late] == [late[0], None]
    assert other.shred().number == 3


@pytest.mark.parametrize("known", [True, False])
def test_records_that_anybody_sends_again_neither_move_the_end_back_nor_break_what_follows(
    broker: Broker, topic: str, writer: Writer, other: Writer, known: bool
) -> None:
    """To send them needs no key of ours: they lie in the topic."""
    lines = [writer.shred() for _ in range(20)]
    if known:
        assert other.head() == 20
    producer = client(KafkaProducer, broker)
    for count in (16, 300):
        for number in range(count):
            producer.send(topic, value=lines[number % 16].encoded())
        producer.flush(timeout=30)
        for ledger in (writer, other):
            assert (ledger.head(), ledger.last()) == (len(lines), lines[-1])
        lines.append(other.shred())
    producer.close()
    assert list(writer.read()) == lines


def test_what_is_known_of_the_topic_is_not_read_again(writer: Writer, other: Writer) -> None:
    lines = [writer.shred() for _ in range(3)]
    assert other.head() == 3
    read: list[int] = []
    records = other.place._records

    def counted(*between: object) -> Iterator[tuple[int, bytes]]:
        for offset, raw in records(*between):
            read.append(offset)
            yield offset, raw

    other.place._records = counted
    assert (other.head(), read) == (3, [])
    lines.append(writer.shred())
    assert (other.last(), read) == (lines[-1], [3])


def test_threads_that_look_at_once_agree_and_read_each_record_once(writer: Writer, other: Writer) -> None:
    lines = [writer.shred() for _ in range(12)]
    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(other.last) for _ in range(8)]
        lines.append(writer.shred())
    assert {look.result() for look in looks} <= set(lines[-2:])
    assert other.last() == lines[-1]


def test_a_look_at_a_topic_that_is_not_there_makes_none(writer: Writer) -> None:
    assert (writer.head(), list(writer.read()), writer.find(uuid4())) == (0, [], None)
    assert (writer.head(), writer.shred().number) == (0, 1)


def test_a_line_of_many_references_is_taken(writer: Writer) -> None:
    tags = tuple(number.to_bytes(4, "big") * 8 for number in range(60_000))
    line = writer.append(**entry() | {"fences": Fences((), Key(bytes(32)), tags)})
    assert len(line.encoded()) > 2_500_000
    assert writer.fences_of(next(writer.read())).tags == tags
