"""What to look for after a shred, read into memory before it: afterwards nobody can read it any more.

Those are the personal values of every fact that goes, whoever's thing it stands in, and the wrapped keys that go. What
comes in between the reading and the shred is shredded all the same, and not looked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import UUID

from crypto.keystore import KeyStore, rows_of
from crypto.roots import Roots
from crypto.sealing import header_of
from domain.ids import TenantId
from services.finding import Found
from services.living import opened
from services.log import Facts
from services.proving.forms import (
    KEY_BYTES,
    PIECE,
    cases,
    forms_of,
    forms_of_key,
    is_telling,
    pieces,
    plain_texts_of,
    shortened,
    spellings,
)
from services.proving.matching import Matcher
from services.proving.statements import SQL

#: Needles that are looked for at once. With their forms, of which a long value has about eighty, all of them together
#: take three quarters of a gigabyte of memory.
MOST_VALUES = 5_000
MOST_KEYS = 5_000
#: Streams whose facts are read with one query.
STREAMS = 100


@dataclass(frozen=True, slots=True)
class Known:
    """What a shred is about to make unreadable, the most telling first. Nothing of it is ever shown.

    Of a long value only the pieces are kept that are looked for, and of a wrapped key its beginning.
    """

    values: tuple[str, ...] = field(default=(), repr=False)
    wrapped_keys: tuple[bytes, ...] = field(default=(), repr=False)


class Gathering:
    """Read what goes."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots

    def of(self, tenant: TenantId, found: Found) -> Known:
        """Read every value and wrapped key that goes with a person or a thing.

        What a changed seal hides is left out: it must not keep its person from being forgotten.
        """
        with self._keys.transaction() as cursor:
            if found.kind == "thing":
                leaves = rows_of(cursor, SQL.leaves_of_thing.sql, thing=found.id)
                wrapped = []
            else:
                leaves = rows_of(cursor, SQL.leaves_of_people.sql, owners=list(found.group))
                wrapped = [
                    bytes(row["wrapped"]) for row in rows_of(cursor, SQL.keys_of_people.sql, owners=list(found.group))
                ]
        wrapped += [bytes(row["wrapped"]) for row in leaves]
        going: defaultdict[UUID, set[UUID]] = defaultdict(set)
        for row in leaves:
            if not row["blob"]:
                going[row["thing_id"]].add(row["key_id"])
        profile: set[str] = set()
        others: set[str] = set()
        for stream, value in self._values(going):
            (profile if stream in found.profiles else others).add(shortened(value))
        first = sorted(profile, key=_by_weight)
        rest = sorted(others - profile, key=_by_weight)
        return Known((*first, *rest), tuple(key[:KEY_BYTES] for key in wrapped))

    def _values(self, going: Mapping[UUID, Collection[UUID]]) -> Iterator[tuple[UUID, str]]:
        streams = list(going)
        for start in range(0, len(streams), STREAMS):
            facts = [
                fact
                for fact in self._facts.streams(streams[start : start + STREAMS])
                if fact.seal is not None and not fact.broken and header_of(fact.seal).key_id in going[fact.stream]
            ]
            for fact, personal in opened(self._keys, self._roots, facts, []):
                for value in personal.values():
                    yield from ((fact.stream, text) for text in _texts(value))


def _by_weight(value: str) -> tuple[bool, int, str]:
    """Put names, addresses and numbers before texts, and among these the longer ones first."""
    return len(value) > 2 * PIECE, -len(value), value


def _texts(value: Any) -> Iterator[str]:
    """Give every text and number in a personal field, and the names that upstream gave to what is in it."""
    match value:
        case str():
            yield value.strip()
        case bool() | None:
            return
        case dict():
            for name, item in value.items():
                yield str(name).strip()
                yield from _texts(item)
        case list():
            # A text is a list of spans.
            if len(value) > 1 and all(isinstance(item, str) for item in value):
                yield "".join(value).strip()
            for item in value:
                yield from _texts(item)
        case _:
            yield str(value)


@dataclass(frozen=True, slots=True)
class Needles:
    """What is looked for. `left_out` are values that nobody could judge, `beyond` those above the limit."""

    matcher: Matcher
    values: int
    wrapped_keys: int
    left_out: int
    beyond: int


def needles_of(known: Iterable[Known], clear_words: Iterable[bytes]) -> Needles:
    """Choose what to look for, the most telling of each person first, and write it in every form."""
    everybody = list(known)
    values = list(dict.fromkeys(chain.from_iterable(_in_turn([one.values for one in everybody]))))
    keys = list(dict.fromkeys(chain.from_iterable(one.wrapped_keys for one in everybody)))
    telling = [value for value in values if is_telling(value)]
    chosen = telling[:MOST_VALUES]
    common = Matcher(
        {text.encode(errors="replace") for value in chosen for part in _parts(value) for text in (part, *cases(part))}
    ).found_in(clear_words)
    forms: set[bytes] = set()
    judged = 0
    for value in chosen:
        parts = [part for part in _parts(value) if part.encode(errors="replace") not in common and is_telling(part)]
        for part in parts:
            forms |= forms_of(part)
            others = cases(part)
            # Clear words are known as they stand and in small letters.
            if not any(text.encode(errors="replace") in common for text in others):
                forms.update(chain.from_iterable(map(plain_texts_of, others)))
        judged += bool(parts)
    return Needles(
        Matcher(forms, set(chain.from_iterable(map(forms_of_key, keys[:MOST_KEYS])))),
        judged,
        len(keys[:MOST_KEYS]),
        len(values) - len(telling) + len(chosen) - judged,
        len(telling) - len(chosen) + len(keys[MOST_KEYS:]),
    )


def _parts(value: str) -> list[str]:
    return [piece for text in spellings(value) for piece in pieces(text)]


def _in_turn(lists: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Take one of each in turn, so that a limit falls on nobody alone."""
    for at in range(max(map(len, lists), default=0)):
        yield tuple(one[at] for one in lists if at < len(one))
