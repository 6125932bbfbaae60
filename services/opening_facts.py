"""Open the seals of facts in memory, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from crypto.opening import open_leaves
from crypto.sealing import header_of, open_seal
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.errors import SealBroken
from domain.fact import FactAtRest
from domain.ids import TenantId
from domain.upcasting import lifted


def opened_facts(
    tree: Tree, tenant: TenantId, facts: Sequence[FactAtRest], broken: list[FactAtRest] | None = None
) -> Iterator[tuple[FactAtRest, dict[str, Any]]]:
    """Open the facts of one tenant whose keys live, as (fact, personal fields); the others are left out.

    With `broken`, a fact whose seal was changed or moved is put there, and left out as well.

    Raises:
        SealBroken: a seal was changed or moved, and there is no `broken`.
    """
    unreadable = [fact for fact in facts if fact.broken]
    if unreadable and broken is None:
        raise SealBroken("the header of a seal does not parse")
    if broken is not None:
        broken.extend(unreadable)
    sealed = [(fact, fact.seal) for fact in facts if fact.seal is not None and not fact.broken]
    places = [(fact.stream, header_of(seal).key_id) for fact, seal in sealed]
    found = open_leaves(tree, tenant, places)
    for (fact, seal), place in zip(sealed, places, strict=True):
        key = found[place]
        if not isinstance(key, Key):
            continue
        try:
            personal = open_seal(
                seal,
                key,
                tenant=tenant,
                stream=fact.stream,
                event_id=fact.event_id,
                type=fact.type,
                key_id=place[1],
            )
        except SealBroken:
            if broken is None:
                raise
            broken.append(fact)
        else:
            yield fact, lifted(fact.type, personal)
