"""Read the clear fields of a fact.

Rule: folding never refuses. What is not of the expected form reads as None; intake saw to it that there is
none.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from domain.fact import FactAtRest
from projections.statements import Key


def subject(value: Any) -> UUID | None:
    """Read an inside id: 32 hexadecimal digits."""
    if not isinstance(value, str):
        return None
    try:
        return UUID(value)
    except ValueError:
        return None


def subjects(value: Any) -> tuple[UUID, ...]:
    """Read a list of inside ids, in its order and each once."""
    found = map(subject, value) if isinstance(value, list | tuple) else ()
    return tuple(dict.fromkeys(id_ for id_ in found if id_ is not None))


def moment(value: Any) -> datetime | None:
    """Read a time in ISO 8601; without a zone it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def word(value: Any) -> str | None:
    """Read a word of a vocabulary."""
    return value if isinstance(value, str) else None


def flag(value: Any) -> bool | None:
    """Read a flag."""
    return value if isinstance(value, bool) else None


def number(value: Any) -> int | None:
    """Read a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def day(at: datetime) -> date:
    """Return the day of a time, in UTC."""
    return at.astimezone(UTC).date()


def thing(fact: FactAtRest) -> Key:
    """Return the key of what the fact is about."""
    return (fact.tenant, fact.stream)
