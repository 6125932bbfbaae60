"""The commands about analysts: publish, show, grant, rotate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from services.embedded import Endpoints
from tests.acceptance.conftest import Sealdesk

ROOT = Path(__file__).parents[2]
DESK, WORDS = str(ROOT / "examples" / "desk.jsonl"), str(ROOT / "examples" / "acme_vocabulary.toml")


def _event(type_: str, subject: str, data: dict[str, object]) -> bytes:
    written = {
        "specversion": "1.0",
        "id": f"{type_} {subject}",
        "source": "tests",
        "type": f"sealdesk.{type_}.v1",
        "subject": subject,
        "tenant": "acme",
        "time": "2026-03-01T12:00:00Z",
        "data": data,
    }
    return json.dumps(written).encode() + b"\n"


@pytest.fixture
def desk(sealdesk: Sealdesk) -> Sealdesk:
    sealdesk.done("tenant", "add", "acme", "--vocabulary", WORDS)
    sealdesk.done("import", DESK)
    return sealdesk


@pytest.fixture
def login(databases: Endpoints) -> Iterator[str]:
    name = f"mira {uuid4()}"
    with psycopg.connect(databases.log_dsn, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        yield name
        owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_before_the_first_publication_the_command_says_what_to_do(desk: Sealdesk) -> None:
    ended = desk("analysts", "show")
    assert (ended.status, "analysts refresh" in ended.err) == (2, True)


def test_what_is_published_is_shown_with_its_age(desk: Sealdesk) -> None:
    published = desk.json("analysts", "refresh")
    assert published["schema"].startswith("analysts_")
    shown = desk.json("analysts", "show")
    total = desk.json("query", "reports")["tickets"]["total"]
    assert {"dimension": "all", "value": "all", "tickets": total} in shown["tickets_by"]
    assert not shown["freshness"]["stale"]
    said = desk.done("analysts", "show").out
    assert "fresh until" in said
    assert "durations_by" in said


def test_a_smaller_fold_is_a_setting_and_one_is_too_small(desk: Sealdesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALDESK_FOLD", "2")
    assert desk.json("analysts", "refresh")["k"] == 2
    monkeypatch.setenv("SEALDESK_FOLD", "1")
    ended = desk("analysts", "refresh")
    assert (ended.status, "SEALDESK_FOLD" in ended.err) == (2, True)


def test_a_rotation_gives_other_pseudonyms(desk: Sealdesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALDESK_FOLD", "2")
    for number in range(901, 911):
        opened = {"id": number, "email": f"p{number}@example.org", "responder_id": 7 + number % 2}
        desk.done("import", "-", stdin=_event("ticket.opened", f"ticket {number}", opened))

    def agents() -> set[str]:
        rows = desk.json("analysts", "show")["tickets_by"]
        return {row["value"] for row in rows if row["dimension"] == "agent"} - {"none", "other"}

    desk.done("analysts", "refresh")
    before = agents()
    assert before
    desk.done("analysts", "rotate")
    assert len(agents()) == len(before)
    assert not agents() & before


def test_a_grant_prints_what_it_did_and_a_dry_run_does_nothing(
    desk: Sealdesk, login: str, databases: Endpoints
) -> None:
    name = desk.json("analysts", "refresh")["schema"]
    assert desk.done("analysts", "grant", login, "--dry-run").out == f'GRANT "{name}_summaries" TO "{login}";\n'
    with psycopg.connect(databases.log_dsn, autocommit=True) as owner:
        asked = "SELECT pg_has_role(%s, %s, 'MEMBER')"
        assert owner.execute(asked, [login, f"{name}_rows"]).fetchone() == (False,)
        assert desk.json("analysts", "grant", login, "--rows")["role"] == f"{name}_rows"
        assert owner.execute(asked, [login, f"{name}_rows"]).fetchone() == (True,)


def test_a_grant_to_nobody_is_refused(desk: Sealdesk) -> None:
    desk.done("analysts", "refresh")
    ended = desk("analysts", "grant", "nobody; DROP TABLE tenants")
    assert (ended.status, "DROP" in ended.err) == (2, False)
