"""The ledger of shreds: an append-only file outside the databases, so that no restore of theirs undoes one.

Rule: a line is never changed. Each is signed, numbered from 1 and holds the hash of the line before it, so a
line that was changed, moved, added or taken out breaks the chain at a number that `read` names. Lines taken
off the end leave a whole chain: compare `head` with the numbers that log and key database keep.

A line is one JSON object, its fields in this order, without white space, ended by a newline:

    number         from 1
    previous       SHA-256 (hexadecimal) of the line before, without its newline; zeros for the first
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
key was made.

A crash can leave the front of a line with no newline. Such a line was never acknowledged: readers pass it
over and the next append cuts it off.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypedDict, Unpack
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.roots import Roots, sync
from crypto.wrapping import KEY_BYTES, Key, context, unwrap, wrap
from domain.errors import KeysUnavailable, LedgerBroken, SealBroken, SettingsWrong
from domain.ids import TenantId

SIGNED_AS = b"sealdesk-ledger-line/1\n"
SEALED_AS = b"sealdesk-ledger-fences/2"
#: Earlier lines sealed the tags alone.
TAGS_SEALED_AS = b"sealdesk-ledger-fences/1"
NOTHING_BEFORE = "0" * 64
TAG_BYTES = 32
SALT_BYTES = 32
KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
WRITABLE_BY_OTHERS = 0o022
#: The end of the file is searched in blocks; most lines fit into one, so an append reads one.
BLOCK_BYTES = 4096


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
        """Write the line as it stands in the file, without its newline."""
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


class Ledger(Protocol):
    """Keep the shreds that must survive a restore."""

    def append(self, **entry: Unpack[Entry]) -> Line:
        """Add one shred; when this returns, the line outlives a power failure.

        It does not look whether `shred` has a line already: who resumes asks `find` first.

        Raises:
            LedgerBroken: the last line is not whole, or the line cannot be stored. Nothing was added.
            KeysUnavailable: the roots have no ledger key for the period, or not the one of the last line.
            SettingsWrong: others can write the ledger.
        """
        ...

    def read(self) -> Iterator[Line]:
        """Go through all lines, and check every one and the chain.

        Raises:
            LedgerBroken: says at which line.
            SettingsWrong: others can write the ledger.
        """
        ...

    def find(self, shred: UUID) -> Line | None:
        """Look for the line of a shred. Its signature is checked, the chain before it is not.

        Raises:
            LedgerBroken: the line is not whole.
            SettingsWrong: others can write the ledger.
        """
        ...

    def head(self) -> int:
        """Return the number of the last line, and 0 before the first.

        Raises:
            LedgerBroken: the last line is not whole.
            SettingsWrong: others can write the ledger.
        """
        ...

    def fences_of(self, line: Line) -> Fences:
        """Open what a line keeps sealed.

        Raises:
            KeysUnavailable: the roots no longer hold the ledger key of the period.
            SealBroken: the fences are of another line.
        """
        ...


def commitment(line: Line, *, salt: bytes) -> bytes:
    """Commit to a line without telling it: HMAC-SHA-256 of its bytes under 32 random bytes of salt."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes")
    return hmac.digest(salt, line.encoded(), "sha256")


