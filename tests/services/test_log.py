"""The log: each fact once, in the order of commit, with whatever has to be true together with it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from crypto.sealing import Place, seal
from crypto.wrapping import new_key
from domain.errors import LogUnavailable, NobodyCanAct, PositionMoved, SealdeskError
from domain.ids import EventId, KeyId, TenantId, ThingId
from services.embedded import Endpoints
from services.log import Facts, LogDatastore, Position, SealedFact, store_positions
from services.privacy import Privacy

ACME = TenantId(UUID(int=1))
AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def facts(databases: Endpoints) -> Iterator[Facts]:
    datastore = LogDatastore(databases.log_dsn)
    with Facts(datastore) as log:
        yield log
    datastore.close()


def fact(stream: UUID | None = None, digest: bytes | None = None, ordinal: int = 0, **changes: Any) -> SealedFact:
    made = SealedFact(
        ThingId(stream or uuid4()),
        ACME,
        EventId(uuid4()),
        "sealdesk.ticket.opened.v1",
        digest or uuid4().bytes,
        ordinal,
        AT,
        {"status": "open", "spam": False},
        (uuid4(),),
        None,
    )
    return replace(made, **changes)


def test_an_empty_log_has_no_head_and_no_facts(facts: Facts) -> None:
    assert facts.head() == 0
    assert facts.page(0, 10) == []
    assert facts.stream(ThingId(uuid4())) == []
    assert facts.stored_already([bytes(16)]) == set()
    assert facts.append([]) == (0, {})


def test_a_fact_reads_back_as_it_was_appended(facts: Facts) -> None:
    stream, owners, key_id = ThingId(uuid4()), (uuid4(), uuid4()), KeyId(uuid4())
    event_id = EventId(uuid4())
    place = Place(ACME, stream, event_id, "sealdesk.ticket.opened.v1", key_id, ("description", "subject"))
    sealed = seal(place, new_key(), {"subject": "hi", "description": ["help"]})
    clear = {"status": "open", "count": 3, "none": None, "list": ["a"], "spam": True}
    head, positions = facts.append(
        [fact(stream, bytes(16), 3, event_id=event_id, clear=clear, owners=owners, seal=sealed)]
    )
    assert head == 0
    [stored] = facts.page(0, 10)
    assert positions == {(bytes(16), 3): stored.position}
    assert (stored.stream, stored.tenant, stored.event_id) == (stream, ACME, event_id)
    assert (stored.type, stored.ordinal, stored.occurred_at) == ("sealdesk.ticket.opened.v1", 3, AT)
    assert (stored.clear, stored.owners, stored.seal) == (clear, owners, sealed)
    assert stored.sealed_fields == ("description", "subject")
    assert stored.recorded_at.tzinfo is not None
    assert facts.stream(stream) == [stored]


def test_a_fact_without_personal_data_has_no_seal(facts: Facts) -> None:
    facts.append([fact()])
    [stored] = facts.page(0, 1)
    assert stored.seal is None
    assert stored.sealed_fields == ()


def test_a_fact_is_stored_once_by_digest_and_ordinal(facts: Facts) -> None:
    batch = [fact(digest=bytes([n // 2]) * 16, ordinal=n % 2) for n in range(6)]
    _, first = facts.append(batch)
    assert len(first) == 6
    head, again = facts.append([replace(one, event_id=EventId(uuid4()), stream=ThingId(uuid4())) for one in batch])
    assert again == {}
    assert head == facts.head() == max(first.values())
    _, partly = facts.append([*batch[2:4], fact(digest=bytes([9]) * 16)])
    assert set(partly) == {(bytes([9]) * 16, 0)}
    assert len(facts.page(0, 100)) == 7


def test_one_batch_that_says_a_fact_twice_stores_it_once(facts: Facts) -> None:
    one = fact()
    _, positions = facts.append([one, one, replace(one, ordinal=1)])
    assert len(positions) == 2
    assert [stored.ordinal for stored in facts.page(0, 10)] == [0, 1]


def test_positions_follow_the_order_of_a_batch(facts: Facts) -> None:
    batch = [fact() for _ in range(200)]
    _, positions = facts.append(batch)
    assert [positions[one.record_digest, 0] for one in batch] == sorted(positions.values())
    assert [stored.event_id for stored in facts.page(0, 300)] == [one.event_id for one in batch]


@given(st.data())
def test_versions_order_each_stream_and_no_two_facts_of_one_share_any(facts: Facts, data: st.DataObject) -> None:
    streams = [uuid4() for _ in range(3)]
    appended: list[SealedFact] = []
    for _ in range(data.draw(st.integers(1, 4))):
        new = [fact(data.draw(st.sampled_from(streams))) for _ in range(data.draw(st.integers(0, 5)))]
        old = data.draw(st.lists(st.sampled_from(appended), max_size=3)) if appended else []
        facts.append(data.draw(st.permutations([*new, *old])))
        appended += new
    for stream in streams:
        stored = facts.stream(ThingId(stream))
        versions = [one.version for one in stored]
        assert versions == sorted(set(versions))
        assert {one.event_id for one in stored} == {one.event_id for one in appended if one.stream == stream}


def test_what_is_done_beside_an_append_is_committed_with_it(facts: Facts) -> None:
    topic = uuid4()

    def beside(cursor: psycopg.Cursor[Any]) -> None:
        move(cursor, Position(topic, 0, 10), Position(topic, 3, 5))

    facts.append([fact()], beside)
    assert facts.stored_positions(topic) == {0: 10, 3: 5}
    assert len(facts.page(0, 10)) == 1
    # A batch of duplicates only, or of nothing, still moves the position.
    facts.append([], lambda cursor: move(cursor, Position(topic, 0, 11, 10)))
    assert facts.stored_positions(topic) == {0: 11, 3: 5}


def move(cursor: psycopg.Cursor[Any], *positions: Position) -> None:
    """Note how far some Kafka partitions are stored."""
    store_positions(cursor, positions)


def test_a_position_moves_from_where_its_reader_believes_it_to_be_or_nothing_is_stored(facts: Facts) -> None:
    topic = uuid4()
    one = fact()
    facts.append([], lambda cursor: move(cursor, Position(topic, 0, 10), Position(topic, 1, 7)))
    for wrong in (
        [Position(topic, 0, 12, 9)],
        [Position(topic, 0, 12)],
        [Position(topic, 2, 12, 9)],
        [Position(topic, 0, 12, 10), Position(topic, 1, 8, 6)],
        [Position(uuid4(), 0, 12, 10)],
    ):
        with pytest.raises(PositionMoved):
            facts.append([one], lambda cursor, wrong=wrong: move(cursor, *wrong))  # type: ignore[misc]
    assert facts.stored_positions(topic) == {0: 10, 1: 7}
    assert facts.page(0, 10) == []
    # A broker that lost records counts anew, and a topic created anew has positions of its own.
    facts.append([one], lambda cursor: move(cursor, Position(topic, 0, 4, 10), Position(topic, 1, 8, 7)))
    assert facts.stored_positions(topic) == {0: 4, 1: 8}
    assert facts.stored_positions(uuid4()) == {}


class FellOver(Exception):
    pass


def test_what_fails_beside_an_append_takes_the_facts_along(facts: Facts) -> None:
    topic = uuid4()

    def beside(cursor: psycopg.Cursor[Any]) -> None:
        move(cursor, Position(topic, 0, 10))
        raise FellOver

    one = fact()
    with pytest.raises(FellOver):
        facts.append([one], beside)
    assert facts.page(0, 10) == []
    assert facts.stored_positions(topic) == {}
    assert len(facts.append([one])[1]) == 1


def test_a_fact_that_is_refused_takes_what_is_beside_it_along(facts: Facts) -> None:
    def beside(cursor: psycopg.Cursor[Any]) -> None:
        raise AssertionError("this comes after the facts")

    with pytest.raises(NobodyCanAct):
        facts.append([fact(), fact(ordinal=40_000)], beside)
    assert facts.page(0, 10) == []


def test_pages_go_on_where_the_last_one_ended(facts: Facts) -> None:
    facts.append([fact() for _ in range(7)])
    facts.append([fact(digest=bytes(16))])
    facts.append([fact(digest=bytes(16))])
    facts.append([fact() for _ in range(3)])
    seen, after = [], 0
    while page := facts.page(after, 4):
        assert len(page) <= 4
        seen += [stored.position for stored in page]
        after = page[-1].position
    assert seen == sorted(set(seen))
    assert len(seen) == 11
    assert after == facts.head()


def test_a_page_for_keeping_holds_only_what_may_call_for_key_work(facts: Facts) -> None:
    types = ["contact.merged", "ticket.replied", "ticket.updated", "ticket.opened", "ticket.deleted", "contact.created"]
    facts.append([fact(type=f"sealdesk.{type_}.v1") for type_ in types])
    found = [stored.type for stored in facts.page_for_keeping(0, 10)]
    assert found == [f"sealdesk.{type_}.v1" for type_ in types if type_ != "ticket.deleted"]
    assert len(facts.page_for_keeping(0, 2)) == 2


def test_the_streams_of_several_things_are_read_in_order_of_position(facts: Facts) -> None:
    first, second, other = (fact() for _ in range(3))
    facts.append([first, second, other])
    read = facts.streams([second.stream, first.stream])
    assert [found.stream for found in read] == [first.stream, second.stream]


def test_what_is_stored_and_what_has_no_fact_is_told(facts: Facts) -> None:
    one, empty = fact(), uuid4()
    facts.append([one])
    assert facts.stored_already([one.record_digest, bytes(16)]) == {one.record_digest}
    assert facts.without_facts([one.stream, empty]) == {empty}
    assert facts.without_facts([]) == set()


SECRET = "Zephyrine Quux"


def told(error: BaseException) -> str:
    """Write an error as a log would, with its whole traceback."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"clear": {"status": SECRET}, "ordinal": 70_000},
        {"type": f"{SECRET}\0"},
        {"tenant": SECRET},
        {"record_digest": None, "clear": {"status": SECRET}},
    ],
    ids=["a number out of range", "a text that cannot be stored", "an id that is none", "a missing value"],
)
def test_no_error_of_the_log_repeats_a_parameter(facts: Facts, changes: dict[str, Any]) -> None:
    with pytest.raises(SealdeskError) as raised:
        facts.append([fact(**changes)])
    assert SECRET not in told(raised.value)
    assert "70000" not in told(raised.value)


