"""Roots that a device keeps: each root lies in a file, wrapped under a key that never leaves the device.

A root of 32 bytes is opened by one call to the device for a whole transaction, and all buckets of a batch are unwrapped
with it in memory. Destroying the device's key of an epoch destroys the root of that epoch, whatever copies there are of
the file.

    epochs/000001.wrapped    the root of epoch 1, under the device's key `HOUSE/epoch-1`
    secrets/NAME.wrapped     a named secret that outlives epochs, under the device's key `HOUSE/secrets`; of one that
                             expires: `OF_ITS_OWN`, and then the secret under the device's key `HOUSE/secret-NAME`
    secrets/NAME.expired     empty: this secret had its time, and is never made again
    house                    a random id, so that two houses can share a device
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

from crypto.roots import (
    FIRST_EPOCH,
    SECRET_NAME,
    Roots,
    bury,
    locked,
    once,
    overwrite,
    private_folder,
    reachable,
    read_private,
    refuse_expired,
    sync,
    write_new,
)
from crypto.wrapping import KEY_BYTES, Key, new_key
from domain.errors import KeyExpired, KeysUnavailable, NobodyCanAct

#: Ledger keys expire. Each has a key of the device to itself, so that its destruction reaches every copy of the file.
EXPIRING = re.compile(r"ledger-.*")
OF_ITS_OWN = b"of its own\n"
WRAPPED_FILE = re.compile(r"([0-9]{6,})\.wrapped")


class Keeper(Protocol):
    """A device that wraps under keys of its own. A key has a name and never leaves the device."""

    def make(self, name: str) -> None:
        """Make the key of a name. Twice makes one.

        Raises:
            KeysUnavailable: the device cannot be reached, or refuses.
        """
        ...

    def wrap(self, name: str, material: bytes) -> bytes:
        """Encrypt 32 bytes under the key of a name, bound to that name.

        Raises:
            KeysUnavailable: there is no such key, or the device cannot be reached.
        """
        ...

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """Decrypt what `wrap` made under the same name.

        Raises:
            KeysUnavailable: there is no such key, the bytes are not its own, or the device cannot be reached.
        """
        ...

    def destroy(self, name: str) -> datetime:
        """Destroy the key of a name, and say from when on nobody can bring it back. Twice destroys one.

        Raises:
            KeysUnavailable: the device cannot be reached, or refuses.
        """
        ...

    def meaning_of_destruction(self) -> str:
        """Say in one sentence, for certificates, when a key that was destroyed there is beyond recovery."""
        ...


@dataclass(frozen=True, slots=True)
class KeptRoots:
    """Keep roots as files that only a device can open."""

    folder: Path
    keeper: Keeper

    def current(self) -> int:
        with reachable(self.folder):
            epochs = self._part("epochs")
            newest = _newest(epochs)
            if newest is None:
                with locked(epochs):
                    newest = _newest(epochs) or self._make(epochs, FIRST_EPOCH)
            # Whoever created the root may have died before its name was safe.
            sync(epochs)
            return newest

    def open(self, epoch: int) -> Key:
        path = self.folder / "epochs" / _file(epoch)
        with reachable(path):
            self._part("epochs", create=False)
            return Key(self.keeper.unwrap(self._name(f"epoch-{epoch}"), read_private(path)))

    def turn(self, since: int) -> int:
        with reachable(self.folder):
            epochs = self._part("epochs")
            with locked(epochs):
                newest = _newest(epochs)
                if newest is not None and newest < since:
                    raise KeysUnavailable(f"{epochs}: the root of epoch {since} is missing")
                if newest is None or newest == since:
                    self._make(epochs, since + 1)
            sync(epochs)
        return since + 1

    def epochs(self) -> list[int]:
        with reachable(self.folder):
            return sorted(_numbers(self._part("epochs")))

    def secrets(self) -> list[str]:
        with reachable(self.folder):
            return sorted(path.stem for path in self._part("secrets").glob("*.wrapped"))

    def destroy(self, epoch: int, *, last: bool = False) -> datetime:
        path = self.folder / "epochs" / _file(epoch)
        with reachable(path):
            epochs = self._part("epochs", create=False)
            with locked(epochs):
                if epoch == _newest(epochs) and not last:
                    raise NobodyCanAct("the current root is not destroyed")
                effective = self.keeper.destroy(self._name(f"epoch-{epoch}"))
                with suppress(FileNotFoundError):
                    overwrite(path)
                    path.unlink()
            sync(epochs)
        return effective

    def secret(self, name: str, *, create: bool = True) -> Key:
        if not SECRET_NAME.fullmatch(name):
            raise ValueError("the name of a secret has 1 to 64 letters, digits and hyphens")
        path = self.folder / "secrets" / f"{name}.wrapped"
        with reachable(path):
            self._part("secrets", create=create)
            refuse_expired(path)
            kept = once(path, lambda: self._wrap_secret(name, os.urandom(KEY_BYTES))) if create else read_private(path)
            if kept.startswith(OF_ITS_OWN):
                return Key(self.keeper.unwrap(self._name(f"secret-{name}"), kept.removeprefix(OF_ITS_OWN)))
            return Key(self.keeper.unwrap(self._name("secrets"), kept))

    def adopt(self, name: str, key: Callable[[], Key]) -> None:
        path = self.folder / "secrets" / f"{name}.wrapped"
        with reachable(path):
            self._part("secrets")
            refuse_expired(path)
            # A place that is down takes nothing, and then the other one is not asked.
            self.keeper.make(self._device_key_of(name))
            once(path, lambda: self._wrap_secret(name, key().material))

    def forget(self, name: str) -> None:
        self._destroy_secret(name)

    def expire(self, name: str) -> datetime:
        with reachable(self.folder):
            bury(self._part("secrets") / f"{name}.wrapped")
        return self._destroy_secret(name)

    def expired(self) -> list[str]:
        with reachable(self.folder):
            return sorted(path.stem for path in self._part("secrets").glob("*.expired"))

    def _destroy_secret(self, name: str) -> datetime:
        path, effective = self.folder / "secrets" / f"{name}.wrapped", datetime.now(UTC)
        with reachable(path), locked(self._part("secrets")), suppress(FileNotFoundError):
            if read_private(path).startswith(OF_ITS_OWN):
                effective = self.keeper.destroy(self._name(f"secret-{name}"))
            overwrite(path)
            path.unlink()
            sync(path.parent)
        return effective

    def meaning_of_destruction(self) -> str:
        return self.keeper.meaning_of_destruction()

    def _make(self, epochs: Path, epoch: int) -> int:
        name = self._name(f"epoch-{epoch}")
        self.keeper.make(name)
        write_new(epochs / _file(epoch), self.keeper.wrap(name, new_key().material))
        return epoch

    def _wrap_secret(self, name: str, material: bytes) -> bytes:
        device_key = self._device_key_of(name)
        self.keeper.make(device_key)
        return (OF_ITS_OWN if EXPIRING.fullmatch(name) else b"") + self.keeper.wrap(device_key, material)

    def _device_key_of(self, name: str) -> str:
        return self._name(f"secret-{name}" if EXPIRING.fullmatch(name) else "secrets")

    def _name(self, what: str) -> str:
        private_folder(self.folder)
        house = once(self.folder / "house", lambda: uuid4().hex.encode())
        return f"sealdesk/{UUID(house.decode()).hex}/{what}"

    def _part(self, name: str, *, create: bool = True) -> Path:
        part = self.folder / name
        for folder in (self.folder, part):
            private_folder(folder, create=create)
        return part


class Place(Roots, Protocol):
    """A place that roots can leave, or move into."""

    def epochs(self) -> list[int]:
        """List the epochs whose roots lie here, the oldest first.

        Raises:
            KeysUnavailable, RootsUnsafe: it cannot be reached, or others can read it.
        """
        ...

    def expired(self) -> list[str]:
        """List the names of the secrets that had their time."""
        ...

    def adopt(self, name: str, key: Callable[[], Key]) -> None:
        """Take over a secret that is kept elsewhere, unless there is one of that name.

        `key` fetches it, and is not asked before this place can take it.

        Raises:
            KeysUnavailable: this place cannot be reached, or the other one.
        """
        ...

    def forget(self, name: str) -> None:
        """Destroy a secret here, because another place has it. Twice destroys one."""
        ...


@dataclass(frozen=True, slots=True)
class MovingRoots:
    """Roots on their way from one place to another: what is new is made in the new place, the old still opens.

    Every process uses both places until the turn that begins in the new one is filled and its grace is over. That turn
    is the next one: `turn` makes its root in the new place, and only the keys that stand at the root are wrapped anew.
    """

    before: Place
    after: Place

    def current(self) -> int:
        moved = self.after.epochs()
        return moved[-1] if moved else self.before.current()

    def open(self, epoch: int) -> Key:
        return (self.after if self._has_moved(epoch) else self.before).open(epoch)

    def turn(self, since: int) -> int:
        return self.after.turn(since)

    def destroy(self, epoch: int, *, last: bool = False) -> datetime:
        if self._has_moved(epoch):
            return self.after.destroy(epoch, last=last)
        return self.before.destroy(epoch, last=bool(self.after.epochs()))

    def secret(self, name: str, *, create: bool = True) -> Key:
        try:
            return self.after.secret(name, create=False)
        except KeyExpired:
            raise
        except KeysUnavailable:
            # Not there yet, or not to be reached: then the next line says so, and the old place makes none in vain.
            # A new one is made there, since a process that does not know of the move yet looks nowhere else.
            self.after.adopt(name, lambda: self.before.secret(name, create=create))
            return self.after.secret(name, create=False)

    def secrets(self) -> list[str]:
        return sorted({*self.before.secrets(), *self.after.secrets()})

    def expire(self, name: str) -> datetime:
        effective = self.after.expire(name)
        # Who does not know of the move yet looks in the old place alone.
        return effective if self.has_left() else max(effective, self.before.expire(name))

    def meaning_of_destruction(self) -> str:
        return (self.after if self.has_left() else self.before).meaning_of_destruction()

    def has_begun(self) -> bool:
        """Tell whether a root lies in the new place."""
        return bool(self.after.epochs())

    def has_left(self) -> bool:
        """Tell whether no root lies in the old place any more."""
        return self.has_begun() and not self.before.epochs()

    def take_secrets(self) -> int:
        """Take every secret along. Returns how many lie in the new place."""
        for name in self.before.expired():
            self.after.expire(name)
        for name in set(self.before.secrets()).difference(self.after.expired()):
            self.secret(name, create=False)
        return len(self.after.secrets())

    def leave(self) -> bool:
        """Destroy the secrets of the old place, once no root lies there any more. Tells whether it is left.

        Raises:
            KeysUnavailable: a place cannot be reached; leaving again goes on.
        """
        if not self.has_left():
            return False
        self.take_secrets()
        for name in self.before.secrets():
            self.before.forget(name)
        return True

    def _has_moved(self, epoch: int) -> bool:
        moved = self.after.epochs()
        return bool(moved) and epoch >= moved[0]


def _newest(epochs: Path) -> int | None:
    return max(_numbers(epochs), default=None)


def _numbers(epochs: Path) -> list[int]:
    return [int(match[1]) for name in os.listdir(epochs) if (match := WRAPPED_FILE.fullmatch(name))]


def _file(epoch: int) -> str:
    return f"{epoch:06d}.wrapped"
