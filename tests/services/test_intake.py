"""Intake: who is who, whose it is, and that nothing is lost, doubled or shown on the way in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.keystore import KeyStore, rows_of
from crypto.register import Register
from crypto.roots import FileRoots
from crypto.tree import Person, Tree
from domain.errors import KeysUnavailable, LogUnavailable, PositionMoved, SealBroken
from domain.personal import Kind, Reference
from services import intake, locking, naming, refusing, viewing, waiting
from services.embedded import Endpoints
from services.intake import Intake, Tally
from services.log import Facts, LogDatastore, Position
from services.opening_records import opened_records
from services.records import RECORD_BYTES, Place, parcel_of, parcel_of_events
from services.tenants import Tenants
from services.waiting import Waiting
from services.wiring import House
from tests.desks import AT, Desk, desk_house

GONE = {"shredded": True}
SECRET = "zephyrine.quux"
NOW = datetime.now(UTC)


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened:
        yield opened


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house)


@contextmanager
def writer(databases: Endpoints, folder: Path) -> Iterator[Intake]:
    """Open an intake with connections of its own, as another process would have."""
    datastore, keys = LogDatastore(databases.log_dsn), KeyStore(databases.keys_dsn)
    with Facts(datastore) as facts:
        yield Intake(facts, keys, FileRoots(folder / "roots"), Tenants(facts))
    keys.close()
    datastore.close()


def whom(desk: Desk, kind: Kind, value: str) -> Person | None:
    """Find the person whom a reference means, through merges."""
    with desk.house.keys.transaction() as cursor:
        tree = Tree(cursor, desk.house.roots)
        register = Register(tree, desk.tenant.id)
        index = register.index(Reference(kind, value))
        known = register.look_up([index]).get(index)
        if known is None or known.inside is None:
            return None
        people = tree.people([known.inside])
        return people[people[known.inside].root]


def same(desk: Desk, *references: tuple[Kind, str]) -> bool:
    """Tell whether all these references mean one person."""
    people = [whom(desk, kind, value) for kind, value in references]
    return None not in people and len({person.subject_id for person in people if person is not None}) == 1


def sql(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode()).fetchall()


def counts(house: House) -> tuple[int, int]:
    """Count the facts and the quarantined records."""
    [(facts, waiting)] = sql(
        house.endpoints.log_dsn, "SELECT (SELECT count(*) FROM facts_events), (SELECT count(*) FROM quarantine)"
    )
    return facts, waiting


def quarantined(house: House) -> list[tuple[str, str]]:
    return sql(house.endpoints.log_dsn, "SELECT code, path FROM quarantine ORDER BY arrived")


def shown(rows: list[dict[str, Any]]) -> list[bytes]:
    """Write revealed rows without the random ids in them."""
    hidden = {"profile", "subject", "ticket", "requester", "responder", "copied", "author", "merged"}

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(item) for name, item in value.items() if name not in hidden or name == "subject"}
        return [strip(item) for item in value] if isinstance(value, list) else value

    rows = [{name: value for name, value in row.items() if not _is_id(value)} for row in rows]
    return sorted(orjson.dumps(strip(row), option=orjson.OPT_SORT_KEYS) for row in rows)


def _is_id(value: Any) -> bool:
    try:
        UUID(value)
    except (TypeError, ValueError, AttributeError):
        return False
    return True


# -- who is who -----------------------------------------------------------------------------------------------------


class TestIdentity:
    def test_agent_7_and_contact_7_are_one_person(self, desk: Desk) -> None:
        desk.happens("contact.created", "contact 7", id=7, email="nora@x.org")
        desk.happens("agent.created", "agent 7", id=7, email="nora@desk.org")
        assert same(desk, (Kind.PERSON, "7"), (Kind.EMAIL, "nora@x.org"), (Kind.EMAIL, "nora@desk.org"))
        nora = whom(desk, Kind.PERSON, "7")
        assert nora is not None
        assert nora.agent

    def test_whoever_is_first_mentioned_by_address_keeps_the_key_when_the_id_comes(self, desk: Desk) -> None:
        desk.happens("ticket.opened", "ticket 20", id=20, email="ann@x.org")
        before = whom(desk, Kind.EMAIL, "ann@x.org")
        desk.happens("contact.created", "contact 1", id=1, email="Ann@X.org")
        after = whom(desk, Kind.PERSON, "1")
        assert before is not None
        assert after is not None
        assert after.subject_id == before.subject_id
        assert not before.upstream
        assert after.upstream

    def test_of_two_people_the_one_with_an_upstream_id_is_primary(self, desk: Desk) -> None:
        desk.happens("ticket.opened", "ticket 20", id=20, email="ann@home.org")
        desk.happens("contact.created", "contact 1", id=1)
        primary = whom(desk, Kind.PERSON, "1")
        desk.happens("contact.updated", "contact 1", id=1, email="ann@home.org")
        assert same(desk, (Kind.PERSON, "1"), (Kind.EMAIL, "ann@home.org"))
        assert primary is not None
        merged = whom(desk, Kind.EMAIL, "ann@home.org")
        assert merged is not None
        assert merged.subject_id == primary.subject_id
        desk.shred("contact 1")
        assert desk.tickets()[0]["erased"]

    def test_two_addresses_of_nobody_known_upstream_become_one_person(self, desk: Desk) -> None:
        desk.happens("contact.created", "a@x.org", email="a@x.org")
        desk.happens("contact.created", "b@x.org", email="b@x.org")
        assert not same(desk, (Kind.EMAIL, "a@x.org"), (Kind.EMAIL, "b@x.org"))
        desk.happens("contact.created", "a@x.org", email="a@x.org", other_emails=["b@x.org"])
        assert same(desk, (Kind.EMAIL, "a@x.org"), (Kind.EMAIL, "b@x.org"))

    def test_an_address_of_somebody_with_another_id_goes_to_whoever_claims_it_now(self, desk: Desk) -> None:
        desk.happens("contact.created", "contact 1", id=1, email="info@x.org")
        desk.happens("contact.created", "contact 2", id=2, email="info@x.org")
        assert same(desk, (Kind.EMAIL, "info@x.org"), (Kind.PERSON, "2"))
        assert not same(desk, (Kind.PERSON, "1"), (Kind.PERSON, "2"))
        desk.shred("contact 1")
        assert same(desk, (Kind.EMAIL, "info@x.org"), (Kind.PERSON, "2"))
        desk.shred("info@x.org")
        assert whom(desk, Kind.PERSON, "2") is None

    def test_an_address_claimed_from_somebody_who_was_merged_is_the_claimants_alone(self, desk: Desk) -> None:
        desk.happens("ticket.opened", "ticket 20", id=20, email="info@x.org")
        desk.happens("contact.created", "contact 1", id=1)
        desk.happens("contact.updated", "contact 1", id=1, email="info@x.org")
        desk.happens("contact.created", "contact 2", id=2, email="info@x.org")
        assert same(desk, (Kind.EMAIL, "info@x.org"), (Kind.PERSON, "2"))
        desk.shred("contact 1")
        assert same(desk, (Kind.EMAIL, "info@x.org"), (Kind.PERSON, "2"))

    def test_a_record_without_an_id_takes_nobodys_address_away(self, desk: Desk) -> None:
        desk.happens("contact.created", "contact 1", id=1, email="a@x.org")
        desk.happens("contact.created", "contact 2", id=2, email="b@x.org")
        desk.happens("contact.created", "a@x.org", email="a@x.org", other_emails=["b@x.org"])
        assert same(desk, (Kind.EMAIL, "a@x.org"), (Kind.PERSON, "1"))
        assert same(desk, (Kind.EMAIL, "b@x.org"), (Kind.PERSON, "2"))

    def test_an_address_under_several_names_is_one_person_and_the_last_name_wins(self, desk: Desk) -> None:
        for number, name in enumerate(["Ann", "Anna", "Annie"]):
            desk.happens("ticket.opened", f"ticket {number}", id=number, email="ann@x.org", name=name)
        [contact] = desk.contacts()
        assert contact["name"] == "Annie"

    def test_contacts_that_upstream_merged_are_one_and_die_together(self, desk: Desk) -> None:
        for number in (1, 2, 3):
            desk.happens("contact.created", f"contact {number}", id=number, name=f"Ann {number}")
            desk.happens("ticket.opened", f"ticket {number}", id=number, requester_id=number, subject="hi")
        desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[2, 3])
        assert same(desk, (Kind.PERSON, "1"), (Kind.PERSON, "2"), (Kind.PERSON, "3"))
        desk.shred("contact 3")
        assert [row["erased"] for row in desk.tickets()] == [True] * 3
        assert all(row["subject"] == GONE for row in desk.tickets())

    def test_somebody_in_copy_is_a_person_like_any_other(self, desk: Desk) -> None:
        desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, cc_emails=["Bob Brown <bob@x.org>"])
        bob = whom(desk, Kind.EMAIL, "bob@x.org")
        assert bob is not None
        named = [row for row in desk.contacts() if row.get("email") == "bob@x.org"]
        assert [row["name"] for row in named] == ["Bob Brown"]

    def test_tenants_that_know_the_same_address_know_two_people(self, house: House, desk: Desk) -> None:
        other = Desk(house, "other")
        desk.happens("contact.created", "contact 1", id=1, email="ann@x.org", name="Ann")
        other.happens("contact.created", "contact 1", id=1, email="ann@x.org", name="Ann")
        here, there = whom(desk, Kind.PERSON, "1"), whom(other, Kind.PERSON, "1")
        assert here is not None
        assert there is not None
        assert here.subject_id != there.subject_id
        desk.shred("contact 1")
        assert [row["name"] for row in other.contacts()] == ["Ann"]

    def test_the_subject_of_an_event_and_its_data_have_to_agree(self, desk: Desk) -> None:
        assert desk.happens("contact.created", "contact 1", id=2).quarantined == 1
        assert desk.happens("contact.created", "ticket 1", id=1).quarantined == 1
        assert desk.happens("ticket.opened", "contact 1", requester_id=1).quarantined == 1
        assert quarantined(desk.house) == [("subject_differs", "subject")] * 3
        assert desk.happens("contact.created", "contact 1", email="a@x.org").stored == 1
        assert same(desk, (Kind.PERSON, "1"), (Kind.EMAIL, "a@x.org"))


class TestFences:
    @pytest.fixture
    def ann(self, desk: Desk) -> Desk:
        desk.happens("contact.created", "contact 1", id=1, email="ann@x.org", phone="+4930901820", name="Ann")
        desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
        desk.happens("ticket.opened", "ticket 30", id=30, requester_id=2, subject="hello")
        desk.shred("contact 1")
        return desk

    @pytest.mark.parametrize(
        ("type_", "subject", "data"),
        [
            ("contact.created", "contact 1", {"id": 1}),
            ("contact.updated", "ann@x.org", {"email": "ANN@x.org", "name": "Ann"}),
            ("contact.created", "contact 9", {"id": 9, "email": "ann@x.org"}),
            ("contact.created", "contact 9", {"id": 9, "mobile": "+49 30 901820"}),
            ("ticket.opened", "ticket 21", {"id": 21, "requester_id": 1}),
            ("ticket.opened", "ticket 21", {"id": 21, "email": "ann@x.org"}),
            ("ticket.updated", "ticket 20", {"status": 4}),
            ("ticket.replied", "ticket 20", {"body": "hi"}),
            ("ticket.updated", "ticket 30", {"requester_id": 1}),
            ("ticket.replied", "ticket 30", {"body": "me", "user_id": 1}),
            ("ticket.rated", "ticket 20", {"rating": 103}),
            ("agent.created", "agent 1", {"id": 1}),
        ],
    )
    def test_a_record_about_a_shredded_person_is_refused_counted_and_not_kept(
        self, ann: Desk, type_: str, subject: str, data: dict[str, Any]
    ) -> None:
        before = counts(ann.house)
        assert ann.happens(type_, subject, **data) == Tally(read=1, refused=1)
        assert counts(ann.house) == before
        assert sql(ann.house.endpoints.log_dsn, "SELECT code, refused FROM refusals") == [("fenced", 1)]

    @pytest.mark.parametrize(
        ("type_", "data"),
        [
            ("ticket.updated", {"cc_emails": ["ann@x.org", "bob@x.org"], "status": 3}),
            ("ticket.updated", {"responder_id": 1, "status": 3}),
            ("ticket.replied", {"body": "from the desk", "incoming": False, "user_id": 1}),
            ("ticket.replied", {"body": "from the desk", "incoming": False, "to_emails": ["ann@x.org"]}),
        ],
    )
    def test_a_record_that_merely_names_a_shredded_person_loses_only_that(
        self, ann: Desk, type_: str, data: dict[str, Any]
    ) -> None:
        assert ann.happens(type_, "ticket 30", **data).stored == 1
        assert whom(ann, Kind.EMAIL, "ann@x.org") is None
        assert whom(ann, Kind.PERSON, "1") is None

    def test_a_mail_that_was_sent_before_the_shred_does_not_bring_anybody_back(self, ann: Desk) -> None:
        assert ann.happens("contact.created", "contact 9", NOW, id=9, email="ann@x.org").refused == 1

    def test_on_a_later_day_with_a_new_id_an_address_comes_back_as_somebody_new(self, ann: Desk) -> None:
        tomorrow = NOW + timedelta(days=1)
        raw = ann.event("contact.created", "contact 9", tomorrow, "again", id=9, email="ann@x.org", name="Ann")
        assert ann.house.intake.take([parcel_of(raw)], at=tomorrow).stored == 1
        assert same(ann, (Kind.PERSON, "9"), (Kind.EMAIL, "ann@x.org"))
        assert whom(ann, Kind.PERSON, "1") is None
        # What is told of the day before still means who was shredded.
        assert ann.happens("ticket.opened", "ticket 40", NOW, id=40, email="ann@x.org").refused == 1
        late = ann.event("ticket.opened", "ticket 41", tomorrow, "late", id=41, email="ann@x.org")
        assert ann.house.intake.take([parcel_of(late)], at=tomorrow).stored == 1

    @pytest.mark.parametrize(
        ("type_", "data", "ahead"),
        [
            ("contact.created", {"email": "ann@x.org"}, 0),
            ("contact.created", {"id": 1, "email": "ann@x.org"}, 0),
            ("contact.updated", {"id": 9, "email": "ann@x.org"}, 0),
            ("ticket.opened", {"id": 41, "email": "ann@x.org"}, 0),
            ("contact.created", {"id": 9, "email": "ann@x.org"}, 6),
        ],
    )
    def test_nothing_else_brings_an_address_back(self, ann: Desk, type_: str, data: dict[str, Any], ahead: int) -> None:
        tomorrow = NOW + timedelta(days=1)
        subject = "ticket 41" if type_.startswith("ticket") else "ann@x.org"
        raw = ann.event(type_, subject, tomorrow + timedelta(minutes=ahead), "again", **data)
        assert ann.house.intake.take([parcel_of(raw)], at=tomorrow).refused == 1
        assert whom(ann, Kind.EMAIL, "ann@x.org") is None

    def test_a_stored_record_that_comes_again_after_the_shred_is_refused_and_not_a_duplicate(self, ann: Desk) -> None:
        tally = ann.house.intake.take(ann.parcels(), at=NOW)
        assert tally == Tally(read=3, duplicates=1, refused=2)

    def test_a_forged_mark_on_a_person_or_a_ticket_refuses_nothing_as_if_it_were_shredded(self, desk: Desk) -> None:
        desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
        raw = desk.event("ticket.replied", "ticket 20", AT, "late", body="hi")
        keys = desk.house.endpoints.keys_dsn
        for forge in (
            "UPDATE things SET line = 1, mark = decode(repeat('00', 32), 'hex') RETURNING 1",
            "UPDATE subjects SET line = 1, wrapped = NULL, mark = decode(repeat('00', 32), 'hex') RETURNING 1",
        ):
            sql(keys, forge)
            with pytest.raises(SealBroken):
                desk.take(raw)


# -- order, repetition, several writers -------------------------------------------------------------------------------


STORY: list[tuple[str, str, dict[str, Any]]] = [
    ("ticket.opened", "ticket 20", {"id": 20, "requester_id": 1, "subject": "hi", "description": "help"}),
    ("ticket.replied", "ticket 20", {"body": "first", "user_id": 7, "incoming": False}),
    ("ticket.updated", "ticket 20", {"status": 4}),
    ("ticket.rated", "ticket 20", {"rating": 103, "feedback": "fine"}),
]


def test_a_reply_that_comes_before_its_ticket_waits_and_is_taken_up(desk: Desk) -> None:
    assert desk.happens("ticket.replied", "ticket 20", body="early", incoming=True) == Tally(read=1, quarantined=1)
    assert quarantined(desk.house) == [("unknown_ticket", "subject")]
    opened = desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    # The reply counts here as stored, and is taken off what was counted as quarantined.
    assert opened == Tally(read=1, stored=2, quarantined=-1)
    assert quarantined(desk.house) == []
    assert [entry["body"] for entry in desk.ticket(20)["conversation"]] == ["early"]


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_records_of_a_ticket_may_come_in_any_order(desk: Desk, order: tuple[int, ...]) -> None:
    for number in order:
        type_, subject, data = STORY[number]
        desk.happens(type_, subject, **data)
    ticket = desk.ticket(20)
    assert ticket["status"] == "resolved"
    assert "first" in [entry.get("body") for entry in ticket["conversation"]]
    assert counts(desk.house)[1] == 0
    assert {fact.type for fact in desk.house.facts.page(0, 100) if ".ticket." in fact.type} == {
        f"sealdesk.{type_}.v1" for type_, _, _ in STORY
    }


def test_what_waited_is_taken_up_in_the_order_in_which_it_came(desk: Desk) -> None:
    early = [desk.event("ticket.updated", "ticket 20", AT, f"u{n}", status=2 + n % 4) for n in range(30)]
    desk.take(*early[:20])
    desk.take(*early[20:])
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    words = ["open", "pending", "resolved", "closed"]
    told = [fact.clear["status"] for fact in desk.house.facts.page(0, 100) if fact.type.endswith("ticket.updated.v1")]
    assert told == [words[n % 4] for n in range(30)]


def test_more_records_than_a_page_may_wait_for_one_ticket(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PAGE", 3)
    desk.take(*(desk.event("ticket.replied", "ticket 20", AT, f"r{n}", body=f"{n}") for n in range(10)))
    assert counts(desk.house)[1] == 10
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    assert counts(desk.house)[1] == 0
    assert [entry["body"] for entry in desk.ticket(20)["conversation"]] == [f"{n}" for n in range(10)]


def test_large_records_that_wait_for_one_ticket_are_not_all_in_memory_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PAGE_BYTES", 30_000)
    opened, pages = Waiting.opened, list[int]()

    def measured(self: Waiting, appeared: Any) -> Iterator[Any]:
        for page in opened(self, appeared):
            pages.append(len(page))
            yield page

    monkeypatch.setattr(Waiting, "opened", measured)
    large = "x" * 12_000
    desk.take(*(desk.event("ticket.replied", "ticket 20", AT, f"r{n}", body=f"{n} {large}") for n in range(4)))
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    assert pages == [2, 2]
    assert [entry["body"][0] for entry in desk.ticket(20)["conversation"]] == ["0", "1", "2", "3"]


def test_a_record_that_waits_creates_no_person_and_no_ticket(desk: Desk) -> None:
    desk.happens("ticket.replied", "ticket 20", body="early", user_id=1, cc_emails=["bob@x.org"])
    desk.happens("contact.deleted", "contact 5", id=5)
    assert sql(desk.house.endpoints.keys_dsn, "SELECT 1 FROM subjects UNION SELECT 2 FROM things") == []
    assert [code for code, _ in quarantined(desk.house)] == ["unknown_ticket", "unknown_person"]


def test_a_deletion_that_comes_before_its_contact_waits_and_is_taken_up(desk: Desk) -> None:
    desk.happens("contact.deleted", "contact 5", id=5)
    desk.happens("contact.created", "contact 5", id=5, name="Ann")
    assert counts(desk.house)[1] == 0
    assert [row["deleted"] for row in desk.contacts()] == [True]


def test_a_parcel_that_waits_for_two_things_waits_for_the_second_too(desk: Desk) -> None:
    events = [
        orjson.loads(desk.event("ticket.replied", f"ticket {number}", AT, f"r{number}", body="both"))
        for number in (20, 21)
    ]
    desk.house.intake.take([parcel_of_events(b"row", events, desk.name)], at=NOW)
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    assert quarantined(desk.house) == [("unknown_ticket", "subject")]
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=1)
    assert quarantined(desk.house) == []
    assert [len(desk.ticket(number)["conversation"]) for number in (20, 21)] == [1, 1]


def test_a_record_that_waited_and_turns_out_wrong_stays_with_the_new_reason(desk: Desk) -> None:
    events = [
        orjson.loads(desk.event("ticket.replied", "ticket 20", AT, "r", body="hi")),
        orjson.loads(desk.event("ticket.opened", "ticket 21", AT, "o", id=21, requester_id=1)),
    ]
    desk.house.intake.take([parcel_of_events(b"row", events, desk.name)], at=NOW)
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=1)
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    assert quarantined(desk.house) == [("opened_already", "subject")]


def test_a_record_that_waited_for_somebody_who_was_shredded_is_refused_and_leaves(desk: Desk) -> None:
    desk.happens("contact.created", "contact 1", id=1)
    desk.shred("contact 1")
    desk.happens("ticket.replied", "ticket 20", body="me", user_id=1, incoming=True)
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=2)
    assert counts(desk.house)[1] == 0
    assert sql(desk.house.endpoints.log_dsn, "SELECT refused FROM refusals") == [(1,)]


def test_a_record_that_waits_is_found_by_another_writer(databases: Endpoints, desk: Desk, tmp_path: Path) -> None:
    with writer(databases, tmp_path) as other:
        other.take([], at=NOW)
        desk.happens("ticket.replied", "ticket 20", body="early")
        opened = desk.event("ticket.opened", "ticket 20", AT, "o", id=20, requester_id=1)
        assert other.take([parcel_of(opened)], at=NOW).stored == 1
    assert counts(desk.house)[1] == 0


def test_a_ticket_that_came_through_another_writer_while_its_reply_was_put_aside_is_noticed(
    databases: Endpoints, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = desk.event("ticket.replied", "ticket 20", AT, "r", body="early")
    opened = desk.event("ticket.opened", "ticket 20", AT, "o", id=20, requester_id=1)
    with writer(databases, tmp_path) as other:
        append, passed = Facts.append, False

        def open_first(facts: Facts, *given: Any) -> Any:
            nonlocal passed
            if not passed:
                passed = True
                other.take([parcel_of(opened)], at=NOW)
            return append(facts, *given)

        desk.take()
        monkeypatch.setattr(Facts, "append", open_first)
        desk.take(reply)
    assert counts(desk.house)[1] == 0
    assert len(desk.ticket(20)["conversation"]) == 1


def test_the_same_batch_again_stores_nothing_twice(desk: Desk) -> None:
    for type_, subject, data in STORY:
        desk.happens(type_, subject, **data)
    desk.happens("ticket.replied", "ticket 99", body="waits")
    raws = [*desk.said, b"nonsense", b"nonsense"]
    desk.take(b"nonsense")
    before, leaves = counts(desk.house), shown(desk.tickets())
    assert desk.take(*raws) == Tally(read=7, duplicates=5, quarantined=2)
    assert counts(desk.house) == before
    assert shown(desk.tickets()) == leaves


def test_one_batch_that_says_a_record_twice_stores_it_once(desk: Desk) -> None:
    raw = desk.event("contact.created", "contact 1", AT, "one", id=1, name="Ann")
    assert desk.take(raw, raw, raw) == Tally(read=3, stored=1, duplicates=2)
    assert counts(desk.house)[0] == 1


def test_a_record_is_the_same_by_source_and_id_whatever_it_says(desk: Desk) -> None:
    desk.take(desk.event("contact.created", "contact 1", AT, "one", id=1, name="Ann"))
    assert desk.take(desk.event("contact.created", "contact 1", AT, "one", id=1, name="Bob")).duplicates == 1
    assert desk.take(desk.event("contact.created", "contact 1", AT, "two", id=1, name="Bob")).stored == 1


def test_the_same_source_and_id_in_another_tenant_is_another_record(house: House, desk: Desk) -> None:
    other = Desk(house, "other")
    assert desk.take(desk.event("contact.created", "contact 1", AT, "one", id=1)).stored == 1
    assert other.take(other.event("contact.created", "contact 1", AT, "one", id=1)).stored == 1


def test_a_ticket_is_opened_once(desk: Desk) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    assert desk.happens("ticket.opened", "ticket 20", id=20, requester_id=2).quarantined == 1
    assert quarantined(desk.house) == [("opened_already", "subject")]


@pytest.mark.parametrize("again", range(4))
def test_two_writers_who_meet_somebody_new_at_once_end_with_one_person_and_one_key(
    databases: Endpoints, desk: Desk, tmp_path: Path, again: int
) -> None:
    together = Barrier(4)

    def meet(intake: Intake, number: int) -> Tally:
        raws = [
            desk.event("contact.created", "contact 1", AT, f"c{number}", id=1, email="ann@x.org", name="Ann"),
            desk.event("ticket.opened", f"ticket {number}", AT, f"t{number}", id=number, email="ann@x.org"),
            desk.event("ticket.opened", "ticket 99", AT, "shared", id=99, email="zed@x.org"),
        ]
        together.wait(30)
        return intake.take([parcel_of(raw) for raw in raws], at=NOW)

    with ExitStack() as stack, ThreadPoolExecutor(4) as threads:
        writers = [stack.enter_context(writer(databases, tmp_path)) for _ in range(4)]
        tallies = [
            future.result() for future in [threads.submit(meet, *pair) for pair in zip(writers, range(4), strict=True)]
        ]
    assert sum((tally for tally in tallies), Tally()) == Tally(read=12, stored=9, duplicates=3)
    assert sql(databases.keys_dsn, "SELECT count(*) FROM subjects") == [(2,)]
    assert sql(databases.keys_dsn, "SELECT count(*) FROM things") == [(5,)]
    assert same(desk, (Kind.PERSON, "1"), (Kind.EMAIL, "ann@x.org"))
    assert sql(databases.keys_dsn, "SELECT kind, period FROM wrapping_keys GROUP BY 1, 2 HAVING count(*) > 1") == []
    assert len(desk.tickets()) == 5


@contextmanager
def between_deciding_and_holding(what: Callable[[], object]) -> Iterator[None]:
    """Have something happen once, in the middle of the next batch: keys are issued, nothing is held for the append."""
    hold, calls = locking.hold, 0

    def second(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            # The first hold is that of the issuing transaction, which is committed by now.
            what()
        hold(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locking, "hold", second)
        yield
    assert calls >= 2


def test_whoever_a_batch_has_just_made_is_not_merged_once_another_writer_gives_them_an_id(
    databases: Endpoints, desk: Desk, tmp_path: Path
) -> None:
    batch = [
        desk.event("contact.created", "contact 1", AT, "one", id=1),
        desk.event("ticket.opened", "ticket 20", AT, "ticket", id=20, email="info@x.org"),
        desk.event("contact.updated", "contact 1", AT, "address", id=1, email="info@x.org"),
    ]
    with writer(databases, tmp_path) as other:
        meanwhile = parcel_of(desk.event("contact.created", "contact 2", AT, "two", id=2, email="info@x.org"))
        with between_deciding_and_holding(lambda: other.take([meanwhile], at=NOW)):
            assert desk.take(*batch).stored == 3
    one, two = whom(desk, Kind.PERSON, "1"), whom(desk, Kind.PERSON, "2")
    assert one is not None
    assert two is not None
    assert one.subject_id != two.subject_id


@pytest.mark.parametrize("known", [True, False])
def test_two_contacts_who_take_one_unclaimed_address_at_once_stay_two_people(
    databases: Endpoints, desk: Desk, tmp_path: Path, known: bool
) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, email="info@x.org")
    for number in (1, 2) if known else (1,):
        desk.happens("contact.created", f"contact {number}", id=number)
    first, second = (
        desk.event("contact.updated", f"contact {n}", AT, f"u{n}", id=n, email="info@x.org") for n in (1, 2)
    )
    with writer(databases, tmp_path) as other:
        other.take([], at=NOW)
        with between_deciding_and_holding(lambda: other.take([parcel_of(second)], at=NOW)):
            assert desk.take(first).stored == 1
    assert not same(desk, (Kind.PERSON, "1"), (Kind.PERSON, "2"))
    assert same(desk, (Kind.EMAIL, "info@x.org"), (Kind.PERSON, "1"))


@pytest.mark.parametrize("mentioned", [True, False])
def test_two_new_contacts_who_share_an_address_at_once_are_two_people(
    databases: Endpoints, desk: Desk, tmp_path: Path, mentioned: bool
) -> None:
    if mentioned:
        desk.happens("ticket.opened", "ticket 20", id=20, email="info@x.org")
    first, second = (
        desk.event("contact.created", f"contact {n}", AT, f"c{n}", id=n, email="info@x.org") for n in (1, 2)
    )
    with writer(databases, tmp_path) as other:
        other.take([], at=NOW)
        with between_deciding_and_holding(lambda: other.take([parcel_of(second)], at=NOW)):
            assert desk.take(first).stored == 1
    assert not same(desk, (Kind.PERSON, "1"), (Kind.PERSON, "2"))


def test_a_person_who_is_shredded_while_a_batch_is_under_way_is_refused_after_all(desk: Desk) -> None:
    desk.happens("contact.created", "contact 1", id=1, email="ann@x.org")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    with between_deciding_and_holding(lambda: desk.shred("contact 1")):
        tally = desk.take(
            desk.event("ticket.replied", "ticket 20", AT, "r", body="late"),
            desk.event("ticket.opened", "ticket 21", AT, "o", id=21, email="ann@x.org"),
            desk.event("ticket.opened", "ticket 22", AT, "p", id=22, requester_id=2),
        )
    assert tally == Tally(read=3, stored=1, refused=2)
    assert whom(desk, Kind.EMAIL, "ann@x.org") is None


def test_a_ticket_that_is_shredded_while_a_batch_is_under_way_is_refused_after_all(desk: Desk) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    with between_deciding_and_holding(lambda: desk.shred("ticket 20")):
        assert desk.take(desk.event("ticket.replied", "ticket 20", AT, "r", body="late")).refused == 1
    assert counts(desk.house)[1] == 0


def test_a_ticket_that_moves_while_a_batch_is_under_way_gives_the_new_requester_what_comes(
    databases: Endpoints, desk: Desk, tmp_path: Path
) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    move = desk.event("ticket.updated", "ticket 20", AT, "m", requester_id=2)
    with writer(databases, tmp_path) as other:
        other.take([], at=NOW)
        with between_deciding_and_holding(lambda: other.take([parcel_of(move)], at=NOW)):
            assert desk.take(desk.event("ticket.replied", "ticket 20", AT, "r", body="late")).stored == 1
    bob = whom(desk, Kind.PERSON, "2")
    assert bob is not None
    assert desk.house.facts.page(0, 100)[-1].owners == (bob.subject_id,)


addresses = st.sampled_from([f"{name}@x.org" for name in "abc"])
happenings = st.one_of(
    st.tuples(st.just("contact.created"), st.integers(1, 3), addresses | st.none()),
    st.tuples(st.just("ticket.opened"), st.integers(1, 9), addresses),
)


@settings(max_examples=12)
@given(st.lists(st.lists(happenings, max_size=5), min_size=2, max_size=2))
def test_whatever_two_writers_tell_at_once_every_reference_leads_to_one_living_person(
    module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory, told: list[list[tuple[str, int, str | None]]]
) -> None:
    # Roots belong to their databases, and all examples share those.
    folder = tmp_path_factory.getbasetemp() / "two-writers"
    with desk_house(module_databases, folder) as house:
        desk = Desk(house, f"desk {uuid4()}")
        together = Barrier(2)

        def tell(intake: Intake, batch: list[tuple[str, int, str | None]], who: int) -> Tally:
            raws = [
                desk.event(type_, f"contact {number}", AT, f"{who}-{place}", id=number, email=address)
                if type_ == "contact.created"
                else desk.event(
                    type_, f"ticket {who}-{place}", AT, f"{who}-{place}", id=f"{who}-{place}", email=address
                )
                for place, (type_, number, address) in enumerate(batch)
            ]
            together.wait(30)
            return intake.take([parcel_of(raw) for raw in raws], at=NOW)

        with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
            writers = [stack.enter_context(writer(module_databases, folder)) for _ in told]
            futures = [
                threads.submit(tell, one, batch, who)
                for who, (one, batch) in enumerate(zip(writers, told, strict=True))
            ]
            tallies = [future.result() for future in futures]
        assert sum(tally.refused for tally in tallies) == 0
        mentioned = {
            ("person", str(number)) for batch in told for type_, number, _ in batch if type_ != "ticket.opened"
        }
        mentioned |= {("email", address) for batch in told for _, _, address in batch if address}
        found = {which: whom(desk, Kind(which[0]), which[1]) for which in mentioned}
        assert all(person is not None and person.living and person.key is not None for person in found.values())
        ids = [person.subject_id for (kind, _), person in found.items() if kind == "person" and person is not None]
        assert len(set(ids)) == len(ids)
        for row in desk.tickets():
            assert row["id"] not in ({"lost": True}, {"broken": True}, GONE)


# -- crashes ----------------------------------------------------------------------------------------------------------


class Crashed(Exception):
    """Somebody pulled the plug."""


def crash_before_append(patch: pytest.MonkeyPatch) -> None:
    def append(*_: Any) -> Any:
        raise Crashed

    patch.setattr(Facts, "append", append)


def crash_after_append(patch: pytest.MonkeyPatch) -> None:
    append = Facts.append

    def then_crash(facts: Facts, *given: Any) -> Any:
        append(facts, *given)
        raise Crashed

    patch.setattr(Facts, "append", then_crash)


def crash_while_keeping(patch: pytest.MonkeyPatch) -> None:
    def keep(*_: Any) -> None:
        raise Crashed

    patch.setattr(Intake, "_keep", keep)


def crash_before_taking_up(patch: pytest.MonkeyPatch) -> None:
    def opened(*_: Any) -> None:
        raise Crashed

    patch.setattr(Waiting, "opened", opened)


CRASHES = [crash_before_append, crash_after_append, crash_while_keeping, crash_before_taking_up]

LONG_STORY: list[tuple[str, str, dict[str, Any]]] = [
    ("ticket.replied", "ticket 20", {"body": "early", "user_id": 7, "incoming": False}),
    ("contact.created", "contact 1", {"id": 1, "name": "Ann", "email": "ann@x.org"}),
    ("contact.created", "contact 2", {"id": 2, "name": "Bob", "email": "bob@x.org"}),
    ("ticket.opened", "ticket 20", {"id": 20, "requester_id": 1, "subject": "hi", "responder_id": 7}),
    ("ticket.opened", "ticket 21", {"id": 21, "email": "anon@x.org", "name": "Anon", "subject": "me"}),
    ("contact.updated", "contact 1", {"id": 1, "other_emails": ["anon@x.org"]}),
    ("ticket.updated", "ticket 20", {"requester_id": 2}),
    ("contact.created", "contact 3", {"id": 3, "name": "Cy", "email": "bob@x.org"}),
    ("ticket.opened", "ticket 22", {"id": 22, "email": "bob@x.org", "subject": "mine"}),
    ("contact.merged", "contact 3", {"primary_contact_id": 3, "secondary_contact_ids": [2]}),
    ("agent.created", "agent 7", {"id": 7, "name": "Nora", "email": "nora@x.org"}),
]


def tell(desk: Desk, story: list[tuple[str, str, dict[str, Any]]], size: int) -> list[list[bytes]]:
    raws = [desk.event(type_, subject, AT, f"{n}", **data) for n, (type_, subject, data) in enumerate(story)]
    return [raws[start : start + size] for start in range(0, len(raws), size)]


def state(desk: Desk) -> tuple[list[bytes], list[bytes], bytes]:
    """Give what can be seen of a desk, without the random ids of its agents."""
    reports = orjson.dumps(desk.reports(), option=orjson.OPT_SORT_KEYS)
    return (
        shown(desk.tickets()),
        shown(desk.contacts()),
        re.sub(rb"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", b"agent", reports),
    )


@pytest.mark.parametrize("size", [1, 3, 20])
@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_at_any_step_of_any_batch_and_the_same_again_equals_a_run_that_nobody_disturbed(
    databases: Endpoints, house: House, tmp_path: Path, crash: Any, size: int
) -> None:
    calm, unlucky = Desk(house, "calm"), Desk(house, "unlucky")
    for batch in tell(calm, LONG_STORY, size):
        calm.take(*batch)
    for batch in tell(unlucky, LONG_STORY, size):
        with writer(databases, tmp_path) as intake, pytest.MonkeyPatch.context() as patch:
            intake.take([], at=NOW)
            crash(patch)
            with suppress(Crashed):
                intake.take([parcel_of(raw) for raw in batch], at=NOW)
        # Another process takes the same batch, after a start of its own.
        with writer(databases, tmp_path) as intake:
            intake.take([parcel_of(raw) for raw in batch], at=NOW)
    assert counts(house)[1] == 0
    assert state(unlucky) == state(calm)
    for desk in (calm, unlucky):
        assert same(desk, (Kind.PERSON, "1"), (Kind.EMAIL, "ann@x.org"), (Kind.EMAIL, "anon@x.org"))
        assert same(desk, (Kind.PERSON, "2"), (Kind.PERSON, "3"), (Kind.EMAIL, "bob@x.org"))
        desk.shred("contact 2")
    assert state(unlucky) == state(calm)
    for desk in (calm, unlucky):
        erased = {row["erased"] for row in desk.tickets() if row.get("subject") == GONE}
        assert erased == {True}
        desk.shred("contact 1")
    assert state(unlucky) == state(calm)


def test_a_reply_that_waits_for_a_ticket_that_a_crash_left_half_issued_is_taken_up_with_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.happens("ticket.replied", "ticket 20", body="early")
    opened = desk.event("ticket.opened", "ticket 20", AT, "o", id=20, requester_id=1)
    with monkeypatch.context() as patch:
        crash_before_append(patch)
        with pytest.raises(Crashed):
            desk.take(opened)
    # The same process takes the batch again, and with it the reply that waited.
    assert desk.take(opened).stored == 2
    assert counts(desk.house)[1] == 0
    assert len(desk.ticket(20)["conversation"]) == 1


def lose_the_answer(patch: pytest.MonkeyPatch) -> None:
    append = Facts.append

    def lost(facts: Facts, *given: Any) -> Any:
        append(facts, *given)
        raise LogUnavailable("the log database cannot be reached")

    patch.setattr(Facts, "append", lost)


def lose_the_log_before_taking_up(patch: pytest.MonkeyPatch) -> None:
    def opened(*_: Any) -> None:
        raise LogUnavailable("the log database cannot be reached")

    patch.setattr(Waiting, "opened", opened)


@pytest.mark.parametrize("loses", [lose_the_answer, lose_the_log_before_taking_up])
def test_what_waited_is_taken_up_and_told_of_though_the_log_goes_away_right_behind_the_append(
    house: House, desk: Desk, monkeypatch: pytest.MonkeyPatch, loses: Any
) -> None:
    topic, place = uuid4(), Place("acme.records", 0, 0)
    reply = parcel_of(desk.event("ticket.replied", "ticket 20", AT, "r", body="early"), place=place)
    opened = parcel_of(desk.event("ticket.opened", "ticket 20", AT, "o", id=20, requester_id=1))
    house.intake.take_each([reply], at=NOW, positions=[Position(topic, 0, 1)])
    behind = [Position(topic, 0, 2, expected=1)]
    with monkeypatch.context() as patch:
        loses(patch)
        with pytest.raises(LogUnavailable):
            house.intake.take_each([opened], at=NOW, positions=behind)
    # Whoever reads the partition tries once more, and learns that the batch was stored.
    with pytest.raises(PositionMoved):
        house.intake.take_each([opened], at=NOW, positions=behind)
    taken = house.intake.take_each([opened], at=NOW, again=True)
    assert [outcome.status for outcome in taken.outcomes] == ["duplicate"]
    assert [(later.place, later.outcome.status) for later in taken.later] == [(place, "stored")]
    assert counts(house)[1] == 0
    assert len(desk.ticket(20)["conversation"]) == 1


def test_keys_that_go_away_after_the_append_leave_the_batch_taken_and_the_key_work_for_the_next(
    house: House, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.happens("contact.created", "contact 1", id=1, email="info@x.org")
    with monkeypatch.context() as patch:

        def keep(*_: Any) -> None:
            raise KeysUnavailable("the key database cannot be reached")

        patch.setattr(Intake, "_keep", keep)
        assert desk.happens("contact.created", "contact 2", id=2, email="info@x.org").stored == 1
        assert same(desk, (Kind.EMAIL, "info@x.org"), (Kind.PERSON, "1"))
    desk.take()
    assert same(desk, (Kind.EMAIL, "info@x.org"), (Kind.PERSON, "2"))


def test_a_kafka_position_is_stored_with_its_facts_or_not_at_all(
    house: House, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, raw = uuid4(), desk.event("contact.created", "contact 1", AT, "one", id=1)
    with monkeypatch.context() as patch:
        crash_before_append(patch)
        with pytest.raises(Crashed):
            house.intake.take([parcel_of(raw)], at=NOW, positions=[Position(topic, 0, 5)])
    assert house.facts.stored_positions(topic) == {}
    assert house.intake.take([parcel_of(raw)], at=NOW, positions=[Position(topic, 0, 5)]).stored == 1
    assert house.facts.stored_positions(topic) == {0: 5}
    # A batch of which nothing is kept is read all the same.
    house.intake.take([parcel_of(raw)], at=NOW, positions=[Position(topic, 0, 6, expected=5)])
    house.intake.take([], at=NOW, positions=[Position(topic, 1, 3)])
    assert house.facts.stored_positions(topic) == {0: 6, 1: 3}
    # Somebody else has read on meanwhile: then all of it is theirs to store.
    late = parcel_of(desk.event("contact.created", "contact 2", AT, "two", id=2))
    with pytest.raises(PositionMoved):
        house.intake.take([late, parcel_of(b"no json")], at=NOW, positions=[Position(topic, 0, 9, expected=5)])
    assert (counts(house)[1], house.facts.stored_positions(topic)) == (0, {0: 6, 1: 3})
    assert house.intake.take([late], at=NOW).stored == 1


# -- what cannot be taken ---------------------------------------------------------------------------------------------


def events_of(desk: Desk) -> dict[str, bytes]:
    """Write records that are wrong in one way each; every one holds the secret."""
    good = orjson.loads(desk.event("contact.created", "contact 1", AT, "bad", id=1, name=SECRET))

    def but(**changes: Any) -> bytes:
        return orjson.dumps({**good, **changes})

    return {
        "not_json": f"{SECRET}".encode(),
        "not_utf8": SECRET.encode() + b"\xff\xfe{",
        "not_an_object": f'"{SECRET}"'.encode(),
        "a_list": f'["{SECRET}"]'.encode(),
        "empty": b"",
        "wrong_type": but(type=f"sealdesk.{SECRET}.v1"),
        "internal_type": but(type="sealdesk.subject.shredded.v1"),
        "no_time": but(time=None),
        "wrong_time": but(time=SECRET),
        "no_zone": but(time="2026-01-01T00:00:00"),
        "no_data": but(data=None),
        "wrong_field": but(data={"id": 1, "name": {SECRET: SECRET}}),
        "malformed_reference": but(data={"id": 1, "email": SECRET}),
        "wrong_subject": but(subject=f"{SECRET} is not a subject"),
        "no_source": but(source=None),
        "no_id": but(id=""),
        "too_large": but(data={"id": 1, "description": SECRET * (RECORD_BYTES // len(SECRET) + 1)}),
        "nested": desk.event("contact.created", "contact 1", AT, "bad", id=1, custom_fields={}).replace(
            b'"custom_fields":{}', b'"custom_fields":{"a":' + b"[" * 400 + f'"{SECRET}"'.encode() + b"]" * 400 + b"}"
        ),
        "no_reference": desk.event("contact.created", "contact 1", AT, "bad", name=SECRET).replace(
            b'"subject":"contact 1",', b""
        ),
        "no_requester": desk.event("ticket.opened", "ticket 1", AT, "bad", id=1, subject=SECRET),
        "surrogate": desk.event("contact.created", "contact 1", AT, "bad", id=1, name="QQ").replace(
            b'"QQ"', b'"\\ud800' + SECRET.encode() + b'"'
        ),
        "unknown_tenant": but(tenant=SECRET),
    }


NAMES = [
    *(
        "not_json",
        "not_utf8",
        "not_an_object",
        "a_list",
        "empty",
        "wrong_type",
        "internal_type",
        "no_time",
        "wrong_time",
    ),
    *("no_zone", "no_data", "wrong_field", "malformed_reference", "wrong_subject", "no_source", "no_id", "too_large"),
    *("nested", "no_reference", "no_requester", "surrogate", "unknown_tenant"),
]


@pytest.mark.parametrize("name", NAMES)
def test_poison_among_good_records_harms_none_of_them_and_is_kept_sealed(desk: Desk, name: str) -> None:
    assert set(events_of(desk)) == set(NAMES)
    poison = events_of(desk)[name]
    good = [
        desk.event("contact.created", "contact 5", AT, "g1", id=5, name="Ann"),
        desk.event("ticket.opened", "ticket 20", AT, "g2", id=20, requester_id=5, subject="hi"),
        desk.event("ticket.replied", "ticket 20", AT, "g3", body="hello"),
    ]
    tally = desk.take(good[0], poison, good[1], poison, good[2])
    assert tally == Tally(read=5, stored=3, quarantined=2)
    assert counts(desk.house)[1] == 1
    [ticket] = desk.tickets()
    assert len(ticket["conversation"]) == 1
    for dsn in (desk.house.endpoints.log_dsn, desk.house.endpoints.keys_dsn):
        stored = dump(dsn)
        for form in (SECRET, SECRET.encode().hex(), SECRET[3:]):
            assert form not in stored
    assert all(SECRET not in code + path for code, path in quarantined(desk.house))


def dump(dsn: str) -> str:
    """Read every row of a database, binary columns in hexadecimal."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        rows = [
            connection.execute(f'SELECT t::text FROM "{schema}"."{table}" AS t'.encode()).fetchall()
            for schema, table in tables
        ]
    return "\n".join(str(row) for table in rows for row in table)


