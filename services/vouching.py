"""Which facts the house itself has put on the log, as far as the tree of keys says so.

Whoever may append could write a fact that calls for key work, also without the roots. Every fact by which something is
merged, moved, written anew or ended has a seal, be it of nothing, under a leaf that was hung for it alone, with a MAC
that nobody makes without the roots. The MAC stays when the key goes. So a fact is vouched for if its leaf hangs on its
stream where it was hung, and no earlier fact of that stream has the same one: the seal of another fact, with other
words in the clear, is none.

Where an operator has accepted that keys are lost, their leaves are lost, too. Up to the head of that time the log is
believed, or a person would be found by less than what stands there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from psycopg.rows import DictRow

from crypto.keystore import rows_of
from crypto.sealing import header_of
from crypto.tree import SQL, Tree
from domain.fact import FactAtRest
from services.log import Facts

#: The rows of leaves by thing and key.
Leaves = Mapping[tuple[UUID, UUID], DictRow]


def leaves_in(tree: Tree, things: Iterable[UUID]) -> Leaves:
    """Read the leaves of some things, dead ones too."""
    ids = list(dict.fromkeys(things))
    rows = rows_of(tree.cursor, SQL.leaves_of_things.sql, thing_ids=ids) if ids else []
    return {(row["thing_id"], row["key_id"]): row for row in rows}


def vouched(
    tree: Tree, told: Sequence[FactAtRest], leaves: Leaves, types: Collection[str], accepted: int
) -> list[FactAtRest]:
    """Choose, of the whole streams of some things in order of position, the facts of these types that are ours.

    Up to the position `accepted` a leaf may be missing.
    """
    seen: set[tuple[UUID, UUID]] = set()
    ours: list[FactAtRest] = []
    for fact in told:
        believed = fact.type in types and fact.position <= accepted
        if fact.seal is None or fact.broken:
            if believed and not fact.broken:
                ours.append(fact)
            continue
        place = (fact.stream, header_of(fact.seal).key_id)
        row = leaves.get(place)
        if place not in seen and fact.type in types and ((row is None and believed) or _hangs(tree, row, place)):
            ours.append(fact)
        seen.add(place)
    return ours


def _hangs(tree: Tree, row: DictRow | None, place: tuple[UUID, UUID]) -> bool:
    return row is not None and tree.is_bound(row, *place, row["owner"], *(row["co_owners"] or ()))


def is_vouched(tree: Tree, facts: Facts, fact: FactAtRest) -> bool:
    """Tell whether one fact is ours."""
    leaves = leaves_in(tree, [fact.stream])
    told = vouched(tree, facts.stream(fact.stream), leaves, {fact.type}, facts.accepted_up_to())
    return any(one.position == fact.position for one in told)


def requesters(tree: Tree, told: Sequence[FactAtRest], leaves: Leaves, accepted: int) -> list[tuple[int, UUID]]:
    """Name who asked in a ticket, one after the other, as (position, person). `told` is its whole stream."""
    some = [fact for fact in told if fact.clear.get("requester")]
    ours = vouched(tree, told, leaves, {fact.type for fact in some}, accepted)
    return [(fact.position, UUID(fact.clear["requester"])) for fact in ours if fact.clear.get("requester")]
