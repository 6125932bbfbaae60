"""Facts of agents. The owner of an agent's profile and signature is the agent; the work belongs to others."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from domain.contacts import PersonFields
from domain.fact import Text, UpstreamId
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
