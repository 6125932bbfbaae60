"""What living texts still say of a person: the seals of other people, opened in memory and searched.

Only counts come back. A value of fewer than four characters is not searched for: it would be found everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from crypto.keystore import KeyStore
from crypto.roots import Roots
from crypto.tree import Tree
from domain.fact import FactAtRest
from domain.ids import TenantId, ThingId
from services.log import Facts
from services.opening_facts import opened_facts

PAGE = 2_000
SHORTEST_VALUE = 4
#: Fields of a profile that say who somebody is.
_TELLING = ("name", "email", "other_emails", "phone", "mobile", "twitter_id", "facebook_id", "unique_external_id")
_TELLING_TEXTS = ("address", "signature")


def opened(
    keys: KeyStore, roots: Roots, facts: Sequence[FactAtRest], broken: list[FactAtRest] | None = None
) -> Iterator[tuple[FactAtRest, dict[str, Any]]]:
    """Open the seals of a page of facts, as (fact, personal fields); those whose key is gone are left out.

    With `broken`, facts whose seals were changed are put there, and left out as well.

    Raises:
        SealBroken: a seal was changed, and there is no `broken`.
    """
    by_tenant: dict[TenantId, list[FactAtRest]] = {}
    for fact in facts:
        if fact.seal is not None:
            by_tenant.setdefault(fact.tenant, []).append(fact)
    for tenant, group in by_tenant.items():
        with keys.transaction() as cursor:
            found = list(opened_facts(Tree(cursor, roots), tenant, group, broken))
        yield from found


def values_of(
    facts: Facts, keys: KeyStore, roots: Roots, tenant: TenantId, profiles: Sequence[ThingId]
) -> tuple[str, ...]:
    """Read what a person is called: every name, address, number and signature that the profiles ever held.

    What a changed seal hides is left out: it must not keep its person from being forgotten.
    """
    values: set[str] = set()
    for profile in profiles:
        for _, personal in opened(keys, roots, facts.stream(profile), []):
            for name in (*_TELLING, *_TELLING_TEXTS):
                value = personal.get(name)
                for item in value if isinstance(value, list) else (value,):
                    if isinstance(item, str) and len(item.strip()) >= SHORTEST_VALUE:
                        values.add(item.strip())
    return tuple(sorted(values))


class Living:
    """Search the living seals of a tenant."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots

    def count(self, tenant: TenantId, values: Sequence[str], broken: list[FactAtRest]) -> int:
        """Count the facts whose living seal says one of these values, in any letter case.

        Facts whose seals were changed are put into `broken`: nobody can say what these hold.
        """
        wanted = [value.casefold() for value in values]
        if not wanted:
            return 0
        found, after = 0, 0
        while page := self._facts.page(after, PAGE):
            after = page[-1].position
            theirs = [fact for fact in page if fact.tenant == tenant]
            for _, personal in opened(self._keys, self._roots, theirs, broken):
                text = "\n".join(_strings(personal)).casefold()
                found += any(value in text for value in wanted)
        return found


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, item in value.items():
                yield str(key)
                yield from _strings(item)
        case list():
            if value and all(isinstance(item, str) for item in value):
                yield "".join(value)
            for item in value:
                yield from _strings(item)
        case None | bool():
            return
        case _:
            yield str(value)
