"""The folders of data, roots, ledger and signing key: who may enter them, where they lie, how much room there is."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from services.doctor.findings import Case, Finding, State
from services.roots import ROOTS_BEFORE

OTHERS = 0o077
_WRITE = 0o022
#: Below these many bytes free, or this part of the whole, somebody has to look; below `FULL` writes fail soon.
SCARCE = 1024**3
FULL = 100 * 1024**2
SCARCE_PART = 0.05
IN_MEMORY = frozenset({"tmpfs", "ramfs"})
#: File systems of another machine: their locks and what they call stored are not those of a disk.
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs"})
IN_CONTAINER = frozenset({"overlay", "aufs"})


def findings(case: Case) -> Iterator[Finding]:
    """Look at each folder, and at how they lie to each other."""
    places = places_of(case)
    for name, folder in places.items():
        yield from _folder(name, folder)
    there = {name: folder for name, folder in places.items() if folder.is_dir()}
    yield from _apart(there)
    if case.settings.ledger_copy is None:
        yield Finding(
            "ledger copy",
            State.WARNING,
            "the ledger lies in one place",
            "set SEALDESK_LEDGER_COPY to another disk, a bucket or a topic: without a ledger a restore undoes shreds",
        )
    for device, names in _by_device(there).items():
        yield _room(", ".join(names), there[names[0]], device)


def places_of(case: Case) -> dict[str, Path]:
    """Give the folders by what a finding calls them."""
    settings = case.settings
    before, blobs = settings.kept.before, settings.blobs
    found = {
        "data folder": settings.data,
        "roots": settings.roots,
        f"old roots ({ROOTS_BEFORE})": None if before is None else before.folder,
        "ledger": settings.ledger if isinstance(settings.ledger, Path) else None,
        "ledger copy": settings.ledger_copy if isinstance(settings.ledger_copy, Path) else None,
        "signing key": settings.signing,
        "blobs": None if blobs is None or "://" in blobs else Path(blobs),
    }
    # A ledger may lie in a topic or a bucket, too.
    return {name: folder for name, folder in found.items() if isinstance(folder, Path)}


def _folder(name: str, folder: Path) -> Iterator[Finding]:
    check = f"folder: {name}"
    if not folder.exists():
        if name != "blobs":
            yield Finding(
                check,
                State.WARNING,
                f"{folder} is not there",
                "the first start makes it; if this house has started before, mount or restore it first",
            )
        return
    if not folder.is_dir():
        yield Finding(check, State.WRONG, f"{folder} is no folder", "move it away, or name another")
        return
    wrong = [*_ownership(folder), *_rights(name, folder)]
    for state, says, todo in wrong:
        yield Finding(check, state, says, todo)
    if not wrong:
        yield Finding(check, State.OK, str(folder))
    yield from _file_system(check, name, folder)


def _ownership(folder: Path) -> Iterator[tuple[State, str, str]]:
    owner = folder.stat().st_uid
    if os.geteuid() not in (0, owner):
        yield (
            State.WRONG,
            f"{folder} belongs to user id {owner}",
            f"chown it to user id {os.geteuid()}, or run as {owner}",
        )


def _rights(name: str, folder: Path) -> Iterator[tuple[State, str, str]]:
    """Compare modes with what the house asks of each: roots and signing key for nobody else at all."""
    secret = "roots" in name or name == "signing key"
    for path in (folder, *sorted(folder.rglob("*"))) if secret else (folder, *sorted(folder.glob("ledger*"))):
        mode = stat.S_IMODE(path.lstat().st_mode)
        wanted = "700" if path.is_dir() else "600"
        if path.name == "certificate.pub" or path.is_symlink():
            continue
        if secret and mode & OTHERS:
            yield State.WRONG, f"others have rights to {path}", f"chmod {wanted}"
        elif name.startswith("ledger") and mode & _WRITE:
            yield State.WRONG, f"others can write {path}", f"chmod {wanted}"
        elif mode & OTHERS:
            yield State.WARNING, f"others have rights to {path}", f"chmod {wanted}"


def _file_system(check: str, name: str, folder: Path) -> Iterator[Finding]:
    kind = _kind_of(folder)
    if kind in IN_MEMORY:
        yield Finding(
            check, State.WRONG, f"{folder} is in memory ({kind})", "put it on a disk: it ends with the machine"
        )
    elif kind in REMOTE:
        yield Finding(
            check,
            State.WARNING,
            f"{folder} is on another machine ({kind})",
            "see that its locks work, and that fsync stores",
        )
    elif kind in IN_CONTAINER:
        yield Finding(check, State.WARNING, f"{folder} is in the layer of a container ({kind})", "mount a volume there")


def _kind_of(folder: Path) -> str:
    """Return the type of the file system that a folder lies on, as the system names it."""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounts[place] for place in (folder, *folder.parents) if place in mounts), "")


def _apart(there: Mapping[str, Path]) -> Iterator[Finding]:
    """See that one disk, or one copy of a disk, does not take along what has to be apart."""
    device = {name: folder.stat().st_dev for name, folder in there.items()}
    for one, other, why in (
        ("roots", "data folder", "a copy of that disk opens the data, and outlives every destruction of a root"),
        ("ledger", "data folder", "a restore of that disk takes shreds back with the data"),
        ("ledger copy", "ledger", "one broken disk takes both"),
    ):
        if one in device and other in device and device[one] == device[other]:
            yield Finding(
                f"apart: {one}",
                State.WARNING,
                f"on the same file system as the {other}: {why}",
                "move it to another disk",
            )


def _by_device(there: Mapping[str, Path]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, folder in there.items():
        found.setdefault(folder.stat().st_dev, []).append(name)
    return found


def _room(names: str, folder: Path, device: int) -> Finding:
    usage = shutil.disk_usage(folder)
    check, says = f"room: {names}", f"{usage.free / 1024**3:.1f} GiB free of {usage.total / 1024**3:.1f}"
    if usage.free < FULL:
        return Finding(
            check, State.WRONG, says, "make room: nothing more can be stored soon, and no shred be carried out"
        )
    if usage.free < SCARCE or usage.free < SCARCE_PART * usage.total:
        return Finding(check, State.WARNING, says, "make room")
    return Finding(check, State.OK, says)
