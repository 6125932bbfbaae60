"""What a record names, even one that is wrong in any way: the references of whoever owns it, and what its fields say.

Of what is no JSON, any e-mail address in it counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import orjson

from crypto.register import Known, Register
from domain.catalogue import CATALOGUE, Plan
from domain.errors import RecordInvalid, ReferenceMalformed
from domain.personal import Kind, Reference
from services.finding import references_in
from services.records import event_of

#: What stands around an address in a text that has no fields.
_AROUND = re.compile(r"[\s\"'<>()\[\]{},:;=\\]+")
#: The longest address (RFC 5321, section 4.5.3.1), with room for what is no part of it.
_ADDRESS_CHARACTERS = 400
#: References that one question to the key database names: an index has 32 bytes, and each a tag for every quarter.
SLICE = 10_000


def _owning(plan: Plan) -> dict[str, Kind]:
    """Name the references of a type that say whose its fact is, by field. Whoever the team names as writer is not."""
    roles = {"self", "requester"} if plan.record.TEAM else {"self", "requester", "author"}
    return {name: mark.kind for name, mark in plan.names if mark.role in roles}


#: Which kinds of reference stand in a field of that name, in any record type, where they say whose the record is.
_KINDS: dict[str, frozenset[Kind]] = {}
for _plan in CATALOGUE.values():
    for _name, _kind in _owning(_plan).items():
        _KINDS[_name] = _KINDS.get(_name, frozenset()) | {_kind}
#: Whoever stands only here is named in the record of somebody else, who loses no more than that.
_MERELY_NAMED = {name for plan in CATALOGUE.values() for name, _ in plan.names} - _KINDS.keys()


def events_in(raw: bytes) -> list[Any] | None:
    """Read a record as the event or events that it may be; None when it is no JSON object or list."""
    try:
        events = orjson.loads(raw) if raw.lstrip()[:1] == b"[" else [event_of(raw)]
    except (RecordInvalid, orjson.JSONDecodeError):
        return None
    return list(events)


def references_named(raw: bytes) -> set[Reference]:
    """List whatever may be a reference of the owner of a record."""
    events = events_in(raw)
    if events is None:
        return {Reference(Kind.EMAIL, found) for found in _addresses_in(raw.decode(errors="replace"))}
    found: set[Reference] = set()
    for event in events:
        if isinstance(event, dict):
            found.update(_in_event(event))
    return found


def says(raw: bytes, wanted: Collection[str]) -> bool:
    """Tell whether a field of a record is one of these values; of what is no JSON, whether it says one anywhere.

    `wanted` are case-folded.
    """
    if not wanted:
        return False
    events = events_in(raw)
    if events is not None:
        return any(str(item).strip().casefold() in wanted for _, item in _leaves(events))
    text = raw.decode(errors="replace").casefold()
    return any(value in text for value in wanted)


def fenced_among(register: Register, references: Collection[Reference]) -> set[Reference]:
    """Tell which of these references were shredded, and nobody has claimed since."""
    known = known_among(register, references)
    return {reference for reference, entry in known.items() if entry.fenced is not None and entry.inside is None}


def known_among(register: Register, references: Collection[Reference]) -> dict[Reference, Known]:
    """Look up those of these references that are known or fenced; one that cannot be of its kind is neither."""
    indexes: dict[Reference, bytes] = {}
    for reference in references:
        with suppress(ReferenceMalformed):
            indexes[reference] = register.index(reference)
    known: dict[bytes, Known] = {}
    left = iter(indexes.values())
    while some := list(islice(left, SLICE)):
        known |= register.look_up(some)
    return {reference: known[index] for reference, index in indexes.items() if index in known}


def _addresses_in(text: str) -> Iterator[str]:
    """List what may be addresses in a text. Whether one is, its canonical form says."""
    for found in _AROUND.split(text):
        if "@" in found and len(found) <= _ADDRESS_CHARACTERS:
            yield found.strip(".!?")


def _in_event(event: Mapping[str, Any]) -> Iterator[Reference]:
    plan = CATALOGUE.get(str(event.get("type")))
    envelope = {name: item for name, item in event.items() if name != "data"}
    yield from (reference for reference in _walk(envelope, None) if reference.kind is Kind.EMAIL)
    yield from _walk(event.get("data"), plan)
    if isinstance(subject := event.get("subject"), str):
        yield from references_in(subject)


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """List the single values in a record with the name of their field. It may nest deeper than Python calls."""
    left = [("", value)]
    while left:
        name, item = left.pop()
        if isinstance(item, dict):
            left.extend((str(key), inner) for key, inner in item.items())
        elif isinstance(item, list):
            left.extend((name, inner) for inner in item)
        elif name not in _MERELY_NAMED:
            yield name, item


def _walk(value: Any, plan: Plan | None) -> Iterator[Reference]:
    """Find addresses, and ids in the fields that are known to hold them, but for those who are merely named.

    The number of a comment is no number of a person: what a field holds, the record's type says, if it has one.
    """
    kinds_of = _KINDS
    if plan is not None:
        declared = _owning(plan)
        kinds_of = {name: kinds for name, kinds in _KINDS.items() if name not in plan.record.model_fields}
        kinds_of |= {name: frozenset({kind}) for name, kind in declared.items()}
    for name, item in _leaves(value):
        if isinstance(item, str | int | float) and not isinstance(item, bool):
            kinds = set(kinds_of.get(name, ()))
            if isinstance(item, str) and "@" in item:
                kinds.add(Kind.EMAIL)
            for kind in kinds:
                yield Reference(kind, str(item))
