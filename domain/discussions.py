"""Facts of team discussions. They stand on the stream of their ticket and belong to its requester.

A discussion is written by the team, so nobody else becomes an owner.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from domain.contacts import Addresses
from domain.fact import LIST_ITEMS, Effect, Line, Record, Text, UpstreamId
from domain.personal import Category, Kind, Names, Personal, Word
from domain.tickets import Code

People = Annotated[list[UpstreamId], Field(max_length=LIST_ITEMS)]


def _ids(value: Any) -> Any:
    """Read agents that are given as ids, or as objects with an id."""
    return [item.get("id") if isinstance(item, dict) else item for item in value] if isinstance(value, list) else value


class DiscussionStarted(Record):
    """The team began to discuss a ticket."""

    TYPE: ClassVar[str] = "sealdesk.discussion.started.v1"
    THING: ClassVar[str] = "ticket"
    TEAM: ClassVar[bool] = True

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId, Names("part", Kind.THREAD)] = Field(repr=False)
    created_by: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    type: Annotated[Code | None, Word("discussion", "discussion")] = None
    title: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)
    agents: Annotated[People | None, Names("member", Kind.PERSON)] = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def unfold_parent_and_participants(cls, data: Any) -> Any:
        """Read Freshdesk's `parent` {"id", "type"} and `participants` {"agents", "emails"}."""
        if not isinstance(data, dict):
            return data
        flat = dict(data)
        parent = flat.pop("parent", None)
        if isinstance(parent, dict) and parent.get("type") == "ticket":
            flat.setdefault("ticket_id", parent.get("id"))
        people = flat.pop("participants", None)
        if isinstance(people, dict):
            flat.setdefault("emails", people.get("emails"))
            flat.setdefault("agents", _ids(people.get("agents")))
        return flat


class MessageFields(Record):
    """A message of a discussion."""

    THING: ClassVar[str] = "ticket"
    TEAM: ClassVar[bool] = True

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    thread_id: Annotated[UpstreamId | None, Names("within", Kind.THREAD)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId, Names("part", Kind.MESSAGE)] = Field(repr=False)
    created_by: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    body: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    body_text: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    to_emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)
    cc_emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def unfold_participants(cls, data: Any) -> Any:
        """Read Freshdesk's `participants` {"email": {"to", "cc"}}."""
        if not isinstance(data, dict) or not isinstance(data.get("participants"), dict):
            return data
        flat = dict(data)
        email = flat.pop("participants").get("email")
        if isinstance(email, dict):
            flat.setdefault("to_emails", email.get("to"))
            flat.setdefault("cc_emails", email.get("cc"))
        return flat


class DiscussionMessagePosted(MessageFields):
    """Somebody of the team wrote in a discussion."""

    TYPE: ClassVar[str] = "sealdesk.discussion.message_posted.v1"


class DiscussionMessageEdited(MessageFields):
    """A message was written anew. What it said before can never be read again; what is not given stays."""

    TYPE: ClassVar[str] = "sealdesk.discussion.message_edited.v1"
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES


class DiscussionMessageDeleted(Record):
    """A message was deleted. It can never be read again."""

    TYPE: ClassVar[str] = "sealdesk.discussion.message_deleted.v1"
    THING: ClassVar[str] = "ticket"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId, Names("part", Kind.MESSAGE)] = Field(repr=False)
