"""`consume`, `project`, `keep` and `up` as processes: how they begin, and how they end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from services.embedded import Endpoints
from tests.acceptance.conftest import Sealdesk, settings_of

ROOT = Path(__file__).parents[2]


@contextmanager
def started(environment: Mapping[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", "from services.cli.app import main; main()", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("word", "first"), [("project", "projecting"), ("keep", "keeping")])
def test_a_process_that_is_asked_to_end_ends_well(
    databases: Endpoints, tmp_path: Path, word: str, first: str, number: signal.Signals
) -> None:
    with started(settings_of(databases, tmp_path), word) as process:
        assert first_line(process).startswith(first)
        if hasattr(psutil.Process, "rlimit"):  # Not on macOS.
            assert psutil.Process(process.pid).rlimit(resource.RLIMIT_CORE) == (0, 0)
        process.send_signal(number)
        assert ended(process) == (0, "stopped\n", "")


def test_a_projector_needs_the_log_and_nothing_else(databases: Endpoints, tmp_path: Path) -> None:
    with started({"SEALDESK_LOG_DSN": databases.log_dsn, "HOME": str(tmp_path)}, "project", "reports") as process:
        assert first_line(process).startswith("projecting")
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "stopped\n", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["project", "keep"])
def test_a_database_that_is_not_there_at_the_start_is_told_at_once(
    databases: Endpoints, tmp_path: Path, word: str
) -> None:
    away = dict.fromkeys(("SEALDESK_LOG_DSN", "SEALDESK_KEYS_DSN"), "host=/nowhere dbname=x password=secret")
    with started(settings_of(databases, tmp_path) | away, word) as process:
        status, _, err = ended(process)
    assert (status, err) == (5, "sealdesk: the log database cannot be reached\n")


def test_a_read_model_that_does_not_exist_is_usage(sealdesk: Sealdesk) -> None:
    refused = sealdesk("project", "tickets", "ann@example.org")
    assert refused.status == 2
    assert "ann@example.org" not in refused.err


@pytest.mark.parametrize("word", ["project", "keep"])
def test_an_address_that_is_none_is_usage(sealdesk: Sealdesk, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("SEALDESK_LISTEN", "somewhere")
    refused = sealdesk(word)
    assert refused.status == 2
    assert "SEALDESK_LISTEN" in refused.err


def test_nothing_is_kept_over_a_key_database_that_is_older_than_its_log(
    sealdesk: Sealdesk, databases: Endpoints, tmp_path: Path
) -> None:
    sealdesk.done("tenant", "add", "acme")
    sealdesk.done("import", str(ROOT / "examples/desk.jsonl"))
    with psycopg.connect(databases.log_dsn) as connection:
        connection.execute("UPDATE issue_seen SET issue = issue + 1000")
    with started(settings_of(databases, tmp_path), "keep") as process:
        status, _, err = ended(process)
    assert status == 5
    assert "older than its log" in err
