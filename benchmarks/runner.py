"""The other side of projector: the eventsourcing library's `ProjectionRunner`, as its documentation has it.

A subscription to an application, a projection with one method an event class, and a view that is a tracking recorder:
one transaction an event, in which the view and its position change together. Tables and indexes are those of our own
read models, so that the same rows come out; `Runner.rows` and the benchmark see to that. It is given what it needs to
be fast: orjson as transcoder, one prepared statement a change, and events whose fields need no decoding beyond JSON.
It is spared whatever forgetting costs: nobody is ever looked up among the shredded.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import count
from threading import Event
from typing import Any
from uuid import UUID

import aiosql
import psycopg
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import InfrastructureFactory, Tracking, Transcoder
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import Environment
from psycopg.conninfo import conninfo_to_dict

from benchmarks.library import OrjsonTranscoder
from domain.agents import AgentCreated
from domain.contacts import ContactCreated, ContactMentioned, ContactUpdated
from domain.fact import FactAtRest
from domain.tickets import TicketOpened, TicketRated, TicketReplied, TicketUpdated
from projections import contacts, milestones, paging, reports, tickets
from services.log import LogDatastore, LogFactory

_SQL: Any = aiosql.from_str((files("benchmarks") / "sql/runner.sql").read_text(), "psycopg", mandatory_parameters=False)

#: The read models whose rows this makes.
MODELS = (contacts, tickets, reports)


@dataclass(frozen=True)
class Told:
    """A fact as an event of the library: the columns of the log as JSON has them, the seal in base64."""

    originator_id: UUID
    originator_version: int
    tenant: str
    type: str
    at: str
    clear: dict[str, Any]
    owners: list[str]
    fields: list[str]
    seal: str

    @property
    def columns(self) -> dict[str, Any]:
        """Give what every statement may ask for."""
        return {
            "tenant": self.tenant,
            "thing": self.originator_id,
            "at": self.at,
            "day": self.at[:10],
            "owners": self.owners,
            "fields": self.fields,
        }


class PersonTold(Told):
    """Somebody became known, or changed."""


class TicketBegun(Told):
    """A ticket was opened."""


class TicketChanged(Told):
    """A ticket was updated."""


class EntryMade(Told):
    """Somebody replied."""


class RatingGiven(Told):
    """Somebody rated."""


_CLASSES: Mapping[str, type[Told]] = {
    AgentCreated.TYPE: PersonTold,
    ContactCreated.TYPE: PersonTold,
    ContactMentioned.TYPE: PersonTold,
    ContactUpdated.TYPE: PersonTold,
    TicketOpened.TYPE: TicketBegun,
    TicketUpdated.TYPE: TicketChanged,
    TicketReplied.TYPE: EntryMade,
    TicketRated.TYPE: RatingGiven,
}


class Desk(Application[UUID]):
    """The application that is followed."""

    name = "desk"

    def construct_transcoder(self) -> Transcoder:
        """Use orjson."""
        return OrjsonTranscoder()


class Writing(Desk):
    """The same application, for whoever appends: its batches take no pipeline, as `benchmarks.library` explains."""

    name = "desk"

    def __init__(self, dsn: str) -> None:
        self._datastore = LogDatastore(dsn)
        super().__init__()

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """Use the stock factory on the pool of a DSN."""
        return LogFactory(env, self._datastore)

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._datastore.close()


#: A statement and what it is given.
Change = tuple[Any, Mapping[str, Any]]


class View(PostgresTrackingRecorder):
    """The tables, and how far they are."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        #: Let go of, and the events of a batch are processed; `awaited` is the last of it.
        self.gate = Event()
        self.reached = Event()
        self.awaited = 0

    def change(self, tracking: Tracking, changes: Sequence[Change]) -> None:
        """Carry out what one event changes, and move the position, in one transaction."""
        self.gate.wait()
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            for statement, given in changes:
                cursor.execute(statement.sql, given, prepare=True)
        if tracking.notification_id >= self.awaited:
            self.reached.set()


