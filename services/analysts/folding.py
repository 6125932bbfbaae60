"""Decide which groups may be told: those that at least k tickets stand behind. Pure: counts in, words out.

Rules:

- Groups below k fold into `other`. While `other` itself is below k, the smallest group that still stands goes there
  too. So whoever adds up what is told, or subtracts it from the total, is left with k tickets or with none.
- `other` never stands for itself: what intake counted as `other`, a tenant's own word "other" and what is folded are
  one group.
- Fewer than k altogether are not told at all, not even as a total.
- An average is told of k tickets or more. How many there are is a second way to split the groups: into tickets that
  are averaged, that have a negative duration, that have none. So it is told in a whole table or nowhere in it: only if
  each of these pieces is empty or has k. One number left out could be found by subtracting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domain.vocabularies import OTHER


@dataclass(frozen=True, slots=True)
class Pieces:
    """How many tickets of a group have a duration or rating that is averaged, a negative one, and none."""

    averaged: int = 0
    negative: int = 0
    missing: int = 0

    def __add__(self, other: Pieces) -> Pieces:
        return Pieces(self.averaged + other.averaged, self.negative + other.negative, self.missing + other.missing)

    def may_be_told(self, k: int) -> bool:
        """Tell whether nobody learns of a group below k from these numbers."""
        return all(piece == 0 or piece >= k for piece in (self.averaged, self.negative, self.missing))


@dataclass(frozen=True, slots=True)
class Average:
    """Under which word an average is told, and of how many tickets besides how many negative ones, if at all."""

    word: str
    tickets: int | None
    negative: int | None


def fold(sizes: Mapping[str, int], k: int) -> dict[str, str]:
    """Say under which word each group is told, by how many tickets each has; empty if nothing may be told.

    A group of no ticket keeps its word: it hides nothing, and nothing can hide in it.
    """
    standing = sorted((size, word) for word, size in sizes.items() if size >= k and word != OTHER)
    folded = sum(size for word, size in sizes.items() if size < k or word == OTHER)
    # The smallest goes first, because it costs least; among equals the first word, so that equal counts fold alike.
    while standing and 0 < folded < k:
        size, _ = standing.pop(0)
        folded += size
    if not standing and folded < k:
        return {}
    kept = {word for _, word in standing} | {word for word, size in sizes.items() if size == 0}
    return {word: word if word in kept else OTHER for word in sizes}


def averages(shown: Mapping[str, str], pieces: Mapping[str, Pieces], k: int) -> dict[str, Average]:
    """Say how the average of each group is told, of groups that are told as `shown` already.

    What is told here is never finer than that. A group that nothing is averaged of is left out.
    """
    groups = _merged(shown, pieces)
    words = fold({word: group.averaged for word, group in groups.items()}, k)
    told = _merged(words, groups)
    is_open = all(group.may_be_told(k) for group in told.values())
    return {
        value: Average(word, told[word].averaged if is_open else None, told[word].negative if is_open else None)
        for value, before in shown.items()
        if (word := words.get(before)) is not None and told[word].averaged
    }


def _merged(words: Mapping[str, str], pieces: Mapping[str, Pieces]) -> dict[str, Pieces]:
    merged: dict[str, Pieces] = {}
    for value, word in words.items():
        merged[word] = merged.get(word, Pieces()) + pieces[value]
    return merged
