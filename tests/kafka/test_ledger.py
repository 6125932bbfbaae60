"""The ledger in a topic of a real cluster: brokers die, writers race, and what could lose a line is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAuthorizationFailedError
from kafka.structs import OffsetAndMetadata

from crypto.ledger import Fences, FileLedger, Ledger, Line
from crypto.mirroring import MirroredLedger
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import LedgerBroken, LedgerUnavailable, SettingsWrong
from domain.ids import TenantId
from services.kafka import rights
from services.kafka.clearing import Clearing
from services.kafka.connecting import Broker, client
from services.kafka.inspecting import administering, topic_ids
from services.ledgers.topic import SETTINGS, TopicLedger
from tests.kafka.cluster import Cluster

REPOSITORY = Path(__file__).parents[2]
SIGNING = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
AT = datetime(2026, 11, 24, tzinfo=UTC)
PARTITION = 0

APPEND = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from crypto.ledger import Fences
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import LedgerUnavailable
from services.kafka.connecting import Broker
from services.ledgers.topic import TopicLedger

bootstrap, topic, folder, count = sys.argv[1:]
roots, signing = FileRoots(Path(folder)), Ed25519PrivateKey.from_private_bytes(b"k" * 32)
ledger = TopicLedger(Broker(bootstrap=bootstrap), topic, signing, roots)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(count)):
    entry = dict(
        tenant=uuid4(), kind="subject", key=uuid4(), shred=uuid4(), at=datetime(2026, 11, 24, tzinfo=UTC),
        fences=Fences((), Key(bytes(32)), (bytes(32),)), issue_counter=1,
    )
    while True:
        try:
            line = ledger.find(entry["shred"]) or ledger.append(**entry)
        except LedgerUnavailable as error:
            print(f"again {error}", file=sys.stderr)
            continue
        print(line.number, line.shred, flush=True)
        break
"""


def open_ledger(cluster: Cluster, topic: str, folder: Path) -> TopicLedger:
    return TopicLedger(cluster.broker, topic, SIGNING, FileRoots(folder / "roots"))


def shred(ledger: Ledger) -> Line:
    return ledger.append(
        tenant=TenantId(UUID(int=1)),
        kind="subject",
        key=uuid4(),
        shred=uuid4(),
        at=AT,
        fences=Fences((), Key(bytes(32)), ()),
        issue_counter=1,
    )


def start(cluster: Cluster, topic: str, folder: Path, count: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", APPEND, cluster.broker.bootstrap, topic, str(folder / "roots"), str(count)]
    process = subprocess.Popen(words, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def alter(cluster: Cluster, topic: str, settings: Mapping[str, str]) -> None:
    with cluster.admin() as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(settings))], incremental=True)


def test_two_processes_race_while_the_leader_dies_and_the_chain_is_whole(cluster: Cluster, tmp_path: Path) -> None:
    topic = "ledger-race"
    ledger = open_ledger(cluster, topic, tmp_path)
    first = shred(ledger)
    writers = [start(cluster, topic, tmp_path, 12) for _ in range(2)]
    said: list[list[str]] = [[], []]
    for writer in writers:
        go(writer)
    for writer, lines in zip(writers, said, strict=True):
        assert writer.stdout is not None
        lines += [writer.stdout.readline() for _ in range(3)]
    leader = cluster.leader(topic, PARTITION)
    cluster.kill(leader)
    try:
        for writer, lines in zip(writers, said, strict=True):
            assert writer.stdout is not None
            with writer:
                lines += writer.stdout.readlines()
            assert writer.returncode == 0
        told = sorted(tuple(line.split()) for lines in said for line in lines)
        read = list(open_ledger(cluster, topic, tmp_path).read())
        assert [line.number for line in read] == list(range(1, 26))
        assert read[0] == first
        assert sorted((str(line.number), str(line.shred)) for line in read[1:]) == told
        assert ledger.head() == 25
    finally:
        cluster.restart(leader)


def test_the_first_line_makes_a_topic_that_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    ledger = open_ledger(cluster, "ledger-made", tmp_path)
    assert ledger.head() == 0
    with cluster.admin() as admin:
        assert "ledger-made" not in admin.list_topics(), "a look makes nothing"
    shred(ledger)
    with cluster.admin() as admin:
        resource = [ConfigResource(ConfigResourceType.TOPIC, "ledger-made")]
        said = admin.describe_configs(resource, config_filter="all")["topic"]["ledger-made"]
        [described] = admin.describe_topics(["ledger-made"])
    assert {name: str(said[name]["value"]) for name in SETTINGS} == SETTINGS
    assert said["min.insync.replicas"]["value"] == "2"
    assert [len(each["replica_nodes"]) for each in described["partitions"]] == [3]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"retention.ms": "604800000"}, {"retention.ms": "-1"}),
        ({"retention.bytes": "1000000"}, {"retention.bytes": "-1"}),
        ({"cleanup.policy": "compact"}, {"cleanup.policy": "delete"}),
        ({"unclean.leader.election.enable": "true"}, {"unclean.leader.election.enable": "false"}),
        ({"min.insync.replicas": "1"}, {"min.insync.replicas": "2"}),
    ],
)
def test_a_topic_that_could_lose_lines_is_refused_and_the_message_says_what_to_set(
    cluster: Cluster, tmp_path: Path, wrong: dict[str, str], right: dict[str, str]
) -> None:
    ledger = open_ledger(cluster, f"ledger-{uuid4()}", tmp_path)
    topic = ledger._place._topic
    line = shred(ledger)
    alter(cluster, topic, wrong)
    [(name, value)] = right.items()
    for look in (ledger.head, lambda: list(ledger.read()), lambda: ledger.find(line.shred), lambda: shred(ledger)):
        with pytest.raises(SettingsWrong, match=rf"{name}={value}"):
            look()
    alter(cluster, topic, right)
    assert (ledger.head(), shred(ledger).number) == (1, 2)


