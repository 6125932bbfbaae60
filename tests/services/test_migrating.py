"""`migrate`: every way in which two databases come to the version of the program, or do not."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tenacity import Retrying, stop_after_delay, wait_fixed

from domain.errors import KeysUnavailable, NobodyCanAct, SchemaUnfit
from services import rights, schema, wiring
from services.cli.app import run
from services.embedded import Endpoints
from services.migrating import migrate
from services.schema import KEYS, LOG, Schema, standing
from services.settings import Settings
from tests.conftest import _made
from tests.desks import Desk, desk_house

#: What stands in the databases of those who use sealdesk. A change is a new file, never an edit of one of these.
FROZEN = {
    "0001.log": "ddae31eff3993c2f16705f6f1ef4aa431d62d175508771d5bfa13ec9d2999add",
    "0001.keys": "0bd0930ab1874fe03e36a6bdbf5af7f19531a516b0001383cfa6b4cc78982b3c",
}
#: What would end the transaction of a file, or let it do without one.
ENDS = re.compile(
    r"^\s*(COMMIT|ROLLBACK|BEGIN *;|BEGIN +TRANSACTION)\b|-- *transactional:", re.MULTILINE | re.IGNORECASE
)
BOTH = pytest.mark.parametrize("which", [LOG, KEYS], ids=lambda which: which.what)


def _first_of(which: Schema, folder: Path) -> Schema:
    """Return the schema as it was when there was only the first file."""
    folder.mkdir()
    name = next(iter(which.files))
    (folder / f"{name}.sql").write_bytes((which.folder / f"{name}.sql").read_bytes())
    return Schema(which.what, which.called, folder, which.sign, which.away)


def _further(which: Schema, name: str, script: str) -> Schema:
    """Return the schema with one more file."""
    (which.folder / f"{name}.sql").write_text(script)
    return replace(which)


@pytest.fixture
def empty(clusters: Endpoints, database_names: Iterator[str]) -> Iterator[str]:
    name = next(database_names)
    yield _made(clusters.keys_dsn, name)
    with psycopg.connect(clusters.keys_dsn, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _asked(dsn: str, which: Schema) -> schema.Standing:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return standing(connection, which)


def _dump(dsn: str) -> list[tuple[object, ...]]:
    """Give all that the catalogue says of tables, columns, indexes, constraints and comments in a database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET search_path = pg_catalog")
        return connection.execute(
            "SELECT 'column', attrelid::regclass::text, attname::text, format_type(atttypid, atttypmod),"
            " attnotnull::text"
            " FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace"
            " AND attnum > 0 AND NOT attisdropped"
            " UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), '', '' FROM pg_index"
            " JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'constraint', conname::text, pg_get_constraintdef(oid), '', '' FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'comment', objoid::regclass::text, objsubid::text, description, '' FROM pg_description"
            " JOIN pg_class c ON c.oid = objoid WHERE relnamespace = 'public'::regnamespace ORDER BY 1, 2, 3, 4, 5"
        ).fetchall()


@pytest.mark.parametrize("name", FROZEN)
def test_a_file_that_was_published_is_never_edited(name: str) -> None:
    which = LOG if name.endswith(".log") else KEYS
    assert which.files[name] == FROZEN[name] == hashlib.sha256((which.folder / f"{name}.sql").read_bytes()).hexdigest()


@BOTH
def test_files_are_numbered_and_say_what_they_do(which: Schema) -> None:
    numbers = [re.fullmatch(r"(\d{4})\.[a-z_]+", name) for name in which.files]
    assert all(numbers), list(which.files)
    given = [int(number[1]) for number in numbers if number]
    assert given[0] == 1
    assert len(set(given)) == len(given)
    assert given == sorted(given)


@BOTH
def test_every_statement_of_a_file_is_one_that_a_transaction_can_take_back(which: Schema) -> None:
    for name in which.files:
        text = (which.folder / f"{name}.sql").read_text()
        # What else a transaction cannot hold, PostgreSQL refuses where all files are applied, here below.
        assert not ENDS.search(text), name


@BOTH
def test_an_empty_database_gets_every_file_and_a_second_run_nothing(which: Schema, empty: str) -> None:
    told: list[str] = []
    assert migrate(which, empty, told.append).applied == tuple(which.files) == tuple(told)
    found = _asked(empty, which)
    assert found == schema.Standing(tuple(which.files), (), (), ())
    before = _dump(empty)
    assert migrate(which, empty).applied == ()
    assert _dump(empty) == before


