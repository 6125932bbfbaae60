"""One line of the ledger: its bytes, its signature, and who draws it up and checks it, wherever it is kept.

A line is one JSON object, its fields in this order, without white space:

    number         from 1
    previous       SHA-256 (hexadecimal) of the bytes of the line before; zeros for the first
    tenant         whose shred it is (UUID)
    kind           what was shredded: a word
    key            the key that was destroyed (UUID)
    shred          the shred in the key database that this line stands for (UUID)
    at             when, UTC, ISO 8601 with microseconds
    fences         base64: whose keys were destroyed and the tags of their references, as below, sealed with
                   AES-256-GCM under the ledger key of the period; bound to number, tenant and key
    period         the quarter of that ledger key, such as `2026-Q4`; the roots keep it as `ledger-2026-Q4`
    issue_counter  how many keys the key database had issued
    signature      base64: Ed25519 over SIGNED_AS and the bytes of this object without its signature

What is sealed in `fences`: the fence key of the period (32 bytes), the number of ids (2, big-endian), the ids of
everybody who went (16 each: a person and whoever was merged into that person, or a thing), and a tag of 32 bytes for
each of their references. With the fence key a restored key database knows the tags again, even one from before that
key was made. They open until the ledger key of the period expires, with the fences themselves.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypedDict
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.roots import Roots
from crypto.wrapping import KEY_BYTES, Key, context, unwrap, wrap
from domain.errors import KeysUnavailable, LedgerBroken, SealBroken
from domain.ids import TenantId

SIGNED_AS = b"sealdesk-ledger-line/1\n"
SEALED_AS = b"sealdesk-ledger-fences/2"
#: Earlier lines sealed the tags alone.
TAGS_SEALED_AS = b"sealdesk-ledger-fences/1"
NOTHING_BEFORE = "0" * 64
TAG_BYTES = 32
SALT_BYTES = 32
KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
LEDGER_KEY = re.compile(r"ledger-([0-9]{4}-Q[1-4])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One shred, as it stands on the ledger. `fences` are sealed; `Ledger.fences_of` opens them."""

    number: int
    previous: str
    tenant: TenantId
    kind: str
    key: UUID
    shred: UUID
    at: datetime
    fences: bytes = field(repr=False)
    period: str
    issue_counter: int
    signature: bytes = field(default=b"", repr=False)

    def encoded(self) -> bytes:
        """Write the line as it is kept."""
        return orjson.dumps(self._said() | {"signature": base64.b64encode(self.signature).decode()})

    def to_sign(self) -> bytes:
        """Write what the signature is over."""
        return SIGNED_AS + orjson.dumps(self._said())

    def _said(self) -> dict[str, object]:
        return {
            "number": self.number,
            "previous": self.previous,
            "tenant": str(self.tenant),
            "kind": self.kind,
            "key": str(self.key),
            "shred": str(self.shred),
            "at": self.at.isoformat(timespec="microseconds"),
            "fences": base64.b64encode(self.fences).decode(),
            "period": self.period,
            "issue_counter": self.issue_counter,
        }


@dataclass(frozen=True, slots=True)
class Fences:
    """What a line keeps sealed: who went, and by what their references are known again.

    `key` is the fence key of the line's quarter, None on lines of an earlier format; `tags` have 32 bytes each.
    """

    targets: tuple[UUID, ...]
    key: Key | None = field(repr=False)
    tags: tuple[bytes, ...] = field(repr=False)

    def encoded(self) -> bytes:
        """Write what is sealed."""
        assert self.key is not None
        ids = b"".join(target.bytes for target in self.targets)
        return self.key.material + len(self.targets).to_bytes(2, "big") + ids + b"".join(self.tags)

    @classmethod
    def decoded(cls, content: bytes) -> Fences:
        """Read what `encoded` wrote."""
        count = int.from_bytes(content[KEY_BYTES : KEY_BYTES + 2], "big")
        start, end = KEY_BYTES + 2, KEY_BYTES + 2 + count * 16
        targets = tuple(UUID(bytes=content[at : at + 16]) for at in range(start, end, 16))
        return cls(targets, Key(content[:KEY_BYTES]), _split(content[end:]))


def _split(tags: bytes) -> tuple[bytes, ...]:
    return tuple(tags[start : start + TAG_BYTES] for start in range(0, len(tags), TAG_BYTES))


class Entry(TypedDict):
    """What the caller says of one shred. `fences` are in clear here."""

    tenant: TenantId
    kind: str
    key: UUID
    shred: UUID
    at: datetime
    fences: Fences
    issue_counter: int


