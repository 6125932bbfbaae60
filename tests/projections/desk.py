"""A helpdesk that writes facts onto a list, and the read models that are fed from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID, uuid5

import psycopg
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from domain.fact import FactAtRest
from domain.ids import EventId, SubjectId, TenantId, ThingId
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED, TENANT_CLOSED
from projections import contacts, erasures, reports, tickets
from projections.paging import ReadModel, catch_up, catch_up_together

MODELS: tuple[ReadModel, ...] = (contacts, tickets, reports, erasures)
TENANT = TenantId(UUID(int=1))
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
_NAMES = UUID(int=7)


def subject(name: str) -> SubjectId:
    return SubjectId(uuid5(_NAMES, f"subject {name}"))


def thing(name: str) -> ThingId:
    return ThingId(uuid5(_NAMES, f"thing {name}"))


def part(name: str) -> UUID:
    return uuid5(_NAMES, f"part {name}")


#: Whose it is when it is nobody's.
DESK_KEY = SubjectId(uuid5(_NAMES, "desk key"))


class ListedLog:
    """A log in memory."""

    def __init__(self, facts: Iterable[FactAtRest] = ()) -> None:
        self.facts = list(facts)

    def head(self) -> int:
        return self.facts[-1].position if self.facts else 0

    def page(self, after: int, limit: int, types: Collection[str] | None = None) -> Sequence[FactAtRest]:
        wanted = (fact for fact in self.facts if fact.position > after and (types is None or fact.type in types))
        return list(islice(wanted, limit))


@dataclass
class Desk:
    """People and tickets by name. It knows whose a ticket is and who is merged, as intake would."""

    tenant: TenantId = TENANT
    log: ListedLog = field(default_factory=ListedLog)
    #: Of tickets, calls and chats; None for a call or chat of nobody known.
    requester: dict[str, str | None] = field(default_factory=dict)
    primary: dict[str, str] = field(default_factory=dict)

    def put(
        self,
        type_: str,
        stream: ThingId,
        clear: Mapping[str, Any],
        *,
        owners: Sequence[UUID] = (),
        sealed: Sequence[str] = (),
        at: datetime = NOON,
    ) -> FactAtRest:
        """Append a fact. Positions have gaps, and every seal is its own."""
        position = self.log.head() + 1 + self.log.head() % 2
        fact = FactAtRest(
            position=position,
            stream=stream,
            version=position,
            tenant=self.tenant,
            event_id=EventId(UUID(int=position)),
            type=f"sealdesk.{type_}.v1" if not type_.startswith("sealdesk.") else type_,
            ordinal=0,
            occurred_at=at,
            recorded_at=at,
            clear=clear,
            owners=tuple(owners) if sealed else (),
            sealed_fields=tuple(sealed),
            seal=f"<seal {self.tenant.int} {position}>".encode() if sealed else None,
        )
        self.log.facts.append(fact)
        return fact

    def whom(self, name: str) -> str:
        """Follow merges."""
        while name in self.primary:
            name = self.primary[name]
        return name

    def owner(self, ticket: str) -> SubjectId:
        """Say whose a ticket, call or chat is."""
        requester = self.requester[ticket]
        return DESK_KEY if requester is None else subject(self.whom(requester))

    def person(
        self, name: str, *sealed: str, type_: str = "contact.created", at: datetime = NOON, **clear: Any
    ) -> FactAtRest:
        clear = {"person": subject(name).hex, **clear}
        return self.put(type_, thing(name), clear, owners=[subject(name)], sealed=sealed, at=at)

    def merge(self, primary: str, *secondaries: str) -> FactAtRest:
        self.primary |= dict.fromkeys(secondaries, primary)
        clear = {
            "person": subject(primary).hex,
            "secondary": [subject(name).hex for name in secondaries],
            "secondary_profiles": [thing(name).hex for name in secondaries],
        }
        return self.put("contact.merged", thing(primary), clear)

    def open(
        self,
        ticket: str,
        requester: str,
        *sealed: str,
        at: datetime = NOON,
        copied: Sequence[str] = (),
        **clear: Any,
    ) -> FactAtRest:
        self.requester[ticket] = requester
        clear = {
            "requester": subject(requester).hex,
            "copied": [subject(name).hex for name in copied],
            **clear,
        }
        return self.put(
            "ticket.opened",
            thing(ticket),
            clear,
            owners=[subject(requester)],
            sealed=sealed or ("subject",),
            at=at,
        )

    def begin(
        self,
        type_: str,
        name: str,
        requester: str | None,
        *sealed: str,
        ticket: str | None = None,
        at: datetime = NOON,
        **clear: Any,
    ) -> FactAtRest:
        """Log a call or start a chat, of somebody or of nobody known."""
        self.requester[name] = requester
        if requester is not None:
            clear = {"requester": subject(requester).hex, **clear}
        if ticket is not None:
            clear = {"parent": thing(ticket).hex, **clear}
        owners = [self.owner(name)]
        return self.put(type_, thing(name), clear, owners=owners, sealed=sealed or ("subject",), at=at)

    def merge_away(self, ticket: str, into: str) -> FactAtRest:
        """Merge a ticket into another, and write what intake derives of it."""
        former, requester = self.owner(ticket), self.requester[into]
        self.requester[ticket] = requester
        self.put("ticket.merged", thing(into), {"secondary": [thing(ticket).hex]})
        clear = {"into": thing(into).hex, "requester": self.owner(into).hex}
        return self.put("ticket.merged_away", thing(ticket), clear, owners=[self.owner(into), former])

    def update(self, ticket: str, *sealed: str, to: str | None = None, at: datetime = NOON, **clear: Any) -> FactAtRest:
        former = self.owner(ticket)
        owners = [former]
        if to is not None:
            clear = {"requester": subject(to).hex, **clear}
            owners = list(dict.fromkeys([subject(to), former]))
            self.requester[ticket] = to
        return self.put("ticket.updated", thing(ticket), clear, owners=owners, sealed=sealed, at=at)

    def reply(
        self,
        ticket: str,
        author: str | None,
        by: str | None,
        *,
        type_: str = "ticket.replied",
        own: str | None = None,
        within: str | None = None,
        at: datetime = NOON,
        **clear: Any,
    ) -> FactAtRest:
        """Add something to a conversation, or write it anew. `own` is the part that it is."""
        owners = [self.owner(ticket)]
        if by == "contact" and author is not None:
            owners.append(subject(author))
        if by is not None:
            clear = {"by": by, **clear}
        if author is not None:
            clear = {"author": subject(author).hex, **clear}
        clear |= {role: part(name).hex for role, name in (("part", own), ("within", within)) if name is not None}
        return self.put(type_, thing(ticket), clear, owners=owners, sealed=("body",), at=at)

    def end(self, ticket: str, name: str, type_: str = "ticket.entry_deleted") -> FactAtRest:
        """Delete a part of a ticket."""
        return self.put(type_, thing(ticket), {"part": part(name).hex}, owners=[self.owner(ticket)], sealed=("id",))

    def rate(self, ticket: str, rating: int, *sealed: str) -> FactAtRest:
        requester = self.owner(ticket)
        clear = {"rating": rating, "author": requester.hex}
        return self.put("ticket.rated", thing(ticket), clear, owners=[requester], sealed=sealed)

    def about(self, type_: str, name: str, *, at: datetime = NOON, **clear: Any) -> FactAtRest:
        """Append a fact of a ticket or person that says nothing but its type."""
        return self.put(type_, thing(name), clear, at=at)

    def shred(self, name: str, *, at: datetime = NOON) -> FactAtRest:
        name = self.whom(name)
        everybody = [name, *(other for other in self.primary if self.whom(other) == name)]
        clear = {"subjects": [subject(person).hex for person in everybody], "ground": "art17-1-a", "line": 1}
        return self.put(SUBJECT_SHREDDED, thing(name), clear, at=at)

    def shred_thing(self, name: str, *, at: datetime = NOON) -> FactAtRest:
        clear = {"thing": thing(name).hex, "ground": "art17-1-a", "line": 1}
        return self.put(CONTENT_SHREDDED, thing(name), clear, at=at)

    def close(self, *, at: datetime = NOON) -> FactAtRest:
        """Close the tenant."""
        return self.put(TENANT_CLOSED, ThingId(self.tenant), {"ground": "contract-end", "line": 1}, at=at)


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


Dump = dict[str, list[dict[str, Any]]]


class ModelsUnderTest:
    """The four read models in one database."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def follow(self, log: ListedLog, page_size: int = 2000) -> None:
        # As `services.projecting` does it: the last page into all of them together, if that can be.
        if catch_up_together(self.connection, log, MODELS, page_size=page_size) is None:
            for model in MODELS:
                catch_up(self.connection, log, model, page_size=page_size)

    def begin_again(self) -> None:
        with self.connection.transaction():
            for model in MODELS:
                self.connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(model.name)))

    def dump(self) -> Dump:
        """Read every row of every table of every model."""
        found: Dump = {}
        with self.connection.transaction(), self.connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s) ORDER BY 1, 2",
                ([model.name for model in MODELS],),
            )
            for schema, table in cursor.fetchall():
                cursor.execute(SQL("SELECT * FROM {}").format(Identifier(schema, table)))
                columns = [column.name for column in cursor.description or ()]
                rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
                found[f"{schema}.{table}"] = sorted(rows, key=repr)
        return found

    def listed(self, *, all: bool = True, tenant: TenantId = TENANT) -> list[tickets.TicketRow]:
        return list(tickets.rows(self.connection, tenant, all=all))

    def ticket(self, name: str) -> tickets.TicketRow:
        (row,) = tickets.rows(self.connection, TENANT, all=True, kind=None, ticket=thing(name))
        return row

    def entries(self, name: str) -> list[tickets.EntryRow]:
        return tickets.entries(self.connection, TENANT, [thing(name)])[thing(name)]

    def consents(self, name: str) -> list[contacts.ConsentRow]:
        return contacts.consents(self.connection, TENANT, [thing(name)])[thing(name)]

    def profile(self, name: str) -> contacts.ProfileRow:
        (row,) = contacts.rows(self.connection, TENANT, all=True, profile=thing(name))
        return row
