"""The rounds of `sealdesk keep`: small steps, one after the other, each in its own time.

Rule: a step that fails stops no other step. It may run twice, and in several processes: each run holds a lock of the
key database, and a step whose lock somebody else holds is left to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from domain.errors import GateShut

#: What failed is tried again after this long, if its own time is not sooner.
RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do every so many seconds. `do` returns soon, and may be cut off anywhere.

    Of a step that is `alone` no two processes do the same turn; one that only looks is done by each for itself.
    """

    name: str
    seconds: float
    do: Callable[[], object]
    alone: bool = True


class Observer(Protocol):
    """Whoever wants to know how the steps fare."""

    def step(self, name: str, seconds: float) -> None:
        """Hear that a step ended well, and how long it took."""

    def failed(self, name: str, error: BaseException) -> None:
        """Hear that a step ended badly."""


class Rounds:
    """Do what is due, in the order that was given."""

    def __init__(
        self,
        steps: Sequence[Step],
        alone: Callable[[str], AbstractContextManager[bool]],
        observer: Observer,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._steps = steps
        self._alone = alone
        self._observer = observer
        self._clock = clock
        self._due = dict.fromkeys((step.name for step in steps), clock())
        if len(self._due) < len(steps):
            raise ValueError("two steps have one name")

    def turn(self, beat: Callable[[], object] = lambda: None) -> float:
        """Do every step that is due, with a beat before each, and return the seconds until the next one is.

        Raises:
            GateShut: log, keys and ledger do not fit together any more. Nothing may go on.
        """
        for step in self._steps:
            if self._clock() >= self._due[step.name]:
                beat()
                well = self._try(step)
                self._due[step.name] = self._clock() + (step.seconds if well else min(step.seconds, RETRY_SECONDS))
        return max(0.0, min(self._due.values()) - self._clock())

    def hurry(self, name: str) -> None:
        """Let a step be due at the next turn."""
        self._due[name] = self._clock()

    def _try(self, step: Step) -> bool:
        begun = self._clock()
        try:
            with self._alone(f"step {step.name}") if step.alone else nullcontext(True) as alone:
                if alone:
                    step.do()
        except GateShut:
            raise
        except Exception as error:
            self._observer.failed(step.name, error)
            return False
        if alone:
            self._observer.step(step.name, self._clock() - begun)
        return True
