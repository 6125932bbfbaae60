"""Several processes that append to one ledger at once."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def told_by(words: Sequence[str], processes: int) -> list[tuple[str, ...]]:
    """Start some processes, let them go together once all are ready, and sort what they say of each line they wrote."""
    writers = [
        subprocess.Popen(words, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return sorted(tuple(said.split()) for writer in writers for said in writer.communicate()[0].splitlines())
