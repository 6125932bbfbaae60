"""What a service of very many helpdesks would need, on paper: arithmetic on the figures of a run.

`python -m benchmarks.scaling RUN.jsonl` reads the JSON lines that `python -m benchmarks --json` printed and prints
every number with how it comes about; with `--write-doc` it writes docs/scaling.md. Every number is either a figure of
that run, or computed here, or one of `Assumptions`, which are named and not measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil
from pathlib import Path
from typing import Any

import orjson

from benchmarks.scaling_words import HEAD, TAIL

PATH = Path(__file__).parents[1] / "docs" / "scaling.md"
#: The figures that are needed, by the names that a run gives them.
NEEDED = (
    "intake", "projector", "rebuild", "bytes on disk, log", "bytes on disk, read models", "bytes on disk, keys",
    "shred to destroyed", "shred to certificate", "turn, 0.01% shredded",
)  # fmt: skip
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is asked for, and what nobody has measured. `SAYS` has the reason of each."""

    tenants: int = 40_000
    facts_a_month: int = 1_000_000_000
    peak: float = 5
    months_kept: int = 24
    load: float = 0.5
    people_a_fact: float = 0.11
    shreds_a_person_a_year: float = 0.001
    rebuild_hours: float = 24
    disk_terabytes: float = 4
    turn_minutes: float = 60
    copies: int = 2
    largest_tenant: float = 0.01


