"""The streaming search: whatever the chunks, it counts what a plain search of the whole would."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.proving import matching
from services.proving.matching import Hits, Matcher

few_signs = st.sampled_from([b"a", b"b", b"\0", b"\xff"])
texts = st.lists(few_signs, max_size=40).map(b"".join)
needles = st.sets(st.lists(few_signs, min_size=1, max_size=6).map(b"".join), max_size=5)


def plainly(whole: bytes, wanted: set[bytes]) -> int:
    """Count every place at which one of them begins, by looking at each."""
    return sum(whole.startswith(needle, at) for needle in wanted for at in range(len(whole)))


@given(texts, needles, needles, st.lists(st.integers(0, 40)), st.integers(1, 16))
@example(b"abab" * 5, {b"aba", b"ba"}, {b"abab"}, [1, 2, 3], 1)
def test_any_stream_in_any_chunks_is_counted_like_the_whole(
    whole: bytes, values: set[bytes], keys: set[bytes], cuts: list[int], block: int
) -> None:
    bounds = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    chunks = [whole[start:end] for start, end in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "BLOCK_BYTES", block)
        hits = Matcher(values, keys).count(chunks)
        found = Matcher(values, keys).found_in(chunks)
    assert hits == Hits(len(whole), plainly(whole, values), plainly(whole, keys - values))
    assert found == {needle for needle in values | keys if needle in whole}


def test_a_needle_across_two_blocks_is_found_once() -> None:
    for before in range(matching.BLOCK_BYTES - 12, matching.BLOCK_BYTES + 1):
        stream = bytes(before) + b"Ann Abbott" + bytes(20)
        assert Matcher({b"Ann Abbott"}).count([stream[:before], stream[before:]]) == Hits(len(stream), 1, 0)


@given(texts, needles, st.integers(0, 40), st.integers(1, 16))
def test_what_a_stream_gave_before_it_broke_is_counted(whole: bytes, wanted: set[bytes], cut: int, block: int) -> None:
    def chunks() -> Iterator[bytes]:
        yield whole[:cut]
        yield whole[cut:]
        raise OSError("broken")

    into = Hits()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "BLOCK_BYTES", block)
        with pytest.raises(OSError, match="broken"):
            Matcher(wanted).count(chunks(), into)
    assert into == Hits(len(whole), plainly(whole, wanted), 0)


def test_no_needle_is_in_what_a_matcher_shows() -> None:
    shown = repr(Matcher({b"Ann Abbott"})) + repr(vars(Matcher).keys())
    assert "Abbott" not in shown


def test_a_stream_is_never_held_whole() -> None:
    held = 0

    def chunks() -> Iterator[bytes]:
        nonlocal held
        for _ in range(64):
            held += 1
            yield os.urandom(2**20)

    matcher: Any = Matcher({b"Ann Abbott"})
    real, largest = matcher._matches, 0

    def watched(block: bytes) -> Any:
        nonlocal largest
        largest = max(largest, len(block))
        return real(block)

    matcher._matches = watched
    assert matcher.count(chunks()).bytes == 64 * 2**20
    assert largest < 3 * matching.BLOCK_BYTES
