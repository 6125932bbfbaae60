"""Commands of sealdesk in processes of their own that are killed (SIGKILL) behind a chosen point of their work.

A point is whatever the world keeps of a process: a transaction that wrote and has committed, in either database; a file
or folder that was made, written, synced, renamed or removed. Between two points a kill leaves what it leaves behind the
first of them.

A warmed process (`python -m tests.acceptance.killing`) forks one for each command, so that none pays for imports. It
reads orders from its standard input, a JSON object a line, and answers each with a line: how the command ended.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Where a transaction is opened for others says nothing about whose it is.
_SHARED = (str(ROOT / "crypto/keystore.py"), str(ROOT / "services/log.py"), str(ROOT / "crypto/files.py"))
_OURS = (str(ROOT / "crypto"), str(ROOT / "services"), str(ROOT / "projections"))
#: What a file system keeps of a process. Each is given a descriptor, or a path, and maybe more.
_ON_FILES = ("open", "fsync", "pwrite", "ftruncate", "rename", "replace", "unlink", "link", "mkdir")


@dataclass(frozen=True)
class Ran:
    """How a command ended (below zero: by which signal), what it said, and the points that it passed."""

    status: int
    out: str
    err: str
    points: tuple[str, ...]


class Warmed:
    """The process that forks. `environment` is that of every command, `folder` for what they say."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.killing"],
            cwd=ROOT,
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(
        self, *words: str, kill_behind: int | None = None, environment: Mapping[str, str] = MappingProxyType({})
    ) -> Ran:
        """Run one command, to its end or up to its n-th point (from 1). `environment` is added to that of every one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"words": words, "kill_behind": kill_behind, "folder": str(self._folder)}
        order["environment"] = dict(environment)
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        out, err, points = ((self._folder / name).read_text() for name in ("out", "err", "points"))
        return Ran(status, out, err, tuple(points.splitlines()))

    def end(self) -> None:
        """Let it end."""
        self._process.communicate()


# -- in the warmed process, and in its children -----------------------------------------------------------------------


class _Points:
    """Counts points, writes each down, and kills its process behind the last one."""

    def __init__(self, file: int, last: int | None) -> None:
        self._file = file
        self._last = last
        self._count = 0

    def passed(self, what: str) -> None:
        os.write(self._file, f"{what}\n".encode())
        self._count += 1
        if self._count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Notice every point from now on."""
        from psycopg import BaseConnection

        for name in _ON_FILES:
            setattr(os, name, self._watched(name, getattr(os, name)))
        BaseConnection._exec_command = self._watched_commits(BaseConnection._exec_command)  # type: ignore[method-assign]

    def _watched(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(first: Any, *arguments: Any, **more: Any) -> Any:
            place = Path(os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else first)
            result = original(first, *arguments, **more)
            # To open a file leaves something only where that makes it.
            if place.is_absolute() and (name != "open" or arguments[0] & os.O_EXCL):
                self.passed(f"{name} {place.parent.name}/{_plain(place.name)} by {_whose(sys._getframe(1))}")
            return result

        return call

    def _watched_commits(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(connection: Any, command: Any, *arguments: Any, **more: Any) -> Generator[Any, Any, Any]:
            wrote = command == b"COMMIT" and _has_written(connection)
            result = yield from original(connection, command, *arguments, **more)
            if wrote:
                which = Path(connection.info.host).name
                self.passed(f"commit {which} by {_whose(sys._getframe(1))}")
            return result

        return call


def _has_written(connection: Any) -> bool:
    result = connection.pgconn.exec_(b"SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
    return bool(result.get_value(0, 0) == b"t")


def _whose(frame: FrameType | None) -> str:
    """Name the function of ours that does it."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OURS) and file not in _SHARED:
            return f"{'.'.join(Path(file).relative_to(ROOT).with_suffix('').parts)}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "the command line"


def _plain(name: str) -> str:
    """Leave out of the name of a file what is random."""
    return f"....{name.rpartition('.')[2]}" if name.count("-") >= 4 else name


def _child(words: Sequence[str], kill_behind: int | None, folder: Path) -> None:
    """Be `sealdesk`."""
    descriptors = {1: "out", 2: "err"}
    for descriptor, name in descriptors.items():
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    points = os.open(folder / "points", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _Points(points, kill_behind).watch()
    from services.cli.app import main

    sys.argv = ["sealdesk", *words]
    main()


def _serve() -> None:
    importlib.import_module("services.cli.app")
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            os.environ.update(order["environment"])
            try:
                _child(order["words"], order["kill_behind"], Path(order["folder"]))
            except SystemExit as ended:
                sys.stdout.flush()
                os._exit(int(ended.code or 0))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
