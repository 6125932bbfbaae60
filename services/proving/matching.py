"""Look for many needles at once in a stream of bytes, by the automaton of Aho and Corasick.

Rule: needles stay in the memory of this process. None is written, logged, put into a statement or quoted in an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ahocorasick_rs import BytesAhoCorasick

#: What the automaton is given at once: beyond this it gets no faster, and every hit of a block is in memory.
BLOCK_BYTES = 1024 * 1024
#: Up to so many bytes of needles each state gets a table of its own: twice as fast, for half a kilobyte a byte.
SMALL_BYTES = 192 * 1024


@dataclass(slots=True)
class Hits:
    """How many bytes were looked through, and how often a value or a wrapped key stood there, in any form."""

    bytes: int = 0
    values: int = 0
    wrapped_keys: int = 0


class Matcher:
    """Count needles. A form that both a value and a key could have counts as a value."""

    def __init__(self, values: Collection[bytes], wrapped_keys: Collection[bytes] = ()) -> None:
        self._patterns = list(dict.fromkeys([*values, *wrapped_keys]))
        self._values = len(set(values))
        self._longest = max(map(len, self._patterns), default=1)
        self._automaton = _automaton(self._patterns) if self._patterns else None

    def __repr__(self) -> str:
        return "Matcher()"

    def count(self, chunks: Iterable[bytes], into: Hits | None = None) -> Hits:
        """Count how often needles stand in a stream, also across borders of chunks. Those that overlap count each.

        Where hits are given, block after block is added to them, and they come back. Where the stream breaks off with
        an error, all that it gave is looked through before the error goes on.
        """
        hits = Hits() if into is None else into
        for block, known in self._blocks(chunks):
            hits.bytes += len(block) - known
            for needle, _, end in self._matches(block):
                # What ends within the bytes that were kept was counted with the block before.
                if end > known:
                    if needle < self._values:
                        hits.values += 1
                    else:
                        hits.wrapped_keys += 1
        return hits

    def found_in(self, chunks: Iterable[bytes]) -> set[bytes]:
        """Say which needles stand in a stream."""
        return {self._patterns[needle] for block, _ in self._blocks(chunks) for needle, _, _ in self._matches(block)}

    def _matches(self, block: bytes) -> list[tuple[int, int, int]]:
        if self._automaton is None:
            return []
        return self._automaton.find_matches_as_indexes(block, overlapping=True)

    def _blocks(self, chunks: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
        """Gather chunks into blocks, each with the end of the one before, and how long that end is."""
        block, known = bytearray(), 0
        broken: Exception | None = None
        stream = iter(chunks)
        while True:
            try:
                block += next(stream)
            except StopIteration:
                break
            except Exception as error:
                broken = error
                break
            if len(block) >= BLOCK_BYTES:
                yield bytes(block), known
                known = min(self._longest - 1, len(block))
                del block[: len(block) - known]
        if len(block) > known:
            yield bytes(block), known
        if broken is not None:
            raise broken


def _automaton(patterns: list[bytes]) -> BytesAhoCorasick:
    # Imported here, because no other command needs it.
    from ahocorasick_rs import BytesAhoCorasick, Implementation

    small = sum(map(len, patterns)) <= SMALL_BYTES
    return BytesAhoCorasick(patterns, implementation=Implementation.DFA if small else None)
