"""What becomes of the fields of one record: readable, or into the seal. Pure: the marks of its type say it.

A custom or unknown field goes into the seal unless the tenant declared a vocabulary of its name: then a word of that
stands in the clear, under `words`, and anything else counts as `other` with its original in the seal.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from domain.catalogue import Plan
from domain.fact import UNKNOWN
from domain.personal import OWN_ROLES
from domain.vocabularies import CLOSED, DECLARED, OTHER, word
from services.records import Draft

#: Fields that hold fields of the tenant's own.
_OPEN = ("custom_fields", UNKNOWN)

Vocabulary = Mapping[str, frozenset[str]]


def sorted_fields(draft: Draft, vocabulary: Vocabulary) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the fields of a record into (clear, personal). References to others are not among them."""
    data, plan = draft.data, draft.plan
    given = data.model_fields_set
    clear: dict[str, Any] = {}
    personal: dict[str, Any] = {}
    for name in plan.clear:
        if name in given:
            value = getattr(data, name)
            clear[name] = value.isoformat() if isinstance(value, datetime) else value
    for name in plan.declares:
        clear[name] = getattr(data, name)
    for name, mark in plan.words:
        if name in given:
            value = getattr(data, name)
            found = None if value is None else word(mark.vocabulary, value, vocabulary)
            clear[mark.stored_as] = OTHER if value is not None and found is None else found
            if value is not None and found is None:
                personal[name] = value
    for name in plan.personal:
        if name in given and (name != UNKNOWN or data.unknown_fields):
            value = getattr(data, name)
            if name in _OPEN and value and vocabulary:
                words, value = _declared(value, vocabulary)
                if words:
                    clear.setdefault("words", {}).update(words)
            personal[name] = [value] if name in plan.texts and value is not None else value
    for name, names in plan.names:
        if names.role in OWN_ROLES and name in given:
            personal[name] = getattr(data, name)
    return clear, personal


def laid_over(name: str, before: Any, given: Mapping[str, Any]) -> Any:
    """Give a field as it reads once a record is laid over what stood before: what is given replaces.

    Of a tenant's own fields each stands for itself: those that are not given stay.
    """
    if name not in given:
        return before
    if name in _OPEN and isinstance(before, Mapping) and isinstance(given[name], Mapping):
        return {**before, **given[name]}
    return given[name]


def told_after(
    plan: Plan, before: Mapping[str, Any], clear: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the personal fields of a thing after one more fact of it, of the type of this plan.

    A word that is clear now takes the place of an original that no vocabulary had.
    """
    stored_as = {name: mark.stored_as for name, mark in plan.words}
    kept = {name: value for name, value in before.items() if stored_as.get(name) not in clear or name in given}
    return kept | {name: laid_over(name, kept.get(name), given) for name in given}


def _declared(fields: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[dict[str, str], dict[str, Any]]:
    """Part a tenant's own fields into words of declared vocabularies and the rest."""
    words: dict[str, str] = {}
    rest: dict[str, Any] = {}
    for name, value in fields.items():
        if name in vocabulary and name not in DECLARED and name not in CLOSED and value is not None:
            found = word(name, value, vocabulary) if isinstance(value, str | int) else None
            words[name] = found or OTHER
            if found is None:
                rest[name] = value
        else:
            rest[name] = value
    return words, rest
