"""Measure the figures: standard output is one JSON line a figure, the rest goes to standard error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from benchmarks import (
    consuming,
    disk,
    document,
    growth,
    intake,
    memory,
    page,
    processes,
    projector,
    proving,
    rebuild,
    seal,
    shred,
    turn,
    waiting,
)
from benchmarks.figures import REPEATS, Figure, Measure, Progress

#: By name: how to measure, and with how many facts unless somebody says so. A further benchmark is a line here.
BENCHMARKS: Mapping[str, tuple[Measure, int]] = MappingProxyType(
    {
        "intake": (intake.measure, intake.FACTS),
        "consuming": (consuming.measure, consuming.FACTS),
        "processes": (processes.measure, processes.FACTS),
        "projector": (projector.measure, projector.FACTS),
        "rebuild": (rebuild.measure, rebuild.FACTS),
        "page": (page.measure, page.FACTS),
        "disk": (disk.measure, disk.FACTS),
        "memory": (memory.measure, memory.FACTS),
        "shred": (shred.measure, shred.FACTS),
        "waiting": (waiting.measure, waiting.FACTS),
        "seal": (seal.measure, seal.FACTS),
        "growth": (growth.measure, growth.FACTS),
        "turn": (turn.measure, turn.SUBJECTS),
        "proving": (proving.measure, proving.FACTS),
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line names, or all."""
    options = _parser().parse_args(arguments)
    tell: Progress = _tell_nobody if options.json else _tell
    figures: list[Figure] = []
    for name in options.names or BENCHMARKS:
        measure, facts = BENCHMARKS[name]
        for figure in measure(options.facts or facts, options.repeats, tell):
            print(figure.as_line(), flush=True)
            tell(f"  {figure.name}: {figure.ratio:.3g} x {figure.to}")
            figures.append(figure)
    if options.write_doc:
        document.write(figures)
        tell(f"wrote {document.PATH}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", type=_benchmark, help=f"{', '.join(BENCHMARKS)}; all, if none is given"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines alone, and no word on standard error")
    parser.add_argument(
        *("--facts", "--subjects"),
        dest="facts",
        type=_number,
        metavar="N",
        help="how many facts, or for `turn` subjects, in place of each one's own number",
    )
    parser.add_argument("--repeats", type=_number, default=REPEATS, metavar="N", help=f"{REPEATS}, unless you say so")
    parser.add_argument("--write-doc", action="store_true", help="write docs/performance.md from this run")
    return parser


def _benchmark(text: str) -> str:
    if text not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"one of {', '.join(BENCHMARKS)}")
    return text


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a number from 1")
    return number


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _tell_nobody(message: str) -> None:
    """Say nothing."""


if __name__ == "__main__":
    sys.exit(main())
