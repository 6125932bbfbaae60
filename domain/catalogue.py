"""Every fact type that a publisher may send, by its stored name, and what becomes of each of its fields.

A `Plan` is read off the marks of a record type once, at import. A field without a mark, or a text field that is
marked as clear, stops the import: no such type can exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AwareDatetime

from domain import agents, articles, calls, chats, companies, contacts, declarations, discussions, forums, tickets
from domain.fact import UNKNOWN, Record
from domain.personal import OWN_ROLES, Clear, Declares, Mark, Names, Personal, ProfileOf, Role, Word
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED, TENANT_CLOSED

#: What a clear field may hold, by what its mark says it is. Anything else could be a text.
CLEAR_TYPES: Mapping[str, frozenset[Any]] = MappingProxyType(
    {"number": frozenset({int, float}), "time": frozenset({datetime, AwareDatetime}), "flag": frozenset({bool})}
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each field of one record type: (field name, mark) by kind of mark, in order of declaration."""

    record: type[Record]
    personal: tuple[str, ...]
    texts: frozenset[str]
    clear: tuple[str, ...]
    words: tuple[tuple[str, Word], ...]
    names: tuple[tuple[str, Names], ...]
    profile: tuple[tuple[str, ProfileOf], ...]
    declares: tuple[str, ...]
    #: The fields of each role that the type knows.
    roles: Mapping[Role, frozenset[str]] = field(hash=False)
    #: Fields that hold JSON of any depth.
    nested: frozenset[str]

    @property
    def tells(self) -> bool:
        """Tell whether a record of this type says what its thing or part is, and does not merely refer to it."""
        return bool(self.words) or any(name != UNKNOWN for name in self.personal)

    @property
    def sealable(self) -> tuple[str, ...]:
        """Name every field that can stand in a seal of this type."""
        own = tuple(name for name, mark in self.names if mark.role in OWN_ROLES)
        return (*self.personal, *own, *(name for name, _ in self.words))


def marks_of(record: type[Record]) -> dict[str, Mark]:
    """Read the one mark of each field.

    Raises:
        TypeError: a field carries no mark, or more than one, or is marked as clear and could hold a text.
    """
    marks: dict[str, Mark] = {}
    for name, info in record.model_fields.items():
        found = [item for item in info.metadata if isinstance(item, Mark)]
        if len(found) != 1:
            raise TypeError(f"{record.__name__}.{name} carries {len(found)} marks; it needs exactly one")
        mark = marks[name] = found[0]
        if isinstance(mark, Clear) and not CLEAR_TYPES[mark.what].issuperset(_types_in(info.annotation)):
            raise TypeError(f"{record.__name__}.{name} is marked as a clear {mark.what} and could hold something else")
    return marks


