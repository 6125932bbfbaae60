"""A drill: a house that never was is filled, copied, shredded and restored, in every way that may go wrong.

It runs over servers of its own in a folder of its own, and touches nothing else. Each case says what has to hold; the
first that does not is named.

    same_epoch          both databases from before the shreds: these are carried out again, everybody else opens
    after_a_turn        keys from before a turn, whose root is destroyed: refused, and they open nothing
    old_log             a log from before the shreds beside newer keys: all opens but what was shredded
    only_the_log        the same, within an epoch: the log is told again
    only_the_keys       keys older than their log: refused, until the loss is accepted
    ledger_older, ledger_removed, ledger_changed, ledger_added
                        a ledger that is not whole: refused
    standby             keys that lack the last shreds take the place of those of a running house: it stops
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from crypto.turning import Turning
from domain.errors import GateShut, KeysBehind, KeysUnavailable, LedgerBroken, NobodyCanAct, SealdeskError
from domain.personal import Kind, Reference
from services import epochs, gate
from services.embedded import Endpoints, serving
from services.reading import Reveal
from services.records import parcel_of
from services.settings import Settings
from services.shredding import Order
from services.wiring import House, databases, house, now

TENANT = "drill"
PEOPLE = {1: "ann", 2: "bob", 3: "cy"}
#: Who is shredded after the first copy: 3 was merged into 1 by then, and 9 came after it.
GONE, STAYS = (1, 3, 9), 2
_AT = datetime(2026, 1, 5, 9, tzinfo=UTC)


class DrillFailed(NobodyCanAct):
    """A case of the drill did not end as it has to."""


class Copies:
    """Copies of the two databases of a house, as backups would be."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._dsns = {"log": endpoints.log_dsn, "keys": endpoints.keys_dsn}

    def make(self, name: str) -> None:
        """Copy both databases; whoever is connected is thrown out."""
        for which in self._dsns:
            with self._admin(which) as connection:
                connection.execute(f'DROP DATABASE IF EXISTS "{self._copy(which, name)}" WITH (FORCE)'.encode())
            self._create(which, self._copy(which, name), template=self._name(which))

    def restore(self, name: str, *which: str) -> None:
        """Put copies in the place of the databases, or of one of them; whoever is connected is thrown out."""
        for one in which or self._dsns:
            with self._admin(one) as connection:
                connection.execute(f'DROP DATABASE "{self._name(one)}" WITH (FORCE)'.encode())
            self._create(one, self._name(one), template=self._copy(one, name))

    def drop(self) -> None:
        """Drop all copies."""
        for which in self._dsns:
            with self._admin(which) as connection:
                like = f"{self._name(which)}_copy_%"
                for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", (like,)):
                    connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())

    def _create(self, which: str, name: str, template: str) -> None:
        with self._admin(which) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (template,))
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())

    def _name(self, which: str) -> str:
        return str(conninfo_to_dict(self._dsns[which])["dbname"])

    def _copy(self, which: str, name: str) -> str:
        return f"{self._name(which)}_copy_{name}"

    def _admin(self, which: str) -> psycopg.Connection[Any]:
        return psycopg.connect(make_conninfo(self._dsns[which], dbname="template1"), autocommit=True)


