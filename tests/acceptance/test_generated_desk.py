"""A large helpdesk, told through a pipe as an operator would: flat memory, and a tenth of its people forgotten.

`make check` takes 2,500 tickets, `make large` 100,000; SEALDESK_TEST_TICKETS says how many.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

TICKETS = int(os.environ.get("SEALDESK_TEST_TICKETS", "2500"))
#: An import of ten times as much may need this much more memory: pools and caches of libraries fill up.
FLAT = 1.25
LOOK_SECONDS = 0.2
_SEALDESK = [sys.executable, "-c", "from services.cli.app import main; main()"]


class Operator:
    """Types commands on a data folder, each a process of its own."""

    def __init__(self, data: Path) -> None:
        self._here = ("--data", str(data), "--json")
        self._environ = {**os.environ, "SEALDESK_BRAKE": "100000000"}

    def does(self, *words: str) -> Any:
        done = subprocess.run(
            [*_SEALDESK, *words, *self._here],
            env=self._environ,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def imports_what_is_generated(self, tickets: int, people: Path) -> tuple[dict[str, int], int]:
        """Pipe the one command into the other. Returns the tally, and the peak memory of the import in KiB."""
        told = [*_SEALDESK, "generate", "--tickets", str(tickets), "--seed", "3", "--people-file", str(people)]
        with (
            subprocess.Popen(told, env=self._environ, stdout=subprocess.PIPE) as generating,
            subprocess.Popen(
                [*_SEALDESK, "import", "-", "--format", "cloudevents", "--tenant", "acme", *self._here],
                env=self._environ,
                stdin=generating.stdout,
                stdout=subprocess.PIPE,
            ) as importing,
        ):
            assert generating.stdout is not None
            assert importing.stdout is not None
            generating.stdout.close()
            process, peak = psutil.Process(importing.pid), 0
            while importing.poll() is None:
                # Of this process alone: what it starts and waits for counts elsewhere.
                with suppress(psutil.NoSuchProcess, subprocess.TimeoutExpired):
                    peak = max(peak, process.memory_info().rss)
                    importing.wait(timeout=LOOK_SECONDS)
            said = importing.stdout.read()
        assert (generating.returncode, importing.returncode) == (0, 0)
        return json.loads(said.splitlines()[-1]), peak // 1024


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_tenth_of_all_people_is_forgotten_and_no_count_changes(tmp_path: Path) -> None:
    people = tmp_path / "people.txt"
    _, small = Operator(tmp_path / "small").imports_what_is_generated(TICKETS // 10, tmp_path / "few.txt")
    desk = Operator(tmp_path / "large")
    tally, large = desk.imports_what_is_generated(TICKETS, people)
    assert tally["read"] > 4 * TICKETS
    assert tally["stored"] + tally["duplicates"] + tally["refused"] == tally["read"]
    assert tally["quarantined"] == 0
    assert large < FLAT * small, f"{large} KiB at {TICKETS} tickets, {small} KiB at a tenth of them"

    before = desk.does("query", "reports")
    everybody = people.read_text().split("\n")[:-1]
    chosen = random.Random(TICKETS).sample(everybody, len(everybody) // 10)
    (tmp_path / "chosen.txt").write_text("\n".join(chosen) + "\n")
    certificates = desk.does("shred", "contact", "--from", str(tmp_path / "chosen.txt"), "--ground", "test", "--yes")
    assert len(certificates) > 0.95 * len(chosen), "some are known under several numbers"
    assert sum(certificate["residue"]["found"] for certificate in certificates) == 0
    assert desk.does("query", "reports") == before
    assert desk.does("verify")["residue"] == 0
    desk.does("rebuild", "all")
    assert desk.does("query", "reports") == before
