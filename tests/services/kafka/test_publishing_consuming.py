from __future__ import annotations

import gc
import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from domain.errors import BrokerUnavailable
from services.kafka import faring, joining
from services.kafka.connecting import Broker
from services.kafka.consuming import EMBEDDED_SESSION_SECONDS, consume
from services.kafka.messages import parcel_from
from services.publishing.line import Producer, connected
from services.publishing.sending import Mode, Published, key_of, message_of, publish
from services.records import RECORD_BYTES, Parcel, parcel_of
from tests.services.kafka.desk import Desk, event

NOBODY = Broker(bootstrap="127.0.0.1:1")

# kafka-python forgets sockets that it was still connecting. They are collected where that is expected, and not in
# the middle of somebody else's test.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Iterator[None]:
    yield
    gc.collect()


def parcels(numbers: range) -> list[Parcel]:
    return [parcel_of(event(number)) for number in numbers]


_names = count(1)


@pytest.fixture
def topic() -> str:
    return f"records.{next(_names)}"


@pytest.fixture
def read(broker: Broker, topic: str) -> Callable[..., list[int]]:
    def reading(desk: Desk, **options: Any) -> list[int]:
        usual = {"until_idle": True, "batch_size": 100, "session_seconds": EMBEDDED_SESSION_SECONDS}
        batches = consume(broker, desk, desk, topics=[topic], **({"group": topic} | usual | options))
        return [stored.tally.stored for stored in batches]

    return reading


# -- there and back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_what_is_published_arrives_as_it_was(
    broker: Broker, topic: str, read: Callable[..., list[int]], mode: Mode
) -> None:
    odd = [
        event(1000, partitionkey=5, datacontenttype="application/json", sequence="00é"),
        event(1001, subject=None),
    ]
    sent = publish([*parcels(range(300)), *map(parcel_of, odd)], broker, topic, mode=mode)
    desk = Desk()

    stored = read(desk)

    assert sent == Published(read=302, sent=302, invalid=0)
    assert sum(stored) == 302
    assert desk.refused == []
    for parcel in [*parcels(range(300)), parcel_of(odd[0])]:
        draft = parcel.drafts[0]
        assert desk.facts[(draft.source, draft.id)].drafts == parcel.drafts


def test_an_invalid_event_is_counted_and_not_sent(broker: Broker, topic: str, read: Callable[..., list[int]]) -> None:
    bad = [parcel_of(b"{"), parcel_of(event(1, type="sealdesk.ticket.eaten.v1")), *parcels(range(2, 4))]

    assert publish(bad, broker, topic) == Published(read=4, sent=2, invalid=2)
    assert sum(read(Desk())) == 2


def test_an_event_without_a_tenant_is_sent_with_the_one_that_was_named(
    broker: Broker, topic: str, read: Callable[..., list[int]]
) -> None:
    bare = json.loads(event(1))
    del bare["tenant"], bare["specversion"]
    for mode in ("structured", "binary"):
        parcel = parcel_of(b" " + json.dumps(bare | {"id": mode}).encode(), "umbrella")
        publish([parcel], broker, topic, mode=mode)
    desk = Desk()

    read(desk)

    assert [parcel.tenant for parcel in desk.facts.values()] == ["umbrella", "umbrella"]


def test_the_largest_record_that_is_valid_arrives(broker: Broker, topic: str, read: Callable[..., list[int]]) -> None:
    text = "x" * 999_000
    large = event(1, data={"subject": "s", "custom_fields": {"a": text, "b": text, "c": text, "d": text}})

    assert len(large) < RECORD_BYTES
    assert publish([parcel_of(large), *parcels(range(2, 4))], broker, topic).sent == 3
    assert sum(read(Desk())) == 3


