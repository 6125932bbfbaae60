"""What the other stories stand on: brokers that die, come back, and let in whom they should."""

from __future__ import annotations

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from services.kafka.connecting import Broker, client
from tests.kafka.cluster import Cluster


def _send(broker: Broker, topic: str, value: bytes) -> int:
    producer = client(KafkaProducer, broker, acks="all")
    try:
        offset: int = producer.send(topic, value, partition=0).get(timeout=30).offset
        return offset
    finally:
        producer.close()


def test_a_record_outlives_the_broker_that_led_its_partition(cluster: Cluster) -> None:
    topic = cluster.create_topic("outlives")
    assert _send(cluster.broker, topic, b"before the kill") == 0
    led = cluster.leader(topic, 0)
    cluster.kill(led)
    try:
        assert _send(cluster.broker, topic, b"after the kill") == 1
        assert cluster.leader(topic, 0) != led
    finally:
        cluster.restart(led)
    assert {path.parent.parent.parent.name for path in cluster.holding(b"before the kill")} == {
        f"broker-{number}" for number in cluster.ids
    }


def test_a_user_may_do_what_it_was_allowed_and_no_more(single: Cluster) -> None:
    own, other = single.create_topic("own"), single.create_topic("other")
    single.add_user("crm", "a good password")
    single.allow("crm", topic=own)
    assert _send(single.secured("crm", "a good password"), own, b"hello") == 0
    with pytest.raises(KafkaError):
        _send(single.secured("crm", "a good password"), other, b"hello")
