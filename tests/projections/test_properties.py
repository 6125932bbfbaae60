"""The promises, for any history: moves, merges, deletes, shreds, and facts that come late."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.fact import FactAtRest
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED
from projections import erasures, reports
from tests.projections.desk import NOON, TENANT, Desk, Dump, ModelsUnderTest, subject, thing

CONTACTS = ("ada", "bob", "cy", "dee")
AGENTS = ("eve", "flo")
TICKETS = ("t", "u", "v")

contacts = st.sampled_from(CONTACTS)
agents = st.sampled_from(AGENTS)
tickets = st.sampled_from(TICKETS)
fields = st.lists(st.sampled_from(("name", "email", "phone")), unique=True, max_size=3)
statuses = st.sampled_from(("open", "pending", "resolved", "closed", "other"))
whens = st.integers(-90, 5_000_000).map(lambda seconds: NOON + timedelta(seconds=seconds))

happenings = st.one_of(
    st.tuples(st.just("known"), contacts, fields, whens),
    st.tuples(st.just("hired"), agents, fields, whens),
    st.tuples(st.just("merged"), contacts, contacts),
    st.tuples(st.just("trashed"), st.sampled_from(("contact", "ticket")), contacts, tickets, st.booleans()),
    st.tuples(st.just("opened"), tickets, contacts, contacts, agents, statuses, whens),
    st.tuples(st.just("changed"), tickets, statuses, agents, whens),
    st.tuples(st.just("moved"), tickets, contacts, whens),
    st.tuples(st.just("replied"), tickets, contacts, st.booleans(), whens),
    st.tuples(st.just("answered"), tickets, agents, st.booleans(), whens),
    st.tuples(st.just("rated"), tickets, st.integers(-103, 103)),
)
shreds = st.one_of(
    st.tuples(st.just("forgotten"), st.sampled_from(CONTACTS + AGENTS), whens),
    st.tuples(st.just("purged"), tickets, whens),
)
#: Left alone, Hypothesis writes histories of five happenings, in which hardly anything meets a shred.
histories = st.lists(happenings | shreds, min_size=15, max_size=60)


def happen(desk: Desk, what: tuple[Any, ...]) -> None:
    """Write down one happening; one about a ticket that was never opened opens it for Ada."""
    match what:
        case "known", name, fields, at:
            desk.person(name, *fields, at=at, language="en")
        case "hired", name, fields, at:
            desk.person(name, *fields, type_="agent.created", at=at)
        case "merged", one, other:
            if desk.whom(one) != desk.whom(other):
                desk.merge(desk.whom(one), desk.whom(other))
        case "trashed", "contact", name, _, gone:
            desk.about(f"contact.{'deleted' if gone else 'restored'}", name, person=subject(name).hex)
        case "trashed", "ticket", _, ticket, gone:
            if ticket in desk.requester:
                desk.about(f"ticket.{'deleted' if gone else 'restored'}", ticket)
        case "opened", ticket, name, copied, agent, status, at:
            if ticket not in desk.requester:
                desk.open(
                    ticket,
                    desk.whom(name),
                    "subject",
                    "source",
                    copied=[copied],
                    responder=subject(agent).hex,
                    status=status,
                    at=at,
                )
        case "forgotten", name, at:
            desk.shred(name, at=at)
        case "purged", ticket, at:
            desk.shred_thing(ticket, at=at)
        case kind, ticket, *rest:
            if ticket not in desk.requester:
                desk.open(ticket, desk.whom("ada"))
            happen_in_ticket(desk, kind, ticket, rest)
        case _:
            raise AssertionError(what)


def happen_in_ticket(desk: Desk, kind: str, ticket: str, rest: list[Any]) -> None:
    match kind, *rest:
        case "changed", status, agent, at:
            desk.update(ticket, "description", status=status, channel="email", responder=subject(agent).hex, at=at)
        case "moved", name, at:
            desk.update(ticket, "subject", to=desk.whom(name), at=at)
        case "replied", name, private, at:
            own = desk.whom(name) == desk.whom(desk.requester[ticket])
            desk.reply(ticket, desk.whom(name), "requester" if own else "contact", private=private, at=at)
        case "answered", agent, private, at:
            desk.reply(ticket, agent, "agent", private=private, at=at)
        case "rated", rating:
            desk.rate(ticket, rating, "feedback")
        case _:
            raise AssertionError(kind)


def written(*happened: list[tuple[Any, ...]]) -> Desk:
    desk = Desk()
    for what in (what for part in happened for what in part):
        happen(desk, what)
    return desk


def folded(models: ModelsUnderTest, desk: Desk, page_size: int = 2000) -> Dump:
    models.begin_again()
    models.follow(desk.log, page_size)
    return models.dump()


@given(histories, st.integers(1, 9), st.integers(0, 60))
def test_live_equals_rebuilt_however_the_log_was_paged(
    models: ModelsUnderTest, history: list[tuple[Any, ...]], page_size: int, pause: int
) -> None:
    desk = written(history)
    rebuilt = folded(models, desk)
    models.begin_again()
    later = desk.log.facts[pause:]
    del desk.log.facts[pause:]
    models.follow(desk.log, page_size)
    desk.log.facts += later
    models.follow(desk.log, page_size)
    assert models.dump() == rebuilt


@given(histories, st.lists(shreds, min_size=1, max_size=4))
def test_reports_are_equal_before_and_after_any_shred_and_delete(
    models: ModelsUnderTest, history: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    desk = written(history)
    folded(models, desk)
    before = json.dumps(reports.summaries(models.connection, TENANT))
    for what in after:
        happen(desk, what)
    for ticket in desk.requester:
        desk.about("ticket.deleted", ticket)
    for name in CONTACTS:
        desk.about("contact.deleted", name, person=subject(name).hex)
    models.follow(desk.log)
    assert json.dumps(reports.summaries(models.connection, TENANT)) == before


@given(histories)
def test_nothing_of_the_shredded_stands_in_any_table(models: ModelsUnderTest, history: list[tuple[Any, ...]]) -> None:
    desk = written(history)
    dump = folded(models, desk)
    gone, dead = shredded_in(desk.log.facts)
    contact_ids = {subject(name) for name in CONTACTS} & gone
    for name, rows in dump.items():
        for row in rows:
            values = [item for value in row.values() for item in (value if isinstance(value, list) else [value])]
            if not name.endswith(".shredded"):
                assert not contact_ids.intersection(value for value in values if isinstance(value, UUID)), name
            assert not dead.intersection(value for value in values if isinstance(value, bytes)), name


def shredded_in(facts: list[FactAtRest]) -> tuple[set[UUID], set[bytes]]:
    """Tell who and what is shredded, and which seals died of it, by going through the log fact by fact."""
    gone: set[UUID] = set()
    owners: dict[int, set[UUID]] = {}
    merged: dict[UUID, UUID] = {}
    for fact in facts:
        if fact.type == SUBJECT_SHREDDED:
            gone |= {UUID(id_) for id_ in fact.clear["subjects"]}
        elif fact.type == CONTENT_SHREDDED:
            gone.add(fact.stream)
        elif fact.type == "sealdesk.contact.merged.v1":
            merged |= {UUID(id_): UUID(fact.clear["person"]) for id_ in fact.clear["secondary"]}
        if fact.type == "sealdesk.ticket.updated.v1" and "requester" in fact.clear:
            for earlier in facts[: facts.index(fact)]:
                if earlier.stream == fact.stream:
                    owners[earlier.position].add(UUID(fact.clear["requester"]))
        owners[fact.position] = {*fact.owners, fact.stream}
    for primary in [merged[secondary] for secondary in merged]:
        if primary in gone:
            gone |= {secondary for secondary, into in merged.items() if into == primary}
    return gone, {fact.seal for fact in facts if fact.seal and owners[fact.position] & gone}


@given(histories, shreds)
def test_a_shred_leaves_the_rows_of_other_people_as_they_were(
    models: ModelsUnderTest, history: list[tuple[Any, ...]], shred: tuple[Any, ...]
) -> None:
    desk = written(history)
    before = folded(models, desk)
    happen(desk, shred)
    fact = desk.log.facts[-1]
    its = {fact.stream, *(UUID(id_) for id_ in fact.clear.get("subjects", ()))}
    its |= {row["ticket"] for row in before["tickets.tickets"] if row["requester"] in its}
    models.follow(desk.log)
    after = models.dump()
    for name, rows in before.items():
        if name.endswith((".position", ".shredded", ".days")):
            continue
        others = [row for row in rows if not mentions(row, its)]
        assert [row for row in others if row not in after[name]] == [], name


def mentions(row: dict[str, Any], ids: set[UUID]) -> bool:
    return any(
        isinstance(item, UUID) and item in ids
        for value in row.values()
        for item in (value if isinstance(value, list) else [value])
    )


@given(histories)
def test_erased_tickets_are_counted_once_and_agree_with_the_list_of_tickets(
    models: ModelsUnderTest, history: list[tuple[Any, ...]]
) -> None:
    desk = written(history)
    folded(models, desk)
    listed = models.listed()
    summary = erasures.summaries(models.connection, TENANT)
    assert sum(day["tickets"] for day in summary["by_day"].values()) == sum(row.erased for row in listed)
    is_open = [row for row in listed if row.status not in ("resolved", "closed")]
    assert summary["open_erased_total"] == sum(row.erased for row in is_open)
    assert reports.summaries(models.connection, TENANT)["tickets"]["total"] == len(listed)


@given(histories)
def test_living_tickets_and_entries_keep_their_seals(models: ModelsUnderTest, history: list[tuple[Any, ...]]) -> None:
    desk = written(history)
    folded(models, desk)
    _, dead = shredded_in(desk.log.facts)
    by_position = {fact.position: fact for fact in desk.log.facts}
    for name in desk.requester:
        row = models.ticket(name)
        last_given = {
            field: fact.seal
            for fact in desk.log.facts
            if fact.stream == thing(name) and fact.type in ("sealdesk.ticket.opened.v1", "sealdesk.ticket.updated.v1")
            for field in fact.sealed_fields
        }
        for field, seal in row.personal.items():
            assert seal == (None if row.erased or last_given[field] in dead else last_given[field])
        assert {"subject"} <= row.personal.keys()
        for entry in models.entries(name):
            seal = by_position[entry.position].seal
            assert set(entry.personal.values()) == {None if row.erased or seal in dead else seal}
