"""What is sealed at its publisher never lies in a broker's folder, and what it was sealed to dies behind it."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto.halves import PublicHalf, write_half
from crypto.pairs import Pairs
from services.embedded import Endpoints
from services.kafka.clearing import Clearing
from services.kafka.consuming import consume
from services.kafka.receipts import Receipts
from services.publishing.opening import Opening
from services.publishing.publisher import Publisher
from services.publishing.receiving import NamedReceipt, Receipted
from services.publishing.retiring import Retiring
from services.wiring import House
from tests.desks import AT, Desk, desk_house
from tests.kafka.cluster import Cluster

RECORDS = int(os.environ.get("SEALDESK_TEST_RECORDS", "10000")) // 20
#: Stands in everything that names or says anything: ids, subjects, addresses, texts.
WORD = b"zqsealedzq"
PARTITIONS = 4
TICKET = "sealdesk.ticket.opened.v1"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path / "house") as opened:
        yield opened


def half_of(house: House, desk: Desk, path: Path) -> Path:
    """Write what `sealdesk keys public` writes."""
    pair = house.pairs.current(desk.tenant.id, at=now())
    half = PublicHalf(desk.name, pair.number, pair.public, pair.made_at)
    path.write_text(json.dumps(write_half(half, house.signing)))
    return path


def opened(publisher: Publisher, number: int) -> None:
    word = f"{WORD.decode()}{number}"
    data = {
        "email": f"{word}@example.org",
        "subject": word,
        "description": f"Grüße, {word}",
        "status": 2,
        "priority": 1,
    }
    publisher.publish(TICKET, f"ticket {word}", data, time=AT, id=f"{word}-opened")


def forms(word: bytes) -> list[bytes]:
    """Write a value as it may lie in a file."""
    # In base64 it depends on what stands before it; the signs at both ends depend on its neighbours.
    shifted = [base64.b64encode(b"\0" * shift + word)[2 + shift : -4] for shift in range(3)]
    return [word, word.hex().encode(), word.decode().encode("utf-16-le")[:-1], *shifted]


class Search(threading.Thread):
    """Goes through the folders of all brokers again and again, and counts what it finds."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._folders = [cluster.data(number) for number in cluster.ids]
        self._end = threading.Event()
        self.rounds = 0
        self.read = 0
        self.found: set[Path] = set()

    def run(self) -> None:
        while not self._end.wait(0.5):
            self.look()

    def look(self) -> None:
        """Go through them once."""
        for path in [path for folder in self._folders for path in folder.rglob("*")]:
            with suppress(FileNotFoundError, IsADirectoryError):
                # An index is ten MiB from the start, of which most are zeros.
                content = path.read_bytes().rstrip(b"\0")
                self.read += len(content)
                if any(form in content for form in forms(WORD)):
                    self.found.add(path)
        self.rounds += 1

    def stop(self) -> None:
        self._end.set()
        self.join()


@contextmanager
def searching(cluster: Cluster) -> Iterator[Search]:
    search = Search(cluster)
    search.start()
    try:
        yield search
    finally:
        search.stop()


@contextmanager
def consuming(cluster: Cluster, house: House, topic: str, receipts: str) -> Iterator[None]:
    """Be a `sealdesk consume` in a thread."""
    stop, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            for _ in consume(
                cluster.broker,
                house.intake,
                house.facts,
                topics=[topic],
                group=topic,
                opener=Opening(house.pairs, house.tenants).batch,
                followers=[Receipts(cluster.broker, receipts)],
                stop=stop,
            ):
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failures == []


@pytest.mark.timeout(900)
def test_no_folder_of_a_broker_ever_holds_what_was_sealed_at_its_publisher(
    cluster: Cluster, house: House, tmp_path: Path
) -> None:
    desk = Desk(house)
    topic = cluster.create_topic("sealed", partitions=PARTITIONS)
    receipts = cluster.create_topic("sealed.receipts")
    with searching(cluster) as search, consuming(cluster, house, topic, receipts):
        with Publisher(
            cluster.broker,
            source="/crm",
            tenant=desk.name,
            topic=topic,
            seal=True,
            unchecked=True,
            public_half=half_of(house, desk, tmp_path / "desk.pub.json"),
            secret=tmp_path / "publisher.secret",
            receipts=True,
            receipts_topic=receipts,
            resend_seconds=20,
        ) as publisher:
            for number in range(RECORDS):
                if number == RECORDS // 2:
                    led = cluster.leader(topic, 0)
                    cluster.kill(led)
                opened(publisher, number)
            publisher.flush()
            cluster.restart(led)
            told = publisher.wait_for_receipts(300)
        search.look()
        print(f"sealed: {RECORDS} records, {told}; {search.rounds} rounds through {search.read / 2**20:.0f} MiB")
        assert search.found == set()
        assert search.rounds > 1

        # The control: one record in clear is found, and so would the others have been.
        with Publisher(cluster.broker, source="/crm", tenant=desk.name, topic=topic) as publisher:
            opened(publisher, RECORDS)
        search.look()
        assert len({path.parts[len(cluster.folder.parts)] for path in search.found}) == len(cluster.ids)

    assert told.stored + told.duplicates == RECORDS
    assert (told.refused, told.quarantined, told.missing) == (0, 0, 0)
    texts = {row["subject"] for row in desk.tickets() if isinstance(row["subject"], str)}
    assert {f"{WORD.decode()}{number}" for number in range(RECORDS)} <= texts
    for form in forms(WORD):
        assert form not in (tmp_path / "publisher.secret").read_bytes() + (tmp_path / "desk.pub.json").read_bytes()


@pytest.mark.timeout(300)
def test_what_was_sealed_to_dies_once_no_topic_holds_it_and_later_records_are_told_so(
    cluster: Cluster, house: House, tmp_path: Path
) -> None:
    desk = Desk(house)
    topic = cluster.create_topic("retired", partitions=2)
    receipts = cluster.create_topic("retired.receipts")
    pairs = Pairs(house.keys, house.roots, grace=timedelta(0))
    retiring = Retiring(cluster.broker, pairs, house.facts, [topic], clock=now)
    clearing = Clearing(cluster.broker, house.facts, [topic], group=topic, tell=print, clock=now)

    def publisher(half: Path) -> Publisher:
        return Publisher(
            cluster.broker, source="/crm", tenant=desk.name, topic=topic, receipts=True, receipts_topic=receipts,
            seal=True, unchecked=True, public_half=half, secret=tmp_path / "secret",
        )  # fmt: skip

    old = half_of(house, desk, tmp_path / "old.json")
    with publisher(old) as publishing:
        for number in range(20):
            opened(publishing, number)
        publishing.flush()
        house.pairs.turn(desk.tenant.id, at=now())
        assert retiring.step() == 0, "the topic holds all of it"
        with consuming(cluster, house, topic, receipts):
            assert publishing.wait_for_receipts(60) == Receipted(stored=20)
        assert retiring.step() == 0, "the topic still holds all of it"
        assert clearing.step().records == 20
        assert retiring.step() == 1
        assert [pair.state for pair in house.pairs.listed(desk.tenant.id)] == ["gone", "current"]

    with consuming(cluster, house, topic, receipts):
        with publisher(old) as publishing:
            opened(publishing, 20)
            assert publishing.receipts(30) == [NamedReceipt(f"{WORD.decode()}20-opened", "quarantined", "pair_unknown")]
        with publisher(half_of(house, desk, tmp_path / "new.json")) as publishing:
            opened(publishing, 20)
            assert publishing.receipts(30) == [NamedReceipt(f"{WORD.decode()}20-opened", "stored")]