def test_what_is_quarantined_opens_to_the_very_bytes_that_came(desk: Desk) -> None:
    poison = [raw for name, raw in events_of(desk).items() if name != "too_large"]
    desk.take(*poison)
    desk.happens("ticket.replied", "ticket 99", body="waits")
    with desk.house.facts.cursor() as cursor:
        rows = cursor.execute("SELECT quarantine_id, tenant, key_id, seal FROM quarantine ORDER BY arrived").fetchall()
    opened = {raw for _, raw in opened_records(desk.house.keys, desk.house.roots, rows)}
    assert opened == {*poison, desk.said[-1]}


def test_no_personal_value_of_a_stored_record_is_at_rest_in_either_database(desk: Desk) -> None:
    desk.happens("contact.created", f"{SECRET}@x.org", email=f"{SECRET}@x.org", name=SECRET, job_title=SECRET)
    desk.happens(
        "ticket.opened",
        "ticket 20",
        id=20,
        email=f"{SECRET}@x.org",
        subject=SECRET,
        type=SECRET,
        cc_emails=[f"{SECRET} <{SECRET}2@x.org>"],
        **{SECRET: SECRET},
    )
    desk.happens("ticket.replied", "ticket 20", body=SECRET, from_email=f"{SECRET}3@x.org")
    desk.tickets(reveal=False)
    for dsn in (desk.house.endpoints.log_dsn, desk.house.endpoints.keys_dsn):
        stored = dump(dsn)
        assert SECRET not in stored
        assert SECRET.encode().hex() not in stored
    assert desk.ticket(20)["subject"] == SECRET


