"""Whatever is rolled back, swapped, changed or lost in the key database is found and named; what is right is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.rows import DictRow

from crypto import findings
from crypto.findings import Report, Wrong
from crypto.integrity import Integrity, check_tops
from crypto.keystore import KeyStore, rows_of
from crypto.ledger import Fences, MemoryLedger
from crypto.register import Register
from crypto.roots import FileRoots
from crypto.tree import SQL as TREE
from crypto.tree import Owner, Tree
from crypto.turning import Turning
from crypto.wrapping import new_key
from domain.errors import KeysUnavailable, LedgerBroken
from domain.ids import ThingId
from domain.personal import Kind, Reference
from services.embedded import Endpoints
from tests.rings import ACME, Leaf, Ring

AT = datetime(2026, 5, 17, 12, tzinfo=UTC)
NOW = timedelta(0)

Found = set[tuple[str, Wrong, UUID | None]]


@dataclass
class Desk:
    """A small key database in which something of every kind happened."""

    ring: Ring
    ledger: MemoryLedger
    people: list[Owner] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    thing: ThingId = field(default_factory=lambda: ThingId(uuid4()))

    def fill(self) -> None:
        self.people = self.ring.subjects(6)
        self.leaves = [self.ring.leaf(owner)[0] for owner in self.people]
        self.leaves.append(self.ring.leaf(self.people[0], self.people[1])[0])
        self.leaves.append(self.ring.leaf(self.people[0], thing=self.thing)[0])
        with self.ring.tree() as tree:
            register = Register(tree, ACME)
            register.enter([(register.index(_contact(number)), who.id) for number, who in enumerate(self.people)])
            desk, more = tree.places(ACME, "desk", 2, 256)
        self.leaves.append(self.ring.leaf(desk)[0])
        self.leaves.append(self.ring.leaf(more)[0])
        self.ring.merge(self.people[3], self.people[2])

    def shred(self, *people: Owner) -> None:
        """Shred people under one line, as a shred does."""
        shred, ids = uuid4(), [person.id for person in people]
        with self.ring.tree() as tree:
            register = Register(tree, ACME)
            register.fence_key(AT)
        line = self.write_line(shred, ids)
        self.ring.shred(*people, line=line)
        with self.ring.tree() as tree:
            Register(tree, ACME).fence(ids, AT)

    def write_line(self, shred: UUID, ids: list[UUID], *, step: str = "finished", issue: int = 0) -> int:
        line = self.ledger.append(
            tenant=ACME,
            kind="subject",
            key=ids[0],
            shred=shred,
            at=AT,
            fences=Fences(tuple(ids), new_key(), ()),
            issue_counter=issue,
        )
        self.ring.sql(
            "INSERT INTO shreds (shred_id, tenant, kind, target, targets, profile, ground, step, begun_at)"
            " VALUES (%s, %s, 'subject', %s, %s, %s, 'test', %s, %s)",
            *(shred, ACME, ids[0], ids, uuid4(), step, AT),
        )
        return line.number

    def row(self, table: str, key: str, id_: UUID) -> DictRow:
        return self.ring.sql(f"SELECT * FROM {table} WHERE {key} = %s", id_)[0]

    def roll_back(self, table: str, key: str, row: DictRow) -> None:
        """Put a row back as it was."""
        self.ring.sql(f"DELETE FROM {table} WHERE {key} = %s", row[key])
        columns = ", ".join(row)
        self.ring.sql(
            f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(row))})",
            *row.values(),
        )

    def bucket(self) -> UUID:
        return self.ring.parent(self.people[0])

    def turn(self) -> None:
        Turning(self.ring.keys, self.ring.roots, _now).turn()

    def destroy_older(self) -> None:
        Turning(self.ring.keys, self.ring.roots, _now).destroy_older(grace=NOW)

    def check(self) -> Report:
        return Integrity(self.ring.keys, self.ring.roots, self.ledger, _now).check()

    def found(self) -> Found:
        return {(finding.kind, finding.wrong, finding.id) for finding in self.check().named}


def _now() -> datetime:
    return datetime.now(UTC)


def _contact(number: int) -> Reference:
    return Reference(Kind.PERSON, str(number))


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    keys, roots = KeyStore(databases.keys_dsn), FileRoots(tmp_path / "roots")
    made = Desk(Ring(keys, roots), MemoryLedger(Ed25519PrivateKey.generate(), roots))
    made.fill()
    yield made
    keys.close()


def test_a_house_in_which_much_happened_is_clean_before_and_after_a_turn(desk: Desk) -> None:
    desk.shred(desk.people[4])
    desk.shred(desk.people[2], desk.people[3])
    desk.ring.shred_thing(desk.thing, line=2)
    with desk.ring.tree() as tree:
        [row] = desk.ring.sql("SELECT * FROM leaves WHERE key_id = %s", desk.leaves[0][1])
        tree.destroy_leaf(row, -3)
    told: list[tuple[str, int, int]] = []

    for turned in (False, True, True):
        if turned:
            desk.turn()
            desk.destroy_older()
        report = Integrity(desk.ring.keys, desk.ring.roots, desk.ledger, _now, lambda *said: told.append(said)).check()
        # The thing that is shredded here alone has an owner that is nobody.
        assert {finding.wrong for finding in report.named} == {Wrong.MISSING}
        assert len(report.named) == 1
        assert report.beneath == 0
    assert report.looked_at == {"epoch": 3, "key": 6, "subject": 6, "thing": 1, "leaf": 10, "register": 3, "line": 2}
    assert ("subject", 6, 6) in told


def test_an_empty_key_database_is_clean(databases: Endpoints, tmp_path: Path) -> None:
    keys, roots = KeyStore(databases.keys_dsn), FileRoots(tmp_path / "roots")
    try:
        check_tops(keys, roots)
        ledger = MemoryLedger(Ed25519PrivateKey.generate(), roots)
        assert Integrity(keys, roots, ledger, _now).check().is_clean
    finally:
        keys.close()


# -- what somebody could do to it -----------------------------------------------------------------------------------


def _swapped_subjects(desk: Desk) -> Found:
    one, other = desk.people[4].id, desk.people[5].id
    first, second = desk.row("subjects", "subject_id", one), desk.row("subjects", "subject_id", other)
    desk.ring.sql("UPDATE subjects SET wrapped = %s WHERE subject_id = %s", second["wrapped"], one)
    desk.ring.sql("UPDATE subjects SET wrapped = %s WHERE subject_id = %s", first["wrapped"], other)
    return {("subject", Wrong.BROKEN, one), ("subject", Wrong.BROKEN, other)}


def _rolled_back_to_living(desk: Desk) -> Found:
    before = desk.row("subjects", "subject_id", desk.people[4].id)
    desk.shred(desk.people[4])
    desk.roll_back("subjects", "subject_id", before)
    return {("subject", Wrong.LIVING, desk.people[4].id)}


def _target_gone(desk: Desk) -> Found:
    desk.shred(desk.people[4])
    desk.ring.sql("DELETE FROM leaves WHERE owner = %s", desk.people[4].id)
    desk.ring.sql("DELETE FROM subjects WHERE subject_id = %s", desk.people[4].id)
    return {("subject", Wrong.MISSING, desk.people[4].id)}


def _shred_forgotten(desk: Desk) -> Found:
    desk.shred(desk.people[4])
    shred = desk.ring.sql("DELETE FROM shreds RETURNING shred_id")[0]["shred_id"]
    return {("shred", Wrong.MISSING, shred)}


def _moved_subject(desk: Desk) -> Found:
    desk.ring.sql("UPDATE subjects SET parent = %s WHERE subject_id = %s", desk.people[5].id, desk.people[4].id)
    return {("subject", Wrong.UNBOUND, desk.people[4].id)}


def _merge_rolled_back(desk: Desk) -> Found:
    before = desk.row("subjects", "subject_id", desk.people[4].id)
    desk.ring.merge(desk.people[4], desk.people[5])
    desk.ring.sql("UPDATE subjects SET wrapped = %s WHERE subject_id = %s", before["wrapped"], desk.people[4].id)
    return {("subject", Wrong.BROKEN, desk.people[4].id)}


def _circle(desk: Desk) -> Found:
    one, other = desk.people[4].id, desk.people[5].id
    for below, above in ((one, other), (other, one)):
        desk.ring.sql("UPDATE subjects SET parent = %s WHERE subject_id = %s", above, below)
    return {("subject", Wrong.UNBOUND, one), ("subject", Wrong.UNBOUND, other)}


def _marked_by_somebody_else(desk: Desk) -> Found:
    id_ = desk.people[4].id
    desk.ring.sql("UPDATE subjects SET wrapped = NULL, line = 1, mark = %s WHERE subject_id = %s", bytes(32), id_)
    return {("subject", Wrong.FORGED, id_), ("reference of", Wrong.KEPT, id_)}


def _marked_without_a_line(desk: Desk) -> Found:
    desk.ring.shred(desk.people[4], line=9)
    return {("subject", Wrong.NO_LINE, desk.people[4].id), ("reference of", Wrong.KEPT, desk.people[4].id)}


def _leaf_without_key(desk: Desk) -> Found:
    desk.ring.sql("UPDATE leaves SET wrapped = NULL WHERE key_id = %s", desk.leaves[4][1])
    return {("leaf", Wrong.LOST, desk.leaves[4][1])}


def _leaf_under_another(desk: Desk) -> Found:
    desk.ring.sql("UPDATE leaves SET owner = %s WHERE key_id = %s", desk.people[5].id, desk.leaves[4][1])
    return {("leaf", Wrong.UNBOUND, desk.leaves[4][1])}


def _move_of_a_leaf_rolled_back(desk: Desk) -> Found:
    before = desk.row("leaves", "key_id", desk.leaves[4][1])
    with desk.ring.tree() as tree:
        tree.add_owner(before, desk.people[5])
    desk.ring.sql("UPDATE leaves SET co_owners = NULL WHERE key_id = %s", desk.leaves[4][1])
    return {("leaf", Wrong.UNBOUND, desk.leaves[4][1])}


def _key_of_a_shredded_thing_is_back(desk: Desk) -> Found:
    before = desk.row("leaves", "key_id", desk.leaves[7][1])
    with desk.ring.tree() as tree:
        tree.store_things(ACME, [(desk.thing, "ticket", desk.people[0].id, None)])
        tree.destroy_thing(ACME, desk.thing, -4)
    desk.roll_back("leaves", "key_id", before)
    return {("leaf", Wrong.KEPT, desk.leaves[7][1])}


def _subject_lost(desk: Desk) -> Found:
    desk.ring.sql("DELETE FROM subjects WHERE subject_id = %s", desk.people[4].id)
    return {("owner", Wrong.MISSING, desk.people[4].id)}


def _bucket_lost(desk: Desk) -> Found:
    bucket = desk.bucket()
    desk.ring.sql("DELETE FROM wrapping_keys WHERE key_id = %s", bucket)
    return {("owner", Wrong.MISSING, bucket)}


def _page_lost(desk: Desk) -> Found:
    page = desk.ring.sql("DELETE FROM wrapping_keys WHERE kind = 'page' RETURNING key_id")[0]["key_id"]
    return {("page", Wrong.MISSING, page)}


def _page_changed(desk: Desk) -> Found:
    page = desk.ring.sql("UPDATE wrapping_keys SET wrapped = %s WHERE kind = 'page' RETURNING key_id", bytes(60))
    return {("page", Wrong.BROKEN, page[0]["key_id"])}


def _register_row_swapped(desk: Desk) -> Found:
    one, other = desk.ring.sql("SELECT blind_index, page, sealed FROM register LIMIT 2")
    desk.ring.sql("UPDATE register SET sealed = %s WHERE blind_index = %s", other["sealed"], one["blind_index"])
    return {("register row on page", Wrong.BROKEN, one["page"])}


def _register_row_lost(desk: Desk) -> Found:
    with desk.ring.tree() as tree:
        index = Register(tree, ACME).index(_contact(4))
    desk.ring.sql("DELETE FROM register WHERE blind_index = %s", index)
    return {("reference of", Wrong.ONE_WAY, desk.people[4].id)}


def _way_back_lost(desk: Desk) -> Found:
    desk.ring.sql("DELETE FROM register_backs WHERE owner = %s", desk.people[4].id)
    return {("way back of", Wrong.ONE_WAY, desk.people[4].id)}


def _way_back_of_another(desk: Desk) -> Found:
    desk.ring.sql("UPDATE register_backs SET owner = %s WHERE owner = %s", desk.people[5].id, desk.people[4].id)
    return {
        ("way back of", Wrong.BROKEN, desk.people[5].id),
        ("way back of", Wrong.ONE_WAY, desk.people[4].id),
    }


def _index_key_lost(desk: Desk) -> Found:
    desk.ring.sql("DELETE FROM wrapping_keys WHERE kind = 'index'")
    return {("index", Wrong.MISSING, ACME)}


def _mark_key_lost(desk: Desk) -> Found:
    desk.ring.sql("DELETE FROM wrapping_keys WHERE kind = 'mark'")
    return {("mark", Wrong.MISSING, None)}


def _bucket_rolled_back(desk: Desk) -> Found:
    desk.turn()
    bucket = desk.row("wrapping_keys", "key_id", desk.bucket())
    desk.turn()
    desk.destroy_older()
    desk.roll_back("wrapping_keys", "key_id", bucket)
    return {
        ("epoch", Wrong.ROOTLESS, None),
        ("bucket", Wrong.ROOTLESS, desk.bucket()),
        ("bucket", Wrong.OLDER, desk.bucket()),
    }


def _bucket_rolled_back_in_the_grace(desk: Desk) -> Found:
    bucket = desk.row("wrapping_keys", "key_id", desk.bucket())
    desk.turn()
    desk.roll_back("wrapping_keys", "key_id", bucket)
    # It lost a child by the merge, so its subjects are wrapped under the key that came after.
    beneath = {person.id for person in desk.people} - {desk.people[3].id}
    return {("bucket", Wrong.OLDER, desk.bucket())} | {("subject", Wrong.BROKEN, id_) for id_ in beneath}


def _root_is_back(desk: Desk) -> Found:
    roots = desk.ring.roots
    assert isinstance(roots, FileRoots)
    file = roots.folder / "epochs" / "000001.key"
    copy = file.read_bytes()
    desk.turn()
    desk.destroy_older()
    file.write_bytes(copy)
    file.chmod(0o600)
    return {("epoch", Wrong.RETURNED, None)}


def _losses_below_zero(desk: Desk) -> Found:
    desk.ring.sql("UPDATE subjects SET losses = -1 WHERE subject_id = %s", desk.people[4].id)
    return {("subject", Wrong.COUNT, desk.people[4].id)}


def _children_forgotten(desk: Desk) -> Found:
    rows = desk.ring.sql(
        "UPDATE wrapping_keys SET children = 1 WHERE kind IN ('bucket', 'desk', 'page') RETURNING key_id, kind"
    )
    return {(row["kind"], Wrong.COUNT, row["key_id"]) for row in rows}


def _issues_rolled_back(desk: Desk) -> Found:
    desk.ring.sql("UPDATE issued SET issue = 6")
    desk.write_line(uuid4(), [desk.people[4].id], step="intended", issue=7)
    return {("issued", Wrong.COUNT, None)}


def _kept_doubled(desk: Desk) -> Found:
    desk.ring.sql("DELETE FROM kept")
    return {("kept", Wrong.COUNT, None)}


TAMPERING: list[Callable[[Desk], Found]] = [
    _swapped_subjects,
    _rolled_back_to_living,
    _target_gone,
    _shred_forgotten,
    _moved_subject,
    _merge_rolled_back,
    _circle,
    _marked_by_somebody_else,
    _marked_without_a_line,
    _leaf_without_key,
    _leaf_under_another,
    _move_of_a_leaf_rolled_back,
    _key_of_a_shredded_thing_is_back,
    _subject_lost,
    _bucket_lost,
    _page_lost,
    _page_changed,
    _register_row_swapped,
    _register_row_lost,
    _way_back_lost,
    _way_back_of_another,
    _index_key_lost,
    _mark_key_lost,
    _bucket_rolled_back,
    _bucket_rolled_back_in_the_grace,
    _root_is_back,
    _losses_below_zero,
    _children_forgotten,
    _issues_rolled_back,
    _kept_doubled,
]


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda one: one.__name__.strip("_"))
def test_what_was_done_to_it_is_found_and_named_and_nothing_else_is(
    desk: Desk, tamper: Callable[[Desk], Found]
) -> None:
    assert desk.found() == set()
    expected = tamper(desk)
    assert desk.found() == expected


def test_a_shred_that_has_its_line_and_is_not_carried_out_is_no_finding(desk: Desk) -> None:
    desk.write_line(uuid4(), [desk.people[4].id], step="intended")
    assert desk.check().is_clean


def test_a_check_beside_work_of_every_kind_finds_nothing(desk: Desk) -> None:
    stop, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            number = 100
            while not stop.is_set():
                number += 1
                one, other = desk.ring.subjects(2)
                with desk.ring.tree() as tree:
                    register = Register(tree, ACME)
                    register.enter([(register.index(_contact(number)), one.id)])
                desk.ring.leaf(one, other)
                desk.ring.merge(one, other)
                shred_as_one(desk, other, one)
                if number % 10 == 0:
                    desk.turn()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(12):
            assert dict(desk.check().found) == {}
    finally:
        stop.set()
        thread.join()
    assert failed == []
    assert desk.ledger.head() > 3, "there was work beside it"


def shred_as_one(desk: Desk, *people: Owner) -> None:
    """Shred people as `services.shredding` does: line, keys, fences and step in one transaction."""
    shred, ids = uuid4(), [person.id for person in people]
    with desk.ring.tree() as tree:
        tree.cursor.execute(
            b"INSERT INTO shreds (shred_id, tenant, kind, target, targets, profile, ground, step, begun_at)"
            b" VALUES (%s, %s, 'subject', %s, %s, %s, 'test', 'intended', %s)",
            (shred, ACME, ids[0], ids, uuid4(), AT),
        )
    with desk.ring.tree() as tree:
        line = desk.ledger.append(
            tenant=ACME, kind="subject", key=ids[0], shred=shred, at=AT, fences=Fences(tuple(ids), new_key(), ()),
            issue_counter=0,
        )  # fmt: skip
        group = rows_of(tree.cursor, TREE.everyone_merged.sql, subject_id=ids[0])
        tree.destroy_subjects(group, line.number)
        Register(tree, ACME).fence(ids, AT)
        tree.cursor.execute(b"UPDATE shreds SET step = 'finished' WHERE shred_id = %s", (shred,))


def test_a_ledger_that_is_not_whole_is_an_error_and_no_finding(desk: Desk) -> None:
    desk.shred(desk.people[4])
    desk.ledger._lines[0] = desk.ledger._lines[0].replace(b'"subject"', b'"thing"')
    with pytest.raises(LedgerBroken):
        desk.check()


def test_beyond_what_can_be_named_findings_are_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "NAMED", 2)
    desk.ring.sql("UPDATE leaves SET wrapped = NULL")
    report = desk.check()
    assert len(report.named) == 2
    assert report.found == {("leaf", Wrong.LOST): len(desk.leaves)}
    assert set(findings.MEANING) == set(Wrong)


def test_what_hangs_beneath_a_lost_key_is_counted_and_not_named(desk: Desk) -> None:
    desk.ring.sql("UPDATE subjects SET wrapped = NULL WHERE subject_id = %s", desk.people[0].id)
    report = desk.check()
    assert [(finding.kind, finding.id) for finding in report.named] == [("subject", desk.people[0].id)]
    assert report.beneath == 3


# -- the start of a house -------------------------------------------------------------------------------------------


def test_a_start_checks_that_every_root_in_use_opens(desk: Desk) -> None:
    roots = desk.ring.roots
    assert isinstance(roots, FileRoots)
    check_tops(desk.ring.keys, roots)
    desk.turn()
    check_tops(desk.ring.keys, roots)
    (roots.folder / "epochs" / "000002.key").write_bytes(bytes(32))
    with pytest.raises(KeysUnavailable, match=r"epoch 2.*another one.*restore the newest copy of the roots"):
        check_tops(desk.ring.keys, roots)
    (roots.folder / "epochs" / "000002.key").unlink()
    with pytest.raises(KeysUnavailable, match="restore the newest copy of the roots"):
        check_tops(desk.ring.keys, roots)
    with pytest.raises(KeysUnavailable):
        desk.check()


def test_a_snapshot_sees_one_moment(desk: Desk) -> None:
    with desk.ring.keys.snapshot() as cursor:
        before = len(Tree(cursor, desk.ring.roots).people([desk.people[0].id]))
        desk.ring.shred(desk.people[0])
        assert len(Tree(cursor, desk.ring.roots).people([desk.people[0].id])) == before
        assert Tree(cursor, desk.ring.roots).people([desk.people[0].id]).popitem()[1].living
    with desk.ring.tree() as tree:
        assert not tree.people([desk.people[0].id]).popitem()[1].living
