"""Purges: what lay in the trash for long enough, and what upstream deleted for good.

A purge is a shred of a thing, with all that belongs to one: holds, the brake, a ledger line, a certificate. What
upstream orders waits for an officer, unless the tenant trusts its upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from crypto.keystore import KeyStore
from crypto.roots import Roots
from crypto.tree import Tree
from domain.calls import CallPurged
from domain.chats import ChatPurged
from domain.errors import ShredRefused
from domain.ids import ThingId
from domain.tickets import TicketDeleted, TicketPurged, TicketRestored
from projections import tickets
from services import finding
from services.effects import Effect
from services.finding import Found
from services.log import Facts
from services.shredding import Order, Shredding
from services.tenants import Tenant

#: Types by which upstream asks that something goes for good.
PURGES = frozenset({TicketPurged.TYPE, CallPurged.TYPE, ChatPurged.TYPE})
#: Streams that are read at once.
PAGE = 200

#: The data are no longer necessary for what they were collected for.
GROUND = "art17-1-a"


class Purging:
    """Find what is due to be purged, and purge it. `project` brings every read model to the head of the log."""

    def __init__(
        self,
        facts: Facts,
        keys: KeyStore,
        roots: Roots,
        shredding: Shredding,
        project: Callable[[], object],
        clock: Callable[[], datetime],
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._shredding = shredding
        self._project = project
        self._clock = clock

    def due(self, tenant: Tenant, *, asked: bool = False) -> list[Found]:
        """Find what was in the trash for as long as the tenant wants, and what upstream may purge by itself.

        With `asked`, also what waits for an officer.
        """
        return self._found(
            tenant,
            trashed_before=self._clock() - timedelta(days=tenant.trash_days),
            asked=asked or tenant.trusts_purges,
        )

    def waiting(self, tenant: Tenant) -> list[Found]:
        """Find what upstream asked to be purged and nobody has agreed to yet."""
        return [] if tenant.trusts_purges else self._found(tenant, trashed_before=None, asked=True)

    def effect(self, wanted: Sequence[Found]) -> Effect:
        """Count what a purge would take. Nothing is changed."""
        return sum((self._shredding.effect(found) for found in wanted), Effect())

    def purge(
        self, tenant: Tenant, wanted: Sequence[Found], *, actor: str, expect: int | None = None
    ) -> list[dict[str, Any] | ShredRefused]:
        """Purge: a certificate each, or why it was refused.

        Raises:
            ShredRefused: the brake stands in the way of all of them; nothing was changed.
        """
        return self._shredding.request_all(wanted, Order(tenant.id, GROUND, actor, expect=expect))

    def _found(self, tenant: Tenant, *, trashed_before: datetime | None, asked: bool) -> list[Found]:
        self._project()
        with self._facts.connection() as connection:
            things: list[ThingId] = tickets.purgeable(connection, tenant.id, trashed_before=trashed_before, asked=asked)
        confirmed = self._confirmed(things, trashed_before=trashed_before, asked=asked)
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            return [finding.inside(tree, thing) for thing in things if thing in confirmed]

    def _confirmed(self, things: Sequence[ThingId], *, trashed_before: datetime | None, asked: bool) -> set[ThingId]:
        """Choose those of which the log says so itself: what a read model says is up to the projector."""
        trashed: dict[ThingId, datetime] = {}
        wished: set[ThingId] = set()
        for at in range(0, len(things), PAGE):
            for fact in self._facts.streams(things[at : at + PAGE]):
                if fact.type == TicketDeleted.TYPE:
                    trashed[fact.stream] = fact.occurred_at
                elif fact.type == TicketRestored.TYPE:
                    trashed.pop(fact.stream, None)
                elif fact.type in PURGES:
                    wished.add(fact.stream)
        old = {thing for thing, since in trashed.items() if trashed_before is not None and since <= trashed_before}
        return old | wished if asked else old
