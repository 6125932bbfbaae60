"""Around every process that runs for long: it ends when asked, goes on after trouble, and can be looked at."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

import psycopg

from domain.errors import BrokerUnavailable, GateShut, KeysUnavailable, LogUnavailable, SealdeskError
from services.cli.printing import tell
from services.settings import listen_of
from services.watching.pulse import Pulse, Readiness, Watched

if TYPE_CHECKING:
    from services.kafka.consuming import Stored
    from services.watching.metrics import Metrics
    from services.watching.standing import Source, Standing
    from services.watching.wired import Wired

#: A server that was restarted is there again after some seconds; one that is down for long is not asked more often.
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
#: What goes away and comes back.
GONE = (LogUnavailable, KeysUnavailable, BrokerUnavailable, psycopg.OperationalError, psycopg.InterfaceError)


@dataclass
class Watch:
    """One process that runs for long. Where nobody looks in (no SEALDESK_LISTEN), nothing is counted."""

    asked: threading.Event
    stop: Watched
    pulse: Pulse
    readiness: Readiness
    metrics: Metrics | None
    standing: Standing | None
    _stack: ExitStack
    _told: dict[str, str] = field(default_factory=dict)

    def tells(self, sources: Callable[[Wired], Sequence[Source]]) -> None:
        """Let whoever looks in hear of further sources. They are made if anybody can, and closed at the end.

        A process is ready only while all of them answer.
        """
        if self.standing is not None:
            from services.watching.wired import Wired

            for source in sources(Wired(self._stack)):
                self.standing.add(source)
                self.readiness.ask(source.name, partial(self.standing.answers, source.name))

    def member(self, is_in: bool) -> None:
        """Note whether the consumer group has let us in."""
        self.readiness.there("group", is_in)

    def stored(self, batch: Stored) -> None:
        """Count a batch that was stored. What was stored before, and is only told of, does not count again."""
        if self.metrics is not None and not batch.again:
            outcomes: Counter[tuple[str, str]] = Counter(
                (outcome.status, outcome.code) for _, _, outcome in batch.records
            )
            self.metrics.batch(outcomes, batch.seconds)

    def step(self, name: str, seconds: float) -> None:
        """Note that a step ended well, and say so if it did not before."""
        if self.metrics is not None:
            self.metrics.step(name, seconds)
        if self._told.pop(name, None) is not None:
            tell(f"{name}: well again")

    def failed(self, name: str, error: BaseException) -> None:
        """Note that a step ended badly, and say once what is wrong; of an unexpected error nothing but its type."""
        if self.metrics is not None:
            self.metrics.failed(name, error)
        said = str(error) if isinstance(error, SealdeskError) else f"something unexpected ({type(error).__name__})"
        if self._told.get(name) != said:
            self._told[name] = said
            tell(f"{name}: {said}")

    def begins_anew(self, error: BaseException, wait: float) -> None:
        """Note, and say, that the work begins anew after a while."""
        if self.metrics is not None:
            self.metrics.restart(error)
        reason = str(error) if isinstance(error, SealdeskError) else "a database went away"
        tell(f"{reason}; beginning anew in {wait:.0f} s")


@contextmanager
def watched(*needs: str) -> Iterator[Watch]:
    """Be a process that runs for long: SIGTERM and Ctrl-C ask it to end, it dumps no core, SEALDESK_LISTEN looks in.

    `needs` are what it has to have before it is ready; the caller says so of each.
    """
    # A core would hold plaintext and keys.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    address = listen_of(os.environ)
    pulse, readiness = Pulse(), Readiness(*needs)
    with stopping() as asked, ExitStack() as stack:
        metrics, standing = (None, None) if address is None else _looked_into(address, pulse, readiness, stack)
        yield Watch(asked, Watched(asked, pulse), pulse, readiness, metrics, standing, stack)


def _looked_into(
    address: tuple[str, int], pulse: Pulse, readiness: Readiness, stack: ExitStack
) -> tuple[Metrics, Standing]:
    """Listen for whoever looks in. Nobody else loads the client of Prometheus: commands start sooner without it."""
    from services.watching.listening import listening
    from services.watching.metrics import Metrics
    from services.watching.standing import Standing

    metrics, standing = Metrics(), Standing()
    metrics.registry.register(standing)
    port = stack.enter_context(listening(address, metrics.registry, pulse, readiness))
    tell(f"listening on port {port}: /metrics, /healthz, /readyz")
    return metrics, standing


def going_on(watch: Watch, work: Callable[[Callable[[], None]], None]) -> None:
    """Do `work` until it is asked to end, and begin it anew whenever a server went away.

    `work` is given a call for when it has opened what it needs. What stands in the way before that is raised, so that
    a wrong setting is told at once and ends the process.

    Raises:
        GateShut: log, keys and ledger do not fit together: to go on would lose keys, or bring shredded people back.
    """
    has_opened = threading.Event()
    wait = FIRST_WAIT_SECONDS
    while not watch.stop.is_set():
        since = monotonic()
        try:
            return work(has_opened.set)
        except GateShut:
            raise
        except GONE as error:
            if not has_opened.is_set():
                raise
            if monotonic() - since > LONGEST_WAIT_SECONDS:
                wait = FIRST_WAIT_SECONDS
            watch.begins_anew(error, wait)
        if watch.stop.wait(wait):
            return None
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)


@contextmanager
def hands(watch: Watch) -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Give a way to start further loops of one process, each in a thread, begun anew whenever a server went away.

    When one of them dies, all are asked to end; what it died of is raised at the end of the block.
    """
    threads: list[threading.Thread] = []
    errors: list[BaseException] = []

    def start(name: str, work: Callable[[], object]) -> None:
        def loop(opened: Callable[[], None]) -> None:
            opened()
            work()

        def run() -> None:
            try:
                going_on(watch, loop)
            except BaseException as error:
                errors.append(error)
                watch.asked.set()
            finally:
                watch.pulse.ends()

        threads.append(threading.Thread(target=run, name=name))
        threads[-1].start()

    try:
        yield start
    finally:
        watch.asked.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and Ctrl-C set, so that what is at hand is finished first."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, former in before.items():
            signal.signal(number, former)
