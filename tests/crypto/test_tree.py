"""The key tree on a real database: what opens, what died, and what may never look like a death."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from crypto import keystore
from crypto.keystore import KeyStore, rows_of
from crypto.opening import SHREDDED, Found, open_leaves
from crypto.roots import FileRoots
from crypto.tree import BUCKET_CHILDREN, SQL, Owner
from crypto.wrapping import Key
from domain.errors import KeyLost, KeysUnavailable, NobodyCanAct, SealBroken
from services.embedded import Endpoints
from tests.rings import ACME, LINE, OTHER, Leaf, Ring


@pytest.fixture
def roots(tmp_path: Path) -> FileRoots:
    return FileRoots(tmp_path / "roots")


@pytest.fixture
def ring(databases: Endpoints, roots: FileRoots) -> Iterator[Ring]:
    keys = KeyStore(databases.keys_dsn)
    yield Ring(keys, roots)
    keys.close()


def opens_as(found: Found, key: Key) -> bool:
    return isinstance(found, Key) and found.material == key.material


# -- issue and open -------------------------------------------------------------------------------------------------


def test_a_leaf_that_was_issued_opens(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, key = ring.leaf(ann)
    assert opens_as(ring.open(leaf), key)


def test_a_page_of_leaves_opens_with_one_query_whoever_they_belong_to(ring: Ring) -> None:
    people = ring.subjects(3)
    issued = [ring.leaf(people[number % 3], people[(number + 1) % 3]) for number in range(12)]
    with ring.tree() as tree:
        found = open_leaves(tree, ACME, [leaf for leaf, _ in issued] * 2)
    assert len(found) == 12
    assert all(opens_as(found[leaf], key) for leaf, key in issued)


def test_nothing_wanted_opens_nothing(ring: Ring) -> None:
    with ring.tree() as tree:
        assert open_leaves(tree, ACME, []) == {}
        assert tree.people([]) == {}
        assert tree.issue_subjects(ACME, []) == []
        assert tree.issue_leaves(ACME, []) == []


def test_no_key_stands_in_the_database_in_clear(ring: Ring, databases: Endpoints) -> None:
    people = ring.subjects(2)
    _, key = ring.leaf(*people)
    with ring.tree() as tree:
        mark = tree.service_key(ACME, "dedup").key
    stored = dump(databases)
    for secret in (key, mark, *(owner.key for owner in people)):
        assert secret.material.hex() not in stored
        assert secret.material.hex() not in repr(people)


def dump(databases: Endpoints) -> str:
    """Read every row of the key database, binary columns in hexadecimal."""
    with psycopg.connect(databases.keys_dsn) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = [connection.execute(f'SELECT t::text FROM "{table}" AS t'.encode()).fetchall() for (table,) in tables]
    return "\n".join(str(row) for table in rows for row in table)


def test_a_service_key_is_one_for_all_who_ask_and_another_for_each_tenant_kind_and_period(ring: Ring) -> None:
    with ring.tree() as tree:
        first = tree.service_key(ACME, "dedup").key.material
    with ring.tree() as tree:
        assert tree.service_key(ACME, "dedup").key.material == first
        others = [
            tree.service_key(OTHER, "dedup"),
            tree.service_key(ACME, "index"),
            tree.service_key(ACME, "day", "2026-01-01"),
            tree.service_key(ACME, "day", "2026-01-02"),
        ]
    assert len({first, *(other.key.material for other in others)}) == 5


def test_a_bucket_takes_256_people_and_no_more(ring: Ring) -> None:
    people = ring.subjects(BUCKET_CHILDREN - 1) + ring.subjects(2) + ring.subjects(BUCKET_CHILDREN + 1)
    buckets = ring.sql("SELECT parent, count(*) AS people FROM subjects GROUP BY parent")
    children = {
        row["key_id"]: row["children"]
        for row in ring.sql("SELECT key_id, children FROM wrapping_keys WHERE kind = 'bucket'")
    }
    assert sorted(row["people"] for row in buckets) == [2, BUCKET_CHILDREN, BUCKET_CHILDREN]
    assert {row["parent"]: row["people"] for row in buckets} == children
    leaf, key = ring.leaf(people[-1], people[0])
    assert opens_as(ring.open(leaf), key)


def test_people_who_come_at_once_get_as_many_buckets_as_they_need(ring: Ring) -> None:
    ring.subjects(1)
    ring.subjects(2 * BUCKET_CHILDREN + 1)
    children = ring.sql("SELECT children FROM wrapping_keys WHERE kind = 'bucket' ORDER BY children")
    assert [row["children"] for row in children] == [2, BUCKET_CHILDREN, BUCKET_CHILDREN]


def test_tenants_share_no_bucket(ring: Ring) -> None:
    [ann], [bob] = ring.subjects(), ring.subjects(tenant=OTHER)
    assert ring.parent(ann) != ring.parent(bob)


# -- whose it is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("going", [0, 1, 2])
def test_a_leaf_of_several_owners_dies_with_any_of_them(ring: Ring, going: int) -> None:
    people = ring.subjects(3)
    leaf, key = ring.leaf(*people)
    bystander, other = ring.leaf(people[(going + 1) % 3])
    assert opens_as(ring.open(leaf), key)
    ring.shred(people[going])
    assert ring.open(leaf) is SHREDDED
    assert opens_as(ring.open(bystander), other)


def test_a_leaf_gains_an_owner_and_then_dies_with_the_new_or_the_old(ring: Ring) -> None:
    for going in (0, 1, 2):
        people = ring.subjects(3)
        leaf, key = ring.leaf(*people[:2])
        with ring.tree() as tree:
            [row] = rows_of(tree.cursor, SQL.leaf.sql, thing_id=leaf[0], key_id=leaf[1])
            assert tree.add_owner(row, people[2])
        assert opens_as(ring.open(leaf), key)
        ring.shred(people[going])
        assert ring.open(leaf) is SHREDDED


def test_of_two_who_add_an_owner_to_a_leaf_at_once_the_second_changes_nothing(ring: Ring) -> None:
    people = ring.subjects(3)
    leaf, key = ring.leaf(people[0])
    with ring.tree() as tree:
        [row] = rows_of(tree.cursor, SQL.leaf.sql, thing_id=leaf[0], key_id=leaf[1])
        assert tree.add_owner(row, people[1])
        assert not tree.add_owner(row, people[2])
    assert opens_as(ring.open(leaf), key)
    assert ring.losses(people[0].id) == 1


def test_merged_people_open_as_before_and_die_with_the_primary(ring: Ring) -> None:
    first, second, third = ring.subjects(3)
    leaves = [ring.leaf(person) for person in (first, second, third)]
    ring.merge(third, second)
    ring.merge(second, first)
    assert all(opens_as(ring.open(leaf), key) for leaf, key in leaves)
    with ring.tree() as tree:
        people = tree.people([third.id])
    assert people[third.id].root == people[second.id].root == first.id
    ring.shred(first)
    assert [ring.open(leaf) for leaf, _ in leaves] == [SHREDDED] * 3
    with ring.tree() as tree:
        assert not any(person.living for person in tree.people([third.id]).values())


def test_a_merged_person_is_shredded_even_before_its_own_row_is_marked(ring: Ring) -> None:
    first, second = ring.subjects(2)
    leaf, _ = ring.leaf(second)
    ring.merge(second, first)
    with ring.tree() as tree:
        [row] = rows_of(tree.cursor, "SELECT * FROM subjects WHERE subject_id = %(id)s", id=first.id)
        tree.destroy_subjects([row], LINE)
    assert ring.open(leaf) is SHREDDED
    with ring.tree() as tree:
        assert not tree.people([second.id])[second.id].living


def test_an_agent_or_a_person_known_upstream_stays_so_through_a_merge(ring: Ring) -> None:
    first, second = ring.subjects(2)
    ring.sql("UPDATE subjects SET agent = true, upstream = true WHERE subject_id = %s", second.id)
    ring.merge(second, first)
    with ring.tree() as tree:
        merged = tree.people([first.id])[first.id]
    assert merged.agent
    assert merged.upstream


# -- a shred, and what is none --------------------------------------------------------------------------------------


def test_a_shredded_person_opens_as_shredded_also_when_the_keys_beneath_are_swept(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    ring.shred(ann)
    assert ring.open(leaf) is SHREDDED
    with ring.tree() as tree:
        tree.cursor.execute(SQL.sweep_leaves.sql, {"owners": [ann.id], "limit": 10})
    assert ring.open(leaf) is SHREDDED


def test_a_shredded_thing_opens_as_shredded_and_its_owner_lives_on(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    second, _ = ring.leaf(ann, thing=leaf[0])
    bystander, key = ring.leaf(ann)
    assert ring.shred_thing(leaf[0]) == 2
    assert ring.open(leaf) is SHREDDED
    assert ring.open(second) is SHREDDED
    assert opens_as(ring.open(bystander), key)


def test_a_leaf_with_a_mark_of_its_own_opens_as_shredded(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    with ring.tree() as tree:
        mark = tree.mark("leaf", leaf[1], ACME, LINE)
        named = {"thing_id": leaf[0], "key_id": leaf[1], "line": LINE, "mark": mark}
        tree.cursor.execute(SQL.destroy_leaf.sql, named)
    assert ring.open(leaf) is SHREDDED


def test_destroying_twice_changes_nothing(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    ring.shred(ann)
    before = ring.sql("SELECT * FROM subjects")
    with ring.tree() as tree:
        tree.cursor.execute(
            SQL.destroy_subjects.sql, {"subject_ids": [ann.id], "lines": [LINE + 1], "marks": [bytes(32)]}
        )
    assert ring.sql("SELECT * FROM subjects") == before
    assert ring.open(leaf) is SHREDDED


def test_a_destroyed_key_is_gone_from_its_row(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    ring.shred(ann)
    assert ring.sql("SELECT wrapped FROM subjects")[0]["wrapped"] is None
    ring.shred_thing(leaf[0])
    assert ring.sql("SELECT wrapped FROM leaves")[0]["wrapped"] is None


FAKE_MARK = bytes(32)
TAMPERINGS: dict[str, tuple[Callable[[Ring, Owner, Leaf], object], type[Exception]]] = {
    "a missing leaf": (lambda ring, ann, leaf: ring.sql("DELETE FROM leaves"), KeyLost),
    "a leaf key dropped without a mark": (
        lambda ring, ann, leaf: ring.sql("UPDATE leaves SET wrapped = NULL"),
        KeyLost,
    ),
    "a missing person": (lambda ring, ann, leaf: ring.sql("DELETE FROM subjects"), KeyLost),
    "a person's key dropped without a mark": (
        lambda ring, ann, leaf: ring.sql("UPDATE subjects SET wrapped = NULL"),
        KeyLost,
    ),
    "a missing bucket": (lambda ring, ann, leaf: ring.sql("DELETE FROM wrapping_keys WHERE kind = 'bucket'"), KeyLost),
    "a forged mark on a leaf": (
        lambda ring, ann, leaf: ring.sql("UPDATE leaves SET wrapped = NULL, line = 1, mark = %s", FAKE_MARK),
        KeyLost,
    ),
    "an empty mark on a leaf": (
        lambda ring, ann, leaf: ring.sql("UPDATE leaves SET wrapped = NULL, line = 1, mark = ''"),
        KeyLost,
    ),
    "a forged mark with a line below zero": (
        lambda ring, ann, leaf: ring.sql("UPDATE leaves SET wrapped = NULL, line = -1, mark = %s", FAKE_MARK),
        KeyLost,
    ),
    "a forged mark on a person": (
        lambda ring, ann, leaf: ring.sql("UPDATE subjects SET wrapped = NULL, line = 1, mark = %s", FAKE_MARK),
        KeyLost,
    ),
    "the first byte of a leaf changed": (
        lambda ring, ann, leaf: ring.sql(
            "UPDATE leaves SET wrapped = set_byte(wrapped, 0, 255 - get_byte(wrapped, 0))"
        ),
        SealBroken,
    ),
    "the last byte of a leaf changed": (
        lambda ring, ann, leaf: ring.sql(
            "UPDATE leaves SET wrapped = set_byte(wrapped, 59, 255 - get_byte(wrapped, 59))"
        ),
        SealBroken,
    ),
    "a leaf cut short": (lambda ring, ann, leaf: ring.sql("UPDATE leaves SET wrapped = '\\x01'"), SealBroken),
    "an empty leaf": (lambda ring, ann, leaf: ring.sql("UPDATE leaves SET wrapped = ''"), SealBroken),
    "a person's key changed": (
        lambda ring, ann, leaf: ring.sql(
            "UPDATE subjects SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20))"
        ),
        SealBroken,
    ),
    "a bucket's key changed": (
        lambda ring, ann, leaf: ring.sql(
            "UPDATE wrapping_keys SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20))"
            " WHERE kind = 'bucket'"
        ),
        SealBroken,
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_is_missing_or_changed_never_looks_like_a_shred(ring: Ring, what: str) -> None:
    tamper, expected = TAMPERINGS[what]
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    # A thing that was never shredded, and the mark key, are there as in any house.
    with ring.tree() as tree:
        tree.store_things(ACME, [(leaf[0], "ticket", ann.id, None)])
        tree.mark("leaf", uuid4(), ACME, 1)
    tamper(ring, ann, leaf)
    found = ring.open(leaf)
    assert type(found) is expected


def test_a_forged_mark_on_a_thing_hides_nothing(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, key = ring.leaf(ann)
    with ring.tree() as tree:
        tree.store_things(ACME, [(leaf[0], "ticket", ann.id, None)])
    ring.sql("UPDATE things SET line = 1, mark = %s", FAKE_MARK)
    assert opens_as(ring.open(leaf), key)
    ring.sql("UPDATE leaves SET wrapped = NULL")
    assert isinstance(ring.open(leaf), KeyLost)


@pytest.mark.parametrize("level", ["leaf", "subject", "thing"])
def test_a_mark_that_was_copied_from_another_row_is_no_mark(ring: Ring, level: str) -> None:
    ann, bob = ring.subjects(2)
    leaf, _ = ring.leaf(ann)
    theirs, _ = ring.leaf(bob)
    ring.shred(bob)
    ring.shred_thing(theirs[0])
    with ring.tree() as tree:
        tree.store_things(ACME, [(leaf[0], "ticket", ann.id, None)])
    copy = {
        "leaf": "UPDATE leaves SET wrapped = NULL, line = s.line, mark = s.mark FROM subjects AS s"
        " WHERE s.subject_id = %s AND thing_id = %s",
        "subject": "UPDATE subjects SET wrapped = NULL, line = s.line, mark = s.mark FROM subjects AS s"
        " WHERE s.subject_id = %s AND subjects.subject_id = %s",
        "thing": "UPDATE things SET line = t.line, mark = t.mark FROM things AS t WHERE t.thing_id = %s"
        " AND things.thing_id = %s",
    }[level]
    ring.sql(copy, theirs[0] if level == "thing" else bob.id, ann.id if level == "subject" else leaf[0])
    ring.sql("UPDATE leaves SET wrapped = NULL WHERE thing_id = %s", leaf[0])
    assert isinstance(ring.open(leaf), KeyLost)


def test_a_mark_is_bound_to_its_line_its_kind_and_its_tenant(ring: Ring) -> None:
    key = uuid4()
    with ring.tree() as tree:
        marks = {
            tree.mark("subject", key, ACME, 1),
            tree.mark("subject", key, ACME, 2),
            tree.mark("thing", key, ACME, 1),
            tree.mark("subject", key, OTHER, 1),
            tree.mark("subject", uuid4(), ACME, 1),
        }
    assert len(marks) == 5


def test_a_living_leaf_with_a_line_cannot_be_stored(ring: Ring) -> None:
    [ann] = ring.subjects()
    ring.leaf(ann)
    for table in ("subjects", "leaves"):
        with pytest.raises(NobodyCanAct):
            ring.sql(f"UPDATE {table} SET line = 1, mark = %s", FAKE_MARK)
        with pytest.raises(NobodyCanAct):
            ring.sql(f"UPDATE {table} SET wrapped = NULL, line = 1")


def test_who_says_to_be_shredded_with_a_forged_mark_is_not_taken_for_shredded_when_people_are_read(ring: Ring) -> None:
    [ann] = ring.subjects()
    ring.sql("UPDATE subjects SET wrapped = NULL, line = 1, mark = %s", FAKE_MARK)
    with pytest.raises(SealBroken), ring.tree() as tree:
        tree.people([ann.id])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("UPDATE subjects SET wrapped = NULL", KeyLost),
        ("DELETE FROM wrapping_keys WHERE kind = 'bucket'", KeyLost),
        ("UPDATE subjects SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20))", SealBroken),
    ],
)
def test_a_living_person_whose_key_is_lost_or_changed_gets_no_second_key(
    ring: Ring, damage: str, expected: type[Exception]
) -> None:
    [ann] = ring.subjects()
    ring.sql(damage)
    with pytest.raises(expected), ring.tree() as tree:
        tree.people([ann.id])


# -- a row opens only at its place ----------------------------------------------------------------------------------


def test_a_leaf_moved_to_another_owner_is_broken(ring: Ring) -> None:
    ann, bob = ring.subjects(2)
    leaf, _ = ring.leaf(ann)
    ring.sql("UPDATE leaves SET owner = %s", bob.id)
    assert isinstance(ring.open(leaf), SealBroken)


def test_a_leaf_whose_owners_changed_places_is_broken(ring: Ring) -> None:
    ann, bob = ring.subjects(2)
    leaf, _ = ring.leaf(ann, bob)
    ring.sql("UPDATE leaves SET owner = %s, co_owners = ARRAY[%s]::uuid[]", bob.id, ann.id)
    assert isinstance(ring.open(leaf), SealBroken)


def test_a_leaf_that_lost_an_owner_is_broken(ring: Ring) -> None:
    ann, bob = ring.subjects(2)
    leaf, _ = ring.leaf(ann, bob)
    ring.sql("UPDATE leaves SET co_owners = NULL")
    assert isinstance(ring.open(leaf), SealBroken)


def test_the_key_of_one_leaf_in_the_row_of_another_is_broken(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    other, _ = ring.leaf(ann)
    ring.sql(
        "UPDATE leaves SET wrapped = (SELECT wrapped FROM leaves WHERE key_id = %s) WHERE key_id = %s",
        other[1],
        leaf[1],
    )
    assert isinstance(ring.open(leaf), SealBroken)


def test_a_leaf_of_another_tenant_is_not_opened(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    assert isinstance(ring.open(leaf, OTHER), KeyLost)
    ring.sql("UPDATE leaves SET tenant = %s", OTHER)
    assert isinstance(ring.open(leaf, OTHER), KeyLost)
    ring.sql("UPDATE subjects SET tenant = %s", OTHER)
    assert isinstance(ring.open(leaf, OTHER), SealBroken)


def test_a_person_moved_to_another_bucket_is_broken(ring: Ring) -> None:
    people = ring.subjects(BUCKET_CHILDREN + 1)
    leaf, _ = ring.leaf(people[0])
    ring.sql("UPDATE subjects SET parent = %s WHERE subject_id = %s", ring.parent(people[-1]), people[0].id)
    assert isinstance(ring.open(leaf), SealBroken)
    with pytest.raises(SealBroken), ring.tree() as tree:
        tree.people([people[0].id])


def test_people_who_changed_keys_are_broken(ring: Ring) -> None:
    ann, bob = ring.subjects(2)
    leaf, _ = ring.leaf(ann)
    ring.sql(
        "UPDATE subjects SET wrapped = (SELECT wrapped FROM subjects WHERE subject_id = %s) WHERE subject_id = %s",
        bob.id,
        ann.id,
    )
    assert isinstance(ring.open(leaf), SealBroken)


@pytest.mark.parametrize("change", ["tenant = '00000000-0000-0000-0000-0000000000ff'", "key_id = gen_random_uuid()"])
def test_a_bucket_moved_to_another_tenant_or_id_opens_nothing(ring: Ring, change: str) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    ring.sql(f"UPDATE wrapping_keys SET {change} WHERE kind = 'bucket'")
    ring.sql("UPDATE subjects SET parent = (SELECT key_id FROM wrapping_keys WHERE kind = 'bucket')")
    assert isinstance(ring.open(leaf), SealBroken)


def test_a_bucket_moved_to_another_epoch_is_broken(ring: Ring, roots: FileRoots) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    second = roots.folder / "epochs" / "000002.key"
    second.write_bytes((roots.folder / "epochs" / "000001.key").read_bytes())
    second.chmod(0o600)
    ring.sql("UPDATE wrapping_keys SET epoch = 2")
    assert isinstance(ring.open(leaf), SealBroken)


# -- an unreachable store says nothing about any key ----------------------------------------------------------------


def test_a_missing_root_is_unavailable(ring: Ring, roots: FileRoots) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    ring.shred(ann)
    (roots.folder / "epochs" / "000001.key").unlink()
    with pytest.raises(KeysUnavailable):
        ring.open(leaf)


def test_a_root_that_came_back_as_another_is_broken_and_no_shred(ring: Ring, roots: FileRoots) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    (roots.folder / "epochs" / "000001.key").write_bytes(bytes(32))
    assert isinstance(ring.open(leaf), SealBroken)


def test_a_database_that_goes_away_in_the_middle_is_unavailable(ring: Ring, databases: Endpoints) -> None:
    [ann] = ring.subjects()
    leaf, key = ring.leaf(ann)

    def look_while_it_goes() -> None:
        with ring.tree() as tree:
            [row] = rows_of(tree.cursor, "SELECT pg_backend_pid() AS pid")
            with psycopg.connect(databases.keys_dsn, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", (row["pid"],))
            open_leaves(tree, ACME, [leaf])

    with pytest.raises(KeysUnavailable):
        look_while_it_goes()
    # A connection that broke is no reason to be unavailable for ever.
    assert opens_as(ring.open(leaf), key)


def test_a_database_that_is_down_is_unavailable(
    databases: Endpoints, roots: FileRoots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keystore, "CONNECT_SECONDS", 0.5)
    keys = KeyStore(make_conninfo(databases.keys_dsn, dbname="nowhere"))
    with pytest.raises(KeysUnavailable) as raised, keys.transaction():
        pass
    assert "nowhere" not in str(raised.value)
    keys.close()


def test_a_closed_store_is_unavailable(ring: Ring) -> None:
    [ann] = ring.subjects()
    leaf, _ = ring.leaf(ann)
    ring.keys.close()
    with pytest.raises(KeysUnavailable):
        ring.open(leaf)


def test_a_statement_that_is_refused_quotes_no_parameter(ring: Ring) -> None:
    with pytest.raises(NobodyCanAct) as raised:
        ring.sql("SELECT %s::uuid", "Zephyrine Quux")
    assert "Quux" not in str(raised.value)
    assert raised.value.__suppress_context__


# -- what a turn has to know ----------------------------------------------------------------------------------------


def test_a_shred_is_counted_as_a_loss_of_the_parent(ring: Ring) -> None:
    ann, bob, cy = ring.subjects(3)
    bucket = ring.parent(ann)
    ring.shred(ann)
    assert ring.losses(bucket) == 1
    ring.shred(bob, cy)
    assert ring.losses(bucket) == 3


def test_a_merge_is_counted_as_a_loss_of_the_bucket_and_a_shred_of_both_as_theirs(ring: Ring) -> None:
    first, second = ring.subjects(2)
    bucket = ring.parent(second)
    ring.merge(second, first)
    assert ring.losses(bucket) == 1
    ring.shred(first)
    assert ring.losses(bucket) == 2
    assert ring.losses(first.id) == 1


def test_a_shredded_thing_is_counted_as_a_loss_of_each_owner_and_not_twice(ring: Ring) -> None:
    ann, bob = ring.subjects(2)
    leaf, _ = ring.leaf(ann, bob)
    ring.leaf(ann, thing=leaf[0])
    assert ring.shred_thing(leaf[0]) == 2
    assert (ring.losses(ann.id), ring.losses(bob.id)) == (2, 1)
    with ring.tree() as tree:
        assert tree.destroy_thing(ACME, leaf[0], LINE) == 0
    assert (ring.losses(ann.id), ring.losses(bob.id)) == (2, 1)


def test_a_new_owner_is_counted_as_a_loss_of_the_outermost_one(ring: Ring) -> None:
    ann, bob, cy = ring.subjects(3)
    leaf, _ = ring.leaf(ann, bob)
    with ring.tree() as tree:
        [row] = rows_of(tree.cursor, SQL.leaf.sql, thing_id=leaf[0], key_id=leaf[1])
        tree.add_owner(row, cy)
    assert (ring.losses(ann.id), ring.losses(bob.id), ring.losses(cy.id)) == (0, 1, 0)
