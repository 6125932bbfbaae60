"""Rebuild of tickets and reports, beside the living tables and swapped, as `sealdesk rebuild` does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks import history
from benchmarks.figures import Figure, Progress, Sample, Stopwatch, Target, alternate, rate
from benchmarks.ground import ground
from projections.paging import PAGE_SIZE

FACTS = 60_000
_MODELS = ("tickets", "reports")


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure the rebuild against reading the same pages and throwing them away."""
    with ground() as place:
        progress(f"rebuild: storing {facts} records")
        place.take(history.records(facts))
        log, projecting = place.house.facts, place.house.projecting
        progress(f"rebuild: {repeats} times")

        def rebuilt(repeat: int) -> Mapping[str, Sample]:
            watch = Stopwatch()
            for model in _MODELS:
                projecting.rebuild(model)
            return {"rebuilt": watch.read()}

        def read(repeat: int) -> Mapping[str, Sample]:
            watch = Stopwatch()
            for _ in _MODELS:
                after = 0
                while page := log.page(after, PAGE_SIZE):
                    after = page[-1].position
            return {"read": watch.read()}

        samples = alternate([rebuilt, read], repeats)
        yield rate(
            "rebuild",
            "facts/s",
            items=facts,
            to="the rate of reading the same pages, once a model, and throwing them away",
            of=samples["rebuilt"],
            other=samples["read"],
            servers=place.versions,
            target=Target(0.25, 0.5),
        )
