"""How a field of a record is marked: it is personal, or it is clear, or it names somebody.

Every field of every record carries exactly one mark, as `Annotated` metadata; `domain.catalogue` refuses a record
type with an unmarked field. A field without a mark cannot reach the log.

Personal   goes into the seal
Clear      stays readable: a number, a time or a flag
Word       stays readable if it is a word of its vocabulary, else counts as `other` and goes into the seal
Names      is a reference; an inside id takes its place
ProfileOf  belongs into the profile of the person in that role, not into this fact
Declares   names words that a tenant lets stand in the clear from now on
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
    """What a reference is: upstream's id of a person, a thing or a part of one, or an address of a person.

    Contacts and agents share one space of ids upstream (an agent is a contact that was promoted), so both are
    `person`: `agent 7` who was `contact 7` is one subject.

    A part (a reply, a message of a discussion, an attachment) is no thing of its own: its facts stand on the stream of
    its thing and can go alone.
    """

    PERSON = "person"
    EMAIL = "email"
    PHONE = "phone"
    EXTERNAL = "external"
    TWITTER = "twitter"
    FACEBOOK = "facebook"

    TICKET = "ticket"
    CALL = "call"
    CHAT = "chat"
    CATEGORY = "category"
    FORUM = "forum"
    TOPIC = "topic"
    COMMENT = "comment"
    ARTICLE_CATEGORY = "article_category"
    ARTICLE_FOLDER = "article_folder"
    ARTICLE = "article"
    COMPANY = "company"
    GROUP = "group"

    CONVERSATION = "conversation"
    RATING = "rating"
    THREAD = "thread"
    MESSAGE = "message"
    TIME_ENTRY = "time_entry"
    CHAT_MESSAGE = "chat_message"
    ATTACHMENT = "attachment"
    RECORDING = "recording"

    @property
    def is_thing(self) -> bool:
        """Tell whether this is a reference of a thing rather than of a person or a part."""
        return self in _THINGS

    @property
    def is_part(self) -> bool:
        """Tell whether this is a reference of a part of a thing."""
        return self in _PARTS

    @property
    def is_file(self) -> bool:
        """Tell whether this is a reference of a file. Recordings have numbers of the telephone system."""
        return self in (Kind.ATTACHMENT, Kind.RECORDING)

    @property
    def is_upstream_id(self) -> bool:
        """Tell whether upstream itself gave it out, so that it is never reused for somebody or something else."""
        return self is Kind.PERSON or self in _THINGS or self in _PARTS


_THINGS = frozenset(
    {
        Kind.TICKET,
        Kind.CALL,
        Kind.CHAT,
        Kind.CATEGORY,
        Kind.FORUM,
        Kind.TOPIC,
        Kind.COMMENT,
        Kind.ARTICLE_CATEGORY,
        Kind.ARTICLE_FOLDER,
        Kind.ARTICLE,
        Kind.COMPANY,
        Kind.GROUP,
    }
)
_PARTS = frozenset(
    {
        Kind.CONVERSATION,
        Kind.RATING,
        Kind.THREAD,
        Kind.MESSAGE,
        Kind.TIME_ENTRY,
        Kind.CHAT_MESSAGE,
        Kind.ATTACHMENT,
        Kind.RECORDING,
    }
)


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


Role = Literal[
    "self",  # the person or thing that the record is about
    "part",  # the part of that thing which the record makes, changes or ends
    "within",  # the part in which that part hangs: the thread of a message
    "parent",  # the thing in which this thing hangs: the forum of a topic, the ticket of a call
    "requester",  # whose a ticket, call or chat is
    "author",  # who wrote it
    "responder",  # the agent in charge
    "copied",  # who is in copy
    "member",  # who belongs to a group
    "voter",  # who voted
    "named",  # somebody else whom the record merely names
    "secondary",  # who or what was merged into the one that the record is about
]


@dataclass(frozen=True, slots=True)
class Names:
    """This field is a reference (or a list of them) to whoever or whatever has `role` in the fact.

    References in the roles `self` and `part` are kept in the seal as well, because a person's ids and addresses belong
    to the profile, a ticket's number to the ticket, and a reply's to the reply.
    """

    role: Role
    kind: Kind


@dataclass(frozen=True, slots=True)
class ProfileOf:
    """This field tells something about the person in `role`; it goes to that person's own profile."""

    role: Role


@dataclass(frozen=True, slots=True)
class Declares:
    """This field names a vocabulary, or words of it, that the tenant declares: they stand in the clear."""


#: Roles whose references are kept in the seal as well.
OWN_ROLES: frozenset[Role] = frozenset({"self", "part"})

Mark = Personal | Clear | Word | Names | ProfileOf | Declares
