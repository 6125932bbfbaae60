"""The roles of analysts: they read what is published for them, and nothing else that there is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection, errors, sql
from psycopg.conninfo import make_conninfo

from domain.errors import SettingsWrong
from services.analysts.publication import Analysts
from services.analysts.roles import ROWS, SUMMARIES, roles, schema
from services.embedded import Endpoints
from services.log import Facts, LogDatastore
from services.wiring import House
from tests.desks import Desk, desk_house

#: What a role may be refused with; anything else would be a mistake of the test.
REFUSED = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)


@pytest.fixture(scope="module")
def house(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with desk_house(module_databases, tmp_path_factory.mktemp("house")) as opened:
        yield opened


def publisher(house: House) -> Analysts:
    return Analysts(house.as_login, house.keys, house.roots, house.projecting.catch_up, lambda: datetime.now(UTC), 2)


@pytest.fixture(scope="module")
def desks(house: House) -> tuple[Desk, Desk]:
    """Two desks with people, tickets, a hold, a quarantined record and access lines, both published."""
    both = Desk(house, "acme"), Desk(house, "umbrella")
    for desk in both:
        for number in range(4):
            desk.happens("contact.created", f"contact {number}", id=number, name="Ann", email=f"a{number}@example.org")
            desk.happens("ticket.opened", f"ticket {number}", id=number, requester_id=number, subject="secret")
        desk.happens("ticket.opened", "ticket 9", id="nine", subject={"no": "text"})
        desk.tickets()
        publisher(house).refresh(desk.tenant.id)
    return both


@pytest.fixture(scope="module")
def logins(house: House, desks: tuple[Desk, Desk]) -> Iterator[dict[str, str]]:
    """Two people who log in: one reads summaries, one reads rows as well."""
    names = {kind: f"{kind}-{uuid4()}" for kind in ("summaries", "rows")}
    with house.as_login.own_connection() as owner:
        for kind, name in names.items():
            owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
            publisher(house).grant(desks[0].tenant.id, name, rows=kind == "rows")
        yield names
        for name in names.values():
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def connected(house: House, login: str) -> Connection[tuple[object, ...]]:
    return psycopg.connect(make_conninfo(house.endpoints.log_dsn, user=login), autocommit=True)


@pytest.fixture
def analyst(house: House, logins: dict[str, str]) -> Iterator[Connection[tuple[object, ...]]]:
    """A connection of somebody who was granted the summaries."""
    with connected(house, logins["summaries"]) as connection:
        yield connection


@pytest.fixture
def reader(house: House, logins: dict[str, str]) -> Iterator[Connection[tuple[object, ...]]]:
    """A connection of somebody who was granted the rows."""
    with connected(house, logins["rows"]) as connection:
        yield connection


def relations(house: House) -> list[tuple[str, str]]:
    """Every table, view and sequence of the database that is not PostgreSQL's own."""
    with house.as_login.own_connection() as owner:
        return owner.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'v', 'm', 'S', 'p', 'f') AND n.nspname !~ '^(pg_|information_schema$)' "
            "ORDER BY 1, 2"
        ).fetchall()


def _readable(house: House, connection: Connection[tuple[object, ...]]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for name in relations(house):
        try:
            connection.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(*name)))
        except REFUSED:
            continue
        found.add(name)
    return found


