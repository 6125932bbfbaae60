"""`find`, `verify` and `certificate verify`: look for people, for residue, and at a certificate."""

from __future__ import annotations

import json as standard_json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from crypto import certificates
from crypto.tree import Tree
from domain.errors import CertificateInvalid, ReferenceUnknown, SettingsWrong
from domain.fact import FactAtRest
from services import duplicates, finding, reading_files
from services.cli.asking import one_line
from services.cli.entering import entered
from services.cli.options import Data, Json, Tenant
from services.cli.printing import table, tell, write_json, write_line
from services.reading import Reveal

certificate_commands = typer.Typer(help="Certificates of shreds.")

#: A certificate has a few thousand bytes, and `shred --from` writes one a person. Whatever is larger is something else.
CERTIFICATES_BYTES = 256 * 1024 * 1024
KEY_BYTES = 1024 * 1024


def find(
    value: Annotated[str, typer.Argument(metavar="VALUE", help="An id, address or number; '-' reads standard input.")],
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Say which people and things a reference leads to, by inside id, with likely duplicates of the people.

    A bare id is tried as every kind of reference; "contact 7", "agent 7" and "ticket 7" say which is meant.

    To find duplicates, every profile is opened in memory. That leaves access lines; nothing personal is shown.

    Examples:

        sealdesk find "contact 432"

        echo 'ann@example.org' | sealdesk find - --json
    """
    references = finding.references_in(one_line(value, "reference"))
    with entered(data) as house:
        account = house.tenants.named(tenant).id
        house.projecting.catch_up()
        with house.keys.transaction() as cursor:
            found, fenced = finding.look_up(Tree(cursor, house.roots), account, references)
        if not found and not fenced:
            raise ReferenceUnknown("Nobody and nothing is known by this reference.")
        targets = {one.id: one for one in found.values()}
        alike = duplicates.alike(
            house.reading,
            account,
            [one for one in targets.values() if one.kind == "subject"],
            Reveal(house.settings.actor, "find"),
        )
    led = [
        {
            "id": str(one.id),
            # A person has things of several kinds; a thing is of one.
            "kind": "person" if one.kind == "subject" else one.kinds[0],
            "by": sorted(str(reference.kind) for reference, other in found.items() if other.id == one.id),
            "agent": one.agent,
            "tickets": len(one.things),
            "merged": max(0, len(one.group) - 1),
        }
        for one in targets.values()
    ]
    fences = [{"by": str(reference.kind), "since": day.isoformat()} for reference, (_, day) in fenced.items()]
    likely = [{"id": str(one.subject), "of": str(one.of), "alike": list(one.fields)} for one in alike]
    if json:
        write_json({"found": led, "fenced": fences, "duplicates": likely})
        return
    if led:
        table(("id", "kind", "by", "agent", "tickets", "merged"), [list(row.values()) for row in led])
    for fence in fences:
        write_line(f"shredded: fenced as {fence['by']} since {fence['since']}")
    if likely:
        table(("id", "may be the same as", "alike in"), [list(row.values()) for row in likely], "likely duplicates")


def verify(
    living: Annotated[
        bool, typer.Option("--living", help="Also count the texts of the living that say one of --values.")
    ] = False,
    values: Annotated[
        str | None,
        typer.Option("--values", metavar="FILE", help="Names, addresses, numbers, one a line; '-' for standard input."),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant; by default all.")
    ] = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Look for residue of everybody and everything that was shredded. Ends with 1 if there is any.

    Examples:

        sealdesk verify --json

        sealdesk verify --living --values - < names.txt
    """
    if living != (values is not None):
        raise SettingsWrong("--living and --values FILE go together: nobody else remembers what a person was called.")
    wanted = _lines(values) if values is not None else []
    with entered(data) as house:
        house.projecting.catch_up()
        known = [house.tenants.named(tenant)] if tenant is not None else list(house.tenants.by_name().values())
        places: Counter[str] = Counter()
        changed: list[FactAtRest] = []
        not_judged_of_closed = 0
        for one in known:
            if one.closed_at is None:
                places.update(house.residue.of_all(one.id, changed))
            else:
                left = house.closing.left(one.id)
                places.update(left.found)
                not_judged_of_closed += left.not_judged
        not_judged: list[FactAtRest] = []
        said = sum(house.living.count(one.id, wanted, not_judged) for one in known) if living else None
    if not json:
        table(("place", "residue"), sorted(places.items()))
    answer: dict[str, Any] = {"residue": sum(places.values()), "searched": sorted(places)}
    if changed or not_judged_of_closed:
        answer["not_judged"] = len(changed) + not_judged_of_closed
    if said is not None:
        answer["living"] = said
        answer |= {"living_not_judged": len(not_judged)} if not_judged else {}
    write_json(answer)
    if answer["residue"]:
        raise typer.Exit(1)


def _lines(path: str) -> list[str]:
    try:
        with reading_files.opened(path) as file:
            return [line.strip() for line in file.read().decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise SettingsWrong("The values are not written in UTF-8.") from None


@certificate_commands.command("show")
def show_certificate(
    certificate: Annotated[str, typer.Argument(metavar="CERTIFICATE_ID", help="The `certificate_id` of a shred.")],
    tenant: Tenant = None,
    data: Data = None,
) -> None:
    """Write a certificate as it stands now: it is issued anew when recipients acknowledge, and when topics are cleared.

    Example:

        sealdesk certificate show 0b9c5a52-6b6e-4d8a-b1a4-0c6ad6f3b8c1 > certificate.json
    """
    with entered(data) as house:
        write_json(house.certifying.standing(house.tenants.named(tenant).id, certificate))


@certificate_commands.command("verify")
def verify_certificate(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A certificate, or a list of some; '-' for standard input.")
    ],
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="PUB.pem", help="The public key of who should have signed it."),
    ] = None,
    json: Json = False,
) -> None:
    """Check that a certificate is unchanged, and with a key also who signed it. Needs no data folder and no server.

    The public key is `certificate.pub`, beside the signing key of the house that shredded. Of a list, as `shred contact
    --from` writes it, each is checked; it ends with 1 if any is bad.

    Example:

        sealdesk certificate verify certificate.json --key certificate.pub
    """
    pem = _pem(key)
    with reading_files.opened(file) as opened:
        raw = opened.read(CERTIFICATES_BYTES + 1)
    read = _certificates(raw)
    if isinstance(read, list):
        _verify_all(read, pem, json=json)
        return
    checked = certificates.verify(read, pem)
    if json:
        write_json({"valid": True, "origin_checked": checked.origin_checked})
    elif checked.origin_checked:
        write_line("The certificate is unchanged, and that key has signed it.")
    else:
        write_line("The certificate is unchanged. Who signed it was not checked: add --key PUB.pem.")


