"""Nothing left lying: what is stored goes from the brokers' folders, and nothing else does."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ACLOperation
from kafka.errors import KafkaError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata

from crypto import accounts, certificates
from domain.errors import BrokerUnavailable
from services.cli.app import run
from services.embedded import Endpoints
from services.kafka import rights, topics
from services.kafka.clearing import Clearing, behind
from services.kafka.connecting import client
from services.kafka.epochs import epoch_ends
from services.kafka.heartbeats import HEARTBEAT
from services.kafka.inspecting import Seen, administering, look, topic_ids
from services.kafka.sources import Sources, forget_broker, standing_of
from services.log import Position
from services.publishing.sending import publish
from services.records import parcel_of
from services.sealed import MESSAGE_BYTES
from services.wiring import House
from tests.desks import AT, Desk, desk_house
from tests.kafka.cluster import Cluster

GROUP = "clearing"
#: A broker of the tests begins to look for old segments one second after its start.
AFTER_START_SECONDS = 1.0
POLICY = topics.Policy(segment_seconds=2)
PARTITIONS = 3


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened:
        yield opened


class Room:
    """A desk that reads one topic, clears it, and follows its certificates, turn by turn."""

    def __init__(self, cluster: Cluster, house: House, topic: str | None = None) -> None:
        self.cluster = cluster
        self.house = house
        self.topic = topic or f"room.{uuid4().hex[:8]}"
        self.desk = Desk(house)
        self.told: list[str] = []
        self.clearing = Clearing(
            cluster.broker, house.facts, [self.topic], group=GROUP, tell=self.told.append, clock=now
        )
        self.sources = Sources(
            cluster.broker,
            house.keys,
            house.facts,
            [self.topic],
            house.certifying.recertify_within,
            clock=now,
            after_start_seconds=AFTER_START_SECONDS,
        )
        if topic is None:
            self.create()

    def create(self) -> None:
        with administering(self.cluster.broker, "create topics") as admin:
            topics.create(admin, look(admin, [self.topic]), POLICY, partitions=PARTITIONS)

    def seen(self) -> Seen:
        with administering(self.cluster.broker, "answer") as admin:
            return look(admin, [self.topic])

    def publish(self, word: str, numbers: Collection[int]) -> None:
        """Publish a ticket of contact 1 for each number, with a word that no other record has."""
        events = [
            self.desk.event(
                "ticket.opened",
                f"ticket {number}",
                AT,
                uuid4().hex,
                requester_id=1,
                subject=f"{word} {number}",
                description=word,
                status=2,
                priority=1,
            )
            for number in numbers
        ]
        published = publish([parcel_of(event) for event in events], self.cluster.broker, self.topic)
        assert published.sent == len(numbers), published

    def take(self, up_to: Mapping[int, int] | None = None, *, mirrors: bool = True) -> None:
        """Take in what is there, up to these offsets, as consuming does: facts with positions, then the mirror."""
        topic = self.seen().topics[self.topic]
        consumer = client(KafkaConsumer, self.cluster.broker, enable_auto_commit=False)
        stored = self.house.facts.stored_positions(topic.id)
        ends = {one.number: (up_to or {}).get(one.number, one.end or 0) for one in topic.partitions}
        try:
            for number, end in ends.items():
                place, at = TopicPartition(self.topic, number), stored.get(number, 0)
                consumer.assign([place])
                consumer.seek(place, at)
                parcels, given_up = [], time.monotonic() + 30
                while at < end and time.monotonic() < given_up:
                    for record in consumer.poll(timeout_ms=500, max_records=end - at).get(place, []):
                        if ("content-type", HEARTBEAT) not in record.headers:
                            parcels.append(parcel_of(record.value))
                        at = record.offset + 1
                assert at == end
                if at > stored.get(number, 0):
                    position = _position(topic.id, number, at, stored.get(number))
                    self.house.intake.take(parcels, at=now(), positions=[position])
        finally:
            consumer.close()
        if mirrors:
            self.mirror(self.house.facts.stored_positions(topic.id))

    def mirror(self, offsets: Mapping[int, int]) -> None:
        commit(self.cluster, GROUP, {TopicPartition(self.topic, number): at for number, at in offsets.items()})

    def certificate(self) -> dict[str, Any]:
        """Read the certificate of the only shred."""
        with self.house.keys.transaction() as cursor:
            [row] = cursor.execute("SELECT certificate FROM shreds").fetchall()
        return dict(row["certificate"])

    def turn(self, *, take: bool = True) -> None:
        """Take in, clear and follow once, whatever the brokers say, and check that nothing unread is gone."""
        try:
            if take:
                self.take()
            self.clearing.step()
            self.sources.step()
            seen = self.seen()
        except (BrokerUnavailable, KafkaError):
            return
        topic = seen.topics[self.topic]
        stored = self.house.facts.stored_positions(topic.id)
        for one in topic.partitions:
            assert one.start is None or one.start <= stored.get(one.number, 0)


def commit(cluster: Cluster, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit, once a coordinator takes it: after a start, or a kill, that may be some seconds away."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with cluster.admin() as admin:
                admin.alter_group_offsets(
                    group, {place: OffsetAndMetadata(at, "", -1) for place, at in offsets.items()}
                )
            return
        except KafkaError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def delete(cluster: Cluster, topic: str) -> None:
    """Delete a topic, once the brokers know who of them is there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with cluster.admin() as admin:
                admin.delete_topics([topic])
            return
        except UnknownTopicOrPartitionError:
            return
        except KafkaError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _position(topic_id: UUID, partition: int, offset: int, expected: int | None) -> Position:
    fields = {"topic_id": topic_id, "partition": partition, "offset": offset, "expected": expected}
    return Position(**{name: value for name, value in fields.items() if name in Position.__slots__})


