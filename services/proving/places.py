"""What a place is, and what a search of it gives."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from services.proving.matching import Hits, Matcher

Kind: TypeAlias = Literal["values", "wrapped_keys"]
BOTH: frozenset[Kind] = frozenset(("values", "wrapped_keys"))
VALUES: frozenset[Kind] = frozenset(("values",))
NOTHING: frozenset[Kind] = frozenset()


class NotSearched(Exception):
    """A place was not searched, or not to its end, and why: a phrase of ours that quotes nothing and has no number."""


@dataclass(slots=True)
class Searched:
    """What stood in a place, while it is searched and after it.

    A search adds to one that its caller owns, so that whatever breaks it off takes no hit away. `unread` counts parts
    that this process may not or cannot read.
    """

    hits: Hits = field(default_factory=Hits)
    unread: int = 0


class Place(Protocol):
    """Somewhere a value or a wrapped key could still stand."""

    @property
    def name(self) -> str:
        """Name it, as certificates will."""

    @property
    def residue(self) -> Collection[Kind]:
        """Say which hits here are residue. Others are counted, and are there by right."""

    @property
    def needed(self) -> bool:
        """Say whether no proof holds unless this was read to its end."""

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Look through all of it, and add what is found while it is found.

        Raises:
            NotSearched: it is out of reach, or cannot be read to its end, or this house has no such place.
        """
