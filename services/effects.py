"""What a shred takes, and what it changes for others: counted alike for the dry run and for the certificate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from crypto.keystore import rows_of
from crypto.register import SQL as REGISTER
from crypto.tree import SQL, Tree
from domain.personal import Kind
from services.finding import Found


@dataclass(frozen=True, slots=True)
class Effect:
    """What a shred takes, and what it changes for others. The dry run and the certificate count alike.

    facts              facts that nobody can read any more
    tickets            tickets that go whole
    calls, chats       calls and chats that do
    posts              topics and comments that do
    files              attachments, pictures and recordings that nobody can open any more
    references         ids and addresses that are fenced
    others_tickets     tickets and other things of other people in which something becomes unreadable
    others_entries     how many facts that is
    merged             people who were merged into this one, and go along
    """

    facts: int = 0
    tickets: int = 0
    calls: int = 0
    chats: int = 0
    posts: int = 0
    files: int = 0
    references: int = 0
    others_tickets: int = 0
    others_entries: int = 0
    merged: int = 0

    def as_dict(self) -> dict[str, int]:
        """Give the counts by name."""
        return asdict(self)

    def __add__(self, other: Effect) -> Effect:
        mine, theirs = asdict(self), asdict(other)
        return Effect(**{name: mine[name] + theirs[name] for name in mine})


def effect_on(tree: Tree, found: Found) -> Effect:
    """Count what a shred of what was found would take. Nothing is changed."""
    if found.kind == "thing":
        rows = rows_of(tree.cursor, SQL.leaves_of_thing.sql, thing_id=found.id)
        living = Counter(bool(row["blob"]) for row in rows if row["wrapped"] is not None)
        references = rows_of(tree.cursor, REGISTER.count_backs.sql, owners=[found.id])[0]["backs"]
        return Effect(facts=living[False], files=living[True], references=references, **_by_kind(found.kinds))
    owners = list(found.group)
    counts = rows_of(tree.cursor, SQL.effect_on_leaves.sql, owners=owners, profiles=list(found.profiles))[0]
    backs = rows_of(tree.cursor, REGISTER.count_backs.sql, owners=[*owners, *found.things])[0]["backs"]
    return Effect(references=backs, merged=len(owners) - 1, **_by_kind(found.kinds), **counts)


def facts_of(tree: Tree, found: Found) -> int:
    """Count the facts alone that a shred of what was found would take: what `effect_on` says of them, for less."""
    if found.kind == "thing":
        return effect_on(tree, found).facts
    return int(rows_of(tree.cursor, SQL.count_facts.sql, owners=list(found.group))[0]["facts"])


def _by_kind(kinds: Iterable[str]) -> dict[str, int]:
    """Count things by what a person would call them. What belongs to the desk (an article) has no count of its own."""
    names = {Kind.TICKET: "tickets", Kind.CALL: "calls", Kind.CHAT: "chats", Kind.TOPIC: "posts", Kind.COMMENT: "posts"}
    return dict(Counter(names[kind] for kind in map(Kind, kinds) if kind in names))
