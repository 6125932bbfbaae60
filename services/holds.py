"""Holds: what forbids the shred of a person or a thing, until somebody lifts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from crypto.keystore import KeyStore
from crypto.roots import Roots
from crypto.tree import Tree
from domain.errors import ReferenceUnknown
from domain.ids import TenantId
from domain.requests import HoldPlaced, place_hold, release_hold
from services.desk_words import as_text, from_text, open_words, seal_words
from services.finding import Found
from services.privacy import Privacy


class Holds:
    """Place, lift and list holds."""

    def __init__(self, privacy: Privacy, keys: KeyStore, roots: Roots, clock: Callable[[], datetime]) -> None:
        self._privacy = privacy
        self._keys = keys
        self._roots = roots
        self._clock = clock

    def add(self, tenant: TenantId, found: Found, *, actor: str, why: str) -> UUID:
        """Forbid the shred of what was found. Returns the id of the hold.

        Raises:
            ShredRefused: a shred of it was begun already.
            TenantIsClosed: the tenant was closed meanwhile; the hold comes too late.
        """
        hold = uuid4()
        words = as_text(seal_words(self._keys, self._roots, tenant, hold, actor=actor, why=why))
        at = self._clock()
        cases = [found.id] if found.person is None else [found.id, found.person]
        self._privacy.decide(
            cases, lambda case: place_hold(case, hold=hold, tenant=tenant, target=found.id, words=words, at=at)
        )
        with self._keys.transaction() as cursor:
            # A closing that looked for holds before this one stood is over by now, or has not looked yet.
            Tree(cursor, self._roots).refuse_closed(tenant)
        return hold

    def release(self, tenant: TenantId, hold: UUID, *, actor: str, why: str) -> None:
        """Lift a hold.

        Raises:
            ReferenceUnknown: there is no such hold.
        """
        cases = [event.originator_id for event in self._standing(tenant) if event.hold == hold]
        if not cases:
            raise ReferenceUnknown("there is no such hold; list them with: sealdesk hold list")
        words = as_text(seal_words(self._keys, self._roots, tenant, uuid4(), actor=actor, why=why))
        at = self._clock()
        self._privacy.decide(cases, lambda case: release_hold(case, hold=hold, words=words, at=at))

    def _standing(self, tenant: TenantId) -> Sequence[HoldPlaced]:
        return [event for event in self._privacy.holds() if event.tenant == tenant]

    def list(self, tenant: TenantId) -> list[dict[str, Any]]:
        """List the holds that stand: id, what is held (inside id), since when, by whom and why."""
        return [
            {
                "hold": str(event.hold),
                "target": str(event.target),
                "since": event.at.isoformat(),
                **open_words(self._keys, self._roots, tenant, event.hold, from_text(event.words)),
            }
            for event in self._standing(tenant)
            if event.originator_id == event.target
        ]
