"""The ledger in two places: neither can lose what the other has."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from crypto.ledger import Fences, FileLedger, Ledger, Line
from crypto.mirroring import MirroredLedger
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import LedgerBroken
from domain.ids import TenantId
from tests.appending import told_by

SIGNING = Ed25519PrivateKey.from_private_bytes(b"k" * 32)

APPEND = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from crypto.ledger import Fences, FileLedger
from crypto.mirroring import MirroredLedger
from crypto.roots import FileRoots
from crypto.wrapping import Key

folder, signing = Path(sys.argv[1]), Ed25519PrivateKey.from_private_bytes(b"k" * 32)
places = [FileLedger(folder / name, signing, FileRoots(folder / "roots")) for name in ("first", "second")]
ledger = MirroredLedger(*places)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(15):
    line = ledger.append(
        tenant=uuid4(), kind="subject", key=uuid4(), shred=uuid4(), at=datetime(2026, 11, 24, tzinfo=UTC),
        fences=Fences((), Key(bytes(32)), (bytes(32),)), issue_counter=1,
    )
    assert places[1].find(line.shred) == line, "it stands in both places"
    print(line.number, line.shred, flush=True)
"""


def place(folder: Path, name: str) -> FileLedger:
    return FileLedger(folder / name, SIGNING, FileRoots(folder / "roots"))


def mirrored(folder: Path) -> MirroredLedger:
    return MirroredLedger(place(folder, "first"), place(folder, "second"))


def shred(ledger: Ledger) -> Line:
    return ledger.append(
        tenant=TenantId(UUID(int=1)),
        kind="subject",
        key=uuid4(),
        shred=uuid4(),
        at=datetime(2026, 11, 24, tzinfo=UTC),
        fences=Fences((), Key(bytes(32)), ()),
        issue_counter=1,
    )


def test_a_line_stands_in_both_places_before_it_counts(tmp_path: Path) -> None:
    lines = [shred(mirrored(tmp_path)) for _ in range(3)]
    assert list(place(tmp_path, "first").read()) == list(place(tmp_path, "second").read()) == lines


@given(st.lists(st.sampled_from(["both", "first", "second", "lose first", "lose second"]), max_size=12))
def test_whatever_one_place_loses_the_other_gives_back(
    tmp_path_factory: pytest.TempPathFactory, acts: list[str]
) -> None:
    """A crash leaves a line in one place alone; a restore, or a new disk, leaves one place older or empty."""
    folder = tmp_path_factory.mktemp("ledger")
    lines: list[Line] = []
    for act in acts:
        match act:
            case "both":
                lines.append(shred(mirrored(folder)))
            case "first" | "second":
                mirrored(folder).head()
                lines.append(shred(place(folder, act)))
            case _:
                mirrored(folder).head()
                shutil.rmtree(folder / act.removeprefix("lose "), ignore_errors=True)
        assert list(mirrored(folder).read()) == lines
        assert mirrored(folder).head() == len(lines)


def test_two_places_that_say_different_things_are_refused(tmp_path: Path) -> None:
    shred(mirrored(tmp_path))
    shred(place(tmp_path, "first"))
    shred(place(tmp_path, "second"))
    with pytest.raises(LedgerBroken, match="different things"):
        mirrored(tmp_path).head()
    shred(place(tmp_path, "first"))
    with pytest.raises(LedgerBroken, match="does not follow"):
        mirrored(tmp_path).head()


def test_a_line_that_was_changed_in_one_place_is_not_taken_over(tmp_path: Path) -> None:
    for _ in range(3):
        shred(mirrored(tmp_path))
    shutil.rmtree(tmp_path / "second")
    path = tmp_path / "first" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"issue_counter":1', b'"issue_counter":2', 1))
    with pytest.raises(LedgerBroken):
        mirrored(tmp_path).head()


def test_processes_that_append_at_once_make_one_chain_in_both_places(tmp_path: Path) -> None:
    first = shred(mirrored(tmp_path))
    words = [sys.executable, "-c", APPEND, str(tmp_path)]
    told = told_by(words, 3)
    lines = list(place(tmp_path, "first").read())
    assert lines == list(place(tmp_path, "second").read())
    assert [line.number for line in lines] == list(range(1, 47))
    assert lines[0] == first
    assert sorted((str(line.number), str(line.shred)) for line in lines[1:]) == told
