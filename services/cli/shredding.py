"""`shred`: destroy the key of a person or a ticket, after a look at what goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from domain.errors import ReferenceUnknown, SettingsWrong
from domain.personal import Kind, Reference
from domain.vocabularies import GROUNDS
from services.cli.asking import agrees, found, reference, whole_text
from services.cli.entering import entered
from services.cli.options import Data, Email, Json, Ref, Tenant
from services.cli.printing import tell, write_json, write_line
from services.shredding import Effect, Order

commands = typer.Typer(help="Forget: destroy one key. Nobody can undo it.")

Ground = Annotated[
    str,
    typer.Option("--ground", metavar="CODE", help=f"On what ground: {', '.join(GROUNDS)}.", show_default=False),
]
RequestId = Annotated[
    str | None,
    typer.Option("--request", metavar="ID", help="The number of the request; it is sealed.", show_default=False),
]
Note = Annotated[
    str | None,
    typer.Option("--note", metavar="TEXT", help="A note, sealed; '-' reads standard input.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count what would go, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Expect = Annotated[
    int | None,
    typer.Option(
        "--expect",
        min=0,
        metavar="N",
        help="The number of facts that the dry run told; needed for more than SEALDESK_BRAKE (1000).",
        show_default=False,
    ),
]
Living = Annotated[
    bool,
    typer.Option("--living", help="Also count what the texts of others still say of the person (opens all of them)."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="CERT.json", help="Write the certificate into this file.", show_default=False),
]


@commands.command("contact")
def shred_contact(
    ground: Ground,
    ref: Ref = None,
    email: Email = None,
    request: RequestId = None,
    note: Note = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    living: Living = False,
    out: Out = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Forget a person: the profile, the tickets, everything that is that person's alone or in part.

    Counts, response times and ratings stay as they are. A repeated shred shows the first certificate.

    Examples:

        sealdesk shred contact --ref 432 --ground art17-1-a --dry-run

        echo 'ann@example.org' | sealdesk shred contact --email - --ground art17-1-a --yes --out certificate.json
    """
    asked = _Asked(Kind.PERSON, ref, email, ground, request, note, dry_run, yes, expect, living, out, json)
    _shred(asked, tenant, data)


@commands.command("agent")
def shred_agent(
    ground: Ground,
    ref: Ref = None,
    email: Email = None,
    request: RequestId = None,
    note: Note = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    living: Living = False,
    out: Out = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Forget an agent: profile and signature go, and whatever is theirs as a contact. Their work stays, anonymous.

    Example:

        sealdesk shred agent --ref 7 --ground contract-end --yes
    """
    asked = _Asked(Kind.PERSON, ref, email, ground, request, note, dry_run, yes, expect, living, out, json, agent=True)
    _shred(asked, tenant, data)


@commands.command("ticket")
def shred_ticket(
    ground: Ground,
    ref: Ref = None,
    request: RequestId = None,
    note: Note = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    out: Out = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Forget one ticket with its whole conversation. Its people stay.

    Example:

        sealdesk shred ticket --ref 20 --ground court-order --dry-run
    """
    if ref is None:
        raise SettingsWrong("Say which ticket: --ref ID.")
    asked = _Asked(Kind.TICKET, ref, None, ground, request, note, dry_run, yes, expect, False, out, json)
    _shred(asked, tenant, data)


class _Asked:
    """What the command line said, with whatever it left to standard input."""

    def __init__(
        self,
        kind: Kind,
        ref: str | None,
        email: str | None,
        ground: str,
        request: str | None,
        note: str | None,
        dry_run: bool,
        yes: bool,
        expect: int | None,
        living: bool,
        out: Path | None,
        json: bool,
        *,
        agent: bool = False,
    ) -> None:
        if ground not in GROUNDS:
            raise SettingsWrong(f"--ground is one of {', '.join(GROUNDS)}.")
        if out is not None and not out.absolute().parent.is_dir():
            raise SettingsWrong(f"The folder of {out} does not exist, so no certificate could be written there.")
        self.reference: Reference = reference(kind, ref, email)
        self.note = whole_text(note, "note")
        self.ground = ground
        self.request = request
        self.dry_run = dry_run
        self.yes = yes
        self.expect = expect
        self.living = living
        self.out = out
        self.json = json
        self.agent = agent


def _shred(asked: _Asked, tenant: str | None, data: Path | None) -> None:
    with entered(data) as house:
        account = house.tenants.named(tenant).id
        try:
            target = found(house, account, asked.reference, must_be_agent=asked.agent)
        except ReferenceUnknown:
            first = house.shredding.first_certificate(account, asked.reference)
            if first is None:
                raise
            tell("this was shredded already; here is the first certificate")
            if asked.dry_run:
                _write_effect(Effect(0, 0, 0, 0, 0, 0), asked)
            else:
                _hand_over(first, asked)
            return
        effect = house.shredding.effect(target)
        if asked.dry_run:
            _write_effect(effect, asked)
            return
        order = Order(
            account,
            asked.ground,
            house.settings.actor,
            request=asked.request,
            note=asked.note,
            expect=asked.expect,
            living=asked.living,
        )
        if not asked.yes:
            for line in _account(effect):
                tell(line)
            if not agrees("Shred? Nobody can undo it."):
                tell("nothing was changed")
                raise typer.Exit(1)
        certificate = house.shredding.request(target, order)
    _hand_over(certificate, asked)


def _write_effect(effect: Effect, asked: _Asked) -> None:
    if asked.json:
        write_json(effect.as_dict())
        return
    for line in _account(effect):
        write_line(line)


def _account(effect: Effect) -> list[str]:
    """Say what a shred takes, in sentences."""
    said = [f"goes: {effect.facts} facts, among them {effect.tickets} whole tickets"]
    if effect.merged:
        said.append(f"goes too: {effect.merged} people who were merged into this one")
    said.append(f"is refused from then on: {effect.references} ids and addresses")
    if effect.others_entries:
        said.append(f"changes for others: {effect.others_entries} entries in {effect.others_tickets} of their tickets")
    else:
        said.append("changes for others: nothing")
    return said


def _hand_over(certificate: dict[str, Any], asked: _Asked) -> None:
    if asked.out is not None:
        _write_file(asked.out, certificate)
    if asked.json:
        write_json(certificate)
        return
    counts = [f"{count} {name.replace('_', ' ')}" for name, count in certificate["counts"].items() if count]
    write_line(f"shredded: {', '.join(counts) or 'nothing was left'}")
    write_line(f"unreadable since {certificate['unreadable_since']}")
    write_line(f"residue found: {certificate['residue']['found']}")
    living = certificate["living_text"]
    write_line(f"living texts: {living['found']} say a name" if living["searched"] else "living texts: not searched")
    write_line(f"certificate {certificate['certificate_id']}{f' in {asked.out}' if asked.out else ''}")


def _write_file(path: Path, certificate: dict[str, Any]) -> None:
    """Write a certificate for nobody else to read; whom to show it is for its owner to decide."""
    content = orjson.dumps(certificate, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
    except OSError as error:
        raise SettingsWrong(
            f"The shred is done, but the certificate could not be written to {path} ({error.strerror}). "
            "The same command again, with another --out, writes it."
        ) from error
