"""A house to measure in: embedded servers in a temporary folder, at default durability, gone at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks import history
from services import wiring
from services.records import Parcel, parcel_of
from services.settings import Settings
from services.wiring import House

#: What the settings have by default, and what both sides of a comparison get.
BATCH = 1_000
VOCABULARY = {"type": ["Question"], "language": ["de"]}


@dataclass(frozen=True, slots=True)
class Ground:
    """A running house with one tenant, and room for databases beside it."""

    house: House
    versions: Mapping[str, str]

    def database(self, name: str) -> str:
        """Make an empty database in the cluster of the log, and say how to reach it."""
        with psycopg.connect(self.house.endpoints.log_dsn, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return make_conninfo(self.house.endpoints.log_dsn, dbname=name)

    def take(self, records: Sequence[bytes]) -> None:
        """Take records in, from bytes in memory to committed facts.

        Raises:
            AssertionError: not all of them were stored, and so there is nothing to compare.
        """
        for batch in batches(records):
            tally = self.house.intake.take(parcels(batch), at=wiring.now())
            assert tally.stored == len(batch), tally


@contextmanager
def ground(*, kafka: bool = False) -> Iterator[Ground]:
    """Start a house, with a broker if one is needed, and stop it."""
    with tempfile.TemporaryDirectory(prefix="sealdesk-bench-") as folder:
        place = Path(folder)
        secrets = {f"SEALDESK_{name}": str(place / name.lower()) for name in ("ROOTS", "LEDGER", "SIGNING")}
        with wiring.opened(Settings.read(place / "data", secrets), kafka=kafka) as house:
            house.tenants.add(history.TENANT, VOCABULARY)
            with psycopg.connect(house.endpoints.log_dsn) as connection:
                postgres = connection.info.parameter_status("server_version") or ""
            yield Ground(house, {"postgres": postgres})


def batches(records: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut records into batches."""
    return (records[start : start + BATCH] for start in range(0, len(records), BATCH))


def parcels(records: Sequence[bytes]) -> list[Parcel]:
    """Parse and validate, as every side of a comparison does."""
    return [parcel_of(record) for record in records]
