"""Whether anything has become slower: small runs, of which only ratios of CPU times are compared with recorded ones.

Both sides of a ratio ran on the same machine within the same minute, so a slow machine, or a busy one, does not fail.
What seems to have fallen by more than `FALL` is measured once more before it counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import orjson

from benchmarks import intake, rebuild, shred
from benchmarks.figures import Measure

RECORDED = Path(__file__).parent / "recorded.json"
#: What a ratio may lose of its recorded value.
FALL = 1 / 3
REPEATS = 3
#: By figure: how to measure, and with how many facts. Rates only, so more is better, and of those that vary little.
SMALL: Mapping[str, tuple[Measure, int]] = MappingProxyType(
    {
        "intake": (intake.measure, 8_000),
        "rebuild": (rebuild.measure, 4_000),
        "shred to certificate": (shred.measure, 1_000),
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and compare with what is recorded, or record it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smoke", description=__doc__)
    parser.add_argument("--record", action="store_true", help="record the ratios of this run as those to keep")
    options = parser.parse_args(arguments)
    found = measured(SMALL)
    if options.record:
        RECORDED.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
        return 0
    recorded: dict[str, float] = orjson.loads(RECORDED.read_bytes())
    if slower := fallen(found, recorded):
        _tell(f"once more: {', '.join(slower)}")
        found |= measured({name: how for name, how in SMALL.items() if name in slower})
        slower = fallen(found, recorded)
    for name, ratio in sorted(found.items()):
        print(orjson.dumps({"name": name, "cpu_ratio": ratio, "recorded": recorded.get(name)}).decode())
    for name in slower:
        _tell(f"{name} has fallen by more than a third below {recorded[name]:g}: profile it, or say why and --record")
    return 1 if slower else 0


def measured(benchmarks: Mapping[str, tuple[Measure, int]]) -> dict[str, float]:
    """Run some benchmarks small, and give the ratio of CPU times of each figure that is looked at."""
    figures = (one for measure, facts in benchmarks.values() for one in measure(facts, REPEATS, _tell))
    return {one.name: one.cpu_ratio for one in figures if one.name in SMALL and one.cpu_ratio is not None}


def fallen(found: Mapping[str, float], recorded: Mapping[str, float]) -> list[str]:
    """Name the figures that are too far below what is recorded. One that was never recorded is none of them."""
    return [name for name, ratio in found.items() if ratio < (1 - FALL) * recorded.get(name, 0.0)]


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
