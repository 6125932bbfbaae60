"""A house in one process, whose login may be everything: each part of it works under its own role all the same."""

from __future__ import annotations

from pathlib import Path

import psycopg

from crypto.roles import Role
from services.embedded import Endpoints
from services.rights import INTAKE, KEEPER, READER
from tests.desks import Desk, desk_house

ROLES_AT_WORK = """
    SELECT DISTINCT application_name FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def test_each_part_of_a_house_of_one_process_works_under_its_own_role(databases: Endpoints, tmp_path: Path) -> None:
    with desk_house(databases, tmp_path) as house:
        desk = Desk(house)
        desk.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
        desk.contacts()
        desk.shred("contact 1")
        with psycopg.connect(databases.log_dsn) as log, psycopg.connect(databases.keys_dsn) as keys:
            for connection, wanted in ((log, set(Role)), (keys, {INTAKE, READER, KEEPER})):
                found = connection.execute(ROLES_AT_WORK).fetchall()
                assert {Role(role) for (role,) in found} == wanted
