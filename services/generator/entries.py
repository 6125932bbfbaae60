"""What stands in a ticket: its opening, and entries with their files, edits and ends.

Rule: nothing is told of an entry or a file after its end.
"""

from __future__ import annotations

from domain import tickets
from services.generator import rates
from services.generator.desk import SUPPORT, Data, Desk, Part
from services.generator.people import Person

_CHANNELS = tuple(code for code, weight in rates.CHANNELS.items() for _ in range(weight))
#: Freshdesk's codes: the status of an open ticket; where an entry comes from.
OPEN = 2
_REPLY, _NOTE = 0, 2
#: Priorities by how often they are chosen.
PRIORITIES = (1, 1, 2, 2, 2, 2, 3, 3, 4)
#: Characters of an older entry that a newer one quotes.
_QUOTED = 400


def opening_of(desk: Desk, at: int, number: int, who: Person, copied: list[Person]) -> Data:
    """Draw what a ticket says when it is opened."""
    house, writing = desk.house, desk.writing
    words = who.language
    data: Data = {"id": number, **_named(desk, who)}
    data["subject"] = writing.one(words.subjects, words)
    data["description_text"] = writing.letter(who)
    data["status"], data["priority"] = OPEN, desk.pick(PRIORITIES)
    data["source"] = desk.pick(_CHANNELS)
    desk.html(data, "description")
    how = desk.random()
    if how < 0.75:
        data["type"] = desk.pick(house.types)
        data["product_id"] = desk.pick(house.products)
    if how < 0.5:
        data["group_id"] = 1 + int(desk.random() * len(house.groups))
    if how < 0.2:
        data["responder_id"] = desk.on_duty().number
    if 0.2 < how < 0.35:
        data["tags"] = [desk.pick(house.tags)]
    if who.tier is not None:
        data["custom_fields"] = {"cf_tier": who.tier, "cf_remark": writing.one(house.notes, words)}
    if who.company is not None:
        data["company_id"] = who.company
    if copied:
        data["cc_emails"] = [written(desk, person) for person in copied]
    data["fr_due_by"], data["due_by"] = desk.moment(at + 86_400), desk.moment(at + 4 * 86_400)
    return data


def _named(desk: Desk, who: Person) -> Data:
    """Say who opens a ticket: by id, or by an address."""
    if who.number == 0:
        return {"email": who.email, "name": who.name}
    if desk.chance(rates.BY_ADDRESS):
        how = desk.random()
        if how < 0.25 and who.phone is not None:
            return {"phone": who.phone, "name": who.name}
        if how < 0.5 and who.external is not None:
            return {"unique_external_id": who.external}
        if how < 0.6 and who.other_emails:
            return {"email": desk.pick(who.other_emails)}
        return {"email": who.email if how < 0.9 else who.email.upper(), "name": who.name}
    return {"requester_id": who.number}


def written(desk: Desk, person: Person) -> str:
    """Write an address as mail programs do, with or without a name."""
    return f"{person.name} <{person.email}>" if desk.chance(0.6) else person.email


def copied_with(desk: Desk, who: Person) -> list[Person]:
    """Draw who is in copy from the start."""
    if not desk.chance(rates.IN_COPY):
        return []
    found = (desk.people.anyone(), desk.people.anyone())
    return [person for person in found[: 1 + desk.chance(0.3)] if person is not who]


def entry_of(desk: Desk, number: int, author: Person, text: str, *, incoming: bool) -> Data:
    """Draw an entry with this text."""
    return desk.html(
        {"ticket_id": number, "id": desk.number(), "body_text": text, "user_id": author.number, "incoming": incoming}
    )


def _quoting(desk: Desk, text: str, last: str) -> str:
    return f"{text}\n\n> " + last[:_QUOTED].replace("\n", "\n> ") if last and desk.chance(rates.QUOTES) else text


def incoming(desk: Desk, number: int, who: Person, writer: Person, last: str) -> Data:
    """Draw what somebody writes on a ticket of `who`."""
    data = entry_of(desk, number, writer, _quoting(desk, desk.writing.again(writer), last), incoming=True)
    data["from_email"] = writer.email
    data["source"] = _REPLY
    if writer.number == 0 or (writer is not who and desk.chance(0.3)):
        del data["user_id"]
    if desk.chance(0.03):
        stranger = desk.people.new_person()
        data["cc_emails"] = [f"{stranger.name} <{stranger.email}>"]
    return data


def outgoing(desk: Desk, number: int, who: Person, agent: Person, copied: list[Person], last: str) -> Data:
    """Draw what an agent answers."""
    data = entry_of(desk, number, agent, _quoting(desk, desk.writing.answer(agent, who), last), incoming=False)
    data["from_email"], data["support_email"] = SUPPORT, SUPPORT
    data["to_emails"] = [who.email]
    data["source"] = _REPLY
    if copied:
        data["cc_emails"] = [written(desk, person) for person in copied]
    return data


def note(desk: Desk, at: int, number: int, agent: Person) -> Part:
    """Tell a note of the team."""
    data = entry_of(desk, number, agent, desk.writing.one(desk.house.notes, agent.language), incoming=False)
    data["private"], data["source"] = True, _NOTE
    desk.say(tickets.TicketNoteAdded, at, data)
    return (yield from changes_of(desk, at, number, data["id"], agent))


def changes_of(desk: Desk, at: int, number: int, entry: int, agent: Person | None) -> Part:
    """Tell what becomes of an entry: a file comes with it, it is edited, it is deleted."""
    if desk.chance(rates.WITH_FILE):
        at = yield from file_added(desk, at, number, entry, agent)
    how = desk.random()
    if how < rates.EDITED:
        at = yield desk.after(600)
        words = desk.people.agents[0].language
        text = f"{desk.writing.several(words.answers, words, 2)} (corrected)"
        desk.say(tickets.TicketEntryEdited, at, {"ticket_id": number, "id": entry, "body_text": text})
    elif how < rates.EDITED + rates.DELETED:
        at = yield desk.after(900)
        desk.say(tickets.TicketEntryDeleted, at, {"ticket_id": number, "id": entry})
    return at


def file_added(desk: Desk, at: int, number: int, entry: int | None, who: Person | None) -> Part:
    """Tell of a file that comes with a ticket or an entry, and of its end, if it has one."""
    data = desk.file(ticket_id=number)
    if entry is not None:
        data["conversation_id"] = entry
    if who is not None and who.number:
        data["user_id"] = who.number
    desk.say(tickets.TicketAttachmentAdded, at, data)
    if desk.chance(rates.FILE_DELETED):
        at = yield desk.after(600)
        desk.say(tickets.TicketAttachmentDeleted, at, {"ticket_id": number, "id": data["id"]})
    return at
