from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from crypto.roots import FIRST_EPOCH, FileRoots
from domain.errors import KeysUnavailable, RootsUnsafe

REPOSITORY = Path(__file__).parents[2]

ASK_TOGETHER = """
import sys
from pathlib import Path
from crypto.roots import FileRoots
roots = FileRoots(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(roots.secret("ledger-2026-Q4").material.hex(), roots.open(roots.current()).material.hex())
"""


@pytest.fixture
def roots(tmp_path: Path) -> FileRoots:
    return FileRoots(tmp_path / "roots")


def test_the_first_use_creates_the_first_epoch(roots: FileRoots) -> None:
    assert roots.current() == FIRST_EPOCH
    assert len(roots.open(FIRST_EPOCH).material) == 32


def test_a_root_is_the_same_for_everybody_who_asks(roots: FileRoots) -> None:
    again = FileRoots(roots.folder)
    assert roots.current() == again.current()
    assert roots.open(1).material == again.open(1).material


def test_the_highest_number_is_the_current_epoch(roots: FileRoots) -> None:
    roots.current()
    for number in (2, 10, 1_000_000):
        file = roots.folder / "epochs" / f"{number:06d}.key"
        file.write_bytes(os.urandom(32))
        file.chmod(0o600)
        assert roots.current() == number
        assert roots.open(number).material == file.read_bytes()


def test_what_a_crash_left_half_written_is_no_root_and_stands_in_nobodys_way(roots: FileRoots) -> None:
    epochs = roots.folder / "epochs"
    epochs.mkdir(parents=True, mode=0o700)
    roots.folder.chmod(0o700)
    (epochs / ".000001.key.new").write_bytes(b"half")
    assert roots.current() == 1
    assert len(roots.open(1).material) == 32
    assert [file.name for file in epochs.iterdir()] == ["000001.key"]


def test_a_root_has_one_name_only_so_that_deleting_it_deletes_it(roots: FileRoots) -> None:
    roots.current()
    assert (roots.folder / "epochs" / "000001.key").stat().st_nlink == 1


def test_a_missing_root_is_unavailable_and_does_not_come_back_as_another(roots: FileRoots) -> None:
    roots.current()
    with pytest.raises(KeysUnavailable):
        roots.open(2)
    (roots.folder / "epochs" / "000001.key").unlink()
    with pytest.raises(KeysUnavailable):
        roots.open(1)


def test_a_root_without_its_folder_is_unavailable_and_no_folder_is_made(roots: FileRoots) -> None:
    with pytest.raises(KeysUnavailable):
        roots.open(1)
    assert not roots.folder.exists()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_root_of_another_length_is_unavailable(roots: FileRoots, size: int) -> None:
    roots.current()
    (roots.folder / "epochs" / "000001.key").write_bytes(bytes(size))
    with pytest.raises(KeysUnavailable):
        roots.open(1)


def test_only_the_owner_can_read_what_is_created(roots: FileRoots) -> None:
    before = os.umask(0)
    try:
        roots.current()
        roots.secret("one")
    finally:
        os.umask(before)
    for path in (roots.folder, *roots.folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("rights", [0o040, 0o004, 0o020, 0o002, 0o001])
@pytest.mark.parametrize("place", ["", "epochs", "epochs/000001.key"])
def test_roots_that_others_have_rights_to_are_refused(roots: FileRoots, place: str, rights: int) -> None:
    roots.current()
    path = roots.folder / place
    path.chmod(path.stat().st_mode | rights)
    with pytest.raises(RootsUnsafe):
        roots.open(1)


@pytest.mark.parametrize("place", ["", "secrets", "secrets/one.key"])
def test_secrets_that_others_can_read_are_refused(roots: FileRoots, place: str) -> None:
    roots.secret("one")
    path = roots.folder / place
    path.chmod(path.stat().st_mode | 0o040)
    with pytest.raises(RootsUnsafe):
        roots.secret("one")


def test_a_secret_stays_what_it_was_and_is_not_another_name_s(roots: FileRoots) -> None:
    first = roots.secret("ledger-2026-Q4").material
    assert roots.secret("ledger-2026-Q4").material == first
    assert roots.secret("ledger-2026-Q4", create=False).material == first
    assert roots.secret("ledger-2027-Q1").material != first


def test_a_secret_that_is_not_to_be_made_is_not_made(roots: FileRoots) -> None:
    with pytest.raises(KeysUnavailable):
        roots.secret("one", create=False)
    roots.secret("other")
    with pytest.raises(KeysUnavailable):
        roots.secret("one", create=False)
    assert not (roots.folder / "secrets" / "one.key").exists()


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a.b", "a b", "a\n", "é", "a\0", "x" * 65])
def test_a_name_that_could_leave_the_folder_is_refused(roots: FileRoots, name: str) -> None:
    with pytest.raises(ValueError, match="name of a secret"):
        roots.secret(name)


def test_processes_that_ask_at_once_get_one_secret_and_one_root(roots: FileRoots) -> None:
    askers = [
        subprocess.Popen(
            [sys.executable, "-c", ASK_TOGETHER, str(roots.folder)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for asker in askers:
        assert asker.stdout is not None
        assert asker.stdout.readline() == "ready\n"
    for asker in askers:
        assert asker.stdin is not None
        asker.stdin.write("go\n")
        asker.stdin.flush()
    answers = {asker.communicate()[0] for asker in askers}
    assert answers == {f"{roots.secret('ledger-2026-Q4').material.hex()} {roots.open(1).material.hex()}\n"}


def test_the_meaning_of_destruction_names_the_copies_that_would_undo_it(roots: FileRoots) -> None:
    assert "if no copy of the root folder exists" in roots.meaning_of_destruction()


def test_a_key_does_not_show_itself(roots: FileRoots) -> None:
    key = roots.secret("one")
    assert key.material.hex() not in repr(key)
    assert repr(key.material) not in repr(key)
