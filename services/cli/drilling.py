"""`drill`: play what may go wrong, on a house that never was."""

from __future__ import annotations

import typer

from services import drill
from services.cli.options import Json
from services.cli.printing import table, tell, write_json

commands = typer.Typer(help="Play what may go wrong, on servers and a house of its own. Nothing else is touched.")


@commands.callback()
def drills() -> None:
    """Play what may go wrong, on servers and a house of its own. Nothing else is touched."""


@commands.command("restore")
def restore(json: Json = False) -> None:
    """Fill a house, copy it, shred people, and restore the copies in every way that may go wrong.

    It takes about a minute, and ends with 1 where anything does not hold.

    Example:

        sealdesk drill restore --json
    """
    cases: list[str] = []

    def said(case: str) -> None:
        cases.append(case)
        if not json:
            tell(f"case: {case}")

    try:
        held = drill.restore(said)
    except drill.DrillFailed as failed:
        if json:
            write_json({"ok": False, "cases": {**dict.fromkeys(cases[:-1], True), cases[-1]: False} if cases else {}})
        else:
            tell(str(failed))
        raise typer.Exit(1) from None
    if json:
        write_json({"ok": True, "cases": held})
    else:
        table(("case", "holds"), [(case, "yes") for case in held])
