"""Facts of tickets and their conversations. Their owner is the requester, and with him a writer who is no agent.

A part of a ticket (a reply, a rating, an attachment) has upstream's id in `id`, and an inside id in the clear by which
a later fact finds it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from domain.attachments import AttachmentFields
from domain.contacts import Addresses, Tags
from domain.fact import LIST_ITEMS, Effect, Line, Moment, Record, Text, UpstreamId
from domain.personal import Category, Clear, Kind, Names, Personal, ProfileOf, Role, Word

Code = Annotated[int, Field(ge=0, lt=2**63)] | Line
Files = Annotated[list[dict[str, Any]], Field(max_length=LIST_ITEMS)]
Tickets = Annotated[list[UpstreamId], Field(min_length=1, max_length=LIST_ITEMS)]


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
    attachments: Annotated[Files | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
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
    WHOSE: ClassVar[Role | None] = "requester"


class TicketUpdated(TicketFields):
    """A part of a ticket changed. With a requester, the ticket moves to that person."""

    TYPE: ClassVar[str] = "sealdesk.ticket.updated.v1"


class TicketMerged(Record):
    """Other tickets turned out to be about the same as this one. They stay readable, and end with either requester."""

    TYPE: ClassVar[str] = "sealdesk.ticket.merged.v1"
    THING: ClassVar[str] = "ticket"

    primary_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    ticket_ids: Annotated[Tickets, Names("secondary", Kind.TICKET)] = Field(repr=False)


class TicketMergedAway(Record):
    """A ticket was merged into another one. Derived by intake, on the stream of the one that went."""

    TYPE: ClassVar[str] = "sealdesk.ticket.merged_away.v1"
    THING: ClassVar[str] = "ticket"


class EntryFields(Record):
    """An entry of a ticket's conversation."""

    THING: ClassVar[str] = "ticket"

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId | None, Names("part", Kind.CONVERSATION)] = Field(default=None, repr=False)
    body: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    body_text: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    from_email: Annotated[Line | None, Names("author", Kind.EMAIL)] = Field(default=None, repr=False)
    to_emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)
    cc_emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)
    bcc_emails: Annotated[Addresses | None, Names("copied", Kind.EMAIL)] = Field(default=None, repr=False)
    support_email: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    attachments: Annotated[Files | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    source: Annotated[Code | None, Word("entry_source", "entry_source")] = None
    incoming: Annotated[bool | None, Clear("flag")] = None
    private: Annotated[bool | None, Clear("flag")] = None


class TicketReplied(EntryFields):
    """Somebody answered on a ticket, seen by both sides."""

    TYPE: ClassVar[str] = "sealdesk.ticket.replied.v1"


class TicketNoteAdded(EntryFields):
    """Somebody left a note on a ticket."""

    TYPE: ClassVar[str] = "sealdesk.ticket.note_added.v1"


class TicketForwarded(EntryFields):
    """Somebody of the team forwarded a ticket to others, who are in copy from then on."""

    TYPE: ClassVar[str] = "sealdesk.ticket.forwarded.v1"


class TicketEntryEdited(EntryFields):
    """An entry was written anew. What it said before can never be read again; what is not given stays."""

    TYPE: ClassVar[str] = "sealdesk.ticket.entry_edited.v1"
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES

    id: Annotated[UpstreamId, Names("part", Kind.CONVERSATION)] = Field(repr=False)


class TicketEntryDeleted(Record):
    """An entry was deleted, with what hangs in it. It can never be read again."""

    TYPE: ClassVar[str] = "sealdesk.ticket.entry_deleted.v1"
    THING: ClassVar[str] = "ticket"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId, Names("part", Kind.CONVERSATION)] = Field(repr=False)


class TicketRated(Record):
    """The requester rated how a ticket was handled."""

    TYPE: ClassVar[str] = "sealdesk.ticket.rated.v1"
    THING: ClassVar[str] = "ticket"

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId | None, Names("part", Kind.RATING)] = Field(default=None, repr=False)
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


class TicketPurged(Record):
    """Upstream deleted a ticket for good. The keys go when an officer agrees, or the tenant trusts its upstream."""

    TYPE: ClassVar[str] = "sealdesk.ticket.purged.v1"
    THING: ClassVar[str] = "ticket"

    id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)


class TicketTimeLogged(Record):
    """An agent noted the time that was spent on a ticket."""

    TYPE: ClassVar[str] = "sealdesk.ticket.time_logged.v1"
    THING: ClassVar[str] = "ticket"
    TEAM: ClassVar[bool] = True

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId | None, Names("part", Kind.TIME_ENTRY)] = Field(default=None, repr=False)
    agent_id: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    time_spent_in_seconds: Annotated[int, Field(ge=0, lt=2**31), Clear("number")]
    billable: Annotated[bool | None, Clear("flag")] = None
    timer_running: Annotated[bool | None, Clear("flag")] = None
    executed_at: Annotated[Moment | None, Clear("time")] = None
    start_time: Annotated[Moment | None, Clear("time")] = None
    note: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def read_hours_and_minutes(cls, data: Any) -> Any:
        """Read Freshdesk's `time_spent` (`hh:mm`) where the seconds are not given."""
        if not isinstance(data, dict) or "time_spent" not in data:
            return data
        rest = {name: value for name, value in data.items() if name != "time_spent"}
        hours, _, minutes = str(data["time_spent"]).partition(":")
        if "time_spent_in_seconds" not in rest and hours.isdecimal() and minutes.isdecimal():
            rest["time_spent_in_seconds"] = 3600 * int(hours) + 60 * int(minutes)
        return rest


class TicketAttachmentAdded(AttachmentFields):
    """A file came with a ticket or with one of its entries."""

    TYPE: ClassVar[str] = "sealdesk.ticket.attachment_added.v1"
    THING: ClassVar[str] = "ticket"
    BLOB: ClassVar[bool] = True

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    conversation_id: Annotated[UpstreamId | None, Names("within", Kind.CONVERSATION)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)


class TicketAttachmentDeleted(Record):
    """A file of a ticket was deleted. It can never be read again."""

    TYPE: ClassVar[str] = "sealdesk.ticket.attachment_deleted.v1"
    THING: ClassVar[str] = "ticket"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    ticket_id: Annotated[UpstreamId | None, Names("self", Kind.TICKET)] = Field(default=None, repr=False)
    id: Annotated[UpstreamId, Names("part", Kind.ATTACHMENT)] = Field(repr=False)
