"""Facts of chats. Their owner is the contact; a chat of nobody who is known belongs to the desk."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from domain.fact import LIST_ITEMS, Line, Moment, Record, Text, UpstreamId
from domain.personal import Category, Clear, Kind, Names, Personal, ProfileOf, Role, Word
from domain.tickets import Code

Parts = Annotated[list[dict[str, Any]], Field(max_length=LIST_ITEMS)]


class ChatStarted(Record):
    """Somebody began to chat with the desk."""

    TYPE: ClassVar[str] = "sealdesk.chat.started.v1"
    THING: ClassVar[str] = "chat"
    OPENS: ClassVar[bool] = True
    WHOSE: ClassVar[Role | None] = "requester"

    id: Annotated[UpstreamId | None, Names("self", Kind.CHAT)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("requester", Kind.PERSON)] = Field(default=None, repr=False)
    email: Annotated[Line | None, Names("requester", Kind.EMAIL)] = Field(default=None, repr=False)
    phone: Annotated[Line | None, Names("requester", Kind.PHONE)] = Field(default=None, repr=False)
    name: Annotated[Line | None, ProfileOf("requester")] = Field(default=None, repr=False)
    agent_id: Annotated[UpstreamId | None, Names("responder", Kind.PERSON)] = Field(default=None, repr=False)
    ticket_id: Annotated[UpstreamId | None, Names("parent", Kind.TICKET)] = Field(default=None, repr=False)
    subject: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    channel: Annotated[Code | None, Word("channel", "channel")] = None
    group_id: Annotated[Code | None, Word("group", "group")] = None


class ChatMessageSent(Record):
    """Somebody wrote in a chat."""

    TYPE: ClassVar[str] = "sealdesk.chat.message_sent.v1"
    THING: ClassVar[str] = "chat"

    chat_id: Annotated[UpstreamId | None, Names("self", Kind.CHAT)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId | None, Names("part", Kind.CHAT_MESSAGE)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    incoming: Annotated[bool | None, Clear("flag")] = None
    body: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    message_parts: Annotated[Parts | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def read_actor_type(cls, data: Any) -> Any:
        """Read Freshchat's `actor_type`: what a user writes comes in, what anybody else writes goes out."""
        if not isinstance(data, dict) or not isinstance(data.get("actor_type"), str):
            return data
        rest = {name: value for name, value in data.items() if name != "actor_type"}
        rest.setdefault("incoming", data["actor_type"].casefold() == "user")
        return rest


class ChatEnded(Record):
    """A chat is over. The record's time is its end."""

    TYPE: ClassVar[str] = "sealdesk.chat.ended.v1"
    THING: ClassVar[str] = "chat"

    id: Annotated[UpstreamId | None, Names("self", Kind.CHAT)] = Field(default=None, repr=False)
    ended_at: Annotated[Moment | None, Clear("time")] = None


class ChatPurged(Record):
    """Upstream deleted a chat for good. The keys go when an officer agrees, or the tenant trusts its upstream."""

    TYPE: ClassVar[str] = "sealdesk.chat.purged.v1"
    THING: ClassVar[str] = "chat"

    id: Annotated[UpstreamId | None, Names("self", Kind.CHAT)] = Field(default=None, repr=False)
