"""Contacts, agents and companies of a generated helpdesk, of whom only some are kept in memory.

Every address and number that a person is known by carries that person's own number, so nobody shares one by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from services.generator import rates
from services.generator.pools import House, Language

#: Steps through all numbers of a given length without meeting one twice, and without order: prime to 10.
_STRIDE = 7_654_321
#: Of all people: have two given names; a double family name. It keeps namesakes rare, as they are in life.
_SECOND_GIVEN, _DOUBLE_FAMILY = 0.25, 0.3
#: Upstream ids of people begin here; contacts and agents share them.
FIRST_PERSON = 101


@dataclass(slots=True, eq=False)
class Person:
    """Somebody whom the desk knows. `number` is upstream's id; 0 as long as only an address is known."""

    number: int
    language: Language = field(repr=False)
    given: str = field(repr=False)
    family: str = field(repr=False)
    name: str = field(repr=False)
    email: str = field(repr=False)
    other_emails: tuple[str, ...] = field(repr=False)
    phone: str | None = field(repr=False)
    external: str | None = field(repr=False)
    company: int | None = None
    tier: str | None = None
    agent: bool = False


@dataclass(slots=True, eq=False)
class Company:
    """A company whose people write."""

    number: int
    name: str = field(repr=False)
    domain: str = field(repr=False)


class Population:
    """Make people and companies, and keep as many as the rates say."""

    def __init__(self, random: Callable[[], float], languages: tuple[Language, ...], house: House) -> None:
        self._random = random
        self._languages = [language for language in languages for _ in range(language.share)]
        self._house = house
        self._numbers = dict.fromkeys((language.code for language in languages), 0)
        self._people = FIRST_PERSON
        self._companies = 1
        self.contacts: list[Person] = []
        self.agents: list[Person] = []
        self.companies: list[Company] = []

    def new_person(self, *, desk: str | None = None) -> Person:
        """Invent somebody. With a `desk`, the host of its addresses, an agent."""
        random, house = self._random, self._house
        language = self._languages[int(random() * len(self._languages))]
        number, self._people = self._people, self._people + 1
        given = language.given[int(random() * len(language.given))]
        family = language.family[int(random() * len(language.family))]
        first, last = given.native, family.native
        if random() < _SECOND_GIVEN:
            second = language.given[int(random() * len(language.given))]
            first = f"{first} {second.native}" if second is not given and not language.family_first else first
        if random() < _DOUBLE_FAMILY:
            other = language.family[int(random() * len(language.family))]
            last = f"{other.native}-{last}" if other is not family else last
        name = f"{last} {first}" if language.family_first else f"{first} {last}"
        local = (
            f"{given.latin}.{family.latin}{number}" if random() < 0.7 else f"{given.latin[0]}.{family.latin}{number}"
        )
        company = None
        if desk is not None:
            email = f"{local}@{desk}"
        elif self.companies and random() < rates.IN_COMPANY:
            employer = self.companies[int(random() * len(self.companies))]
            company, email = employer.number, f"{local}@{employer.domain}"
        else:
            email = f"{local}@{house.mailboxes[int(random() * len(house.mailboxes))]}"
        others: tuple[str, ...] = ()
        if desk is None and random() < rates.MORE_ADDRESSES:
            others = (f"{given.latin}@{family.latin}{number}.example",)
            if random() < 0.3:
                others = (*others, f"{family.latin}{number}@{house.mailboxes[0]}")
        return Person(
            number,
            language,
            first,
            last,
            name,
            email,
            others,
            self.new_phone(language) if random() < rates.WITH_PHONE else None,
            f"crm-{number:07d}" if desk is None and random() < rates.WITH_EXTERNAL_ID else None,
            company,
            house.tiers[int(random() * len(house.tiers))] if company is not None else None,
            desk is not None,
        )

    def new_phone(self, language: Language) -> str:
        """Give a number that nobody has yet."""
        count = self._numbers[language.code] = self._numbers[language.code] + 1
        return self._phone(language, count, count * _STRIDE)

    def any_phone(self, language: Language) -> str:
        """Give a number of somebody whom the desk does not know."""
        drawn = int(self._random() * 10**language.digits)
        return self._phone(language, drawn, drawn)

    def _phone(self, language: Language, which: int, digits: int) -> str:
        rest = f"{digits % 10**language.digits:0{language.digits}d}"
        return f"{language.country} {language.mobile[which % len(language.mobile)]} {rest[:4]} {rest[4:]}"

    def new_company(self) -> Company:
        """Invent a company, and keep it."""
        random, house = self._random, self._house
        number, self._companies = self._companies, self._companies + 1
        stem = house.firm_stems[int(random() * len(house.firm_stems))]
        name = f"{stem} {house.firm_ends[int(random() * len(house.firm_ends))]}"
        company = Company(number, name, f"{stem.lower()}{number}.example")
        if len(self.companies) < rates.COMPANIES_KEPT:
            self.companies.append(company)
        else:
            self.companies[int(random() * len(self.companies))] = company
        return company

    def keep(self, person: Person) -> None:
        """Keep a contact, instead of somebody else if there are enough."""
        if len(self.contacts) < rates.CONTACTS_KEPT:
            self.contacts.append(person)
        else:
            self.contacts[int(self._random() * len(self.contacts))] = person

    def regular(self) -> Person:
        """Draw a contact; some are drawn much more often than others."""
        return self.contacts[int(self._random() ** rates.LEANING * len(self.contacts))]

    def anyone(self) -> Person:
        """Draw a contact, each as often as any other."""
        return self.contacts[int(self._random() * len(self.contacts))]

    def taken_out(self, *, fewest: int = 8) -> Person | None:
        """Draw a contact of whom nothing new begins any more; none if hardly anybody is there."""
        if len(self.contacts) <= fewest:
            return None
        at = int(self._random() * len(self.contacts))
        self.contacts[at], self.contacts[-1] = self.contacts[-1], self.contacts[at]
        return self.contacts.pop()
