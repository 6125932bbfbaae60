from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from domain.errors import SettingsWrong
from services.watching.listening import listening
from services.watching.metrics import Metrics
from services.watching.pulse import WEDGED_SECONDS, Pulse, Readiness


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Served:
    """A process that is looked at."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.pulse = Pulse(self.clock)
        self.readiness = Readiness("gate", "group")
        self.port = 0

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
        """Send one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body)
        answer = connection.getresponse()
        said = answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return said


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served()
    with listening(("127.0.0.1", 0), one.metrics.registry, one.pulse, one.readiness) as one.port:
        yield one


def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    served.metrics.batch({("stored", ""): 3, ("quarantined", "not_json"): 2}, 0.02)
    status, body, headers = served.ask("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    found = {
        sample.name: sample for family in text_string_to_metric_families(body.decode()) for sample in family.samples
    }
    assert found["sealdesk_batch_records_sum"].value == 5
    assert set(found["sealdesk_build_info"].labels) == {"version", "python"}
    assert b'sealdesk_records_total{code="not_json",outcome="quarantined"} 2.0' in body


def test_a_process_whose_loop_stands_still_is_not_alive(served: Served) -> None:
    assert served.ask("GET", "/healthz")[0] == 200
    served.clock.now += WEDGED_SECONDS
    status, body, _ = served.ask("GET", "/healthz")
    assert (status, json.loads(body)["alive"]) == (503, False)
    served.pulse.beat()
    assert served.ask("GET", "/healthz")[0] == 200


def test_a_process_is_ready_when_it_has_everything(served: Served) -> None:
    served.readiness.there("gate")
    status, body, _ = served.ask("GET", "/readyz")
    assert (status, json.loads(body)) == (503, {"ready": False, "needs": {"gate": True, "group": False}})
    served.readiness.there("group")
    assert served.ask("GET", "/readyz")[0] == 200
    served.readiness.ask("log", lambda: False)
    assert served.ask("GET", "/readyz")[0] == 503


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_head_says_the_headers_of_get_and_nothing_else(served: Served, path: str) -> None:
    status, body, headers = served.ask("HEAD", path)
    got = served.ask("GET", path)
    assert (status, body) == (got[0], b"")
    assert headers["content-type"] == got[2]["content-type"]
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_done_but_look(served: Served, method: str) -> None:
    status, _, headers = served.ask(method, "/metrics", b"x")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_another_path_is_not_there(served: Served) -> None:
    assert served.ask("GET", "/metrics/../etc/passwd")[0] == 404


def test_an_address_that_is_taken_names_the_setting(served: Served) -> None:
    with (
        pytest.raises(SettingsWrong, match="SEALDESK_LISTEN"),
        listening(("127.0.0.1", served.port), served.metrics.registry, served.pulse, served.readiness),
    ):
        pass


def test_two_processes_share_no_counter() -> None:
    one, other = Metrics(), Metrics()
    one.batch({("stored", ""): 3}, 0.02)
    assert one.registry.get_sample_value("sealdesk_batch_records_sum") == 3
    assert other.registry.get_sample_value("sealdesk_batch_records_sum") == 0
