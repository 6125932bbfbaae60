"""What each database role may do, and what it must not, tried on real logins."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege

from crypto.keystore import KeyStore
from crypto.roles import Role, as_role
from domain.errors import GateShut, KeysUnavailable, LogUnavailable, RightMissing, SettingsWrong
from services import key_work, rights, schema, wiring
from services.cli.app import run
from services.embedded import Endpoints, serving
from services.generating import Wanted, history
from services.logins import provide, read_logins
from services.reading import Reveal
from services.records import Parcel, parcel_of
from services.rights import DECLARED, ENTER, INTAKE, KEEPER, KEYS, LOG, PROJECTOR, READER
from services.settings import Settings
from services.wiring import House
from tests.desks import Desk, desk_house
from tests.logins import Logins, desk_in, house_of, kept, logins, projected

WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rights")


@pytest.fixture(scope="module")
def lived_in(module_databases: Endpoints, folder: Path) -> Endpoints:
    """A house in which something of everything is stored: people, tickets, a quarantined record, a reveal, a shred."""
    with desk_house(module_databases, folder) as house:
        desk = Desk(house)
        for number in range(1, 4):
            desk.happens("contact.created", f"contact {number}", id=number, name="Ann", email=f"a{number}@example.org")
            desk.happens("ticket.opened", f"ticket {number}", id=number, requester_id=number, subject="secret")
        desk.happens("ticket.opened", "ticket 9", id="nine", subject={"no": "text"})
        desk.happens("ticket.replied", "ticket 77", body="waits", incoming=True)
        house.recipients.add(desk.tenant.id, "crm", ["erased"])
        house.pairs.current(desk.tenant.id, at=wiring.now())
        desk.tickets()
        desk.contacts()
        desk.shred("contact 3")
    return module_databases


@pytest.fixture(scope="module")
def names(lived_in: Endpoints) -> Iterator[Logins]:
    with logins(lived_in) as made:
        yield made


# -- the declaration ----------------------------------------------------------------------------------------------


def relations(dsn: str) -> dict[str, str]:
    with psycopg.connect(dsn) as owner:
        return dict(
            owner.execute(
                "SELECT relname::text, relkind::text FROM pg_class"
                " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
            ).fetchall()
        )


@pytest.mark.parametrize("which", ["log", "keys"])
def test_every_table_and_sequence_is_declared_and_every_declared_one_is_there(lived_in: Endpoints, which: str) -> None:
    dsn, declared = (lived_in.log_dsn, LOG) if which == "log" else (lived_in.keys_dsn, KEYS)
    assert relations(dsn).keys() == declared.keys(), "declare it in services/rights.py"


def test_a_table_that_is_not_declared_is_for_nobody_but_its_owner(databases: Endpoints) -> None:
    with psycopg.connect(databases.keys_dsn, autocommit=True) as owner:
        owner.execute("CREATE TABLE new_one (one int); GRANT ALL ON new_one TO PUBLIC, sealdesk_keeper")
        rights.grant_keys(owner)
        for role in ENTER["keys"]:
            for right in ("SELECT", *WRITES):
                asked = owner.execute("SELECT has_table_privilege(%s, 'new_one', %s)", (role, right)).fetchone()
                assert asked == (False,), (role, right)


def said(rights_: str) -> dict[str, set[str] | None]:
    """Read a declaration: each right with the columns that it is for, None for all."""
    found = re.findall(r"(\w+)(?: \(([^)]*)\))?(?:, |$)", rights_)
    return {right: {name.strip() for name in columns.split(",")} if columns else None for right, columns in found}


@pytest.mark.parametrize("which", ["log", "keys"])
def test_each_role_has_on_every_table_and_column_what_is_declared_and_nothing_else(
    lived_in: Endpoints, which: str
) -> None:
    dsn, declared = (lived_in.log_dsn, LOG) if which == "log" else (lived_in.keys_dsn, KEYS)
    kinds, tried = relations(dsn), 0
    with psycopg.connect(dsn, autocommit=True) as owner:
        for table, given in declared.items():
            columns = [
                name
                for (name,) in owner.execute(
                    "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                    " AND NOT attisdropped",
                    (f"public.{table}",),
                )
            ]
            for role in ENTER[which]:
                # The keeper may be two others; without saying so it is neither.
                theirs = [given[role]] if role in given else []
                may = [said(one) for one in theirs]
                if kinds[table] == "S":
                    for right in ("USAGE", "SELECT", "UPDATE"):
                        wanted = any(right in one for one in may) or False
                        got = owner.execute(
                            "SELECT has_sequence_privilege(%s, %s, %s)", (role, table, right)
                        ).fetchone()
                        assert got == (wanted,), (role, table, right)
                    continue
                for right in ("DELETE", "TRUNCATE", "TRIGGER", "MAINTAIN"):
                    got = owner.execute("SELECT has_table_privilege(%s, %s, %s)", (role, table, right)).fetchone()
                    assert got == (any(right in one for one in may),), (role, table, right)
                for column in columns:
                    for right in ("SELECT", "INSERT", "UPDATE", "REFERENCES"):
                        wanted = any(right in one and (one[right] is None or column in one[right]) for one in may)  # type: ignore[operator]
                        got = owner.execute(
                            "SELECT has_column_privilege(%s, %s, %s, %s)", (role, table, column, right)
                        ).fetchone()
                        assert got == (wanted,), (role, table, column, right)
                        tried += 1
    assert tried > 500


def test_what_may_never_change_is_declared_for_nobody() -> None:
    for table in ("facts_events", "privacy_events", "access_lines"):
        for given in DECLARED[table].values():
            assert {"UPDATE", "DELETE", "TRUNCATE"}.isdisjoint(said(given))
    assert not any("TRUNCATE" in said(given) for table in DECLARED.values() for given in table.values())


@pytest.mark.parametrize("role", Role)
def test_a_role_is_a_plain_group(lived_in: Endpoints, role: Role) -> None:
    with psycopg.connect(lived_in.log_dsn) as owner:
        found = owner.execute(
            "SELECT rolsuper, rolcanlogin, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles"
            " WHERE rolname = %s",
            (role,),
        ).fetchone()
    assert found == (False,) * 6


def test_rights_that_were_given_by_hand_are_taken_back(databases: Endpoints) -> None:
    with psycopg.connect(databases.keys_dsn, autocommit=True) as owner:
        owner.execute("GRANT ALL ON leaves TO sealdesk_intake; GRANT UPDATE (wrapped) ON subjects TO PUBLIC")
        rights.grant_keys(owner)
        for table in ("leaves", "subjects"):
            got = owner.execute(
                "SELECT has_column_privilege('sealdesk_intake', %s, 'wrapped', 'UPDATE')", (table,)
            ).fetchone()
            assert got == (False,)


def test_two_that_grant_at_once_do_not_fail_each_other(databases: Endpoints) -> None:
    failed: list[BaseException] = []

    def grant() -> None:
        try:
            with psycopg.connect(databases.log_dsn, autocommit=True) as owner:
                rights.grant_log(owner)
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=grant) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_copy_of_a_database_gets_what_a_copy_lacks(databases: Endpoints) -> None:
    with psycopg.connect(databases.keys_dsn, autocommit=True) as owner:
        # `databases` are copies of a template: their tables have rights, and PUBLIC is let in.
        owner.execute(f"GRANT CONNECT ON DATABASE {owner.info.dbname} TO PUBLIC".encode())
        assert not rights.stand(owner, "keys")
        rights.see_to(owner, "keys")
        assert rights.stand(owner, "keys")


# -- what each must not -------------------------------------------------------------------------------------------

#: Statements that a role must not get through, with the role that may (None: nobody but the owner).
KEYS_FORBIDDEN: list[tuple[Role, str, Role | None]] = [
    *[
        (role, statement, KEEPER)
        for role in (INTAKE, READER)
        for statement in (
            "UPDATE leaves SET wrapped = NULL",
            "UPDATE leaves SET wrapped = '\\x00'",
            "UPDATE leaves SET line = 1, mark = '\\x00', wrapped = NULL WHERE line IS NULL",
            "UPDATE leaves SET owner = owner",
            "UPDATE leaves SET co_owners = NULL",
            "UPDATE leaves SET bound = ''",
            "UPDATE leaves SET thing_id = gen_random_uuid()",
            "DELETE FROM leaves",
            "UPDATE subjects SET wrapped = NULL WHERE line IS NULL",
            "UPDATE subjects SET line = 9, mark = '\\x00', wrapped = NULL WHERE line IS NULL",
            "UPDATE subjects SET parent = gen_random_uuid()",
            "UPDATE subjects SET bound = ''",
            "UPDATE subjects SET losses = 0",
            "DELETE FROM subjects",
            "UPDATE wrapping_keys SET wrapped = '\\x00'",
            "UPDATE wrapping_keys SET epoch = 0",
            "UPDATE wrapping_keys SET losses = 0",
            "UPDATE wrapping_keys SET children = 0",
            "DELETE FROM wrapping_keys",
            "UPDATE things SET line = 1, mark = '\\x00' WHERE line IS NULL",
            "DELETE FROM things",
            "DELETE FROM register",
            "UPDATE register SET sealed = '\\x00' WHERE told",
            "UPDATE register SET page = gen_random_uuid() WHERE told",
            "UPDATE register SET told = false WHERE told",
            "UPDATE register SET blind_index = '\\x00' || blind_index",
            "UPDATE register_backs SET sealed = '\\x00'",
            "DELETE FROM register_backs",
            "DELETE FROM fences",
            "UPDATE fences SET tag = tag",
            "UPDATE fences SET day = day - 1",
            "UPDATE shreds SET step = 'abandoned'",
            "DELETE FROM source_marks",
            "UPDATE shreds SET line = line + 100",
            "UPDATE epochs SET destroyed_at = now(), effective_at = now()",
            "DELETE FROM outbox_pages",
            "UPDATE outbox SET number = NULL, deadline = NULL",
            "UPDATE tellings SET due = false",
            "SELECT sealed FROM outbox_pages",
            "UPDATE pairs SET bound = ''",
            "DELETE FROM pairs",
            "UPDATE recipients SET name = ''",
            "UPDATE issued SET issue = 0",
            "UPDATE kept SET position = 0",
            "SELECT nextval('news_number')",
            "INSERT INTO leaves (thing_id, key_id, tenant, owner, bound, line, mark)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '', 1, '')",
        )
    ],
    (READER, "INSERT INTO fences (tenant, tag, period, day) VALUES (gen_random_uuid(), '', '', now())", INTAKE),
    (READER, "UPDATE things SET owner = owner", INTAKE),
    (READER, "UPDATE subjects SET agent = NOT agent", INTAKE),
    (READER, "SELECT * FROM subjects FOR SHARE", INTAKE),
    (READER, "UPDATE issued SET issue = issue + 1", INTAKE),
    (INTAKE, "SELECT certificate FROM shreds", READER),
    (INTAKE, "SELECT * FROM epochs", READER),
    (INTAKE, "SELECT * FROM register_backs", READER),
    *[
        (role, statement, None)
        for role in (INTAKE, READER, KEEPER)
        for statement in (
            "TRUNCATE leaves",
            "DROP TABLE fences",
            "ALTER TABLE register DISABLE TRIGGER ALL",
            "CREATE TABLE mine (one int)",
            "CREATE SCHEMA mine",
            "CREATE TEMPORARY TABLE mine (one int)",
            "CREATE ROLE somebody",
            "SET ROLE sealdesk",
            "SET session_replication_role = replica",
            "COPY leaves TO PROGRAM 'true'",
        )
    ],
]
LOG_FORBIDDEN: list[tuple[Role, str, Role | None]] = [
    *[
        (role, statement, None)
        for role in Role
        for statement in (
            "UPDATE facts_events SET seal = NULL",
            "DELETE FROM facts_events",
            "TRUNCATE facts_events",
            "INSERT INTO facts_events SELECT * FROM facts_events",
            "UPDATE privacy_events SET state = ''",
            "DELETE FROM privacy_events",
            "DELETE FROM access_lines",
            "UPDATE access_lines SET words = ''",
            "SELECT setval('facts_events_notification_id_seq', 1)",
            "ALTER TABLE facts_events DISABLE TRIGGER ALL",
            "DROP TABLE quarantine",
            "CREATE TABLE mine (one int)",
            "CREATE ROLE somebody",
            "SET ROLE sealdesk",
        )
    ],
    *[
        (role, statement, KEEPER)
        for role in (INTAKE, PROJECTOR, READER)
        for statement in (
            "DELETE FROM quarantine",
            "UPDATE quarantine SET seal = ''",
            "UPDATE quarantine SET code = '' WHERE waits_for IS NULL",
            "SELECT * FROM access_lines",
            "DELETE FROM blobs",
            "UPDATE issue_seen SET line = 0",
            "UPDATE issue_seen SET issue = 0",
            "UPDATE tenants SET trusts_purges = true",
            "DELETE FROM vocabulary",
            "DELETE FROM positions",
            "INSERT INTO accepted_losses (issued, seen) VALUES (1, 2)",
        )
    ],
    *[
        (role, statement, allowed)
        for role in (PROJECTOR, READER)
        for statement, allowed in (
            ("INSERT INTO facts_events (originator_id) VALUES (gen_random_uuid())", None),
            ("SELECT seal FROM quarantine", INTAKE),
            ("INSERT INTO positions VALUES (gen_random_uuid(), 0, 0)", INTAKE),
            ("INSERT INTO refusals VALUES (gen_random_uuid(), now(), '', 1)", INTAKE),
            ("INSERT INTO quarantine_left VALUES (gen_random_uuid())", INTAKE),
        )
    ],
    (PROJECTOR, "SELECT code FROM quarantine", READER),
    (PROJECTOR, "SELECT * FROM privacy_events", READER),
    (PROJECTOR, "SELECT * FROM tenants", READER),
    (PROJECTOR, "SELECT * FROM positions", READER),
    (INTAKE, "SELECT * FROM privacy_events", READER),
    (INTAKE, "SELECT * FROM tickets.tickets", READER),
    (INTAKE, "SELECT * FROM contacts.seals", READER),
    (READER, "UPDATE tickets.seals SET seal = 1", PROJECTOR),
    (READER, "DELETE FROM tickets.position", PROJECTOR),
    (READER, "DROP SCHEMA tickets CASCADE", PROJECTOR),
    (READER, "CREATE SCHEMA mine", PROJECTOR),
    (INTAKE, "CREATE SCHEMA mine", PROJECTOR),
    (INTAKE, "DELETE FROM contacts.profiles", PROJECTOR),
]


def tried(dsn: str, statement: str, role: Role | None = None) -> None:
    """Run a statement, in a transaction that is rolled back."""
    with psycopg.connect(as_role(dsn, role)) as connection:
        try:
            connection.execute(statement.encode())
        finally:
            connection.rollback()


@pytest.mark.parametrize(
    ("which", "role", "statement", "allowed"),
    [("keys", *one) for one in KEYS_FORBIDDEN] + [("log", *one) for one in LOG_FORBIDDEN],
)
def test_a_role_must_not(names: Logins, which: str, role: Role, statement: str, allowed: Role | None) -> None:
    dsn = names.dsn(which, role)
    with pytest.raises(InsufficientPrivilege):
        tried(dsn, statement)
    with pytest.raises(InsufficientPrivilege):
        tried(dsn, statement, role)
    if allowed is not None:
        # The control: it is no mistake in the statement that it is refused.
        tried(names.dsn(which, allowed), statement)


@pytest.mark.parametrize("which", ["log", "keys"])
@pytest.mark.parametrize("role", [INTAKE, PROJECTOR, READER, KEEPER, None])
def test_a_login_cannot_raise_itself(names: Logins, which: str, role: Role | None) -> None:
    if role is PROJECTOR and which == "keys":
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            tried(names.dsn(which, role), "SELECT 1")
        return
    if role is None and which == "keys":
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            tried(names.dsn(which, role), "SELECT 1")
        return
    others = set(Role) - {role} if role is not KEEPER else {PROJECTOR}
    for other in [*others, "sealdesk", "postgres", "pg_write_all_data", "pg_read_all_data"]:
        statements = (f"SET ROLE {other}", f"SET SESSION AUTHORIZATION {other}", f"GRANT {other} TO CURRENT_USER")
        for statement in statements:
            with pytest.raises(
                (InsufficientPrivilege, psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue)
            ):
                tried(names.dsn(which, role), statement)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(make_conninfo(names.dsn(which, role), options=f"-c role={other}"))


def test_a_role_is_taken_while_a_connection_is_made_and_no_reset_takes_it_away(lived_in: Endpoints) -> None:
    with psycopg.connect(as_role(lived_in.keys_dsn, INTAKE), autocommit=True) as connection:
        for statement in ("SELECT 1", "RESET ALL", "DISCARD ALL", "RESET ROLE"):
            connection.execute(statement.encode())
            assert connection.execute("SELECT current_user").fetchone() == (INTAKE.value,), statement


def test_other_options_of_a_dsn_stay(lived_in: Endpoints) -> None:
    dsn = make_conninfo(lived_in.keys_dsn, options="-c statement_timeout=4321ms")
    with psycopg.connect(as_role(dsn, READER)) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("4321ms",)
        assert connection.execute("SELECT current_user").fetchone() == (READER.value,)


def test_a_store_works_as_its_role_and_may_act_as_another_for_a_part(lived_in: Endpoints) -> None:
    store = KeyStore(lived_in.keys_dsn, INTAKE)
    try:
        with store.transaction() as cursor:
            assert cursor.execute("SELECT current_user AS who").fetchone() == {"who": INTAKE}
            with store.acting(cursor, KEEPER):
                assert cursor.execute("SELECT current_user AS who").fetchone() == {"who": KEEPER}
            assert cursor.execute("SELECT current_user AS who").fetchone() == {"who": INTAKE}
        with pytest.raises(RightMissing, match="sealdesk_intake"), store.transaction() as cursor:
            cursor.execute("DELETE FROM leaves")
        with pytest.raises(ZeroDivisionError), store.transaction() as cursor, store.acting(cursor, KEEPER):
            raise ZeroDivisionError
        with store.transaction() as cursor:
            assert cursor.execute("SELECT current_user AS who").fetchone() == {"who": INTAKE}
    finally:
        store.close()


# -- stories with real logins -------------------------------------------------------------------------------------


@pytest.fixture
def own(databases: Endpoints, tmp_path: Path) -> Iterator[tuple[Logins, Path]]:
    """A house of the test's own, begun by its owner, with logins."""
    with desk_house(databases, tmp_path) as house:
        house.tenants.add("acme")
    with logins(databases) as made, projected(made):
        yield made, tmp_path


