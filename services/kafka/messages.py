"""Messages: from one Kafka record to one parcel, whichever way it carries its CloudEvent.

    structured   the event is the value, in JSON
    binary       attributes are `ce_` headers, the value is `data`
    sealed       attributes are `ce_` headers, the value is an envelope that only the desk opens

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md

Rule: a record never raises. What cannot be read is a parcel with an error, to be quarantined as it came. Trouble with
our own keys does raise: it would be the same for every record.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from domain.errors import RecordInvalid
from services.kafka.decoding import Unreadable
from services.kafka.heartbeats import HEARTBEAT
from services.records import RECORD_BYTES, Parcel, Place, parcel_of
from services.sealed import SEALED_TYPE, OpenSealed, parcel_sealed

_EVENT_TYPE = b"application/cloudevents"
_ATTRIBUTE = "ce_"


class Message(Protocol):
    """A record as kafka-python gives it."""

    @property
    def value(self) -> bytes | None:
        """Return what it holds."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Return what stands beside it, in order."""


def parcel_from(message: Message, place: Place | None = None, open_sealed: OpenSealed | None = None) -> Parcel | None:
    """Read one record. A heartbeat gives None: it is nothing to take.

    What is kept of a record in binary mode is the same event in structured mode, to be read again. What is kept of a
    sealed record that does not open is the ciphertext (`services.sealed`).

    Raises:
        KeysUnavailable: `open_sealed` cannot reach its keys, which says nothing about the record.
        SealBroken: `open_sealed` found the row of a pair changed or missing. Nor does this; somebody has to look.
    """
    headers = [(name, value or b"") for name, value in message.headers]
    value = message.value
    if reasons := [found.decode() for name, found in headers if isinstance(name, Unreadable)]:
        readable = [(name, found) for name, found in headers if not isinstance(name, Unreadable)]
        return _refused(_as_text(readable) + (value or b""), reasons[0], place)
    named = {name.lower(): found for name, found in headers}
    content_type = named.get("content-type", b"").partition(b";")[0].strip().lower()
    attributes = {name[3:]: found for name, found in named.items() if name.startswith(_ATTRIBUTE)}
    if content_type == HEARTBEAT and not value:
        return None
    if value is None:
        return _refused(_as_text(headers), "no_value", place)
    if content_type == SEALED_TYPE.encode():
        return _sealed(attributes, value, place, open_sealed)
    if content_type.startswith(_EVENT_TYPE):
        known = content_type == _EVENT_TYPE + b"+json"
        return _structured(value, place) if known else _refused(value, "wrong_content_type", place)
    return _binary(attributes, value, place) if attributes else _structured(value, place)


def _structured(value: bytes, place: Place | None) -> Parcel:
    if len(value) > RECORD_BYTES:
        return _refused(value, "too_large", place)
    if value.lstrip().startswith(b"["):
        return _refused(value, "not_an_object", place)
    return parcel_of(value, place=place)


def _binary(attributes: Mapping[str, bytes], value: bytes, place: Place | None) -> Parcel:
    event: dict[str, Any] = {"specversion": "1.0"}
    try:
        event |= _decoded(attributes)
        orjson.loads(value)
        event["data"] = orjson.Fragment(value)
    except UnicodeDecodeError:
        return _refused(_as_text(_headers(attributes)) + value, "wrong_header", place)
    except orjson.JSONDecodeError:
        event.pop("data", None)
        event["data_base64"] = base64.b64encode(value).decode()
    return _structured(orjson.dumps(event), place)


def _sealed(
    attributes: Mapping[str, bytes], value: bytes, place: Place | None, open_sealed: OpenSealed | None
) -> Parcel:
    try:
        decoded = _decoded(attributes)
    except UnicodeDecodeError:
        return _refused(_as_text(_headers(attributes)) + value, "wrong_header", place)
    return parcel_sealed(decoded, value, place, open_sealed)


def _decoded(attributes: Mapping[str, bytes]) -> dict[str, str]:
    return {name: text.decode() for name, text in attributes.items()}


def _headers(attributes: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    return [(_ATTRIBUTE + name, text) for name, text in attributes.items()]


def _as_text(headers: Sequence[tuple[str, bytes]]) -> bytes:
    return b"".join(name.encode() + b": " + text + b"\n" for name, text in headers)


def _refused(raw: bytes, code: str, place: Place | None) -> Parcel:
    return Parcel(raw[:RECORD_BYTES], None, (), RecordInvalid(code), place)
