"""The application of data-subject requests: one case a person or thing, on the library's repository.

Optimistic concurrency is what keeps a hold and a shred apart: whoever saves second is refused, reads again and decides
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast, get_args
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import ApplicationRecorder, InfrastructureFactory, IntegrityError
from eventsourcing.postgres import PostgresDatastore
from eventsourcing.utils import register_topic
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from crypto.keystore import Disturbed
from domain.requests import Case, CaseEvent, HoldPlaced, HoldReleased, evolve
from services.log import LockedRecorder, LogFactory, translated

Event = TypeVar("Event", bound=CaseEvent)

# The library learns a topic when it stores an event; a process that only reads has to know them all the same.
for _event in get_args(CaseEvent):
    register_topic(_event.TOPIC, _event)


class Privacy(Application[UUID]):
    """The cases of all tenants."""

    name = "privacy"

    def __init__(self, datastore: PostgresDatastore) -> None:
        self._datastore = datastore
        super().__init__()

    def construct_factory(self, env: Any) -> InfrastructureFactory[Any]:
        """Share the datastore."""
        return LogFactory(env, self._datastore)

    def construct_recorder(self) -> ApplicationRecorder:
        """Use the stock recorder, with an advisory lock for the table lock; `services.schema` made its table."""
        with translated():
            return LockedRecorder(self._datastore, events_table_name="privacy_events")

    def case(self, id_: UUID) -> Case:
        """Read the case of a person or thing; an empty one when nothing was ever asked."""
        with translated():
            try:
                return self.repository.get(id_, projector_func=_project)
            except AggregateNotFoundError:
                return Case(id_)

    @retry(
        retry=retry_if_exception_type(Disturbed), stop=stop_after_attempt(10), wait=wait_random(0, 0.05), reraise=True
    )
    def decide(self, ids: Sequence[UUID], decision: Callable[[Case], Event | None]) -> list[Event]:
        """Take one decision about several cases at once: all are saved, or none.

        Raises:
            Disturbed: others decided about the same, ten times in a row; nothing was saved.
        """
        events = [event for event in (decision(self.case(id_)) for id_ in ids) if event is not None]
        with translated():
            try:
                self.save(*cast("list[Any]", events))
            except IntegrityError:
                raise Disturbed("somebody else decided about the same meanwhile") from None
        return events

    def holds(self) -> list[HoldPlaced]:
        """List the holds that stand, oldest first; one that stands in two cases is listed for each."""
        standing: dict[tuple[UUID, UUID], HoldPlaced] = {}
        for event in self._all((HoldPlaced.TOPIC, HoldReleased.TOPIC)):
            match event:
                case HoldPlaced():
                    standing[event.hold, event.originator_id] = event
                case HoldReleased():
                    standing.pop((event.hold, event.originator_id), None)
                case _:
                    pass
        return list(standing.values())

    def _all(self, topics: Sequence[str] = ()) -> Iterable[CaseEvent]:
        """Read every event, or those of some topics alone: a shred need not read what every one before it has left."""
        start = 1
        while True:
            with translated():
                notifications = self.recorder.select_notifications(start=start, limit=1_000, topics=topics)
            for notification in notifications:
                yield cast(CaseEvent, self.mapper.to_domain_event(notification))
            if len(notifications) < 1_000:
                return
            start = notifications[-1].id + 1


def _project(case: Case | None, events: Iterable[CaseEvent]) -> Case | None:
    listed = list(events)
    if not listed:
        return case
    return evolve(case or Case(listed[0].originator_id), listed)
