"""Write `docs/performance.md` from a run: the words stand here, and every number comes from the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure

PATH = Path(__file__).parents[1] / "docs" / "performance.md"

HEAD = """# Performance

This page is written by `python -m benchmarks --write-doc`; change `benchmarks/document.py`, not the page.

Every figure compares two sides that took turns within one run on one machine: trust the ratios, not the third digit
of a rate. Servers are embedded PostgreSQL at its default durability, in a temporary folder. A value is the median of
at least five repeats after a round that does not count; CPU is this process and its servers together.

    make bench                                  # everything, some minutes
    python -m benchmarks intake --json          # one benchmark; standard output is one JSON line a figure
    python -m benchmarks shred --facts 2000     # smaller, or larger

## What is measured

- **intake**: a made-up helpdesk (`benchmarks/history.py`: contacts, tickets, replies, ratings, a few updates, about 620
  bytes a record), from JSON bytes in memory to committed, in batches of 1000, with everything on: register, keys,
  fences, deduplication, seals. One side is the `eventsourcing` library's own batched `put` with its stock recorder and
  one key for all, after the same parsing and validation. The other is the same facts in clear through our own recorder:
  what it would cost if nobody could ever be forgotten.
- **seal at the publisher**, **open at the desk**: the same records from bytes to the Kafka record that is sent, and
  from there to the parcel that intake takes, in an envelope of HPKE and with hashed names, against structured mode in
  clear. Kafka itself is left out. X25519 is most of it: one key a record.
- **rebuild**: `sealdesk rebuild` of tickets and reports, against reading the same pages and throwing them away.
- **shred to destroyed**: from the request to the commit after which nothing opens (checks, ledger line with fsync, key
  dropped, references fenced), of a person with many facts, against one with few. It should not grow with what is
  stored.
- **shred to certificate**: the same request to its end, with read models blanked, keys beneath swept, residue looked
  for and the certificate signed, against masking the same facts and rows by UPDATE in tables that hold clear text.
- **turn**: a turn of the root epoch after 0.01 %, 0.1 % and 1 % of the people were shredded, anywhere in the tree, each
  with one reference in the register, against the same turn with every bucket and every register page replaced, and so
  everything beneath wrapped anew. Leaves hang beneath neither. `make bench-turn` does it for 10,000, 100,000 and
  1,000,000 people.

## What a run said

"""

_COLUMNS = ("figure", "value", "ratio", "by CPU", "to", "CPU an item", "repeats")


def write(figures: Sequence[Figure]) -> None:
    """Write the page."""
    PATH.write_text(page(figures), encoding="utf-8")


def page(figures: Sequence[Figure]) -> str:
    """Give the whole page."""
    rows = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS)), *(_row(_cells(figure)) for figure in figures)]
    return HEAD + "\n".join(rows) + "\n\n" + _conditions(figures) + "\n"


def _cells(figure: Figure) -> Sequence[str]:
    return (
        figure.name,
        f"{figure.value:,.6g} {figure.unit}",
        f"**{figure.ratio:.3g}**",
        f"{figure.cpu_ratio:.3g}",
        f"{figure.to} ({figure.other:,.6g} {figure.unit})",
        f"{figure.cpu_us_per_item:,.6g} us",
        str(figure.repeats),
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _conditions(figures: Sequence[Figure]) -> str:
    """Say on what it ran. One run has one machine and one set of versions."""
    if not figures:
        return "Nothing was measured."
    first = figures[0]
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    return f"{first.cores} cores; {versions}."