def test_a_topic_whose_beginning_was_deleted_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    ledger = open_ledger(cluster, "ledger-cut", tmp_path)
    for _ in range(3):
        shred(ledger)
    with cluster.admin() as admin:
        admin.delete_records({TopicPartition("ledger-cut", PARTITION): 1})
    for look in (ledger.head, lambda: list(ledger.read()), lambda: shred(ledger)):
        with pytest.raises(LedgerBroken, match="line 1 of the ledger is missing"):
            look()


def test_a_topic_made_anew_is_an_empty_ledger_and_its_copy_fills_it(cluster: Cluster, tmp_path: Path) -> None:
    topic = open_ledger(cluster, "ledger-anew", tmp_path)
    copy = FileLedger(tmp_path / "copy", SIGNING, FileRoots(tmp_path / "roots"))
    lines = [shred(MirroredLedger(topic, copy)) for _ in range(3)]
    with cluster.admin() as admin:
        admin.delete_topics(["ledger-anew"])
    assert topic.head() == 0
    assert topic.find(lines[0].shred) is None
    assert list(MirroredLedger(topic, copy).read()) == lines == list(topic.read())


def test_what_somebody_else_writes_is_found(cluster: Cluster, tmp_path: Path) -> None:
    ledger = open_ledger(cluster, "ledger-noise", tmp_path)
    for _ in range(2):
        shred(ledger)
    producer = client(KafkaProducer, cluster.broker, acks="all")
    producer.send("ledger-noise", value=b"noise").get(timeout=30)
    producer.close()
    for look in (ledger.head, lambda: list(ledger.read()), lambda: shred(ledger)):
        with pytest.raises(LedgerBroken, match="not as it was written"):
            look()


def test_brokers_that_are_away_are_no_empty_ledger(tmp_path: Path) -> None:
    away = TopicLedger(Broker(bootstrap="127.0.0.1:1"), "ledger", SIGNING, FileRoots(tmp_path / "roots"))
    with pytest.raises(LedgerUnavailable, match="Kafka at 127"):
        away.head()


class Stored:
    """Positions as if all three records of a topic were stored."""

    def __init__(self, topic: UUID) -> None:
        self._topic = topic

    def stored_positions(self, topic_id: UUID) -> dict[int, int]:
        return {PARTITION: 3} if topic_id == self._topic else {}

    def stored_epochs(self, topic_id: UUID) -> dict[int, int]:
        return {}

    def topics_read(self) -> set[UUID]:
        return {self._topic}

    def heartbeats(self, topic_id: UUID) -> dict[int, int]:
        return {}

    def note_heartbeat(self, topic_id: UUID, partition: int, offset: int) -> None:
        pass


def test_clearing_spares_the_ledger_even_if_its_topic_was_read_once(cluster: Cluster, tmp_path: Path) -> None:
    ledger = open_ledger(cluster, "ledger-spared", tmp_path)
    lines = [shred(ledger) for _ in range(3)]
    group = f"spared-{uuid4()}"
    consumer = client(KafkaConsumer, cluster.broker, group_id=group, enable_auto_commit=False)
    consumer.assign([TopicPartition("ledger-spared", PARTITION)])
    consumer.commit({TopicPartition("ledger-spared", PARTITION): OffsetAndMetadata(3, "", -1)})
    consumer.close()
    with cluster.admin() as admin:
        positions = Stored(topic_ids(admin, ["ledger-spared"])["ledger-spared"])

    def clear(*topics: str, spared: tuple[str, ...]) -> int:
        clearing = Clearing(
            cluster.broker,
            positions,
            topics,
            group=group,
            tell=print,
            clock=lambda: datetime.now(UTC),
            spared=spared,
        )
        return clearing.step().records

    for topics in ((), ("ledger-spared",)):
        assert clear(*topics, spared=("ledger-spared",)) == 0
    assert list(ledger.read()) == lines
    assert clear(spared=()) == 3, "it would have gone"


def test_the_rules_for_a_house_let_it_write_its_ledger_over_tls_and_never_delete_from_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic, user = f"ledger-{uuid4()}", f"house-{uuid4().hex[:6]}"
    cluster.add_user(user, "secret")
    broker = cluster.secured(user, "secret")
    ledger = TopicLedger(broker, topic, SIGNING, FileRoots(tmp_path / "roots"))
    with pytest.raises(LedgerUnavailable, match="may not do this"):
        ledger.head()
    with cluster.admin() as admin:
        rights.allow(admin, rights.rules({}, ours=[f"User:{user}"], ledgers=[topic], group="sealdesk"))
    lines = [shred(ledger) for _ in range(2)]
    assert list(ledger.read()) == lines
    assert ledger.head() == 2
    with administering(broker, "delete") as admin:
        with pytest.raises(TopicAuthorizationFailedError):
            admin.delete_records({TopicPartition(topic, PARTITION): 1})
        with pytest.raises(TopicAuthorizationFailedError):
            admin.delete_topics([topic])
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "1"})
        assert admin.alter_configs([resource], incremental=True)["topic"][topic] != "OK"
    assert ledger.head() == 2