def test_a_tenant_that_nobody_added_gets_no_facts_and_no_keys(desk: Desk) -> None:
    raw = desk.event("contact.created", "contact 1", AT, "one", id=1).replace(b'"acme"', b'"acme2"')
    assert desk.take(raw) == Tally(read=1, quarantined=1)
    assert quarantined(desk.house) == [("unknown_tenant", "tenant")]
    assert sql(desk.house.endpoints.keys_dsn, "SELECT 1 FROM subjects") == []


def test_a_tenant_that_another_process_added_is_known(databases: Endpoints, desk: Desk, tmp_path: Path) -> None:
    with writer(databases, tmp_path) as other:
        other.take([], at=NOW)
        late = Desk(desk.house, "late")
        assert other.take([parcel_of(late.event("contact.created", "contact 1", AT, "1", id=1))], at=NOW).stored == 1


def test_one_batch_may_hold_records_of_several_tenants(house: House, desk: Desk) -> None:
    other = Desk(house, "other")
    raws = [
        one.event("ticket.opened", f"ticket {number}", AT, f"{number}", id=number, email="ann@x.org", subject=one.name)
        for number in range(3)
        for one in (desk, other)
    ]
    assert desk.take(*raws) == Tally(read=6, stored=6)
    assert {row["subject"] for row in desk.tickets()} == {"acme"}
    assert {row["subject"] for row in other.tickets()} == {"other"}
    assert len(other.tickets()) == 3
    desk.shred("ann@x.org")
    assert [row["subject"] for row in other.tickets()] == ["other"] * 3


