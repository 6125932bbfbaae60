"""The memory of this machine, which holds plaintext and keys for as long as a batch or a request takes."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from services.doctor.findings import Finding, State

#: https://man7.org/linux/man-pages/man2/pr_get_dumpable.2const.html
_PR_GET_DUMPABLE = 3
#: https://man7.org/linux/man-pages/man5/proc_swaps.5.html
SWAPS = Path("/proc/swaps")
BLOCKS = Path("/sys/block")


def findings() -> Iterator[Finding]:
    """Look at core dumps and swap."""
    yield from core_dumps()
    yield swap()


def core_dumps() -> Iterator[Finding]:
    """See what would become of the memory of this process."""
    if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0):
        yield Finding("core dumps", State.OK, "none is written")
    else:
        yield Finding("core dumps", State.WARNING, "this process may leave one", "start it as the command sealdesk")
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0):
        yield Finding(
            "other processes",
            State.WARNING,
            "others of this account may read its memory",
            "start it as the command sealdesk",
        )
    else:
        yield Finding("other processes", State.OK, "none of this account may read its memory")


def swap(swaps: Path = SWAPS, blocks: Path = BLOCKS) -> Finding:
    """See whether memory may be written to a disk in clear."""
    try:
        rows = [line.split() for line in swaps.read_text().splitlines()[1:]]
    except OSError:
        return Finding("swap", State.UNKNOWN, "this system does not say what it swaps to", "see that swap is encrypted")
    clear = [row[0] for row in rows if not _is_safe(Path(row[0]), blocks)]
    if not clear:
        return Finding("swap", State.OK, "encrypted, or in memory" if rows else "none")
    return Finding(
        "swap",
        State.WARNING,
        f"{', '.join(clear)} may not be encrypted",
        "encrypt it, or turn it off: keys may lie there",
    )


def _is_safe(device: Path, blocks: Path) -> bool:
    """Tell whether a swap device is memory again, or a mapping of dm-crypt, whose uuid says so."""
    name = device.resolve().name
    if name.startswith("zram"):
        return True
    try:
        return (blocks / name / "dm/uuid").read_text().startswith("CRYPT-")
    except OSError:
        return False
