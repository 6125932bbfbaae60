from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import Cursor
from psycopg.rows import tuple_row
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from domain.errors import PositionMoved
from domain.fact import FactAtRest
from projections import contacts, paging, reports, tickets
from tests.projections.desk import TENANT, Desk, ListedLog, ModelsUnderTest, subject

THREE: Sequence[paging.ReadModel] = (contacts, tickets, reports)
Connect = Callable[[], psycopg.Connection[Any]]


def many_tickets(desk: Desk, number: int) -> None:
    for ticket in range(number):
        desk.open(f"ticket {ticket}", "ada")
        desk.rate(f"ticket {ticket}", 103)


def test_a_model_reaches_the_head_of_a_log_with_gaps(desk: Desk, connection: psycopg.Connection[Any]) -> None:
    assert paging.position(connection, reports) == 0
    many_tickets(desk, 5)
    seen: list[tuple[int, int]] = []
    reached = paging.catch_up(
        connection, desk.log, reports, page_size=4, progress=lambda position, head: seen.append((position, head))
    )
    assert reached == desk.log.head() == paging.position(connection, reports)
    assert reached > len(desk.log.facts)
    assert [position for position, _ in seen] == sorted({position for position, _ in seen})
    assert seen[-1] == (reached, reached)
    assert paging.catch_up(connection, desk.log, reports) == reached


def test_an_empty_end_of_the_log_moves_the_position_too(desk: Desk, connection: psycopg.Connection[Any]) -> None:
    class GappedLog(ListedLog):
        def head(self) -> int:
            return super().head() + 3

    many_tickets(desk, 1)
    log = GappedLog(desk.log.facts)
    assert paging.catch_up(connection, log, reports) == desk.log.head() + 3
    assert paging.position(connection, reports) == log.head()


def test_a_fact_that_came_after_the_head_was_read_is_folded_and_not_skipped(
    desk: Desk, connection: psycopg.Connection[Any]
) -> None:
    class SlowLog(ListedLog):
        def head(self) -> int:
            return 0

    many_tickets(desk, 2)
    assert paging.catch_up(connection, SlowLog(desk.log.facts), reports) == desk.log.head()
    assert reports.summaries(connection, TENANT)["tickets"]["total"] == 2


