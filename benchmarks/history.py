"""A made-up history of a helpdesk, as CloudEvents in JSON: the same bytes every time.

The mix, in a thousand records: about 110 contacts and 175 tickets are new; the rest are replies, ratings and a few
updates of tickets and contacts. A record has some 620 bytes. Tickets overlap in time, so a batch meets people and
tickets of batches before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from random import Random
from typing import Any

import orjson

TENANT = "acme"
AGENTS = 20
#: Tickets that are being worked on at any moment.
ACTIVE_TICKETS = 300
_START = datetime(2025, 1, 6, 8, 0, tzinfo=UTC)
_TEXT = (
    "the printer answers after a while but not when my colleague asks again and we would like to know whether "
    "this invoice has been sent to our old address because since last week nothing arrives and the parcel was "
    "returned twice please call back in the morning or write what else you need thank you for looking into it"
)
_WORDS = _TEXT.split()
_DOMAINS = ("example.org", "mail.example.net", "post.example.com")


class _Scribe:
    """Writes the records of one history, one after the other."""

    def __init__(self, seed: int, *, replies: int = 0) -> None:
        self.random = Random(seed)
        self._numbers = count(1)
        # Of two tickets with a reply of the same number, the second would be refused.
        self._replies = count(replies)

    def record(self, type_: str, subject: str, data: dict[str, Any]) -> bytes:
        """Write one CloudEvent; half a minute passes from one to the next."""
        number = next(self._numbers)
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": f"event-{number}",
                "source": "/benchmarks/history",
                "type": f"sealdesk.{type_}.v1",
                "subject": subject,
                "tenant": TENANT,
                "time": (_START + timedelta(seconds=30 * number)).isoformat(),
                "data": data,
            }
        )

    def text(self, fewest: int, most: int) -> str:
        """Write so many words that say nothing."""
        return " ".join(self.random.choices(_WORDS, k=self.random.randint(fewest, most)))

    def contact(self, number: int) -> bytes:
        """Let a contact become known."""
        name = f"{self.random.choice(_WORDS).title()} {self.random.choice(_WORDS).title()}-{number}"
        return self.record(
            "contact.created",
            f"contact {number}",
            {
                "id": number,
                "name": name,
                "email": f"person.{number}@{self.random.choice(_DOMAINS)}",
                "mobile": f"+4930{5_550_000_000 + number}" if number % 3 == 0 else None,
                "address": self.text(6, 10),
                "description": self.text(10, 40),
                "time_zone": "Berlin",
                "language": "de",
                "active": True,
            },
        )

    def ticket(self, number: int, requester: int) -> bytes:
        """Let a contact open a ticket; now and then somebody else is in copy."""
        data = {
            "id": number,
            "requester_id": requester,
            "subject": self.text(4, 9),
            "description": self.text(40, 90),
            "status": 2,
            "priority": self.random.randint(1, 4),
            "source": self.random.choice((1, 1, 1, 2, 3, 7)),
            "type": "Question",
            "tags": [self.random.choice(_WORDS)],
        }
        if self.random.random() < 0.03:
            data["cc_emails"] = [f"copied.{number}@{_DOMAINS[0]}"]
        return self.record("ticket.opened", f"ticket {number}", data)

    def reply(self, ticket: int, author: int, *, incoming: bool) -> bytes:
        """Let the requester or an agent write."""
        return self.record(
            "ticket.replied",
            f"ticket {ticket}",
            {
                "ticket_id": ticket,
                "id": next(self._replies),
                "body": self.text(40, 110),
                "user_id": author,
                "incoming": incoming,
                "source": 0,
            },
        )

    def status(self, ticket: int, status: int, agent: int) -> bytes:
        """Let the status of a ticket change."""
        data = {"id": ticket, "status": status, "responder_id": agent, "custom_fields": {"note": self.text(20, 50)}}
        return self.record("ticket.updated", f"ticket {ticket}", data)

    def rating(self, ticket: int, requester: int, agent: int) -> bytes:
        """Let the requester rate."""
        rating = self.random.choice((-103, 100, 103, 103))
        data = {"ticket_id": ticket, "user_id": requester, "agent_id": agent, "rating": rating}
        return self.record("ticket.rated", f"ticket {ticket}", {**data, "feedback": self.text(15, 50)})

    def new_address(self, contact: int) -> bytes:
        """Let a contact move house."""
        data = {"id": contact, "address": self.text(6, 10), "description": self.text(10, 40)}
        return self.record("contact.updated", f"contact {contact}", data)


def records(number: int, *, seed: int = 1) -> list[bytes]:
    """Write the first records of the history: a longer history begins like a shorter one."""
    return list(islice(endless(seed=seed), number))


def endless(*, seed: int = 1) -> Iterator[bytes]:
    """Write the same history, record by record, for as long as somebody asks."""
    return _history(_Scribe(seed))


def _history(scribe: _Scribe) -> Iterator[bytes]:
    random = scribe.random
    for agent in range(1, AGENTS + 1):
        data = {"id": agent, "name": f"Agent {agent}", "email": f"agent.{agent}@desk.example.org"}
        yield scribe.record("agent.created", f"agent {agent}", data)
    contacts: list[int] = []
    active: list[tuple[int, int]] = []
    people, tickets = count(1_001), count(1)
    while True:
        chance = random.random()
        if not contacts or chance < 0.11:
            contacts.append(next(people))
            yield scribe.contact(contacts[-1])
        elif chance < 0.285 or not active:
            active.append((next(tickets), random.choice(contacts[-2_000:])))
            yield scribe.ticket(*active[-1])
            if len(active) > ACTIVE_TICKETS:
                active.pop(0)
        elif chance < 0.30:
            yield scribe.new_address(random.choice(contacts))
        else:
            ticket, requester = random.choice(active)
            agent = 1 + ticket % AGENTS
            if chance < 0.36:
                yield scribe.rating(ticket, requester, agent)
            elif chance < 0.46:
                yield scribe.status(ticket, random.choice((3, 4, 5)), agent)
            elif incoming := random.random() < 0.5:
                yield scribe.reply(ticket, requester, incoming=incoming)
            else:
                yield scribe.reply(ticket, agent, incoming=incoming)


def life(contact: int, facts: int, *, seed: int = 2, entries: int = 9) -> list[bytes]:
    """Write everything of one contact: the profile, and tickets with some entries each, `facts` records in all.

    The numbers of the tickets and replies begin at a million times the contact's, so that two lives do not meet.
    """
    return list(islice(endless_life(contact, seed=seed, entries=entries), facts))


def endless_life(contact: int, *, seed: int = 2, entries: int = 9) -> Iterator[bytes]:
    """Write the same life, record by record, for as long as somebody asks."""
    scribe = _Scribe(seed * 1_000_003 + contact, replies=contact * 1_000_000)
    return (_of_a_life(scribe, contact, number, entries) for number in count())


def _of_a_life(scribe: _Scribe, contact: int, number: int, entries: int) -> bytes:
    if number == 0:
        return _of_source(scribe.contact(contact), contact)
    ticket, place = divmod(number - 1, entries + 1)
    ticket += contact * 1_000_000
    if place == 0:
        return _of_source(scribe.ticket(ticket, contact), contact)
    return _of_source(scribe.reply(ticket, contact, incoming=True), contact)


def _of_source(record: bytes, contact: int) -> bytes:
    """Give each life a source of its own, or its records would count as those of another."""
    return record.replace(b"/benchmarks/history", f"/benchmarks/life/{contact}".encode())
