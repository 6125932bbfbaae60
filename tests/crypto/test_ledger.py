from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ledger import BLOCK_BYTES, Fences, FileLedger, Line
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import LedgerBroken, SettingsWrong
from domain.ids import TenantId

REPOSITORY = Path(__file__).parents[2]
AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
#: Every example writes a file, and how long a disk takes for that is no property of ours.
UNTIMED = settings(deadline=None)
SIGNING = Ed25519PrivateKey.from_private_bytes(b"k" * 32)

APPEND = """
import resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from crypto.ledger import Fences, FileLedger
from crypto.roots import FileRoots
from crypto.wrapping import Key

folder, count, room = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ledger = FileLedger(
    folder / "ledger", Ed25519PrivateKey.from_private_bytes(b"k" * 32), FileRoots(folder / "roots")
)
print("ready", flush=True)
sys.stdin.readline()
if room:
    # The system writes what fits below the limit and then kills the process with SIGXFSZ.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = (folder / "ledger" / "ledger.jsonl").stat().st_size + room
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for _ in range(count):
    line = ledger.append(
        tenant=uuid4(), kind="subject", key=uuid4(), shred=uuid4(), at=datetime(2026, 11, 24, tzinfo=UTC),
        fences=Fences((), Key(bytes(32)), (bytes(32),)), issue_counter=1,
    )
    print(line.shred, flush=True)
"""


def open_ledger(folder: Path) -> FileLedger:
    return FileLedger(folder / "ledger", SIGNING, FileRoots(folder / "roots"))


def shred(ledger: FileLedger, fences: int = 1) -> Line:
    return ledger.append(
        tenant=TenantId(uuid4()),
        kind="subject",
        key=uuid4(),
        shred=uuid4(),
        at=AT,
        fences=Fences((), Key(bytes(32)), (bytes(32),) * fences),
        issue_counter=1,
    )


def start(folder: Path, count: int, room: int = 0) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", APPEND, str(folder), str(count), str(room)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of five lines, that is only read."""
    folder = tmp_path_factory.mktemp("home")
    ledger = open_ledger(folder)
    for _ in range(5):
        shred(ledger)
    return folder


@pytest.fixture(scope="module")
def written(home: Path) -> bytes:
    return (home / "ledger" / "ledger.jsonl").read_bytes()


@contextmanager
def ledger_of(content: bytes, home: Path) -> Iterator[FileLedger]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ledger.jsonl").write_bytes(content)
        (folder / "ledger.jsonl").chmod(0o600)
        yield FileLedger(folder, SIGNING, FileRoots(home / "roots"))


@UNTIMED
@given(data=st.data())
def test_any_changed_byte_is_found(home: Path, written: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(written) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != written[place]))
    changed = written[:place] + bytes([value]) + written[place + 1 :]
    with ledger_of(changed, home) as ledger:
        number = written[:place].count(b"\n") + 1
        with pytest.raises(LedgerBroken, match=rf"line {number} of the ledger"):
            list(ledger.read())


def test_any_line_taken_out_is_found_and_one_off_the_end_lowers_the_head(home: Path, written: bytes) -> None:
    lines = written.splitlines(keepends=True)
    for gone in range(len(lines)):
        with ledger_of(b"".join(lines[:gone] + lines[gone + 1 :]), home) as ledger:
            if gone == len(lines) - 1:
                assert ledger.head() == len(lines) - 1
            else:
                with pytest.raises(LedgerBroken, match=rf"line {gone + 1} of"):
                    list(ledger.read())


@UNTIMED
@given(data=st.data())
def test_any_other_order_of_lines_is_found(home: Path, written: bytes, data: st.DataObject) -> None:
    lines = written.splitlines(keepends=True)
    order = data.draw(st.permutations(lines).filter(lambda order: order != lines))
    with ledger_of(b"".join(order), home) as ledger, pytest.raises(LedgerBroken):
        list(ledger.read())


