"""Facts of agents. The owner of an agent's profile and signature is the agent; the work belongs to others."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from domain.contacts import PersonFields, WholeProfile
from domain.fact import Line, Record, Text, UpstreamId
from domain.personal import Category, Clear, Kind, Names, Personal


class AgentFields(PersonFields):
    """The profile of an agent, whole or in part."""

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
    signature: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    occasional: Annotated[bool | None, Clear("flag")] = None
    available: Annotated[bool | None, Clear("flag")] = None
    ticket_scope: Annotated[int | None, Field(ge=1, le=3), Clear("number")] = None


class AgentCreated(AgentFields):
    """A person became an agent."""

    TYPE: ClassVar[str] = "sealdesk.agent.created.v1"
    THING: ClassVar[str] = "agent"
    OPENS: ClassVar[bool] = True


class AgentUpdated(AgentFields):
    """A part of an agent's profile changed."""

    TYPE: ClassVar[str] = "sealdesk.agent.updated.v1"
    THING: ClassVar[str] = "agent"
    OPENS: ClassVar[bool] = True


class AgentRectified(WholeProfile):
    """Something in an agent's profile was wrong and is right now. What it said before can never be read again."""

    TYPE: ClassVar[str] = "sealdesk.agent.rectified.v1"
    THING: ClassVar[str] = "agent"


class AgentDeleted(Record):
    """An agent left the team and is a contact again. The work stays; the tickets in charge have nobody in charge."""

    TYPE: ClassVar[str] = "sealdesk.agent.deleted.v1"
    THING: ClassVar[str] = "agent"

    id: Annotated[UpstreamId | None, Names("self", Kind.PERSON)] = Field(default=None, repr=False)
    email: Annotated[Line | None, Names("self", Kind.EMAIL)] = Field(default=None, repr=False)