#: A helpdesk that never was, with every kind of happening in it.
HISTORY = Wanted(tickets=12, seed=5)


def told(tenant: str) -> list[Parcel]:
    return [parcel_of(raw) for raw in history(replace(HISTORY, tenant=tenant))]


def seen(house: House, tenant: str) -> dict[str, Any]:
    """What a tenant looks like, without the ids that are random."""
    account = house.tenants.named(tenant).id
    rows = house.reading.tickets(account, Reveal("tester", "test"), all=True)
    reports = house.reading.reports(account)
    reports["tickets"]["by_agent"] = sorted(reports["tickets"]["by_agent"].values())
    return {
        "reports": reports,
        "tickets": [(row.get("id"), row.get("subject"), row["status"], row["entries"]) for row in rows],
        "people": sorted(
            str((row.get("id"), row.get("name"), row.get("email")))
            for row in house.reading.contacts(account, Reveal("tester", "test"), all=True)
        ),
    }


def test_intake_with_its_own_login_leaves_to_a_keeper_what_it_must_not(own: tuple[Logins, Path]) -> None:
    names, folder = own
    records = told("acme")
    with kept(names, folder), house_of(names, INTAKE, folder) as house:
        assert not house.mends
        for at in range(0, len(records), 40):
            house.intake.take(records[at : at + 40], at=wiring.now())
    with desk_house(names.endpoints, folder) as house:
        # The control: the same, taken in by somebody who may do all of it at once.
        house.tenants.add("umbrella")
        everything = told("umbrella")
        for at in range(0, len(everything), 40):
            house.intake.take(everything[at : at + 40], at=wiring.now())
        house.mend()
        house.projecting.catch_up()
        assert seen(house, "acme") == seen(house, "umbrella")
        assert len(seen(house, "acme")["tickets"]) >= 12
        for tenant in ("acme", "umbrella"):
            assert sum(house.residue.of_all(house.tenants.named(tenant).id).values()) == 0


