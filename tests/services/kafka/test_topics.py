from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, LiteralString
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer, TopicPartition
from kafka.errors import TopicAuthorizationFailedError, UnknownTopicIdError
from kafka.protocol.api_key import ApiKey
from kafka.structs import OffsetAndMetadata

from domain.errors import BrokerUnavailable, SettingsWrong
from services.embedded import Endpoints
from services.kafka import rights, topics
from services.kafka.clearing import Clearing, holds_cleared, low_watermarks, safe_to_delete
from services.kafka.connecting import Broker, client
from services.kafka.ends import End, ends_of, why_not
from services.kafka.inspecting import Partition, Seen, Topic, administering, keeps_files, look, names_of
from services.kafka.sources import Sources, forget_broker, standing_of
from services.settings import Settings, clearing_of, topic_days_of
from services.wiring import House
from tests.desks import Desk, desk_house

ALL = frozenset({1, 2, 3})
ID = UUID("0d4bd4f4-9c2f-4a0e-9f1c-0e5a7d2f6b10")


def partition(**changes: object) -> Partition:
    usual = Partition(
        number=0, leader=1, replicas=ALL, in_sync=ALL, start=100, end=100, newest=1_000_000, size={1: 116, 2: 116}
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def topic(one: Partition, id_: UUID = ID) -> Topic:
    return Topic(name="t", id=id_, settings=topics.Policy().settings(3), partitions=(one,))


def seen(one: Partition, alive: frozenset[int] = ALL, id_: UUID = ID) -> Seen:
    return Seen(cluster="c", alive=alive, topics={"t": topic(one, id_)}, missing=())


# -- what may be deleted ------------------------------------------------------------------------------------


@given(st.integers(0, 50), st.integers(0, 50), st.none() | st.integers(0, 60), st.none() | st.integers(0, 60))
def test_nothing_is_deleted_above_the_stored_position_or_above_the_mirror(
    start: int, more: int, stored: int | None, mirror: int | None
) -> None:
    one = partition(start=start, end=start + more)
    positions = {} if stored is None else {0: stored}
    mirrors = {} if mirror is None else {("t", 0): mirror}

    up_to = safe_to_delete(topic(one), positions, mirrors).get(0)

    if up_to is not None:
        assert stored is not None
        assert mirror is not None
        assert start < up_to <= min(stored, mirror, start + more)
    elif stored is not None and mirror is not None:
        # Nothing is held back either: what is stored and mirrored goes, unless the log is shorter than that.
        assert not start < min(stored, mirror) <= start + more


def test_a_partition_that_nobody_leads_is_left_alone() -> None:
    assert safe_to_delete(topic(partition(start=None, end=None)), {0: 9}, {("t", 0): 9}) == {}
    assert not holds_cleared(topic(partition(start=None, end=None)), partition(start=None, end=None), 1e12)


class Recreating:
    """A cluster whose topic `t` is created anew as soon as something was deleted from it."""

    def __init__(self) -> None:
        self.deleted: list[tuple[int, int]] = []

    def list_group_offsets(self, wanted: Mapping[str, Sequence[TopicPartition]]) -> Any:
        return {group: dict.fromkeys(places, OffsetAndMetadata(9, "", -1)) for group, places in wanted.items()}

    def describe_topics(self, names: Sequence[str]) -> Any:
        return [{"error_code": 0, "name": name, "topic_id": uuid4() if self.deleted else ID} for name in names]

    def delete_records(self, up_to: Mapping[TopicPartition, int], timeout_ms: int) -> None:
        self.deleted += [(place.partition, offset) for place, offset in up_to.items()]


@dataclass
class Stored:
    """Everything is stored up to offset 9, as appended under these leaders."""

    epochs: dict[int, int] = field(default_factory=dict)

    def stored_positions(self, topic_id: UUID) -> Mapping[int, int]:
        return {0: 9, 1: 9, 2: 9}

    def stored_epochs(self, topic_id: UUID) -> Mapping[int, int]:
        return self.epochs

    def topics_read(self) -> set[UUID]:
        return set()

    def heartbeats(self, topic_id: UUID) -> Mapping[int, int]:
        return {}

    def note_heartbeat(self, topic_id: UUID, partition: int, offset: int) -> None:
        raise AssertionError("no heartbeat was asked for")


def test_a_topic_that_is_created_anew_between_two_deletions_loses_nothing() -> None:
    cluster, ones = Recreating(), tuple(partition(number=number, start=0, end=9) for number in range(3))
    clearing = Clearing(Broker(bootstrap="nobody:1"), Stored(), ["t"], group="g", tell=print, clock=now)

    deleted = clearing._delete(cluster, replace(GONE, topics={"t": replace(topic(ones[0]), partitions=ones)}))

    assert (deleted, cluster.deleted) == (9, [(0, 9)])


class Kept(Recreating):
    """A cluster with the topics `t` and `closed`, of which the latter may not be deleted from; and one leader each."""

    def __init__(self, ends: Mapping[int, int]) -> None:
        super().__init__()
        self._manager = self
        self.broker_version_data = self
        self.api_versions = {ApiKey.OffsetForLeaderEpoch: (2, 4)}
        self.ends = ends

    def describe_topics(self, names: Sequence[str]) -> Any:
        return [{"error_code": 0, "name": name, "topic_id": ID} for name in names]

    def delete_records(self, up_to: Mapping[TopicPartition, int], timeout_ms: int) -> Any:
        if any(place.topic == "closed" for place in up_to):
            raise TopicAuthorizationFailedError("closed")
        super().delete_records(up_to, timeout_ms)
        return {place: {"low_watermark": 4} for place in up_to}

    def run(self, _send: object, _manager: object, request: Any, leader: int) -> Any:
        assert leader == 1
        asked = [one.partition for topic in request.topics for one in topic.partitions]
        said = [SimpleNamespace(error_code=0, partition=number, end_offset=self.ends[number]) for number in asked]
        return SimpleNamespace(topics=[SimpleNamespace(topic="t", partitions=said)])


def test_nothing_is_deleted_where_the_log_began_again_below_what_was_read() -> None:
    # Partition 0 was appended to by the same leader all along, 1 lost what it had, and 2 knows nothing of that time.
    cluster, told = Kept({0: 9, 1: 3, 2: -1}), list[str]()
    ones = tuple(partition(number=number, start=0, end=20) for number in range(3))
    stored = Stored({0: 5, 1: 5, 2: 5})
    clearing = Clearing(Broker(bootstrap="nobody:1"), stored, ["t"], group="g", tell=told.append, clock=now)
    seen_now = replace(GONE, topics={"t": replace(topic(ones[0]), partitions=ones)})

    assert [clearing._delete(cluster, seen_now) for _ in range(2)] == [9, 9]  # type: ignore[arg-type]

    assert cluster.deleted == [(0, 9), (0, 9)]
    assert [sentence[:46] for sentence in told] == [
        "clearing: the broker lost records of t-1 and h",
        "clearing: the broker lost records of t-2 and h",
    ]


def test_a_topic_that_cannot_be_cleared_is_told_once_and_stops_no_other() -> None:
    cluster, told = Kept({}), list[str]()
    clearing = Clearing(Broker(bootstrap="nobody:1"), Stored(), ["t"], group="g", tell=told.append, clock=now)
    open_, closed = topic(partition(start=0, end=9)), replace(topic(partition(start=0, end=9)), name="closed")
    both = replace(GONE, topics={"closed": closed, "t": open_})

    assert [clearing._delete(cluster, both) for _ in range(2)] == [9, 9]  # type: ignore[arg-type]

    assert [sentence[:43] for sentence in told] == ["clearing: the topic closed cannot be cleare"]
    assert low_watermarks(cluster, [("closed", 0), ("t", 0)]) == {("t", 0): 4}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, True),
        ({"end": 101}, False),  # Something is unread.
        ({"newest": None}, False),  # It never had a record.
        ({"size": {1: 0, 2: 0}}, False),  # Its files are empty.
    ],
)
def test_a_heartbeat_is_due_where_all_is_cleared_and_the_last_segment_is_old(
    changes: dict[str, object], due: bool
) -> None:
    one = partition(**changes)

    assert holds_cleared(topic(one), one, 1_000_000 + 65_001) is due
    assert not holds_cleared(topic(one), one, 1_000_000 + 65_000)


