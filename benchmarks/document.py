"""Write `docs/performance.md` from a run: the words stand here, and every number comes from the figures.

`python -m benchmarks --write-doc` does it at its end, `python -m benchmarks.document RUN.jsonl` from the lines of one.
Lines in further files were measured apart, at sizes that take too long for a run of everything: `document RUN.jsonl
LARGE.jsonl`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from benchmarks.figures import Figure
from benchmarks.picture import picture

PATH = Path(__file__).parents[1] / "docs" / "performance.md"
PICTURE = PATH.with_name("growth.svg")

HEAD = """# Performance

This page is written by `python -m benchmarks --write-doc`, or from the lines of a run by
`python -m benchmarks.document RUN.jsonl LARGE.jsonl`; change `benchmarks/document.py`, not the page.

Every figure compares two sides that took turns within one run on one machine: trust the ratios, not the third digit
of a rate. Servers are embedded PostgreSQL at its default durability, in a temporary folder. A value is the median of
at least five repeats after a round that does not count; CPU is this process and its servers together.

    make bench                                  # everything, some minutes
    python -m benchmarks intake --json          # one benchmark; standard output is one JSON line a figure
    python -m benchmarks shred --facts 2000     # smaller, or larger

Floor and aim are promises for the ratio; for times, bytes and memory less is better. Where a floor is not met,
[ADR 35](adr/0035-where-the-time-goes.md) says where the time goes, and what was tried.

## What is measured

- **intake**: a made-up helpdesk (`benchmarks/history.py`: contacts, tickets, replies, ratings, a few updates, about 620
  bytes a record), from JSON bytes in memory to committed, in batches of 1000, with everything on: register, keys,
  fences, deduplication, seals. One side is the `eventsourcing` library's own batched `put` with its stock recorder and
  one key for all, after the same parsing and validation. The other is the same facts in clear through our own recorder:
  what it would cost if nobody could ever be forgotten. All three let Python look for cycles of garbage less while
  they store a batch.
- **consuming**: the same records published to the embedded broker and read by the consumer, with the positions of the
  partitions stored and followed, against intake of the same records from memory. Publishing is not counted.
- **processes**: intake by two processes at once over the same databases, into one tenant, a person and what is about
  that person in one of them, against one process. Appends take turns, and so do batches in which somebody is new.
- **seal at the publisher**, **open at the desk**: the same records from bytes to the Kafka record that is sent, and
  from there to the parcel that intake takes, in an envelope of HPKE and with hashed names, against structured mode in
  clear. Kafka itself is left out. X25519 is most of it: one key a record.
- **projector**: all read models follow the log while facts arrive a hundred at a time, against the `eventsourcing`
  library's `ProjectionRunner`, which makes the same rows in tables of the same layout, one event a transaction, and
  knows nothing of forgetting. Appending is not counted.
- **rebuild**: `sealdesk rebuild` of tickets and reports, against reading the same pages and throwing them away.
- **page revealed**: a page of 30 tickets of 30 people with 5 entries each, read, opened and noted in the access log,
  from the call to the bytes of JSON, against the same page from tables that hold clear text.
- **bytes on disk**: what both databases take for each fact beyond their empty tables, keys, register, read models and
  indexes included, against the same facts in clear with read models in clear (those of masking: texts and ids, no
  counts, no status). Write-ahead logs are left out.
- **memory**: the peak (unique set size) of intake, of the projector and of a rebuild, each in a process of its own,
  against the peak with a tenth of the records. It should not grow with what is stored.
- **shred to destroyed**: from the request to the commit after which nothing opens (checks, ledger line with fsync, key
  dropped, references fenced), of a person with 10,000 facts (`--facts 100000` takes some ten minutes), against one
  with few. It should not grow with what is stored. *Against masking*: to the same moment, against masking the same
  facts and rows by UPDATE in tables that hold clear text, after which nothing is readable in the tables either.
