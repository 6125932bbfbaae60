"""Intake by two processes at once against intake by one, over the same databases and into the same tenant.

The processes are as `sealdesk consume` would be: each has a house of its own, and they share only the servers. Records
are parted as by Kafka's partitions, a person and what is about that person in one part. Both sides go the same way
through a pipe, and a process that is not asked waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

import orjson

from benchmarks import history
from benchmarks.figures import Figure, Progress, Sample, Stopwatch, Target, alternate, rate
from benchmarks.ground import Ground, ground
from services import wiring
from services.settings import Settings

#: Records on each side, the round that does not count included.
FACTS = 36_000
TARGET = Target(floor=1.3)
PROCESSES = 2


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure intake by two processes against intake by one."""
    number = max(1, facts // (repeats + 1))
    records = history.records(2 * number * (repeats + 1))
    # A reply must not come before its ticket, whichever side has its turn: each takes what is next.
    rounds = iter([records[start : start + number] for start in range(0, len(records), number)])
    requesters: dict[str, int] = {}
    with ground() as place, ExitStack() as stack:
        workers = [stack.enter_context(_worker(place.house.settings)) for _ in range(PROCESSES)]
        progress(f"processes: {repeats} times {number} records, by {PROCESSES} processes and by one")

        def together(repeat: int) -> Mapping[str, Sample]:
            parts = _parted(next(rounds), requesters)
            watch = Stopwatch()
            _take(workers, parts)
            return {"together": watch.read()}

        def alone(repeat: int) -> Mapping[str, Sample]:
            part = next(rounds)
            _parted(part, requesters)
            watch = Stopwatch()
            _take(workers[:1], [part])
            return {"alone": watch.read()}

        samples = alternate([together, alone], repeats)
    yield rate(
        "processes",
        "records/s",
        items=number,
        to="the rate of one process",
        of=samples["together"],
        other=samples["alone"],
        servers=place.versions,
        target=TARGET,
    )


def _take(workers: Sequence[Connection], parts: Sequence[Sequence[bytes]]) -> None:
    """Let each worker take its part, and wait for all."""
    for worker, part in zip(workers, parts, strict=True):
        worker.send(part)
    for worker in workers:
        worker.recv()


def _parted(records: Sequence[bytes], requesters: dict[str, int]) -> list[list[bytes]]:
    """Part records by whom they are about. `requesters` says whose the tickets are, and learns of new ones."""
    parts: list[list[bytes]] = [[] for _ in range(PROCESSES)]
    for record in records:
        event = orjson.loads(record)
        subject, data = event["subject"], event["data"]
        if "requester_id" in data:
            requesters[subject] = data["requester_id"]
        person = requesters.get(subject, data.get("id"))
        parts[person % PROCESSES].append(record)
    return parts


@contextmanager
def _worker(settings: Settings) -> Iterator[Connection]:
    """Start a process that takes records in, and end it."""
    # A child that is forked would have the connections and the threads of this process.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(settings, theirs))
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield ours
        ours.send(None)
        process.join()
    finally:
        process.kill()
        ours.close()


def _serve(settings: Settings, line: Connection) -> None:
    """Open a house, and take whatever comes through the line until that is nothing."""
    with wiring.opened(settings) as house:
        place = Ground(house, {})
        line.send(None)
        while (records := line.recv()) is not None:
            place.take(records)
            line.send(None)
