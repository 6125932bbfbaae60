"""What a command is about: references and texts from its arguments, or from standard input.

Rule: an argument is seen by every account of the machine, so whatever is personal may be `-` and comes from standard
input: the first line is the address, what follows is the note.
"""

from __future__ import annotations

import sys

import typer

from domain.errors import ReferenceUnknown, SettingsWrong
from domain.ids import TenantId
from domain.personal import Kind, Reference
from services.cli.printing import tell
from services.finding import Found
from services.wiring import House

STDIN = "-"


def is_terminal() -> bool:
    """Tell whether a person sits there who can answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def one_line(value: str, what: str) -> str:
    """Give a value, or the next line of standard input if it is `-`."""
    if value != STDIN:
        return value
    if is_terminal():
        sys.stderr.write(f"{what}: ")
        sys.stderr.flush()
    line = _text(sys.stdin.buffer.readline())
    if not line:
        raise SettingsWrong(f"Standard input is empty; it should hold the {what}.")
    return line


def whole_text(value: str | None, what: str) -> str | None:
    """Give a text, or all that standard input still holds if it is `-`."""
    if value != STDIN:
        return value
    if is_terminal():
        tell(f"the {what}, up to Ctrl-D:")
    return _text(sys.stdin.buffer.read())


def _text(raw: bytes) -> str:
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        raise SettingsWrong("Standard input is not written in UTF-8.") from None


def reference(kind: Kind, ref: str | None, email: str | None) -> Reference:
    """Make one reference of `--ref` or `--email`, whichever is given."""
    if (ref is None) == (email is None):
        raise SettingsWrong("Say who or what it is about: either --ref ID or --email ADDRESS (or --email -).")
    if email is not None:
        return Reference(Kind.EMAIL, one_line(email, "e-mail address"))
    return Reference(kind, one_line(ref or "", "id"))


def thing_reference(text: str) -> Reference:
    """Make a reference of what a thing is and its id: `call 5`, `topic 3`."""
    what, _, which = one_line(text, "thing").strip().partition(" ")
    if not which or what not in {kind.value for kind in Kind if kind.is_thing}:
        raise SettingsWrong(f"Say what it is and its id. Things are: {', '.join(k for k in Kind if k.is_thing)}.")
    return Reference(Kind(what), which)


def found(house: House, tenant: TenantId, wanted: Reference, *, must_be_agent: bool = False) -> Found:
    """Find who or what a reference means.

    Raises:
        ReferenceUnknown: nobody, or somebody who is no agent.
    """
    target = house.shredding.find(tenant, wanted)
    if must_be_agent and not target.agent:
        raise ReferenceUnknown("This person is no agent. If you mean the contact: sealdesk shred contact.")
    return target


def agrees(question: str) -> bool:
    """Ask the person at the terminal.

    Raises:
        SettingsWrong: nobody is there to answer.
    """
    if not is_terminal():
        raise SettingsWrong("Nobody is here to confirm. Look at --dry-run first, then say --yes.")
    return typer.confirm(question, err=True)
