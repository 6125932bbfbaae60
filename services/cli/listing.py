"""What every list on the command line shares: its options, who looks and why, where to go on, and the table.

Rule: a table stops after some rows and says how to go on; JSON goes to the end. Nothing is revealed without a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice
from typing import Annotated, Any, Protocol
from uuid import UUID

import typer

from domain.errors import ReferenceUnknown, SettingsWrong
from domain.ids import TenantId, ThingId
from services.cli.asking import whole_text
from services.cli.printing import table, tell, write_rows
from services.reading import Reveal
from services.wiring import House

#: Rows of a table unless --limit says otherwise; a screen holds about as many.
TABLE_ROWS = 30
#: Characters of an id in a table: enough to tell rows apart.
SHORT_ID = 8

Revealed = Annotated[bool, typer.Option("--reveal", help="Show personal data; needs --why, and leaves an access line.")]
Why = Annotated[
    str | None,
    typer.Option("--why", metavar="TEXT", help="Why it is revealed; '-' reads standard input.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="Also rows that are deleted, merged or erased. JSON shows them too.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="At most so many rows; by default 30, in JSON all."),
]
After = Annotated[
    str | None,
    typer.Option("--after", metavar="ID", help="Go on behind the row with this id, as JSON has it."),
]


def word(name: str) -> Any:
    """Make an option that keeps a list to one word of a column."""
    return typer.Option(f"--{name}", metavar="WORD", help=f"Only this {name}.", show_default=False)


def day(name: str, help: str) -> Any:
    """Make an option that takes a day."""
    return typer.Option(f"--{name}", metavar="YYYY-MM-DD", help=help, show_default=False)


def reason(reveal: bool, why: str | None) -> str | None:
    """Give the reason of a reveal, or None when nothing is revealed.

    Raises:
        SettingsWrong: there is a reveal without a reason, or a reason without a reveal.
    """
    if not reveal:
        if why is not None:
            raise SettingsWrong("--why goes with --reveal.")
        return None
    text = whole_text(why, "reason") or ""
    if not text.strip():
        raise SettingsWrong("A reveal needs a reason: --reveal --why TEXT.")
    return text


def ready(house: House, tenant: str | None, why: str | None) -> tuple[TenantId, Reveal | None]:
    """Bring the read models to the head of the log, and say whose they are and who looks."""
    account = house.tenants.named(tenant).id
    house.projecting.catch_up()
    return account, None if why is None else Reveal(house.settings.actor, why)


def most(limit: int | None, json: bool) -> int | None:
    """Say how many rows to read. A table asks for one row more, to know whether there are more."""
    return limit if json else (limit or TABLE_ROWS) + 1


def on(text: str | None, option: str) -> date | None:
    """Read a day. Raises SettingsWrong if it is none."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise SettingsWrong(f"{option} is a day, written as 2024-12-31.") from None


class Row(Protocol):
    """A row of a read model, with its place in the order."""

    @property
    def first_position(self) -> int:
        """Return the position of its first fact."""
        ...


def behind(
    house: House,
    tenant: TenantId,
    after: str,
    rows: Callable[..., Iterator[Row]],
    *,
    column: str = "thing",
    what: str = "row",
) -> int:
    """Find the place in a list behind which to go on; `column` is the filter of `rows` that takes an id.

    Raises:
        SettingsWrong: this is no inside id.
        ReferenceUnknown: no row has it.
    """
    try:
        wanted = ThingId(UUID(after))
    except ValueError:
        raise SettingsWrong("--after takes the whole id of a row, as JSON has it.") from None
    with house.facts.connection() as connection:
        found = list(rows(connection, tenant, all=True, **{column: wanted}))
    if not found:
        raise ReferenceUnknown(f"There is no {what} with the id that --after names.")
    return found[0].first_position


def show(
    rows: Iterator[dict[str, Any]],
    headings: tuple[str, ...],
    cells: Callable[[dict[str, Any]], tuple[object, ...]],
    *,
    limit: int | None,
    json: bool,
    spare: tuple[str, ...],
) -> None:
    """Write a list: as JSON, or as a table whose first heading is the name of the id in a row."""
    if json:
        write_rows(rows)
        return
    shown = limit or TABLE_ROWS
    listed = list(islice(rows, shown + 1))
    table(headings, [cells(row) for row in listed[:shown]], spare=spare)
    if len(listed) > shown:
        last = listed[shown - 1][headings[0]]
        tell(f"there are more; go on with --after {last}, or take all with --json")


def state(row: dict[str, Any]) -> str:
    """Say in words what became of a row."""
    said = {**row, "merged": row.get("merged") or row.get("merged_into")}
    return ", ".join(name for name in ("deleted", "merged", "erased", "blocked") if said.get(name))