def _verify_all(read: list[Any], pem: bytes | None, *, json: bool) -> None:
    """Check each certificate of a list, and say of those that are bad which they are and why."""
    if not read:
        raise CertificateInvalid("There is no certificate in this list.")
    bad: list[int] = []
    for number, certificate in enumerate(read, start=1):
        try:
            certificates.verify(certificate, pem)
        except CertificateInvalid as invalid:
            bad.append(number)
            tell(f"certificate {number} of {len(read)}: {invalid}")
    if json:
        write_json({"valid": not bad, "origin_checked": pem is not None, "checked": len(read), "bad": bad})
    elif not bad:
        who = "that key has signed them" if pem is not None else "who signed them was not checked: add --key PUB.pem"
        write_line(f"All {len(read)} certificates are unchanged; {who}.")
    if bad:
        raise typer.Exit(CertificateInvalid.exit_status)


def _pem(key: Path | None) -> bytes | None:
    if key is None:
        return None
    with reading_files.opened(str(key)) as file:
        return file.read(KEY_BYTES)


def _certificates(raw: bytes) -> dict[str, Any] | list[Any]:
    """Read a certificate or some, and refuse a name that stands twice: two readers might take two values."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise CertificateInvalid("A name stands in the certificate twice.")
        return dict(pairs)

    try:
        read = standard_json.loads(raw, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise CertificateInvalid("This is no certificate: it is no JSON.") from None
    if not isinstance(read, (dict, list)):
        raise CertificateInvalid("This is no certificate.")
    return read
