"""Stories of tickets: opened, sorted, answered, resolved; and what goes wrong on the way.

Rule: nothing is told of a ticket after its purge.
"""

from __future__ import annotations

from domain import tickets
from services.generator import entries, rates, talks
from services.generator.desk import Data, Desk, Part, Story
from services.generator.people import Person

#: Freshdesk's codes of channels, of the states of a ticket, and of an entry that was forwarded.
_PHONE, _CHAT = 3, 7
_PENDING, _RESOLVED, _CLOSED = 3, 4, 5
_FORWARDED = 8
#: What Freshdesk's survey gives: very happy, happy, neutral, unhappy, very unhappy.
_RATINGS = (103, 103, 103, 102, 100, -102, -103)


def ticket(desk: Desk, at: int, who: Person, *, discussed: bool = False) -> Story:
    """Tell a ticket from its opening to its end; one that is `discussed` is so at length."""
    number = desk.next_ticket()
    copied = entries.copied_with(desk, who)
    opening = entries.opening_of(desk, at, number, who, copied)
    source, text = opening["source"], opening["description_text"]
    if desk.chance(rates.OUT_OF_ORDER):
        opening.pop("responder_id", None)
        early = entries.incoming(desk, number, who, who, "")
        opened_at = at - 20
        desk.say(tickets.TicketReplied, at, early)
        at = yield rates.LATE_SECONDS
        desk.say(tickets.TicketOpened, opened_at, opening)
    else:
        desk.say(tickets.TicketOpened, at, opening)
    del opening
    if source == _PHONE and desk.chance(rates.CALL_TOLD):
        desk.begin(talks.call(desk, at, who, ticket=number))
    elif source == _CHAT and desk.chance(rates.CHAT_TOLD):
        desk.begin(talks.chat(desk, at, who, ticket=number))
    if desk.chance(rates.WITH_FILE):
        at = yield from entries.file_added(desk, at, number, None, who)
    if desk.chance(rates.SPAM) and not discussed:
        yield from _rubbish(desk, at, number)
        return
    agent = desk.on_duty()
    if desk.chance(rates.SORTED):
        at = yield desk.at_work(at, rates.UNTIL_ANSWER / 6)
        agent = desk.on_duty(agent)
        desk.say(tickets.TicketUpdated, at, _sorted(desk, number, agent))
    if discussed or desk.chance(rates.DISCUSSED):
        at = yield from talks.discussion(desk, at, number, agent, in_full=discussed)
    if not desk.chance(rates.UNANSWERED):
        yield from _conversation(desk, at, number, who, copied, agent, text)
    if desk.chance(rates.TRASHED):
        at = yield desk.after(rates.UNTIL_CLOSED)
        yield from _trashed(desk, at, number)


def reported_twice(desk: Desk, at: int, who: Person) -> Story:
    """Tell two tickets about the same, the second often by somebody else, and how they are merged."""
    first, second = desk.next_ticket(), desk.next_ticket()
    other = desk.people.anyone() if desk.chance(rates.BY_SOMEBODY_ELSE) else who
    desk.say(tickets.TicketOpened, at, entries.opening_of(desk, at, first, who, []))
    at = yield desk.after(rates.UNTIL_ANSWER)
    desk.say(tickets.TicketOpened, at, entries.opening_of(desk, at, second, other, []))
    if desk.chance(0.5):
        at = yield desk.after(rates.UNTIL_ANSWER / 6)
        desk.say(tickets.TicketReplied, at, entries.incoming(desk, second, other, other, ""))
    at = yield desk.at_work(at, rates.UNTIL_ANSWER)
    desk.say(tickets.TicketMerged, at, {"primary_id": first, "ticket_ids": [second]})
    yield from _conversation(desk, at, first, who, [], desk.on_duty(), "")


def _conversation(
    desk: Desk, at: int, number: int, who: Person, copied: list[Person], agent: Person, last: str
) -> Story:
    """Tell answers and what comes back, until nobody writes any more."""
    for _ in range(rates.ROUNDS):
        at = yield desk.at_work(at, rates.UNTIL_ANSWER)
        agent = desk.on_duty(agent)
        if desk.chance(rates.NOTED):
            at = yield from entries.note(desk, at, number, agent)
            agent = desk.on_duty(agent)
        data = entries.outgoing(desk, number, who, agent, copied, last)
        last = data["body_text"]
        desk.say(tickets.TicketReplied, at, data)
        at = yield from entries.changes_of(desk, at, number, data["id"], agent)
        at = yield from _round_changes(desk, at, number, who, agent)
        if not desk.chance(rates.WRITES_AGAIN):
            break
        at = yield desk.after(rates.BETWEEN_ENTRIES)
        writer = desk.pick(copied) if copied and desk.chance(rates.COPY_WRITES) else who
        data = entries.incoming(desk, number, who, writer, last)
        last = data["body_text"]
        desk.say(tickets.TicketReplied, at, data)
        at = yield from entries.changes_of(desk, at, number, data["id"], None)
        if desk.chance(rates.REASSIGNED):
            agent = desk.on_duty()
            desk.say(tickets.TicketUpdated, at, {"id": number, "responder_id": agent.number})
    if desk.chance(rates.RESOLVED):
        yield from _resolved(desk, at, number, who, agent)


