"""`sealdesk keys` as an operator types it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from services.embedded import Endpoints
from tests.acceptance.conftest import Sealdesk

DESK = Path(__file__).parents[2] / "examples" / "desk.jsonl"


@pytest.fixture
def filled(sealdesk: Sealdesk) -> Sealdesk:
    sealdesk.done("import", str(DESK))
    return sealdesk


def test_a_turn_destroys_the_older_root_after_its_grace_and_everything_opens_as_before(
    filled: Sealdesk, tmp_path: Path
) -> None:
    before = filled.json("query", "contacts", "--reveal", "--why", "test")
    said = filled.json("keys", "turn")
    assert (said["epoch"], said["destroyed"]) == (2, [])
    assert said["rewrapped"] > 0
    assert filled.json("keys", "turn", "--grace", "0")["destroyed"] == [1, 2]
    assert [path.name for path in (tmp_path / "roots" / "epochs").iterdir()] == ["000003.key"]
    assert filled.json("query", "contacts", "--reveal", "--why", "test") == before


def test_status_says_which_copies_open_and_warns_until_one_was_told_of(filled: Sealdesk) -> None:
    ended = filled.done("keys", "status", "--json")
    assert "sealdesk keys backed-up" in ended.err
    assert ended.json["backup_late"] is True
    assert ended.json["opens_all_since"] is None
    assert ended.json["epochs"][0]["epoch"] == 1
    assert ended.json["people"]["living"] > 0

    filled.done("keys", "backed-up")
    ended = filled.done("keys", "status")
    assert ended.err == ""
    assert "all that were ever made" in ended.out

    filled.done("keys", "turn", "--grace", "0")
    ended = filled.done("keys", "status", "--json")
    assert ended.json["backup"] is None
    assert ended.json["opens_all_since"] is not None
    assert "backed-up" in ended.err


@pytest.mark.parametrize(
    ("time", "says"),
    [
        ("yesterday", "a time like"),
        ("2026-05-17T12:00:00", "offset from UTC"),
        ("2199-05-17T12:00Z", "still to be made"),
    ],
)
def test_a_backup_has_a_time_that_can_be(filled: Sealdesk, time: str, says: str) -> None:
    ended = filled("keys", "backed-up", "--at", time)
    assert ended.status == 2
    assert says in ended.err


def test_check_says_that_all_is_well_or_ends_with_1_and_names_what_is_not(
    filled: Sealdesk, databases: Endpoints
) -> None:
    filled.done("shred", "contact", "--ref", "200", "--ground", "test", "--yes")
    filled.done("keys", "turn")
    assert "every key is what it should be" in filled.done("keys", "check", "--deep").out
    whole = filled.json("keys", "check", "--deep")
    assert whole["found"] == whole["named"] == []
    assert whole["facts"]["lost"] == whole["facts"]["broken"] == 0
    assert whole["facts"]["opens"] > 0
    assert whole["facts"]["shredded"] > 0

    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute(
            "UPDATE leaves SET wrapped = NULL WHERE ctid = (SELECT ctid FROM leaves WHERE wrapped IS NOT NULL LIMIT 1)"
        )
    assert filled("keys", "check").status == 1
    ended = filled("keys", "check", "--deep", "--json")
    assert ended.status == 1
    assert {"kind": "leaf", "wrong": "lost", "count": 1} in ended.json["found"]
    assert ended.json["facts"]["lost"] <= 1


def test_a_key_that_was_rolled_back_to_before_a_turn_is_named_and_what_hangs_beneath_is_not_lost(
    filled: Sealdesk, databases: Endpoints
) -> None:
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("CREATE TABLE copied AS SELECT * FROM wrapping_keys WHERE kind = 'bucket'")
    filled.done("keys", "turn", "--grace", "0")
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("UPDATE wrapping_keys SET epoch = copied.epoch, wrapped = copied.wrapped FROM copied"
                           " WHERE wrapping_keys.key_id = copied.key_id")  # fmt: skip
    ended = filled("keys", "check", "--deep", "--json")
    assert ended.status == 1
    found = {(one["kind"], one["wrong"]) for one in ended.json["found"]}
    assert {("epoch", "rootless"), ("bucket", "rootless"), ("bucket", "older"), ("fact", "broken")} == found
    assert ended.json["beneath"] > 0
    assert ended.json["facts"]["broken"] > 0
    assert ended.json["facts"]["lost"] == 0


def test_a_move_needs_to_know_where_the_roots_come_from(filled: Sealdesk) -> None:
    ended = filled("keys", "move")
    assert ended.status == 2
    assert "SEALDESK_ROOTS_BEFORE" in ended.err


def test_a_move_says_when_the_old_place_is_left(
    filled: Sealdesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALDESK_ROOTS_BEFORE", str(tmp_path / "roots"))
    monkeypatch.setenv("SEALDESK_ROOTS", str(tmp_path / "elsewhere"))
    assert "keep SEALDESK_ROOTS_BEFORE" in filled.done("keys", "move").out
    said = filled.json("keys", "move", "--grace", "0")
    assert (said["epoch"], said["destroyed"], said["left"]) == (2, [1], True)
    monkeypatch.delenv("SEALDESK_ROOTS_BEFORE")
    assert "every key is what it should be" in filled.done("keys", "check", "--deep").out
    assert not [path for path in (tmp_path / "roots").rglob("*") if path.is_file()]
