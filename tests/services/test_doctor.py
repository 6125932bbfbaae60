"""`doctor`: each thing that can be wrong is made wrong, and is found; and a look changes nothing."""

from __future__ import annotations

import gc
import hashlib
import io
import shutil
import socket
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from crypto.ledger import FileLedger
from crypto.lines import Fences
from crypto.roots import Roots
from crypto.wrapping import new_key
from domain.errors import GateShut, KeysUnavailable
from services import embedded, rights, schema
from services.cli.app import run
from services.doctor import brokers, folders, machine, reaching, servers
from services.doctor.examining import Examination
from services.doctor.findings import Case, Finding, State
from services.doctor.opening import roots_of
from services.embedded import Endpoints
from services.kafka.connecting import Broker
from services.roots import roots_at, where_of
from services.schema import KEYS, LOG
from services.settings import Settings
from services.wiring import house
from tests.conftest import _made
from tests.desks import Desk, desk_house
from tests.softhsm import TOKEN

OK, WARNING, WRONG, UNKNOWN = State


class Patient:
    """A house with some people and a shred in it, closed; and ways to look at it."""

    def __init__(self, databases: Endpoints, folder: Path) -> None:
        self.databases = databases
        self.folder = folder
        self.environ = {
            "SEALDESK_LOG_DSN": databases.log_dsn,
            "SEALDESK_KEYS_DSN": databases.keys_dsn,
            "SEALDESK_LEDGER_COPY": "none",
            **{f"SEALDESK_{name.upper()}": str(folder / name) for name in ("roots", "ledger", "signing")},
        }
        with desk_house(databases, folder) as opened:
            desk = Desk(opened)
            desk.happens("contact.created", "contact 1", id=1, name="Ann Summers", email="ann@example.org")
            desk.happens("contact.created", "contact 2", id=2, name="Bob Winter", email="bob@example.org")
            desk.happens("ticket.replied", "ticket 404", id=9, ticket_id=404, user_id=1, body="Where is it?")
            desk.shred("contact 2")
            opened.projecting.catch_up()

    def found(self, check: str = "", *, at: datetime | None = None, **environ: str) -> list[Finding]:
        """Look at everything, and give what is said of one check, or of all."""
        examination = Examination(None, self.environ | environ, at or datetime.now(UTC))
        return [finding for finding in examination.findings() if finding.check.startswith(check)]

    def states(self, check: str, **options: Any) -> set[State]:
        return {finding.state for finding in self.found(check, **options)}

    def log(self, *statements: str) -> None:
        _run(self.databases.log_dsn, *statements)

    def keys(self, *statements: str) -> None:
        _run(self.databases.keys_dsn, *statements)


def _run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def patient(databases: Endpoints, tmp_path: Path) -> Patient:
    return Patient(databases, tmp_path)


@pytest.fixture(scope="module")
def shared(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """The same house for every test that leaves it as it was."""
    return Patient(module_databases, tmp_path_factory.mktemp("shared"))


def test_a_house_that_is_well_has_nothing_wrong_but_what_the_tests_have_set(shared: Patient) -> None:
    found = shared.found()
    # The servers of the tests are in a hurry.
    wrong = {(finding.check, finding.says) for finding in found if finding.state is WRONG}
    assert wrong == {("log: durability", "fsync is off"), ("keys: durability", "fsync is off")}
    assert not [finding for finding in found if finding.state is UNKNOWN]
    assert not [finding for finding in found if finding.state is not OK and not finding.todo]
    checks = {finding.check for finding in found if finding.state is OK}
    assert {"roots", "signing key", "ledger", "gate", "roots in use", "epochs", "shreds", "read models"} <= checks
    assert {"log: version of the tables", "keys: rights", "log and keys apart", "quarantine"} <= checks


# -- settings --------------------------------------------------------------------------------------------------------


def test_every_wrong_setting_is_told_and_the_rest_is_looked_at(shared: Patient) -> None:
    found = shared.found(SEALDESK_BATCH="many", SEALDESK_FOLD="1")
    said = [finding.says for finding in found if finding.check == "settings"]
    assert len(said) == 2
    assert "SEALDESK_BATCH" in said[0]
    assert "SEALDESK_FOLD" in said[1]
    assert "gate" in {finding.check for finding in found if finding.state is OK}


def test_without_any_place_to_look_only_the_machine_is_looked_at() -> None:
    examination = Examination(None, {}, datetime.now(UTC))
    assert examination.settings is None
    assert {finding.check for finding in examination.findings()} >= {"settings", "swap"}


# -- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "mode", "state"),
    [
        ("roots", 0o750, WRONG),
        ("roots/epochs/000001.key", 0o644, WRONG),
        ("signing/certificate.key", 0o640, WRONG),
        ("ledger", 0o770, WRONG),
        ("ledger/ledger.jsonl", 0o622, WRONG),
        ("ledger", 0o750, WARNING),
    ],
)
def test_rights_of_others_are_found(patient: Patient, place: str, mode: int, state: State) -> None:
    (patient.folder / place).chmod(mode)
    name = {"signing": "signing key"}.get(place.split("/")[0], place.split("/")[0])
    found = [finding for finding in patient.found(f"folder: {name}") if "others" in finding.says]
    assert [(finding.state, finding.todo[:5]) for finding in found] == [(state, "chmod")]


