"""A season: a story from time to time in which every rare thing of a helpdesk happens once."""

from __future__ import annotations

from domain import companies
from services.generator import boards, profiles, rates, talks
from services.generator.desk import Desk, Story
from services.generator.people import Person


def season(desk: Desk, at: int, who: Person) -> Story:
    """Begin one story of each rare kind; and tell of a group that is dissolved and of a company that goes."""
    desk.begin(boards.shelf_that_goes(desk, at))
    desk.begin(boards.folder_that_goes(desk, at))
    desk.begin(boards.topic(desk, at, who, in_full=True))
    desk.begin(boards.article(desk, at, in_full=True))
    desk.begin(talks.call(desk, at, who, in_full=True))
    desk.begin(talks.chat(desk, at, who, in_full=True))
    desk.begin(profiles.promoted(desk, at))
    desk.begin(profiles.change(desk, at, in_full=True))
    group = desk.number()
    profiles.new_group(desk, at, group, "Christmas shift")
    leaving = profiles.new_company(desk, at)
    at = yield desk.after(rates.UNTIL_CLOSED)
    profiles.agent_changed(desk, at)
    desk.say(companies.GroupUpdated, at, {"id": group, "agent_ids": [desk.on_duty().number]})
    profiles.company_changed(desk, at)
    at = yield desk.after(rates.UNTIL_CLOSED)
    desk.say(companies.GroupDeleted, at, {"id": group})
    if leaving in desk.people.companies:
        desk.people.companies.remove(leaving)
        desk.say(companies.CompanyDeleted, at, {"id": leaving.number})
