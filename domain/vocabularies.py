"""The words that may stand in the clear.

Closed vocabularies are part of sealdesk; their numbers are those of the Freshdesk API v2. Open ones are declared by
each tenant. A value that is neither counts as `other`, and its original goes into the seal.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

OTHER = "other"

#: Longest word that a tenant may declare, in characters. A vocabulary is no place for text.
WORD_CHARACTERS = 60

CLOSED: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "status": {2: "open", 3: "pending", 4: "resolved", 5: "closed"},
        "priority": {1: "low", 2: "medium", 3: "high", 4: "urgent"},
        "channel": {
            1: "email",
            2: "portal",
            3: "phone",
            4: "forum",
            5: "twitter",
            6: "facebook",
            7: "chat",
            8: "mobihelp",
            9: "feedback_widget",
            10: "outbound_email",
            11: "ecommerce",
            12: "bot",
            13: "whatsapp",
        },
        "entry_source": {
            0: "reply",
            2: "note",
            5: "tweet",
            6: "survey",
            7: "facebook",
            8: "forwarded_email",
            9: "phone",
            10: "mobihelp",
            11: "ecommerce",
        },
        "by": dict(enumerate(("requester", "agent", "contact"))),
        "ground": dict(
            enumerate(
                (
                    "art17-1-a",
                    "art17-1-b",
                    "art17-1-c",
                    "art17-1-d",
                    "art17-1-e",
                    "art17-1-f",
                    "court-order",
                    "contract-end",
                    "test",
                )
            )
        ),
    }
)

#: What a tenant may declare. `status` and `channel` may be widened beyond the closed words, too.
DECLARED = frozenset({"status", "channel", "type", "group", "product", "language"})

GROUNDS: tuple[str, ...] = tuple(CLOSED["ground"].values())


def word(vocabulary: str, value: object, declared: Mapping[str, frozenset[str]]) -> str | None:
    """Look a value up in a vocabulary: its word, or None when it is no word of it.

    Numbers are Freshdesk's codes; text is compared trimmed and case-folded in closed vocabularies, and exactly in
    declared ones.
    """
    closed = CLOSED.get(vocabulary, {})
    if isinstance(value, int) and not isinstance(value, bool) and value in closed:
        return closed[value]
    text = str(value).strip()
    if (folded := text.casefold()) in closed.values():
        return folded
    if text in declared.get(vocabulary, frozenset()):
        return text
    return None
