"""Write `desk.jsonl`: some weeks in a small helpdesk, as CloudEvents. The same every time.

    python examples/make_desk.py > examples/desk.jsonl

Everybody in it is invented. What it shows, by ticket: a person in copy who writes (5), a reply that arrives before
its ticket (9), a ticket that moves to another requester (12), one that is deleted and restored (14), a merge of two
contacts (200 into 201), a contact who becomes an agent (203), a record that comes twice, one that is no JSON and one
of a type that nobody knows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

START = datetime(2024, 3, 4, 8, 0, tzinfo=UTC)

#: id, name, addresses, phone, job title
CONTACTS: list[tuple[int, str, list[str], str | None, str | None]] = [
    (200, "Mira Holm", ["mira.holm@mail.example.org"], None, None),
    (201, "Mira Holm-Sander", ["mira@holm.example.org", "m.sander@work.example.org"], "+49 30 5550101", "Architect"),
    (202, "Tomasz Wolny", ["tomasz.wolny@example.org", "tw@garage.example.org"], "+48 22 555 01 02", None),
    (203, "Ines Farrow", ["ines.farrow@example.org"], "+44 20 5550 0103", "Tester"),
    (204, "Odile Marchetti", ["odile@marchetti.example.org"], None, "Caterer"),
    (205, "Jonas Petrel", ["jonas.petrel@example.org", "petrel@club.example.org"], "+49 40 5550105", None),
    (206, "Sunniva Dahl", ["sunniva@dahl.example.org"], None, "Translator"),
    (207, "Bashir Tarek", ["bashir.tarek@example.org"], "+49 89 5550107", None),
    (208, "Lucía Prado", ["lucia.prado@example.org", "lprado@school.example.org"], "+34 91 555 01 08", "Teacher"),
    (209, "Hannes Krug", ["hannes.krug@example.org"], None, None),
    (210, "Yuki Sonoda", ["yuki@sonoda.example.org"], "+81 3 5550 0110", "Photographer"),
    (211, "Ewa Lis", ["ewa.lis@example.org"], None, "Nurse"),
]
AGENTS = [(7, "Nora Beck", "nora@acme.example.org"), (203, "Ines Farrow", "ines@acme.example.org")]

#: id, requester, subject, text, type, group, product, priority, channel
TICKETS: list[tuple[int, int, str, str, str, str, str, str, int]] = [
    (1, 201, "Bicycle bell too quiet", "Nobody hears it. My neighbour Jonas Petrel says his is louder.",
     "Question", "Support", "Bell", "low", 1),
    (2, 202, "Invoice for the wrong person", "The invoice names Ewa Lis, Lindenweg 4. I am Tomasz Wolny.",
     "Complaint", "Billing", "Light", "high", 1),
    (3, 204, "Delivery to the back door", "Please ring twice, or call my husband Carlo on +49 171 5550199.",
     "Question", "Support", "Basket", "medium", 3),
    (4, 205, "Light flickers", "Since Tuesday. The shop in Hafenstrasse 12 could not help.",
     "Defect", "Workshop", "Light", "medium", 2),
    (5, 206, "Translation of the manual", "My sister Liv is in copy, she bought it.",
     "Question", "Support", "Lock", "low", 1),
    (6, 207, "Lock does not open", "I stand in front of my door in the rain. Bashir, +49 89 5550107.",
     "Defect", "Workshop", "Lock", "urgent", 7),
    (7, 208, "Thirty bells for a school", "For class 4b. Invoice to the school, please, not to me.",
     "Order", "Billing", "Bell", "medium", 1),
    (8, 209, "Money back", "I returned it on the 8th. Hannes Krug",
     "Complaint", "Billing", "Basket", "high", 1),
    (9, 210, "Scratched on arrival", "Photos follow. Yuki",
     "Defect", "Workshop", "Light", "medium", 1),
    (10, 211, "Which lock for a Hollandrad?", "Frame as in the catalogue, page 12.",
     "Question", "Support", "Lock", "low", 2),
    (11, 200, "Change of address", "From May I live at Am Anger 3, Jena. Mira Holm",
     "Question", "Support", "Bell", "low", 1),
    (12, 202, "Lamp for a friend", "It is really Lucía Prado's order, she will write herself.",
     "Order", "Support", "Light", "medium", 1),
    (13, 203, "Basket squeaks", "Only on cobblestones. Ines",
     "Defect", "Workshop", "Basket", "low", 1),
    (14, 205, "Spare key", "I lost it at the lake, with my wallet and my card.",
     "Order", "Support", "Lock", "high", 3),
    (15, 204, "Second basket", "The same again for my daughter Chiara.",
     "Order", "Billing", "Basket", "low", 1),
    (16, 208, "Bells arrived", "All thirty ring. The children of 4b say thank you.",
     "Question", "Support", "Bell", "low", 1),
    (17, 210, "Second lamp, second scratch", "At the same place. I begin to see a pattern.",
     "Defect", "Workshop", "Light", "high", 1),
    (18, 207, "Chat: door again", "It is me again. It opened. Thank Nora from me.",
     "Question", "Support", "Lock", "low", 7),
    (19, 206, "Manual in Norwegian", "I could translate it. Liv would read the proofs.",
     "Question", "Support", "Lock", "low", 1),
    (20, 201, "Bell for the mail coach", "For my brother Anselm Holm, who drives one. Louder than Jonas' please.",
     "Order", "Billing", "Bell", "medium", 3),
    (21, 211, "Reminder for a paid invoice", "I paid on the 3rd, my bank says so. Ewa Lis, Lindenweg 4",
     "Complaint", "Billing", "Lock", "high", 1),
    (22, 205, "Club order", "Twelve lights, one each for Ada, Bo, Cem, Dora and the rest of us.",
     "Order", "Billing", "Light", "medium", 2),
]  # fmt: skip

#: What agents answer, in turn, and what requesters write back.
ANSWERS = [
    "Hello {name}, thank you. We look into it and write by tomorrow.",
    "Dear {name}, a colleague in the workshop has it on the bench now.",
    "Hello {name}, that should not happen. A new one is on its way to you.",
    "Good morning {name}, could you tell us the number below the barcode?",
]
REPLIES = [
    "That was quick. {first}",
    "The number is 5550-{ticket:03}. Regards, {name}",
    "It works now, thanks to you and to the neighbours. {first}",
    "Still the same, I am afraid. Please call me. {name}",
]
#: Freshdesk's codes, from extremely happy to extremely unhappy, and what people add.
RATINGS = [(103, "Nora was wonderful."), (102, None), (100, "It took a week."), (-101, None), (-103, "Never again!")]


def desk() -> Iterator[dict[str, Any] | str]:
    """Tell everything that happened, in the order in which it arrives."""
    number = count(1)
    people = {id_: (name, mails[0]) for id_, name, mails, _, _ in CONTACTS}

    def event(type_: str, subject: str, days: float, data: dict[str, Any]) -> dict[str, Any]:
        at = START + timedelta(minutes=round(days * 24 * 60))
        return {
            "specversion": "1.0",
            "id": f"acme-{next(number):04}",
            "source": "https://acme.example.org/helpdesk",
            "type": f"sealdesk.{type_}.v1",
            "subject": subject,
            "time": at.isoformat().replace("+00:00", "Z"),
            "tenant": "acme",
            "data": data,
        }

    yield event("agent.created", "agent 7", 0, {
        "id": 7, "name": AGENTS[0][1], "email": AGENTS[0][2], "job_title": "Support lead", "ticket_scope": 1,
        "signature": "Nora Beck, acme bicycle parts, +49 30 5550100",
    })  # fmt: skip
    for place, (id_, name, mails, phone, job) in enumerate(CONTACTS):
        data = {"id": id_, "name": name, "email": mails[0], "other_emails": mails[1:], "phone": phone, "job_title": job,
                "language": "en", "custom_fields": {"customer_since": 2016 + place % 7}}  # fmt: skip
        yield event("contact.created", f"contact {id_}", 0.01 * place, {k: v for k, v in data.items() if v})

    for place, ticket in enumerate(TICKETS):
        yield from _ticket(event, place, ticket, people)

    # A contact becomes an agent: one person, and what she asked as a customer stays hers.
    yield event("agent.created", "agent 203", 22, {
        "id": 203, "name": AGENTS[1][1], "email": AGENTS[1][2], "signature": "Ines Farrow, acme workshop",
    })  # fmt: skip
    yield event("ticket.updated", "ticket 4", 22.1, {"responder_id": 203, "status": 3})
    answer = "Hello Jonas, I am new here and had the same lamp. Try the left screw. Ines"
    yield event("ticket.replied", "ticket 4", 22.2, {
        "ticket_id": 4, "id": 9001, "user_id": 203, "incoming": False, "body_text": answer,
    })  # fmt: skip

    # A ticket turns out to be somebody else's.
    yield event("ticket.updated", "ticket 12", 22.3, {"requester_id": 208, "type": "Order"})
    yield event("ticket.replied", "ticket 12", 22.4, {
        "ticket_id": 12, "id": 9002, "user_id": 208, "incoming": True,
        "body_text": "Yes, it is mine. Tomasz only lent me his account. Lucía",
    })  # fmt: skip

    # Two contacts are one person.
    merge = {"primary_contact_id": 201, "secondary_contact_ids": [200]}
    yield event("contact.merged", "contact 201", 23, merge)
    yield event("contact.updated", "contact 201", 23.1, {"address": "Am Anger 3, 07743 Jena", "job_title": None})

    # Something goes to the trash and comes back; somebody goes and stays away.
    yield event("ticket.deleted", "ticket 14", 24, {})
    yield event("ticket.restored", "ticket 14", 24.5, {})
    yield event("contact.deleted", "contact 211", 25, {})
    yield event("contact.restored", "contact 211", 25.5, {})
    yield event("contact.deleted", "contact 209", 26, {"id": 209})

    # An upstream that stumbles: the same record twice, half a record, and a type of next year.
    again = event("contact.updated", "contact 206", 27, {"mobile": "+47 22 55 01 06", "language": "nb"})
    yield again
    yield again
    yield '{"specversion": "1.0", "id": "acme-broken", "data": {"name": "Sunniva D'
    yield event("ticket.hugged", "ticket 5", 27.1, {"ticket_id": 5, "by": "Sunniva Dahl"})


def _ticket(
    event: Any, place: int, ticket: tuple[int, int, str, str, str, str, str, str, int], people: dict[int, Any]
) -> Iterator[dict[str, Any]]:
    """Tell the life of one ticket: opened, answered, talked about, closed, rated."""
    id_, requester, subject, text, type_, group, product, priority, channel = ticket
    name, mail = people[requester]
    words = {"name": name, "first": name.split()[0], "ticket": id_}
    about, day = f"ticket {id_}", 1 + place * 0.9
    opened = {"id": id_, "requester_id": requester, "email": mail, "subject": subject, "description_text": text,
              "status": 2, "priority": priority, "source": channel, "type": type_, "group_id": group,
              "product_id": product, "responder_id": 7}  # fmt: skip
    if id_ == 5:
        opened["cc_emails"] = ["liv@dahl.example.org"]
    first = [event("ticket.opened", about, day, opened)]
    if id_ % 6:
        answer = {"ticket_id": id_, "id": 1000 + id_ * 10, "user_id": 7, "incoming": False,
                  "body_text": ANSWERS[place % 4].format(**words)}  # fmt: skip
        first.append(event("ticket.replied", about, day + 0.1 + place % 5 * 0.07, answer))
    # For one ticket the answer overtakes the ticket on its way to us.
    yield from reversed(first) if id_ == 9 else first
    if id_ == 5:
        yield event("ticket.replied", about, day + 0.5, {
            "ticket_id": 5, "id": 1051, "from_email": "liv@dahl.example.org", "incoming": True,
            "body_text": "Sunniva is right, page 3 is upside down too. Liv Dahl, Bergen",
        })  # fmt: skip
    if id_ % 3 == 1:
        yield event("ticket.note_added", about, day + 0.55, {
            "ticket_id": id_, "id": 1002 + id_ * 10, "user_id": 7, "private": True,
            "body_text": f"Called {name}, nobody at home. Ines Farrow may know more.",
        })  # fmt: skip
    if id_ % 4 != 2:
        yield event("ticket.replied", about, day + 0.6, {
            "ticket_id": id_, "id": 1003 + id_ * 10, "user_id": requester, "incoming": True,
            "body_text": REPLIES[place % 4].format(**words),
        })  # fmt: skip
    if id_ in (3, 10, 17):
        yield event("ticket.updated", about, day + 0.7, {"status": 3, "priority": "high", "tags": ["call back"]})
    elif id_ % 6:
        yield event("ticket.updated", about, day + 0.8, {"status": 5 if id_ % 2 else 4})
    if id_ % 3 and id_ % 6:
        rating, feedback = RATINGS[place % 5]
        data = {"ticket_id": id_, "id": 500 + id_, "user_id": requester, "agent_id": 7, "rating": rating}
        yield event("ticket.rated", about, day + 0.9, data | ({"feedback": feedback} if feedback else {}))


def lines() -> Iterator[bytes]:
    """Write a record a line."""
    for record in desk():
        text = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False)
        yield text.encode() + b"\n"


def main() -> None:
    """Write the desk to standard output."""
    sys.stdout.buffer.writelines(lines())


if __name__ == "__main__":
    main()
