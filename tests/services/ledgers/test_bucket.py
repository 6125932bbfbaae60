"""The ledger in a bucket: nobody takes a line out or changes one, and an answer that is lost loses nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.ledger import Entry, Fences, Line
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import LedgerBroken, LedgerUnavailable, SettingsWrong
from domain.ids import TenantId
from services.ledgers.bucket import BucketLedger
from tests import buckets
from tests.appending import told_by
from tests.proxies import Proxy

SIGNING = Ed25519PrivateKey.from_private_bytes(b"k" * 32)

APPEND = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from crypto.ledger import Fences
from crypto.roots import FileRoots
from crypto.wrapping import Key
from services.ledgers.bucket import BucketLedger

server, bucket, folder, count = sys.argv[1:]
signing = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
ledger = BucketLedger(bucket, "lines", signing, FileRoots(Path(folder) / "roots"), years=2, endpoint=server)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(count)):
    line = ledger.append(
        tenant=uuid4(), kind="subject", key=uuid4(), shred=uuid4(), at=datetime(2026, 11, 24, tzinfo=UTC),
        fences=Fences((), Key(bytes(32)), (bytes(32),)), issue_counter=1,
    )
    print(line.number, line.shred, flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with buckets.serving() as address:
        yield address


@pytest.fixture
def bucket(server: str) -> str:
    """A bucket of the test's own, under Object Lock."""
    name = f"ledger-{uuid4()}"
    buckets.client_of(server).create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def open_ledger(server: str, bucket: str, folder: Path, *, years: int = 2) -> BucketLedger:
    roots = FileRoots(folder / "roots")
    return BucketLedger(bucket, "lines", SIGNING, roots, years=years, endpoint=server)


def entry() -> Entry:
    return {
        "tenant": TenantId(UUID(int=1)),
        "kind": "subject",
        "key": uuid4(),
        "shred": uuid4(),
        "at": datetime(2026, 11, 24, tzinfo=UTC),
        "fences": Fences((), Key(bytes(32)), ()),
        "issue_counter": 1,
    }


def shred(ledger: BucketLedger) -> Line:
    return ledger.append(**entry())


def key(number: int) -> str:
    return f"lines/{number:012d}.json"


