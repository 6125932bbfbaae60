"""A house whose ledger is in a topic, with its copy in a bucket: shreds, restores and checks as with files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from crypto.integrity import Integrity
from domain.errors import LedgerBroken
from services import gate
from services.drill import Copies
from services.embedded import Endpoints
from services.kafka.connecting import Broker
from services.settings import Settings
from services.wiring import House, house, now
from tests import buckets
from tests.desks import Desk

#: kafka-python forgets sockets that it was still connecting.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with buckets.serving() as address:
        yield address


def places(broker: Broker, server: str) -> dict[str, str]:
    """Name a topic and a prefix of the locked bucket that nobody else has."""
    name = uuid4().hex
    return {
        "SEALDESK_KAFKA": broker.bootstrap,
        "SEALDESK_LEDGER": f"kafka://{name}",
        "SEALDESK_LEDGER_COPY": f"s3://{buckets.LOCKED}/{name}?endpoint={server}",
    }


@contextmanager
def opened(databases: Endpoints, folder: Path, places: dict[str, str]) -> Iterator[House]:
    environ = {
        "SEALDESK_LOG_DSN": databases.log_dsn,
        "SEALDESK_KEYS_DSN": databases.keys_dsn,
        "SEALDESK_ROOTS": str(folder / "roots"),
        "SEALDESK_SIGNING": str(folder / "signing"),
        **places,
    }
    with house(Settings.read(None, environ), databases) as made:
        made.shredding.resume()
        yield made


def names(desk: Desk) -> set[str]:
    return {row["name"] for row in desk.contacts() if isinstance(row.get("name"), str)}


def test_a_restored_copy_is_brought_up_to_the_ledger_also_from_the_bucket_alone(
    databases: Endpoints, broker: Broker, server: str, tmp_path: Path
) -> None:
    where, copies = places(broker, server), Copies(databases)
    try:
        with opened(databases, tmp_path, where) as made:
            desk = Desk(made)
            for number, name in ((1, "ann"), (2, "bob"), (3, "cy")):
                desk.happens("contact.created", f"contact {number}", id=number, name=name)
        copies.make("b0")
        with opened(databases, tmp_path, where) as made:
            desk = Desk(made)
            assert desk.shred("contact 1")["residue"]["found"] == 0
            assert desk.shred("contact 2")["residue"]["found"] == 0
            assert made.ledger.head() == 2
            gate.check(made.facts, made.keys, made.ledger)
        copies.restore("b0")
        # The topic is gone with its cluster, and the bucket fills a new one.
        with opened(databases, tmp_path, where | {"SEALDESK_LEDGER": f"kafka://{uuid4().hex}"}) as made:
            assert names(Desk(made)) == {"cy"}
            assert [line.number for line in made.ledger.read()] == [1, 2]
            assert Integrity(made.keys, made.roots, made.ledger, now).check().is_clean
    finally:
        copies.drop()


def test_a_ledger_made_anew_in_both_places_stops_the_start(
    databases: Endpoints, broker: Broker, server: str, tmp_path: Path
) -> None:
    with opened(databases, tmp_path, places(broker, server)) as made:
        desk = Desk(made)
        desk.happens("contact.created", "contact 1", id=1, name="ann")
        desk.shred("contact 1")
    with pytest.raises(LedgerBroken, match="behind"), opened(databases, tmp_path, places(broker, server)):
        pass