def test_an_edit_waits_for_the_keeper_and_then_the_old_text_is_gone(
    own: tuple[Logins, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names, folder = own
    with house_of(names, INTAKE, folder) as house:
        desk = desk_in(house)
        desk.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
        desk.happens("ticket.opened", "ticket 1", id=1, requester_id=1, subject="secret")
        desk.happens("ticket.replied", "ticket 1", id=3, user_id=1, incoming=True, body="the old text")
        tally = desk.happens("ticket.entry_edited", "ticket 1", id=3, body="the new text")
        assert tally.stored == 1
        with psycopg.connect(names.endpoints.keys_dsn) as owner:
            living = owner.execute("SELECT count(*) FROM leaves WHERE wrapped IS NOT NULL").fetchone()
        monkeypatch.setattr(key_work, "WAIT_SECONDS", 0.1)
        with pytest.raises(KeysUnavailable, match="sealdesk keep"):
            desk.happens("ticket.opened", "ticket 2", id=2, requester_id=1, subject="more")
        monkeypatch.undo()
        with kept(names, folder):
            assert desk.happens("ticket.opened", "ticket 2", id=2, requester_id=1, subject="more").stored == 1
        with psycopg.connect(names.endpoints.keys_dsn) as owner:
            assert owner.execute("SELECT count(*) FROM leaves WHERE line < 0").fetchone() == (1,)
            assert living is not None
            assert owner.execute("SELECT count(*) FROM leaves WHERE wrapped IS NOT NULL").fetchone() == living


def test_the_key_of_a_record_that_intake_takes_up_is_destroyed_by_the_keeper(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with house_of(names, INTAKE, folder) as house:
        desk = desk_in(house)
        desk.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
        assert desk.happens("ticket.replied", "ticket 7", body="early", incoming=True).quarantined == 1
        with kept(names, folder):
            desk.happens("ticket.opened", "ticket 7", id=7, requester_id=1, subject="secret")
    of_days = "SELECT count(*) FROM leaves JOIN wrapping_keys AS day ON day.key_id = leaves.owner WHERE kind = 'day'"
    with psycopg.connect(names.endpoints.log_dsn) as log, psycopg.connect(names.endpoints.keys_dsn) as keys:
        assert log.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
        assert log.execute("SELECT count(*) FROM facts_events WHERE topic LIKE '%replied%'").fetchone() == (1,)
        left = log.execute("SELECT count(*) FROM quarantine_left").fetchone()
        assert keys.execute(of_days).fetchone() == left
    with house_of(names, KEEPER, folder) as house:
        house.mend()
    with psycopg.connect(names.endpoints.log_dsn) as log, psycopg.connect(names.endpoints.keys_dsn) as keys:
        assert keys.execute(of_days).fetchone() == (0,)
        assert log.execute("SELECT count(*) FROM quarantine_left").fetchone() == (0,)


def test_the_projector_folds_and_rebuilds_with_its_own_login_alone(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with desk_house(names.endpoints, folder) as house:
        house.intake.take(told("acme"), at=wiring.now())
    with wiring.projector(names.dsn("log", PROJECTOR)) as projector:
        reached = projector.projecting.catch_up()
        assert set(reached.values()) == {projector.facts.head()}
        assert projector.projecting.rebuild("tickets") == reached["tickets"]
        with pytest.raises(RightMissing), projector.facts.cursor() as cursor:
            cursor.execute("SELECT * FROM quarantine")
    # Whoever reads sees what it has built, also after a rebuild.
    with house_of(names, READER, folder) as house:
        assert len(seen(house, "acme")["tickets"]) >= 12
        assert house.projecting.positions()["tickets"] == reached["tickets"]
        with pytest.raises(RightMissing):
            house.projecting.rebuild("tickets")
    for role in (INTAKE, READER):
        with pytest.raises(RightMissing), wiring.projector(names.dsn("log", role)):
            pass


def test_a_reader_opens_and_leaves_its_line_and_can_do_no_more(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with desk_house(names.endpoints, folder) as house:
        desk = Desk(house)
        desk.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
        desk.happens("ticket.opened", "ticket 1", id=1, requester_id=1, subject="secret")
        desk.tickets(reveal=False)
    with house_of(names, READER, folder) as house:
        tenant = house.tenants.named("acme").id
        [ticket] = house.reading.tickets(tenant, Reveal("mira", "access request 17"))
        assert ticket["subject"] == "secret"
        desk = desk_in(house)
        with pytest.raises(RightMissing, match="sealdesk_reader"):
            desk.happens("ticket.opened", "ticket 2", id=2, requester_id=1, subject="secret")
        with pytest.raises(RightMissing, match="sealdesk_reader"):
            desk.shred("contact 1")
        assert house.ledger.head() == 0
        with pytest.raises(RightMissing):
            house.tenants.add("umbrella")
        [again] = house.reading.tickets(tenant, Reveal("mira", "access request 17"))
        assert again["subject"] == "secret"
    with psycopg.connect(names.endpoints.log_dsn) as owner:
        assert owner.execute("SELECT count(*) FROM access_lines").fetchone() == (2,)


def test_a_keeper_shreds_and_the_others_are_told_of_a_line_that_only_it_can_carry_out(
    own: tuple[Logins, Path],
) -> None:
    names, folder = own
    with house_of(names, KEEPER, folder) as house:
        desk = Desk(house)
        desk.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
        desk.happens("ticket.opened", "ticket 1", id=1, requester_id=1, subject="secret")
        with psycopg.connect(names.endpoints.log_dsn) as owner:
            before = owner.execute("SELECT notification_id FROM facts_events").fetchall()
        certificate = desk.shred("contact 1")
        assert certificate["residue"]["found"] == 0
        assert [row for row in desk.tickets() if not row["erased"]] == []
    for role in (INTAKE, READER):
        # Nothing is left to do.
        with house_of(names, role, folder):
            pass
    with psycopg.connect(names.endpoints.keys_dsn) as owner:
        # As a key database from before the shred.
        owner.execute("DELETE FROM shreds")
    for role in (INTAKE, READER):
        with pytest.raises(GateShut, match="sealdesk keep"), house_of(names, role, folder):
            pass
    with house_of(names, KEEPER, folder):
        pass
    with psycopg.connect(names.endpoints.log_dsn) as owner:
        # As a log from before it.
        owner.execute("DELETE FROM facts_events WHERE notification_id <> ALL(%s)", ([row[0] for row in before],))
    for role in (INTAKE, READER):
        with pytest.raises(GateShut, match="sealdesk keep"), house_of(names, role, folder):
            pass
    with house_of(names, KEEPER, folder):
        pass
    for role in (INTAKE, READER):
        with house_of(names, role, folder):
            pass


def test_a_login_without_a_role_is_told_what_it_lacks(own: tuple[Logins, Path]) -> None:
    names, _ = own
    with psycopg.connect(names.endpoints.log_dsn, autocommit=True) as owner:
        owner.execute(sql.SQL("GRANT SELECT ON log_migrations TO {}").format(sql.Identifier(names.names[None])))
        owner.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(sql.Identifier(names.names[None])))
    with pytest.raises(RightMissing, match="sealdesk rights grant"), wiring.projector(names.dsn("log", None)):
        pass
    with pytest.raises(LogUnavailable), wiring.projector(make_conninfo(names.endpoints.log_dsn, port=1)):
        pass


# -- what an operator does ----------------------------------------------------------------------------------------


def test_a_login_is_let_take_a_role_and_a_dry_run_only_says_how(databases: Endpoints) -> None:
    name = f"vera {uuid4()}"
    with psycopg.connect(databases.keys_dsn, autocommit=True) as owner:
        rights.see_to(owner, "keys")
        with pytest.raises(SettingsWrong, match="CREATE ROLE"):
            rights.let(owner, "keys", name, INTAKE, dry_run=False)
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        try:
            statement = rights.let(owner, "keys", name, INTAKE, dry_run=True)
            assert statement == f'GRANT "sealdesk_intake" TO "{name}";'
            assert (name, "sealdesk_intake") not in rights.who(owner)
            assert rights.let(owner, "keys", name, INTAKE, dry_run=False) == statement
            assert (name, "sealdesk_intake") in rights.who(owner)
            assert rights.let(owner, "keys", name, PROJECTOR, dry_run=False) is None
        finally:
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_an_owner_who_may_not_make_roles_is_told_so(databases: Endpoints) -> None:
    name = f"owner-{uuid4().hex[:8]}"
    with psycopg.connect(databases.keys_dsn, autocommit=True) as superuser:
        database = sql.Identifier(superuser.info.dbname)
        superuser.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        superuser.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(name)))
        try:
            with (
                psycopg.connect(make_conninfo(databases.keys_dsn, user=name), autocommit=True) as owner,
                pytest.raises(SettingsWrong, match="CREATEROLE"),
            ):
                rights.grant_keys(owner)
        finally:
            superuser.execute(sql.SQL("ALTER DATABASE {} OWNER TO sealdesk").format(database))
            superuser.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def test_the_logins_of_a_file_are_made_with_their_passwords_and_what_each_may_be(
    databases: Endpoints, tmp_path: Path
) -> None:
    name, file, password = f"vera-{uuid4().hex[:8]}", tmp_path / "logins.toml", tmp_path / "password"
    password.write_text("a word of hers\n")

    def provided(role: str, which: str) -> list[str]:
        file.write_text(f'[{name}]\nmay_be = "{role}"\npassword_file = "{password}"\n')
        dsn = databases.log_dsn if which == "log" else databases.keys_dsn
        with psycopg.connect(dsn, autocommit=True) as owner:
            rights.see_to(owner, which)
            return provide(owner, which, read_logins(file))

    with psycopg.connect(databases.log_dsn, autocommit=True) as owner:
        try:
            assert provided("projector", "keys") == []
            assert provided("projector", "log") == [name]
            assert [role for login, role in rights.who(owner) if login == name] == ["sealdesk_projector"]
            asked = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
            [first] = owner.execute(asked, (name,)).fetchone() or (None,)
            assert str(first).startswith("SCRAM-SHA-256$")
            assert "word" not in str(first)
            password.write_text("another word\n")
            # Once more: another password, another role, and nothing left of the one before.
            assert provided("reader", "log") == [name]
            assert [role for login, role in rights.who(owner) if login == name] == ["sealdesk_reader"]
            assert owner.execute(asked, (name,)).fetchone() != (first,)
        finally:
            owner.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    "text", ["", "no toml", '[a]\nmay_be = "owner"', "[a]", 'a = "intake"', '[sealdesk_keeper]\nmay_be = "keeper"']
)
def test_a_file_of_logins_that_says_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "logins.toml").write_text(text)
    with pytest.raises(SettingsWrong, match=r"logins\.toml"):
        read_logins(tmp_path / "logins.toml")


