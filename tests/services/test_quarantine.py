"""The quarantine: kept sealed, shown with a reason, taken up again, ended with its day, and judged by a shred."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from domain.errors import ReferenceUnknown
from services.embedded import Endpoints
from services.records import parcel_of
from tests.desks import AT, Desk, desk_house


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        desk = Desk(opened)
        desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org")
        desk.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org")
        yield desk


def _listed(desk: Desk) -> list[dict[str, Any]]:
    return desk.house.quarantine.listed(desk.tenant.id)


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
    desk.take(b"no json at all")
    [row] = _listed(desk)
    assert (row["code"], row["path"], row["waits"]) == ("not_json", "", False)
    assert desk.house.quarantine.show(desk.tenant.id, UUID(row["record"])) == b"no json at all"
    with pytest.raises(ReferenceUnknown):
        desk.house.quarantine.show(desk.tenant.id, uuid4())


def test_a_dropped_record_is_gone_with_its_key(desk: Desk) -> None:
    desk.take(b"one", b"two")
    first, second = _ids(desk)
    assert desk.house.quarantine.drop(desk.tenant.id, [first]) == 1
    assert _ids(desk) == [second]
    with desk.house.keys.transaction() as cursor:
        left = cursor.execute("SELECT thing_id FROM leaves WHERE thing_id = ANY(%s)", ([first, second],)).fetchall()
    assert [row["thing_id"] for row in left] == [second]


def test_records_end_with_the_key_of_their_day(desk: Desk) -> None:
    desk.take(b"one")
    now = datetime.now(UTC)
    assert desk.house.quarantine.expire(at=now + timedelta(days=13), days=14) == 0
    assert desk.house.quarantine.expire(at=now + timedelta(days=16), days=14) == 1
    assert _ids(desk) == []
    with desk.house.keys.transaction() as cursor:
        days = cursor.execute("SELECT count(*) AS days FROM wrapping_keys WHERE kind = 'day'").fetchall()
    assert days[0]["days"] == 0


def test_a_record_that_can_be_taken_by_now_is_taken_once_and_leaves(desk: Desk) -> None:
    raw = desk.event("ticket.replied", "ticket 20", body="early")
    desk.take(raw)
    [record] = _ids(desk)
    replay = desk.house.intake.replay
    assert replay([(record, parcel_of(raw))], at=datetime.now(UTC)).quarantined == 1
    assert _ids(desk) == [record]
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    assert _ids(desk) == []
    assert replay([(record, parcel_of(raw))], at=datetime.now(UTC)).duplicates == 1


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
    assert desk.take(orjson.dumps(event | bad), orjson.dumps(other), b"no json").quarantined == 3
    judged = desk.shred("contact 1")["quarantine"]
    assert (judged["dropped"], judged["not_judged"]) == (1, 1)
    left = [raw for _, raw in desk.house.quarantine.opened(desk.tenant.id)]
    assert left == [orjson.dumps(other), b"no json"]


def test_somebody_elses_record_that_merely_says_a_name_or_copies_an_address_stays(desk: Desk) -> None:
    raws = [
        desk.event("ticket.replied", "ticket 999", body="I know Ann Abbott", user_id=2),
        desk.event(
            "ticket.replied", "ticket 999", AT, "second", body="hello", user_id=2, cc_emails=["ann@example.org"]
        ),
    ]
    assert desk.take(*raws).quarantined == 2
    assert desk.shred("contact 1")["quarantine"]["dropped"] == 0
    assert [raw for _, raw in desk.house.quarantine.opened(desk.tenant.id)] == raws


def test_a_record_that_nests_too_deeply_stops_no_shred(desk: Desk) -> None:
    event = desk.event("contact.created", "contact 9", id=9)[:-2] + b',"custom_fields":' + b'{"a":' * 900 + b"1"
    assert desk.take(event + b"}" * 902).quarantined == 1
    assert desk.shred("contact 1")["residue"]["found"] == 0


def test_a_record_that_names_no_known_tenant_is_counted_as_not_judged(desk: Desk) -> None:
    desk.take(orjson.dumps({"type": "sealdesk.contact.created.v1", "tenant": "nobody", "data": {"id": 1}}))
    judged = desk.shred("contact 1")["quarantine"]
    assert (judged["dropped"], judged["not_judged"]) == (0, 1)
    assert [row["tenant_known"] for row in _listed(desk)] == [False]
