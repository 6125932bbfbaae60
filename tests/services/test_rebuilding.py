from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import Cursor
from psycopg.rows import dict_row, tuple_row

from domain.errors import PositionMoved
from domain.fact import FactAtRest
from projections import paging, reports, tickets
from services.embedded import Endpoints
from services.rebuilding import rebuild
from tests.projections.desk import MODELS, TENANT, Desk, ListedLog, ModelsUnderTest, thing

Connect = Callable[[], psycopg.Connection[Any]]


@pytest.fixture
def connect(databases: Endpoints) -> Connect:
    return lambda: psycopg.connect(databases.log_dsn, row_factory=dict_row)


def schemas(connection: psycopg.Connection[Any]) -> set[str]:
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        return {name for (name,) in cursor.execute("SELECT nspname FROM pg_namespace")}


def small_desk() -> Desk:
    desk = Desk()
    desk.person("ada", "name")
    desk.open("t", "ada")
    desk.open("u", "bob")
    desk.reply("t", "ada", "requester")
    desk.shred("ada")
    return desk


def test_a_rebuilt_model_is_equal_to_the_living_one(connect: Connect) -> None:
    desk = small_desk()
    with connect() as connection:
        models = ModelsUnderTest(connection)
        models.follow(desk.log, page_size=2)
        before = models.dump()
        for model in MODELS:
            assert rebuild(connect, desk.log, model, page_size=3) == desk.log.head()
        assert models.dump() == before
        models.follow(desk.log)
        assert models.dump() == before


def test_a_model_that_never_was_is_built(connect: Connect) -> None:
    desk = small_desk()
    rebuild(connect, desk.log, tickets)
    with connect() as connection:
        assert paging.position(connection, tickets) == desk.log.head()
        assert [row.ticket for row in tickets.rows(connection, TENANT)] == [thing("u")]


def test_what_a_rebuild_that_died_left_behind_is_dropped(connect: Connect) -> None:
    desk = small_desk()
    with connect() as connection:
        paging.catch_up(connection, desk.log, tickets)
    for survives in (1, 2):
        log = Dying(desk.log.facts, survives)
        with pytest.raises(ConnectionAbortedError):
            rebuild(connect, log, tickets, page_size=2)
        with connect() as connection:
            assert "tickets_next" in schemas(connection)
            assert [row.ticket for row in tickets.rows(connection, TENANT)] == [thing("u")]
    rebuild(connect, desk.log, tickets)
    with connect() as connection:
        assert "tickets" in schemas(connection)
        assert not {"tickets_next", "tickets_former"} & schemas(connection)


class Dying(ListedLog):
    """A log that cannot be read any more after some pages."""

    def __init__(self, facts: list[FactAtRest], pages: int) -> None:
        super().__init__(facts)
        self.pages = pages

    def page(self, after: int, limit: int, types: Collection[str] | None = None) -> Sequence[FactAtRest]:
        self.pages -= 1
        if self.pages < 0:
            raise ConnectionAbortedError
        return super().page(after, limit, types)


def test_facts_that_come_during_the_rebuild_are_in_it(connect: Connect) -> None:
    desk = small_desk()

    class Growing(ListedLog):
        grown = False

        def page(self, after: int, limit: int, types: Collection[str] | None = None) -> Sequence[FactAtRest]:
            facts = super().page(after, limit, types)
            if len(facts) < limit and not self.grown:
                self.grown = True
                desk.open("v", "cy")
                self.facts = desk.log.facts
            return facts

    rebuild(connect, Growing(desk.log.facts), tickets)
    with connect() as connection:
        assert [row.ticket for row in tickets.rows(connection, TENANT)] == [thing("u"), thing("v")]
        assert paging.position(connection, tickets) == desk.log.head()


class Slow:
    """A model whose page is folded, but not yet committed, while something else happens."""

    name = "reports"
    reads = reports.reads
    create = staticmethod(reports.create)

    def __init__(self) -> None:
        self.folded, self.go_on = threading.Event(), threading.Event()

    def fold_page(self, cursor: Cursor[Any], facts: Sequence[FactAtRest]) -> None:
        self.folded.set()
        assert self.go_on.wait(30)
        reports.fold_page(cursor, facts)


def test_a_page_in_flight_ends_before_the_swap_and_the_runner_goes_on_from_the_new_position(
    connect: Connect,
) -> None:
    desk = small_desk()
    slow = Slow()
    with connect() as connection:
        paging.catch_up(connection, desk.log, reports)
    desk.open("v", "cy")
    desk.rate("v", 103)
    reached: list[int] = []

    def run() -> None:
        with connect() as another:
            reached.append(paging.catch_up(another, desk.log, slow))

    def swap() -> None:
        reached.append(rebuild(connect, desk.log, reports))

    runner, rebuilder = threading.Thread(target=run), threading.Thread(target=swap)
    runner.start()
    assert slow.folded.wait(30)
    rebuilder.start()
    rebuilder.join(0.5)
    assert rebuilder.is_alive()
    slow.go_on.set()
    runner.join(30)
    rebuilder.join(30)
    assert reached == [desk.log.head()] * 2
    with connect() as connection:
        assert reports.summaries(connection, TENANT)["ratings"]["count"] == 1


def test_a_runner_that_was_behind_the_swap_gives_up_and_counts_nothing_twice(connect: Connect) -> None:
    desk = small_desk()
    with connect() as connection:
        paging.catch_up(connection, desk.log, reports)
        desk.open("v", "cy")
        desk.rate("v", 103)

        class Swapped(ListedLog):
            def page(self, after: int, limit: int, types: Collection[str] | None = None) -> Sequence[FactAtRest]:
                facts = super().page(after, limit, types)
                rebuild(connect, desk.log, reports)
                return facts

        with pytest.raises(PositionMoved):
            paging.catch_up(connection, Swapped(desk.log.facts), reports)
        assert reports.summaries(connection, TENANT)["ratings"]["count"] == 1
        assert paging.catch_up(connection, desk.log, reports) == desk.log.head()


def test_a_reader_who_began_before_the_swap_reads_on_and_the_old_tables_wait_for_it(connect: Connect) -> None:
    desk = small_desk()
    with connect() as connection, connect() as reader:
        paging.catch_up(connection, desk.log, tickets)
        stream = tickets.rows(reader, TENANT, all=True)
        assert next(stream).ticket == thing("t")
        rebuilder = threading.Thread(target=rebuild, args=(connect, desk.log, tickets))
        rebuilder.start()
        rebuilder.join(0.7)
        assert rebuilder.is_alive()
        assert len(list(tickets.rows(connection, TENANT, all=True))) == 2
        assert next(stream).ticket == thing("u")
        assert list(stream) == []
        rebuilder.join(30)
        assert not rebuilder.is_alive()
        assert "tickets_former" not in schemas(connection)