def test_a_parcel_of_two_tenants_is_refused_whole(house: House, desk: Desk) -> None:
    Desk(house, "other")
    events = [orjson.loads(desk.event("contact.created", f"contact {n}", AT, f"{n}", id=n)) for n in (1, 2)]
    events[1]["tenant"] = "other"
    assert house.intake.take([parcel_of_events(b"row", events, "acme")], at=NOW).quarantined == 1
    assert quarantined(house) == [("several_tenants", "tenant")]


def test_a_parcel_is_taken_whole_or_not_at_all(desk: Desk) -> None:
    events = [
        orjson.loads(desk.event("contact.created", "contact 1", AT, "1", id=1, email="a@x.org")),
        orjson.loads(desk.event("ticket.opened", "ticket 20", AT, "2", id=20, subject="nobody's")),
    ]
    assert desk.house.intake.take([parcel_of_events(b"row", events, "acme")], at=NOW).quarantined == 1
    assert counts(desk.house) == (0, 1)
    assert whom(desk, Kind.PERSON, "1") is None
    events[1]["data"]["requester_id"] = 1
    assert desk.house.intake.take([parcel_of_events(b"row", events, "acme")], at=NOW).stored == 1
    assert whom(desk, Kind.PERSON, "1") is not None


def broken(desk: Desk, *addresses: str) -> bytes:
    """Write a record that cannot be taken, and that names these people as its owners."""
    return orjson.dumps(orjson.loads(desk.event("contact.created", "contact 1")) | {"data": {"email": addresses}})