# -- what a certificate waits for ---------------------------------------------------------------------------

END = End("t", ID, 0, 90, 1_000_000, (1, 2, 3), holders=(1, 2, 3), passed=95)
GONE = Seen(cluster="c", alive=ALL, topics={}, missing=("t",))


@pytest.mark.parametrize(
    ("end", "now", "lowest", "reason"),
    [
        (END, seen(partition()), 100, ""),
        (END, seen(partition()), 95, ""),
        (END, seen(partition()), 94, "it is not cleared so far"),
        (END, seen(partition(end=95)), 100, "it is not cleared so far"),
        (END, seen(partition(in_sync=frozenset({1, 2}))), 100, "a replica is not in sync"),
        (END, seen(partition(), alive=frozenset({1, 2})), 100, "broker 3 is away"),
        (END, seen(partition(end=None)), 100, "nobody leads it"),
        (replace(END, passed=None), seen(partition()), 100, "its segment goes on"),
        # Of a topic that is deleted, or created anew, only the disks of its brokers count.
        (END, seen(partition(), id_=uuid4()), 0, ""),
        (END, GONE, 0, ""),
        (replace(END, tiered=True), seen(partition()), 100, "tiered storage is on, and nobody here looks into it"),
        (replace(END, tiered=True), GONE, 0, "tiered storage is on, and nobody here looks into it"),
        (END, replace(GONE, alive=frozenset({1, 2})), 0, "broker 3 is away"),
        (replace(END, strays=(3,)), GONE, 0, "broker 3 may have set a copy aside"),
        # Partition 3 moved away from broker 4, which went away.
        (replace(END, brokers=(1, 2, 3, 4)), seen(partition()), 100, "broker 4 is away"),
    ],
)
def test_a_partition_is_cleared_on_all_disks_or_it_says_what_is_in_the_way(
    end: End, now: Seen, lowest: int, reason: str
) -> None:
    assert why_not(end, now, {("t", 0): lowest}) == reason


