"""Publishing a file: CloudEvents to Kafka, each looked at before it is sent.

Structured mode sends the event as it is, in JSON; binary mode puts its attributes into `ce_` headers and its
`data` into the value. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
Sealed (`services.publishing.sealing`), the value is an envelope.

What is not acknowledged is sent again, and with receipts also what the desk says nothing about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import orjson
from kafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from domain.errors import BrokerUnavailable, RecordInvalid
from domain.personal import Kind
from services.kafka.connecting import Broker, told
from services.kafka.topics import RECEIPTS, RECORDS
from services.publishing.line import STALE_SECONDS, Line, Message, Producer, connected
from services.publishing.receiving import Awaiting, Receipted
from services.records import Draft, Parcel, record_hash
from services.sealed import MESSAGE_BYTES

Mode = Literal["structured", "binary"]
STRUCTURED_TYPE = "application/cloudevents+json"


@dataclass(frozen=True, slots=True)
class Published:
    """How many records were read, how many of them every replica has, and how many are no valid records.

    `receipts` is what became of them at the desk, if that was waited for.
    """

    read: int = 0
    sent: int = 0
    invalid: int = 0
    receipts: Receipted | None = None


def publish(
    parcels: Iterable[Parcel],
    broker: Broker,
    topic: str = RECORDS,
    *,
    mode: Mode = "structured",
    write: Callable[[Parcel], Message] | None = None,
    receipts_seconds: float | None = None,
    receipts_topic: str = RECEIPTS,
    stale_seconds: float = STALE_SECONDS,
    connect: Callable[[], Producer] | None = None,
) -> Published:
    """Send every valid event, in order, and return when all are acknowledged. Each parcel is one CloudEvent.

    `write` makes the Kafka record instead of `mode`, such as that of a `Sealer`. With `receipts_seconds` it waits so
    long for the receipts, too.

    Raises:
        BrokerUnavailable: the broker does not answer or refuses; publishing the same file again is safe.
    """
    write = write or partial(message_of, mode=mode)
    connect = connect or partial(connected, broker, stale_seconds)
    with taking(broker, topic), closing(Line(connect, topic, stale_seconds)) as line:
        awaiting = None if receipts_seconds is None else Awaiting(line, broker, receipts_topic)
        try:
            read = invalid = 0
            for parcel in parcels:
                read += 1
                try:
                    message = write(parcel)
                except (RecordInvalid, orjson.JSONEncodeError):
                    invalid += 1
                else:
                    (awaiting or line).send(message)
            line.settle(0)
            receipted = None if awaiting is None else awaiting.wait(receipts_seconds or 0)
            return Published(read, read - invalid, invalid, receipted)
        finally:
            if awaiting is not None:
                awaiting.close()


@contextmanager
def taking(broker: Broker, topic: str) -> Iterator[None]:
    """Translate what a producer raises.

    Raises:
        BrokerUnavailable: in place of any error of kafka-python.
    """
    with told(broker, f"take the records for the topic {topic}"):
        try:
            yield
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise BrokerUnavailable(
                f"The broker takes no records as large as ours: set max.message.bytes of the topic {topic} to "
                f"{MESSAGE_BYTES} or more. Then publish again."
            ) from error


def message_of(parcel: Parcel, mode: Mode = "structured") -> Message:
    """Write one event as a Kafka record.

    Raises:
        RecordInvalid: it is no valid one.
        orjson.JSONEncodeError: its data is nested too deeply to be written anew, as the binary mode must.
    """
    raw = structured(parcel)
    (draft,) = parcel.drafts
    record = record_hash(draft.tenant, draft.source, draft.id)
    if mode == "structured":
        return Message(key_of(draft), raw, [("content-type", STRUCTURED_TYPE.encode())], record)
    event = orjson.loads(raw)
    data = event.pop("data")
    event.pop("datacontenttype", None)
    headers = [(f"ce_{name}", _header(value)) for name, value in event.items() if value is not None]
    return Message(key_of(draft), orjson.dumps(data), [("content-type", b"application/json"), *headers], record)


def structured(parcel: Parcel) -> bytes:
    """Give the event in JSON: the publisher's own bytes, and before them what they left to us.

    Raises:
        RecordInvalid: it is no valid one.
    """
    if parcel.error is not None:
        raise parcel.error
    (draft,) = parcel.drafts
    event = orjson.loads(parcel.raw)
    implied = {"specversion": "1.0", "tenant": draft.tenant}
    missing = {name: value for name, value in implied.items() if name not in event}
    return orjson.dumps(missing)[:-1] + b"," + parcel.raw.lstrip()[1:] if missing else parcel.raw


def key_of(draft: Draft) -> bytes:
    """Name what the record is about, for Kafka to keep its records in order: by an id, or else an address.

    Order is a help and no promise: intake takes records in any.
    """
    own = [
        (mark.kind, getattr(draft.data, name))
        for name, mark in draft.plan.names
        if mark.role == "self" and getattr(draft.data, name)
    ]
    if draft.subject is not None:
        own.append((draft.subject.kind, draft.subject.value))
    ids = [found for found in own if found[0].is_upstream_id]
    addresses = [found for found in own if found[0] is Kind.EMAIL]
    kind, value = next(iter([*ids, *addresses, *own]), ("", ""))
    return f"{draft.tenant}/{kind} {str(value).strip().casefold()}".encode()


def _header(value: object) -> bytes:
    # An extension may be a number or a flag; CloudEvents writes those as JSON does.
    return value.encode() if isinstance(value, str) else orjson.dumps(value)
