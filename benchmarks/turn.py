"""Turn of the root epoch, with some people shredded, against re-wrapping every key.

The other side is the same turn with a loss counted on every bucket and every register page, so that all of them are
replaced with whatever hangs beneath: the same code, transactions and durability. Leaves are left out of both, which is
kind to the other side: it would have to wrap them, too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from benchmarks.figures import Figure, Progress, Sample, Stopwatch, alternate, duration
from benchmarks.ground import ground
from crypto.keystore import KeyStore, rows_of
from crypto.register import Register
from crypto.roots import Roots
from crypto.tree import SQL, Tree
from crypto.turning import SQL as TURNING
from crypto.turning import Turning
from domain.ids import SubjectId, TenantId, ThingId
from domain.personal import Kind, Reference
from services.wiring import now

#: Subjects that stand around, unless somebody says so.
SUBJECTS = 10_000
#: Which share of them is shredded before a turn. At least one person is.
SHARES = (0.0001, 0.001, 0.01)
#: Subjects that are made, or shredded, in one transaction.
TOGETHER = 1_000
_ALL = "everything"


def measure(subjects: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure a turn for each share of people shredded, against re-wrapping everybody who lives."""
    with ground() as place:
        field = _Field(place.house.keys, place.house.roots)
        progress(f"turn: making {subjects} subjects, each with a reference")
        field.fill(subjects)
        progress(f"turn: {repeats} times with {', '.join(f'{share:.2%}' for share in SHARES)} of them shredded")
        # Whoever is shredded in one repeat is gone in the next: 1 % fewer each time.
        sides = [lambda repeat, share=share: field.turn_after(share, round(subjects * share) or 1) for share in SHARES]
        samples = alternate([*sides, lambda repeat: field.turn_all()], repeats)
    for share in SHARES:
        rows, all_rows = field.touched[_name(share)], field.touched[_ALL]
        yield duration(
            _name(share),
            items=subjects,
            to=f"re-wrapping every key of {subjects:,} people: {rows:,} rows against {all_rows:,}",
            of=samples[_name(share)],
            other=samples[_ALL],
            servers=place.versions,
        )


def _name(share: float) -> str:
    return f"turn, {share:.2%} shredded"


class _Field:
    """Subjects of one tenant with a reference each, and nothing else."""

    def __init__(self, keys: KeyStore, roots: Roots) -> None:
        self._keys = keys
        self._roots = roots
        self._tenant = TenantId(uuid4())
        self._turning = Turning(keys, roots, now)
        self._living: list[UUID] = []
        self._dice = random.Random(1)
        #: Rows that the last turn of each side wrapped anew.
        self.touched: dict[str, int] = {}

    def fill(self, subjects: int) -> None:
        """Make subjects, each with one reference in the register."""
        for start in range(0, subjects, TOGETHER):
            new = [SubjectId(uuid4()) for _ in range(min(TOGETHER, subjects - start))]
            with self._keys.transaction() as cursor:
                tree = Tree(cursor, self._roots)
                tree.issue_subjects(self._tenant, [(id_, ThingId(uuid4()), False, True) for id_ in new])
                register = Register(tree, self._tenant)
                references = (Reference(Kind.PERSON, str(start + number)) for number in range(len(new)))
                register.enter([(register.index(one), id_) for one, id_ in zip(references, new, strict=True)])
            self._living.extend(new)
        self._dice.shuffle(self._living)

    def turn_after(self, share: float, gone: int) -> Mapping[str, Sample]:
        """Shred so many people, anywhere in the tree, and turn."""
        for start in range(0, gone, TOGETHER):
            self._shred([self._living.pop() for _ in range(min(TOGETHER, gone - start))])
        return {_name(share): self._turn(_name(share))}

    def turn_all(self) -> Mapping[str, Sample]:
        """Turn, and replace every key that has something beneath it."""
        with self._keys.transaction() as cursor:
            cursor.execute(b"UPDATE wrapping_keys SET losses = losses + 1 WHERE kind IN ('bucket', 'page')")
        return {_ALL: self._turn(_ALL)}

    def _shred(self, ids: Sequence[UUID]) -> None:
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            rows: list[Any] = rows_of(cursor, SQL.chains.sql, subject_ids=list(ids))
            tree.destroy_subjects(rows, 1)
            Register(tree, self._tenant).fence(ids, now())

    def _turn(self, side: str) -> Sample:
        watch = Stopwatch()
        epoch = self._turning.turn()
        sample = watch.read()
        self._turning.destroy_older(grace=timedelta(0))
        with self._keys.transaction() as cursor:
            row = rows_of(cursor, TURNING.epoch.sql, epoch=epoch)[0]
            assert rows_of(cursor, TURNING.left_to_turn.sql, epoch=epoch)[0]["keys"] == 0
        self.touched[side] = row["rewrapped"] + row["replaced"] + row["children"]
        return sample
