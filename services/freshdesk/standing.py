"""Which references lead to what stands: a person who is known, a thing that was opened, a part that a fact made."""

from __future__ import annotations

from collections.abc import Iterable

from crypto.keystore import KeyStore
from crypto.register import Register
from crypto.roots import Roots
from crypto.tree import Tree
from domain.errors import ReferenceMalformed
from domain.ids import TenantId
from domain.personal import Reference
from services.log import Facts


def standing(
    keys: KeyStore, roots: Roots, facts: Facts, tenant: TenantId, references: Iterable[Reference]
) -> frozenset[Reference]:
    """Leave of some references those of which something stands.

    What is fenced does not, nor does a thing that was only named as the parent of another one.
    """
    with keys.transaction() as cursor:
        register = Register(Tree(cursor, roots), tenant)
        indexes: dict[Reference, bytes] = {}
        for reference in references:
            try:
                indexes[reference] = register.index(reference)
            except ReferenceMalformed:
                continue
        known = register.look_up(indexes.values())
    found = {reference: known[index] for reference, index in indexes.items() if index in known}
    inside = {reference: entry.inside for reference, entry in found.items() if entry.inside is not None}
    unopened = facts.without_facts(list({id_ for reference, id_ in inside.items() if reference.kind.is_thing}))
    return frozenset(
        reference
        for reference, id_ in inside.items()
        if id_ not in unopened and (not reference.kind.is_part or found[reference].told)
    )
