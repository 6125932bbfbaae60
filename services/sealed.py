"""Sealed records on their way to being opened: as Kafka brings them, and as the quarantine keeps them.

What does not open now may open later: a row of the key database comes back from a backup, a root can be reached again.
So it is kept whole, attributes and envelope apart:

    kept = "sealdesk-sealed/1" | newline | attributes as a JSON object | newline | envelope

No JSON begins so. It is ciphertext: nobody can judge whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import orjson

from crypto.envelopes import envelope_bytes
from domain.errors import RecordInvalid
from services.records import RECORD_BYTES, Parcel, Place, parcel_of, record_hash

#: The content type of a sealed record.
SEALED_TYPE = "application/vnd.sealdesk.sealed"
#: The extension attribute that names the pair. CloudEvents allows small letters and digits.
EPOCH = "pairepoch"
#: Attributes, headers and framing around the largest record.
_FRAME_BYTES = 64 * 1024
#: Bytes of the largest Kafka record: the largest event, sealed and with its frame.
MESSAGE_BYTES = envelope_bytes(RECORD_BYTES) + _FRAME_BYTES
_MAGIC = b"sealdesk-sealed/1\n"

#: Gives the event (structured CloudEvents JSON) of the attributes and the envelope of a sealed record.
OpenSealed: TypeAlias = Callable[[Mapping[str, str], bytes], bytes]


def kept_whole(attributes: Mapping[str, str], envelope: bytes) -> bytes:
    """Write a sealed record as it is kept."""
    return _MAGIC + orjson.dumps(attributes) + b"\n" + envelope


def sealed_in(raw: bytes) -> tuple[dict[str, str], bytes] | None:
    """Read a sealed record as it was kept; None for every other."""
    if not raw.startswith(_MAGIC):
        return None
    said, _, envelope = raw[len(_MAGIC) :].partition(b"\n")
    try:
        attributes = orjson.loads(said)
    except orjson.JSONDecodeError:
        return None
    return (attributes, envelope) if isinstance(attributes, dict) else None


def parcel_sealed(
    attributes: Mapping[str, str], envelope: bytes, place: Place | None, open_sealed: OpenSealed | None
) -> Parcel:
    """Open a sealed record. What does not open is a parcel with an error, as it is kept.

    Raises:
        KeysUnavailable: `open_sealed` cannot reach its keys, which says nothing about the record.
        SealBroken: the row of a pair was changed or is missing. Nor does this; somebody has to look.
    """
    kept = kept_whole(attributes, envelope)
    if len(kept) > MESSAGE_BYTES:
        return Parcel(kept[:RECORD_BYTES], None, (), RecordInvalid("too_large"), place)
    try:
        if open_sealed is None:
            raise RecordInvalid("wrong_content_type")
        opened = open_sealed(attributes, envelope)
    except RecordInvalid as error:
        return Parcel(kept, None, (), RecordInvalid(error.code), place)
    said = record_hash(attributes.get("tenant"), attributes.get("source", ""), attributes.get("id", ""))
    return replace(parcel_of(opened, place=place), told_as=said)
