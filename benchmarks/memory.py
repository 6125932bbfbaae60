"""How much memory intake, the projector and a rebuild need at their peak, against a tenth of the records.

Each runs in a process of its own over the servers of a house, and somebody else looks at it all the time: what counts
is the unique set size (USS), so that neither libraries nor servers do. `python -m benchmarks.memory TASK FILE` is one
of these processes; it finds the house by the SEALDESK_* variables.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import psutil

from benchmarks import history
from benchmarks.figures import Figure, Progress, Target, amount
from benchmarks.ground import BATCH, VOCABULARY, Ground, ground
from services import reading_files, wiring
from services.settings import Settings
from services.wiring import House

#: Records of the larger side in each repeat. `--facts 1000000` is the promise.
FACTS = 20_000
#: How many times fewer the smaller side has.
TIMES = 10
_LOOK_SECONDS = 0.02
_OWN = f'"tenant":"{history.TENANT}"'.encode()


def _take_in(house: House, file: Path) -> None:
    """Read a file and take it in, as `sealdesk import` does."""
    with reading_files.opened(str(file)) as opened:
        for batch in reading_files.batches(reading_files.cloudevents(opened), BATCH):
            tally = house.intake.take(batch, at=wiring.now())
            assert tally.stored == len(batch), tally


def _project(house: House, _: Path) -> None:
    """Bring all read models to the head, as `sealdesk project` does."""
    house.projecting.catch_up()


def _rebuild(house: House, _: Path) -> None:
    """Build the largest read model anew, as `sealdesk rebuild tickets` does."""
    house.projecting.rebuild("tickets")


_TASKS: Mapping[str, Callable[[House, Path], None]] = MappingProxyType(
    {"intake": _take_in, "projector": _project, "rebuild": _rebuild}
)


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure the peaks. Each repeat takes in a portion for a tenant of its own; a rebuild folds all so far."""
    peaks: dict[tuple[str, int], list[float]] = {}
    numbers = (facts, max(1, facts // TIMES))
    with tempfile.TemporaryDirectory(prefix="sealdesk-bench-") as folder, ExitStack() as stack:
        places = {number: stack.enter_context(ground()) for number in numbers}
        for repeat in range(repeats):
            for number in numbers if repeat % 2 else reversed(numbers):
                file = _written(Path(folder), number, f"{history.TENANT}-{repeat}", places[number])
                progress(f"memory: repeat {repeat + 1} of {repeats}, {number} records")
                for task in _TASKS:
                    peaks.setdefault((task, number), []).append(_peak(task, file, places[number]))
        versions = places[facts].versions
    for task in _TASKS:
        yield amount(
            f"memory, {task}",
            "MB",
            items=facts,
            to=f"the peak with {numbers[1]:,} records; this one has {facts:,}",
            of=peaks[task, facts],
            other=peaks[task, numbers[1]],
            servers=versions,
            target=Target(1.15, 1.05, at_most=True),
        )


def _written(folder: Path, number: int, tenant: str, place: Ground) -> Path:
    """Write the records of a tenant into a file, and add the tenant."""
    place.house.tenants.add(tenant, VOCABULARY)
    file = folder / "records.jsonl"
    with file.open("wb") as out:
        for record in islice(history.endless(), number):
            out.write(record.replace(_OWN, f'"tenant":"{tenant}"'.encode()) + b"\n")
    return file


def _peak(task: str, file: Path, place: Ground) -> float:
    """Run a task in a process of its own and return the most that it ever had for itself, in MB.

    Raises:
        AssertionError: the process failed; what it said stands on standard error.
    """
    settings = place.house.settings
    secrets = {"ROOTS": settings.roots, "LEDGER": settings.ledger, "SIGNING": settings.signing, "DATA": settings.data}
    environ = {**os.environ, **{f"SEALDESK_{name}": str(value) for name, value in secrets.items()}}
    process = subprocess.Popen([sys.executable, "-m", __name__, task, str(file)], env=environ)
    watched, most = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            most = max(most, watched.memory_full_info().uss)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            break
        time.sleep(_LOOK_SECONDS)
    assert process.wait() == 0, f"{task} failed"
    return most / 1e6


def main() -> None:
    """Be the process that is watched."""
    task, file = sys.argv[1:]
    with wiring.opened(Settings.read()) as house:
        _TASKS[task](house, Path(file))


if __name__ == "__main__":
    main()
