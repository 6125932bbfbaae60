"""How long a shred waits while intake is at work without pause, in a process of its own.

Each batch brings something of everybody who is about to be shredded, so each shred meets a batch that holds the person.
The moments of the requests are spread over a batch, and the longest wait of a repeat counts. The batches of the other
side are timed in the same process, while nobody is shredded.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing.connection import Connection
from statistics import median

from benchmarks import history
from benchmarks.figures import Figure, Progress, Sample, Target, alternate, amount
from benchmarks.ground import BATCH, Ground, ground, parcels
from benchmarks.shred import shredded
from services import wiring
from services.embedded import Endpoints
from services.settings import Settings

#: Facts of others that stand around.
FACTS = 10_000
#: Facts of each person before the intake begins, and people who are shredded in one repeat of a side.
FEW, PEOPLE = 10, 3
_BUSY_FROM, _IDLE_FROM = 700_000, 800_000
#: Multiples of the golden section, without their whole part, lie evenly between 0 and 1, however many there are.
GOLDEN = 0.618034
#: In milliseconds.
_MILLI = 1_000.0


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure the wait under full intake against that of an idle house and the time of two batches."""
    of_a_batch = min(BATCH, facts)
    with ground() as place:
        progress(f"waiting: storing {facts} records")
        place.take(history.records(facts))
        numbers = range((repeats + 1) * PEOPLE)
        busy_people, idle_people = ([first + number for number in numbers] for first in (_BUSY_FROM, _IDLE_FROM))
        place.take([record for person in (*busy_people, *idle_people) for record in history.life(person, FEW)])
        place.house.projecting.catch_up()
        with _intake(place, busy_people, facts, of_a_batch) as publisher:
            progress(f"waiting: {repeats} times, {PEOPLE} people each, batches of {of_a_batch}")

            def idle(repeat: int) -> Mapping[str, Sample]:
                return {"idle": _mean([_wait(place, idle_people[repeat * PEOPLE + one]) for one in range(PEOPLE)])}

            def batches(repeat: int) -> Mapping[str, Sample]:
                return {"batch": _mean(publisher.alone(PEOPLE))}

            def busy(repeat: int) -> Mapping[str, Sample]:
                seconds = []
                with publisher.at_work():
                    for number in range(repeat * PEOPLE, (repeat + 1) * PEOPLE):
                        publisher.come_to(number * GOLDEN % 1)
                        seconds.append(_wait(place, busy_people[number]))
                return {"busy": Sample(max(seconds), 0.0)}

            samples = alternate([idle, batches, busy], repeats)
    two = [one.wall + 2 * batch.wall for one, batch in zip(samples["idle"], samples["batch"], strict=True)]
    yield amount(
        "wait under intake",
        "ms",
        items=PEOPLE,
        to="the time in an idle house and that of two batches, "
        f"{_MILLI * median(sample.wall for sample in samples['batch']):,.4g} ms each, among {facts:,} records",
        of=[_MILLI * sample.wall for sample in samples["busy"]],
        other=[_MILLI * seconds for seconds in two],
        servers=place.versions,
        target=Target(1.5, 1.0, at_most=True),
    )


def _wait(place: Ground, contact: int) -> float:
    """Shred somebody, and say how many seconds passed until nothing opened any more."""
    shredding, tenant = place.house.shredding, place.house.tenants.named(history.TENANT).id
    return shredded(shredding, tenant, contact, "one")["one, destroyed"].wall


def _mean(seconds: Sequence[float]) -> Sample:
    return Sample(sum(seconds) / len(seconds), 0.0)


@dataclass(slots=True)
class _Publisher:
    """The other process, from here: it is told how many batches to take, and tells how long each took, in seconds."""

    wire: Connection
    batch: float = 0.0

    def alone(self, number: int) -> list[float]:
        """Have so many batches taken, and wait for them."""
        self.wire.send(number)
        seconds = [float(self.wire.recv()) for _ in range(number)]
        self.batch = median(seconds)
        return seconds

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have batches taken without pause."""
        self.wire.send(None)
        yield
        self.wire.send(0)
        while self.wire.recv() is not None:
            """It says so when it has stopped."""

    def come_to(self, part: float) -> None:
        """Wait until a batch has ended, and then for a part of the next one."""
        while self.wire.poll():
            self.wire.recv()
        self.wire.recv()
        time.sleep(part * self.batch)


@contextmanager
def _intake(place: Ground, people: Sequence[int], facts: int, of_a_batch: int) -> Iterator[_Publisher]:
    """Run intake in a process of its own, and stop it."""
    context = multiprocessing.get_context("spawn")
    wire, other_end = context.Pipe()
    given = (place.house.settings, place.house.endpoints, other_end, people, facts, of_a_batch)
    process = context.Process(target=_take_in, args=given)
    process.start()
    # Or nobody would notice here that it died.
    other_end.close()
    try:
        yield _Publisher(wire)
    finally:
        wire.close()
        process.join()


def _take_in(
    settings: Settings, endpoints: Endpoints, wire: Connection, people: Sequence[int], facts: int, of_a_batch: int
) -> None:
    """Take as many batches as are asked for, or without end until somebody says so; end with the wire."""
    with wiring.house(settings, endpoints) as house:
        batches = _batches(people, facts, of_a_batch)
        try:
            while True:
                asked = wire.recv()
                for number in count():
                    if number == asked or (asked is None and wire.poll()):
                        break
                    batch = next(batches)
                    started = time.perf_counter()
                    house.intake.take(parcels(batch), at=wiring.now())
                    wire.send(time.perf_counter() - started)
                if asked is None:
                    wire.recv()
                    wire.send(None)
        except (EOFError, BrokenPipeError):
            """Whoever asked is through."""


def _batches(people: Sequence[int], facts: int, of_a_batch: int) -> Iterator[list[bytes]]:
    """Write what comes next: something of each of these people, and the history goes on behind what is stored."""
    lives = [islice(history.endless_life(person), FEW, None) for person in people]
    theirs = min(len(people), of_a_batch // 2)
    going_on = islice(history.endless(), facts, None)
    while True:
        yield [next(life) for life in lives[:theirs]] + list(islice(going_on, of_a_batch - theirs))