def test_each_line_is_an_object_under_a_lock_of_so_many_years(server: str, bucket: str, tmp_path: Path) -> None:
    line = shred(open_ledger(server, bucket, tmp_path, years=3))
    found = buckets.client_of(server).get_object(Bucket=bucket, Key=key(1))
    assert found["Body"].read() == line.encoded()
    assert found["ObjectLockMode"] == "COMPLIANCE"
    assert found["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=3 * 365)
    with pytest.raises(ClientError, match="AccessDenied"):
        buckets.client_of(server).delete_object(Bucket=bucket, Key=key(1), VersionId=found["VersionId"])


def test_a_bucket_without_a_lock_is_refused(server: str, tmp_path: Path) -> None:
    ledger = open_ledger(server, buckets.OPEN, tmp_path)
    for look in (ledger.head, lambda: shred(ledger)):
        with pytest.raises(SettingsWrong, match="no Object Lock"):
            look()
    assert "Contents" not in buckets.client_of(server).list_objects_v2(Bucket=buckets.OPEN)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_line_that_was_deleted_or_overwritten_stands_as_it_was(
    server: str, bucket: str, tmp_path: Path, number: int
) -> None:
    ledger, client = open_ledger(server, bucket, tmp_path), buckets.client_of(server)
    lines = [shred(ledger) for _ in range(3)]
    client.delete_object(Bucket=bucket, Key=key(number))
    for _ in range(2):
        client.put_object(Bucket=bucket, Key=key(number), Body=b"another")
        client.delete_object(Bucket=bucket, Key=key(number))
    for again in (ledger, open_ledger(server, bucket, tmp_path)):
        assert list(again.read()) == lines
        assert again.head() == 3
        assert [again.find(line.shred) for line in lines] == lines
    lines.append(shred(open_ledger(server, bucket, tmp_path)))
    assert list(ledger.read()) == lines


def planted(lines: list[Line]) -> list[bytes]:
    """What somebody can put who may write to the bucket, and has no key of ours: noise, and old lines."""
    return [b"another", *(line.encoded() for line in lines)]


@pytest.mark.parametrize("times", [1, 5])
def test_whatever_is_put_where_the_next_line_goes_neither_hides_a_line_nor_stops_the_next(
    server: str, bucket: str, tmp_path: Path, times: int
) -> None:
    lines = [shred(open_ledger(server, bucket, tmp_path)) for _ in range(3)]
    for what in planted(lines[:2]):
        for _ in range(times):
            buckets.client_of(server).put_object(Bucket=bucket, Key=key(len(lines) + 1), Body=what)
        ledger = open_ledger(server, bucket, tmp_path)
        assert (ledger.head(), list(ledger.read())) == (len(lines), lines)
        lines.append(shred(ledger))
        again = open_ledger(server, bucket, tmp_path)
        assert list(again.read()) == lines
        assert [again.find(line.shred) for line in lines] == lines


def test_of_writers_that_put_over_what_was_planted_one_has_the_number(server: str, bucket: str, tmp_path: Path) -> None:
    first, second = (open_ledger(server, bucket, tmp_path) for _ in range(2))
    lines = [shred(first)]
    client = buckets.client_of(server)
    client.put_object(Bucket=bucket, Key=key(2), Body=b"another")
    draft = second._scribe.draw_up(lines[0], **entry())
    lines.append(shred(first))
    assert second._place.add(draft) is False
    client.put_object(Bucket=bucket, Key=key(2), Body=b"another")
    assert second._place.add(draft) is False, "what was planted over a line does not make room for another"
    assert list(second.read()) == lines


def test_a_bucket_whose_next_place_is_filled_again_and_again_gives_up(server: str, bucket: str, tmp_path: Path) -> None:
    ledger, client = open_ledger(server, bucket, tmp_path), buckets.client_of(server)
    line, put = shred(ledger), ledger._place._put

    def planting(number: int, raw: bytes, over: str | None) -> None:
        client.put_object(Bucket=bucket, Key=key(number), Body=uuid4().bytes)
        put(number, raw, over)

    ledger._place._put = planting
    with pytest.raises(LedgerUnavailable, match="does not show"):
        shred(ledger)
    assert list(open_ledger(server, bucket, tmp_path).read()) == [line]


def test_a_number_that_was_left_out_is_found(server: str, bucket: str, tmp_path: Path) -> None:
    ledger = open_ledger(server, bucket, tmp_path)
    lines = [shred(ledger) for _ in range(2)]
    for _ in range(2):
        lines.append(ledger._scribe.draw_up(lines[-1], **entry()))
    buckets.client_of(server).put_object(Bucket=bucket, Key=key(4), Body=lines[3].encoded())
    with pytest.raises(LedgerBroken, match="line 3 of the ledger has the number 4"):
        list(ledger.read())


def test_other_objects_and_other_ledgers_in_the_bucket_are_passed_over(
    server: str, bucket: str, tmp_path: Path
) -> None:
    client = buckets.client_of(server)
    for name in (
        "lines/README",
        "lines/000000000001.json.old",
        "lines2/000000000001.json",
        "lines/0/000000000009.json",
    ):
        client.put_object(Bucket=bucket, Key=name, Body=b"another")
    ledger = open_ledger(server, bucket, tmp_path)
    lines = [shred(ledger) for _ in range(2)]
    assert list(open_ledger(server, bucket, tmp_path).read()) == lines
    assert ledger.head() == 2


def test_the_head_of_a_long_ledger_takes_few_requests(server: str, bucket: str, tmp_path: Path) -> None:
    client = buckets.client_of(server)
    ledger = open_ledger(server, bucket, tmp_path)
    last = shred(ledger)
    for number in range(2, 60):
        last = ledger._scribe.draw_up(last, **entry())
        client.put_object(Bucket=bucket, Key=key(number), Body=last.encoded())
    with Proxy(server) as proxy:
        ledger = open_ledger(proxy.address, bucket, tmp_path)
        assert ledger._place._find_head() == 59
        assert proxy.requests <= 2 + 2 * 2 * 6
        proxy.requests = 0
        assert ledger._place._find_head() == 59
        assert proxy.requests == 1


def test_processes_that_append_at_once_make_one_unbroken_chain(server: str, bucket: str, tmp_path: Path) -> None:
    ledger = open_ledger(server, bucket, tmp_path)
    first = shred(ledger)
    words = [sys.executable, "-c", APPEND, server, bucket, str(tmp_path), "6"]
    told = told_by(words, 2)
    read = list(ledger.read())
    assert [line.number for line in read] == list(range(1, 14))
    assert read[0] == first
    assert sorted((str(line.number), str(line.shred)) for line in read[1:]) == told


def test_an_answer_that_is_lost_is_looked_for_and_the_line_stands_once(
    server: str, bucket: str, tmp_path: Path
) -> None:
    with Proxy(server) as proxy:
        ledger = open_ledger(proxy.address, bucket, tmp_path)
        lines = [shred(ledger)]
        proxy.lose_answers_to("PUT", times=1)
        lines.append(shred(ledger))
        assert proxy.lost == 1
    assert list(open_ledger(server, bucket, tmp_path).read()) == lines


def test_a_request_that_is_lost_is_sent_again_and_if_none_arrives_nothing_was_added(
    server: str, bucket: str, tmp_path: Path
) -> None:
    with Proxy(server) as proxy:
        ledger = open_ledger(proxy.address, bucket, tmp_path)
        lines = [shred(ledger)]
        proxy.lose_requests_of("PUT", times=1)
        lines.append(shred(ledger))
        proxy.lose_requests_of("PUT", times=1_000)
        with pytest.raises(LedgerUnavailable):
            shred(ledger)
        proxy.lose_requests_of("PUT", times=0)
        assert list(ledger.read()) == lines
        lines.append(shred(ledger))
    assert list(open_ledger(server, bucket, tmp_path).read()) == lines


def test_a_server_that_is_away_is_no_empty_ledger(server: str, bucket: str, tmp_path: Path) -> None:
    for where in (("http://127.0.0.1:1", bucket), (server, "there-is-none")):
        for look in (BucketLedger.head, lambda ledger: list(ledger.read()), shred):
            with pytest.raises(LedgerUnavailable, match="bucket of the ledger"):
                look(open_ledger(*where, tmp_path))
