"""The words that may stand in the clear.

Closed vocabularies are part of sealdesk; their numbers are those of the Freshdesk API v2. Open ones are declared by
each tenant. A value that is neither counts as `other`, and its original goes into the seal.
"""

from __future__ import annotations

import re
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
        "direction": {1: "incoming", 2: "outgoing", 3: "missed"},
        "discussion": dict(enumerate(("forward", "discussion", "private"))),
        "forum_type": {1: "how_to", 2: "ideas", 3: "problems", 4: "announcements"},
        "visibility": {1: "all", 2: "logged_in", 3: "agents", 4: "companies"},
        "article_type": {1: "permanent", 2: "workaround"},
        "article_status": {1: "draft", 2: "published"},
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
DECLARED = frozenset({"status", "channel", "type", "group", "product", "language", "purpose", "wording"})

#: Longest name of a vocabulary, in characters.
NAME_CHARACTERS = 60

_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: Digits in a row that could be a number of somebody.
_NUMBER = re.compile(r"\d(?:[ ./-]?\d){5,}")


def declarable_name(name: str) -> str:
    """Check the name of a vocabulary: one that every tenant has, or the name of a custom or unknown field.

    Raises:
        ValueError: it is no name of small letters, digits and `_`, or belongs to a vocabulary that is closed.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_CHARACTERS or (name in CLOSED and name not in DECLARED):
        raise ValueError("this is no vocabulary that a tenant declares")
    return name


def declarable(text: str) -> str:
    """Check a word that a publisher wants to declare. A vocabulary is no place for addresses and numbers of people.

    Raises:
        ValueError: it is empty or too long, or looks like an address or a number.
    """
    if not 0 < len(text) <= WORD_CHARACTERS or text != text.strip() or "@" in text or not text.isprintable():
        raise ValueError("this is no word of a vocabulary")
    if _NUMBER.search(text):
        raise ValueError("this is no word of a vocabulary")
    return text


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
