"""All read models are folded together where that can be, and no model waits for, or fails with, another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from domain.errors import PositionMoved, SchemaUnfit
from projections import groups, paging
from services.embedded import Endpoints
from services.projecting import MODELS
from services.wiring import House
from tests.desks import AT, Desk, desk_house

SWAP = "hashtextextended('sealdesk swap reports', 0)"


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    """A desk whose read models are at the head, and a ticket behind it."""
    with desk_house(databases, tmp_path) as house:
        made = Desk(house)
        made.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
        house.projecting.catch_up()
        made.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help")
        yield made


def behind(house: House) -> set[str]:
    head = house.facts.head()
    return {name for name, position in house.projecting.positions().items() if position < head}


def test_a_model_that_cannot_be_folded_stops_none_that_comes_before_it_and_says_what_is_wrong(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    assert behind(desk.house) == set(MODELS)
    desk.happens("group.created", "group 1", id=1, name="second line")
    with monkeypatch.context() as patch:
        patch.setattr(groups, "fold_page", broken)
        with pytest.raises(ZeroDivisionError):
            desk.house.projecting.catch_up()
    assert behind(desk.house) == {"groups"}
    desk.house.projecting.catch_up()
    assert behind(desk.house) == set()


def test_while_somebody_waits_to_swap_one_model_those_before_it_go_on(desk: Desk, databases: Endpoints) -> None:
    with psycopg.connect(databases.log_dsn, autocommit=True) as swapping, ThreadPoolExecutor() as pool:
        swapping.execute(f"SELECT pg_advisory_lock({SWAP})".encode())
        caught_up = pool.submit(desk.house.projecting.catch_up)
        for_ten_seconds = Retrying(
            stop=stop_after_delay(10), wait=wait_fixed(0.02), retry=retry_if_result(lambda left: "tickets" in left)
        )
        for_ten_seconds(behind, desk.house)
        assert "reports" in behind(desk.house)
        swapping.execute(f"SELECT pg_advisory_unlock({SWAP})".encode())
        caught_up.result(timeout=30)
    assert behind(desk.house) == set()


def test_models_are_locked_in_one_order_whatever_order_is_asked_for(desk: Desk, databases: Endpoints) -> None:
    """Two runners that each held what the other needs would wait for ever."""
    head = desk.house.facts.head()
    with psycopg.connect(databases.log_dsn) as holder, ThreadPoolExecutor() as pool:
        holder.execute("SELECT FROM reports.position FOR UPDATE")
        caught_up = pool.submit(desk.house.projecting.catch_up, models=["tickets", "reports", "contacts"])
        for_ten_seconds = Retrying(stop=stop_after_delay(10), wait=wait_fixed(0.02), retry=retry_if_result(bool))
        # It waits for the middle one, with the one before it in hand and the one behind it untouched.
        for_ten_seconds(is_free, databases, "contacts")
        assert is_free(databases, "tickets")
        assert not caught_up.done()
        holder.rollback()
        caught_up.result(timeout=30)
    assert behind(desk.house) == set(MODELS) - {"tickets", "reports", "contacts"}
    assert desk.house.facts.head() == head


def is_free(databases: Endpoints, schema: str) -> bool:
    with psycopg.connect(databases.log_dsn) as connection:
        found = connection.execute(f"SELECT FROM {schema}.position FOR UPDATE SKIP LOCKED".encode()).fetchall()
    return bool(found)


def test_where_one_model_is_elsewhere_none_moves(desk: Desk, databases: Endpoints) -> None:
    at = desk.house.projecting.positions()
    here = {"expected": at["contacts"], "position": at["contacts"] + 9}
    with psycopg.connect(databases.log_dsn) as connection:
        for elsewhere in ("contacts", "reports", "tickets"):
            connection.execute(f"UPDATE {elsewhere}.position SET position = position + 1".encode())
            with pytest.raises(PositionMoved):
                paging._advance_all(connection.cursor(), ["contacts", "reports", "tickets"], **here)
            connection.rollback()
    assert desk.house.projecting.positions() == at


def test_tables_that_somebody_is_at_are_not_waited_for(desk: Desk, databases: Endpoints) -> None:
    """VACUUM holds this lock, for hours on large tables; folding never waited for it."""
    more = paging.PAGE_SIZE + 100
    replies = [desk.event("ticket.replied", "ticket 20", AT, f"r-{number}", body="so") for number in range(more)]
    assert desk.take(*replies).stored == more
    with psycopg.connect(databases.log_dsn) as vacuuming, ThreadPoolExecutor() as pool:
        vacuuming.execute("LOCK TABLE tickets.entries IN SHARE UPDATE EXCLUSIVE MODE")
        pool.submit(desk.house.projecting.catch_up).result(timeout=60)
        vacuuming.rollback()
    assert behind(desk.house) == set()
    assert "tickets.entries" not in analysed(databases)
    desk.house.projecting.rebuild("tickets")
    assert "tickets.entries" in analysed(databases)
    with psycopg.connect(databases.log_dsn) as connection:
        columns = {column for (column,) in connection.execute(_OF_ENTRIES)}
    # Without the ticket, a page of tickets would read the whole table.
    assert columns >= {"tenant", "ticket"}
    assert not columns & {"author", "owners"}


_OF_ENTRIES = "SELECT attname FROM pg_stats WHERE schemaname = 'tickets' AND tablename = 'entries'"


def analysed(databases: Endpoints) -> set[str]:
    with psycopg.connect(databases.log_dsn) as connection:
        return {table for (table,) in connection.execute("SELECT schemaname || '.' || tablename FROM pg_stats")}


def test_statistics_of_read_models_name_nobody(desk: Desk, databases: Endpoints) -> None:
    for number in range(21, 60):
        desk.happens("ticket.opened", f"ticket {number}", id=number, requester_id=1, subject="help")
        desk.happens("ticket.replied", f"ticket {number}", id=number, body="so", user_id=1)
    desk.happens("contact.consent_given", "contact 1", id=1, purpose="newsletter", evidence="ticked the box")
    desk.house.projecting.catch_up()
    [person] = {row["subject"] for row in desk.contacts()}
    named = """
        SELECT schemaname || '.' || tablename || '.' || attname FROM pg_stats
        WHERE concat(most_common_vals, histogram_bounds, most_common_elems) LIKE %s AND schemaname <> 'public'
    """
    with psycopg.connect(databases.log_dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")
        assert analysed(databases) >= {"tickets.tickets", "tickets.entries", "contacts.profiles"}
        assert connection.execute(named.encode(), [f"%{person}%"]).fetchall() == []


def test_a_read_model_of_an_earlier_version_is_refused_until_it_is_built_anew(desk: Desk, databases: Endpoints) -> None:
    with psycopg.connect(databases.log_dsn) as connection:
        connection.execute("ALTER TABLE tickets.entries ALTER COLUMN seal TYPE bytea USING NULL")
    desk.happens("ticket.replied", "ticket 20", id=5, body="so")
    with pytest.raises(SchemaUnfit, match="rebuild"):
        desk.house.projecting.catch_up()
    desk.house.projecting.rebuild("tickets")
    desk.house.projecting.catch_up()
    assert behind(desk.house) == set()