def test_records_of_one_thing_have_one_key() -> None:
    def key(kind: str, data: dict[str, Any], subject: str | None = None) -> bytes:
        parcel = parcel_of(event(1, type=f"sealdesk.{kind}.v1", data=data, subject=subject))
        assert parcel.error is None
        return key_of(parcel.drafts[0])

    assert (
        key("ticket.opened", {"id": 20})
        == key("ticket.replied", {"ticket_id": "20", "id": 99, "from_email": "a@example.org"})
        == key("ticket.rated", {"rating": 103, "id": 98}, "ticket 20")
    )
    assert (
        key("contact.created", {"id": 5, "email": "a@example.org"})
        == key("agent.created", {"name": "A", "email": "a@example.org"}, "agent 5")
        == key("contact.merged", {"primary_contact_id": 5, "secondary_contact_ids": [6]})
    )
    assert key("contact.created", {"email": "A@example.org", "phone": "+49 30 1"}) == key(
        "contact.deleted", {}, " a@example.org"
    )


# -- positions ----------------------------------------------------------------------------------------------


def test_a_second_reading_goes_on_where_the_first_was_stored_whatever_the_group(
    broker: Broker, topic: str, read: Callable[..., list[int]]
) -> None:
    desk = Desk()
    publish(parcels(range(250)), broker, topic)
    read(desk)
    publish(parcels(range(250, 300)), broker, topic)
    taken_before = desk.takes

    stored = read(desk, group="another")

    assert sum(stored) == 50
    assert all(stored)
    assert desk.takes - taken_before == len(stored)
    (partitions,) = desk.positions.values()
    assert sum(partitions.values()) == 300


def test_what_the_broker_believes_about_the_group_is_not_believed(
    broker: Broker, topic: str, read: Callable[..., list[int]]
) -> None:
    publish(parcels(range(120)), broker, topic)
    read(Desk())
    restored = Desk()

    read(restored)

    assert len(restored.facts) == 120


@pytest.mark.parametrize("fails_at", [1, 2, 4])
def test_a_batch_that_fails_is_stored_later_and_nothing_is_lost(
    broker: Broker, topic: str, read: Callable[..., list[int]], fails_at: int
) -> None:
    publish(parcels(range(400)), broker, topic)
    desk = Desk(fails_at=fails_at)

    with pytest.raises(ConnectionResetError):
        read(desk, batch_size=50)
    stored_before = sum(sum(partitions.values()) for partitions in desk.positions.values())
    facts_before = len(desk.facts)
    stored = read(desk, batch_size=50)

    assert facts_before == stored_before
    assert facts_before + sum(stored) == len(desk.facts) == 400


def test_a_wish_to_stop_is_heard_after_the_batch_at_hand(
    broker: Broker, topic: str, read: Callable[..., list[int]]
) -> None:
    publish(parcels(range(100)), broker, topic)
    desk, stop = Desk(), threading.Event()
    reading = consume(
        broker,
        desk,
        desk,
        topics=[topic],
        group=topic,
        stop=stop,
        batch_size=10,
        session_seconds=EMBEDDED_SESSION_SECONDS,
        clock=lambda: datetime(2024, 1, 1, tzinfo=UTC),
    )

    first = next(reading).tally.stored
    stop.set()

    assert list(reading) == []
    assert len(desk.facts) == first == sum(sum(found.values()) for found in desk.positions.values())
    assert sum(read(desk)) == 100 - first


def test_a_topic_without_records_is_idle_at_once(read: Callable[..., list[int]]) -> None:
    desk = Desk()

    # That it is read is stored, and nothing else.
    assert sum(read(desk)) == 0
    assert desk.facts == {}


def test_members_that_come_and_go_store_everything(
    broker: Broker, topic: str, read: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Now and then Tansu leaves a member waiting when two come at once. That is a refusal, and loses nothing either.
    monkeypatch.setattr(faring, "JOIN_SECONDS", 10)
    publish(parcels(range(2000)), broker, topic)
    desk = Desk()
    failed: list[BaseException] = []

    def member() -> None:
        try:
            read(desk, batch_size=25)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=member) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read(desk, group=f"{topic} afterwards")

    assert [error for error in failed if not isinstance(error, BrokerUnavailable)] == []
    assert len(desk.facts) == 2000
    (partitions,) = desk.positions.values()
    assert sum(partitions.values()) == 2000


# -- records that are wrong ---------------------------------------------------------------------------------


class Got(NamedTuple):
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = []  # noqa: RUF012


