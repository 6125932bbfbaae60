"""Facts of tickets and their conversations. Their owner is the requester, and with him a writer who is no agent."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from domain.contacts import Addresses, Tags
from domain.fact import Line, Moment, Record, Text, UpstreamId
from domain.personal import Category, Clear, Kind, Names, Personal, ProfileOf, Word

Code = Annotated[int, Field(ge=0, lt=2**63)] | Line


class TicketFields(Record):
    """A ticket, whole or in part."""

    THING: ClassVar[str] = "ticket"

    id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    requester_id: Annotated[UpstreamId | None, Names("requester", Kind.PERSON)] = Field(default=None, repr=False)
    email: Annotated[Line | None, Names("requester", Kind.EMAIL)] = Field(default=None, repr=False)
    phone: Annotated[Line | None, Names("requester", Kind.PHONE)] = Field(default=None, repr=False)
    unique_external_id: Annotated[Line | None, Names("requester", Kind.EXTERNAL)] = Field(default=None, repr=False)
    twitter_id: Annotated[Line | None, Names("requester", Kind.TWITTER)] = Field(default=None, repr=False)
    facebook_id: Annotated[Line | None, Names("requester", Kind.FACEBOOK)] = Field(default=None, repr=False)
    name: Annotated[Line | None, ProfileOf("requester")] = Field(default=None, repr=False)
    responder_id: Annotated[UpstreamId | None, Names("responder", Kind.PERSON)] = Field(default=None, repr=False)
    cc_emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)
    subject: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    description: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    description_text: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    tags: Annotated[Tags | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    custom_fields: Annotated[dict[str, Any] | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    company_id: Annotated[UpstreamId | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    status: Annotated[Code | None, Word("status", "status")] = None
    priority: Annotated[Code | None, Word("priority", "priority")] = None
    source: Annotated[Code | None, Word("channel", "channel")] = None
    type: Annotated[Code | None, Word("type", "type")] = None
    group_id: Annotated[Code | None, Word("group", "group")] = None
    product_id: Annotated[Code | None, Word("product", "product")] = None
    spam: Annotated[bool | None, Clear("flag")] = None
    due_by: Annotated[Moment | None, Clear("time")] = None
    fr_due_by: Annotated[Moment | None, Clear("time")] = None


class TicketOpened(TicketFields):
    """A ticket was opened. The record's time is the time of opening."""

    TYPE: ClassVar[str] = "sealdesk.ticket.opened.v1"
    OPENS: ClassVar[bool] = True


class TicketUpdated(TicketFields):
    """A part of a ticket changed. With a requester, the ticket moves to that person."""

    TYPE: ClassVar[str] = "sealdesk.ticket.updated.v1"


class EntryFields(Record):
    """An entry of a ticket's conversation."""

    THING: ClassVar[str] = "ticket"

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    body: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    body_text: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    from_email: Annotated[Line | None, Names("author", Kind.EMAIL)] = Field(default=None, repr=False)
    to_emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)
    cc_emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)
    bcc_emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)
    support_email: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    source: Annotated[Code | None, Word("entry_source", "entry_source")] = None
    incoming: Annotated[bool | None, Clear("flag")] = None
    private: Annotated[bool | None, Clear("flag")] = None


class TicketReplied(EntryFields):
    """Somebody answered on a ticket, seen by both sides."""

    TYPE: ClassVar[str] = "sealdesk.ticket.replied.v1"


class TicketNoteAdded(EntryFields):
    """Somebody left a note on a ticket."""

    TYPE: ClassVar[str] = "sealdesk.ticket.note_added.v1"


class TicketRated(Record):
    """The requester rated how a ticket was handled."""

    TYPE: ClassVar[str] = "sealdesk.ticket.rated.v1"
    THING: ClassVar[str] = "ticket"

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    agent_id: Annotated[UpstreamId | None, Names("responder", Kind.PERSON)] = Field(default=None, repr=False)
    group_id: Annotated[Code | None, Word("group", "group")] = None
    rating: Annotated[int, Field(ge=-103, le=103), Clear("number")]
    feedback: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    ratings: Annotated[dict[str, Any] | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def take_the_default_question(cls, data: Any) -> Any:
        """Read Freshdesk's `ratings` object: its default question is the rating."""
        if isinstance(data, dict) and "rating" not in data and isinstance(data.get("ratings"), dict):
            return {**data, "rating": data["ratings"].get("default_question")}
        return data


class TicketDeleted(Record):
    """A ticket went to the trash. It can be restored."""

    TYPE: ClassVar[str] = "sealdesk.ticket.deleted.v1"
    THING: ClassVar[str] = "ticket"

    id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)


class TicketRestored(Record):
    """A ticket came back from the trash."""

    TYPE: ClassVar[str] = "sealdesk.ticket.restored.v1"
    THING: ClassVar[str] = "ticket"

    id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