def test_a_folder_of_another_account_is_found(shared: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders.os, "geteuid", lambda: 12_345)
    [finding] = shared.found("folder: ledger")[:1]
    assert (finding.state, "chown it to user id 12345" in finding.todo) == (WRONG, True)


def test_a_folder_that_is_missing_or_none_is_found(patient: Patient) -> None:
    shutil.rmtree(patient.folder / "ledger")
    (patient.folder / "file").touch()
    assert patient.states("folder: ledger") == {WARNING}
    assert patient.states("folder: ledger", SEALDESK_LEDGER=str(patient.folder / "file")) == {WRONG}
    assert not (patient.folder / "ledger").exists()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no file system in memory at /dev/shm")
def test_a_ledger_in_memory_is_found(shared: Patient) -> None:
    folder = Path("/dev/shm") / f"sealdesk-test-{uuid4()}"
    shutil.copytree(shared.folder / "ledger", folder)
    try:
        assert WRONG in shared.states("folder: ledger", SEALDESK_LEDGER=str(folder))
    finally:
        shutil.rmtree(folder)


def test_what_lies_together_and_should_not_is_found(patient: Patient) -> None:
    assert patient.states("ledger copy") == {WARNING}
    copy = str(patient.folder / "copy")
    shutil.copytree(patient.folder / "ledger", copy)
    assert patient.states("apart: ledger copy", SEALDESK_LEDGER_COPY=copy) == {WARNING}


