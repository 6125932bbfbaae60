"""A whole house on Apache Kafka while everything in it dies in turn: what happened, for stories to look at."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from services.embedded import Endpoints
from tests.kafka.cluster import Cluster
from tests.kafka.databases import Databases
from tests.kafka.faults import Faults
from tests.kafka.fleet import UNREACHABLE, Fleet, environment
from tests.kafka.history import TENANT, Line, address, history, of_one
from tests.kafka.publisher import Publisher
from tests.kafka.recipients import Recipients

PARTITIONS, CONSUMERS = 8, 3
#: People who are forgotten meanwhile, and how much each of them wrote before.
FORGOTTEN, WROTE = tuple(range(600_001, 600_007)), 5
#: Others in these topics are told by other names.
RECIPIENTS = ("mailing", "warehouse")
#: A segment has to end before what it holds can go; sealdesk's own choice is a minute.
SEGMENT_MILLISECONDS = "5000"


@dataclass
class Storm:
    """What was published, and what became of the house."""

    cluster: Cluster
    fleet: Fleet
    faults: Faults
    topic: str
    records: int
    endpoints: Endpoints
    folder: Path
    seconds: float = 0.0
    certificates: list[dict[str, Any]] = field(default_factory=list)
    recipients: Recipients | None = None
    clearing: Watcher | None = None

    def lines(self) -> Iterator[Line]:
        """Write again what was published."""
        return chain(before(), history(self.records))


def before() -> Iterator[Line]:
    """Write what those published who are forgotten later."""
    return chain.from_iterable(islice(of_one(person), WROTE) for person in FORGOTTEN)


@contextmanager
def storm(cluster: Cluster, databases: Databases, folder: Path, *, records: int, faults: int) -> Iterator[Storm]:
    """Publish, take in, forget and tell, with faults. The processes run on until the end of the block."""
    topic, rng = f"acme.{uuid4().hex[:8]}", _random()
    with databases.fresh("storm") as endpoints:
        fleet = Fleet(environment(folder, endpoints, cluster, topic, TENANT), folder)
        injected = Faults(cluster, databases, fleet, topic, PARTITIONS, endpoints.log_dsn, ("consume",), rng)
        found = Storm(cluster, fleet, injected, topic, records, endpoints, folder)
        try:
            _open_the_house(found)
            _weather(found, faults)
            yield found
        finally:
            for thread in (found.recipients, found.clearing):
                if thread is not None:
                    thread.end()
            fleet.stop()


def _open_the_house(found: Storm) -> None:
    fleet = found.fleet
    fleet.run("tenant", "add", TENANT)
    fleet.run("topics", "create", "--partitions", str(PARTITIONS))
    with found.cluster.admin() as admin:
        shorter = ConfigResource(ConfigResourceType.TOPIC, found.topic, {"segment.ms": SEGMENT_MILLISECONDS})
        admin.alter_configs([shorter], incremental=True)
    secrets = {}
    for name in RECIPIENTS:
        secrets[name] = bytes.fromhex(json.loads(fleet.run("recipients", "add", name, "--json"))["secret"])
    found.recipients = Recipients(found.cluster.broker, secrets)
    found.recipients.start()
    found.clearing = Watcher(found.cluster, found.topic, found.faults)
    found.clearing.start()
    for words in (*[("consume",)] * CONSUMERS, ("project",), ("keep",)):
        fleet.start(*words)
    first = Publisher(before(), found.cluster.broker, found.topic)
    first.start()
    first.finish()
    found.faults.wait_until_stored(120)


def _weather(found: Storm, faults: int) -> None:
    began = time.monotonic()
    publisher = Publisher(history(found.records), found.cluster.broker, found.topic)
    publisher.start()
    officer = Officer(found.fleet)
    officer.start()
    found.faults.torment(publisher, found.records, faults)
    found.faults.wait_until_stored(300 + found.records / 200)
    found.seconds = time.monotonic() - began
    officer.join(timeout=300)
    assert officer.failure is None, officer.failure
    assert not officer.is_alive(), "forgetting takes too long"
    found.certificates = officer.certificates
    print(f"\n{found.records} records over {PARTITIONS} partitions in {found.seconds:.0f} s")
    print(f"faults: {dict(sorted(found.faults.counts.items()))}")
    print(f"slices published again: {publisher.again}; shreds begun again: {officer.again}")
    print(f"processes that found a server away when they started: {len(found.fleet.fallen)}")
    print("longest without a record stored: {:.1f} s, after: {}".format(*found.faults.slowest))


class Officer(threading.Thread):
    """Forgets one person after the other, and tries again when a server is away."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(daemon=True)
        self._fleet = fleet
        self.certificates: list[dict[str, Any]] = []
        self.again = 0
        self.failure: str | None = None

    def run(self) -> None:
        """Forget everybody."""
        for person in FORGOTTEN:
            words = ("shred", "contact", "--email", address(person), "--ground", "test", "--yes", "--json")
            for _ in range(60):
                done = self._fleet.tried(*words)
                # Whoever was cut off may have left it to a keeper, who is at it.
                underway = b"ask again in a moment" in done.stderr
                if done.returncode != UNREACHABLE and not underway:
                    break
                self.again += 1
                time.sleep(1)
            if done.returncode != 0:
                self.failure = f"{done.returncode}: {done.stderr.decode()[-1000:]}"
                return
            self.certificates.append(json.loads(done.stdout))
            time.sleep(2)


class Watcher(threading.Thread):
    """Looks again and again whether a topic starts where it is stored, or before."""

    def __init__(self, cluster: Cluster, topic: str, faults: Faults) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._topic = topic
        self._faults = faults
        self._ended = threading.Event()
        self.looks = 0
        #: Looks at which at least one record had been deleted.
        self.cleared = 0
        self.violations: list[str] = []

    def run(self) -> None:
        """Look until it is asked to end."""
        while not self._ended.wait(0.5):
            try:
                starts, _ = self._cluster.offsets(self._topic)
                # What is stored grows, and it is read second: so it may only be ahead.
                stored = self._faults.stored()
            except (KafkaError, psycopg.Error):
                continue
            if not stored:
                continue
            self.looks += 1
            self.cleared += any(starts.values())
            self.violations += [
                f"partition {partition} starts at {start}, stored {stored.get(partition, 0)}"
                for partition, start in starts.items()
                if start > stored.get(partition, 0)
            ]

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join(timeout=120)


def _random() -> random.Random:
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")
    return random.Random(seed)
