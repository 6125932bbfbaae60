"""Who else may be the same person: profiles that are alike in a name, a number or an address.

Every profile of the tenant is opened page by page, in memory, under an access line. What comes back are inside ids and
which fields are alike; a person decides whether it is one person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.ids import TenantId
from services.finding import Found
from services.reading import Reading, Reveal

#: Fewer digits than this are an extension, and half of the office shares them.
SHORTEST_PHONE_DIGITS = 6
#: Country codes and trunk zeros are written or not; the last digits are the number.
PHONE_DIGITS = 8

#: (field, what makes two values alike)
Trait = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Alike:
    """Somebody who may be the same person as `of`, by inside ids, and the fields that say so."""

    subject: UUID
    of: UUID
    fields: tuple[str, ...]


def alike(reading: Reading, tenant: TenantId, people: Sequence[Found], reveal: Reveal) -> list[Alike]:
    """Find the likely duplicates of some people among all contacts of their tenant."""
    traits = {person.id: _traits_of_person(reading, tenant, person, reveal) for person in people}
    if not any(traits.values()):
        return []
    themselves = {str(profile) for person in people for profile in person.profiles}
    found: list[Alike] = []
    for row in reading.contacts(tenant, reveal, all=True):
        if row["erased"] or row["subject"] is None or row["profile"] in themselves:
            continue
        others = traits_of(row)
        for id_, mine in traits.items():
            if fields := sorted({field for field, _ in mine & others}):
                found.append(Alike(UUID(row["subject"]), id_, tuple(fields)))
    return found


def _traits_of_person(reading: Reading, tenant: TenantId, person: Found, reveal: Reveal) -> set[Trait]:
    traits: set[Trait] = set()
    for profile in person.profiles:
        for row in reading.contacts(tenant, reveal, all=True, profile=profile):
            traits |= traits_of(row)
    return traits


def traits_of(row: Mapping[str, Any]) -> set[Trait]:
    """List what a revealed profile can be alike in."""
    return {
        *(("name", found) for text in _texts(row, "name") if (found := _name(text))),
        *(("phone", found) for text in _texts(row, "phone", "mobile") if (found := _phone(text))),
        *(("email", found) for text in _texts(row, "email", "other_emails") if (found := _email(text))),
    }


def _texts(row: Mapping[str, Any], *names: str) -> Iterable[str]:
    for name in names:
        value = row.get(name)
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, str):
                yield item


def _name(text: str) -> str:
    """Write a name without case, accents, punctuation and order: `Holm, Mira` is `mira holm`."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    words = re.findall(r"\w+", "".join(sign for sign in plain if not unicodedata.combining(sign)))
    return " ".join(sorted(words)) if len(words) > 1 else ""


def _phone(text: str) -> str:
    digits = "".join(str(unicodedata.digit(sign)) for sign in text if sign.isdigit())
    return digits[-PHONE_DIGITS:] if len(digits) >= SHORTEST_PHONE_DIGITS else ""


def _email(text: str) -> str:
    """Write an address without the dots and the plus part that many providers ignore."""
    local, _, host = unicodedata.normalize("NFKC", text).strip().casefold().rpartition("@")
    local = local.partition("+")[0].replace(".", "")
    return f"{local}@{host}" if local and host else ""
