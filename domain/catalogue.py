"""Every fact type that a publisher may send, by its stored name, and what becomes of each of its fields.

A `Plan` is read off the marks of a record type once, at import. A field without a mark, or a text field that is
marked as clear, stops the import: no such type can exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AwareDatetime

from domain.agents import AgentCreated, AgentUpdated
from domain.contacts import (
    ContactCreated,
    ContactDeleted,
    ContactMentioned,
    ContactMerged,
    ContactRestored,
    ContactUpdated,
)
from domain.fact import Record
from domain.personal import Clear, Mark, Names, Personal, ProfileOf, Word
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED
from domain.tickets import (
    TicketDeleted,
    TicketNoteAdded,
    TicketOpened,
    TicketRated,
    TicketReplied,
    TicketRestored,
    TicketUpdated,
)

#: What a clear field may hold, by what its mark says it is. Anything else could be a text.
CLEAR_TYPES: Mapping[str, frozenset[Any]] = MappingProxyType(
    {"number": frozenset({int, float}), "time": frozenset({datetime, AwareDatetime}), "flag": frozenset({bool})}
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each field of one record type: (field name, mark) by kind of mark, in order of declaration."""

    record: type[Record]
    personal: tuple[str, ...]
    texts: frozenset[str]
    clear: tuple[str, ...]
    words: tuple[tuple[str, Word], ...]
    names: tuple[tuple[str, Names], ...]
    profile: tuple[tuple[str, ProfileOf], ...]

    @property
    def sealable(self) -> tuple[str, ...]:
        """Name every field that can stand in a seal of this type."""
        own = tuple(name for name, mark in self.names if mark.role == "self")
        return (*self.personal, *own, *(name for name, _ in self.words))


def marks_of(record: type[Record]) -> dict[str, Mark]:
    """Read the one mark of each field.

    Raises:
        TypeError: a field carries no mark, or more than one, or is marked as clear and could hold a text.
    """
    marks: dict[str, Mark] = {}
    for name, info in record.model_fields.items():
        found = [item for item in info.metadata if isinstance(item, Personal | Clear | Word | Names | ProfileOf)]
        if len(found) != 1:
            raise TypeError(f"{record.__name__}.{name} carries {len(found)} marks; it needs exactly one")
        mark = marks[name] = found[0]
        if isinstance(mark, Clear) and not CLEAR_TYPES[mark.what].issuperset(_types_in(info.annotation)):
            raise TypeError(f"{record.__name__}.{name} is marked as a clear {mark.what} and could hold something else")
    return marks


def _types_in(annotation: Any) -> Iterator[Any]:
    """List the types that a value of this annotation may have, None aside."""
    if get_origin(annotation) is Annotated:
        yield from _types_in(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _types_in(part)
    elif annotation is not NoneType:
        yield annotation


def plan_of(record: type[Record]) -> Plan:
    """Compile the marks of a record type."""
    marks = marks_of(record)
    return Plan(
        record=record,
        personal=tuple(name for name, mark in marks.items() if isinstance(mark, Personal)),
        texts=frozenset(name for name, mark in marks.items() if isinstance(mark, Personal) and mark.spans),
        clear=tuple(name for name, mark in marks.items() if isinstance(mark, Clear)),
        words=tuple((name, mark) for name, mark in marks.items() if isinstance(mark, Word)),
        names=tuple((name, mark) for name, mark in marks.items() if isinstance(mark, Names)),
        profile=tuple((name, mark) for name, mark in marks.items() if isinstance(mark, ProfileOf)),
    )


CATALOGUE: Mapping[str, Plan] = MappingProxyType(
    {
        record.TYPE: plan_of(record)
        for record in (
            ContactCreated,
            ContactUpdated,
            ContactMerged,
            ContactDeleted,
            ContactRestored,
            ContactMentioned,
            AgentCreated,
            AgentUpdated,
            TicketOpened,
            TicketUpdated,
            TicketReplied,
            TicketNoteAdded,
            TicketRated,
            TicketDeleted,
            TicketRestored,
        )
    }
)

#: Types that only sealdesk itself appends; a publisher that sends one is refused.
INTERNAL = frozenset({ContactMentioned.TYPE, SUBJECT_SHREDDED, CONTENT_SHREDDED})