class Drill:
    """One run of the drill."""

    def __init__(self, endpoints: Endpoints, settings: Settings) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._copies = Copies(endpoints)
        self._records = 0

    def run(self, progress: Callable[[str], object]) -> dict[str, bool]:
        """Go through every case, in an order in which each finds the house whole. Returns what held, by case.

        Raises:
            DrillFailed: names what did not hold.
        """
        self._fill()
        cases = (
            ("same_epoch", self._same_epoch),
            ("only_the_log", self._only_the_log),
            ("only_the_keys", self._only_the_keys),
            *((f"ledger_{how}", lambda how=how: self._ledger(how)) for how in ("older", "removed", "changed", "added")),
            ("standby", self._standby),
            ("after_a_turn", self._after_a_turn),
            ("old_log", self._old_log),
        )
        held: dict[str, bool] = {}
        for name, case in cases:
            progress(name)
            try:
                case()
            except DrillFailed:
                raise
            except SealdeskError as error:
                raise DrillFailed(f"the case {name} ended otherwise than it has to: {error}") from None
            held[name] = True
        return held

    # -- the house ----------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self) -> Iterator[House]:
        with house(self._settings, self._endpoints) as opened:
            opened.resume()
            yield opened

    def _fill(self) -> None:
        with self._open() as opened:
            opened.tenants.add(TENANT)
            for number, name in PEOPLE.items():
                self._person(opened, number, name)
        self._copies.make("before")
        with self._open() as opened:
            self._person(opened, 9, "zoe")
            self._say(opened, "contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[3])
            for number in (1, 9):
                self._shred(opened, Reference(Kind.PERSON, str(number)))
            self._shred(opened, Reference(Kind.TICKET, "102"))
        self._copies.make("after")

    def _person(self, opened: House, number: int, name: str) -> None:
        address = f"{name}@example.org"
        self._say(opened, "contact.created", f"contact {number}", id=number, name=name, email=address)
        for ticket in (number + 20, number + 100):
            self._say(opened, "ticket.opened", f"ticket {ticket}", id=ticket, requester_id=number, subject=f"of {name}")

    def _say(self, opened: House, what: str, about: str, /, **data: Any) -> int:
        """Take one record in. Returns how many were refused because somebody was shredded."""
        self._records += 1
        event = {"id": str(self._records), "source": "drill", "type": f"sealdesk.{what}.v1", "subject": about}
        event |= {"specversion": "1.0", "tenant": TENANT, "time": _AT.isoformat()}
        tally = opened.intake.take([parcel_of(orjson.dumps(event | {"data": data}))], at=now())
        if tally.quarantined or tally.duplicates:
            raise DrillFailed("a record of the drill was not taken in")
        return tally.refused

    @staticmethod
    def _shred(opened: House, reference: Reference) -> None:
        tenant = opened.tenants.named(TENANT).id
        opened.shredding.request(opened.shredding.find(tenant, reference), Order(tenant, "test", "drill"))

    # -- what has to hold ---------------------------------------------------------------------------------------

    def _check(self, opened: House) -> None:
        """Everybody who was shredded is gone, here and for late records; everybody else opens."""
        opened.projecting.catch_up()
        tenant = opened.tenants.named(TENANT).id
        reveal = Reveal("drill", "drill")
        names = {row["name"] for row in opened.reading.contacts(tenant, reveal, all=True) if _is_text(row.get("name"))}
        texts = {row["subject"] for row in opened.reading.tickets(tenant, reveal, all=True) if _is_text(row["subject"])}
        _hold(names == {PEOPLE[STAYS]}, "the living open, and nobody else")
        _hold(texts == {f"of {PEOPLE[STAYS]}"}, "the tickets of the living open, and no others")
        _hold(sum(opened.residue.of_all(tenant).values()) == 0, "nothing readable is left of the shredded")
        for number in GONE:
            refused = self._say(opened, "contact.updated", f"contact {number}", id=number, name="late")
            _hold(refused == 1, "a late record about somebody shredded is refused")

    def _refused(self, error: type[SealdeskError]) -> None:
        """Nothing is served."""
        try:
            with self._open():
                pass
        except error:
            return
        raise DrillFailed("a house was opened that should have been refused")

    def _same_epoch(self) -> None:
        self._copies.restore("before")
        with self._open() as opened:
            self._check(opened)
        self._copies.restore("after")

    def _only_the_log(self) -> None:
        self._copies.restore("before", "log")
        with self._open() as opened:
            self._check(opened)
        self._copies.restore("after")

    def _only_the_keys(self) -> None:
        self._copies.restore("before", "keys")
        self._refused(GateShut)
        with databases(self._endpoints) as (facts, keys):
            gate.accept_loss(facts, keys)
        with self._open() as opened:
            self._check(opened)
        self._copies.restore("after")

    def _ledger(self, how: str) -> None:
        assert isinstance(self._settings.ledger, Path), "the drill's own ledger is a file"
        path = self._settings.ledger / "ledger.jsonl"
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        match how:
            case "older":
                lines = lines[:-1]
            case "removed":
                lines = [lines[0], *lines[2:]]
            case "changed":
                lines[1] = re.sub(rb'"issue_counter":\d+', b'"issue_counter":0', lines[1])
            case _:
                lines = [*lines, lines[-1]]
        path.write_bytes(b"".join(lines))
        self._refused(LedgerBroken)
        path.write_bytes(whole)

    def _standby(self) -> None:
        with self._open() as opened:
            self._check(opened)
            self._copies.restore("before", "keys")
            try:
                self._check(opened)
            except KeysBehind:
                self._copies.restore("after")
                return
        raise DrillFailed("a running house went on with keys that lack the last shreds")

    def _after_a_turn(self) -> None:
        with self._open() as opened:
            turning = Turning(opened.keys, opened.roots, now)
            turning.turn()
            turning.destroy_older(grace=timedelta(0))
            epochs.certify_destroyed(opened.keys, opened.certifying.recertify, at=now())
            self._check(opened)
        self._copies.make("turned")
        self._copies.restore("before", "keys")
        self._refused(KeysUnavailable)
        self._copies.restore("turned")

    def _old_log(self) -> None:
        self._copies.restore("before", "log")
        with self._open() as opened:
            self._check(opened)


def restore(progress: Callable[[str], object]) -> dict[str, bool]:
    """Run the drill in a temporary folder. Returns what held, by case.

    Raises:
        DrillFailed: names what did not hold.
    """
    with tempfile.TemporaryDirectory(prefix="sealdesk-drill-") as folder:
        places = {name: f"{folder}/{name.lower()}" for name in ("ROOTS", "LEDGER", "SIGNING")}
        environ = {f"SEALDESK_{name}": path for name, path in places.items()}
        settings = Settings.read(Path(folder) / "data", environ)
        with serving(settings) as endpoints:
            return Drill(endpoints, settings).run(progress)


def _hold(is_so: bool, what: str) -> None:
    if not is_so:
        raise DrillFailed(f"this did not hold: {what}")


def _is_text(value: object) -> bool:
    return isinstance(value, str)
