"""Run processes of sealdesk step by step: which of them goes on, and which one dies, is said by a schedule.

A process is a thread with a house of its own, on connections of its own. It stops at every point that `seams` puts
into it and waits to be let on, so at most one runs at a time. Where one waits in PostgreSQL for a lock of another, the
other goes on: that costs no switch (Musuvathi, Qadeer, "Iterative context bounding for systematic testing of
multithreaded programs", PLDI 2007; CHESS gives way in the same manner at a retry, so that no schedule spins).

A process that is killed loses its sessions at the server, and nothing of it runs after that point: whatever it tries
at a further point ends there, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from services.embedded import Endpoints
from tests import sessions

#: A step takes milliseconds. After this long without news we ask PostgreSQL whether it waits for a lock.
SOON_SECONDS = 0.02
PATIENCE_SECONDS = 60.0
#: More steps than any schedule of two has.
STEPS = 2_000

#: A point at which a process gives way by itself, because it will try again.
GIVES_WAY = "again"


class Killed(BaseException):
    """In place of SIGKILL."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who goes first, who takes over at which steps, and at which steps whoever runs is killed."""

    first: str
    switches: tuple[tuple[int, str], ...] = ()
    kills: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"Schedule({self.first!r}, switches={self.switches}, kills={self.kills})"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run: who went on from which point, who else could have, and whether whoever ran before could."""

    who: str
    point: str
    others: tuple[str, ...]
    was_free: bool


@dataclass(eq=False)
class Process:
    """What runs in one thread. `outcome` is what it returned, or the error with which it ended."""

    name: str
    work: Callable[[], Any]
    point: str = "start"
    outcome: Any = None
    is_over: bool = False
    is_killed: bool = False
    is_blocked: bool = False
    gave_way: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Work from the start to the end, or to the kill."""
        _processes[threading.get_ident()] = self
        try:
            self._wait()
            self.outcome = self.work()
        except BaseException as error:
            self.outcome = error
        finally:
            del _processes[threading.get_ident()]
            self.is_over = True
            self.stopped.set()

    def stop_at(self, point: str) -> None:
        """Wait at a point until the schedule lets this process go on."""
        if not self.is_killed:
            self.point = point
            self.stopped.set()
            self._wait()
        if self.is_killed:
            raise Killed

    def _wait(self) -> None:
        self.goes_on.wait()
        self.goes_on.clear()
        if self.is_killed:
            raise Killed


_processes: dict[int, Process] = {}


def point(name: str) -> None:
    """Stop here, if this is a process of a schedule; nothing otherwise."""
    process = _processes.get(threading.get_ident())
    if process is not None and (name in stops or process.is_killed):
        process.stop_at(name)


#: The points at which processes stop.
stops: set[str] = set()


class Stepper:
    """Let processes go on one step at a time."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._controls = [psycopg.connect(dsn, autocommit=True) for dsn in (endpoints.log_dsn, endpoints.keys_dsn)]

    def close(self) -> None:
        """Close the connections by which we see who waits."""
        for control in self._controls:
            control.close()

    def run(
        self, schedule: Schedule, processes: Sequence[Process], look: Callable[[Step], object] = lambda step: None
    ) -> list[Step]:
        """Run processes to their ends as a schedule says. Returns the steps; `look` is called before each."""
        by_name = {process.name: process for process in processes}
        threads = [threading.Thread(target=process.run, daemon=True) for process in processes]
        for thread in threads:
            thread.start()
        current, steps = by_name[schedule.first], list[Step]()
        while len(steps) < STEPS:
            able = [process for process in processes if not process.is_over and not process.is_blocked]
            if not able:
                if all(process.is_over for process in processes):
                    for thread in threads:
                        thread.join(PATIENCE_SECONDS)
                    return steps
                # Each waits for the other: PostgreSQL ends one of the two.
                self._settle(processes, are_all_blocked=True)
                continue
            before = current
            current, was_free = self._next(before, able, dict(schedule.switches).get(len(steps)))
            others = tuple(one.name for one in able if one is not current and (was_free or one is not before))
            steps.append(Step(current.name, current.point, others, was_free))
            look(steps[-1])
            if len(steps) - 1 in schedule.kills:
                self._kill(current)
            for process in processes:
                process.gave_way = process.gave_way and process is current
            self._let_on(current)
            self._settle(processes)
        raise AssertionError(f"no end after {STEPS} steps: {schedule}")

    @staticmethod
    def _next(current: Process, able: Sequence[Process], wanted: str | None) -> tuple[Process, bool]:
        """Say who goes on, and whether whoever ran until now could have."""
        others = [process for process in able if process is not current]
        chosen = next((process for process in others if process.name == wanted), None)
        if current not in able or (current.gave_way and others):
            return chosen or others[0], False
        return chosen or current, bool(others)

    def _let_on(self, process: Process) -> None:
        process.stopped.clear()
        process.goes_on.set()
        self._await(process)
        process.gave_way = process.point == GIVES_WAY and not process.is_over

    def _await(self, process: Process) -> None:
        """Wait until a process stands at a point, is over, or waits for a lock."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not process.stopped.wait(SOON_SECONDS):
            if self._waits_for_a_lock(process) and not process.stopped.is_set():
                process.is_blocked = True
                return
            assert time.monotonic() < end, f"{process.name} does not come back from {process.point}"
        process.is_blocked = False

    def _settle(self, processes: Sequence[Process], *, are_all_blocked: bool = False) -> None:
        """See whether whoever waited for a lock has it by now, and then wait until it stands at a point."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            blocked = [process for process in processes if process.is_blocked]
            for process in blocked:
                if process.stopped.is_set() or not self._waits_for_a_lock(process):
                    self._await(process)
            if not are_all_blocked or not all(process.is_blocked for process in blocked):
                return
            assert time.monotonic() < end, "all wait for each other"
            time.sleep(SOON_SECONDS)

    def _waits_for_a_lock(self, process: Process) -> bool:
        statement = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
        return any(control.execute(statement, (process.name,)).fetchone() for control in self._controls)

    def _kill(self, process: Process) -> None:
        process.is_killed = True
        for control in self._controls:
            sessions.end(control, "application_name", process.name)
