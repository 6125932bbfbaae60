"""`blob`: the files of tickets, calls and posts: put one in, get one out with a reason, list them, sweep.

Rule: what is opened goes to a file as a whole or not at all, for nobody else to read; never to a terminal. No error
repeats the name of a file, which may be that of a person.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, BinaryIO
from uuid import uuid4

import typer

from domain.errors import RecordFenced, SettingsWrong
from domain.personal import Kind, Reference
from services.cli.asking import STDIN, whole_text
from services.cli.entering import entered
from services.cli.options import Data, Json, Tenant
from services.cli.printing import table, tell, write_json, write_line, write_rows
from services.reading import Reveal

commands = typer.Typer(help="Files: attachments, pictures, recordings. Each is sealed under a key of its own.")

#: Bytes that are read of a file at once.
CHUNK_BYTES = 2**20
_REFUSED = 4
_FENCED = "this file was shredded, or it went with what it belonged to; it is gone for good"

Which = Annotated[str, typer.Argument(metavar="REFERENCE", help='Which file: "attachment ID", as a record told it.')]


@commands.command("put")
def put(
    which: Which,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What it holds; '-' for standard input.")],
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Seal a file into the store, in place of what stood there. A record has to have told of it before.

    Example:

        sealdesk blob put "attachment 4" scan.pdf
    """
    wanted = _reference(which)
    with _read(file) as source, entered(data) as house, _told():
        blob, size = house.attaching.put(house.tenants.named(tenant).id, wanted, _chunks(source))
    if json:
        write_json({"blob": str(blob), "bytes": size})
    else:
        write_line(f"stored: {blob}, {size} bytes sealed")


@commands.command("get")
def get(
    which: Which,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Why it is opened; '-' reads standard input.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Where to write it; without, standard output."),
    ] = None,
    tenant: Tenant = None,
    data: Data = None,
) -> None:
    """Open a file. This leaves an access line.

    Examples:

        sealdesk blob get "attachment 4" --why "access request 17" -o scan.pdf

        sealdesk blob get "attachment 4" --why "access request 17" | wc -c
    """
    wanted, reason = _reference(which), whole_text(why, "reason") or ""
    if out is None and sys.stdout.isatty():
        raise SettingsWrong("A file is not for a terminal: say -o FILE, or send it on with a pipe.")
    if out is not None and (not out.absolute().parent.is_dir() or (out.exists() and not out.is_file())):
        raise SettingsWrong("--out has to name a file, new or not, in a folder that exists.")
    with entered(data) as house, _told():
        opened = house.attaching.get(house.tenants.named(tenant).id, wanted, Reveal(house.settings.actor, reason))
        if out is None:
            for chunk in opened:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        else:
            _write(out, opened)


@commands.command("list")
def list_(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """List what is stored: ids, sealed sizes in bytes, times. Nothing is opened. Without a size, it never came whole.

    Example:

        sealdesk blob list --json
    """
    with entered(data) as house:
        rows = (
            {
                "blob": str(row["blob_id"]),
                "thing": str(row["thing"]),
                "bytes": row["bytes"],
                "stored_at": row["stored_at"].isoformat(timespec="seconds"),
            }
            for row in house.attaching.listed([house.tenants.named(tenant).id])
        )
        if json:
            write_rows(rows)
        else:
            table(("blob", "thing", "bytes", "stored at"), [list(row.values()) for row in rows], spare=("thing",))


@commands.command("sweep")
def sweep(
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant; by default all.")
    ] = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Delete from the store what nobody can open any more. Forgetting does not need it: the keys are gone already.

    A file whose key is lost or broken without a shred is kept, and counted.

    Example:

        sealdesk blob sweep --json
    """
    with entered(data) as house:
        known = [house.tenants.named(tenant)] if tenant is not None else list(house.tenants.by_name().values())
        swept = house.attaching.sweep_all([one.id for one in known])
    figures = asdict(swept)
    if json:
        write_json(figures)
    else:
        write_line(", ".join(f"{count} {name}" for name, count in figures.items()))


def _reference(text: str) -> Reference:
    kind, _, value = text.strip().partition(" ")
    if kind not in {file.value for file in Kind if file.is_file} or not value.strip():
        raise SettingsWrong(
            'Say which file: "attachment ID" or "recording ID", with the id that the helpdesk gave out.'
        )
    return Reference(Kind(kind), value)


@contextmanager
def _told() -> Iterator[None]:
    """Say in a sentence that a file is gone."""
    try:
        yield
    except RecordFenced:
        tell(_FENCED)
        raise typer.Exit(_REFUSED) from None


@contextmanager
def _read(path: str) -> Iterator[BinaryIO]:
    """Open a file as it is: what is packed stays packed."""
    if path == STDIN:
        yield sys.stdin.buffer
        return
    try:
        with open(path, "rb") as file:
            yield file
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if error.filename != path:
            raise
        raise SettingsWrong(f"The file cannot be read: {error.strerror}.") from error


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write what was opened under its name once it is whole."""
    draft = path.with_name(f".{path.name}.{uuid4()}.part")
    try:
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsWrong(f"The file cannot be written: {error.strerror}.") from error