def test_a_record_that_cannot_be_read_does_not_stop_the_others(
    broker: Broker, topic: str, read: Callable[..., list[int]]
) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    for value, headers in [
        (b"\xff\x00", []),
        (event(1), [("content-type", b"application/cloudevents+json; charset=utf-8")]),
        (None, []),
        (b"{}", [("ce_id", b"\xff"), ("ce_type", b"sealdesk.ticket.opened.v1")]),
        (event(2), [("content-type", b"application/cloudevents+avro")]),
        (b"[" + event(3) + b"]", []),
        (event(4), []),
    ]:
        producer.send(topic, key=b"one partition", value=value, headers=headers)
    producer.close()
    desk = Desk()

    read(desk)

    assert desk.refused == ["not_json", "no_value", "wrong_header", "wrong_content_type", "not_an_object"]
    assert {number for _, number in desk.facts} == {"1", "4"}


def test_a_record_in_binary_mode_is_kept_as_an_event_that_can_be_read_again() -> None:
    message = message_of(parcel_of(event(7)), "binary")

    parcel = parcel_from(Got(message.value, list(message.headers)))
    no_json = parcel_from(Got(b"\xffKarl", list(message.headers)))

    assert json.loads(parcel.raw) == json.loads(event(7))
    assert parcel_of(parcel.raw).drafts == parcel.drafts == parcel_of(event(7)).drafts
    assert no_json.error is not None
    assert no_json.error.code == "no_data"
    assert json.loads(no_json.raw)["data_base64"] == "/0thcmw="


secrets = st.text().map(lambda text: f"Karl{text}".encode())


@given(
    st.none() | st.binary() | secrets | st.dictionaries(st.text(), st.text()).map(lambda x: json.dumps(x).encode()),
    st.lists(
        st.tuples(
            st.sampled_from(["content-type", "Content-Type", "ce_id", "ce_type", "ce_data", "CE_time", "ce_Karl"]),
            st.none()
            | st.binary()
            | secrets
            | st.sampled_from([b"application/cloudevents+json", b"application/json", b"application/cloudevents"]),
        )
    ),
)
def test_no_record_ever_raises_or_is_repeated(value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    parcel = parcel_from(Got(value, headers))

    assert parcel.error is not None
    assert "Karl" not in repr(parcel) + str(parcel.error)
    assert parcel.error.__cause__ is None
    assert parcel_of(parcel.raw).error is not None


# -- brokers that are wrong ---------------------------------------------------------------------------------


class Never:
    """A send that nobody answers."""

    is_done = False

    def get(self, timeout: float | None = None) -> Any:
        raise KafkaTimeoutError("nobody answers")


class Wedged:
    """A producer that takes records and never sends them, as kafka-python does when a leader is missing."""

    closed = False

    def send(self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> Never:
        return Never()

    def close(self, timeout: float | None = None) -> None:
        self.closed = True


def test_a_producer_that_does_not_send_is_replaced_and_everything_is_sent_again(
    broker: Broker, topic: str, read: Callable[..., list[int]]
) -> None:
    wedged = Wedged()
    producers: Iterator[Callable[[], Producer]] = iter([lambda: wedged, lambda: connected(broker, 30)])

    sent = publish(parcels(range(20)), broker, topic, connect=lambda: next(producers)())

    assert sent == Published(read=20, sent=20, invalid=0)
    assert wedged.closed
    assert sum(read(Desk())) == 20


def test_a_broker_that_never_acknowledges_is_given_up(broker: Broker, topic: str) -> None:
    with pytest.raises(BrokerUnavailable, match="SEALDESK_KAFKA"):
        publish(parcels(range(3)), broker, topic, connect=Wedged)


def test_a_broker_that_is_not_there_is_told_with_what_to_check(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "ANSWER_MILLISECONDS", 300)
    # What is logged about a socket keeps it alive beyond this test.
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    before = threading.enumerate()

    with pytest.raises(BrokerUnavailable, match="SEALDESK_KAFKA"):
        publish(parcels(range(1)), NOBODY, topic, stale_seconds=0.3)
    with pytest.raises(BrokerUnavailable, match="SEALDESK_KAFKA"):
        next(consume(NOBODY, Desk(), Desk(), topics=[topic]))

    assert [thread for thread in threading.enumerate() if thread not in before] == []
