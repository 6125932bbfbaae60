"""Try records as intake would read them, without a house: no databases, no keys, no tenant.

What it finds is what is wrong with a record in itself. Whether somebody was shredded, or a thing is known, only a
house can tell.

Rule: a finding is a line, a code and a declared path. It repeats nothing that a record said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from crypto.references import canonical
from domain.catalogue import PEOPLE
from domain.errors import RecordInvalid, ReferenceMalformed
from domain.personal import Names, Reference
from services.records import Draft, Parcel
from services.resolving import mentions_of


class Verdict(StrEnum):
    """What is to be said of a record."""

    OK = "ok"
    #: The same source and id stood in a line before: it would be stored once.
    AGAIN = "again"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one record: in which place of the file, which verdict, and of a wrong one why and where."""

    number: int
    verdict: Verdict
    type: str | None = None
    code: str | None = None
    path: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Give it for JSON. A record that is fine has neither code nor path."""
        said: dict[str, object] = {"record": self.number, "verdict": self.verdict.value, "type": self.type}
        return said if self.code is None else said | {"code": self.code, "path": self.path}


@dataclass(slots=True)
class Summary:
    """How many records were read, and how many of them are wrong, by code."""

    read: int
    again: int
    wrong: int
    types: Counter[str]
    codes: Counter[str]

    @classmethod
    def empty(cls) -> Summary:
        """Begin to count."""
        return cls(0, 0, 0, Counter(), Counter())

    def add(self, finding: Finding) -> None:
        """Count one finding."""
        self.read += 1
        self.again += finding.verdict is Verdict.AGAIN
        self.wrong += finding.verdict is Verdict.WRONG
        if finding.type is not None:
            self.types[finding.type] += 1
        if finding.code is not None:
            self.codes[finding.code] += 1

    def as_dict(self) -> dict[str, object]:
        """Give it for JSON."""
        return {
            "read": self.read,
            "again": self.again,
            "wrong": self.wrong,
            "types": dict(sorted(self.types.items())),
            "codes": dict(sorted(self.codes.items())),
        }


def check(parcels: Iterable[Parcel]) -> Iterator[Finding]:
    """Say of each record, in order and counted from 1, what is to be said of it."""
    seen: set[int] = set()
    for number, parcel in enumerate(parcels, start=1):
        yield _finding(number, parcel, seen)


def _finding(number: int, parcel: Parcel, seen: set[int]) -> Finding:
    type_ = parcel.drafts[0].type if parcel.drafts else None
    try:
        if parcel.error is not None:
            raise parcel.error
        for draft in parcel.drafts:
            look_at(draft)
    except RecordInvalid as error:
        return Finding(number, Verdict.WRONG, type_, error.code, error.path)
    names = {hash((draft.tenant, draft.source, draft.id)) for draft in parcel.drafts}
    verdict = Verdict.AGAIN if names <= seen else Verdict.OK
    seen |= names
    return Finding(number, verdict, type_)


def look_at(draft: Draft) -> None:
    """Check what a draft refers to: each reference can be one, and the subject fits the record.

    Raises:
        RecordInvalid: with a code, and the declared path of the field that is wrong.
    """
    own: list[Reference] = []
    for field, mark, value in mentions_of(draft):
        reference = _readable(mark, value, f"data.{field}")
        if mark.role == "self":
            own.append(reference)
    if draft.subject is not None:
        _check_subject(draft, draft.subject, own)
    elif not own and draft.plan.record.THING != "tenant" and not _names_a_part(draft):
        raise RecordInvalid("no_reference", "subject")
    if draft.plan.record.THING == "ticket" and draft.plan.record.OPENS and not _has(draft, "requester"):
        raise RecordInvalid("no_requester", "data.requester_id")
    if draft.plan.record.WHOSE == "author" and not _has(draft, "author"):
        raise RecordInvalid("no_author", "data.user_id")


def _readable(mark: Names, value: str, path: str) -> Reference:
    reference = Reference(mark.kind, value)
    try:
        canonical(reference)
    except ReferenceMalformed:
        raise RecordInvalid("malformed_reference", path) from None
    return reference


def _check_subject(draft: Draft, subject: Reference, own: list[Reference]) -> None:
    """Check that the subject is of the kind that the record is about, and no other id than the data says."""
    expected = PEOPLE if not subject.kind.is_thing else {subject.kind.value}
    if draft.plan.record.THING not in expected:
        raise RecordInvalid("subject_differs", "subject")
    try:
        said = canonical(subject)
    except ReferenceMalformed:
        raise RecordInvalid("malformed_reference", "subject") from None
    same_kind = [canonical(other) for other in own if other.kind is subject.kind]
    if same_kind and said not in same_kind:
        raise RecordInvalid("subject_differs", "subject")


def _has(draft: Draft, role: str) -> bool:
    return any(mark.role == role for _, mark, _ in mentions_of(draft))


def _names_a_part(draft: Draft) -> bool:
    """Tell whether a part says which thing the record is about. A part of a profile does not say whose it is."""
    return draft.plan.record.THING not in PEOPLE and (_has(draft, "part") or _has(draft, "within"))
