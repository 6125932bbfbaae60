"""What we override in kafka-python and rely on beneath its surface, held against the version that is pinned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, KafkaProducer, TopicPartition, codec
from kafka.consumer.fetcher import Fetcher
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CorruptRecordError, IllegalStateError, KafkaError, LeaderNotAvailableError
from kafka.protocol.api_key import ApiKey
from kafka.protocol.consumer import OffsetForLeaderEpochResponse as _Ends
from kafka.protocol.metadata import MetadataRequest
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from services.kafka import decoding, epochs, inflating
from services.kafka.connecting import Broker
from services.kafka.decoding import Unreadable
from services.kafka.inflating import CannotInflate, TooLarge, inflate

HERE = TopicPartition("t", 0)
CODECS: dict[int, Callable[[bytes], bytes]] = {
    1: codec.gzip_encode,
    2: codec.snappy_encode,
    3: lambda packed: codec.lz4_encode(packed),
    4: codec.zstd_encode,
}


class Odd(str):
    """A name that is written as no UTF-8."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfeKarl"


def batch(offset: int, *values: bytes | None, headers: list[Any] | None = None, packed_by: int = 0) -> bytes:
    builder = MemoryRecordsBuilder(2, packed_by, 1 << 20)
    for value in values:
        assert builder.append(0, None, value, headers or [])
    builder.close()
    # A broker writes where the batch begins; the checksum does not cover it.
    return offset.to_bytes(8, "big") + bytes(builder.buffer())[8:]


def spoiled(whole: bytes, at: int = -3) -> bytes:
    turned = bytearray(whole)
    turned[at] ^= 0xFF
    return bytes(turned)


def read(fetched: bytes, *, offset: int = 0, end: int | None = None, **how: Any) -> Iterator[Any]:
    """Take a fetch apart as the consumer does, with what `tolerate` puts in place of the library's own."""
    part = decoding._PartitionRecords(lambda _: end, offset, HERE, MemoryRecords(fetched), **how)
    while part:
        yield from part.take(2)
    yield part.next_fetch_offset


def codes(messages: list[Any]) -> list[tuple[int, str]]:
    return [
        (message.offset, value.decode())
        for message in messages
        for name, value in message.headers
        if isinstance(name, Unreadable)
    ]


def test_the_library_itself_stops_at_a_header_that_is_no_utf8_and_at_a_wrong_checksum() -> None:
    """Once it does not, `services.kafka.decoding` can go."""
    for fetched in (batch(0, b"a", headers=[(Odd("x"), b"1")]), spoiled(batch(0, b"a"))):
        part = Fetcher.PartitionRecords(0, HERE, MemoryRecords(fetched))
        with pytest.raises(CorruptRecordError):
            part.take(1)
        # It is not at its end, and gives nothing: a poll goes round for ever.
        assert part
        assert part.take(1) == []


def test_what_cannot_be_read_stands_in_its_place_and_the_rest_around_it() -> None:
    fetched = [
        batch(0, b"a", b"b"),
        batch(2, b"odd", headers=[("ce_id", b"7"), (Odd("x"), None)]),
        spoiled(batch(3, b"c", b"d")),
        batch(5, None, b"e"),
    ]

    *messages, following = read(b"".join(fetched))

    assert [(message.offset, message.value) for message in messages] == [
        (0, b"a"),
        (1, b"b"),
        (2, b"odd"),
        (4, fetched[2]),
        (5, None),
        (6, b"e"),
    ]
    assert codes(messages) == [(2, "wrong_header"), (4, "corrupt")]
    assert messages[2].headers[1:] == [("ce_id", b"7"), ("\\xff\\xfeKarl", None)]
    assert following == 7


def test_a_batch_with_a_wrong_checksum_is_not_believed_about_where_it_ends() -> None:
    # Bytes 23 to 26 say how far its last record is from its first.
    lying = spoiled(batch(3, b"c", b"d"), 24)

    for end in (5, None):
        *messages, following = read(lying + batch(5, b"e"), end=end)
        assert [message.offset for message in messages] == [4, 5]
        assert following == 6
    *messages, following = read(lying, end=5)
    assert (codes(messages), following) == ([(4, "corrupt")], 5)


def test_reading_may_begin_within_a_batch() -> None:
    *messages, following = read(batch(0, b"a", b"b", b"c"), offset=2)
    assert ([message.value for message in messages], following) == ([b"c"], 3)


@given(st.binary(max_size=300), st.data())
def test_whatever_stands_in_a_fetch_reading_ends_and_goes_on_behind_it(noise: bytes, data: st.DataObject) -> None:
    whole = batch(0, b"one", b"two", headers=[("h", b"v")])
    at = data.draw(st.integers(17, len(whole)))
    turned = whole[:at] + noise[: len(whole) - at] + whole[at + len(noise) :]

    *messages, following = read(turned[: len(whole)] + batch(2, b"three"))

    assert messages[-1].value == b"three"
    assert following == 3


@pytest.mark.parametrize("packed_by", CODECS)
def test_every_codec_of_kafka_is_read(packed_by: int) -> None:
    *messages, _ = read(batch(0, b"a" * 1000, b"b" * 1000, packed_by=packed_by) + batch(2, b"c"))
    assert [message.value for message in messages] == [b"a" * 1000, b"b" * 1000, b"c"]


