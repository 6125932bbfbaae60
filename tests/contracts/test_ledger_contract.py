"""What every ledger promises."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.ledger import TAGS_SEALED_AS, Copy, Fences, FileLedger, Ledger, Line, MemoryLedger, commitment
from crypto.lines import expire_ledger_keys
from crypto.mirroring import MirroredLedger
from crypto.roots import FileRoots
from crypto.wrapping import Key, context, wrap
from domain.errors import KeyExpired, KeysUnavailable, LedgerBroken, SealBroken
from domain.ids import TenantId
from services.ledgers.bucket import BucketLedger
from services.ledgers.topic import TopicLedger
from tests import buckets

#: kafka-python forgets sockets that it was still connecting.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
AT = datetime(2026, 11, 24, 9, 30, 15, 123456, tzinfo=UTC)
FENCES = Fences((UUID(int=5),), Key(bytes(32)), tuple(bytes([n]) * 32 for n in range(3)))


KINDS = ["memory", "file", "topic", "bucket", "file+file", "file+topic", "bucket+file"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with buckets.serving() as address:
        yield address


@pytest.fixture
def roots(tmp_path: Path) -> FileRoots:
    return FileRoots(tmp_path / "roots")


class Places:
    """Ledgers of a test. The same kind again is another one in another place, under the same key."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path, roots: FileRoots) -> None:
        self._request = request
        self._folder = folder
        self._roots = roots
        self._signing = Ed25519PrivateKey.generate()

    def ledger(self, kind: str) -> Ledger:
        if "+" not in kind:
            return self.copy(kind)
        return MirroredLedger(*map(self.copy, kind.split("+")))

    def copy(self, kind: str) -> Copy:
        name = uuid4().hex
        match kind:
            case "memory":
                return MemoryLedger(self._signing, self._roots)
            case "file":
                return FileLedger(self._folder / name, self._signing, self._roots)
            case "topic":
                return TopicLedger(self._request.getfixturevalue("broker"), name, self._signing, self._roots)
            case _:
                server = self._request.getfixturevalue("server")
                # A bucket each, because the server goes through all that it has.
                buckets.client_of(server).create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
                return BucketLedger(name, "", self._signing, self._roots, years=2, endpoint=server)


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path, roots: FileRoots) -> Places:
    return Places(request, tmp_path, roots)


@pytest.fixture(params=KINDS)
def ledger(request: pytest.FixtureRequest, places: Places) -> Ledger:
    return places.ledger(request.param)


def shred(ledger: Ledger, **changes: Any) -> Line:
    entry: dict[str, Any] = {
        "tenant": TenantId(uuid4()),
        "kind": "subject",
        "key": uuid4(),
        "shred": uuid4(),
        "at": AT,
        "fences": FENCES,
        "issue_counter": 7,
    }
    return ledger.append(**(entry | changes))


def test_a_ledger_nobody_has_written_is_empty(ledger: Ledger) -> None:
    assert ledger.head() == 0
    assert list(ledger.read()) == []
    assert ledger.find(uuid4()) is None


def test_lines_are_numbered_from_one_and_read_back_as_they_were_written(ledger: Ledger) -> None:
    written = []
    for number in range(1, 6):
        written.append(shred(ledger))
        assert written[-1].number == number == ledger.head()
    assert list(ledger.read()) == written


def test_a_line_says_what_was_shredded(ledger: Ledger) -> None:
    tenant, key, row = TenantId(uuid4()), uuid4(), uuid4()
    line = shred(ledger, tenant=tenant, kind="thing", key=key, shred=row, issue_counter=41)
    assert (line.tenant, line.kind, line.key, line.shred) == (tenant, "thing", key, row)
    assert (line.at, line.period, line.issue_counter) == (AT, "2026-Q4", 41)


def test_every_line_holds_the_hash_of_the_line_before(ledger: Ledger) -> None:
    first, second = shred(ledger), shred(ledger)
    assert first.previous == "0" * 64
    assert second.previous == hashlib.sha256(first.encoded()).hexdigest()