@pytest.mark.parametrize(
    ("before", "now", "unbroken", "strays"),
    [
        (seen(partition()), GONE, True, ()),
        (seen(partition(), alive=frozenset({1, 2})), GONE, True, (3,)),
        (seen(partition()), replace(GONE, alive=frozenset({2, 3})), True, (1,)),
        # Nobody looked for a while: any of them may have been away.
        (seen(partition()), GONE, False, (1, 2, 3)),
        (seen(partition()), seen(partition()), False, ()),
        (seen(partition()), seen(partition(replicas=frozenset({1, 2}), in_sync=frozenset({1, 2}))), True, ()),
        (
            seen(partition(), alive=frozenset({1, 2})),
            seen(partition(replicas=frozenset({1, 2}), in_sync=frozenset({1, 2}))),
            True,
            (3,),
        ),
    ],
)
def test_who_loses_a_replica_while_away_may_have_set_it_aside(
    before: Seen, now: Seen, unbroken: bool, strays: tuple[int, ...]
) -> None:
    noted = replace(END, holders=()).looked_at(before, now=0, unbroken=True)

    later = noted.looked_at(now, now=0, unbroken=unbroken)

    assert later.strays == strays
    assert later.brokers == (1, 2, 3)
    assert all(later.without(broker).strays == tuple(set(strays) - {broker}) for broker in (1, 2, 3))
    # The word stays, whoever comes back.
    assert later.looked_at(now, now=0, unbroken=True).strays == strays


def test_where_segments_are_made_shorter_what_was_appended_before_counts_no_more() -> None:
    long, short = topics.Policy(segment_seconds=600), topics.Policy(segment_seconds=60)
    one = topic(partition())
    seens = [
        replace(GONE, topics={"t": replace(one, settings=policy.settings(3))}, missing=())
        for policy in (long, short, short, long)
    ]

    newest, end = [], END
    for now, found in enumerate(seens, start=2_000_000):
        end = end.looked_at(found, now=now, unbroken=True)
        newest.append(end.newest)

    assert newest == [1_000_000, 2_000_001, 2_000_001, 2_000_001]


