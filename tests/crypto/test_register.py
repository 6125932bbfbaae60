"""The register names nobody, and a fence outlives whom it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Event, Thread
from uuid import UUID, uuid4

import psycopg
import pytest

from crypto import register as registers
from crypto.keystore import KeyStore, rows_of
from crypto.register import SQL, Known, Register, quarter
from crypto.roots import FileRoots
from crypto.tree import Tree
from domain.errors import KeyLost, ReferenceMalformed, SealBroken
from domain.ids import TenantId
from domain.personal import Kind, Reference
from services.embedded import Endpoints

ACME, OTHER = TenantId(UUID(int=1)), TenantId(UUID(int=2))
ADDRESS = "zephyrine.quux@example.org"
ANN = Reference(Kind.EMAIL, ADDRESS)
CONTACT = Reference(Kind.PERSON, "4327786")
AT = datetime(2026, 5, 17, 23, 59, tzinfo=UTC)
LATER = datetime(2026, 8, 1, tzinfo=UTC)


class House:
    """Registers of tenants, each look in a transaction of its own."""

    def __init__(self, keys: KeyStore, roots: FileRoots) -> None:
        self.keys = keys
        self.roots = roots

    @contextmanager
    def register(self, tenant: TenantId = ACME) -> Iterator[Register]:
        with self.keys.transaction() as cursor:
            yield Register(Tree(cursor, self.roots), tenant)

    def enter(self, reference: Reference, inside: UUID, tenant: TenantId = ACME) -> bytes:
        with self.register(tenant) as register:
            index = register.index(reference)
            register.enter([(index, inside)])
        return index

    def known(self, reference: Reference, tenant: TenantId = ACME) -> Known | None:
        with self.register(tenant) as register:
            index = register.index(reference)
            return register.look_up([index]).get(index)

    def fence(self, *owners: UUID, at: datetime = AT, tenant: TenantId = ACME) -> int:
        with self.register(tenant) as register:
            return register.fence(owners, at)

    def losses(self) -> int:
        with self.keys.transaction() as cursor:
            return int(rows_of(cursor, "SELECT sum(losses) AS n FROM wrapping_keys WHERE kind = 'page'")[0]["n"])


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    keys = KeyStore(databases.keys_dsn)
    yield House(keys, FileRoots(tmp_path / "roots"))
    keys.close()


def dump(databases: Endpoints) -> str:
    """Read every row of the key database, binary columns in hexadecimal."""
    with psycopg.connect(databases.keys_dsn) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = [connection.execute(f'SELECT t::text FROM "{table}" AS t'.encode()).fetchall() for (table,) in tables]
    return "\n".join(str(row) for table in rows for row in table)


def test_a_reference_that_was_entered_is_known_and_no_other(house: House) -> None:
    inside = uuid4()
    house.enter(ANN, inside)
    assert house.known(ANN) == Known(inside, None, True)
    assert house.known(Reference(Kind.EMAIL, ADDRESS.upper())) == Known(inside, None, True)
    assert house.known(Reference(Kind.EXTERNAL, ADDRESS)) is None
    assert house.known(CONTACT) is None


def test_all_are_known_once_each_leads_somewhere_and_not_if_one_is_fenced(house: House) -> None:
    inside = uuid4()
    with house.register() as register:
        indexes = [register.index(ANN), register.index(CONTACT)]
        written = register.enter([(indexes[0], inside)])
        assert not register.knows(indexes)
        assert written.keys() == {indexes[0]}
        register.enter([(indexes[1], uuid4())])
        assert register.knows(indexes)
    house.fence(inside)
    with house.register() as register:
        assert not register.knows(indexes)


def test_nothing_wanted_is_nothing_known(house: House) -> None:
    with house.register() as register:
        assert register.look_up([]) == {}
        assert register.knows([])
        register.enter([])
        register.give_up([])
        register.told([])
        assert register.fence([uuid4()], AT) == 0


def test_a_reference_that_the_log_does_not_tell_yet_says_so(house: House) -> None:
    with house.register() as register:
        index = register.index(ANN)
        register.enter([(index, uuid4())], untold={index})
        assert not register.look_up([index])[index].told
        register.told([index])
        assert register.look_up([index])[index].told


def test_a_malformed_reference_has_no_index(house: House) -> None:
    with house.register() as register, pytest.raises(ReferenceMalformed):
        register.index(Reference(Kind.EMAIL, "nobody"))


def test_the_blind_index_is_the_same_always_and_differs_for_each_tenant(house: House) -> None:
    with house.register() as register:
        first = register.index(ANN)
    with house.register() as register:
        assert register.index(ANN) == first
    with house.register(OTHER) as register:
        assert register.index(ANN) != first
    assert len(first) == 32


def test_two_tenants_know_nothing_of_each_other(house: House) -> None:
    here, there = uuid4(), uuid4()
    house.enter(ANN, here)
    assert house.known(ANN, OTHER) is None
    house.enter(ANN, there, OTHER)
    assert house.known(ANN) == Known(here, None, True)
    assert house.fence(here) == 1
    assert house.known(ANN, OTHER) == Known(there, None, True)
    with house.register() as register:
        stranger = register.index(ANN)
    with house.register(OTHER) as register:
        assert register.look_up([stranger]) == {}


def test_no_row_names_anybody_before_or_after_a_fence(house: House, databases: Endpoints) -> None:
    inside = uuid4()
    house.enter(ANN, inside)
    house.enter(CONTACT, inside)
    for _ in range(2):
        stored = dump(databases).lower()
        for value in (ADDRESS, "quux", "4327786"):
            assert value not in stored
            assert value.encode().hex() not in stored
        with psycopg.connect(databases.keys_dsn) as connection:
            entries = connection.execute("SELECT register::text FROM register").fetchall()
        # The inside id beside an index is sealed: a guessed reference leads nowhere without the page key.
        assert str(inside) not in str(entries)
        assert inside.hex not in str(entries)
        house.fence(inside)


def test_a_fenced_reference_leads_nowhere_and_has_a_day(house: House) -> None:
    inside = uuid4()
    house.enter(ANN, inside)
    house.enter(CONTACT, inside)
    assert house.fence(inside) == 2
    assert house.known(ANN) == Known(None, date(2026, 5, 17), False)
    assert house.known(CONTACT) == Known(None, date(2026, 5, 17), False)


def test_a_fence_is_seen_by_a_register_that_was_opened_before_it(house: House) -> None:
    """The first shred of a quarter makes the fence key; whoever waited for its turn meanwhile has to see it."""
    inside = uuid4()
    index = house.enter(ANN, inside)
    with house.register() as early:
        house.fence(inside)
        assert early.look_up([index]) == {index: Known(None, date(2026, 5, 17), False)}
        assert len(early.tags_of_all_periods(index)) == 1


def test_a_fence_is_seen_in_the_transaction_that_made_it(house: House) -> None:
    inside = uuid4()
    index = house.enter(ANN, inside)
    with house.register() as register:
        register.fence([inside], AT)
        assert register.look_up([index])[index].inside is None
        assert register.look_up([index])[index].fenced == AT.date()


def test_a_fence_is_a_tag_and_a_day_and_has_no_id(house: House, databases: Endpoints) -> None:
    inside = uuid4()
    index = house.enter(ANN, inside)
    house.fence(inside)
    with psycopg.connect(databases.keys_dsn) as connection:
        [(fence,)] = connection.execute("SELECT to_jsonb(fences) FROM fences").fetchall()
        assert connection.execute("SELECT count(*) FROM register").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM register_backs").fetchone() == (0,)
    assert fence.keys() == {"tenant", "tag", "period", "day"}
    assert fence["tag"] != "\\x" + index.hex()
    assert str(inside) not in dump(databases)
    with house.register() as register:
        assert "\\x" + register.tags([index], AT)[0].hex() == fence["tag"]


def test_the_tags_of_one_reference_differ_in_every_quarter_and_tenant(house: House) -> None:
    with house.register() as register:
        index = register.index(ANN)
        tags = {*register.tags([index], AT), *register.tags([index], LATER)}
        assert set(register.tags_of_all_periods(index)) == tags
    with house.register(OTHER) as register:
        tags |= {*register.tags([index], AT)}
    assert len(tags) == 3


def test_of_two_fences_the_later_day_counts(house: House) -> None:
    for at in (LATER, AT, AT.replace(day=1)):
        inside = uuid4()
        house.enter(ANN, inside)
        house.fence(inside, at=at)
    known = house.known(ANN)
    assert known is not None
    assert known.fenced == LATER.date()


def test_whoever_claims_a_fenced_reference_is_found_and_the_fence_stays(house: House) -> None:
    first, second = uuid4(), uuid4()
    house.enter(ANN, first)
    house.fence(first)
    house.enter(ANN, second)
    assert house.known(ANN) == Known(second, AT.date(), True)


def test_a_fence_dies_with_the_key_of_its_quarter(house: House) -> None:
    first, second = uuid4(), uuid4()
    house.enter(ANN, first)
    house.enter(CONTACT, second)
    house.fence(first, at=AT)
    house.fence(second, at=LATER)
    with house.keys.transaction() as cursor:
        cursor.execute("DELETE FROM wrapping_keys WHERE kind = 'fence' AND period = '2026-Q2'")
    assert house.known(ANN) is None
    assert house.known(CONTACT) == Known(None, LATER.date(), False)
    with house.keys.transaction() as cursor:
        cursor.execute(SQL.expire_fences.sql, {"tenant": ACME, "periods": ["2026-Q2"]})
        assert rows_of(cursor, "SELECT count(*) AS n FROM fences")[0]["n"] == 1
    assert house.known(CONTACT) == Known(None, LATER.date(), False)


@pytest.mark.parametrize(
    ("month", "expected"),
    [(1, "2026-Q1"), (3, "2026-Q1"), (4, "2026-Q2"), (9, "2026-Q3"), (10, "2026-Q4"), (12, "2026-Q4")],
)
def test_a_quarter_has_three_months(month: int, expected: str) -> None:
    assert quarter(datetime(2026, month, 28, tzinfo=UTC)) == expected


def test_fencing_twice_is_fencing_once(house: House) -> None:
    inside = uuid4()
    house.enter(ANN, inside)
    assert house.fence(inside) == 1
    assert house.fence(inside, at=LATER) == 0
    assert house.known(ANN) == Known(None, AT.date(), False)


def test_a_claimed_address_leads_to_who_claimed_it_and_a_shred_of_the_former_leaves_it_alone(house: House) -> None:
    former, now = uuid4(), uuid4()
    index = house.enter(ANN, former)
    house.enter(CONTACT, former)
    with house.register() as register:
        register.give_up([(former, index)])
        register.enter([(index, now)])
        assert register.indexes_of([now]) == [(now, index)]
        assert index not in {found for _, found in register.indexes_of([former])}
    assert house.known(ANN) == Known(now, None, True)
    assert house.fence(former) == 1
    assert house.known(ANN) == Known(now, None, True)
    assert house.fence(now) == 1
    assert house.known(ANN) == Known(None, AT.date(), False)


def test_giving_up_what_one_does_not_have_changes_nothing(house: House) -> None:
    ann, bob = uuid4(), uuid4()
    index = house.enter(ANN, ann)
    with house.register() as register:
        register.give_up([(bob, index), (ann, bytes(32))])
        assert register.indexes_of([ann, bob]) == [(ann, index)]
    assert house.losses() == 0


def test_every_reference_of_a_person_is_found_from_the_inside(house: House) -> None:
    ann, bob = uuid4(), uuid4()
    mine = {house.enter(ANN, ann), house.enter(CONTACT, ann)}
    theirs = house.enter(Reference(Kind.EMAIL, "bob@example.org"), bob)
    with house.register() as register:
        assert {index for _, index in register.indexes_of([ann])} == mine
        assert {index for _, index in register.indexes_of([ann, bob])} == {*mine, theirs}


def test_pages_fill_and_a_full_one_gets_no_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registers, "PAGE_ROWS", 5)
    inside = {Reference(Kind.PERSON, str(number)): uuid4() for number in range(12)}
    with house.register() as register:
        register.enter([(register.index(reference), who) for reference, who in inside.items()])
    house.enter(ANN, uuid4())
    with house.keys.transaction() as cursor:
        pages = rows_of(cursor, "SELECT children FROM wrapping_keys WHERE kind = 'page' ORDER BY children")
        stored = rows_of(cursor, "SELECT count(*) AS n FROM register GROUP BY page ORDER BY n")
    assert [row["children"] for row in pages] == [row["n"] for row in stored] == [3, 5, 5]
    for reference, who in inside.items():
        assert house.known(reference) == Known(who, None, True)


def test_what_a_page_lost_is_counted_for_the_next_turn(house: House) -> None:
    former, now = uuid4(), uuid4()
    index = house.enter(ANN, former)
    house.enter(CONTACT, former)
    assert house.losses() == 0
    with house.register() as register:
        register.give_up([(former, index)])
        register.enter([(index, now)])
    assert house.losses() == 1
    house.fence(former)
    assert house.losses() == 2


@pytest.mark.parametrize("column", ["blind_index", "sealed", "tenant"])
def test_a_row_that_was_changed_or_moved_is_broken_and_leads_to_nobody(house: House, column: str) -> None:
    index = house.enter(ANN, uuid4())
    house.enter(CONTACT, uuid4())
    with house.register(OTHER) as register:
        there = register.index(ANN)
    with house.keys.transaction() as cursor:
        if column == "blind_index":
            cursor.execute("DELETE FROM register WHERE blind_index = %s", (index,))
            cursor.execute("UPDATE register SET blind_index = %s", (index,))
        elif column == "sealed":
            cursor.execute("UPDATE register SET sealed = set_byte(sealed, 20, 255 - get_byte(sealed, 20))")
        else:
            cursor.execute(
                "UPDATE register SET tenant = %s, blind_index = %s WHERE blind_index = %s", (OTHER, there, index)
            )
    with pytest.raises(SealBroken):
        house.known(ANN, OTHER if column == "tenant" else ACME)


def test_a_missing_page_is_a_lost_key_and_no_new_person(house: House) -> None:
    inside = uuid4()
    house.enter(ANN, inside)
    with house.keys.transaction() as cursor:
        cursor.execute("DELETE FROM wrapping_keys WHERE kind = 'page'")
    with pytest.raises(KeyLost):
        house.known(ANN)
    with pytest.raises(KeyLost), house.register() as register:
        register.indexes_of([inside])


def test_only_one_at_a_time_brings_new_references_to_a_tenant(house: House, databases: Endpoints) -> None:
    done = Event()
    for tenant in (ACME, OTHER):
        with house.register(tenant):
            pass

    def second() -> None:
        with house.register() as register:
            register.alone()
            done.set()

    thread = Thread(target=second)
    with house.register() as register, house.register(OTHER) as other:
        register.alone()
        other.alone()
        thread.start()
        with psycopg.connect(databases.keys_dsn, autocommit=True) as watcher:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while watcher.execute(waiting).fetchone() != (1,):
                assert thread.is_alive()
        assert not done.is_set()
    thread.join(10)
    assert done.is_set()
