"""Holds and shreds exclude each other; every refusal is on record; a case can be read whatever happened."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any, get_args
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.keystore import Disturbed
from domain.errors import LogUnavailable, ReferenceUnknown, ShredRefused
from domain.personal import Kind, Reference
from domain.requests import (
    Case,
    CaseEvent,
    HoldPlaced,
    HoldReleased,
    ShredAbandoned,
    ShredApproved,
    ShredWasRefused,
    abandon_shred,
    approve_shred,
    evolve,
    place_hold,
    refuse_shred,
    release_hold,
)
from services.embedded import Endpoints
from services.log import LogDatastore
from services.privacy import Privacy
from services.shredding import Order
from services.wiring import House
from tests.desks import Desk, desk_house

REPOSITORY = Path(__file__).parents[2]
TENANT = UUID(int=1)
AT = datetime(2026, 3, 1, tzinfo=UTC)
SECRET = "Zephyrine Quux"


@pytest.fixture
def privacy(databases: Endpoints) -> Iterator[Privacy]:
    datastore = LogDatastore(databases.log_dsn)
    with Privacy(datastore) as application:
        yield application
    datastore.close()


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened:
        yield opened


def hold(privacy: Privacy, *ids: UUID) -> UUID:
    new = uuid4()
    privacy.decide(ids, lambda case: place_hold(case, hold=new, tenant=TENANT, target=ids[0], words="sealed", at=AT))
    return new


def approve(privacy: Privacy, *ids: UUID) -> list[ShredApproved | ShredWasRefused]:
    shred = uuid4()
    return privacy.decide(ids, lambda case: approve_shred(case, shred=shred, ground="test", words="sealed", at=AT))


# -- deciding ---------------------------------------------------------------------------------------------------------


def test_nothing_was_ever_asked_about_most_people(privacy: Privacy) -> None:
    who = uuid4()
    assert privacy.case(who) == Case(who)
    assert privacy.holds() == []


def test_a_hold_stands_until_it_is_lifted_and_a_shred_is_refused_meanwhile(privacy: Privacy) -> None:
    who = uuid4()
    held = hold(privacy, who)
    assert [event.hold for event in privacy.holds()] == [held]
    [refused] = approve(privacy, who)
    assert isinstance(refused, ShredWasRefused)
    assert refused.code == "held"
    privacy.decide([who], lambda case: release_hold(case, hold=held, words="sealed", at=AT))
    assert privacy.holds() == []
    [approved] = approve(privacy, who)
    assert isinstance(approved, ShredApproved)
    assert privacy.case(who) == Case(who, 4, frozenset(), approved.shred)


def test_of_two_holds_one_lifted_leaves_the_other(privacy: Privacy) -> None:
    who = uuid4()
    first, second = hold(privacy, who), hold(privacy, who)
    privacy.decide([who], lambda case: release_hold(case, hold=first, words="", at=AT))
    assert [event.hold for event in privacy.holds()] == [second]
    assert isinstance(approve(privacy, who)[0], ShredWasRefused)


def test_a_hold_comes_too_late_once_a_shred_was_approved_and_not_once_it_was_abandoned(privacy: Privacy) -> None:
    who = uuid4()
    [approved] = approve(privacy, who)
    assert isinstance(approved, ShredApproved)
    with pytest.raises(ShredRefused):
        hold(privacy, who)
    privacy.decide([who], lambda case: abandon_shred(case, shred=uuid4(), at=AT))
    with pytest.raises(ShredRefused):
        hold(privacy, who)
    privacy.decide([who], lambda case: abandon_shred(case, shred=approved.shred, at=AT))
    held = hold(privacy, who)
    assert [event.hold for event in privacy.holds()] == [held]


def test_lifting_a_hold_that_is_not_there_changes_nothing(privacy: Privacy) -> None:
    who = uuid4()
    hold(privacy, who)
    assert privacy.decide([who], lambda case: release_hold(case, hold=uuid4(), words="", at=AT)) == []
    assert privacy.case(who).version == 1


def test_a_decision_about_several_is_saved_for_all_or_for_none(privacy: Privacy) -> None:
    first, second = uuid4(), uuid4()
    approve(privacy, second)
    with pytest.raises(ShredRefused):
        hold(privacy, first, second)
    assert privacy.case(first) == Case(first)


def test_a_decision_to_do_nothing_saves_nothing(privacy: Privacy) -> None:
    who = uuid4()
    assert privacy.decide([who], lambda case: None) == []
    assert privacy.case(who).version == 0


# -- at once ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", range(5))
def test_of_a_hold_and_a_shred_at_once_exactly_one_wins(databases: Endpoints, privacy: Privacy, again: int) -> None:
    people = [uuid4() for _ in range(10)]
    together = Barrier(2)

    def race(ask: Any) -> list[bool]:
        datastore = LogDatastore(databases.log_dsn)
        won = []
        with Privacy(datastore) as mine:
            for who in people:
                together.wait(30)
                try:
                    events = ask(mine, who)
                except ShredRefused:
                    won.append(False)
                else:
                    won.append(not isinstance(events, list) or isinstance(events[0], ShredApproved))
        datastore.close()
        return won

    with ThreadPoolExecutor(2) as threads:
        held, shredded = (future.result() for future in [threads.submit(race, ask) for ask in (hold, approve)])
    for who, one, other in zip(people, held, shredded, strict=True):
        assert one != other
        case = privacy.case(who)
        assert bool(case.holds) == one
        assert (case.approved is not None) == other


def test_a_hold_on_any_of_a_group_and_a_shred_of_the_group_at_once_exclude_each_other(
    databases: Endpoints, privacy: Privacy
) -> None:
    groups = [tuple(uuid4() for _ in range(3)) for _ in range(10)]
    together = Barrier(2)

    def holds() -> list[bool]:
        won = []
        for number, group in enumerate(groups):
            together.wait(30)
            try:
                hold(privacy, group[number % 3])
            except ShredRefused:
                won.append(False)
            else:
                won.append(True)
        return won

    def shreds() -> list[bool]:
        datastore = LogDatastore(databases.log_dsn)
        won = []
        with Privacy(datastore) as mine:
            for group in groups:
                together.wait(30)
                won.append(all(isinstance(event, ShredApproved) for event in approve(mine, *group)))
        datastore.close()
        return won

    with ThreadPoolExecutor(2) as threads:
        held, shredded = (future.result() for future in [threads.submit(holds), threads.submit(shreds)])
    assert [one != other for one, other in zip(held, shredded, strict=True)] == [True] * len(groups)


def test_many_who_decide_about_one_case_at_once_all_have_their_turn(databases: Endpoints, privacy: Privacy) -> None:
    who = uuid4()
    together = Barrier(4)

    def ask() -> list[UUID]:
        together.wait(30)
        return [hold(privacy, who) for _ in range(3)]

    with ThreadPoolExecutor(4) as threads:
        placed = [id_ for future in [threads.submit(ask) for _ in range(4)] for id_ in future.result()]
    assert privacy.case(who).holds == frozenset(placed)
    assert privacy.case(who).version == 12


def test_who_never_has_his_turn_is_told_so_and_nothing_of_his_is_saved(privacy: Privacy) -> None:
    who = uuid4()

    def overtaken(case: Case) -> HoldPlaced:
        privacy.save(place_hold(case, hold=uuid4(), tenant=TENANT, target=who, words="theirs", at=AT))
        return place_hold(case, hold=UUID(int=9), tenant=TENANT, target=who, words=SECRET, at=AT)

    with pytest.raises(Disturbed) as raised:
        privacy.decide([who], overtaken)
    assert SECRET not in str(raised.value)
    assert UUID(int=9) not in privacy.case(who).holds


def test_a_log_that_goes_away_is_unavailable_and_no_bug(privacy: Privacy) -> None:
    who = uuid4()
    privacy.recorder.datastore.pool.close()  # type: ignore[attr-defined]
    with pytest.raises(LogUnavailable):
        privacy.case(who)
    with pytest.raises(LogUnavailable):
        privacy.holds()


# -- evolving ---------------------------------------------------------------------------------------------------------

ids = st.sampled_from([UUID(int=n) for n in range(4)])
words = st.text(max_size=5)
events = st.one_of(
    st.builds(HoldPlaced, ids, st.integers(1, 99), st.just(AT), ids, ids, ids, words),
    st.builds(HoldReleased, ids, st.integers(1, 99), st.just(AT), ids, words),
    st.builds(ShredWasRefused, ids, st.integers(1, 99), st.just(AT), words, words, words),
    st.builds(ShredApproved, ids, st.integers(1, 99), st.just(AT), ids, words, words),
    st.builds(ShredAbandoned, ids, st.integers(1, 99), st.just(AT), ids),
)


@given(st.lists(events))
def test_evolving_never_refuses_whatever_the_history(history: list[CaseEvent]) -> None:
    case = evolve(Case(UUID(int=1)), history)
    assert case.id == UUID(int=1)
    assert case.version == (history[-1].originator_version if history else 0)
    assert case.holds <= {event.hold for event in history if isinstance(event, HoldPlaced)}
    # A fold: by parts or at once.
    assert case == evolve(evolve(Case(UUID(int=1)), history[:2]), history[2:])


@given(st.lists(events))
def test_deciding_refuses_with_its_own_words_or_says_what_happens_next(history: list[CaseEvent]) -> None:
    case = evolve(Case(UUID(int=1)), history)
    new = UUID(int=77)
    decisions = [
        lambda: place_hold(case, hold=new, tenant=TENANT, target=case.id, words="", at=AT),
        lambda: release_hold(case, hold=UUID(int=2), words="", at=AT),
        lambda: approve_shred(case, shred=new, ground="test", words="", at=AT),
        lambda: refuse_shred(case, code="brake", ground="test", words="", at=AT),
        lambda: abandon_shred(case, shred=UUID(int=3), at=AT),
    ]
    for decide in decisions:
        try:
            event = decide()
        except ShredRefused:
            continue
        if event is not None:
            assert event.originator_version == case.version + 1
            after = evolve(case, [event])
            assert after.version == case.version + 1
            assert not (isinstance(event, ShredApproved) and case.holds)


def test_every_event_of_a_case_has_a_topic_of_its_own_that_names_no_class() -> None:
    topics = [event.TOPIC for event in get_args(CaseEvent)]
    assert len(set(topics)) == len(topics)
    assert all(topic.startswith("sealdesk.case.") and topic.endswith(".v1") for topic in topics)


def test_no_printed_event_shows_its_words() -> None:
    for event in get_args(CaseEvent):
        given_fields = {field.name: SECRET for field in dataclasses.fields(event)}
        made = event(**{name: value if name == "words" else 1 for name, value in given_fields.items()})
        assert SECRET not in repr(made)


READ_ALONE = """
import sys
from uuid import UUID
from services.log import LogDatastore
from services.privacy import Privacy
datastore = LogDatastore(sys.argv[1])
with Privacy(datastore) as privacy:
    case = privacy.case(UUID(sys.argv[2]))
    print(case.version, len(case.holds), case.approved is not None, len(privacy.holds()))
