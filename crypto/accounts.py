"""What a certificate says of a shred, before it is signed: times, counts a place, what was and was not searched.

Rule: no SubjectId, key id, reference or reason stands in it. A kind, a ground and a place are phrases of our own
vocabulary, into which no inside id and no address fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, TypeAlias
from uuid import UUID

from crypto.canonical import as_base64, as_time

#: What follows from a proof: nothing was found and enough was searched; nothing was found, and that is not enough to
#: say so; something was found.
HOLDS, PARTLY, FOUND = "holds", "partly", "found"
#: Why a place was not searched whole, where parts of it could not be read; their number stands with the place.
UNREAD = "some of its parts cannot be read here"
#: What becomes known only after a shred is done: a certificate is issued again when it changes.
LATER = frozenset({"told", "source_cleared_since", "quarantine", "unrecoverable_since"})
#: Whether records come in through topics of Kafka, where they lie until they are cleared.
TOPICS_READ, NO_TOPICS = "topics are read here", "no topics are read here"
PHRASE = re.compile(r"(?!.*[0-9a-fA-F]{8})[A-Za-z0-9][A-Za-z0-9_ .,:()/-]{0,119}")

Body: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlaceSearched:
    """What a proof found in one place: bytes looked through, hits, how many of these are residue.

    `unread` counts parts of the place that could not be read; what else was not searched in it is said by its phrase.
    """

    place: str
    bytes: int
    values: int
    wrapped_keys: int
    residue: int
    unread: int = 0


def shred_certificate(
    *,
    certificate_id: UUID,
    kind: str,
    ground: str,
    issued_at: datetime,
    unreadable_since: datetime,
    unrecoverable_since: datetime | None,
    meaning_of_destruction: str,
    ledger_salt: bytes,
    ledger_commitment: bytes,
    counts: Mapping[str, int],
    residue_found: int,
    searched: Sequence[str],
    not_searched: Sequence[str],
    living_text_searched: bool,
    living_text_found: int | None,
    living_text_not_judged: int = 0,
    residue_not_judged: int = 0,
    quarantine_dropped: int = 0,
    quarantine_not_judged: int = 0,
    quarantine_not_judged_gone_by: date | None = None,
    told: Body | None = None,
    sources: str = NO_TOPICS,
    proof: Body | None = None,
) -> Body:
    """Draw up the account of one shred, to be signed.

    `certificate_id` is random and used nowhere else. `meaning_of_destruction` is the sentence of the root
    provider; `unrecoverable_since` stays None until the last root that ever stood above the key is destroyed.
    `quarantine_dropped` counts records of the person that waited there, `quarantine_not_judged` those that nobody
    could read, `quarantine_not_judged_gone_by` the day by which they are gone. `counts` says how much was erased at
    each place (facts, things, references, blanked rows); `searched` and `not_searched` name the places of the residue
    search. `residue_not_judged` and `living_text_not_judged` count seals that somebody has changed, so that nobody can
    say of them what they hold. `told` is what `told_entry` gives; `proof`, where one was asked for, what `proof_entry`
    does.
    `sources` is `TOPICS_READ` or `NO_TOPICS`; `source_cleared_since` is none until no topic holds what was published
    before the shred.
    """
    gone_by = quarantine_not_judged_gone_by
    if living_text_searched is (living_text_found is None):
        raise ValueError("living text has a count if it was searched, and only then")
    _check_phrases((kind, ground, *counts, *searched, *not_searched))
    return {
        "certificate_id": str(certificate_id),
        "kind": kind,
        "ground": ground,
        "issued_at": as_time(issued_at),
        "unreadable_since": as_time(unreadable_since),
        "unrecoverable_since": None if unrecoverable_since is None else as_time(unrecoverable_since),
        "meaning_of_destruction": meaning_of_destruction,
        "sources": sources,
        "source_cleared_since": None,
        "ledger_commitment": {"salt": as_base64(ledger_salt), "commitment": as_base64(ledger_commitment)},
        "counts": dict(counts),
        "residue": {
            "found": residue_found,
            "not_judged": residue_not_judged,
            "searched": list(searched),
            "not_searched": list(not_searched),
        },
        "living_text": {
            "searched": living_text_searched,
            "found": living_text_found,
            "not_judged": living_text_not_judged,
        },
        "quarantine": {
            "dropped": quarantine_dropped,
            "not_judged": quarantine_not_judged,
            "not_judged_gone_by": None if gone_by is None else gone_by.isoformat(),
        },
        "told": told_entry() if told is None else told,
    } | ({} if proof is None else {"proof": proof})


def told_entry(
    *,
    recipients: int = 0,
    acknowledged: int = 0,
    deadline: datetime | None = None,
    outbox_key_destroyed_at: datetime | None = None,
    unnamed: int = 0,
    in_clear: int = 0,
    in_clear_until: datetime | None = None,
) -> Body:
    """Write the entry `told`: how many recipients were to be told (Article 19 GDPR), and how many have acknowledged.

    Until `outbox_key_destroyed_at` what upstream called the person and things is kept here, sealed, and nowhere else
    here; its last key dies with the last acknowledgement, or at the deadline. `in_clear` counts recipients without a
    key, to whom it was sent in clear: the topic holds that until `in_clear_until`. `unnamed` counts things that went
    and that nobody could be told of, because changed seals hid what upstream called them.
    """
    return {
        "recipients": recipients,
        "acknowledged": acknowledged,
        "unnamed": unnamed,
        "in_clear": in_clear,
        "in_clear_until": None if in_clear_until is None else as_time(in_clear_until),
        "deadline": None if deadline is None else as_time(deadline),
        "outbox_key_destroyed_at": None if outbox_key_destroyed_at is None else as_time(outbox_key_destroyed_at),
    }


def proof_entry(
    *,
    shreds: int,
    values: int,
    wrapped_keys: int,
    left_out: int,
    beyond: int,
    waiting: int,
    tables_read: bool,
    places: Sequence[PlaceSearched],
    not_searched: Sequence[tuple[str, str]],
) -> Body:
    """Write the entry `proof`: what was read before the shred, looked for byte by byte after it.

    `values` and `wrapped_keys` are how many were looked for, together for all `shreds` that shared the search;
    `left_out` values are too short or too common to say anything, and `beyond` were more than are looked for at once.
    `waiting` counts news of these shreds that still live, sealed, until recipients acknowledge. `tables_read` says that
    all tables of both databases were read to their end. A place that was not searched, or not to its end, stands in
    `not_searched`, as (place, why); what was found there until then counts all the same, in `places`.

    `outcome` is `found` where a place holds residue. Otherwise it is `holds` if all of the tables were read and all
    that is telling was looked for, and that was not nothing; and else `partly`. `holds` says the same in a word, as
    certificates did that have no `outcome`: in these it only says that nothing was found.
    """
    _check_phrases([phrase for both in not_searched for phrase in both])
    _check_phrases([one.place for one in places])
    enough = tables_read and not beyond and (values or wrapped_keys)
    outcome = FOUND if any(one.residue for one in places) else HOLDS if enough else PARTLY
    return {
        "holds": outcome == HOLDS,
        "outcome": outcome,
        "shreds": shreds,
        "values": values,
        "wrapped_keys": wrapped_keys,
        "left_out": left_out,
        "beyond": beyond,
        "waiting": waiting,
        "tables_read": tables_read,
        "places": [asdict(one) for one in places],
        "not_searched": [{"place": place, "why": why} for place, why in not_searched],
    }


def _check_phrases(phrases: Iterable[str]) -> None:
    if not all(map(PHRASE.fullmatch, phrases)):
        raise ValueError("a kind, a ground and a place are phrases of our own vocabulary")
