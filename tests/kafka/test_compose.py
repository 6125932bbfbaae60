"""The services of compose.yaml as processes, over Apache Kafka and PostgreSQL themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.embedded import Endpoints
from tests.composing import ROOT, SERVICES, Composed, until
from tests.kafka.cluster import Cluster

DESK = ROOT / "examples/desk.jsonl"
#: Somebody in the sample, who is named nowhere but in it.
SAID = b"jonas.petrel@example.org"


class ComposedKafka(Cluster):
    """The broker of compose.yaml: its settings, as the image makes a file of its environment."""

    def _properties(self, number: int) -> str:
        ports = self._ports[number]
        here = {"9092": ports["plain"], "9093": ports["control"], "9094": ports["secure"]}
        lines: list[str] = []
        for variable, value in SERVICES["kafka"]["environment"].items():
            name = variable.removeprefix("KAFKA_").lower().replace("_", ".")
            value = re.sub(r"\b(909[234])\b", lambda found: str(here[found[0]]), str(value))
            value = value.replace("//kafka:", "//127.0.0.1:").replace("//:", "//127.0.0.1:")
            lines.append(f"{name}={self.data(number) if name == 'log.dirs' else value}")
        return "\n".join(lines) + "\n"


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[ComposedKafka]:
    (tmp_path / "kafka").mkdir()
    broker = ComposedKafka(tmp_path / "kafka", 1)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def composed(databases: Endpoints, kafka: ComposedKafka, tmp_path: Path) -> Iterator[Composed]:
    composed = Composed(tmp_path, databases, kafka.broker.bootstrap)
    yield composed
    composed.kill()


def test_all_of_it_takes_in_projects_and_clears(composed: Composed, kafka: ComposedKafka) -> None:
    created = composed.run("topics")
    assert "created: sealdesk.records" in created
    composed.set_up()
    project, keep = composed.up("project"), composed.up("keep")
    until(lambda: keep.check() == 0, keep)
    composed.run("keep", "tenant", "add", "acme")
    consumers = [composed.up("consume"), composed.up("consume")]
    for one in (project, *consumers):
        until(lambda one=one: one.check() == 0, one)
    composed.run("topics", "publish", str(DESK))
    assert kafka.holding(SAID), "the topic holds plaintext until it is cleared"
    until(lambda: _took_in_and_cleared(keep.metrics()), project, keep, *consumers)
    until(lambda: project.metrics()["sealdesk_log_head"] > 120, project)
    assert len(composed.tickets()) > 20
    lag = [value for name, value in keep.metrics().items() if name.startswith("sealdesk_consumer_lag_records[")]
    assert len(lag) == 8
    assert set(lag) == {0.0}
    for one in composed.running:
        assert one.ask("/healthz")[0] == 200
    assert set(composed.end().values()) == {0}


def _took_in_and_cleared(metrics: dict[str, float]) -> bool:
    """Tell whether everything that was published is stored, and deleted from the topic."""
    left, waiting = (
        metrics.get(f"sealdesk_topic_{what}[sealdesk.records]") for what in ("records", "uncleared_records")
    )
    return metrics["sealdesk_log_head"] > 120 and left == waiting == 0
