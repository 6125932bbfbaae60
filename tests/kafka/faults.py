"""What goes wrong while records come in: one fault after the other, each counted, each while there is work to do."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import psycopg

from tests.kafka.cluster import Cluster
from tests.kafka.databases import Databases
from tests.kafka.fleet import Fleet, Member
from tests.kafka.publisher import Publisher

CONSUMER_KILLED = "consumer killed"
#: A fault comes at any time within this after the one before it is got over.
PAUSE_SECONDS = 2.0
#: Within this time after any fault somebody has to store records again.
RECOVERY_SECONDS = 90.0


@dataclass
class Faults:
    """Injects faults into everything that takes records in from one topic."""

    cluster: Cluster
    databases: Databases
    fleet: Fleet
    topic: str
    partitions: int
    log_dsn: str
    consume: tuple[str, ...]
    rng: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    #: The longest time that nothing was stored after a fault, and after which.
    slowest: tuple[float, str] = (0.0, "")
    _fourth: Member | None = None

    def kinds(self) -> dict[str, Callable[[], None]]:
        """Name every fault, in an order in which whoever joins also leaves."""
        return {
            CONSUMER_KILLED: lambda: self._kill("consume"),
            "fourth consumer joined": self._join,
            "leader killed": self._kill_leader,
            "log database crashed": lambda: self._crash("log"),
            "fourth consumer left": self._leave,
            "keeper killed": lambda: self._kill("keep"),
            "key database crashed": lambda: self._crash("keys"),
            "projector killed": lambda: self._kill("project"),
        }

    def _in_turn(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Give each fault once, and then without end, with a consumer killed before every other."""
        kinds = self.kinds()
        yield from kinds.items()
        for name, inject in cycle([(name, inject) for name, inject in kinds.items() if name != CONSUMER_KILLED]):
            yield CONSUMER_KILLED, kinds[CONSUMER_KILLED]
            yield name, inject

    def torment(self, publisher: Publisher, records: int, faults: int) -> None:
        """Inject so many faults, and let the publisher go on a step after each.

        Raises:
            AssertionError: nothing is stored any more.
        """
        step = records / (faults + 1)
        publisher.let(step)
        self._wait_for_progress(0, "the start")
        for number, (name, inject) in zip(range(1, faults + 1), self._in_turn(), strict=False):
            publisher.let(step * (number + 0.5))
            time.sleep(self.rng.uniform(0, PAUSE_SECONDS))
            before = sum(self.stored().values())
            inject()
            self.counts[name] += 1
            # Right after a crash there may be nobody to ask.
            before = max(before, sum(self.stored().values()))
            publisher.let(step * (number + 1))
            self._wait_for_progress(before, name)
            self.fleet.tend()
        if self._fourth is not None:
            self._leave()
            self.counts["fourth consumer left"] += 1
        publisher.finish()

    def wait_until_stored(self, seconds: float, *, share: float = 1.0) -> None:
        """Wait until every record that the topic has now is stored, or a share of those of each partition.

        Raises:
            AssertionError: it takes longer.
        """
        _, ends = self.cluster.offsets(self.topic)
        end = time.monotonic() + seconds
        stored: dict[int, int] = {}
        while time.monotonic() < end:
            self.fleet.tend()
            stored = self.stored()
            if all(stored.get(partition, 0) >= share * last for partition, last in ends.items()):
                return
            time.sleep(0.2)
        fallen = "\n".join(self.fleet.fallen)
        raise AssertionError(f"stored up to {stored} of {ends} after {seconds:.0f} s; fallen:\n{fallen}")

    def stored(self) -> dict[int, int]:
        """Read the stored position of each partition; nothing while the database is away."""
        try:
            with psycopg.connect(self.log_dsn) as connection:
                rows: list[Any] = connection.execute("SELECT partition, next_offset FROM positions").fetchall()
                return dict(rows)
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
            return {}

    def _wait_for_progress(self, before: int, after: str) -> None:
        began = time.monotonic()
        while sum(self.stored().values()) <= before:
            took = time.monotonic() - began
            fallen = "\n".join(self.fleet.fallen)
            assert took < RECOVERY_SECONDS, f"nothing was stored for {took:.0f} s after: {after}; fallen:\n{fallen}"
            time.sleep(0.1)
            self.fleet.tend()
        self.slowest = max(self.slowest, (time.monotonic() - began, after))

    def _kill(self, command: str) -> None:
        # Who joined has to leave in good order.
        self.fleet.kill_one_of(self.rng, command, but=self._fourth)

    def _kill_leader(self) -> None:
        partition = self.rng.randrange(self.partitions)
        leader = self.cluster.leader(self.topic, partition)
        self.cluster.kill(leader)
        while self.cluster.leader(self.topic, partition) == leader:
            time.sleep(0.2)
        self.cluster.restart(leader)

    def _crash(self, name: str) -> None:
        assert name in ("log", "keys")
        self.databases.crash("log" if name == "log" else "keys")
        time.sleep(1)
        self.databases.start()

    def _join(self) -> None:
        self._fourth = self.fleet.start(*self.consume)

    def _leave(self) -> None:
        assert self._fourth is not None
        self.fleet.end(self._fourth)
        self._fourth = None
