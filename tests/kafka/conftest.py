"""Stories on Apache Kafka itself: brokers from Maven Central's jars, KRaft, on loopback.

Run by `make test-kafka-smoke` (small) and `make test-kafka` (as large as the promises say), never by `make test`: every
test in this folder is marked `kafka`. There is no `__init__.py` here: the package would be called `kafka`.

    cluster.py       starts, kills and restarts brokers; certificates.py makes what their TLS needs
    databases.py     two PostgreSQL clusters that can be crashed and started beneath whoever uses them
    fleet.py         processes of sealdesk: started, killed, started again
    history.py       records, in order per thing, and what the log has to hold of them; publisher.py publishes them
    faults.py        what goes wrong, one after the other; storm.py is a whole house in which all of it does
    recipients.py    others who are told, and answer

A test asks for `cluster` (three brokers) or `single` (one), and makes a topic of its own:

    def test_something(cluster: Cluster) -> None:
        topic = cluster.create_topic("acme.records", partitions=8)
        publish(parcels, cluster.broker, topic)
        cluster.kill(cluster.leader(topic, 0))
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kafka import databases
from tests.kafka.cluster import Cluster, java_runs
from tests.kafka.databases import Databases

#: kafka-python forgets sockets that it was still connecting: brokers that are killed leave it with many.
FORGOTTEN = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr") == "kafka":
        config.addinivalue_line("filterwarnings", FORGOTTEN)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Iterator[None]:
    """Collect them while the line above holds, which is not so after the last test."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three brokers. A test that kills one starts it again; topics stay, so give each test its own."""
    with _running(3) as started:
        yield started


@pytest.fixture(scope="session")
def single() -> Iterator[Cluster]:
    """One broker, for what needs no second."""
    with _running(1) as started:
        yield started


@pytest.fixture(scope="session")
def databases_that_crash(config_home: Path) -> Iterator[Databases]:
    """Two PostgreSQL clusters for stories that crash them; `fresh` gives each its own databases in them."""
    with tempfile.TemporaryDirectory(prefix="sealdesk-kafka-") as folder, databases.running(Path(folder)) as running:
        yield running


@contextmanager
def _running(brokers: int) -> Iterator[Cluster]:
    assert java_runs(), "needs java and Apache Kafka's jars in build/kafka: make kafka-jars"
    with tempfile.TemporaryDirectory(prefix="sealdesk-kafka-") as folder:
        started = Cluster(Path(folder), brokers)
        try:
            print(f"kafka: {brokers} started in {started.start():.1f} s")
            yield started
        finally:
            started.stop()
