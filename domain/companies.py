"""Facts of companies and of the groups of the team. They belong to the desk."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.fact import LIST_ITEMS, Effect, Line, Moment, Record, Text, UpstreamId
from domain.personal import Category, Clear, Kind, Names, Personal

Domains = Annotated[list[Line], Field(max_length=LIST_ITEMS)]
People = Annotated[list[UpstreamId], Field(max_length=LIST_ITEMS)]


class CompanyFields(Record):
    """A company, whole or in part."""

    THING: ClassVar[str] = "company"

    id: Annotated[UpstreamId | None, Names("self", Kind.COMPANY)] = Field(default=None, repr=False)
    name: Annotated[Line | None, Personal(Category.IDENTITY)] = Field(default=None, repr=False)
    domains: Annotated[Domains | None, Personal(Category.IDENTITY)] = Field(default=None, repr=False)
    description: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    note: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    health_score: Annotated[Line | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    account_tier: Annotated[Line | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    industry: Annotated[Line | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    renewal_date: Annotated[Moment | None, Clear("time")] = None
    custom_fields: Annotated[dict[str, Any] | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)


class CompanyCreated(CompanyFields):
    """A company became known."""

    TYPE: ClassVar[str] = "sealdesk.company.created.v1"
    OPENS: ClassVar[bool] = True


class CompanyUpdated(CompanyFields):
    """A part of what is known of a company changed."""

    TYPE: ClassVar[str] = "sealdesk.company.updated.v1"


class CompanyDeleted(Record):
    """A company is forgotten. Its people stay."""

    TYPE: ClassVar[str] = "sealdesk.company.deleted.v1"
    THING: ClassVar[str] = "company"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    id: Annotated[UpstreamId | None, Names("self", Kind.COMPANY)] = Field(default=None, repr=False)


class GroupFields(Record):
    """A group of the team, whole or in part. Its number, if it is one, becomes a word for `group_id`."""

    THING: ClassVar[str] = "group"

    id: Annotated[UpstreamId | None, Names("self", Kind.GROUP)] = Field(default=None, repr=False)
    name: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    description: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    group_type: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    agent_ids: Annotated[People | None, Names("member", Kind.PERSON)] = Field(default=None, repr=False)
    escalate_to: Annotated[UpstreamId | None, Names("named", Kind.PERSON)] = Field(default=None, repr=False)


class GroupCreated(GroupFields):
    """A group was formed."""

    TYPE: ClassVar[str] = "sealdesk.group.created.v1"
    OPENS: ClassVar[bool] = True


class GroupUpdated(GroupFields):
    """A group changed, its members included."""

    TYPE: ClassVar[str] = "sealdesk.group.updated.v1"


class GroupDeleted(Record):
    """A group was dissolved. What it worked on stays counted under its number."""

    TYPE: ClassVar[str] = "sealdesk.group.deleted.v1"
    THING: ClassVar[str] = "group"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    id: Annotated[UpstreamId | None, Names("self", Kind.GROUP)] = Field(default=None, repr=False)
