"""The fold behind `tickets`: tickets, their entries, and who has to do with them.

Rules of forgetting: a ticket of a shredded requester is erased, with every seal in it and every contact; in
other people's tickets exactly the seals that the person owned are gone. What stood in a ticket before it
moved belongs to both requesters. Merged people move their tickets along. An erased ticket keeps counting
and stays erased.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from domain import subjects
from domain.contacts import ContactMerged
from domain.fact import FactAtRest
from domain.tickets import (
    TicketDeleted,
    TicketNoteAdded,
    TicketOpened,
    TicketRated,
    TicketReplied,
    TicketRestored,
    TicketUpdated,
)
from projections import clear, milestones
from projections.seals import Seal, Seals, after, blanked, blanked_of, owned_too, seal_of
from projections.shredded import Shredded
from projections.statements import Key

_KINDS = {TicketReplied.TYPE: "reply", TicketNoteAdded.TYPE: "note", TicketRated.TYPE: "rating"}


@dataclass(slots=True)
class Ticket:
    """One ticket. `requester` is None once it is erased; `copied` holds who was in copy and still is."""

    first_position: int
    opened_at: datetime
    status: str = milestones.DEFAULT_STATUS
    priority: str = milestones.DEFAULT_PRIORITY
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
    copied: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a ticket, by the position of its fact. `author` is None for a contact who is forgotten."""

    kind: str
    at: datetime
    by: str | None
    author: UUID | None
    private: bool | None
    incoming: bool | None
    source: str | None
    rating: int | None
    seal: Seal


@dataclass(slots=True)
class Conversations:
    """The tickets that a page touches, as loaded and then as folded."""

    tickets: dict[Key, Ticket] = field(default_factory=dict)
    seals: dict[Key, Seals] = field(default_factory=dict)
    entries: dict[Key, dict[int, Entry]] = field(default_factory=dict)
    shredded: Shredded = field(default_factory=dict)
    #: The tickets that each subject has to do with: as requester, owner, contact who wrote, or in copy.
    involved: dict[Key, set[Key]] = field(default_factory=dict)
    #: What came to `involved` in this page, (subject, ticket), and the tickets that were erased in it.
    newly_involved: dict[tuple[Key, Key], None] = field(default_factory=dict)
    newly_erased: dict[Key, None] = field(default_factory=dict)

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
    match fact.type:
        case TicketOpened.TYPE | TicketUpdated.TYPE:
            _update(held, fact)
        case TicketReplied.TYPE | TicketNoteAdded.TYPE | TicketRated.TYPE:
            _enter(held, fact)
        case TicketDeleted.TYPE | TicketRestored.TYPE:
            if ticket := held.tickets.get(clear.thing(fact)):
                ticket.deleted = fact.type == TicketDeleted.TYPE
        case ContactMerged.TYPE:
            _merge(held, fact)
        case subjects.SUBJECT_SHREDDED:
            _forget(held, fact, clear.subjects(fact.clear.get("subjects")))
        case subjects.CONTENT_SHREDDED:
            held.shredded.setdefault(clear.thing(fact), clear.day(fact.occurred_at))
            _erase(held, clear.thing(fact))
        case _:
            pass


def _update(held: Conversations, fact: FactAtRest) -> None:
    """Take in what a fact says of a ticket: what it gives replaces, what it does not stays."""
    key, said = clear.thing(fact), fact.clear
    ticket = held.tickets.get(key)
    if ticket is None:
        if fact.type != TicketOpened.TYPE:
            return
        ticket = held.tickets[key] = Ticket(fact.position, fact.occurred_at)
        if key in held.shredded:
            _erase(held, key)
    status = milestones.status_after(fact, ticket.status)
    ticket.resolved_at = milestones.resolved_after(ticket.status, status, ticket.resolved_at, at=fact.occurred_at)
    ticket.status = status
    ticket.priority = milestones.priority_after(fact, ticket.priority)
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
    if requester := clear.subject(said.get("requester")):
        _move(held, key, requester)
    if "copied" in said and not ticket.erased:
        ticket.copied = tuple(
            person for person in clear.subjects(said["copied"]) if not held.is_shredded(fact.tenant, person)
        )
        held.involve(key, ticket.copied)
    held.seals[key] = after(held.seals.get(key, {}), fact, shredded=_takes_no_seal_of(held, ticket, fact))
    _involve_owners(held, key, held.seals[key].get(fact.position))


def _enter(held: Conversations, fact: FactAtRest) -> None:
    """Add an entry to the conversation of a ticket."""
    key, said = clear.thing(fact), fact.clear
    ticket = held.tickets.get(key)
    if ticket is None:
        return
    ticket.entries += 1
    if milestones.is_response(fact):
        ticket.first_response_at = min(ticket.first_response_at or fact.occurred_at, fact.occurred_at)
    rating = clear.number(said.get("rating"))
    if fact.type == TicketRated.TYPE:
        ticket.rating = rating
    by, author = clear.word(said.get("by")), clear.subject(said.get("author"))
    if author is not None and by != "agent":
        if ticket.erased or held.is_shredded(fact.tenant, author):
            author = None
        elif author != ticket.requester:
            held.involve(key, (author,))
    seal = seal_of(fact, shredded=_takes_no_seal_of(held, ticket, fact))
    held.entries.setdefault(key, {})[fact.position] = Entry(
        kind=_KINDS[fact.type],
        at=fact.occurred_at,
        by=by,
        author=author,
        private=clear.flag(said.get("private")),
        incoming=clear.flag(said.get("incoming")),
        source=clear.word(said.get("entry_source")),
        rating=rating,
        seal=seal,
    )
    _involve_owners(held, key, seal)


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
    """Let the tickets of merged people follow. Seals need no new owner: a later shred names everybody."""
    primary = clear.subject(fact.clear.get("person"))
    secondaries = clear.subjects(fact.clear.get("secondary"))
    if primary is None:
        return
    if held.is_shredded(fact.tenant, primary):
        _forget(held, fact, secondaries)
        return
    for secondary in secondaries:
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
    ticket.erased, ticket.requester, ticket.copied = True, None, ()
    held.newly_erased[key] = None
    _each_seal(held, key, blanked)
    _forget_authors(held, key, lambda _author: True)


def _each_seal(held: Conversations, key: Key, change: Callable[[Seal], Seal]) -> None:
    """Change the seals of a ticket and of its entries. What stays the same stays the same object."""
    held.seals[key] = {position: change(seal) for position, seal in held.seals.get(key, {}).items()}
    entries = held.entries.get(key, {})
    for position, entry in entries.items():
        seal = change(entry.seal)
        if seal is not entry.seal:
            entries[position] = replace(entry, seal=seal)


def _forget_authors(held: Conversations, key: Key, is_gone: Callable[[UUID], bool]) -> None:
    """Forget the contacts who wrote entries. Agents stay: reports by agent count them."""
    entries = held.entries.get(key, {})
    for position, entry in entries.items():
        if entry.author is not None and entry.by != "agent" and is_gone(entry.author):
            entries[position] = replace(entry, author=None)
