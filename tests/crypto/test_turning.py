"""A turn takes along what lives and leaves nothing that opens what died, as an adversary with every old disk finds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import register as registers
from crypto import replacing
from crypto import turning as turnings
from crypto.agreement import check_pages
from crypto.findings import Report
from crypto.keystore import Disturbed, KeyStore, rows_of
from crypto.opening import SHREDDED
from crypto.register import Register
from crypto.roots import FileRoots
from crypto.tree import PAGE_ROWS, Owner, Tree
from crypto.turning import SQL, Turning
from crypto.wrapping import Key
from domain.errors import KeysUnavailable
from domain.ids import SubjectId
from domain.personal import Kind, Reference
from services.embedded import Endpoints
from tests.adversary import TABLES, Adversary
from tests.rings import ACME, Leaf, Ring

AT = datetime(2026, 5, 17, 12, tzinfo=UTC)
NOW = timedelta(0)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now


class Watcher(Adversary):
    """An adversary who copies the rows of a ring."""

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring.roots, ACME)
        self.ring = ring

    def copy(self) -> None:
        """Copy all tables, as a backup or an old WAL would."""
        for table in TABLES:
            self.steal(table, self.ring.sql(f"SELECT * FROM {table}"))


@dataclass
class Story:
    """What was done to a ring, and what has to be true of it."""

    ring: Ring
    turning: Turning
    clock: Clock
    people: list[Owner] = field(default_factory=list)
    desk: list[Owner] = field(default_factory=list)
    leaves: dict[Leaf, Key] = field(default_factory=dict)
    owners: dict[Leaf, list[Owner]] = field(default_factory=dict)
    dead_leaves: set[Leaf] = field(default_factory=set)
    root_of: dict[UUID, UUID] = field(default_factory=dict)
    dead: set[UUID] = field(default_factory=set)
    references: dict[bytes, UUID] = field(default_factory=dict)
    fenced: set[bytes] = field(default_factory=set)

    def person(self) -> None:
        [owner] = self.ring.subjects()
        self.people.append(owner)
        self.root_of[owner.id] = owner.id
        with self.ring.tree() as tree:
            register = Register(tree, ACME)
            index = register.index(Reference(Kind.PERSON, str(len(self.people))))
            register.enter([(index, owner.id)])
            self.references[index] = owner.id

    def _living(self) -> list[Owner]:
        return [owner for owner in self.people if not self._is_dead(owner.id)]

    def _is_dead(self, id_: UUID) -> bool:
        while self.root_of.get(id_, id_) != id_:
            if id_ in self.dead:
                return True
            id_ = self.root_of[id_]
        return id_ in self.dead

    def _now(self, ids: list[UUID]) -> list[Owner]:
        """Read the keys of owners as they are now."""
        with self.ring.tree() as tree:
            people = tree.people(ids)
            return [Owner(id_, key) for id_ in ids if (key := people[id_].key) is not None]

    def leaf(self, a: int, b: int) -> None:
        living = self._living()
        if living:
            chosen = list(dict.fromkeys([living[a % len(living)].id, living[b % len(living)].id]))
            leaf, key = self.ring.leaf(*self._now(chosen))
            self.leaves[leaf], self.owners[leaf] = key, [Owner(id_, key) for id_ in chosen]

    def of_the_desk(self) -> None:
        with self.ring.tree() as tree:
            [desk] = tree.places(ACME, "desk", 1, 256)
        leaf, key = self.ring.leaf(desk)
        self.leaves[leaf], self.owners[leaf] = key, [desk]

    def merge(self, a: int, b: int) -> None:
        roots = [owner for owner in self._living() if self.root_of[owner.id] == owner.id]
        if len(roots) > 1 and a % len(roots) != b % len(roots):
            secondary, primary = roots[a % len(roots)], roots[b % len(roots)]
            self.ring.merge(secondary, primary)
            self.root_of[secondary.id] = primary.id

    def move(self, a: int, b: int) -> None:
        living, alive = self._living(), [leaf for leaf in self.leaves if not self._is_gone(leaf)]
        if living and alive:
            leaf, gaining = alive[a % len(alive)], living[b % len(living)].id
            if gaining not in [owner.id for owner in self.owners[leaf]]:
                with self.ring.tree() as tree:
                    [row] = self.ring.sql("SELECT * FROM leaves WHERE key_id = %s", leaf[1])
                    key = tree.people([gaining])[SubjectId(gaining)].key
                    assert key is not None
                    tree.add_owner(row, Owner(gaining, key))
                self.owners[leaf].append(Owner(gaining, key))

    def end(self, a: int) -> None:
        alive = [leaf for leaf in self.leaves if not self._is_gone(leaf)]
        if alive:
            leaf = alive[a % len(alive)]
            with self.ring.tree() as tree:
                [row] = self.ring.sql("SELECT * FROM leaves WHERE key_id = %s", leaf[1])
                tree.destroy_leaf(row, -1)
            self.dead_leaves.add(leaf)

    def shred(self, a: int) -> None:
        living = [owner for owner in self._living() if self.root_of[owner.id] == owner.id]
        if living:
            owner = living[a % len(living)]
            self.ring.shred(owner)
            gone = [one.id for one in self.people if self._top(one.id) == owner.id]
            self.dead.update(gone)
            with self.ring.tree() as tree:
                Register(tree, ACME).fence(gone, AT)
            self.fenced |= {index for index, id_ in self.references.items() if id_ in gone}

    def _top(self, id_: UUID) -> UUID:
        while self.root_of[id_] != id_:
            id_ = self.root_of[id_]
        return id_

    def turn(self) -> None:
        self.turning.turn()
        self.turning.destroy_older(grace=NOW)

    def _is_gone(self, leaf: Leaf) -> bool:
        return leaf in self.dead_leaves or any(self._is_dead(owner.id) for owner in self.owners[leaf])

    def check_living(self) -> None:
        """Whatever lives opens to the key that it had; whatever died is shredded and nothing else."""
        for leaf, key in self.leaves.items():
            found = self.ring.open(leaf)
            if not self._is_gone(leaf):
                assert isinstance(found, Key)
                assert found.material == key.material
            elif leaf not in self.dead_leaves:
                assert found is SHREDDED
        with self.ring.tree() as tree:
            known = Register(tree, ACME).look_up(self.references)
        for index, id_ in self.references.items():
            assert known[index].inside == (None if index in self.fenced else id_)

    def died(self) -> set[bytes]:
        return {key.material for leaf, key in self.leaves.items() if self._is_gone(leaf)}


_number = st.integers(0, 7)
ACTS = st.one_of(
    st.just(("person",)),
    st.tuples(st.just("leaf"), _number, _number),
    st.just(("of_the_desk",)),
    st.tuples(st.just("merge"), _number, _number),
    st.tuples(st.just("move"), _number, _number),
    st.tuples(st.just("end"), _number),
    st.tuples(st.just("shred"), _number),
    st.just(("turn",)),
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ring(databases: Endpoints, tmp_path: Path) -> Iterator[Ring]:
    keys = KeyStore(databases.keys_dsn)
    yield Ring(keys, FileRoots(tmp_path / "roots"))
    keys.close()


@pytest.fixture
def turning(ring: Ring, clock: Clock) -> Turning:
    return Turning(ring.keys, ring.roots, clock)


@given(acts=st.lists(ACTS, min_size=6, max_size=30))
def test_after_a_turn_no_copy_of_any_time_opens_what_died_before_it_and_all_that_lives_opens(
    module_databases: Endpoints, tmp_path: Path, acts: list[tuple[Any, ...]]
) -> None:
    keys = KeyStore(module_databases.keys_dsn)
    try:
        with keys.transaction() as cursor:
            tables = "wrapping_keys, subjects, things, leaves, register, register_backs, fences, epochs"
            cursor.execute(f"TRUNCATE {tables}".encode())
        ring, clock = Ring(keys, FileRoots(tmp_path / str(uuid4()))), Clock()
        story, adversary = Story(ring, Turning(keys, ring.roots, clock), clock), Watcher(ring)
        for act, *arguments in [("person",), ("leaf", 0, 0), *acts]:
            getattr(story, act)(*arguments)
            adversary.copy()
        story.check_living()

        story.turn()
        adversary.copy()

        story.check_living()
        assert story.died().isdisjoint(adversary.opened_leaves())
        assert adversary.opened_entries().isdisjoint(story.fenced | {id_.bytes for id_ in story.dead})
    finally:
        keys.close()


def test_before_a_turn_an_old_copy_opens_what_died(ring: Ring, turning: Turning, clock: Clock) -> None:
    """The control: the adversary can read, as long as the roots of the time live."""
    story, adversary = Story(ring, turning, clock), Watcher(ring)
    story.person()
    story.person()
    story.leaf(0, 1)
    adversary.copy()
    story.shred(1)
    assert story.died() <= adversary.opened_leaves().keys()
    assert adversary.opened_entries() >= {id_.bytes for id_ in story.dead}

    turning.turn()
    adversary.copy()
    assert story.died() <= adversary.opened_leaves().keys(), "the old root still lives"

    assert turning.destroy_older(grace=NOW) == [1]
    assert story.died().isdisjoint(adversary.opened_leaves())


def test_a_root_is_destroyed_once_its_grace_is_over_and_not_before(ring: Ring, turning: Turning, clock: Clock) -> None:
    ring.subjects()
    day = timedelta(days=1)
    assert turning.destroy_older(grace=day) == []
    turning.turn()
    clock.now += timedelta(hours=23)
    assert turning.destroy_older(grace=day) == []
    assert ring.roots.open(1)
    clock.now += timedelta(hours=2)
    assert turning.destroy_older(grace=day) == [1]
    with pytest.raises(KeysUnavailable):
        ring.roots.open(1)
    assert turning.destroy_older(grace=day) == []


def test_a_turn_touches_only_what_lost_a_child(ring: Ring, turning: Turning) -> None:
    """One re-wrap a bucket, and the children of each replaced key."""
    people = ring.subjects(600)
    leaves = [ring.leaf(owner) for owner in people[:3]]
    ring.shred(people[0])

    turning.turn()

    [row] = ring.sql("SELECT * FROM epochs WHERE epoch = 2")
    buckets = ring.sql("SELECT epoch, losses, children FROM wrapping_keys WHERE kind = 'bucket'")
    assert len(buckets) == 3
    assert {(bucket["epoch"], bucket["losses"]) for bucket in buckets} == {(2, 0)}
    others = ring.sql("SELECT count(*) AS keys FROM wrapping_keys WHERE kind <> 'bucket'")[0]["keys"]
    assert (row["replaced"], row["rewrapped"], row["children"]) == (1, 2 + others, 255)
    assert [ring.open(leaf) is SHREDDED for leaf, _ in leaves] == [True, False, False]


class Killed(Exception):
    """In place of SIGKILL: nothing of ours runs after it."""


def killed_in(owner: Any, name: str, *, after: int = 0, done: bool = False) -> Any:
    """Replace a function by one that ends the process at its call after so many; `done` says that it did its work."""
    original, calls = owner.__dict__[name], 0
    plain = original.__func__ if isinstance(original, staticmethod) else original

    def call(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after and not done:
            raise Killed
        result = plain(*arguments, **more)
        if calls > after:
            raise Killed
        return result

    return staticmethod(call) if isinstance(original, staticmethod) else call


DEATHS = {
    "once the new root exists": (FileRoots, "turn", {"done": True}),
    "once the new epoch has a row": (Turning, "_replace_merged", {}),
    "once what is merged was replaced": (Turning, "_step", {}),
    "in the first slice": (Turning, "_rewrap", {}),
    "in the second slice": (Turning, "_rewrap", {"after": 1}),
    "before what was made ready is taken over": (Turning, "_take_over", {}),
    "once what was made ready is taken over": (Turning, "_take_over", {"done": True}),
    "in a replacement": (Turning, "_replace", {}),
    "before it is filled": (Turning, "_fill", {}),
    "once the old root is destroyed": (FileRoots, "destroy", {"done": True}),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_turn_that_was_killed_goes_on_and_ends_as_if_nothing_had_been(
    ring: Ring, turning: Turning, clock: Clock, monkeypatch: pytest.MonkeyPatch, death: str
) -> None:
    monkeypatch.setattr(turnings, "TOGETHER", 1)
    story, adversary = Story(ring, turning, clock), Watcher(ring)
    for _ in range(4):
        story.person()
    story.leaf(0, 1)
    story.leaf(2, 3)
    story.merge(0, 1)
    story.end(0)
    story.shred(2)
    owner, name, how = DEATHS[death]

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed_in(owner, name, **how))
        with pytest.raises(Killed):
            story.turn()
    adversary.copy()

    assert turning.is_unfinished() is (name != "destroy")
    if turning.is_unfinished():
        story.check_living()
        assert turning.turn() == 2
    turning.destroy_older(grace=NOW)
    story.check_living()
    assert story.died().isdisjoint(adversary.opened_leaves())
    assert [row["epoch"] for row in ring.sql("SELECT DISTINCT epoch FROM wrapping_keys")] == [2]
    assert ring.sql("SELECT destroyed_at FROM epochs WHERE epoch = 1")[0]["destroyed_at"] is not None


def test_leaves_are_made_ready_while_everybody_works_and_only_what_changed_since_is_wrapped_alone(
    ring: Ring, turning: Turning, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    story, adversary = Story(ring, turning, clock), Watcher(ring)
    for _ in range(3):
        story.person()
    for other in (0, 0, 0, 0, 1, 1, 0):
        story.leaf(0, other)
    story.end(0)
    adversary.copy()
    make_ready, take_over, wrap_anew = turnings.subject_made_ready, Turning._take_over, replacing._wrapped_anew
    alone: list[int] = []

    def while_made_ready(tree: Tree, subject: UUID) -> Any:
        made = make_ready(tree, subject)
        story.leaf(0, 2)
        return made

    def and_before_it_is_taken(self: Turning, epoch: int, ready: Any) -> None:
        if not alone:
            story.end(0)
            story.move(1, 2)
            adversary.copy()
        monkeypatch.setattr(replacing, "_wrapped_anew", counted)
        take_over(self, epoch, ready)
        monkeypatch.setattr(replacing, "_wrapped_anew", wrap_anew)

    def counted(*arguments: Any) -> Any:
        alone.append(len(arguments[-1]))
        return wrap_anew(*arguments)

    monkeypatch.setattr(turnings, "subject_made_ready", while_made_ready)
    monkeypatch.setattr(Turning, "_take_over", and_before_it_is_taken)
    story.turn()
    monkeypatch.undo()
    adversary.copy()

    assert sum(alone) < len(story.leaves), "what is as it was is taken over"
    assert sum(alone) >= 2, "what came, and what moved"
    story.check_living()
    assert story.died().isdisjoint(adversary.opened_leaves())
    story.turn()
    story.check_living()


def test_a_page_of_a_thousand_rows_is_split_when_it_has_lost_one(
    ring: Ring, turning: Turning, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    adversary, people = Watcher(ring), ring.subjects(500)
    with monkeypatch.context() as patch, ring.tree() as tree:
        patch.setattr(registers, "PAGE_ROWS", 1_000)
        register = Register(tree, ACME)
        led = {register.index(Reference(Kind.PERSON, str(n))): people[n // 2].id for n in range(1_000)}
        register.enter(list(led.items()))
    turning.turn()
    assert len(_pages(ring)) == 1, "it has lost nothing yet"
    adversary.copy()
    gone = people[0].id
    with ring.tree() as tree:
        assert Register(tree, ACME).fence([gone], AT) == 2

    turning.turn()
    turning.destroy_older(grace=NOW)

    pages = _pages(ring)
    assert sorted(page["entries"] for page in pages) == [998 % PAGE_ROWS, *[PAGE_ROWS] * (998 // PAGE_ROWS)]
    assert all(page["entries"] == page["children"] == page["backs"] and page["epoch"] == 3 for page in pages)
    with ring.tree() as tree:
        register, report = Register(tree, ACME), Report()
        known = register.look_up(led)
        assert {index: known[index].inside for index in led} == {
            index: None if id_ == gone else id_ for index, id_ in led.items()
        }
        backs = {(id_, index) for index, id_ in led.items() if id_ != gone}
        assert set(register.indexes_of([owner.id for owner in people])) == backs
        check_pages(tree, ring.sql("SELECT * FROM wrapping_keys WHERE kind = 'page'"), report)
        assert report.is_clean
        register.enter([(register.index(Reference(Kind.PERSON, "new")), people[1].id)])
    assert len(_pages(ring)) == len(pages), "the one that has room is filled up"
    assert gone.bytes not in adversary.opened_entries()


def _pages(ring: Ring) -> list[Any]:
    return ring.sql(
        "SELECT key_id, epoch, children, (SELECT count(*) FROM register WHERE page = key_id) AS entries,"
        " (SELECT count(*) FROM register_backs WHERE page = key_id) AS backs FROM wrapping_keys WHERE kind = 'page'"
    )


def test_a_shred_after_its_bucket_was_done_waits_for_the_next_turn(
    ring: Ring, turning: Turning, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    story, adversary = Story(ring, turning, clock), Watcher(ring)
    story.person()
    story.leaf(0, 0)
    fill = Turning._fill
    monkeypatch.setattr(Turning, "_fill", lambda self, epoch: (story.shred(0), fill(self, epoch))[1])
    adversary.copy()
    turning.turn()
    monkeypatch.undo()
    adversary.copy()
    turning.destroy_older(grace=NOW)
    # The copy that was made between has gone, but the key stood under the new root for a while: so it may be open.
    assert ring.losses(ring.parent(story.people[0])) > 0
    turning.turn()
    turning.destroy_older(grace=NOW)
    assert story.died().isdisjoint(adversary.opened_leaves())


def test_whoever_wraps_under_the_old_root_while_the_turn_begins_is_taken_along(ring: Ring, turning: Turning) -> None:
    wrapped, go_on = threading.Event(), threading.Event()

    def late() -> None:
        with ring.tree() as tree:
            tree.issue_subjects(ACME, [(SubjectId(uuid4()), uuid4(), False, False)])  # type: ignore[list-item]
            wrapped.set()
            go_on.wait(10)

    thread = threading.Thread(target=late)
    thread.start()
    wrapped.wait(10)
    threading.Timer(0.3, go_on.set).start()
    turning.turn()
    thread.join()
    assert [row["epoch"] for row in ring.sql("SELECT DISTINCT epoch FROM wrapping_keys")] == [2]


def test_one_process_turns_at_a_time(ring: Ring, turning: Turning) -> None:
    with ring.keys.alone("turn") as alone:
        assert alone
        with pytest.raises(Disturbed):
            turning.turn()
        assert turning.destroy_older(grace=NOW) == []


def test_a_replacement_gives_way_to_whoever_is_at_work(ring: Ring) -> None:
    with ring.keys.transaction(), pytest.raises(Disturbed), ring.keys.replacing():
        pass
    with ring.keys.replacing() as cursor:
        assert rows_of(cursor, SQL.epochs.sql) == []