def test_references_of_broken_records_are_looked_up_in_slices_and_those_of_one_that_names_too_many_are_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "SLICE", 3)
    monkeypatch.setattr(refusing, "MOST_NAMED", 8)
    desk.happens("contact.created", "contact 1", id=1, email="ann@acme.example")
    desk.shred("contact 1")
    asked: list[int] = []
    look_up = Register.look_up

    def counted(register: Register, indexes: Any) -> Any:
        wanted = list(indexes)
        asked.append(len(wanted))
        return look_up(register, wanted)

    monkeypatch.setattr(Register, "look_up", counted)
    others = [f"{number}@acme.example" for number in range(20)]

    tally = desk.take(broken(desk, *others[:5], "ann@acme.example"), broken(desk, *others, "ann@acme.example"))

    assert (tally.refused, tally.quarantined) == (1, 1)
    assert max(asked) <= 3
    assert quarantined(desk.house) == [("too_many_references", "")]
    # It is judged when somebody asks for it.
    assert desk.house.quarantine.judge(desk.tenant.id, ()).dropped == 1


def test_whose_the_parts_of_many_things_are_is_asked_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.happens("contact.created", "contact 1", id=1)
    for number in range(20, 24):
        desk.happens("ticket.opened", f"ticket {number}", id=number, requester_id=1, subject="hi")
        desk.happens("ticket.replied", f"ticket {number}", id=number, body="hello", user_id=1)
    asked: list[str] = []

    def counted(cursor: Any, statement: str, **given: Any) -> Any:
        asked.append(statement)
        return rows_of(cursor, statement, **given)

    monkeypatch.setattr(viewing, "rows_of", counted)
    desk.take(
        *(
            desk.event("ticket.entry_edited", f"ticket {number}", AT, f"u{number}", id=number, body="anew")
            for number in range(20, 24)
        )
    )

    assert sum("FROM leaves" in statement for statement in asked) == 1
    assert [desk.ticket(number)["conversation"][0]["body"] for number in range(20, 24)] == ["anew"] * 4


