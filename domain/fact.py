"""A fact: what a publisher's record says (`Record`), and what stands on the log (`FactAtRest`).

The rule between the two: a clear field is a number, a time, an inside id, or a word of a vocabulary; everything else
is in the seal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from domain.ids import EventId, TenantId, ThingId
from domain.personal import Category, Clear, Personal, Role

ID_CHARACTERS = 100
LINE_CHARACTERS = 1_000
TEXT_CHARACTERS = 1_000_000
LIST_ITEMS = 1_000

UpstreamId = (
    Annotated[int, Field(ge=0, lt=2**63)]
    | Annotated[str, Field(min_length=1, max_length=ID_CHARACTERS, pattern=r"^[\w.:-]+$")]
)
#: Years that a helpdesk's times fall into. A database or a report cannot hold every moment that JSON can.
FIRST_YEAR, LAST_YEAR = 1900, 2200


def in_range(at: datetime) -> datetime:
    """Refuse a time that no helpdesk can mean. Raises ValueError, which does not repeat it."""
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"a time lies between the years {FIRST_YEAR} and {LAST_YEAR}")
    return at


Moment = Annotated[AwareDatetime, AfterValidator(in_range)]
Line = Annotated[str, Field(max_length=LINE_CHARACTERS)]
Text = Annotated[str, Field(max_length=TEXT_CHARACTERS)]

#: Fields that sealdesk does not know. They are personal until a tenant declares a vocabulary for them.
UNKNOWN = "unknown_fields"


class Effect(StrEnum):
    """What a fact does to what stood there before.

    rewrites  the thing or part is told anew, whole: what intake finds of it living is taken along, older keys die
    ends      the thing or part is over: its keys die, its references are fenced, later records of it are refused
    """

    REWRITES = "rewrites"
    ENDS = "ends"


class Record(BaseModel):
    """The `data` of a publisher's record, with the field names of the Freshdesk API v2.

    A subclass is one fact type. Fields it does not declare are gathered in `unknown_fields` and sealed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    TYPE: ClassVar[str] = ""
    #: What the fact is about: a person (`contact`, `agent`), a kind of thing, or `tenant`. Its stream is that thing's.
    THING: ClassVar[str] = ""
    #: Whether this fact may be the first of its thing.
    OPENS: ClassVar[bool] = False
    #: Whose the thing is that this fact opens: the person in this role, or nobody's but the desk's.
    WHOSE: ClassVar[Role | None] = None
    #: Whether only the team writes this: whoever wrote it is an agent.
    TEAM: ClassVar[bool] = False
    #: What the fact does to what stood there before. Its key work is that of `services.keeping`.
    EFFECT: ClassVar[Effect | None] = None
    #: Whether the fact stands for itself on its stream: a later version of the thing does not replace it.
    APART: ClassVar[bool] = False
    #: Whether a file may come along, with a key of its own beside that of the fact.
    BLOB: ClassVar[bool] = False

    created_at: Annotated[Moment | None, Clear("time")] = None
    updated_at: Annotated[Moment | None, Clear("time")] = None
    unknown_fields: Annotated[dict[str, Any] | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def gather_unknown_fields(cls, data: Any) -> Any:
        """Put what the type does not declare aside, to be sealed as a whole."""
        if not isinstance(data, dict):
            return data
        declared = cls.model_fields
        if data.keys() <= declared.keys() and UNKNOWN not in data:
            return data
        known = {name: value for name, value in data.items() if name in declared and name != UNKNOWN}
        known[UNKNOWN] = {name: value for name, value in data.items() if name not in known}
        return known

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class FactAtRest:
    """One row of the log. Nothing in it names anybody.

    `position` is the place on the log; `version` orders the stream and means nothing else. `clear` holds JSON values;
    an inside id stands there as 32 hexadecimal digits, a time in ISO 8601. `sealed_fields` names the personal fields
    that the seal holds (its header says so, in clear). `owners` are the parents of the leaf key, in the order of
    wrapping: subjects, or a desk key. `broken`: somebody has changed the seal so that not even its header can be read.
    """

    position: int
    stream: ThingId
    version: int
    tenant: TenantId
    event_id: EventId
    type: str
    ordinal: int
    occurred_at: datetime
    recorded_at: datetime
    clear: Mapping[str, Any]
    owners: tuple[UUID, ...]
    sealed_fields: tuple[str, ...]
    seal: bytes | None = field(repr=False)
    broken: bool = False
