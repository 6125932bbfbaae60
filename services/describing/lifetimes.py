"""Whose a fact is, under which key it hangs, and when it is gone: read off the catalogue, as intake and keeping do.

`tests/services/test_describing.py` decides a record of every type with `services.resolving`, and compares the owners.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from domain.catalogue import CATALOGUE, PEOPLE, RECORDS
from domain.fact import Effect, Record
from domain.personal import Kind
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED

#: Things whose parts are written by one side or the other.
_CONVERSATIONS = frozenset({Kind.TICKET.value, Kind.CALL.value, Kind.CHAT.value})


class Whose(StrEnum):
    """Whose a fact is."""

    PERSON = "person"
    REQUESTER = "requester"
    REQUESTER_AND_WRITER = "requester_and_writer"
    CALLER = "caller"
    CALLER_AND_WRITER = "caller_and_writer"
    AUTHOR = "author"
    DESK = "desk"


@dataclass(frozen=True, slots=True)
class Belonging:
    """What it means that a fact is somebody's: in words, whose shred ends it, and the keys above its leaf."""

    words: str
    people: tuple[str, ...]
    key: str


BELONGING: Mapping[Whose, Belonging] = MappingProxyType(
    {
        Whose.PERSON: Belonging("the person", ("person",), "subject"),
        Whose.REQUESTER: Belonging(
            "the requester; what stood in the ticket before it moved belongs to both requesters",
            ("requester",),
            "subject",
        ),
        Whose.REQUESTER_AND_WRITER: Belonging(
            "the requester, and with that person a writer who is another contact",
            ("requester", "writer"),
            "subject, then the writer's",
        ),
        Whose.CALLER: Belonging("the contact; the desk, if nobody is known", ("contact",), "subject, or desk"),
        Whose.CALLER_AND_WRITER: Belonging(
            "the contact, or the desk if nobody is known; and with them a writer who is another contact",
            ("contact", "writer"),
            "subject, or desk; then the writer's",
        ),
        Whose.AUTHOR: Belonging("its author; the desk, if that is an agent", ("author",), "subject, or desk"),
        Whose.DESK: Belonging("the desk", (), "desk"),
    }
)


@dataclass(frozen=True, slots=True)
class End:
    """What makes a fact unreadable: a fact of type `happening`, and of whom or what."""

    happening: str
    of: str

    @property
    def words(self) -> str:
        """Say it in words."""
        match self.happening:
            case str() if self.happening == SUBJECT_SHREDDED:
                return f"the {self.of} is shredded"
            case str() if self.happening == CONTENT_SHREDDED:
                return f"the {self.of} is shredded by itself"
            case _:
                return f"`{short(self.happening)}`"


def short(type_: str) -> str:
    """Name a type without `sealdesk.` and its version."""
    return ".".join(type_.split(".")[1:-1])


def roles(record: type[Record]) -> dict[str, list[Kind]]:
    """List the kinds of references that a record has, by role."""
    found: dict[str, list[Kind]] = {}
    for _, mark in CATALOGUE[record.TYPE].names:
        found.setdefault(mark.role, []).append(mark.kind)
    return found


def whose(record: type[Record]) -> Whose:
    """Say whose a fact of this type is."""
    if record.THING in PEOPLE:
        return Whose.PERSON
    opener = next((other.WHOSE for other in RECORDS if other.THING == record.THING and other.WHOSE is not None), None)
    if opener == "author":
        return Whose.AUTHOR
    if opener != "requester":
        return Whose.DESK
    wrote = "author" in roles(record) and not record.TEAM and record.THING in _CONVERSATIONS
    if record.THING == Kind.TICKET:
        return Whose.REQUESTER_AND_WRITER if wrote else Whose.REQUESTER
    return Whose.CALLER_AND_WRITER if wrote else Whose.CALLER


def ends(record: type[Record]) -> tuple[End, ...]:
    """List what makes a fact of this type unreadable, besides a tenant's leaving."""
    found = [End(SUBJECT_SHREDDED, person) for person in BELONGING[whose(record)].people]
    if record.THING not in PEOPLE and record.THING != "tenant":
        found.append(End(CONTENT_SHREDDED, record.THING.replace("_", " ")))
    found.extend(End(other.TYPE, other.THING) for other in RECORDS if _ends(other, record))
    return tuple(found)


def _ends(later: type[Record], record: type[Record]) -> bool:
    """Tell whether a later fact makes an older one of this type unreadable."""
    if later.EFFECT is None:
        return False
    part = roles(later).get("part")
    if later.EFFECT is Effect.ENDS and part is None:
        return later.THING == record.THING or later.THING in _above(record.THING)
    if _stream(later) != _stream(record):
        return False
    own = roles(record)
    if part is None:
        return "part" not in own and not record.APART
    if record.EFFECT is Effect.ENDS:
        return False  # Nothing comes behind it: a later record about the part is refused.
    return part == own.get("part") or (later.EFFECT is Effect.ENDS and part == own.get("within"))


def _stream(record: type[Record]) -> str:
    return "profile" if record.THING in PEOPLE else record.THING


def _above(thing: str) -> frozenset[str]:
    """Name every kind of thing in which things of this kind hang, however far above."""
    found: set[str] = set()
    looking = {thing}
    while looking:
        looking = set(_parents(looking)) - found
        found |= looking
    return frozenset(found)


def _parents(things: Iterable[str]) -> Iterable[str]:
    for record in RECORDS:
        if record.THING in things:
            yield from (kind.value for kind in roles(record).get("parent", ()))
