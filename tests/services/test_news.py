"""What recipients will be told: by which ids, whatever crashes, and never of a shred that was abandoned."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from crypto import accounts, certificates, outbox
from crypto.keystore import Disturbed
from crypto.outbox import Answer, Outbox, Telling
from crypto.recipients import Recipients, sign_reply
from crypto.tree import Tree
from domain.errors import ReferenceUnknown, SettingsWrong, ShredRefused
from domain.personal import Kind, Reference
from services import finding, keeping, news
from services.embedded import Endpoints
from services.kafka.telling import Telling as KafkaTelling
from services.wiring import House
from tests.desks import Desk, desk_house

ALL = ("erased", "content_erased", "rectified", "restricted")
#: What upstream calls somebody and something here, and nobody anywhere else.
ANN, TICKET = f"ann-{secrets.token_hex(8)}", f"t-{secrets.token_hex(8)}"


class Crash(BaseException):
    """What a test throws where a process could die."""


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        yield filled(Desk(opened))


def filled(desk: Desk) -> Desk:
    desk.happens("contact.created", f"contact {ANN}", id=ANN, name="Ann Abbott", email="ann@example.org")
    desk.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org")
    desk.happens("ticket.opened", f"ticket {TICKET}", id=TICKET, requester_id=ANN, subject="help")
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=2, subject="and I")
    desk.happens("ticket.replied", f"ticket {TICKET}", body="me too", user_id=2)
    return desk


def recipient(desk: Desk, name: str = "crm", kinds: Sequence[str] = ALL) -> bytes:
    return desk.house.recipients.add(desk.tenant.id, name, kinds)


def to_send(house: House) -> list[Telling]:
    with house.keys.transaction() as cursor:
        return Outbox(Tree(cursor, house.roots)).to_send(1_000)


def told(house: House) -> list[tuple[str, str, tuple[str, ...]]]:
    """Take everything out that is to be sent, as (recipient, kind, things)."""
    found = to_send(house)
    with house.keys.transaction() as cursor:
        Outbox(Tree(cursor, house.roots)).mark_sent([one.id for one in found], at=datetime.now(UTC))
    return [(one.name, one.kind, one.things) for one in found]


def answer(house: House, secret: bytes, record: UUID, status: str = "done") -> int:
    with house.keys.transaction() as cursor:
        said = [Answer(record, status, sign_reply(secret, record, status))]
        return Outbox(Tree(cursor, house.roots)).answer(said, at=datetime.now(UTC))


def close(house: House, *, after: timedelta = timedelta()) -> Any:
    with house.keys.transaction() as cursor:
        closed = Outbox(Tree(cursor, house.roots)).close(at=datetime.now(UTC) + after)
    house.certifying.recertify_told(100)
    return closed


def outbox_keys(house: House) -> int:
    with house.keys.transaction() as cursor:
        return len(cursor.execute("SELECT 1 FROM wrapping_keys WHERE kind = 'outbox'").fetchall())


def certificate_of(house: House) -> dict[str, Any]:
    with house.keys.transaction() as cursor:
        [row] = cursor.execute("SELECT certificate FROM shreds WHERE certificate IS NOT NULL").fetchall()
    certificates.verify(row["certificate"])
    return dict(row["certificate"])


# -- by which ids ---------------------------------------------------------------------------------------------------


def test_a_shred_of_a_person_names_the_person_and_all_that_is_the_persons(desk: Desk) -> None:
    recipient(desk)
    desk.happens("call.logged", "call 5", id=5, user_id=ANN)
    desk.shred("ann@example.org")
    [(name, kind, things)] = told(desk.house)
    assert (name, kind) == ("crm", "erased")
    assert sorted(things) == sorted(["call 5", f"contact {ANN}", f"ticket {TICKET}"])


def test_whoever_was_merged_in_and_every_id_of_theirs_goes_along(desk: Desk) -> None:
    recipient(desk)
    desk.happens("contact.updated", "contact 2", id=2, job_title="boss")
    desk.happens("contact.merged", f"contact {ANN}", primary_contact_id=ANN, secondary_contact_ids=[2])
    desk.shred("ann@example.org")
    [(_, _, things)] = told(desk.house)
    assert sorted(things) == sorted([f"contact {ANN}", "contact 2", f"ticket {TICKET}", "ticket 21"])


def test_an_agent_is_told_as_one_and_a_mention_says_nothing_else(desk: Desk) -> None:
    recipient(desk)
    desk.happens("ticket.replied", f"ticket {TICKET}", body="hello", user_id=7, incoming=False)
    desk.happens("agent.created", "agent 7", id=7, name="Agent Seven", email="seven@example.org")
    desk.happens("ticket.opened", "ticket 30", id=30, requester_id=8, subject="only mentioned")
    desk.shred("agent 7")
    desk.shred("contact 8")
    assert [things for _, _, things in told(desk.house)] == [("agent 7",), ("contact 8", "ticket 30")]


def test_a_ticket_that_goes_alone_is_content_and_its_person_is_not_named(desk: Desk) -> None:
    recipient(desk)
    certificate = desk.shred(f"ticket {TICKET}")
    assert told(desk.house) == [("crm", "content_erased", (f"ticket {TICKET}",))]
    assert certificate["told"]["recipients"] == 1


def test_a_ticket_whose_newest_reply_is_dead_already_is_named_by_an_older_fact(desk: Desk) -> None:
    recipient(desk, kinds=["erased"])
    desk.shred("contact 2")
    told(desk.house)
    desk.shred("ann@example.org")
    [(_, _, things)] = told(desk.house)
    assert things == (f"contact {ANN}", f"ticket {TICKET}")


def test_whoever_has_no_number_upstream_and_nothing_that_has_one_makes_no_news(desk: Desk) -> None:
    recipient(desk)
    desk.happens("ticket.replied", "ticket 21", body="hi", user_id=2, cc_emails=["copy@example.org"])
    certificate = desk.shred("copy@example.org")
    assert certificate["told"] == accounts.told_entry()
    assert told(desk.house) == []
    assert outbox_keys(desk.house) == 0


def test_without_recipients_nothing_is_opened_and_nothing_is_kept(desk: Desk) -> None:
    recipient(desk, kinds=["rectified"])
    certificate = desk.shred("ann@example.org")
    assert certificate["told"] == accounts.told_entry()
    assert outbox_keys(desk.house) == 0


def test_more_than_fit_into_one_record_are_told_in_several(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "PAGE_THINGS", 4)
    secret = recipient(desk)
    for n in range(100, 109):
        desk.happens("ticket.opened", f"ticket {n}", id=n, requester_id=ANN)
    desk.shred("ann@example.org")
    records = to_send(desk.house)
    assert [len(record.things) for record in records] == [4, 4, 3]
    assert [(record.page, record.pages) for record in records] == [(0, 3), (1, 3), (2, 3)]
    everything = {thing for record in records for thing in record.things}
    assert everything == {f"contact {ANN}", f"ticket {TICKET}", *(f"ticket {n}" for n in range(100, 109))}
    for record in records[:2]:
        answer(desk.house, secret, record.id)
    assert close(desk.house).news == 0
    assert certificate_of(desk.house)["told"]["acknowledged"] == 0
    answer(desk.house, secret, records[2].id)
    assert close(desk.house).news == 1
    assert certificate_of(desk.house)["told"]["acknowledged"] == 1


def test_what_comes_between_the_look_and_the_locks_is_named_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    recipient(desk)
    hold = desk.house.news.hold

    def late(*args: Any) -> Any:
        held = hold(*args)
        desk.happens("ticket.opened", "ticket 77", id=77, requester_id=ANN, subject="late")
        desk.happens("contact.merged", f"contact {ANN}", primary_contact_id=ANN, secondary_contact_ids=[2])
        return held

    monkeypatch.setattr(desk.house.shredding, "_news", _Holding(desk.house, late))
    desk.shred("ann@example.org")
    [(_, _, things)] = told(desk.house)
    assert sorted(things) == sorted(["contact 2", f"contact {ANN}", f"ticket {TICKET}", "ticket 21", "ticket 77"])


def test_whoever_goes_the_same_way_later_because_of_a_merge_is_told_of_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = recipient(desk)
    monkeypatch.setattr(desk.house.news, "_days", 9)
    approve = desk.house.shredding._approve

    def then_merge(*given: Any) -> None:
        approve(*given)
        desk.happens("contact.merged", f"contact {ANN}", primary_contact_id=ANN, secondary_contact_ids=[2])

    with monkeypatch.context() as patch:
        # The process that took the merge in died before it had done the key work.
        patch.setattr(keeping, "merge", lambda *_: None)
        patch.setattr(keeping, "advance", lambda *_: None)
        patch.setattr(keeping, "catch_up", lambda *_: None)
        patch.setattr(desk.house.shredding, "_approve", then_merge)
        desk.shred("ann@example.org")
    assert [things for _, _, things in told(desk.house)] == [(f"contact {ANN}", f"ticket {TICKET}")]
    assert certificate_of(desk.house)["told"]["recipients"] == 1
    [first] = [record for record, _ in records_of(desk.house)]
    answer(desk.house, crm, first)
    close(desk.house)
    assert certificate_of(desk.house)["told"]["outbox_key_destroyed_at"] is not None
    keeping.catch_up(desk.house.keys, desk.house.roots, desk.house.facts)
    desk.house.certifying.recertify_told(100)
    entry = certificate_of(desk.house)["told"]
    assert (entry["recipients"], entry["acknowledged"], entry["outbox_key_destroyed_at"]) == (1, 0, None)
    [second] = to_send(desk.house)
    assert second.things == ("contact 2", "ticket 21")
    # The days are those of the setting, from the shred on.
    assert {deadline for _, deadline in records_of(desk.house)} == {datetime.fromisoformat(entry["deadline"])}
    answer(desk.house, crm, second.id)
    close(desk.house)
    entry = certificate_of(desk.house)["told"]
    assert entry["acknowledged"] == 1
    assert entry["outbox_key_destroyed_at"] is not None
    told_of = desk.house.recipients.told(desk.tenant.id, certificate_of(desk.house)["certificate_id"])
    assert [one["state"] for one in told_of] == ["acknowledged", "acknowledged"]


def records_of(house: House) -> list[tuple[UUID, datetime]]:
    """List every record with the deadline of its news, to the second."""
    with house.keys.transaction() as cursor:
        rows = cursor.execute(
            "SELECT telling_id, date_trunc('second', deadline) AS deadline FROM tellings JOIN outbox USING (news_id)"
            " ORDER BY number"
        ).fetchall()
    return [(row["telling_id"], row["deadline"]) for row in rows]


def test_older_news_about_a_person_ends_with_the_shred(desk: Desk) -> None:
    crm = recipient(desk)
    desk.happens("contact.rectified", "contact 2", id=2, name="Bob Brook", email="bo@example.org")
    desk.happens("contact.merged", f"contact {ANN}", primary_contact_id=ANN, secondary_contact_ids=[2])
    desk.happens("contact.rectified", f"contact {ANN}", id=ANN, name="Ann Abbot", email="ann@example.org")
    desk.happens("ticket.opened", "ticket 40", id=40, requester_id=3, subject="another's")
    desk.happens("contact.blocked", "contact 3", id=3)
    assert desk.house.news.follow() == 3
    told(desk.house)
    certificate = desk.shred("ann@example.org")
    [record] = to_send(desk.house)
    told(desk.house)
    answer(desk.house, crm, record.id)
    assert close(desk.house).news == 1
    assert certificate_of(desk.house)["told"]["outbox_key_destroyed_at"] is not None
    # What is left is the other person's.
    assert outbox_keys(desk.house) == 1
    with desk.house.keys.transaction() as cursor:
        assert len(cursor.execute("SELECT 1 FROM outbox_pages").fetchall()) == 1
    assert [one["state"] for one in desk.house.recipients.show(desk.tenant.id, "crm")] == [
        *("overtaken", "overtaken", "waiting", "acknowledged")
    ]
    assert [one["kind"] for one in desk.house.recipients.told(desk.tenant.id, certificate["certificate_id"])] == [
        "erased"
    ]


def test_nobody_follows_the_log_while_a_key_is_destroyed(
    desk: Desk, databases: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipient(desk)
    real, tried = Tree.destroy_subjects, [0]

    def looking(*args: Any) -> None:
        tried[0] += 1
        with psycopg.connect(databases.keys_dsn) as other:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("SELECT position FROM outbox_follows FOR UPDATE NOWAIT")
            other.rollback()
        real(*args)

    monkeypatch.setattr(Tree, "destroy_subjects", looking)
    desk.shred("ann@example.org")
    assert tried == [1]


def break_key(house: House, statement: str, id_: Any) -> None:
    """Change one byte of one wrapped key."""
    with house.keys.transaction() as cursor:
        set_ = "SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20))"
        assert cursor.execute(statement.format(set_).encode(), [id_]).rowcount == 1


def test_a_recipient_whose_secret_does_not_open_keeps_nobody_back(desk: Desk) -> None:
    recipient(desk, "books")
    crm = recipient(desk)
    desk.shred("contact 2")
    records = {record.name: record.id for record in to_send(desk.house)}
    break_key(
        desk.house,
        "UPDATE wrapping_keys {} WHERE key_id = (SELECT key_id FROM recipients WHERE name = %s)",
        "books",
    )
    assert [record.name for record in to_send(desk.house)] == ["crm"]
    with desk.house.keys.transaction() as cursor:
        said = [Answer(id_, "done", sign_reply(crm, id_, "done")) for id_ in records.values()]
        assert Outbox(Tree(cursor, desk.house.roots)).answer(said, at=datetime.now(UTC)) == 1
    states = {one["name"]: one["acknowledged"] for one in desk.house.recipients.all(desk.tenant.id)}
    assert states == {"books": 0, "crm": 1}


def test_a_person_whose_key_was_changed_stops_no_other_news_and_is_counted(desk: Desk) -> None:
    recipient(desk)
    desk.happens("contact.blocked", f"contact {ANN}", id=ANN)
    desk.happens("contact.blocked", "contact 2", id=2)
    person = desk.house.shredding.find(desk.tenant.id, Reference(Kind.EMAIL, "ann@example.org"))
    break_key(desk.house, "UPDATE subjects {} WHERE subject_id = %s", person.id)
    unreadable: list[int] = []
    assert desk.house.news.follow(unreadable) == 1
    assert len(unreadable) == 1
    assert told(desk.house) == [("crm", "restricted", ("contact 2",))]


def test_a_certificate_says_how_many_were_told_in_clear_and_until_when(desk: Desk) -> None:
    recipient(desk)
    desk.house.recipients.add(
        desk.tenant.id, "sealed", ALL, X25519PrivateKey.generate().public_key().public_bytes_raw()
    )
    certificate = desk.shred("ann@example.org")
    assert (certificate["told"]["in_clear"], certificate["told"]["in_clear_until"]) == (0, None)
    told(desk.house)
    desk.house.certifying.recertify_told(100)
    entry = certificate_of(desk.house)["told"]
    assert (entry["recipients"], entry["in_clear"]) == (2, 1)
    until = datetime.fromisoformat(entry["in_clear_until"])
    assert timedelta(days=6, hours=23) < until - datetime.now(UTC) <= timedelta(days=desk.house.settings.topic_days)


def test_what_moved_to_somebody_else_meanwhile_is_not_to_be_forgotten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipient(desk)
    hold = desk.house.news.hold

    def late(*args: Any) -> Any:
        held = hold(*args)
        desk.happens("ticket.updated", f"ticket {TICKET}", requester_id=2)
        return held

    monkeypatch.setattr(desk.house.shredding, "_news", _Holding(desk.house, late))
    desk.shred("ann@example.org")
    assert [things for _, _, things in told(desk.house)] == [(f"contact {ANN}",)]


def test_a_recipient_that_came_before_the_locks_is_told_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = desk.house.news.hold

    def late(*args: Any) -> Any:
        held = hold(*args)
        recipient(desk)
        return held

    monkeypatch.setattr(desk.house.shredding, "_news", _Holding(desk.house, late))
    certificate = desk.shred("ann@example.org")
    assert certificate["told"]["recipients"] == 1
    assert [name for name, _, _ in told(desk.house)] == ["crm"]


def test_an_id_that_comes_between_two_attempts_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    recipient(desk)
    desk.happens("ticket.replied", "ticket 21", body="hi", user_id=2, cc_emails=["copy@example.org"])
    destroy, find, attempts = Tree.destroy_subjects, desk.house.ledger.find, [0]

    def disturbed(*args: Any) -> None:
        if attempts[0] == 1:
            raise Disturbed("another transaction stood in the way")
        destroy(*args)

    def late(*args: Any) -> Any:
        attempts[0] += 1
        if attempts[0] == 2:
            desk.happens("contact.created", "contact 50", id=50, name="Cy", email="copy@example.org")
        return find(*args)

    monkeypatch.setattr(Tree, "destroy_subjects", disturbed)
    monkeypatch.setattr(desk.house.ledger, "find", late)
    assert desk.shred("copy@example.org")["told"]["recipients"] == 1
    assert [things for _, _, things in told(desk.house)] == [("contact 50",)]


def test_where_nobody_wants_to_know_it_does_not_matter_how_much_there_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipient(desk, kinds=["rectified"])
    found = desk.house.shredding.find(desk.tenant.id, Reference(Kind.EMAIL, "ann@example.org"))
    # Looking the person up would read a row for each of the person's things.
    monkeypatch.setattr(finding, "inside", _dying)
    assert desk.house.news.hold(desk.tenant.id, uuid4(), [found.id]) is None


# -- seals that were changed ----------------------------------------------------------------------------------------


def break_seals(house: House, stream: UUID, byte: int) -> None:
    """Change one byte of every seal of a stream, counted from its end."""
    with house.as_login.cursor() as cursor:
        changed = cursor.execute(
            "UPDATE facts_events SET seal = set_byte(seal, octet_length(seal) - %(byte)s,"
            " 255 - get_byte(seal, octet_length(seal) - %(byte)s))"
            " WHERE originator_id = %(stream)s AND seal IS NOT NULL",
            {"stream": stream, "byte": byte},
        )
        assert changed.rowcount > 0


def test_a_changed_seal_of_a_thing_stops_no_shred_and_is_counted(desk: Desk) -> None:
    recipient(desk)
    thing = desk.house.shredding.find(desk.tenant.id, Reference(Kind.TICKET, TICKET)).id
    break_seals(desk.house, thing, 1)
    certificate = desk.shred("ann@example.org")
    assert certificate["residue"]["found"] == 0
    assert (certificate["told"]["recipients"], certificate["told"]["unnamed"]) == (1, 1)
    assert [things for _, _, things in told(desk.house)] == [(f"contact {ANN}",)]


def test_a_thing_is_named_by_its_other_facts_if_the_newest_was_changed(desk: Desk) -> None:
    recipient(desk)
    thing = desk.house.shredding.find(desk.tenant.id, Reference(Kind.TICKET, TICKET)).id
    break_seals(desk.house, thing, 1)
    desk.happens("ticket.updated", f"ticket {TICKET}", id=TICKET, subject="help!")
    desk.happens("ticket.replied", f"ticket {TICKET}", body="the last", user_id=2)
    desk.shred("contact 2")
    told(desk.house)
    certificate = desk.shred("ann@example.org")
    assert certificate["told"]["unnamed"] == 0
    assert [set(things) for _, _, things in told(desk.house)] == [{f"contact {ANN}", f"ticket {TICKET}"}]


def test_whoever_cannot_be_named_at_all_is_forgotten_and_the_certificate_says_so(desk: Desk) -> None:
    recipient(desk)
    desk.happens("contact.created", "contact 60", id=60, name="Di", email="di@example.org")
    # Where something waits in the quarantine, a shred reads the names of the person as well.
    desk.take(b"no json of anybody")
    found = desk.house.shredding.find(desk.tenant.id, Reference(Kind.EMAIL, "di@example.org"))
    break_seals(desk.house, found.profile, 1)
    certificate = desk.shred("di@example.org")
    assert (certificate["told"]["recipients"], certificate["told"]["unnamed"]) == (0, 1)
    assert told(desk.house) == []
    assert close(desk.house).news == 1
    assert outbox_keys(desk.house) == 0
    assert certificate_of(desk.house)["told"]["outbox_key_destroyed_at"] is not None


def test_a_seal_whose_header_was_changed_hides_no_name_of_others(desk: Desk) -> None:
    recipient(desk)
    found = desk.house.shredding.find(desk.tenant.id, Reference(Kind.TICKET, TICKET))
    person = desk.house.shredding.find(desk.tenant.id, Reference(Kind.EMAIL, "ann@example.org"))
    with desk.house.as_login.cursor() as cursor:
        cursor.execute("UPDATE facts_events SET seal = set_byte(seal, 0, 9) WHERE originator_id = %s", [found.id])
    desk.house.facts.streams([person.profile])
    held = desk.house.news.hold(desk.tenant.id, uuid4(), [person.id])
    assert held is not None
    assert (held.rest, held.unnamed) == ((), 1)


def test_a_changed_seal_stops_no_other_news(desk: Desk) -> None:
    recipient(desk)
    desk.happens("contact.blocked", f"contact {ANN}", id=ANN)
    desk.happens("contact.blocked", "contact 2", id=2)
    person = desk.house.shredding.find(desk.tenant.id, Reference(Kind.EMAIL, "ann@example.org"))
    break_seals(desk.house, person.profile, 1)
    assert desk.house.news.follow() == 1
    assert told(desk.house) == [("crm", "restricted", ("contact 2",))]


def test_news_that_does_not_open_keeps_no_other_back(desk: Desk) -> None:
    recipient(desk)
    desk.shred("ann@example.org")
    with desk.house.keys.transaction() as cursor:
        cursor.execute("UPDATE outbox_pages SET sealed = set_byte(sealed, 20, 255 - get_byte(sealed, 20))")
    desk.shred("contact 2")
    with desk.house.keys.transaction() as cursor:
        [record] = Outbox(Tree(cursor, desk.house.roots)).to_send(1)
    assert record.things == ("contact 2", "ticket 21")
    told(desk.house)
    assert to_send(desk.house) == []
    assert close(desk.house, after=timedelta(days=31)).unsent == 1


class _Holding:
    """The news of a house, with another way to hold it."""

    def __init__(self, house: House, hold: Callable[..., Any]) -> None:
        self.hold = hold
        self.complete = house.news.complete
        self.deadline = house.news.deadline


# -- what the log tells ---------------------------------------------------------------------------------------------


def test_rectifications_and_restrictions_are_told_once_and_in_order(desk: Desk) -> None:
    recipient(desk)
    recipient(desk, "mailing", ["restricted"])
    desk.happens("contact.rectified", f"contact {ANN}", id=ANN, name="Ann Abbot", email="ann@example.org")
    desk.happens("contact.blocked", f"contact {ANN}", email="ann@example.org")
    desk.happens("contact.unblocked", f"contact {ANN}", id=ANN)
    assert desk.house.news.follow() == 3
    assert desk.house.news.follow() == 0
    assert sorted(told(desk.house)) == [
        ("crm", "rectified", (f"contact {ANN}",)),
        ("crm", "restricted", (f"contact {ANN}",)),
        ("crm", "unrestricted", (f"contact {ANN}",)),
        ("mailing", "restricted", (f"contact {ANN}",)),
        ("mailing", "unrestricted", (f"contact {ANN}",)),
    ]


def test_the_order_of_telling_is_that_of_the_log(desk: Desk) -> None:
    recipient(desk)
    for number in range(5):
        desk.happens("contact.blocked" if number % 2 == 0 else "contact.unblocked", f"contact {ANN}", id=ANN)
    desk.house.news.follow()
    kinds = [kind for _, kind, _ in told(desk.house)]
    desk.shred("ann@example.org")
    kinds += [kind for _, kind, _ in told(desk.house)]
    assert kinds == ["restricted", "unrestricted"] * 2 + ["restricted", "erased"]


def test_a_recipient_is_told_of_nothing_that_was_before_it(desk: Desk) -> None:
    desk.happens("contact.blocked", f"contact {ANN}", id=ANN)
    recipient(desk)
    assert desk.house.news.follow() == 0
    assert told(desk.house) == []


def test_a_restriction_of_somebody_forgotten_meanwhile_is_no_news(desk: Desk) -> None:
    recipient(desk)
    desk.happens("contact.blocked", f"contact {ANN}", id=ANN)
    desk.shred("ann@example.org")
    desk.house.news.follow()
    assert [kind for _, kind, _ in told(desk.house)] == ["erased"]


def test_what_was_appended_behind_the_head_that_was_asked_for_is_told_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipient(desk)
    before = desk.house.facts.head()
    desk.happens("contact.blocked", f"contact {ANN}", id=ANN)
    with monkeypatch.context() as patch:
        patch.setattr(desk.house.facts, "head", lambda: before)
        assert desk.house.news.follow() == 1
    assert desk.house.news.follow() == 0
    assert [kind for _, kind, _ in told(desk.house)] == ["restricted"]


def test_a_follower_that_dies_tells_neither_twice_nor_not_at_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    recipient(desk)
    desk.happens("contact.blocked", f"contact {ANN}", id=ANN)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "release", _dying)
        with pytest.raises(Crash):
            desk.house.news.follow()
    desk.house.news.follow()
    desk.house.news.follow()
    assert [kind for _, kind, _ in told(desk.house)] == ["restricted"]
    assert outbox_keys(desk.house) == 1


def _dying(*_: Any, **__: Any) -> Any:
    raise Crash


# -- crashes --------------------------------------------------------------------------------------------------------

#: Every step of a shred, as (what is patched on the house, its method). The outbox has three.
STEPS = (
    ("shredding", "_intend"),
    ("shredding", "_approve"),
    ("news", "hold"),
    ("destroying", "_take_group"),
    ("news", "complete"),
    ("ledger", "append"),
    ("tree", "destroy_subjects"),
    ("outbox", "release_of"),
    ("shredding", "tell"),
    ("shredding", "_project"),
    ("shredding", "_sweep"),
    ("shredding", "_certify"),
)
#: From the ledger line on a shred is finished, whoever dies.
NO_RETURN = STEPS.index(("ledger", "append"))


@pytest.mark.parametrize(("part", "step"), STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_news_is_told_of_every_shred_and_of_none_that_was_abandoned_wherever_it_died(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, step: str, when: str
) -> None:
    since = time.time()
    with desk_house(databases, tmp_path) as opened:
        desk = filled(Desk(opened))
        recipient(desk)
        target = _part(opened, part)
        real = getattr(target, step)

        def dying(*args: Any, **kwargs: Any) -> Any:
            if when == "after":
                real(*args, **kwargs)
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(target, step, dying)
            with pytest.raises(Crash):
                desk.shred("ann@example.org")
    past = STEPS.index((part, step)) > NO_RETURN if (part, step) != ("ledger", "append") else when == "after"
    with desk_house(databases, tmp_path) as again:
        again.shredding.resume()
        again.shredding.resume()
        records = to_send(again)
        assert [set(record.things) for record in records] == ([{f"contact {ANN}", f"ticket {TICKET}"}] if past else [])
        assert outbox_keys(again) == len(records)
        desk = Desk(again)
        if not past:
            desk.shred("ann@example.org")
            [record] = to_send(again)
            assert set(record.things) == {f"contact {ANN}", f"ticket {TICKET}"}
        assert certificate_of(again)["told"]["recipients"] == 1
    # The log of what was written holds every moment since.
    assert not lying_in(databases, since)


def _part(house: House, name: str) -> Any:
    match name:
        case "tree":
            return Tree
        case "outbox":
            return outbox
        case "destroying":
            return house.shredding._destroying
        case _:
            return getattr(house, name)


def lying_in(databases: Endpoints, since: float) -> list[str]:
    """Find the files of both servers, heap and WAL, that hold what upstream calls somebody, in any form."""
    forms = [form for value in (ANN, TICKET) for form in _forms(value)]
    found: list[str] = []
    for dsn in (databases.log_dsn, databases.keys_dsn):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            [pid] = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
            # It works in its data folder.
            folder = Path(psutil.Process(pid).cwd())
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_mtime >= since - 1:
                content = path.read_bytes()
                found += [str(path) for form in forms if form in content]
    return found


def _forms(value: str) -> list[bytes]:
    raw = value.encode()
    return [raw, raw.hex().encode(), base64.b64encode(raw)[:-4]]


def test_a_control_in_clear_would_be_found(databases: Endpoints) -> None:
    since = time.time()
    with psycopg.connect(databases.keys_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE control (said text)")
        connection.execute(f"INSERT INTO control VALUES ('{ANN}')".encode())
        found = lying_in(databases, since)
        # It would be found by the next test as well.
        connection.execute("DROP TABLE control")
    assert any("pg_wal" in path for path in found)
    assert any("pg_wal" not in path for path in found)


def test_a_shred_that_a_hold_stops_leaves_nothing_in_the_outbox(desk: Desk) -> None:
    recipient(desk)
    found = desk.house.shredding.find(desk.tenant.id, Reference(Kind.EMAIL, "ann@example.org"))
    desk.house.holds.add(desk.tenant.id, found, actor="x", why="court")
    with pytest.raises(ShredRefused):
        desk.shred("ann@example.org")
    assert to_send(desk.house) == []
    assert outbox_keys(desk.house) == 0


def test_a_hold_on_what_comes_to_the_person_after_the_approval_stops_the_shred(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipient(desk)
    ticket = desk.house.shredding.find(desk.tenant.id, Reference(Kind.TICKET, "21"))
    desk.house.holds.add(desk.tenant.id, ticket, actor="x", why="court")
    hold = desk.house.news.hold

    def late(*args: Any) -> Any:
        held = hold(*args)
        desk.happens("ticket.updated", "ticket 21", requester_id=ANN)
        return held

    monkeypatch.setattr(desk.house.shredding, "_news", _Holding(desk.house, late))
    with pytest.raises(ShredRefused):
        desk.shred("ann@example.org")
    assert desk.house.ledger.head() == 0
    assert to_send(desk.house) == []
    assert outbox_keys(desk.house) == 0


def test_a_shred_that_two_certify_has_one_certificate(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    recipient(desk)
    certify, signed = desk.house.certifying.certify, []

    def twice(*args: Any) -> Any:
        signed.extend([certify(*args), certify(*args)])
        return signed[1]

    monkeypatch.setattr(desk.house.shredding, "_certify", twice)
    assert desk.shred("ann@example.org") == certificate_of(desk.house) == signed[0]


def test_a_shred_that_meets_deadlocks_is_carried_out_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    recipient(desk)
    real, left = Tree.destroy_subjects, [3]

    def disturbed(*args: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise Disturbed("another transaction stood in the way")
        real(*args)

    monkeypatch.setattr(Tree, "destroy_subjects", disturbed)
    certificate = desk.shred("ann@example.org")
    assert certificate["residue"]["found"] == 0
    assert desk.house.ledger.head() == 1
    [(_, _, things)] = told(desk.house)
    assert set(things) == {f"contact {ANN}", f"ticket {TICKET}"}


def test_deadlocks_do_no_harm_where_there_is_nothing_to_tell(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    recipient(desk)
    desk.happens("ticket.replied", "ticket 21", body="hi", user_id=2, cc_emails=["copy@example.org"])
    real, left = Tree.destroy_subjects, [1]

    def disturbed(*args: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise Disturbed("another transaction stood in the way")
        real(*args)

    monkeypatch.setattr(Tree, "destroy_subjects", disturbed)
    assert desk.shred("copy@example.org")["told"]["recipients"] == 0
    assert to_send(desk.house) == []


# -- answers and deadlines ------------------------------------------------------------------------------------------


def test_the_key_dies_with_the_last_acknowledgement(desk: Desk) -> None:
    crm, mailing = recipient(desk), recipient(desk, "mailing")
    desk.shred("ann@example.org")
    first, second = to_send(desk.house)
    by_name = {first.name: first.id, second.name: second.id}
    told(desk.house)
    assert answer(desk.house, crm, by_name["crm"]) == 0
    assert close(desk.house).news == 0
    assert outbox_keys(desk.house) == 1
    assert answer(desk.house, mailing, by_name["mailing"], "unknown") == 0
    assert close(desk.house).news == 1
    assert outbox_keys(desk.house) == 0
    assert certificate_of(desk.house)["told"]["acknowledged"] == 2
    assert certificate_of(desk.house)["told"]["outbox_key_destroyed_at"] is not None


def test_a_failure_keeps_the_key_and_what_is_done_is_not_taken_back(desk: Desk) -> None:
    crm = recipient(desk)
    desk.shred("ann@example.org")
    [record] = to_send(desk.house)
    told(desk.house)
    answer(desk.house, crm, record.id, "failed")
    assert close(desk.house).news == 0
    assert [one["state"] for one in desk.house.recipients.show(desk.tenant.id, "crm")] == ["failed"]
    answer(desk.house, crm, record.id)
    answer(desk.house, crm, record.id, "failed")
    assert close(desk.house).news == 1
    assert [one["state"] for one in desk.house.recipients.show(desk.tenant.id, "crm")] == ["acknowledged"]


def test_nobody_answers_for_another(desk: Desk) -> None:
    crm, mailing = recipient(desk), recipient(desk, "mailing")
    desk.shred("ann@example.org")
    by_name = {record.name: record.id for record in to_send(desk.house)}
    told(desk.house)
    assert answer(desk.house, mailing, by_name["crm"]) == 1
    assert answer(desk.house, crm, uuid4()) == 1
    assert answer(desk.house, crm, by_name["crm"], "perhaps") == 1
    with desk.house.keys.transaction() as cursor:
        forged = Answer(by_name["crm"], "done", sign_reply(crm, by_name["crm"], "failed"))
        assert Outbox(Tree(cursor, desk.house.roots)).answer([forged], at=datetime.now(UTC)) == 1
    assert close(desk.house).news == 0
    assert {one["waiting"] for one in desk.house.recipients.all(desk.tenant.id)} == {1}


def test_at_the_deadline_the_key_dies_and_a_late_answer_still_counts(desk: Desk) -> None:
    crm = recipient(desk)
    desk.shred("ann@example.org")
    [record] = to_send(desk.house)
    told(desk.house)
    assert close(desk.house, after=timedelta(days=29)).news == 0
    closed = close(desk.house, after=timedelta(days=31))
    assert (closed.news, closed.unsent) == (1, 0)
    assert outbox_keys(desk.house) == 0
    assert certificate_of(desk.house)["told"]["acknowledged"] == 0
    answer(desk.house, crm, record.id)
    close(desk.house)
    assert certificate_of(desk.house)["told"]["acknowledged"] == 1


def test_what_was_never_sent_by_its_deadline_is_said_to_be_missed(desk: Desk) -> None:
    recipient(desk)
    certificate = desk.shred("ann@example.org")
    assert close(desk.house, after=timedelta(days=31)).unsent == 1
    assert to_send(desk.house) == []
    [one] = desk.house.recipients.told(desk.tenant.id, certificate["certificate_id"])
    assert one["state"] == "missed"


def test_keys_die_in_time_whatever_stops_the_rest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    recipient(desk)
    desk.shred("ann@example.org")
    monkeypatch.setattr(desk.house.news, "follow", _dying)
    house = desk.house
    parts = (house.keys, house.roots, house.tenants, house.news, house.certifying)
    late = KafkaTelling(None, *parts, clock=lambda: datetime.now(UTC) + timedelta(days=31))
    with pytest.raises(Crash):
        late.step()
    assert outbox_keys(house) == 0


def test_a_recipient_that_was_removed_is_not_waited_for_and_that_it_was_told_stays_known(desk: Desk) -> None:
    crm = recipient(desk)
    certificate = desk.shred("ann@example.org")
    [record] = to_send(desk.house)
    told(desk.house)
    desk.house.recipients.remove(desk.tenant.id, "crm")
    assert close(desk.house).news == 1
    assert answer(desk.house, crm, record.id) == 1
    assert [one["recipient"] for one in desk.house.recipients.told(desk.tenant.id, certificate["certificate_id"])] == [
        "crm"
    ]
    recipient(desk)
    assert [one["removed"] is None for one in desk.house.recipients.all(desk.tenant.id)] == [False, True]


def test_what_was_not_acknowledged_is_sent_again_under_the_same_id(desk: Desk) -> None:
    crm = recipient(desk)
    desk.shred("ann@example.org")
    desk.shred("contact 2")
    first, second = to_send(desk.house)
    told(desk.house)
    answer(desk.house, crm, first.id)
    assert desk.house.recipients.send_again(desk.tenant.id, "crm") == 1
    assert [record.id for record in to_send(desk.house)] == [second.id]


def test_a_tenant_sees_and_tells_its_own_recipients_only(desk: Desk) -> None:
    recipient(desk)
    other = Desk(desk.house, "other")
    recipient(other)
    filled(other)
    other.shred("ann@example.org")
    assert [record.tenant for record in to_send(desk.house)] == [other.tenant.id]
    assert [one["unsent"] for one in desk.house.recipients.all(desk.tenant.id)] == [0]


@pytest.mark.parametrize(
    ("name", "kinds", "key"),
    [
        ("Ann Abbott", ALL, None),
        ("ann@example.org", ALL, None),
        ("crm", [], None),
        ("crm", ["everything"], None),
        ("crm", ALL, b"no key"),
        ("crm", ALL, bytes(32)),
    ],
)
def test_a_recipient_has_a_word_for_a_name_known_kinds_and_a_real_key(
    desk: Desk, name: str, kinds: list[str], key: bytes | None
) -> None:
    with pytest.raises(SettingsWrong):
        desk.house.recipients.add(desk.tenant.id, name, kinds, key)
    assert desk.house.recipients.all(desk.tenant.id) == []


def test_a_name_is_taken_once_and_unknown_ones_are_said_to_be(desk: Desk) -> None:
    recipient(desk)
    with pytest.raises(SettingsWrong):
        recipient(desk)
    for asks in (desk.house.recipients.remove, desk.house.recipients.show, desk.house.recipients.send_again):
        with pytest.raises(ReferenceUnknown):
            asks(desk.tenant.id, "nobody")
    with pytest.raises(ReferenceUnknown):
        desk.house.recipients.told(desk.tenant.id, str(uuid4()))


def test_no_secret_and_no_id_is_printed(desk: Desk) -> None:
    secret = recipient(desk)
    desk.shred("ann@example.org")
    [record] = to_send(desk.house)
    with desk.house.keys.transaction() as cursor:
        known = Recipients(Tree(cursor, desk.house.roots)).of()
    printed = repr([record, known, Answer(record.id, "done", secret)])
    assert ANN not in printed
    assert secret.hex() not in printed
    assert repr(secret) not in printed


# -- what should be gone --------------------------------------------------------------------------------------------


def residue(desk: Desk) -> int:
    return desk.house.residue.of_all(desk.tenant.id)["outbox"]


def test_news_that_waits_within_its_deadline_is_no_residue_and_beyond_it_is(desk: Desk) -> None:
    recipient(desk)
    assert desk.shred("ann@example.org")["residue"]["found"] == 0
    assert (outbox_keys(desk.house), residue(desk)) == (1, 0)
    with desk.house.keys.transaction() as cursor:
        cursor.execute("UPDATE outbox SET deadline = now() - interval '2 hours'")
    assert residue(desk) == 1
    close(desk.house)
    assert residue(desk) == 0


@pytest.mark.parametrize(
    "left", ["UPDATE outbox SET key_destroyed_at = now()", "UPDATE outbox SET number = NULL, deadline = NULL"]
)
def test_the_key_of_a_news_that_should_be_gone_is_residue(desk: Desk, left: str) -> None:
    recipient(desk)
    desk.shred("ann@example.org")
    with desk.house.keys.transaction() as cursor:
        cursor.execute(left.encode())
    assert residue(desk) == 1


def test_news_of_the_log_about_somebody_who_was_shredded_is_residue(desk: Desk) -> None:
    recipient(desk)
    person = desk.house.shredding.find(desk.tenant.id, Reference(Kind.EMAIL, "ann@example.org")).id
    desk.shred("ann@example.org")
    assert residue(desk) == 0
    with desk.house.keys.transaction() as cursor:
        box = Outbox(Tree(cursor, desk.house.roots))
        box.begin(desk.tenant.id, "rectified", position=10**9, person=person, at=datetime.now(UTC))
    assert residue(desk) == 1


@pytest.mark.parametrize("when", ["before it is written down", "before it is completed"])
def test_nobody_is_told_to_forget_whoever_the_person_was_merged_into_since_the_approval(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    recipient(desk)
    desk.happens("contact.created", "contact 11", id=11, name="Eve Early", email="eve@example.org")
    desk.happens("contact.created", "contact 12", id=12, name="Bo Brook", email="bo@example.org")
    desk.happens("ticket.opened", "ticket 40", id=40, requester_id=11, subject="help")
    desk.happens("ticket.opened", "ticket 41", id=41, requester_id=12, subject="and I")
    of, name = (desk.house.news, "hold") if when == "before it is written down" else (desk.house.shredding, "_destroy")
    real, merged = getattr(of, name), list[bool]()

    def merging(*args: Any, **named: Any) -> Any:
        if not merged:
            merged.append(True)
            said = desk.happens("contact.merged", "contact 12", primary_contact_id=12, secondary_contact_ids=[11])
            assert said.stored == 1
        return real(*args, **named)

    monkeypatch.setattr(of, name, merging)
    desk.shred("eve@example.org")
    assert merged
    assert "Bo Brook" in [row["name"] for row in desk.contacts()]
    things = {thing for *_, named in told(desk.house) for thing in named}
    assert {"contact 11", "ticket 40"} <= things
    assert not {"contact 12", "ticket 41"} & things