def test_a_dry_run_changes_nothing(empty: str) -> None:
    before = _dump(empty)
    assert migrate(KEYS, empty, dry_run=True).applied == tuple(KEYS.files)
    assert _dump(empty) == before == []


@BOTH
def test_the_tables_of_the_runner_name_no_account_and_no_machine(which: Schema, empty: str) -> None:
    migrate(which, empty)
    with psycopg.connect(empty) as connection:
        assert connection.execute(f"SELECT count(*) FROM {which.table}_log").fetchone() == (0,)
        columns = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY 1", (which.table,)
        ).fetchall()
    assert [name for (name,) in columns] == ["applied_at_utc", "migration_hash", "migration_id"]


@BOTH
def test_every_table_says_what_a_row_is(which: Schema, empty: str) -> None:
    migrate(which, empty)
    with psycopg.connect(empty) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            " AND obj_description(oid, 'pg_class') IS NULL"
        ).fetchall()
    assert rows == []


@BOTH
def test_a_database_from_before_there_were_migrations_is_taken_for_the_first(
    which: Schema, empty: str, tmp_path: Path
) -> None:
    first = _first_of(which, tmp_path / "files")
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute((first.folder / f"{next(iter(first.files))}.sql").read_bytes())
    further = _further(
        first, "0009.further", "CREATE TABLE further (one integer); COMMENT ON TABLE further IS 'A row.';"
    )
    done = migrate(further, empty)
    assert (done.adopted, done.applied) == (True, ("0009.further",))
    assert _asked(empty, further).missing == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER TABLE subjects DROP COLUMN upstream", "subjects.upstream"),
        ("ALTER TABLE subjects ADD COLUMN nickname text", "subjects.nickname"),
        ("ALTER TABLE epochs ALTER COLUMN children TYPE integer", "epochs.children"),
        ("ALTER TABLE shreds ALTER COLUMN certificate SET NOT NULL", "shreds.certificate"),
        ("DROP TABLE pairs", "is pairs,"),
        ("ALTER TABLE pairs SET UNLOGGED", "is pairs,"),
        ("ALTER TABLE subjects DROP CONSTRAINT subjects_pkey CASCADE", "subjects.subjects_pkey"),
        ("ALTER TABLE shreds DROP CONSTRAINT shreds_kind_check", "shreds.shreds_kind_check"),
        ("ALTER TABLE shreds ADD CHECK (kind <> 'thing')", "shreds.shreds_kind_check1"),
        ("CREATE UNIQUE INDEX one_each ON leaves (tenant)", "leaves.one_each"),
        ("ALTER TABLE wrapping_keys ALTER COLUMN children DROP DEFAULT", "wrapping_keys.children"),
        ("ALTER TABLE subjects ALTER COLUMN profile SET DEFAULT gen_random_uuid()", "subjects.profile"),
        (
            "CREATE TRIGGER nothing BEFORE UPDATE ON leaves FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "leaves.nothing",
        ),
    ],
)
def test_one_with_other_tables_is_refused_and_left_as_it_is(change: str, named: str, empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute((KEYS.folder / "0001.keys.sql").read_bytes())
        connection.execute(change.encode())
    before = _dump(empty)
    with pytest.raises(SchemaUnfit, match=re.escape(named)):
        migrate(KEYS, empty)
    assert _dump(empty) == before


def test_a_log_that_could_take_an_event_twice_is_not_taken_for_the_first(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute((LOG.folder / "0001.log.sql").read_bytes())
        unique = connection.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'facts_events'::regclass AND contype IN ('p', 'u')"
        ).fetchall()
        for (name,) in unique:
            connection.execute(f"ALTER TABLE facts_events DROP CONSTRAINT {name} CASCADE".encode())
    assert unique
    with pytest.raises(SchemaUnfit, match=r"is facts_events\."):
        migrate(LOG, empty)


def test_an_index_that_refuses_nothing_may_have_been_added(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute((KEYS.folder / "0001.keys.sql").read_bytes())
        connection.execute("CREATE INDEX of_an_operator ON leaves (tenant)")
    assert migrate(KEYS, empty).adopted


FURTHER = {
    LOG.what: "ALTER TABLE facts_events ADD COLUMN further integer NOT NULL DEFAULT 7;",
    KEYS.what: "ALTER TABLE subjects ADD COLUMN further integer NOT NULL DEFAULT 7;\n"
    "DO $$ BEGIN PERFORM 1; UPDATE leaves SET blob = blob; END $$;\n"
    "CREATE INDEX leaves_further ON leaves (tenant);",
}


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Schema, Schema]:
    """A later version of the program, which has one more file for each database."""
    made = []
    for which in (LOG, KEYS):
        folder = tmp_path / f"{which.what}-next"
        shutil.copytree(which.folder, folder)
        (folder / "9000.further.sql").write_text(FURTHER[which.what])
        made.append(replace(which, folder=folder))
    return made[0], made[1]


@contextmanager
def _program_of(versions: tuple[Schema, Schema]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "LOG", versions[0])
        patch.setattr(schema, "KEYS", versions[1])
        yield


def test_what_was_sealed_before_a_migration_opens_after_it(
    databases: Endpoints, next_version: tuple[Schema, Schema], tmp_path: Path
) -> None:
    with desk_house(databases, tmp_path) as opened:
        desk = Desk(opened)
        desk.happens("contact.created", "contact 1", id=1, name="Ann Summers", email="ann@example.org")
        desk.happens("contact.created", "contact 2", id=2, name="Bob Winter", email="bob@example.org")
        desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="A boat", description="It leaks")
        desk.shred("contact 2")
        before = (desk.tickets(), desk.contacts(), desk.reports())
    assert [text in str(before) for text in ("Ann Summers", "It leaks", "A boat", "shredded")] == [True] * 4
    # Older than the program: refused where somebody else runs the servers, with what to do.
    with (
        _program_of(next_version),
        pytest.raises(SchemaUnfit, match=r"older version.*run: sealdesk migrate"),
        desk_house(databases, tmp_path),
    ):
        pass
    migrate(next_version[0], databases.log_dsn)
    migrate(next_version[1], databases.keys_dsn)
    with _program_of(next_version), desk_house(databases, tmp_path) as opened:
        desk.house = opened
        assert (desk.tickets(), desk.contacts(), desk.reports()) == before
        desk.happens("ticket.opened", "ticket 21", id=21, requester_id=1, subject="A sail")
        assert desk.ticket(21)["subject"] == "A sail"
    # The program of before meets a database that is newer than it.
    newer = "newer version of sealdesk has migrated the log database"
    with pytest.raises(SchemaUnfit, match=newer), desk_house(databases, tmp_path):
        pass
    with pytest.raises(SchemaUnfit, match=newer), wiring.projector(databases.log_dsn):
        pass
    with pytest.raises(SchemaUnfit, match="newer version of sealdesk has migrated the key database"):
        migrate(KEYS, databases.keys_dsn)


