"""All checks in their order, from settings that may be wrong themselves.

Rule: nothing is made, started or changed. A setting that is wrong is told and left out, and the rest is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from domain.errors import SettingsWrong
from services import embedded
from services.doctor import agreeing, brokers, folders, machine, opening, reaching
from services.doctor.findings import Case, Finding, State, guarded
from services.settings import Settings

_PROGRAM = "SEALDESK_"
_VARIABLE = re.compile(r"SEALDESK_[A-Z_]+")
#: How the variables begin, behind the name of the program, that say where the roots are and who keeps them.
_OF_ROOTS = ("ROOTS", "KEEPER", "HSM_", "KMS_")

#: Told which check comes next, its number from 1, and how many there are.
_CHECKS: tuple[tuple[str, Callable[[Case], Iterable[Finding]]], ...] = (
    ("machine", lambda _: machine.findings()),
    ("folders", folders.findings),
    ("roots", opening.look_at_roots),
    ("signing key", opening.look_at_signing_key),
    ("ledger", opening.look_at_ledger),
    ("databases", reaching.findings),
    ("agreement", agreeing.findings),
    ("kafka", brokers.findings),
)


class Examination:
    """One look at everything."""

    def __init__(self, data: Path | None, environ: Mapping[str, str], at: datetime) -> None:
        self._at = at
        self.wrong: list[Finding] = []
        self._left_out: list[str] = []
        self.settings = self._read(data, dict(environ))

    def findings(
        self, progress: Callable[[int, int, str], object] = lambda done, total, what: None
    ) -> Iterator[Finding]:
        """Give what the settings say, and then what each check finds."""
        yield from self.wrong or [Finding("settings", State.OK, "every one can be read")]
        if self.settings is None:
            yield from guarded("machine", machine.findings)
            return
        running = embedded.running(self.settings)
        case = Case(
            self.settings,
            self.settings.log_dsn or running.get("log"),
            self.settings.keys_dsn or running.get("keys"),
            self._at,
            is_keeper_untold=any(name.removeprefix(_PROGRAM).startswith(_OF_ROOTS) for name in self._left_out),
        )
        for number, (name, check) in enumerate(_CHECKS):
            progress(number, len(_CHECKS), name)
            yield from guarded(name, lambda check=check: check(case))  # type: ignore[misc]
        progress(len(_CHECKS), len(_CHECKS), "")

    def _read(self, data: Path | None, environ: dict[str, str]) -> Settings | None:
        """Read the settings; one that is wrong is noted, left out, and the others are read."""
        while True:
            try:
                return Settings.read(data, environ, make=False)
            except SettingsWrong as error:
                self.wrong.append(Finding("settings", State.WRONG, str(error)))
                # The message names the variable that is wrong first.
                named = [name for name in _VARIABLE.findall(str(error)) if name in environ]
                if not named or named[0] == "SEALDESK_DATA":
                    return None
                self._left_out.append(named[0])
                del environ[named[0]]
