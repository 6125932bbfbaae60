"""Records of any type for tests: the least that a type takes, and one with a planted value in every field."""

from __future__ import annotations

from typing import Any, get_args

from domain.catalogue import Plan
from domain.personal import Clear, Declares, Kind, Mark, Names, Word

#: What upstream calls everybody and everything in these records.
ID = 7_100_001
#: Closed words to say where a sample needs one that counts.
_WORDS = {"purpose": "marketing"}


def least(plan: Plan) -> dict[str, Any]:
    """Give the smallest data that a type takes."""
    fields = plan.record.model_fields
    return {name: _value(plan, name, "x") for name, info in fields.items() if info.is_required()}


def whole(plan: Plan, planted: str) -> dict[str, Any]:
    """Give data with every declared field, and `planted` in each that can hold a text, with the field's name."""
    fields = [name for name in plan.record.model_fields if name != "unknown_fields"]
    return {name: _value(plan, name, f"{planted}-{name}") for name in fields} | {"shoe_size": f"{planted} unknown"}


def _value(plan: Plan, name: str, text: str) -> Any:
    info = plan.record.model_fields[name]
    mark = next(item for item in info.metadata if isinstance(item, Mark))
    many = "list" in str(info.annotation)
    match mark:
        case Names(kind=kind):
            value: Any = _reference(kind, name)
        case Clear(what="flag"):
            value = True
        case Clear(what="time"):
            value = "2026-03-02T10:00:00Z"
        case Clear():
            value = 1
        case Declares():
            value = "cf_tier" if name == "vocabulary" else "gold"
        case Word(vocabulary=vocabulary):
            value = _WORDS.get(vocabulary, text)
        case _ if "dict" in str(info.annotation):
            value = {"said": text}
        case _ if not _takes_text(info.annotation):
            value = 114
        case _:
            value = text
    return [value] if many else value


def _reference(kind: Kind, name: str) -> Any:
    match kind:
        case Kind.EMAIL:
            return f"{name.replace('_', '.')}@planted.example.org"
        case Kind.PHONE:
            return "+49 30 5550101"
        case Kind.EXTERNAL | Kind.TWITTER | Kind.FACEBOOK:
            return f"planted-{kind}-{name}"
        case _:
            return ID


def _takes_text(annotation: Any) -> bool:
    return annotation is str or any(_takes_text(part) for part in get_args(annotation))