def test_a_superuser_is_no_login_of_a_file(databases: Endpoints, tmp_path: Path) -> None:
    (tmp_path / "logins.toml").write_text('[sealdesk]\nmay_be = "intake"\n')
    with psycopg.connect(databases.keys_dsn, autocommit=True) as owner:
        rights.see_to(owner, "keys")
        with pytest.raises(SettingsWrong, match="superuser"):
            provide(owner, "keys", read_logins(tmp_path / "logins.toml"))


def test_the_command_shows_what_is_declared_and_grants_only_after_a_dry_run_by_hand(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEALDESK_LOG_DSN", databases.log_dsn)
    monkeypatch.setenv("SEALDESK_KEYS_DSN", databases.keys_dsn)
    with logins(databases) as names:
        name = names.names[None]
        assert run(["rights", "show", "--json"]) == 0
        shown = orjson.loads(capsys.readouterr().out)
        assert shown["may"]["keys"]["leaves"]["sealdesk_reader"] == KEYS["leaves"][READER]
        assert {"login": names.names[INTAKE], "role": "sealdesk_intake"} in shown["logins"]["keys"]
        assert run(["rights", "grant", name, "--to", "intake", "--dry-run", "--json"]) == 0
        statement = f'GRANT "sealdesk_intake" TO "{name}";'
        assert orjson.loads(capsys.readouterr().out) == [
            {"database": which, "statement": statement, "done": False} for which in ("log", "keys")
        ]
        with psycopg.connect(databases.keys_dsn) as owner:
            assert (name, "sealdesk_intake") not in rights.who(owner)
        assert run(["rights", "grant", name, "--to", "intake"]) == 0
        with psycopg.connect(databases.keys_dsn) as owner:
            assert (name, "sealdesk_intake") in rights.who(owner)
        assert run(["rights", "grant", name, "--to", "owner"]) == 2
        assert "--to is one of" in capsys.readouterr().err


def test_nothing_of_what_is_declared_is_cut(
    databases: Endpoints, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEALDESK_LOG_DSN", databases.log_dsn)
    monkeypatch.setenv("SEALDESK_KEYS_DSN", databases.keys_dsn)
    monkeypatch.setenv("COLUMNS", "300")
    longest = max((said for given in KEYS.values() for said in given.values()), key=len)
    assert run(["rights", "show"]) == 0
    assert longest in capsys.readouterr().out


@pytest.mark.parametrize("words", ["logins {}", "grant desk --to projector"])
def test_a_data_folder_has_no_logins(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A login for the projector would leave the read models to a process that never comes."""
    for name in ("SEALDESK_LOG_DSN", "SEALDESK_KEYS_DSN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "logins.toml").write_text('[desk]\nmay_be = "projector"\n')
    asked = words.format(tmp_path / "logins.toml").split()
    assert run(["rights", *asked, "--data", str(tmp_path / "data")]) == 2
    assert "SEALDESK_LOG_DSN" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_an_owner_who_is_no_superuser_needs_no_more_than_createrole(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="sealdesk-test-") as short,
        # Servers of its own: the roles of the others were made by a superuser, who keeps them.
        serving(Settings.read(Path(short) / "data", {}), extra={"fsync": "off"}) as endpoints,
    ):
        owned: list[str] = []
        for dsn in (endpoints.log_dsn, endpoints.keys_dsn):
            with psycopg.connect(dsn, autocommit=True) as superuser:
                superuser.execute("CREATE ROLE somebody LOGIN CREATEROLE")
                superuser.execute("CREATE DATABASE managed OWNER somebody")
            owned.append(make_conninfo(dsn, user="somebody", dbname="managed"))
        for _ in range(2):
            schema.bring(schema.LOG, owned[0])
            schema.bring(schema.KEYS, owned[1])
        with desk_house(Endpoints(owned[0], owned[1], None), tmp_path) as house:
            desk = Desk(house)
            desk.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
            desk.happens("ticket.opened", "ticket 1", id=1, requester_id=1, subject="secret")
            assert [row["subject"] for row in desk.tickets()] == ["secret"]
            assert house.projecting.rebuild("tickets") == house.facts.head()
            assert house.analysts.refresh(desk.tenant.id)["position"] > 0
            assert desk.shred("contact 1")["residue"]["found"] == 0
