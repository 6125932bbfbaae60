"""Whether the loop of a process still turns, and whether what it needs is there.

Alive and ready are two questions. A process that is not alive has to be killed; one that is not ready waits for
somebody else, and killing it would help nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Protocol

#: A turn of a loop is one batch, one page or one small step: seconds. A shred of a large desk within a step takes
#: minutes. Whatever stands still for longer than this is wedged.
WEDGED_SECONDS = 300.0


class Stop(Protocol):
    """A wish to end, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Tell whether to end."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the wish, and tell whether it came."""


class Pulse:
    """When the loops of a process last turned. A process with several threads has one loop a thread."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._beats: dict[int, float] = {}
        self.beat()

    def beat(self) -> None:
        """Say that the loop of this thread turns."""
        self._beats[threading.get_ident()] = self._clock()

    def ends(self) -> None:
        """Say that the loop of this thread has come to its end."""
        self._beats.pop(threading.get_ident(), None)

    def age(self) -> float:
        """Tell how many seconds ago the slowest loop last turned; 0 where none is left."""
        return self._clock() - min(self._beats.values(), default=self._clock())

    def is_alive(self) -> bool:
        """Tell whether every loop still turns."""
        return self.age() < WEDGED_SECONDS


class Watched:
    """A wish to end whose asking is a heartbeat: a loop asks it once a turn."""

    def __init__(self, stop: Stop, pulse: Pulse) -> None:
        self._stop = stop
        self._pulse = pulse

    def is_set(self) -> bool:
        """Beat, and tell whether to end."""
        self._pulse.beat()
        return self._stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the wish, with a heartbeat every second, and tell whether it came."""
        end = None if timeout is None else monotonic() + timeout
        while True:
            self._pulse.beat()
            left = 1.0 if end is None else min(1.0, end - monotonic())
            if self._stop.wait(max(0.0, left)):
                return True
            if end is not None and monotonic() >= end:
                return False


class Readiness:
    """What a process needs before it can work, and whether it is there."""

    def __init__(self, *needs: str) -> None:
        self._there = dict.fromkeys(needs, False)
        self._asked: dict[str, Callable[[], bool]] = {}

    def there(self, need: str, is_there: bool = True) -> None:
        """Say of one need whether it is there."""
        self._there[need] = is_there

    def ask(self, need: str, question: Callable[[], bool]) -> None:
        """Let a need be asked for whenever somebody wants to know."""
        self._asked[need] = question

    def now(self) -> Mapping[str, bool]:
        """Tell of every need whether it is there."""
        return {**self._there, **{need: question() for need, question in self._asked.items()}}