def transactions(connection: psycopg.Connection[Any]) -> set[str]:
    """Name the transactions that moved the positions of three models last."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT xmin::text FROM contacts.position UNION ALL SELECT xmin::text FROM tickets.position "
            "UNION ALL SELECT xmin::text FROM reports.position"
        )
        return {xmin for (xmin,) in cursor.fetchall()}


def at_one_position(desk: Desk, connection: psycopg.Connection[Any]) -> None:
    many_tickets(desk, 1)
    for model in THREE:
        paging.catch_up(connection, desk.log, model)


def test_behind_a_small_append_all_models_move_in_one_transaction(
    desk: Desk, connection: psycopg.Connection[Any]
) -> None:
    at_one_position(desk, connection)
    assert len(transactions(connection)) == 3
    many_tickets(desk, 3)
    seen: list[tuple[int, int]] = []

    reached = paging.catch_up_together(
        connection, desk.log, THREE, progress=lambda position, head: seen.append((position, head))
    )

    assert reached == desk.log.head()
    assert [paging.position(connection, model) for model in THREE] == [reached] * 3
    assert len(transactions(connection)) == 1
    assert seen == [(reached, reached)]
    assert reports.summaries(connection, TENANT)["ratings"]["count"] == 4
    assert connection_is_idle(connection)


def test_models_are_not_moved_together_where_that_cannot_be(desk: Desk, connection: psycopg.Connection[Any]) -> None:
    many_tickets(desk, 1)
    assert paging.catch_up_together(connection, desk.log, THREE) is None  # There are no tables yet.
    at_one_position(desk, connection)
    before = transactions(connection)
    many_tickets(desk, 3)
    assert paging.catch_up_together(connection, desk.log, THREE, page_size=6) is None  # It may be more than a page.
    assert transactions(connection) == before
    paging.catch_up(connection, desk.log, reports)
    assert paging.catch_up_together(connection, desk.log, THREE) is None  # One of them is elsewhere.
    assert paging.position(connection, tickets) < paging.position(connection, reports)


@pytest.mark.parametrize("fed", [contacts, reports])
def test_where_another_runner_feeds_one_of_the_models_none_of_them_moves(
    desk: Desk, connection: psycopg.Connection[Any], connect: Connect, fed: paging.ReadModel
) -> None:
    at_one_position(desk, connection)
    reached = paging.position(connection, tickets)
    many_tickets(desk, 3)

    def other() -> None:
        with connect() as another:
            paging.catch_up(another, desk.log, fed)

    with pytest.raises(PositionMoved):
        paging.catch_up_together(connection, Overtaken(desk.log.facts, other), THREE)
    assert [paging.position(connection, model) for model in THREE if model is not fed] == [reached] * 2
    for model in THREE:
        paging.catch_up(connection, desk.log, model)
    assert reports.summaries(connection, TENANT)["ratings"]["count"] == 4


class Interrupted:
    """A model during whose page something else happens."""

    name = "reports"
    reads = reports.reads
    create = staticmethod(reports.create)

    def __init__(self, interruption: Callable[[], object]) -> None:
        self.interruption = interruption

    def fold_page(self, cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
        reports.fold_page(cursor, facts)
        self.interruption()


class Overtaken(ListedLog):
    """A log during the reading of which another runner folds the same page."""

    def __init__(self, facts: list[FactAtRest], other: Callable[[], object]) -> None:
        super().__init__(facts)
        self.other = other

    def page(self, after: int, limit: int, types: Collection[str] | None = None) -> Sequence[FactAtRest]:
        facts = super().page(after, limit, types)
        self.other()
        return facts


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_runners_one_gives_up_and_nothing_is_counted_twice(
    desk: Desk, connection: psycopg.Connection[Any], connect: Connect, is_first: bool
) -> None:
    if not is_first:
        many_tickets(desk, 3)
        paging.catch_up(connection, desk.log, reports)
    desk.open("t", "ada")
    for _ in range(3):
        desk.rate("t", 100)

    def other() -> None:
        with connect() as another:
            paging.catch_up(another, desk.log, reports)

    with pytest.raises(PositionMoved):
        paging.catch_up(connection, Overtaken(desk.log.facts, other), reports)
    assert reports.summaries(connection, TENANT)["ratings"]["by_value"]["100"] == 3
    assert paging.catch_up(connection, desk.log, reports) == desk.log.head()


def test_of_two_that_begin_a_model_at_once_the_one_that_looked_before_finds_it_made(connect: Connect) -> None:
    """A session remembers that it found no schema of a name, and takes no note of others while it waits for a lock."""
    with connect() as first, connect() as second, ThreadPoolExecutor() as pool:
        for session in (first, second):
            session.autocommit = True
        assert paging.position(second, reports) == 0
        with first.transaction():
            paging.prepare(first, reports, schema=reports.name)
            waiting = pool.submit(paging.prepare, second, reports, schema=reports.name)
            looking = Retrying(stop=stop_after_delay(10), wait=wait_fixed(0.01), retry=retry_if_result(bool))
            looking(lambda: first.execute(_NOBODY_WAITS).fetchone() == (True,))
        waiting.result(timeout=30)
        assert paging.position(second, reports) == 0


_NOBODY_WAITS = "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"


def test_a_page_that_fails_leaves_nothing_behind(desk: Desk, connection: psycopg.Connection[Any]) -> None:
    def fail() -> None:
        raise RuntimeError("the power is gone")

    many_tickets(desk, 3)
    with pytest.raises(RuntimeError):
        paging.catch_up(connection, desk.log, Interrupted(fail))
    assert paging.position(connection, reports) == 0
    assert reports.summaries(connection, TENANT)["tickets"]["total"] == 0
    paging.catch_up(connection, desk.log, reports)
    assert reports.summaries(connection, TENANT)["ratings"]["count"] == 3


def test_a_page_takes_as_many_statements_for_a_thousand_facts_as_for_ten(
    desk: Desk, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[object] = []
    execute = Cursor.execute

    def counted(cursor: Cursor[Any], *args: Any, **options: Any) -> Any:
        executed.append(args)
        return execute(cursor, *args, **options)

    monkeypatch.setattr(Cursor, "execute", counted)

    def page(number: int) -> int:
        for index in range(number):
            desk.person(f"person {number} {index}", "name")
            desk.open(f"ticket {number} {index}", f"person {number} {index}")
            desk.reply(f"ticket {number} {index}", "agent", "agent")
            desk.update(f"ticket {number} {index}", to="ada")
            desk.shred(f"person {number} {index}")
        executed.clear()
        for model in (contacts, tickets):
            paging.catch_up(connection, desk.log, model, page_size=5000)
        return len(executed)

    page(1)
    assert page(2) == page(200)


def test_tables_that_grew_in_one_go_are_analysed_and_others_are_left_to_the_server(
    desk: Desk, connection: psycopg.Connection[Any]
) -> None:
    def counted() -> float:
        found = connection.execute("SELECT reltuples FROM pg_class WHERE oid = 'reports.tickets'::regclass").fetchone()
        return found["reltuples"] if found else 0.0

    connection.autocommit = True
    many_tickets(desk, 10)
    paging.catch_up(connection, desk.log, reports)
    assert counted() == -1
    many_tickets(desk, 550)
    with connection.transaction():
        # Whoever swaps does not wait for that.
        paging.catch_up(connection, desk.log, reports, page_size=200)
        assert counted() == -1
        raise psycopg.Rollback
    paging.catch_up(connection, desk.log, reports, page_size=200)
    assert counted() > 400


def test_lists_page_by_first_position_and_hide_what_is_gone(desk: Desk, models: ModelsUnderTest) -> None:
    for number in range(7):
        desk.person(f"person {number}", "name")
        desk.open(f"ticket {number}", f"person {number}", status="open" if number % 2 else "closed", copied=["ada"])
    desk.shred("person 3")
    desk.about("ticket.deleted", "ticket 5")
    models.follow(desk.log)
    listed = models.listed(all=False)
    assert [row.requester for row in listed] == [subject(f"person {number}") for number in (0, 1, 2, 4, 6)]
    paged: list[tickets.TicketRow] = []
    while page := list(
        tickets.rows(models.connection, TENANT, after=paged[-1].first_position if paged else None, limit=2)
    ):
        paged += page
    assert paged == listed
    still_open = list(tickets.rows(models.connection, TENANT, status="open"))
    assert [row.requester for row in still_open] == [subject("person 1")]
    (of_one,) = tickets.rows(models.connection, TENANT, requester=subject("person 6"))
    assert of_one == listed[-1]
    people = list(contacts.rows(models.connection, TENANT))
    assert [row.subject for row in people] == [subject(f"person {number}") for number in (0, 1, 2, 4, 5, 6)]
    (person,) = contacts.rows(models.connection, TENANT, subject=subject("person 2"))
    assert person == people[2]
    assert len(list(contacts.rows(models.connection, TENANT, all=True))) == 7
    assert "seal " not in repr(listed[0])
    assert not re.search("b['\"]", repr(listed[0])), "a row holds no bytes of a seal"
    assert connection_is_idle(models.connection)


def connection_is_idle(connection: psycopg.Connection[Any]) -> bool:
    return connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_every_table_says_what_a_row_is(desk: Desk, models: ModelsUnderTest) -> None:
    models.follow(desk.log)
    with models.connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT n.nspname || '.' || c.relname, obj_description(c.oid) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname IN ('contacts', 'tickets', 'reports', 'erasures')"
        )
        tables = cursor.fetchall()
    assert len(tables) == 24
    assert [name for name, comment in tables if not comment] == []
