"""What an earlier version stored is read, folded, edited and shredded by this one, and says what it said then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from domain.fact import UNKNOWN
from services import keeping, schema
from services.embedded import Endpoints
from services.living import opened
from services.wiring import House
from tests.desks import Desk, desk_house

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if (path / "lists.json").exists())
#: What a column that came later says of a row that was there before.
SINCE = {"kept": "true"}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Path:
    return FOLDER / str(request.param)


@pytest.fixture
def house(version: Path, databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    schema.create(databases.log_dsn, databases.keys_dsn)
    for name, dsn in (("log", databases.log_dsn), ("keys", databases.keys_dsn)):
        load(version / name, dsn)
    for place in ("roots", "signing"):
        shutil.copytree(version / place, tmp_path / place)
    # A clone keeps no modes, and secrets are for their owner only.
    for place in ("roots", "signing"):
        for path in [tmp_path / place, *(tmp_path / place).rglob("*")]:
            path.chmod(0o700 if path.is_dir() else 0o600)
    with desk_house(databases, tmp_path) as opened_house:
        yield opened_house


def load(folder: Path, dsn: str) -> None:
    """Put the rows of one database back, under tables of today, or of the first migration."""
    with psycopg.connect(dsn) as connection:
        for path in sorted(folder.glob("*.csv")):
            table = sql.Identifier(path.stem)
            columns = [sql.Identifier(name) for name in path.read_text().splitlines()[0].split(",")]
            connection.execute(sql.SQL("DELETE FROM {}").format(table))
            since = {name: value for name, value in SINCE.items() if _has_column(connection, path.stem, name)}
            for name, value in since.items():
                connection.execute(
                    sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}").format(
                        table, sql.Identifier(name), sql.Literal(value)
                    )
                )
            statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER)").format(
                table, sql.SQL(", ").join(columns)
            )
            with connection.cursor().copy(statement) as copy:
                copy.write(path.read_bytes())
            for name in since:
                connection.execute(
                    sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT").format(table, sql.Identifier(name))
                )
        for name, last in json.loads((folder / "sequences.json").read_text()).items():
            if name == "issue_counter":
                # It was a sequence then, and is a row now.
                connection.execute("UPDATE issued SET issue = %s", (last,))
            elif last is not None:
                connection.execute("SELECT setval(%s::regclass, %s)", (name, last))


def _has_column(connection: psycopg.Connection[tuple[object, ...]], table: str, name: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM information_schema.columns WHERE table_name = %s AND column_name = %s", (table, name)
    ).fetchone()
    return found is not None


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house)


def test_there_are_facts_of_an_earlier_version() -> None:
    assert "0.1.0" in VERSIONS


def test_the_lists_say_what_they_said_then(desk: Desk, version: Path) -> None:
    then = json.loads((version / "lists.json").read_text())
    for now, before in ((desk.tickets(), then["tickets"]), (desk.contacts(), then["contacts"])):
        assert len(now) == len(before) > 10
        for row, old in zip(json.loads(json.dumps(now)), before, strict=True):
            assert _within(old, row)


def _within(old: Any, new: Any) -> bool:
    """Tell whether everything that was said then is said now; more may be."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(name in new and _within(value, new[name]) for name, value in old.items())
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(map(_within, old, new))
    return bool(old == new)


def test_a_field_that_was_unknown_then_stands_under_its_own_name(desk: Desk) -> None:
    told = [
        p for f, p in opened(desk.house.keys, desk.house.roots, desk.house.facts.page(0, 10_000)) if p.get("id") == 777
    ]
    assert [personal["attachments"][0]["name"] for personal in told] == ["plan.png"]
    assert UNKNOWN not in told[0]


def test_a_reply_of_then_is_a_part_that_its_fact_names(desk: Desk) -> None:
    facts = [fact for fact in desk.house.facts.page(0, 10_000) if fact.type == "sealdesk.ticket.replied.v1"]
    assert any("id" in fact.sealed_fields for fact in facts)
    for fact in facts:
        assert fact.clear.get("part") == (fact.event_id.hex if "id" in fact.sealed_fields else None)


def test_life_goes_on_with_what_was_stored_then(desk: Desk) -> None:
    keeping.catch_up(desk.house.keys, desk.house.roots, desk.house.facts)
    assert desk.happens("ticket.replied", "ticket 10", id=9001, user_id=200, incoming=True, body="still there?").stored
    before = desk.reports()
    certificate = desk.shred("contact 200")
    assert certificate["counts"]["facts"] > 1
    assert certificate["residue"]["found"] == 0
    assert desk.reports() == before
