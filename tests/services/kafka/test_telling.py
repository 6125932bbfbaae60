"""Telling and replies: what recipients hear on their topic, and what comes of their answers."""

from __future__ import annotations

import base64
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from crypto import certificates
from crypto.outbox import Outbox
from crypto.recipients import sign_reply
from crypto.sealing import padme
from domain.errors import BrokerUnavailable
from services.embedded import Endpoints
from services.kafka.connecting import Broker, client
from services.kafka.heartbeats import HEARTBEAT
from services.kafka.replies import Answered, Replies
from services.kafka.telling import Telling, again_after
from services.wiring import now
from tests.desks import Desk, desk_house

NOBODY = Broker(bootstrap="127.0.0.1:1")
_names = count(1)

pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Iterator[None]:
    yield
    gc.collect()


@dataclass
class Office:
    """A desk with its keeper over a broker, and a clock that can be put forward."""

    desk: Desk
    broker: Broker
    topic: str
    ahead: timedelta = timedelta()
    secrets: dict[str, bytes] = field(default_factory=dict)

    def clock(self) -> datetime:
        return now() + self.ahead

    @property
    def telling(self) -> Telling:
        house = self.desk.house
        return Telling(
            self.broker,
            house.keys,
            house.roots,
            house.tenants,
            house.news,
            house.certifying,
            clock=self.clock,
            topic=self.topic,
        )

    @property
    def replies(self) -> Replies:
        house = self.desk.house
        return Replies(self.broker, house.keys, house.roots, clock=self.clock, topic=f"{self.topic}.replies")

    def recipient(self, name: str, *kinds: str, key: bytes | None = None) -> None:
        wanted = kinds or ("erased", "content_erased", "rectified", "restricted")
        self.secrets[name] = self.desk.house.recipients.add(self.desk.tenant.id, name, wanted, key)

    def heard(self) -> list[dict[str, Any]]:
        """Read the whole topic, as whoever may read it."""
        consumer = client(KafkaConsumer, self.broker, group_id=None, enable_auto_commit=False)
        try:
            places = [TopicPartition(self.topic, number) for number in consumer.partitions_for_topic(self.topic) or ()]
            if not places:
                return []
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            found: list[dict[str, Any]] = []
            while any(consumer.position(place) < end for place, end in ends.items()):
                for messages in consumer.poll(timeout_ms=200).values():
                    found += [orjson.loads(message.value) for message in messages]
            return found
        finally:
            consumer.close()

    def say(self, *values: bytes | None, headers: Any = (), topic: str | None = None) -> None:
        producer = client(KafkaProducer, self.broker, acks="all")
        try:
            beside: dict[str, Any] = {"key": b"any", "headers": list(headers)}
            sent = [producer.send(topic or f"{self.topic}.replies", value=value, **beside) for value in values]
            for each in sent:
                each.get(timeout=10)
        finally:
            producer.close()

    def reply(self, record: dict[str, Any], status: str = "done", *, secret: bytes | None = None) -> bytes:
        signed = sign_reply(secret or self.secrets[record["recipient"]], UUID(record["id"]), status)
        return orjson.dumps({"id": record["id"], "status": status, "mac": signed.hex()})

    def certificate(self) -> dict[str, Any]:
        with self.desk.house.keys.transaction() as cursor:
            [row] = cursor.execute("SELECT certificate FROM shreds WHERE certificate IS NOT NULL").fetchall()
        certificates.verify(row["certificate"])
        return dict(row["certificate"])

    def at_rest(self) -> bytes:
        """Give every row of the key database as text: what stands there, hexadecimal where it is bytes."""
        tables = ("outbox", "outbox_pages", "tellings", "recipients", "shreds", "wrapping_keys")
        with self.desk.house.keys.transaction() as cursor:
            rows = [row for table in tables for row in cursor.execute(f"SELECT t::text AS row FROM {table} AS t")]
        return "\n".join(row["row"] for row in rows).encode()


@pytest.fixture
def office(databases: Endpoints, tmp_path: Path, broker: Broker) -> Iterator[Office]:
    with desk_house(databases, tmp_path) as opened:
        desk = Desk(opened)
        desk.happens("contact.created", "contact 90432", id=90432, name="Ann Abbott", email="ann@example.org")
        desk.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org")
        desk.happens("ticket.opened", "ticket 90020", id=90020, requester_id=90432, subject="help")
        desk.happens("ticket.opened", "ticket 21", id=21, requester_id=2, subject="and I")
        desk.happens("ticket.replied", "ticket 90020", body="me too", user_id=2)
        yield Office(desk, broker, f"privacy.{next(_names)}")