def test_the_servers_of_a_data_folder_are_brought_to_today_by_a_start(
    databases: Endpoints, next_version: tuple[Schema, Schema], tmp_path: Path
) -> None:
    # Without a DSN among the settings, the databases are those of the data folder.
    settings = Settings.read(tmp_path / "data", {})
    with _program_of(next_version):
        with wiring.house(settings, databases):
            pass
        assert _asked(databases.log_dsn, next_version[0]).applied[-1] == "9000.further"
        assert _asked(databases.keys_dsn, next_version[1]).applied[-1] == "9000.further"


def test_a_refused_file_leaves_everything_as_it_was_and_repeats_no_value(databases: Endpoints, tmp_path: Path) -> None:
    with desk_house(databases, tmp_path) as opened:
        Desk(opened).happens("contact.created", "contact 1", id=1, name="Ann Summers")
    folder = tmp_path / "files"
    shutil.copytree(KEYS.folder, folder)
    (folder / "9000.good.sql").write_text("CREATE TABLE good (one integer)")
    (folder / "9001.bad.sql").write_text(
        "CREATE TABLE half (one integer);\nALTER TABLE subjects ADD COLUMN new integer;\n"
        "INSERT INTO tenants_of_bad (name) SELECT 'x';"
    )
    (folder / "9002.later.sql").write_text("CREATE TABLE later (one integer)")
    told: list[str] = []
    with pytest.raises(SchemaUnfit, match=r"refused 9001\.bad \(42P01\)") as refused:
        migrate(replace(KEYS, folder=folder), databases.keys_dsn, told.append)
    assert told == ["9000.good"]
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    names = {row[1] for row in _dump(databases.keys_dsn)}
    assert "public.good" in names
    assert names.isdisjoint({"public.half", "public.later"})
    # The control: a statement that quotes what stands in a row.
    (folder / "9001.bad.sql").write_text(
        "ALTER TABLE subjects ALTER COLUMN bound TYPE integer USING bound::text::integer"
    )
    with psycopg.connect(databases.keys_dsn) as connection, pytest.raises(psycopg.Error) as raw:
        connection.execute((folder / "9001.bad.sql").read_bytes())
    quoted = re.search(r"\\\\?x[0-9a-f]{16,}", str(raw.value))
    assert quoted is not None
    with pytest.raises(SchemaUnfit, match=r"refused 9001\.bad \(22P02\)") as refused:
        migrate(replace(KEYS, folder=folder), databases.keys_dsn)
    assert quoted[0] not in "".join(traceback.format_exception(refused.value))


