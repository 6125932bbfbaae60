"""What all read models of tickets must agree on: which status is open, the first response, the resolution, the words.

first response   the earliest public reply by an agent: by the times of the replies, not their positions
resolution       when the status last went from open to done; reopening takes it back
words            of each vocabulary that the tenant declared for a custom field, the last one said
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from domain.fact import FactAtRest
from domain.tickets import TicketReplied
from projections import clear

#: A status that upstream did not say. Freshdesk's own defaults.
DEFAULT_STATUS = "open"
DEFAULT_PRIORITY = "low"

_DONE = frozenset({"resolved", "closed"})


def is_open(status: str) -> bool:
    """Tell whether a ticket of this status still waits for somebody. A tenant's own status counts as open."""
    return status not in _DONE


def status_after(fact: FactAtRest, before: str) -> str:
    """Return the status of a ticket after a fact that may say one."""
    return (clear.word(fact.clear["status"]) or DEFAULT_STATUS) if "status" in fact.clear else before


def priority_after(fact: FactAtRest, before: str) -> str:
    """Return the priority of a ticket after a fact that may say one."""
    return (clear.word(fact.clear["priority"]) or DEFAULT_PRIORITY) if "priority" in fact.clear else before


def words_after(fact: FactAtRest, before: Mapping[str, str]) -> Mapping[str, str]:
    """Return the words of custom fields, by vocabulary, after a fact that may say some. A null takes a word back."""
    said = fact.clear.get("words")
    if not isinstance(said, Mapping):
        return before
    after = {**before, **{name: word for name, value in said.items() if (word := clear.word(value)) is not None}}
    return {name: word for name, word in after.items() if said.get(name, word) is not None}


def resolved_after(before: str, after: str, resolved_at: datetime | None, *, at: datetime) -> datetime | None:
    """Return when a ticket was resolved, once its status went from `before` to `after` at this time."""
    if is_open(after):
        return None
    return at if is_open(before) else resolved_at


def is_response(fact: FactAtRest) -> bool:
    """Tell whether a fact answers the requester: a public reply by an agent."""
    return fact.type == TicketReplied.TYPE and fact.clear.get("by") == "agent" and fact.clear.get("private") is not True