def test_of_all_that_is_in_the_database_the_roles_read_their_own_tables_alone(
    house: House,
    desks: tuple[Desk, Desk],
    analyst: Connection[tuple[object, ...]],
    reader: Connection[tuple[object, ...]],
) -> None:
    there = set(relations(house))
    # The control: there is much to be read here, and the owner reads it.
    assert {
        ("public", "facts_events"),
        ("public", "quarantine"),
        ("public", "access_lines"),
        ("tickets", "tickets"),
        ("contacts", "profiles"),
        ("reports", "tickets"),
        (schema(desks[1].tenant.id), "tickets_by"),
    } <= there
    with house.as_login.own_connection() as owner:
        assert _readable(house, owner) == there
        assert owner.execute("SELECT count(*) > 0 FROM quarantine").fetchone() == (True,)
    own = schema(desks[0].tenant.id)
    summaries = {(own, name) for name in (*SUMMARIES, "dictionary")}
    assert _readable(house, analyst) == summaries
    assert _readable(house, reader) == summaries | {(own, name) for name in ROWS}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_statistic",
        "SELECT * FROM pg_largeobject",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_read_binary_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT pg_stat_file('PG_VERSION')",
        "SELECT pg_ls_waldir()",
        "SELECT lo_import('/etc/hostname')",
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "SELECT lo_from_bytea(0, 'kept')",
        "SELECT pg_logical_emit_message(true, 'a', 'kept')",
        "SELECT pg_advisory_lock(hashtextextended('sealdesk/log/facts_events', 0))",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SELECT pg_switch_wal()",
        "SELECT nextval('public.facts_events_notification_id_seq')",
        "COPY (SELECT 1) TO '/tmp/kept'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "CREATE TEMPORARY TABLE kept (a text)",
        "CREATE TABLE public.kept (a text)",
        "CREATE TABLE {own}.kept (a text)",
        "CREATE VIEW {own}.kept AS SELECT 1",
        "CREATE FUNCTION {own}.kept() RETURNS integer LANGUAGE sql RETURN 1",
        "CREATE SCHEMA kept",
        "CREATE ROLE kept",
        "CREATE DATABASE kept",
        "INSERT INTO {own}.freshness DEFAULT VALUES",
        "UPDATE {own}.tickets_by SET tickets = 99",
        "DELETE FROM {own}.tickets_by",
        "TRUNCATE {own}.tickets_by",
        "ALTER TABLE {own}.tickets_by ADD COLUMN kept text",
        "ALTER DOMAIN {own}.word DROP CONSTRAINT known",
        "COMMENT ON TABLE {own}.tickets_by IS 'kept'",
        "DO $$ BEGIN LOCK TABLE {own}.tickets_by IN EXCLUSIVE MODE; END $$",
        "DROP SCHEMA {own} CASCADE",
        "GRANT {rows} TO CURRENT_USER",
        "SET ROLE {rows}",
        "SET ROLE {other}",
        "SET SESSION AUTHORIZATION {owner}",
        "ALTER SYSTEM SET jit = off",
        "DO $$ BEGIN EXECUTE 'SELECT * FROM public.facts_events'; END $$",
        "SELECT query_to_xml('SELECT * FROM public.facts_events', true, true, '')",
        "SELECT table_to_xml('tickets.tickets'::regclass, true, true, '')",
    ],
)
def test_the_role_is_refused(
    house: House, desks: tuple[Desk, Desk], analyst: Connection[tuple[object, ...]], statement: str
) -> None:
    own, other = (desk.tenant.id for desk in desks)
    filled = sql.SQL(statement).format(
        own=sql.Identifier(schema(own)),
        rows=sql.Identifier(roles(own)[1]),
        other=sql.Identifier(roles(other)[0]),
        owner=sql.Identifier(psycopg.conninfo.conninfo_to_dict(house.endpoints.log_dsn).get("user", "postgres")),
    )
    if "lo_" in statement or "advisory" in statement or "emit" in statement or "TEMPORARY" in statement:
        # The control: it is the right that is missing, not the function. Nothing of it stays.
        with house.as_login.own_connection() as owner, owner.transaction(force_rollback=True):
            owner.execute(filled)
    with pytest.raises(REFUSED):
        analyst.execute(filled)


def test_the_role_can_pass_nothing_on(
    house: House, desks: tuple[Desk, Desk], analyst: Connection[tuple[object, ...]], logins: dict[str, str]
) -> None:
    own, other = (desk.tenant.id for desk in desks)
    # PostgreSQL only warns here.
    analyst.execute(sql.SQL("GRANT SELECT ON {}.tickets_by TO PUBLIC").format(sql.Identifier(schema(own))))
    analyst.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(sql.Identifier(schema(own))))
    with house.as_login.own_connection() as owner:
        asked = "SELECT has_table_privilege(%(r)s, %(t)s, 'SELECT'), has_schema_privilege(%(r)s, %(s)s, 'USAGE')"
        given = {"r": roles(other)[0], "t": f"{schema(own)}.tickets_by", "s": schema(own)}
        assert owner.execute(asked, given).fetchone() == (False, False)


def test_the_group_roles_cannot_log_in(house: House, desks: tuple[Desk, Desk]) -> None:
    for role in roles(desks[0].tenant.id):
        with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
            connected(house, role)


# -- what a refresh does about rights -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("GRANT USAGE ON SCHEMA tickets TO PUBLIC", "REVOKE USAGE ON SCHEMA tickets FROM PUBLIC"),
        ("GRANT USAGE ON SCHEMA reports TO {role}", "REVOKE USAGE ON SCHEMA reports FROM {role}"),
        ("GRANT pg_read_all_data TO {role}", "REVOKE pg_read_all_data FROM {role}"),
        ("GRANT INSERT ON {own}.tickets_by TO {role}", "REVOKE INSERT ON {own}.tickets_by FROM {role}"),
        ("ALTER ROLE {role} LOGIN", "ALTER ROLE {role} NOLOGIN"),
    ],
)
def test_nothing_is_published_while_a_role_could_do_more_than_read_it(
    house: House, desks: tuple[Desk, Desk], opened: str, closed: str
) -> None:
    tenant = desks[0].tenant.id
    names = {"role": sql.Identifier(roles(tenant)[0]), "own": sql.Identifier(schema(tenant))}
    before = publisher(house).published(tenant)
    with house.as_login.own_connection() as owner:
        owner.execute(sql.SQL(opened).format(**names))
        try:
            with pytest.raises(SettingsWrong, match="Nothing was published"):
                publisher(house).refresh(tenant)
        finally:
            owner.execute(sql.SQL(closed).format(**names))
    assert publisher(house).published(tenant) == before
    publisher(house).refresh(tenant)


