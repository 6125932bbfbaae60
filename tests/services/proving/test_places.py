"""A value and a wrapped key, planted for real in each place that a proof claims to search: found, and only then."""

from __future__ import annotations

import bz2
import gc
import gzip
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer
from psycopg.conninfo import make_conninfo

from services.blobs.stores import FolderBlobs
from services.embedded import Endpoints, serving
from services.kafka import inspecting
from services.kafka.connecting import Broker, client
from services.kafka.topics import OWN_TOPICS
from services.proving import dumps
from services.proving import everywhere as names
from services.proving.buckets import Bucket
from services.proving.clusters import WAL_PAGE_BYTES, WriteAheadLog
from services.proving.dumps import Catalogs, Tables
from services.proving.everywhere import everywhere
from services.proving.folders import Folder, Listing, Logs, bytes_of, plain_files
from services.proving.forms import forms_of, forms_of_key
from services.proving.gathering import Known, needles_of
from services.proving.matching import Hits, Matcher
from services.proving.places import BOTH, NOTHING, VALUES, NotSearched, Place, Searched
from services.proving.topics import Topics
from services.rights import KEEPER
from services.settings import Settings
from services.wiring import house
from tests.conftest import IN_A_HURRY
from tests.desks import Desk
from tests.logins import logins

# kafka-python forgets sockets that it was still connecting. They are collected where that is expected.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")

KEYS_FILES, KEYS_WAL = "files of the key database", "write-ahead log of the key database"
LOG_FILES, LOG_WAL = "files of the log database", "write-ahead log of the log database"


class Planted:
    """A value and a wrapped key that exist nowhere yet."""

    def __init__(self) -> None:
        self.value = f"Zoë {secrets.token_urlsafe(12)}"
        self.key = os.urandom(60)
        self.matcher = Matcher(forms_of(self.value), forms_of_key(self.key))


def look(place: Place, matcher: Matcher) -> Searched:
    """Search a place to its end."""
    found = Searched()
    place.search(matcher, found)
    return found


class _InParts(FolderBlobs):
    """A folder of files that are given in chunks of a few bytes, as a bucket may."""

    def __init__(self, store: FolderBlobs) -> None:
        super().__init__(store._folder)

    def open(self, blob: UUID) -> Iterator[bytes]:
        for chunk in super().open(blob):
            yield from (chunk[at : at + 16] for at in range(0, len(chunk), 16))


