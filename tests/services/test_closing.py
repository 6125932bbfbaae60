"""A tenant is closed: nothing of it opens any more, nobody else notices, and every count stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from crypto import certificates
from crypto import closing as rows
from crypto.integrity import Integrity
from crypto.opening import SHREDDED, open_leaves
from crypto.sealing import header_of
from crypto.tree import Tree
from crypto.turning import Turning
from crypto.wrapping import Key
from domain.errors import GateShut, KeyLost, SealBroken, ShredRefused, TenantIsClosed
from domain.personal import Kind, Reference
from services import epochs, gate
from services.analysts.roles import schema
from services.closed import Remains
from services.closing import Closing
from services.drill import Copies
from services.embedded import Endpoints
from services.integrity import LogIntegrity
from services.projecting import MODELS
from services.reading import Reveal
from services.shredding import Order
from services.wiring import House, now
from services.wiring import databases as databases_of
from tests.adversary import TABLES, Adversary
from tests.desks import Desk, desk_house

Dump = dict[str, list[Any]]


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened:
        yield opened


@pytest.fixture
def acme(house: House) -> Desk:
    return filled(Desk(house))


@pytest.fixture
def globex(house: House) -> Desk:
    return filled(Desk(house, "globex"), "glo")


def filled(desk: Desk, first: str = "") -> Desk:
    """Let a little of everything happen."""
    names = [f"{first}{name}" for name in ("ada", "bob", "cy")]
    for number, name in enumerate(names, start=1):
        desk.happens("contact.created", f"contact {number}", id=number, name=name, email=f"{name}@example.org")
        opened = {"id": number + 20, "requester_id": number, "subject": f"from {name}", "status": 2}
        desk.happens("ticket.opened", f"ticket {number + 20}", **opened)
    desk.happens(
        "agent.created", "agent 9", id=9, contact={"name": f"{first}gwen", "email": f"{first}gwen@example.org"}
    )
    desk.happens("ticket.replied", "ticket 21", id=31, ticket_id=21, body=f"hello {names[0]}", user_id=9)
    desk.happens("article.published", "article 5", id=5, title=f"how {first}to", description="so", agent_id=9)
    desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[3])
    desk.shred("contact 2")
    return desk


def order(desk: Desk, **more: Any) -> Order:
    return Order(desk.tenant.id, "contract-end", "tester", **more)


def close(desk: Desk, **more: Any) -> dict[str, Any]:
    return desk.house.closing.request(order(desk, **more))


def models_of(endpoints: Endpoints, desk: Desk) -> Dump:
    """Read every row of a tenant in every read model."""
    found: Dump = {}
    with psycopg.connect(endpoints.log_dsn) as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.columns"
            " WHERE table_schema = ANY(%s) AND column_name = 'tenant' ORDER BY 1, 2",
            (list(MODELS),),
        ).fetchall()
        for schema, table in tables:
            rows = connection.execute(
                f"SELECT * FROM {schema}.{table} WHERE tenant = %s".encode(), (desk.tenant.id,)
            ).fetchall()
            found[f"{schema}.{table}"] = sorted(rows, key=repr)
    return found


def test_nothing_of_a_closed_tenant_opens_and_every_count_stays(acme: Desk, databases: Endpoints) -> None:
    before = acme.reports()
    assert {row["subject"] for row in acme.tickets() if isinstance(row["subject"], str)} == {"from ada", "from cy"}
    certificate = close(acme)
    assert acme.reports() == before
    for row in (*acme.tickets(), *acme.contacts()):
        assert row["erased"]
        personal = [value for value in row.values() if isinstance(value, dict)]
        assert all(value == {"shredded": True} for value in personal if value)
    assert certificate["kind"] == "tenant"
    assert certificate["residue"]["found"] == 0
    assert certificate["counts"]["subjects"] == 3
    certificates.verify(certificate)
    with psycopg.connect(databases.keys_dsn) as connection:
        for table in ("wrapping_keys", "subjects", "things", "leaves", "register", "fences", "pairs"):
            row = connection.execute(
                f"SELECT count(*) FROM {table} WHERE tenant = %s".encode(), (acme.tenant.id,)
            ).fetchone()
            assert row == (0,), table
        assert connection.execute("SELECT count(*) FROM register_backs").fetchone() == (0,)


def test_everything_of_a_closed_tenant_reads_as_shredded_before_any_read_model_knows_it(
    acme: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = places_of(acme)
    opened = found(acme, places)
    assert sum(isinstance(key, Key) for key in opened.values()) > 5
    acme.house.projecting.catch_up()
    monkeypatch.setattr(Closing, "_finish", lambda *_: {})
    close(acme)
    assert set(found(acme, places).values()) == {SHREDDED}
    for row in acme.house.reading.tickets(acme.tenant.id, Reveal("tester", "test"), all=True):
        assert row["subject"] == {"shredded": True}


def test_a_closing_that_is_not_ours_reads_as_broken_and_a_lost_bucket_as_lost(
    acme: Desk, globex: Desk, databases: Endpoints
) -> None:
    places, others = places_of(acme), places_of(globex)
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("DELETE FROM wrapping_keys WHERE tenant = %s AND kind = 'bucket'", (acme.tenant.id,))
    lost = [answer for answer in found(acme, places).values() if isinstance(answer, KeyLost)]
    assert len(lost) > 3
    close(globex)
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("UPDATE closings SET tenant = %s", (acme.tenant.id,))
    assert all(isinstance(answer, SealBroken) for answer in found(acme, places).values())
    assert all(isinstance(answer, KeyLost) for answer in found(globex, others).values())
    with pytest.raises(SealBroken):
        acme.happens("contact.created", "contact 77", id=77, name="zed")
    assert "forged" in {finding.wrong for finding in keys_checked(acme.house)}


def test_another_tenant_notices_nothing(acme: Desk, globex: Desk, databases: Endpoints) -> None:
    before, texts = models_of(databases, globex), revealed(globex)
    close(acme)
    assert models_of(databases, globex) == before
    assert revealed(globex) == texts
    assert globex.happens("ticket.replied", "ticket 21", id=90, ticket_id=21, body="later", user_id=9).stored == 1


def revealed(desk: Desk) -> list[Any]:
    return [*desk.tickets(), *desk.contacts()]


def test_values_of_a_closed_tenant_stand_in_neither_database(acme: Desk, databases: Endpoints) -> None:
    acme.house.projecting.catch_up()
    reader = Adversary(acme.house.roots, acme.tenant.id)
    steal(reader, databases)
    assert reader.opened_leaves(), "the control: with the rows of before and the root, everything opens"
    close(acme)
    late = Adversary(acme.house.roots, acme.tenant.id)
    steal(late, databases)
    assert not set(late.opened_leaves()) & set(reader.opened_leaves())
    for dsn in (databases.log_dsn, databases.keys_dsn):
        text = dump(dsn)
        assert b"acme" in text or dsn == databases.keys_dsn
        for value in (b"from ada", b"gwen@example.org", b"from cy", b"ada@example.org"):
            assert value not in text


def dump(dsn: str) -> bytes:
    """Write every row of every table as text."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        parts = []
        for place in tables:
            with connection.cursor().copy('COPY "{}"."{}" TO STDOUT'.format(*place).encode()) as copy:
                parts.extend(bytes(part) for part in copy)
    return b"".join(parts)


