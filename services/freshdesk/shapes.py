"""The kinds of objects that the Freshdesk API lists, and which fact each of them is. A table.

In the order in which files are read: what others hang from comes first, and agents before everything that names people,
so that what an agent wrote counts as an agent's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from domain.personal import Kind
from services.freshdesk import adapting as fields
from services.freshdesk.adapting import Data

#: Numbers of the API: https://developers.freshdesk.com/api/
_PUBLISHED = 2
_NOTE, _SURVEY, _FORWARDED = 2, 6, 8

#: A fact type without `sealdesk.` and version, or how to find it by the object.
Type = str | Callable[[Data], str]


@dataclass(frozen=True, slots=True)
class Nested:
    """Objects in a field of another one, or a single one. `links` are fields that they get from fields of that one.

    Without links they do not hang from it, and are told before it.
    """

    stands_in: str
    shape: str
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """How one kind of object is told: as the first fact of its thing or part, and as a later one, if there is any.

    `flags` are fields that say, if true, that something else happened, too; what fields `apart` say is told by itself.
    An object is `timeless` if the API says no time of it; it is told at the time of the import.
    """

    kind: Kind
    first: Type
    later: Type | None = None
    adapt: Callable[[Data], Data] = fields.as_it_is
    nested: tuple[Nested, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    apart: tuple[str, ...] = ()
    timeless: bool = False


def _entry(data: Data) -> str:
    """Tell a reply from a note, and from what was forwarded. What a survey gathered answers nobody."""
    if data.get("source") == _FORWARDED:
        return "ticket.forwarded"
    if data.get("source") in (_NOTE, _SURVEY) or data.get("private") is True:
        return "ticket.note_added"
    return "ticket.replied"


def _article(data: Data) -> str:
    return "article.published" if data.get("status") == _PUBLISHED else "article.drafted"


def _article_anew(data: Data) -> str:
    return "article.published" if data.get("status") == _PUBLISHED else "article.edited"


def _files_of(thing: str, **links: str) -> Nested:
    return Nested("attachments", f"{thing}_attachments", {f"{thing}_id": "id"} | links)


#: By the name of the file that lists them.
LISTED: Mapping[str, Shape] = MappingProxyType(
    {
        "agents": Shape(
            Kind.PERSON, "agent.created", "agent.updated", fields.agent, flags={"deleted": "agent.deleted"}
        ),
        "contacts": Shape(
            Kind.PERSON,
            "contact.created",
            "contact.updated",
            nested=(Nested("avatar", "avatars", {"contact_id": "id"}),),
            flags={"deleted": "contact.deleted", "blocked": "contact.blocked"},
        ),
        "companies": Shape(Kind.COMPANY, "company.created", "company.updated"),
        "groups": Shape(Kind.GROUP, "group.created", "group.updated"),
        "article_categories": Shape(Kind.ARTICLE_CATEGORY, "article_category.posted", "article_category.edited"),
        "article_folders": Shape(Kind.ARTICLE_FOLDER, "article_folder.posted", "article_folder.edited"),
        "articles": Shape(Kind.ARTICLE, _article, _article_anew, nested=(_files_of("article"),)),
        "categories": Shape(Kind.CATEGORY, "category.posted", "category.edited"),
        "forums": Shape(Kind.FORUM, "forum.posted", "forum.edited", timeless=True),
        "topics": Shape(Kind.TOPIC, "topic.posted", "topic.edited", nested=(_files_of("topic"),)),
        "comments": Shape(Kind.COMMENT, "comment.posted", "comment.edited", nested=(_files_of("comment"),)),
        "tickets": Shape(
            Kind.TICKET,
            "ticket.opened",
            "ticket.updated",
            fields.ticket,
            (
                Nested("requester", "contacts_in_short"),
                Nested("company", "companies_in_short"),
                _files_of("ticket", user_id="requester_id"),
                Nested("conversations", "conversations", {"ticket_id": "id"}),
            ),
            {"deleted": "ticket.deleted"},
        ),
        "conversations": Shape(
            Kind.CONVERSATION,
            _entry,
            "ticket.entry_edited",
            fields.entry,
            (_files_of("ticket", ticket_id="ticket_id", conversation_id="id", user_id="user_id"),),
        ),
        "discussions": Shape(
            Kind.THREAD, "discussion.started", nested=(Nested("messages", "messages", {"thread_id": "id"}),)
        ),
        "messages": Shape(Kind.MESSAGE, "discussion.message_posted", "discussion.message_edited", fields.message),
        "ratings": Shape(Kind.RATING, "ticket.rated"),
        "time_entries": Shape(Kind.TIME_ENTRY, "ticket.time_logged"),
        "calls": Shape(
            Kind.CALL,
            "call.logged",
            adapt=fields.call,
            nested=(Nested("recording", "recordings", {"call_id": "id"}),),
            apart=("transcript",),
        ),
        "chats": Shape(
            Kind.CHAT,
            "chat.started",
            nested=(Nested("messages", "chat_messages", {"chat_id": "id"}),),
            apart=("ended_at",),
        ),
        "chat_messages": Shape(Kind.CHAT_MESSAGE, "chat.message_sent", adapt=fields.chat_message),
    }
)

#: What stands in other objects only. The short form of a person or company tells nothing of who is known.
SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        **LISTED,
        "contacts_in_short": Shape(Kind.PERSON, "contact.created"),
        "companies_in_short": Shape(Kind.COMPANY, "company.created"),
        "avatars": Shape(Kind.ATTACHMENT, "contact.avatar_added", adapt=fields.avatar),
        "recordings": Shape(Kind.RECORDING, "call.recording_added"),
        **{
            f"{thing}_attachments": Shape(Kind.ATTACHMENT, f"{thing}.attachment_added")
            for thing in ("ticket", "article", "topic", "comment")
        },
    }
)
