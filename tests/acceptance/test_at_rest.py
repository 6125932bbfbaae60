"""No personal value is at rest, before or after a shred: looked for byte by byte in everything the servers wrote.

The servers run as talkative as they can be (every statement logged with its parameters, nothing compressed), the values
are random, and a control that is planted in clear has to be found.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psycopg
import pytest

from domain.personal import Kind, Reference
from services.embedded import serving
from services.reading import Reveal
from services.records import parcel_of
from services.settings import Settings
from services.shredding import Order
from services.wiring import House, house

TALKATIVE = {
    "log_statement": "all",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_min_error_statement": "error",
    "log_min_messages": "notice",
    "log_error_verbosity": "verbose",
    "wal_compression": "off",
}


def _secret() -> str:
    return f"Zq{secrets.token_hex(9)}"


def _forms(value: str) -> list[bytes]:
    """Write a value in every form in which it could lie around."""
    raw = value.encode()
    shifted = [base64.b64encode(b"\0" * pad + raw)[4 if pad else 0 : -4] for pad in (0, 1, 2)]
    escaped = json.dumps(f"é{value}")[1:-1].encode()
    return [raw, escaped, raw.hex().encode(), raw.hex().upper().encode(), value.encode("utf-16-le"), *shifted]


def _places(folder: Path, values: list[str], *, since: float = 0) -> list[str]:
    """Find the files below a folder, written since a time, that hold one of the values in any form."""
    forms = [form for value in values for form in _forms(value)]
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since:
            content = path.read_bytes()
            found.extend(str(path.relative_to(folder)) for form in forms if form in content)
    return found


class Planted:
    """A house with values planted in every kind of record, good and bad."""

    def __init__(self, folder: Path, opened: House) -> None:
        self.folder = folder
        self.since = time.time()
        self.house = opened
        self.values: list[str] = []
        self.email = f"{self.secret().lower()}@example.org"
        self.values.append(self.email)
        self.tenant = opened.tenants.add("acme")
        self.records = [
            self._event("contact.created", id=1, name=self.secret(), email=self.email, phone="+4930" + self._digits()),
            self._event(
                "ticket.opened",
                id=20,
                requester_id=1,
                subject=self.secret(),
                description=self.secret() * 3,
                type=self.secret(),
                custom_fields={self.secret(): self.secret()},
                **{self.secret(): self.secret()},
            ),
            self._event("ticket.replied", ticket_id=20, body=self.secret(), cc_emails=[f"{self.secret()}@example.net"]),
            self._event("ticket.rated", ticket_id=20, rating=103, feedback=self.secret()),
            # What cannot be taken is kept, and has to be sealed as well.
            self._event("ticket.replied", ticket_id=999, body=self.secret()),
            self._event("contact.created", id=2, email=self.secret()),
            self._event("ticket.opened", id=[self.secret()], email={self.secret(): 1}),
            f"not json {self.secret()}".encode(),
            orjson.dumps({"type": self.secret(), "tenant": self.secret(), self.secret(): self.secret()}),
        ]

    def secret(self) -> str:
        self.values.append(_secret())
        return self.values[-1]

    def _digits(self) -> str:
        digits = str(secrets.randbelow(10**9)).zfill(9)
        self.values.append("4930" + digits)
        return digits

    def _event(self, type_: str, **data: object) -> bytes:
        event = {
            "specversion": "1.0",
            "id": self.secret(),
            "source": self.secret(),
            "type": f"sealdesk.{type_}.v1",
            "tenant": "acme",
            "time": "2026-03-01T12:00:00Z",
            "data": data,
        }
        return orjson.dumps(event)

    def take(self) -> None:
        parcels = [parcel_of(raw, "acme") for raw in self.records]
        tally = self.house.intake.take(parcels, at=datetime.now(UTC))
        assert (tally.stored, tally.quarantined) == (4, 5)
        self.house.projecting.catch_up()

    def shred(self) -> None:
        found = self.house.shredding.find(self.tenant.id, Reference(Kind.EMAIL, self.email))
        order = Order(self.tenant.id, "art17-1-a", self.secret(), self.secret(), self.secret(), living=True)
        self.house.shredding.request(found, order)


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Planted]:
    settings = Settings.read(tmp_path / "data", {})
    with serving(settings, extra=TALKATIVE) as endpoints, house(settings, endpoints) as opened:
        yield Planted(tmp_path / "data", opened)


def test_no_personal_value_is_at_rest_before_or_after_a_shred(planted: Planted) -> None:
    planted.take()
    revealed = orjson.dumps(
        list(planted.house.reading.tickets(planted.tenant.id, Reveal(planted.secret(), planted.secret()), all=True))
    ).decode()
    assert sum(value in revealed for value in planted.values) > 5
    _checkpoint(planted)
    assert _places(planted.folder, planted.values, since=planted.since) == []
    planted.shred()
    for name in ("contacts", "tickets", "reports", "erasures"):
        planted.house.projecting.rebuild(name)
    _checkpoint(planted)
    assert _places(planted.folder, planted.values, since=planted.since) == []


def test_a_control_in_clear_is_found_in_heap_wal_and_server_log(planted: Planted) -> None:
    control = _secret()
    with psycopg.connect(planted.house.endpoints.log_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE control (words text)")
        connection.execute("INSERT INTO control VALUES (%s)", (control,))
    _checkpoint(planted)
    places = " ".join(_places(planted.folder, [control], since=planted.since))
    assert "/base/" in places
    assert "/pg_wal/" in places
    assert ".log" in places


def _checkpoint(planted: Planted) -> None:
    for dsn in (planted.house.endpoints.log_dsn, planted.house.endpoints.keys_dsn):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
