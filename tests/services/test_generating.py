from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.catalogue import CATALOGUE, INTERNAL
from domain.errors import SettingsWrong
from domain.fact import Effect
from domain.personal import Kind
from domain.tickets import TicketOpened
from services.cli.generating import generate
from services.embedded import Endpoints
from services.generating import FEWEST_PEOPLE, Wanted, history
from services.generator import pools, rates
from services.intake import Tally
from services.reading_files import batches
from services.records import Draft, parcel_of
from services.resolving import mentions_of
from tests.desks import AT, desk_house

TICKETS = 2_000
PURGES = frozenset({"sealdesk.ticket.purged.v1", "sealdesk.call.purged.v1", "sealdesk.chat.purged.v1"})


@cache
def records() -> tuple[bytes, ...]:
    """One history, told once for all tests that only look at it."""
    return tuple(history(Wanted(TICKETS, seed=1)))


@cache
def drafts() -> tuple[Draft, ...]:
    """The same history as intake reads it, without what comes twice."""
    return tuple(draft for raw in dict.fromkeys(records()) for draft in parcel_of(raw, "acme").drafts)


def seconds_of(draft: Draft) -> float:
    return draft.occurred_at.timestamp()


def texts_of(raw: bytes) -> Iterator[str]:
    data = orjson.loads(raw)["data"]
    return (data[name] for name in ("description_text", "body_text", "message", "notes", "feedback") if name in data)


# -- the same wish, the same bytes ----------------------------------------------------------------------------


def test_the_same_seed_tells_the_same_history_and_another_seed_another() -> None:
    assert list(history(Wanted(50, seed=7))) == list(history(Wanted(50, seed=7)))
    assert list(history(Wanted(50, seed=7))) != list(history(Wanted(50, seed=8)))


def test_no_other_process_tells_it_differently() -> None:
    told = "from services.generating import *; import sys; sys.stdout.buffer.writelines(history(Wanted(60, 3)))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", told],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "4711")
    }
    assert outputs == {b"".join(history(Wanted(60, 3)))}


# -- what a publisher may say ---------------------------------------------------------------------------------


def test_every_record_is_valid_and_every_type_that_may_be_published_occurs() -> None:
    errors = Counter((error.code, error.field) for raw in records() if (error := parcel_of(raw, "acme").error))
    assert errors == {}
    assert {draft.type for draft in drafts()} == set(CATALOGUE) - INTERNAL


@settings(max_examples=10)
@given(seed=st.integers(0, 2**63), tickets=st.integers(1, 60), people=st.integers(FEWEST_PEOPLE, 80))
def test_whatever_the_wish_it_has_so_many_tickets_and_contacts_and_every_record_is_valid(
    seed: int, tickets: int, people: int
) -> None:
    met: list[str] = []
    told = dict.fromkeys(history(Wanted(tickets, seed, days=3, people=people, tenant="acme"), met.append))
    parcels = [parcel_of(raw) for raw in told]
    assert [parcel.error for parcel in parcels if parcel.error] == []
    types = Counter(draft.type for parcel in parcels for draft in parcel.drafts)
    assert types[TicketOpened.TYPE] == tickets
    assert types["sealdesk.contact.created.v1"] == len(met) == len(set(met))
    # Some of the team were contacts before they were agents.
    assert people <= len(met) <= people + types["sealdesk.agent.created.v1"]


def test_nothing_unknown_stands_in_a_record() -> None:
    assert [draft.type for draft in drafts() if draft.data.unknown_fields] == []


# -- a history that holds together ----------------------------------------------------------------------------


def test_whatever_is_spoken_of_was_there_before_and_only_openings_of_tickets_come_late() -> None:
    known: set[tuple[Kind, str]] = set()
    waits: Counter[str] = Counter()
    late = 0
    for draft in drafts():
        opens = draft.plan.record.OPENS
        for _, mark, value in mentions_of(draft):
            if mark.role == "part" and draft.plan.record.EFFECT is None:
                known.add((mark.kind, value))
            elif (mark.role == "self" and opens) or not mark.kind.is_upstream_id:
                known.add((mark.kind, value))
                if mark.kind is Kind.TICKET:
                    waits.pop(value, None)
            elif (mark.kind, value) not in known:
                assert (mark.kind, mark.role) == (Kind.TICKET, "self"), draft.type
                late = waits[value] = waits[value] + 1
    assert waits == {}
    assert late