def commitment(line: Line, *, salt: bytes) -> bytes:
    """Commit to a line without telling it: HMAC-SHA-256 of its bytes under 32 random bytes of salt."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes")
    return hmac.digest(salt, line.encoded(), "sha256")


class Scribe:
    """Draw up and check lines, and know nothing of where they are kept."""

    def __init__(self, signing: Ed25519PrivateKey, roots: Roots) -> None:
        self._signing = signing
        self._public = signing.public_key()
        self._roots = roots

    def draw_up(
        self,
        last: Line | None,
        *,
        tenant: TenantId,
        kind: str,
        key: UUID,
        shred: UUID,
        at: datetime,
        fences: Fences,
        issue_counter: int,
    ) -> Line:
        if not KIND.fullmatch(kind):
            raise ValueError("a kind is a word")
        if at.utcoffset() is None:
            raise ValueError("a time is aware")
        if any(len(tag) != TAG_BYTES for tag in fences.tags):
            raise ValueError(f"a fence has {TAG_BYTES} bytes")
        at = at.astimezone(UTC)
        number = last.number + 1 if last else 1
        period = _quarter(at)
        ledger_key = self._ledger_key(period, last)
        unsigned = Line(
            number=number,
            previous=hash_of(last),
            tenant=tenant,
            kind=kind,
            key=key,
            shred=shred,
            at=at,
            fences=wrap(ledger_key, fences.encoded(), ends=_ends(SEALED_AS, number, tenant, key)),
            period=period,
            issue_counter=issue_counter,
        )
        return replace(unsigned, signature=self._signing.sign(unsigned.to_sign()))

    def check(self, raw: bytes, *, where: str) -> Line:
        """Read a line from its bytes. Only the very bytes that `Line.encoded` writes are taken."""
        try:
            said = orjson.loads(raw)
            line = Line(
                number=said["number"],
                previous=said["previous"],
                tenant=TenantId(UUID(said["tenant"])),
                kind=said["kind"],
                key=UUID(said["key"]),
                shred=UUID(said["shred"]),
                at=datetime.fromisoformat(said["at"]),
                fences=base64.b64decode(said["fences"], validate=True),
                period=said["period"],
                issue_counter=said["issue_counter"],
                signature=base64.b64decode(said["signature"], validate=True),
            )
            same = line.encoded() == raw
        except (AttributeError, KeyError, TypeError, ValueError):
            same = False
        if not same:
            raise LedgerBroken(f"{where} of the ledger is not as it was written")
        try:
            self._public.verify(line.signature, line.to_sign())
        except InvalidSignature:
            raise LedgerBroken(f"{where} of the ledger has a signature that does not fit") from None
        return line

    def check_at(self, number: int, raw: bytes) -> Line:
        line = self.check(raw, where=f"line {number}")
        if line.number != number:
            raise LedgerBroken(f"line {number} of the ledger has the number {line.number}")
        return line

    def follow(self, raw_lines: Iterable[bytes], *, after: int = 0) -> Iterator[Line]:
        """Check every line and the chain that they form; those behind a number without what is before them."""
        previous = None if after else NOTHING_BEFORE
        for number, raw in enumerate(raw_lines, start=after + 1):
            line = self.check_at(number, raw)
            if previous not in (None, line.previous):
                raise LedgerBroken(f"line {number} of the ledger does not follow from the line before it")
            yield line
            previous = hashlib.sha256(raw).hexdigest()

    def refuse_unless_torn(self, rest: bytes) -> None:
        """Tell a line that a crash cut short from one that was acknowledged and whose newline was changed."""
        try:
            line = self.check(rest[:-1], where="the rest")
        except LedgerBroken:
            return
        raise LedgerBroken(f"line {line.number} of the ledger does not end where it was ended")

    def fences_of(self, line: Line) -> Fences:
        ledger_key = self._roots.secret(f"ledger-{line.period}", create=False)
        place = (line.number, line.tenant, line.key)
        try:
            return Fences.decoded(unwrap(ledger_key, line.fences, ends=_ends(SEALED_AS, *place)))
        except SealBroken:
            tags = unwrap(ledger_key, line.fences, ends=_ends(TAGS_SEALED_AS, *place))
            return Fences((line.key,), None, _split(tags))

    def _ledger_key(self, period: str, last: Line | None) -> Key:
        """Fetch the period's key; the first line of a period creates it.

        A key that was lost in the middle of a period must not come back as another one, or the fences of some
        lines would never open again. So the last line has to open under it.
        """
        if last is None or last.period != period:
            return self._roots.secret(f"ledger-{period}")
        try:
            self.fences_of(last)
        except SealBroken:
            raise KeysUnavailable(f"the roots hold another ledger key of {period} than this ledger's") from None
        return self._roots.secret(f"ledger-{period}", create=False)


def expire_ledger_keys(roots: Roots, *, at: datetime, days: int) -> int:
    """Destroy the ledger keys of quarters that ended more than `days` ago: their fences have gone, too.

    Lines stay as they are; nobody is known again by them. Returns how many keys went.

    Raises:
        KeysUnavailable: the roots cannot be reached; the next time goes on.
    """
    oldest = _quarter((at - timedelta(days=days)).astimezone(UTC))
    old = [name for name in roots.secrets() if (match := LEDGER_KEY.fullmatch(name)) and match[1] < oldest]
    for name in old:
        roots.expire(name)
    return len(old)


def _quarter(at: datetime) -> str:
    return f"{at.year}-Q{(at.month + 2) // 3}"


def hash_of(line: Line | None) -> str:
    """Compute what the next line holds of this one."""
    return hashlib.sha256(line.encoded()).hexdigest() if line else NOTHING_BEFORE


def _ends(format_: bytes, number: int, tenant: TenantId, key: UUID) -> bytes:
    return context(format_, number.to_bytes(8, "big"), tenant.bytes, key.bytes)