class FileLedger:
    """Keep the ledger as `ledger.jsonl` in its own folder; `ledger.lock` lets in one writer at a time."""

    def __init__(self, folder: Path, signing: Ed25519PrivateKey, roots: Roots) -> None:
        self._folder = folder
        self._path = folder / "ledger.jsonl"
        self._scribe = _Scribe(signing, roots)

    def append(self, **entry: Unpack[Entry]) -> Line:
        with _stored():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._opened(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as file:
            end = self._end(file)
            if end == 0:
                sync(self._folder)
                sync(self._folder.parent)
            line = self._scribe.draw_up(self._last(file, end), **entry)
            self._store(file, line, at=end)
            return line

    def take(self, line: Line) -> None:
        """Add a line that another copy of this ledger has. One that is here already is passed over.

        Raises:
            LedgerBroken: it does not follow from the last line here.
            SettingsWrong: others can write the ledger.
        """
        with _stored():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._opened(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as file:
            end = self._end(file)
            last = self._last(file, end)
            if last is not None and line.number <= last.number:
                return
            if line.number != (last.number if last else 0) + 1 or line.previous != _hash_of(last):
                raise LedgerBroken(f"line {line.number} of the ledger does not follow from the last line of its copy")
            if end == 0:
                sync(self._folder)
                sync(self._folder.parent)
            self._store(file, line, at=end)

    def last(self) -> Line | None:
        """Read the last line; None before the first.

        Raises:
            LedgerBroken: it is not whole.
            SettingsWrong: others can write the ledger.
        """
        if self._is_missing():
            return None
        with self._settled() as file:
            return self._last(file, self._end(file))

    @staticmethod
    def _store(file: int, line: Line, *, at: int) -> None:
        os.ftruncate(file, at)
        try:
            _write(file, line.encoded() + b"\n", at=at)
            os.fsync(file)
        except OSError:
            # Nobody may take a line for stored whose append has failed.
            with suppress(OSError):
                os.ftruncate(file, at)
            raise

    def read(self) -> Iterator[Line]:
        return self._scribe.follow(self._raw_lines())

    def find(self, shred: UUID) -> Line | None:
        wanted = str(shred).encode()
        for number, raw in enumerate(self._raw_lines(), start=1):
            if wanted in raw and (line := self._scribe.check_at(number, raw)).shred == shred:
                return line
        return None

    def head(self) -> int:
        last = self.last()
        return last.number if last else 0

    def fences_of(self, line: Line) -> Fences:
        return self._scribe.fences_of(line)

    def _raw_lines(self) -> Iterator[bytes]:
        """Go through the bytes of the lines that stood when the first was asked for."""
        if self._is_missing():
            return
        with self._settled() as file:
            end = self._end(file)
        with _stored(), self._path.open("rb") as lines:
            while lines.tell() < end:
                yield lines.readline().removesuffix(b"\n")

    def _is_missing(self) -> bool:
        with _stored():
            try:
                self._path.stat()
            except FileNotFoundError:
                return True
        return False

    @contextmanager
    def _settled(self) -> Iterator[int]:
        """Open to read. What is read is acted upon, so it is made safe first: its writer may be dead."""
        with self._opened(os.O_RDONLY, fcntl.LOCK_SH) as file:
            os.fsync(file)
            yield file

    @contextmanager
    def _opened(self, how: int, lock: int) -> Iterator[int]:
        """Open the file under the lock."""
        with _stored():
            if self._folder.stat().st_mode & WRITABLE_BY_OTHERS:
                raise SettingsWrong(f"{self._folder}: others can write the ledger; it needs mode 0700")
            guard = os.open(self._folder / "ledger.lock", os.O_RDONLY | os.O_CREAT, 0o600)
            try:
                fcntl.flock(guard, lock)
                file = os.open(self._path, how, 0o600)
                try:
                    if os.fstat(file).st_mode & WRITABLE_BY_OTHERS:
                        raise SettingsWrong(f"{self._path}: others can write the ledger; it needs mode 0600")
                    yield file
                finally:
                    os.close(file)
            finally:
                os.close(guard)

    def _end(self, file: int) -> int:
        """Find where the last whole line ends."""
        size = os.fstat(file).st_size
        end = _after_newline(file, before=size)
        if end < size:
            self._scribe.refuse_unless_torn(os.pread(file, size - end, end))
        return end

    def _last(self, file: int, end: int) -> Line | None:
        if end == 0:
            return None
        start = _after_newline(file, before=end - 1)
        return self._scribe.check(os.pread(file, end - 1 - start, start), where="the last line")


class MemoryLedger:
    """Keep the ledger in memory, for tests: the same lines and the same checks."""

    def __init__(self, signing: Ed25519PrivateKey, roots: Roots) -> None:
        self._scribe = _Scribe(signing, roots)
        self._lines: list[bytes] = []
        self._lock = threading.Lock()

    def append(self, **entry: Unpack[Entry]) -> Line:
        with self._lock:
            last = self._scribe.check(self._lines[-1], where="the last line") if self._lines else None
            line = self._scribe.draw_up(last, **entry)
            self._lines.append(line.encoded())
            return line

    def read(self) -> Iterator[Line]:
        return self._scribe.follow(list(self._lines))

    def find(self, shred: UUID) -> Line | None:
        return next((line for line in self.read() if line.shred == shred), None)

    def head(self) -> int:
        return len(self._lines)

    def fences_of(self, line: Line) -> Fences:
        return self._scribe.fences_of(line)


class _Scribe:
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
        period = f"{at.year}-Q{(at.month + 2) // 3}"
        ledger_key = self._ledger_key(period, last)
        unsigned = Line(
            number=number,
            previous=_hash_of(last),
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

    def follow(self, raw_lines: Iterable[bytes]) -> Iterator[Line]:
        """Check every line and the chain that they form."""
        previous = NOTHING_BEFORE
        for number, raw in enumerate(raw_lines, start=1):
            line = self.check_at(number, raw)
            if line.previous != previous:
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


def _hash_of(line: Line | None) -> str:
    return hashlib.sha256(line.encoded()).hexdigest() if line else NOTHING_BEFORE


def _ends(format_: bytes, number: int, tenant: TenantId, key: UUID) -> bytes:
    return context(format_, number.to_bytes(8, "big"), tenant.bytes, key.bytes)


def _after_newline(file: int, *, before: int) -> int:
    """Find the place after the last newline before a place, from the end."""
    while before > 0:
        start = max(0, before - BLOCK_BYTES)
        found = os.pread(file, before - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        before = start
    return 0


def _write(file: int, content: bytes, *, at: int) -> None:
    while content:
        written = os.pwrite(file, content, at)
        content, at = content[written:], at + written


@contextmanager
def _stored() -> Iterator[None]:
    """Translate what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise LedgerBroken(f"the ledger cannot be read or written: {error.strerror}") from error
