"""How costs grow with what is stored: CPU time of one more of each, at five sizes over two decades.

One house grows from a hundredth of the facts to all of them. At each size the same things are done, and a straight line
through the logarithms (least squares) gives the exponent: 0 does not grow, 1 grows with all that is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice
from statistics import median

from benchmarks import history
from benchmarks.figures import Figure, Progress, Stopwatch, grown
from benchmarks.ground import Ground, ground
from benchmarks.page import of_revealed
from benchmarks.shred import FEW, shredded

#: Facts at the largest size; with `--facts 1000000` the sizes are those from 10,000 to 1,000,000.
FACTS = 50_000
_SIZES = (100, 10**1.5, 10, 10**0.5, 1)
#: How much is done in one sample, since CPU is counted in hundredths of a second.
RECORDS, PEOPLE, PAGES, TICKETS = 200, 5, 5, 30
#: How many records are held in memory at once.
PORTION = 10_000
_MODELS = ("tickets", "reports")
_PEOPLE_FROM = 700_000

#: CPU seconds of one more, by what it is.
Costs = Mapping[str, float]


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure at each size, and fit."""
    points: dict[str, list[tuple[int, float]]] = {}
    with ground() as place:
        told = history.endless()
        people = count(_PEOPLE_FROM)
        for part in _SIZES:
            size = max(1, round(facts / part))
            progress(f"growth: {size} facts")
            while (missing := size - place.house.facts.head()) > 0:
                place.take(list(islice(told, min(missing, PORTION))))
            place.house.projecting.catch_up()
            before = place.house.facts.head()
            found = [_at_one_size(place, told, people) for _ in range(repeats)]
            # What is done at a size is stored, too.
            stored = (before + place.house.facts.head()) // 2
            for name in found[0]:
                points.setdefault(name, []).append((stored, 1e6 * median(costs[name] for costs in found)))
        versions = place.versions
    for name, measured in points.items():
        yield grown(f"growth, {name}", points=measured, repeats=repeats, servers=versions)


def _at_one_size(place: Ground, told: Iterator[bytes], people: Iterator[int]) -> Costs:
    records, some = list(islice(told, RECORDS)), list(islice(people, PEOPLE))
    taken = _seconds(lambda: place.take(records)) / RECORDS
    for contact in some:
        place.take(history.life(contact, FEW))
    place.house.projecting.catch_up()
    rebuilt = _seconds(lambda: [place.house.projecting.rebuild(model) for model in _MODELS]) / place.house.facts.head()
    tenant = place.house.tenants.named(history.TENANT).id
    read = _seconds(lambda: [of_revealed(place.house.reading, tenant, 0, TICKETS) for _ in range(PAGES)]) / PAGES
    shreds = [shredded(place.house.shredding, tenant, contact, "one") for contact in some]
    return {
        "a record taken in": taken,
        "a fact in a rebuild": rebuilt,
        "a page of tickets revealed": read,
        "a shred to destroyed": sum(shred["one, destroyed"].cpu for shred in shreds) / PEOPLE,
        "a shred to certificate": sum(shred["one, certified"].cpu for shred in shreds) / PEOPLE,
    }


def _seconds(act: Callable[[], object]) -> float:
    watch = Stopwatch()
    act()
    return watch.read().cpu
