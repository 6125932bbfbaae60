from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import hypothesis
import psycopg
import pytest
from hypothesis import HealthCheck
from psycopg.conninfo import make_conninfo

from services.embedded import Endpoints, serving
from services.kafka.connecting import Broker
from services.settings import Settings
from tests import sessions, softhsm

hypothesis.settings.register_profile(
    "ci",
    # Fixtures of a function hold nothing that one example could leave to the next, and a database makes
    # examples slow.
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile("thorough", parent=hypothesis.settings.get_profile("ci"), max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

#: Nothing here has to outlive the machine, and waiting for its disk would be most of the time.
IN_A_HURRY = {"fsync": "off"}
_CLUSTERS: list[Endpoints] = []


@pytest.fixture(autouse=True, scope="session")
def hangups() -> None:
    """Hang up on whoever is started here: `nohup make test` would have them all ignore it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def config_home() -> Iterator[Path]:
    """Keep roots, ledger and signing keys of tests out of the configuration of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("XDG_CONFIG_HOME", folder)
        patch.setenv("XDG_STATE_HOME", f"{folder}/state")
        for variable in [name for name in os.environ if name.startswith("SEALDESK_")]:
            patch.delenv(variable)
        yield Path(folder)


@pytest.fixture(scope="session")
def clusters(config_home: Path) -> Iterator[Endpoints]:
    """Two empty PostgreSQL clusters, for log and keys; their databases are not for tests to fill."""
    with (
        tempfile.TemporaryDirectory(prefix="sealdesk-test-") as folder,
        serving(Settings.read(Path(folder) / "data", {}), extra=IN_A_HURRY) as endpoints,
    ):
        _CLUSTERS.append(endpoints)
        yield endpoints
        _CLUSTERS.remove(endpoints)


@pytest.fixture(autouse=True, scope="module")
def no_logins_left() -> Iterator[None]:
    """Take the roles from logins that a module made: they belong to the cluster, and would count in other databases."""
    yield
    for dsn in (dsn for endpoints in _CLUSTERS for dsn in (endpoints.log_dsn, endpoints.keys_dsn)):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(_TAKE_ROLES)


_TAKE_ROLES = """
DO $$
DECLARE given record;
BEGIN
    FOR given IN
        SELECT held.rolname AS role, login.rolname AS login, by_whom.rolname AS giver FROM pg_auth_members AS member
        JOIN pg_roles AS held ON held.oid = member.roleid JOIN pg_roles AS login ON login.oid = member.member
        JOIN pg_roles AS by_whom ON by_whom.oid = member.grantor
        WHERE starts_with(held.rolname, 'sealdesk_') AND NOT starts_with(login.rolname, 'sealdesk')
    LOOP
        EXECUTE format('REVOKE %I FROM %I GRANTED BY %I CASCADE', given.role, given.login, given.giver);
    END LOOP;
END $$
"""


@pytest.fixture(scope="session")
def broker(config_home: Path) -> Iterator[Broker]:
    """A Kafka-compatible broker in memory. Topics stay: give each test its own."""
    with tempfile.TemporaryDirectory(prefix="sealdesk-test-") as folder:
        # With databases named, the broker is all that is started; nobody connects to these.
        elsewhere = {"SEALDESK_LOG_DSN": "host=nowhere", "SEALDESK_KEYS_DSN": "host=nowhere"}
        with serving(Settings.read(Path(folder) / "data", elsewhere), kafka=True) as endpoints:
            assert endpoints.kafka is not None
            yield endpoints.kafka


@pytest.fixture(scope="session")
def token() -> Iterator[tuple[Path, Path]]:
    """A token of SoftHSM: the library, and the file of its PIN. PKCS #11 is initialised once a process."""
    with tempfile.TemporaryDirectory(prefix="sealdesk-hsm-") as folder:
        yield softhsm.prepare(Path(folder))


@pytest.fixture(scope="session")
def templates(clusters: Endpoints) -> Endpoints:
    """A database in each cluster with the whole schema and no row."""
    # Imported here, so that tests without a database need no schema.
    from services import schema

    made = Endpoints(_made(clusters.log_dsn, "template_sealdesk"), _made(clusters.keys_dsn, "template_sealdesk"), None)
    schema.create(made.log_dsn, made.keys_dsn)
    return made


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"test_{number}" for number in count(1))


@pytest.fixture
def databases(clusters: Endpoints, templates: Endpoints, database_names: Iterator[str]) -> Iterator[Endpoints]:
    """A fresh pair of databases with the schema, for one test alone."""
    name = next(database_names)
    with _cloned(clusters.log_dsn, name) as log_dsn, _cloned(clusters.keys_dsn, name) as keys_dsn:
        yield Endpoints(log_dsn, keys_dsn, None)


@pytest.fixture(scope="module")
def module_databases(clusters: Endpoints, templates: Endpoints, database_names: Iterator[str]) -> Iterator[Endpoints]:
    """A fresh pair of databases for all tests of a module, which keep apart by tenant."""
    name = next(database_names)
    with _cloned(clusters.log_dsn, name) as log_dsn, _cloned(clusters.keys_dsn, name) as keys_dsn:
        yield Endpoints(log_dsn, keys_dsn, None)


@contextmanager
def _cloned(dsn: str, name: str) -> Iterator[str]:
    yield _made(dsn, name, template="template_sealdesk")
    with psycopg.connect(dsn, autocommit=True) as connection:
        # What a test leaves connected goes with its database.
        sessions.end(connection, "datname", name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _made(dsn: str, name: str, template: str = "template1") -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        # Copied as files: page by page through the write-ahead log, as is usual, takes twice as long.
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    return make_conninfo(dsn, dbname=name)