def _types_in(annotation: Any) -> Iterator[Any]:
    """List the types that a value of this annotation may have, None aside."""
    if get_origin(annotation) is Annotated:
        yield from _types_in(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _types_in(part)
    elif annotation is not NoneType:
        yield annotation


def plan_of(record: type[Record]) -> Plan:
    """Compile the marks of a record type."""
    marks = marks_of(record)
    return Plan(
        record=record,
        personal=tuple(name for name, mark in marks.items() if isinstance(mark, Personal)),
        texts=frozenset(name for name, mark in marks.items() if isinstance(mark, Personal) and mark.spans),
        clear=tuple(name for name, mark in marks.items() if isinstance(mark, Clear)),
        words=tuple((name, mark) for name, mark in marks.items() if isinstance(mark, Word)),
        names=tuple((name, mark) for name, mark in marks.items() if isinstance(mark, Names)),
        profile=tuple((name, mark) for name, mark in marks.items() if isinstance(mark, ProfileOf)),
        roles={
            role: frozenset(name for name, mark in marks.items() if isinstance(mark, Names) and mark.role == role)
            for role in {mark.role for mark in marks.values() if isinstance(mark, Names)}
        },
        nested=frozenset(name for name, info in record.model_fields.items() if "Any" in str(info.annotation)),
        declares=tuple(name for name, mark in marks.items() if isinstance(mark, Declares)),
    )


RECORDS: tuple[type[Record], ...] = (
    contacts.ContactCreated,
    contacts.ContactUpdated,
    contacts.ContactRectified,
    contacts.ContactMerged,
    contacts.ContactDeleted,
    contacts.ContactRestored,
    contacts.ContactBlocked,
    contacts.ContactUnblocked,
    contacts.ContactMadeAgent,
    contacts.ContactMentioned,
    contacts.ContactAvatarAdded,
    contacts.ConsentGiven,
    contacts.ConsentWithdrawn,
    agents.AgentCreated,
    agents.AgentUpdated,
    agents.AgentRectified,
    agents.AgentDeleted,
    companies.CompanyCreated,
    companies.CompanyUpdated,
    companies.CompanyDeleted,
    companies.GroupCreated,
    companies.GroupUpdated,
    companies.GroupDeleted,
    declarations.VocabularyDeclared,
    tickets.TicketOpened,
    tickets.TicketUpdated,
    tickets.TicketMerged,
    tickets.TicketMergedAway,
    tickets.TicketReplied,
    tickets.TicketNoteAdded,
    tickets.TicketForwarded,
    tickets.TicketEntryEdited,
    tickets.TicketEntryDeleted,
    tickets.TicketRated,
    tickets.TicketTimeLogged,
    tickets.TicketAttachmentAdded,
    tickets.TicketAttachmentDeleted,
    tickets.TicketDeleted,
    tickets.TicketRestored,
    tickets.TicketPurged,
    discussions.DiscussionStarted,
    discussions.DiscussionMessagePosted,
    discussions.DiscussionMessageEdited,
    discussions.DiscussionMessageDeleted,
    calls.CallLogged,
    calls.CallRecordingAdded,
    calls.CallTranscriptAdded,
    calls.CallPurged,
    chats.ChatStarted,
    chats.ChatMessageSent,
    chats.ChatEnded,
    chats.ChatPurged,
    forums.CategoryPosted,
    forums.CategoryEdited,
    forums.CategoryDeleted,
    forums.ForumPosted,
    forums.ForumEdited,
    forums.ForumMoved,
    forums.ForumDeleted,
    forums.TopicPosted,
    forums.TopicEdited,
    forums.TopicMoved,
    forums.TopicLocked,
    forums.TopicVoted,
    forums.TopicDeleted,
    forums.TopicAttachmentAdded,
    forums.CommentPosted,
    forums.CommentEdited,
    forums.CommentVoted,
    forums.CommentDeleted,
    forums.CommentAttachmentAdded,
    articles.ArticleCategoryPosted,
    articles.ArticleCategoryEdited,
    articles.ArticleCategoryDeleted,
    articles.ArticleFolderPosted,
    articles.ArticleFolderEdited,
    articles.ArticleFolderDeleted,
    articles.ArticleDrafted,
    articles.ArticlePublished,
    articles.ArticleEdited,
    articles.ArticleDeleted,
    articles.ArticleAttachmentAdded,
)

CATALOGUE: Mapping[str, Plan] = MappingProxyType({record.TYPE: plan_of(record) for record in RECORDS})

#: What a fact may be about that is a person: its stream is the profile.
PEOPLE = frozenset({"contact", "agent"})


def _calls_for_key_work(plan: Plan) -> bool:
    record = plan.record
    return (
        record.THING in PEOPLE
        or record.EFFECT is not None
        or record.TEAM
        or not plan.roles.keys().isdisjoint({"responder", "member", "part"})
        or record is tickets.TicketMergedAway
    )


#: Types whose facts `services.keeping` follows: they claim addresses, tell parts and agents, move, merge, rewrite, end.
KEPT = frozenset(name for name, plan in CATALOGUE.items() if _calls_for_key_work(plan))

#: Types by which something goes: a thing or part is written anew, or ends.
TAKES = frozenset(name for name, plan in CATALOGUE.items() if plan.record.EFFECT is not None)
#: Types by which a ticket moves to another requester.
MOVES = frozenset({tickets.TicketUpdated.TYPE, tickets.TicketMergedAway.TYPE})

#: Types that only sealdesk itself appends; a publisher that sends one is refused.
INTERNAL = frozenset(
    {contacts.ContactMentioned.TYPE, tickets.TicketMergedAway.TYPE, SUBJECT_SHREDDED, CONTENT_SHREDDED, TENANT_CLOSED}
)
