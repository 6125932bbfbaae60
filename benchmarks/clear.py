"""The same facts in clear, through the same recorder: no keys, no register, no seals.

This is what intake would cost if nobody could ever be forgotten. Ids come from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from crypto.wrapping import new_key
from domain.ids import EventId, TenantId, ThingId
from services import garbage, schema
from services.intake import digest_of
from services.log import Facts, LogDatastore, SealedFact
from services.records import Draft, Parcel


class ClearFacts:
    """A log whose facts hold everything in clear."""

    def __init__(self, dsn: str) -> None:
        # One database takes both schemas: the second stays empty here.
        schema.create(dsn, dsn)
        self._datastore = LogDatastore(dsn)
        self._facts = Facts(self._datastore)
        self._tenant = TenantId(uuid4())
        self._digests = new_key()
        self._ids: dict[object, UUID] = {}
        self._requesters: dict[UUID, UUID] = {}

    @garbage.looked_for_less()
    def put(self, parcels: Sequence[Parcel]) -> None:
        """Store one batch."""
        self._facts.append([self._fact(draft) for parcel in parcels for draft in parcel.drafts])

    def person(self, number: int) -> UUID:
        """Say under which id the facts of a contact stand."""
        return self._id(("person", str(number)))

    def _fact(self, draft: Draft) -> SealedFact:
        assert draft.subject is not None
        stream = self._id((draft.subject.kind.value, draft.subject.value))
        return SealedFact(
            ThingId(stream),
            self._tenant,
            EventId(uuid4()),
            draft.type,
            digest_of(self._digests, self._tenant, draft),
            0,
            draft.occurred_at,
            draft.data.model_dump(exclude_unset=True),
            (self._owner(draft, stream),),
            None,
        )

    def _owner(self, draft: Draft, stream: UUID) -> UUID:
        requester: Any = getattr(draft.data, "requester_id", None)
        if requester is not None:
            self._requesters[stream] = self._id(("person", str(requester)))
        return self._requesters.get(stream, stream)

    def _id(self, reference: object) -> UUID:
        found = self._ids.get(reference)
        if found is None:
            found = self._ids[reference] = uuid4()
        return found

    def close(self) -> None:
        """Close the connections."""
        self._facts.close()
        self._datastore.close()