def test_nothing_is_said_of_what_has_ended_or_was_purged() -> None:
    over: set[tuple[Kind, str]] = set()
    for draft in drafts():
        spoken_of = {(mark.kind, value) for _, mark, value in mentions_of(draft) if mark.role != "copied"}
        assert not spoken_of & over, draft.type
        if draft.plan.record.EFFECT is Effect.ENDS or draft.type in PURGES:
            ended = {(mark.kind, value, mark.role) for _, mark, value in mentions_of(draft)}
            parts = {(kind, value) for kind, value, role in ended if role == "part"}
            over |= parts or {(kind, value) for kind, value, role in ended if role == "self"}
    assert len(over) > 100


def test_only_whoever_is_an_agent_does_the_work_of_the_team() -> None:
    agents: set[str] = set()
    for draft in drafts():
        named = {mark.role: value for _, mark, value in mentions_of(draft)}
        if draft.type in ("sealdesk.agent.created.v1", "sealdesk.contact.made_agent.v1"):
            agents.add(named["self"])
        elif draft.type == "sealdesk.agent.deleted.v1":
            agents.remove(named["self"])
        else:
            assert named.get("responder", next(iter(agents), "")) in agents or not agents
            if draft.plan.record.TEAM and "author" in named:
                assert named["author"] in agents


def test_no_address_belongs_to_two_people() -> None:
    whose: dict[tuple[Kind, str], str] = {}
    for draft in drafts():
        if draft.plan.record.THING in ("contact", "agent") and draft.type != "sealdesk.contact.merged.v1":
            own = [(mark.kind, value.casefold()) for _, mark, value in mentions_of(draft) if mark.role == "self"]
            person = next(value for kind, value in own if kind is Kind.PERSON)
            assert {whose.setdefault(address, person) for address in own if address[0] is not Kind.PERSON} <= {person}


def test_times_go_on_and_stay_near_the_days_that_were_wanted() -> None:
    start = date(2024, 2, 28)
    told = [parcel_of(raw, "acme").drafts[0] for raw in history(Wanted(300, 5, start, days=20))]
    late = [two for one, two in pairwise(told) if two.occurred_at < one.occurred_at]
    assert len(late) <= 6
    assert {draft.type for draft in late} <= {TicketOpened.TYPE}
    opened = [draft.occurred_at.date() for draft in told if draft.type == TicketOpened.TYPE]
    assert min(opened) == start
    assert max(opened) <= date(2024, 3, 25)


@pytest.mark.parametrize("size", [37, 1_000])
def test_intake_takes_all_of_it_and_in_the_end_nothing_waits(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(rates, "REPEATED", 0.03)
    monkeypatch.setattr(rates, "OUT_OF_ORDER", 0.2)
    told = list(history(Wanted(150, 4, tenant="acme")))
    with desk_house(databases, tmp_path) as house:
        house.tenants.add("acme")
        tally = Tally()
        for batch in batches(map(parcel_of, told), size):
            tally += house.intake.take(batch, at=AT)
    assert (tally.read, tally.stored, tally.quarantined) == (len(told), len(set(told)), 0)
    # What comes once more is a duplicate; if its thing or part has ended, it is refused instead.
    assert 0 < tally.refused < tally.duplicates


# -- as often as the rates say --------------------------------------------------------------------------------


def test_records_are_repeated_and_tickets_open_late_as_often_as_the_rates_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "REPEATED", 0.05)
    monkeypatch.setattr(rates, "OUT_OF_ORDER", 0.1)
    told = list(history(Wanted(TICKETS, seed=2)))
    assert 0.035 < 1 - len(set(told)) / len(told) < 0.065
    seen: dict[str, str] = {}
    for raw in told:
        event = orjson.loads(raw)
        if event.get("subject", "").startswith("ticket "):
            seen.setdefault(event["subject"], event["type"])
    late = [subject for subject, type_ in seen.items() if type_ != TicketOpened.TYPE]
    assert 0.08 < len(late) / TICKETS < 0.12


def test_without_repetition_and_disorder_no_record_comes_twice_or_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "REPEATED", 0.0)
    monkeypatch.setattr(rates, "OUT_OF_ORDER", 0.0)
    told = list(history(Wanted(500, seed=2)))
    assert len(set(told)) == len(told)
    times = [seconds_of(parcel_of(raw, "acme").drafts[0]) for raw in told]
    assert times == sorted(times)


def test_a_ticket_makes_four_to_six_records() -> None:
    assert 4 < len(records()) / TICKETS < 6


