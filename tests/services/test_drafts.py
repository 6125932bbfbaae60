"""A folder in clear appears whole or not at all, and nothing of it stays where nobody looks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from domain.errors import SettingsWrong
from services import drafts
from services.drafts import whole
from services.embedded import Endpoints
from tests.acceptance.conftest import settings_of
from tests.desks import Desk, desk_house
from tests.services.test_closing import filled

ROOT = Path(__file__).parents[2]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_draft_that_somebody_writes_is_left_alone(tmp_path: Path) -> None:
    with whole(tmp_path / "acme.2") as other, whole(tmp_path / "acme") as same:
        with whole(tmp_path / "acme") as third:
            (third / "records.jsonl").write_text("third")
        assert other.exists()
        assert same.exists()
        shutil.rmtree(tmp_path / "acme")
    assert names(tmp_path) == {"acme", "acme.2"}


@pytest.mark.parametrize("name", ["acme", "a[1]", "a*"])
def test_a_draft_of_a_process_that_was_killed_goes_with_the_next(tmp_path: Path, name: str) -> None:
    stale = tmp_path / f".{name}.{'0' * 32}.draft"
    stale.mkdir()
    (stale / "records.jsonl").write_text("clear")
    (tmp_path / f".{name}.kept").mkdir()
    with whole(tmp_path / name):
        assert not stale.exists()
    assert names(tmp_path) == {name, f".{name}.kept"}


def test_nothing_is_there_where_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = drafts.sync

    def failing(folder: Path) -> None:
        if folder == tmp_path:
            raise PermissionError(13, "Permission denied")
        real(folder)

    monkeypatch.setattr(drafts, "sync", failing)
    with pytest.raises(SettingsWrong, match="nothing is left"), whole(tmp_path / "acme") as draft:
        (draft / "records.jsonl").write_text("clear")
    assert names(tmp_path) == set()


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(SettingsWrong, match="delete it") as told, whole(tmp_path / "acme") as draft:
        raise OSError(28, "No space left on device")
    assert str(draft) in str(told.value)
    with pytest.raises(SettingsWrong, match="delete it"), whole(tmp_path / "acme"):
        pass


_EXPORT = """
import sys, time
from services.cli.app import run
from services.exporting import Exporting

def slow(*_):
    print("writing", flush=True)
    time.sleep(60)

Exporting._quarantined = slow
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_export_that_is_ended_by_a_signal_leaves_nothing_in_clear(
    databases: Endpoints, tmp_path: Path, number: signal.Signals
) -> None:
    with desk_house(databases, tmp_path) as house:
        filled(Desk(house))
    (tmp_path / "there").mkdir()
    close = ["tenant", "close", "acme", "--ground", "contract-end", "--yes", "--export", str(tmp_path / "there/out")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | settings_of(databases, tmp_path)
    with subprocess.Popen([sys.executable, "-c", _EXPORT, *close], stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            assert any(b"writing" in line for line in process.stdout), "the control: it came so far"
            assert names(tmp_path / "there")
            process.send_signal(number)
            assert process.wait(30) != 0
        finally:
            process.kill()
    assert names(tmp_path / "there") == set()
