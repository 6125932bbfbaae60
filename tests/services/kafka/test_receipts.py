"""Receipts: each record has one, in order, and brokers that take none stop no intake."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, TopicAuthorizationFailedError

from domain.errors import BrokerUnavailable
from services.kafka import receipts
from services.kafka.connecting import Broker
from services.kafka.messages import parcel_from
from services.kafka.receipts import Receipt, Receipts, read, record_in, written
from services.outcomes import Outcome
from services.publishing.line import Producer
from services.publishing.sending import message_of
from services.records import Parcel, Place, parcel_of, record_hash

_topics = count(1)


@dataclass(frozen=True)
class Stored:
    """A batch, as far as receipts need it."""

    records: list[tuple[Place, bytes, Outcome]]


@dataclass(frozen=True)
class Got:
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def batch(numbers: range) -> Stored:
    return Stored(
        [(Place("acme.records", 2, n), record_hash("acme", "crm", f"{n}"), Outcome("stored")) for n in numbers]
    )


@pytest.fixture
def topic() -> str:
    return f"receipts-{next(_topics)}"


def told(broker: Broker, topic: str) -> Iterator[tuple[bytes, Receipt]]:
    """Read every receipt there is, with its key."""
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=None, auto_offset_reset="earliest")
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(one) < ends[one] for one in partitions):
            for messages in consumer.poll(timeout_ms=500).values():
                for message in messages:
                    receipt = read(message.value)
                    assert receipt is not None
                    yield message.key, receipt
    finally:
        consumer.close()


# -- what a receipt says ----------------------------------------------------------------------------------------------

outcomes = st.builds(Outcome, st.sampled_from(["stored", "duplicate", "refused", "quarantined"]), st.text(max_size=20))
places = st.builds(Place, st.text(max_size=20), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))


@given(st.binary(min_size=32, max_size=32), places, outcomes)
def test_a_receipt_reads_as_it_was_written(record: bytes, place: Place, outcome: Outcome) -> None:
    assert read(written(record, place, outcome)) == Receipt(record, outcome.status, outcome.code, place)


def test_a_receipt_names_a_hash_a_place_and_a_reason_and_nothing_else() -> None:
    said = orjson.loads(written(bytes(32), Place("t", 1, 2), Outcome("quarantined", "not_json")))
    assert said == {
        "record": base64.b64encode(bytes(32)).decode(),
        "status": "quarantined",
        "code": "not_json",
        "topic": "t",
        "partition": 1,
        "offset": 2,
    }


json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
fields = st.sampled_from(["record", "status", "code", "topic", "partition", "offset"])


@given(st.none() | st.binary() | json.map(orjson.dumps) | st.dictionaries(fields, json).map(orjson.dumps))
def test_what_is_no_receipt_reads_as_none(value: bytes | None) -> None:
    assert read(value) is None


EVENT = {
    "specversion": "1.0",
    "id": "k\u00f6nig-7",
    "source": "crm",
    "type": "sealdesk.contact.created.v1",
    "tenant": "acme",
    "time": "2026-03-01T12:00:00Z",
    "data": {"id": 7},
}
NAMED = record_hash("acme", "crm", "k\u00f6nig-7")
STRUCTURED = b"application/cloudevents+json; charset=UTF-8"


@pytest.mark.parametrize(
    ("message", "record"),
    [
        (Got(orjson.dumps(EVENT), []), NAMED),
        (Got(orjson.dumps(EVENT | {"type": "unheard of"}), []), NAMED),
        # Whoever routes it may have put some attributes beside an event that is whole, or broken.
        (Got(orjson.dumps(EVENT), [("content-type", STRUCTURED), ("ce_type", b"x")]), NAMED),
        (Got(orjson.dumps(EVENT | {"type": "x"}), [("content-type", STRUCTURED), ("ce_type", b"x")]), NAMED),
        (
            Got(orjson.dumps({name: EVENT[name] for name in EVENT if name != "tenant"}), []),
            record_hash("", "crm", "k\u00f6nig-7"),
        ),
        (Got(orjson.dumps(EVENT | {"id": ["a"]}), []), record_hash("acme", "crm", "")),
        (Got(b"no json", []), record_hash(None, "", "")),
        (Got(None, []), record_hash(None, "", "")),
        (Got(b"{}", [("ce_id", b"x"), ("ce_source", b"crm"), ("ce_tenant", b"acme")]), record_hash("acme", "crm", "x")),
        (Got(b"\x00", [("ce_id", b"\xff"), ("ce_source", None)]), record_hash("", "", "\ufffd")),
    ],
)
def test_a_record_is_named_by_what_its_publisher_sent(message: Got, record: bytes) -> None:
    parcel = parcel_from(message)
    assert parcel is not None
    assert record_in(message, parcel) == record


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_a_publisher_knows_the_hash_before_it_sends(mode: Any) -> None:
    sent = message_of(parcel_of(orjson.dumps(EVENT)), mode)
    message = Got(sent.value, list(sent.headers))
    parcel = parcel_from(message)
    assert isinstance(parcel, Parcel)
    assert record_in(message, parcel) == sent.record == NAMED


# -- sending them ---------------------------------------------------------------------------------------------------


def test_every_record_has_its_receipt_under_its_hash(broker: Broker, topic: str) -> None:
    told_so: list[str] = []
    sender = Receipts(broker, topic, tell=told_so.append)
    assert sender(batch(range(1_500))) is True
    assert sender(Stored([])) is True
    assert sender(batch(range(1_500, 1_600))) is True
    sender.close()
    found = list(told(broker, topic))
    assert {receipt.place.offset for _, receipt in found} == set(range(1_600))
    assert len(found) == 1_600
    assert all(key == receipt.record for key, receipt in found)
    assert told_so == []


class Refusing:
    """A producer whose broker does not let it write, as Apache Kafka says by an error for each record."""

    closed = 0

    def send(self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> Any:
        return _Answer(TopicAuthorizationFailedError())

    def close(self, timeout: float | None = None) -> None:
        Refusing.closed += 1


class Silent(Refusing):
    """A producer that takes records and never hears of them."""

    def send(self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> Any:
        return _Answer(KafkaTimeoutError("nobody answers"))


class _Answer:
    is_done = False

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get(self, timeout: float | None = None) -> Any:
        raise self._error


def absent() -> Producer:
    """Connect to brokers that are not there."""
    raise KafkaConnectionError


@pytest.mark.parametrize("wrong", [Refusing, Silent, absent])
def test_brokers_that_take_no_receipts_hold_the_mirror_and_are_asked_again_later(
    broker: Broker, topic: str, wrong: Callable[[], Producer]
) -> None:
    told_so: list[str] = []
    asked = 0
    at = 0.0
    real = receipts._connected

    def connect() -> Producer:
        nonlocal asked
        asked += 1
        return wrong() if at < 60 else real(broker, 5)

    sender = Receipts(broker, topic, tell=told_so.append, connect=connect, clock=lambda: at)
    assert sender(batch(range(10))) is False
    tries = asked
    assert sender(batch(range(10, 20))) is False
    assert asked == tries, "it is not asked at every batch"
    at = 100.0
    assert sender(batch(range(20, 30))) is True
    sender.close()
    assert sorted(receipt.place.offset for _, receipt in told(broker, topic)) == list(range(30))
    assert [text.partition(" on the topic")[0] for text in told_so] == [
        f"Kafka at {broker.bootstrap} takes no receipts",
        "Kafka takes receipts again",
    ]


def test_more_receipts_than_are_kept_are_told_by_a_new_start(
    broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "KEPT", 15)
    at = 0.0
    real = receipts._connected
    sender = Receipts(broker, topic, connect=lambda: Refusing() if at < 60 else real(broker, 5), clock=lambda: at)
    assert [sender(batch(range(n, n + 10))) for n in (0, 10, 20)] == [False, False, False]
    at = 100.0
    with pytest.raises(BrokerUnavailable, match="start consuming again"):
        sender(batch(range(30, 40)))
    assert sender(batch(range(40, 50))) is True
    sender.close()
