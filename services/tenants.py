"""Tenants and the vocabularies that they declare."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from domain.errors import SettingsWrong, TenantIsClosed
from domain.ids import TenantId
from domain.vocabularies import DECLARED, WORD_CHARACTERS, declarable_name
from services.log import STATEMENTS, Facts

NAME_CHARACTERS = 100
#: How old the list of tenants and words may be.
FRESH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """One helpdesk account."""

    id: TenantId
    name: str
    vocabulary: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: How long what was deleted can be restored, and whether a purge that upstream orders needs no officer.
    trash_days: int = 30
    trusts_purges: bool = False
    #: When it was closed; None while it is open.
    closed_at: datetime | None = None


class Tenants:
    """The tenants of one installation. They hold no personal data, so they are read once every few seconds.

    Another process may add a tenant or a word meanwhile; a word counts as `other` until it is read.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._known: dict[str, Tenant] | None = None
        self._read_at = 0.0

    def by_name(self, *, fresh: bool = False) -> Mapping[str, Tenant]:
        """Give all tenants, as they were when they were last read; `fresh` reads them again."""
        if self._known is None or fresh or time.monotonic() - self._read_at > FRESH_SECONDS:
            self._read_at = time.monotonic()
            with self._facts.cursor() as cursor:
                rows = cursor.execute(STATEMENTS.tenants.sql).fetchall()
                words = cursor.execute(STATEMENTS.words.sql).fetchall()
            vocabulary: dict[TenantId, dict[str, set[str]]] = {}
            for row in words:
                vocabulary.setdefault(row["tenant_id"], {}).setdefault(row["vocabulary"], set()).add(row["word"])
            self._known = {
                row["name"]: Tenant(
                    row["tenant_id"],
                    row["name"],
                    {name: frozenset(found) for name, found in vocabulary.get(row["tenant_id"], {}).items()},
                    row["trash_days"],
                    row["trusts_purges"],
                    row["closed_at"],
                )
                for row in rows
            }
        return self._known

    def forget(self) -> None:
        """Read the tenants again when they are asked for next."""
        self._known = None

    def set_trash(self, name: str, *, days: int | None = None, trusts_purges: bool | None = None) -> Tenant:
        """Say how long what was deleted can be restored, and whether purges of upstream need no officer.

        Raises:
            SettingsWrong: there is no such tenant, or less than a day was asked for.
        """
        if days is not None and days < 1:
            raise SettingsWrong("what was deleted stays for a day at least")
        tenant = self.named(name)
        _refuse_closed(tenant)
        with self._facts.cursor() as cursor:
            cursor.execute(
                STATEMENTS.set_trash.sql,
                {"tenant_id": tenant.id, "trash_days": days, "trusts_purges": trusts_purges},
            )
        self.forget()
        return self.named(name)

    def named(self, name: str | None) -> Tenant:
        """Find a tenant by name; without a name, the only one.

        Raises:
            SettingsWrong: there is none of that name, or a name is needed.
        """
        known = self.by_name()
        if name is not None:
            if name not in known:
                raise SettingsWrong(
                    "there is no tenant of that name: see sealdesk tenant list, or add it: sealdesk tenant add NAME"
                )
            return known[name]
        if not known:
            raise SettingsWrong("there is no tenant yet; import something, or: sealdesk tenant add NAME")
        if len(known) > 1:
            raise SettingsWrong(f"there are {len(known)} tenants; say which one with --tenant NAME")
        return next(iter(known.values()))

    def add(self, name: str, vocabulary: Mapping[str, list[str]] | None = None) -> Tenant:
        """Add a tenant, or words to the vocabularies of one that exists.

        Raises:
            SettingsWrong: the name or a word is too long, or a vocabulary is not one that tenants declare.
            TenantIsClosed: a tenant of that name was closed.
        """
        if not 0 < len(name) <= NAME_CHARACTERS:
            raise SettingsWrong(f"the name of a tenant has 1 to {NAME_CHARACTERS} characters")
        pairs = [(kind, word) for kind, words in (vocabulary or {}).items() for word in words]
        for kind, word in pairs:
            try:
                declarable_name(kind)
            except ValueError:
                raise SettingsWrong(
                    f"a tenant declares {', '.join(sorted(DECLARED))}, or words of a custom field by its name"
                ) from None
            if not 0 < len(word) <= WORD_CHARACTERS:
                raise SettingsWrong(f"a word of a vocabulary has 1 to {WORD_CHARACTERS} characters")
        if (known := self.by_name(fresh=True).get(name)) is not None:
            _refuse_closed(known)
        with self._facts.cursor() as cursor:
            cursor.execute(STATEMENTS.add_tenant.sql, {"tenant_id": uuid4(), "name": name})
            row = next(r for r in cursor.execute(STATEMENTS.tenants.sql).fetchall() if r["name"] == name)
            cursor.execute(
                STATEMENTS.declare_words.sql,
                {
                    "tenant_id": row["tenant_id"],
                    "vocabularies": [kind for kind, _ in pairs],
                    "words": [word for _, word in pairs],
                },
            )
        self._known = None
        return self.by_name()[name]


def _refuse_closed(tenant: Tenant) -> None:
    if tenant.closed_at is not None:
        raise TenantIsClosed(
            f"a tenant of that name was closed on {tenant.closed_at.date().isoformat()}, and records that publishers "
            "still send it are refused; open a new one under another name"
        )
