"""Opening at the desk: from a sealed record, and the attributes beside it, to the event that its publisher sealed.

Rule: what stands outside has to stand inside as well. The attributes are bound to the envelope, and those that the
desk goes by (type, source, tenant, time) are compared with those of the event. `id` and `subject` are hashes outside,
under a secret that only the publisher has, so they cannot be compared.

An envelope that does not open is quarantined as it came (`services.sealed`): then it is ciphertext that lies there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from crypto.envelopes import open_envelope
from crypto.pairs import Pairs, PrivateHalves
from domain.errors import RecordInvalid, SealBroken
from domain.ids import TenantId
from services.records import event_of
from services.sealed import EPOCH, OpenSealed

#: Stand outside and inside, and have to be the same.
_SAME = ("specversion", "type", "source", "tenant", "time")


class Account(Protocol):
    """A tenant, as far as it matters here."""

    @property
    def id(self) -> TenantId:
        """Return its inside id."""


class Accounts(Protocol):
    """The tenants, as far as they matter here."""

    def by_name(self) -> Mapping[str, Account]:
        """Give all tenants by name."""


class Opening:
    """Opens sealed records, batch by batch."""

    def __init__(self, pairs: Pairs, accounts: Accounts) -> None:
        self._pairs = pairs
        self._accounts = accounts

    @contextmanager
    def batch(self) -> Iterator[OpenSealed]:
        """Give what opens the records of one batch. The keys are forgotten with it.

        What it gives raises:
            RecordInvalid: `seal_broken` or `pair_unknown`; the record cannot be opened, now or later.
            KeysUnavailable: the key database or the roots cannot be reached. This says nothing about the record.
            SealBroken: the row of a pair was changed or is missing. Nor does this; somebody has to look.
        """
        with self._pairs.batch() as halves:
            yield lambda attributes, body: self._opened(halves, attributes, body)

    def _opened(self, halves: PrivateHalves, attributes: Mapping[str, str], body: bytes) -> bytes:
        if not {*_SAME, "id", EPOCH} <= attributes.keys():
            raise RecordInvalid("seal_broken")
        epoch = _epoch(attributes[EPOCH])
        account = self._accounts.by_name().get(attributes["tenant"])
        private = None if account is None else halves.of(account.id, epoch)
        if private is None:
            raise RecordInvalid("pair_unknown")
        try:
            raw = open_envelope(body, private, epoch=epoch, attributes=attributes)
        except SealBroken:
            raise RecordInvalid("seal_broken") from None
        event = event_of(raw)
        if any(event.get(name) != attributes[name] for name in _SAME):
            raise RecordInvalid("seal_broken")
        return raw


def _epoch(text: str) -> int:
    # The one form of a number, so that no two attributes mean the same epoch.
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and not text.startswith("0")):
        raise RecordInvalid("pair_unknown")
    return int(text)