@UNTIMED
@given(data=st.data())
def test_any_added_line_is_found(home: Path, written: bytes, data: st.DataObject) -> None:
    lines = written.splitlines(keepends=True)
    place = data.draw(st.integers(0, len(lines)))
    added = data.draw(st.sampled_from([*lines, b"\n", b"{}\n", b"[]\n", b"null\n"]))
    longer = b"".join([*lines[:place], added, *lines[place:]])
    with ledger_of(longer, home) as ledger, pytest.raises(LedgerBroken):
        list(ledger.read())


def test_a_line_signed_by_another_key_is_found(home: Path, written: bytes, tmp_path: Path) -> None:
    stranger = Ed25519PrivateKey.generate()
    forged = FileLedger(tmp_path / "ledger", stranger, FileRoots(home / "roots"))
    shred(forged)
    with ledger_of((tmp_path / "ledger" / "ledger.jsonl").read_bytes(), home) as ledger:
        for look in (ledger.head, lambda: list(ledger.read()), lambda: shred(ledger)):
            with pytest.raises(LedgerBroken, match="signature"):
                look()


def test_a_line_of_another_ledger_under_the_same_key_does_not_fit_in(home: Path, written: bytes) -> None:
    with ledger_of(b"", home) as other:
        stranger = shred(other)
    own = written.splitlines(keepends=True)
    swapped = b"".join([stranger.encoded() + b"\n", *own[1:]])
    with (
        ledger_of(swapped, home) as ledger,
        pytest.raises(LedgerBroken, match=r"line 2 of .* does not follow"),
    ):
        list(ledger.read())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"number"', b'{ "number"'),
        (b'"issue_counter":1', b'"issue_counter":1.0'),
        (b'"issue_counter":1', b'"issue_counter":2,"issue_counter":1'),
        (b'"signature"', b'"more":1,"signature"'),
        (b"subject", b"\\u0073ubject"),
        (b"+00:00", b"Z"),
    ],
)
def test_another_spelling_of_the_last_line_is_found(home: Path, written: bytes, before: bytes, after: bytes) -> None:
    *whole, last = written.splitlines(keepends=True)
    assert before in last
    spelled = b"".join(whole) + last.replace(before, after)
    with ledger_of(spelled, home) as ledger, pytest.raises(LedgerBroken, match="line 5 of the ledger"):
        list(ledger.read())


def test_spare_bits_of_a_signature_cannot_be_changed(home: Path, written: bytes) -> None:
    assert written.endswith(b'=="}\n')
    letter = written[-6:-5]
    assert letter in b"AQgw"
    changed = written[:-6] + bytes([letter[0] + 1]) + written[-5:]
    with ledger_of(changed, home) as ledger, pytest.raises(LedgerBroken, match="not as it was written"):
        list(ledger.read())


def test_nothing_is_appended_to_a_broken_last_line(home: Path, written: bytes) -> None:
    changed = written.replace(b'"issue_counter":1', b'"issue_counter":2')
    with ledger_of(changed, home) as ledger:
        with pytest.raises(LedgerBroken):
            shred(ledger)
        with pytest.raises(LedgerBroken):
            ledger.head()


def test_a_changed_line_is_not_found_as_if_it_were_whole(home: Path, written: bytes) -> None:
    wanted = list(open_ledger(home).read())[2].shred
    changed = written.replace(b'"kind":"subject"', b'"kind":"nothing"')
    with ledger_of(changed, home) as ledger, pytest.raises(LedgerBroken, match="line 3"):
        ledger.find(wanted)


@UNTIMED
@given(data=st.data())
def test_a_torn_last_line_is_passed_over_and_cut_off(home: Path, written: bytes, data: st.DataObject) -> None:
    whole, last = written.splitlines(keepends=True)[:-1], written.splitlines(keepends=True)[-1]
    torn = last[: data.draw(st.integers(0, len(last) - 1))]
    with ledger_of(b"".join(whole) + torn, home) as ledger:
        assert ledger.head() == len(whole) == len(list(ledger.read()))
        line = shred(ledger)
        assert line.number == len(whole) + 1
        assert list(ledger.read())[-1] == line


