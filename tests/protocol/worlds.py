"""Worlds to begin from: both databases, the roots and the ledger as they once stood, to be put back in milliseconds.

A world is a copy of every table in a schema beside them. What the key database ever held is kept, too: a trigger
notes every version of every row, as a thief of all backups and all WAL would have them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from services.embedded import Endpoints
from tests.adversary import TABLES

_TABLES = """
SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name, schemaname || '.' || tablename AS plain
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname NOT LIKE 'world\\_%'
ORDER BY 1
"""
_SEQUENCES = """
SELECT quote_literal(quote_ident(schemaname) || '.' || quote_ident(sequencename)) AS name, last_value
FROM pg_sequences ORDER BY 1
"""
_THIEF = """
CREATE SCHEMA thief;
CREATE FUNCTION thief.steal() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN EXECUTE format('INSERT INTO thief.%I SELECT ($1).*', TG_TABLE_NAME) USING NEW; RETURN NULL; END $$;
"""
_TRIGGER = """
CREATE TABLE thief.{0} (LIKE {0});
CREATE TRIGGER steal AFTER INSERT OR UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION thief.steal()
"""
#: PostgreSQL looks for a deadlock after this long; a second would be most of the time of a schedule.
_QUICK = "-c deadlock_timeout=30ms"


class Worlds:
    """The databases and the folder in which schedules run, and the worlds that were kept."""

    def __init__(self, databases: Endpoints, folder: Path) -> None:
        self._databases = databases
        self._kept = folder / "worlds"
        self.folder = folder / "house"
        self.folder.mkdir()
        self._connections = {
            "log": psycopg.connect(databases.log_dsn, autocommit=True, row_factory=dict_row),
            "keys": psycopg.connect(databases.keys_dsn, autocommit=True, row_factory=dict_row),
        }
        self._scripts: dict[tuple[str, str], str] = {}
        self.sql("keys", _THIEF + "".join(_TRIGGER.format(table) + ";" for table in TABLES))

    def close(self) -> None:
        """Close our connections."""
        for connection in self._connections.values():
            connection.close()

    def seen_by(self, process: str) -> Endpoints:
        """Give the databases to a process, whose sessions go by its name."""
        named = {"application_name": process, "options": _QUICK}
        log, keys = (make_conninfo(dsn, **named) for dsn in (self._databases.log_dsn, self._databases.keys_dsn))
        return Endpoints(log, keys, None)

    def sql(self, which: str, statement: str) -> list[dict[str, Any]]:
        """Read or change rows behind everybody's back."""
        cursor = self._connections[which].execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def keep(self, name: str) -> None:
        """Keep everything as it stands now, as a world of that name."""
        for which in self._connections:
            tables = self.sql(which, _TABLES)
            schema = f'"world_{name}"'
            self.sql(which, f"CREATE SCHEMA {schema}")
            script = ["BEGIN", "SET LOCAL session_replication_role = replica"]
            for table in tables:
                kept = f'{schema}."{table["plain"]}"'
                self.sql(which, f"CREATE TABLE {kept} AS TABLE {table['name']}")
                script += [
                    f"DELETE FROM {table['name']}",
                    f"INSERT INTO {table['name']} OVERRIDING SYSTEM VALUE TABLE {kept}",
                ]
            for sequence in self.sql(which, _SEQUENCES):
                value, called = sequence["last_value"] or 1, str(sequence["last_value"] is not None).lower()
                script.append(f"SELECT setval({sequence['name']}, {value}, {called})")
            self._scripts[name, which] = ";".join([*script, "COMMIT"])
        shutil.copytree(self.folder, self._kept / name)

    def put_back(self, name: str, *, keys: str | None = None, log: str | None = None) -> None:
        """Put everything back as it stood in a world; `keys` and `log` name other, older ones for the databases."""
        for which, world in (("log", log or name), ("keys", keys or name)):
            self.sql(which, self._scripts[world, which])
        if keys is not None:
            # A thief does not forget what was restored over.
            self.sql("keys", ";".join(f'INSERT INTO thief.{one} TABLE "world_{name}"."thief.{one}"' for one in TABLES))
        shutil.rmtree(self.folder)
        shutil.copytree(self._kept / name, self.folder)

    def stolen(self) -> dict[str, list[dict[str, Any]]]:
        """Give every version of every row that the key database ever held, by table, since the first world."""
        return {table: self.sql("keys", f"SELECT DISTINCT * FROM thief.{table}") for table in TABLES}
