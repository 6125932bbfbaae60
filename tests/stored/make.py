"""Write down what this version of sealdesk stores, for later versions to read: `python -m tests.stored.make FOLDER`.

It takes the example desk in, with a few records more, and copies every table of both databases, the roots, the ledger,
the signing key and what the revealed lists say. Run it before a release, and keep the folder under its version.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from services.embedded import serving
from services.reading import Reveal
from services.records import parcel_of
from services.settings import Settings
from services.wiring import house

EXAMPLE = Path("examples/desk.jsonl")
#: A field that was unknown to 0.1.0 and is declared since.
MORE = {
    "specversion": "1.0",
    "id": "more-1",
    "source": "stored",
    "type": "sealdesk.ticket.replied.v1",
    "subject": "ticket 10",
    "time": "2026-03-05T09:00:00Z",
    "data": {
        "id": 777,
        "ticket_id": 10,
        "incoming": False,
        "body": "See the attached plan.",
        "attachments": [{"id": 4, "name": "plan.png", "size": 114}],
    },
}


def make(folder: Path) -> None:
    """Fill `folder` with what is stored now."""
    with tempfile.TemporaryDirectory() as work:
        places = {f"SEALDESK_{name.upper()}": str(Path(work) / name) for name in ("roots", "ledger", "signing")}
        settings = Settings.read(Path(work) / "data", places)
        with serving(settings) as endpoints, house(settings, endpoints) as opened:
            opened.tenants.add("acme")
            parcels = [parcel_of(line, "acme") for line in EXAMPLE.read_bytes().splitlines()]
            opened.intake.take([*parcels, parcel_of(json.dumps(MORE).encode(), "acme")], at=datetime.now(UTC))
            opened.projecting.catch_up()
            tenant = opened.tenants.named("acme").id
            reveal = Reveal("stored", "made for later versions")
            lists = {
                "tickets": list(opened.reading.tickets(tenant, reveal, all=True)),
                "contacts": list(opened.reading.contacts(tenant, reveal, all=True)),
            }
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "lists.json").write_text(json.dumps(lists, indent=1, sort_keys=True) + "\n")
            for database, dsn in (("log", endpoints.log_dsn), ("keys", endpoints.keys_dsn)):
                _copy(dsn, folder / database)
        for name in ("roots", "ledger", "signing"):
            shutil.copytree(Path(work) / name, folder / name, dirs_exist_ok=True)


def _copy(dsn: str, folder: Path) -> None:
    """Copy the tables and the sequences of one database."""
    folder.mkdir(exist_ok=True)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        for (table,) in rows:
            with (
                open(folder / f"{table}.csv", "wb") as file,
                connection.cursor().copy(f'COPY "{table}" TO STDOUT (FORMAT csv, HEADER)') as copy,
            ):
                for block in copy:
                    file.write(block)
        last = connection.execute("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1").fetchall()
        (folder / "sequences.json").write_text(json.dumps(dict(last)) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
