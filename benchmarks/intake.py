"""Intake of mixed facts: JSON bytes in memory to committed, everything on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

from benchmarks import history
from benchmarks.clear import ClearFacts
from benchmarks.figures import Figure, Progress, Sample, Side, Stopwatch, Target, alternate, rate
from benchmarks.ground import batches, ground, parcels
from benchmarks.library import Library
from services.records import Parcel

#: Records on each side, the round that does not count included.
FACTS = 60_000
AGAINST_LIBRARY = Target(floor=1.2, aim=2.0)
AGAINST_CLEAR = Target(floor=0.45, aim=0.65)


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure intake against the bare library, and against the same facts in clear."""
    number = max(1, facts // (repeats + 1))
    records = history.records(number * (repeats + 1))
    rounds = [records[start : start + number] for start in range(0, len(records), number)]
    with (
        ground() as place,
        closing(Library(place.database("library"))) as library,
        closing(ClearFacts(place.database("clear"))) as clear,
    ):
        progress(f"intake: {repeats} times {number} records, three sides")

        def sealed(repeat: int) -> Mapping[str, Sample]:
            watch = Stopwatch()
            place.take(rounds[repeat])
            return {"sealed": watch.read()}

        sides: list[Side] = [
            sealed,
            partial(_put, "library", library.put, rounds),
            partial(_put, "clear", clear.put, rounds),
        ]
        samples = alternate(sides, repeats)
        versions = place.versions
    yield rate(
        "intake",
        "records/s",
        items=number,
        to="the rate of the library's batched put, one key for all",
        of=samples["sealed"],
        other=samples["library"],
        servers=versions,
        target=AGAINST_LIBRARY,
    )
    yield rate(
        "intake against clear",
        "records/s",
        items=number,
        to="the rate of the same facts in clear through the same recorder",
        of=samples["sealed"],
        other=samples["clear"],
        servers=versions,
        target=AGAINST_CLEAR,
    )


def _put(
    name: str, put: Callable[[Sequence[Parcel]], None], rounds: Sequence[Sequence[bytes]], repeat: int
) -> Mapping[str, Sample]:
    watch = Stopwatch()
    for batch in batches(rounds[repeat]):
        put(parcels(batch))
    return {name: watch.read()}