class Ours:
    """A house with servers of its own, its data folder, and a ticket in it."""

    def __init__(self, settings: Settings, endpoints: Endpoints, broker: Broker, topic: str) -> None:
        self.settings = settings
        self.endpoints = Endpoints(endpoints.log_dsn, endpoints.keys_dsn, broker)
        self.broker = broker
        self.topic = topic

    def places(self) -> dict[str, Place]:
        found = everywhere(self.settings, self.endpoints, lambda: [self.topic], set)
        return {place.name: place for place in found}

    def log(self, statement: str, *given: object) -> None:
        self._execute(self.endpoints.log_dsn, statement, given)

    def keys(self, statement: str, *given: object) -> None:
        self._execute(self.endpoints.keys_dsn, statement, given)

    @staticmethod
    def _execute(dsn: str, statement: str, given: tuple[object, ...]) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(statement.encode(), given or None)


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def ours(config_home: Path, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    folder = tmp_path_factory.mktemp("proving")
    settings = Settings.read(folder / "data", {"SEALDESK_LOGS": f"{folder / 'app.log'}{os.pathsep}{folder / 'logs'}"})
    (folder / "logs").mkdir()
    (folder / "app.log").touch()
    with serving(settings, extra=IN_A_HURRY) as endpoints, house(settings, endpoints) as opened:
        desk = Desk(opened)
        desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org")
        desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help")
        opened.projecting.catch_up()
        # As the first attached file would.
        Path(settings.blobs or "").mkdir()
        yield Ours(settings, endpoints, broker, f"records.{uuid4()}")


# -- planting -----------------------------------------------------------------------------------------------------


def in_a_fact(ours: Ours, planted: Planted) -> None:
    ours.log("UPDATE facts_events SET state = %s, seal = %s", f'{{"a": "{planted.value}"}}'.encode(), planted.key)


def in_a_request(ours: Ours, planted: Planted) -> None:
    statement = "INSERT INTO privacy_events VALUES (gen_random_uuid(), 1, 'held', %s)"
    ours.log(statement, f"{planted.value} {planted.key.hex()}".encode())


def in_the_quarantine(ours: Ours, planted: Planted) -> None:
    statement = (
        "INSERT INTO quarantine (quarantine_id, tenant, key_id, code, path, seal) VALUES (%s, %s, %s, 'x', %s, %s)"
    )
    ours.log(statement, uuid4(), uuid4(), uuid4(), planted.value, planted.key)


def in_a_read_model(ours: Ours, planted: Planted) -> None:
    ours.log("UPDATE tickets.tickets SET type = %s", planted.value)
    # No table of a read model has room for one today; an earlier version's had, and one may have stayed.
    ours.log("CREATE TABLE contacts.older AS SELECT %s::bytea AS seal", planted.key)


def in_what_analysts_read(ours: Ours, planted: Planted) -> None:
    ours.log('CREATE SCHEMA IF NOT EXISTS "analysts of nobody"')
    ours.log(
        'CREATE TABLE "analysts of nobody".published AS SELECT %s AS who, %s::bytea AS what', planted.value, planted.key
    )


def in_a_vocabulary_and_an_access_line(ours: Ours, planted: Planted) -> None:
    ours.log("INSERT INTO vocabulary SELECT tenant_id, 'types', %s FROM tenants", planted.value)
    statement = "INSERT INTO access_lines VALUES (gen_random_uuid(), gen_random_uuid(), now(), 'x', '{}', %s)"
    ours.log(statement, planted.key)


def in_a_table_beside_one_without_a_binary_form(ours: Ours, planted: Planted) -> None:
    ours.log("CREATE TABLE a_notes AS SELECT %s AS note, %s::bytea AS what", planted.value, planted.key)
    ours.log("CREATE TABLE b_grants (who aclitem)")


def in_a_comment(ours: Ours, planted: Planted) -> None:
    ours.log(f"COMMENT ON TABLE facts_events IS '{planted.value} {planted.key.hex()}'")


def in_a_large_object(ours: Ours, planted: Planted) -> None:
    # Pages of large objects have 2048 bytes: it lies across two of them.
    ours.log("SELECT lo_from_bytea(0, %s)", bytes(2040) + planted.value.encode() + bytes(2 * 2**20) + planted.key)


def in_the_statistics_of_the_log(ours: Ours, planted: Planted) -> None:
    in_statistics(ours.endpoints.log_dsn, planted)


def in_the_statistics_of_the_keys(ours: Ours, planted: Planted) -> None:
    in_statistics(ours.endpoints.keys_dsn, planted)


def in_statistics(dsn: str, planted: Planted) -> None:
    # They stay when the rows that they were gathered from are gone.
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE counted (who text, what bytea)")
        for _ in range(9):
            connection.execute("INSERT INTO counted VALUES (%s, %s)", (planted.value, planted.key))
        connection.execute("ANALYZE counted")
        connection.execute("DELETE FROM counted")


def in_the_outbox(ours: Ours, planted: Planted) -> None:
    with psycopg.connect(ours.endpoints.keys_dsn, autocommit=True) as connection:
        news = uuid4()
        connection.execute(
            "INSERT INTO outbox (news_id, tenant, kind, key_id, made_at) VALUES (%s, %s, 'erased', %s, now())",
            (news, uuid4(), uuid4()),
        )
        for page, sealed in enumerate((planted.value.encode(), planted.key)):
            connection.execute("INSERT INTO outbox_pages VALUES (%s, %s, %s)", (news, page, sealed))


def in_the_register_and_a_subject(ours: Ours, planted: Planted) -> None:
    ours.keys("UPDATE register SET sealed = %s", planted.value.encode())
    ours.keys("UPDATE subjects SET wrapped = %s", planted.key)


def in_a_certificate(ours: Ours, planted: Planted) -> None:
    # JSON that PostgreSQL has read and writes anew.
    ours.keys("CREATE TABLE said (said jsonb)")
    escaped = planted.value.encode("ascii", "backslashreplace").decode().replace("\\xeb", "\\u00eb")
    ours.keys("INSERT INTO said VALUES (%s::jsonb)", f'{{"a": "{escaped}", "b": "{planted.key.hex()}"}}')


def in_a_dead_row_of_the_log(ours: Ours, planted: Planted) -> None:
    _dead_row(ours.log, planted)


def in_a_dead_row_of_the_keys(ours: Ours, planted: Planted) -> None:
    _dead_row(ours.keys, planted)


def _dead_row(execute: Callable[..., None], planted: Planted) -> None:
    execute("CREATE TABLE IF NOT EXISTS deserted (who text, what bytea) WITH (autovacuum_enabled = off)")
    execute("INSERT INTO deserted VALUES (%s, %s)", planted.value, planted.key)
    execute("DELETE FROM deserted")


def in_the_log_of_a_server(ours: Ours, planted: Planted) -> None:
    assert ours.settings.data is not None
    with (ours.settings.data / "run" / "keys.log").open("ab") as file:
        file.write(f"ERROR: {planted.value}\n".encode() + planted.key.hex().encode())


def in_the_log_of_a_process(ours: Ours, planted: Planted) -> None:
    ours.settings.logs[0].write_text(f'{{"said": "{planted.value}", "key": "{planted.key.hex().upper()}"}}')


def in_a_compressed_log(ours: Ours, planted: Planted) -> None:
    (ours.settings.logs[1] / "app").mkdir(exist_ok=True)
    path = ours.settings.logs[1] / "app" / f"app.{uuid4()}.gz"
    path.write_bytes(gzip.compress(planted.value.encode() + planted.key))


def among_the_sealed_files(ours: Ours, planted: Planted) -> None:
    FolderBlobs(Path(ours.settings.blobs or "")).put(uuid4(), [b"in clear: ", planted.value.encode(), planted.key])


def in_what_a_crash_left_of_a_file(ours: Ours, planted: Planted) -> None:
    incoming = Path(ours.settings.blobs or "") / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    (incoming / f"{uuid4()}.new").write_bytes(planted.value.encode() + planted.key)


def beside_the_clusters(ours: Ours, planted: Planted) -> None:
    assert ours.settings.data is not None
    (ours.settings.data / "dump.sql").write_bytes(planted.value.encode() + planted.key)


def in_a_compressed_dump_beside_the_clusters(ours: Ours, planted: Planted) -> None:
    assert ours.settings.data is not None
    # Whatever it is called.
    (ours.settings.data / "dump.old").write_bytes(bz2.compress(planted.value.encode() + planted.key))


def in_what_an_earlier_setting_left(ours: Ours, planted: Planted) -> None:
    assert ours.settings.data is not None
    (ours.settings.data / "kafka").mkdir()
    (ours.settings.data / "kafka" / "run").write_bytes(planted.value.encode() + planted.key)


def beside_the_ledger(ours: Ours, planted: Planted) -> None:
    assert isinstance(ours.settings.ledger, Path)
    (ours.settings.ledger / "notes").write_bytes(planted.value.encode() + planted.key)


def beside_the_copy_of_the_ledger(ours: Ours, planted: Planted) -> None:
    assert isinstance(ours.settings.ledger_copy, Path)
    (ours.settings.ledger_copy / "notes").write_bytes(planted.value.encode() + planted.key)


def in_a_topic(ours: Ours, planted: Planted) -> None:
    producer = client(KafkaProducer, ours.broker)
    producer.send(ours.topic, key=b"7", value=b'{"name": "' + planted.value.encode() + b'"}')
    producer.send(ours.topic, value=b"", headers=[("was", planted.key)])
    producer.close()


def in_the_list_of_migrations_of_the_log(ours: Ours, planted: Planted) -> None:
    ours.log("INSERT INTO log_migrations_log (id, comment) VALUES (%s, %s)", *_noted(planted))


def in_the_list_of_migrations_of_the_keys(ours: Ours, planted: Planted) -> None:
    ours.keys("INSERT INTO keys_migrations_log (id, comment) VALUES (%s, %s)", *_noted(planted))


def _noted(planted: Planted) -> tuple[str, str]:
    return uuid4().hex, f"{planted.value} {planted.key.hex()}"


PLANTS: list[tuple[Callable[[Ours, Planted], None], str]] = [
    (in_a_fact, names.FACTS),
    (in_a_request, names.FACTS),
    (in_the_quarantine, names.QUARANTINE),
    (in_a_read_model, names.MODELS),
    (in_what_analysts_read, names.MODELS),
    (in_a_vocabulary_and_an_access_line, names.REST_OF_LOG),
    (in_a_comment, names.LOG_CATALOGS),
    (in_a_large_object, names.LOG_CATALOGS),
    (in_the_statistics_of_the_log, names.LOG_CATALOGS),
    (in_the_outbox, names.OUTBOX),
    (in_the_register_and_a_subject, names.REST_OF_KEYS),
    (in_a_certificate, names.REST_OF_KEYS),
    (in_the_statistics_of_the_keys, names.KEY_CATALOGS),
    (in_a_dead_row_of_the_log, LOG_FILES),
    (in_a_dead_row_of_the_log, LOG_WAL),
    (in_a_dead_row_of_the_keys, KEYS_FILES),
    (in_a_dead_row_of_the_keys, KEYS_WAL),
    (among_the_sealed_files, names.FILES),
    (in_what_a_crash_left_of_a_file, names.FILES),
    (in_the_log_of_a_server, names.SERVER_LOGS),
    (in_the_log_of_a_process, names.PROCESS_LOGS),
    (in_a_compressed_log, names.PROCESS_LOGS),
    (beside_the_clusters, names.REST_OF_DATA),
    (beside_the_ledger, names.LEDGER),
    (beside_the_copy_of_the_ledger, names.LEDGER_COPY),
    (in_a_topic, names.RECORDS),
    (in_the_list_of_migrations_of_the_log, names.LOG_MIGRATIONS),
    (in_the_list_of_migrations_of_the_keys, names.KEY_MIGRATIONS),
    (in_a_table_beside_one_without_a_binary_form, names.REST_OF_LOG),
    (in_a_compressed_dump_beside_the_clusters, names.REST_OF_DATA),
    (in_what_an_earlier_setting_left, names.REST_OF_DATA),
]


@pytest.mark.parametrize(("plant", "name"), PLANTS, ids=lambda one: getattr(one, "__name__", one))
def test_what_is_planted_in_a_place_is_found_there(
    ours: Ours, plant: Callable[[Ours, Planted], None], name: str
) -> None:
    planted, nobody = Planted(), Planted()
    place = ours.places()[name]
    before = look(place, planted.matcher)
    assert (before.hits.values, before.hits.wrapped_keys) == (0, 0)
    plant(ours, planted)
    after = look(place, planted.matcher)
    assert after.hits.values > 0
    assert after.hits.wrapped_keys > 0
    assert after.hits.bytes > 0
    assert after.unread == 0
    control = look(place, nobody.matcher)
    assert (control.hits.values, control.hits.wrapped_keys) == (0, 0)


def test_every_place_that_can_be_searched_here_has_a_plant(ours: Ours) -> None:
    assert set(ours.places()) - {name for _, name in PLANTS} == {names.OWN}
    # Of a topic nobody can tell whether it is not there or may not be seen. Other tests may have filled one.
    with closing(client(KafkaConsumer, ours.broker)) as consumer:
        missing = set(OWN_TOPICS) - consumer.topics()
    searched = look(ours.places()[names.OWN], Planted().matcher)
    assert (searched.hits.values, searched.hits.wrapped_keys) == (0, 0)
    assert searched.unread == len(missing)


def test_what_no_table_holds_any_more_is_found_in_the_files_alone(ours: Ours) -> None:
    planted = Planted()
    in_a_dead_row_of_the_log(ours, planted)
    places = ours.places()
    tables = [look(places[name], planted.matcher).hits.values for name in (names.REST_OF_LOG, names.LOG_CATALOGS)]
    assert tables == [0, 0]
    ours.log("DROP TABLE deserted")
    # With its file gone, the write-ahead log still says it.
    assert look(places[LOG_FILES], planted.matcher).hits.values == 0
    assert look(places[LOG_WAL], planted.matcher).hits.values > 0


def test_in_the_write_ahead_log_nothing_hides_behind_the_header_of_a_page(ours: Ours) -> None:
    values = [f"{secrets.token_hex(40)}" for _ in range(2_000)]
    with psycopg.connect(ours.endpoints.log_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE many (who text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO many VALUES (%s)", [(value,) for value in values])
    wanted = {value.encode() for value in values}
    place = ours.places()[LOG_WAL]
    assert Matcher(wanted).found_in(place._records(Searched())) == wanted  # type: ignore[attr-defined]
    assert ours.settings.data is not None
    segments = [path for path, _ in plain_files(ours.settings.data / "log" / "pg_wal", Searched())]
    # The control: some of them do lie across two of so many pages.
    assert len(wanted) * 80 > 8 * WAL_PAGE_BYTES
    assert Matcher(wanted).found_in(block for path in segments for block in bytes_of(path)) < wanted


def test_a_bucket_is_read_up_to_a_limit(tmp_path: Path) -> None:
    planted, store = Planted(), FolderBlobs(tmp_path)
    store.put(uuid4(), [planted.value.encode(), planted.key, bytes(100)])
    hits = look(Bucket("a bucket", store), planted.matcher).hits
    assert (hits.values, hits.wrapped_keys) == (1, 1)
    store.put(uuid4(), [bytes(100)])
    found = Searched()
    with pytest.raises(NotSearched, match="more than a proof reads"):
        Bucket("a bucket", store, most_bytes=hits.bytes + 50).search(planted.matcher, found)
    assert found.hits.bytes <= hits.bytes


def test_what_a_bucket_showed_before_its_limit_stays_found(tmp_path: Path) -> None:
    planted, store = Planted(), FolderBlobs(tmp_path)
    store.put(uuid4(), [planted.value.encode(), planted.key, bytes(100)])
    found = Searched()
    with pytest.raises(NotSearched, match="more than a proof reads"):
        Bucket("a bucket", _InParts(store), most_bytes=100).search(planted.matcher, found)
    assert (found.hits.values, found.hits.wrapped_keys) == (1, 1)


def test_links_and_pipes_lead_nowhere_and_stop_nothing(tmp_path: Path) -> None:
    planted = Planted()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text(planted.value)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "elsewhere" / "file")
    (inside / "folder").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(inside / "pipe")
    (inside / "to ourselves").symlink_to(inside)
    # Both that lead out are counted; nobody follows them.
    assert look(Folder("a folder", inside), planted.matcher) == Searched(unread=2)


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    planted = Planted()
    (tmp_path / "broken.gz").write_bytes(b"no gzip " + planted.value.encode())
    (tmp_path / "closed.zst").write_bytes(b"")
    assert look(Logs("logs", [tmp_path, tmp_path / "missing"]), planted.matcher).unread == 3
    with pytest.raises(NotSearched):
        look(Logs("logs", []), planted.matcher)


def test_a_role_that_may_not_read_a_table_says_so(ours: Ours) -> None:
    planted = Planted()
    ours.keys("CREATE ROLE looker LOGIN")
    ours.keys("GRANT CONNECT ON DATABASE sealdesk TO looker")
    dsn = make_conninfo(ours.endpoints.keys_dsn, user="looker")
    tables = look(Tables("tables", dsn, lambda _, name: name in ("leaves", "subjects")), planted.matcher)
    assert (tables.unread, tables.hits.bytes) == (2, 0)
    assert look(Catalogs("catalogs", dsn), planted.matcher).unread > 0


def test_servers_and_brokers_that_others_run_are_named_and_not_searched(
    ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.read(
        None,
        {
            "SEALDESK_LOG_DSN": "host=127.0.0.1 port=1",
            "SEALDESK_KEYS_DSN": "host=127.0.0.1 port=1",
            **{f"SEALDESK_{name.upper()}": str(ours.settings.roots / name) for name in ("roots", "ledger", "signing")},
        },
    )
    assert settings.log_dsn is not None
    assert settings.keys_dsn is not None
    for place in everywhere(settings, Endpoints(settings.log_dsn, settings.keys_dsn, None), list, set):
        if place.name == names.LEDGER:
            continue
        with pytest.raises(NotSearched):
            look(place, Planted().matcher)
    monkeypatch.setattr(inspecting, "ANSWER_MILLISECONDS", 300)
    nowhere = Broker(bootstrap="127.0.0.1:1")
    with pytest.raises(NotSearched):
        look(Topics("topics", nowhere, list, set), Planted().matcher)


def test_only_what_is_there_by_right_is_no_residue(ours: Ours) -> None:
    by_right = {place.name: frozenset(place.residue) for place in ours.places().values() if place.residue != BOTH}
    assert by_right == {KEYS_FILES: VALUES, KEYS_WAL: VALUES, names.RECORDS: NOTHING, names.OWN: NOTHING}


def test_no_statistics_are_gathered_of_wrapped_keys(ours: Ours) -> None:
    with psycopg.connect(ours.endpoints.keys_dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")
        statement = "SELECT tablename FROM pg_stats WHERE attname = 'wrapped' AND schemaname = 'public'"
        assert connection.execute(statement).fetchall() == []
        statement = "SELECT count(*) FROM pg_stats WHERE tablename = 'leaves' AND schemaname = 'public'"
        assert connection.execute(statement).fetchone() != (0,)


# -- what breaks off, what moves, what may not be read ------------------------------------------------------------


def test_what_was_found_before_a_file_broke_off_stays_found(tmp_path: Path) -> None:
    planted = Planted()
    whole = gzip.compress(planted.value.encode() + planted.key + os.urandom(200_000))
    (tmp_path / "app.gz").write_bytes(whole[: len(whole) // 2])
    found = look(Logs("logs", [tmp_path]), planted.matcher)
    assert (found.hits.values > 0, found.hits.wrapped_keys > 0, found.unread) == (True, True, 1)


def test_a_table_that_somebody_holds_keeps_no_other_from_being_read(
    ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = Planted()
    monkeypatch.setattr(dumps, "LOCK_SECONDS", 1)
    for name in ("a_held", "c_free"):
        ours.log(f"CREATE TABLE {name} AS SELECT %s AS note", planted.value)
    try:
        with psycopg.connect(ours.endpoints.log_dsn) as holder:
            holder.execute("LOCK TABLE a_held IN ACCESS EXCLUSIVE MODE")
            found = look(ours.places()[names.REST_OF_LOG], planted.matcher)
            assert (found.hits.values, found.unread) == (1, 1)
            holder.rollback()
        assert look(ours.places()[names.REST_OF_LOG], planted.matcher).hits.values == 2
    finally:
        ours.log("DROP TABLE a_held, c_free")


def test_a_server_that_goes_away_takes_no_hit_away(ours: Ours) -> None:
    planted = Planted()
    ours.log("CREATE TABLE a_first AS SELECT %s AS note", planted.value)
    ours.log("CREATE TABLE b_then AS SELECT 1 AS one")
    found = Searched()

    def holds(_: str, name: str) -> bool:
        if name == "b_then":
            # Between the list and the first table; this connection has one more to answer.
            ends.append(name)
        return name in ("a_first", "b_then")

    ends: list[str] = []
    tables = Tables("tables", ours.endpoints.log_dsn, holds)
    matcher = planted.matcher
    count = matcher.count

    def counted(chunks: Iterator[bytes], into: Hits | None = None) -> Hits:
        hits = count(chunks, into)
        ours.log(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND query LIKE 'COPY%%' AND %s <> ''",
            "x",
        )
        return hits

    matcher.count = counted  # type: ignore[method-assign,assignment]
    try:
        with pytest.raises(NotSearched, match="went away"):
            tables.search(matcher, found)
    finally:
        ours.log("DROP TABLE a_first, b_then")
    assert ends
    assert found.hits.values == 1
    assert found.unread > 0


@pytest.mark.parametrize(
    "column", ["'4930123456'::bigint", "4930123456::numeric", "ARRAY[4930123456]", "row(1, 4930123456)"]
)
def test_a_number_is_found_in_a_column_of_numbers(ours: Ours, column: str) -> None:
    matcher = needles_of([Known(("+49 30 123456",), ())], []).matcher
    ours.log("CREATE TYPE pair AS (one int, other bigint)")
    as_type = "::pair" if column.startswith("row") else ""
    ours.log(f"CREATE TABLE phones AS SELECT {column}{as_type} AS phone")
    try:
        assert look(ours.places()[names.REST_OF_LOG], matcher).hits.values == 1
    finally:
        ours.log("DROP TABLE phones; DROP TYPE pair")


def test_a_table_that_is_renamed_while_others_are_read_is_read(ours: Ours) -> None:
    planted = Planted()
    ours.log("CREATE TABLE y_before AS SELECT 1 AS one")
    ours.log("CREATE TABLE z_built AS SELECT %s AS note", planted.value)
    renamed: list[str] = []

    def holds(_: str, name: str) -> bool:
        if name == "z_built" and not renamed:
            # The list was made, and this is read from it before the tables are.
            renamed.append(name)
            ours.log("ALTER TABLE z_built RENAME TO a_built")
        return name in ("y_before", "z_built", "a_built")

    try:
        found = look(Tables("tables", ours.endpoints.log_dsn, holds), planted.matcher)
    finally:
        ours.log("DROP TABLE y_before, a_built")
    assert (renamed, found.hits.values, found.unread) == (["z_built"], 1, 0)


def test_a_file_that_is_renamed_while_others_are_read_is_read_and_one_that_went_is_counted(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).write_text(f"was {name}")
    into, read = Searched(), list[str]()
    files = Listing(tmp_path, into)
    for path in files:
        try:
            read.append(path.read_text())
        except FileNotFoundError:
            files.gone()
        if path.name == "a":
            (tmp_path / "b").rename(tmp_path / "0")
            (tmp_path / "c").unlink()
            (tmp_path / "e").write_text("new")
    assert set(read) == {"was a", "was b", "was d", "new"}
    assert into.unread == 1


def test_segments_that_are_used_again_while_the_log_is_searched_are_not_missed(tmp_path: Path) -> None:
    planted = Planted()
    (tmp_path / "pg_wal").mkdir()
    segments = [tmp_path / "pg_wal" / f"{number:024X}" for number in range(1, 4)]
    for segment in segments:
        segment.write_bytes(bytes(64))
    segments[1].write_bytes(bytes(64) + planted.value.encode() + planted.key)
    found = Searched()
    records = WriteAheadLog("wal", tmp_path, BOTH)._records(found)
    first = next(records)
    # A server names a segment anew that it needs no more.
    segments[1].rename(tmp_path / "pg_wal" / f"{9:024X}")
    hits = planted.matcher.count([first, *records])
    assert (hits.values, hits.wrapped_keys, found.unread) == (1, 1, 0)


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Give a folder that everybody may list, and be an account that owns nothing, where this one may read all."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "closed").mkdir()
    (folder / "closed" / "file").touch()
    (folder / "file").touch()
    (folder / "closed").chmod(0)
    everything = os.geteuid() == 0
    if everything:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if everything:
            os.seteuid(0)
        (folder / "closed").chmod(0o700)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_listed_or_is_not_there_is_not_searched() -> None:
    with as_nobody() as folder:
        assert look(Folder("a folder", folder), Planted().matcher).unread == 1
        assert look(Folder("a folder", folder / "closed"), Planted().matcher).unread == 1
        with pytest.raises(NotSearched, match="not there"):
            look(Folder("a folder", folder / "missing"), Planted().matcher)


def test_a_topic_that_is_not_there_or_may_not_be_seen_is_not_searched(ours: Ours) -> None:
    assert look(Topics("topics", ours.broker, lambda: [f"none.{uuid4()}"]), Planted().matcher).unread == 1


def test_files_that_an_earlier_setting_left_in_the_data_folder_are_searched(ours: Ours, tmp_path: Path) -> None:
    planted = Planted()
    assert ours.settings.data is not None
    left = ours.settings.data / "blobs" / f"{uuid4()}.left"
    left.parent.mkdir(exist_ok=True)
    left.write_text(planted.value)
    elsewhere = replace(ours.settings, blobs=str(tmp_path))
    try:
        for settings, name, hits in (
            (ours.settings, names.REST_OF_DATA, 0),
            (ours.settings, names.FILES, 1),
            (elsewhere, names.REST_OF_DATA, 1),
            (elsewhere, names.FILES, 0),
        ):
            places = {place.name: place for place in everywhere(settings, ours.endpoints, list, set)}
            assert look(places[name], planted.matcher).hits.values == hits
    finally:
        left.unlink()


# -- with the login of a keeper ------------------------------------------------------------------------------------


def test_what_a_keeper_cannot_read_is_told_and_the_rest_is_searched(ours: Ours) -> None:
    planted = Planted()
    in_the_quarantine(ours, planted)
    in_the_outbox(ours, planted)
    in_a_dead_row_of_the_log(ours, planted)
    said: dict[str, tuple[Searched, str]] = {}
    with logins(ours.endpoints) as made:
        for place in everywhere(ours.settings, made.of(KEEPER), list, set):
            said[place.name] = found, _ = Searched(), ""
            try:
                place.search(planted.matcher, found)
            except NotSearched as why:
                said[place.name] = found, str(why)
    for name in (names.FACTS, names.QUARANTINE, names.OUTBOX):
        assert (said[name][0].unread, said[name][1]) == (0, ""), name
    for name in (names.QUARANTINE, names.OUTBOX, LOG_WAL):
        assert said[name][0].hits.values > 0, name
    # Statistics, accounts, and tables that are the owner's alone.
    for name in (names.LOG_CATALOGS, names.KEY_CATALOGS, names.LOG_MIGRATIONS, names.KEY_MIGRATIONS, names.REST_OF_LOG):
        assert said[name][0].unread > 0, name
    for name in (LOG_FILES, KEYS_FILES):
        assert said[name][1] == "the server did not write down what it had in memory"
        assert said[name][0].hits.bytes > 10**7
