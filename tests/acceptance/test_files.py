"""Files on the command line: in, out with a reason, listed, and swept after a shred."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Sealdesk
from tests.acceptance.test_cli import event

FOUR = "attachment 4"
CONTENT = b"%PDF of Ann Abbott " * 1000
RECORDS = [
    event("contact.created", "contact 1", id=1, name="Ann Abbott"),
    event("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help"),
    event("ticket.attachment_added", "ticket 20", ticket_id=20, id=4, name="secret-of-ann.pdf"),
]


@pytest.fixture
def desk(sealdesk: Sealdesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sealdesk:
    """Ann's ticket with a file, of which a record has told."""
    monkeypatch.setenv("SEALDESK_BLOBS", str(tmp_path / "blobs"))
    sealdesk.done("import", "-", stdin=b"".join(RECORDS))
    return sealdesk


def test_a_file_goes_in_and_comes_out_for_its_owner_alone(desk: Sealdesk, tmp_path: Path) -> None:
    scan, out = tmp_path / "scan.pdf", tmp_path / "out.pdf"
    scan.write_bytes(CONTENT)
    stored = desk.json("blob", "put", FOUR, str(scan))
    desk.done("blob", "get", FOUR, "--why", "access request 17", "-o", str(out))
    assert out.read_bytes() == CONTENT
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    [row] = desk.json("blob", "list")
    assert row.keys() == {"blob", "thing", "bytes", "stored_at"}
    assert (row["blob"], row["bytes"]) == (stored["blob"], stored["bytes"])
    assert stored["blob"] in desk.done("blob", "list").out


def test_a_packed_file_stays_packed_and_standard_input_will_do(desk: Sealdesk, tmp_path: Path) -> None:
    packed, out = tmp_path / "logs.gz", tmp_path / "out"
    packed.write_bytes(b"\x1f\x8b no gzip at all")
    for words, stdin in ((str(packed), b""), ("-", packed.read_bytes())):
        desk.done("blob", "put", FOUR, words, stdin=stdin)
        desk.done("blob", "get", FOUR, "--why", "test", "-o", str(out))
        assert out.read_bytes() == packed.read_bytes()


def test_a_file_goes_into_a_pipe_and_never_to_a_terminal(desk: Sealdesk) -> None:
    desk.done("blob", "put", FOUR, "-", stdin=CONTENT)
    code = "from services.cli.app import main; main()"
    command = [sys.executable, "-c", code, "blob", "get", FOUR, "--why", "test"]
    piped = subprocess.run(command, capture_output=True, check=True)
    assert piped.stdout == CONTENT
    ours, theirs = pty.openpty()
    try:
        shown = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(theirs)
        os.close(ours)
    assert shown.returncode == 2
    assert b"terminal" in shown.stderr


def test_a_shred_deletes_the_file_and_refuses_whatever_comes_for_it_later(desk: Sealdesk, tmp_path: Path) -> None:
    out = tmp_path / "out.pdf"
    desk.done("blob", "put", FOUR, "-", stdin=CONTENT)
    assert desk.json("blob", "sweep") == {"deleted": 0, "living": 1, "lost": 0, "broken": 0, "unknown": 0}
    certificate = desk.json("shred", "contact", "--ref", "1", "--ground", "test", "--yes")
    assert certificate["counts"]["files"] == 1
    assert certificate["residue"]["found"] == 0
    assert desk.json("blob", "list") == []
    for ended in (
        desk("blob", "get", FOUR, "--why", "test", "-o", str(out)),
        desk("blob", "put", FOUR, "-", stdin=b"once more"),
    ):
        assert ended.status == 4
        assert "gone for good" in ended.err
    assert not out.exists()
    assert "0 deleted" in desk.done("blob", "sweep").out
    assert desk.json("blob", "list") == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("blob", "put", "attachment 99", os.devnull), 3),
        (("blob", "put", "secret-of-ann", os.devnull), 2),
        (("blob", "put", "ticket secret-of-ann", os.devnull), 2),
        (("blob", "put", "attachment ", os.devnull), 2),
        (("blob", "put", FOUR, "secret-of-ann.pdf"), 2),
        (("blob", "put", FOUR, os.devnull, "--tenant", "secret-of-ann"), 2),
        (("blob", "get", FOUR, "--why", "test", "-o", "no-folder/secret-of-ann.pdf"), 2),
        (("blob", "get", FOUR, "--why", "test", "-o", os.devnull), 2),
        (("blob", "get", FOUR, "--why", "secret-of-ann", "-o", "out.pdf"), 3),
        (("blob", "get", FOUR, "--why", " ", "-o", "out.pdf"), 2),
        (("blob", "get", FOUR, "-o", "out.pdf"), 2),
    ],
)
def test_what_cannot_be_done_ends_with_its_status_and_repeats_nothing(
    desk: Sealdesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(os.listdir(tmp_path))
    ended = desk(*words)
    assert ended.status == status, ended.err
    assert "secret-of-ann" not in ended.err + ended.out
    assert set(os.listdir(tmp_path)) - before <= {"blobs"}


def test_a_file_that_breaks_off_is_not_there_half(desk: Sealdesk, tmp_path: Path) -> None:
    desk.done("blob", "put", FOUR, "-", stdin=os.urandom(3 * 2**20))
    [stored] = (tmp_path / "blobs").rglob("*.blob")
    stored.write_bytes(stored.read_bytes()[:-1])
    ended = desk("blob", "get", FOUR, "--why", "test", "-o", str(tmp_path / "out"))
    assert ended.status == 1
    assert [name for name in os.listdir(tmp_path) if "out" in name] == []


def test_without_a_store_only_files_are_refused(sealdesk: Sealdesk) -> None:
    sealdesk.done("import", "-", stdin=b"".join(RECORDS))
    ended = sealdesk("blob", "put", FOUR, "-", stdin=CONTENT)
    assert ended.status == 2
    assert "SEALDESK_BLOBS" in ended.err