def test_where_nobody_looked_for_a_while_segments_may_have_been_longer_meanwhile() -> None:
    found, open_ = seen(partition()), replace(END, passed=None)

    assert open_.looked_at(found, now=2_000_000, unbroken=True).newest == END.newest
    assert open_.looked_at(found, now=2_000_000, unbroken=False).newest == 2_000_000
    # A record that began a later segment has done so.
    assert END.looked_at(found, now=2_000_000, unbroken=False).newest == END.newest


def test_that_a_topic_was_tiered_once_is_remembered() -> None:
    one = topic(partition())
    tiered = replace(one, settings={**one.settings, "remote.storage.enable": "true"})

    end = END.looked_at(replace(GONE, topics={"t": tiered}), now=0, unbroken=True)

    assert end.tiered
    assert End.read(end.stored()).looked_at(seen(partition()), now=0, unbroken=True).tiered
    assert not END.looked_at(seen(partition()), now=0, unbroken=True).tiered


class Describing:
    """A cluster that knows one topic, and has an error for all others."""

    def __init__(self, error: int) -> None:
        self._error = error

    def describe_topics(self, ids: Sequence[UUID]) -> Any:
        unknown = {"error_code": self._error, "name": None}
        known = {"error_code": 0, "name": "t"}
        return [(known if id_ == ID else unknown) | {"topic_id": id_} for id_ in ids]


def test_a_topic_that_we_may_not_see_is_another_thing_than_one_that_is_gone() -> None:
    assert names_of(Describing(UnknownTopicIdError.errno), {ID, uuid4()}) == {"t"}
    with pytest.raises(TopicAuthorizationFailedError):
        names_of(Describing(TopicAuthorizationFailedError.errno), {ID, uuid4()})


def test_ends_are_noted_of_all_partitions_or_of_none() -> None:
    assert ends_of(seen(partition(newest=1_000)), 5_000) == [
        End("t", ID, 0, 100, 5_000, (1, 2, 3), (1, 2, 3), segment=60_000)
    ]
    # A broker whose clock is ahead of ours.
    assert ends_of(seen(partition(newest=9_000)), 5_000) == [
        End("t", ID, 0, 100, 9_000, (1, 2, 3), (1, 2, 3), segment=60_000)
    ]
    assert ends_of(seen(partition(start=0, end=0, newest=None)), 5_000) == []
    assert ends_of(seen(partition(end=None)), 5_000) is None


def test_an_end_is_read_as_it_was_stored() -> None:
    assert End.read(END.stored()) == END


# -- settings, rules, warnings ------------------------------------------------------------------------------


def test_topics_as_they_should_be_are_warned_of_only_while_replicas_are_away() -> None:
    assert topics.warnings(topic(partition()), topics.Policy()) == []
    [said] = topics.warnings(topic(partition(in_sync=frozenset({1, 3}))), topics.Policy())
    assert said == "partition 0 is not in sync on broker 2: files stay there"
    [said] = topics.warnings(topic(partition()), topics.Policy(days=2))
    assert said == "retention is longer than the policy (7 days, not 2)"
    [said] = topics.warnings(topic(partition()), topics.Policy(days=9))
    assert said.startswith("retention is shorter than the policy (7 days, not 9)")
    bounded = {**topic(partition()).settings, "retention.bytes": "1000"}
    [said] = topics.warnings(replace(topic(partition()), settings=bounded), topics.Policy())
    assert said.startswith("retention.bytes is 1000")


