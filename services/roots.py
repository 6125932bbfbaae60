"""Where the roots are kept, from the SEALDESK_* variables: files, an HSM, AWS KMS, or on their way between two of them.

    SEALDESK_ROOTS         the folder: of the roots themselves, or of roots that a device has wrapped
    SEALDESK_KEEPER        file (default), hsm or kms: who keeps the keys above them
    SEALDESK_HSM_MODULE    the PKCS #11 library of the vendor
    SEALDESK_HSM_TOKEN     the label of the token
    SEALDESK_HSM_PIN_FILE  a private file that holds the PIN of the user
    SEALDESK_KMS_ENDPOINT  a URL, where it is not that of the account's region
    SEALDESK_KMS_IMPORTED  on: keys get imported material, which can be deleted at once; off (default)

Where the roots come from, as long as they move: SEALDESK_ROOTS_BEFORE, its folder, and SEALDESK_KEEPER_BEFORE. Each
setting of a device counts for both places, unless one with the ending _BEFORE says otherwise for the old one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crypto.keepers import KeptRoots, MovingRoots, Place
from crypto.roots import FileRoots, Roots
from domain.errors import SettingsWrong

_BEFORE = "_BEFORE"
ROOTS_BEFORE = f"SEALDESK_ROOTS{_BEFORE}"


@dataclass(frozen=True, slots=True)
class Files:
    """The roots lie in the folder as they are."""


@dataclass(frozen=True, slots=True)
class Hsm:
    """A token of an HSM wraps them."""

    module: Path
    token: str
    pin_file: Path = field(repr=False)


@dataclass(frozen=True, slots=True)
class Kms:
    """AWS KMS wraps them."""

    endpoint: str | None
    imported: bool


@dataclass(frozen=True, slots=True)
class Where:
    """A folder of roots, and who keeps the keys above them. `before` is where they come from, as long as they move."""

    folder: Path
    keeper: Files | Hsm | Kms = Files()
    before: Where | None = None


def where_of(folder: Path, environ: Mapping[str, str] = os.environ) -> Where:
    """Read where the roots are that belong to a folder.

    Raises:
        SettingsWrong: a setting is missing, malformed, or contradicts another. The message names the variable.
    """
    old = environ.get(ROOTS_BEFORE)
    if not old:
        return Where(folder, _keeper(environ, ""))
    before = Where(Path(old).expanduser().resolve(), _keeper(environ, _BEFORE))
    if before.folder.is_relative_to(folder) or folder.is_relative_to(before.folder):
        raise SettingsWrong(f"{ROOTS_BEFORE} and SEALDESK_ROOTS have to be two folders, neither within the other.")
    if not before.folder.is_dir():
        raise SettingsWrong(f"{ROOTS_BEFORE}: there is no folder {before.folder}; the roots could not be found.")
    return Where(folder, _keeper(environ, ""), before)


def roots_at(where: Where) -> Roots:
    """Open the roots. Nothing is made or reached before they are used."""
    place = _place(where)
    return place if where.before is None else MovingRoots(_place(where.before), place)


def _keeper(environ: Mapping[str, str], ending: str) -> Files | Hsm | Kms:
    # Who is not named is a folder of files, also as the old place: what wraps is then said of the new one alone.
    match environ.get(f"SEALDESK_KEEPER{ending}") or "file":
        case "file":
            return Files()
        case "hsm":
            names = ("SEALDESK_HSM_MODULE", "SEALDESK_HSM_TOKEN", "SEALDESK_HSM_PIN_FILE")
            module, token, pin = (_said(environ, name, ending) for name in names)
            if not (module and token and pin):
                raise SettingsWrong(f"SEALDESK_KEEPER{ending}=hsm needs SEALDESK_HSM_MODULE, _TOKEN and _PIN_FILE.")
            return Hsm(Path(module).expanduser().resolve(), token, Path(pin).expanduser().resolve())
        case "kms":
            imported = _said(environ, "SEALDESK_KMS_IMPORTED", ending) or "off"
            if imported not in ("on", "off"):
                raise SettingsWrong("SEALDESK_KMS_IMPORTED is on or off.")
            return Kms(_said(environ, "SEALDESK_KMS_ENDPOINT", ending), imported == "on")
        case _:
            raise SettingsWrong(f"SEALDESK_KEEPER{ending} is file, hsm or kms.")


def _said(environ: Mapping[str, str], variable: str, ending: str) -> str | None:
    return environ.get(variable + ending) or environ.get(variable) or None


def _place(where: Where) -> Place:
    match where.keeper:
        case Files():
            return FileRoots(where.folder)
        case Hsm(module, token, pin_file):
            # Loaded where a device is used: boto3 takes a while, and PKCS #11 is a library of C.
            from crypto.hsm import Pkcs11Keeper

            return KeptRoots(where.folder, Pkcs11Keeper(module=module, token=token, pin_file=pin_file))
        case Kms(endpoint, imported):
            from crypto.kms import KmsKeeper

            return KeptRoots(where.folder, KmsKeeper(endpoint, imported))
