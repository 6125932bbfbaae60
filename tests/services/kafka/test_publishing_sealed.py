"""From a sealed record to the event at the desk, and what does not open there."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaAdminClient

from crypto.envelopes import seal_envelope
from crypto.halves import PublicHalf
from crypto.keystore import KeyStore
from crypto.pairs import GRACE, Extent, Pairs
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import BrokerUnavailable, KeysUnavailable, RecordInvalid, SealBroken
from domain.ids import TenantId
from services.embedded import Endpoints
from services.kafka import inspecting
from services.kafka.connecting import Broker
from services.publishing.opening import Opening
from services.publishing.retiring import Retiring
from services.publishing.sealing import Sealer
from services.publishing.sending import publish
from services.records import parcel_of
from services.sealed import OpenSealed

# kafka-python forgets sockets that it was still connecting.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def forgotten_sockets() -> Iterator[None]:
    yield
    gc.collect()


AT = datetime(2026, 5, 17, 12, tzinfo=UTC)
OPENED = "sealdesk.ticket.opened.v1"
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "crm-1",
    "source": "/crm",
    "type": OPENED,
    "tenant": "acme",
    "time": "2026-05-17T12:00:00Z",
    "subject": "ticket 20",
    "partitionkey": "of upstream's own",
    "data": {"requester_id": 432, "email": "zephyrine.quux@example.org"},
}


@dataclass(frozen=True)
class Account:
    id: TenantId


@dataclass(frozen=True)
class Accounts:
    """Two tenants in memory."""

    names: tuple[str, ...] = ("acme", "umbrella")

    def by_name(self) -> Mapping[str, Account]:
        return {name: Account(TenantId(UUID(int=number + 1))) for number, name in enumerate(self.names)}


class Desk:
    """Pairs of two tenants, and publishers that seal to them."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.keys = KeyStore(dsn)
        self.roots = FileRoots(folder / "roots")
        self.pairs = Pairs(self.keys, self.roots)
        self.accounts = Accounts()

    def sealer(self, tenant: str = "acme") -> Sealer:
        pair = self.pairs.current(self.accounts.by_name()[tenant].id, at=AT)
        return Sealer(PublicHalf(tenant, pair.number, pair.public, pair.made_at), Key(bytes(32)))

    def sealed(self, event: Mapping[str, Any] = EVENT) -> tuple[dict[str, str], bytes]:
        message = self.sealer(event["tenant"]).message(parcel_of(json.dumps(event).encode()))
        headers = {name[3:]: value.decode() for name, value in message.headers if name.startswith("ce_")}
        return headers, message.value

    @contextmanager
    def batch(self) -> Iterator[OpenSealed]:
        with Opening(self.pairs, self.accounts).batch() as open_sealed:
            yield open_sealed

    def open(self, attributes: Mapping[str, str], body: bytes) -> bytes:
        with self.batch() as open_sealed:
            return open_sealed(attributes, body)

    def refuses(self, attributes: Mapping[str, str], body: bytes, code: str) -> None:
        with pytest.raises(RecordInvalid) as refused:
            self.open(attributes, body)
        assert (refused.value.code, refused.value.path) == (code, "")
        assert refused.value.__cause__ is None


