"""The fold behind `tickets`: tickets, calls and chats, their entries, and who has to do with them.

Rules of forgetting: a ticket of a shredded requester is erased, with every seal in it and every contact; in
other people's tickets exactly the seals that the person owned are gone. What stood in a ticket before it
moved, or was merged into another one, belongs to both requesters. Merged people move their tickets along. An
erased ticket keeps counting and stays erased. A call or chat is such a ticket of another kind; one of nobody
who is known has no requester and is not erased for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from domain import subjects
from domain.agents import AgentDeleted
from domain.calls import CallLogged, CallPurged
from domain.chats import ChatEnded, ChatPurged, ChatStarted
from domain.contacts import ContactMerged
from domain.fact import FactAtRest
from domain.tickets import (
    TicketDeleted,
    TicketForwarded,
    TicketMerged,
    TicketMergedAway,
    TicketOpened,
    TicketPurged,
    TicketRated,
    TicketRestored,
    TicketUpdated,
)
from projections import clear, entries, milestones
from projections.entries import Entry
from projections.seals import Seal, Seals, after, blanked, blanked_of, owned_too, seal_of
from projections.shredded import Shredded
from projections.statements import Key

#: What each type of fact opens.
OPENS: Mapping[str, str] = MappingProxyType(
    {TicketOpened.TYPE: "ticket", CallLogged.TYPE: "call", ChatStarted.TYPE: "chat"}
)
#: Facts that say what a ticket is.
TELLS = frozenset({*OPENS, TicketUpdated.TYPE})
#: Facts that may give it to somebody.
MOVES = frozenset({*TELLS, TicketMergedAway.TYPE})

_PURGES = frozenset({TicketPurged.TYPE, CallPurged.TYPE, ChatPurged.TYPE})

#: Every type that this fold takes in.
FOLDED = frozenset(
    {
        *MOVES,
        *entries.KINDS,
        *entries.EDITS,
        *entries.DELETIONS,
        *_PURGES,
        TicketDeleted.TYPE,
        TicketRestored.TYPE,
        TicketMerged.TYPE,
        ChatEnded.TYPE,
        AgentDeleted.TYPE,
        ContactMerged.TYPE,
        subjects.SUBJECT_SHREDDED,
        subjects.CONTENT_SHREDDED,
    }
)


@dataclass(slots=True)
class Ticket:
    """One ticket, call or chat, by its `kind`. `copied` holds who was in copy and still is.

    `requester` is None once it is erased, and for a call or chat of nobody who is known. A call or chat has no
    status and no priority.
    """

    kind: str
    first_position: int
    opened_at: datetime
    status: str | None = None
    priority: str | None = None
    channel: str | None = None
    type: str | None = None
    group: str | None = None
    product: str | None = None
    requester: UUID | None = None
    responder: UUID | None = None
    spam: bool | None = None
    due_by: datetime | None = None
    fr_due_by: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    deleted: bool = False
    erased: bool = False
    entries: int = 0
    first_response_at: datetime | None = None
    resolved_at: datetime | None = None
    rating: int | None = None
    parent: UUID | None = None
    merged_into: UUID | None = None
    deleted_at: datetime | None = None
    purge_asked_at: datetime | None = None
    direction: str | None = None
    duration_seconds: int | None = None
    ended_at: datetime | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    copied: tuple[UUID, ...] = ()


@dataclass(slots=True)
class Conversations:
    """The tickets that a page touches, as loaded and then as folded."""

    tickets: dict[Key, Ticket] = field(default_factory=dict)
    seals: dict[Key, Seals] = field(default_factory=dict)
    entries: dict[Key, dict[int, Entry]] = field(default_factory=dict)
    shredded: Shredded = field(default_factory=dict)
    #: The parts of tickets that were deleted, and those that this page deleted.
    ended: set[Key] = field(default_factory=set)
    newly_ended: dict[Key, None] = field(default_factory=dict)
    #: The tickets that each subject has to do with: as requester, owner, contact who wrote, or in copy.
    involved: dict[Key, set[Key]] = field(default_factory=dict)
    #: What came to `involved` in this page, (subject, ticket), and the tickets that were erased in it.
    newly_involved: dict[tuple[Key, Key], None] = field(default_factory=dict)
    newly_erased: dict[Key, None] = field(default_factory=dict)
    #: Whose charge went to whom, or to nobody, in the order of this page. Tickets that are not held follow, too.
    handovers: list[tuple[Key, UUID | None]] = field(default_factory=list)

    def is_shredded(self, tenant: UUID, id_: UUID) -> bool:
        """Tell whether a subject or thing was shredded up to here."""
        return (tenant, id_) in self.shredded

    def involve(self, ticket: Key, people: Collection[UUID]) -> None:
        """Remember that these people have to do with a ticket."""
        for person in people:
            subject = (ticket[0], person)
            self.involved.setdefault(subject, set()).add(ticket)
            self.newly_involved[subject, ticket] = None


def fold(held: Conversations, fact: FactAtRest) -> None:
    """Fold one fact; a type that says nothing about tickets changes nothing."""
    if fact.type in entries.KINDS:
        _enter(held, fact)
    elif fact.type in TELLS:
        _update(held, fact)
    elif fact.type in entries.EDITS:
        _edit(held, fact)
    elif fact.type in entries.DELETIONS:
        if part := clear.subject(fact.clear.get("part")):
            _end(held, clear.thing(fact), part)
    elif fact.type == ContactMerged.TYPE:
        _merge(held, fact)
    elif fact.type == subjects.SUBJECT_SHREDDED:
        _forget(held, fact, clear.subjects(fact.clear.get("subjects")))
    elif fact.type == subjects.CONTENT_SHREDDED:
        held.shredded.setdefault(clear.thing(fact), clear.day(fact.occurred_at))
        _erase(held, clear.thing(fact))
    elif fact.type == AgentDeleted.TYPE:
        if agent := clear.subject(fact.clear.get("person")):
            _hand_over(held, (fact.tenant, agent), None)
    elif ticket := held.tickets.get(clear.thing(fact)):
        _pass_through(held, ticket, fact)


def _pass_through(held: Conversations, ticket: Ticket, fact: FactAtRest) -> None:
    """Take in a station in the life of a ticket: the trash, a merge, the end, the wish that it be gone."""
    if fact.type == TicketDeleted.TYPE:
        ticket.deleted, ticket.deleted_at = True, fact.occurred_at
    elif fact.type == TicketRestored.TYPE:
        ticket.deleted, ticket.deleted_at = False, None
    elif fact.type in _PURGES:
        if not ticket.erased:
            ticket.purge_asked_at = fact.occurred_at
    elif fact.type == ChatEnded.TYPE:
        ticket.ended_at = clear.moment(fact.clear.get("ended_at")) or fact.occurred_at
    elif fact.type == TicketMergedAway.TYPE:
        ticket.merged_into = clear.subject(fact.clear.get("into"))
        if requester := clear.subject(fact.clear.get("requester")):
            _move(held, clear.thing(fact), requester)
    elif fact.type == TicketMerged.TYPE and "updated_at" in fact.clear:
        ticket.updated_at = clear.moment(fact.clear["updated_at"])


def _opened(fact: FactAtRest) -> Ticket | None:
    """Return what a fact opens, if it opens anything."""
    kind = OPENS.get(fact.type)
    if kind is None:
        return None
    ticket = Ticket(kind, fact.position, fact.occurred_at)
    if kind == "ticket":
        ticket.status, ticket.priority = milestones.DEFAULT_STATUS, milestones.DEFAULT_PRIORITY
    return ticket


def _update(held: Conversations, fact: FactAtRest) -> None:
    """Take in what a fact says of a ticket: what it gives replaces, what it does not stays."""
    key, said = clear.thing(fact), fact.clear
    ticket = held.tickets.get(key)
    if ticket is None:
        if (ticket := _opened(fact)) is None:
            return
        held.tickets[key] = ticket
        if key in held.shredded:
            _erase(held, key)
    if ticket.status is not None and ticket.priority is not None:
        status = milestones.status_after(fact, ticket.status)
        ticket.resolved_at = milestones.resolved_after(ticket.status, status, ticket.resolved_at, at=fact.occurred_at)
        ticket.status = status
        ticket.priority = milestones.priority_after(fact, ticket.priority)
    if "words" in said:
        ticket.words = milestones.words_after(fact, ticket.words)
    if "channel" in said:
        ticket.channel = clear.word(said["channel"])
    if "type" in said:
        ticket.type = clear.word(said["type"])
    if "group" in said:
        ticket.group = clear.word(said["group"])
    if "product" in said:
        ticket.product = clear.word(said["product"])
    if "responder" in said:
        ticket.responder = clear.subject(said["responder"])
    if "spam" in said:
        ticket.spam = clear.flag(said["spam"])
    if "due_by" in said:
        ticket.due_by = clear.moment(said["due_by"])
    if "fr_due_by" in said:
        ticket.fr_due_by = clear.moment(said["fr_due_by"])
    if "created_at" in said:
        ticket.created_at = clear.moment(said["created_at"])
    if "updated_at" in said:
        ticket.updated_at = clear.moment(said["updated_at"])
    if ticket.kind != "ticket":
        _update_call(ticket, said)
    if requester := clear.subject(said.get("requester")):
        _move(held, key, requester)
    if "copied" in said and not ticket.erased:
        ticket.copied = ()
        _copy(held, key, clear.subjects(said["copied"]))
    held.seals[key] = after(held.seals.get(key, {}), fact, shredded=_takes_no_seal_of(held, ticket, fact))
    _involve_owners(held, key, held.seals[key].get(fact.position))


def _update_call(ticket: Ticket, said: Mapping[str, object]) -> None:
    """Take in what only calls and chats say."""
    if "parent" in said:
        ticket.parent = clear.subject(said["parent"])
    if "direction" in said:
        ticket.direction = clear.word(said["direction"])
    if "duration_seconds" in said:
        ticket.duration_seconds = clear.number(said["duration_seconds"])
    if "ended_at" in said:
        ticket.ended_at = clear.moment(said["ended_at"])


def _copy(held: Conversations, key: Key, people: Collection[UUID]) -> None:
    """Put people in copy, beside those who are."""
    ticket = held.tickets[key]
    living = (person for person in people if not held.is_shredded(key[0], person))
    ticket.copied = tuple(dict.fromkeys([*ticket.copied, *living]))
    held.involve(key, ticket.copied)


def _enter(held: Conversations, fact: FactAtRest) -> None:
    """Add an entry to the conversation of a ticket."""
    key = clear.thing(fact)
    ticket = held.tickets.get(key)
    if ticket is None:
        return
    ticket.entries += 1
    if milestones.is_response(fact):
        ticket.first_response_at = min(ticket.first_response_at or fact.occurred_at, fact.occurred_at)
    if fact.type == TicketRated.TYPE:
        ticket.rating = clear.number(fact.clear.get("rating"))
    elif fact.type == TicketForwarded.TYPE and not ticket.erased:
        _copy(held, key, clear.subjects(fact.clear.get("copied")))
    is_dead = bool(held.ended) and not held.ended.isdisjoint(entries.parts_of(fact))
    seal = seal_of(fact, shredded=is_dead or _takes_no_seal_of(held, ticket, fact))
    author = clear.subject(fact.clear.get("author")) if is_dead else _author(held, key, fact)
    entry = entries.entry_of(fact, author=author, seal=seal)
    if is_dead:
        entry = entries.deleted(entry)
        if entry.part is not None:
            _end(held, key, entry.part)
    held.entries.setdefault(key, {})[fact.position] = entry
    _involve_owners(held, key, seal)


def _author(held: Conversations, key: Key, fact: FactAtRest) -> UUID | None:
    """Read who wrote an entry, and remember that contact; who is forgotten already is nobody."""
    author, ticket = clear.subject(fact.clear.get("author")), held.tickets[key]
    if author is None or fact.clear.get("by") == "agent":
        return author
    if ticket.erased or held.is_shredded(fact.tenant, author):
        return None
    if author != ticket.requester:
        held.involve(key, (author,))
    return author


def _edit(held: Conversations, fact: FactAtRest) -> None:
    """Let an entry say what a fact writes anew. One that is not there, or was deleted, stays away."""
    key, part = clear.thing(fact), clear.subject(fact.clear.get("part"))
    ticket = held.tickets.get(key)
    if ticket is None or part is None or (fact.tenant, part) in held.ended:
        return
    conversation = held.entries.get(key, {})
    places = sorted(position for position, entry in conversation.items() if entry.part == part)
    if not places:
        return
    seal = seal_of(fact, shredded=_takes_no_seal_of(held, ticket, fact))
    first, *again = places
    conversation[first] = entries.edited(conversation[first], fact, author=_author(held, key, fact), seal=seal)
    for position in again:
        # The keys of every older version die, so one that was told twice remains in one place.
        conversation[position] = entries.deleted(conversation[position])
    _involve_owners(held, key, seal)


def _end(held: Conversations, key: Key, part: UUID) -> None:
    """End a part of a ticket, with everything that hangs in it, now and later."""
    tenant, _ = key
    if (tenant, part) in held.newly_ended:
        return
    held.ended.add((tenant, part))
    held.newly_ended[tenant, part] = None
    conversation = held.entries.get(key, {})
    for position, entry in conversation.items():
        if part in (entry.part, entry.within) and not entry.deleted:
            conversation[position] = entries.deleted(entry)
            if entry.part is not None:
                _end(held, key, entry.part)


def _hand_over(held: Conversations, agent: Key, successor: UUID | None) -> None:
    """Give what is in the charge of an agent to somebody else, or to nobody."""
    tenant, former = agent
    held.handovers.append((agent, successor))
    for (of_tenant, _), ticket in held.tickets.items():
        if ticket.responder == former and of_tenant == tenant:
            ticket.responder = successor


def _takes_no_seal_of(held: Conversations, ticket: Ticket, fact: FactAtRest) -> bool:
    return ticket.erased or any(held.is_shredded(fact.tenant, owner) for owner in fact.owners)


def _involve_owners(held: Conversations, key: Key, seal: Seal | None) -> None:
    requester = held.tickets[key].requester
    if seal is not None:
        held.involve(key, [owner for owner in seal.owners if owner != requester])


def _move(held: Conversations, key: Key, requester: UUID) -> None:
    """Give a ticket to a requester. What already stood in it belongs to the former one and to this one."""
    ticket = held.tickets[key]
    if ticket.erased or ticket.requester == requester:
        return
    if held.is_shredded(key[0], requester):
        _erase(held, key)
        return
    ticket.requester = requester
    held.involve(key, (requester,))
    _each_seal(held, key, lambda seal: owned_too(seal, requester))


def _merge(held: Conversations, fact: FactAtRest) -> None:
    """Let the tickets of merged people follow, and those in their charge.

    Seals need no new owner: a later shred names everybody.
    """
    primary = clear.subject(fact.clear.get("person"))
    secondaries = clear.subjects(fact.clear.get("secondary"))
    if primary is None:
        return
    if held.is_shredded(fact.tenant, primary):
        _forget(held, fact, secondaries)
        return
    for secondary in secondaries:
        _hand_over(held, (fact.tenant, secondary), primary)
        for key in tuple(held.involved.get((fact.tenant, secondary), ())):
            ticket = held.tickets[key]
            if ticket.requester == secondary:
                ticket.requester = primary
                held.involve(key, (primary,))


def _forget(held: Conversations, fact: FactAtRest, people: Collection[UUID]) -> None:
    """Forget people: their tickets, and in the tickets of others what they owned, wrote or were copied in."""
    gone = frozenset(people)
    for person in people:
        held.shredded.setdefault((fact.tenant, person), clear.day(fact.occurred_at))
    for person in people:
        for key in held.involved.get((fact.tenant, person), ()):
            ticket = held.tickets[key]
            if ticket.requester in gone:
                _erase(held, key)
            ticket.copied = tuple(other for other in ticket.copied if other not in gone)
            _each_seal(held, key, lambda seal: blanked_of(seal, gone))
            _forget_authors(held, key, lambda author: author in gone)


def _erase(held: Conversations, key: Key) -> None:
    """Leave of a ticket what can be counted."""
    ticket = held.tickets.get(key)
    if ticket is None:
        return
    ticket.erased, ticket.requester, ticket.copied, ticket.purge_asked_at = True, None, (), None
    held.newly_erased[key] = None
    _each_seal(held, key, blanked)
    _forget_authors(held, key, lambda _author: True)


def _each_seal(held: Conversations, key: Key, change: Callable[[Seal], Seal]) -> None:
    """Change the seals of a ticket and of its entries. What stays the same stays the same object."""
    held.seals[key] = {position: change(seal) for position, seal in held.seals.get(key, {}).items()}
    conversation = held.entries.get(key, {})
    for position, entry in conversation.items():
        seal = change(entry.seal)
        if seal is not entry.seal:
            conversation[position] = replace(entry, seal=seal)


def _forget_authors(held: Conversations, key: Key, is_gone: Callable[[UUID], bool]) -> None:
    """Forget the contacts who wrote entries. Agents stay: reports by agent count them."""
    conversation = held.entries.get(key, {})
    for position, entry in conversation.items():
        if entry.author is not None and entry.by != "agent" and is_gone(entry.author):
            conversation[position] = replace(entry, author=None)