def test_a_file_that_would_work_outside_a_transaction_is_refused(databases: Endpoints, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(LOG.folder, folder)
    (folder / "9000.bad.sql").write_text("-- transactional: false\nCREATE INDEX CONCURRENTLY x ON refusals (code)")
    with pytest.raises(NobodyCanAct, match="outside a transaction"):
        migrate(replace(LOG, folder=folder), databases.log_dsn)


@BOTH
def test_a_file_that_was_changed_after_it_was_applied_is_noticed(which: Schema, empty: str, tmp_path: Path) -> None:
    migrate(which, empty)
    folder = tmp_path / "files"
    shutil.copytree(which.folder, folder)
    name = next(iter(which.files))
    with (folder / f"{name}.sql").open("a") as file:
        file.write("\n-- One more word.\n")
    done = migrate(replace(which, folder=folder), empty)
    assert (done.before.changed, done.applied) == ((name,), ())


#: At least so many statements are sent while two files are applied to an empty database, and few more.
ALL = 30

# -- killed, and two at once -----------------------------------------------------------------------------------------

CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
from services.migrating import migrate
from services.schema import KEYS
migrate(replace(KEYS, folder=Path(sys.argv[1])), sys.stdin.readline().strip(), lambda name: print(name, flush=True))
"""


@contextmanager
def _child(folder: Path, dsn: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(dsn + "\n")
    process.stdin.flush()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _until_asleep(dsn: str) -> None:
    """Wait until a session of the database sleeps in the middle of a file."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for attempt in Retrying(stop=stop_after_delay(20), wait=wait_fixed(0.02)):
            with attempt:
                row = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event = 'PgSleep'"
                ).fetchone()
                assert row == (1,)


