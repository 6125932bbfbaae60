"""Reading: what a reveal shows, what it leaves behind, and that nothing else ever looks like a shred."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from crypto.wrapping import Key
from domain.errors import SettingsWrong
from domain.ids import TenantId
from services import reading
from services.embedded import Endpoints
from services.reading import Reveal
from tests.desks import Desk, desk_house


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        desk = Desk(opened)
        desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org")
        desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help", type="odd")
        desk.happens("ticket.replied", "ticket 20", body="it broke")
        yield desk


def _keys() -> list[Key]:
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, Key)]


def _subject_shown(desk: Desk) -> Any:
    return desk.tickets()[0]["subject"]


def test_a_reveal_needs_a_reason(desk: Desk) -> None:
    with pytest.raises(SettingsWrong, match="reason"):
        next(desk.house.reading.tickets(desk.tenant.id, Reveal("me", " ")))


def test_a_word_of_no_vocabulary_counts_as_other_and_keeps_its_original(desk: Desk) -> None:
    row = desk.tickets()[0]
    assert (row["type"], row["type_as_given"]) == ("other", "odd")
    assert desk.tickets(reveal=False)[0]["type_as_given"] == {"sealed": True}


def test_no_key_outlives_a_batch_or_a_reveal(desk: Desk) -> None:
    # Other tests may hold keys of their own.
    before = _keys()
    assert _subject_shown(desk) == "help"
    desk.happens("ticket.replied", "ticket 20", body="again")
    assert [key for key in _keys() if not any(key is other for other in before)] == []


def test_a_shred_is_seen_at_once_by_a_house_that_was_open_before_it(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(desk.house.endpoints, tmp_path) as other:
        assert Desk(other).ticket(20)["subject"] == "help"
        with monkeypatch.context() as patch:
            # Not even the read model knows yet: the key alone says it.
            patch.setattr(desk.house.shredding, "_project", lambda: None)
            patch.setattr(desk.house.shredding, "_certify", lambda *_: {})
            desk.shred("contact 1")
        rows = list(other.reading.tickets(desk.tenant.id, Reveal("me", "test"), all=True))
        assert rows[0]["subject"] == {"shredded": True}
        assert Desk(other).happens("ticket.replied", "ticket 20", body="late").refused == 1


@pytest.mark.parametrize(
    ("damage", "shown"),
    [
        ("DELETE FROM leaves", "lost"),
        ("UPDATE leaves SET wrapped = NULL", "lost"),
        ("UPDATE leaves SET wrapped = NULL, line = 1, mark = '\\x00'", "lost"),
        ("UPDATE subjects SET wrapped = NULL", "lost"),
        ("UPDATE subjects SET wrapped = NULL, line = 1, mark = '\\x00'", "lost"),
        ("DELETE FROM subjects", "lost"),
        ("DELETE FROM wrapping_keys WHERE kind = 'bucket'", "lost"),
        ("UPDATE leaves SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)", "broken"),
        ("UPDATE subjects SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)", "broken"),
        (
            "UPDATE leaves SET wrapped = (SELECT wrapped FROM leaves AS l WHERE l.key_id <> leaves.key_id LIMIT 1)",
            "broken",
        ),
    ],
)
def test_a_lost_or_changed_key_never_reads_as_shredded(desk: Desk, damage: str, shown: str) -> None:
    assert _subject_shown(desk) == "help"
    with desk.house.keys.transaction() as cursor:
        # Keys of the desk itself stay, so that the access line can be written.
        cursor.execute(damage.encode())
    assert _subject_shown(desk) == {shown: True}


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE leaves SET owner = (SELECT subject_id FROM subjects WHERE line IS NOT NULL)",
        "UPDATE leaves SET co_owners = (SELECT array_agg(subject_id) FROM subjects WHERE line IS NOT NULL)",
        "UPDATE subjects SET parent = (SELECT subject_id FROM subjects WHERE line IS NOT NULL) WHERE line IS NULL",
    ],
)
def test_a_row_that_was_hung_under_a_shredded_person_reads_as_broken(desk: Desk, damage: str) -> None:
    desk.happens("contact.created", "contact 2", id=2, name="Bo Brook")
    desk.shred("contact 2")
    assert _subject_shown(desk) == "help"
    with desk.house.keys.transaction() as cursor:
        cursor.execute(damage.encode())
    assert _subject_shown(desk) == {"broken": True}


def test_an_answer_that_is_read_too_slowly_is_opened_again_so_that_a_shred_in_between_counts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.happens("ticket.opened", "ticket 21", id=21, email="bo@example.org", subject="mine")
    desk.house.projecting.catch_up()
    rows = desk.house.reading.tickets(desk.tenant.id, Reveal("me", "test"), all=True)
    assert next(rows)["subject"] == "help"
    with monkeypatch.context() as patch:
        patch.setattr(reading, "ANSWER_SECONDS", 0)
        desk.shred("bo@example.org")
        assert next(rows)["subject"] == {"shredded": True}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE facts_events SET seal = set_byte(seal, length(seal) - 3, 7)",
        "UPDATE facts_events SET seal = '\\x00'",
        # Where somebody else's seal stands, where one of the same ticket stands that says no subject, and nowhere.
        "UPDATE tickets.seals SET seal = (SELECT min(seal) FROM contacts.seals)",
        "UPDATE tickets.seals SET seal = (SELECT min(seal) FROM tickets.entries)",
        "UPDATE tickets.seals SET seal = 1000000",
    ],
)
def test_a_seal_that_was_changed_or_is_looked_for_elsewhere_reads_as_broken(desk: Desk, change: str) -> None:
    assert _subject_shown(desk) == "help"
    with desk.house.as_login.cursor() as cursor:
        cursor.execute(change.encode())
        assert cursor.rowcount > 0
    assert _subject_shown(desk) == {"broken": True}


def test_a_seal_of_another_tenant_is_not_looked_for(desk: Desk) -> None:
    [row] = desk.tickets()
    with desk.house.facts.connection() as connection:
        found = connection.execute("SELECT seal FROM tickets.seals").fetchone()
    assert found is not None
    assert desk.house.facts.seals(desk.tenant.id, [found[0]]).keys() == {found[0]}
    assert desk.house.facts.seals(TenantId(uuid4()), [found[0]]) == {}
    assert row["subject"] == "help"
