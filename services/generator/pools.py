"""Names, streets and sentences by language, and what the desk itself sells and says. Read once from texts/*.toml.

A sentence is cut at its {slots} beforehand: to fill one has to cost a microsecond.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "texts"
#: Languages in a fixed order, so that the same seed draws the same one on every machine.
LANGUAGES = ("en", "de", "fr", "es", "pl", "it", "tr", "el", "ja", "ar")
#: Slots that a sentence may have.
SLOTS = frozenset({"product", "who", "reach", "mail", "phone", "order", "street", "date"})
#: Latin letters that do not come apart into a letter and a sign above it.
_LATIN = str.maketrans({"ß": "ss", "ł": "l", "Ł": "l", "ø": "o", "æ": "ae", "ı": "i", "đ": "d", "'": ""})

#: A sentence: literals at even places, names of slots at odd ones. A sentence without slots has one part.
Sentence = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spelled:
    """A name, and what it looks like in an address."""

    native: str
    latin: str


@dataclass(frozen=True, slots=True)
class Language:
    """The people of one language, and how they write."""

    code: str
    time_zone: str
    country: str
    mobile: tuple[str, ...]
    digits: int
    share: int
    family_first: bool
    given: tuple[Spelled, ...]
    family: tuple[Spelled, ...]
    streets: tuple[str, ...]
    cities: tuple[str, ...]
    titles: tuple[str, ...]
    subjects: tuple[Sentence, ...]
    greetings: tuple[Sentence, ...]
    openers: tuple[Sentence, ...]
    problems: tuple[Sentence, ...]
    details: tuple[Sentence, ...]
    requests: tuple[Sentence, ...]
    closings: tuple[Sentence, ...]
    answers: tuple[Sentence, ...]
    thanks: tuple[Sentence, ...]
    chat: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class House:
    """What the desk sells, its words, and what its team writes."""

    products: tuple[str, ...]
    types: tuple[str, ...]
    groups: tuple[str, ...]
    tiers: tuple[str, ...]
    purposes: tuple[str, ...]
    wordings: tuple[str, ...]
    statuses: tuple[str, ...]
    tags: tuple[str, ...]
    jobs: tuple[str, ...]
    industries: tuple[str, ...]
    firm_stems: tuple[str, ...]
    firm_ends: tuple[str, ...]
    mailboxes: tuple[str, ...]
    files: tuple[str, ...]
    shelves: tuple[str, ...]
    notes: tuple[Sentence, ...]
    team_titles: tuple[Sentence, ...]
    team_messages: tuple[Sentence, ...]
    time_notes: tuple[Sentence, ...]
    call_subjects: tuple[Sentence, ...]
    call_notes: tuple[Sentence, ...]
    shelf_texts: tuple[Sentence, ...]
    article_titles: tuple[Sentence, ...]
    paragraphs: tuple[Sentence, ...]
    firm_texts: tuple[Sentence, ...]
    evidence: tuple[Sentence, ...]


_NAMES = ("given", "family")
_PLAIN = frozenset(
    {"mobile", "streets", "cities", "titles", "products", "types", "groups", "tiers", "purposes", "wordings"}
    | {"statuses", "tags", "jobs", "industries", "firm_stems", "firm_ends", "mailboxes", "files", "shelves"}
)


@cache
def languages() -> tuple[Language, ...]:
    """Read every language, in the order of `LANGUAGES`."""
    return tuple(Language(**{"family_first": False, **_read(code)}) for code in LANGUAGES)


@cache
def house() -> House:
    """Read what the desk itself sells and says."""
    return House(**_read("house"))


def sentence(text: str) -> Sentence:
    """Cut a sentence at its slots.

    Raises:
        ValueError: it has a slot that nobody fills.
    """
    parts = tuple(piece for part in text.split("{") for piece in part.split("}"))
    if not SLOTS.issuperset(parts[1::2]):
        raise ValueError("a sentence has a slot that nobody fills")
    return parts


def latin(name: str) -> str:
    """Write a name as it would stand in an address: small letters from a to z."""
    parted = unicodedata.normalize("NFKD", name.translate(_LATIN).lower()).translate(_LATIN)
    return "".join(letter for letter in parted if "a" <= letter <= "z")


def _read(name: str) -> dict[str, Any]:
    told = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
    return {key: _pool(key, value) for key, value in told.items()}


def _pool(key: str, value: Any) -> Any:
    if key in _NAMES:
        return tuple(_spelled(item) for item in value.split())
    if key in _PLAIN:
        return tuple(value)
    return tuple(map(sentence, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _spelled(item: str) -> Spelled:
    native, _, spelled = item.partition("/")
    return Spelled(native, spelled or latin(native))
