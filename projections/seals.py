"""How a row keeps its seals: each personal field reads from the last fact that gave it, and from no other.

A row holds, for each seal that still provides a field, which fields, the seal's owners, and where on the log it
stands: its bytes are there and nowhere else. A seal that no field needs any more is dropped; a fact that writes its
thing anew drops every seal before it. Rule: it stands somewhere, or it is None for shredded, and nothing in between;
what is shredded has no owners, because their ids have no business there any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from uuid import UUID

from psycopg import Cursor

from domain.catalogue import CATALOGUE
from domain.fact import Effect, FactAtRest
from projections.statements import Key, array, find, statements, write

_SQL = statements("seals")


@dataclass(frozen=True, slots=True)
class Seal:
    """The seal of one fact, and what a row still takes from it.

    `position` is that of the row: of the fact that made it. `at` is the position of the fact whose seal it is now,
    None for shredded; an edit gives a row another one.
    """

    position: int
    fields: tuple[str, ...]
    owners: tuple[UUID, ...]
    at: int | None


@dataclass(frozen=True, slots=True)
class FieldsOfSeal:
    """What a reader gets: where on the log a seal stands, or None for shredded, and the fields to take from it."""

    fields: tuple[str, ...]
    at: int | None


#: The seals of one thing, by position.
Seals = Mapping[int, Seal]


def seal_of(fact: FactAtRest, *, shredded: bool) -> Seal:
    """Take the seal of a fact as it was made, or as shredded."""
    seal = Seal(fact.position, fact.sealed_fields, fact.owners, fact.position)
    return blanked(seal) if shredded or fact.seal is None else seal


def blanked(seal: Seal) -> Seal:
    """Return what is left of a seal whose key is destroyed."""
    return seal if seal.at is None and not seal.owners else replace(seal, owners=(), at=None)


def owned_too(seal: Seal, owner: UUID) -> Seal:
    """Return the seal with a further owner, with whom it dies as well."""
    if seal.at is None or owner in seal.owners:
        return seal
    return replace(seal, owners=(*seal.owners, owner))


def blanked_of(seal: Seal, subjects: frozenset[UUID]) -> Seal:
    """Return the seal, blanked if one of its owners is among the shredded subjects."""
    return seal if subjects.isdisjoint(seal.owners) else blanked(seal)


def after(seals: Seals, fact: FactAtRest, *, shredded: bool) -> Seals:
    """Fold a fact into the seals of a thing: the fields it gives come from it, whatever gave them before.

    A fact that writes the thing anew tells all there is to tell: the keys of what was said before die.
    """
    if _rewrites(fact.type):
        seals = {}
    given = _given(fact)
    kept: dict[int, Seal] = {}
    for position, seal in seals.items():
        if given.isdisjoint(seal.fields):
            kept[position] = seal
        elif left := tuple(name for name in seal.fields if name not in given):
            kept[position] = replace(seal, fields=left)
    if fact.sealed_fields:
        kept[fact.position] = seal_of(fact, shredded=shredded)
    return kept


def _given(fact: FactAtRest) -> set[str]:
    """Name the personal fields that a fact gives.

    A word that is clear now leaves no field in the seal, but it replaces the original of an earlier word
    that was sealed because no vocabulary had it.
    """
    words = (name for stored_as, name in _words(fact.type) if stored_as in fact.clear)
    return {*fact.sealed_fields, *words}


@cache
def _rewrites(type_: str) -> bool:
    plan = CATALOGUE.get(type_)
    return plan is not None and plan.record.EFFECT is Effect.REWRITES


@cache
def _words(type_: str) -> tuple[tuple[str, str], ...]:
    """Return (clear field, upstream field) of each word of a fact type."""
    plan = CATALOGUE.get(type_)
    return tuple((mark.stored_as, name) for name, mark in plan.words) if plan else ()


def create(cursor: Cursor[Any]) -> None:
    """Create the table of seals in the schema of the read model."""
    cursor.execute(_SQL["create"])


def close(cursor: Cursor[Any], tenant: UUID) -> None:
    """Let no seal of a tenant that was closed stay."""
    cursor.execute(_SQL["close"], {"tenant": tenant})


def blank(cursor: Cursor[Any], things: Iterable[Key]) -> None:
    """Let no seal of these things stay."""
    write(cursor, _SQL["blank"], ("tenants", "ids"), things)


def load(cursor: Cursor[Any], things: Iterable[Key]) -> dict[Key, Seals]:
    """Load what is kept of the seals of these things."""
    found: dict[Key, dict[int, Seal]] = {}
    for tenant, thing, position, fields, owners, at in find(cursor, _SQL["load"], things):
        seal = Seal(position, tuple(fields), tuple(owners), at)
        found.setdefault((tenant, thing), {})[position] = seal
    return dict(found)


def store(cursor: Cursor[Any], before: Mapping[Key, Seals], now: Mapping[Key, Seals]) -> None:
    """Write what differs between the loaded seals and the folded ones."""
    new, changed, dropped = [], [], []
    for key, seals in now.items():
        stored = before.get(key, {})
        new += [(*key, *row(seal)) for position, seal in seals.items() if position not in stored]
        changed += [(*key, *row(seal)) for seal in differing(stored, seals)]
        dropped += [(*key, position) for position in stored if position not in seals]
    keys = ("tenants", "things", "positions")
    write(cursor, _SQL["drop"], keys, dropped)
    write(cursor, _SQL["change"], (*keys, "fields", "owners", "seals"), changed)
    write(cursor, _SQL["insert"], (*keys, "fields", "owners", "seals"), new)


def differing(stored: Seals, now: Seals) -> Iterator[Seal]:
    """Yield the seals that stood in the table and have changed."""
    return (seal for position, seal in now.items() if position in stored and stored[position] is not seal)


def row(seal: Seal) -> tuple[int, str, str, int | None]:
    """Return the columns of a seal: position, fields, owners, seal."""
    return (seal.position, array(seal.fields), array(seal.owners), seal.at)


def read(fields: list[str] | None, places: list[int | None] | None) -> tuple[FieldsOfSeal, ...]:
    """Read the two arrays in which a list statement gathers the seals of a row."""
    pairs = zip(fields or (), places or (), strict=True)
    return tuple(FieldsOfSeal(tuple(names.split(",")), at) for names, at in pairs)


def by_field(parts: Iterable[FieldsOfSeal]) -> dict[str, int | None]:
    """Return for each personal field where the seal stands from which it reads, or None for shredded."""
    return {name: part.at for part in parts for name in part.fields}