def test_a_shred_is_told_by_the_ids_of_upstream_and_nothing_else(office: Office) -> None:
    office.recipient("crm")
    certificate = office.desk.shred("contact 90432")
    assert certificate["told"]["recipients"] == 1
    assert certificate["told"]["acknowledged"] == 0
    assert certificate["told"]["outbox_key_destroyed_at"] is None
    assert office.telling.step().sent == 1
    [record] = office.heard()
    assert record["type"] == "sealdesk.privacy.erased.v1"
    assert record["tenant"] == "acme"
    assert record["recipient"] == "crm"
    assert record["data"]["things"] == ["contact 90432", "ticket 90020"]
    assert b"Ann" not in orjson.dumps(record)
    assert b"@" not in orjson.dumps(record)
    assert office.telling.step().sent == 0


def test_the_key_dies_with_the_last_acknowledgement_and_the_certificate_is_issued_anew(office: Office) -> None:
    office.recipient("crm")
    office.recipient("mailing")
    first = office.desk.shred("contact 90432")
    office.telling.step()
    records = {record["recipient"]: record for record in office.heard()}
    office.say(office.reply(records["crm"]))
    assert office.replies.step() == Answered(1, 0)
    assert office.telling.step().closed == 0
    assert office.certificate()["told"]["acknowledged"] == 1
    office.say(office.reply(records["mailing"], "unknown"))
    office.replies.step()
    assert office.telling.step().closed == 1
    last = office.certificate()
    assert last["told"]["acknowledged"] == 2
    assert last["told"]["outbox_key_destroyed_at"] is not None
    assert {name for name in last if last[name] != first[name]} <= {"told", "issued_at", "signature"}
    with office.desk.house.keys.transaction() as cursor:
        assert cursor.execute("SELECT 1 FROM wrapping_keys WHERE kind = 'outbox'").fetchall() == []
        assert cursor.execute("SELECT 1 FROM outbox_pages").fetchall() == []


