"""`datamap`, `ropa`, `notice`, `agreement`, `events`, `check`: what sealdesk says of itself. No house is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services import checking, reading_files
from services.checking import Summary, Verdict
from services.cli.options import Json, Tenant
from services.cli.printing import table, write_json, write_line, write_rows, write_sorted
from services.describing import agreement as annexes
from services.describing import data_map
from services.describing import events as catalogue
from services.describing import notice as told
from services.describing import ropa as processing
from services.describing.operator import read_operator

#: Findings of a table. Whoever wants them all takes --json.
TABLE_FINDINGS = 50

Controller = Annotated[
    Path | None,
    typer.Option(
        "--controller",
        metavar="FILE.toml",
        help="Who is responsible, recipients, transfers, other legal bases; see examples/controller.toml.",
        show_default=False,
    ),
]


def datamap(json: Json = False) -> None:
    """Map the data: every field, with whose it is, what for, on what legal basis, under which key, and until when.

    Example:

        sealdesk datamap --json
    """
    if json:
        write_sorted(data_map.as_data())
    else:
        write_line(data_map.markdown().rstrip())


def ropa(
    processor: Annotated[
        bool, typer.Option("--processor", help="The record of a processor, Article 30(2); else a controller's, 30(1).")
    ] = False,
    controller: Controller = None,
    json: Json = False,
) -> None:
    """Write the record of processing activities (Article 30). What only the operator knows shows as a placeholder.

    Examples:

        sealdesk ropa --controller examples/controller.toml

        sealdesk ropa --processor --json
    """
    operator = read_operator(controller)
    if json:
        write_sorted(processing.of_processor(operator) if processor else processing.of_controller(operator))
    else:
        text = processing.processor_markdown(operator) if processor else processing.controller_markdown(operator)
        write_line(text.rstrip())


def notice(controller: Controller = None, json: Json = False) -> None:
    """Draft what people are told about their data (Articles 13 and 14).

    Example:

        sealdesk notice --controller examples/controller.toml
    """
    operator = read_operator(controller)
    if json:
        write_sorted(told.of(operator))
    else:
        write_line(told.markdown(operator).rstrip())


def agreement(controller: Controller = None, json: Json = False) -> None:
    """Draft the annexes of a processing agreement (Article 28): description, measures, sub-processors.

    Example:

        sealdesk agreement --controller examples/controller.toml
    """
    operator = read_operator(controller)
    if json:
        write_sorted(annexes.of(operator))
    else:
        write_line(annexes.markdown(operator).rstrip())


def events(json: Json = False) -> None:
    """List the types of records that can be published; in JSON with their fields and schemas.

    Example:

        sealdesk events --json
    """
    if json:
        write_rows(catalogue.events())
    else:
        table(("type", "opens", "effect", "whose", "meaning"), catalogue.rows(), spare=("whose", "opens", "effect"))


def check(
    file: Annotated[str, typer.Argument(help="The file, '-' for standard input; .gz is unpacked.", metavar="FILE")],
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Try records before they are sent. Needs no data folder, no server and no keys, and repeats nothing of them.

    Whether a thing is known or somebody was shredded, only an import can tell.

    Exit status 1 if a record is wrong.

    Examples:

        sealdesk check examples/desk.jsonl

        cat records.jsonl | sealdesk check - --tenant acme --json
    """
    summary = Summary.empty()
    shown: list[tuple[object, ...]] = []
    with reading_files.opened(file) as opened:
        for finding in checking.check(reading_files.cloudevents(opened, tenant)):
            summary.add(finding)
            if json:
                write_json(finding.as_dict())
            elif finding.verdict is Verdict.WRONG and len(shown) < TABLE_FINDINGS:
                shown.append((finding.number, finding.type, finding.code, finding.path))
    if json:
        write_json(summary.as_dict())
    else:
        _report(summary, shown)
    if summary.wrong:
        raise typer.Exit(1)


def _report(summary: Summary, shown: list[tuple[object, ...]]) -> None:
    if shown:
        table(("record", "type", "code", "where"), shown)
    if len(shown) < summary.wrong:
        write_line(f"and {summary.wrong - len(shown)} more; all of them with --json")
    write_line(f"{summary.read} read, {summary.wrong} wrong, {summary.again} given before")
    for code, count in sorted(summary.codes.items()):
        write_line(f"  {code}: {count}")
