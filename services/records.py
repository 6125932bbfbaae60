"""Records as they come in: from bytes to a draft that intake can resolve and seal.

A `Parcel` is what is accepted or refused as one: one CloudEvent, or all events that one row of a file makes. Its raw
bytes are kept only to be sealed into the quarantine. CloudEvents 1.0, JSON format:
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md

An error here says which code and which declared field, and never repeats what stood there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import ValidationError

from domain.catalogue import CATALOGUE, INTERNAL, PEOPLE, Plan
from domain.errors import RecordInvalid
from domain.fact import ID_CHARACTERS, Record, in_range
from domain.personal import Kind, Reference

#: Largest record in bytes. A text of a million characters fits; attachments travel elsewhere.
RECORD_BYTES = 4 * 1024 * 1024
_SOURCE_CHARACTERS = 1_000
_SUBJECT_CHARACTERS = 400
#: How a `subject` names a thing: its kind and upstream's id, as in `ticket 20`.
_THINGS = {kind.value: kind for kind in Kind if kind.is_thing}


@dataclass(frozen=True, slots=True)
class Draft:
    """One valid record whose references are not resolved yet."""

    tenant: str
    source: str = field(repr=False)
    id: str = field(repr=False)
    plan: Plan = field(repr=False)
    data: Record = field(repr=False)
    subject: Reference | None
    occurred_at: datetime

    @property
    def type(self) -> str:
        """Name the fact type."""
        return self.plan.record.TYPE


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stood in Kafka. The offset is the broker's, in that partition."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is taken or refused as one. `raw` is what the publisher sent; `error` says why it parsed to nothing.

    `place` is None for what came in a file. `told_as` is the hash by which receipts name a record that came sealed: its
    id outside is another than inside, and only its publisher knows which belong together.
    """

    raw: bytes = field(repr=False)
    tenant: str | None
    drafts: tuple[Draft, ...] = ()
    error: RecordInvalid | None = None
    place: Place | None = None
    told_as: bytes = field(default=b"", repr=False)


def record_hash(tenant: str | None, source: str, id_: str) -> bytes:
    """Name a record as its publisher can: SHA-256 of tenant, source and id, each before its bytes its length.

    Lengths have 4 bytes, big endian; what a record does not say is empty. `source` and `id` are as they were sent.
    """
    parts = [part.encode(errors="surrogatepass") for part in (tenant or "", source, id_)]
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def place_of(row: Mapping[str, Any]) -> Place | None:
    """Read where a quarantined record stood, from its row."""
    return None if row["topic"] is None else Place(row["topic"], row["partition"], row["record_offset"])


def parcel_of(raw: bytes, default_tenant: str | None = None, place: Place | None = None) -> Parcel:
    """Read one CloudEvent in JSON. It never raises: what cannot be read becomes a parcel with an error."""
    parcel = _parcel_of(raw, default_tenant)
    return parcel if place is None else replace(parcel, place=place)


def _parcel_of(raw: bytes, default_tenant: str | None) -> Parcel:
    tenant = default_tenant
    try:
        if len(raw) > RECORD_BYTES:
            raise RecordInvalid("too_large")
        if raw.lstrip()[:1] == b"[":
            return _parcel_of_list(raw, default_tenant)
        event = event_of(raw)
        tenant = _text(event, "tenant", ID_CHARACTERS, default_tenant)
        return Parcel(raw, tenant, (draft_of(event, default_tenant),))
    except RecordInvalid as error:
        return Parcel(raw, tenant, (), error)


def _parcel_of_list(raw: bytes, tenant: str | None) -> Parcel:
    """Read several events that belong together; only sealdesk itself writes such a list, into the quarantine."""
    try:
        events = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise RecordInvalid("not_json") from None
    if tenant is None or not all(isinstance(event, dict) for event in events):
        raise RecordInvalid("not_an_object")
    return parcel_of_events(raw, events, tenant)


