"""What every story of a generated helpdesk shares: its dice, ids, people and texts, and the records that come out.

A story is a generator: it says what happens now, yields for how many seconds nothing does, and is resumed with the
time it is then. It is begun with the time as an argument. Times are seconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import date
from math import log
from random import Random
from types import MappingProxyType
from typing import Any, TypeVar

import orjson

from domain.catalogue import CATALOGUE
from domain.fact import Record
from services.generator import pools, rates
from services.generator.people import Person, Population
from services.generator.writing import Writing

Story = Generator[float, int, None]
#: A part of a story that says what time it is when it ends.
Part = Generator[float, int, int]
Data = dict[str, Any]

_Item = TypeVar("_Item")

DAY_SECONDS = 86_400
#: Agents answer between these hours, UTC, and not at weekends.
_WORK_BEGINS, _WORK_ENDS = 7 * 3600, 18 * 3600
#: 1970-01-01 was a Thursday; this many days later a week began.
_FIRST_MONDAY = 4
_EPOCH = date(1970, 1, 1).toordinal()
#: The field of each record type that says what it is about.
_OWN: Mapping[type[Record], str] = MappingProxyType(
    {
        plan.record: name
        for plan in CATALOGUE.values()
        for name, mark in plan.names
        if mark.role == "self" and mark.kind.is_upstream_id
    }
)
HOST = "desk.example"
SUPPORT = f"support@{HOST}"


class Desk:
    """One generated helpdesk at work."""

    def __init__(self, seed: int, source: str, tenant: str | None, note: Callable[[str], object]) -> None:
        self.random = Random(seed).random
        self.house = pools.house()
        self.people = Population(self.random, pools.languages(), self.house)
        self.writing = Writing(self.random, self.people, self.house)
        self.out: list[bytes] = []
        self.begun: list[Story] = []
        self.records = 0
        #: Ids of standing forums, their categories and folders, which no story ever ends.
        self.forums: list[int] = []
        self.categories: list[int] = []
        self.folders: list[int] = []
        self._note = note
        self._source = source
        self._tenant = tenant
        self._number = 1_000
        self._tickets = 0
        self._day, self._day_text = -1, ""

    # -- dice ---------------------------------------------------------------------------------------------------

    def chance(self, rate: float) -> bool:
        """Throw the dice: true as often as the rate says."""
        return self.random() < rate

    def pick(self, items: Sequence[_Item]) -> _Item:
        """Draw one of several."""
        return items[int(self.random() * len(items))]

    def after(self, mean_seconds: float) -> float:
        """Draw a delay, mostly short and sometimes long."""
        return 60 - log(1 - self.random()) * mean_seconds

    def at_work(self, at: int, mean_seconds: float) -> float:
        """Draw a delay that ends when the team is at work."""
        delay = self.after(mean_seconds)
        day, second = divmod(at + delay, DAY_SECONDS)
        wait = 0.0
        if second > _WORK_ENDS:
            day, wait = day + 1, wait + DAY_SECONDS
        if (weekday := (day - _FIRST_MONDAY) % 7) > 4:
            wait += (7 - weekday) * DAY_SECONDS
        if wait or second < _WORK_BEGINS:
            wait += _WORK_BEGINS - second + self.random() * 7200
        return delay + wait

    # -- ids and people -----------------------------------------------------------------------------------------

    def number(self) -> int:
        """Give an id out, for anything but people and tickets."""
        self._number += 1
        return self._number

    def next_ticket(self) -> int:
        """Give the id of the next ticket out."""
        self._tickets += 1
        return self._tickets

    @property
    def tickets(self) -> int:
        """Count the tickets so far."""
        return self._tickets

    def on_duty(self, agent: Person | None = None) -> Person:
        """Draw an agent; the one given, if that person is an agent still."""
        return agent if agent is not None and agent.agent else self.pick(self.people.agents)

    def met(self, person: Person) -> None:
        """Note that upstream made a contact of somebody."""
        self._note(f"contact {person.number}")

    # -- records ------------------------------------------------------------------------------------------------

    def begin(self, story: Story) -> None:
        """Let another story begin, now."""
        self.begun.append(story)

    def say(self, record: type[Record], at: int, data: Data) -> None:
        """Write one record. What it is about, says its data."""
        self.records += 1
        event: Data = {
            "specversion": "1.0",
            "id": str(self.records),
            "source": self._source,
            "type": record.TYPE,
            "time": self.moment(at),
        }
        if (own := _OWN.get(record)) is not None:
            event["subject"] = f"{record.THING} {data[own]}"
        if self._tenant is not None:
            event["tenant"] = self._tenant
        event["data"] = data
        self.out.append(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))

    def moment(self, at: int) -> str:
        """Write a time in ISO 8601, UTC."""
        day, second = divmod(int(at), DAY_SECONDS)
        if day != self._day:
            self._day, self._day_text = day, date.fromordinal(_EPOCH + day).isoformat()
        minute, second = divmod(second, 60)
        return f"{self._day_text}T{minute // 60:02d}:{minute % 60:02d}:{second:02d}Z"

    def file(self, **also: Any) -> Data:
        """Describe a file, with a new id; `also` holds what else is known of it."""
        name, number = self.pick(self.house.files), self.number()
        kinds = {"pdf": "application/pdf", "jpg": "image/jpeg", "png": "image/png", "txt": "text/plain"}
        return {
            "id": number,
            "name": name,
            "content_type": kinds.get(name[-3:], "application/octet-stream"),
            "size": 900 + int(self.random() * 3_000_000),
            "attachment_url": f"https://files.{HOST}/{number}",
            **also,
        }

    def html(self, data: Data, name: str = "body") -> Data:
        """Put HTML beside the plain text `name_text`, as often as the rates say."""
        if self.random() < rates.WITH_HTML:
            text = data[f"{name}_text"].replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>")
            data[name] = f"<div>{text}</div>"
        return data