def test_no_error_of_a_statement_beside_the_log_repeats_a_parameter(facts: Facts) -> None:
    with pytest.raises(NobodyCanAct) as raised, facts.cursor() as cursor:
        cursor.execute("SELECT %s::int", (SECRET,))
    assert SECRET not in told(raised.value)


def test_no_printed_fact_shows_its_seal(facts: Facts) -> None:
    one = fact(seal=SECRET.encode())
    assert SECRET not in repr(one)
    assert SECRET not in repr(facts.mapper.to_stored_event(one))  # type: ignore[arg-type]


def test_a_log_that_cannot_be_reached_is_unavailable_and_says_nothing_of_its_dsn(databases: Endpoints) -> None:
    datastore = LogDatastore(make_conninfo(databases.log_dsn, dbname="nowhere", password=SECRET))
    datastore.pool.timeout = 0.5
    for application in (Facts, Privacy):
        with pytest.raises(LogUnavailable) as raised:
            application(datastore)
        assert SECRET not in str(raised.value)
        assert raised.value.__suppress_context__
    assert SECRET not in repr(datastore)
    datastore.close()


def test_a_log_that_goes_away_in_the_middle_is_unavailable_and_then_answers_again(
    facts: Facts, databases: Endpoints
) -> None:
    def cut(cursor: psycopg.Cursor[Any]) -> None:
        pid = cursor.execute("SELECT pg_backend_pid() AS pid").fetchone()
        assert pid is not None
        with psycopg.connect(databases.log_dsn, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid["pid"],))
        cursor.execute("SELECT 1")

    one = fact()
    with pytest.raises(LogUnavailable):
        facts.append([one], cut)
    assert len(facts.append([one])[1]) == 1
    assert len(facts.page(0, 10)) == 1


