"""Texts of a generated helpdesk, and the other people whom they name: by name, address or number, as people do.

Slots: {product} {order} {date}; {who} somebody's name, {reach} a name with a number or an address, {mail}, {phone},
{street} with a house number and a city.
"""

from __future__ import annotations

from collections.abc import Callable

from services.generator import rates
from services.generator.people import Person, Population
from services.generator.pools import House, Language, Sentence

_DATES = [f"{day}.{month}.2026" for month in range(1, 13) for day in range(1, 29)]
_LETTERS = "ABCDEFGHKLMNPRSTUVWX"


class Writing:
    """Write texts. What stands in a slot is drawn anew each time."""

    def __init__(self, random: Callable[[], float], people: Population, house: House) -> None:
        self._random = random
        self._people = people
        self._house = house
        self._slots: dict[str, Callable[[Language], str]] = {
            "product": self._product,
            "who": self._who,
            "reach": self._reach,
            "mail": self._mail,
            "phone": self._phone,
            "order": self._order,
            "street": self.street,
            "date": self._date,
        }

    def one(self, pool: tuple[Sentence, ...], language: Language) -> str:
        """Draw a sentence and fill its slots."""
        parts = pool[int(self._random() * len(pool))]
        if len(parts) == 1:
            return parts[0]
        slots = self._slots
        return "".join([slots[part](language) if odd & 1 else part for odd, part in enumerate(parts)])

    def several(self, pool: tuple[Sentence, ...], language: Language, most: int) -> str:
        """Draw one to `most` sentences."""
        count = 1 + int(self._random() * most)
        return " ".join([self.one(pool, language) for _ in range(count)])

    def letter(self, who: Person) -> str:
        """Write the first message of somebody."""
        words, random = who.language, self._random
        text = (
            f"{self.one(words.greetings, words)}\n{self.one(words.openers, words)} {self.one(words.problems, words)} "
            f"{self.one(words.details, words)}"
        )
        if random() < 0.4:
            text += f" {self.one(words.details, words)}"
        return f"{text} {self.one(words.requests, words)}\n\n{self.one(words.closings, words)}\n{who.name}".lstrip()

    def answer(self, agent: Person, to: Person) -> str:
        """Write what an agent answers."""
        words = to.language
        return (
            f"{self.one(words.greetings, words)} {to.name}\n{self.several(words.answers, words, 3)}\n\n"
            f"{self.one(words.closings, words)}\n{agent.name}"
        ).lstrip()

    def again(self, who: Person) -> str:
        """Write what somebody answers to an answer."""
        words = who.language
        text = self.one(words.thanks, words)
        if self._random() < 0.35:
            text += f" {self.one(words.details, words)}"
        return f"{text}\n{who.given}" if self._random() < 0.6 else text

    def street(self, language: Language) -> str:
        """Draw an address of bricks."""
        random = self._random
        street = language.streets[int(random() * len(language.streets))]
        return f"{street} {1 + int(random() * 180)}, {language.cities[int(random() * len(language.cities))]}"

    def _product(self, language: Language) -> str:
        return self._house.products[int(self._random() * len(self._house.products))]

    def _order(self, language: Language) -> str:
        random = self._random
        return f"{_LETTERS[int(random() * len(_LETTERS))]}{int(random() * 90) + 10}-{int(random() * 900000) + 100000}"

    def _date(self, language: Language) -> str:
        return _DATES[int(self._random() * len(_DATES))]

    def _known(self) -> Person | None:
        """Draw a contact to be named; none if it is to be somebody whom the desk does not know."""
        return self._people.anyone() if self._random() < rates.KNOWN_IN_TEXT and self._people.contacts else None

    def _who(self, language: Language) -> str:
        known, random = self._known(), self._random
        if known is None:
            given = language.given[int(random() * len(language.given))].native
            family = language.family[int(random() * len(language.family))].native
            first = language.family_first
        else:
            given, family, first = known.given, known.family, known.language.family_first
        how = random()
        if how < 0.15:
            return given
        if how < 0.4:
            title = language.titles[int(random() * len(language.titles))]
            return f"{title} {family}" if title else family
        return f"{family} {given}" if first else f"{given} {family}"

    def _reach(self, language: Language) -> str:
        where = self._phone(language) if self._random() < 0.7 else self._mail(language)
        return f"{self._who(language)}, {where}"

    def _mail(self, language: Language) -> str:
        if known := self._known():
            return known.email
        random, boxes = self._random, self._house.mailboxes
        given = language.given[int(random() * len(language.given))].latin
        family = language.family[int(random() * len(language.family))].latin
        return f"{given}.{family}@{boxes[int(random() * len(boxes))]}"

    def _phone(self, language: Language) -> str:
        known = self._known()
        number = known.phone if known is not None else None
        if number is None:
            number = self._people.any_phone(language)
        # People write their own country's numbers without its code.
        if self._random() < 0.5:
            return "0" + number.partition(" ")[2]
        return number if self._random() < 0.7 else number.replace(" ", "")
