"""The promises, for any history: moves, merges, edits, deletes, shreds, and facts that come late."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.fact import FactAtRest
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED
from projections import erasures, reports
from tests.projections.desk import NOON, TENANT, Desk, Dump, ModelsUnderTest, part, subject, thing

CONTACTS = ("ada", "bob", "cy", "dee")
AGENTS = ("eve", "flo")
TICKETS = ("t", "u", "v")
CALL, CHAT = "a call", "a chat"
PARTS = ("p", "q", "r")

contacts = st.sampled_from(CONTACTS)
agents = st.sampled_from(AGENTS)
people = st.sampled_from(CONTACTS + AGENTS)
tickets = st.sampled_from(TICKETS)
anywhere = st.sampled_from((*TICKETS, CHAT))
parts = st.sampled_from(PARTS)
fields = st.lists(st.sampled_from(("name", "email", "phone")), unique=True, max_size=3)
statuses = st.sampled_from(("open", "pending", "resolved", "closed", "other"))
whens = st.integers(-90, 5_000_000).map(lambda seconds: NOON + timedelta(seconds=seconds))

happenings = st.one_of(
    st.tuples(st.just("known"), contacts, fields, whens),
    st.tuples(st.just("hired"), agents, fields, whens),
    st.tuples(st.just("merged"), contacts, people),
    st.tuples(st.just("rectified"), contacts, fields),
    st.tuples(st.just("blocked"), contacts, st.booleans()),
    st.tuples(st.just("pictured"), contacts),
    st.tuples(st.just("consented"), contacts, st.booleans(), st.sampled_from(("mailing", "other")), whens),
    st.tuples(st.just("promoted"), contacts, fields),
    st.tuples(st.just("left"), people),
    st.tuples(st.just("trashed"), st.sampled_from(("contact", "ticket")), contacts, tickets, st.booleans()),
    st.tuples(st.just("opened"), tickets, contacts, contacts, agents, statuses, whens),
    st.tuples(st.just("changed"), tickets, statuses, agents, whens),
    st.tuples(st.just("moved"), tickets, contacts, whens),
    st.tuples(st.just("replied"), anywhere, contacts, st.booleans(), whens),
    st.tuples(st.just("answered"), tickets, agents, st.booleans(), whens),
    st.tuples(st.just("rated"), tickets, st.integers(-103, 103)),
    st.tuples(st.just("called"), tickets, st.none() | contacts, agents, whens),
    st.tuples(st.just("chatted"), tickets, st.none() | contacts, agents, whens),
    st.tuples(st.just("joined"), tickets, tickets),
    st.tuples(st.just("wished gone"), st.sampled_from((*TICKETS, CALL, CHAT))),
)
#: What is said in parts that can be written anew and deleted, one hanging in another.
told = st.one_of(
    st.tuples(st.just("told"), anywhere, parts, st.none() | parts, people, whens),
    st.tuples(st.just("edited"), anywhere, parts, st.none() | people, whens),
    st.tuples(st.just("ended"), anywhere, parts),
)
shreds = st.one_of(
    st.tuples(st.just("forgotten"), st.sampled_from(CONTACTS + AGENTS), whens),
    st.tuples(st.just("purged"), st.sampled_from((*TICKETS, CALL, CHAT)), whens),
)
#: Left alone, Hypothesis writes histories of five happenings, in which hardly anything meets a shred.
histories = st.lists(happenings | told | shreds, min_size=15, max_size=60)


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
        case "rectified", name, fields:
            desk.person(name, *fields, type_="contact.rectified")
        case "blocked", name, blocked:
            desk.about(f"contact.{'blocked' if blocked else 'unblocked'}", name, person=subject(name).hex)
        case "pictured", name:
            desk.about("contact.avatar_added", name, person=subject(name).hex, part=part(name).hex)
        case "consented", name, given, purpose, at:
            type_ = f"contact.consent_{'given' if given else 'withdrawn'}"
            desk.person(name, "evidence", type_=type_, purpose=purpose, at=at)
        case "promoted", name, fields:
            desk.person(name, *fields, type_="contact.made_agent")
        case "left", name:
            desk.about("agent.deleted", desk.whom(name), person=subject(desk.whom(name)).hex)
        case "called" | "chatted", ticket, name, agent, at:
            begin(desk, CALL if what[0] == "called" else CHAT, name, ticket=ticket, responder=subject(agent).hex, at=at)
        case "wished gone", name:
            kind = {CALL: "call", CHAT: "chat"}.get(name, "ticket")
            desk.about(f"{kind}.purged", name)
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
            if ticket == CHAT:
                begin(desk, CHAT, None)
            elif ticket not in desk.requester:
                desk.open(ticket, desk.whom("ada"))
            happen_in_ticket(desk, kind, ticket, rest)
        case _:
            raise AssertionError(what)


def begin(desk: Desk, name: str, requester: str | None, **clear: Any) -> None:
    """Log the call or start the chat, once, with the first of it."""
    if name not in desk.requester:
        requester = None if requester is None else desk.whom(requester)
        desk.begin("call.logged" if name == CALL else "chat.started", name, requester, **clear)
        if name == CALL:
            desk.reply(name, None, None, type_="call.transcript_added")
        else:
            desk.about("chat.ended", name)


def happen_in_ticket(desk: Desk, kind: str, ticket: str, rest: list[Any]) -> None:
    match kind, *rest:
        case "changed", status, agent, at:
            words = {"cf_said": status}
            responder = subject(agent).hex
            desk.update(ticket, "description", status=status, channel="email", responder=responder, words=words, at=at)
        case "moved", name, at:
            desk.update(ticket, "subject", to=desk.whom(name), at=at)
        case "replied", name, private, at:
            by = "requester" if subject(desk.whom(name)) == desk.owner(ticket) else "contact"
            desk.reply(ticket, desk.whom(name), by, type_=said_in(ticket), private=private, at=at)
        case "answered", agent, private, at:
            desk.reply(ticket, agent, "agent", private=private, at=at)
        case "rated", rating:
            desk.rate(ticket, rating, "feedback")
        case "told", own, within, name, at:
            type_ = said_in(ticket) if within is None else "ticket.attachment_added"
            tell(desk, ticket, name, type_, own=f"{ticket} {own}", within=within and f"{ticket} {within}", at=at)
        case "edited", own, name, at:
            tell(desk, ticket, name, "ticket.entry_edited", own=f"{ticket} {own}", at=at)
        case "ended", own:
            desk.end(ticket, f"{ticket} {own}")
        case "joined", into:
            if into != ticket and into in desk.requester:
                desk.merge_away(ticket, into)
        case _:
            raise AssertionError(kind)


def said_in(name: str) -> str:
    return "chat.message_sent" if name == CHAT else "ticket.replied"


def tell(desk: Desk, ticket: str, name: str | None, type_: str, **rest: Any) -> None:
    """Add a part, or write one anew, under the author or, for an edit, without naming one."""
    if name is None:
        desk.reply(ticket, None, None, type_=type_, **rest)
    elif name in AGENTS:
        desk.reply(ticket, name, "agent", type_=type_, **rest)
    else:
        by = "requester" if subject(desk.whom(name)) == desk.owner(ticket) else "contact"
        desk.reply(ticket, desk.whom(name), by, type_=type_, **rest)


def written(*happened: list[tuple[Any, ...]]) -> Desk:
    desk = Desk()
    for what in (what for some in happened for what in some):
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


@given(
    openings=st.lists(st.tuples(contacts, contacts), min_size=3, max_size=3),
    history=st.lists(happenings | told, max_size=25),
    gone=st.lists(contacts, min_size=1, max_size=3, unique=True),
    after=st.lists(happenings | told, max_size=5),
    cuts=st.lists(st.integers(-4, 8), max_size=4),
)
@example([("ada", "bob"), ("ada", "cy"), ("bob", "ada")], [], ["ada"], [], [])
def test_tickets_that_go_with_their_requester_end_alike_set_apart_or_folded(
    models: ModelsUnderTest,
    openings: list[tuple[str, str]],
    history: list[tuple[Any, ...]],
    gone: list[str],
    after: list[tuple[Any, ...]],
    cuts: list[int],
) -> None:
    """Those of which a page says nothing but the shred are blanked by statement; in pages of one fact that is most."""
    desk = Desk()
    for ticket, (requester, copied) in zip(TICKETS, openings, strict=True):
        desk.open(ticket, requester, copied=[copied])
        desk.reply(ticket, copied, "contact")
        desk.reply(ticket, "eve", "agent")
    for what in history:
        happen(desk, what)
    before = len(desk.log.facts)
    for name in gone:
        desk.shred(name)
    for what in after:
        happen(desk, what)
    whole = folded(models, desk)
    facts = list(desk.log.facts)
    models.begin_again()
    for end in sorted({before, *(min(max(0, before + cut), len(facts)) for cut in cuts), len(facts)}):
        desk.log.facts = facts[:end]
        models.follow(desk.log)
    assert models.dump() == whole


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
def test_nothing_of_the_shredded_the_edited_and_the_deleted_stands_in_any_table(
    models: ModelsUnderTest, history: list[tuple[Any, ...]]
) -> None:
    desk = written(history)
    dump = folded(models, desk)
    gone, dead = shredded_in(desk.log.facts)
    dead |= replaced_in(desk.log.facts)
    contact_ids = {subject(name) for name in CONTACTS} & gone - worked_in(desk)
    for name, rows in dump.items():
        for row in rows:
            values = [item for value in row.values() for item in (value if isinstance(value, list) else [value])]
            if not name.endswith(".shredded"):
                assert not contact_ids.intersection(value for value in values if isinstance(value, UUID)), name
            assert row.get("seal") not in dead, name
            assert not any(isinstance(value, bytes) for value in values), name
    for row in dump["tickets.tickets"]:
        assert row["requester"] not in gone
    for row in dump["tickets.entries"]:
        assert row["by"] == "agent" or row["author"] not in gone


def worked_in(desk: Desk) -> set[UUID]:
    """Tell who was of the team at some time: the id of such a person stays. A merge makes one of several."""
    names = {name for name in CONTACTS for fact in desk.log.facts if is_of_team(fact, name)} | set(AGENTS)
    while more := {desk.primary[name] for name in names if name in desk.primary} - names:
        names |= more
    return {subject(name) for name in names}


def is_of_team(fact: FactAtRest, name: str) -> bool:
    types = ("sealdesk.contact.made_agent.v1", "sealdesk.agent.deleted.v1")
    return fact.type in types and fact.clear["person"] == subject(name).hex


def replaced_in(facts: list[FactAtRest]) -> set[int]:
    """Tell which seals died because what they said was rectified, written anew or deleted."""
    dead = [fact for fact in facts if is_replaced(fact, facts[facts.index(fact) + 1 :])]
    ended = {(fact.stream, fact.clear["part"]) for fact in facts if fact.type == "sealdesk.ticket.entry_deleted.v1"}
    while (
        more := {
            (fact.stream, fact.clear["part"])
            for fact in facts
            if "part" in fact.clear and (fact.stream, fact.clear.get("within")) in ended
        }
        - ended
    ):
        ended |= more
    dead += [fact for fact in facts for role in ("part", "within") if (fact.stream, fact.clear.get(role)) in ended]
    return {fact.position for fact in dead if fact.seal}


def is_replaced(fact: FactAtRest, later: list[FactAtRest]) -> bool:
    """Tell whether a later fact says anew what a fact said, and did so in vain if the part was deleted before."""
    for other in later:
        if other.stream != fact.stream:
            continue
        if other.type == "sealdesk.contact.rectified.v1" and fact.type in PROFILE_FACTS:
            return True
        if other.type == "sealdesk.ticket.entry_edited.v1" and other.clear["part"] == fact.clear.get("part"):
            return True
    return False


PROFILE_FACTS = {f"sealdesk.contact.{what}.v1" for what in ("created", "rectified", "made_agent")}


MOVES = {"sealdesk.ticket.updated.v1", "sealdesk.ticket.merged_away.v1"}
TELLS = {
    "sealdesk.ticket.opened.v1", "sealdesk.ticket.updated.v1", "sealdesk.call.logged.v1", "sealdesk.chat.started.v1",
}  # fmt: skip


def shredded_in(facts: list[FactAtRest]) -> tuple[set[UUID], set[int]]:
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
        if fact.type in MOVES and "requester" in fact.clear:
            for earlier in facts[: facts.index(fact)]:
                if earlier.stream == fact.stream:
                    owners[earlier.position].add(UUID(fact.clear["requester"]))
        owners[fact.position] = {*fact.owners, fact.stream}
    for primary in [merged[secondary] for secondary in merged]:
        if primary in gone:
            gone |= {secondary for secondary, into in merged.items() if into == primary}
    return gone, {fact.position for fact in facts if fact.seal and owners[fact.position] & gone}


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
    replaced = replaced_in(desk.log.facts)
    for name in desk.requester:
        row = models.ticket(name)
        last_given = {
            field: fact.position
            for fact in desk.log.facts
            if fact.stream == thing(name) and fact.type in TELLS
            for field in fact.sealed_fields
        }
        for field, seal in row.personal.items():
            assert seal == (None if row.erased or last_given[field] in dead else last_given[field])
        assert {"subject"} <= row.personal.keys()
        for entry in models.entries(name):
            seal = entry.position
            if entry.edited_at is None:
                assert entry.deleted == (seal in replaced)
            elif not entry.deleted:
                edits = [
                    fact
                    for fact in desk.log.facts
                    if fact.type == "sealdesk.ticket.entry_edited.v1" and fact.clear["part"] == entry.part.hex
                ]
                seal = edits[-1].position
            expected = None if entry.deleted or row.erased or seal in dead else seal
            assert set(entry.personal.values()) == {expected}


@settings(max_examples=20)
@given(histories, histories, st.integers(1, 9), st.integers(0, 60))
def test_of_a_closed_tenant_nothing_stands_in_any_table_and_every_count_stays_whatever_came_first(
    models: ModelsUnderTest, history: list[tuple[Any, ...]], late: list[tuple[Any, ...]], page_size: int, pause: int
) -> None:
    """What is late would be refused. It counts all the same, if it ever came through, and is as dead as the rest."""
    late = late[:10]
    folded(models, written(history, late))
    counted = json.dumps(reports.summaries(models.connection, TENANT))
    desk = written(history)
    desk.close()
    for what in late:
        happen(desk, what)
    rebuilt = folded(models, desk)
    assert json.dumps(reports.summaries(models.connection, TENANT)) == counted
    contact_ids = {subject(name) for name in CONTACTS} - worked_in(desk)
    for name, rows in rebuilt.items():
        for row in rows:
            values = [item for value in row.values() for item in (value if isinstance(value, list) else [value])]
            assert row.get("seal") is None, name
            assert not any(isinstance(value, bytes) for value in values), name
            if not name.endswith(".shredded"):
                assert not contact_ids.intersection(value for value in values if isinstance(value, UUID)), name
    assert all(row["erased"] for row in (*rebuilt.get("tickets.tickets", ()), *rebuilt.get("contacts.profiles", ())))
    models.begin_again()
    later = desk.log.facts[pause:]
    del desk.log.facts[pause:]
    models.follow(desk.log, page_size)
    desk.log.facts += later
    models.follow(desk.log, page_size)
    assert models.dump() == rebuilt
