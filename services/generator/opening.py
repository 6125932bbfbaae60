"""The first day of a generated helpdesk: its words, its team, its companies and shelves, and whoever it knows already.

Words come before everything that uses them; from then on they stand in the clear.
"""

from __future__ import annotations

from collections.abc import Iterator

from domain.declarations import VocabularyDeclared
from services.generator import boards, pools, profiles, rates
from services.generator.desk import Desk

#: Of all contacts: known on the first day, but no more than the second number.
_KNOWN_BEFORE, _KNOWN_AT_MOST = 0.1, 300
_FEWEST = 9
_COMPANIES = 12


def first_day(desk: Desk, at: int, *, tickets: int, people: int) -> Iterator[int]:
    """Tell the first day, beginning at `at`, piece by piece; each says how many contacts the desk knows by now."""
    house = desk.house
    words = {
        "type": house.types,
        "product": house.products,
        "cf_tier": house.tiers,
        "status": house.statuses,
        "purpose": house.purposes,
        "wording": house.wordings,
        "language": pools.LANGUAGES,
    }
    for vocabulary, declared in words.items():
        desk.say(VocabularyDeclared, at, {"vocabulary": vocabulary, "words": list(declared)})
    for _ in range(min(rates.AGENTS_AT_MOST, rates.AGENTS_AT_LEAST + tickets // rates.TICKETS_AN_AGENT)):
        at += 60
        profiles.hired(desk, at)
    for number, name in enumerate(house.groups, start=1):
        profiles.new_group(desk, at, number, name)
    for _ in range(_COMPANIES):
        at += 10
        profiles.new_company(desk, at)
    desk.categories.extend(boards.new_category(desk, at) for _ in range(2))
    desk.forums.extend(boards.new_forum(desk, at, desk.pick(desk.categories)) for _ in range(5))
    shelf = boards.new_article_category(desk, at)
    desk.folders.extend(boards.new_folder(desk, at, shelf) for _ in range(3))
    yield 0
    known = min(people, _KNOWN_AT_MOST, max(_FEWEST, int(people * _KNOWN_BEFORE)))
    for count in range(known):
        profiles.newcomer(desk, at + 10 * count)
        yield count + 1
