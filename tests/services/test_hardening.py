"""A process that may hold keys leaves no core dump, and nobody attaches to it."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import ctypes, resource
PR_GET_DUMPABLE = 3
def said():
    print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
    return 0
"""


def _asked(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", ASK + script], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whether a process may be dumped")
def test_every_command_runs_hardened() -> None:
    assert _asked("said()")[0] == "1", "the control: Python itself may be dumped"
    patched = (
        "from services.cli import app\napp.run = lambda arguments: said()\ntry:\n app.main()\nexcept SystemExit: pass"
    )
    assert _asked(patched) == ["0", "0", "0"]