def steal(adversary: Adversary, databases: Endpoints) -> None:
    with psycopg.connect(databases.keys_dsn, row_factory=dict_row) as connection:
        for table in TABLES:
            adversary.steal(table, connection.execute(f"SELECT * FROM {table}".encode()).fetchall())


def test_records_for_a_closed_tenant_are_refused_counted_and_not_kept(acme: Desk, databases: Endpoints) -> None:
    acme.take(b"{")
    acme.happens("ticket.replied", "ticket 99", id=91, ticket_id=99, body="waits for a ticket", user_id=1)
    assert not acme.house.quarantine.is_empty(acme.tenant.id)
    head = acme.house.facts.head()
    close(acme)
    assert acme.house.facts.head() == head + 1
    assert acme.happens("contact.created", "contact 50", id=50, name="late").refused == 1
    assert acme.happens("contact.created", "contact 1", id=1, name="late").refused == 1
    assert acme.happens("ticket.replied", "ticket 98", id=92, ticket_id=98, body="late", user_id=1).refused == 1
    assert acme.happens("no.such", "contact 1").refused == 1
    assert acme.house.facts.head() == head + 1
    assert acme.house.quarantine.is_empty(acme.tenant.id)
    with psycopg.connect(databases.log_dsn) as connection:
        refused = connection.execute("SELECT code, refused FROM refusals WHERE tenant = %s", (acme.tenant.id,))
        assert ("tenant_closed", 4) in refused.fetchall()


def test_nothing_is_sealed_for_a_closed_tenant_and_its_name_is_not_given_again(acme: Desk) -> None:
    tenant = acme.tenant.id
    acme.house.recipients.add(tenant, "crm", ["erased"])
    acme.house.pairs.current(tenant, at=now())
    close(acme)
    assert acme.house.pairs.listed(tenant) == []
    assert [row["removed"] is None for row in acme.house.recipients.all(tenant)] == [False]
    with pytest.raises(TenantIsClosed, match="another name"):
        acme.house.tenants.add("acme")
    with pytest.raises(TenantIsClosed):
        acme.house.pairs.current(tenant, at=now())
    with pytest.raises(TenantIsClosed):
        acme.house.recipients.add(tenant, "other", ["erased"])
    with pytest.raises(TenantIsClosed):
        acme.house.shredding.find(tenant, Reference(Kind.PERSON, "1"))
    with pytest.raises(TenantIsClosed):
        acme.house.analysts.refresh(tenant)
    assert acme.house.tenants.named("acme").closed_at is not None


