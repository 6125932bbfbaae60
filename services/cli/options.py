"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _here_or_before_the_command(context: typer.Context, value: Path | None) -> Path | None:
    """Take `--data` from wherever it stands: after the command, or before it."""
    earlier = context.find_root().params.get("data")
    return value or (earlier if isinstance(earlier, Path) else None)


Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data folder; by default SEALDESK_DATA.",
        callback=_here_or_before_the_command,
        show_default=False,
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="Which tenant; by default the only one.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Ref = Annotated[
    str | None,
    typer.Option("--ref", metavar="ID", help="The id that the helpdesk gave out.", show_default=False),
]
Email = Annotated[
    str | None,
    typer.Option(
        "--email",
        metavar="ADDRESS",
        help="The e-mail address. Better '-': it is read from standard input, and no other account sees it.",
        show_default=False,
    ),
]
