"""What the log says of the keys: which facts open, and which row is older than an edit, a move or a merge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg.rows import DictRow

from crypto.findings import Report, Wrong
from crypto.integrity import Integrity
from domain.errors import KeysUnavailable
from services.drill import Copies
from services.embedded import Endpoints
from services.integrity import Answers, LogIntegrity
from services.log import STATEMENTS
from services.wiring import now
from tests.desks import Desk, desk_house

Tampered = tuple[str, Wrong]


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        made = Desk(opened)
        made.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org")
        made.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org")
        made.happens("contact.created", "contact 3", id=3, name="Cy Crane", email="cy@example.org")
        made.happens("contact.created", "contact 4", id=4, name="Di Drake", email="di@example.org")
        made.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help")
        made.happens("ticket.replied", "ticket 20", id=5, body="wrong text", user_id=1)
        made.happens("ticket.opened", "ticket 21", id=21, requester_id=2, subject="mine")
        made.happens("ticket.opened", "ticket 22", id=22, requester_id=3, subject="to be gone")
        yield made


def log_answers(desk: Desk) -> Answers:
    return LogIntegrity(desk.house.facts, desk.house.keys, desk.house.roots).check()


def of_the_keys(desk: Desk) -> Report:
    return Integrity(desk.house.keys, desk.house.roots, desk.house.ledger, now).check()


def keys_sql(desk: Desk, statement: str, *given: Any) -> list[DictRow]:
    with desk.house.keys.transaction() as cursor:
        cursor.execute(statement.encode(), given)
        return cursor.fetchall() if cursor.description else []


def copy_of(desk: Desk, table: str) -> list[DictRow]:
    return keys_sql(desk, f"SELECT * FROM {table}")


def roll_back(desk: Desk, table: str, key: str, before: list[DictRow]) -> int:
    """Put every row that changed back as it was, one by one. Returns how many changed."""
    now_there = {row[key]: row for row in copy_of(desk, table)}
    changed = [row for row in before if row != now_there.get(row[key])]
    for row in changed:
        keys_sql(desk, f"DELETE FROM {table} WHERE {key} = %s", row[key])
        marks = ", ".join(["%s"] * len(row))
        keys_sql(desk, f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())
    return len(changed)


def position_of(desk: Desk, type_: str) -> list[int]:
    return [fact.position for fact in desk.house.facts.page(0, 100) if fact.type == f"sealdesk.{type_}.v1"]


def test_every_fact_gives_one_of_four_answers(desk: Desk) -> None:
    desk.shred("contact 4")
    before = log_answers(desk)
    opened, replied = position_of(desk, "ticket.opened"), position_of(desk, "ticket.replied")
    facts = desk.house.facts.page(0, 100)
    assert before.counts == {
        "opens": sum(fact.seal is not None for fact in facts) - 1,
        "shredded": 1,
        "lost": 0,
        "broken": 0,
        "never had a key": sum(fact.seal is None for fact in facts),
    }
    assert before.report.is_clean

    stream = next(fact for fact in facts if fact.position == opened[0]).stream
    keys_sql(desk, "UPDATE leaves SET wrapped = NULL WHERE thing_id = %s", stream)
    with desk.house.as_login.cursor() as log:
        log.execute("UPDATE facts_events SET seal = seal || '\\x00' WHERE notification_id = %s", (opened[1],))
        log.execute("UPDATE facts_events SET seal = '\\x09' WHERE notification_id = %s", (opened[2],))
    answers = log_answers(desk)
    assert answers.counts["lost"] == 2
    assert answers.counts["broken"] == 2
    assert {(finding.wrong, finding.number) for finding in answers.report.named} == {
        (Wrong.LOST, opened[0]),
        (Wrong.LOST, replied[0]),
        (Wrong.BROKEN, opened[1]),
        (Wrong.BROKEN, opened[2]),
    }


def test_a_store_that_is_down_is_an_error_and_no_answer(desk: Desk) -> None:
    (desk.house.settings.roots / "epochs" / "000001.key").unlink()
    with pytest.raises(KeysUnavailable):
        log_answers(desk)


def _edited(desk: Desk) -> None:
    desk.happens("ticket.entry_edited", "ticket 20", id=5, body="right text")


def _deleted(desk: Desk) -> None:
    desk.happens("ticket.entry_deleted", "ticket 20", id=5)


def _moved(desk: Desk) -> None:
    desk.happens("ticket.updated", "ticket 20", requester_id=2)


def _merged(desk: Desk) -> None:
    desk.happens("contact.merged", "contact 2", primary_contact_id=2, secondary_contact_ids=[3])


STORIES: list[tuple[Callable[[Desk], None], str, str, Tampered]] = [
    (_edited, "leaves", "key_id", ("fact", Wrong.KEPT)),
    (_deleted, "leaves", "key_id", ("fact", Wrong.KEPT)),
    (_moved, "leaves", "key_id", ("fact", Wrong.ALONE)),
    (_merged, "subjects", "subject_id", ("subject", Wrong.ALONE)),
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story[0].__name__.strip("_"))
def test_a_row_that_is_whole_in_itself_and_older_than_its_fact_is_found(
    desk: Desk, story: tuple[Callable[[Desk], None], str, str, Tampered]
) -> None:
    happens, table, key, expected = story
    before = copy_of(desk, table)
    happens(desk)
    assert log_answers(desk).report.is_clean
    assert of_the_keys(desk).is_clean

    assert roll_back(desk, table, key, before) > 0

    assert of_the_keys(desk).is_clean, "by itself nothing is wrong with it"
    found = log_answers(desk).report
    assert set(found.found) == {expected}
    assert all(finding.number is not None for finding in found.named)


def test_counters_that_are_ahead_of_the_log_or_behind_it_are_found(desk: Desk) -> None:
    keys_sql(desk, "UPDATE kept SET position = position + 1000")
    keys_sql(desk, "UPDATE issued SET issue = issue + 1")
    with desk.house.facts.cursor() as log:
        log.execute(STATEMENTS.see_issue.sql, {"issue": 1_000_000})
    assert set(log_answers(desk).report.found) == {("kept", Wrong.COUNT), ("issued", Wrong.COUNT)}


def test_somebody_who_was_shredded_and_rolled_back_to_living_is_named_by_the_ledger(desk: Desk) -> None:
    subjects, leaves = copy_of(desk, "subjects"), copy_of(desk, "leaves")
    desk.shred("contact 1")
    assert of_the_keys(desk).is_clean
    assert roll_back(desk, "subjects", "subject_id", subjects) == 1
    assert roll_back(desk, "leaves", "key_id", leaves) == 3
    [finding] = of_the_keys(desk).named
    assert (finding.kind, finding.wrong, finding.number) == ("subject", Wrong.LIVING, 1)
    assert isinstance(finding.id, UUID)


def test_whom_a_restored_copy_never_met_is_no_finding_and_whom_it_knew_is(databases: Endpoints, tmp_path: Path) -> None:
    copies = Copies(databases)
    try:
        with desk_house(databases, tmp_path) as opened:
            desk = Desk(opened)
            desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott")
        copies.make("before")
        with desk_house(databases, tmp_path) as opened:
            desk = Desk(opened)
            desk.said = [b""] * 10
            desk.happens("contact.created", "contact 2", id=2, name="Bo Brook")
            desk.happens("contact.created", "contact 3", id=3, name="Cy Crane")
            desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[3])
            desk.shred("contact 1")
            desk.shred("contact 2")
        copies.restore("before")
        with desk_house(databases, tmp_path) as opened:
            desk = Desk(opened)
            assert of_the_keys(desk).is_clean, "of the merged pair it knew one, and nobody of the other shred"

            keys_sql(desk, "DELETE FROM subjects")
            gone = [finding for finding in of_the_keys(desk).named if finding.wrong is Wrong.MISSING]
            assert [finding.number for finding in gone if finding.kind == "subject"] == [1], "and one it knew"
    finally:
        copies.drop()


def test_a_ledger_key_out_of_reach_is_a_finding_of_each_line_that_needs_it(desk: Desk, tmp_path: Path) -> None:
    desk.shred("contact 1")
    desk.shred("contact 2")
    assert of_the_keys(desk).is_clean
    for path in (tmp_path / "roots" / "secrets").glob("ledger-*"):
        path.unlink()
    found = of_the_keys(desk)
    assert set(found.found) == {("line", Wrong.KEYLESS)}
    assert [finding.number for finding in found.named] == [1, 2]
