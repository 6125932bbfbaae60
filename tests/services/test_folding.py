"""Folding: no group of fewer than k can be read off what is told, or worked out from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analysts.folding import Average, Pieces, averages, fold

WORDS = st.sampled_from(["other", "none", "open", "closed", "Billing", "Other", "a", "b"])
KS = st.integers(2, 7)


def told(sizes: Mapping[str, int], k: int) -> Counter[str]:
    """The groups as a reader sees them."""
    parts: Counter[str] = Counter()
    for word, shown in fold(sizes, k).items():
        parts[shown] += sizes[word]
    return parts


@given(st.dictionaries(WORDS, st.integers(1, 12)), KS)
def test_every_part_that_is_told_has_k_and_together_they_are_everybody_or_nobody(sizes: dict[str, int], k: int) -> None:
    parts = told(sizes, k)
    total = sum(sizes.values())
    assert all(size >= k for size in parts.values())
    assert parts.total() == (total if total >= k else 0)


@given(st.dictionaries(WORDS, st.integers(1, 12)), KS)
def test_no_sum_and_no_difference_of_what_is_told_is_a_group_below_k(sizes: dict[str, int], k: int) -> None:
    parts = told(sizes, k)
    total = sum(parts.values())
    for count in range(len(parts) + 1):
        for some in combinations(parts.values(), count):
            assert sum(some) == 0 or sum(some) >= k
            assert total == sum(some) or total - sum(some) >= k


@given(st.dictionaries(WORDS, st.integers(1, 12)), KS)
def test_a_group_that_is_told_under_its_own_word_is_whole_and_alone(sizes: dict[str, int], k: int) -> None:
    shown = fold(sizes, k)
    for word, under in shown.items():
        if under != "other":
            assert (under, told(sizes, k)[under]) == (word, sizes[word])


@given(st.dictionaries(WORDS, st.integers(1, 12)), KS)
def test_folding_goes_no_further_than_it_has_to(sizes: dict[str, int], k: int) -> None:
    shown = fold(sizes, k)
    forced = sum(size for word, size in sizes.items() if size < k or word == "other")
    gone = [size for word, size in sizes.items() if size >= k and word != "other" and shown.get(word) == "other"]
    stayed = [size for word, size in sizes.items() if shown.get(word) == word and word != "other"]
    if gone:
        assert 0 < forced + sum(gone) - max(gone) < k
        assert max(gone) <= min(stayed, default=max(gone))


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ({}, {}),
        ({"open": 4}, {}),
        ({"open": 2, "closed": 2}, {}),
        ({"open": 2, "closed": 3}, {"other": 5}),
        ({"open": 5}, {"open": 5}),
        ({"open": 9, "closed": 7, "pending": 2}, {"open": 9, "other": 9}),
        ({"open": 9, "closed": 7, "pending": 2, "resolved": 3}, {"open": 9, "closed": 7, "other": 5}),
        ({"open": 6, "closed": 1}, {"other": 7}),
    ],
)
def test_what_is_told_of_some_groups(sizes: dict[str, int], parts: dict[str, int]) -> None:
    assert told(sizes, 5) == parts


def test_a_tenants_own_word_other_never_stands_for_itself() -> None:
    # If it did, "other" before and after a fold would be two things, and their difference a small one.
    assert told({"other": 8, "open": 9, "closed": 2}, 5) == {"other": 10, "open": 9}
    assert told({"other": 3, "open": 9, "closed": 7}, 5) == {"other": 10, "open": 9}


PIECES = st.builds(Pieces, st.integers(0, 9), st.integers(0, 7), st.integers(0, 7))


def _read(
    shown: Mapping[str, str], pieces: Mapping[str, Pieces], k: int
) -> tuple[dict[str, Average], dict[str, Pieces]]:
    """The averages that are told by word, and what each is of."""
    seen: dict[str, Average] = {}
    of: dict[str, Pieces] = {}
    for value, average in averages(shown, pieces, k).items():
        seen[average.word] = average
        of[average.word] = of.get(average.word, Pieces()) + pieces[value]
    return seen, of


@given(st.dictionaries(WORDS, PIECES), KS)
def test_an_average_is_of_k_tickets_or_more(pieces: dict[str, Pieces], k: int) -> None:
    shown = fold({word: p.averaged + p.negative + p.missing for word, p in pieces.items()}, k)
    seen, of = _read(shown, pieces, k)
    assert all(part.averaged >= k for part in of.values())
    for word, average in seen.items():
        assert average.tickets in (None, of[word].averaged)


@given(st.dictionaries(WORDS, PIECES), KS)
def test_how_many_are_averaged_gives_away_no_piece_below_k(pieces: dict[str, Pieces], k: int) -> None:
    sizes = {word: p.averaged + p.negative + p.missing for word, p in pieces.items()}
    shown = fold(sizes, k)
    seen, of = _read(shown, pieces, k)
    assert len({average.tickets is None for average in seen.values()}) <= 1
    if all(average.tickets is None for average in seen.values()):
        return
    everything = sum((pieces[word] for word in shown), Pieces())
    # What is not in any average is left over as one piece, and it is subject to the same rule.
    rest = Pieces(
        everything.averaged - sum(part.averaged for part in of.values()),
        everything.negative - sum(part.negative for part in of.values()),
        everything.missing - sum(part.missing for part in of.values()),
    )
    assert rest.averaged == 0
    for part in [*of.values(), rest, everything]:
        assert part.may_be_told(k)


def test_one_unanswered_ticket_takes_the_numbers_but_not_the_averages() -> None:
    pieces = {"high": Pieces(9, 0, 1), "low": Pieces(20)}
    assert averages({"high": "high", "low": "low"}, pieces, 5) == {
        "high": Average("high", None, None),
        "low": Average("low", None, None),
    }
    pieces["high"] = Pieces(9, 0, 6)
    assert averages({"high": "high", "low": "low"}, pieces, 5) == {
        "high": Average("high", 9, 0),
        "low": Average("low", 20, 0),
    }


def test_an_average_of_two_tickets_is_told_with_others() -> None:
    pieces = {"high": Pieces(2, 0, 8), "low": Pieces(20), "urgent": Pieces(6, 0, 5)}
    assert {word: one.word for word, one in averages({w: w for w in pieces}, pieces, 5).items()} == {
        "high": "other",
        "low": "low",
        "urgent": "other",
    }
