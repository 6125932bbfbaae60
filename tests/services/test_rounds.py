from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from domain.errors import GateShut, LogUnavailable
from services.rounds import RETRY_SECONDS, Rounds, Step


class Day:
    """A clock, who holds which lock, and what was done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.elsewhere: set[str] = set()
        self.done: list[str] = []
        self.well: list[str] = []
        self.badly: list[tuple[str, str]] = []

    def clock(self) -> float:
        return self.now

    @contextmanager
    def alone(self, task: str) -> Iterator[bool]:
        yield task not in self.elsewhere

    def step(self, name: str, seconds: float) -> None:
        self.well.append(name)

    def failed(self, name: str, error: BaseException) -> None:
        self.badly.append((name, type(error).__name__))

    def does(self, name: str, seconds: float, error: Exception | None = None) -> Step:
        def do() -> None:
            self.done.append(name)
            if error is not None:
                raise error

        return Step(name, seconds, do)

    def rounds(self, *steps: Step) -> Rounds:
        return Rounds(steps, self.alone, self, self.clock)


@pytest.fixture
def day() -> Day:
    return Day()


def test_each_step_is_done_in_its_own_time(day: Day) -> None:
    rounds = day.rounds(day.does("often", 5), day.does("seldom", 60))
    waits: list[float] = []
    for _ in range(13):
        waits.append(rounds.turn())
        day.now += waits[-1]
    assert day.done.count("often") == 13
    assert day.done.count("seldom") == 2
    assert set(waits) == {5.0}


@pytest.mark.parametrize("error", [LogUnavailable("away"), RuntimeError("a bug")])
def test_a_step_that_fails_stops_no_other_and_is_tried_again_soon(day: Day, error: Exception) -> None:
    rounds = day.rounds(day.does("bad", 3600, error), day.does("good", 3600))
    assert rounds.turn() == RETRY_SECONDS
    assert day.done == ["bad", "good"]
    assert day.badly == [("bad", type(error).__name__)]
    day.now += RETRY_SECONDS
    rounds.turn()
    assert day.done == ["bad", "good", "bad"]


def test_a_step_that_somebody_else_does_is_left_to_them(day: Day) -> None:
    day.elsewhere.add("step purge")
    rounds = day.rounds(day.does("purge", 10), day.does("mend", 10))
    rounds.turn()
    assert (day.done, day.well, day.badly) == (["mend"], ["mend"], [])


def test_a_lock_that_cannot_be_asked_for_is_the_failure_of_its_step(day: Day) -> None:
    @contextmanager
    def away(task: str) -> Iterator[bool]:
        raise LogUnavailable("away")
        yield False

    Rounds([day.does("purge", 10)], away, day, day.clock).turn()
    assert (day.done, day.badly) == ([], [("purge", "LogUnavailable")])


def test_a_gate_that_is_shut_stops_everything(day: Day) -> None:
    rounds = day.rounds(day.does("gate", 60, GateShut("older")), day.does("purge", 60))
    with pytest.raises(GateShut):
        rounds.turn()
    assert day.done == ["gate"]


def test_a_long_round_beats_before_each_step(day: Day) -> None:
    beats: list[int] = []
    beat: Callable[[], None] = lambda: beats.append(len(day.done))  # noqa: E731
    day.rounds(day.does("one", 5), day.does("two", 5)).turn(beat)
    assert beats == [0, 1]


def test_two_steps_of_one_name_are_a_mistake(day: Day) -> None:
    with pytest.raises(ValueError, match="one name"):
        day.rounds(day.does("one", 5), day.does("one", 6))