def test_the_line_of_a_shred_is_found(ledger: Ledger) -> None:
    lines = [shred(ledger) for _ in range(4)]
    assert [ledger.find(line.shred) for line in lines] == lines
    assert ledger.find(lines[0].key) is None
    assert ledger.find(UUID(int=0)) is None


@pytest.mark.parametrize("count", [0, 1, 3, 2_000])
def test_fences_are_opened_as_they_were_sealed_and_stand_nowhere_in_clear(ledger: Ledger, count: int) -> None:
    tags = tuple(number.to_bytes(2, "big") * 16 for number in range(count))
    targets = tuple(UUID(int=number) for number in range(count))
    line = shred(ledger, fences=Fences(targets, FENCES.key, tags))
    opened = ledger.fences_of(line)
    assert (opened.targets, opened.tags) == (targets, tags)
    assert opened.key is not None
    assert opened.key.material == bytes(32)
    assert not any(tag in line.fences for tag in tags)
    assert shred(ledger).number == 2


@pytest.mark.parametrize("change", ["number", "tenant", "key"])
def test_fences_do_not_open_in_another_line(ledger: Ledger, change: str) -> None:
    line = shred(ledger)
    moved = {"number": replace(line, number=2), "tenant": replace(line, tenant=TenantId(uuid4()))}
    with pytest.raises(SealBroken):
        ledger.fences_of(moved.get(change, replace(line, key=uuid4())))


def test_fences_and_signature_do_not_show_in_a_repr(ledger: Ledger) -> None:
    line = shred(ledger)
    assert repr(line.fences) not in repr(line)
    assert repr(line.signature) not in repr(line)


def test_a_period_is_a_quarter_in_utc_whatever_the_callers_zone(ledger: Ledger) -> None:
    new_year_in_auckland = datetime(2027, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=13)))
    line = shred(ledger, at=new_year_in_auckland)
    assert line.period == "2026-Q4"
    assert line.at == new_year_in_auckland
    periods = [shred(ledger, at=datetime(2026, month, 1, tzinfo=UTC)).period for month in (1, 3, 4, 7, 10, 12)]
    assert periods == ["2026-Q1", "2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4", "2026-Q4"]


def test_fences_of_a_period_go_with_its_ledger_key(ledger: Ledger, roots: FileRoots) -> None:
    old = shred(ledger, at=AT - timedelta(days=200))
    new = shred(ledger)
    (roots.folder / "secrets" / f"ledger-{old.period}.key").unlink()
    with pytest.raises(KeysUnavailable):
        ledger.fences_of(old)
    assert ledger.fences_of(new).tags == FENCES.tags
    assert list(ledger.read()) == [old, new]


def test_fences_of_a_quarter_expire_with_its_ledger_key_and_no_sooner(ledger: Ledger, roots: FileRoots) -> None:
    old, new = shred(ledger, at=AT - timedelta(days=200)), shred(ledger)
    last_day = datetime(2026, 6, 30, 23, 59, tzinfo=UTC)
    assert expire_ledger_keys(roots, at=last_day + timedelta(days=400), days=400) == 0
    assert ledger.fences_of(old).tags == FENCES.tags
    for count in (1, 0):
        assert expire_ledger_keys(roots, at=last_day + timedelta(days=400, minutes=1), days=400) == count
    with pytest.raises(KeyExpired):
        ledger.fences_of(old)
    assert ledger.fences_of(new).tags == FENCES.tags
    assert list(ledger.read()) == [old, new]
    with pytest.raises(KeyExpired):
        shred(ledger, at=AT - timedelta(days=200))
    assert shred(ledger).number == 3


