"""Where the top of the key tree lives, apart from the databases: a root for each epoch, and named secrets.

Rule: the bytes of a root have exactly one name on the disk. They are written under a temporary name and
renamed, never linked: a crash leaves at most a key that nobody has used, and to unlink a root is to unlink
all of it.

    epochs/000001.key     32 bytes: the root of epoch 1. The highest number is the current epoch
    secrets/NAME.key      32 bytes: a named secret that outlives epochs, such as `ledger-2026-Q4`
    secrets/NAME.expired  empty: this secret had its time, and is never made again

Folders have mode 0700 and files 0600. The number of an epoch is never used twice.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from crypto.wrapping import KEY_BYTES, Key, new_key
from domain.errors import KeyExpired, KeysUnavailable, NobodyCanAct, RootsUnsafe

FIRST_EPOCH = 1
OTHERS = 0o077
SECRET_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
EPOCH_FILE = re.compile(r"([0-9]{6,})\.key")


class Roots(Protocol):
    """Hold the root keys. A file, an HSM and a cloud KMS differ in what the destruction of a root means."""

    def current(self) -> int:
        """Return the number of the epoch under which new keys are wrapped; the first use creates epoch 1."""
        ...

    def open(self, epoch: int) -> Key:
        """Return the root of an epoch.

        Raises:
            KeysUnavailable: there is no such root, or it cannot be reached.
            RootsUnsafe: others can read it.
        """
        ...

    def secret(self, name: str, *, create: bool = True) -> Key:
        """Return a secret that outlives epochs. With `create`, the first of all processes to ask makes it.

        Raises:
            KeyExpired: it had its time. It is not made again.
            KeysUnavailable: it cannot be reached, or does not exist and was not to be made.
            RootsUnsafe: others can read it.
        """
        ...

    def secrets(self) -> list[str]:
        """List the names of the secrets that there are.

        Raises:
            KeysUnavailable, RootsUnsafe: they cannot be reached, or others can read them.
        """
        ...

    def expire(self, name: str) -> datetime:
        """Destroy a secret that had its time, and keep that it had. Twice destroys one.

        Returns when the destruction takes effect: until then somebody could still bring it back.

        Raises:
            KeysUnavailable: it cannot be reached. It may be destroyed, or not; ask again.
        """
        ...

    def turn(self, since: int) -> int:
        """Make the root that follows epoch `since`, and return its number. Twice makes one.

        Raises:
            KeysUnavailable: it cannot be made safe, or the current epoch is an earlier one.
            RootsUnsafe: others can read the roots.
        """
        ...

    def destroy(self, epoch: int, *, last: bool = False) -> datetime:
        """Destroy the root of an epoch that is not the current one. Twice destroys one.

        `last` allows the newest one that lies here, once another place has gone on. Returns when the destruction takes
        effect: until then somebody could still bring the root back.

        Raises:
            KeysUnavailable: it cannot be reached. It may be destroyed, or not; ask again.
        """
        ...

    def meaning_of_destruction(self) -> str:
        """Say in one sentence, for certificates, when a root that was destroyed here is beyond recovery."""
        ...


@dataclass(frozen=True, slots=True)
class FileRoots:
    """Keep roots as files of one folder that only its owner can read."""

    folder: Path

    def current(self) -> int:
        with reachable(self.folder):
            epochs = self._part("epochs")
            newest = _newest(epochs)
            if newest is None:
                with locked(epochs):
                    newest = _newest(epochs)
                    if newest is None:
                        newest = FIRST_EPOCH
                        write_new(epochs / _epoch_file(newest), new_key().material)
            # Whoever created the root may have died before its name was safe. Nothing may be wrapped under a
            # root that a power failure could still take.
            sync(epochs)
            return newest

    def open(self, epoch: int) -> Key:
        path = self.folder / "epochs" / _epoch_file(epoch)
        with reachable(path):
            self._part("epochs", create=False)
            return _key(path, read_private(path))

    def turn(self, since: int) -> int:
        with reachable(self.folder):
            epochs = self._part("epochs")
            with locked(epochs):
                newest = _newest(epochs)
                if newest is not None and newest < since:
                    raise KeysUnavailable(f"{epochs}: the root of epoch {since} is missing")
                if newest is None or newest == since:
                    write_new(epochs / _epoch_file(since + 1), new_key().material)
            sync(epochs)
        return since + 1

    def destroy(self, epoch: int, *, last: bool = False) -> datetime:
        path = self.folder / "epochs" / _epoch_file(epoch)
        with reachable(path):
            epochs = self._part("epochs", create=False)
            with locked(epochs):
                if epoch == _newest(epochs) and not last:
                    raise NobodyCanAct("the current root is not destroyed")
                with suppress(FileNotFoundError):
                    overwrite(path)
                    path.unlink()
            sync(epochs)
        return datetime.now(UTC)

    def secret(self, name: str, *, create: bool = True) -> Key:
        if not SECRET_NAME.fullmatch(name):
            raise ValueError("the name of a secret has 1 to 64 letters, digits and hyphens")
        path = self.folder / "secrets" / f"{name}.key"
        with reachable(path):
            self._part("secrets", create=create)
            refuse_expired(path)
            return _key(path, once(path, lambda: new_key().material) if create else read_private(path))

    def expire(self, name: str) -> datetime:
        with reachable(self.folder):
            bury(self._part("secrets") / f"{name}.key")
        self.forget(name)
        return datetime.now(UTC)

    def meaning_of_destruction(self) -> str:
        return (
            "A root is a file and its destruction deletes it: what stood under it is beyond recovery if no "
            "copy of the root folder exists, in a backup, in a snapshot or on the storage medium itself."
        )

    # -- as one end of a move, see `crypto.keepers` ---------------------------------------------------------------

    def epochs(self) -> list[int]:
        with reachable(self.folder):
            return sorted(_numbers(self._part("epochs")))

    def secrets(self) -> list[str]:
        with reachable(self.folder):
            return sorted(path.stem for path in self._part("secrets").glob("*.key"))

    def expired(self) -> list[str]:
        with reachable(self.folder):
            return sorted(path.stem for path in self._part("secrets").glob("*.expired"))

    def adopt(self, name: str, key: Callable[[], Key]) -> None:
        path = self.folder / "secrets" / f"{name}.key"
        with reachable(path):
            self._part("secrets")
            once(path, lambda: key().material)

    def forget(self, name: str) -> None:
        path = self.folder / "secrets" / f"{name}.key"
        with reachable(path), locked(self._part("secrets")), suppress(FileNotFoundError):
            overwrite(path)
            path.unlink()
            sync(path.parent)

    def _part(self, name: str, *, create: bool = True) -> Path:
        part = self.folder / name
        for folder in (self.folder, part):
            private_folder(folder, create=create)
        return part


def bury(path: Path) -> None:
    """Keep, beside the file of a secret, that it had its time."""
    once(path.with_suffix(".expired"), lambda: b"")


def refuse_expired(path: Path) -> None:
    """Raise KeyExpired for the file of a secret that had its time, whether or not a copy of it came back."""
    if path.with_suffix(".expired").exists():
        raise KeyExpired(f"{path}: this key had its time and was destroyed")


def private_folder(folder: Path, *, create: bool = True) -> None:
    """Check that only its owner can enter a folder; with `create`, make it if it is missing."""
    if create and not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(folder.parent)
    _refuse_others(folder.stat(), folder)


def read_private(path: Path) -> bytes:
    """Read a file that only its owner can read."""
    with path.open("rb") as file:
        _refuse_others(os.fstat(file.fileno()), path)
        return file.read()


def once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Read a private file, after making it if it is missing. Of several processes at once, one makes it."""
    with locked(path.parent):
        try:
            content = read_private(path)
        except FileNotFoundError:
            content = make()
            write_new(path, content)
    # The process that made it may have died before its name was safe.
    sync(path.parent)
    return content


def write_new(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file that is there as a whole or not at all.

    The caller holds the folder's lock and has seen under it that there is no such file.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync(path.parent)


def overwrite(path: Path) -> None:
    """Write over the bytes of a file. A file system that writes elsewhere keeps the old ones all the same."""
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against every other process and thread that asks for it here."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def reachable(path: Path) -> Iterator[None]:
    """Translate what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise KeysUnavailable(f"{path}: {error.strerror}") from error


def _newest(epochs: Path) -> int | None:
    return max(_numbers(epochs), default=None)


def _numbers(epochs: Path) -> list[int]:
    return [int(match[1]) for name in os.listdir(epochs) if (match := EPOCH_FILE.fullmatch(name))]


def _epoch_file(epoch: int) -> str:
    return f"{epoch:06d}.key"


def _key(path: Path, material: bytes) -> Key:
    if len(material) != KEY_BYTES:
        raise KeysUnavailable(f"{path}: a key has {KEY_BYTES} bytes, this file has {len(material)}")
    return Key(material)


def _refuse_others(status: os.stat_result, path: Path) -> None:
    if status.st_mode & OTHERS:
        raise RootsUnsafe(f"{path}: others have rights to it; it needs mode 0700 (a folder) or 0600 (a file)")
