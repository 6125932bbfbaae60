"""Open the house of a data folder, starting its servers if nothing serves it.

Rule: whatever a crash left of a shred is carried out before anything else is read or written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.settings import Settings
from services.wiring import House, opened


@contextmanager
def entered(data: Path | None, *, kafka: bool = False) -> Iterator[House]:
    """Open the house for one command, and finish what was begun before it."""
    with opened(Settings.read(data), kafka=kafka) as house:
        house.shredding.resume()
        yield house


def settle(house: House) -> None:
    """After an intake: carry out the key work that its facts call for, and bring every read model to the head."""
    house.shredding.mend()
    house.projecting.catch_up()