def test_a_ledger_key_lost_in_its_period_does_not_come_back_as_another(ledger: Ledger, roots: FileRoots) -> None:
    shred(ledger)
    lost = roots.folder / "secrets" / "ledger-2026-Q4.key"
    lost.unlink()
    with pytest.raises(KeysUnavailable):
        shred(ledger)
    assert not lost.exists()
    roots.secret("ledger-2026-Q4")
    with pytest.raises(KeysUnavailable):
        shred(ledger)
    assert ledger.head() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "no word"},
        {"kind": ""},
        {"at": AT.replace(tzinfo=None)},
        {"fences": Fences((), Key(bytes(32)), (bytes(31),))},
        {
            "fences": Fences(
                (),
                Key(bytes(32)),
                (
                    bytes(16),
                    bytes(16),
                ),
            )
        },
    ],
)
def test_what_is_no_entry_leaves_no_line(ledger: Ledger, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^a (kind|time|fence) "):
        shred(ledger, **wrong)
    assert ledger.head() == 0
    assert list(ledger.read()) == []


def test_a_commitment_is_of_the_line_and_of_the_salt(ledger: Ledger) -> None:
    one, other = shred(ledger), shred(ledger)
    salt = b"s" * 32
    made = commitment(one, salt=salt)
    assert made == hmac.digest(salt, one.encoded(), "sha256")
    found = ledger.find(one.shred)
    assert found is not None
    assert made == commitment(found, salt=salt)
    assert made != commitment(other, salt=salt)
    assert made != commitment(one, salt=b"t" * 32)
    with pytest.raises(ValueError, match="salt"):
        commitment(one, salt=b"")


def test_a_line_of_the_earlier_format_still_opens(ledger: Ledger, roots: FileRoots) -> None:
    line = shred(ledger)
    tag = bytes([9]) * 32
    bound = context(TAGS_SEALED_AS, line.number.to_bytes(8, "big"), line.tenant.bytes, line.key.bytes)
    earlier = replace(line, fences=wrap(roots.secret("ledger-2026-Q4"), tag * 2, ends=bound))
    opened = ledger.fences_of(earlier)
    assert (opened.targets, opened.key, opened.tags) == ((line.key,), None, (tag, tag))


def test_many_writers_at_once_leave_no_gap_and_every_line_stands(ledger: Ledger) -> None:
    def write(_: int) -> list[Line]:
        return [shred(ledger) for _ in range(4)]

    with ThreadPoolExecutor(3) as pool:
        written = [line for lines in pool.map(write, range(3)) for line in lines]
    read = list(ledger.read())
    assert [line.number for line in read] == list(range(1, 13))
    assert sorted(written, key=lambda line: line.number) == read
    assert ledger.head() == 12


def test_a_place_that_takes_no_line_and_has_no_other_is_broken(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = places.copy("memory")
    assert isinstance(ledger, MemoryLedger)
    lines = [shred(ledger)]
    monkeypatch.setattr(ledger._place, "add", lambda line: False)
    with pytest.raises(LedgerBroken, match="where line 2 of the ledger is due"):
        shred(ledger)
    further = places.copy("file")
    further.take(lines[0])
    with pytest.raises(LedgerBroken, match="where line 2 of the ledger is due"):
        ledger.take(shred(further))


COPIES = ["memory", "file", "topic", "bucket"]


@pytest.mark.parametrize("kind", COPIES)
def test_the_lines_behind_a_number_are_those_that_read_gives(places: Places, kind: str) -> None:
    copy = places.copy(kind)
    lines = [shred(copy) for _ in range(4)]
    for number in range(5):
        assert list(copy.since(number)) == lines[number:]
    assert copy.last() == lines[-1]


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_takes_what_follows_and_passes_over_what_it_has(places: Places, kind: str) -> None:
    first, second = places.copy("memory"), places.copy(kind)
    lines = [shred(first) for _ in range(3)]
    with pytest.raises(LedgerBroken, match="line 2 of the ledger does not follow"):
        second.take(lines[1])
    for line in [*lines, *lines]:
        second.take(line)
    assert list(second.read()) == lines
    strange = places.copy("memory")
    for _ in range(3):
        shred(strange)
    with pytest.raises(LedgerBroken, match="line 4 of the ledger does not follow"):
        second.take(shred(strange))
    assert second.head() == 3


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("other", COPIES)
def test_whatever_one_place_lost_comes_back_from_the_other(places: Places, kind: str, other: str) -> None:
    first, empty = places.copy(kind), places.copy(other)
    lines = [shred(first) for _ in range(3)]
    for pair in (MirroredLedger(first, empty), MirroredLedger(places.copy(other), first)):
        assert pair.head() == 3
        assert list(pair.read()) == lines
    assert list(empty.read()) == lines
