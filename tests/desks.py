"""A desk for tests: a house over fresh databases, and short ways to say what happened in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from domain.personal import Kind, Reference
from services.embedded import Endpoints
from services.intake import Tally
from services.reading import Reveal
from services.records import Parcel, parcel_of
from services.settings import Settings
from services.shredding import Order
from services.tenants import Tenant
from services.wiring import House, house

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@contextmanager
def desk_house(endpoints: Endpoints, folder: Path, **more: str) -> Iterator[House]:
    """Open a house over databases that are up, with roots, ledger and signing key in a folder of the test."""
    settings = Settings.read(
        None,
        {
            "SEALDESK_LOG_DSN": endpoints.log_dsn,
            "SEALDESK_KEYS_DSN": endpoints.keys_dsn,
            "SEALDESK_ROOTS": str(folder / "roots"),
            "SEALDESK_LEDGER": str(folder / "ledger"),
            "SEALDESK_SIGNING": str(folder / "signing"),
            **more,
        },
    )
    with house(settings, endpoints) as opened:
        yield opened


class Desk:
    """One tenant, and what happens in it."""

    def __init__(self, opened: House, name: str = "acme") -> None:
        self.house = opened
        self.name = name
        self.tenant: Tenant = opened.tenants.add(name)
        self.said: list[bytes] = []

    def event(self, type_: str, subject: str, at: datetime = AT, id_: str | None = None, /, **data: Any) -> bytes:
        """Write one CloudEvent."""
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": id_ or f"{len(self.said)}",
                "source": "tests",
                "type": f"sealdesk.{type_}.v1",
                "subject": subject,
                "tenant": self.name,
                "time": at.isoformat(),
                "data": data,
            }
        )

    def happens(self, type_: str, subject: str, at: datetime = AT, /, **data: Any) -> Tally:
        """Let one thing happen, and take it in."""
        raw = self.event(type_, subject, at, **data)
        self.said.append(raw)
        return self.take(raw)

    def take(self, *raws: bytes) -> Tally:
        """Take records in as one batch."""
        return self.house.intake.take([parcel_of(raw) for raw in raws], at=datetime.now(UTC))

    def parcels(self) -> list[Parcel]:
        """Give everything that was said so far once more."""
        return [parcel_of(raw) for raw in self.said]

    def shred(self, what: str, **order: Any) -> dict[str, Any]:
        """Shred `contact 1`, `ticket 20` or an address."""
        kind, _, value = what.partition(" ")
        if not value:
            kind, value = "email", what
        kinds = {"contact": Kind.PERSON, "agent": Kind.PERSON, "ticket": Kind.TICKET, "email": Kind.EMAIL}
        found = self.house.shredding.find(self.tenant.id, Reference(kinds[kind], value))
        return self.house.shredding.request(found, Order(self.tenant.id, "test", "tester", **order))

    def tickets(self, *, reveal: bool = True) -> list[dict[str, Any]]:
        """List all tickets, revealed."""
        self.house.projecting.catch_up()
        return list(self.house.reading.tickets(self.tenant.id, Reveal("tester", "test") if reveal else None, all=True))

    def contacts(self, *, reveal: bool = True) -> list[dict[str, Any]]:
        """List all people, revealed."""
        self.house.projecting.catch_up()
        return list(self.house.reading.contacts(self.tenant.id, Reveal("tester", "test") if reveal else None, all=True))

    def ticket(self, number: int) -> dict[str, Any]:
        """Find one ticket by its number upstream."""
        return next(row for row in self.tickets() if row.get("id") == number)

    def reports(self) -> dict[str, Any]:
        """Summarise."""
        self.house.projecting.catch_up()
        return self.house.reading.reports(self.tenant.id)
