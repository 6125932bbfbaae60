"""One record in a hundred of each kind is poison: all of it comes to the quarantine, the rest to the log."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import orjson
import pytest
from kafka import KafkaConsumer, KafkaProducer

from domain.ids import HOUSE
from services.embedded import serving
from services.kafka.admission import Admission, Allowed
from services.kafka.connecting import client
from services.kafka.consuming import consume
from services.kafka.receipts import Receipt, Receipts, read
from services.publishing.sending import message_of
from services.records import RECORD_BYTES
from services.sealed import MESSAGE_BYTES
from services.settings import Settings
from services.wiring import House, house
from tests.acceptance.test_at_rest import _places as places
from tests.kafka.cluster import Cluster
from tests.kafka.history import TENANT, Line, compare, history

RECORDS = int(os.environ.get("SEALDESK_TEST_RECORDS", "10000")) // 2
OF_EACH_KIND = max(RECORDS // 100, 1)
#: The largest are 4 MiB each, so of these there are never more.
MOST_OF_THE_LARGEST = 50
PARTITIONS = 4
#: Stands in every poison record, with its number, and nowhere else.
WORD = "zqpoisonzq"
#: What PostgreSQL would compress cannot be searched.
READABLE = {"wal_compression": "off", "fsync": "off"}


@dataclass(frozen=True)
class Poison:
    """A record as it is sent, and the reason for which it cannot be taken."""

    value: bytes | None
    code: str
    headers: tuple[tuple[str, bytes], ...] = ()


def _event(number: int, **other: object) -> bytes:
    event = {"specversion": "1.0", "id": f"{WORD}{number}", "source": "desk", "type": "sealdesk.ticket.opened.v1"}
    event |= {"subject": f"ticket {WORD}{number}", "tenant": TENANT, "time": "2026-03-01T12:00:00Z"}
    event |= {"data": {"id": f"{WORD}{number}", "email": f"{WORD}{number}@example.org", "subject": f"{WORD}{number}"}}
    return orjson.dumps({name: value for name, value in (event | other).items() if value is not None})


def _poison() -> Iterator[Poison]:
    """Write poison of one kind after the other, each record another."""
    for number in count():
        word = f"{WORD}{number}"
        yield Poison(f"no json {word}".encode(), "not_json")
        yield Poison(_event(number, type=f"sealdesk.{word}.v1"), "unknown_type")
        yield Poison(_event(number, data={"id": [word], "subject": {word: word}}), "wrong_field")
        yield Poison(_event(number, tenant="globex"), "wrong_tenant")
        yield Poison(_event(number, time=None), "no_time")
        replied = {"type": "sealdesk.ticket.replied.v1", "data": {"body": word}}
        yield Poison(_event(number, **replied), "unknown_ticket")
        yield Poison(b"{}", "wrong_header", (("ce_id", word.encode()), ("ce_type", b"\xff")))
        yield Poison(None, "no_value", (("note", word.encode()),))
        if number < MOST_OF_THE_LARGEST:
            yield Poison(_event(number, data={word: "x" * RECORD_BYTES}), "too_large")
        if number + 1 == OF_EACH_KIND:
            return


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[House]:
    settings = Settings.read(tmp_path / "data", {})
    with serving(settings, extra=READABLE) as endpoints, house(settings, endpoints) as opened_house:
        opened_house.tenants.add(TENANT)
        opened_house.tenants.add("globex")
        yield opened_house


@pytest.mark.timeout(900)
def test_poison_of_each_kind_is_quarantined_and_lies_nowhere_else_and_the_rest_is_stored(
    single: Cluster, opened: House, tmp_path: Path
) -> None:
    largest = {"max.message.bytes": str(MESSAGE_BYTES)}
    topic = single.create_topic("acme.records", partitions=PARTITIONS, settings=largest)
    receipts = single.create_topic("receipts", partitions=1)
    lines, poison = list(history(RECORDS)), list(_poison())
    sent = Counter(bad.code for bad in poison)
    _publish(single, topic, lines, poison)
    since = time.time()

    admission = Admission({topic: Allowed(frozenset({TENANT}))})
    sender = Receipts(single.broker, receipts)
    began, cpu = time.monotonic(), time.process_time()
    stored = list(
        consume(
            single.broker,
            opened.intake,
            opened.facts,
            topics=[topic],
            group=topic,
            admit=admission.admit,
            followers=[sender],
            until_idle=True,
        )
    )
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    sender.close()

    print(f"\n{RECORDS} records and poison {dict(sent)} in {seconds:.1f} s, {cpu:.1f} s of CPU, {len(stored)} batches")
    told = compare(opened, lines)
    assert told.is_right(), (told.missing[:3], told.repeated[:3], told.strange, told.out_of_order[:3])
    _all_of_it_is_kept(opened, poison, topic)
    _everybody_is_told(single, receipts, sent, topic)
    opened.projecting.catch_up()
    with opened.as_login.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    # What is looked for has to be found where it is planted.
    (tmp_path / "data" / "control").write_bytes(f"a {WORD}".encode())
    assert places(tmp_path / "data", [WORD], since=since) == ["control"]


def _publish(single: Cluster, topic: str, lines: list[Line], poison: list[Poison]) -> None:
    chance = random.Random(1)
    at: dict[int, list[Poison]] = {}
    for one in poison:
        at.setdefault(chance.randrange(len(lines)), []).append(one)
    producer = client(
        KafkaProducer,
        single.broker,
        acks="all",
        max_request_size=MESSAGE_BYTES,
        linger_ms=5,
    )
    acknowledged = []
    for number, line in enumerate(lines):
        for one in at.get(number, ()):
            acknowledged.append(producer.send(topic, value=one.value, key=b"%d" % number, headers=list(one.headers)))
        message = message_of(line.parcel)
        acknowledged.append(producer.send(topic, value=message.value, key=message.key, headers=message.headers))
    for answer in acknowledged:
        answer.get(60)
    producer.close()


def _all_of_it_is_kept(opened: House, poison: list[Poison], topic: str) -> None:
    kept: Counter[str] = Counter()
    words: set[bytes] = set()
    for tenant in (opened.tenants.named(TENANT).id, HOUSE):
        rows = {row["record"]: row for row in opened.quarantine.listed(tenant)}
        assert {row["topic"] for row in rows.values()} == {topic}
        assert len({(row["partition"], row["offset"]) for row in rows.values()}) == len(rows)
        assert {row["code"] == "wrong_tenant" for row in rows.values()} == {tenant == HOUSE}
        kept.update(row["code"] for row in rows.values())
        for record in opened.quarantine.opened(tenant):
            assert WORD.encode() in record.raw
            words.add(record.raw)
    assert kept == Counter(one.code for one in poison)
    assert len(words) == len(poison)
    assert list(opened.quarantine.listed(opened.tenants.named("globex").id)) == []


def _everybody_is_told(single: Cluster, topic: str, sent: Counter[str], records: str) -> None:
    consumer = client(KafkaConsumer, single.broker, group_id=None, auto_offset_reset="earliest")
    told: dict[tuple[int, int], Receipt] = {}
    try:
        consumer.subscribe([topic])
        end = time.monotonic() + 60
        while len(told) < RECORDS + sent.total() and time.monotonic() < end:
            for messages in consumer.poll(timeout_ms=500).values():
                for message in messages:
                    receipt = read(message.value)
                    assert receipt is not None
                    assert receipt.place.topic == records
                    told[receipt.place.partition, receipt.place.offset] = receipt
    finally:
        consumer.close()
    fared = Counter((receipt.status, receipt.code) for receipt in told.values())
    assert fared == Counter({("stored", ""): RECORDS} | {("quarantined", code): many for code, many in sent.items()})
