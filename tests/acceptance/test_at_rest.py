"""No personal value is at rest, before or after a shred: looked for byte by byte in everything the servers wrote.

The servers run as talkative as they can be (every statement logged with its parameters, nothing compressed), the values
are random, and a control that is planted in clear has to be found. A record of every type in the catalogue has a value
in each field that can hold one, and every file has one in its name and in what it holds.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest

from domain.catalogue import CATALOGUE, INTERNAL, Plan
from domain.fact import Effect
from domain.personal import Kind, Names, Reference
from services.blobs.stores import FolderBlobs
from services.embedded import serving
from services.projecting import MODELS
from services.reading import Reveal
from services.records import parcel_of
from services.settings import Settings
from services.shredding import Order
from services.wiring import House, house
from tests.records import ID, whole

TALKATIVE = {
    "log_statement": "all",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_min_error_statement": "error",
    "log_min_messages": "notice",
    "log_error_verbosity": "verbose",
    "wal_compression": "off",
}


#: Every value of a run begins alike, so that all of them are looked for at once. Numbers do, too.
STEM = f"zq{secrets.token_hex(6)}"
DIGITS = str(secrets.randbelow(10**7)).zfill(7)
NUMBER = str(secrets.randbelow(9 * 10**10) + 10**10)
STEMS = [STEM, f"4930{DIGITS}", NUMBER]

_PUBLISHABLE = [plan for type_, plan in CATALOGUE.items() if type_ not in INTERNAL]
_THINGS = sorted({plan.record.THING for plan in _PUBLISHABLE})


def _secret() -> str:
    return f"{STEM}{secrets.token_hex(6)}"


def _turn(plan: Plan) -> int:
    """Say when a record of a type can come: what makes things, what happens to them, what edits, what ends them."""
    effect = plan.record.EFFECT
    return 3 if effect is Effect.ENDS else 2 if effect is not None else not plan.record.OPENS


def _part_id(plan: Plan, mark: Names) -> int:
    """Give the id of a part: one for each type that makes a part; whatever else names one, names the first."""
    makers = [
        other.record
        for other in _PUBLISHABLE
        if other.record.THING == plan.record.THING
        and other.record.EFFECT is None
        and ("part", mark.kind) in _roles(other)
    ]
    makes = mark.role == "part" and plan.record in makers
    return int(f"{NUMBER}{_THINGS.index(plan.record.THING):02}{makers.index(plan.record) if makes else 0}")


def _roles(plan: Plan) -> set[tuple[str, Kind]]:
    return {(mark.role, mark.kind) for _, mark in plan.names}


def _forms(value: str) -> list[bytes]:
    """Write a value in every form in which it could lie around."""
    raw = value.encode()
    shifted = [base64.b64encode(b"\0" * pad + raw)[4 if pad else 0 : -4] for pad in (0, 1, 2)]
    escaped = json.dumps(f"é{value}")[1:-1].encode()
    return [raw, escaped, raw.hex().encode(), raw.hex().upper().encode(), value.encode("utf-16-le"), *shifted]


def _places(folder: Path, stems: list[str], *, since: float = 0) -> list[str]:
    """Find the files below a folder, written since a time, that hold a value that begins so, in any form."""
    forms = [form for stem in stems for form in _forms(stem)]
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
        self.email = f"{self.secret()}@example.org"
        self.values.append(self.email)
        self.tenant = opened.tenants.add("acme")
        self.files: list[Reference] = []
        #: What makes things comes before what edits them, and what ends them last.
        self.whole = [self._whole(plan) for plan in sorted(_PUBLISHABLE, key=_turn)]
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
        digits = DIGITS + str(secrets.randbelow(100)).zfill(2)
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

    def _whole(self, plan: Plan) -> tuple[Plan, dict[str, Any]]:
        """Write a record with a value in every field that can hold one: texts, words, addresses, names of fields."""
        plain = json.dumps(whole(plan, "PLANTED")).replace(str(ID), f"{NUMBER}999")
        data: dict[str, Any] = json.loads(re.sub("PLANTED", lambda _: self.secret(), plain))
        for name, mark in plan.names:
            match mark.kind:
                case Kind.EMAIL:
                    value: Any = f"{self.secret()}@example.org"
                case Kind.PHONE:
                    value = "+4930" + self._digits()
                case Kind.EXTERNAL | Kind.TWITTER | Kind.FACEBOOK:
                    value = self.secret()
                case Kind.GROUP:
                    # The number of a group of the team is a word, and stands in the clear.
                    value = 4
                case kind if kind.is_part:
                    value = _part_id(plan, mark)
                case _:
                    continue
            data[name] = [value] if isinstance(data[name], list) else value
        return plan, data | {self.secret(): {self.secret(): [self.secret()]}}

    def take(self) -> None:
        parcels = [parcel_of(raw, "acme") for raw in self.records]
        tally = self.house.intake.take(parcels, at=datetime.now(UTC))
        assert (tally.stored, tally.quarantined) == (4, 5)
        self.house.projecting.catch_up()

    def take_whole(self, *, ends: bool) -> None:
        """Take a record of every type: those that end something, or all the others, with their files."""
        chosen = [(plan, data) for plan, data in self.whole if (plan.record.EFFECT is Effect.ENDS) == ends]
        raws = [self._event(plan.record.TYPE[len("sealdesk.") : -len(".v1")], **data) for plan, data in chosen]
        tally = self.house.intake.take([parcel_of(raw, "acme") for raw in raws], at=datetime.now(UTC))
        assert (tally.read, tally.stored) == (len(chosen), len(chosen))
        for plan, data in chosen:
            if plan.record.BLOB:
                kind = next(mark.kind for _, mark in plan.names if mark.kind.is_file)
                file = Reference(kind, str(data["id"]))
                self.house.attaching.put(self.tenant.id, file, [f"{self.secret()} {self.email}\n".encode() * 9])
                self.files.append(file)
        self.house.projecting.catch_up()

    def revealed(self) -> str:
        """Read every list and every file, with a reason that is not to be found either."""
        reveal = Reveal(self.secret(), self.secret())
        reading, tenant = self.house.reading, self.tenant.id
        lists = ("contacts", "tickets", "calls", "chats", "forums", "articles", "companies", "groups")
        shown = [list(getattr(reading, name)(tenant, reveal, all=True)) for name in lists]
        files = [b"".join(self.house.attaching.get(tenant, file, reveal)).decode() for file in self.files]
        return orjson.dumps([shown, files]).decode()

    def blobs(self) -> int:
        return sum(path.is_file() for path in (self.folder / "blobs").rglob("*.blob"))

    def shred(self, reference: Reference) -> None:
        found = self.house.shredding.find(self.tenant.id, reference)
        order = Order(self.tenant.id, "art17-1-a", self.secret(), self.secret(), self.secret(), living=True)
        self.house.shredding.request(found, order)


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Planted]:
    settings = Settings.read(tmp_path / "data", {})
    with serving(settings, extra=TALKATIVE) as endpoints, house(settings, endpoints) as opened:
        yield Planted(tmp_path / "data", opened)


def test_no_personal_value_is_at_rest_before_or_after_a_shred(planted: Planted) -> None:
    planted.take()
    planted.take_whole(ends=False)
    revealed = planted.revealed()
    assert sum(value in revealed for value in planted.values) > len(_PUBLISHABLE)
    assert planted.blobs() == len(planted.files) > 5
    _checkpoint(planted)
    assert _places(planted.folder, STEMS, since=planted.since) == []
    planted.take_whole(ends=True)
    planted.shred(Reference(Kind.EMAIL, planted.email))
    planted.shred(Reference(Kind.PERSON, f"{NUMBER}999"))
    assert planted.blobs() < len(planted.files)
    for name in MODELS:
        planted.house.projecting.rebuild(name)
    _checkpoint(planted)
    assert _places(planted.folder, STEMS, since=planted.since) == []


def test_a_control_in_clear_is_found_in_heap_wal_server_log_and_among_the_files(planted: Planted) -> None:
    control = _secret()
    with psycopg.connect(planted.house.endpoints.log_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE control (words text)")
        connection.execute("INSERT INTO control VALUES (%s)", (control,))
    FolderBlobs(planted.folder / "blobs").put(uuid4(), [b"a file in clear: ", control.encode()])
    _checkpoint(planted)
    places = " ".join(_places(planted.folder, STEMS, since=planted.since))
    assert "/base/" in places
    assert "/pg_wal/" in places
    assert ".log" in places
    assert ".blob" in places


def _checkpoint(planted: Planted) -> None:
    for dsn in (planted.house.endpoints.log_dsn, planted.house.endpoints.keys_dsn):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
