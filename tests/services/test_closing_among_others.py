"""A tenant is closed while others are at it: shreds under way, lines that come late, stores out of reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from crypto import closing as rows
from crypto.replacing import replace_subject, subject_made_ready
from crypto.tree import Tree
from domain.errors import BlobsUnavailable, ShredRefused, TenantIsClosed
from domain.personal import Kind, Reference
from services import locking, reading
from services.analysts.roles import schema
from services.blobs.attaching import Attaching
from services.closing import Closing
from services.drill import Copies
from services.embedded import Endpoints
from services.reading import Reveal
from services.shredding import Order, Shredding
from services.wiring import House
from tests.desks import Desk, desk_house
from tests.services.test_closing import Crash, close, filled, keys_checked


def dying(*_: Any, **__: Any) -> None:
    raise Crash


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path, SEALDESK_BLOBS=str(tmp_path / "blobs")) as opened:
        yield opened


@pytest.fixture
def acme(house: House) -> Desk:
    return filled(Desk(house))


def steps(databases: Endpoints) -> list[tuple[str, str]]:
    with psycopg.connect(databases.keys_dsn) as connection:
        return connection.execute("SELECT kind, step FROM shreds ORDER BY begun_at").fetchall()


def test_a_shred_whose_line_came_late_counts_in_a_tenant_that_was_closed_meanwhile(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(databases, tmp_path) as house:
        desk, other = filled(Desk(house)), filled(Desk(house, "globex"), "glo")
        with monkeypatch.context() as patch:
            patch.setattr(Tree, "destroy_subjects", dying)
            with pytest.raises(Crash):
                desk.shred("contact 1")
        with monkeypatch.context() as patch:
            # The line is still on its way over the network, so whoever resumes gives the shred up.
            patch.setattr(type(house.ledger), "find", lambda *_: None)
            house.resume()
        close(desk)
    for _ in range(2):
        with desk_house(databases, tmp_path) as house:
            house.resume()
            assert {step for _, step in steps(databases)} == {"finished"}
            assert keys_checked(house) == []
            assert sum(house.residue.of_all(desk.tenant.id).values()) == 0
            other.house = house
            assert other.tickets()[0]["subject"] == "from gloada"
            told = [fact for fact in house.facts.page(0, 10_000) if fact.type == "sealdesk.subject.shredded.v1"]
            assert len([fact for fact in told if fact.tenant == desk.tenant.id]) == 2


def test_behind_its_line_a_closing_is_finished_whoever_is_at_a_shred_meanwhile(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(databases, tmp_path) as house:
        desk, other = filled(Desk(house)), filled(Desk(house, "globex"), "glo")
        with monkeypatch.context() as patch:
            # Another process is past the line of a shred, and its proof takes long.
            patch.setattr(Shredding, "_finish", dying)
            with pytest.raises(Crash):
                desk.shred("contact 1")
        with psycopg.connect(databases.keys_dsn) as connection:
            [[shred]] = connection.execute("SELECT shred_id FROM shreds WHERE step = 'told'").fetchall()
        with house.keys.tasks() as take:
            take(str(shred))
            with monkeypatch.context() as patch:
                patch.setattr(Closing, "_wait_for_shreds", lambda *_: None)
                patch.setattr(rows, "destroy", dying)
                with pytest.raises(Crash):
                    close(desk)
            with desk_house(databases, tmp_path) as started:
                # Nobody else is stopped by it.
                started.resume()
                other.house = started
                assert other.happens("contact.created", "contact 60", id=60, name="gus").stored == 1
            assert ("tenant", "intended") in steps(databases)
            with pytest.raises(ShredRefused, match="being closed"):
                desk.shred("agent 9")
    with desk_house(databases, tmp_path) as house:
        house.resume()
        certificate = house.closing.first_certificate(desk.tenant.id)
        assert certificate is not None
        assert certificate["residue"]["found"] == 0
        assert {step for _, step in steps(databases)} <= {"finished", "abandoned"}
        assert ("tenant", "finished") in steps(databases)
        assert keys_checked(house) == []


def test_a_batch_that_was_decided_before_the_closing_is_refused_after_it(
    acme: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, closed = locking.hold_tenants, list[dict[str, Any]]()

    def hold(*args: Any) -> None:
        if not closed:
            closed.append(close(acme))
        real(*args)

    monkeypatch.setattr(locking, "hold_tenants", hold)
    tally = acme.happens("ticket.opened", "ticket 61", id=61, requester_id=1, subject="decided before")
    assert (tally.stored, tally.refused) == (0, 1)
    with acme.house.keys.transaction() as cursor:
        assert set(rows.left(cursor, acme.tenant.id).values()) == {0}


@pytest.mark.parametrize("swept", [False, True])
def test_a_shred_that_was_confirmed_while_the_tenant_was_closed_is_told_so(
    acme: Desk, monkeypatch: pytest.MonkeyPatch, swept: bool
) -> None:
    references = Reference(Kind.PERSON, "1"), Reference(Kind.TICKET, "21")
    found = [acme.house.shredding.find(acme.tenant.id, reference) for reference in references]
    with monkeypatch.context() as patch:
        if not swept:
            patch.setattr(Closing, "_finish", lambda *_: {})
        close(acme)
    for one in found:
        with pytest.raises(TenantIsClosed):
            acme.house.shredding.request(one, Order(acme.tenant.id, "test", "tester"))
    with pytest.raises(TenantIsClosed):
        acme.house.shredding.request_all(found, Order(acme.tenant.id, "test", "tester"))


def test_a_turn_passes_over_a_subject_that_was_swept_meanwhile(house: House) -> None:
    with house.keys.transaction() as cursor:
        tree, gone = Tree(cursor, house.roots), uuid4()
        assert subject_made_ready(tree, gone) is None
        assert replace_subject(tree, gone).replaced == 0


def test_the_certificate_counts_the_quarantine_that_went(acme: Desk) -> None:
    acme.take(b"{")  # It names nobody, so it lies under the house.
    for number in (91, 92):
        acme.happens("ticket.replied", f"ticket {number}", id=number, ticket_id=number, body="waits", user_id=1)
    acme.happens("ticket.opened", "ticket 92", id=92, requester_id=1, subject="what one of them waited for")
    acme.house.shredding.mend()
    assert len(list(acme.house.quarantine.listed(acme.tenant.id))) == 1
    assert acme.house.closing.effect(acme.tenant.id).quarantined == 1
    assert close(acme)["quarantine"]["dropped"] == 1


def with_file(desk: Desk) -> None:
    at = {"ticket_id": 21, "name": "s.pdf", "content_type": "application/pdf", "size": 4}
    desk.happens("ticket.attachment_added", "ticket 21", id=41, **at)
    desk.house.attaching.put(desk.tenant.id, Reference(Kind.ATTACHMENT, "41"), [b"%PDF"])


def test_what_an_old_log_brings_back_of_a_closed_tenant_goes_again(databases: Endpoints, tmp_path: Path) -> None:
    copies, blobs = Copies(databases), {"SEALDESK_BLOBS": str(tmp_path / "blobs")}
    try:
        with desk_house(databases, tmp_path, **blobs) as house:
            desk = filled(Desk(house))
            with_file(desk)
            house.analysts.refresh(desk.tenant.id)
        copies.make("before")
        with desk_house(databases, tmp_path, **blobs) as house:
            desk.house = house
            close(desk)
        copies.restore("before", "log")
        with psycopg.connect(databases.log_dsn) as connection:
            back = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", (schema(desk.tenant.id),))
            assert back.fetchone() == (1,), "the control: the copy has it"
        with desk_house(databases, tmp_path, **blobs) as house:
            assert house.tenants.named("acme").closed_at is not None
            assert list(house.attaching.listed([desk.tenant.id])) == []
        with psycopg.connect(databases.log_dsn) as connection:
            left = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", (schema(desk.tenant.id),))
            assert left.fetchone() == (0,)
    finally:
        copies.drop()


def test_a_closing_waits_for_the_store_of_files_and_certifies_when_it_is_back(
    acme: Desk, databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_file(acme)

    def gone(*_: Any, **__: Any) -> None:
        raise BlobsUnavailable("the store cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(Attaching, "_delete", gone)
        with pytest.raises(BlobsUnavailable, match="ask again"):
            close(acme)
        assert acme.house.resume() == 1, "it is no reason to stop others"
        with pytest.raises(ShredRefused, match="not finished"):
            acme.house.closing.first_certificate(acme.tenant.id)
        # Whoever has no store set can delete nothing either.
        with desk_house(databases, tmp_path) as other:
            assert other.resume() == 1
    acme.house.resume()
    certificate = acme.house.closing.first_certificate(acme.tenant.id)
    assert certificate is not None
    assert certificate["residue"]["found"] == 0
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.stat().st_size] == []
    assert list(acme.house.attaching.listed([acme.tenant.id])) == []


def test_a_page_that_was_opened_right_before_its_tenant_was_closed_is_not_shown_without_an_access_line(
    house: House, databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = filled(Desk(house))
    assert any(isinstance(row["subject"], str) for row in desk.tickets())
    seal_words_in = reading.seal_words_in

    def closing(*args: Any, **named: Any) -> bytes:
        # The page is open by now.
        with desk_house(databases, tmp_path) as other:
            close(Desk(other))
        return seal_words_in(*args, **named)

    monkeypatch.setattr(reading, "seal_words_in", closing)
    lines = access_lines(databases)
    shown = list(house.reading.tickets(desk.tenant.id, Reveal("me", "to look"), all=True))
    assert {str(row["subject"]) for row in shown} == {"{'shredded': True}"}
    assert access_lines(databases) == lines


def access_lines(databases: Endpoints) -> int:
    with psycopg.connect(databases.log_dsn) as connection:
        return connection.execute("SELECT count(*) FROM access_lines").fetchall()[0][0]
