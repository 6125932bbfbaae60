"""Read facts that an earlier version stored as if this one had: the shape changes, never the meaning.

A stored fact stays as it is. What is known better by now is added when it is read:

parts       a part of a thing that was stored before parts had inside ids is known by its fact's event id
lifted      a field that was unknown when it was sealed, and is declared by now, stands under its own name

A new meaning is no matter of upcasting: it is a new type, `...v2`, beside the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from domain.catalogue import CATALOGUE
from domain.fact import UNKNOWN, FactAtRest

#: Types whose facts make a part, with the field that holds upstream's id of it.
_MAKES_PART: Mapping[str, str] = {
    name: next(field for field, mark in plan.names if mark.role == "part")
    for name, plan in CATALOGUE.items()
    if plan.record.EFFECT is None and any(mark.role == "part" for _, mark in plan.names)
}


def upcast(fact: FactAtRest) -> FactAtRest:
    """Give the clear fields of a fact the shape of today."""
    field = _MAKES_PART.get(fact.type)
    if field is None or "part" in fact.clear or field not in fact.sealed_fields:
        return fact
    return replace(fact, clear={**fact.clear, "part": fact.event_id.hex})


def lifted(type_: str, personal: dict[str, Any]) -> dict[str, Any]:
    """Give the personal fields of an opened fact the shape of today."""
    unknown = personal.get(UNKNOWN)
    plan = CATALOGUE.get(type_)
    if not isinstance(unknown, dict) or plan is None or unknown.keys().isdisjoint(plan.record.model_fields):
        return personal
    declared = {
        name: [value] if name in plan.texts else value
        for name, value in unknown.items()
        if name in plan.sealable and name not in personal
    }
    rest = {name: value for name, value in unknown.items() if name not in declared}
    return {**{name: value for name, value in personal.items() if name != UNKNOWN}, **declared} | (
        {UNKNOWN: rest} if rest else {}
    )