def test_a_torn_line_that_is_longer_than_the_next_is_cut_off_whole(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    shred(ledger, fences=1_000)
    file = tmp_path / "ledger" / "ledger.jsonl"
    os.truncate(file, file.stat().st_size - 10)
    line = shred(ledger, fences=0)
    assert file.read_bytes() == line.encoded() + b"\n"


def test_a_torn_first_line_is_cut_off_too(home: Path, written: bytes) -> None:
    with ledger_of(written[:100], home) as ledger:
        assert ledger.head() == 0
        assert shred(ledger).number == 1
        assert len(list(ledger.read())) == 1


@pytest.mark.parametrize("room", [1, 300, 500])
def test_a_writer_that_is_killed_in_the_middle_of_a_line_leaves_no_trace_in_the_chain(
    tmp_path: Path, room: int
) -> None:
    ledger = open_ledger(tmp_path)
    before = [shred(ledger) for _ in range(2)]
    file = tmp_path / "ledger" / "ledger.jsonl"
    size = file.stat().st_size
    process = start(tmp_path, count=1, room=room)
    acknowledged, _ = process.communicate("go\n")
    assert process.returncode == -signal.SIGXFSZ
    assert acknowledged == ""
    assert file.stat().st_size == size + room
    assert list(ledger.read()) == before
    line = shred(ledger)
    assert list(ledger.read()) == [*before, line]


def test_processes_that_append_at_once_make_one_unbroken_chain(tmp_path: Path) -> None:
    writers = [start(tmp_path, count=20) for _ in range(3)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    acknowledged = [shred for writer in writers for shred in writer.communicate()[0].split()]
    assert len(acknowledged) == 60
    lines = list(open_ledger(tmp_path).read())
    assert sorted(str(line.shred) for line in lines) == sorted(acknowledged)


def test_threads_that_append_at_once_make_one_unbroken_chain_while_others_read_it(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    seen: list[int] = []

    def append() -> None:
        for _ in range(10):
            shred(ledger)

    def read() -> None:
        while len(lines := list(ledger.read())) < 30:
            seen.append(len(lines))

    threads = [threading.Thread(target=append) for _ in range(3)] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == sorted(seen)
    assert ledger.head() == 30


@pytest.mark.parametrize("fences", [0, 50, 2 * BLOCK_BYTES // 32, 10_000])
def test_lines_longer_than_a_block_are_found_from_the_end(tmp_path: Path, fences: int) -> None:
    ledger = open_ledger(tmp_path)
    for number in range(1, 4):
        assert shred(ledger, fences).number == number == ledger.head()
    assert len(list(ledger.read())) == 3


def test_an_append_looks_at_the_last_line_only(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    shred(ledger)
    shred(ledger)
    file = tmp_path / "ledger" / "ledger.jsonl"
    file.write_bytes(b"x" + file.read_bytes()[1:])
    assert shred(ledger).number == 3
    with pytest.raises(LedgerBroken, match="line 1 of"):
        list(ledger.read())


def test_only_the_owner_can_read_what_is_created(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        shred(open_ledger(tmp_path))
    finally:
        os.umask(before)
    folder = tmp_path / "ledger"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("rights", [0o020, 0o002])
@pytest.mark.parametrize("place", ["", "ledger.jsonl"])
def test_a_ledger_that_others_can_write_is_refused(tmp_path: Path, place: str, rights: int) -> None:
    ledger = open_ledger(tmp_path)
    line = shred(ledger)
    path = tmp_path / "ledger" / place
    path.chmod(path.stat().st_mode | rights)
    looks = (ledger.head, lambda: list(ledger.read()), lambda: ledger.find(line.shred), lambda: shred(ledger))
    for look in looks:
        with pytest.raises(SettingsWrong):
            look()


def test_a_ledger_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir(mode=0o700)
    (tmp_path / "ledger" / "ledger.jsonl").symlink_to(tmp_path / "ledger" / "ledger.jsonl")
    for look in (open_ledger(tmp_path).head, lambda: list(open_ledger(tmp_path).read())):
        with pytest.raises(LedgerBroken):
            look()


def test_an_append_that_finds_no_room_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    ledger = open_ledger(tmp_path)
    first = shred(ledger)
    size = (tmp_path / "ledger" / "ledger.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
    try:
        with pytest.raises(LedgerBroken, match="cannot be read or written"):
            shred(ledger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "ledger" / "ledger.jsonl").stat().st_size == size
    assert list(ledger.read()) == [first]
