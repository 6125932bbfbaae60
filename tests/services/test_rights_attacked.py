"""What whoever has the login of one process cannot do to the rest of the house: attacks, with real logins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import InsufficientPrivilege

from crypto.agreement import TOLD_BY_THE_LEDGER
from domain.errors import GateShut, LogUnavailable, RightMissing, SettingsWrong
from services import gate, projecting, rights, schema, wiring
from services.cli.app import run
from services.embedded import Endpoints
from services.logins import provide, read_logins
from services.reading import Reveal
from services.rights import INTAKE, KEEPER, PROJECTOR, READER
from services.wiring import House
from tests.desks import Desk, desk_house
from tests.logins import Logins, house_of, logins, projected
from tests.logins import desk_in as _desk_in

#: A fact that is written past the house: `stream`, `topic`, `state`, `tenant`.
FORGED = """
    INSERT INTO facts_events (originator_id, originator_version, topic, state, tenant, event_id, record_digest, ordinal,
                              occurred_at, owners, kept)
    VALUES (%s, 900, %s, %s, %s, gen_random_uuid(), decode(md5(random()::text), 'hex'), 0, now(), '{}', true)
"""


@pytest.fixture
def own(databases: Endpoints, tmp_path: Path) -> Iterator[tuple[Logins, Path]]:
    """A house in which three people have asked something each, with logins; its owner folded what there is."""
    with desk_house(databases, tmp_path) as house:
        desk = Desk(house)
        for n in (1, 2, 3):
            desk.happens("contact.created", f"contact {n}", id=n, name=f"Ann{n}", email=f"a{n}@example.org")
            desk.happens("ticket.opened", f"ticket {n}", id=n, requester_id=n, subject=f"secret {n}")
        house.projecting.catch_up()
    with logins(databases) as made:
        yield made, tmp_path


def desk_in(house: House) -> Desk:
    """A desk of the tenant of `own`, that says nothing which was said there already."""
    desk = _desk_in(house)
    desk.said.extend([b""] * next(_SAID))
    return desk


_SAID = count(1_000, 50)


def living(names: Logins) -> tuple[int, int]:
    """Count the people and the leaves whose key is there."""
    with psycopg.connect(names.endpoints.keys_dsn) as keys:
        [people] = keys.execute("SELECT count(*) FROM subjects WHERE wrapped IS NOT NULL").fetchone() or (0,)
        [leaves] = keys.execute("SELECT count(*) FROM leaves WHERE wrapped IS NOT NULL").fetchone() or (0,)
    return people, leaves


def mended(names: Logins, folder: Path) -> int:
    with house_of(names, KEEPER, folder) as house:
        return house.mend()


# -- a projector ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["the owner's", "intake's"])
def test_a_schema_called_as_somebody_else_stands_in_nobodys_way(own: tuple[Logins, Path], whose: str) -> None:
    names, folder = own
    owner = str(conninfo_to_dict(names.endpoints.log_dsn)["user"])
    name = sql.Identifier(owner if whose == "the owner's" else INTAKE)
    with psycopg.connect(names.dsn("log", PROJECTOR), autocommit=True) as attacker:
        attacker.execute("SET ROLE sealdesk_projector")
        attacker.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        for table in ("log_migrations", "facts_events", "tenants"):
            taken = "CREATE TABLE {0}.{1} AS TABLE public.{1}" if table == "facts_events" else "CREATE TABLE {0}.{1} ()"
            attacker.execute(sql.SQL(taken).format(name, sql.Identifier(table)))
        attacker.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(name))
        attacker.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA {} TO PUBLIC").format(name))
    # What it made is asked for by nobody: neither which version there is, nor which tenants, nor the log.
    schema.ready(schema.LOG, names.endpoints.log_dsn, ours=False)
    with house_of(names, INTAKE, folder) as house:
        assert desk_in(house).happens("contact.created", "contact 9", id=9, name="Zed").stored == 1
    with psycopg.connect(names.endpoints.log_dsn) as log:
        found = log.execute("SELECT count(*) FROM public.facts_events WHERE originator_version = 1").fetchone()
        assert found == (7,)
        log.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(name))


@pytest.mark.parametrize("who", [KEEPER, None])
def test_nobody_who_may_be_more_folds_where_a_projector_has_a_login_of_its_own(
    own: tuple[Logins, Path], monkeypatch: pytest.MonkeyPatch, who: rights.Role | None
) -> None:
    names, folder = own
    monkeypatch.setattr(projecting, "WAIT_SECONDS", 0.3)
    endpoints = names.endpoints if who is None else names.of(who)
    with psycopg.connect(names.dsn("log", PROJECTOR), autocommit=True) as attacker:
        attacker.execute("SET ROLE sealdesk_projector")
        attacker.execute(
            "CREATE TABLE contacts.ran_as (who text);"
            "CREATE FUNCTION contacts.run() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO contacts.ran_as VALUES (session_user); RETURN new; END $$;"
            "CREATE TRIGGER run BEFORE UPDATE ON contacts.position FOR EACH ROW EXECUTE FUNCTION contacts.run()"
        )
        with desk_house(endpoints, folder) as house:
            desk_in(house).happens("contact.created", "contact 9", id=9, name="Zed")
            with pytest.raises(LogUnavailable, match="sealdesk project"):
                house.projecting.catch_up()
            with pytest.raises(RightMissing, match="login of their own"):
                house.projecting.rebuild("contacts")
            assert attacker.execute("SELECT * FROM contacts.ran_as").fetchall() == []
            with projected(names):
                # The control: with a projector it goes on, and what it planted runs in its own session.
                assert house.projecting.catch_up()["contacts"] == house.facts.head()
            assert set(attacker.execute("SELECT * FROM contacts.ran_as").fetchall()) == {(names.names[PROJECTOR],)}
    if who is None:
        with pytest.raises(RightMissing, match="login of their own"), wiring.projector(endpoints.log_dsn):
            pass


def test_what_a_projector_says_is_in_the_trash_is_not_purged(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with house_of(names, INTAKE, folder) as house:
        desk = desk_in(house)
        desk.happens("ticket.deleted", "ticket 1", id=1)
    with projected(names), house_of(names, KEEPER, folder) as house:
        house.projecting.catch_up()
        with psycopg.connect(names.dsn("log", PROJECTOR), options="-c role=sealdesk_projector") as attacker:
            attacker.execute("UPDATE tickets.tickets SET deleted = true, deleted_at = now() - interval '99 years'")
            attacker.execute("UPDATE tickets.tickets SET purge_asked_at = now()")
        tenant = house.tenants.named("acme")
        with psycopg.connect(names.endpoints.log_dsn) as log:
            [deleted] = log.execute(
                "SELECT originator_id FROM facts_events WHERE topic LIKE '%deleted%'"
            ).fetchone() or (None,)
        # The one of which the log says so, too.
        assert [found.id for found in house.purging.due(tenant, asked=True)] == [deleted]


# -- intake, without the roots -------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["subject.shredded", "content.shredded", "tenant.closed"])
def test_only_who_destroys_says_so_on_the_log(own: tuple[Logins, Path], topic: str) -> None:
    names, _ = own
    given = (uuid4(), f"sealdesk.{topic}.v1", b'{"ground":"x","line":1}', uuid4())
    with pytest.raises(InsufficientPrivilege), psycopg.connect(names.dsn("log", INTAKE)) as log:
        log.execute(FORGED, given)
    with psycopg.connect(names.dsn("log", KEEPER)) as log:
        log.execute(FORGED, given)
        log.rollback()


def test_a_forged_merge_takes_nobody_along(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with projected(names), house_of(names, KEEPER, folder) as house:
        desk_in(house).shred("contact 1")
    before = living(names)
    with psycopg.connect(names.dsn("keys", INTAKE)) as keys, psycopg.connect(names.dsn("log", INTAKE)) as log:
        [gone, profile, tenant] = keys.execute(
            "SELECT subject_id, profile, tenant FROM subjects WHERE wrapped IS NULL"
        ).fetchone() or (None, None, None)
        others = keys.execute("SELECT subject_id FROM subjects WHERE wrapped IS NOT NULL").fetchall()
        assert isinstance(gone, UUID)
        state = orjson.dumps({"person": gone.hex, "secondary": [other.hex for (other,) in others]})
        log.execute(FORGED, (profile, "sealdesk.contact.merged.v1", state, tenant))
    # It is counted as a fact that somebody has changed.
    assert mended(names, folder) == 1
    assert living(names) == before


def test_a_seal_of_another_fact_vouches_for_none(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with desk_house(names.endpoints, folder) as house:
        desk_in(house).happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[2])
    with psycopg.connect(names.dsn("keys", INTAKE)) as keys, psycopg.connect(names.dsn("log", INTAKE)) as log:
        people = dict(keys.execute("SELECT profile, subject_id FROM subjects").fetchall())
        [profile, seal, tenant, clear] = (
            log.execute(
                "SELECT originator_id, seal, tenant, state FROM facts_events WHERE topic LIKE '%merged%'"
            ).fetchone()
            or (None,) * 4
        )
        said = orjson.loads(clear)
        [third] = {who.hex for who in people.values()} - {said["person"], *said["secondary"]}
        state = orjson.dumps({**said, "secondary": [third]})
        log.execute(
            FORGED.replace("kept)", "kept, seal)").replace("true)", "true, %s)"),
            (profile, "sealdesk.contact.merged.v1", state, tenant, seal),
        )
    assert mended(names, folder) == 1
    with psycopg.connect(names.endpoints.keys_dsn) as keys:
        merged = keys.execute("SELECT count(*) FROM subjects WHERE parent IN (SELECT subject_id FROM subjects)")
        assert merged.fetchone() == (1,)


def test_things_that_were_hung_beneath_another_do_not_end_with_it(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with desk_house(names.endpoints, folder) as house:
        desk = desk_in(house)
        desk.happens("category.posted", "category 5", id=5, name="c")
        desk.happens("forum.posted", "forum 6", id=6, forum_category_id=5, name="f")
        desk.happens("topic.posted", "topic 7", id=7, forum_id=6, user_id=1, title="loud words")
    [people, leaves] = living(names)
    with psycopg.connect(names.dsn("keys", INTAKE)) as keys, psycopg.connect(names.dsn("log", INTAKE)) as log:
        [topic, tenant] = keys.execute("SELECT thing_id, tenant FROM things WHERE kind = 'topic'").fetchone() or (0, 0)
        keys.execute("UPDATE things SET parent = %s WHERE thing_id <> %s", (topic, topic))
        log.execute(FORGED, (topic, "sealdesk.topic.deleted.v1", b"{}", tenant))
    mended(names, folder)
    assert living(names) == (people, leaves)
    # The control: what upstream ends is gone, and all the rest stays, whatever the rows say.
    with desk_house(names.endpoints, folder) as house:
        assert desk_in(house).happens("topic.deleted", "topic 7").stored == 1
        house.mend()
    assert living(names) == (people, leaves - 1)


def test_how_far_the_key_work_is_done_is_for_the_keeper_to_say(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with house_of(names, INTAKE, folder) as house:
        desk_in(house).happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[2])
    with pytest.raises(InsufficientPrivilege), psycopg.connect(names.dsn("keys", INTAKE)) as keys:
        keys.execute("UPDATE kept SET position = 1000000")
    [people, _] = living(names)
    with projected(names), house_of(names, KEEPER, folder) as house:
        desk_in(house).shred("contact 1")
    assert living(names)[0] == people - 2


@pytest.mark.parametrize(
    ("role", "which", "statement"),
    [
        (INTAKE, "keys", "UPDATE issued SET issue = issue + 2"),
        (INTAKE, "log", "UPDATE issue_seen SET issue = 9223372036854775807"),
        (READER, "keys", "UPDATE wrapping_keys SET children = 2147483647"),
    ],
)
def test_no_counter_is_run_to_its_end(own: tuple[Logins, Path], role: rights.Role, which: str, statement: str) -> None:
    names, _ = own
    with pytest.raises(InsufficientPrivilege), psycopg.connect(names.dsn(which, role)) as connection:
        connection.execute(statement.encode())


def test_a_number_that_cannot_be_is_not_accepted(own: tuple[Logins, Path]) -> None:
    names, _ = own
    with psycopg.connect(names.endpoints.log_dsn) as log:
        log.execute("UPDATE issue_seen SET issue = 9223372036854775807")
    with wiring.databases(names.endpoints) as (facts, keys), pytest.raises(GateShut, match="UPDATE issue_seen"):
        gate.accept_loss(facts, keys)


def test_a_projector_is_told_that_the_keys_refuse_it(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with pytest.raises(RightMissing, match="refuses this login"), house_of(names, PROJECTOR, folder):
        pass


def test_a_record_that_lies_in_the_quarantine_keeps_its_key(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with desk_house(names.endpoints, folder) as house:
        assert desk_in(house).happens("ticket.opened", "ticket 9", id="nine", subject={"no": "text"}).quarantined == 1
    before = living(names)
    with psycopg.connect(names.dsn("log", INTAKE)) as log:
        log.execute("INSERT INTO quarantine_left SELECT quarantine_id FROM quarantine")
    mended(names, folder)
    assert living(names) == before


def test_import_with_the_login_of_intake_stores_and_is_content(
    own: tuple[Logins, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names, folder = own
    for name in ("ROOTS", "LEDGER", "SIGNING"):
        monkeypatch.setenv(f"SEALDESK_{name}", str(folder / name.lower()))
    monkeypatch.setenv("SEALDESK_LOG_DSN", names.dsn("log", INTAKE))
    monkeypatch.setenv("SEALDESK_KEYS_DSN", names.dsn("keys", INTAKE))
    record = {
        "specversion": "1.0",
        "id": "q1",
        "source": "tests",
        "type": "sealdesk.contact.created.v1",
        "subject": "contact 50",
        "tenant": "acme",
        "time": "2026-03-01T12:00:00Z",
        "data": {"id": 50, "name": "Bob"},
    }
    (tmp_path / "in.jsonl").write_bytes(orjson.dumps(record) + b"\n")
    assert run(["import", str(tmp_path / "in.jsonl")]) == 0
    with psycopg.connect(names.endpoints.log_dsn) as log:
        assert log.execute("SELECT count(*) FROM facts_events").fetchone() == (7,)


# -- a keeper, and what nobody attacks -----------------------------------------------------------------------------


def test_a_keeper_puts_nothing_in_the_way_of_the_owner(own: tuple[Logins, Path]) -> None:
    names, folder = own
    with projected(names), desk_house(names.endpoints, folder) as house:
        tenant = house.tenants.named("acme").id
        house.analysts.refresh(tenant)
    with psycopg.connect(names.dsn("log", KEEPER), autocommit=True) as attacker:
        for statement in (
            "CREATE SCHEMA planted",
            "ALTER TABLE contacts.position ADD COLUMN x int",
            f"DROP TABLE analysts_{tenant.hex[:12]}.freshness",
            f"CREATE TABLE analysts_{tenant.hex[:12]}.mine (one int)",
            "SET ROLE sealdesk_projector",
        ):
            with pytest.raises(InsufficientPrivilege):
                attacker.execute(statement.encode())
    with house_of(names, KEEPER, folder) as house:
        house.analysts.withdraw(tenant)
    with psycopg.connect(names.endpoints.log_dsn) as log:
        asked = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'analysts%'"
        assert log.execute(f"SELECT count(*) FROM analysts_{tenant.hex[:12]}.freshness".encode()).fetchone() == (0,)
        assert log.execute(asked).fetchone() == (1,)
        log.commit()
        with projected(names), desk_house(names.endpoints, folder) as house:
            house.analysts.refresh(house.tenants.add("umbrella").id)
        assert log.execute(asked).fetchone() == (1,)
        gone = log.execute("SELECT to_regnamespace(%s) IS NULL", (f"analysts_{tenant.hex[:12]}",)).fetchone()
        assert gone == (True,)


@pytest.mark.parametrize("role", [READER, INTAKE])
def test_nobody_serves_what_the_ledger_told_of_and_nobody_carried_out(
    own: tuple[Logins, Path], role: rights.Role
) -> None:
    names, folder = own
    with projected(names), house_of(names, KEEPER, folder) as house:
        desk_in(house).shred("contact 1")
    with house_of(names, role, folder):
        pass
    with psycopg.connect(names.endpoints.keys_dsn) as keys:
        # As a keeper leaves it who writes down what the ledger says and dies before he carries it out.
        keys.execute("UPDATE shreds SET step = 'intended', ground = %s", (TOLD_BY_THE_LEDGER,))
    with pytest.raises(GateShut, match="sealdesk keep"), house_of(names, role, folder):
        pass
    with projected(names), house_of(names, KEEPER, folder):
        pass
    with house_of(names, role, folder) as house:
        if role is READER:
            tenant = house.tenants.named("acme").id
            told = [row.get("name") for row in house.reading.contacts(tenant, Reveal("a", "b"), all=True)]
            assert "Ann1" not in told


def test_who_becomes_a_projector_is_no_keeper_of_the_keys_any_more(own: tuple[Logins, Path], tmp_path: Path) -> None:
    names, _ = own
    name, file = f"mary-{uuid4().hex[:8]}", tmp_path / "logins.toml"
    dsns = {"log": names.endpoints.log_dsn, "keys": names.endpoints.keys_dsn}
    try:
        for role in ("keeper", "projector"):
            file.write_text(f'[{name}]\nmay_be = "{role}"\n')
            for which, dsn in dsns.items():
                with psycopg.connect(dsn, autocommit=True) as owner:
                    provide(owner, which, read_logins(file))
        with psycopg.connect(dsns["keys"], autocommit=True) as owner:
            assert [role for login, role in rights.who(owner) if login == name] == []
    finally:
        for dsn in dsns.values():
            with psycopg.connect(dsn, autocommit=True) as owner:
                owner.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def test_who_is_more_through_a_group_is_shown_and_made_no_login_of_a_file(
    own: tuple[Logins, Path], tmp_path: Path
) -> None:
    names, _ = own
    name, group, file = f"kim-{uuid4().hex[:6]}", f"ops-{uuid4().hex[:6]}", tmp_path / "logins.toml"
    file.write_text(f'[{name}]\nmay_be = "intake"\n')
    with psycopg.connect(names.endpoints.keys_dsn, autocommit=True) as owner:
        them = {"name": sql.Identifier(name), "group": sql.Identifier(group)}
        owner.execute(
            sql.SQL(
                "CREATE ROLE {name} LOGIN; CREATE ROLE {group}; GRANT sealdesk_keeper TO {group};"
                "GRANT {group} TO {name} WITH SET FALSE, INHERIT TRUE"
            ).format(**them)
        )
        try:
            assert (name, KEEPER) in rights.who(owner)
            with pytest.raises(SettingsWrong, match="another role"):
                provide(owner, "keys", read_logins(file))
        finally:
            owner.execute(sql.SQL("DROP ROLE {name}, {group}").format(**them))


def test_a_login_is_granted_in_both_databases_or_in_none(
    databases: Endpoints, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"new-{uuid4().hex[:6]}"
    monkeypatch.setenv("SEALDESK_LOG_DSN", databases.log_dsn)
    monkeypatch.setenv("SEALDESK_KEYS_DSN", make_conninfo(databases.keys_dsn))
    with psycopg.connect(databases.log_dsn, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        try:
            # The other database has no such login.
            assert run(["rights", "grant", name, "--to", "intake"]) == 2
            assert "Make it first" in capsys.readouterr().err
            assert [role for login, role in rights.who(owner) if login == name] == []
        finally:
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
