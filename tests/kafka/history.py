"""Records of a desk, in order per thing, and what the log must hold of them in the end.

Each record is one fact of its own type. Tickets go on side by side, so that batches mix them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any

import orjson

from crypto.tree import Tree
from domain.catalogue import INTERNAL
from services.intake import digest_of
from services.records import Parcel, parcel_of
from services.wiring import House

TENANT = "acme"
#: Tickets at the same time, tickets of one person, and records of one ticket: it is opened, answered, updated.
BESIDE, PER_PERSON, PER_TICKET = 40, 4, 10
_START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """One record to be published. Its `place` says the how-manieth of its thing it is."""

    thing: str
    place: int
    parcel: Parcel


def address(person: int) -> str:
    """Name a person."""
    return f"p{person}@example.org"


def planted(person: int, number: int) -> str:
    """Give a text that stands nowhere but in one record of a person."""
    return f"zq{person}x{number}zq"


def history(records: int, *, first_ticket: int = 1) -> Iterator[Line]:
    """Write so many records."""
    return islice(_endless(first_ticket), records)


def person_of(ticket: int) -> int:
    """Say who asked."""
    return (ticket - 1) // PER_PERSON + 1


def of_one(person: int) -> Iterator[Line]:
    """Write the records of one person with one ticket, who never stops writing."""
    ticket = person
    yield _contact_line(0, person)
    yield _ticket_line(1, ticket, 0, person)
    for place in count(1):
        yield _line(
            place + 1, f"ticket {ticket}", place, "ticket.replied",
            body=planted(person, place), incoming=True, user_id=person,
        )  # fmt: skip


def woven(many: Iterator[Line], some: Sequence[Iterator[Line]], every: int) -> Iterator[Line]:
    """Put a record of each of some histories between every so many of another."""
    for number, line in enumerate(many):
        yield line
        if number % every == 0:
            yield from (next(each) for each in some)


def _endless(ticket: int) -> Iterator[Line]:
    number = 0
    while True:
        block = range(ticket, ticket + BESIDE)
        for person in sorted({person_of(each) for each in block}):
            number += 1
            yield _contact_line(number, person)
        for place in range(PER_TICKET):
            for each in block:
                number += 1
                yield _ticket_line(number, each, place, person_of(each))
        ticket += BESIDE


def _contact_line(number: int, person: int) -> Line:
    name = planted(person, number)
    return _line(number, f"contact {person}", 0, "contact.created", id=person, email=address(person), name=name)


def _ticket_line(number: int, ticket: int, place: int, person: int) -> Line:
    thing = f"ticket {ticket}"
    text = planted(person, number)
    if place == 0:
        return _line(
            number, thing, place, "ticket.opened", id=ticket, requester_id=person, subject=text, status=2, priority=1
        )
    if place == PER_TICKET - 1:
        return _line(number, thing, place, "ticket.updated", status=4)
    incoming = place % 2 == 1
    return _line(
        number, thing, place, "ticket.replied", body=text, incoming=incoming, user_id=person if incoming else 900_001
    )


def _line(number: int, thing: str, place: int, type_: str, /, **data: Any) -> Line:
    event = {
        "specversion": "1.0",
        "id": f"{thing}/{place}",
        "source": "desk",
        "type": f"sealdesk.{type_}.v1",
        "subject": thing,
        "tenant": TENANT,
        "time": (_START + timedelta(seconds=number)).isoformat(),
        "data": data,
    }
    return Line(thing, place, parcel_of(orjson.dumps(event)))


@dataclass(frozen=True, slots=True)
class Told:
    """What a log holds of what was published."""

    published: int
    #: Records of which the log has no fact of their own type, or more than one.
    missing: list[str]
    repeated: list[str]
    #: Facts that come from no record of the history.
    strange: int
    #: Things whose facts stand in another order than their records were published in.
    out_of_order: list[str]

    def is_right(self) -> bool:
        """Tell whether everything is there once, in order."""
        return not (self.missing or self.repeated or self.strange or self.out_of_order)


def compare(house: House, lines: Iterable[Line]) -> Told:
    """Hold the log against what was published."""
    tenant = house.tenants.by_name()[TENANT].id
    with house.keys.transaction() as cursor:
        dedup = Tree(cursor, house.roots).service_key(tenant, "dedup").key
    expected: dict[bytes, tuple[str, int, str]] = {}
    for line in lines:
        [draft] = line.parcel.drafts
        expected[digest_of(dedup, tenant, draft)] = (line.thing, line.place, draft.type)
    times: dict[bytes, int] = defaultdict(int)
    streams: dict[str, list[int]] = defaultdict(list)
    strange = 0
    with house.facts.cursor() as rows:
        rows.execute("SELECT topic, record_digest FROM facts_events ORDER BY notification_id")
        for row in rows:
            digest = bytes(row["record_digest"])
            if row["topic"] in INTERNAL:
                continue
            if digest not in expected:
                strange += 1
                continue
            thing, place, type_ = expected[digest]
            if row["topic"] == type_:
                times[digest] += 1
                streams[thing].append(place)
    return Told(
        published=len(expected),
        missing=[f"{thing}/{place}" for digest, (thing, place, _) in expected.items() if not times[digest]],
        repeated=[f"{expected[digest][0]}/{expected[digest][1]}" for digest, found in times.items() if found > 1],
        strange=strange,
        out_of_order=[thing for thing, places in streams.items() if places != sorted(places)],
    )
