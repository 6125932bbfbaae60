"""Every schedule within a bound: one killed at each step, or several with so many switches between them.

No state is stored and none is guessed: each schedule runs from its beginning over the real code, and its steps say
which further schedules there are. The order is fixed, and a schedule that fails is named so that it can be run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from typing import Any

from tests.desks import Desk, desk_house
from tests.protocol import judging, seams
from tests.protocol.judging import Known
from tests.protocol.scene import ACTS, Act, Model
from tests.protocol.stepping import Process, Schedule, Step, Stepper
from tests.protocol.worlds import Worlds


@dataclass(frozen=True, slots=True)
class World:
    """Where schedules begin: a world that was kept, and older copies of the databases in the place of its own."""

    name: str
    keys: str | None = None
    log: str | None = None


FILLED = World("filled")


@dataclass
class Explorer:
    """Runs schedules of some acts from a world. After the first, and every `thorough`th from there, more is checked."""

    worlds: Worlds
    stepper: Stepper
    stops: frozenset[str] = seams.CHANGES
    thorough: int = 10
    ran: int = 0
    known: dict[str, Known] = field(default_factory=dict)

    @contextmanager
    def opened(self, name: str) -> Iterator[Desk]:
        """Open a house as one process does."""
        with desk_house(self.worlds.seen_by(name), self.worlds.folder) as house:
            yield Desk(house)

    def fill(self, world: World, fill: Callable[[Desk], object], model: Model) -> None:
        """Make the first world."""
        with self.opened("fill") as desk:
            fill(desk)
            desk.house.projecting.catch_up()
            self.known[world.name] = judging.known_of(desk, model)
        self.worlds.keep(world.name)

    def make(self, name: str, since: World, *names: str, until: Schedule | None = None) -> World:
        """Make a world from another: let acts happen one after the other, or run a schedule of them. Once is enough."""
        if name in self.known:
            return World(name)
        model, acts = self.known[since.name].model, [ACTS[one] for one in names]
        self.worlds.put_back(since.name)
        if until is not None:
            self.step(acts, until)
        for act in acts:
            with self.opened("make") as desk:
                if until is None:
                    act.do(desk)
            model = act.means(model)
        with self.opened("look") as desk:
            desk.house.projecting.catch_up()
            self.known[name] = judging.known_of(desk, model, self.known[since.name].ids)
        self.worlds.keep(name)
        return World(name)

    # -- schedules ----------------------------------------------------------------------------------------------

    def run(self, world: World, names: Sequence[str], schedule: Schedule) -> list[Step]:
        """Run one schedule, start anew, and check what has to hold. Returns its steps.

        Raises:
            AssertionError: something does not hold; it names the schedule.
        """
        self.ran += 1
        acts, known = [ACTS[name] for name in names], self.known[world.log or world.name]
        self._learn(world, acts, known)
        try:
            self.worlds.put_back(world.name, keys=world.keys, log=world.log)
            steps, answers = self.step(acts, schedule)
            with self.opened("judge") as desk:
                _start_anew(desk, acts, answers)
                judging.check(desk, self.worlds, known, acts, thorough=self.ran % self.thorough == 1)
        except Exception as error:
            raise AssertionError(f"explorer.run({world}, {list(names)}, {schedule}): {error}") from error
        return steps

    def find(self, world: World, names: Sequence[str], holds: Callable[[Step], bool]) -> list[int]:
        """Run acts one after the other, and name the steps of the first before which something held."""
        self.worlds.put_back(world.name, keys=world.keys, log=world.log)
        found: list[bool] = []
        acts = [ACTS[name] for name in names]
        self.step(acts, Schedule(names[0]), lambda step: found.append(step.who == names[0] and holds(step)))
        return [number for number, it_held in enumerate(found) if it_held]

    def step(
        self, acts: Sequence[Act], schedule: Schedule, look: Callable[[Step], object] = lambda step: None
    ) -> tuple[list[Step], dict[str, Any]]:
        """Run one schedule and nothing else. Returns its steps, and what was answered by acts that were not killed."""
        with ExitStack() as stack:
            processes = [Process(act.name, self._work(act, stack)) for act in acts]
            with seams.watched(self.stops):
                steps = self.stepper.run(schedule, processes, look)
        answers = {process.name: process.outcome for process in processes if not process.is_killed}
        for name, answer in answers.items():
            if isinstance(answer, BaseException):
                raise AssertionError(f"{name} ended with {answer!r}") from answer
        return steps, answers

    def _work(self, act: Act, stack: ExitStack) -> Callable[[], Any]:
        if act.is_start:
            # What a start does is what is to be stepped through.
            return lambda: self._start(act.name)
        desk = stack.enter_context(self.opened(act.name))
        return lambda: act.do(desk)

    def _start(self, name: str) -> None:
        with self.opened(name):
            pass

    def _learn(self, world: World, acts: Sequence[Act], known: Known) -> None:
        """Find out how the counts are after each choice of the records."""
        for taken in _choices([act.name for act in acts if act.type]):
            if frozenset(taken) not in known.reports:
                self.worlds.put_back(world.log or world.name)
                with self.opened("learn") as desk:
                    for name in taken:
                        ACTS[name].do(desk)
                    known.reports[frozenset(taken)] = desk.reports()

    # -- all of them --------------------------------------------------------------------------------------------

    def one_killed(self, world: World, *names: str) -> int:
        """Kill the first process at each of its steps; the others come after it. Returns how many schedules it took."""
        before = self.ran
        for number, step in enumerate(self.run(world, names, Schedule(names[0]))):
            if step.who == names[0]:
                self.run(world, names, Schedule(names[0], kills=(number,)))
        return self.ran - before

    def interleaved(self, world: World, *names: str, switches: int) -> int:
        """Run processes with so many switches at most. Returns how many schedules there were.

        Who comes next where somebody ends or waits is no switch; each of the others does, in turn.
        """
        before = self.ran
        todo = [(Schedule(name), switches) for name in names]
        while todo:
            schedule, left = todo.pop()
            steps = self.run(world, names, schedule)
            after = schedule.switches[-1][0] if schedule.switches else 0
            for number, step in list(enumerate(steps))[after + 1 :]:
                if left >= step.was_free:
                    todo += [
                        (replace(schedule, switches=(*schedule.switches, (number, other))), left - step.was_free)
                        for other in step.others
                    ]
        return self.ran - before


def _start_anew(desk: Desk, acts: Sequence[Act], answers: dict[str, Any]) -> None:
    """Do what `keep` does after a crash, and send once more what was not answered."""
    desk.house.shredding.resume()
    desk.house.shredding.mend()
    for act in acts:
        if act.type and act.name not in answers:
            act.do(desk)


def _choices(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, count) for count in range(len(names) + 1))