def test_the_desk_looks_like_a_desk() -> None:
    types = Counter(draft.type for draft in drafts())
    assert 0.6 < types["sealdesk.ticket.replied.v1"] / TICKETS < 2.5
    assert types["sealdesk.ticket.rated.v1"] < types["sealdesk.ticket.updated.v1"] / 4
    requesters = Counter(
        value
        for draft in drafts()
        if draft.type == TicketOpened.TYPE
        for _, mark, value in mentions_of(draft)
        if mark.role == "requester"
    )
    assert requesters.most_common(1)[0][1] > 8
    assert len(requesters) > 300
    days = Counter(draft.occurred_at.weekday() for draft in drafts() if draft.type == TicketOpened.TYPE)
    assert days[0] > 2 * days[5]


# -- texts ----------------------------------------------------------------------------------------------------


def test_texts_name_other_people_whom_the_desk_knows() -> None:
    people: dict[str, tuple[str, ...]] = {}
    for draft in drafts():
        if draft.type == "sealdesk.contact.created.v1":
            data: Any = draft.data
            people[str(data.id)] = (data.name, data.email, data.phone or data.mobile or "\0")
    mails = {mail for _, mail, _ in people.values()}
    text = "\n".join(text for raw in records() for text in texts_of(raw))
    assert sum(name in text for name, _, _ in people.values()) > len(people) / 2
    assert sum(mail in text for mail in mails) > len(people) / 10
    assert sum(phone in text for _, _, phone in people.values()) > len(people) / 20


def test_hardly_two_letters_are_the_same() -> None:
    letters = [orjson.loads(raw)["data"]["description_text"] for raw in set(records()) if b"ticket.opened" in raw]
    assert len(set(letters)) == len(letters) == TICKETS


def test_letters_are_written_in_every_language() -> None:
    text = "\n".join(text for raw in records() for text in texts_of(raw))
    for language in pools.languages():
        assert any(greeting[0] in text for greeting in language.greetings if greeting[0])


def test_a_slot_that_nobody_fills_is_refused() -> None:
    with pytest.raises(ValueError, match="slot"):
        pools.sentence("Hello {stranger}, how are you?")


# -- memory ---------------------------------------------------------------------------------------------------


def peak_bytes(wanted: Wanted) -> int:
    tracemalloc.start()
    try:
        for _ in history(wanted):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "CONTACTS_KEPT", 200)
    monkeypatch.setattr(rates, "COMPANIES_KEPT", 30)
    monkeypatch.setattr(rates, "STORIES_KEPT", 100)
    peak_bytes(Wanted(50, 1))
    # Few days, so that both are as busy as can be. What is kept is the same; the largest story at hand differs.
    few, many = Wanted(500, 1, days=5, people=500), Wanted(4_000, 1, days=5, people=4_000)
    assert peak_bytes(many) < 2 * peak_bytes(few)


def test_a_busy_desk_tells_everything_though_few_stories_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "STORIES_KEPT", 5)
    told = dict.fromkeys(history(Wanted(400, 1, days=1)))
    assert sum(f'"{TicketOpened.TYPE}"'.encode() in raw for raw in told) == 400


# -- the command ----------------------------------------------------------------------------------------------


def command(*arguments: str) -> None:
    app = typer.Typer()
    app.command()(generate)
    app(list(arguments), standalone_mode=False)


def test_the_command_writes_the_records_and_the_references_of_all_contacts(tmp_path: Path) -> None:
    file, people = tmp_path / "records.jsonl", tmp_path / "people.txt"
    command("--tickets", "40", "--seed", "3", "-o", str(file), "--people-file", str(people), "--tenant", "acme")
    met: list[str] = []
    assert file.read_bytes() == b"".join(history(Wanted(40, 3, tenant="acme"), met.append))
    assert people.read_text().splitlines() == met
    assert all(reference.startswith("contact ") for reference in met)


def test_the_command_writes_to_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    command("--tickets", "10", "--start", "2020-05-01", "--days", "2", "--people", "30")
    told = capfdbinary.readouterr().out
    assert told == b"".join(history(Wanted(10, 1, date(2020, 5, 1), 2, 30)))
    assert datetime.fromisoformat(orjson.loads(told.splitlines()[0])["time"]).date() == date(2020, 4, 30)


@pytest.mark.parametrize(
    "options",
    [
        ("--start", "1899-01-01"),
        ("--days", "900000"),
        ("--days", "999999999999"),
        ("--tenant", ""),
        ("-o", "/nowhere/at/all/records.jsonl"),
        ("--people-file", "/nowhere/at/all/people.txt"),
    ],
)
def test_a_wish_that_cannot_be_told_is_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(SettingsWrong):
        command("--tickets", "1", *options)
