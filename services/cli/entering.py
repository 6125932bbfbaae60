"""Open the house of a data folder, starting its servers if nothing serves it.

Rule: whatever a crash left of a shred is carried out before anything else is read or written. A folder becomes a desk
only by a command that takes something in or goes on for long, and the command says so: a name that was mistyped makes
none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import SettingsWrong
from services.cli.printing import tell
from services.settings import Settings, log_dsn_of
from services.steps import mend
from services.wiring import House, opened


def settings_of(data: Path | None, *, makes: bool = False) -> Settings:
    """Read the settings for one command. With `makes` it may be the first that works on this data folder.

    Raises:
        SettingsWrong: nothing was ever stored in this folder, and the command has no use for a new desk.
    """
    folder = data or (Path(given) if (given := os.environ.get("SEALDESK_DATA")) else None)
    # Where the databases are somebody else's, the desk is in them.
    if folder is not None and log_dsn_of(os.environ) is None and not _is_desk(folder.expanduser()):
        if not makes:
            raise SettingsWrong(f"There is no desk in {folder}; sealdesk import or sealdesk up makes one.")
        tell(f"a new desk is made in {folder}")
    settings = Settings.read(data)
    if settings.copyless is not None:
        tell(
            f"the ledger lies in one place: {settings.copyless} Set SEALDESK_LEDGER_COPY to another place, or to none."
        )
    return settings


@contextmanager
def entered(data: Path | None, *, kafka: bool = False, makes: bool = False) -> Iterator[House]:
    """Open the house for one command, and finish what was begun before it. See `settings_of`."""
    with opened(settings_of(data, makes=makes), kafka=kafka) as house:
        house.resume()
        yield house


def settle(house: House) -> None:
    """After an intake: carry out the key work that its facts call for, and bring every read model to the head."""
    mend(house, tell)
    house.projecting.catch_up()


def _is_desk(folder: Path) -> bool:
    """Tell whether a desk was made here. One whose secrets all have settings of their own needs no id."""
    return (folder / "id").exists() or (folder / "log").exists()