def test_publishers_may_write_to_their_own_topics_and_to_no_others() -> None:
    wanted = rights.rules(
        {"acme.records": ["User:acme"], "ruf.records": ["User:ruf"]},
        ours=["User:desk"],
        recipients=["User:mail"],
        group="sealdesk",
    )
    by_acme = {
        (rule.resource_pattern.resource_name, rule.operation.name) for rule in wanted if rule.principal == "User:acme"
    }
    assert by_acme == {
        ("acme.records", "WRITE"),
        ("acme.records", "DESCRIBE"),
        ("sealdesk.receipts", "READ"),
        ("sealdesk.receipts", "DESCRIBE"),
    }
    deletes = {
        (rule.principal, rule.resource_pattern.resource_name) for rule in wanted if rule.operation.name == "DELETE"
    }
    assert deletes == {("User:desk", "acme.records"), ("User:desk", "ruf.records")}


@pytest.mark.parametrize("principal", ["crm", "User:", "User:*", "Group:crm"])
def test_a_principal_that_is_none_is_refused(principal: str) -> None:
    with pytest.raises(SettingsWrong, match="User:NAME"):
        rights.rules({"t": [principal]}, group="sealdesk")


def test_clearing_is_on_unless_it_is_said_otherwise() -> None:
    assert clearing_of({})
    assert not clearing_of({"SEALDESK_CLEARING": "off"})
    with pytest.raises(SettingsWrong, match="SEALDESK_CLEARING is on or off"):
        clearing_of({"SEALDESK_CLEARING": "no"})
    assert topic_days_of({}) == Settings.topic_days == 7
    with pytest.raises(SettingsWrong, match="SEALDESK_TOPIC_DAYS"):
        topic_days_of({"SEALDESK_TOPIC_DAYS": "0"})


# -- the embedded broker, which keeps no files --------------------------------------------------------------


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened:
        yield opened


def send(broker: Broker, name: str) -> None:
    producer = client(KafkaProducer, broker, acks="all")
    try:
        producer.send(name, b"something").get(timeout=10)
    finally:
        producer.close()


def now() -> datetime:
    return datetime.now(UTC)


def test_a_broker_that_cannot_delete_records_is_not_asked_to_and_it_is_told_once(broker: Broker, house: House) -> None:
    name, told = f"kept.{uuid4().hex}", list[str]()
    send(broker, name)
    clearing = Clearing(broker, house.facts, [name], group="g", tell=told.append, clock=now)

    assert not clearing.step().able
    assert not clearing.step().able

    assert told == ["clearing: this broker cannot delete records; it is for demos and tests"]
    with administering(broker, "answer") as admin:
        assert not keeps_files(admin)
        found = look(admin, [name, "nowhere"])
    assert found.missing == ("nowhere",)
    assert {one.start for one in found.topics[name].partitions} == {0}
    assert sum(one.end or 0 for one in found.topics[name].partitions) == 1
    assert topics.warnings(found.topics[name], topics.Policy()) == [
        "its broker keeps no files and cannot delete records: it is for demos and tests"
    ]


def shredded_beside(broker: Broker, house: House, name: str) -> Mapping[str, Any]:
    """Shred somebody while a topic holds a record that was read."""
    send(broker, name)
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1, name="Ann")
    with administering(broker, "answer") as admin:
        [one] = look(admin, [name]).topics.values()
    with house.facts.cursor() as cursor:
        cursor.execute("INSERT INTO positions (topic_id, partition, next_offset) VALUES (%s, 0, 1)", (one.id,))
    return desk.shred("contact 1")


def test_what_lies_in_memory_is_gone_when_its_topic_is(broker: Broker, house: House) -> None:
    name = f"memory.{uuid4().hex}"
    shredded = shredded_beside(broker, house, name)
    assert (shredded["sources"], shredded["source_cleared_since"]) == ("topics are read here", None)
    sources = Sources(broker, house.keys, house.facts, [name], house.certifying.recertify_within, clock=now)

    assert [sources.step(), sources.step()] == [0, 0]
    with administering(broker, "delete topics") as admin:
        admin.delete_topics([name])

    assert sources.step() == 1
    assert sources.step() == 0


def test_of_a_cluster_that_has_none_of_the_topics_that_were_read_no_end_is_noted(broker: Broker, house: House) -> None:
    name = f"elsewhere.{uuid4().hex}"
    shredded_beside(broker, house, name)
    with house.facts.cursor() as cursor:
        cursor.execute("UPDATE positions SET topic_id = %s", (uuid4(),))
    sources = Sources(broker, house.keys, house.facts, [name], house.certifying.recertify_within, clock=now)

    with pytest.raises(BrokerUnavailable, match="is SEALDESK_KAFKA right"):
        sources.step()

    assert standing_of(house.keys) == []