def test_a_hold_and_the_brake_refuse_and_that_is_recorded(acme: Desk) -> None:
    target = acme.house.shredding.find(acme.tenant.id, Reference(Kind.TICKET, "21"))
    hold = acme.house.holds.add(acme.tenant.id, target, actor="x", why="court")
    with pytest.raises(ShredRefused, match="hold"):
        close(acme)
    acme.house.holds.release(acme.tenant.id, hold, actor="x", why="over")
    facts = acme.house.closing.effect(acme.tenant.id).facts
    with pytest.raises(ShredRefused, match=f"--expect {facts}"):
        close(acme, expect=facts + 1)
    assert acme.house.closing.first_certificate(acme.tenant.id) is None
    certificate = close(acme, expect=facts)
    assert certificate["counts"]["facts"] == facts
    assert acme.house.closing.first_certificate(acme.tenant.id) == certificate
    assert acme.house.privacy.case(acme.tenant.id).version == 3


def test_the_publication_for_analysts_goes_with_the_tenant(acme: Desk, globex: Desk, databases: Endpoints) -> None:
    acme.house.analysts.refresh(acme.tenant.id)
    acme.house.analysts.refresh(globex.tenant.id)
    close(acme)
    with psycopg.connect(databases.log_dsn) as connection:
        left = {row[0] for row in connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'analysts%'")}
        roles = [row[0] for row in connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'analysts%'")]
    assert left == {schema(globex.tenant.id)}
    assert not [role for role in roles if role.startswith(schema(acme.tenant.id))]


class Crash(BaseException):
    """The process dies."""


STEPS = (
    (rows, "destroy"),
    (Closing, "tell"),
    (Remains, "sweep"),
    (rows, "sweep"),
    (Remains, "left"),
    (Closing, "_finish"),
)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=lambda part: getattr(part, "__name__", part))
def test_killed_at_any_step_the_next_start_finishes_it(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str
) -> None:
    with desk_house(databases, tmp_path) as house:
        desk = filled(Desk(house))
        before = desk.reports()
        real = getattr(owner, name)

        def dying(*args: Any, **kwargs: Any) -> Any:
            if when == "after":
                real(*args, **kwargs)
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dying)
            with pytest.raises(Crash):
                close(desk)
    with desk_house(databases, tmp_path) as house:
        house.resume()
        certificate = house.closing.first_certificate(desk.tenant.id)
        assert certificate is not None
        assert certificate["residue"]["found"] == 0
        assert certificate["counts"]["subjects"] == 3
        desk.house = house
        assert desk.reports() == before
        assert house.ledger.head() == 2
        assert keys_checked(house) == []


def test_killed_between_line_and_commit_nothing_is_lost_and_before_the_line_it_is_abandoned(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any, **__: Any) -> None:
        raise Crash

    with desk_house(databases, tmp_path) as house:
        desk = filled(Desk(house))
        with monkeypatch.context() as patch:
            patch.setattr(Closing, "_destroyed", dying)
            with pytest.raises(Crash):
                close(desk)
        assert house.resume() == 1
        assert house.closing.first_certificate(desk.tenant.id) is None
        assert house.ledger.head() == 1
        assert close(desk)["residue"]["found"] == 0


