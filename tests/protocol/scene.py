"""The small desk that every schedule runs over, what may happen in it, and what has to be readable afterwards.

The model beside the code is small: a text has owners and a thing, an act adds texts, ends them or gives them owners,
and a text is readable as long as nothing that it hangs from is gone. It knows no keys, no steps and no order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from crypto.turning import Turning
from domain.errors import ReferenceUnknown, ShredRefused
from domain.personal import Kind, Reference
from services.records import parcel_of
from services.wiring import now
from tests.desks import AT, Desk

ANN, BOB, CY, DESK = "contact 1", "contact 2", "contact 3", "desk"
MINE, HIS = "ticket 21", "ticket 22"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Text:
    """A text that can be read: whose it is, and in which thing it stands."""

    owners: frozenset[str]
    thing: str


@dataclass(frozen=True, slots=True)
class Model:
    """What is readable, as a reader of the design would say."""

    texts: Mapping[str, Text] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)

    def said(self, text: str, thing: str, *owners: str) -> Model:
        return replace(self, texts={**self.texts, text: Text(frozenset(owners), thing)})

    def ended(self, text: str) -> Model:
        return replace(self, texts={name: one for name, one in self.texts.items() if name != text})

    def moved(self, thing: str, to: str) -> Model:
        texts = {
            name: replace(text, owners=text.owners | {to}) if text.thing == thing else text
            for name, text in self.texts.items()
        }
        return replace(self, texts=texts)

    def readable(self, gone: Iterable[str]) -> set[str]:
        """Name the texts that are readable once these people and things are shredded."""
        dead = set(gone)
        dead |= {below for below, above in self.merged.items() if above in dead}
        return {name for name, text in self.texts.items() if text.thing not in dead and not text.owners & dead}


BEFORE = (
    Model()
    .said("ann's name", ANN, ANN)
    .said("bob's name", BOB, BOB)
    .said("ann's subject", MINE, ANN)
    .said("ann's reply", MINE, ANN)
    .said("bob to ann", MINE, ANN, BOB)
    .said("bob's subject", HIS, BOB)
    .said("ann to bob", HIS, ANN, BOB)
    .said("the firm", "company 5", DESK)
)
#: Every text that any act may plant.
PLANTED = frozenset({*BEFORE.texts, "late reply", "ann edited", "bob corrected", "cy's name"})


def fill(desk: Desk) -> None:
    """Let happen what stands before every schedule."""
    for number, name in ((1, "ann"), (2, "bob")):
        desk.happens("contact.created", f"contact {number}", id=number, name=f"{name}'s name")
        desk.happens(
            "ticket.opened", f"ticket {20 + number}", id=20 + number, requester_id=number, subject=f"{name}'s subject"
        )
    desk.happens("ticket.replied", MINE, ticket_id=21, id=211, body="ann's reply", user_id=1)
    desk.happens("ticket.replied", MINE, ticket_id=21, id=212, body="bob to ann", user_id=2)
    desk.happens("ticket.replied", HIS, ticket_id=22, id=221, body="ann to bob", user_id=1)
    desk.happens("company.created", "company 5", id=5, name="the firm")


@dataclass(frozen=True, slots=True)
class Act:
    """Something that one process does. Of what upstream tells, `type` is the record, and `means` what it changes."""

    name: str
    do: Callable[[Desk], Any]
    type: str = ""
    means: Callable[[Model], Model] = lambda model: model
    is_start: bool = False


def _told(name: str, type_: str, about: str, means: Callable[[Model], Model], /, **data: Any) -> Act:
    def do(desk: Desk) -> Any:
        tally = desk.house.intake.take([parcel_of(desk.event(type_, about, AT, name, **data))], at=datetime.now(UTC))
        assert tally.quarantined == 0, "a record of a schedule was put aside"
        return REFUSED if tally.refused else "stored"

    return Act(name, do, f"sealdesk.{type_}.v1", means)


def _shred(name: str, what: str) -> Act:
    def do(desk: Desk) -> Any:
        try:
            return desk.shred(what)
        except (ShredRefused, ReferenceUnknown):
            return REFUSED

    return Act(name, do)


def _hold(desk: Desk) -> Any:
    """Place a hold on the one who may be shredded at the same time."""
    try:
        found = desk.house.shredding.find(desk.tenant.id, Reference(Kind.PERSON, "1"))
        return desk.house.holds.add(desk.tenant.id, found, actor="tester", why="court")
    except (ShredRefused, ReferenceUnknown):
        return REFUSED


def is_turning(desk: Desk) -> bool:
    """Tell whether a turn was begun and not finished."""
    return Turning(desk.house.keys, desk.house.roots, now).is_unfinished()


def turn(desk: Desk) -> int:
    """Turn the epoch, or finish the turn that was begun."""
    return Turning(desk.house.keys, desk.house.roots, now).turn()


def destroy(desk: Desk) -> list[int]:
    """Destroy the older roots, without any grace."""
    return Turning(desk.house.keys, desk.house.roots, now).destroy_older(grace=timedelta(0))


ACTS: Mapping[str, Act] = MappingProxyType(
    {
        act.name: act
        for act in (
            _told(
                "reply", "ticket.replied", MINE,
                lambda model: model.said("late reply", MINE, *model.texts["ann's subject"].owners),
                ticket_id=21, id=213, body="late reply", user_id=1,
            ),
            _told(
                "create", "contact.created", CY, lambda model: model.said("cy's name", CY, CY), id=3, name="cy's name",
            ),
            _told(
                "edit", "ticket.entry_edited", MINE,
                lambda model: model.ended("ann's reply").said("ann edited", MINE, *model.texts["ann's subject"].owners),
                ticket_id=21, id=211, body="ann edited",
            ),
            _told(
                "delete", "ticket.entry_deleted", MINE, lambda model: model.ended("bob to ann"),
                ticket_id=21, id=212,
            ),
            _told(
                "rectify", "contact.rectified", BOB,
                lambda model: model.ended("bob's name").said("bob corrected", BOB, BOB), id=2, name="bob corrected",
            ),
            _told("move", "ticket.updated", MINE, lambda model: model.moved(MINE, BOB), id=21, requester_id=2),
            _told(
                "merge", "contact.merged", ANN, lambda model: replace(model, merged={BOB: ANN}),
                primary_contact_id=1, secondary_contact_ids=[2],
            ),
            _shred("shred ann", ANN),
            _shred("shred bob", BOB),
            _shred("shred ann too", ANN),
            _shred("purge", MINE),
            _shred("purge his", HIS),
            Act("hold", _hold),
            Act("turn", turn),
            Act("destroy", destroy),
            Act("keep", lambda desk: desk.house.shredding.mend()),
            Act("resume", lambda desk: desk.house.shredding.resume()),
            Act("start", lambda desk: None, is_start=True),
            Act("start too", lambda desk: None, is_start=True),
        )
    }
)  # fmt: skip
