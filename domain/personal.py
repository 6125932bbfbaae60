"""How a field of a record is marked: it is personal, or it is clear, or it names somebody.

Every field of every record carries exactly one mark, as `Annotated` metadata; `domain.catalogue` refuses a record
type with an unmarked field. A field without a mark cannot reach the log.

Personal   goes into the seal
Clear      stays readable: a number, a time or a flag
Word       stays readable if it is a word of its vocabulary, else counts as `other` and goes into the seal
Names      is a reference; an inside id takes its place
ProfileOf  belongs into the profile of the person in that role, not into this fact
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Category(StrEnum):
    """What kind of personal data a field holds."""

    IDENTITY = "identity"
    ADDRESS = "address"
    CONTENT = "content"
    CIRCUMSTANCES = "circumstances"


class Kind(StrEnum):
    """What a reference is: upstream's id of a person or thing, or an address of a person.

    Contacts and agents share one space of ids upstream (an agent is a contact that was promoted), so both are
    `person`: `agent 7` who was `contact 7` is one subject.
    """

    PERSON = "person"
    TICKET = "ticket"
    EMAIL = "email"
    PHONE = "phone"
    EXTERNAL = "external"
    TWITTER = "twitter"
    FACEBOOK = "facebook"

    @property
    def is_thing(self) -> bool:
        """Tell whether this is a reference of a thing rather than of a person."""
        return self is Kind.TICKET

    @property
    def is_upstream_id(self) -> bool:
        """Tell whether upstream itself gave it out, so that it is never reused for somebody else."""
        return self in (Kind.PERSON, Kind.TICKET)


@dataclass(frozen=True, slots=True)
class Reference:
    """How upstream knows a person or a thing. `value` is as it came; `crypto.references` makes it canonical."""

    kind: Kind
    value: str

    def __repr__(self) -> str:
        return f"Reference({self.kind})"


@dataclass(frozen=True, slots=True)
class Personal:
    """Seal this field.

    A text is sealed as a list of spans, each a string, so that a later span can name further owners.
    """

    category: Category
    spans: bool = False


@dataclass(frozen=True, slots=True)
class Clear:
    """Keep this field readable. Only for a number, a time or a flag."""

    what: Literal["number", "time", "flag"]


@dataclass(frozen=True, slots=True)
class Word:
    """Keep this field readable if it is a word of `vocabulary`; it is stored as the clear field `stored_as`."""

    vocabulary: str
    stored_as: str


Role = Literal["self", "requester", "author", "responder", "copied", "primary", "secondary"]


@dataclass(frozen=True, slots=True)
class Names:
    """This field is a reference (or a list of them) to whoever has `role` in the fact.

    `self` is the thing or person that the record is about. A reference in the role `self` is kept in the seal as
    well, because a person's ids and addresses belong to the profile and a ticket's number to the ticket.
    """

    role: Role
    kind: Kind


@dataclass(frozen=True, slots=True)
class ProfileOf:
    """This field tells something about the person in `role`; it goes to that person's own profile."""

    role: Role


Mark = Personal | Clear | Word | Names | ProfileOf
