"""kill -9 at random moments of import, rebuild and shred, then the same again: equal to a run that nobody disturbed.

Inside ids are random, so both outcomes are compared with their ids renamed by first appearance.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from services.embedded import status
from services.settings import Settings

TICKETS = 250
KILLS = 3
#: A machine may get faster between two runs, so that all of a few kills come too late.
TRIES = 12
_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _history() -> Iterator[bytes]:
    """Write a small desk: people, tickets, replies by three kinds of writers, moves, merges, late openings."""

    def event(number: int, type_: str, about: str, /, **data: object) -> bytes:
        day, minute = divmod(number, 1_440)
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": f"{type_}-{number}",
                "source": "desk",
                "type": f"sealdesk.{type_}.v1",
                "subject": about,
                "tenant": "acme",
                "time": f"2026-03-{day + 1:02}T{minute // 60:02}:{minute % 60:02}:00Z",
                "data": data,
            }
        )

    number = 0
    for ticket in range(1, TICKETS + 1):
        person, other = ticket % 60 + 1, (ticket * 7) % 60 + 1
        number += 5
        if ticket % 11 == 0:
            yield event(number, "ticket.replied", f"ticket {ticket}", body=f"early {ticket}", user_id=900)
        if ticket % 3:
            yield event(number, "contact.created", f"contact {person}", id=person, email=f"p{person}@example.org")
        yield event(
            number + 1,
            "ticket.opened",
            f"ticket {ticket}",
            id=ticket,
            email=f"p{person}@example.org",
            name=f"Person {person}",
            subject=f"subject {ticket}",
            cc_emails=[f"p{other}@example.org"],
            status=2,
        )
        yield event(
            number + 2, "ticket.replied", f"ticket {ticket}", body=f"answer {ticket}", user_id=900, incoming=False
        )
        yield event(number + 3, "ticket.replied", f"ticket {ticket}", body="me too", from_email=f"p{other}@example.org")
        if ticket % 5 == 0:
            yield event(number + 4, "ticket.updated", f"ticket {ticket}", email=f"p{other}@example.org", status=4)
        if ticket % 40 == 0:
            merged = event(number + 4, "contact.merged", f"contact {person}", primary_contact_id=person,
                           secondary_contact_ids=[other])  # fmt: skip
            yield merged
        yield event(number + 4, "ticket.rated", f"ticket {ticket}", rating=103, feedback=f"thanks {ticket}")
    yield event(number + 5, "agent.created", "agent 900", id=900, name="Agent Nine", email="nine@example.org")


class Desk:
    """A data folder, and commands on it, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        #: The latest moment of a kill, as a share of an undisturbed run: earlier if the machine turns out faster.
        self._latest = 0.98
        self._environment = {**os.environ, "XDG_CONFIG_HOME": str(folder / "config"), "SEALDESK_BATCH": "60"}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from services.cli.app import main; main()", *words, "--data", str(self.data)]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *words: str) -> bytes:
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (words, err)
        return out

    def kill_at_random(self, rng: random.Random, seconds: float, *words: str) -> bool:
        """Start a command and kill it somewhere in its run. Returns whether it was still running."""
        process = self.start(*words)
        try:
            process.communicate(timeout=rng.uniform(0.3 * self._latest, self._latest) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return True
        self._latest *= 0.8
        return False

    def kill_some(self, rng: random.Random, seconds: float, *words: str) -> int:
        """Kill a command `KILLS` times somewhere in its run, and go on until it was still running once."""
        killed = 0
        for attempt in range(TRIES):
            killed += self.kill_at_random(rng, seconds, *words)
            if killed and attempt + 1 >= KILLS:
                break
        return killed

    def shown(self) -> list[bytes]:
        names: dict[bytes, bytes] = {}
        shown = []
        for what in ("tickets", "contacts"):
            out = self.run("query", what, "--json", "--reveal", "--why", "test")
            shown.append(_ID.sub(lambda found: names.setdefault(found[0], b"id-%d" % len(names)), out))
        return [*shown, self.run("query", "reports", "--json"), self.run("query", "erasures", "--json")]


SHRED = ("shred", "contact", "--email", "p12@example.org", "--ground", "test", "--yes", "--json")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "desk.jsonl"
    path.write_bytes(b"\n".join(_history()) + b"\n")
    return path


def test_killed_and_run_again_equals_a_run_that_nobody_disturbed(history: Path, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    take_in = ("import", str(history), "--format", "cloudevents", "--tenant", "acme", "--json")

    calm = Desk(tmp_path / "calm")
    took = _seconds(calm, *take_in)
    before = calm.shown()
    rebuilding = _seconds(calm, "rebuild", "all")
    shredding = _seconds(calm, *SHRED)
    after = calm.shown()

    rough = Desk(tmp_path / "rough")
    killed = rough.kill_some(rng, took, *take_in)
    assert killed > 0
    rough.run(*take_in)
    assert rough.shown() == before
    killed = rough.kill_some(rng, rebuilding, "rebuild", "all")
    assert rough.shown() == before
    killed += rough.kill_some(rng, shredding, *SHRED)
    assert killed > 0
    rough.run(*SHRED)
    assert rough.shown() == after
    assert before != after
    assert b'"residue":0' in rough.run("verify", "--json").replace(b" ", b"")
    assert not any(status(Settings.read(rough.data)).values())


def _seconds(desk: Desk, *words: str) -> float:
    began = time.monotonic()
    desk.run(*words)
    return time.monotonic() - began
