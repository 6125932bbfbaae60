"""What only the operator knows: who is responsible, who works on whose behalf, where data goes, other legal bases.

A TOML file; `examples/controller.toml` is one. What is left out shows as a placeholder in square brackets.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from domain.errors import SettingsWrong
from domain.processing import PURPOSES, RETENTIONS, Basis, Purpose, Retention

_Line = Annotated[str, Field(min_length=1, max_length=1_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Party(_Part):
    """Somebody who is responsible, or who speaks for one who is."""

    name: _Line
    address: _Line | None = None
    contact: _Line | None = None
    representative: _Line | None = None
    dpo: _Line | None = None


class SubProcessor(_Part):
    """Who works for the processor, on what, and where."""

    name: _Line
    service: _Line
    country: _Line | None = None


class Recipient(_Part):
    """Who else gets to see something, and what for."""

    name: _Line
    why: _Line


class Transfer(_Part):
    """Where data goes outside the Union, to whom, and by which safeguard of Chapter V."""

    country: _Line
    recipient: _Line
    safeguard: _Line


def _known_purpose(code: str) -> str:
    if code not in PURPOSES:
        raise ValueError("this is the code of no purpose")
    return code


_PurposeCode = Annotated[str, AfterValidator(_known_purpose)]


class Operator(_Part):
    """What the file says."""

    controller: Party | None = None
    joint_controllers: tuple[Party, ...] = ()
    processor: Party | None = None
    controllers: tuple[Party, ...] = ()
    authority: Party | None = None
    sub_processors: tuple[SubProcessor, ...] = ()
    recipients: tuple[Recipient, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    basis: dict[_PurposeCode, Basis] = {}
    interest: dict[_PurposeCode, _Line] = {}
    retention: dict[Retention, _Line] = {}

    def purpose(self, purpose: Purpose) -> Purpose:
        """Give a purpose the legal basis and the interest that the controller has put in place of the default."""
        basis = self.basis.get(purpose.code, purpose.basis)
        interest = self.interest.get(purpose.code, purpose.interest)
        return Purpose(purpose.code, purpose.aim, basis, interest if basis is Basis.LEGITIMATE_INTERESTS else "")

    def kept(self, retention: Retention) -> str:
        """Say how long something of a class is kept: the controller's period, and what ends it at once."""
        period = self.retention.get(retention)
        return RETENTIONS[retention] if period is None else f"{period} {RETENTIONS[retention]}"


#: Nobody's: every place shows what belongs there.
NOBODY = Operator()


def read_operator(path: Path | None) -> Operator:
    """Read the file; without one, everything is a placeholder.

    Raises:
        SettingsWrong: the file cannot be read, is no TOML, or says something that does not belong there.
    """
    if path is None:
        return NOBODY
    try:
        return Operator.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError:
        raise SettingsWrong(f"The file {path} cannot be read.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingsWrong(f"The file {path} is no TOML.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier())
        raise SettingsWrong(f"The file {path} is wrong at {place}; an example is examples/controller.toml.") from None


def place(text: str | None, what: str) -> str:
    """Give a text, or a placeholder that says what belongs there."""
    return text if text is not None else f"[{what}]"


def party(one: Party | None, what: str) -> dict[str, str]:
    """Describe somebody who is responsible, with a placeholder for whatever is not said."""
    name, address, contact = (None, None, None) if one is None else (one.name, one.address, one.contact)
    said = {
        "name": place(name, f"name of the {what}"),
        "address": place(address, f"address of the {what}"),
        "contact": place(contact, f"how to reach the {what}"),
        "dpo": place(None if one is None else one.dpo, "data protection officer, or: none"),
    }
    if one is not None and one.representative is not None:
        said["representative"] = one.representative
    return said


def lines(one: dict[str, str]) -> list[str]:
    """Write the description of somebody as lines."""
    words = {"name": "Name", "address": "Address", "contact": "Contact", "dpo": "Data protection officer"}
    return [f"{words.get(name, name.capitalize())}: {text}" for name, text in one.items()]
