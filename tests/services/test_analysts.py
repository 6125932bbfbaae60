"""What analysts get: words and numbers, no group below k, the same before and after somebody is forgotten."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import tuple_row

from crypto.wrapping import new_key
from domain.errors import SettingsWrong
from domain.vocabularies import CLOSED
from services.analysts.publication import Analysts, pseudonym
from services.analysts.roles import ROWS, SUMMARIES, schema
from services.embedded import Endpoints
from tests.desks import AT, Desk, desk_house

K = 3


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        opened.tenants.add("acme", {"type": ["Question", "other"], "group": ["Billing", "Workshop"]})
        yield Desk(opened)


def analysts(desk: Desk, k: int = K, at: Any = AT) -> Analysts:
    house = desk.house
    return Analysts(house.as_login, house.keys, house.roots, house.projecting.catch_up, lambda: at, k)


def rows(desk: Desk, statement: str) -> list[tuple[Any, ...]]:
    """Ask in the schema of the analysts, as the owner."""
    with desk.house.as_login.own_connection() as connection:
        connection.execute(f"SET search_path = {schema(desk.tenant.id)}".encode())
        return connection.execute(statement.encode()).fetchall()


def tables(desk: Desk) -> dict[str, Counter[tuple[Any, ...]]]:
    """Everything that is published but its time and position."""
    names = [*(name for name in SUMMARIES if name != "freshness"), *ROWS]
    return {name: Counter(rows(desk, f"SELECT * FROM {name}")) for name in names}


def tickets_by(desk: Desk, dimension: str) -> dict[str, int]:
    return dict(rows(desk, f"SELECT value, tickets FROM tickets_by WHERE dimension = '{dimension}'"))


def opened(desk: Desk, number: int, minutes: int | None = None, rating: int | None = None, **said: Any) -> None:
    """Open a ticket of a requester of its own, answered after so many minutes and then rated."""
    subject = f"ticket {number}"
    desk.happens("ticket.opened", subject, id=number, email=f"p{number}@example.org", subject="secret", **said)
    if minutes is not None:
        desk.happens("ticket.replied", subject, AT + timedelta(minutes=minutes), user_id=7, incoming=False, body="yes")
    if rating is not None:
        desk.happens("ticket.rated", subject, AT, rating=rating)


@pytest.fixture
def busy(desk: Desk) -> Desk:
    """Twelve tickets, of which two are urgent and one was answered before it was opened."""
    desk.happens("agent.created", "agent 7", id=7, name="Nora Beck", email="nora@desk.org")
    desk.happens("agent.created", "agent 8", id=8, name="Olaf Beck", email="olaf@desk.org")
    for number in range(12):
        opened(
            desk,
            number,
            minutes=(-5 if number == 0 else 7 + number) if number < 9 else None,
            rating=(103, -103)[number % 2] if number < 7 else None,
            priority=(4 if number < 2 else 1 + number % 2),
            type=("Question", "nonsense of Ann")[number % 2],
            group_id="Billing" if number < 11 else "Workshop",
            responder_id=7 if number < 8 else 8,
        )
    analysts(desk).refresh(desk.tenant.id)
    return desk


# -- what is told -------------------------------------------------------------------------------------------------


def test_small_groups_are_told_as_other_and_every_dimension_holds_every_ticket(busy: Desk) -> None:
    assert tickets_by(busy, "all") == {"all": 12}
    assert tickets_by(busy, "opened_in") == {"2026-03": 12}
    # Two are urgent, so the smallest of the others went along with them.
    assert tickets_by(busy, "priority") == {"medium": 5, "other": 7}
    assert tickets_by(busy, "type") == {"Question": 6, "other": 6}
    assert tickets_by(busy, "group") == {"other": 12}
    assert tickets_by(busy, "product") == {"none": 12}
    assert tickets_by(busy, "rating") == {"103": 4, "-103": 3, "none": 5}
    assert sorted(tickets_by(busy, "agent").values()) == [4, 8]


def test_durations_are_rounded_and_a_negative_one_is_kept_and_not_averaged(busy: Desk) -> None:
    [found] = rows(busy, "SELECT * FROM durations_by WHERE section = 'first_response' AND dimension = 'all'")
    # Eight took 8 to 15 minutes. One is negative, and as a group of one it is not told, nor is what would betray it.
    assert found == ("first_response", "all", "all", None, None, 690, 690, 860)
    seconds = {found[0] for found in rows(busy, "SELECT first_response_seconds FROM ticket_rows")}
    assert seconds == {None, -300, 480, 540, 600, 660, 720, 780, 840, 900}


def test_no_exact_duration_stands_in_a_row(busy: Desk) -> None:
    subject = "ticket 50"
    opened(busy, 50, status=2)
    busy.happens("ticket.replied", subject, AT + timedelta(seconds=3_661), user_id=7, incoming=False, body="yes")
    busy.happens("ticket.updated", subject, AT + timedelta(seconds=86_399), status=4)
    analysts(busy).refresh(busy.tenant.id)
    asked = "SELECT first_response_seconds, resolution_seconds FROM ticket_rows WHERE resolution_seconds IS NOT NULL"
    assert rows(busy, asked) == [(3_700, 86_000)]


def test_numbers_are_told_where_they_give_away_no_small_group(busy: Desk) -> None:
    for number in (20, 21):
        opened(busy, number, minutes=-1)
    analysts(busy).refresh(busy.tenant.id)
    asked = "SELECT tickets, negative FROM durations_by WHERE section = 'first_response' AND dimension = 'all'"
    assert rows(busy, asked) == [(8, 3)]


def test_ratings_are_told_once_a_ticket_and_by_the_last_one(busy: Desk) -> None:
    assert rows(busy, "SELECT tickets, mean FROM ratings_by WHERE dimension = 'all'") == [(7, 15)]
    busy.happens("ticket.rated", "ticket 1", rating=103)
    analysts(busy).refresh(busy.tenant.id)
    # Two have -103 now, and the smallest of the others went along with them.
    assert tickets_by(busy, "rating") == {"none": 5, "other": 7}
    assert rows(busy, "SELECT tickets, mean FROM ratings_by WHERE dimension = 'all'") == [(7, 44)]


def test_fewer_tickets_than_k_are_not_told_at_all(desk: Desk) -> None:
    for number in range(K - 1):
        opened(desk, number, minutes=1, rating=103)
    freshness = analysts(desk).refresh(desk.tenant.id)
    assert freshness["position"] > 0
    assert not any(tables(desk).values())


def test_a_desk_without_tickets_is_published_too(desk: Desk) -> None:
    analysts(desk).refresh(desk.tenant.id)
    assert not any(tables(desk).values())
    assert analysts(desk).published(desk.tenant.id)["freshness"]["k"] == K


def test_a_desk_publishes_nothing_of_another(busy: Desk) -> None:
    other = Desk(busy.house, "umbrella")
    opened(other, 1, priority=4)
    analysts(busy).refresh(other.tenant.id)
    assert not any(tables(other).values())
    assert tickets_by(busy, "all") == {"all": 12}


def test_rows_stand_in_no_order(busy: Desk) -> None:
    for number in range(100, 160):
        day = AT + timedelta(days=number)
        busy.happens("ticket.opened", f"ticket {number}", day, id=number, email=f"p{number}@example.org")
    orders = set()
    for _ in range(3):
        analysts(busy).refresh(busy.tenant.id)
        orders.add(tuple(row[0] for row in rows(busy, "SELECT opened_on FROM ticket_rows ORDER BY ctid")))
    # Seventy-two rows have more orders than three shuffles would ever repeat.
    assert len(orders) == 3
    assert tuple(sorted(next(iter(orders)))) not in orders


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, 0),
        (4, 0),
        (-6, -10),
        (94, 90),
        (95, 100),
        (100, 100),
        (149, 150),
        (995, 1000),
        (86_399, 86_000),
        (-3_661, -3_700),
    ],
)
def test_a_duration_has_two_significant_digits(busy: Desk, seconds: int, told: int) -> None:
    assert rows(busy, f"SELECT rounded({seconds}), rounded(rounded({seconds}))") == [(told, told)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 4]),
            st.sampled_from(["Question", "other", "odd", None]),
            st.sampled_from([None, -60, 60, 600, 7000]),
            st.sampled_from([None, -103, 100, 103]),
        ),
        max_size=25,
    ),
    st.integers(2, 6),
)
def test_whatever_happened_no_group_below_k_is_told(
    module_databases: Endpoints,
    tmp_path_factory: pytest.TempPathFactory,
    happened: list[tuple[int, str | None, int | None, int | None]],
    k: int,
) -> None:
    with desk_house(module_databases, tmp_path_factory.getbasetemp() / "any") as house:
        house.projecting.catch_up()
        name = f"any {id(happened)} {len(house.tenants.by_name(fresh=True))}"
        house.tenants.add(name, {"type": ["Question", "other"]})
        desk = Desk(house, name)
        with house.as_login.cursor() as cursor:
            for priority, type_, seconds, rating in happened:
                [row] = cursor.execute(
                    "INSERT INTO reports.tickets "
                    "(tenant, ticket, opened_on, opened_at, status, priority, type, first_response_seconds) "
                    "VALUES (%s, gen_random_uuid(), %s, %s, 'open', %s, %s, %s) RETURNING ticket",
                    (desk.tenant.id, AT.date(), AT, CLOSED["priority"][priority], type_, seconds),
                ).fetchall()
                if rating is not None:
                    cursor.execute(
                        "INSERT INTO reports.ratings VALUES (%s, %s, 1, %s)", (desk.tenant.id, row["ticket"], rating)
                    )
        analysts(desk, k).refresh(desk.tenant.id)
        total = len(happened) if len(happened) >= k else 0
        told: Counter[str] = Counter()
        for dimension, tickets in rows(desk, "SELECT dimension, tickets FROM tickets_by"):
            assert tickets >= k
            told[dimension] += tickets
        assert set(told.values()) <= {total}
        # The rows are told in the same groups as the summaries.
        counted = Counter(rows(desk, "SELECT type, priority FROM ticket_rows"))
        assert counted.total() == total
        for at, dimension in enumerate(("type", "priority")):
            by_word: Counter[str] = Counter()
            for words, number in counted.items():
                by_word[words[at]] += number
            assert by_word == tickets_by(desk, dimension)
        for section, dimension in rows(desk, "SELECT DISTINCT section, dimension FROM durations_by"):
            found = rows(
                desk,
                f"SELECT tickets, negative FROM durations_by WHERE section = '{section}' AND dimension = '{dimension}'",
            )
            averaged, negative = zip(*found, strict=True)
            assert len({number is None for number in averaged}) == 1
            if averaged[0] is not None:
                pieces = [*averaged, sum(negative), total - sum(averaged) - sum(negative), *negative]
                assert all(piece == 0 or piece >= k for piece in pieces)


# -- forgetting, rebuilding, rotating -----------------------------------------------------------------------------


def test_whatever_is_forgotten_the_publication_stays_as_it_was(busy: Desk) -> None:
    before = tables(busy)
    assert before["ticket_rows"].total() == 12
    busy.shred("p3@example.org")
    busy.shred("agent 7")
    busy.shred("ticket 5")
    busy.happens("ticket.deleted", "ticket 6")
    analysts(busy).refresh(busy.tenant.id)
    assert tables(busy) == before


def test_pseudonyms_survive_a_rebuild_and_another_process(busy: Desk, tmp_path: Path) -> None:
    before = tables(busy)
    busy.house.projecting.rebuild("reports")
    with desk_house(busy.house.endpoints, tmp_path) as other:
        analysts(Desk(other)).refresh(busy.tenant.id)
    assert tables(busy) == before


def test_a_rotation_changes_every_pseudonym_and_nothing_else(busy: Desk) -> None:
    before = tickets_by(busy, "agent")
    analysts(busy).rotate(busy.tenant.id)
    after = tickets_by(busy, "agent")
    assert sorted(after.values()) == sorted(before.values())
    assert not before.keys() & after.keys()
    assert tickets_by(busy, "priority") == {"medium": 5, "other": 7}
    with busy.house.keys.transaction() as cursor:
        [row] = cursor.execute("SELECT count(*) AS keys FROM wrapping_keys WHERE kind = 'pseudonym'").fetchall()
    assert row["keys"] == 1
    analysts(busy).refresh(busy.tenant.id)
    assert tickets_by(busy, "agent") == after


def test_one_agent_of_two_tenants_has_two_pseudonyms(busy: Desk) -> None:
    other = Desk(busy.house, "umbrella")
    secret, agent = new_key(), busy.tenant.id
    names = {pseudonym(secret, desk.tenant.id, agent) for desk in (busy, other)}
    assert len(names) == 2
    assert all(re.fullmatch("agent-[0-9a-f]{16}", name) for name in names)


# -- readers and writers at once ----------------------------------------------------------------------------------


def test_a_reader_sees_the_old_or_the_new_and_never_waits(busy: Desk) -> None:
    with busy.house.as_login.own_connection() as reader:
        reader.execute(f"SET search_path = {schema(busy.tenant.id)}".encode())
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert reader.execute("SELECT tickets FROM tickets_by WHERE dimension = 'all'").fetchall() == [(12,)]
        opened(busy, 30)
        analysts(busy).refresh(busy.tenant.id)
        assert reader.execute("SELECT count(*) FROM ticket_rows").fetchall() == [(12,)]
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM ticket_rows").fetchall() == [(13,)]


def test_publications_and_rebuilds_at_once_end_with_one_whole_publication(busy: Desk) -> None:
    failed: list[BaseException] = []

    def tried(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    tasks = [
        lambda: analysts(busy).refresh(busy.tenant.id),
        lambda: analysts(busy).rotate(busy.tenant.id),
        lambda: busy.house.projecting.rebuild("reports"),
        lambda: analysts(busy).refresh(busy.tenant.id),
    ]
    threads = [threading.Thread(target=tried, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert tickets_by(busy, "all") == {"all": 12}
    # What the last one published, whoever it was, is what the living secret gives.
    found = tickets_by(busy, "agent")
    analysts(busy).refresh(busy.tenant.id)
    assert tickets_by(busy, "agent") == found


def test_a_publication_waits_while_a_rebuilt_model_is_swapped_in(busy: Desk) -> None:
    with busy.house.as_login.own_connection() as other:
        swap = "hashtextextended('sealdesk swap reports', 0)"
        other.execute(f"SELECT pg_advisory_lock({swap})".encode())
        thread = threading.Thread(target=analysts(busy).refresh, args=(busy.tenant.id,))
        thread.start()
        asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND NOT granted"
        while other.execute(asked).fetchone() != (1,):
            assert thread.is_alive()
        other.execute(f"SELECT pg_advisory_unlock({swap})".encode())
        thread.join()
    assert tickets_by(busy, "all") == {"all": 12}


# -- freshness and words ------------------------------------------------------------------------------------------


def test_a_publication_says_how_old_it_is_and_when_it_is_too_old(busy: Desk) -> None:
    freshness = analysts(busy).published(busy.tenant.id)["freshness"]
    assert (freshness["as_of"], freshness["stale_at"]) == (AT, AT + timedelta(days=1))
    assert freshness["position"] == busy.house.facts.head()
    assert not freshness["stale"]
    assert analysts(busy, at=AT + timedelta(days=2)).published(busy.tenant.id)["freshness"]["stale"]


def test_nothing_is_shown_or_granted_before_it_is_published(desk: Desk) -> None:
    with pytest.raises(SettingsWrong, match="refresh"):
        analysts(desk).published(desk.tenant.id)
    with pytest.raises(SettingsWrong, match="refresh"):
        analysts(desk).grant(desk.tenant.id, "somebody")


def test_a_group_of_one_is_no_group(desk: Desk) -> None:
    with pytest.raises(SettingsWrong, match="SEALDESK_FOLD"):
        analysts(desk, k=1)


def test_a_word_that_was_declared_since_is_told_from_then_on(busy: Desk) -> None:
    busy.house.tenants.add("acme", {"product": ["O'Reilly's {bell} 100%"]})
    for number in range(40, 43):
        opened(busy, number, product_id="O'Reilly's {bell} 100%")
    analysts(busy).refresh(busy.tenant.id)
    assert tickets_by(busy, "product") == {"none": 12, "O'Reilly's {bell} 100%": 3}


def test_a_word_that_is_too_rare_to_be_told_stands_in_no_constraint_either(busy: Desk) -> None:
    busy.house.tenants.add("acme", {"product": ["Abbott"]})
    seen = []
    for number in range(K):
        opened(busy, 60 + number, product_id="Abbott")
        analysts(busy).refresh(busy.tenant.id)
        [(constraint,)] = rows(busy, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'known'")
        seen.append("Abbott" in constraint)
    assert seen == [*[False] * (K - 1), True]


def test_a_word_that_no_vocabulary_knows_is_other_even_if_the_read_model_holds_it(busy: Desk) -> None:
    with busy.house.as_login.cursor() as cursor:
        cursor.execute("UPDATE reports.tickets SET product = 'Ann Abbott'")
    analysts(busy).refresh(busy.tenant.id)
    assert tickets_by(busy, "product") == {"other": 12}


_NUMBERS = {"smallint", "integer", "bigint", "date", "timestamp with time zone", "boolean"}


def test_no_column_can_hold_free_text(busy: Desk) -> None:
    name = schema(busy.tenant.id)
    columns = rows(
        busy,
        "SELECT c.table_name, c.column_name, c.data_type, c.domain_schema, c.domain_name "
        f"FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name) "
        f"WHERE c.table_schema = '{name}' AND t.table_type = 'BASE TABLE'",
    )
    assert {table for table, *_ in columns} == {*SUMMARIES, *ROWS}
    texts = [column for column in columns if column[2] not in _NUMBERS]
    assert len(texts) > 10
    assert {(data_type, where) for _, _, data_type, where, _ in texts} == {("text", name)}
    for table, column, _, _, domain in texts:
        with (
            pytest.raises(psycopg.errors.CheckViolation, match=domain),
            busy.house.as_login.own_connection() as owner,
            owner.transaction(),
        ):
            # As the owner of the tables, who may do anything else.
            owner.execute(f'UPDATE {name}.{table} SET "{column}" = %s'.encode(), ["Ann Abbott called"])
    checks = dict(
        rows(
            busy,
            "SELECT d.domain_name, string_agg(c.check_clause, ' ') FROM information_schema.domain_constraints d "
            "JOIN information_schema.check_constraints c USING (constraint_schema, constraint_name) "
            f"WHERE d.domain_schema = '{name}' GROUP BY 1",
        )
    )
    declared = {word for found in busy.tenant.vocabulary.values() for word in found}
    closed = {word for found in CLOSED.values() for word in found.values()}
    allowed = {*declared, *closed, "all", "none", "other"}
    shapes = {"^[0-9]{4}-(0[1-9]|1[0-2])$", "^-?[0-9]{1,3}$", "^agent-[0-9a-f]{16}$"}
    assert set(re.findall(r"'((?:[^']|'')*)'", checks["word"])) <= allowed | shapes
    assert {domain for *_, domain in texts} == set(checks)


@pytest.mark.parametrize(
    "text",
    ["", "Ann", "open ", "OPEN", "agent-Ann", "agent-0123456789abcdef0", "2026-13", "+4912345", "4912345", "open\nAnn"],
)
def test_a_word_is_a_word_and_nothing_near_it(busy: Desk, text: str) -> None:
    with (
        pytest.raises(psycopg.errors.CheckViolation),
        busy.house.as_login.own_connection() as owner,
        owner.transaction(),
    ):
        owner.execute(
            f"INSERT INTO {schema(busy.tenant.id)}.tickets_by VALUES ('type', %s, 9)".encode(),
            [text],
        )


def test_no_duration_can_be_exact(busy: Desk) -> None:
    for column in ("first_response_seconds", "resolution_seconds"):
        with pytest.raises(psycopg.errors.CheckViolation), busy.house.as_login.own_connection() as owner:
            owner.execute(f"UPDATE {schema(busy.tenant.id)}.ticket_rows SET {column} = 481".encode())


def test_the_dictionary_explains_every_table_and_column_and_reads_the_catalogue_alone(busy: Desk) -> None:
    name = schema(busy.tenant.id)
    there = rows(busy, f"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = '{name}'")
    explained = {(table, column): meaning for table, column, meaning in rows(busy, "SELECT * FROM dictionary")}
    assert explained.keys() == {*there, *((table, None) for table, _ in there)}
    assert all(meaning.endswith(".") for meaning in explained.values())
    read = rows(
        busy,
        "SELECT DISTINCT d.refobjid::regclass::text FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid "
        "WHERE r.ev_class = 'dictionary'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'",
    )
    # PostgreSQL keeps no dependency on its own tables; `freshness` stands there for the schema, by its number.
    assert {found for (found,) in read} <= {"freshness", "dictionary"}


def test_a_schema_of_another_shape_is_made_anew_and_keeps_its_readers(busy: Desk) -> None:
    name = schema(busy.tenant.id)
    with busy.house.as_login.own_connection() as owner:
        owner.execute(f"COMMENT ON SCHEMA {name} IS 'older'".encode())
        owner.execute(f"ALTER TABLE {name}.tickets_by ADD COLUMN gone integer".encode())
    before = rows(busy, "SELECT dimension, value, tickets FROM tickets_by ORDER BY 1, 2")
    analysts(busy).refresh(busy.tenant.id)
    assert rows(busy, "SELECT * FROM tickets_by ORDER BY 1, 2") == before
    with busy.house.as_login.own_connection() as owner, owner.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(f"SET ROLE {name}_summaries".encode())
        assert cursor.execute(f"SELECT count(*) FROM {name}.tickets_by".encode()).fetchone() == (len(before),)
