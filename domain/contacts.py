"""Facts of contacts. The owner of a contact's profile is the contact, and of everything that is said about consent."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.attachments import AttachmentFields
from domain.fact import LIST_ITEMS, Effect, Line, Record, Text, UpstreamId
from domain.personal import Category, Clear, Kind, Names, Personal, Word

Tags = Annotated[list[Line], Field(max_length=LIST_ITEMS)]
Addresses = Annotated[list[Line], Field(max_length=LIST_ITEMS)]


class PersonFields(Record):
    """What contacts and agents have in common."""

    email: Annotated[Line | None, Names("self", Kind.EMAIL)] = Field(default=None, repr=False)
    phone: Annotated[Line | None, Names("self", Kind.PHONE)] = Field(default=None, repr=False)
    mobile: Annotated[Line | None, Names("self", Kind.PHONE)] = Field(default=None, repr=False)
    name: Annotated[Line | None, Personal(Category.IDENTITY)] = Field(default=None, repr=False)
    job_title: Annotated[Line | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    language: Annotated[Line | None, Word("language", "language")] = None
    time_zone: Annotated[Line | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    active: Annotated[bool | None, Clear("flag")] = None


class ContactFields(PersonFields):
    """The profile of a contact, whole or in part."""

    other_emails: Annotated[Addresses | None, Names("self", Kind.EMAIL)] = Field(default=None, repr=False)
    unique_external_id: Annotated[Line | None, Names("self", Kind.EXTERNAL)] = Field(default=None, repr=False)
    twitter_id: Annotated[Line | None, Names("self", Kind.TWITTER)] = Field(default=None, repr=False)
    facebook_id: Annotated[Line | None, Names("self", Kind.FACEBOOK)] = Field(default=None, repr=False)
    address: Annotated[Text | None, Personal(Category.ADDRESS, spans=True)] = Field(default=None, repr=False)
    description: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    tags: Annotated[Tags | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    company_id: Annotated[UpstreamId | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    custom_fields: Annotated[dict[str, Any] | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    view_all_tickets: Annotated[bool | None, Clear("flag")] = None


class ContactCreated(ContactFields):
    """A contact became known, or became known under another name: the last name by position wins."""

    TYPE: ClassVar[str] = "sealdesk.contact.created.v1"
    THING: ClassVar[str] = "contact"
    OPENS: ClassVar[bool] = True

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)


class ContactMentioned(ContactFields):
    """Somebody was first named in another record: in copy, as requester, as author. Derived by intake."""

    TYPE: ClassVar[str] = "sealdesk.contact.mentioned.v1"
    THING: ClassVar[str] = "contact"
    OPENS: ClassVar[bool] = True

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)


class ContactUpdated(ContactFields):
    """A part of the profile changed. A field that is given as null is cleared; one that is absent stays."""

    TYPE: ClassVar[str] = "sealdesk.contact.updated.v1"
    THING: ClassVar[str] = "contact"
    OPENS: ClassVar[bool] = True

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)


class WholeProfile(ContactFields):
    """Everything that a profile may hold, of a contact or an agent or both: a rectification takes all of it along."""

    EFFECT: ClassVar[Effect | None] = Effect.REWRITES

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
    signature: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    occasional: Annotated[bool | None, Clear("flag")] = None
    available: Annotated[bool | None, Clear("flag")] = None
    ticket_scope: Annotated[int | None, Field(ge=1, le=3), Clear("number")] = None


class ContactRectified(WholeProfile):
    """Something in the profile was wrong and is right now. What it said before can never be read again."""

    TYPE: ClassVar[str] = "sealdesk.contact.rectified.v1"
    THING: ClassVar[str] = "contact"


class ContactMerged(Record):
    """Several contacts are one person, for good. The secondaries' tickets move to the primary."""

    TYPE: ClassVar[str] = "sealdesk.contact.merged.v1"
    THING: ClassVar[str] = "contact"
    OPENS: ClassVar[bool] = True

    primary_contact_id: Annotated[UpstreamId, Names("self", Kind.PERSON)] = Field(repr=False)
    secondary_contact_ids: Annotated[
        Annotated[list[UpstreamId], Field(min_length=1, max_length=LIST_ITEMS)],
        Names("secondary", Kind.PERSON),
    ] = Field(repr=False)


class ContactDeleted(Record):
    """A contact went to the trash. It can be restored."""

    TYPE: ClassVar[str] = "sealdesk.contact.deleted.v1"
    THING: ClassVar[str] = "contact"

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
    email: Annotated[Line | None, Names("self", Kind.EMAIL)] = Field(default=None, repr=False)


class ContactRestored(Record):
    """A contact came back from the trash."""

    TYPE: ClassVar[str] = "sealdesk.contact.restored.v1"
    THING: ClassVar[str] = "contact"

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
    email: Annotated[Line | None, Names("self", Kind.EMAIL)] = Field(default=None, repr=False)


class ContactMadeAgent(PersonFields):
    """A contact became an agent and stays the same person."""

    TYPE: ClassVar[str] = "sealdesk.contact.made_agent.v1"
    THING: ClassVar[str] = "contact"

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
    signature: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    occasional: Annotated[bool | None, Clear("flag")] = None
    available: Annotated[bool | None, Clear("flag")] = None
    ticket_scope: Annotated[int | None, Field(ge=1, le=3), Clear("number")] = None


class ContactBlocked(Record):
    """A contact was blocked: nothing of that person is to be worked on."""

    TYPE: ClassVar[str] = "sealdesk.contact.blocked.v1"
    THING: ClassVar[str] = "contact"

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
    email: Annotated[Line | None, Names("self", Kind.EMAIL)] = Field(default=None, repr=False)


class ContactUnblocked(Record):
    """A contact is not blocked any more."""

    TYPE: ClassVar[str] = "sealdesk.contact.unblocked.v1"
    THING: ClassVar[str] = "contact"

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
    email: Annotated[Line | None, Names("self", Kind.EMAIL)] = Field(default=None, repr=False)


class ConsentFields(Record):
    """What somebody consented to, in which wording."""

    THING: ClassVar[str] = "contact"
    APART: ClassVar[bool] = True

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
    email: Annotated[Line | None, Names("self", Kind.EMAIL)] = Field(default=None, repr=False)
    purpose: Annotated[Line, Word("purpose", "purpose")]
    wording: Annotated[Line | None, Word("wording", "wording")] = None
    evidence: Annotated[Text | None, Personal(Category.CIRCUMSTANCES, spans=True)] = Field(default=None, repr=False)


class ConsentGiven(ConsentFields):
    """Somebody consented. The record's time is the time of consent; the wording is the version that was shown."""

    TYPE: ClassVar[str] = "sealdesk.contact.consent_given.v1"


class ConsentWithdrawn(ConsentFields):
    """Somebody took a consent back."""

    TYPE: ClassVar[str] = "sealdesk.contact.consent_withdrawn.v1"


class ContactAvatarAdded(AttachmentFields):
    """A picture of somebody, with a file."""

    TYPE: ClassVar[str] = "sealdesk.contact.avatar_added.v1"
    THING: ClassVar[str] = "contact"
    BLOB: ClassVar[bool] = True

    contact_id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
