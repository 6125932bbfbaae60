"""Pairs on a real database: who opens what, who seals to what, and when a private half dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from uuid import UUID, uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crypto.halves import PublicHalf, read_half, write_half
from crypto.integrity import Integrity
from crypto.keystore import KeyStore
from crypto.ledger import MemoryLedger
from crypto.pairs import GRACE, Extent, Pair, Pairs
from crypto.roots import FileRoots
from crypto.tree import Tree
from crypto.turning import Turning
from domain.errors import SealBroken, SettingsWrong
from domain.ids import TenantId
from services.embedded import Endpoints

ACME, OTHER = TenantId(UUID(int=1)), TenantId(UUID(int=2))
AT = datetime(2026, 5, 17, 12, tzinfo=UTC)
LATE = AT + GRACE + timedelta(days=30)
SECOND = timedelta(seconds=1)
TOPIC = UUID(int=77)


@pytest.fixture
def keys(databases: Endpoints) -> Iterator[KeyStore]:
    store = KeyStore(databases.keys_dsn)
    yield store
    store.close()


@pytest.fixture
def pairs(keys: KeyStore, tmp_path: Path) -> Pairs:
    return Pairs(keys, FileRoots(tmp_path / "roots"))


def private(pairs: Pairs, number: int, tenant: TenantId = ACME) -> X25519PrivateKey | None:
    with pairs.batch() as halves:
        return halves.of(tenant, number)


def opens(pairs: Pairs, pair: Pair, tenant: TenantId = ACME) -> bool:
    found = private(pairs, pair.number, tenant)
    return found is not None and found.public_key().public_bytes_raw() == pair.public.public_bytes_raw()


def holds(start: int, end: int, *, topic: str = "records", topic_id: UUID = TOPIC, partition: int = 0) -> Extent:
    return Extent(topic, topic_id, partition, start, end)


# -- turning ------------------------------------------------------------------------------------------------


def test_the_first_to_ask_makes_a_pair_and_everybody_after_is_given_the_same(pairs: Pairs) -> None:
    one, same, other = pairs.current(ACME, at=AT), pairs.current(ACME, at=LATE), pairs.current(OTHER, at=AT)

    assert one == same
    assert (one.number, one.state, one.made_at) == (1, "current", AT)
    assert other.number == 1
    assert opens(pairs, one)
    assert opens(pairs, other, OTHER)
    assert not opens(pairs, one, OTHER)
    assert private(pairs, 2) is None
    assert private(pairs, 0) is None


def test_after_a_turn_publishers_are_given_the_new_pair_and_the_old_one_opens_still(pairs: Pairs) -> None:
    old = pairs.current(ACME, at=AT)
    new = pairs.turn(ACME, at=LATE)

    assert pairs.current(ACME, at=LATE) == new
    assert [(pair.number, pair.state) for pair in pairs.listed(ACME)] == [(1, "superseded"), (2, "current")]
    assert pairs.listed(ACME)[0].superseded_at == LATE
    assert opens(pairs, old)
    assert opens(pairs, new)


def test_turns_at_the_same_time_come_one_after_the_other(pairs: Pairs) -> None:
    ready = Barrier(4)

    def turn() -> None:
        ready.wait()
        pairs.turn(ACME, at=AT)

    threads = [Thread(target=turn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [pair.number for pair in pairs.listed(ACME)] == [1, 2, 3, 4]
    assert [pair.state for pair in pairs.listed(ACME)] == ["superseded"] * 3 + ["current"]


def test_the_private_half_is_nowhere_in_clear_and_forgotten_after_its_batch(pairs: Pairs, databases: Endpoints) -> None:
    pair = pairs.current(ACME, at=AT)

    with pairs.batch() as halves:
        found = halves.of(ACME, pair.number)
        assert halves.of(ACME, pair.number) is found
    assert found is not None
    assert repr(halves) == "PrivateHalves()"
    with psycopg.connect(databases.keys_dsn) as connection:
        [stored] = connection.execute("SELECT pairs::text FROM pairs").fetchall()
        assert found.private_bytes_raw().hex() not in stored[0]
        assert pair.public.public_bytes_raw().hex() in stored[0]
        connection.execute("DELETE FROM pairs")
    assert halves.of(ACME, pair.number) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE pairs SET public_key = decode(repeat('09', 32), 'hex') WHERE number = 1 AND tenant = %(acme)s",
        "UPDATE pairs SET number = 7 WHERE number = 1 AND tenant = %(acme)s",
        "UPDATE pairs SET number = 9, tenant = %(acme)s WHERE number = 1 AND tenant = %(other)s",
        "UPDATE pairs SET superseded_at = %(at)s - interval '1 day' WHERE number = 1 AND tenant = %(acme)s",
        "UPDATE pairs SET wrapped = NULL, gone_at = %(at)s WHERE number = 1 AND tenant = %(acme)s",
    ],
)
def test_a_row_that_somebody_changed_gives_no_key_to_anybody(pairs: Pairs, databases: Endpoints, change: str) -> None:
    pairs.current(ACME, at=AT)
    pairs.turn(ACME, at=AT)
    pairs.current(OTHER, at=AT)
    pairs.turn(OTHER, at=AT)
    with psycopg.connect(databases.keys_dsn) as connection:
        assert connection.execute(change.encode(), {"acme": ACME, "other": OTHER, "at": AT}).rowcount == 1

    with pytest.raises(SealBroken):
        pairs.listed(ACME)
    with pytest.raises(SealBroken):
        pairs.current(ACME, at=AT)
    with pytest.raises(SealBroken):
        _ = [private(pairs, number) for number in (1, 7, 9)]


def test_a_private_half_that_was_put_elsewhere_does_not_open(pairs: Pairs, databases: Endpoints) -> None:
    pairs.current(ACME, at=AT)
    pairs.turn(ACME, at=AT)
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute(
            "UPDATE pairs SET wrapped = other.wrapped FROM pairs AS other WHERE pairs.number <> other.number"
        )

    with pytest.raises(SealBroken):
        private(pairs, 1)


# -- dying --------------------------------------------------------------------------------------------------


@pytest.fixture
def turned(pairs: Pairs) -> Pairs:
    pairs.current(ACME, at=AT)
    pairs.turn(ACME, at=AT)
    return pairs


def test_a_pair_dies_once_no_topic_holds_what_was_published_in_its_time(turned: Pairs) -> None:
    first = turned.step([holds(10, 50), holds(0, 0, partition=1)], cluster="c", at=LATE)
    # From now on only what is below these ends matters, whatever comes behind it.
    nearly = turned.step([holds(49, 90), holds(0, 30, partition=1)], cluster="c", at=LATE)
    then = turned.step([holds(50, 90), holds(0, 30, partition=1)], cluster="c", at=LATE + timedelta(days=1))

    assert (first, nearly, then) == (0, 0, 1)
    assert [pair.state for pair in turned.listed(ACME)] == ["gone", "current"]
    assert turned.listed(ACME)[0].gone_at == LATE + timedelta(days=1)
    assert private(turned, 1) is None
    assert private(turned, 2) is not None
    assert turned.step([holds(50, 90)], cluster="c", at=LATE) == 0


def test_a_pair_in_its_grace_does_not_die_however_empty_the_topics_are(turned: Pairs) -> None:
    assert turned.waits_for(at=AT + GRACE - timedelta(seconds=1)) is None
    assert turned.step([holds(9, 9)], cluster="c", at=AT + GRACE - timedelta(seconds=1)) == 0
    assert turned.waits_for(at=AT + GRACE) == set()
    assert turned.step([holds(9, 9)], cluster="c", at=AT + GRACE) == 1


def test_the_current_pair_never_dies(pairs: Pairs) -> None:
    pairs.current(ACME, at=AT)

    assert pairs.waits_for(at=LATE) is None
    assert pairs.step([holds(9, 9)], cluster="c", at=LATE + timedelta(days=4000)) == 0


def test_a_topic_that_was_made_anew_is_waited_for_from_its_beginning(turned: Pairs) -> None:
    anew = uuid4()
    turned.step([holds(0, 50)], cluster="c", at=LATE)

    assert turned.waits_for(at=LATE) == {"records"}
    assert turned.step([holds(0, 20, topic_id=anew)], cluster="c", at=LATE) == 0
    assert turned.step([holds(19, 30, topic_id=anew)], cluster="c", at=LATE + GRACE) == 0
    assert turned.step([holds(20, 30, topic_id=anew)], cluster="c", at=LATE + GRACE - SECOND) == 0
    assert turned.step([holds(20, 30, topic_id=anew)], cluster="c", at=LATE + GRACE) == 1


def test_another_cluster_says_nothing_of_what_the_first_one_holds(turned: Pairs) -> None:
    turned.step([holds(0, 50)], cluster="c", at=LATE)

    # An empty one, whether topics are missing there or of the same ids; and then the right one again.
    assert turned.step([], cluster="other", at=LATE) == 0
    assert turned.step([holds(50, 50)], cluster="other", at=LATE) == 0
    assert turned.step([holds(0, 60)], cluster="c", at=LATE + SECOND) == 0
    assert turned.step([holds(60, 60)], cluster="c", at=LATE + GRACE) == 0
    assert turned.step([holds(60, 60)], cluster="c", at=LATE + GRACE + SECOND) == 1


def test_without_topics_no_pair_dies(turned: Pairs) -> None:
    assert turned.step([], cluster="c", at=LATE) == 0
    assert turned.step([], cluster="c", at=LATE + GRACE) == 0


def test_a_pair_that_is_lost_is_another_thing_than_one_that_never_was(turned: Pairs, databases: Endpoints) -> None:
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("DELETE FROM pairs WHERE number = 1")

    with pytest.raises(SealBroken, match=f"pair 1 of the tenant {ACME} in the key database is missing"):
        private(turned, 1)
    assert private(turned, 3) is None


def test_made_up_numbers_ask_the_key_database_once_a_batch(turned: Pairs, keys: KeyStore) -> None:
    asked = []
    transaction = keys.transaction
    keys.transaction = lambda: asked.append(1) or transaction()  # type: ignore[method-assign,func-returns-value]

    with turned.batch() as halves:
        assert [halves.of(ACME, number) for number in range(3, 1_000)] == [None] * 997
    assert len(asked) == 1


def test_a_superseded_pair_says_what_it_waits_for(turned: Pairs) -> None:
    assert "publishers have until 2026-05-24" in turned.listed(ACME)[0].waits_for
    turned.step([holds(0, 50)], cluster="c", at=LATE)
    assert turned.listed(ACME)[0].waits_for.startswith("what records held")
    turned.step([holds(50, 50)], cluster="c", at=LATE)
    assert [pair.waits_for for pair in turned.listed(ACME)] == ["", ""]


def test_a_topic_that_was_deleted_holds_nothing_up_and_the_others_are_asked_anew(turned: Pairs) -> None:
    turned.step([holds(0, 50), holds(0, 50, topic="more", topic_id=UUID(int=78))], cluster="c", at=LATE)

    assert turned.waits_for(at=LATE) == {"records", "more"}
    assert turned.step([holds(50, 60)], cluster="c", at=LATE) == 0
    assert turned.step([holds(60, 60)], cluster="c", at=LATE + GRACE) == 1


# -- the file of the public half ----------------------------------------------------------------------------

SIGNING = Ed25519PrivateKey.generate()
HALF = PublicHalf("acme", 3, X25519PrivateKey.generate().public_key(), AT)


def pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def written() -> dict[str, object]:
    return write_half(HALF, SIGNING)


def test_a_public_half_is_read_as_it_was_written() -> None:
    content = json.dumps(written(), indent=4).encode()

    for read in (read_half(content), read_half(content, pem(SIGNING))):
        assert (read.tenant, read.epoch, read.made_at) == ("acme", 3, AT)
        assert read.key.public_bytes_raw() == HALF.key.public_bytes_raw()


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "umbrella"},
        {"epoch": 4},
        {"epoch": True},
        {
            "public_key": write_half(PublicHalf("acme", 3, X25519PrivateKey.generate().public_key(), AT), SIGNING)[
                "public_key"
            ]
        },
        {"public_key": "short"},
        {"made_at": "2020-01-01T00:00:00+00:00"},
        {"format": "sealdesk-public-half/2"},
        {"signature": "AAAA"},
        {"signature": 5},
        {"more": "1"},
    ],
)
def test_a_public_half_that_was_changed_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(SettingsWrong, match="sealdesk keys public"):
        read_half(json.dumps(written() | change).encode(), pem(SIGNING))
    with pytest.raises(SettingsWrong):
        read_half(json.dumps(written() | change).encode())


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b"null", b'{"format": "sealdesk-public-half/1"}'])
def test_what_is_no_public_half_is_refused(content: bytes) -> None:
    with pytest.raises(SettingsWrong, match="sealdesk keys public"):
        read_half(content)


def test_a_key_to_which_everybody_agrees_is_refused_whoever_signed_it() -> None:
    half = PublicHalf("acme", 3, X25519PublicKey.from_public_bytes(bytes(32)), AT)

    with pytest.raises(SettingsWrong, match="sealdesk keys public"):
        read_half(json.dumps(write_half(half, SIGNING)).encode(), pem(SIGNING))


def test_a_public_half_that_another_desk_signed_is_refused() -> None:
    with pytest.raises(SettingsWrong, match="another desk"):
        read_half(json.dumps(written()).encode(), pem(Ed25519PrivateKey.generate()))
    with pytest.raises(SettingsWrong, match=r"certificate\.pub"):
        read_half(json.dumps(written()).encode(), b"no PEM")


def test_a_turn_takes_the_pair_along_and_the_old_root_opens_it_no_more(databases: Endpoints, tmp_path: Path) -> None:
    keys, roots = KeyStore(databases.keys_dsn), FileRoots(tmp_path / "roots")
    try:
        pairs = Pairs(keys, roots)
        at = datetime(2026, 5, 17, tzinfo=UTC)
        pairs.turn(TenantId(UUID(int=1)), at=at)
        turning = Turning(keys, roots, lambda: at)
        turning.turn()
        assert turning.destroy_older(grace=timedelta(0)) == [1]
        with keys.transaction() as cursor:
            rows = cursor.execute("SELECT tenant, key_id, epoch, wrapped FROM pairs").fetchall()
            assert [row["epoch"] for row in rows] == [2]
            assert Tree(cursor, roots).unwrap_row(rows[0])
        assert Integrity(keys, roots, MemoryLedger(Ed25519PrivateKey.generate(), roots), lambda: at).check().is_clean
    finally:
        keys.close()
