"""`tenant`: the accounts of this installation, the words that each lets stand in the clear, and the end of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crypto.closing import Leaving
from domain.errors import SettingsWrong, ShredRefused, TenantIsClosed
from domain.vocabularies import GROUNDS
from services.cli.asking import agrees, whole_text
from services.cli.entering import entered
from services.cli.handing_over import hand_over
from services.cli.options import Data, Json
from services.cli.printing import progress, table, tell, write_json, write_line
from services.cli.shredding import DryRun, Expect, Ground, Note, Out, RequestId, Yes
from services.csv_map import read_vocabularies
from services.drafts import removed
from services.exporting import Exported
from services.reading import Reveal
from services.shredding import Order
from services.tenants import Tenant
from services.wiring import House

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
    with entered(data, makes=True) as house:
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


@commands.command("close")
def close(
    name: Annotated[str, typer.Argument(help="The name of the tenant.", metavar="NAME")],
    ground: Ground,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FOLDER",
            help="First write everything that opens into a new folder, in clear, to be imported elsewhere.",
            show_default=False,
        ),
    ] = None,
    with_gaps: Annotated[
        bool,
        typer.Option("--with-gaps", help="Close also if the export lacks what is lost or cannot be written."),
    ] = False,
    request: RequestId = None,
    note: Note = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    out: Out = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Destroy every key of a tenant at once: the contract ends, and all its personal data with it. Counts stay.

    A hold on anybody or anything of the tenant refuses it. Its records are refused from then on, and its name is not
    given again. --dry-run tells how many facts go; so many have to be said with --expect where they are many.

    Examples:

        sealdesk tenant close acme --ground contract-end --dry-run

        sealdesk tenant close acme --ground contract-end --expect 1834 --export ./acme --out acme.json
    """
    if ground not in GROUNDS:
        raise SettingsWrong(f"--ground is one of {', '.join(GROUNDS)}.")
    if out is not None and not out.absolute().parent.is_dir():
        raise SettingsWrong(f"The folder of {out} does not exist, so no certificate could be written there.")
    text = whole_text(note, "note")
    with entered(data) as house:
        tenant = house.tenants.named(name)
        first = house.closing.first_certificate(tenant.id)
        if first is not None:
            tell(f"this tenant was closed already{', nothing would go' * dry_run}; here is the first certificate")
            _hand_over(first, None if dry_run else out, json=json)
            if export is not None:
                tell("nothing was exported: its data went when it was closed")
                raise typer.Exit(1)
            return
        leaving = house.closing.effect(tenant.id)
        if dry_run:
            write_json(leaving.as_dict()) if json else write_line("\n".join(_account(leaving)))
            return
        if not yes:
            for line in _account(leaving):
                tell(line)
            if not agrees(f"Close the tenant {tenant.name}? Nobody can undo it."):
                tell("nothing was changed")
                raise typer.Exit(1)
        order = Order(tenant.id, ground, house.settings.actor, request=request, note=text, expect=expect)
        certificate = _closed(house, tenant, order, export, with_gaps=with_gaps)
    _hand_over(certificate, out, json=json)


def _hand_over(certificate: dict[str, Any], out: Path | None, *, json: bool) -> None:
    hand_over(certificate, out, json=json)
    if certificate["residue"]["found"]:
        tell("something is left of the tenant, though no key is: see where with sealdesk verify --tenant NAME")
        raise typer.Exit(1)


#: How often an export is written anew because records came in meanwhile. Stop the publishers of a busy tenant first.
_EXPORTS = 3
#: What an export may lack although nobody shredded it.
_GAPS = {
    "facts_lost": "facts that do not open, and that nobody shredded: sealdesk keys check says why",
    "facts_not_told": "facts that open, and that cannot be written as a record",
    "files_lost": "files that were stored, and that are lost or changed",
    "quarantined_lost": "records of the quarantine that do not open",
}


def _closed(house: House, tenant: Tenant, order: Order, folder: Path | None, *, with_gaps: bool) -> dict[str, Any]:
    """Export, if that was asked for, and close. Where the closing is refused, the export is removed again."""
    if folder is None:
        return house.closing.request(order)
    for attempt in range(1, _EXPORTS + 1):
        house.closing.check(order)
        exported = _exported(house, tenant, order, folder)
        if exported.gaps and not with_gaps:
            raise ShredRefused(
                "gaps",
                f"the export has gaps, and nothing is destroyed; {folder / 'manifest.json'} counts them; look, mend "
                f"what can be mended, delete {folder}, and ask again; to close all the same, say --with-gaps",
            )
        try:
            return house.closing.request(order, exported=exported.seen)
        except (ShredRefused, TenantIsClosed) as refused:
            code = getattr(refused, "code", "underway")
            if code == "underway":
                # It may be on its way to be closed, and then this is all that there is.
                tell(f"the export stays in {folder}, in clear; should nothing come of the closing, delete it")
                raise
            if not removed(folder):
                tell(f"the export in {folder} could not be removed: it is in clear; delete it")
                raise
            if code != "arrived" or attempt == _EXPORTS:
                tell(f"the export in {folder} is removed again")
                raise
            tell("records came in meanwhile; exporting once more")
    raise AssertionError


def _exported(house: House, tenant: Tenant, order: Order, folder: Path) -> Exported:
    with progress("exporting") as advance:
        why = f"export before the end of the contract{f', request {order.request}' if order.request else ''}"
        exported = house.exporting.export(tenant, folder, Reveal(order.actor, why), advance.to)
    tell(f"{exported.records} records and {exported.files} files are in {folder}, in clear: keep them safe")
    if exported.never_sent:
        tell(f"{exported.never_sent} files are not in it: upstream told of them, and never sent them")
    for name, count in exported.gaps.items():
        tell(f"GAP: {count} {_GAPS[name]}")
    return exported


def _account(leaving: Leaving) -> list[str]:
    """Say what a closing takes, in sentences."""
    said = [
        f"goes: {leaving.facts} facts of {leaving.subjects} people and {leaving.things} things",
        f"goes too: {leaving.files} files",
        f"is refused from then on: every record of the tenant; {leaving.references} ids and addresses are forgotten",
    ]
    if leaving.quarantined:
        said.append(f"goes too: {leaving.quarantined} records in the quarantine")
    if leaving.untold:
        said.append(f"never told: {leaving.untold} records for recipients that they have not acknowledged")
    return said


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
        write_json(
            [{"name": name, "vocabularies": words[name], "closed": _day(known[name], None)} for name in sorted(words)]
        )
        return
    rows = [(name, ", ".join(words[name]) or "none", _day(known[name], "")) for name in sorted(words)]
    table(("tenant", "words", "closed"), rows, whole=True)


def _day(tenant: Tenant, otherwise: str | None) -> str | None:
    return otherwise if tenant.closed_at is None else tenant.closed_at.date().isoformat()
