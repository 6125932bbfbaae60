"""Objects as the Freshdesk API lists them, made into CloudEvents. Pure.

A listing shows how things stand now, so each object is told as the first fact of its thing, or as a later one. Which
of the two depends on what stands already, and whoever reads the register says it (`services.freshdesk.standing`); the
event has the same id either way, `<kind>/<id>/<updated_at>`. So:
- a version of an object is stored once, however often it is read: a second run stores nothing;
- a version newer than what stands is one fact more: an update with all that is said now, in which a null clears; or an
  edit, and then the older text dies. No text is stored twice for having been edited before the first export;
- what has no later fact (ratings, time entries, attachments, chat messages, calls) is told once.

Exports are imported the oldest first: of two versions, nothing but the order of reading says which is the newer. What a
listing does not show, such as a purge or the way back from the trash, is not told. An object without `updated_at` is a
new version when it says something else.

Each event is a parcel of its own: what is wrong with one harms no other. The quarantine keeps the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

import orjson

from domain.errors import RecordInvalid
from domain.personal import Kind, Reference
from services.freshdesk import adapting as fields
from services.freshdesk.adapting import Data
from services.freshdesk.shapes import SHAPES, Nested, Shape, Type
from services.records import RECORD_BYTES, Parcel, parcel_of_events

#: The CloudEvents source of every event, whatever the folder: the ids are upstream's.
SOURCE = "freshdesk"

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What one object tells: `first` if nothing stands of what it is about, else `later`. `error` says what is wrong.

    `raw` is the object. `beside` says that it merely stood in another one.
    """

    raw: bytes = field(repr=False)
    first: tuple[Event, ...] = field(default=(), repr=False)
    later: tuple[Event, ...] = field(default=(), repr=False)
    about: Reference | None = None
    beside: bool = False
    error: RecordInvalid | None = None

    def parcels(self, tenant: str, *, stands: bool) -> list[Parcel]:
        """Make a parcel of each event. An object of what stands, with no later fact, makes none."""
        if self.error is not None:
            return [Parcel(self.raw[:RECORD_BYTES], tenant, (), self.error)]
        try:
            return [parcel_of_events(self.raw, [event], tenant) for event in (self.later if stands else self.first)]
        except TypeError:
            # What nests too deeply can be read but not written again.
            return [Parcel(self.raw, tenant, (), RecordInvalid("too_deep", "data"))]


def told_by(kind: str, raw: bytes, *, at: datetime) -> Iterator[Told]:
    """Say what one object of a listing tells, and what each object in it does.

    `at` is the time of the import. It never raises: what cannot be read is told with an error.
    """
    try:
        if len(raw) > RECORD_BYTES:
            raise RecordInvalid("too_large")
        yield from _told(SHAPES[kind], _read(raw), raw, at)
    except RecordInvalid as error:
        yield Told(raw, error=error)


def _read(raw: bytes) -> Data:
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise RecordInvalid("not_json") from None
    if not isinstance(data, dict):
        raise RecordInvalid("not_an_object")
    # What cannot be written again is refused whole, before a part of it is told.
    _written(data)
    return data


def _told(shape: Shape, data: Data, raw: bytes, at: datetime, *, beside: bool = False) -> Iterator[Told]:
    data = shape.adapt(data)
    own_id = data.get("id")
    if not isinstance(own_id, int | str) or isinstance(own_id, bool):
        raise RecordInvalid("missing_field" if own_id is None else "wrong_field", "data.id")
    apart = {*shape.flags, *shape.apart, *(nested.stands_in for nested in shape.nested)}
    own = {name: value for name, value in data.items() if name not in apart}
    name = f"{_label(shape)}/{own_id}"
    version = _version(own)
    opened = data.get("created_at") or (at.isoformat() if shape.timeless else None)
    changed = data.get("updated_at") or opened
    # Of what nobody knows yet, a null says nothing.
    first = {field: value for field, value in own.items() if value is not None}
    changes: list[Event] = []
    settled: list[Event] = []
    if shape.kind is Kind.TICKET:
        course = fields.course(data)
        first |= {} if course.opened is None else {"status": course.opened}
        changes = [_status(name, own_id, *change) for change in course.changes]
        settled = [] if course.settled is None else [_status(name, own_id, *course.settled)]
    opening = _event(_chosen(shape.first, data), f"{name}/{version}", opened, first)
    update = [] if shape.later is None else [_event(_chosen(shape.later, data), f"{name}/{version}", changed, own)]
    also = list(_also(shape, data, name, version, changed))
    for nested in shape.nested:
        if not nested.links:
            yield from _told_in(nested, data, at)
    yield Told(
        raw,
        (opening, *changes, *settled, *also),
        (*changes, *update, *also),
        Reference(shape.kind, str(own_id)),
        beside,
    )
    for nested in shape.nested:
        if nested.links:
            yield from _told_in(nested, data, at)


def _told_in(nested: Nested, data: Data, at: datetime) -> Iterator[Told]:
    """Say what the objects in a field tell: with the links to this one, and its time where they have none."""
    found = data.get(nested.stands_in)
    for item in found if isinstance(found, list) else [] if found is None else [found]:
        raw = _written(item)
        try:
            if not isinstance(item, dict):
                raise RecordInvalid("not_an_object")
            linked = {name: data.get(other) for name, other in nested.links.items() if item.get(name) is None}
            times = {} if item.get("created_at") else {"created_at": data.get("created_at")}
            yield from _told(SHAPES[nested.shape], {**item, **linked, **times}, raw, at, beside=True)
        except RecordInvalid as error:
            yield Told(raw, error=error)


def _also(shape: Shape, data: Data, name: str, version: str, changed: Any) -> Iterator[Event]:
    """Say what else an object shows to have happened. The ids make sure that it is told once."""
    own_id = data["id"]
    for flag, type_ in shape.flags.items():
        if data.get(flag) is True:
            yield _event(type_, f"{name}/{flag}/{version}", changed, {"id": own_id})
    if shape.kind is Kind.CHAT and (ended := data.get("ended_at")) is not None:
        yield _event("chat.ended", f"{name}/ended", ended, {"id": own_id, "ended_at": ended})
    if shape.kind is Kind.CALL and (said := data.get("transcript")) is not None:
        text = said if isinstance(said, dict) else {"body_text": said}
        yield _event("call.transcript_added", f"{name}/transcript", changed, {**text, "call_id": own_id})


def _label(shape: Shape) -> str:
    """Name what an id counts. Contacts and agents share their ids, but each has a version of its own."""
    return str(shape.first).partition(".")[0] if shape.kind is Kind.PERSON else shape.kind.value


def _version(data: Data) -> str:
    changed = data.get("updated_at")
    if isinstance(changed, str):
        return changed
    return blake2b(_written(data), digest_size=16).hexdigest()


def _written(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        raise RecordInvalid("too_deep", "data") from None


def _chosen(type_: Type, data: Data) -> str:
    return type_ if isinstance(type_, str) else type_(data)


def _status(name: str, ticket: int | str, at: str, status: Any) -> Event:
    return _event("ticket.updated", f"{name}/status/{status}/{at}", at, {"id": ticket, "status": status})


def _event(type_: str, id_: str, time: Any, data: Mapping[str, Any]) -> Event:
    return {
        "specversion": "1.0",
        "type": f"sealdesk.{type_}.v1",
        "source": SOURCE,
        "id": id_,
        "time": time,
        "data": dict(data),
    }
