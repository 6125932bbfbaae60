"""What stands in the conversation of a ticket, a call or a chat, and what an edit or a deletion makes of it.

Rule: an entry that is deleted stays as a row, for the counts, without its seal and without the contact who
wrote it. A part that is deleted stays deleted: whatever comes later of it, or within it, is deleted too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from domain.calls import CallRecordingAdded, CallTranscriptAdded
from domain.chats import ChatMessageSent
from domain.discussions import (
    DiscussionMessageDeleted,
    DiscussionMessageEdited,
    DiscussionMessagePosted,
    DiscussionStarted,
)
from domain.fact import FactAtRest
from domain.tickets import (
    TicketAttachmentAdded,
    TicketAttachmentDeleted,
    TicketEntryDeleted,
    TicketEntryEdited,
    TicketForwarded,
    TicketNoteAdded,
    TicketRated,
    TicketReplied,
    TicketTimeLogged,
)
from projections import clear
from projections.seals import Seal, blanked
from projections.statements import Key

#: The kind of entry that each type of fact makes.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        TicketReplied.TYPE: "reply",
        TicketNoteAdded.TYPE: "note",
        TicketForwarded.TYPE: "forward",
        TicketRated.TYPE: "rating",
        TicketTimeLogged.TYPE: "time",
        TicketAttachmentAdded.TYPE: "attachment",
        DiscussionStarted.TYPE: "discussion",
        DiscussionMessagePosted.TYPE: "message",
        CallRecordingAdded.TYPE: "recording",
        CallTranscriptAdded.TYPE: "transcript",
        ChatMessageSent.TYPE: "chat_message",
    }
)

#: Facts that write an entry anew, and facts that end one.
EDITS = frozenset({TicketEntryEdited.TYPE, DiscussionMessageEdited.TYPE})
DELETIONS = frozenset({TicketEntryDeleted.TYPE, DiscussionMessageDeleted.TYPE, TicketAttachmentDeleted.TYPE})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, by the position of the fact that made it. `author` is None for a contact who is forgotten.

    `part` is the inside id by which later facts find it, `within` the part in which it hangs.
    """

    kind: str
    at: datetime
    by: str | None
    author: UUID | None
    private: bool | None
    incoming: bool | None
    source: str | None
    rating: int | None
    part: UUID | None
    within: UUID | None
    seconds: int | None
    discussion: str | None
    billable: bool | None
    edited_at: datetime | None
    deleted: bool
    seal: Seal


def entry_of(fact: FactAtRest, *, author: UUID | None, seal: Seal) -> Entry:
    """Read the entry that a fact makes, under the author and with the seal that may still be known of it."""
    said = fact.clear
    return Entry(
        kind=KINDS[fact.type],
        at=fact.occurred_at,
        by=clear.word(said.get("by")),
        author=author,
        private=clear.flag(said.get("private")),
        incoming=clear.flag(said.get("incoming")),
        source=clear.word(said.get("entry_source")),
        rating=clear.number(said.get("rating")),
        part=clear.subject(said.get("part")),
        within=clear.subject(said.get("within")),
        seconds=clear.number(said.get("time_spent_in_seconds", said.get("duration_seconds"))),
        discussion=clear.word(said.get("discussion")),
        billable=clear.flag(said.get("billable")),
        edited_at=None,
        deleted=False,
        seal=seal,
    )


def edited(entry: Entry, fact: FactAtRest, *, author: UUID | None, seal: Seal) -> Entry:
    """Return an entry as a fact writes it anew: the new seal alone, in the old place.

    `author` counts only if the fact names one; a clear field that it does not give stays as it was.
    """
    said = fact.clear
    return replace(
        entry,
        by=clear.word(said["by"]) if "by" in said else entry.by,
        author=author if "author" in said else entry.author,
        private=clear.flag(said["private"]) if "private" in said else entry.private,
        incoming=clear.flag(said["incoming"]) if "incoming" in said else entry.incoming,
        source=clear.word(said["entry_source"]) if "entry_source" in said else entry.source,
        edited_at=fact.occurred_at,
        seal=replace(seal, position=entry.seal.position),
    )


def deleted(entry: Entry) -> Entry:
    """Return what is left of an entry that was deleted."""
    return replace(entry, deleted=True, author=entry.author if entry.by == "agent" else None, seal=blanked(entry.seal))


def parts_of(fact: FactAtRest) -> list[Key]:
    """Name the part that a fact makes, changes or ends, and the one in which that hangs."""
    said = fact.clear
    named = [clear.subject(said[role]) for role in ("part", "within") if role in said]
    return [(fact.tenant, part) for part in named if part is not None]
