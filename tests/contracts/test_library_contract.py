"""What `services.log` and `services.privacy` override in eventsourcing 9.5.6, or rely on: an upgrade fails here."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any, ClassVar
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError, Application, ProcessingEvent, Repository
from eventsourcing.persistence import (
    IntegrityError,
    JSONTranscoder,
    Mapper,
    OperationalError,
    PersistenceError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore, PostgresFactory
from eventsourcing.utils import Environment, register_topic, resolve_topic
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL

from crypto.keystore import patient
from domain.errors import NobodyCanAct, SettingsWrong
from domain.ids import EventId, TenantId, ThingId
from services.embedded import Endpoints
from services.log import IDLE_SECONDS, Facts, FactsRecorder, LockedRecorder, LogDatastore, LogFactory, SealedFact
from services.privacy import Privacy

AT = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Knocked:
    """An event as `domain.requests` has them: a plain frozen dataclass with a topic of its own."""

    TOPIC: ClassVar[str] = "tests.knocked.v1"
    originator_id: UUID
    originator_version: int
    at: datetime
    door: UUID
    words: str = field(repr=False)


@pytest.fixture
def datastore(databases: Endpoints) -> Iterator[LogDatastore]:
    datastore = LogDatastore(databases.log_dsn)
    yield datastore
    datastore.close()


@pytest.fixture
def facts(datastore: LogDatastore) -> Iterator[Facts]:
    with Facts(datastore) as log:
        yield log


@pytest.fixture
def privacy(datastore: LogDatastore) -> Iterator[Privacy]:
    with Privacy(datastore) as application:
        yield application


def fact() -> SealedFact:
    return SealedFact(
        ThingId(uuid4()), TenantId(UUID(int=1)), EventId(uuid4()), "x.v1", uuid4().bytes, 0, AT, {}, (), None
    )


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_library_is_the_version_that_these_overrides_were_written_for() -> None:
    assert importlib.metadata.version("eventsourcing") == "9.5.6"


# -- PostgresDatastore ----------------------------------------------------------------------------------------------


def test_the_datastore_takes_what_we_give_it() -> None:
    assert parameters(PostgresDatastore.__init__)[:6] == ["self", "dbname", "host", "port", "user", "password"]
    assert {"pool_size", "max_overflow", "idle_in_transaction_session_timeout"} <= set(
        parameters(PostgresDatastore.__init__)
    )


def test_the_pool_opens_late_and_connects_with_the_conninfo_and_arguments_that_it_has_then(
    datastore: LogDatastore, databases: Endpoints
) -> None:
    assert datastore.pool.closed
    assert datastore.pool.conninfo == patient(databases.log_dsn)
    assert isinstance(datastore.pool.kwargs, dict)
    # Left in place, the library's own arguments would override the DSN's.
    assert {"dbname", "host", "port", "user", "password"} <= set(
        inspect.getsource(PostgresDatastore.__init__).replace('"', " ").split()
    )
    assert set(datastore.pool.kwargs) == {"row_factory"}
    with datastore.get_connection() as connection:
        assert connection.info.dbname == conninfo_to_dict(databases.log_dsn)["dbname"]


def test_every_parameter_of_a_dsn_survives(databases: Endpoints) -> None:
    given = {"sslmode": "disable", "application_name": "sealdesk-contract", "options": "-c work_mem=5MB"}
    datastore = LogDatastore(make_conninfo(databases.log_dsn, **given))
    with datastore.get_connection() as connection:
        settings = connection.execute(
            "SELECT current_setting('application_name') AS name, current_setting('work_mem') AS memory"
        ).fetchone()
        assert connection.info.get_parameters()["sslmode"] == "disable"
    assert settings == {"name": "sealdesk-contract", "memory": "5MB"}
    datastore.close()


def test_an_sslmode_that_the_server_cannot_meet_is_not_dropped(databases: Endpoints) -> None:
    datastore = LogDatastore(make_conninfo(databases.log_dsn, sslmode="require", host="127.0.0.1", port="1"))
    datastore.pool.timeout = 0.5
    with pytest.raises(OperationalError), datastore.get_connection():
        pass
    datastore.close()


def test_connections_are_in_autocommit_give_dicts_and_may_idle_in_a_transaction(datastore: LogDatastore) -> None:
    with datastore.get_connection() as connection:
        assert connection.autocommit
        row = connection.execute("SELECT current_setting('idle_in_transaction_session_timeout') AS idle").fetchone()
    assert row == {"idle": f"{IDLE_SECONDS // 60}min"}


def test_the_datastore_translates_what_psycopg_raises_and_keeps_it_as_the_cause(datastore: LogDatastore) -> None:
    with pytest.raises(PersistenceError) as raised, datastore.get_connection() as connection:
        connection.execute("SELECT 1/0")
    assert isinstance(raised.value.__cause__, psycopg.Error)
    assert raised.value.__cause__.sqlstate == "22012"


# -- recorders ------------------------------------------------------------------------------------------------------


def test_the_recorder_has_the_members_that_we_replace() -> None:
    assert parameters(PostgresApplicationRecorder.__init__) == ["self", "datastore", "events_table_name"]
    for name, expected in {
        "create_table": ["self"],
        "insert_events": ["self", "stored_events", "kwargs"],
        "_lock_table": ["self", "curs"],
        "_notify_channel": ["self", "curs"],
        "_insert_events": ["self", "curs", "stored_events", "_"],
        "_insert_stored_events": ["self", "curs", "stored_events", "kwargs"],
    }.items():
        assert parameters(getattr(PostgresApplicationRecorder, name)) == expected


def test_the_stock_recorder_locks_the_table_and_creates_a_function_that_does_not(datastore: LogDatastore) -> None:
    stock = PostgresApplicationRecorder(datastore, events_table_name="other_events")
    assert any("LOCK TABLE" in text(statement) for statement in stock.lock_table_statements)
    created = [text(statement) for statement in stock.sql_create_statements]
    assert text(stock.sql_create_pg_function_insert_events) in created
    assert sum("CREATE OR REPLACE FUNCTION" in statement for statement in created) == 1


def text(statement: Any) -> str:
    return str(statement.as_string()) if hasattr(statement, "as_string") else str(statement)


def test_ours_takes_one_advisory_lock_a_table_and_creates_no_function(datastore: LogDatastore) -> None:
    ours = LockedRecorder(datastore, events_table_name="other_events")
    [lock] = [text(statement) for statement in ours.lock_table_statements]
    assert "pg_advisory_xact_lock" in lock
    assert "sealdesk/log/other_events" in lock
    assert not any("FUNCTION" in text(statement) for statement in ours.sql_create_statements)
    assert any("CREATE TABLE" in text(statement) for statement in ours.sql_create_statements)


def test_no_function_of_the_library_stands_in_the_database(
    facts: Facts, privacy: Privacy, databases: Endpoints
) -> None:
    with psycopg.connect(databases.log_dsn) as connection:
        functions = connection.execute("SELECT proname FROM pg_proc WHERE proname LIKE 'es_insert%'").fetchall()
        tables = connection.execute("SELECT to_regclass('privacy_events') IS NOT NULL").fetchone()
    assert functions == []
    assert tables == (True,)


def test_database_functions_are_refused_by_setting_and_by_datastore(
    datastore: LogDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    datastore.enable_db_functions = True
    with pytest.raises(SettingsWrong):
        LockedRecorder(datastore)
    datastore.enable_db_functions = False
    for name in ("POSTGRES_ENABLE_DB_FUNCTIONS", "FACTS_POSTGRES_ENABLE_DB_FUNCTIONS"):
        for yes in ("y", "true", "1"):
            with monkeypatch.context() as patch:
                patch.setenv(name, yes)
                with pytest.raises(SettingsWrong):
                    Facts(datastore)
    assert PostgresFactory.POSTGRES_ENABLE_DB_FUNCTIONS == "POSTGRES_ENABLE_DB_FUNCTIONS"
    with monkeypatch.context() as patch:
        patch.setenv("POSTGRES_ENABLE_DB_FUNCTIONS", "n")
        Facts(datastore).close()


def test_facts_go_in_through_append_alone(facts: Facts) -> None:
    with pytest.raises(NobodyCanAct):
        facts.recorder.insert_events([StoredEvent(uuid4(), 1, "x", b"{}")])
    assert facts.head() == 0


def test_the_recorder_of_facts_creates_no_table(facts: Facts, databases: Endpoints) -> None:
    with psycopg.connect(databases.log_dsn) as connection:
        before = connection.execute("SELECT count(*) FROM pg_class").fetchone()
        facts.recorder.create_table()  # type: ignore[attr-defined]
        assert connection.execute("SELECT count(*) FROM pg_class").fetchone() == before


def test_a_reader_is_notified_of_new_facts(facts: Facts, databases: Endpoints) -> None:
    with psycopg.connect(databases.log_dsn, autocommit=True) as listener:
        listener.execute("LISTEN facts_events")
        facts.append([fact()])
        assert [note.channel for note in listener.notifies(timeout=10, stop_after=1)] == ["facts_events"]


# -- the lock, and the order of positions -----------------------------------------------------------------------------


def wait_for_waiters(dsn: str, wanted: int, thread: Thread) -> None:
    """Look until so many sessions wait for an advisory lock."""
    with psycopg.connect(dsn, autocommit=True) as watcher:
        query = (
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        while watcher.execute(query).fetchone() != (wanted,):
            assert thread.is_alive()


def test_of_two_appends_the_second_waits_until_the_first_has_committed(facts: Facts, databases: Endpoints) -> None:
    done: list[str] = []
    second = Thread(target=lambda: (facts.append([fact()]), done.append("second")))

    def hold(cursor: psycopg.Cursor[Any]) -> None:
        second.start()
        wait_for_waiters(databases.log_dsn, 1, second)
        done.append("first")

    facts.append([fact()], hold)
    second.join(10)
    assert done == ["first", "second"]


def test_an_append_of_nothing_takes_the_lock_too(facts: Facts, databases: Endpoints) -> None:
    second = Thread(target=lambda: facts.append([], lambda cursor: None))

    def hold(cursor: psycopg.Cursor[Any]) -> None:
        second.start()
        wait_for_waiters(databases.log_dsn, 1, second)

    facts.append([fact()], hold)
    second.join(10)
    assert not second.is_alive()


def test_a_decision_of_privacy_takes_its_lock_and_not_that_of_facts(
    facts: Facts, privacy: Privacy, databases: Endpoints
) -> None:
    second = Thread(target=lambda: privacy.save(knocked(uuid4())))
    with psycopg.connect(databases.log_dsn) as holder:
        [lock] = privacy.recorder.lock_table_statements  # type: ignore[attr-defined]
        holder.execute(lock)
        second.start()
        wait_for_waiters(databases.log_dsn, 1, second)
        facts.append([fact()])
    second.join(10)
    assert facts.head() == 1


def test_maintenance_does_not_stop_writers_nor_writers_maintenance(facts: Facts, databases: Endpoints) -> None:
    def maintain(cursor: psycopg.Cursor[Any]) -> None:
        with psycopg.connect(databases.log_dsn, autocommit=True) as other:
            other.execute("SET lock_timeout = '5s'")
            other.execute("VACUUM facts_events")
            other.execute("ANALYZE facts_events")

    facts.append([fact()], maintain)
    assert facts.head() == 1


def test_a_reader_never_sees_a_new_fact_at_or_below_what_it_has_seen(facts: Facts, databases: Endpoints) -> None:
    """Writers with connections of their own, each append of another size, while a reader polls."""
    stop = Event()

    def write(number: int) -> None:
        datastore = LogDatastore(databases.log_dsn)
        with Facts(datastore) as log:
            for batch in range(25):
                log.append([fact() for _ in range(1 + (number + batch) % 7)])
        datastore.close()

    def read() -> list[int]:
        seen: list[int] = []
        while True:
            last = stop.is_set()
            page = facts.page(seen[-1] if seen else 0, 10_000)
            seen += [stored.position for stored in page]
            if last:
                return seen

    with ThreadPoolExecutor(5) as threads:
        reader = threads.submit(read)
        for writer in [threads.submit(write, number) for number in range(4)]:
            writer.result()
        stop.set()
        seen = reader.result()
    assert seen == [stored.position for stored in facts.page(0, 10_000)]
    assert len(seen) == sum(1 + (number + batch) % 7 for number in range(4) for batch in range(25))


# -- Application ------------------------------------------------------------------------------------------------------


def test_an_application_is_put_together_from_the_parts_that_we_construct() -> None:
    for name, expected in {
        "construct_factory": ["self", "env"],
        "construct_recorder": ["self"],
        "construct_mapper": ["self"],
        "construct_transcoder": ["self"],
    }.items():
        assert parameters(getattr(Application, name)) == expected
    order = inspect.getsource(Application.__init__)
    assert order.index("construct_factory") < order.index("construct_mapper") < order.index("construct_recorder")


def test_two_applications_share_one_datastore_and_no_table(
    facts: Facts, privacy: Privacy, datastore: LogDatastore
) -> None:
    assert isinstance(facts.recorder, FactsRecorder)
    assert isinstance(privacy.recorder, LockedRecorder)
    assert facts.recorder.datastore is privacy.recorder.datastore is datastore
    assert facts.recorder.events_table_name == "facts_events"
    assert privacy.recorder.events_table_name == "privacy_events"
    assert isinstance(privacy.factory, LogFactory)


def test_an_application_keeps_no_cache_and_no_snapshots(privacy: Privacy, facts: Facts) -> None:
    for application in (privacy, facts):
        assert application.repository.cache is None
        assert application.snapshots is None


def test_closing_an_application_leaves_the_datastore_to_whoever_opened_it(
    facts: Facts, privacy: Privacy, datastore: LogDatastore
) -> None:
    assert privacy.case(uuid4()).version == 0
    privacy.close()
    # The library closes an application that is collected, too.
    Privacy(datastore).__del__()
    assert facts.head() == 0
    assert not datastore.pool.closed


def test_the_factory_takes_an_environment_and_reads_it_by_the_name_of_the_application(datastore: LogDatastore) -> None:
    factory = LogFactory(Environment("facts", {}), datastore)
    assert factory.datastore is datastore
    assert factory.env.name == "facts"


# -- Mapper, Repository, ProcessingEvent ------------------------------------------------------------------------------


def knocked(who: UUID, version: int = 1) -> Knocked:
    return Knocked(who, version, AT, UUID(int=5), "sealed words")


def test_a_mapper_writes_a_plain_dataclass_under_its_topic_and_reads_it_back_equal(privacy: Privacy) -> None:
    event = knocked(uuid4())
    stored = privacy.mapper.to_stored_event(event)
    assert (stored.originator_id, stored.originator_version, stored.topic) == (event.originator_id, 1, Knocked.TOPIC)
    assert b"sealed words" in stored.state
    assert privacy.mapper.to_domain_event(stored) == event
    assert resolve_topic(Knocked.TOPIC) is Knocked


def test_a_mapper_has_no_cipher_and_no_compressor_of_its_own(privacy: Privacy, facts: Facts) -> None:
    assert (privacy.mapper.cipher, privacy.mapper.compressor) == (None, None)
    assert (facts.mapper.cipher, facts.mapper.compressor) == (None, None)
    assert parameters(Mapper.__init__) == ["self", "transcoder", "compressor", "cipher"]
    assert isinstance(privacy.mapper.transcoder, JSONTranscoder)


def test_a_topic_can_be_registered_before_anything_is_stored_under_it() -> None:
    class Unheard:
        pass

    register_topic("tests.unheard.v1", Unheard)
    assert resolve_topic("tests.unheard.v1") is Unheard


def test_a_repository_takes_any_fold(privacy: Privacy) -> None:
    who = uuid4()
    privacy.save(knocked(who), knocked(who, 2))

    def count(state: int | None, events: Any) -> int | None:
        return (state or 0) + len(list(events)) or None

    assert {"aggregate_id", "projector_func"} <= set(parameters(Repository.get))
    assert privacy.repository.get(who, projector_func=count) == 2  # type: ignore[type-var]
    with pytest.raises(AggregateNotFoundError):
        privacy.repository.get(uuid4(), projector_func=count)  # type: ignore[type-var]


def test_plain_events_are_collected_as_they_are_and_saved_as_one() -> None:
    first, second = knocked(uuid4()), knocked(uuid4())
    processing: ProcessingEvent[UUID] = ProcessingEvent()
    processing.collect_events(first, None, second)
    assert processing.events == [first, second]
    assert processing.aggregates == {}


def test_of_several_events_in_one_save_all_are_stored_or_none(privacy: Privacy) -> None:
    who, other = uuid4(), uuid4()
    privacy.save(knocked(who))
    with pytest.raises(IntegrityError):
        privacy.save(knocked(other), knocked(who))
    assert [event.originator_id for event in everything(privacy)] == [who]


def everything(privacy: Privacy) -> Sequence[Any]:
    return privacy.recorder.select_notifications(start=1, limit=100)


def test_notifications_come_in_order_from_a_start_and_up_to_a_limit(privacy: Privacy) -> None:
    for _ in range(5):
        privacy.save(knocked(uuid4()))
    ids = [notification.id for notification in everything(privacy)]
    assert ids == sorted(ids)
    assert [n.id for n in privacy.recorder.select_notifications(start=ids[2], limit=2)] == ids[2:4]


def test_a_stored_event_is_a_frozen_dataclass_that_can_be_extended(facts: Facts) -> None:
    one = fact()
    stored = facts.mapper.to_stored_event(one)  # type: ignore[arg-type]
    assert isinstance(stored, StoredEvent)
    assert (stored.originator_id, stored.topic, stored.state) == (one.stream, "x.v1", b"{}")
    with pytest.raises(AttributeError):
        stored.state = b""  # type: ignore[misc]


def test_statements_are_composed_by_psycopg() -> None:
    assert SQL("SELECT {0}").format(SQL("1")).as_string() == "SELECT 1"