@pytest.fixture(scope="module")
def desk(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(module_databases.keys_dsn, tmp_path_factory.mktemp("desk"))
    yield made
    made.keys.close()


texts = st.text(max_size=300)


@given(texts, st.dictionaries(texts, texts, max_size=4))
def test_the_desk_opens_what_a_publisher_sealed(desk: Desk, text: str, fields: dict[str, str]) -> None:
    event = EVENT | {"data": {"subject": text, "custom_fields": fields}}
    raw = json.dumps(event).encode()

    attributes, body = desk.sealed(event)

    assert desk.open(attributes, body) == raw
    assert parcel_of(raw).drafts[0].occurred_at == AT


def test_what_a_record_left_out_travels_inside_as_it_would_in_clear(desk: Desk) -> None:
    bare = {name: value for name, value in EVENT.items() if name not in ("specversion", "tenant", "subject")}
    message = desk.sealer().message(parcel_of(json.dumps(bare).encode(), "acme"))
    attributes = {name[3:]: value.decode() for name, value in message.headers if name.startswith("ce_")}

    assert "subject" not in attributes
    assert json.loads(desk.open(attributes, message.value)) == bare | {"specversion": "1.0", "tenant": "acme"}


@pytest.mark.parametrize("name", ["specversion", "type", "source", "time", "id", "subject", "tenant", "pairepoch"])
def test_no_attribute_can_be_changed_or_taken_away(desk: Desk, name: str) -> None:
    attributes, body = desk.sealed()
    desk.sealer("umbrella")
    other = {"type": "sealdesk.ticket.replied.v1", "tenant": "umbrella", "time": "2026-05-17T12:00:01Z"}
    changed = attributes | {name: other.get(name, attributes[name] + "0")}
    without = {key: value for key, value in attributes.items() if key != name}

    desk.refuses(changed, body, "pair_unknown" if name == "pairepoch" else "seal_broken")
    desk.refuses(without, body, "seal_broken")
    desk.refuses(attributes | {"more": ""}, body, "seal_broken")


@given(st.data())
def test_no_byte_can_be_changed(desk: Desk, data: st.DataObject) -> None:
    attributes, body = desk.sealed()
    place, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(body)
    changed[place] ^= 1 << bit

    desk.refuses(attributes, bytes(changed), "seal_broken")
    desk.refuses(attributes, body[:place], "seal_broken")


def test_a_record_of_another_tenant_or_source_or_epoch_does_not_open_even_if_all_of_it_is_moved(desk: Desk) -> None:
    attributes, body = desk.sealed()
    theirs, their_body = desk.sealed(EVENT | {"tenant": "umbrella"})

    desk.refuses(attributes, their_body, "seal_broken")
    desk.refuses(theirs, body, "seal_broken")
    desk.refuses(attributes | {"source": "/another"}, body, "seal_broken")
    desk.pairs.turn(desk.accounts.by_name()["acme"].id, at=AT)
    desk.refuses(attributes | {"pairepoch": str(int(attributes["pairepoch"]) + 1)}, body, "seal_broken")
    assert json.loads(desk.open(attributes, body)) == EVENT


@pytest.mark.parametrize("name", ["specversion", "type", "source", "tenant", "time"])
def test_a_publisher_that_says_one_thing_outside_and_another_inside_is_refused(desk: Desk, name: str) -> None:
    attributes, _ = desk.sealed()
    account = desk.accounts.by_name()["acme"]
    pair = desk.pairs.current(account.id, at=AT)
    for inside in (EVENT | {name: "another"}, {key: value for key, value in EVENT.items() if key != name}, []):
        body = seal_envelope(json.dumps(inside).encode(), pair.public, epoch=pair.number, attributes=attributes)

        desk.refuses(attributes, body, "not_an_object" if inside == [] else "seal_broken")


@pytest.mark.parametrize("epoch", ["99", "0", "-1", "01", "1 ", "", "x", "٣", "9" * 30, "1.0"])
def test_a_pair_that_there_never_was_is_told_apart(desk: Desk, epoch: str) -> None:
    attributes, body = desk.sealed()

    desk.refuses(attributes | {"pairepoch": epoch}, body, "pair_unknown")
    desk.refuses(attributes | {"tenant": "nobody"}, body, "pair_unknown")


def test_after_its_death_a_pair_opens_nothing(databases: Endpoints, tmp_path: Path) -> None:
    desk = Desk(databases.keys_dsn, tmp_path)
    account = desk.accounts.by_name()["acme"]
    attributes, body = desk.sealed()
    desk.pairs.turn(account.id, at=AT)
    assert desk.open(attributes, body)

    assert desk.pairs.step([Extent("t", UUID(int=5), 0, 7, 7)], cluster="c", at=AT + GRACE + timedelta(days=1)) == 1

    desk.refuses(attributes, body, "pair_unknown")
    desk.keys.close()


def test_one_batch_asks_for_a_key_once_and_the_next_one_asks_again(databases: Endpoints, tmp_path: Path) -> None:
    desk = Desk(databases.keys_dsn, tmp_path)
    attributes, body = desk.sealed()
    with desk.batch() as open_sealed:
        first = open_sealed(attributes, body)
        with psycopg.connect(databases.keys_dsn) as connection:
            connection.execute("DELETE FROM pairs")
        assert open_sealed(attributes, body) == first

    desk.refuses(attributes, body, "pair_unknown")
    desk.keys.close()


def test_trouble_with_our_own_keys_is_no_fault_of_the_record(databases: Endpoints, tmp_path: Path) -> None:
    desk = Desk(databases.keys_dsn, tmp_path)
    attributes, body = desk.sealed()
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("UPDATE pairs SET bound = 'x'")

    with pytest.raises(SealBroken):
        desk.open(attributes, body)
    for root in (tmp_path / "roots" / "epochs").iterdir():
        root.unlink()
    with pytest.raises(KeysUnavailable):
        desk.open(attributes, body)
    desk.keys.close()


# -- retiring -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """What was ever consumed; nothing, unless it is said."""

    ids: frozenset[UUID] = frozenset()

    def topics_read(self) -> set[UUID]:
        return set(self.ids)


def test_brokers_are_asked_only_when_a_pair_is_due_and_when_they_are_away_none_dies(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "ANSWER_MILLISECONDS", 300)
    desk = Desk(databases.keys_dsn, tmp_path)
    account = desk.accounts.by_name()["acme"]
    nobody = Broker(bootstrap="127.0.0.1:1")
    desk.pairs.turn(account.id, at=AT)
    desk.pairs.turn(account.id, at=AT)

    assert Retiring(nobody, desk.pairs, Read(), ["t"], clock=lambda: AT).step() == 0
    with pytest.raises(BrokerUnavailable):
        Retiring(nobody, desk.pairs, Read(), ["t"], clock=lambda: AT + GRACE).step()
    assert [pair.state for pair in desk.pairs.listed(account.id)] == ["superseded", "current"]
    desk.keys.close()


def test_a_pair_waits_for_what_the_topics_hold(broker: Broker, databases: Endpoints, tmp_path: Path) -> None:
    desk = Desk(databases.keys_dsn, tmp_path)
    account = desk.accounts.by_name()["acme"]
    desk.pairs.turn(account.id, at=AT)
    desk.pairs.turn(account.id, at=AT)
    held, empty = f"held.{uuid4().hex}", f"empty.{uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1} for name in (held, empty)})
    admin.close()
    publish([parcel_of(json.dumps(EVENT).encode())], broker, held)

    def step(*topics: str) -> int:
        return Retiring(broker, desk.pairs, Read(), topics, clock=lambda: AT + GRACE).step()

    assert step(held, empty) == 0
    # What was noted is asked for, even if it is consumed no more.
    assert step(empty) == 0
    assert desk.pairs.waits_for(at=AT + GRACE) == {held, empty}
    desk.keys.close()


def test_where_topics_hold_nothing_a_pair_goes_at_once(broker: Broker, databases: Endpoints, tmp_path: Path) -> None:
    desk = Desk(databases.keys_dsn, tmp_path)
    account = desk.accounts.by_name()["acme"]
    desk.pairs.turn(account.id, at=AT)
    desk.pairs.turn(account.id, at=AT)
    name = f"empty.{uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1}})
    admin.close()

    def step(*topics: str, read: frozenset[UUID] = frozenset()) -> int:
        positions = Read(read)
        return Retiring(broker, desk.pairs, positions, topics, clock=lambda: AT + GRACE).step()

    # A topic that is not there may be there at the right cluster.
    with pytest.raises(BrokerUnavailable, match="There is no topic never"):
        step(name, f"never.{name}")
    with pytest.raises(BrokerUnavailable, match="is SEALDESK_KAFKA right"):
        step(name, read=frozenset({uuid4()}))
    assert [pair.state for pair in desk.pairs.listed(account.id)] == ["superseded", "current"]
    assert step(name) == 1
    assert [pair.state for pair in desk.pairs.listed(account.id)] == ["gone", "current"]
    desk.keys.close()


def test_a_pair_whose_grace_ends_during_a_look_waits_for_the_next(
    broker: Broker, databases: Endpoints, tmp_path: Path
) -> None:
    desk = Desk(databases.keys_dsn, tmp_path)
    account = desk.accounts.by_name()["acme"]
    desk.pairs.turn(account.id, at=AT)
    desk.pairs.turn(account.id, at=AT)
    desk.pairs.turn(account.id, at=AT + timedelta(seconds=1))
    # A look takes three seconds.
    times = iter([AT + GRACE + timedelta(seconds=seconds) for seconds in (0, 3, 6)])
    name = f"empty.{uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}})
    admin.close()
    retiring = Retiring(broker, desk.pairs, Read(), [name], clock=lambda: next(times))

    assert retiring.step() == 1
    assert [pair.state for pair in desk.pairs.listed(account.id)] == ["gone", "superseded", "current"]
    assert retiring.step() == 1
    desk.keys.close()
