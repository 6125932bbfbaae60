"""Two PostgreSQL clusters that can be crashed and started again beneath whoever uses them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from services import embedded, schema
from services.embedded import Endpoints, serving
from services.settings import Settings

Name = Literal["log", "keys"]
#: What is lost with the machine's power is not the matter here, and its disk would be most of the time.
IN_A_HURRY = {"fsync": "off", "max_connections": "100"}


class Databases:
    """The clusters of a data folder. They stay where they are over a restart, so nobody needs to be told."""

    def __init__(self, data: Path, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._settings = Settings.read(data, {})

    def crash(self, name: Name) -> None:
        """End a server and all its sessions at once, without a checkpoint."""
        pid = embedded.status(self._settings)[name]
        assert pid is not None, f"the server of {name} does not run"
        process = psutil.Process(pid)
        # Its own way to crash: it takes its children along, as a kill of it alone would not.
        process.send_signal(signal.SIGQUIT)
        psutil.wait_procs([process], timeout=60)

    def start(self) -> None:
        """Start what does not run, and wait until it answers."""
        with serving(self._settings, extra=IN_A_HURRY):
            pass

    @contextmanager
    def fresh(self, name: str) -> Iterator[Endpoints]:
        """Make a pair of databases with the schema for one test, and drop it with whatever is still connected."""
        made = []
        for dsn in (self.endpoints.log_dsn, self.endpoints.keys_dsn):
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}"')
            made.append(make_conninfo(dsn, dbname=name))
        schema.create(*made)
        yield Endpoints(made[0], made[1], None)
        for dsn in (self.endpoints.log_dsn, self.endpoints.keys_dsn):
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def running(data: Path) -> Iterator[Databases]:
    """Have both servers answer for the block, but for when a test says otherwise."""
    with serving(Settings.read(data, {}), extra=IN_A_HURRY) as endpoints:
        yield Databases(data, endpoints)
