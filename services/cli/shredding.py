"""`shred`: destroy the key of a person or a ticket, after a look at what goes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from domain.errors import ReferenceUnknown, SettingsWrong, ShredRefused
from domain.ids import TenantId
from domain.personal import Kind, Reference
from domain.vocabularies import GROUNDS
from services.cli.asking import STDIN, agrees, found, reference, thing_reference, whole_text
from services.cli.entering import entered
from services.cli.handing_over import (
    account_of,
    hand_over,
    is_proven,
    living_in_words,
    proofs_in_words,
    searching,
    write_certificates,
    write_effect,
)
from services.cli.options import Data, Email, Json, Ref, Tenant
from services.cli.printing import progress, tell, write_json, write_line
from services.effects import Effect
from services.finding import Found, references_in
from services.shredding import Order

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
Prove = Annotated[
    bool,
    typer.Option(
        "--prove",
        help="Afterwards look for every value and wrapped key byte by byte: tables, files, WAL, logs, topics.",
    ),
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
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Shred everybody in a file, one reference a line: an id, 'contact 432' or an address; '-' reads them.",
            show_default=False,
        ),
    ] = None,
    request: RequestId = None,
    note: Note = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    living: Living = False,
    prove: Prove = False,
    out: Out = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Forget a person: profile, tickets, calls, chats, ratings, forum posts, all that is the person's, if only in part.

    Counts, response times and ratings stay as they are. A repeated shred shows the first certificate.

    Examples:

        sealdesk shred contact --ref 432 --ground art17-1-a --dry-run

        echo 'ann@example.org' | sealdesk shred contact --email - --ground art17-1-a --yes --out certificate.json

        sealdesk shred contact --ref 432 --ground art17-1-a --yes --prove --out certificate.json

        sealdesk shred contact --from people.txt --ground art17-1-b --yes --expect 1200 --json
    """
    if from_file is not None:
        if ref is not None or email is not None:
            raise SettingsWrong("Say either --from FILE, or who: --ref ID or --email ADDRESS.")
        many = _Asked(None, None, None, ground, request, note, dry_run, yes, expect, living, prove, out, json)
        _shred_all(many, from_file, tenant, data)
        return
    asked = _Asked(Kind.PERSON, ref, email, ground, request, note, dry_run, yes, expect, living, prove, out, json)
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
    prove: Prove = False,
    out: Out = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Forget an agent: profile and signature go, and whatever is theirs as a contact. Their work stays, anonymous.

    Example:

        sealdesk shred agent --ref 7 --ground contract-end --yes
    """
    asked = _Asked(
        Kind.PERSON, ref, email, ground, request, note, dry_run, yes, expect, living, prove, out, json, agent=True
    )
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
    prove: Prove = False,
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
    asked = _Asked(Kind.TICKET, ref, None, ground, request, note, dry_run, yes, expect, False, prove, out, json)
    _shred(asked, tenant, data)


@commands.command("thing")
def shred_thing(
    thing: Annotated[
        str,
        typer.Argument(metavar="THING", help="What it is and its id: 'call 5', 'chat 6', 'topic 3', 'article 9', ..."),
    ],
    ground: Ground,
    request: RequestId = None,
    note: Note = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    expect: Expect = None,
    prove: Prove = False,
    out: Out = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Forget one thing: a ticket, call, chat, forum post, article, company. Its people stay, and the answers of others.

    Example:

        sealdesk shred thing "call 5" --ground art17-1-a --dry-run
    """
    wanted = thing_reference(thing)
    asked = _Asked(
        wanted.kind, wanted.value, None, ground, request, note, dry_run, yes, expect, False, prove, out, json
    )
    _shred(asked, tenant, data)