- **shred to certificate**: the same request to its end, with read models blanked, keys beneath swept, references of
  everything fenced, residue looked for and the certificate signed, against the same UPDATE, which does none of this but
  blank. It leaves the clear text in dead rows, too: *against masking for good*, the tables are written anew behind it,
  which takes longer the more there is of other people (here, six times the person's facts in all).
- **wait under intake**: shred to destroyed while another process takes records in without pause, in batches of 1000 in
  each of which there is something of the person, against the same in an idle house and the time of two batches. Of
  three people a repeat, who ask at different moments of a batch, the one who waits longest counts.
- **growth**: CPU time of one more of each, at five sizes over two decades in one growing house, and the exponent of
  a fit through the logarithms. `--facts 1000000` takes the sizes from 10,000 to 1,000,000.
- **turn**: a turn of the root epoch after 0.01 %, 0.1 % and 1 % of the people were shredded, anywhere in the tree, each
  with one reference in the register, against the same turn with every bucket and every register page replaced, and so
  everything beneath wrapped anew. Leaves hang beneath neither. `make bench-turn` does it for 10,000, 100,000 and
  1,000,000 people.

## What a run said

"""

GROWTH = """## How costs grow

CPU time of one more, servers included, with so many facts stored:

"""

LARGE = """## At the sizes of the promises

These take too long for a run of everything, and for five repeats. Each ran by itself, as often as its last column says
(`python -m benchmarks NAME --facts N --repeats R`):

"""

_COLUMNS = ("figure", "value", "ratio", "floor", "aim", "met", "by CPU", "to", "CPU an item", "repeats")


def write(figures: Sequence[Figure], large: Sequence[Figure] = ()) -> None:
    """Write the page, and the picture on it."""
    PATH.write_text(page(figures, large), encoding="utf-8")
    if any(figure.points for figure in figures):
        PICTURE.write_text(picture(figures), encoding="utf-8")


def page(figures: Sequence[Figure], large: Sequence[Figure] = ()) -> str:
    """Give the whole page. What is large was measured apart from the other figures."""
    compared = [figure for figure in figures if not figure.points]
    table = _table(_COLUMNS, [_cells(figure) for figure in compared])
    return f"{HEAD}{table}\n\n{_large(large)}{_growth(figures)}{_conditions(figures)}\n"


def _large(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    rows = [[figure.name, f"{figure.items:,}", *_cells(figure)[1:]] for figure in figures]
    return f"{LARGE}{_table((_COLUMNS[0], 'items', *_COLUMNS[1:]), rows)}\n\n"


def _growth(figures: Sequence[Figure]) -> str:
    """Write the table of costs at several sizes. All of one run have the same sizes."""
    grown = [(figure, figure.points) for figure in figures if figure.points]
    if not grown:
        return ""
    headings = ["one more of", *(f"{size:,}" for size, _ in grown[0][1]), "grows as"]
    rows = [
        [figure.name.partition(", ")[2], *(f"{cost:,.6g} us" for _, cost in points), f"n^{figure.exponent:g}"]
        for figure, points in grown
    ]
    samples = f"Samples at each size: {grown[0][0].repeats}."
    return f"{GROWTH}{_table(headings, rows)}\n\n{samples}\n\n![How costs grow]({PICTURE.name})\n\n"


def _cells(figure: Figure) -> Sequence[str]:
    return (
        figure.name,
        f"{figure.value:,.6g} {figure.unit}",
        f"**{figure.ratio:.3g}**",
        "" if figure.floor is None else f"{figure.floor:g}",
        "" if figure.aim is None else f"{figure.aim:g}",
        "" if figure.met is None else ("yes" if figure.met else "**no**"),
        "" if figure.cpu_ratio is None else f"{figure.cpu_ratio:.3g}",
        f"{figure.to} ({figure.other:,.6g} {figure.unit})",
        "" if figure.cpu_us_per_item is None else f"{figure.cpu_us_per_item:,.6g} us",
        str(figure.repeats),
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(map(_row, [headings, ["---"] * len(headings), *rows]))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _conditions(figures: Sequence[Figure]) -> str:
    """Say on what it ran. One run has one machine and one set of versions."""
    if not figures:
        return "Nothing was measured."
    first = figures[0]
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    return f"{first.cores} cores; {versions}."


def _read(path: str) -> list[Figure]:
    return [Figure(**orjson.loads(line)) for line in Path(path).read_bytes().splitlines()]


if __name__ == "__main__":
    write(_read(sys.argv[1]), [figure for path in sys.argv[2:] for figure in _read(path)])
