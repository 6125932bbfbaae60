"""Open quarantined records in memory, so that they can be taken up, shown or judged."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

from psycopg.rows import DictRow

from crypto.keystore import KeyStore
from crypto.opening import open_leaves
from crypto.roots import Roots
from crypto.sealing import fields_of, open_seal
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.ids import EventId, KeyId, TenantId, ThingId

QUARANTINE_TYPE = "sealdesk.quarantine.v1"
FIELDS = ("record", "told_as")
#: 0.1.0 kept the record alone.
EARLIER_FIELDS = ("record",)


def opened_records(keys: KeyStore, roots: Roots, rows: Sequence[DictRow]) -> Iterator[tuple[DictRow, bytes]]:
    """Open the records whose day key lives, as (row, raw bytes); one whose key is gone is passed over.

    A row has `told_as` besides, as in `services.records.Parcel`.
    """
    by_tenant: dict[TenantId, list[DictRow]] = {}
    for row in rows:
        by_tenant.setdefault(TenantId(row["tenant"]), []).append(row)
    for tenant, group in by_tenant.items():
        places = [(ThingId(row["quarantine_id"]), KeyId(row["key_id"])) for row in group]
        with keys.transaction() as cursor:
            found = open_leaves(Tree(cursor, roots), tenant, places)
        for row, place in zip(group, places, strict=True):
            key = found[place]
            if isinstance(key, Key):
                earlier = fields_of(row["seal"]) == EARLIER_FIELDS
                personal = open_seal(
                    row["seal"],
                    key,
                    tenant=tenant,
                    stream=place[0],
                    event_id=EventId(place[0]),
                    type=QUARANTINE_TYPE,
                    key_id=place[1],
                    fields=EARLIER_FIELDS if earlier else FIELDS,
                )
                told_as = base64.b64decode(personal.get("told_as", ""))
                yield row | {"told_as": told_as}, base64.b64decode(personal["record"])
