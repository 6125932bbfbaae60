"""Roots by settings, and a house whose roots move from files into an HSM and back."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from crypto.integrity import Integrity, check_tops
from crypto.keepers import KeptRoots, MovingRoots
from crypto.kms import KmsKeeper
from crypto.roots import FileRoots, Roots
from crypto.turning import Turning
from domain.errors import KeysUnavailable, SettingsWrong
from services import epochs
from services.embedded import Endpoints
from services.roots import Files, Hsm, Kms, Where, roots_at, where_of
from services.settings import Settings
from services.wiring import House, house, now
from tests import softhsm
from tests.desks import Desk

NOW = timedelta(0)


@pytest.fixture
def device(token: tuple[Path, Path]) -> dict[str, str]:
    """The settings of a token."""
    module, pin = token
    return {
        "SEALDESK_HSM_MODULE": str(module),
        "SEALDESK_HSM_TOKEN": softhsm.TOKEN,
        "SEALDESK_HSM_PIN_FILE": str(pin),
    }


def test_a_folder_is_all_that_has_to_be_said(tmp_path: Path) -> None:
    where = where_of(tmp_path, {})
    assert where == Where(tmp_path, Files(), None)
    assert isinstance(roots_at(where), FileRoots)


def test_a_device_and_the_place_before_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    environ = {
        "SEALDESK_KEEPER": "kms",
        "SEALDESK_KMS_ENDPOINT": "http://127.0.0.1:1",
        "SEALDESK_KMS_IMPORTED": "on",
        "SEALDESK_ROOTS_BEFORE": str(tmp_path / "old"),
        "SEALDESK_KEEPER_BEFORE": "hsm",
        "SEALDESK_HSM_MODULE": str(tmp_path / "one.so"),
        "SEALDESK_HSM_TOKEN": "desk",
        "SEALDESK_HSM_TOKEN_BEFORE": "old desk",
        "SEALDESK_HSM_PIN_FILE": str(tmp_path / "pin"),
    }
    where = where_of(tmp_path / "new", environ)
    hsm = Hsm(tmp_path / "one.so", "old desk", tmp_path / "pin")
    assert where == Where(tmp_path / "new", Kms("http://127.0.0.1:1", True), Where(tmp_path / "old", hsm))
    roots = roots_at(where)
    assert isinstance(roots, MovingRoots)
    assert roots.after == KeptRoots(tmp_path / "new", KmsKeeper("http://127.0.0.1:1", True))
    assert str(tmp_path / "pin") not in repr(where)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"SEALDESK_KEEPER": "safe"}, "SEALDESK_KEEPER is file, hsm or kms"),
        ({"SEALDESK_KEEPER": "hsm"}, "SEALDESK_HSM_MODULE"),
        ({"SEALDESK_KEEPER": "kms", "SEALDESK_KMS_IMPORTED": "yes"}, "SEALDESK_KMS_IMPORTED"),
        ({"SEALDESK_ROOTS_BEFORE": "/nowhere/at/all"}, "no folder"),
        ({"SEALDESK_ROOTS_BEFORE": "SELF"}, "two folders"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsWrong, match=says):
        where_of(tmp_path, {name: text.replace("SELF", str(tmp_path)) for name, text in environ.items()})


def test_the_place_before_lies_apart_from_everything_else(tmp_path: Path) -> None:
    environ = {f"SEALDESK_{name}": str(tmp_path / name) for name in ("ROOTS", "LEDGER", "SIGNING")}
    (tmp_path / "LEDGER").mkdir()
    with pytest.raises(SettingsWrong, match="SEALDESK_ROOTS_BEFORE"):
        Settings.read(tmp_path / "data", environ | {"SEALDESK_ROOTS_BEFORE": str(tmp_path / "LEDGER")})


# -- a move ---------------------------------------------------------------------------------------------------------


def settings(endpoints: Endpoints, folder: Path, roots: str, **more: str) -> Settings:
    return Settings.read(
        None,
        {
            "SEALDESK_LOG_DSN": endpoints.log_dsn,
            "SEALDESK_KEYS_DSN": endpoints.keys_dsn,
            "SEALDESK_ROOTS": str(folder / roots),
            "SEALDESK_LEDGER": str(folder / "ledger"),
            "SEALDESK_SIGNING": str(folder / "signing"),
            **more,
        },
    )


def filled(opened: House) -> Desk:
    desk = Desk(opened)
    desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org")
    desk.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help")
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=2, subject="mine")
    desk.shred("contact 2")
    return desk


def moved(opened: House) -> None:
    """Move, with the grace over at once."""
    roots, turning = opened.roots, Turning(opened.keys, opened.roots, now)
    assert isinstance(roots, MovingRoots)
    epochs.move(turning, roots)
    assert not roots.leave(), "the old roots still live"
    assert turning.destroy_older(grace=NOW) == list(range(1, roots.current()))[-1:]
    assert roots.leave()
    epochs.move(turning, roots)
    assert turning.destroy_older(grace=NOW) == []


def opens_all(opened: House) -> bool:
    desk = Desk(opened)
    check_tops(opened.keys, opened.roots)
    assert Integrity(opened.keys, opened.roots, opened.ledger, now).check().is_clean
    tickets = {row["id"]: row["subject"] for row in desk.tickets() if not row["erased"]}
    return tickets == {20: "help"} and [bool(line.targets) for line in lines(opened)] == [True]


def lines(opened: House) -> list[object]:
    return [opened.ledger.fences_of(line) for line in opened.ledger.read()]


def opens_nothing(opened: House, roots: Roots) -> bool:
    try:
        check_tops(opened.keys, roots)
    except KeysUnavailable:
        return True
    return False


def test_roots_move_into_an_hsm_and_back_and_old_files_open_nothing(
    databases: Endpoints, tmp_path: Path, device: dict[str, str]
) -> None:
    files, hsm, later = ({"SEALDESK_KEEPER": "file"}, {"SEALDESK_KEEPER": "hsm", **device}, tmp_path / "later")
    with house(settings(databases, tmp_path, "files", **files), databases) as opened:
        filled(opened)
    shutil.copytree(tmp_path / "files", tmp_path / "copy")
    (tmp_path / "copy").chmod(0o700)

    before = {"SEALDESK_ROOTS_BEFORE": str(tmp_path / "files")}
    with house(settings(databases, tmp_path, "wrapped", **hsm, **before), databases) as opened:
        moved(opened)
        assert "HSM" in opened.roots.meaning_of_destruction()
    assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]

    with house(settings(databases, tmp_path, "wrapped", **hsm), databases) as opened:
        assert opens_all(opened)
        for old in ("files", "copy"):
            assert opens_nothing(opened, FileRoots(tmp_path / old))

    back = {"SEALDESK_ROOTS_BEFORE": str(tmp_path / "wrapped"), "SEALDESK_KEEPER_BEFORE": "hsm", **device}
    with house(settings(databases, tmp_path, later.name, **files, **back), databases) as opened:
        moved(opened)
    with house(settings(databases, tmp_path, later.name, **files), databases) as opened:
        assert opens_all(opened)


def test_a_move_that_is_begun_opens_from_both_places_and_keeps_the_old_secrets(
    databases: Endpoints, tmp_path: Path, device: dict[str, str]
) -> None:
    with house(settings(databases, tmp_path, "files"), databases) as opened:
        filled(opened)
    given = {"SEALDESK_KEEPER": "hsm", **device, "SEALDESK_ROOTS_BEFORE": str(tmp_path / "files")}
    with house(settings(databases, tmp_path, "wrapped", **given), databases) as opened:
        assert opens_all(opened), "nothing has moved yet"
        turning = Turning(opened.keys, opened.roots, now)
        assert isinstance(opened.roots, MovingRoots)
        opened.roots.turn(1)
        desk = Desk(opened)
        desk.happens("contact.created", "contact 9", id=9, name="Ed Eagle", email="ed@example.org")
        assert turning.is_unfinished()
        assert opens_all(opened), "keys stand under both"
        epochs.move(turning, opened.roots)
        assert not turning.is_unfinished()
        assert opens_all(opened)
        assert turning.destroy_older(grace=timedelta(hours=24)) == []
        assert not opened.roots.has_left()
        assert FileRoots(tmp_path / "files").secrets() == opened.roots.after.secrets()
