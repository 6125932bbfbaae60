"""Tables and lists in Markdown, one line a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: The first lines of every generated document, behind its title.
GENERATED = (
    "Generated from the code by `make docs`; `make check` fails when it is out of date. Change the code instead."
)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Write a table: a heading, a rule, and a line for each row."""
    return [_row(headings), _row(["---"] * len(headings)), *(_row(row) for row in rows)]


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(cell_of(cell) for cell in cells)} |"


def cell_of(cell: object) -> str:
    """Write a cell on one line. A bar would end it, so it is escaped."""
    return " ".join(str("" if cell is None else cell).split()).replace("|", r"\|")


def bullets(items: Iterable[object]) -> list[str]:
    """Write a list, one line an item."""
    return [f"- {cell_of(item)}" for item in items]


def joined(*blocks: Sequence[str] | str) -> str:
    """Join blocks with an empty line between each, and end with a line feed. Empty blocks are left out."""
    texts = [block if isinstance(block, str) else "\n".join(block) for block in blocks]
    return "\n\n".join(text.strip("\n") for text in texts if text.strip("\n")) + "\n"
