"""A believable history of a helpdesk, as CloudEvents: people, tickets and all the rest, drawn from one seed.

The same wish gives the same bytes, on every machine. Memory stays flat: so many stories run at once, and of so many
people anything new is told. Nobody in it exists; who is named in a text may be somebody else of the same history.

Rules: records come in the order of their times, but for the openings that are late on purpose. Every record is valid,
and what arrives before its ticket is followed by the ticket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from heapq import heappop, heappush

from services.generator import boards, opening, profiles, rates, seasons, talks, tickets
from services.generator.desk import DAY_SECONDS, Desk, Story
from services.generator.people import Person

#: A year of work, and the first of January: without a clock, the same history every time.
START, DAYS = date(2026, 1, 1), 365
#: A history needs some people: contacts get merged and deleted, and somebody has to be left.
FEWEST_PEOPLE = 9
_EPOCH = date(1970, 1, 1)
#: How much of a week's tickets comes on each day from Monday, and how much of a day's in each hour (UTC).
_WEEK = (22, 19, 18, 17, 15, 5, 4)
_HOURS = (1, 1, 1, 1, 2, 3, 6, 10, 14, 16, 16, 15, 12, 13, 15, 14, 12, 9, 7, 6, 5, 4, 3, 2)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What history is wanted. `people` counts contacts; without it there are some for each ticket."""

    tickets: int
    seed: int
    start: date = START
    days: int = DAYS
    people: int | None = None
    tenant: str | None = None

    @property
    def contacts(self) -> int:
        """Count the contacts that there will be."""
        derived = int(self.tickets * rates.CONTACTS_A_TICKET) if self.people is None else self.people
        return max(FEWEST_PEOPLE, derived)


def history(wanted: Wanted, note: Callable[[str], object] = lambda reference: None) -> Iterator[bytes]:
    """Tell a history, one CloudEvent a line, and `note` the reference of each contact on the way (`contact 123`)."""
    desk = Desk(wanted.seed, f"/generated/{wanted.seed}/{wanted.tickets}", wanted.tenant, note)
    first = (wanted.start - _EPOCH).days * DAY_SECONDS
    known = 0
    for count in opening.first_day(desk, first - DAY_SECONDS, tickets=wanted.tickets, people=wanted.contacts):
        known = count
        yield from desk.out
        desk.out.clear()
    made = known
    running = _Running(desk)
    for count, at in enumerate(_openings(desk, wanted, first)):
        if desk.tickets >= wanted.tickets:
            break
        yield from running.until(at)
        who = desk.people.regular()
        while made < known + (wanted.contacts - known) * (count + 1) // wanted.tickets:
            made, who = made + 1, _newcomer(desk, at, running)
        season = count % rates.SEASON_TICKETS == 0
        if wanted.tickets - desk.tickets > 1 and not season and desk.chance(rates.REPORTED_TWICE):
            running.begin(tickets.reported_twice(desk, at, who))
        else:
            running.begin(tickets.ticket(desk, at, who, discussed=season))
        yield from _delivered(desk)
        for story in _beside(desk, at, season=season):
            running.begin(story)
            yield from _delivered(desk)
    for _ in range(made, wanted.contacts):
        # Two tickets that were told as one leave some newcomers without a ticket of their own.
        _newcomer(desk, running.now, running)
    yield from running.until(None)


class _Running:
    """The stories that run, by when they go on."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: list[tuple[int, int, Story]] = []
        self._begun = 0
        self.now = 0

    def begin(self, story: Story) -> None:
        """Begin a story, and what it begins in turn."""
        self._go_on(story, None)
        while self._desk.begun:
            self._go_on(self._desk.begun.pop(0), None)

    def until(self, at: int | None) -> Iterator[bytes]:
        """Go on with every story that is due by then, or with all to their ends; and if too many run, with the next."""
        waiting, desk = self._waiting, self._desk
        while waiting and (at is None or waiting[0][0] <= at or len(waiting) > rates.STORIES_KEPT):
            due, _, story = heappop(waiting)
            self.now = due if at is None or due < at else at
            self._go_on(story, self.now)
            while desk.begun:
                self._go_on(desk.begun.pop(0), None)
            if desk.out:
                yield from _delivered(desk)
        if at is not None:
            self.now = at

    def _go_on(self, story: Story, now: int | None) -> None:
        try:
            seconds = next(story) if now is None else story.send(now)
        except StopIteration:
            return
        self._begun += 1
        heappush(self._waiting, (self.now + max(1, int(seconds)), self._begun, story))


def _newcomer(desk: Desk, at: int, running: _Running) -> Person:
    """Make somebody known, or let somebody write who is known by an address first."""
    if not desk.chance(rates.WRITES_FIRST):
        return profiles.newcomer(desk, at)
    person = desk.people.new_person()
    number, person.number = person.number, 0
    running.begin(profiles.known_later(desk, at, person, number))
    return person


def _beside(desk: Desk, at: int, *, season: bool) -> Iterator[Story]:
    """Draw what else begins beside a ticket."""
    who = desk.people.regular()
    if season:
        yield seasons.season(desk, at, who)
    if desk.chance(rates.PERSON_HAPPENING):
        yield profiles.change(desk, at)
    if desk.chance(rates.CALL):
        yield talks.call(desk, at, who)
    if desk.chance(rates.CHAT):
        yield talks.chat(desk, at, who)
    if desk.chance(rates.TOPIC):
        yield boards.topic(desk, at, who)
    if desk.chance(rates.ARTICLE):
        yield boards.article(desk, at)
    if desk.chance(rates.COMPANY_HAPPENING):
        profiles.company_changed(desk, at)
    if desk.chance(rates.AGENT_HAPPENING):
        profiles.agent_changed(desk, at)


def _delivered(desk: Desk) -> Iterator[bytes]:
    """Deliver what was said just now; now and then twice."""
    out = desk.out
    if out and desk.chance(rates.REPEATED):
        out.extend(list(out))
    yield from out
    out.clear()


def _openings(desk: Desk, wanted: Wanted, first: int) -> Iterator[int]:
    """Give the times of all openings, in order: more at noon, fewer on Sundays, and none is kept in memory."""
    weekday = wanted.start.weekday()
    weights = [_WEEK[(weekday + day) % 7] for day in range(wanted.days)]
    total, before = sum(weights), 0
    hours, width = sum(_HOURS), DAY_SECONDS // len(_HOURS)
    for day, weight in enumerate(weights):
        count = wanted.tickets * (before + weight) // total - wanted.tickets * before // total
        before += weight
        hour, passed = 0, 0
        for which in range(count):
            place = (which + desk.random()) * hours / count
            while place >= passed + _HOURS[hour]:
                passed, hour = passed + _HOURS[hour], hour + 1
            within = (place - passed) / _HOURS[hour]
            yield first + day * DAY_SECONDS + int((hour + within) * width)