def parcel_of_events(raw: bytes, events: Sequence[Mapping[str, Any]], tenant: str) -> Parcel:
    """Take several events, made from one row of a file, as one parcel.

    `raw` is the row; it is kept when the events are wrong. Otherwise the events themselves are, so that a parcel that
    has to wait can be taken up without the file.
    """
    try:
        drafts = tuple(draft_of(event, tenant) for event in events)
        return Parcel(orjson.dumps(list(events)), tenant, drafts)
    except RecordInvalid as error:
        return Parcel(raw, tenant, (), error)
    except (TypeError, RecursionError):
        return Parcel(raw, tenant, (), RecordInvalid("too_deep", "data"))


def event_of(raw: bytes) -> dict[str, Any]:
    """Parse the JSON of one event.

    Raises:
        RecordInvalid: it is no JSON object.
    """
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise RecordInvalid("not_json") from None
    if not isinstance(event, dict):
        raise RecordInvalid("not_an_object")
    return event


def draft_of(event: Mapping[str, Any], default_tenant: str | None = None) -> Draft:
    """Check one CloudEvent against the catalogue.

    Raises:
        RecordInvalid: with a code, and the declared path of the field that is wrong.
    """
    if event.get("specversion", "1.0") != "1.0":
        raise RecordInvalid("wrong_specversion", "specversion")
    name = event.get("type")
    plan = CATALOGUE.get(name) if isinstance(name, str) else None
    if plan is None or name in INTERNAL:
        raise RecordInvalid("unknown_type", "type")
    tenant = _text(event, "tenant", ID_CHARACTERS, default_tenant)
    if tenant is None:
        raise RecordInvalid("no_tenant", "tenant")
    data = event.get("data")
    if not isinstance(data, dict):
        raise RecordInvalid("no_data", "data")
    try:
        record = plan.record.model_validate(data)
        if any(getattr(record, name) is not None for name in plan.nested):
            # What nests too deeply can be read but not written again.
            orjson.dumps(record.model_dump(include=set(plan.nested)))
    except ValidationError as error:
        raise _translated(error, plan) from None
    except (TypeError, RecursionError):
        raise RecordInvalid("too_deep", "data") from None
    return Draft(
        tenant,
        _required(event, "source", _SOURCE_CHARACTERS),
        _required(event, "id", _SOURCE_CHARACTERS),
        plan,
        record,
        _subject(event.get("subject")),
        _time(event.get("time")),
    )


def _translated(error: ValidationError, plan: Plan) -> RecordInvalid:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = first["loc"][0] if first["loc"] else ""
    declared = path if isinstance(path, str) and path in plan.record.model_fields else ""
    return RecordInvalid("missing_field" if first["type"] == "missing" else "wrong_field", f"data.{declared}")


def _required(event: Mapping[str, Any], name: str, limit: int) -> str:
    value = _text(event, name, limit, None)
    if value is None:
        raise RecordInvalid("missing_field", name)
    return value


def _text(event: Mapping[str, Any], name: str, limit: int, default: str | None) -> str | None:
    value = event.get(name, default)
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= limit):
        raise RecordInvalid("wrong_field", name)
    return value


def _subject(value: object) -> Reference | None:
    """Read the `subject`: `contact 432`, `agent 7`, an e-mail address, or a thing, as in `ticket 20` or `topic 3`."""
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _SUBJECT_CHARACTERS:
        raise RecordInvalid("wrong_field", "subject")
    what, _, which = value.strip().partition(" ")
    if what in PEOPLE and which:
        return Reference(Kind.PERSON, which)
    if what in _THINGS and which:
        return Reference(_THINGS[what], which)
    if "@" in value and " " not in value.strip():
        return Reference(Kind.EMAIL, value)
    raise RecordInvalid("wrong_field", "subject")


def _time(value: object) -> datetime:
    if value is None:
        raise RecordInvalid("no_time", "time")
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise RecordInvalid("wrong_field", "time")
    try:
        return in_range(at).astimezone(UTC)
    except ValueError:
        raise RecordInvalid("wrong_field", "time") from None
