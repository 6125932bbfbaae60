"""`tenant`: the accounts of this installation, and the words that each lets stand in the clear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.entering import entered
from services.cli.options import Data, Json
from services.cli.printing import table, write_json, write_line
from services.csv_map import read_vocabularies

commands = typer.Typer(help="The helpdesk accounts of this installation.")


@commands.command("add")
def add(
    name: Annotated[str, typer.Argument(help="The name, as records give it in 'tenant'.", metavar="NAME")],
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            "--vocabulary",
            metavar="FILE.toml",
            help="Words that may stand in the clear, in a table [vocabularies]. They are added to those there are.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Add a tenant, or words to the vocabularies of one that exists.

    Example:

        sealdesk tenant add acme --vocabulary examples/acme_vocabulary.toml
    """
    words = None if vocabulary is None else read_vocabularies(vocabulary)
    with entered(data) as house:
        tenant = house.tenants.add(name, words)
    counts = ", ".join(f"{len(found)} {kind}" for kind, found in sorted(tenant.vocabulary.items()))
    write_line(f"tenant {tenant.name}; words: {counts or 'none'}")


@commands.command("set")
def set_trash(
    name: Annotated[str, typer.Argument(help="The name of the tenant.", metavar="NAME")],
    trash_days: Annotated[
        int | None,
        typer.Option("--trash-days", min=1, metavar="N", help="How long what was deleted can be restored (30)."),
    ] = None,
    trust_purges: Annotated[
        bool | None,
        typer.Option(
            "--trust-purges/--judge-purges",
            help="Whether a purge that upstream orders is carried out, or waits for an officer (the default).",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Say how long a tenant's trash is kept, and whether its upstream may purge.

    Example:

        sealdesk tenant set acme --trash-days 14 --trust-purges
    """
    with entered(data) as house:
        tenant = house.tenants.set_trash(name, days=trash_days, trusts_purges=trust_purges)
    purges = "are carried out" if tenant.trusts_purges else "wait for an officer"
    write_line(f"tenant {tenant.name}: the trash is kept {tenant.trash_days} days; purges of upstream {purges}")


@commands.command("list")
def list_all(json: Json = False, data: Data = None) -> None:
    """List the tenants and their words.

    Example:

        sealdesk tenant list --json
    """
    with entered(data) as house:
        known = house.tenants.by_name()
    words = {name: {kind: sorted(found) for kind, found in sorted(t.vocabulary.items())} for name, t in known.items()}
    if json:
        write_json([{"name": name, "vocabularies": words[name]} for name in sorted(words)])
        return
    table(("tenant", "words"), [(name, ", ".join(words[name]) or "none") for name in sorted(words)])
