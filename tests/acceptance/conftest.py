"""The command line for acceptance tests: run in this process, on databases of the test's own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.cli.app import run
from services.embedded import Endpoints


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Read what it wrote as JSON."""
        return json.loads(self.out)


class Sealdesk:
    """Types commands."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def __call__(self, *words: str, stdin: bytes = b"") -> Ended:
        """Run one command, with standard input from a pipe."""
        out, err = io.StringIO(), io.StringIO()
        with self._patch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            status = run(words)
        return Ended(status, out.getvalue(), err.getvalue())

    def done(self, *words: str, stdin: bytes = b"") -> Ended:
        """Run one command that has to succeed."""
        ended = self(*words, stdin=stdin)
        assert ended.status == 0, ended.err
        return ended

    def json(self, *words: str, stdin: bytes = b"") -> Any:
        """Run one command that has to succeed, with --json, and read what it wrote."""
        return self.done(*words, "--json", stdin=stdin).json


def settings_of(endpoints: Endpoints, folder: Path) -> dict[str, str]:
    """Name databases that are up, and folders for roots, ledger and signing key."""
    return {
        "SEALDESK_LOG_DSN": endpoints.log_dsn,
        "SEALDESK_KEYS_DSN": endpoints.keys_dsn,
        **{f"SEALDESK_{name.upper()}": str(folder / name) for name in ("roots", "ledger", "signing")},
    }


@pytest.fixture
def sealdesk(databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sealdesk:
    """The command line over a fresh pair of databases."""
    for name, value in settings_of(databases, tmp_path).items():
        monkeypatch.setenv(name, value)
    return Sealdesk(monkeypatch)


@pytest.fixture(scope="module")
def shared_sealdesk(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealdesk]:
    """The command line over one pair of databases for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings_of(module_databases, tmp_path_factory.mktemp("house")).items():
            patch.setenv(name, value)
        yield Sealdesk(patch)