def test_of_two_at_once_one_closes_and_the_other_is_told(acme: Desk, databases: Endpoints, tmp_path: Path) -> None:
    outcomes: list[Any] = []

    def try_it() -> None:
        try:
            outcomes.append(close(acme))
        except (ShredRefused, TenantIsClosed) as refused:
            outcomes.append(refused)

    threads = [threading.Thread(target=try_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == 1
    assert len([line for line in acme.house.ledger.read() if line.kind == "tenant"]) == 1
    assert acme.house.closing.first_certificate(acme.tenant.id) in outcomes


def test_a_batch_in_flight_comes_before_the_closing_and_none_after(acme: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch holds its tenant while it appends: the closing waits for it, and takes what it brought along."""
    closer = threading.Thread(target=lambda: close(acme))
    real = acme.house.facts.append
    waited: list[bool] = []

    def append(*args: Any, **kwargs: Any) -> Any:
        if not waited:
            waited.append(True)
            closer.start()
            closer.join(1.0)
            waited.append(closer.is_alive())
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(type(acme.house.intake), "_facts", _Appending(acme.house.facts, append), raising=False)
        acme.house.intake._facts = _Appending(acme.house.facts, append)  # type: ignore[assignment]
        assert acme.happens("ticket.opened", "ticket 60", id=60, requester_id=1, subject="just in time").stored == 1
    closer.join()
    assert waited == [True, True]
    assert all(row["erased"] for row in acme.tickets())
    last = acme.house.facts.page(0, 10_000)[-1]
    assert last.type == "sealdesk.tenant.closed.v1"


class _Appending:
    """The log, with another way to append."""

    def __init__(self, facts: Any, append: Any) -> None:
        self._of = facts
        self.append = append

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


def test_a_copy_of_the_keys_from_before_is_closed_again_before_anything_is_served(
    databases: Endpoints, tmp_path: Path
) -> None:
    copies = Copies(databases)
    try:
        with desk_house(databases, tmp_path) as house:
            desk = filled(Desk(house))
            places = places_of(desk)
        copies.make("before")
        with desk_house(databases, tmp_path) as house:
            desk.house = house
            close(desk)
            after = models_of(databases, desk)
        copies.restore("before", "keys")
        with pytest.raises(GateShut, match="older than its log"), desk_house(databases, tmp_path):
            pass
        with databases_of(databases) as (facts, keys):
            gate.accept_loss(facts, keys)
        with desk_house(databases, tmp_path) as house:
            desk.house = house
            assert set(found(desk, places).values()) == {SHREDDED}
            assert keys_checked(house) == []
            assert desk.happens("contact.created", "contact 1", id=1, name="late").refused == 1
        copies.restore("before")
        with desk_house(databases, tmp_path) as house:
            desk.house = house
            house.projecting.catch_up()
            again = models_of(databases, desk)
            assert {name: len(found) for name, found in again.items()} == {name: len(f) for name, f in after.items()}
            assert all(row["erased"] for row in desk.tickets())
            assert house.tenants.named("acme").closed_at is not None
    finally:
        copies.drop()


def test_after_a_turn_old_rows_open_nothing_and_the_certificate_says_so(
    acme: Desk, globex: Desk, databases: Endpoints
) -> None:
    adversary = Adversary(acme.house.roots, acme.tenant.id)
    steal(adversary, databases)
    ours = {key.material for key in found(acme, places_of(acme)).values() if isinstance(key, Key)}
    assert ours <= set(adversary.opened_leaves())
    close(acme)
    turning = Turning(acme.house.keys, acme.house.roots, now)
    turning.turn()
    turning.destroy_older(grace=timedelta(0))
    epochs.certify_destroyed(acme.house.keys, acme.house.certifying.recertify, at=now())
    steal(adversary, databases)
    assert not ours & set(adversary.opened_leaves())
    assert revealed(globex)[0]["subject"] == "from gloada"
    certificate = acme.house.closing.first_certificate(acme.tenant.id)
    assert certificate is not None
    assert certificate["unrecoverable_since"] is not None
    certificates.verify(certificate)
    assert keys_checked(acme.house) == []
    answers = LogIntegrity(acme.house.facts, acme.house.keys, acme.house.roots).check()
    assert list(answers.report.named) == []
    assert answers.counts["opens"] > 0


def test_a_turn_passes_over_what_a_killed_closing_left_and_the_check_finds_what_is_put_back(
    acme: Desk, globex: Desk, databases: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(databases.keys_dsn, row_factory=dict_row) as connection:
        [bucket] = connection.execute(
            "SELECT * FROM wrapping_keys WHERE tenant = %s AND kind = 'bucket'", (acme.tenant.id,)
        ).fetchall()

    def dying(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Closing, "_finish", dying)
        with pytest.raises(Crash):
            close(acme)
    assert keys_checked(acme.house) == []
    Turning(acme.house.keys, acme.house.roots, now).turn()
    acme.house.shredding.mend()
    acme.house.news.follow()
    assert acme.house.resume() == 1
    assert keys_checked(acme.house) == []
    with psycopg.connect(databases.keys_dsn) as connection:
        columns = ", ".join(bucket)
        marks = ", ".join(["%s"] * len(bucket))
        connection.execute(f"INSERT INTO wrapping_keys ({columns}) VALUES ({marks})".encode(), list(bucket.values()))
    assert {(finding.kind, finding.wrong) for finding in keys_checked(acme.house)} >= {("bucket", "kept")}


def keys_checked(house: House) -> list[Any]:
    return list(Integrity(house.keys, house.roots, house.ledger, now).check().named)


def places_of(desk: Desk) -> list[Any]:
    """Name the leaves of all facts of a tenant that have a seal."""
    facts = desk.house.facts.page(0, 10_000)
    return [(f.stream, header_of(f.seal).key_id) for f in facts if f.tenant == desk.tenant.id and f.seal]


def found(desk: Desk, places: list[Any]) -> dict[Any, Any]:
    with desk.house.keys.transaction() as cursor:
        return dict(open_leaves(Tree(cursor, desk.house.roots), desk.tenant.id, places))
