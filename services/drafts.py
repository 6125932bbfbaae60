"""Folders in clear that appear whole or not at all, for nobody else to read, and on disk before they have their name.

Rule: whoever writes a draft holds it locked. A draft that nobody holds is that of a process that was killed: it is in
clear, so the next one of the same name takes it away.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from domain.errors import SettingsWrong


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Give a draft that gets the name of the folder only when it is whole and on disk.

    Raises:
        SettingsWrong: the folder exists, or cannot be written. The message says whether anything is left.
    """
    folder = folder.absolute()
    if folder.exists():
        raise SettingsWrong(f"{folder} exists; an export needs a new folder")
    there = folder.parent / f".{folder.name}.{uuid4().hex}.draft"
    try:
        _take_away_stale(folder)
        there.mkdir(mode=0o700)
        try:
            with _held(there):
                yield there
                sync(there)
                there = there.rename(folder)
                sync(folder.parent)
        except BaseException as error:
            if not removed(there):
                raise SettingsWrong(
                    f"The export broke off, and {there} could not be removed: it is in clear; delete it."
                ) from error
            raise
    except OSError as error:
        raise SettingsWrong(
            f"The export cannot be written to {folder} ({error.strerror}); nothing is left there."
        ) from None


@contextmanager
def written(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Write a file for nobody else to read; it is on disk at the end."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file.write
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Have the names in a folder on disk."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def removed(folder: Path) -> bool:
    """Remove a folder with all that is in it. Returns whether nothing of it is left."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return not folder.exists()
    except OSError:
        return False
    return True


def _take_away_stale(folder: Path) -> None:
    name = re.compile(re.escape(f".{folder.name}.") + r"[0-9a-f]{32}\.draft")
    for other in folder.parent.iterdir():
        if not name.fullmatch(other.name):
            continue
        try:
            with _held(other):
                stale = True
        except (BlockingIOError, FileNotFoundError):
            stale = False
        if stale and not removed(other):
            raise SettingsWrong(
                f"{other} is an export that broke off; it is in clear, and could not be removed: delete it"
            )


@contextmanager
def _held(draft: Path) -> Iterator[None]:
    """Hold a draft locked; the lock ends with the process.

    Raises:
        BlockingIOError: another process holds it.
    """
    place = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(place)
