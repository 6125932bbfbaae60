"""Looking for what a person said, byte by byte, against reading the same file and looking for nothing.

The file is in the page cache and holds random bytes, which is what sealed data looks like. Values are as long as a
sentence, and each is looked for in every form that it could have at rest.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, Progress, Sample, Stopwatch, alternate, rate
from benchmarks.ground import ground
from services.proving.forms import forms_of
from services.proving.matching import BLOCK_BYTES, Matcher

#: Kilobytes that are looked through on each side.
FACTS = 100_000
#: How many values somebody has.
VALUES = (5, 100, 1_000)
_VALUE_BYTES = 40


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure the search in `facts` kilobytes for each number of values."""
    with ground() as place, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sealed"
        file.write_bytes(os.urandom(1024 * facts))
        matchers = {number: _matcher(number) for number in VALUES}
        progress(f"proving: {repeats} times {facts} kB, for {', '.join(map(str, VALUES))} values")
        sides = [partial(_search, _name(number), matcher, file) for number, matcher in matchers.items()]
        samples = alternate([*sides, partial(_read, file)], repeats)
        versions = place.versions
    for number in VALUES:
        yield rate(
            _name(number),
            "kB/s",
            items=facts,
            to="reading the same bytes",
            of=samples[_name(number)],
            other=samples["read"],
            servers=versions,
        )


def _name(values: int) -> str:
    return f"search for {values:,} values"


def _matcher(number: int) -> Matcher:
    values = [os.urandom(_VALUE_BYTES // 2).hex() for _ in range(number)]
    return Matcher([form for value in values for form in forms_of(value)])


def _search(name: str, matcher: Matcher, file: Path, _: int) -> Mapping[str, Sample]:
    watch = Stopwatch()
    matcher.count(_chunks(file))
    return {name: watch.read()}


def _read(file: Path, _: int) -> Mapping[str, Sample]:
    watch = Stopwatch()
    for _chunk in _chunks(file):
        pass
    return {"read": watch.read()}


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(BLOCK_BYTES):
            yield chunk
