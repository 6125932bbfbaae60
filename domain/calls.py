"""Facts of calls. Their owner is the contact; a call of nobody who is known belongs to the desk."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from domain.attachments import AttachmentFields
from domain.fact import Line, Moment, Record, Text, UpstreamId
from domain.personal import Category, Clear, Kind, Names, Personal, ProfileOf, Role, Word
from domain.tickets import Code


class CallLogged(Record):
    """Somebody called, or was called. The record's time is the beginning of the call."""

    TYPE: ClassVar[str] = "sealdesk.call.logged.v1"
    THING: ClassVar[str] = "call"
    OPENS: ClassVar[bool] = True
    WHOSE: ClassVar[Role | None] = "requester"

    id: Annotated[UpstreamId | None, Names("self", Kind.CALL)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("requester", Kind.PERSON)] = Field(default=None, repr=False)
    phone: Annotated[Line | None, Names("requester", Kind.PHONE)] = Field(default=None, repr=False)
    email: Annotated[Line | None, Names("requester", Kind.EMAIL)] = Field(default=None, repr=False)
    name: Annotated[Line | None, ProfileOf("requester")] = Field(default=None, repr=False)
    agent_id: Annotated[UpstreamId | None, Names("responder", Kind.PERSON)] = Field(default=None, repr=False)
    ticket_id: Annotated[UpstreamId | None, Names("parent", Kind.TICKET)] = Field(default=None, repr=False)
    support_phone: Annotated[Line | None, Personal(Category.ADDRESS)] = Field(default=None, repr=False)
    subject: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    notes: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    direction: Annotated[Code | None, Word("direction", "direction")] = None
    group_id: Annotated[Code | None, Word("group", "group")] = None
    duration_seconds: Annotated[int | None, Field(ge=0, lt=2**31), Clear("number")] = None
    ended_at: Annotated[Moment | None, Clear("time")] = None


class CallRecordingAdded(AttachmentFields):
    """The recording of a call, with a file."""

    TYPE: ClassVar[str] = "sealdesk.call.recording_added.v1"
    THING: ClassVar[str] = "call"
    BLOB: ClassVar[bool] = True

    id: Annotated[UpstreamId, Names("part", Kind.RECORDING)] = Field(repr=False)
    call_id: Annotated[UpstreamId | None, Names("self", Kind.CALL)] = Field(default=None, repr=False)
    duration_seconds: Annotated[int | None, Field(ge=0, lt=2**31), Clear("number")] = None


class CallTranscriptAdded(Record):
    """What was said in a call, in writing."""

    TYPE: ClassVar[str] = "sealdesk.call.transcript_added.v1"
    THING: ClassVar[str] = "call"

    call_id: Annotated[UpstreamId | None, Names("self", Kind.CALL)] = Field(default=None, repr=False)
    body: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    body_text: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    language: Annotated[Line | None, Word("language", "language")] = None


class CallPurged(Record):
    """Upstream deleted a call for good. The keys go when an officer agrees, or the tenant trusts its upstream."""

    TYPE: ClassVar[str] = "sealdesk.call.purged.v1"
    THING: ClassVar[str] = "call"

    id: Annotated[UpstreamId | None, Names("self", Kind.CALL)] = Field(default=None, repr=False)