datastore.close()
"""


def test_a_process_that_never_stored_an_event_reads_every_kind_of_event(databases: Endpoints, privacy: Privacy) -> None:
    who = uuid4()
    held = hold(privacy, who)
    approve(privacy, who)
    privacy.decide([who], lambda case: release_hold(case, hold=held, words="", at=AT))
    [approved] = approve(privacy, who)
    assert isinstance(approved, ShredApproved)
    privacy.decide([who], lambda case: abandon_shred(case, shred=approved.shred, at=AT))
    hold(privacy, who)
    read = subprocess.run(
        [sys.executable, "-c", READ_ALONE, databases.log_dsn, str(who)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert read.stdout.split() == ["6", "1", "False", "1"]


# -- in the house -----------------------------------------------------------------------------------------------------


def test_a_refused_shred_is_on_record_sealed_and_destroys_nothing(house: House) -> None:
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1, name="Ann")
    found = house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "1"))
    house.holds.add(desk.tenant.id, found, actor=SECRET, why=SECRET)
    order = Order(desk.tenant.id, "test", SECRET, request=SECRET, note=SECRET)
    with pytest.raises(ShredRefused):
        house.shredding.request(found, order)
    kinds = [type(event) for event in house.privacy._all()]
    assert kinds == [HoldPlaced, ShredWasRefused]
    assert desk.contacts()[0]["name"] == "Ann"
    [line] = house.holds.list(desk.tenant.id)
    assert (line["actor"], line["why"]) == (SECRET, SECRET)
    with psycopg.connect(house.endpoints.log_dsn) as connection:
        rows = connection.execute("SELECT topic, state FROM privacy_events").fetchall()
    for topic, state in rows:
        assert topic.startswith("sealdesk.case.")
        for form in (SECRET, "Quux", SECRET.encode().hex()):
            assert form.encode() not in bytes(state)


def test_a_shred_over_the_brake_is_on_record_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1, name="Ann")
    found = house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "1"))
    monkeypatch.setattr(house.shredding, "_brake", 0)
    with pytest.raises(ShredRefused) as raised:
        house.shredding.request(found, Order(desk.tenant.id, "test", "tester"))
    assert raised.value.code == "brake"
    [refused] = house.privacy._all()
    assert isinstance(refused, ShredWasRefused)
    assert refused.code == "brake"
    assert house.shredding.request(found, Order(desk.tenant.id, "test", "tester", expect=1))


def test_after_a_refusal_because_one_of_the_merged_is_held_the_others_can_be_held_again(house: House) -> None:
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1)
    desk.happens("contact.created", "contact 2", id=2)
    two = house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "2"))
    house.holds.add(desk.tenant.id, two, actor="x", why="court")
    desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[2])
    one = house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "1"))
    with pytest.raises(ShredRefused):
        house.shredding.request(one, Order(desk.tenant.id, "test", "tester"))
    house.holds.add(desk.tenant.id, one, actor="x", why="court")
    assert len(house.holds.list(desk.tenant.id)) == 2


def test_a_hold_of_one_tenant_is_not_listed_or_lifted_by_another(house: House) -> None:
    desk, other = Desk(house), Desk(house, "other")
    desk.happens("contact.created", "contact 1", id=1)
    found = house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "1"))
    held = house.holds.add(desk.tenant.id, found, actor="x", why="y")
    assert house.holds.list(other.tenant.id) == []
    with pytest.raises(ReferenceUnknown):
        house.holds.release(other.tenant.id, held, actor="x", why="y")
    house.holds.release(desk.tenant.id, held, actor="x", why="y")
    assert house.holds.list(desk.tenant.id) == []