def test_a_kill_in_the_middle_of_a_file_leaves_nothing_in_the_way(databases: Endpoints, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(KEYS.folder, folder)
    (folder / "9000.first.sql").write_text("CREATE TABLE first (one integer);")
    slow = folder / "9001.slow.sql"
    slow.write_text("CREATE TABLE slow (one integer);\nDO $$ BEGIN PERFORM pg_sleep(600); END $$;")
    with _child(folder, databases.keys_dsn) as process:
        _until_asleep(databases.keys_dsn)
        assert process.stdout is not None
        assert process.stdout.readline() == "9000.first\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    # The server notices within a second; until then the lock of the dead one makes the next wait.
    slow.write_text("CREATE TABLE slow (one integer);")
    done = migrate(replace(KEYS, folder=folder), databases.keys_dsn)
    assert (done.applied, done.before.changed) == (("9001.slow",), ())


@pytest.mark.parametrize("last", range(1, ALL + 11))
def test_a_death_at_any_statement_of_the_runner_can_be_run_again(
    last: int, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session dies at a statement; the next run finishes. What was applied twice would fail."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "0001.keys.sql").write_text("CREATE TABLE wrapping_keys (one integer);")
    (folder / "0002.more.sql").write_text("CREATE TABLE more (one integer);")
    small = replace(KEYS, folder=folder)
    sent = 0
    run = psycopg.Cursor.execute

    def dying(self: psycopg.Cursor[Any], *given: Any, **named: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == last:
            self.connection.close()
        return run(self, *given, **named)

    # These two files make none of the tables that rights are about.
    monkeypatch.setattr("services.migrating._grant", lambda connection, which: None)
    with monkeypatch.context() as patch, suppress(KeysUnavailable):
        patch.setattr(psycopg.Cursor, "execute", dying)
        migrate(small, empty)
    died = sent >= last
    migrate(small, empty)
    assert _asked(empty, small) == schema.Standing(("0001.keys", "0002.more"), (), (), ())
    assert died or last > ALL
    assert not died or last < ALL + 10


def test_of_two_at_once_one_waits_and_finds_it_done(empty: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(KEYS.folder, folder)
    (folder / "9000.slow.sql").write_text("DO $$ BEGIN PERFORM pg_sleep(1); END $$;\nCREATE TABLE slow (one integer);")
    which = replace(KEYS, folder=folder)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: migrate(which, empty), range(4)))
    assert sorted(len(one.applied) for one in done) == [0, 0, 0, len(which.files)]


def test_a_table_that_somebody_holds_is_not_waited_for_long(
    databases: Endpoints, next_version: tuple[Schema, Schema], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.migrating.LOCK_WAIT", "200ms")
    with psycopg.connect(databases.log_dsn) as holder:
        holder.execute("SELECT count(*) FROM facts_events")
        with pytest.raises(SchemaUnfit, match=r"9000\.further waited for tables that others use"):
            migrate(next_version[0], databases.log_dsn)
    assert migrate(next_version[0], databases.log_dsn).applied == ("9000.further",)


def _refusing(state: str) -> str:
    """A file that meets an error of the server."""
    return f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$;"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("57014", "was cut short by somebody who cancels statements"),
        ("40P01", "and another session waited for each other"),
        ("53100", "found the disk of the server full. Make room there, and run sealdesk migrate again"),
        ("58030", r"refused 9001\.further \(58030\).*See what its own log says"),
    ],
)
def test_what_a_server_refuses_while_it_stays_is_not_called_gone(
    state: str, why: str, databases: Endpoints, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    shutil.copytree(KEYS.folder, folder)
    (folder / "9000.good.sql").write_text("CREATE TABLE good (one integer);")
    (folder / "9001.further.sql").write_text(_refusing(state))
    with pytest.raises(SchemaUnfit, match=why):
        migrate(replace(KEYS, folder=folder), databases.keys_dsn)
    assert _asked(databases.keys_dsn, replace(KEYS, folder=folder)).missing == ("9001.further",)


def test_a_session_that_is_ended_is_called_gone(databases: Endpoints, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(KEYS.folder, folder)
    (folder / "9000.further.sql").write_text("DO $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END $$;")
    with pytest.raises(KeysUnavailable, match="went away"):
        migrate(replace(KEYS, folder=folder), databases.keys_dsn)


def test_rights_that_wait_for_somebody_are_told_as_such(databases: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.migrating.LOCK_WAIT", "200ms")
    with psycopg.connect(databases.keys_dsn) as holder:
        holder.execute("LOCK TABLE shreds")
        holder.execute("COMMENT ON SCHEMA public IS 'sealdesk rights of yesterday'")
        with pytest.raises(SchemaUnfit, match="the granting of rights waited for tables that others use"):
            migrate(KEYS, databases.keys_dsn)
    migrate(KEYS, databases.keys_dsn)


def test_limits_of_the_login_do_not_cut_a_file(databases: Endpoints, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(KEYS.folder, folder)
    (folder / "9000.slow.sql").write_text(
        "DO $$ BEGIN PERFORM pg_sleep(0.5); END $$;\nCREATE TABLE slow (one integer);"
    )
    hurried = make_conninfo(databases.keys_dsn, options="-c statement_timeout=200 -c lock_timeout=200")
    with psycopg.connect(hurried, autocommit=True) as connection, pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("SELECT pg_sleep(0.5)")
    assert migrate(replace(KEYS, folder=folder), hurried).applied == ("9000.slow",)


# -- the command, and what a start costs -----------------------------------------------------------------------------


def _sealdesk(environ: dict[str, str], *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environ.items():
            patch.setenv(name, value)
        status = run(words)
    return status, out.getvalue(), err.getvalue()


def test_the_command_migrates_both_databases_and_needs_no_root(
    clusters: Endpoints, database_names: Iterator[str], tmp_path: Path
) -> None:
    name = next(database_names)
    dsns = {
        "SEALDESK_LOG_DSN": _made(clusters.log_dsn, name),
        "SEALDESK_KEYS_DSN": _made(clusters.keys_dsn, name),
        "HOME": str(tmp_path),
    }
    log, keys = list(LOG.files), list(KEYS.files)
    status, out, _ = _sealdesk(dsns, "migrate", "--dry-run", "--json")
    assert status == 0
    assert orjson.loads(out)["keys"] == {"was": [], "adopted": False, "would_apply": keys, "changed": []}
    status, out, err = _sealdesk(dsns, "migrate", "--json")
    assert (status, orjson.loads(out)["log"]["applied"], orjson.loads(out)["keys"]["applied"]) == (0, log, keys)
    assert err.count("0001") == 2
    status, out, err = _sealdesk(dsns, "migrate")
    assert (status, err) == (0, "")
    assert out.count("nothing") == 2
    status, _, err = _sealdesk({"SEALDESK_LOG_DSN": dsns["SEALDESK_LOG_DSN"]}, "migrate")
    assert (status, "the key database is left as it is" in err) == (0, True)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_makes_no_house_where_none_is(tmp_path: Path) -> None:
    data, places = tmp_path / "data", {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    given = {f"SEALDESK_{name.upper()}": str(tmp_path / name) for name in ("roots", "ledger", "signing")}
    for environ in (places, places | given):
        for words in (("migrate", "--dry-run"), ("rights", "show")):
            status, out, err = _sealdesk(environ, *words, "--data", str(data))
            assert (status, out) == (2, "")
            assert "nothing was started in" in err
            assert environ is places or "sealdesk migrate makes them" in err
        assert not list(tmp_path.iterdir())


def test_a_server_that_is_configured_and_empty_is_not_filled_by_a_start(
    clusters: Endpoints, empty: str, database_names: Iterator[str], tmp_path: Path
) -> None:
    log = _made(clusters.log_dsn, next(database_names))
    with (
        pytest.raises(SchemaUnfit, match=r"log database is not set up.*run: sealdesk migrate"),
        desk_house(Endpoints(log, empty, None), tmp_path),
    ):
        pass
    assert _dump(log) == _dump(empty) == []


def test_a_login_that_may_only_read_can_see_the_version(databases: Endpoints) -> None:
    role = f"reads_{conninfo_to_dict(databases.keys_dsn)['dbname']}"
    with psycopg.connect(databases.keys_dsn, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role}")
        try:
            owner.execute(f"SET ROLE {role}")
            with pytest.raises(SchemaUnfit, match="may not read which version"):
                standing(owner, KEYS)
            owner.execute("RESET ROLE")
            owner.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
            owner.execute(f"GRANT SELECT ON {KEYS.table} TO {role}")
            owner.execute(f"SET ROLE {role}")
            assert standing(owner, KEYS).missing == ()
        finally:
            owner.execute("RESET ROLE")
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")


def test_who_does_not_own_the_tables_and_who_may_not_write_is_told_so(
    databases: Endpoints, next_version: tuple[Schema, Schema]
) -> None:
    database = conninfo_to_dict(databases.log_dsn)["dbname"]
    login = f"other_{database}"
    with psycopg.connect(databases.log_dsn, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {login} LOGIN")
        try:
            rights.let(owner, "log", login, rights.READER, dry_run=False)
            with pytest.raises(SchemaUnfit, match="with the login that owns its tables"):
                migrate(next_version[0], make_conninfo(databases.log_dsn, user=login))
        finally:
            owner.execute(f"DROP OWNED BY {login}")
            owner.execute(f"DROP ROLE {login}")
    standby = make_conninfo(databases.log_dsn, options="-c default_transaction_read_only=on")
    with pytest.raises(SchemaUnfit, match="name the primary"):
        migrate(next_version[0], standby)
    assert migrate(next_version[0], databases.log_dsn).applied == ("9000.further",)


def test_a_start_that_is_up_to_date_asks_once_and_leaves_the_runner_alone(databases: Endpoints) -> None:
    code = (
        "import sys; from services import schema; sent = []; import psycopg; run = psycopg.Cursor.execute\n"
        "def noting(self, *given, **named): sent.append(1); return run(self, *given, **named)\n"
        "psycopg.Cursor.execute = noting; log, keys = sys.stdin.read().splitlines()\n"
        "schema.ready(schema.LOG, log, ours=True); schema.ready(schema.KEYS, keys, ours=True)\n"
        "print(len(sent), 'yoyo' in sys.modules, 'services.migrating' in sys.modules)"
    )
    dsns = f"{databases.log_dsn}\n{databases.keys_dsn}"
    ended = subprocess.run([sys.executable, "-c", code], input=dsns, capture_output=True, text=True, check=True)
    assert ended.stdout == "2 False False\n"
