"""`generate`: the history of a helpdesk that never was, to try things with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from domain.errors import SettingsWrong
from domain.fact import FIRST_YEAR, ID_CHARACTERS, LAST_YEAR
from domain.tickets import TicketOpened
from services.cli.printing import progress
from services.generating import DAYS, FEWEST_PEOPLE, START, Wanted, history
from services.reading_files import batches

#: Records that are written at once.
_BATCH = 1_000
#: The last stories end after the last day, and some of their records look further ahead.
_AHEAD = timedelta(days=2 * 365)
_FIRST_DAY = START.isoformat()
_OPENED = f'"{TicketOpened.TYPE}"'.encode()


def generate(
    tickets: Annotated[int, typer.Option("--tickets", metavar="N", min=1, help="How many tickets there are.")],
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Another seed is another history.")] = 1,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="NAME", help="Whose the records are; else the import decides."),
    ] = None,
    start: Annotated[
        datetime,
        typer.Option("--start", metavar="YYYY-MM-DD", formats=["%Y-%m-%d"], help="The first day of tickets."),
    ] = _FIRST_DAY,  # type: ignore[assignment]  # Typer reads a default as it reads what is typed.
    days: Annotated[int, typer.Option("--days", metavar="N", min=1, help="In how many days they are opened.")] = DAYS,
    people: Annotated[
        int | None,
        typer.Option(
            "--people",
            metavar="N",
            min=FEWEST_PEOPLE,
            help="How many contacts there are; by default one for four tickets.",
            show_default=False,
        ),
    ] = None,
    people_file: Annotated[
        Path | None,
        typer.Option("--people-file", metavar="FILE", help="Write the reference of each contact here, one a line."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the records here; else to standard output."),
    ] = None,
) -> None:
    """Write the history of a helpdesk that never was: CloudEvents, one a line, of every type there is.

    The same numbers give the same bytes. Some records come twice and some before their ticket, as they do in life.

    Examples:

        sealdesk generate --tickets 20000 --seed 1 | sealdesk import - --tenant acme --data ./desk

        sealdesk generate --tickets 20000 --people-file people.txt -o records.jsonl
    """
    try:
        last = start + timedelta(days=days) + _AHEAD
    except OverflowError:
        last = None
    if last is None or start.year <= FIRST_YEAR or last.year > LAST_YEAR:
        raise SettingsWrong(f"The days lie between the years {FIRST_YEAR} and {LAST_YEAR}: change --start or --days.")
    if tenant is not None and not 0 < len(tenant) <= ID_CHARACTERS:
        raise SettingsWrong(f"--tenant is a name of 1 to {ID_CHARACTERS} characters.")
    wanted = Wanted(tickets, seed, start.date(), days, people, tenant)
    with ExitStack() as stack:
        note = stack.enter_context(_noting(people_file))
        file = stack.enter_context(_written(output))
        shown = stack.enter_context(progress("generate"))
        records = opened = 0
        for batch in batches(history(wanted, note), _BATCH):
            piece = b"".join(batch)
            file.write(piece)
            records, opened = records + len(batch), opened + piece.count(_OPENED)
            shown.to(min(opened, tickets), tickets, f"{records} records")
        file.flush()


@contextmanager
def _written(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        return
    with _opened(path) as file:
        yield file


@contextmanager
def _noting(path: Path | None) -> Iterator[Callable[[str], object]]:
    if path is None:
        yield lambda reference: None
        return
    with _opened(path) as file:
        yield lambda reference: file.write(f"{reference}\n".encode())


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise SettingsWrong(f"The file {path} cannot be written: {error.strerror}.") from error
