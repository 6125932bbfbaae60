"""compose.yaml does what it says: each service's command, in its environment, as a process over real servers."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from crypto.roles import Role
from services.embedded import POSTGRES_SETTINGS, Endpoints, serving
from services.logins import read_logins
from services.rights import INTAKE, KEEPER, PROJECTOR
from services.settings import Settings
from tests.architecture.test_documents import _settings_in_code
from tests.composing import COMPOSED, OURS, ROOT, SERVICES, Composed, documented, until

DESK = ROOT / "examples/desk.jsonl"


#: What ends before the others start.
ONE_SHOT = {"topics", "migrate", "logins"}


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def volumes(name: str) -> dict[str, str]:
    """Volumes of a service, by name, with how they are mounted."""
    mounts = [mount.split(":") for mount in SERVICES[name].get("volumes", ())]
    return {mount[0]: mount[2] if len(mount) > 2 else "rw" for mount in mounts}


# -- what the file says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["ulimits"] == {"core": 0}
    assert service["read_only"] is True or name == "kafka"
    assert "healthcheck" in service or name in ONE_SHOT
    assert not re.search(r":latest$|^[^:]+$", service["image"])
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", OURS)
def test_our_containers_run_as_nobody_in_particular(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert "cap_add" not in service
    said = (ROOT / "Dockerfile").read_text()
    assert "\nUSER 10001:10001\n" in said
    assert "--require-hashes" in said


def test_what_opens_seals_is_where_it_is_needed_and_nowhere_else() -> None:
    holders, owners = {"consume", "keep"}, {"migrate", "logins"}
    for name in SERVICES:
        secrets = set(SERVICES[name].get("secrets", ()))
        assert ("keys" in networks(name)) == (name in holders | owners | {"keys-db"})
        assert ("keys-password" in secrets) == (name in owners | {"keys-db"})
        assert ("log-password" in secrets) == (name in owners | {"log-db"})
        assert ({"roots", "ledger", "signing"} & set(volumes(name)) != set()) == (name in holders)
    assert volumes("consume") == {"roots": "rw", "ledger": "ro", "signing": "ro"}
    assert networks("project") == {"log", "watch"}


@pytest.mark.parametrize(("name", "role"), [("consume", INTAKE), ("project", PROJECTOR), ("keep", KEEPER)])
def test_each_service_logs_in_as_itself_and_may_be_what_it_is_for(name: str, role: Role) -> None:
    logins = {login.name: login for login in read_logins(ROOT / COMPOSED["configs"]["logins"]["file"])}
    assert logins[name].role is role
    assert logins[name].password_file == Path(f"/run/secrets/{name}-password")
    assert SERVICES[name]["secrets"] == [f"{name}-password"]
    for variable, value in SERVICES[name]["environment"].items():
        if variable.endswith("_DSN"):
            assert conninfo_to_dict(value)["user"] == name
        if variable.endswith("_PASSWORD_FILE"):
            assert value == f"/run/secrets/{name}-password"


def test_neither_database_can_be_reached_from_outside() -> None:
    for name in ("log", "keys", "kafka"):
        assert COMPOSED["networks"][name] == {"internal": True}
    assert networks("log-db") == {"log"}
    assert networks("keys-db") == {"keys"}


def test_no_secret_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert value.startswith("/run/secrets/"), name
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", ["log-db", "keys-db"])
def test_the_servers_keep_values_out_of_their_logs_as_ours_do(name: str) -> None:
    said = dict(word.removeprefix("-c").split("=", 1) for word in SERVICES[name]["command"] if word.startswith("-c"))
    wanted = {setting: value for setting, value in POSTGRES_SETTINGS.items() if setting.startswith("log_")}
    assert wanted.items() <= said.items()


def test_every_setting_that_the_file_gives_is_one_that_is_read() -> None:
    given = {variable for name in OURS for variable in SERVICES[name].get("environment", {})}
    assert given <= _settings_in_code() | {f"SEALDESK_{name}_{what}" for name in ("LOG", "KEYS") for what in DATABASE}


#: Settings whose names are put together in the code.
DATABASE = ("DSN", "PASSWORD_FILE")


def test_what_a_service_waits_for_exists_and_comes_to_an_end() -> None:
    def after(name: str, seen: tuple[str, ...] = ()) -> None:
        assert name not in seen
        for other, how in SERVICES[name].get("depends_on", {}).items():
            healthy = how["condition"] == "service_healthy"
            assert healthy == ("healthcheck" in SERVICES[other]), (name, other)
            after(other, (*seen, name))

    for name in SERVICES:
        after(name)


# -- what it does -------------------------------------------------------------------------------------------------


@pytest.fixture
def bootstrap() -> Iterator[str]:
    """A broker of the test's own: the topic of the compose file is everybody's."""
    elsewhere = {"SEALDESK_LOG_DSN": "host=nowhere", "SEALDESK_KEYS_DSN": "host=nowhere"}
    with (
        tempfile.TemporaryDirectory(prefix="sealdesk-test-") as folder,
        serving(Settings.read(Path(folder) / "data", elsewhere), kafka=True) as endpoints,
    ):
        assert endpoints.kafka is not None
        yield endpoints.kafka.bootstrap


@pytest.fixture
def composed(databases: Endpoints, bootstrap: str, tmp_path: Path) -> Iterator[Composed]:
    composed = Composed(tmp_path, databases, bootstrap)
    yield composed
    composed.kill()


@pytest.mark.slow
def test_what_is_published_comes_through_all_services_and_they_end_well(composed: Composed) -> None:
    composed.run("topics")
    composed.set_up()
    project, keep = composed.up("project"), composed.up("keep")
    until(lambda: keep.check() == 0, keep)
    composed.run("keep", "tenant", "add", "acme")
    untouched = _contents(composed.volume("ledger"), composed.volume("signing"))
    consumers = [composed.up("consume"), composed.up("consume")]
    for one in (project, *consumers):
        until(lambda one=one: one.check() == 0, one)
    sent = composed.run("topics", "publish", str(DESK), "--json")
    assert '"sent":127' in sent
    head = "sealdesk_log_head"
    until(lambda: project.metrics()[head] > 120 and not _behind(project.metrics()), project, keep, *consumers)
    assert len(composed.tickets()) > 20
    # The sample says one record twice.
    assert sum(_stored(one.metrics()) for one in consumers) == 126
    until(lambda: keep.metrics().get("sealdesk_up[kafka]") == 1.0, keep)
    until(lambda: _lag(keep.metrics()) == 0, keep)
    assert set().union(*(one.told() for one in composed.running)) == documented()
    for one in composed.running:
        assert one.ask("/healthz")[0] == 200
        assert _says_nobody(one.ask("/metrics")[1])
    assert _contents(composed.volume("ledger"), composed.volume("signing")) == untouched
    assert set(composed.end().values()) == {0}


def _behind(metrics: dict[str, float]) -> float:
    return sum(value for name, value in metrics.items() if name.startswith("sealdesk_read_model_lag["))


def _stored(metrics: dict[str, float]) -> float:
    return sum(value for name, value in metrics.items() if re.match(r"sealdesk_records_total\[.*\[stored\]", name))


def _lag(metrics: dict[str, float]) -> float:
    return sum(value for name, value in metrics.items() if name.startswith("sealdesk_consumer_lag_records["))


def _contents(*folders: Path) -> dict[str, Any]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def _says_nobody(page: str) -> bool:
    return not re.search(r"@|acme|example\.org", page.replace("sealdesk.records", ""))


@pytest.mark.slow
def test_a_database_that_goes_away_is_waited_for(composed: Composed, databases: Endpoints) -> None:
    composed.set_up()
    project = composed.up("project")
    until(lambda: project.check() == 0, project)
    whole = project.environment["SEALDESK_LOG_DSN"]
    assert "password" not in whole
    _end_sessions(databases.log_dsn)
    until(lambda: "beginning anew" in project.said.read_text(), project)
    until(lambda: project.check() == 0, project)
    assert project.metrics()["sealdesk_restarts_total[LogUnavailable]"] >= 1
    assert set(composed.end().values()) == {0}


def _end_sessions(dsn: str) -> None:
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_the_projector_needs_no_key_and_no_root(composed: Composed) -> None:
    environment, _ = composed.environment("project")
    given = {name for name in environment if name.startswith("SEALDESK_")}
    assert given == {"SEALDESK_LOG_DSN", "SEALDESK_LOG_PASSWORD_FILE", "SEALDESK_LISTEN"}
    assert os.environ.keys().isdisjoint(given)
