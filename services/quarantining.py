"""Quarantining: seal whole what cannot be taken, under the key of its day.

A record that comes again has the same id in the quarantine, so it is kept once.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from crypto.sealing import Place as SealPlace
from crypto.sealing import seal
from crypto.tree import LeafOrder, Tree
from crypto.wrapping import Key
from domain.errors import RecordRefused
from domain.ids import EventId, KeyId, TenantId, ThingId
from services.opening_records import FIELDS, QUARANTINE_TYPE
from services.records import Parcel, Place

ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record on its way to the quarantine. `place` is where it stood in Kafka, if it came from there."""

    id: UUID
    tenant: TenantId
    key_id: KeyId
    refusal: RecordRefused
    place: Place | None
    seal: bytes = field(repr=False)


def sealed_records(
    tree: Tree, tenant: TenantId, refused: Sequence[tuple[Parcel, RecordRefused]], at: datetime
) -> list[Quarantined]:
    """Issue the keys of records that cannot be taken, and seal them: one a record, in their order."""
    day = tree.service_key(tenant, "day", at.date().isoformat())
    dedup = tree.service_key(tenant, "dedup").key
    orders = [LeafOrder(quarantine_id(dedup, parcel.raw), KeyId(uuid4()), (day,)) for parcel, _ in refused]
    sealed: list[Quarantined] = []
    for (parcel, refusal), order, key in zip(refused, orders, tree.issue_leaves(tenant, orders), strict=True):
        record = ThingId(order.thing)
        where = SealPlace(tenant, record, EventId(record), QUARANTINE_TYPE, order.key_id, FIELDS)
        body = seal(where, key, {"record": _text(parcel.raw), "told_as": _text(parcel.told_as)})
        sealed.append(Quarantined(record, tenant, order.key_id, refusal, parcel.place, body))
    return sealed


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def quarantine_id(key: Key, raw: bytes) -> UUID:
    """Give a record that cannot be taken one id however often it comes: an HMAC of its bytes, cut to 16."""
    return UUID(bytes=hmac.digest(key.material, b"quarantine" + raw, "sha256")[:ID_BYTES])