def _sorted(desk: Desk, number: int, agent: Person) -> Data:
    data: Data = {
        "id": number,
        "responder_id": agent.number,
        "group_id": 1 + int(desk.random() * len(desk.house.groups)),
    }
    if desk.chance(0.4):
        data["priority"] = desk.pick(entries.PRIORITIES)
    if desk.chance(0.3):
        data["type"] = desk.pick(desk.house.types)
    if desk.chance(0.1):
        data["tags"] = [desk.pick(desk.house.tags), desk.pick(desk.house.tags)]
    return data


def _round_changes(desk: Desk, at: int, number: int, who: Person, agent: Person) -> Part:
    """Tell what an answer brings along: time, a forward, a status that waits, another requester."""
    writing, house = desk.writing, desk.house
    agent = desk.on_duty(agent)
    if desk.chance(rates.TIMED):
        data: Data = {"ticket_id": number, "id": desk.number(), "agent_id": agent.number, "billable": desk.chance(0.6)}
        data["time_spent_in_seconds"] = 60 * int(2 + desk.random() * 90)
        data["note"] = writing.one(house.time_notes, agent.language)
        data["executed_at"] = desk.moment(at)
        desk.say(tickets.TicketTimeLogged, at, data)
    if desk.chance(rates.FORWARDED):
        text = writing.several(house.team_messages, agent.language, 3)
        data = entries.entry_of(desk, number, agent, text, incoming=False)
        helper = desk.people.anyone()
        data["to_emails"], data["source"] = [entries.written(desk, helper)], _FORWARDED
        desk.say(tickets.TicketForwarded, at, data)
    if desk.chance(rates.WAITING):
        status = _PENDING if desk.chance(0.5) else desk.pick(house.statuses)
        desk.say(tickets.TicketUpdated, at, {"id": number, "status": status})
    if desk.chance(rates.OTHER_REQUESTER):
        at = yield desk.after(1800)
        desk.say(tickets.TicketUpdated, at, {"id": number, "requester_id": _other(desk, who).number})
    return at


def _other(desk: Desk, who: Person) -> Person:
    other = desk.people.anyone()
    return other if other is not who else desk.people.anyone()


def _resolved(desk: Desk, at: int, number: int, who: Person, agent: Person) -> Story:
    at = yield desk.after(1800)
    desk.say(tickets.TicketUpdated, at, {"id": number, "status": _RESOLVED})
    if desk.chance(rates.RATED):
        at = yield desk.after(rates.UNTIL_CLOSED / 2)
        data: Data = {"ticket_id": number, "id": desk.number(), "rating": desk.pick(_RATINGS)}
        if who.number:
            data["user_id"] = who.number
        if agent.agent:
            data["agent_id"] = agent.number
        if desk.chance(0.4):
            data["feedback"] = desk.writing.again(who)
        desk.say(tickets.TicketRated, at, data)
    if desk.chance(rates.REOPENED):
        at = yield desk.after(rates.UNTIL_CLOSED)
        desk.say(tickets.TicketReplied, at, entries.incoming(desk, number, who, who, ""))
        desk.say(tickets.TicketUpdated, at, {"id": number, "status": entries.OPEN})
        at = yield desk.at_work(at, rates.UNTIL_ANSWER)
        desk.say(tickets.TicketUpdated, at, {"id": number, "status": _RESOLVED})
    if desk.chance(rates.CLOSED):
        at = yield desk.after(rates.UNTIL_CLOSED)
        desk.say(tickets.TicketUpdated, at, {"id": number, "status": _CLOSED})


def _rubbish(desk: Desk, at: int, number: int) -> Story:
    at = yield desk.after(1800)
    desk.say(tickets.TicketUpdated, at, {"id": number, "spam": True, "status": _CLOSED})
    desk.say(tickets.TicketDeleted, at, {"id": number})
    at = yield desk.after(3600)
    if desk.chance(rates.SPAM_PURGED):
        desk.say(tickets.TicketPurged, at, {"id": number})
    else:
        desk.say(tickets.TicketRestored, at, {"id": number})


def _trashed(desk: Desk, at: int, number: int) -> Story:
    desk.say(tickets.TicketDeleted, at, {"id": number})
    at = yield desk.after(rates.UNTIL_CLOSED)
    if desk.chance(rates.RESTORED):
        desk.say(tickets.TicketRestored, at, {"id": number})
    elif desk.chance(rates.PURGED):
        desk.say(tickets.TicketPurged, at, {"id": number})