@pytest.mark.parametrize("packed_by", CODECS)
def test_what_would_become_too_large_is_not_inflated(packed_by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge):
        inflate(packed_by, CODECS[packed_by](b"x" * 100_001), 100_000)
    assert len(inflate(packed_by, CODECS[packed_by](b"x" * 100_000), 100_000)) == 100_000
    monkeypatch.setattr(inflating.inflate, "__defaults__", (1000,))

    *messages, following = read(batch(0, b"x" * 2000, packed_by=packed_by) + batch(1, b"c"))

    assert codes(messages) == [(0, "too_large")]
    assert (messages[-1].value, following) == (b"c", 2)


@given(st.sampled_from([0, 1, 2, 3, 4, 7]), st.binary(max_size=200))
def test_what_no_codec_has_written_is_said_to_be_so_and_not_quoted(packed_by: int, noise: bytes) -> None:
    said: list[Exception] = []
    try:
        inflate(packed_by, b"Karl" + noise, 1000)
    except (CannotInflate, TooLarge) as error:
        said.append(error)
    assert [(str(error), error.__cause__) for error in said] == [("", None)]


def test_the_assignor_claims_what_it_was_given_until_it_is_told_otherwise() -> None:
    """`Rebalances.on_partitions_lost` clears it: the library itself goes on claiming what others have."""
    assignor = CooperativeStickyAssignor()
    assignor.member_assignment = [HERE]
    assert assignor.metadata(["t"]).owned_partitions
    assignor.member_assignment = None
    assert not assignor.metadata(["t"]).owned_partitions


# -- what `epochs` and `faring` rely on beneath the surface of a client ------------------------------------------------


@pytest.fixture
def consumer(broker: Broker) -> Iterator[KafkaConsumer]:
    client = KafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=None, auto_offset_reset="earliest")
    yield client
    client.close()


@pytest.fixture
def place(broker: Broker) -> TopicPartition:
    topic = f"contract-{uuid4()}"
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    producer.send(topic, b"a record", partition=0).get(timeout=30)
    producer.close()
    return TopicPartition(topic, 0)


def test_a_client_knows_who_leads_a_partition_once_it_has_heard_of_the_topic(
    consumer: KafkaConsumer, place: TopicPartition
) -> None:
    cluster = consumer._manager.cluster
    assert cluster.leader_for_partition(TopicPartition("nobody-has-this", 0)) is None
    consumer.assign([place])
    consumer.poll(timeout_ms=10_000, max_records=1)
    assert cluster.leader_for_partition(place) in {node.node_id for node in cluster.brokers()}
    assert cluster.leader_for_partition(TopicPartition(place.topic, 999)) is None


def test_a_client_runs_what_is_asked_of_one_broker_and_gives_its_answer_or_its_error(
    consumer: KafkaConsumer, place: TopicPartition
) -> None:
    manager = consumer._manager
    consumer.assign([place])
    consumer.poll(timeout_ms=10_000, max_records=1)
    leader = manager.cluster.leader_for_partition(place)
    asked = MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name=place.topic)])
    answer = manager.run(epochs._sent, manager, asked, leader)
    assert [topic.name for topic in answer.topics] == [place.topic]

    async def refuses(_: object) -> None:
        raise LeaderNotAvailableError("as it was raised")

    with pytest.raises(LeaderNotAvailableError, match="as it was raised"):
        manager.run(refuses, manager)
    with pytest.raises(KafkaError):
        manager.run(epochs._sent, manager, asked, 999)


def test_a_client_says_which_questions_its_brokers_know(consumer: KafkaConsumer, place: TopicPartition) -> None:
    known = consumer._manager.broker_version_data.api_versions
    assert ApiKey.Metadata in known
    # The broker in memory does not know this one; `tests/kafka/test_clearing.py` asks Apache Kafka itself.
    assert ApiKey.OffsetForLeaderEpoch not in known
    assert epochs.epoch_ends(consumer, {place: 0}) == {}


def test_the_answer_about_epochs_has_the_fields_that_are_read() -> None:
    one = _Ends.OffsetForLeaderTopicResult.EpochEndOffset(error_code=0, partition=3, leader_epoch=2, end_offset=7)
    answer = _Ends(topics=[_Ends.OffsetForLeaderTopicResult(topic="t", partitions=[one])])
    [topic] = _Ends.decode(answer.encode(version=4), version=4).topics
    [said] = topic.partitions
    assert (topic.topic, said.partition, said.error_code, said.end_offset) == ("t", 3, 0, 7)


def test_a_position_that_is_not_to_be_waited_for_is_what_the_client_knows(
    consumer: KafkaConsumer, place: TopicPartition
) -> None:
    with pytest.raises(IllegalStateError):
        consumer.position(place, timeout_ms=0)
    consumer.assign([place])
    before = time.monotonic()
    assert consumer.position(place, timeout_ms=0) is None
    assert time.monotonic() - before < 1, "a broker would be given seconds"
    consumer.seek(place, 1)
    assert consumer.position(place, timeout_ms=0) == 1