@pytest.mark.parametrize(("free", "state"), [(50 * 1024**2, WRONG), (600 * 1024**2, WARNING), (40 * 1024**3, OK)])
def test_a_full_disk_is_found(shared: Patient, free: int, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    total = 100 * 1024**3
    monkeypatch.setattr(
        folders.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(total, total - free, free)
    )
    assert shared.states("room: ") == {state}


# -- roots, signing key, ledger --------------------------------------------------------------------------------------


def test_roots_that_are_gone_or_others_are_found(patient: Patient) -> None:
    root = patient.folder / "roots/epochs/000001.key"
    root.write_bytes(bytes(32))
    assert patient.states("roots in use") == {WRONG}
    root.write_bytes(b"short")
    assert patient.states("roots") == {WRONG}
    root.unlink()
    assert patient.states("roots in use") == {WRONG}
    assert patient.states("roots") == {WARNING, WRONG}
    assert not root.exists()


class Device:
    """A house whose roots a device keeps: SoftHSM, with a name of its own for each house."""

    def __init__(self, token: tuple[Path, Path], folder: Path, environ: Mapping[str, str]) -> None:
        module, pin = token
        self.folder = folder / "roots-in-the-device"
        self.keeper = {
            "SEALDESK_KEEPER": "hsm",
            "SEALDESK_HSM_MODULE": str(module),
            "SEALDESK_HSM_TOKEN": TOKEN,
            "SEALDESK_HSM_PIN_FILE": str(pin),
        }
        self.environ = {**environ, **self.keeper, "SEALDESK_ROOTS": str(self.folder)}

    def roots(self, **environ: str) -> Roots:
        given = self.environ | environ
        return roots_at(where_of(Path(given["SEALDESK_ROOTS"]), given))

    def looked(self, *, without: tuple[str, ...] = (), **environ: str) -> list[Finding]:
        """Give what is said of the roots, after checking that no file came, went or changed."""
        given = {name: value for name, value in (self.environ | environ).items() if name not in without}
        before = _files(self.folder.parent)
        found = list(Examination(None, given, datetime.now(UTC)).findings())
        assert _files(self.folder.parent) == before
        return [finding for finding in found if finding.check in ("roots", "roots in use", "ledger")]


@pytest.fixture
def device(token: tuple[Path, Path], patient: Patient) -> Device:
    made = Device(token, patient.folder, patient.environ)
    made.roots().open(made.roots().current())
    return made


def test_a_wrong_setting_of_the_keeper_lets_nobody_ask_for_a_root(device: Device) -> None:
    """Left out, it would lead to a folder of files, in which the first use makes a root in clear."""
    for without in ("SEALDESK_HSM_PIN_FILE", "SEALDESK_HSM_TOKEN"):
        assert {finding.state for finding in device.looked(without=(without,))} == {UNKNOWN}
    for wrong in ({"SEALDESK_KEEPER": "hms"}, {"SEALDESK_ROOTS_BEFORE": str(device.folder / "before")}):
        assert {finding.state for finding in device.looked(**wrong)} == {UNKNOWN}


def test_roots_that_do_not_fit_the_keeper_are_found_and_none_is_made(device: Device, patient: Patient) -> None:
    [roots, *_] = device.looked()
    assert (roots.check, roots.state) == ("roots", OK)
    [roots, *_] = device.looked(without=("SEALDESK_KEEPER",))
    assert (roots.state, "SEALDESK_KEEPER" in roots.todo) == (WRONG, True)
    [roots, *_] = device.looked(SEALDESK_ROOTS=str(patient.folder / "roots"))
    assert (roots.state, "SEALDESK_ROOTS_BEFORE" in roots.todo) == (WRONG, True)
    house = device.folder / "house"
    whole = house.read_bytes()
    for broken in (None, b"", b"no id"):
        house.unlink(missing_ok=True)
        if broken is not None:
            house.write_bytes(broken)
            house.chmod(0o600)
        [roots, *_] = device.looked()
        assert (roots.state, "restore it" in roots.todo) == (WRONG, True)
    house.write_bytes(whole)
    assert {finding.state for finding in device.looked() if finding.check == "roots"} == {OK}


def test_a_look_at_roots_on_their_way_takes_nothing_along(device: Device, patient: Patient) -> None:
    """Whoever opens a secret in a move takes it into the device; a look does not."""
    moving = {"SEALDESK_ROOTS_BEFORE": str(patient.folder / "roots")}
    found = {(finding.check, finding.state) for finding in device.looked(**moving)}
    assert found >= {("roots", OK), ("roots", WARNING), ("ledger", OK)}
    settings = Settings.read(None, device.environ | moving, make=False)
    roots = roots_of(Case(settings, None, None, datetime.now(UTC)))
    assert roots is not None
    before = _files(patient.folder)
    [name] = roots.secrets()
    opened = roots.secret(name)
    with pytest.raises(KeysUnavailable):
        roots.secret("ledger-2020-Q1")
    assert _files(patient.folder) == before
    assert device.roots(**moving).secret(name).material == opened.material
    assert _files(patient.folder) != before
    # Before the first root lies in the new place, too.
    shutil.rmtree(device.folder)
    device.folder.mkdir(mode=0o700)
    found = {(finding.check, finding.state) for finding in device.looked(**moving)}
    assert found >= {("roots", OK), ("roots", WARNING), ("roots in use", OK), ("ledger", OK)}


def test_a_signing_key_that_does_not_fit_is_found(patient: Patient) -> None:
    public, private = patient.folder / "signing/certificate.pub", patient.folder / "signing/certificate.key"
    whole = public.read_text()
    public.unlink()
    assert patient.states("signing key") == {WARNING}
    other = Ed25519PrivateKey.generate().public_key()
    public.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert patient.states("signing key") == {WRONG}
    public.write_text(whole)
    private.unlink()
    assert patient.states("signing key") == {WRONG}
    assert not private.exists()


def test_a_ledger_that_was_changed_or_cut_is_found(patient: Patient) -> None:
    ledger = patient.folder / "ledger/ledger.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole.replace(b'"kind":"subject"', b'"kind":"subjecs"'))
    assert patient.states("ledger") == {WRONG, WARNING}
    ledger.write_bytes(whole + whole[:40])
    assert "cut short" in str(patient.found("ledger"))
    assert WRONG not in patient.states("ledger")
    ledger.write_bytes(b"")
    assert patient.states("gate") == {WRONG}


def test_a_copy_of_the_ledger_that_says_less_or_other_things_is_found(patient: Patient) -> None:
    copy = patient.folder / "copy"
    shutil.copytree(patient.folder / "ledger", copy)
    environ = {"SEALDESK_LEDGER_COPY": str(copy)}
    assert patient.states("ledger copy", **environ) == {OK}
    (copy / "ledger.jsonl").write_bytes(b"")
    assert patient.states("ledger copy", **environ) == {WARNING}
    with desk_house(patient.databases, patient.folder) as opened:
        other = FileLedger(copy, opened.signing, opened.roots)
        tenant = next(iter(opened.tenants.by_name().values())).id
        other.append(
            tenant=tenant,
            kind="subject",
            key=uuid4(),
            shred=uuid4(),
            at=datetime.now(UTC),
            fences=Fences((uuid4(),), new_key(), ()),
            issue_counter=1,
        )
    assert patient.states("ledger copy", **environ) == {WRONG}


# -- servers ---------------------------------------------------------------------------------------------------------


def test_a_server_that_does_not_answer_is_found_and_its_dsn_is_not_repeated(shared: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    away = f"host=127.0.0.1 port={port} dbname=x user=ann password=secret-of-ann"
    found = shared.found(SEALDESK_LOG_DSN=away)
    assert [finding.state for finding in found if finding.check == "log database"] == [WRONG]
    assert OK in {finding.state for finding in found if finding.check == "keys: server"}
    assert not any(word in str(found) for word in ("secret-of-ann", "user=ann", str(port)))
    none = make_conninfo(shared.databases.log_dsn, dbname="nobody_made_this")
    assert "no such database" in shared.found("log database", SEALDESK_LOG_DSN=none)[0].todo


@pytest.mark.parametrize("which", [LOG, KEYS], ids=lambda which: which.what)
def test_tables_of_another_version_are_found(patient: Patient, which: schema.Schema) -> None:
    dsn = patient.databases.log_dsn if which is LOG else patient.databases.keys_dsn
    check = f"{which.what}: version of the tables"
    _run(dsn, f"UPDATE {which.table} SET migration_hash = repeat('0', 64) WHERE migration_id LIKE '0001%'")
    assert ["reads otherwise" in finding.says for finding in patient.found(check)] == [True]
    _run(dsn, f"DELETE FROM {which.table} WHERE migration_id LIKE '0001%'")
    assert [(finding.state, finding.todo) for finding in patient.found(check)] == [(WRONG, "run: sealdesk migrate")]
    _run(dsn, f"INSERT INTO {which.table} VALUES (repeat('1', 64), '9999.later', now())")
    assert ["newer version of sealdesk" in finding.says for finding in patient.found(check)] == [True]


@pytest.mark.parametrize(
    ("setting", "value", "check", "state"),
    [
        ("synchronous_commit", "off", "durability", WRONG),
        ("synchronous_commit", "local", "durability", WARNING),
        ("log_min_messages", "warning", "what it logs", WARNING),
        ("log_min_error_statement", "error", "what it logs", WARNING),
        ("log_statement", "all", "what it logs", WARNING),
        ("log_parameter_max_length", "-1", "what it logs", WARNING),
        ("log_parameter_max_length_on_error", "100", "what it logs", WARNING),
        ("log_min_duration_statement", "0", "what it logs", WARNING),
        ("log_min_duration_sample", "0", "what it logs", WARNING),
        ("log_transaction_sample_rate", "0.5", "what it logs", WARNING),
        ("session_preload_libraries", "auto_explain", "what it loads", WARNING),
        ("idle_in_transaction_session_timeout", "0", "time limits", WARNING),
        ("statement_timeout", "5000", "time limits", WARNING),
        ("lock_timeout", "100", "time limits", WARNING),
    ],
)
def test_a_server_that_is_set_otherwise_is_found(
    shared: Patient, setting: str, value: str, check: str, state: State
) -> None:
    name = conninfo_to_dict(shared.databases.keys_dsn)["dbname"]
    shared.keys(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    says = value if setting == "session_preload_libraries" else f"{setting} is {value}"
    try:
        assert [finding.state for finding in shared.found(f"keys: {check}") if finding.says == says] == [state]
        assert not [finding for finding in shared.found(f"log: {check}") if finding.says == says]
    finally:
        shared.keys(f"ALTER DATABASE {name} RESET {setting}")


def test_copies_of_the_keys_and_what_only_a_restart_sets_are_found(tmp_path: Path) -> None:
    extra = {
        "fsync": "off",
        "full_page_writes": "off",
        "archive_mode": "on",
        "archive_command": "true",
        "shared_preload_libraries": "pg_stat_statements",
    }
    settings = Settings.read(tmp_path / "data", {"XDG_CONFIG_HOME": str(tmp_path)})
    with (
        embedded.serving(settings, extra=extra) as endpoints,
        psycopg.connect(endpoints.keys_dsn, autocommit=True, row_factory=dict_row) as connection,
        # Whoever receives WAL comes over a connection like this one.
        psycopg.connect(make_conninfo(endpoints.keys_dsn, replication="database"), autocommit=True),
    ):
        found = {(one.check, one.state, one.says) for one in servers.findings("keys", connection)}
    assert ("keys: durability", WRONG, "full_page_writes is off") in found
    assert ("keys: copies", WARNING, "WAL is archived") in found
    assert ("keys: copies", WARNING, "1 standbys or receivers of WAL follow") in found
    assert ("keys: what it loads", WARNING, "pg_stat_statements") in found


def test_every_setting_has_a_judge_that_can_find_something() -> None:
    other = {"fsync": "off", "full_page_writes": "off", "data_checksums": "off"}
    for setting, (_, judge) in servers.JUDGES.items():
        tried = [other.get(setting), "off", "all", "100", "0", "-1"]
        answers = []
        for value in filter(None, tried):
            try:
                answers.append(judge(value))
            except ValueError:
                continue
        assert any(answers), setting


def test_keys_in_the_cluster_of_the_log_are_found(patient: Patient) -> None:
    with _database(patient.databases.log_dsn) as beside:
        schema.create(patient.databases.log_dsn, beside)
        assert patient.states("log and keys apart", SEALDESK_KEYS_DSN=beside) == {WRONG}
    assert patient.states("log and keys apart") == {OK}


@contextmanager
def _database(dsn: str) -> Iterator[str]:
    name = f"beside_{uuid4().hex}"
    yield _made(dsn, name)
    _run(dsn, f'DROP DATABASE "{name}" WITH (FORCE)')


def test_as_whom_a_process_logs_in_is_told(shared: Patient) -> None:
    assert [finding.state for finding in shared.found("log: login")] == [WARNING]
    login = f"doctor_{uuid4().hex}"
    shared.log(f"CREATE ROLE {login} LOGIN")
    try:
        dsn = make_conninfo(shared.databases.log_dsn, user=login)
        with psycopg.connect(shared.databases.log_dsn, autocommit=True) as connection:
            database = conninfo_to_dict(dsn)["dbname"]
            connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {login}")
            assert shared.states("log: rights", SEALDESK_LOG_DSN=dsn) == {WRONG}
            assert shared.states("log: version", SEALDESK_LOG_DSN=dsn) == {WRONG}
            rights.let(connection, "log", login, rights.READER, dry_run=False)
        assert shared.states("log: login", SEALDESK_LOG_DSN=dsn) == {OK}
        assert [finding.says for finding in shared.found("log: rights", SEALDESK_LOG_DSN=dsn)] == [
            "this login may be reader"
        ]
    finally:
        shared.log(f"DROP OWNED BY {login}", f"DROP ROLE {login}")


def test_rights_that_are_not_those_of_this_version_are_found_and_left(patient: Patient) -> None:
    assert patient.states("keys: rights") == {OK}
    patient.keys("COMMENT ON SCHEMA public IS 'sealdesk rights of yesterday'")
    assert patient.states("keys: rights") == {WARNING}
    assert patient.states("keys: rights") == {WARNING}


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("/run/postgresql", True),
        ("", True),
        ("@abstract", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("10.1.2.3", False),
        ("db.example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_what_is_on_this_machine_needs_no_tls(host: str, here: bool) -> None:
    assert reaching.is_here(host) == here


def test_a_way_that_others_can_read_along_is_found(shared: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    # No traffic of a test leaves the machine, so its socket is taken for a network.
    monkeypatch.setattr(reaching, "is_here", lambda host: False)
    [finding] = shared.found("keys: way there")
    assert (finding.state, "sslmode=verify-full" in finding.todo) == (WARNING, True)


@pytest.mark.parametrize(("seconds", "state"), [(0, OK), (30, WARNING), (-30, WARNING), (301, WRONG), (-4000, WRONG)])
def test_a_clock_that_is_off_is_found(seconds: int, state: State) -> None:
    now = datetime.now(UTC)
    theirs = now + timedelta(seconds=seconds)
    assert reaching._clock("log", theirs, now - timedelta(milliseconds=5), now).state is state


# -- whether it fits together, and what is left undone ----------------------------------------------------------------


def test_a_key_database_that_is_older_than_its_log_is_found(patient: Patient) -> None:
    patient.keys("UPDATE issued SET issue = 0")
    assert "older than its log" in patient.found("gate")[0].says


def test_a_line_of_the_ledger_that_was_not_carried_out_is_found_and_not_carried_out(patient: Patient) -> None:
    patient.keys("DELETE FROM outbox", "DELETE FROM shreds")
    [finding] = patient.found("gate")
    assert (finding.state, "not carried out 1 lines" in finding.says) == (WARNING, True)
    assert "the start carries them out" in finding.todo
    with psycopg.connect(patient.databases.keys_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM shreds").fetchone() == (0,)


def test_a_log_that_is_older_than_the_keys_is_found(patient: Patient) -> None:
    patient.keys("UPDATE kept SET position = position + 1000")
    [finding] = patient.found("gate")
    assert (finding.state, "the log is an older copy" in finding.says) == (WARNING, True)
    assert "the start does the key work of its facts again" in finding.todo


def test_who_may_not_mend_an_older_copy_is_told_that_the_start_is_refused(patient: Patient) -> None:
    patient.keys("DELETE FROM outbox", "DELETE FROM shreds")
    login = f"doctor_{uuid4().hex}"
    dsns = {"log": patient.databases.log_dsn, "keys": patient.databases.keys_dsn}
    mine = {f"SEALDESK_{which.upper()}_DSN": make_conninfo(dsn, user=login) for which, dsn in dsns.items()}
    for dsn in dsns.values():
        _run(dsn, f"CREATE ROLE {login} LOGIN")
    try:
        for which, dsn in dsns.items():
            with psycopg.connect(dsn, autocommit=True) as connection:
                rights.let(connection, which, login, rights.READER, dry_run=False)
        [finding] = patient.found("gate", **mine)
        assert (finding.state, "its start is refused. Start sealdesk keep" in finding.todo) == (WARNING, True)
        settings = Settings.read(None, patient.environ | mine)
        endpoints = Endpoints(mine["SEALDESK_LOG_DSN"], mine["SEALDESK_KEYS_DSN"], None)
        with pytest.raises(GateShut, match="start sealdesk keep"), house(settings, endpoints):
            pass
    finally:
        for dsn in dsns.values():
            _run(dsn, f"DROP OWNED BY {login}", f"DROP ROLE {login}")


def test_a_shred_that_nobody_finishes_is_found(patient: Patient) -> None:
    patient.keys("UPDATE shreds SET step = 'destroyed'")
    assert patient.states("shreds") == {WARNING}
    assert patient.states("shreds", at=datetime.now(UTC) + timedelta(hours=2)) == {WRONG}


def test_an_epoch_that_nobody_turns_and_a_backup_that_nobody_makes_are_found(patient: Patient) -> None:
    patient.keys(
        "INSERT INTO epochs (epoch, begun_at, filled_at) VALUES (1, now(), now())"
        " ON CONFLICT (epoch) DO UPDATE SET begun_at = now(), filled_at = now()"
    )
    assert (patient.states("epochs"), patient.states("key backup")) == ({OK}, {WARNING})
    patient.keys("INSERT INTO key_backups (made_at, told_at) VALUES (now(), now())")
    assert patient.states("key backup") == {OK}
    assert patient.states("epochs", at=datetime.now(UTC) + timedelta(hours=50)) == {WARNING}


def test_a_read_model_that_nobody_feeds_is_found(patient: Patient) -> None:
    later = datetime.now(UTC) + timedelta(minutes=10)
    assert patient.states("read models", at=later) == {OK}
    patient.log("UPDATE reports.position SET position = 0")
    assert ["reports" in finding.says for finding in patient.found("read models", at=later)] == [True]


def test_a_record_that_is_about_to_go_is_found(patient: Patient) -> None:
    assert patient.states("quarantine") == {OK}
    assert patient.states("quarantine", at=datetime.now(UTC) + timedelta(days=12)) == {WARNING}


# -- machine, Kafka --------------------------------------------------------------------------------------------------

SWAPS = "Filename Type Size Used Priority\n"


@pytest.mark.parametrize(
    ("swaps", "state"),
    [
        ("", OK),
        ("/dev/sda2 partition 8 0 -2\n", WARNING),
        ("/swapfile file 8 0 -2\n", WARNING),
        ("/dev/zram0 partition 8 0 100\n", OK),
        ("/dev/dm-7 partition 8 0 -2\n", OK),
        ("/dev/dm-8 partition 8 0 -2\n", WARNING),
    ],
)
def test_swap_in_clear_is_found(swaps: str, state: State, tmp_path: Path) -> None:
    for name, uuid in (("dm-7", "CRYPT-PLAIN-swap"), ("dm-8", "LVM-abc")):
        (tmp_path / name / "dm").mkdir(parents=True)
        (tmp_path / name / "dm/uuid").write_text(uuid)
    (tmp_path / "swaps").write_text(SWAPS + swaps)
    assert machine.swap(tmp_path / "swaps", tmp_path).state is state
    assert machine.swap(tmp_path / "none", tmp_path).state is UNKNOWN


def test_a_process_that_may_leave_its_memory_is_found() -> None:
    code = (
        "import resource, sys; hard = resource.getrlimit(resource.RLIMIT_CORE)[1];"
        "from services.doctor import machine; from services.hardening import harden;"
        "before = [one.state for one in machine.core_dumps()]; harden();"
        "print(hard == 0, *before, *(one.state for one in machine.core_dumps()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    forbidden, *states = ended.stdout.split()
    half = len(states) // 2
    assert states[half:] == ["ok"] * half
    assert states[half - 1] == "warning" if half == 2 else True
    assert states[0] == ("ok" if forbidden == "True" else "warning")


def test_a_broker_for_demos_and_one_that_is_away_are_found(shared: Patient, broker: Broker) -> None:
    assert shared.states("topics", SEALDESK_KAFKA=broker.bootstrap) == {WARNING}
    assert shared.states("kafka", SEALDESK_KAFKA=broker.bootstrap) == {OK}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with warnings.catch_warnings():
        # kafka-python leaves sockets open that found nobody.
        warnings.simplefilter("ignore", ResourceWarning)
        assert WRONG in shared.states("kafka", SEALDESK_KAFKA=f"127.0.0.1:{port}")
        gc.collect()


def test_records_in_clear_on_a_network_are_found() -> None:
    assert brokers._way(Broker(bootstrap="kafka.example.org:9092")).state is WARNING
    assert brokers._way(Broker(bootstrap="kafka.example.org:9092", tls=True)).state is OK
    assert brokers._way(Broker(bootstrap="127.0.0.1:9092,[::1]:9092")).state is OK


# -- it changes nothing ----------------------------------------------------------------------------------------------


def _files(*folders_: Path) -> dict[str, tuple[int, int, int, str]]:
    """Describe every file and folder: mode, owner, time of change, content."""
    found = {}
    for folder in folders_:
        for path in (folder, *sorted(folder.rglob("*"))):
            status = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
            found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def _rows(dsn: str) -> dict[str, tuple[Any, ...]]:
    """Give a digest of the rows of every table, and of the catalogue."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
            " WHERE schemaname <> 'information_schema' AND schemaname <> 'pg_catalog'"
            " UNION ALL SELECT unnest(ARRAY['pg_class', 'pg_proc', 'pg_roles', 'pg_auth_members', 'pg_description'])"
        ).fetchall()
        # What the server counts of its own accord stands in pg_class, too.
        columns = {"pg_class": "(relname, relnamespace, relkind, relacl)"}
        return {
            table: connection.execute(
                f"SELECT count(*), md5(string_agg(one, ',' ORDER BY one)) FROM"
                f" (SELECT {columns.get(table, 'given')}::text AS one FROM {table} AS given) AS rows"
            ).fetchone()
            or ()
            for (table,) in tables
        }


def _doctor(environ: Mapping[str, str], *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environ.items():
            patch.setenv(name, value)
        status = run(["doctor", *words])
    return status, out.getvalue(), err.getvalue()


def test_a_look_leaves_every_file_and_every_row_as_it_was(
    tmp_path: Path, config_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole house on servers of its own; first while they run, then while they do not."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data = tmp_path / "data"
    places = [tmp_path / name for name in ("config", "state")]
    # Nothing is there yet, and nothing is made.
    assert _doctor({}, "--data", str(data))[0] == 2
    assert not data.exists()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert run(["import", "examples/desk.jsonl", "--data", str(data)]) == 0
    settings = Settings.read(data)
    with embedded.serving(settings) as endpoints:
        before = (_files(*places), _rows(endpoints.log_dsn), _rows(endpoints.keys_dsn))
        status, out, err = _doctor({}, "--data", str(data), "--json")
        assert (_files(*places), _rows(endpoints.log_dsn), _rows(endpoints.keys_dsn)) == before
    found = orjson.loads(out)
    assert (status, err, [row for row in found if row["state"] in ("wrong", "cannot tell")]) == (0, "", [])
    assert {"gate", "log and keys apart", "keys: durability"} <= {row["check"] for row in found}
    before_all = _files(tmp_path)
    status, out, _ = _doctor({}, "--data", str(data))
    assert (status, out.count("its server does not run")) == (0, 2)
    assert _files(tmp_path) == before_all
    assert embedded.status(settings) == {"log": None, "keys": None, "kafka": None}


def test_the_command_says_what_is_wrong_and_what_to_do_and_ends_with_one(patient: Patient) -> None:
    (patient.folder / "roots").chmod(0o755)
    status, out, _ = _doctor(patient.environ)
    assert status == 1
    at = out.splitlines().index(f"wrong        folder: roots: others have rights to {patient.folder / 'roots'}")
    assert out.splitlines()[at + 1].strip() == "chmod 700"
    assert not any(word in out for word in ("Ann", "Summers", "ann@example.org", "Where is it"))


def test_what_is_broken_in_one_place_hides_nothing_of_another(patient: Patient) -> None:
    """Everything at once: each check stands alone."""
    (patient.folder / "signing/certificate.key").write_bytes(b"no key")
    (patient.folder / "roots").chmod(0o777)
    patient.keys("UPDATE shreds SET step = 'destroyed'", "DROP TABLE keys_migrations")
    patient.log("UPDATE reports.position SET position = 0", "DROP TABLE quarantine CASCADE")
    found = patient.found(SEALDESK_FOLD="none", at=datetime.now(UTC) + timedelta(hours=3))
    told = {finding.check for finding in found if finding.state is not OK}
    assert {"settings", "folder: roots", "signing key", "keys: version of the tables", "shreds", "read models"} <= told
    assert {"quarantine", "roots", "gate"} <= told
