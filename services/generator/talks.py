"""Stories of calls, chats, and what the team says among itself about a ticket.

A story that is told `in_full` leaves nothing out that may happen.
"""

from __future__ import annotations

from domain import calls, chats, discussions
from services.generator import rates
from services.generator.desk import Data, Desk, Part, Story
from services.generator.people import Person

_INCOMING, _OUTGOING, _MISSED = 1, 2, 3
#: Whatsapp, chat and portal: where people chat.
_CHAT_CHANNELS = (7, 7, 7, 13, 2)


def call(desk: Desk, at: int, who: Person, *, ticket: int | None = None, in_full: bool = False) -> Story:
    """Tell a call; some have a recording and a text, some are purged."""
    house, writing = desk.house, desk.writing
    number, agent, length = desk.number(), desk.on_duty(), int(20 + desk.random() * 1500)
    nobody = ticket is None and not in_full and desk.chance(rates.CALL_OF_NOBODY)
    direction = desk.pick((_INCOMING, _INCOMING, _INCOMING, _OUTGOING, _MISSED))
    data: Data = {"id": number, "direction": direction, "support_phone": "+44 1632 960 123"}
    if not nobody:
        data.update(_caller(desk, who))
    if ticket is not None:
        data["ticket_id"] = ticket
    if direction == _MISSED and ticket is None and not in_full:
        desk.say(calls.CallLogged, at, data)
        return
    data["agent_id"], data["duration_seconds"], data["ended_at"] = agent.number, length, desk.moment(at + length)
    data["group_id"] = 1 + int(desk.random() * len(house.groups))
    data["subject"] = writing.one(house.call_subjects, agent.language)
    data["notes"] = writing.one(house.call_notes, agent.language)
    desk.say(calls.CallLogged, at, data)
    if in_full or desk.chance(rates.RECORDED):
        at = yield length
        recording = {**desk.file(call_id=number, duration_seconds=length), "name": f"call-{number}.ogg"}
        recording["content_type"] = "audio/ogg"
        desk.say(calls.CallRecordingAdded, at, recording)
    if in_full or desk.chance(rates.WRITTEN_DOWN):
        at = yield length
        lines = [_spoken(desk, who, turn) for turn in range(2 + int(desk.random() * 6))]
        written: Data = {"call_id": number, "body_text": "\n".join(lines), "language": who.language.code}
        desk.say(calls.CallTranscriptAdded, at, written)
    if in_full or desk.chance(rates.CALL_PURGED):
        at = yield desk.after(rates.UNTIL_CLOSED)
        desk.say(calls.CallPurged, at, {"id": number})


def chat(desk: Desk, at: int, who: Person, *, ticket: int | None = None, in_full: bool = False) -> Story:
    """Tell a chat, message by message."""
    number, agent, words = desk.number(), desk.on_duty(), who.language
    data: Data = {"id": number, "channel": desk.pick(_CHAT_CHANNELS), "agent_id": agent.number}
    data.update({"user_id": who.number} if who.number else {"email": who.email, "name": who.name})
    data["subject"] = desk.writing.one(words.subjects, words)
    if ticket is not None:
        data["ticket_id"] = ticket
    desk.say(chats.ChatStarted, at, data)
    for turn in range(2 + int(desk.random() * (rates.MESSAGES - 1))):
        at = yield 15 + desk.random() * 90
        incoming = turn % 2 == 0 or desk.chance(0.2)
        agent = desk.on_duty(agent)
        message: Data = {"chat_id": number, "id": desk.number(), "incoming": incoming}
        author = who if incoming else agent
        if author.number:
            message["user_id"] = author.number
        text = desk.writing.one(words.chat if incoming else words.answers, words)
        if desk.chance(0.2):
            message["message_parts"] = [{"text": {"content": text}}]
        else:
            message["body"] = text
        desk.say(chats.ChatMessageSent, at, message)
    at = yield 60
    desk.say(chats.ChatEnded, at, {"id": number, "ended_at": desk.moment(at)})
    if in_full or desk.chance(rates.CHAT_PURGED):
        at = yield desk.after(rates.UNTIL_CLOSED)
        desk.say(chats.ChatPurged, at, {"id": number})


def discussion(desk: Desk, at: int, ticket: int, agent: Person, *, in_full: bool = False) -> Part:
    """Tell what the team says about a ticket, and return the time when it has said enough."""
    house, writing = desk.house, desk.writing
    agent = desk.on_duty(agent)
    thread = desk.number()
    started: Data = {"ticket_id": ticket, "id": thread, "created_by": agent.number, "type": "discussion"}
    started["title"] = writing.one(house.team_titles, agent.language)
    started["agents"] = sorted({desk.on_duty().number, agent.number})
    if desk.chance(0.2):
        started["type"], started["emails"] = "forward", [desk.people.anyone().email]
    desk.say(discussions.DiscussionStarted, at, started)
    for _ in range(1 + int(desk.random() * 3)):
        at = yield desk.at_work(at, 1200)
        author, message = desk.on_duty(), desk.number()
        text = writing.several(house.team_messages, author.language, 3)
        posted: Data = {"ticket_id": ticket, "thread_id": thread, "id": message, "created_by": author.number}
        desk.say(discussions.DiscussionMessagePosted, at, {**posted, "body_text": text})
        how = desk.random()
        if in_full or how < rates.MESSAGE_EDITED:
            at = yield 120
            again = {"ticket_id": ticket, "id": message, "body_text": f"{text} (Or so I think.)"}
            desk.say(discussions.DiscussionMessageEdited, at, again)
        if in_full or how > 1 - rates.MESSAGE_DELETED:
            at = yield 240
            desk.say(discussions.DiscussionMessageDeleted, at, {"ticket_id": ticket, "id": message})
    return at


def _caller(desk: Desk, who: Person) -> Data:
    if who.number == 0:
        return {"email": who.email, "name": who.name}
    if who.phone is not None and desk.chance(0.5):
        return {"phone": who.phone, "name": who.name}
    return {"user_id": who.number}


def _spoken(desk: Desk, who: Person, turn: int) -> str:
    words = who.language
    if turn % 2:
        return f"A: {desk.writing.one(words.answers, words)}"
    return f"B: {who.name if turn == 0 else ''} {desk.writing.one(words.details, words)}"
