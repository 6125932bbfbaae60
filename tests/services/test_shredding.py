"""Shreds: what stops them, what a crash leaves of them, and what stops a start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crypto import certificates
from crypto.keystore import rows_of
from crypto.register import expire_fences
from crypto.tree import SQL, Tree
from domain.errors import KeysUnavailable, LedgerBroken, ReferenceUnknown, ShredRefused
from domain.personal import Kind, Reference
from services import keeping
from services.embedded import Endpoints
from services.shredding import Shredding
from tests.desks import Desk, desk_house

ANN = Reference(Kind.EMAIL, "ann@example.org")


class Crash(Exception):
    """What a test throws where a process could die."""


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        yield filled(Desk(opened))


def filled(desk: Desk) -> Desk:
    desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org")
    desk.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help")
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=2, subject="Ann Abbott told me")
    desk.happens("ticket.replied", "ticket 21", body="me too", user_id=1)
    return desk


def found(desk: Desk, reference: Reference = ANN) -> Any:
    return desk.house.shredding.find(desk.tenant.id, reference)


STEPS = ("_intend", "_approve", "_destroy", "tell", "_project", "_sweep", "_certify")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_shred_that_died_at_any_step_is_finished_or_can_be_asked_for_again(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    with desk_house(databases, tmp_path) as opened:
        desk = filled(Desk(opened))
        before = desk.reports()
        effect = opened.shredding.effect(found(desk)).as_dict()
        real = getattr(opened.shredding, step)

        def dying(*args: Any, **kwargs: Any) -> Any:
            if when == "after":
                real(*args, **kwargs)
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(opened.shredding, step, dying)
            with pytest.raises(Crash):
                desk.shred("ann@example.org")
    with desk_house(databases, tmp_path) as again:
        again.shredding.resume()
        desk = Desk(again)
        try:
            certificate = desk.shred("ann@example.org")
        except ReferenceUnknown:
            certificate = again.shredding.first_certificate(desk.tenant.id, ANN) or {}
        certificates.verify(certificate)
        assert certificate["residue"]["found"] == 0
        assert certificate["counts"] == effect
        assert desk.reports() == before
        assert [row["erased"] for row in desk.tickets()] == [True, False]
        assert len(list(again.ledger.read())) == 1
        assert sum(again.residue.of_all(desk.tenant.id).values()) == 0


def test_the_counts_are_those_of_the_moment_of_destruction_whatever_ends_before_the_shred_is_finished(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(databases, tmp_path) as opened:
        desk = filled(Desk(opened))
        desk.happens("ticket.replied", "ticket 21", id=31, ticket_id=21, body="and again", user_id=1)
        effect = opened.shredding.effect(found(desk)).as_dict()

        def dying(*_: Any, **__: Any) -> None:
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(opened.shredding, "tell", dying)
            with pytest.raises(Crash):
                desk.shred("ann@example.org")
        assert desk.happens("ticket.entry_deleted", "ticket 21", id=31, ticket_id=21).stored == 1
    with desk_house(databases, tmp_path) as again:
        again.shredding.resume()
        certificate = again.shredding.first_certificate(desk.tenant.id, ANN) or {}
        assert certificate["counts"] == effect


def test_whoever_was_merged_into_somebody_since_the_approval_goes_alone_and_is_counted_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    effect, destroy = desk.house.shredding.effect(found(desk)).as_dict(), desk.house.shredding._destroy

    def merging(*args: Any, **kwargs: Any) -> Any:
        merged = desk.happens("contact.merged", "contact 2", primary_contact_id=2, secondary_contact_ids=[1])
        assert merged.stored == 1
        return destroy(*args, **kwargs)

    monkeypatch.setattr(desk.house.shredding, "_destroy", merging)
    certificate = desk.shred("ann@example.org")
    # The merge itself is a fact about the other one.
    assert certificate["counts"] == effect
    assert [row["name"] for row in desk.contacts() if isinstance(row["name"], str)] == ["Bo Brook"]


def test_a_crash_between_ledger_line_and_commit_is_carried_out_at_the_next_start(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_house(databases, tmp_path) as opened:
        desk = filled(Desk(opened))

        def dying(*_: Any, **__: Any) -> None:
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(Tree, "destroy_subjects", dying)
            with pytest.raises(Crash):
                desk.shred("ann@example.org")
        assert opened.ledger.head() == 1
    with desk_house(databases, tmp_path) as again:
        assert again.shredding.resume() == 0, "the start has carried it out"
        assert Desk(again).tickets()[0]["erased"]
        assert again.ledger.head() == 1


def test_a_hold_on_a_ticket_stops_the_shred_of_its_requester(desk: Desk) -> None:
    hold = desk.house.holds.add(desk.tenant.id, found(desk, Reference(Kind.TICKET, "20")), actor="x", why="court")
    with pytest.raises(ShredRefused, match="hold"):
        desk.shred("contact 1")
    assert [held["hold"] for held in desk.house.holds.list(desk.tenant.id)] == [str(hold)]
    desk.house.holds.release(desk.tenant.id, hold, actor="x", why="over")
    assert desk.shred("contact 1")["residue"]["found"] == 0


def test_a_hold_on_a_ticket_that_moved_stops_the_shred_of_its_new_requester(desk: Desk) -> None:
    desk.house.holds.add(desk.tenant.id, found(desk, Reference(Kind.TICKET, "20")), actor="x", why="court")
    desk.happens("ticket.updated", "ticket 20", requester_id=2)
    with pytest.raises(ShredRefused, match="hold"):
        desk.shred("contact 2")


def test_a_hold_on_somebody_who_was_merged_stops_the_shred_of_both(desk: Desk) -> None:
    desk.house.holds.add(desk.tenant.id, found(desk, Reference(Kind.PERSON, "2")), actor="x", why="court")
    desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[2])
    with pytest.raises(ShredRefused, match="hold"):
        desk.shred("contact 1")


def test_a_refused_shred_can_be_asked_for_again_and_is_recorded(desk: Desk) -> None:
    hold = desk.house.holds.add(desk.tenant.id, found(desk), actor="x", why="court")
    for _ in range(2):
        with pytest.raises(ShredRefused):
            desk.shred("contact 1")
    desk.house.holds.release(desk.tenant.id, hold, actor="x", why="over")
    desk.shred("contact 1")
    with desk.house.facts.cursor() as cursor:
        topics = [row["topic"] for row in cursor.execute("SELECT topic FROM privacy_events ORDER BY notification_id")]
    assert topics.count("sealdesk.case.shred_refused.v1") == 2


def test_an_expected_number_that_is_wrong_stops_a_shred_of_any_size(desk: Desk) -> None:
    facts = desk.house.shredding.effect(found(desk)).facts
    with pytest.raises(ShredRefused, match="expect"):
        desk.shred("contact 1", expect=facts + 1)
    assert desk.shred("contact 1", expect=facts)["counts"]["facts"] == facts


def test_the_dry_run_counts_what_the_certificate_counts(desk: Desk) -> None:
    effect = desk.house.shredding.effect(found(desk)).as_dict()
    assert desk.shred("contact 1")["counts"] == effect
    assert effect["others_tickets"] == effect["others_entries"] == 1


def test_a_crash_behind_the_dropping_of_quarantined_records_loses_no_count_of_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.happens("ticket.replied", "ticket 99", ticket_id=99, id=9, user_id=1).quarantined == 1

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("crypto.certificates.sign", crash)
        with pytest.raises(Crash):
            desk.shred("contact 1")
    assert desk.house.shredding.resume() == 1
    certificate = desk.house.shredding.first_certificate(desk.tenant.id, Reference(Kind.PERSON, "1"))
    assert certificate is not None
    assert certificate["quarantine"]["dropped"] == 1
    assert "quarantine_dropped" not in certificate["counts"]


def test_whoever_was_merged_into_a_shredded_person_by_a_crashed_batch_goes_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "merge", dying)
        with pytest.raises(Crash):
            desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[2])
    with monkeypatch.context() as patch:
        # The crash happened while another process was past its own catching up.
        patch.setattr(Shredding, "mend", lambda self: None)
        desk.shred("contact 1")
    desk.house.shredding.mend()
    assert all(row["erased"] for row in desk.tickets())
    assert all(row["erased"] for row in desk.contacts() if row.get("name"))
    assert sum(desk.house.residue.of_all(desk.tenant.id).values()) == 0
    assert desk.happens("contact.updated", "contact 2", id=2, name="Bo again").refused == 1


def test_living_texts_that_name_the_person_are_counted_and_the_search_leaves_an_access_line(desk: Desk) -> None:
    certificate = desk.shred("contact 1", living=True)
    assert certificate["living_text"] == {"searched": True, "found": 1, "not_judged": 0}
    with desk.house.facts.cursor() as cursor:
        lines = cursor.execute("SELECT what FROM access_lines").fetchall()
    assert [line["what"] for line in lines] == ["living"]


def test_a_changed_seal_of_somebody_else_stops_no_search_of_living_texts_and_is_counted(desk: Desk) -> None:
    bo = found(desk, Reference(Kind.PERSON, "2"))
    with desk.house.as_login.cursor() as cursor:
        changed = cursor.execute(
            "UPDATE facts_events SET seal = set_byte(seal, octet_length(seal) - 1, 255 - get_byte(seal,"
            " octet_length(seal) - 1)) WHERE originator_id = %s AND seal IS NOT NULL",
            [bo.profile],
        )
    assert changed.rowcount == 1
    assert desk.shred("contact 1", living=True)["living_text"] == {"searched": True, "found": 1, "not_judged": 1}


@pytest.mark.parametrize("reference", [ANN, Reference(Kind.TICKET, "20"), Reference(Kind.TICKET, "21")])
def test_a_seal_whose_header_was_changed_stops_no_shred_and_is_counted_where_it_is_the_persons(
    desk: Desk, reference: Reference
) -> None:
    stream = found(desk, reference).profile
    with desk.house.as_login.cursor() as cursor:
        changed = cursor.execute(
            "UPDATE facts_events SET seal = set_byte(seal, 0, 9) WHERE originator_id = %s AND seal IS NOT NULL",
            [stream],
        )
    desk.house.projecting.catch_up()
    certificate = desk.shred("ann@example.org")
    assert (certificate["residue"]["found"], certificate["residue"]["not_judged"]) == (0, 1)
    assert changed.rowcount >= 1
    broken: list[Any] = []
    assert sum(desk.house.residue.of_all(desk.tenant.id, broken).values()) == 0
    assert len(broken) == 1
    desk.shred("contact 2")


def test_a_changed_header_is_found_whichever_byte_of_it_was_changed(desk: Desk) -> None:
    ann = found(desk)
    [whole] = desk.house.facts.stream(ann.profile)
    seal = whole.seal
    assert seal is not None
    end = 3 + int.from_bytes(seal[1:3], "big")
    changed = [seal[:at] + bytes([seal[at] ^ 1]) + seal[at + 1 :] for at in range(end)]
    cut = [seal[:length] for length in (0, 2, 3, 58, 59, 76, end - 1, end)]
    broken = []
    for other in (*changed, *cut):
        with desk.house.as_login.cursor() as cursor:
            cursor.execute("UPDATE facts_events SET seal = %s WHERE notification_id = %s", [other, whole.position])
        [fact] = desk.house.facts.stream(ann.profile)
        broken.append(fact.broken)
        assert desk.house.residue._changed(desk.tenant.id, {ann.id}, [ann.profile]) == int(fact.broken)
    assert any(broken)
    assert not all(broken)


def test_a_shred_that_another_process_gave_up_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    destroy = desk.house.shredding._destroy

    def late(shred: Any, held: Any, *, may_begin: bool) -> Any:
        # The lock went with its connection, and somebody who resumes took the shred for left.
        assert destroy(shred, None, may_begin=False) is None
        return destroy(shred, held, may_begin=may_begin)

    with monkeypatch.context() as patch:
        patch.setattr(desk.house.shredding, "_destroy", late)
        with pytest.raises(ShredRefused, match="ask again") as refused:
            desk.shred("contact 1")
    assert refused.value.code == "abandoned"
    assert desk.house.ledger.head() == 0
    assert desk.shred("contact 1")["residue"]["found"] == 0


def test_fences_end_with_the_key_of_their_quarter(desk: Desk) -> None:
    desk.shred("contact 1")
    assert desk.happens("contact.updated", "contact 1", id=1, name="late").refused == 1
    for days, keys in ((399, 0), (600, 1)):
        with desk.house.keys.transaction() as cursor:
            later = datetime.now(UTC) + timedelta(days=days)
            assert expire_fences(Tree(cursor, desk.house.roots), at=later, days=400) == keys
    with desk.house.keys.transaction() as cursor:
        assert cursor.execute("SELECT count(*) AS fences FROM fences").fetchall()[0]["fences"] == 0
    assert desk.happens("contact.updated", "contact 1", id=1, name="somebody new").stored == 1


def test_a_key_database_older_than_its_log_stops_the_start(databases: Endpoints, tmp_path: Path) -> None:
    with desk_house(databases, tmp_path) as opened:
        filled(Desk(opened))
        with opened.keys.transaction() as cursor:
            cursor.execute("UPDATE issued SET issue = 1")
    with pytest.raises(KeysUnavailable, match="older than its log"), desk_house(databases, tmp_path):
        pass


def test_a_ledger_behind_the_key_database_stops_the_start(databases: Endpoints, tmp_path: Path) -> None:
    with desk_house(databases, tmp_path) as opened:
        filled(Desk(opened)).shred("contact 1")
    for file in (tmp_path / "ledger").iterdir():
        if file.stat().st_size:
            file.write_bytes(b"")
    with pytest.raises(LedgerBroken, match="behind"), desk_house(databases, tmp_path):
        pass


def test_two_shreds_of_one_person_at_once_make_one_line(desk: Desk) -> None:
    target = found(desk)
    with desk.house.keys.transaction() as cursor:
        assert rows_of(cursor, SQL.last_line.sql)[0]["line"] == 0
    desk.shred("contact 1")
    with pytest.raises((ShredRefused, ReferenceUnknown)):
        desk.house.shredding.request(target, _order(desk))
    assert len(list(desk.house.ledger.read())) == 1


def _order(desk: Desk) -> Any:
    from services.shredding import Order

    return Order(desk.tenant.id, "test", "tester")


def test_the_reference_of_a_picture_goes_with_its_person(desk: Desk) -> None:
    filled(desk)
    assert desk.happens("contact.avatar_added", "contact 1", id=77, contact_id=1).stored == 1
    assert desk.shred("contact 1")["residue"]["found"] == 0
    with desk.house.keys.transaction() as cursor:
        rows = cursor.execute(
            "SELECT 1 FROM register_backs WHERE owner IN (SELECT profile FROM subjects WHERE line IS NOT NULL)"
        ).fetchall()
    assert rows == []


@pytest.mark.parametrize(
    "owner",
    [
        "SELECT subject_id FROM subjects WHERE line IS NOT NULL",
        "SELECT profile FROM subjects WHERE line IS NOT NULL",
        "SELECT thing_id FROM things JOIN subjects ON subject_id = things.owner WHERE subjects.line IS NOT NULL",
        "SELECT thing_id FROM things WHERE line IS NOT NULL",
    ],
    ids=["person", "profile", "ticket of a person", "ticket"],
)
def test_a_way_back_from_whatever_is_gone_is_residue_and_one_from_the_living_is_not(desk: Desk, owner: str) -> None:
    filled(desk)
    desk.happens("contact.created", "contact 3", id=3, name="Cy")
    desk.happens("ticket.opened", "ticket 33", id=33, requester_id=3, subject="Bell")
    desk.shred("contact 1")
    desk.shred("ticket 33")
    assert sum(desk.house.residue.of_all(desk.tenant.id).values()) == 0
    add = "INSERT INTO register_backs (owner, page, sealed) SELECT id, gen_random_uuid(), '' FROM ({}) AS owners (id)"
    with desk.house.keys.transaction() as cursor:
        cursor.execute(add.format("SELECT subject_id FROM subjects WHERE line IS NULL").encode())
    assert desk.house.residue.of_all(desk.tenant.id)["register"] == 0
    with desk.house.keys.transaction() as cursor:
        added = cursor.execute(add.format(owner).encode()).rowcount
    assert added > 0
    assert desk.house.residue.of_all(desk.tenant.id)["register"] == added


def test_who_asks_while_another_process_is_at_it_is_told_to_ask_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(desk)
    real = desk.house.shredding._certify

    def dying(*args: Any, **kwargs: Any) -> Any:
        raise Crash

    monkeypatch.setattr(desk.house.shredding, "_certify", dying)
    with pytest.raises(Crash):
        desk.shred("contact 1")
    with pytest.raises(ShredRefused, match="ask again in a moment"):
        desk.house.shredding.first_certificate(desk.tenant.id, Reference(Kind.PERSON, "1"))
    monkeypatch.setattr(desk.house.shredding, "_certify", real)
    desk.house.shredding.resume()
    assert desk.house.shredding.first_certificate(desk.tenant.id, Reference(Kind.PERSON, "1")) is not None