def test_a_clock_that_went_back_is_a_break(broker: Broker, house: House) -> None:
    mark = Marked(broker, house)
    mark.change("looked_at = looked_at + interval '1 hour', held_since = now() - interval '1 day'")
    with administering(broker, "delete topics") as admin:
        admin.delete_topics([mark.name])

    # Nobody knows who was away in that hour.
    assert mark.look() == 0
    assert len(mark.strays()) == 1


def test_of_two_that_clear_the_second_sends_no_heartbeat_after_that_of_the_first(broker: Broker, house: House) -> None:
    name = f"quiet.{uuid4().hex}"
    send(broker, name)
    with administering(broker, "answer") as admin:
        found = look(admin, [name])
    topic_id = found.topics[name].id
    with house.facts.cursor() as cursor:
        cursor.execute("INSERT INTO positions (topic_id, partition, next_offset) VALUES (%s, 0, 1)", (topic_id,))
    keeps = [Clearing(broker, house.facts, [name], group="g", tell=print, clock=now) for _ in range(2)]

    def cleared_to(end: int) -> Seen:
        one = partition(start=end, end=end)
        settings = topics.Policy().settings(3)
        return replace(found, topics={name: Topic(name=name, id=topic_id, settings=settings, partitions=(one,))})

    end = found.topics[name].partitions[0].end or 0
    assert keeps[0]._roll(cleared_to(end)) == 1
    assert keeps[1]._roll(cleared_to(end + 1)) == 0
    # Somebody published since.
    assert keeps[1]._roll(cleared_to(end + 2)) == 1


class Marked:
    """A mark that waits for a topic, and a look at it, in the middle of which something happens."""

    def __init__(self, broker: Broker, house: House) -> None:
        self.name = f"marked.{uuid4().hex}"
        self._broker, self._house = broker, house
        shredded_beside(broker, house, self.name)
        assert self.look() == 0

    def look(self, meanwhile: Callable[[], object] = lambda: None) -> int:
        def clock() -> datetime:
            # When it is asked for the time, the mark is read, and nothing is noted of it.
            meanwhile()
            return now()

        house = self._house
        recertify = house.certifying.recertify_within
        return Sources(self._broker, house.keys, house.facts, [self.name], recertify, clock=clock).step()

    def change(self, to: LiteralString) -> None:
        with self._house.keys.transaction() as cursor:
            assert cursor.execute(f"UPDATE source_marks SET {to}").rowcount == 1

    def strays(self) -> list[int]:
        with self._house.keys.transaction() as cursor:
            [row] = cursor.execute("SELECT ends->0->'strays' AS strays FROM source_marks").fetchall()
        return list(row["strays"])


def test_what_is_said_of_a_broker_is_not_undone_by_a_look_that_began_before(broker: Broker, house: House) -> None:
    mark = Marked(broker, house)
    mark.change("""ends = jsonb_set(jsonb_set(ends, '{0,strays}', '[98, 99]'), '{0,brokers}', '[98, 99]')""")

    assert mark.look(meanwhile=lambda: forget_broker(house.keys, 98)) == 0

    assert mark.strays() == [99]


def test_nothing_is_certified_of_a_mark_at_which_somebody_else_has_looked_meanwhile(
    broker: Broker, house: House
) -> None:
    mark = Marked(broker, house)
    with administering(broker, "delete topics") as admin:
        admin.delete_topics([mark.name])

    assert mark.look(meanwhile=lambda: mark.change("looked_at = looked_at + interval '1 ms', held_since = NULL")) == 0
    assert mark.look() == 1


def test_where_no_topic_is_read_the_certificate_says_so(house: House) -> None:
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1, name="Ann")

    shredded = desk.shred("contact 1")

    assert (shredded["sources"], shredded["source_cleared_since"]) == ("no topics are read here", None)
