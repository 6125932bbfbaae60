"""What has to be adapted in the objects of the Freshdesk API before they are records. Pure; everything else goes whole.

Rules:
- an address of somebody in copy becomes a reference, wherever the object repeats it: in the seal of another it would
  outlive that person;
- an address of the desk's own names nobody;
- a listing shows how a ticket stands now. It was opened as open, and its `stats` say when that changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

Data = dict[str, Any]

OPEN, RESOLVED, CLOSED = 2, 4, 5
#: The times of `stats`, and the status that began then.
_CHANGES = (("resolved_at", RESOLVED), ("reopened_at", OPEN), ("closed_at", CLOSED))
#: Lists of a ticket that hold addresses of people in copy; `to_emails` holds the desk's own as well.
_TICKET_LISTS = ("cc_emails", "fwd_emails", "reply_cc_emails", "ticket_cc_emails", "to_emails")
_ENTRY_LISTS = ("to_emails", "cc_emails", "bcc_emails")
#: What was or was not delivered repeats addresses of these lists.
_DELIVERY = ("delivery_details", "outgoing_failures")
#: Where what can be no address is kept: unknown, and so sealed.
_REST = "other_recipients"
#: An address and nothing else, as almost all are; the full grammar is slow.
_PLAIN = re.compile(r"[^\s<>()\[\],;:\"\\@]+@[^\s<>()\[\],;:\"\\@]+")


def as_it_is(data: Data) -> Data:
    """Leave an object as it is."""
    return data


def agent(data: Data) -> Data:
    """Take the nested `contact` of an agent as the agent's own fields; the later change is the agent's last."""
    contact = data.get("contact")
    if not isinstance(contact, dict):
        return data
    flat = {**contact, **{name: value for name, value in data.items() if name != "contact"}}
    changes = [change for one in (contact, data) if isinstance(change := one.get("updated_at"), str)]
    if changes:
        flat["updated_at"] = max(changes)
    return flat


def ticket(data: Data) -> Data:
    """Gather everybody in copy of a ticket in `cc_emails`."""
    if not any(data.get(name) for name in _TICKET_LISTS):
        return {name: value for name, value in data.items() if name == "cc_emails" or name not in _TICKET_LISTS}
    people, rest = _people(data, [item for name in _TICKET_LISTS for item in _listed(data.get(name))])
    flat = {name: value for name, value in data.items() if name not in _TICKET_LISTS}
    return {**flat, "cc_emails": people, **({_REST: rest} if rest else {})}


def entry(data: Data) -> Data:
    """Leave out of a conversation what repeats addresses, and those of the desk."""
    flat = {name: value for name, value in data.items() if name not in _DELIVERY}
    rest: list[Any] = []
    for name in _ENTRY_LISTS:
        if isinstance(flat.get(name), list):
            flat[name], others = _people(data, flat[name])
            rest += others
    return {**flat, _REST: rest} if rest else flat


def message(data: Data) -> Data:
    """Read who wrote a message of a discussion, however the object calls that."""
    if "created_by" in data or "user_id" not in data:
        return data
    return _renamed(data, "user_id", "created_by")


def chat_message(data: Data) -> Data:
    """Read Freshchat's `conversation_id` and `created_time`."""
    return _renamed(_renamed(data, "conversation_id", "chat_id"), "created_time", "created_at")


def avatar(data: Data) -> Data:
    """Read where a picture lies as where any file does."""
    return _renamed(data, "avatar_url", "attachment_url")


def call(data: Data) -> Data:
    """Read when a call began as when it was made known, where only that is said."""
    return _renamed(data, "start_time", "created_at")


def _renamed(data: Data, name: str, to: str) -> Data:
    if name not in data or to in data:
        return data
    return {to if key == name else key: value for key, value in data.items()}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _people(data: Mapping[str, Any], items: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Part recipients into the people among them, each once, and what is no address. The desk's own are left out."""
    own = _address(data.get("support_email"))
    people: dict[str, Any] = {}
    rest: list[Any] = []
    for item in items:
        address = _address(item)
        if not address:
            rest.append(item)
        elif address != own:
            people.setdefault(address, item)
    return list(people.values()), rest


def _address(item: Any) -> str:
    if not isinstance(item, str):
        return ""
    address = (item if _PLAIN.fullmatch(item) else parseaddr(item)[1]).casefold()
    local, _, host = address.rpartition("@")
    return address if local and host and " " not in address else ""


# -- how the status of a ticket went ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Course:
    """How the status of a ticket went: as what it was opened, and (time, status) of each change that is told.

    `settled` is the change that nothing tells the time of; the last change of the ticket is the latest it can have.
    """

    opened: Any
    changes: tuple[tuple[str, int], ...]
    settled: tuple[str, Any] | None


def course(data: Mapping[str, Any]) -> Course:
    """Read the course of a ticket's status off its `stats`, so that it was resolved when it was."""
    status, stats = data.get("status"), data.get("stats")
    stats = stats if isinstance(stats, dict) else {}
    told = [(stats[name], after) for name, after in _CHANGES if isinstance(stats.get(name), str)]
    changes = tuple(sorted(told))
    if not changes and status not in (RESOLVED, CLOSED):
        return Course(status, (), None)
    last = changes[-1][1] if changes else OPEN
    if status is None or last == status:
        return Course(OPEN, changes, None)
    at = next(
        (
            moment
            for moment in (stats.get("status_updated_at"), data.get("updated_at"), data.get("created_at"))
            if isinstance(moment, str)
        ),
        None,
    )
    if at is None:
        return Course(status, (), None)
    return Course(OPEN, changes, (max(at, changes[-1][0]) if changes else at, status))
