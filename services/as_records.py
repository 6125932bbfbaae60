"""Write facts as the records that would make them again: CloudEvents with upstream's own references. No I/O.

A fact has inside ids where its record had references. What upstream calls a person, thing or part is read from living
seals (`References`); the register could not tell it. So a first pass learns, and a second one writes.

Rule: what can be told is told at its place on the log. Of a fact whose text was edited or deleted later, the record is
written without the text, so that counts stay what they were, and what upstream deleted with all that said its number
gets one of ours. Whoever was shredded is in no seal, so in no record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain.catalogue import CATALOGUE, INTERNAL, PEOPLE, Plan
from domain.contacts import ContactMentioned, ContactMerged, ContactUpdated
from domain.errors import RecordInvalid
from domain.fact import UNKNOWN, FactAtRest
from domain.personal import OWN_ROLES, Kind, Role
from domain.tickets import TicketMerged
from domain.vocabularies import OTHER
from services.records import draft_of

SOURCE = "sealdesk/export"
#: Hexadecimal digits of an inside id in a reference that is made up.
DIGITS = 16
#: The clear field that holds the inside id, or ids, of whoever or whatever has a role.
_KEYS: Mapping[Role, str] = {
    "requester": "requester",
    "author": "author",
    "responder": "responder",
    "voter": "voter",
    "copied": "copied",
    "member": "members",
    "named": "named",
    "secondary": "secondary",
    "parent": "parent",
    "within": "within",
}


@dataclass(slots=True)
class References:
    """What upstream calls people, things and parts, by inside id. Of each kind, the first one that was told counts."""

    people: defaultdict[UUID, dict[Kind, Any]] = field(default_factory=lambda: defaultdict(dict), repr=False)
    things: dict[UUID, Any] = field(default_factory=dict, repr=False)
    parts: dict[UUID, Any] = field(default_factory=dict, repr=False)

    def learn(self, fact: FactAtRest, personal: Mapping[str, Any]) -> None:
        """Take in what an opened fact says that its thing, person or part is called."""
        plan = CATALOGUE[fact.type]
        for name, mark in plan.names:
            value = personal.get(name)
            if value is None or mark.role not in OWN_ROLES:
                continue
            if mark.role == "part":
                if "part" in fact.clear:
                    self.parts.setdefault(UUID(fact.clear["part"]), value)
            elif plan.record.THING in PEOPLE:
                for item in value if isinstance(value, list) else (value,):
                    self.people[UUID(fact.clear["person"])].setdefault(mark.kind, item)
            elif mark.kind.is_thing:
                self.things.setdefault(fact.stream, value)

    def make_up(self, fact: FactAtRest) -> None:
        """Call a thing that upstream deleted, and its parts, something: what they were called went with them."""
        self.things.setdefault(fact.stream, f"gone-{fact.stream.hex[:DIGITS]}")
        if "part" in fact.clear:
            self.parts.setdefault(UUID(fact.clear["part"]), f"gone-{fact.clear['part'][:DIGITS]}")


def events_of(
    facts: Iterable[tuple[FactAtRest, Mapping[str, Any] | None]], references: References
) -> Iterator[tuple[FactAtRest, dict[str, Any] | None]]:
    """Write the records of facts, as (fact, record); None where there is none to write.

    Personal fields are None of a fact that does not open. Whoever a record was the first to name is told before it.
    """
    later: list[tuple[FactAtRest, Mapping[str, Any] | None]] = []
    for fact, personal in facts:
        if fact.type == ContactMentioned.TYPE and fact.ordinal:
            yield fact, _checked(fact, personal, references)
            continue
        if not fact.ordinal:
            for held in later:
                yield held[0], _checked(*held, references)
            later.clear()
        later.append((fact, personal))
    for held in later:
        yield held[0], _checked(*held, references)


def is_derived(fact: FactAtRest) -> bool:
    """Tell whether intake makes a fact from the record of another one by itself."""
    return fact.type in INTERNAL and fact.type != ContactMentioned.TYPE and fact.type in CATALOGUE


def _checked(fact: FactAtRest, personal: Mapping[str, Any] | None, references: References) -> dict[str, Any] | None:
    """Write one record, if an import would take it for one."""
    if fact.type not in CATALOGUE or is_derived(fact):
        return None
    if fact.type == ContactMerged.TYPE and fact.ordinal and personal is None:
        # Intake merged them because of what a record said, and will do so again, unless both have ids to say it by.
        personal = {}
    try:
        event = _Writer(fact, personal, references).event()
        if event is not None:
            draft_of(event, "any")
    except RecordInvalid:
        return None
    return event


class _Writer:
    """One fact on its way back to its record."""

    def __init__(self, fact: FactAtRest, personal: Mapping[str, Any] | None, references: References) -> None:
        self._fact = fact
        self._plan: Plan = CATALOGUE[fact.type]
        self._told: Mapping[str, Any] = personal or {}
        self._references = references
        self._data: dict[str, Any] = {}

    def event(self) -> dict[str, Any] | None:
        self._write_fields()
        subject = self._subject()
        if subject is None or not (self._write_part() and self._write_others()):
            return None
        type_ = ContactUpdated.TYPE if self._fact.type == ContactMentioned.TYPE else self._fact.type
        return {
            "specversion": "1.0",
            "id": self._fact.event_id.hex,
            "source": SOURCE,
            "type": type_,
            "time": self._fact.occurred_at.isoformat(),
            **({"subject": subject} if subject else {}),
            "data": self._data,
        }

    def _write_fields(self) -> None:
        """Write what is neither a reference nor of the tenant's own: from the seal, or from the clear fields."""
        plan, told, clear = self._plan, self._told, self._fact.clear
        for name in plan.clear + plan.declares:
            if name in clear:
                self._data[name] = clear[name]
        for name, mark in plan.words:
            if name in told:
                self._data[name] = told[name]
            elif mark.stored_as in clear:
                self._data[name] = clear[mark.stored_as]
        for name, value in told.items():
            if name == UNKNOWN:
                self._data |= value or {}
            elif name not in self._data:
                self._data[name] = "".join(value) if name in plan.texts and isinstance(value, list) else value
        words = {name: word for name, word in _words_of(plan, clear).items() if word != OTHER}
        if words and "custom_fields" in plan.record.model_fields:
            self._data["custom_fields"] = words | (self._data.get("custom_fields") or {})
        else:
            self._data |= words

    def _subject(self) -> str | None:
        """Say what the record is about, unless its data can; None where nobody can say it any more."""
        plan, thing = self._plan, self._plan.record.THING
        if thing == "tenant" or any(self._data.get(name) is not None for name in plan.roles.get("self", ())):
            return ""
        if thing in PEOPLE:
            known = self._references.people.get(UUID(self._fact.clear["person"]), {})
            ways = {Kind.PERSON: f"{thing} ", Kind.EMAIL: ""}
        else:
            value = self._references.things.get(self._fact.stream)
            known = {} if value is None else {Kind(thing): value}
            ways = {Kind(thing): f"{thing} "}
        if self._refer("self", known):
            return ""
        return next((f"{before}{known[kind]}" for kind, before in ways.items() if kind in known), None)

    def _write_part(self) -> bool:
        names = self._plan.roles.get("part", frozenset())
        if "part" not in self._fact.clear or any(self._data.get(name) is not None for name in names):
            return True
        value = self._references.parts.get(UUID(self._fact.clear["part"]))
        if value is not None and names:
            self._data[min(names)] = value
        return value is not None

    def _write_others(self) -> bool:
        """Write references in place of inside ids. False where the record could not be told without one."""
        clear, needed = self._fact.clear, ("within", "requester", self._plan.record.WHOSE)
        for role, key in _KEYS.items():
            if key not in clear or role not in self._plan.roles:
                continue
            if isinstance(clear[key], list):
                self._write_list(role, [UUID(id_) for id_ in clear[key]])
            elif clear[key] is None:
                self._data[self._names_of(role)[0][0]] = None
            elif not self._refer(role, self._known(role, UUID(clear[key]))) and role in needed:
                return False
        if self._plan.roles.keys() & {"secondary"} and not clear.get("secondary"):
            return False
        if clear.get("by") in ("contact", "requester") and not self._names_author() and self._can("incoming"):
            # Whoever wrote it was shredded; without this it would count as an answer of the team.
            self._data["incoming"] = True
        return True

    def _can(self, name: str) -> bool:
        return name in self._plan.record.model_fields

    def _names_author(self) -> bool:
        return any(self._data.get(name) is not None for name in self._plan.roles.get("author", ()))

    def _names_of(self, role: Role) -> list[tuple[str, Kind]]:
        found = [(name, mark.kind) for name, mark in self._plan.names if mark.role == role]
        return sorted(found, key=lambda one: one[1] is not Kind.PERSON)

    def _known(self, role: Role, id_: UUID) -> Mapping[Kind, Any]:
        kinds = {kind for _, kind in self._names_of(role)}
        if role in ("parent", "within") or self._fact.type == TicketMerged.TYPE:
            value = self._references.things.get(id_, self._references.parts.get(id_))
            return {} if value is None else dict.fromkeys(kinds, value)
        return self._references.people.get(id_, {})

    def _refer(self, role: Role, known: Mapping[Kind, Any]) -> bool:
        for name, kind in self._names_of(role):
            if kind in known:
                self._data[name] = known[kind]
                return True
        return False

    def _write_list(self, role: Role, ids: Iterable[UUID]) -> None:
        name, kind = self._names_of(role)[0]
        values = [known[kind] for id_ in ids if kind in (known := self._known(role, id_))]
        if "list[" in str(self._plan.record.model_fields[name].annotation):
            self._data[name] = values
        elif values:
            self._data[name] = values[0]


def _words_of(plan: Plan, clear: Mapping[str, Any]) -> Mapping[str, str]:
    """Give the words of a tenant's own fields. A fact that declares words has a field of the same name."""
    words = clear.get("words")
    return words if isinstance(words, dict) and "words" not in plan.declares else {}
