"""What commands print: results on standard output, everything else on the error stream.

Rule: text of people may hold anything, even what moves a terminal's cursor; a table shows none of that.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

#: Columns of a table that goes into a file or a pipe, unless COLUMNS says otherwise.
PIPE_COLUMNS = 200
#: What stands around a cell, in characters.
COLUMN_FRAME = 3
#: Characters of a text that a table shows.
CELL_CHARACTERS = 60


def write_json(value: Any) -> None:
    """Write one line of JSON."""
    write_line(orjson.dumps(value).decode())


def write_sorted(value: Any) -> None:
    """Write one object over several lines, its keys in order, so that two of them compare line by line."""
    write_line(orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2).decode())


def write_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON array as it comes, one row a line."""
    sys.stdout.write("[")
    for number, row in enumerate(rows):
        sys.stdout.write(",\n" if number else "\n")
        sys.stdout.write(orjson.dumps(row).decode())
    sys.stdout.write("\n]\n")


def write_line(text: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(text + "\n")


def tell(text: str) -> None:
    """Tell the person at the terminal something that is not the result."""
    sys.stderr.write(f"sealdesk: {text}\n")


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    *,
    spare: Sequence[str] = (),
    whole: bool = False,
) -> None:
    """Write a table; where it is too wide, without the columns that it can spare, the first of these first.

    `whole` is for our own words, and for names of which nobody may take one for another: no cell is cut.
    """
    console = screen()
    longest = None if whole else CELL_CHARACTERS
    cells = [[shown(cell, longest) for cell in row] for row in rows]
    widths = [max([len(heading), *(len(row[at]) for row in cells)]) for at, heading in enumerate(headings)]
    kept = list(range(len(headings)))
    for heading in spare:
        if sum(widths[at] + COLUMN_FRAME for at in kept) <= console.width:
            break
        kept.remove(headings.index(heading))
    made = Table(
        *(headings[at] for at in kept),
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_header=any(headings),
    )
    for row in cells:
        made.add_row(*(Text(row[at]) for at in kept))
    console.print(made)


def screen() -> Console:
    """Open standard output for tables and colours."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_COLUMNS
    return Console(file=sys.stdout, width=width, highlight=False)


def shown(cell: object, longest: int | None = CELL_CHARACTERS) -> str:
    """Write a cell on one line, without anything that a terminal would obey; of a long one the beginning."""
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else ""
        case {"sealed": True}:
            return "(sealed)"
        case {"shredded": True}:
            return "(shredded)"
        case {"lost": True}:
            return "(key lost)"
        case {"broken": True}:
            return "(seal broken)"
        case list():
            text = ", ".join(shown(item, longest) for item in cell)
        case _:
            text = str(cell)
    harmless = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text)
    return harmless if longest is None or len(harmless) <= longest else harmless[: longest - 1] + "…"


class Advance:
    """A line on the terminal that says how far a command is; nothing where no terminal is."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=None, note="")

    def to(self, done: int, total: int | None, note: str = "") -> None:
        """Show how far it is."""
        self._progress.update(self._task, completed=done, total=total, note=note)


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """Show on the error stream how far a command is, if that is a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as shown_progress:
        yield Advance(shown_progress, what)