def word() -> str:
    return f"planted{uuid4().hex}"


def test_after_source_cleared_since_no_folder_of_a_broker_holds_what_was_published(
    cluster: Cluster, house: House
) -> None:
    room, planted, began = Room(cluster, house), word(), time.monotonic()
    room.publish(planted, range(60))
    assert len({path.parents[2] for path in cluster.holding(planted.encode())}) == 3, "the control is not found"
    room.take()
    first = room.desk.shred("contact 1")
    assert first["source_cleared_since"] is None
    assert first["sources"] == accounts.TOPICS_READ
    shredded = time.monotonic()

    # The broker that leads partition 0 dies, its copies stay on its disk, and it comes back.
    away = cluster.leader(room.topic, 0)
    cluster.kill(away)
    try:
        while time.monotonic() < shredded + 12:
            room.turn()
            assert room.certificate()["source_cleared_since"] is None
            time.sleep(0.2)
        assert cluster.holding(planted.encode()), "the broker that is away has nothing: the control is not found"
    finally:
        cluster.restart(away)
    back, gone = time.monotonic(), None
    while room.certificate()["source_cleared_since"] is None:
        assert time.monotonic() < back + 90
        room.turn()
        if gone is None and not cluster.holding(planted.encode()):
            gone = time.monotonic()
    done = time.monotonic()

    assert cluster.holding(planted.encode()) == []
    assert gone is not None
    second = room.certificate()
    certificates.verify(second)
    assert second["certificate_id"] == first["certificate_id"]
    assert {name for name in first if first[name] != second[name]} == {"source_cleared_since", "issued_at", "signature"}
    print(
        f"published and taken in {shredded - began:.1f} s; a broker away for {back - shredded:.1f} s; "
        f"gone {gone - back:.1f} s and certified {done - back:.1f} s after its return"
    )
    # What is left are heartbeats, and no more of them come while nobody publishes.
    ends = [one.end for one in room.seen().topics[room.topic].partitions]
    for _ in range(3):
        time.sleep(POLICY.segment_seconds)
        room.turn()
    assert [one.end for one in room.seen().topics[room.topic].partitions] == ends