class Rows(Projection[View]):
    """What each event means for the tables."""

    name = "rows"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Refuse: of an event that nobody expects, no rows can be made."""
        raise AssertionError(type(domain_event))

    @process_event.register
    def _person(self, domain_event: PersonTold, tracking: Tracking) -> None:
        said = domain_event.clear
        given = {
            **domain_event.columns,
            "position": tracking.notification_id,
            "person": said.get("person"),
            "agent": domain_event.type == AgentCreated.TYPE,
            **{name: said.get(name) for name in ("language", "active", "created_at", "updated_at")},
        }
        seals = (_SQL.renew_profile_seals, _SQL.insert_profile_seal) if domain_event.fields else ()
        self.view.change(tracking, [(statement, given) for statement in (_SQL.store_profile, *seals)])

    @process_event.register
    def _begun(self, domain_event: TicketBegun, tracking: Tracking) -> None:
        said = domain_event.clear
        copied = said.get("copied", [])
        given = {
            **_of_ticket(domain_event, tracking),
            **{name: said.get(name) for name in ("channel", "type", "requester")},
            "priority": said.get("priority", milestones.DEFAULT_PRIORITY),
            "copied": copied,
            "involved": [said["requester"], *copied],
        }
        statements = (_SQL.insert_ticket, _SQL.insert_ticket_seal, _SQL.involve, _SQL.insert_counted)
        self.view.change(tracking, [(statement, given) for statement in statements])

    @process_event.register
    def _changed(self, domain_event: TicketChanged, tracking: Tracking) -> None:
        given = _of_ticket(domain_event, tracking)
        seals = (_SQL.renew_ticket_seals, _SQL.insert_ticket_seal) if domain_event.fields else ()
        statements = (_SQL.update_ticket, *seals, _SQL.update_counted)
        self.view.change(tracking, [(statement, given) for statement in statements])

    @process_event.register
    def _entry(self, domain_event: EntryMade, tracking: Tracking) -> None:
        said = domain_event.clear
        is_response = said.get("by") == "agent" and said.get("private") is not True
        given = {
            **_of_entry(domain_event, tracking, "reply"),
            "rating": None,
            "response_at": domain_event.at if is_response else None,
        }
        responses = (_SQL.count_response,) if is_response else ()
        statements = (_SQL.insert_entry, _SQL.count_entry, *responses, _SQL.act)
        self.view.change(tracking, [(statement, given) for statement in statements])

    @process_event.register
    def _rating(self, domain_event: RatingGiven, tracking: Tracking) -> None:
        given = {
            **_of_entry(domain_event, tracking, "rating"),
            "rating": domain_event.clear["rating"],
            "response_at": None,
        }
        statements = (_SQL.insert_entry, _SQL.count_entry, _SQL.insert_rating)
        self.view.change(tracking, [(statement, given) for statement in statements])


def _of_ticket(event: Told, tracking: Tracking) -> dict[str, Any]:
    status = event.clear.get("status", milestones.DEFAULT_STATUS)
    return {
        **event.columns,
        "position": tracking.notification_id,
        "status": status,
        "done": not milestones.is_open(status),
        "responder": event.clear.get("responder"),
    }


def _of_entry(event: Told, tracking: Tracking, kind: str) -> dict[str, Any]:
    said = event.clear
    return {
        **event.columns,
        **{name: said.get(name) for name in ("by", "author", "private", "incoming", "part")},
        "source": said.get("entry_source"),
        "position": tracking.notification_id,
        "kind": kind,
    }


class Runner:
    """The runner over a database of its own, and how facts arrive there."""

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for model in MODELS:
                paging.prepare(connection, model, schema=model.name)
        self._writing = Writing(dsn)
        self._versions: dict[UUID, count[int]] = {}
        said = conninfo_to_dict(dsn)
        env = {f"POSTGRES_{name.upper()}": str(said.get(name, "")) for name in ("host", "port", "user", "dbname")}
        # The servers know whoever comes by the socket, but the library wants to hear a password.
        self._runner: ProjectionRunner[Desk, View] = ProjectionRunner(
            application_class=Desk,
            projection_class=Rows,
            view_class=View,
            env={**env, "PERSISTENCE_MODULE": "eventsourcing.postgres", "POSTGRES_PASSWORD": "none"},
        )

    def arrive(self, facts: Sequence[FactAtRest]) -> None:
        """Append facts. Nothing of them is processed before `follow`."""
        view = self._runner.view
        view.gate.clear()
        view.reached.clear()
        recordings = self._writing.recorder.insert_events(
            [self._writing.mapper.to_stored_event(self._event(fact)) for fact in facts]
        )
        assert recordings is not None
        view.awaited = recordings[-1]

    def follow(self) -> None:
        """Let everything be processed that has arrived, and wait until it is."""
        view = self._runner.view
        view.gate.set()
        while not view.reached.wait(1.0):
            # What went wrong in the runner's thread is raised here.
            self._runner.run_forever(timeout=0.0)

    def _event(self, fact: FactAtRest) -> Told:
        assert fact.seal is None or fact.sealed_fields
        return _CLASSES[fact.type](
            fact.stream,
            next(self._versions.setdefault(fact.stream, count(1))),
            str(fact.tenant),
            fact.type,
            fact.occurred_at.isoformat(),
            dict(fact.clear),
            [str(owner) for owner in fact.owners],
            list(fact.sealed_fields),
            b64encode(fact.seal or b"").decode(),
        )

    def close(self) -> None:
        """End the runner's threads and close the connections."""
        self._runner.view.gate.set()
        with self._runner:
            pass
        self._writing.close()
