"""Keep what a process holds in its memory: no core dump of it, and no other process of the account looks in.

Root still can, and so can whoever reads the swap: SECURITY says so.
"""

from __future__ import annotations

import ctypes
import resource
import sys

#: https://man7.org/linux/man-pages/man2/pr_set_dumpable.2const.html
_PR_SET_DUMPABLE = 4


def harden() -> None:
    """Allow no core dump of this process, and on Linux nobody to attach to it. Its children may be dumped again."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
