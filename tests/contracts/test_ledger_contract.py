"""What every ledger promises."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.ledger import TAGS_SEALED_AS, Fences, FileLedger, Ledger, Line, MemoryLedger, commitment
from crypto.mirroring import MirroredLedger
from crypto.roots import FileRoots
from crypto.wrapping import Key, context, wrap
from domain.errors import KeysUnavailable, SealBroken
from domain.ids import TenantId

AT = datetime(2026, 11, 24, 9, 30, 15, 123456, tzinfo=UTC)
FENCES = Fences((UUID(int=5),), Key(bytes(32)), tuple(bytes([n]) * 32 for n in range(3)))


def file_ledger(folder: Path, roots: FileRoots) -> Ledger:
    return FileLedger(folder / "ledger", Ed25519PrivateKey.generate(), roots)


def memory_ledger(folder: Path, roots: FileRoots) -> Ledger:
    return MemoryLedger(Ed25519PrivateKey.generate(), roots)


def mirrored_ledger(folder: Path, roots: FileRoots) -> Ledger:
    signing = Ed25519PrivateKey.generate()
    places = [FileLedger(folder / name, signing, roots) for name in ("ledger", "copy")]
    return MirroredLedger(*places)


@pytest.fixture
def roots(tmp_path: Path) -> FileRoots:
    return FileRoots(tmp_path / "roots")


@pytest.fixture(params=[file_ledger, mirrored_ledger, memory_ledger])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, roots: FileRoots) -> Ledger:
    make: Callable[[Path, FileRoots], Ledger] = request.param
    return make(tmp_path, roots)


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
