"""Admission: which topics are read, and whose records each of them may bring. The file SEALDESK_TOPICS says so:

    [topics."acme.records"]
    tenants = ["acme"]                # or "*" for every tenant
    principals = ["User:acme-crm"]    # who may write there; `sealdesk topics create` makes rules of the brokers of it
    sealed = true                     # only what is sealed at its publisher; by default both

A Kafka record does not say who wrote it. So it goes in two steps: who may write to a topic is the brokers' to keep
(their access rules), and whose records come on a topic is kept here. Without the file, the topic `sealdesk.records` is
read, or whichever a command names, and it may bring records of every tenant.

Rule: a record that claims a tenant which its topic may not bring lies in the quarantine of the house. It is shown
neither to the tenant that it claims, which has nothing to do with it, nor to that of the topic: it may be another's.

What comes in the clear on a topic for sealed records is quarantined as `not_sealed`: it lay in the clear already, and
its publisher has to hear of it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, field_validator

from domain.errors import RecordInvalid, SettingsWrong
from domain.fact import ID_CHARACTERS
from services.kafka.topics import OWN_TOPICS, RECORDS
from services.ledgers.places import ledger_topics
from services.records import Parcel, parcel_of
from services.sealed import sealed_in

#: What Kafka takes as the name of a topic.
_NAME = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}")

_Tenant = Annotated[str, StringConstraints(min_length=1, max_length=ID_CHARACTERS)]
_Principal = Annotated[str, StringConstraints(pattern=r"^User:[^*]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Listed(_Strict):
    tenants: list[_Tenant] | Literal["*"]
    principals: list[_Principal] = []
    sealed: bool = False

    @field_validator("tenants")
    @classmethod
    def _some(cls, tenants: list[str] | str) -> list[str] | str:
        if not tenants:
            raise ValueError("nobody")
        return tenants


class _File(_Strict):
    topics: dict[str, _Listed]

    @field_validator("topics")
    @classmethod
    def _possible(cls, topics: dict[str, _Listed]) -> dict[str, _Listed]:
        if not topics or any(not _NAME.fullmatch(name) or name in OWN_TOPICS for name in topics):
            raise ValueError("no topics, or impossible names")
        return topics


#: What has to stand where, in words; nothing that does stand there is repeated.
_WANTED = {
    "topics": f'needs [topics."NAME"] for at least one topic, of 1 to 249 of a-z A-Z 0-9 . _ -, and none of ours '
    f"({', '.join(OWN_TOPICS)})",
    "tenants": 'is a list of names of tenants, as ["acme"], or "*"',
    "principals": 'is a list of principals, as ["User:acme-crm"]',
    "sealed": "is true or false",
}


@dataclass(frozen=True, slots=True)
class Allowed:
    """Whose records a topic may bring (None: every tenant's), which principals may write there, and whether sealed."""

    tenants: frozenset[str] | None = None
    principals: tuple[str, ...] = ()
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """What each topic may bring. `others` holds for one that is not listed; nothing is ever read from `ledgers`."""

    topics: Mapping[str, Allowed] = field(default_factory=lambda: {RECORDS: Allowed()})
    others: Allowed = Allowed()
    ledgers: frozenset[str] = frozenset()

    def to_read(self, asked: Collection[str] | None = None) -> tuple[str, ...]:
        """Say which topics are read: those that were asked for, or all.

        Raises:
            SettingsWrong: the file lists others, but not one of these, or one is the ledger.
        """
        chosen = tuple(asked or self.topics)
        self.refuse_ledgers(chosen)
        if strangers := [name for name in chosen if self.topics.get(name, self.others).tenants == frozenset()]:
            raise SettingsWrong(f"SEALDESK_TOPICS says of no tenant that {', '.join(strangers)} may bring its records.")
        return chosen

    def refuse_ledgers(self, topics: Collection[str]) -> None:
        """Raise SettingsWrong if the ledger is among these topics."""
        if ledgers := self.ledgers.intersection(topics):
            raise SettingsWrong(f"{', '.join(sorted(ledgers))} is the ledger: nobody's records are read from there.")

    def admit(self, parcel: Parcel) -> Parcel:
        """Give the parcel back if its topic may bring it, or the same as one to be quarantined.

        A record without a tenant, on a topic that brings those of exactly one, is that tenant's. What came in a file is
        admitted: whoever imports it says whose it is.
        """
        if parcel.place is None:
            return parcel
        topic = self.topics.get(parcel.place.topic, self.others)
        if topic.sealed and not parcel.told_as and sealed_in(parcel.raw) is None:
            parcel = replace(parcel, drafts=(), error=RecordInvalid("not_sealed"))
        allowed = topic.tenants
        if allowed is None or parcel.tenant in allowed:
            return parcel
        if parcel.tenant is not None:
            return replace(parcel, tenant=None, drafts=(), error=RecordInvalid("wrong_tenant", "tenant"))
        if len(allowed) != 1:
            return parcel
        [tenant] = allowed
        if parcel.error is not None and parcel.error.code == "no_tenant":
            return parcel_of(parcel.raw, tenant, parcel.place)
        return replace(parcel, tenant=tenant)


def admission_of(environ: Mapping[str, str] = os.environ) -> Admission:
    """Read the file that SEALDESK_TOPICS names; without it, everything is admitted.

    Raises:
        SettingsWrong: it cannot be read, or says something else than it should. The message names the file and the key,
            and repeats no value. Or it lists the topic of the ledger.
    """
    named = environ.get("SEALDESK_TOPICS")
    admission = replace(read(Path(named).expanduser()) if named else Admission(), ledgers=ledger_topics(environ))
    admission.refuse_ledgers(admission.topics)
    return admission


def read(path: Path) -> Admission:
    """Read a file of topics.

    Raises:
        SettingsWrong: as in `admission_of`.
    """
    try:
        said = _File.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise SettingsWrong(f"SEALDESK_TOPICS: {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingsWrong(f"SEALDESK_TOPICS: {path} is no TOML.") from None
    except ValidationError as error:
        raise SettingsWrong(f"SEALDESK_TOPICS: {path}: {_sentence(error)}.") from None
    topics = {
        name: Allowed(
            None if listed.tenants == "*" else frozenset(listed.tenants), tuple(listed.principals), listed.sealed
        )
        for name, listed in said.topics.items()
    }
    return Admission(topics, Allowed(frozenset()))


def _sentence(error: ValidationError) -> str:
    """Say which key is wrong and what should stand there."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    keys = [str(key) for key in first["loc"]]
    # topics, the name of a topic, its key; whatever follows lies within.
    match keys:
        case [_, topic, key, *_] if key in _WANTED:
            wanted = "is missing" if first["type"] == "missing" else _WANTED[key]
            return f'{key} of [topics."{topic}"] {wanted}'
        case [_, topic, key, *_]:
            return f'[topics."{topic}"] has tenants, principals and sealed, and no key {key}'
        case ["topics", topic]:
            return f'[topics."{topic}"] is no table with tenants and principals'
        case [key] if key != "topics":
            return f'there is no key {key}; topics stand as [topics."NAME"]'
        case _:
            return _WANTED["topics"]
