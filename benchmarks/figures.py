"""What a figure is, and how its two sides are measured.

Sides take turns and the order turns with each repeat, so that a machine that is busy for a while is busy for both.
Garbage is collected before a side begins and not charged to it. CPU is that of this process and of the servers below
it, whose time Linux counts in steps of a hundredth of a second: a side should run for a while.
"""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from math import log
from statistics import linear_regression, median

import orjson
import psutil

REPEATS = 5
_PACKAGES = ("psycopg", "eventsourcing", "cryptography", "pydantic", "orjson")


@dataclass(frozen=True, slots=True)
class Sample:
    """How long something took, in seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Target:
    """What the ratio of a figure has to reach, and what we would like it to; `at_most` where less is better."""

    floor: float
    aim: float | None = None
    at_most: bool = False

    def is_met(self, ratio: float) -> bool:
        """Say whether a ratio is on the right side of the floor."""
        return ratio <= self.floor if self.at_most else ratio >= self.floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure, with the other side of the same run.

    value, other       medians, in `unit`
    ratio, cpu_ratio   how both sides compare, by wall time and by CPU time; `to` says with what, and which way.
                       Where no time is measured (bytes), there is no ratio of CPU times
    floor, aim, met    what the ratio has to reach, and whether it does; none where nothing was promised
    cpu_us_per_item    CPU time an item (a record, a fact, or a whole request), servers included
    points, exponent   of a cost that was measured at several sizes: (facts stored, microseconds of CPU), and x of a fit
                       by cost ~ n^x
    """

    name: str
    value: float
    unit: str
    ratio: float
    to: str
    other: float
    floor: float | None = None
    aim: float | None = None
    met: bool | None = None
    repeats: int
    cpu_us_per_item: float | None
    cpu_ratio: float | None
    items: int
    versions: Mapping[str, str]
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    points: Sequence[tuple[int, float]] | None = None
    exponent: float | None = None

    def as_line(self) -> str:
        """Write the figure as one line of JSON."""
        return orjson.dumps(asdict(self)).decode()


class Stopwatch:
    """Measures from its making to each reading."""

    def __init__(self) -> None:
        gc.collect()
        self._cpu = _cpu_seconds()
        self._wall = time.perf_counter()

    def read(self) -> Sample:
        """Read what has passed."""
        wall = time.perf_counter() - self._wall
        return Sample(wall, _cpu_seconds() - self._cpu)


def _cpu_seconds() -> float:
    """Sum the CPU time of this process and of every process below it, dead ones included."""
    servers = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        servers += times.user + times.system + times.children_user + times.children_system
    return time.process_time() + servers


#: One side of a comparison: it is told which repeat this is, and gives its samples by name.
Side = Callable[[int], Mapping[str, Sample]]

#: Told what happens now.
Progress = Callable[[str], object]

#: Gives the figures for so many facts (or subjects), so often repeated.
Measure = Callable[[int, int, Progress], Iterator[Figure]]


def alternate(sides: Sequence[Side], repeats: int) -> dict[str, list[Sample]]:
    """Run the sides in turn, `repeats` times after one round that does not count (repeat 0)."""
    samples: dict[str, list[Sample]] = {}
    for repeat in range(repeats + 1):
        turn = repeat % len(sides)
        for side in (*sides[turn:], *sides[:turn]):
            for name, sample in side(repeat).items():
                if repeat:
                    samples.setdefault(name, []).append(sample)
    return samples


def rate(
    name: str,
    unit: str,
    *,
    items: int,
    to: str,
    of: Sequence[Sample],
    other: Sequence[Sample],
    servers: Mapping[str, str],
    target: Target | None = None,
) -> Figure:
    """Make a figure of two rates: the ratio says how many times as fast the first side is."""
    wall, cpu = _medians(of)
    other_wall, other_cpu = _medians(other)
    return _figure(name, unit, (items / wall, items / other_wall), (other_wall / wall, _over(other_cpu, cpu)), cpu,
                   items, to, len(of), servers, target)  # fmt: skip


def duration(
    name: str,
    *,
    items: int,
    to: str,
    of: Sequence[Sample],
    other: Sequence[Sample],
    servers: Mapping[str, str],
    target: Target | None = None,
) -> Figure:
    """Make a figure of two times in milliseconds: the ratio says how many times as long the first side takes."""
    wall, cpu = _medians(of)
    other_wall, other_cpu = _medians(other)
    return _figure(name, "ms", (1000 * wall, 1000 * other_wall), (wall / other_wall, _over(cpu, other_cpu)), cpu,
                   items, to, len(of), servers, target)  # fmt: skip


def amount(
    name: str,
    unit: str,
    *,
    items: int,
    to: str,
    of: Sequence[float],
    other: Sequence[float],
    servers: Mapping[str, str],
    target: Target | None = None,
) -> Figure:
    """Make a figure of two amounts of which no CPU time is told, such as bytes: the ratio is of their medians."""
    value, beside = median(of), median(other)
    return _figure(name, unit, (value, beside), (value / beside, None), None, items, to, len(of), servers, target)


def grown(name: str, *, points: Sequence[tuple[int, float]], repeats: int, servers: Mapping[str, str]) -> Figure:
    """Make a figure of one cost at several sizes, given as (facts stored, microseconds of CPU) and the smallest first.

    Least squares through the logarithms give the exponent. A cost below the clock's step counts as one microsecond.
    """
    sizes, costs = [size for size, _ in points], [max(1.0, cost) for _, cost in points]
    line = linear_regression([log(size) for size in sizes], [log(cost) for cost in costs])
    ratio = _rounded(costs[-1] / costs[0])
    return Figure(
        name=name,
        value=_rounded(costs[-1]),
        unit="us of CPU",
        ratio=ratio,
        to=f"the same with {sizes[0]:,} facts stored; this one with {sizes[-1]:,}",
        other=_rounded(costs[0]),
        repeats=repeats,
        cpu_us_per_item=_rounded(costs[-1]),
        cpu_ratio=ratio,
        items=1,
        versions={**versions(), **servers},
        points=[(size, _rounded(cost)) for size, cost in zip(sizes, costs, strict=True)],
        exponent=round(line.slope, 2),
    )


def _figure(
    name: str,
    unit: str,
    values: tuple[float, float],
    ratios: tuple[float, float | None],
    cpu: float | None,
    items: int,
    to: str,
    repeats: int,
    servers: Mapping[str, str],
    target: Target | None,
) -> Figure:
    ratio, cpu_ratio = ratios
    return Figure(
        name=name,
        value=_rounded(values[0]),
        unit=unit,
        ratio=_rounded(ratio),
        to=to,
        other=_rounded(values[1]),
        floor=None if target is None else target.floor,
        aim=None if target is None else target.aim,
        met=None if target is None else target.is_met(ratio),
        repeats=repeats,
        cpu_us_per_item=None if cpu is None else _rounded(1e6 * cpu / items),
        cpu_ratio=None if cpu_ratio is None else _rounded(cpu_ratio),
        items=items,
        versions={**versions(), **servers},
    )


def versions() -> dict[str, str]:
    """Say which Python and which packages ran."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}


def _medians(samples: Sequence[Sample]) -> tuple[float, float]:
    return median(sample.wall for sample in samples), median(sample.cpu for sample in samples)


def _over(one: float, other: float) -> float:
    return one / other if other else 0.0


def _rounded(value: float) -> float:
    """Keep four significant digits; there are fewer in the measurement."""
    return float(f"{value:.4g}")