def test_an_instance_remembers_only_so_many_of_the_records_that_it_put_aside(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PUT_ASIDE", 2)
    desk.happens("contact.created", "contact 1", id=1)
    for number in range(4):
        desk.take(
            desk.event("ticket.replied", "ticket 20", AT, f"r{number}", id=number, ticket_id=20, body="hi", user_id=1)
        )
    assert len(desk.house.intake._put_aside) == 2
    tally = desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    assert (tally.stored, tally.quarantined) == (3, -2)
    assert counts(desk.house) == (6, 0)


def test_what_a_writer_that_was_killed_left_waiting_is_taken_up_by_whoever_looks(
    databases: Endpoints, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.happens("contact.created", "contact 1", id=1)
    with writer(databases, tmp_path) as other:
        other.take([parcel_of(desk.event("ticket.replied", "ticket 20", AT, "r", body="hi", user_id=1))], at=NOW)
    with monkeypatch.context() as killed:
        killed.setattr(Intake, "_take_up", lambda *_: Tally())
        desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    assert counts(desk.house) == (2, 1)

    desk.house.intake.take_up(at=NOW)

    assert counts(desk.house) == (3, 0)


def test_a_record_that_waits_under_a_tenant_that_another_process_added_is_taken_up(
    databases: Endpoints, desk: Desk, tmp_path: Path
) -> None:
    with writer(databases, tmp_path) as late:
        late._tenants.by_name()
        beta = Desk(desk.house, "beta")
        beta.happens("contact.created", "contact 1", id=1)
        beta.take(beta.event("ticket.replied", "ticket 20", AT, "r", body="hi", user_id=1))
        waits = Waiting(late._facts, late._keys, late._roots, late._tenants)
        [[one]] = waits.opened(waits.all_waited_for())
    assert one.parcel.tenant == "beta"


def test_the_tally_of_any_batch_adds_up(desk: Desk) -> None:
    desk.happens("contact.created", "contact 1", id=1)
    desk.shred("contact 1")
    raws = [
        desk.said[0],
        desk.event("contact.created", "contact 2", AT, "n", id=2),
        desk.event("contact.created", "contact 2", AT, "n", id=2),
        b"nonsense",
    ]
    tally = desk.take(*raws)
    assert tally == Tally(read=4, stored=1, duplicates=1, refused=1, quarantined=1)


def test_an_address_of_an_agents_signature_or_an_unknown_field_creates_nobody(desk: Desk) -> None:
    desk.happens("contact.created", "contact 1", id=1, **{"second_email": "bob@x.org"})
    assert whom(desk, Kind.EMAIL, "bob@x.org") is None


def test_every_key_of_a_batch_is_under_the_person_whose_fact_it_is(desk: Desk) -> None:
    desk.happens("contact.created", "contact 1", id=1)
    desk.happens("agent.created", "agent 7", id=7)
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    desk.happens("ticket.replied", "ticket 20", body="as agent", user_id=7)
    desk.happens("ticket.replied", "ticket 20", body="as requester", user_id=1)
    desk.happens("ticket.replied", "ticket 20", body="as another contact", user_id=2, incoming=True)
    ann, bob = whom(desk, Kind.PERSON, "1"), whom(desk, Kind.PERSON, "2")
    assert ann is not None
    assert bob is not None
    owners = [fact.owners for fact in desk.house.facts.page(0, 100) if fact.type.endswith("ticket.replied.v1")]
    assert owners == [(ann.subject_id,), (ann.subject_id,), (ann.subject_id, bob.subject_id)]
    with desk.house.keys.transaction() as cursor:
        leaves = rows_of(cursor, "SELECT owner, co_owners FROM leaves")
    assert {(row["owner"], *(row["co_owners"] or ())) for row in leaves} >= {
        (ann.subject_id,),
        (ann.subject_id, bob.subject_id),
    }
    desk.shred("contact 2")
    assert [entry["body"] for entry in desk.ticket(20)["conversation"]] == ["as agent", "as requester", GONE]