def test_what_everybody_may_in_a_new_database_is_taken_back(house: House, desks: tuple[Desk, Desk]) -> None:
    tenant = desks[0].tenant.id
    with house.as_login.own_connection() as owner:
        database = sql.Identifier(owner.info.dbname)
        owner.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO PUBLIC").format(database))
        owner.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        publisher(house).refresh(tenant)
        asked = (
            "SELECT has_database_privilege(%(r)s, current_database(), 'TEMP'), "
            "has_schema_privilege(%(r)s, 'public', 'USAGE')"
        )
        assert owner.execute(asked, {"r": roles(tenant)[0]}).fetchone() == (False, False)


def test_desks_that_are_published_for_the_first_time_at_once_all_get_their_roles(house: House) -> None:
    new = [house.tenants.add(f"desk {number}").id for number in range(3)]
    failed: list[BaseException] = []

    def tried(tenant: object) -> None:
        try:
            publisher(house).refresh(tenant)  # type: ignore[arg-type]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=tried, args=(tenant,)) for tenant in [*new, *new]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with house.as_login.own_connection() as owner:
        wanted = [role for tenant in new for role in roles(tenant)]
        asked = "SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s) AND NOT rolcanlogin"
        assert owner.execute(asked, [wanted]).fetchone() == (6,)


def test_a_role_that_exists_already_in_the_cluster_is_taken(house: House) -> None:
    tenant = house.tenants.add("restored beside the old one").id
    with house.as_login.own_connection() as owner:
        owner.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(roles(tenant)[0])))
    publisher(house).refresh(tenant)
    assert publisher(house).published(tenant)["freshness"]["k"] == 2


def test_a_database_user_without_rights_is_told_so(house: House, desks: tuple[Desk, Desk]) -> None:
    tenant = house.tenants.add("unprivileged").id
    role = sql.Identifier(f"service-{uuid4()}")
    with house.as_login.own_connection() as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        for lock in ("pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_xact_lock"):
            owner.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {}(bigint) TO {}").format(sql.Identifier(lock), role))
        given = "GRANT USAGE ON SCHEMA public TO {0}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {0}"
        owner.execute(sql.SQL(given).format(role))
        datastore = LogDatastore(make_conninfo(house.endpoints.log_dsn, user=role.as_string(owner).strip('"')))
        try:
            small = Analysts(Facts(datastore), house.keys, house.roots, lambda: None, lambda: datetime.now(UTC), 2)
            with pytest.raises(SettingsWrong, match="CREATEROLE"):
                small.refresh(tenant)
        finally:
            datastore.close()
            owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


# -- granting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ['o"brien; DROP TABLE tenants', "Grüße 100% {x}", "a b"])
def test_any_name_of_a_role_is_one_name(house: House, desks: tuple[Desk, Desk], name: str) -> None:
    tenant, login = desks[0].tenant.id, f"{name}{uuid4().hex[:8]}"
    with house.as_login.own_connection() as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        try:
            shown = publisher(house).grant(tenant, login, dry_run=True)
            member = "SELECT pg_has_role(%s, %s, 'MEMBER')"
            assert owner.execute(member, [login, roles(tenant)[0]]).fetchone() == (False,)
            # What was printed does what it says, once.
            owner.execute(shown.encode())
            assert owner.execute(member, [login, roles(tenant)[0]]).fetchone() == (True,)
            assert owner.execute(member, [login, roles(tenant)[1]]).fetchone() == (False,)
        finally:
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))
        assert owner.execute("SELECT count(*) FROM tenants").fetchone() is not None


@pytest.mark.parametrize("name", ["", "nobody of that name", "n" * 64, "ü" * 32, "a\0b"])
def test_a_name_of_no_role_is_refused_and_not_repeated(house: House, desks: tuple[Desk, Desk], name: str) -> None:
    with pytest.raises(SettingsWrong) as refused:
        publisher(house).grant(desks[0].tenant.id, name)
    assert name == "" or name not in str(refused.value)


def test_a_superuser_is_no_analyst(house: House, desks: tuple[Desk, Desk]) -> None:
    with house.as_login.own_connection() as owner:
        [name] = owner.execute("SELECT current_user").fetchone() or [""]
    with pytest.raises(SettingsWrong, match="superuser"):
        publisher(house).grant(desks[0].tenant.id, str(name))


def test_what_one_tenant_published_does_not_decide_how_the_next_is_read(house: House) -> None:
    """The statements read alike, so a connection that prepared them would keep the columns of the first schema."""
    first, second = (house.tenants.add(name).id for name in ("read first", "read second"))
    for tenant in (first, second):
        publisher(house).refresh(tenant)
    with house.as_login.own_connection() as owner:
        table = sql.Identifier(schema(second), "freshness")
        owner.execute(sql.SQL("ALTER TABLE {} ADD COLUMN more integer").format(table))
    analysts = publisher(house)
    for _ in range(8):
        analysts.published(first)
    assert "more" in analysts.published(second)["freshness"]