SAYS: Mapping[str, str] = {
    "tenants": "helpdesk accounts, as asked",
    "facts_a_month": "facts a month of all of them, as asked",
    "peak": "how many times the mean the busiest hour has: office hours of a few time zones",
    "months_kept": "months that facts are kept before they are purged",
    "load": "how much of a core, or of a rate that one process reaches, may be used at the peak",
    "people_a_fact": "new people a fact, as the made-up helpdesk of the benchmarks has them; a real one has fewer",
    "shreds_a_person_a_year": "people of a thousand who ask to be forgotten in a year, over a thousand",
    "rebuild_hours": "hours that a rebuild of a read model may take",
    "disk_terabytes": "terabytes that one PostgreSQL cluster may grow to before its base backup takes too long",
    "turn_minutes": "minutes that the daily turn of the root epoch may take",
    "copies": "copies of each database: itself and a synchronous standby",
    "largest_tenant": "share of all facts that the largest tenant has",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One number, and how it comes about."""

    name: str
    value: str
    how: str


def read(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read the figures of a run, by name.

    Raises:
        SystemExit: one that is needed is missing.
    """
    figures = {figure["name"]: figure for figure in map(orjson.loads, filter(str.strip, lines))}
    if missing := [name for name in NEEDED if name not in figures]:
        raise SystemExit(f"the run lacks: {', '.join(missing)}")
    return figures


class Plan:
    """The arithmetic: loads, what one cell bears, how many cells that makes, and what each act costs there."""

    def __init__(self, figures: Mapping[str, Mapping[str, Any]], given: Assumptions | None = None) -> None:
        self._figures = figures
        self.given = a = given or Assumptions()
        self.mean = a.facts_a_month / (30 * _DAY)
        self.peak = self.mean * a.peak
        self.kept = a.facts_a_month * a.months_kept
        self.people = self.kept * a.people_a_fact
        self.bytes = {part: self._value(f"bytes on disk, {part}") for part in ("log", "read models", "keys")}
        turn = figures["turn, 0.01% shredded"]
        self.turn_us_a_person = 1000 * turn["value"] / turn["items"]
        self.cells_for = self._cells()
        self.saturates, self.cells = max(self.cells_for.items(), key=lambda item: item[1])

    def _value(self, name: str) -> float:
        return float(self._figures[name]["value"])

    def _cpu(self, name: str) -> float:
        return float(self._figures[name]["cpu_us_per_item"])

    def _cells(self) -> dict[str, int]:
        """Say how many cells each part would need if it were the only one that fills up."""
        a = self.given
        room = a.disk_terabytes * 1e12
        return {
            "appends (one at a time in a cell)": ceil(self.peak / (self._value("intake") * a.load)),
            "projector (one process a cell)": ceil(self.peak / (self._value("projector") * a.load)),
            "rebuild within its hours": ceil(self.kept / (self._value("rebuild") * a.rebuild_hours * 3600)),
            "disk of log and read models": ceil(self.kept * (self.bytes["log"] + self.bytes["read models"]) / room),
            "disk of the key database": ceil(self.kept * self.bytes["keys"] / room),
            "turn within its minutes": ceil(self.people * self.turn_us_a_person / 1e6 / (a.turn_minutes * 60)),
        }

    def needs(self) -> list[Line]:
        """Say what all cells need together."""
        a, stored = self.given, sum(self.bytes.values())
        intake, projector = self._cpu("intake"), self._cpu("projector")
        keys = self.kept * self.bytes["keys"] / 1e12
        consumers = max(1, ceil(self.peak / self.cells / (self._value("intake") * a.load)))
        return [
            Line("facts a second, mean", f"{self.mean:,.0f}", "facts a month / 30 days"),
            Line("facts a second, peak", f"{self.peak:,.0f}", f"mean x {a.peak:g}"),
            Line(
                "cores for intake",
                f"{self.peak * intake / 1e6 / a.load:.1f}",
                f"peak x {intake:.0f} us of CPU a record, servers included / {a.load:g}",
            ),
            Line(
                "cores for projectors",
                f"{self.peak * projector / 1e6 / a.load:.1f}",
                f"peak x {projector:.0f} us of CPU a fact, all read models, servers included / {a.load:g}",
            ),
            Line("facts kept", f"{self.kept:,.0f}", f"facts a month x {a.months_kept}"),
            Line("people", f"{self.people:,.0f}", f"facts kept x {a.people_a_fact:g}"),
            Line(
                "disk a month",
                f"{a.facts_a_month * stored * a.copies / 1e12:,.1f} TB",
                f"facts a month x {stored:,.0f} bytes a fact x {a.copies} copies",
            ),
            Line(
                "disk in all",
                f"{self.kept * stored * a.copies / 1e12:,.0f} TB",
                f"facts kept x {stored:,.0f} bytes x {a.copies} copies; {keys:,.1f} TB of each are key databases",
            ),
            Line("cells", f"{self.cells}", f"what fills up first: {self.saturates}"),
            Line("key databases", f"{self.cells}, and as many standbys", "one a cell, apart from its log"),
            Line("tenants a cell", f"{a.tenants / self.cells:,.0f}", "tenants / cells"),
            Line("facts a second in a cell, peak", f"{self.peak / self.cells:,.0f}", "peak / cells"),
            Line(
                "Kafka partitions a cell",
                f"{2 * consumers}",
                f"{consumers} of `sealdesk consume` reach the peak of a cell; twice as many, so that one may fail",
            ),
            Line(
                "the largest tenant fits into a cell",
                "yes" if a.largest_tenant * self.cells <= 1 else "no",
                f"it has {a.largest_tenant:.1%} of all facts; a cell bears {1 / self.cells:.1%}",
            ),
        ]

    def costs(self) -> list[Line]:
        """Say what a shred, a turn and a rebuild cost in such a place."""
        a = self.given
        shreds = self.people * a.shreds_a_person_a_year / 365
        in_cell, a_person = self.people / self.cells, 1 / a.people_a_fact
        destroyed, certified = self._value("shred to destroyed"), self._value("shred to certificate")
        rebuilt = self._value("rebuild")
        return [
            Line("shreds a day", f"{shreds:,.0f}", f"people x {a.shreds_a_person_a_year:g} / 365"),
            Line("a shred, until nothing opens", f"{destroyed:,.0f} ms", "measured; not a matter of what is stored"),
            Line(
                "a shred, to its certificate",
                f"{destroyed + 1000 * a_person / certified:,.0f} ms",
                f"that, and {a_person:.0f} facts of a person at {certified:,.0f} facts/s",
            ),
            Line(
                "all shreds of a day in a cell",
                f"{shreds / self.cells * destroyed / 1000:,.0f} s",
                "shreds a day / cells x until nothing opens",
            ),
            Line(
                "a turn of a cell",
                f"{in_cell * self.turn_us_a_person / 6e7:,.1f} min",
                f"{in_cell:,.0f} people x {self.turn_us_a_person:.1f} us, as measured with few of them shredded",
            ),
            Line(
                "a rebuild of a cell",
                f"{self.kept / self.cells / rebuilt / 3600:,.1f} h",
                f"facts kept / cells / {rebuilt:,.0f} facts/s, two models; readers see the old tables meanwhile",
            ),
            Line(
                "a rebuild without cells",
                f"{self.kept / rebuilt / _DAY:,.0f} days",
                f"facts kept / {rebuilt:,.0f} facts/s",
            ),
        ]


def page(plan: Plan) -> str:
    """Write docs/scaling.md."""
    a = plan.given
    assumed = [(field.name.replace("_", " "), f"{getattr(a, field.name):,}", SAYS[field.name]) for field in fields(a)]
    cells = sorted(plan.cells_for.items(), key=lambda item: -item[1])
    return "\n".join(
        [
            HEAD,
            "## What is assumed\n",
            _table(("assumption", "number", "why"), assumed),
            "\n## What it needs\n",
            _table(("number", "value", "how"), [(line.name, line.value, line.how) for line in plan.needs()]),
            "\n## What saturates first\n\nSo many cells would do if only this part could fill up:\n",
            _table(("part", "cells"), [(name, str(number)) for name, number in cells]),
            "\n## What it costs there\n",
            _table(("act", "value", "how"), [(line.name, line.value, line.how) for line in plan.costs()]),
            TAIL,
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a run and print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="Arithmetic on a run.")
    parser.add_argument("run", type=Path, metavar="RUN.jsonl", help="what python -m benchmarks --json printed")
    parser.add_argument("--write-doc", action="store_true", help="write docs/scaling.md")
    options = parser.parse_args(arguments)
    text = page(Plan(read(options.run.read_text(encoding="utf-8").splitlines())))
    if options.write_doc:
        PATH.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
