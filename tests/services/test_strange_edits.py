"""Edits, deletions, merges and moves that cross each other, or that nobody would expect."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crypto.keystore import rows_of
from domain.errors import KeysUnavailable, ShredRefused
from domain.personal import Kind, Reference
from services import keeping, locking
from services.embedded import Endpoints
from services.intake import Intake
from services.living import opened
from services.reading import Reveal
from services.records import parcel_of, parcel_of_events
from services.shredding import Order
from services.wiring import House
from tests.desks import AT, Desk, desk_house

LATER = AT + timedelta(days=1)


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened_house:
        yield opened_house


@pytest.fixture
def desk(house: House) -> Desk:
    desk = Desk(house)
    desk.happens("agent.created", "agent 7", id=7, name="Nora Quill", email="nora@desk.example")
    desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.example")
    desk.happens("contact.created", "contact 2", id=2, name="Bob Best", email="bob@home.example")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="lamp", description="the lamp is broken")
    return desk


def readable(desk: Desk) -> str:
    """Open every seal on the log that still opens, and write all of it down."""
    facts = desk.house.facts.page(0, 10_000)
    return repr([personal for _, personal in opened(desk.house.keys, desk.house.roots, facts)])


def reply(desk: Desk, **data: Any) -> None:
    said = {"id": 3, "ticket_id": 20, "user_id": 1, "incoming": True, "body": "call me at the harbour"} | data
    assert desk.happens("ticket.replied", "ticket 20", **said).stored == 1


def another_writer(desk: Desk) -> Intake:
    return Intake(desk.house.facts, desk.house.keys, desk.house.roots, desk.house.tenants)


def without_subject(raw: bytes) -> bytes:
    return raw.replace(b'"subject":"",', b"", 1)


def test_an_edit_that_does_not_say_of_what_is_refused_and_ends_nothing(desk: Desk) -> None:
    reply(desk)
    assert desk.happens("ticket.entry_edited", "ticket 20", LATER, body="x").quarantined == 1
    assert "the lamp is broken" in readable(desk)
    assert "harbour" in readable(desk)


def test_the_deletion_of_a_tickets_file_does_not_reach_into_a_topic(desk: Desk) -> None:
    desk.happens("topic.posted", "topic 9", id=9, user_id=2, title="lamps")
    desk.happens("topic.attachment_added", "topic 9", id=4, topic_id=9, name="a.pdf")
    assert desk.take(without_subject(desk.event("ticket.attachment_deleted", "", AT, "k", id=4))).quarantined == 1
    assert "a.pdf" in readable(desk)


@pytest.mark.parametrize("type_", ["contact.rectified", "agent.rectified"])
def test_a_rectification_keeps_what_the_person_is_as_a_contact_and_as_an_agent(desk: Desk, type_: str) -> None:
    desk.happens("contact.updated", "contact 1", id=1, address="1 Harbour Road")
    desk.happens("contact.made_agent", "contact 1", id=1, signature="Yours, Ann")
    desk.happens(type_, f"{type_.split('.')[0]} 1", LATER, id=1, name="Anne Abbott")
    assert "Harbour Road" in readable(desk)
    assert "Yours, Ann" in readable(desk)


def test_a_rectification_in_the_batch_that_merges_takes_the_right_profile_along(desk: Desk) -> None:
    merge = desk.event("contact.merged", "contact 1", AT, "m", primary_contact_id=1, secondary_contact_ids=[2])
    right = desk.event("contact.rectified", "contact 2", LATER, "r", id=2, job_title="master")
    assert desk.take(merge, right).stored == 2
    assert "Ann Abbott" in readable(desk)


@pytest.mark.parametrize("field", ["custom_fields", None])
def test_a_tenants_own_fields_stand_each_for_itself(desk: Desk, field: str | None) -> None:
    before, after = {"cf_shoe": "size forty-four"}, {"cf_hat": "seven"}
    desk.happens("contact.updated", "contact 1", id=1, **({field: before} if field else before))
    desk.happens("contact.rectified", "contact 1", LATER, id=1, **({field: after} if field else after))
    assert "forty-four" in readable(desk)
    assert "seven" in readable(desk)


def test_an_original_that_a_word_has_replaced_does_not_come_back(desk: Desk) -> None:
    desk.happens("contact.updated", "contact 1", id=1, language="Klingon of Kronos")
    desk.take(without_subject(desk.event("vocabulary.declared", "", AT, "v", vocabulary="language", words=["de"])))
    desk.happens("contact.updated", "contact 1", id=1, language="de")
    desk.happens("contact.rectified", "contact 1", LATER, id=1, name="Anne")
    assert "Klingon" not in readable(desk)
    [ann] = [row for row in desk.contacts() if row.get("id") == 1]
    assert ann["language"] == "de"


@pytest.mark.parametrize("together", [True, False])
def test_an_edit_belongs_to_everybody_through_whose_hands_the_ticket_went(desk: Desk, together: bool) -> None:
    desk.happens("contact.created", "contact 3", id=3, name="Cy")
    reply(desk)
    raws = [
        desk.event("ticket.updated", "ticket 20", AT, "a", requester_id=2),
        desk.event("ticket.updated", "ticket 20", AT, "b", requester_id=3),
        desk.event("ticket.entry_edited", "ticket 20", LATER, "c", id=3, body="call me at the office"),
    ]
    for batch in [raws] if together else [[raw] for raw in raws]:
        desk.take(*batch)
    assert "office" in readable(desk)
    desk.shred("contact 2")
    assert "office" not in readable(desk)


@pytest.mark.parametrize("word", ["a\u0000b", "line\nbreak", "\ud800"])
def test_a_word_that_no_database_takes_is_refused_and_stops_nobody(word: str) -> None:
    event = {"id": "1", "source": "s", "type": "sealdesk.vocabulary.declared.v1", "time": "2026-03-01T12:00:00Z"}
    parcel = parcel_of_events(b"{}", [event | {"data": {"vocabulary": "cf_x", "words": [word]}}], "acme")
    assert parcel.error is not None


def test_what_a_crash_kept_from_the_register_can_be_deleted_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise KeysUnavailable("the key database went away")

    with monkeypatch.context() as patch:
        patch.setattr(Intake, "_keep", dies)
        reply(desk)
    assert desk.happens("ticket.entry_deleted", "ticket 20", LATER, ticket_id=20, id=3).stored == 1
    assert "harbour" not in readable(desk)


@pytest.mark.parametrize(("named", "opening"), [("call.logged", "ticket.opened"), ("comment.posted", "topic.posted")])
def test_a_thing_that_was_only_named_is_fenced_when_its_opening_is_refused(
    desk: Desk, named: str, opening: str
) -> None:
    kind = opening.partition(".")[0]
    desk.happens(named, f"{named.partition('.')[0]} 5", id=5, user_id=2, **{f"{kind}_id": 30})
    desk.shred("contact 1")
    whose = {"ticket": "requester_id", "topic": "user_id"}[kind]
    assert desk.happens(opening, f"{kind} 30", LATER, id=30, **{whose: 1}).refused == 1
    follows, field = {"ticket": ("ticket.updated", "subject"), "topic": ("topic.edited", "title")}[kind]
    assert desk.happens(follows, f"{kind} 30", LATER, id=30, **{field: "it is me again"}).refused == 1


def test_a_comment_that_crosses_the_end_of_its_topic_is_not_half_there(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.happens("topic.posted", "topic 9", id=9, user_id=2, title="lamps")
    other, issue = another_writer(desk), Intake._issue
    gone = parcel_of(desk.event("topic.deleted", "topic 9", AT, "gone", id=9))

    def between(*given: Any) -> None:
        monkeypatch.setattr(Intake, "_issue", issue)
        assert other.take([gone], at=datetime.now(UTC)).stored == 1
        issue(*given)

    monkeypatch.setattr(Intake, "_issue", between)
    desk.happens("comment.posted", "comment 3", id=3, topic_id=9, user_id=1, body="a secret of mine")
    desk.house.projecting.catch_up()
    shown = repr(list(desk.house.reading.forums(desk.tenant.id, Reveal("tester", "test"), all=True)))
    assert ("a secret" in readable(desk)) == ("a secret" in shown)


def test_a_file_that_crosses_the_end_of_its_reply_goes_with_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reply(desk)
    other, hold, held = another_writer(desk), locking.hold, 0
    gone = parcel_of(desk.event("ticket.entry_deleted", "ticket 20", AT, "gone", ticket_id=20, id=3))

    def holding(*given: Any) -> None:
        nonlocal held
        held += 1
        if held == 2:
            monkeypatch.setattr(locking, "hold", hold)
            assert other.take([gone], at=datetime.now(UTC)).stored == 1
        hold(*given)

    monkeypatch.setattr(locking, "hold", holding)
    file = {"id": 4, "ticket_id": 20, "conversation_id": 3, "user_id": 1, "name": "secret.pdf"}
    assert desk.happens("ticket.attachment_added", "ticket 20", **file).refused == 1
    assert "secret.pdf" not in readable(desk)


def test_recordings_have_numbers_of_their_own(desk: Desk) -> None:
    desk.happens("ticket.attachment_added", "ticket 20", id=4, ticket_id=20, name="a.pdf")
    desk.happens("call.logged", "call 5", id=5, user_id=2)
    assert desk.happens("call.recording_added", "call 5", call_id=5, id=4, name="rec.mp3").stored == 1


def test_a_picture_does_not_come_back_under_the_number_of_a_file_that_ended(desk: Desk) -> None:
    desk.happens("ticket.attachment_added", "ticket 20", id=4, ticket_id=20, name="a.pdf")
    desk.happens("ticket.attachment_deleted", "ticket 20", id=4)
    assert desk.happens("contact.avatar_added", "contact 1", id=4, contact_id=1).refused == 1


@pytest.mark.parametrize("merged", [True, False])
def test_whoever_is_named_twice_in_one_order_goes_once(desk: Desk, merged: bool) -> None:
    find = desk.house.shredding.find
    wanted = [find(desk.tenant.id, Reference(Kind.PERSON, number)) for number in ("1", "2" if merged else "1")]
    if merged:
        desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[2])
    one, two = desk.house.shredding.request_all(wanted, Order(desk.tenant.id, "test", "tester"))
    assert one == two
    with desk.house.keys.transaction() as cursor:
        assert [row["step"] for row in rows_of(cursor, "SELECT step FROM shreds")] == ["finished"]


def test_a_thousand_people_merged_in_a_row_stop_nobody(desk: Desk) -> None:
    raws = [
        desk.event(
            "contact.merged", f"contact {n + 1}", AT, f"m{n}", primary_contact_id=n + 1, secondary_contact_ids=[n]
        )
        for n in range(1000, 2100)
    ]
    for start in range(0, len(raws), 550):
        assert desk.take(*raws[start : start + 550]).stored == 550
    assert desk.happens("contact.updated", "contact 1000", id=1000, name="the first of them").stored == 1
    assert "the first of them" in readable(desk)


def test_what_nests_too_deeply_in_a_row_of_a_file_is_refused() -> None:
    deep: Any = "x"
    for _ in range(2_000):
        deep = {"a": deep}
    event = {"id": "1", "source": "s", "type": "sealdesk.contact.created.v1", "time": "2026-03-01T12:00:00Z"}
    parcel = parcel_of_events(b"{}", [event | {"data": {"id": 9, "custom_fields": deep}}], "acme")
    assert parcel.error is not None
    assert parcel.error.code in ("too_deep", "wrong_field")


def test_records_that_wait_for_a_thing_that_was_only_named_are_not_judged_again_for_each_that_comes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.happens("call.logged", "call 5", id=5, user_id=2, ticket_id=30)
    judged: list[int] = []
    decide = Intake._try

    def counting(intake: Intake, batch: Any, *given: Any) -> Any:
        judged.append(len(batch))
        return decide(intake, batch, *given)

    monkeypatch.setattr(Intake, "_try", counting)
    for number in range(20):
        desk.happens("ticket.replied", "ticket 30", ticket_id=30, body=f"{number}", incoming=True)
    assert sum(judged) == 20
    desk.happens("ticket.opened", "ticket 30", id=30, requester_id=1)
    assert len(desk.ticket(30)["conversation"]) == 20


@pytest.mark.parametrize("end", ["topic 9", "forum 5"])
def test_what_hangs_in_something_shredded_can_still_be_deleted(desk: Desk, end: str) -> None:
    desk.happens("forum.posted", "forum 5", id=5, name="f")
    desk.happens("topic.posted", "topic 9", id=9, forum_id=5, user_id=2, title="t")
    desk.happens("comment.posted", "comment 3", id=3, topic_id=9, user_id=1, body="a secret")
    kind, _, number = end.partition(" ")
    found = desk.house.shredding.find(desk.tenant.id, Reference(Kind(kind), number))
    desk.house.shredding.request(found, Order(desk.tenant.id, "test", "tester"))
    below = "comment 3" if kind == "topic" else "topic 9"
    what, _, id_ = below.partition(" ")
    assert desk.happens(f"{what}.deleted", below, LATER, id=int(id_)).stored == 1


def test_a_person_with_a_thousand_merged_contacts_can_be_shredded(desk: Desk) -> None:
    merge = desk.event(
        "contact.merged", "contact 100", AT, "m", primary_contact_id=100, secondary_contact_ids=list(range(1000, 2000))
    )
    desk.take(merge)
    found = desk.house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "100"))
    certificate = desk.shred("contact 100", expect=desk.house.shredding.effect(found).facts)
    assert certificate["counts"]["merged"] == 1000


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("then", ["ticket.entry_edited", "ticket.entry_deleted"])
def test_a_reply_that_two_writers_bring_at_once_is_one_part(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, same: bool, then: str
) -> None:
    said = {"id": 3, "ticket_id": 20, "user_id": 1, "incoming": True, "body": "call me at the harbour"}
    mine, theirs = (desk.event("ticket.replied", "ticket 20", AT, i, **said) for i in ("a", "a" if same else "b"))
    other, hold, held = another_writer(desk), locking.hold, 0

    def holding(*given: Any) -> None:
        nonlocal held
        held += 1
        if held == 2:
            # Ours is issued and not on the log yet.
            monkeypatch.setattr(locking, "hold", hold)
            other.take([parcel_of(theirs)], at=datetime.now(UTC))
        hold(*given)

    with monkeypatch.context() as patch:
        patch.setattr(locking, "hold", holding)
        desk.take(mine)
    desk.happens(then, "ticket 20", LATER, id=3, ticket_id=20, **({"body": "office"} if "edited" in then else {}))
    assert "harbour" not in readable(desk)


def test_catching_up_many_edits_of_one_reply_looks_at_each_once(desk: Desk) -> None:
    reply(desk)
    desk.take(*[desk.event("ticket.entry_edited", "ticket 20", AT, f"e{n}", id=3, body=f"{n}") for n in range(300)])
    streams: list[Any] = []
    read = desk.house.facts.stream

    def reading(stream: Any) -> Any:
        streams.append(stream)
        return read(stream)

    with desk.house.keys.transaction() as cursor:
        cursor.execute("UPDATE kept SET position = 0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk.house.facts, "stream", reading)
        keeping.catch_up(desk.house.keys, desk.house.roots, desk.house.facts)
    assert len(streams) == 1
    assert "harbour" not in readable(desk)
    assert "['299']" in readable(desk)


@pytest.mark.parametrize("held", ["contact", "thing"])
def test_a_hold_on_a_person_holds_what_is_the_persons_and_no_more(desk: Desk, held: str) -> None:
    for number, user in ((5, 1), (6, 2), (7, 1)):
        desk.happens("call.logged", f"call {number}", id=number, user_id=user)
    find, order = desk.house.shredding.find, Order(desk.tenant.id, "test", "tester")
    what = Reference(Kind.PERSON, "1") if held == "contact" else Reference(Kind.CALL, "5")
    desk.house.holds.add(desk.tenant.id, find(desk.tenant.id, what), actor="tester", why="court")
    with pytest.raises(ShredRefused):
        desk.house.shredding.request(find(desk.tenant.id, Reference(Kind.CALL, "5")), order)
    desk.house.shredding.request(find(desk.tenant.id, Reference(Kind.CALL, "6")), order)
    seven = find(desk.tenant.id, Reference(Kind.CALL, "7"))
    if held == "contact":
        with pytest.raises(ShredRefused):
            desk.house.shredding.request(seven, order)
    else:
        desk.house.shredding.request(seven, order)
