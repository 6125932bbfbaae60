"""Brokers of Apache Kafka in folders of a test's own: start, kill -9, restart, and ask who leads a partition.

Each is broker and controller in one (KRaft). Two listeners: plain, where everybody may do everything (the harness
itself, and the brokers among themselves), and TLS with SCRAM-SHA-512, where a user may do what `allow` said.
"""

from __future__ import annotations

import base64
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from services.kafka.connecting import Broker, client
from tests.kafka import certificates

#: Where `make kafka-jars` puts the jars.
JARS = Path(__file__).parents[2] / "build" / "kafka"
#: Three brokers, a load generator and consumers share two cores: start soon, compile little, stay small.
JAVA = (
    "java",
    "-Xmx256m",
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xshare:auto",
)
QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
START_SECONDS = 90.0
#: Of ListOffsets, https://kafka.apache.org/protocol.html
LATEST, EARLIEST = -1, -2
#: Below the range from which systems take ports for outgoing connections, so that a killed broker finds its own free.
PORTS = range(20_000, 32_000)

SETTINGS = {
    "process.roles": "broker,controller",
    "listener.security.protocol.map": "PLAIN:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAIN",
    "controller.listener.names": "CONTROLLER",
    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "listener.name.secure.scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # This is whoever comes by the plain listener.
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "log.retention.check.interval.ms": "500",
    "log.segment.delete.delay.ms": "500",
    "log.initial.task.delay.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "num.network.threads": "2",
    "num.io.threads": "2",
    # A dead broker is noticed within seconds.
    "broker.heartbeat.interval.ms": "1000",
    "broker.session.timeout.ms": "4000",
    "replica.lag.time.max.ms": "4000",
}


