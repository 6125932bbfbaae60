"""`doctor`: look at everything that could have been set up wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from services.cli.options import Data, Json
from services.cli.printing import progress, write_json, write_line
from services.wiring import now

if TYPE_CHECKING:
    from services.doctor.findings import Finding

_USAGE = 2
#: As wide as the longest state.
_WIDTH = len("cannot tell")


def doctor(json: Json = False, data: Data = None) -> None:
    """Look at settings, folders, keys, ledger, databases and Kafka for what is set up wrong. Change nothing.

    Each line is a check: ok, warning, wrong, or cannot tell; and what to do next. Servers that do not run are not
    started. Ends with 1 if anything is wrong, and with 2 if the settings do not say where to look.

    Examples:

        sealdesk doctor

        sealdesk doctor --json
    """
    # Nobody else loads what looks at everything.
    from services.doctor.examining import Examination
    from services.doctor.findings import State

    examination = Examination(data, os.environ, now())
    with progress("looking") as shown:
        found = list(examination.findings(lambda done, total, what: shown.to(done, total, what)))
    if json:
        write_json([finding.as_dict() for finding in found])
    else:
        _show(found)
    if examination.settings is None:
        raise typer.Exit(_USAGE)
    if any(finding.state is State.WRONG for finding in found):
        raise typer.Exit(1)


def _show(found: Iterable[Finding]) -> None:
    for finding in found:
        write_line(f"{finding.state:<{_WIDTH}}  {finding.check}: {_harmless(finding.says)}")
        if finding.todo:
            write_line(f"{'':<{_WIDTH}}    {_harmless(finding.todo)}")


def _harmless(text: str) -> str:
    """Write a text without anything that a terminal would obey: the name of a folder may hold it."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
