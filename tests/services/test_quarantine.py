"""The quarantine: kept sealed, shown with a reason, taken up again, ended with its day, and judged by a shred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from domain.errors import RecordInvalid, ReferenceUnknown
from domain.ids import HOUSE
from services import locking, quarantine
from services.embedded import Endpoints
from services.outcomes import Later, Outcome, Taken, Tally
from services.quarantine import Choice
from services.records import Parcel, Place, parcel_of, record_hash
from services.sealed import kept_whole
from tests.desks import AT, Desk, desk_house


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        desk = Desk(opened)
        desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org")
        desk.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org")
        yield desk


def _listed(desk: Desk, **choice: Any) -> list[dict[str, Any]]:
    return list(desk.house.quarantine.listed(desk.tenant.id, Choice(**choice)))


def _left(desk: Desk) -> list[bytes]:
    return [opened.raw for opened in desk.house.quarantine.opened(desk.tenant.id)]


def _put_aside(desk: Desk, *raws: bytes, topic: str = "acme.records") -> Taken:
    """Take in what came on a topic of this tenant alone."""
    places = (Place(topic, 3, 40 + number) for number in range(len(raws)))
    parcels = [replace(parcel_of(raw, desk.name), place=place) for raw, place in zip(raws, places, strict=True)]
    return desk.house.intake.take_each(parcels, at=datetime.now(UTC))


def _ids(desk: Desk) -> list[UUID]:
    return [UUID(row["record"]) for row in _listed(desk)]


def test_a_record_that_waits_and_comes_again_is_counted_once(desk: Desk) -> None:
    raw = desk.event("ticket.replied", "ticket 99", AT, "reply", body="waits")
    first, again = desk.take(raw, raw), desk.take(raw)
    assert (first.quarantined, first.duplicates) == (1, 1)
    assert (again.quarantined, again.duplicates) == (0, 1)
    opened = desk.happens("ticket.opened", "ticket 99", id=99, email="a@x.org")
    total = first + again + opened
    assert (total.read, total.stored, total.duplicates, total.quarantined) == (4, 2, 2, 0)


@pytest.mark.parametrize("known", [{"requester_id": 5}, {"phone": "+49 30 5550102"}])
def test_a_record_is_taken_up_by_whichever_of_its_references_appears(desk: Desk, known: dict[str, Any]) -> None:
    said = {"id": 5, "phone": "+49 30 5550102", "name": "Cy"}
    assert desk.happens("contact.rectified", "contact 5", **said).quarantined == 1
    appears = desk.happens("ticket.opened", "ticket 20", id=20, **known)
    assert (appears.stored, appears.quarantined) == (2, -1)
    assert _listed(desk) == []
    assert desk.house.intake.take(desk.parcels(), at=datetime.now(UTC)).stored == 0


def test_two_waiting_records_with_one_id_are_stored_once_and_counted_once(desk: Desk) -> None:
    first = [desk.take(desk.event("ticket.replied", "ticket 99", AT, "reply", body=body)) for body in ("one", "two")]
    opened = desk.happens("ticket.opened", "ticket 99", id=99, email="a@x.org")
    total = first[0] + first[1] + opened
    assert (total.read, total.stored, total.duplicates, total.quarantined) == (3, 2, 1, 0)
    assert [entry["body"] for entry in desk.ticket(99)["conversation"]] == ["one"]


def test_a_record_is_listed_without_being_opened_and_shown_as_it_came(desk: Desk) -> None:
    _put_aside(desk, b"no json at all")
    [row] = _listed(desk)
    assert (row["code"], row["path"], row["waits"]) == ("not_json", "", False)
    assert (row["topic"], row["partition"], row["offset"]) == ("acme.records", 3, 40)
    assert desk.house.quarantine.show(desk.tenant.id, UUID(row["record"])) == b"no json at all"
    with pytest.raises(ReferenceUnknown):
        desk.house.quarantine.show(desk.tenant.id, uuid4())


def test_a_dropped_record_is_gone_with_its_key(desk: Desk) -> None:
    _put_aside(desk, b"one", b"two")
    first, second = _ids(desk)
    assert desk.house.quarantine.drop(desk.tenant.id, Choice(ids=[first])) == 1
    assert _ids(desk) == [second]
    with desk.house.keys.transaction() as cursor:
        left = cursor.execute("SELECT thing_id FROM leaves WHERE thing_id = ANY(%s)", ([first, second],)).fetchall()
    assert [row["thing_id"] for row in left] == [second]


def test_records_end_with_the_key_of_their_day(desk: Desk) -> None:
    _put_aside(desk, b"one")
    now = datetime.now(UTC)
    assert _listed(desk)[0]["gone_by"] == (now + timedelta(days=15)).date().isoformat()
    assert desk.house.quarantine.expire(at=now + timedelta(days=13)) == 0
    assert desk.house.quarantine.expire(at=now + timedelta(days=16)) == 1
    assert _ids(desk) == []
    with desk.house.keys.transaction() as cursor:
        days = cursor.execute("SELECT count(*) AS days FROM wrapping_keys WHERE kind = 'day'").fetchall()
    assert days[0]["days"] == 0


def test_a_record_that_can_be_taken_by_now_is_taken_once_and_leaves(desk: Desk) -> None:
    raw = desk.event("ticket.replied", "ticket 20", body="early")
    desk.take(raw)
    [record] = _ids(desk)
    replay = desk.house.intake.replay
    assert replay([(record, desk.tenant.id, parcel_of(raw))], at=datetime.now(UTC)).tally.quarantined == 1
    assert _ids(desk) == [record]
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    assert _ids(desk) == []
    with desk.house.keys.transaction() as cursor:
        assert cursor.execute("SELECT thing_id FROM leaves WHERE thing_id = %s", (record,)).fetchall() == []
    assert replay([(record, desk.tenant.id, parcel_of(raw))], at=datetime.now(UTC)).tally.duplicates == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "sealdesk.ticket.replied.v1", "subject": "ticket 999", "data": {"user_id": 1}},
        {"type": "sealdesk.ticket.opened.v1", "data": {"id": 7, "email": "ANN@example.org", "status": {}}},
        {"type": "sealdesk.unheard.of.v1", "data": {"somewhere": [{"deep": "ann@EXAMPLE.org"}]}},
        {"type": "sealdesk.contact.updated.v1", "subject": "contact 1", "data": {"name": {}}},
        {"type": "sealdesk.unheard.of.v1", "data": {"writer": " ann ABBOTT "}},
    ],
)
def test_a_shred_takes_along_what_waits_in_the_quarantine(desk: Desk, bad: dict[str, Any]) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "s", "tenant": "acme", "time": "2026-03-01T12:00:00Z"}
    other = {**event, "type": "sealdesk.unheard.of.v1", "data": {"email": "bo@example.org"}}
    assert _put_aside(desk, orjson.dumps(event | bad), orjson.dumps(other), b"no json").tally.quarantined == 3
    assert desk.shred("contact 1")["quarantine"] == {"dropped": 1, "not_judged": 0, "not_judged_gone_by": None}
    assert _left(desk) == [orjson.dumps(other), b"no json"]


def test_somebody_elses_record_that_merely_says_a_name_or_copies_an_address_stays(desk: Desk) -> None:
    raws = [
        desk.event("ticket.replied", "ticket 999", body="I know Ann Abbott", user_id=2),
        desk.event(
            "ticket.replied", "ticket 999", AT, "second", body="hello", user_id=2, cc_emails=["ann@example.org"]
        ),
    ]
    assert desk.take(*raws).quarantined == 2
    assert desk.shred("contact 1")["quarantine"]["dropped"] == 0
    assert _left(desk) == raws


def test_a_record_that_nests_too_deeply_stops_no_shred(desk: Desk) -> None:
    event = desk.event("contact.created", "contact 9", id=9)[:-2] + b',"custom_fields":' + b'{"a":' * 900 + b"1"
    assert desk.take(event + b"}" * 902).quarantined == 1
    assert desk.shred("contact 1")["residue"]["found"] == 0


def test_a_record_that_names_no_known_tenant_is_counted_as_not_judged_and_shown_to_no_tenant(desk: Desk) -> None:
    raw = orjson.dumps({"type": "sealdesk.contact.created.v1", "tenant": "nobody", "data": {"id": 1}})
    desk.take(raw)
    gone_by = (datetime.now(UTC) + timedelta(days=15)).date().isoformat()
    assert desk.shred("contact 1")["quarantine"] == {"dropped": 0, "not_judged": 1, "not_judged_gone_by": gone_by}
    assert _listed(desk) == []
    [row] = desk.house.quarantine.listed(HOUSE)
    with pytest.raises(ReferenceUnknown):
        desk.house.quarantine.show(desk.tenant.id, UUID(row["record"]))
    assert desk.house.quarantine.show(HOUSE, UUID(row["record"])) == raw


def test_what_is_no_json_can_be_judged_by_addresses_only_when_no_value_is_known(desk: Desk) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    _put_aside(desk, b"{broken: ann@example.org", b"{broken: bo@example.org")
    judged = desk.house.quarantine.judge(desk.tenant.id, ())
    assert (judged.dropped, judged.not_judged) == (0, 2)
    desk.shred("contact 1")
    assert _left(desk) == [b"{broken: bo@example.org"]


@pytest.mark.parametrize(
    ("code", "raw"),
    [
        ("seal_broken", kept_whole({"tenant": "acme"}, b"ciphertext")),
        ("pair_unknown", kept_whole({"tenant": "acme"}, b"ciphertext")),
        ("wrong_content_type", kept_whole({"tenant": "acme"}, b"ciphertext")),
        ("corrupt", b"a batch, compressed"),
        ("too_large", b'{"cut": "in the midd'),
    ],
)
def test_what_a_search_cannot_see_into_is_counted_as_not_judged(desk: Desk, code: str, raw: bytes) -> None:
    parcel = Parcel(raw, desk.name, (), RecordInvalid(code), Place("acme.records", 0, 1))
    desk.house.intake.take_each([parcel], at=datetime.now(UTC))
    judged = desk.shred("contact 1")["quarantine"]
    assert (judged["dropped"], judged["not_judged"], judged["not_judged_gone_by"] is None) == (0, 1, False)
    assert _left(desk) == [raw]


# -- what comes after a shred -------------------------------------------------------------------------------------

LATE: list[bytes | dict[str, Any]] = [
    {"type": "sealdesk.contact.updated.v1", "subject": "contact 1", "data": {"name": {}}},
    {"type": "sealdesk.unheard.of.v1", "data": {"somewhere": [{"deep": "ann@EXAMPLE.org"}]}},
    {"type": "sealdesk.ticket.replied.v1", "subject": "ticket 999", "data": {"user_id": 1}},
    {"type": "sealdesk.ticket.updated.v1", "subject": "ticket 20", "data": {"status": {}}},
    {"type": "sealdesk.contact.updated.v1", "subject": "contact 1", "data": {"id": 1}, "time": None},
    b'{"type": "sealdesk.contact.updated.v1", "data": {"email": "ann@example.org", "na',
]


def _raw(event: bytes | dict[str, Any]) -> bytes:
    said = {"specversion": "1.0", "id": "late", "source": "s", "tenant": "acme", "time": "2026-03-01T12:00:00Z"}
    return event if isinstance(event, bytes) else orjson.dumps(said | event)


@pytest.mark.parametrize("event", LATE)
def test_a_broken_record_of_somebody_who_was_shredded_is_refused_and_not_kept(
    desk: Desk, event: bytes | dict[str, Any]
) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    control = _put_aside(desk, _raw(event).replace(b"late", b"before"))
    assert control.outcomes[0].status == "quarantined"
    desk.shred("contact 1")
    taken = _put_aside(desk, _raw(event), desk.event("ticket.opened", "ticket 21", id=21, requester_id=2))
    assert [outcome.status for outcome in taken.outcomes] == ["refused", "stored"]
    assert _left(desk) == []
    assert _refused(desk) == 1


def test_a_broken_record_that_merely_names_the_shredded_person_is_kept(desk: Desk) -> None:
    desk.shred("contact 1")
    raw = desk.event("ticket.opened", "ticket 21", id=21, requester_id=2, cc_emails=["ann@example.org"], status={})
    assert _put_aside(desk, raw).tally.quarantined == 1
    assert _left(desk) == [raw]


def test_a_shred_in_the_middle_of_a_batch_leaves_no_broken_record_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, held = locking.hold, 0

    def holding(*given: Any) -> None:
        nonlocal held
        held += 1
        if held == 2:
            # The record is sealed for the quarantine, and not there yet.
            desk.shred("contact 1")
        hold(*given)

    monkeypatch.setattr(locking, "hold", holding)
    taken = _put_aside(desk, _raw(LATE[0]))
    assert (taken.outcomes[0].status, held >= 4) == ("refused", True)
    assert _left(desk) == []


def _refused(desk: Desk) -> int:
    with desk.house.facts.cursor() as cursor:
        [row] = cursor.execute("SELECT coalesce(sum(refused), 0)::int AS refused FROM refusals").fetchall()
    return int(row["refused"])


# -- what is told of each record ----------------------------------------------------------------------------------


def test_each_record_has_an_outcome_and_one_that_waited_has_another_later(desk: Desk) -> None:
    desk.shred("contact 2")
    waits = desk.event("ticket.replied", "ticket 20", AT, "waits", body="early", user_id=1)
    first = _put_aside(
        desk,
        desk.event("contact.updated", "contact 1", AT, "well", id=1, name="Ann"),
        desk.event("contact.updated", "contact 1", AT, "well", id=1, name="Ann"),
        desk.event("contact.updated", "contact 2", AT, "late", id=2, name="Bo"),
        waits,
        b"no json",
    )
    told = [(outcome.status, outcome.code) for outcome in first.outcomes]
    assert told == [
        ("stored", ""),
        ("duplicate", ""),
        ("refused", "fenced"),
        ("quarantined", "unknown_ticket"),
        ("quarantined", "not_json"),
    ]
    assert first.later == ()
    opened = _put_aside(desk, desk.event("ticket.opened", "ticket 20", AT, "opens", id=20, requester_id=1))
    assert opened.outcomes == (Outcome("stored"),)
    later = Later(Place("acme.records", 3, 43), record_hash("acme", "tests", "waits"), Outcome("stored"))
    assert opened.later == (later,)


def test_what_came_sealed_and_waited_is_told_by_the_hash_of_its_id_outside(desk: Desk) -> None:
    raw = desk.event("ticket.replied", "ticket 20", AT, "waits", body="early", user_id=1)
    outside = record_hash("acme", "tests", "an HMAC")
    parcel = replace(parcel_of(raw), place=Place("acme.records", 3, 43), told_as=outside)
    desk.house.intake.take_each([parcel], at=datetime.now(UTC))

    opened = _put_aside(desk, desk.event("ticket.opened", "ticket 20", AT, "opens", id=20, requester_id=1))

    assert opened.later == (Later(Place("acme.records", 3, 43), outside, Outcome("stored")),)


def test_a_record_that_waits_for_what_its_own_batch_brings_has_one_outcome(desk: Desk) -> None:
    waits = desk.event("ticket.replied", "ticket 20", AT, "waits", body="early", user_id=1)
    taken = _put_aside(desk, waits, desk.event("ticket.opened", "ticket 20", AT, "opens", id=20, requester_id=1))
    assert [outcome.status for outcome in taken.outcomes] == ["stored", "stored"]
    assert (taken.later, taken.tally) == ((), Tally(read=2, stored=2))


def test_records_that_are_taken_again_for_their_receipts_change_nothing(desk: Desk) -> None:
    desk.shred("contact 2")
    raws = [
        desk.event("contact.updated", "contact 1", AT, "well", id=1, name="Ann"),
        desk.event("contact.updated", "contact 2", AT, "late", id=2, name="Bo"),
        desk.event("ticket.replied", "ticket 20", AT, "waits", body="early", user_id=1),
        b"no json",
    ]
    before = _put_aside(desk, *raws)
    dropped = desk.house.quarantine.drop(desk.tenant.id, Choice(codes=["not_json"]))
    again = desk.house.intake.take_each([parcel_of(raw, "acme") for raw in raws], at=datetime.now(UTC), again=True)
    assert [outcome.status for outcome in before.outcomes] == ["stored", "refused", "quarantined", "quarantined"]
    assert [outcome.status for outcome in again.outcomes] == ["duplicate", "refused", "quarantined", "quarantined"]
    assert (dropped, len(_ids(desk)), _refused(desk)) == (1, 1, 1)


# -- what an operator does with many --------------------------------------------------------------------------------


def test_records_are_chosen_by_code_and_topic_listed_page_by_page_and_counted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "PAGE", 3)
    _put_aside(desk, *(b"a%d" % number for number in range(7)))
    _put_aside(desk, *(b"b%d" % number for number in range(4)), topic="acme.other")
    _put_aside(desk, desk.event("ticket.replied", "ticket 99", body="x"), topic="acme.other")
    kept = desk.house.quarantine
    assert len(_listed(desk)) == 12
    assert [row["offset"] for row in _listed(desk, topics=["acme.other"])] == [40, 41, 42, 43, 40]
    assert [row["code"] for row in _listed(desk, codes=["unknown_ticket"])] == ["unknown_ticket"]
    rows = list(kept.listed(desk.tenant.id, limit=4))
    behind = list(kept.listed(desk.tenant.id, limit=100, after=UUID(rows[-1]["record"])))
    assert [row["offset"] for row in rows] == [40, 41, 42, 43]
    assert [row["record"] for row in [*rows, *behind]] == [row["record"] for row in _listed(desk)]
    counted = {(row["code"], row["topic"]): row["records"] for row in kept.summary(desk.tenant.id)}
    assert counted == {
        ("not_json", "acme.records"): 7,
        ("not_json", "acme.other"): 4,
        ("unknown_ticket", "acme.other"): 1,
    }
    assert kept.drop(desk.tenant.id, Choice(codes=["not_json"], topics=["acme.records"])) == 7
    assert len(_left(desk)) == 5


def test_large_records_make_short_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "PAGE_BYTES", 3_000_000)
    _put_aside(desk, *(b"%d" % number + b"x" * 1_000_000 for number in range(5)))
    pages = [len(page) for page in desk.house.quarantine.opened_pages(desk.tenant.id)]
    assert (sum(pages), max(pages) < 4) == (5, True)