@pytest.mark.parametrize("state", ["25006", "25P03"], ids=["a standby", "a transaction that waited for too long"])
def test_a_log_that_does_not_write_now_is_unavailable(facts: Facts, state: str) -> None:
    def refused(cursor: psycopg.Cursor[Any]) -> None:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$".encode())

    one = fact()
    with pytest.raises(LogUnavailable):
        facts.append([one], refused)
    with pytest.raises(LogUnavailable), facts.cursor() as cursor:
        refused(cursor)
    assert len(facts.append([one])[1]) == 1


def test_a_server_that_a_network_has_swallowed_is_given_up_in_time_unless_the_dsn_says_otherwise(
    databases: Endpoints,
) -> None:
    for dsn, milliseconds in (
        (databases.log_dsn, "30000"),
        (make_conninfo(databases.log_dsn, tcp_user_timeout=7), "7"),
    ):
        datastore = LogDatastore(dsn)
        with Facts(datastore) as log, log.connection() as connection, log.own_connection() as own:
            for each in (connection, own):
                said = each.info.get_parameters()
                assert (said["tcp_user_timeout"], said["connect_timeout"]) == (milliseconds, "5")
        datastore.close()


def test_a_lent_connection_gives_tuples_and_comes_back_as_it_was(facts: Facts) -> None:
    with facts.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert connection.autocommit
    with facts.cursor() as cursor:
        assert cursor.execute("SELECT 1 AS one").fetchone() == {"one": 1}
    with facts.own_connection() as own:
        assert own.execute("SELECT 1").fetchone() == (1,)