def test_what_is_not_stored_or_not_mirrored_is_never_deleted(cluster: Cluster, house: House) -> None:
    room = Room(cluster, house)
    room.publish(word(), range(90))
    ends = {one.number: one.end or 0 for one in room.seen().topics[room.topic].partitions}
    assert min(ends.values()) > 6
    # Once, and not the half before: a coordinator that has just taken over may tell what was committed earlier.
    room.take(up_to={number: end // 2 for number, end in ends.items()}, mirrors=False)
    room.mirror({number: end // 3 for number, end in ends.items()})

    led = cluster.leader(room.topic, 0)
    cluster.kill(led)
    try:
        for _ in range(5):
            room.turn(take=False)
    finally:
        cluster.restart(led)
    # A leader that was killed may have forgotten that it deleted; then it is told once more.
    deadline = time.monotonic() + 30
    while _starts(room) != {number: end // 3 for number, end in ends.items()}:
        assert time.monotonic() < deadline, _starts(room)
        room.turn(take=False)

    room.take()
    room.turn()
    with house.facts.cursor() as cursor:
        [row] = cursor.execute("SELECT count(DISTINCT originator_id) AS things FROM facts_events").fetchall()
    # Ninety tickets, and whose they are.
    assert row["things"] >= 90
    assert _starts(room) == ends


def _starts(room: Room) -> dict[int, int | None]:
    return {one.number: one.start for one in room.seen().topics[room.topic].partitions}


def test_positions_of_a_topic_say_nothing_about_one_that_was_created_anew(cluster: Cluster, house: House) -> None:
    room = Room(cluster, house)
    room.publish(word(), range(30))
    room.take()
    before = room.seen().topics[room.topic].id
    delete(cluster, room.topic)
    with administering(cluster.broker, "answer") as admin:
        while topic_ids(admin, [room.topic]):
            time.sleep(0.1)
    room.create()
    room.publish(word(), range(60))
    ends = {one.number: one.end or 0 for one in room.seen().topics[room.topic].partitions}
    room.mirror(ends)

    assert room.clearing.step().records == 0
    assert room.seen().topics[room.topic].id != before
    assert set(_starts(room).values()) == {0}


def test_where_a_leaders_records_end_is_asked_of_whoever_leads_now(cluster: Cluster, house: House) -> None:
    room = Room(cluster, house)
    room.publish(word(), range(30))
    [topic] = room.seen().topics.values()
    places = {TopicPartition(topic.name, one.number): one for one in topic.partitions}
    leaders = {place: one.leader for place, one in places.items()}
    with administering(cluster.broker, "answer") as admin:
        first = epoch_ends(admin, dict.fromkeys(places, 0), leaders)
        never = epoch_ends(admin, dict.fromkeys(places, 99), leaders)
    consumer = client(KafkaConsumer, cluster.broker, enable_auto_commit=False)
    try:
        consumer.assign(list(places))
        consumer.end_offsets(list(places))
        assert epoch_ends(consumer, dict.fromkeys(places, 0)) == first
    finally:
        consumer.close()
    assert first == {place: one.end for place, one in places.items()}
    assert set(never.values()) == {-1}

    # What was read was appended by a leader of whom this log knows nothing: it is another log.
    room.take()
    with house.facts.cursor() as cursor:
        cursor.execute("UPDATE positions SET leader_epoch = 99")
    assert room.clearing.step().records == 0
    assert any("the broker lost records" in sentence for sentence in room.told)
    with house.facts.cursor() as cursor:
        cursor.execute("UPDATE positions SET leader_epoch = 0")
    assert room.clearing.step().records == 30


def test_a_topic_that_is_read_no_more_is_cleared_as_well(cluster: Cluster, house: House) -> None:
    room, other = Room(cluster, house), Room(cluster, house)
    room.publish(word(), range(30))
    room.take()

    assert other.clearing.step().records == 30


def test_a_topic_that_is_deleted_counts_as_cleared_once_its_brokers_had_their_time(
    cluster: Cluster, house: House
) -> None:
    room, planted = Room(cluster, house), word()
    room.publish(planted, range(30))
    room.take()
    room.desk.shred("contact 1")
    room.sources.step()
    assert cluster.holding(planted.encode()), "the control is not found"
    delete(cluster, room.topic)
    began = time.monotonic()
    while room.certificate()["source_cleared_since"] is None:
        assert time.monotonic() < began + 60
        room.sources.step()
    assert cluster.holding(planted.encode()) == []
    print(f"certified {time.monotonic() - began:.1f} s after the topic was deleted")


@pytest.mark.skipif(
    "SEALDESK_TEST_RECORDS" not in os.environ, reason="a minute of waiting for a broker: only in `make test-kafka`"
)
def test_what_a_broker_sets_aside_on_its_return_holds_the_certificate_back_until_somebody_looked(
    cluster: Cluster, house: House
) -> None:
    room, planted = Room(cluster, house), word()
    room.publish(planted, range(30))
    room.take()
    room.desk.shred("contact 1")
    room.sources.step()
    away = cluster.ids[0]
    cluster.kill(away)
    try:
        delete(cluster, room.topic)
        held = time.monotonic()
        while not _waits_for(house) or time.monotonic() < held + 6:
            assert time.monotonic() < held + 60
            with suppress(BrokerUnavailable):
                room.sources.step()
    finally:
        cluster.restart(away)
    back = time.monotonic()
    while time.monotonic() < back + 12:
        with suppress(BrokerUnavailable):
            room.sources.step()
    strays = {path.parent for path in cluster.holding(planted.encode())}
    assert {path.name.rpartition("-")[2] for path in strays} == {"stray"}
    assert room.certificate()["source_cleared_since"] is None
    assert _waits_for(house) == f"broker {away} may have set a copy aside"

    for folder in strays:
        shutil.rmtree(folder)
    assert forget_broker(house.keys, away) == 1

    looked = time.monotonic()
    while room.certificate()["source_cleared_since"] is None:
        assert time.monotonic() < looked + 60
        room.sources.step()
    assert cluster.holding(planted.encode()) == []


def _waits_for(house: House) -> str:
    [one] = standing_of(house.keys)
    return one.waits_for.partition(": ")[2]


def test_who_else_reads_a_topic_and_is_behind_is_told(cluster: Cluster, house: House) -> None:
    room = Room(cluster, house)
    room.publish(word(), range(30))
    commit(cluster, "warehouse", {TopicPartition(room.topic, 0): 1})
    room.take()

    with administering(cluster.broker, "answer") as admin:
        [found] = behind(admin, GROUP, look(admin, [room.topic]))
    room.clearing.step()

    assert (found.group, found.topic) == ("warehouse", room.topic)
    assert found.records == (room.seen().topics[room.topic].partitions[0].end or 0) - 1
    assert [sentence for sentence in room.told if "warehouse" in sentence and room.topic in sentence]


def test_topics_are_created_as_they_should_be_and_what_differs_is_set_on_demand(cluster: Cluster) -> None:
    name = f"made.{uuid4().hex[:8]}"
    other = topics.Policy(days=1)
    with administering(cluster.broker, "create topics") as admin:
        assert topics.create(admin, look(admin, [name]), POLICY, partitions=2) == 1
        assert topics.create(admin, look(admin, [name]), POLICY, partitions=2) == 0
        seen = look(admin, [name])
        assert topics.differences(seen, POLICY) == []
        assert topics.warnings(seen.topics[name], POLICY) == []
        assert {len(one.replicas) for one in seen.topics[name].partitions} == {3}
        assert seen.topics[name].settings["max.message.bytes"] == str(MESSAGE_BYTES)

        differ = topics.differences(seen, other)
        assert [one.setting for one in differ] == ["retention.ms", "segment.ms"]
        topics.apply(admin, differ)
        assert topics.differences(look(admin, [name]), other) == []


def test_warnings_name_what_keeps_records_or_may_lose_them(cluster: Cluster) -> None:
    name = cluster.create_topic(
        "careless",
        replicas=2,
        settings={
            "retention.ms": "-1",
            "cleanup.policy": "compact",
            "unclean.leader.election.enable": "true",
            "min.insync.replicas": "1",
        },
    )
    with administering(cluster.broker, "answer") as admin:
        said = topics.warnings(look(admin, [name]).topics[name], topics.Policy())
    for part in ("retention is off", "compact", "unclean", "min.insync.replicas", "publishers set the time", "long"):
        assert any(part in sentence for sentence in said), (part, said)


def test_the_rules_that_are_written_are_enough_and_not_more(cluster: Cluster, house: House) -> None:
    room = Room(cluster, house)
    room.publish(word(), range(30))
    room.take()
    user, password = f"desk-{uuid4().hex[:6]}", "a good password"
    cluster.add_user(user, password)
    own = Clearing(
        cluster.secured(user, password), house.facts, [room.topic], group=GROUP, tell=room.told.append, clock=now
    )
    with pytest.raises(BrokerUnavailable, match="SEALDESK_KAFKA_USER may not do this"):
        own.step()

    wanted = rights.rules({room.topic: ["User:crm"]}, ours=[f"User:{user}"], group=GROUP)
    with administering(cluster.broker, "write rules") as admin:
        assert rights.allow(admin, wanted) == len(wanted)

    # A group of somebody else's, which we may not describe, is in nobody's way.
    commit(cluster, "foreign", {TopicPartition(room.topic, 0): 1})
    deadline, deleted = time.monotonic() + 20, 0
    while True:
        try:
            deleted += own.step().records
            if deleted == 30:
                break
        except BrokerUnavailable:
            pass
        # Brokers learn of rules one after the other.
        assert time.monotonic() < deadline
        time.sleep(0.5)
    sources = Sources(
        cluster.secured(user, password),
        house.keys,
        house.facts,
        [room.topic],
        house.certifying.recertify_within,
        clock=now,
    )
    room.desk.shred("contact 1")
    sources.step()
    assert len(standing_of(house.keys)) == 1
    publishers = {rule.operation for rule in wanted if rule.principal == "User:crm" and room.topic in str(rule)}
    assert publishers == {ACLOperation.WRITE, ACLOperation.DESCRIBE}


def test_the_commands_create_topics_and_say_what_they_hold(
    single: Cluster,
    databases: Endpoints,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"acme.records.{uuid4().hex[:8]}"
    admission = tmp_path / "topics.toml"
    admission.write_text(f'[topics."{name}"]\ntenants = ["acme"]\nprincipals = ["User:crm"]\n')
    places = {"ROOTS": "roots", "LEDGER": "ledger", "SIGNING": "signing"}
    for variable, value in {
        "SEALDESK_KAFKA": single.broker.bootstrap,
        "SEALDESK_TOPICS": str(admission),
        "SEALDESK_LOG_DSN": databases.log_dsn,
        "SEALDESK_KEYS_DSN": databases.keys_dsn,
        **{f"SEALDESK_{place}": str(tmp_path / folder) for place, folder in places.items()},
    }.items():
        monkeypatch.setenv(variable, value)

    def said(*arguments: str) -> Any:
        assert run([*arguments, "--json"]) == 0, capsys.readouterr().err
        return orjson.loads(capsys.readouterr().out)

    made = said("topics", "create", "--partitions", "2", "--principal", "User:desk")
    assert name in made["created"]
    assert made["rules"] > 10
    assert said("topics", "create", "--partitions", "2")["created"] == []
    monkeypatch.setenv("SEALDESK_TOPIC_DAYS", "3")
    assert {one["setting"] for one in said("topics", "create", "--apply")["differ"]} == {"retention.ms"}
    assert said("topics", "create")["differ"] == []

    publish([parcel_of(f"poison {number}".encode()) for number in range(3)], single.broker, name)
    producer = client(KafkaProducer, single.broker, acks="all")
    for _ in range(3):
        producer.send(name, b"poison", partition=1).get(timeout=10)
    producer.close()
    rows = {row["partition"]: row for row in said("topics")["partitions"] if row["topic"] == name}
    assert (rows[1]["start"], rows[1]["end"], rows[1]["unread"], rows[1]["records"]) == (0, 3, 3, 3)
    assert rows[1]["bytes"]["1"] > 3 * len(b"poison")
    assert rows[1]["stored"] is None
    assert UUID(rows[1]["id"])

    with desk_house(databases, tmp_path) as house:
        position = _position(UUID(rows[1]["id"]), 1, 3, None)
        house.intake.take([parcel_of(b"poison")] * 3, at=now(), positions=[position])
    # A group of its own: others on this broker may still have members in that of the house.
    commit(single, name, {TopicPartition(name, 1): 3})
    deadline = time.monotonic() + 20
    while True:
        # A broker that has no time answers too late, and is asked again.
        done = said("topics", "clear", "--group", name)
        assert done["records"] in (0, 3)
        assert done == {"able": True, "records": done["records"], "heartbeats": 0, "certified": 0}
        rows = {row["partition"]: row for row in said("topics")["partitions"] if row["topic"] == name}
        if rows[1]["start"] == 3:
            break
        assert time.monotonic() < deadline
    assert (rows[1]["start"], rows[1]["stored"], rows[1]["unread"], rows[1]["records"]) == (3, 3, 0, 0)
    # The bytes are there until their segment ends.
    assert rows[1]["bytes"]["1"] > 3 * len(b"poison")
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["topics"]) == 0
    assert name in capsys.readouterr().out
