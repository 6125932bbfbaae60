"""kill -9 behind each step of a shred, of key work and of a turn: resumed, the outcome equals an undisturbed run.

The steps are not listed here: an undisturbed run counts whatever the databases and the file system keep of it
(`tests.acceptance.killing`), and each of these points is the last one of a run of its own. Then a plain command comes
by, and whoever gave the order gives it again. `make test` takes some points of each command, spread evenly, and prints
those that it leaves out; `make test-kills` takes all.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from services.embedded import Endpoints
from services.settings import Settings
from services.wiring import house
from tests.acceptance.killing import Ran, Warmed
from tests.acceptance.outcomes import outcome_of
from tests.acceptance.test_cli import event

#: How many points of each command are taken, unless SEALDESK_TEST_KILLS says all: CI has a minute or two for them.
SOME = 6
#: Read here, since tests see no settings of whoever runs them.
ALL = os.environ.get("SEALDESK_TEST_KILLS") == "all"

#: The house before: a person was shredded and others merged, so that a turn has something to do.
BEFORE = [
    event("agent.created", "agent 900", id=900, name="Nora Beck"),
    event("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.org", phone="+49 30 5550101"),
    event("contact.created", "contact 2", id=2, name="Bob Brown", email="bob@work.org"),
    event("contact.created", "contact 3", id=3, name="Cy Crane", email="cy@home.org"),
    event("contact.created", "contact 4", id=4, name="Di Drake", email="di@home.org"),
    event("contact.created", "contact 5", id=5, name="Ed Evans"),
    event("contact.created", "contact 6", id=6, name="Ed J. Evans"),
    event("contact.merged", "contact 5", primary_contact_id=5, secondary_contact_ids=[6]),
    event("ticket.opened", "ticket 20", id=20, requester_id=1, subject="The bell", cc_emails=["di@home.org"]),
    event("ticket.replied", "ticket 20", ticket_id=20, id=1, user_id=900, body="We look at the bell"),
    event("ticket.replied", "ticket 20", ticket_id=20, id=2, user_id=2, incoming=True, body="Mine is broken, too"),
    event("ticket.attachment_added", "ticket 20", ticket_id=20, id=1, name="bell.jpg"),
    event("ticket.opened", "ticket 21", id=21, requester_id=3, subject="Lights"),
    event("ticket.opened", "ticket 22", id=22, requester_id=2, subject="Brakes"),
    event("ticket.replied", "ticket 22", ticket_id=22, id=3, user_id=900, body="Brakes first"),
    event("ticket.replied", "ticket 22", ticket_id=22, id=4, user_id=900, body="Brakes last"),
    event("ticket.opened", "ticket 23", id=23, requester_id=4, subject="Saddle"),
    event("ticket.purged", "ticket 23", id=23),
    event("ticket.opened", "ticket 24", id=24, requester_id=5, subject="Chain"),
    event("call.logged", "call 5", id=5, user_id=2, notes="Bob called"),
    event("call.recording_added", "call 5", call_id=5, id=2, name="bob.wav"),
    event("ticket.replied", "ticket 99", ticket_id=99, id=9, from_email="ann@home.org", body="From Ann, too early"),
]
#: What upstream edits, ends, moves and merges, with key work behind each.
AFTER = [
    event("ticket.entry_edited", "ticket 22", ticket_id=22, id=3, body="Brakes at once"),
    event("ticket.entry_deleted", "ticket 22", ticket_id=22, id=4),
    event("contact.rectified", "contact 2", id=2, name="Robert Brown"),
    event("ticket.updated", "ticket 24", id=24, requester_id=4),
    event("contact.merged", "contact 2", primary_contact_id=2, secondary_contact_ids=[4]),
    event("ticket.merged", "ticket 22", primary_id=22, ticket_ids=[20]),
    event("topic.deleted", "topic 1", id=1),
]
_GROUND = ("--ground", "test", "--yes", "--json")
COMMANDS = {
    "shred a person": ("shred", "contact", "--email", "ann@home.org", *_GROUND),
    "shred a thing": ("shred", "thing", "call 5", *_GROUND),
    "shred several people": ("shred", "contact", "--from", "PEOPLE", *_GROUND),
    "purge": ("purge", "run", "--asked", "--yes", "--json"),
    "take in, with key work": ("import", "AFTER", "--json"),
    "turn the epoch, and destroy the root": ("keys", "turn", "--grace", "0", "--json"),
}


@dataclass
class House:
    """A house that is filled once, and put back as it was before each run."""

    endpoints: Endpoints
    folder: Path
    warmed: Warmed

    @property
    def environment(self) -> dict[str, str]:
        return environment_of(self.endpoints, self.folder)

    def run(self, *words: str, kill_behind: int | None = None) -> Ran:
        files = {"PEOPLE": "people.txt", "AFTER": "after.jsonl", "FILE": "people.txt"}
        told = [str(self.folder / files[word]) if word in files else word for word in words]
        return self.warmed.run(*told, kill_behind=kill_behind)

    def done(self, *words: str) -> Ran:
        ran = self.run(*words)
        assert ran.status == 0, (words, ran.err)
        return ran

    def outcome(self) -> dict[str, Any]:
        with house(Settings.read(None, self.environment), self.endpoints) as opened:
            return outcome_of(opened, self.folder / "house" / "blobs")

    def keep(self) -> None:
        """Remember the house as it is now."""
        self._databases("_kept", "")
        shutil.copytree(self.folder / "house", self.folder / "kept")

    def put_back(self) -> None:
        """Make the house again what it was."""
        self._databases("", "_kept")
        shutil.rmtree(self.folder / "house")
        shutil.copytree(self.folder / "kept", self.folder / "house")

    def _databases(self, to: str, source: str) -> None:
        with ThreadPoolExecutor(2) as both:
            list(both.map(lambda dsn: _copy(dsn, to, source), (self.endpoints.log_dsn, self.endpoints.keys_dsn)))


def _copy(dsn: str, to: str, source: str) -> None:
    name = conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}{to}" WITH (FORCE)'.encode())
        admin.execute(f'CREATE DATABASE "{name}{to}" TEMPLATE "{name}{source}"'.encode())


def environment_of(endpoints: Endpoints, folder: Path) -> dict[str, str]:
    """Name the databases, and folders for all else below one."""
    places = {f"SEALDESK_{name.upper()}": str(folder / "house" / name) for name in ("roots", "ledger", "signing")}
    return {
        "SEALDESK_LOG_DSN": endpoints.log_dsn,
        "SEALDESK_KEYS_DSN": endpoints.keys_dsn,
        "SEALDESK_BLOBS": str(folder / "house" / "blobs"),
        "SEALDESK_ACTOR": "tester",
        **places,
    }


@pytest.fixture(scope="module")
def filled(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("killed")
    (folder / "before.jsonl").write_bytes(b"".join(BEFORE))
    (folder / "after.jsonl").write_bytes(b"".join(AFTER))
    (folder / "people.txt").write_text("ann@home.org\n4\n")
    made = House(module_databases, folder, Warmed(environment_of(module_databases, folder), folder))
    made.done("import", str(folder / "before.jsonl"))
    made.done("recipients", "add", "crm")
    made.done("blob", "put", "attachment 1", "FILE")
    made.done("blob", "put", "recording 2", "FILE")
    made.done("shred", "contact", "--ref", "3", *_GROUND)
    made.keep()
    yield made
    made.warmed.end()
    for dsn in (module_databases.log_dsn, module_databases.keys_dsn):
        with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as admin:
            admin.execute(f'DROP DATABASE "{conninfo_to_dict(dsn)["dbname"]}_kept" WITH (FORCE)'.encode())


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_killed_behind_any_step_and_resumed_equals_an_undisturbed_run(filled: House, command: tuple[str, ...]) -> None:
    filled.put_back()
    before = filled.outcome()
    filled.put_back()
    calm = filled.done(*command)
    expected = filled.outcome()
    assert expected != before
    assert (expected["wrong"], expected["residue"]) == ([], 0)
    taken = _taken(len(calm.points))
    for number, point in enumerate(calm.points, start=1):
        print(f"{number:3} {'' if number in taken else '(left out) '}{point}")
    other: dict[str, dict[str, Any]] = {}
    for number in taken:
        filled.put_back()
        killed = filled.run(*command, kill_behind=number)
        assert (killed.status, killed.points) == (-9, calm.points[:number])
        # A plain command resumes; whoever gave the order does not know whether it was carried out.
        filled.done("verify")
        filled.done(*command)
        if differing := _differing(expected, filled.outcome()):
            other[f"{number} {calm.points[number - 1]}"] = differing
    assert other == {}


def _differing(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Give the parts in which two outcomes differ: what only one of them has, and what only the other."""
    parts = {name: (_items(expected[name]), _items(found[name])) for name in expected}
    return {name: (a - b, b - a) for name, (a, b) in parts.items() if a != b}


def _items(part: Any) -> Counter[str]:
    """Count the items of a part of an outcome."""
    items = part if isinstance(part, list) else part.items() if isinstance(part, dict) else [part]
    return Counter(map(repr, items))


def _taken(points: int) -> list[int]:
    """Say behind which points a run is killed, counted from 1: all, or some that are spread evenly."""
    if ALL or points <= SOME:
        return list(range(1, points + 1))
    return sorted({1 + round(one * (points - 1) / (SOME - 1)) for one in range(SOME)})
