"""The roots, the signing key and the ledger: whether they open, and agree with their copies.

Rule: nothing is made. What the house makes at its first use is looked for first, and no lock is taken on the ledger: a
line that is being written is passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Never
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto import certificates
from crypto.keepers import WRAPPED_FILE
from crypto.ledger import Ledger
from crypto.lines import Line, Scribe
from crypto.roots import EPOCH_FILE, Roots, reachable
from crypto.wrapping import Key
from domain.errors import KeyExpired, KeysUnavailable, NobodyCanAct
from services.doctor.findings import Case, Finding, State
from services.ledgers.places import LedgerPlace, ledger_at
from services.roots import ROOTS_BEFORE, Files, Where, roots_at


class ReadRoots:
    """Roots for whoever only looks. What is missing is not made, and a move takes nothing along.

    `there` are the places that hold roots: the new one of a move first.
    """

    def __init__(self, there: list[Where]) -> None:
        self._folders = [place.folder for place in there]
        self._epochs = [_epochs_in(place) for place in there]
        self._places = [roots_at(replace(place, before=None)) for place in there]

    def current(self) -> int:
        """Return the number of the newest epoch whose root lies there."""
        return self._epochs[0][-1]

    def open(self, epoch: int) -> Key:
        """Open the root of an epoch, in the place where it has to lie.

        Raises:
            KeysUnavailable, RootsUnsafe: there is no such root, it cannot be reached, or others can read it.
        """
        is_new = epoch >= self._epochs[0][0]
        return self._places[0 if is_new else -1].open(epoch)

    def secret(self, name: str, *, create: bool = True) -> Key:
        """Open a secret, which is never made here.

        Raises:
            KeyExpired: it had its time.
            KeysUnavailable, RootsUnsafe: there is none, it cannot be reached, or others can read it.
        """
        for place in self._places[:-1]:
            try:
                return place.secret(name, create=False)
            except KeyExpired:
                raise
            except KeysUnavailable:
                # In a move it may lie in the old place yet.
                continue
        return self._places[-1].secret(name, create=False)

    def secrets(self) -> list[str]:
        """List the names of the secrets."""
        filled = [
            place for place, folder in zip(self._places, self._folders, strict=True) if (folder / "secrets").is_dir()
        ]
        return sorted({name for place in filled for name in place.secrets()})

    def turn(self, since: int) -> Never:
        """Refuse: a look makes nothing."""
        raise NobodyCanAct("a look makes no root")

    def destroy(self, epoch: int, *, last: bool = False) -> Never:
        """Refuse: a look destroys nothing."""
        raise NobodyCanAct("a look destroys no root")

    def expire(self, name: str) -> datetime:
        """Refuse: a look destroys nothing."""
        raise NobodyCanAct("a look destroys no secret")

    def meaning_of_destruction(self) -> str:
        """Say what the destruction of a root means in the place that new ones are made in."""
        return self._places[0].meaning_of_destruction()


def roots_of(case: Case) -> Roots | None:
    """Open the places that hold roots; None if none does, or if what is there cannot be taken for it."""
    where = case.settings.kept
    there = [place for place in (where, where.before) if place is not None and _epochs_in(place)]
    if case.is_keeper_untold or not there or misfits_of(case):
        return None
    return ReadRoots(there)


def misfits_of(case: Case) -> list[tuple[str, str]]:
    """Say where the folders of the roots do not fit the keepers that the settings name, and what to do."""
    where = case.settings.kept
    return [misfit for place in (where, where.before) if place is not None and (misfit := _misfit(place))]


def _epochs_in(where: Where) -> list[int]:
    """List the epochs whose roots lie in a folder, as its keeper leaves them: bare, or wrapped by a device."""
    return _numbers(where, EPOCH_FILE if isinstance(where.keeper, Files) else WRAPPED_FILE)


def _numbers(where: Where, form: re.Pattern[str]) -> list[int]:
    epochs = where.folder / "epochs"
    if not epochs.is_dir():
        return []
    with reachable(epochs):
        return sorted(int(match[1]) for name in os.listdir(epochs) if (match := form.fullmatch(name)))


def _misfit(where: Where) -> tuple[str, str] | None:
    """Say what of a folder does not fit the keeper that is configured, and what to do; None if it fits.

    A start would make a new root beside those that lie there, or a new name under which the device knows no key.
    """
    bare, wrapped = _numbers(where, EPOCH_FILE), _numbers(where, WRAPPED_FILE)
    if isinstance(where.keeper, Files):
        if wrapped and not bare:
            return (
                f"a device has wrapped the roots in {where.folder}, and the settings name none",
                "set SEALDESK_KEEPER to what keeps them, and start nothing before",
            )
        return None
    if bare and not wrapped:
        return (
            f"the roots in {where.folder} are those of no device, and the settings name one",
            f"take SEALDESK_KEEPER out; to move them into a device, name their folder in {ROOTS_BEFORE}",
        )
    if wrapped and not _is_named(where.folder / "house"):
        return (
            f"{where.folder / 'house'} is missing, or holds no id: without it no key of the device can be named",
            "restore it from the copy that the roots are of, and start nothing before: a start would make another",
        )
    return None


def _is_named(house: Path) -> bool:
    try:
        UUID(house.read_text())
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return False
    return True


def look_at_roots(case: Case) -> Iterator[Finding]:
    """Open the newest root: with it the device that keeps it, if there is one."""
    if case.is_keeper_untold:
        yield Finding("roots", State.UNKNOWN, "a setting that says where they are kept is wrong", "mend it first")
        return
    misfits = misfits_of(case)
    for says, todo in misfits:
        yield Finding("roots", State.WRONG, says, todo)
    if misfits:
        return
    roots = roots_of(case)
    if roots is None:
        yield Finding(
            "roots",
            State.WARNING,
            f"no root lies in {case.settings.roots}",
            "the first start makes one; if this house holds data, restore the newest copy of the roots first",
        )
        return
    epoch = roots.current()
    roots.open(epoch)
    yield Finding("roots", State.OK, f"the root of epoch {epoch}, the current one, opens")
    if case.settings.kept.before is not None:
        yield Finding("roots", State.WARNING, "they are on their way", "finish it: sealdesk keys move")


def look_at_signing_key(case: Case) -> Iterator[Finding]:
    """Compare the key that signs certificates with the half that was given to whoever verifies."""
    private, public = (case.settings.signing / f"certificate.{end}" for end in ("key", "pub"))
    if private.exists() and public.exists():
        certificates.load_or_create(case.settings.signing)
        yield Finding("signing key", State.OK, f"fits {public}")
    elif public.exists():
        yield Finding(
            "signing key",
            State.WRONG,
            f"{public} is there without its key",
            "restore certificate.key, or no start makes it",
        )
    elif private.exists():
        yield Finding(
            "signing key", State.WARNING, f"{public} is missing", "the next start writes it; give it to auditors"
        )
    else:
        yield Finding(
            "signing key", State.WARNING, "there is none", "the first start makes it; restore it if there was one"
        )


class ReadLedger:
    """The lines of a ledger in a folder, for whoever only looks. Each reading checks the whole chain."""

    def __init__(self, folder: Path, scribe: Scribe) -> None:
        self._path = folder / "ledger.jsonl"
        self._scribe = scribe
        #: Whether bytes without an end follow the last line: a crash, or a line that is being written.
        self.is_torn = False

    def read(self) -> Iterator[Line]:
        """Go through the lines, and check each.

        Raises:
            LedgerBroken: one is not as it was written, or does not follow.
        """
        return self._scribe.follow(self._whole())

    def since(self, number: int) -> Iterator[Line]:
        """Go through the lines behind a number. Raises as `read`."""
        return (line for line in self.read() if line.number > number)

    def head(self) -> int:
        """Give the number of the last line, after checking every one before it."""
        return max((line.number for line in self.read()), default=0)

    def _whole(self) -> Iterator[bytes]:
        if not self._path.exists():
            return
        with self._path.open("rb") as lines:
            for raw in lines:
                if not raw.endswith(b"\n"):
                    self._scribe.refuse_unless_torn(raw)
                    self.is_torn = True
                    return
                yield raw.removesuffix(b"\n")


def ledger_of(case: Case, place: LedgerPlace) -> ReadLedger | Ledger | None:
    """Open one place of the ledger for reading; None without the key that signed it."""
    key, roots = signing_key(case), roots_of(case)
    if key is None or roots is None:
        return None
    # A topic and a bucket are made by whoever adds the first line, and not by reading.
    return ReadLedger(place, Scribe(key, roots)) if isinstance(place, Path) else ledger_at(place, None, key, roots)


def signing_key(case: Case) -> Ed25519PrivateKey | None:
    """Load the key that signs, if both its halves are there."""
    folder = case.settings.signing
    if all((folder / f"certificate.{end}").exists() for end in ("key", "pub")):
        return certificates.load_or_create(folder)
    return None


def look_at_ledger(case: Case) -> Iterator[Finding]:
    """Check every line of the ledger, and whether its copy says the same."""
    copy = case.settings.ledger_copy
    ledger = ledger_of(case, case.settings.ledger)
    if ledger is None:
        yield Finding("ledger", State.UNKNOWN, "without signing key and roots no line can be checked", "see above")
        return
    first = _last_checked(ledger)
    yield Finding("ledger", State.OK, f"every line is whole, up to {0 if first is None else first.number}")
    if isinstance(ledger, ReadLedger) and ledger.is_torn:
        yield Finding("ledger", State.OK, "a line was cut short and never counted; the next one takes its place")
    if copy is not None:
        other = ledger_of(case, copy)
        assert other is not None
        yield _compared(first, _last_checked(other))


def _last_checked(ledger: ReadLedger | Ledger) -> Line | None:
    """Check every line, and give the last."""
    last = None
    for line in ledger.read():
        last = line
    return last


def _compared(first: Line | None, second: Line | None) -> Finding:
    numbers = [0 if line is None else line.number for line in (first, second)]
    if first == second:
        return Finding("ledger copy", State.OK, f"says the same, up to line {numbers[1]}")
    if numbers[0] == numbers[1]:
        return Finding(
            "ledger copy", State.WRONG, "says another thing in its last line", "see docs/runbooks/loss-of-the-ledger.md"
        )
    behind = "the copy" if numbers[0] > numbers[1] else "the ledger"
    return Finding(
        "ledger copy",
        State.WARNING,
        f"{behind} is behind: lines {min(numbers)} and {max(numbers)}",
        "the next start, or shred, brings it up; if that was long ago, see why it cannot be written",
    )