class Cluster:
    """One or three brokers, numbered from 1.

    `broker` is the plain way in; `secured` names the way in by TLS and SCRAM.
    """

    def __init__(self, folder: Path, brokers: int, *, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.ids = tuple(range(1, brokers + 1))
        self.certificates = certificates.make(folder)
        self._id = _random_id()
        ports = iter(_free_ports(3 * brokers))
        self._ports = {number: {kind: next(ports) for kind in ("plain", "secure", "control")} for number in self.ids}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        replicas = str(brokers)
        self._settings = SETTINGS | {
            "default.replication.factor": replicas,
            "min.insync.replicas": str(max(1, brokers - 1)),
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": "1",
            "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{self._ports[n]['control']}" for n in self.ids),
            "ssl.keystore.location": str(self.certificates.host),
            "ssl.truststore.location": str(self.certificates.ca),
            **(settings or {}),
        }

    # Ways in.

    @property
    def broker(self) -> Broker:
        """The plain way in."""
        return Broker(bootstrap=self._bootstrap("plain"))

    def secured(self, user: str, password: str) -> Broker:
        """Name the way in by TLS and SCRAM, with the password in a file."""
        file = self.folder / f"password-{uuid4().hex}"
        file.write_text(password)
        bootstrap = self._bootstrap("secure")
        return Broker(bootstrap=bootstrap, tls=True, ca=self.certificates.ca, user=user, password_file=file)

    def _bootstrap(self, kind: str) -> str:
        return ",".join(f"127.0.0.1:{self._ports[number][kind]}" for number in self.ids)

    # Life and death.

    def start(self) -> float:
        """Make the folders, start every broker, wait until all are in. Returns the seconds that it took."""
        began = time.monotonic()
        for number in self.ids:
            self._home(number).mkdir()
            (self._home(number) / "server.properties").write_text(self._properties(number))
        self._format()
        for number in self.ids:
            self._spawn(number)
        self.wait_for(self.ids)
        return time.monotonic() - began

    def kill(self, number: int) -> None:
        """End a broker by SIGKILL."""
        process = self._processes.pop(number)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def terminate(self, number: int) -> None:
        """Ask a broker to hand over and end."""
        process = self._processes.pop(number)
        process.terminate()
        process.wait(timeout=60)

    def restart(self, number: int) -> None:
        """Start a broker that was killed, and wait until all that run are in."""
        self._spawn(number)
        self.wait_for(tuple(self._processes))

    def stop(self) -> None:
        """End all that run. The folders stay."""
        for number in tuple(self._processes):
            self.kill(number)

    def pids(self) -> dict[int, int]:
        """Say who runs."""
        return {number: process.pid for number, process in self._processes.items()}

    def wait_for(self, numbers: Sequence[int]) -> None:
        """Wait until these brokers are known to each other and take requests.

        Raises:
            AssertionError: one ended, or not all are in after `START_SECONDS`.
        """
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            for number, process in self._processes.items():
                assert process.poll() is None, f"broker {number} ended:\n{self._said(number)}"
            if all(_listens(self._ports[number]["plain"]) for number in numbers) and self._known() >= set(numbers):
                return
            time.sleep(0.1)
        said = "\n".join(self._said(number) for number in numbers)
        raise AssertionError(f"not all brokers of {list(numbers)} are in after {START_SECONDS:.0f} seconds:\n{said}")

    def _known(self) -> set[int]:
        with suppress(KafkaError), self.admin() as admin:
            brokers = admin.describe_cluster()["brokers"]
            return {broker.get("broker_id", broker.get("node_id")) for broker in brokers if not broker.get("is_fenced")}
        return set()

    def _spawn(self, number: int) -> None:
        home = self._home(number)
        command = [*JAVA, *QUIET, "-cp", f"{JARS}/*", "kafka.Kafka", str(home / "server.properties")]
        with (home / "broker.log").open("ab") as log:
            # A terminal's Ctrl-C ends the tests, which end the brokers.
            self._processes[number] = subprocess.Popen(
                command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _said(self, number: int) -> str:
        return (self._home(number) / "broker.log").read_text(errors="replace")[-2000:]

    def _properties(self, number: int) -> str:
        ports = self._ports[number]
        plain, secure = f"PLAIN://127.0.0.1:{ports['plain']}", f"SECURE://127.0.0.1:{ports['secure']}"
        own = {
            "node.id": str(number),
            "listeners": f"{plain},{secure},CONTROLLER://127.0.0.1:{ports['control']}",
            "advertised.listeners": f"{plain},{secure}",
            "log.dirs": str(self.data(number)),
        }
        return "".join(f"{name}={value}\n" for name, value in (self._settings | own).items())

    def _format(self) -> None:
        """Format the first broker's folder; the others are alike but for their own ids, and a JVM takes a second."""
        first = self.ids[0]
        properties = str(self._home(first) / "server.properties")
        command = [*JAVA, *QUIET, "-cp", f"{JARS}/*", "kafka.tools.StorageTool"]
        subprocess.run([*command, "format", "-t", self._id, "-c", properties], check=True, capture_output=True)
        for number in self.ids[1:]:
            shutil.copytree(self.data(first), self.data(number))
            directory = _random_id()
            lines = ("version=1", f"cluster.id={self._id}", f"node.id={number}", f"directory.id={directory}")
            (self.data(number) / "meta.properties").write_text("\n".join(lines) + "\n")

    # Folders.

    def _home(self, number: int) -> Path:
        return self.folder / f"broker-{number}"

    def data(self, number: int) -> Path:
        """Where a broker keeps what it is sent."""
        return self._home(number) / "data"

    def holding(self, value: bytes | re.Pattern[bytes]) -> list[Path]:
        """Find files of any broker that hold a value. What is compressed cannot be judged; publishers here do not."""
        pattern = value if isinstance(value, re.Pattern) else re.compile(re.escape(value))
        held = []
        for number in self.ids:
            for path in self.data(number).rglob("*"):
                with suppress(FileNotFoundError):  # Brokers delete while we look.
                    if path.is_file() and pattern.search(path.read_bytes()):
                        held.append(path)
        return held

    # Administration, by the plain listener.

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """Give kafka-python's client for administration."""
        admin = client(KafkaAdminClient, self.broker)
        try:
            yield admin
        finally:
            admin.close()

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        replicas: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> str:
        """Create a topic and wait until it can be used. Returns its name, with a random end: it is nobody else's."""
        name = f"{name}.{uuid4().hex[:8]}"
        with self.admin() as admin:
            wanted = {
                "num_partitions": partitions,
                "replication_factor": replicas or len(self.ids),
                "configs": dict(settings or {}),
            }
            admin.create_topics({name: wanted}, wait_for_metadata=True)
        return name

    def leader(self, topic: str, partition: int) -> int:
        """Say who leads a partition, once anybody does."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with suppress(KafkaError), self.admin() as admin:
                [found] = admin.describe_topics([topic])
                for each in found["partitions"]:
                    if each["partition_index"] == partition and each["leader_id"] in self.ids:
                        leader: int = each["leader_id"]
                        return leader
            time.sleep(0.2)
        raise AssertionError(f"nobody leads {topic}-{partition}")

    def offsets(self, topic: str) -> tuple[dict[int, int], dict[int, int]]:
        """Read where each partition starts, and where it ends."""
        with self.admin() as admin:
            [found] = admin.describe_topics([topic])
            partitions = [TopicPartition(topic, each["partition_index"]) for each in found["partitions"]]
            starts, ends = (
                admin.list_partition_offsets(dict.fromkeys(partitions, spec)) for spec in (EARLIEST, LATEST)
            )
        return (
            {each.partition: starts[each].offset for each in partitions},
            {each.partition: ends[each].offset for each in partitions},
        )

    def add_user(self, name: str, password: str) -> None:
        """Let a user in by SCRAM-SHA-512. It may do nothing yet."""
        with self.admin() as admin:
            admin.alter_user_scram_credentials([UserScramCredentialUpsertion(name, "SCRAM-SHA-512", password)])

    def allow(self, user: str, *, topic: str = "*", group: str = "*") -> None:
        """Let a user do everything with a topic and a group."""
        resources = ((ResourceType.TOPIC, topic), (ResourceType.GROUP, group))
        acls = [
            ACL(f"User:{user}", "*", ACLOperation.ALL, ACLPermissionType.ALLOW, ResourcePattern(kind, name))
            for kind, name in resources
        ]
        with self.admin() as admin:
            admin.create_acls(acls)


def java_runs() -> bool:
    """Tell whether Java and the jars are there."""
    return shutil.which("java", path=os.environ.get("PATH")) is not None and any(JARS.glob("kafka_2.13-*.jar"))


def _random_id() -> str:
    """Make an id as Kafka writes them. None begins with a dash, which its tools take for an option."""
    return base64.urlsafe_b64encode(b"\0" + uuid4().bytes[1:]).decode().rstrip("=")


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no ports are free")
