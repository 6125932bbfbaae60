from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from domain.errors import LogUnavailable
from services.kafka.connecting import Broker
from services.kafka.inspecting import Partition, Seen, Topic, administering
from services.watching.brokers import Brokers, families

ID = uuid4()


def partition(number: int, start: int | None, end: int | None, **size: int) -> Partition:
    return Partition(
        number=number,
        leader=1,
        replicas=frozenset({1}),
        in_sync=frozenset({1}),
        start=start,
        end=end,
        size={int(broker[1:]): held for broker, held in size.items()},
    )


def seen(*partitions: Partition) -> Seen:
    topic = Topic(name="acme.records", id=ID, settings={}, partitions=partitions)
    return Seen(cluster="c", alive=frozenset({1}), topics={topic.name: topic}, missing=("other",))


def told(found: Seen, stored: dict[int, int]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("sealdesk_"), *sample.labels.values()): sample.value
        for family in families(found, {ID: stored})
        for sample in family.samples
    }


def test_lag_is_what_is_not_stored_and_uncleared_is_what_is() -> None:
    numbers = told(seen(partition(0, 10, 100, b1=500, b2=400), partition(1, 0, 7, b1=70)), {0: 60})
    assert numbers["consumer_lag_records", "acme.records", "0"] == 40
    assert numbers["consumer_lag_records", "acme.records", "1"] == 7
    assert numbers["topic_records", "acme.records"] == 97
    assert numbers["topic_uncleared_records", "acme.records"] == 50
    assert numbers["topic_bytes", "acme.records"] == 970
    assert numbers["topics_missing",] == 1


def test_what_was_deleted_unread_is_no_lag() -> None:
    assert told(seen(partition(0, 90, 100)), {0: 60})["consumer_lag_records", "acme.records", "0"] == 10
    assert told(seen(partition(0, 90, 100)), {0: 60})["topic_uncleared_records", "acme.records"] == 0


def test_a_topic_that_was_created_anew_has_the_lag_of_all_its_records() -> None:
    assert told(seen(partition(0, 0, 3)), {0: 60})["consumer_lag_records", "acme.records", "0"] == 0
    other = {(uuid4()): {0: 60}}
    [lag, *_] = families(seen(partition(0, 0, 3)), other)
    assert [sample.value for sample in lag.samples] == [3]


def test_a_partition_that_nobody_leads_has_no_lag_to_tell() -> None:
    assert ("consumer_lag_records", "acme.records", "0") not in told(seen(partition(0, None, None)), {0: 60})


class Stored:
    """What is stored of partitions, while the database is there."""

    is_there = True

    def stored_positions(self, topic_id: UUID) -> dict[int, int]:
        if not self.is_there:
            raise LogUnavailable("the log database cannot be reached")
        return {}


def test_what_was_seen_long_ago_or_could_not_be_seen_is_told_as_down(broker: Broker) -> None:
    now, stored = 0.0, Stored()
    with administering(broker, "create topics") as admin:
        admin.create_topics({"watching.brokers": {"num_partitions": 1, "replication_factor": 1}})
    brokers = Brokers(broker, stored, ["watching.brokers"], lambda: now)
    assert not brokers.answer()
    brokers.step()
    assert brokers.source().read()
    now += 600
    assert brokers.source().read() is None
    brokers.step()
    assert brokers.answer()
    stored.is_there = False
    with pytest.raises(LogUnavailable):
        brokers.step()
    assert not brokers.answer()