def test_news_for_a_recipient_with_a_key_says_nothing_to_anybody_else(office: Office) -> None:
    private = X25519PrivateKey.generate()
    office.recipient("crm", key=private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    office.desk.shred("contact 90432")
    office.telling.step()
    [record] = office.heard()
    assert b"90432" not in orjson.dumps(record)
    assert b"90020" not in orjson.dumps(record)
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    sealed = base64.b64decode(record["data_base64"])
    info = "sealdesk-news/1\n{id}\n{type}\n{tenant}\n{recipient}"
    data = orjson.loads(suite.decrypt(sealed, private, info.format(**record).encode()))
    assert data["things"] == ["contact 90432", "ticket 90020"]
    elsewhere = info.format(**record | {"tenant": "other"}).encode()
    with pytest.raises(InvalidTag):
        suite.decrypt(sealed, private, elsewhere)


def test_what_is_no_answer_of_the_recipient_changes_nothing_and_is_counted(office: Office) -> None:
    office.recipient("crm")
    office.recipient("mailing", "rectified")
    office.desk.shred("contact 90432")
    office.telling.step()
    [record] = office.heard()
    bad = [
        None,
        b"",
        b"no json",
        b"[]",
        b"{}",
        orjson.dumps({"id": record["id"], "status": "done"}),
        orjson.dumps({"id": record["id"], "status": "done", "mac": "zz"}),
        orjson.dumps({"id": record["id"], "status": ["done"], "mac": ""}),
        orjson.dumps({"id": 7, "status": "done", "mac": ""}),
        b" " * 100_000,
        office.reply(record, secret=office.secrets["mailing"]),
        office.reply(record, "everything"),
        office.reply(record | {"id": str(UUID(int=7))}),
    ]
    office.say(*bad)
    assert office.replies.step() == Answered(len(bad), len(bad))
    assert office.telling.step().closed == 0
    office.say(office.reply(record))
    office.say(b"", headers=[("content-type", HEARTBEAT)])
    assert office.replies.step() == Answered(1, 0)
    assert office.telling.step().closed == 1
    assert office.replies.step() == Answered(0, 0)


def test_what_a_crash_left_unmarked_is_sent_again_under_the_same_id(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.recipient("crm")
    office.desk.shred("contact 90432")

    def dying(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "mark_sent", dying)
        with pytest.raises(KeyboardInterrupt):
            office.telling.step()
    assert office.telling.step().sent == 1
    assert len(office.heard()) == 2
    assert len({record["id"] for record in office.heard()}) == 1


def test_a_reply_that_was_noted_is_noted_with_its_position_or_not_at_all(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.recipient("crm")
    office.desk.shred("contact 90432")
    office.telling.step()
    [record] = office.heard()
    office.say(office.reply(record))

    def dying(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "answer", dying)
        with pytest.raises(KeyboardInterrupt):
            office.replies.step()
    assert office.replies.step() == Answered(1, 0)


def test_without_kafka_nothing_is_lost_and_keys_die_in_time(office: Office) -> None:
    office.recipient("crm")
    office.desk.shred("contact 90432")
    away = replace(office, broker=NOBODY)
    with pytest.raises(BrokerUnavailable):
        away.telling.step()
    with pytest.raises(BrokerUnavailable):
        away.replies.step()
    assert office.telling.step().sent == 1
    office.desk.shred("contact 2")
    house = office.desk.house
    late = replace(office, ahead=timedelta(days=31))
    without = Telling(None, house.keys, house.roots, house.tenants, house.news, house.certifying, clock=late.clock)
    step = without.step()
    assert (step.sent, step.closed, step.missed) == (0, 2, 1)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(office: Office) -> None:
    office.recipient("crm")
    office.desk.shred("contact 90432")
    office.telling.step()
    [record] = office.heard()
    office.say(b"1", b"2", b"3")
    assert office.replies.step() == Answered(3, 3)
    admin = client(KafkaAdminClient, office.broker)
    try:
        admin.delete_topics([f"{office.topic}.replies"])
        admin.create_topics({f"{office.topic}.replies": {"num_partitions": 1, "replication_factor": 1}})
    finally:
        admin.close()
    office.say(office.reply(record))
    assert office.replies.step() == Answered(1, 0)


def test_the_replies_of_a_topic_that_does_not_exist_are_none(office: Office) -> None:
    assert replace(office, topic="privacy.never").replies.step() == Answered(0, 0)


def as_documented(office: Office, **options: Any) -> list[tuple[str, str]]:
    """Run the code of docs/recipients.md as it stands, with this broker and these topics. Returns what it acted on."""
    text = (Path(__file__).parents[3] / "docs" / "recipients.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done: list[tuple[str, str]] = []
    names: dict[str, Any] = {}
    exec(compile(code, "docs/recipients.md", "exec"), names)
    names["run"](
        office.broker.bootstrap,
        "acme",
        "crm",
        office.secrets["crm"],
        lambda kind, thing: done.append((kind, thing)),
        news=office.topic,
        replies=f"{office.topic}.replies",
        group=office.topic,
        # The embedded broker lets a first consumer in after half a session.
        session_timeout_ms=1_500,
        heartbeat_interval_ms=500,
        consumer_timeout_ms=5_000,
        **options,
    )
    return done


def test_a_recipient_acts_on_nothing_that_is_forged_and_on_nothing_twice(office: Office) -> None:
    private = X25519PrivateKey.generate()
    office.recipient("crm", key=private.public_key().public_bytes_raw())
    office.desk.happens("contact.blocked", "contact 2", id=2)
    office.telling.step()
    [genuine] = office.heard()
    data = {"news": genuine["id"], "kind": "erased", "things": ["contact 1"], "page": 1, "pages": 1}
    clear = {name: value for name, value in genuine.items() if name != "data_base64"}
    forged: list[Any] = [
        # With the public key anybody can seal, and a signature covers all of a record.
        genuine | {"type": "sealdesk.privacy.erased.v1"},
        genuine | {"id": str(UUID(int=7))},
        genuine | {"time": "2030-01-01T00:00:00+00:00"},
        {name: value for name, value in genuine.items() if name != "mac"},
        clear | {"data": data},
        clear | {"data": data, "mac": ""},
        clear | {"data": data, "mac": 7},
        genuine | {"data": data, "data_base64": 7},
        [],
        7,
    ]
    office.say(*map(orjson.dumps, forged), b"no json", b"\xff", orjson.dumps(genuine), topic=office.topic)
    assert as_documented(office, private_key=private) == [("restricted", "contact 2")]
    assert office.replies.step() == Answered(2, 0)


def test_news_in_clear_is_signed_over_what_it_says(office: Office) -> None:
    office.recipient("crm")
    office.desk.happens("contact.blocked", "contact 2", id=2)
    office.telling.step()
    [genuine] = office.heard()
    other = genuine | {"data": genuine["data"] | {"things": ["contact 1"]}}
    office.say(orjson.dumps(other | {"id": str(UUID(int=7))}), orjson.dumps(other), topic=office.topic)
    assert as_documented(office) == [("restricted", "contact 2")]


def test_what_nobody_answers_is_sent_again_until_its_deadline(office: Office) -> None:
    office.recipient("crm")
    office.recipient("books")
    office.desk.shred("contact 90432")
    assert office.telling.step().sent == 2
    books = next(record for record in office.heard() if record["recipient"] == "books")
    office.say(office.reply(books))
    office.replies.step()
    assert replace(office, ahead=timedelta(days=2, hours=23)).telling.step().sent == 0
    later = replace(office, ahead=timedelta(days=3, minutes=1))
    assert later.telling.step().sent == 1
    assert later.telling.step().sent == 0
    ids = [record["id"] for record in office.heard() if record["recipient"] == "crm"]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    # It is to be sent once more, and the deadline comes first. But it was sent, and is not said to be missed.
    house = office.desk.house
    assert house.recipients.send_again(office.desk.tenant.id, "crm") == 1
    last = replace(office, ahead=timedelta(days=31)).telling.step()
    assert (last.sent, last.closed, last.missed) == (0, 1, 0)
    states = [one["state"] for one in house.recipients.show(office.desk.tenant.id, "crm")]
    assert states == ["waiting"]


@pytest.mark.parametrize(("days", "hours"), [(7, 72), (6, 72), (4, 48), (1, 12)])
def test_it_is_sent_again_while_the_topic_may_still_hold_it(days: int, hours: int) -> None:
    assert again_after(days) == timedelta(hours=hours)


def test_a_tenant_that_nobody_knows_keeps_no_other_back_and_is_counted(office: Office) -> None:
    other = Desk(office.desk.house, "other")
    office.desk.house.recipients.add(other.tenant.id, "crm", ["erased"])
    other.happens("contact.created", "contact 90433", id=90433, name="Cy", email="cy@example.org")
    other.shred("contact 90433")
    office.recipient("crm")
    office.desk.shred("contact 90432")
    with office.desk.house.facts.cursor() as cursor:
        cursor.execute("DELETE FROM tenants WHERE name = 'other'")
    step = office.telling.step()
    assert (step.sent, step.passed_over) == (1, 1)
    assert [record["tenant"] for record in office.heard()] == ["acme"]


def test_the_length_of_sealed_news_says_little(office: Office) -> None:
    private = X25519PrivateKey.generate()
    office.recipient("crm", key=private.public_key().public_bytes_raw())
    for name in ("contact 2", "contact 90432"):
        office.desk.happens("contact.blocked", name, id=int(name.split()[1]))
    office.telling.step()
    # The encapsulated key has 32 bytes, the tag 16.
    lengths = [len(base64.b64decode(record["data_base64"])) - 48 for record in office.heard()]
    assert len(lengths) == 2
    assert all(padme(length) == length for length in lengths)


def test_replies_of_which_the_topic_lost_some_are_read_from_its_beginning(office: Office) -> None:
    office.recipient("crm")
    office.desk.shred("contact 90432")
    office.telling.step()
    [record] = office.heard()
    office.say(b"1", b"2", b"3")
    assert office.replies.step() == Answered(3, 3)
    with office.desk.house.keys.transaction() as cursor:
        cursor.execute("UPDATE reply_positions SET next_offset = 100")
    office.say(office.reply(record))
    assert office.replies.step() == Answered(4, 3)
    assert office.replies.step() == Answered(0, 0)
    assert office.telling.step().closed == 1


def test_the_example_of_a_recipient_in_the_documents_works(office: Office) -> None:
    office.recipient("crm")
    # Another tenant has a recipient of that name, and people with these numbers.
    other = Desk(office.desk.house, "other")
    office.desk.house.recipients.add(other.tenant.id, "crm", ["erased"])
    other.happens("contact.created", "contact 90433", id=90433, name="Cy", email="cy@example.org")
    other.shred("contact 90433")
    office.desk.shred("contact 90432")
    office.telling.step()
    assert as_documented(office) == [("erased", "contact 90432"), ("erased", "ticket 90020")]
    assert office.replies.step() == Answered(1, 0)
    assert office.telling.step().closed == 1