class _Asked:
    """What the command line said, with whatever it left to standard input."""

    def __init__(
        self,
        kind: Kind | None,
        ref: str | None,
        email: str | None,
        ground: str,
        request: str | None,
        note: str | None,
        dry_run: bool,
        yes: bool,
        expect: int | None,
        living: bool,
        prove: bool,
        out: Path | None,
        json: bool,
        *,
        agent: bool = False,
    ) -> None:
        if ground not in GROUNDS:
            raise SettingsWrong(f"--ground is one of {', '.join(GROUNDS)}.")
        if out is not None and not out.absolute().parent.is_dir():
            raise SettingsWrong(f"The folder of {out} does not exist, so no certificate could be written there.")
        self._reference = None if kind is None else reference(kind, ref, email)
        self.note = whole_text(note, "note")
        self.ground = ground
        self.request = request
        self.dry_run = dry_run
        self.yes = yes
        self.expect = expect
        self.living = living
        self.prove = prove
        self.out = out
        self.json = json
        self.agent = agent

    @property
    def reference(self) -> Reference:
        """Say who or what is meant, where one is."""
        assert self._reference is not None
        return self._reference

    def order(self, account: TenantId, actor: str) -> Order:
        """Make an order of it."""
        return Order(
            account,
            self.ground,
            actor,
            request=self.request,
            note=self.note,
            expect=self.expect,
            living=self.living,
            prove=self.prove,
        )


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
                write_effect(Effect(), json=asked.json)
            else:
                _hand_over(first, asked)
            return
        effect = house.shredding.effect(target)
        if asked.dry_run:
            write_effect(effect, json=asked.json)
            return
        order = asked.order(account, house.settings.actor)
        if not asked.yes:
            for line in account_of(effect):
                tell(line)
            if not agrees("Shred? Nobody can undo it."):
                tell("nothing was changed")
                raise typer.Exit(1)
        with searching() as search:
            certificate = house.shredding.request(target, order, search)
    _hand_over(certificate, asked)


def _shred_all(asked: _Asked, file: Path, tenant: str | None, data: Path | None) -> None:
    """Shred everybody whom a file names; whoever is not known, or refused, is counted and keeps nobody else."""
    wanted = _references_in(file)
    with entered(data) as house:
        account = house.tenants.named(tenant).id
        people: dict[UUID, Found] = {}
        gone: list[Reference] = []
        for one in wanted:
            try:
                target = house.shredding.find(account, one)
            except ReferenceUnknown:
                gone.append(one)
            else:
                people[target.id] = target
        first, before = house.shredding.first_certificates(account, gone)
        effect = sum((house.shredding.effect(target) for target in people.values()), Effect())
        if asked.dry_run:
            tell(f"{len(people)} people; {_of_the_rest(gone, before)}")
            write_effect(effect, json=asked.json)
            return
        if not asked.yes:
            for line in (f"{len(people)} people", *account_of(effect)):
                tell(line)
            if not agrees("Shred them all? Nobody can undo it."):
                tell("nothing was changed")
                raise typer.Exit(1)
        with progress("shredding") as advance:
            outcomes = house.shredding.request_all(
                list(people.values()),
                asked.order(account, house.settings.actor),
                lambda done: advance.to(done, len(people)),
                lambda place, _: advance.to(0, None, f"looking through {place}"),
            )
    certificates = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    refused = len(outcomes) - len(certificates)
    if asked.out is not None and (first or certificates):
        write_certificates(asked.out, [*first.values(), *certificates])
    if asked.json:
        write_json([*first.values(), *certificates])
    else:
        found_left = sum(certificate["residue"]["found"] for certificate in certificates)
        write_line(f"shredded: {len(certificates)} people, {effect.facts} facts")
        write_line(f"residue found: {found_left}")
        if certificates:
            write_line(living_in_words([certificate["living_text"] for certificate in certificates]))
    if asked.prove:
        for whose, some in (("shredded before; ", [*first.values()]), ("", certificates)):
            for line in proofs_in_words(some):
                (tell if asked.json else write_line)(f"{whose}{line}")
    if gone or refused:
        tell(f"{_of_the_rest(gone, before)}; refused because of a hold: {refused}")
    if refused:
        raise typer.Exit(ShredRefused.exit_status)
    if asked.prove and not all(map(is_proven, [*first.values(), *certificates])):
        raise typer.Exit(1)


def _of_the_rest(gone: Sequence[Reference], before: set[Reference]) -> str:
    """Count those of a file who cannot be shredded; whose first certificate is there is known to have gone."""
    return f"shredded before, with their first certificates: {len(before)}; not known: {len({*gone} - before)}"


def _hand_over(certificate: dict[str, Any], asked: _Asked) -> None:
    hand_over(certificate, asked.out, json=asked.json)
    if asked.prove:
        if not asked.json:
            for line in proofs_in_words([certificate]):
                write_line(line)
        if not is_proven(certificate):
            raise typer.Exit(1)


def _references_in(file: Path) -> list[Reference]:
    """Read one reference of a person a line."""
    try:
        text = sys.stdin.buffer.read() if str(file) == STDIN else file.read_bytes()
        lines = [line.strip() for line in text.decode().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise SettingsWrong(f"{file} cannot be read, or is not written in UTF-8.") from None
    references: list[Reference] = []
    for number, line in enumerate(lines, start=1):
        found_in = [one for one in references_in(line) if not one.kind.is_thing]
        if not found_in:
            raise SettingsWrong(f"Line {number} of {file} names no person; nothing was changed.")
        references.append(found_in[0])
    return references
