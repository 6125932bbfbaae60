"""What a shred would take, what it took, and its proof: in sentences, as JSON, and in a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from crypto.accounts import PARTLY, UNREAD
from domain.errors import SettingsWrong
from services.cli.printing import progress, write_json, write_line
from services.effects import Effect


@contextmanager
def searching() -> Iterator[Callable[[str, int], None]]:
    """Show where a proof looks."""
    seen: list[str] = []
    with progress("shredding") as advance:

        def next_(place: str, places: int) -> None:
            advance.to(len(seen), places, f"looking through {place}")
            seen.append(place)

        yield next_


def is_proven(certificate: dict[str, Any]) -> bool:
    """Tell whether a certificate has a proof that holds."""
    return bool(certificate.get("proof", {}).get("holds"))


def proofs_in_words(certificates: Sequence[dict[str, Any]]) -> list[str]:
    """Say what the proofs of some certificates found, each that they share once."""
    said: list[str] = []
    told: list[dict[str, Any] | None] = []
    for proof in (certificate.get("proof") for certificate in certificates):
        if proof not in told:
            told.append(proof)
            said.extend(_in_words(proof))
    return said


def _in_words(proof: dict[str, Any] | None) -> list[str]:
    if proof is None:
        return ["proof: none. What to look for was in the memory of the command that shredded, and is gone"]
    said = [
        f"looked for {proof['values']} values and {proof['wrapped_keys']} wrapped keys in "
        f"{sum(place['bytes'] for place in proof['places'])} bytes of {len(proof['places'])} places"
    ]
    if left_out := proof["left_out"]:
        said.append(f"values too short or too common to say anything, and left out: {left_out}")
    if beyond := proof["beyond"]:
        said.append(f"beyond what is looked for at once: {beyond}")
    for place in proof["places"]:
        if place["residue"]:
            said.append(f"FOUND in {place['place']}: {place['values']} values, {place['wrapped_keys']} wrapped keys")
        elif place["values"] or place["wrapped_keys"]:
            # Wrapped keys in files of the key database, until the roots above them die; records that are not cleared.
            hits = f"{place['values']} values, {place['wrapped_keys']} wrapped keys"
            said.append(f"not gone yet, and no residue, in {place['place']}: {hits}")
    unread = {place["place"]: place.get("unread", 0) for place in proof["places"]}
    for one in proof["not_searched"]:
        parts = f": {unread[one['place']]}" if one["why"] == UNREAD else ""
        said.append(f"not searched: {one['place']} ({one['why']}{parts})")
    said.append(_outcome(proof))
    return said


def _outcome(proof: dict[str, Any]) -> str:
    if proof["holds"]:
        return "proof: it holds"
    if proof.get("outcome") != PARTLY:
        return "proof: IT DOES NOT HOLD"
    return (
        "proof: PARTLY. Nothing was found, but there was nothing to look for, or more than is looked for at once, or "
        "tables of a database could not be read to their end"
    )


def write_effect(effect: Effect, *, json: bool) -> None:
    """Write what a shred would take."""
    if json:
        write_json(effect.as_dict())
        return
    for line in account_of(effect):
        write_line(line)


def living_in_words(found: Sequence[dict[str, Any]]) -> str:
    """Say what a search of the texts of others found, of one person or of some."""
    if not all(one["searched"] for one in found):
        return "living texts: not searched"
    return f"living texts: {sum(one['found'] for one in found)} say a name"


def account_of(effect: Effect) -> list[str]:
    """Say what a shred takes, in sentences."""
    whole = {"tickets": effect.tickets, "calls": effect.calls, "chats": effect.chats, "forum posts": effect.posts}
    things = ", ".join(f"{count} whole {name}" for name, count in whole.items() if count or name == "tickets")
    said = [f"goes: {effect.facts} facts, among them {things}"]
    if effect.files:
        said.append(f"goes too: {effect.files} files")
    if effect.merged:
        said.append(f"goes too: {effect.merged} people who were merged into this one")
    said.append(f"is refused from then on: {effect.references} ids and addresses")
    if effect.others_entries:
        said.append(f"changes for others: {effect.others_entries} entries in {effect.others_tickets} of their tickets")
    else:
        said.append("changes for others: nothing")
    return said


def hand_over(certificate: dict[str, Any], out: Path | None, *, json: bool) -> None:
    """Write a certificate: into a file, and as JSON or in sentences.

    Raises:
        SettingsWrong: the file cannot be written. The shred is done.
    """
    if out is not None:
        write_certificates(out, certificate)
    if json:
        write_json(certificate)
        return
    counts = [f"{count} {name.replace('_', ' ')}" for name, count in certificate["counts"].items() if count]
    write_line(f"shredded: {', '.join(counts) or 'nothing was left'}")
    write_line(f"unreadable since {certificate['unreadable_since']}")
    write_line(f"residue found: {certificate['residue']['found']}")
    if changed := certificate["residue"]["not_judged"]:
        write_line(f"seals that somebody has changed, so that nobody can say whether they open: {changed}")
    if certificate["told"]["recipients"]:
        told = certificate["told"]
        write_line(f"recipients who have acknowledged: {told['acknowledged']} of {told['recipients']}")
    write_line(living_in_words([certificate["living_text"]]))
    write_line(f"certificate {certificate['certificate_id']}{f' in {out}' if out else ''}")


def write_certificates(path: Path, certificate: dict[str, Any] | list[dict[str, Any]]) -> None:
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
