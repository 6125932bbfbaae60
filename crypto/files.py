"""The ledger as a file: one line after the other, each ended by a newline.

    ledger.jsonl   the lines
    ledger.lock    lets in one writer at a time

A crash can leave the front of a line with no newline. Such a line was never acknowledged: readers pass it over and the
next line cuts it off.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from crypto.lines import NOTHING_BEFORE, Line, Scribe
from crypto.roots import sync
from domain.errors import LedgerUnavailable, SettingsWrong

WRITABLE_BY_OTHERS = 0o022
#: The end of the file is searched in blocks; most lines fit into one, so an append reads one.
BLOCK_BYTES = 4096


class FilePlace:
    """Keep lines as `ledger.jsonl` in a folder, which is made with the first."""

    def __init__(self, folder: Path, scribe: Scribe) -> None:
        self._folder = folder
        self._path = folder / "ledger.jsonl"
        self._scribe = scribe

    def last(self) -> tuple[int | None, bytes] | None:
        if self._is_missing():
            return None
        with self._settled() as file:
            # From the end, so nobody knows which line it is.
            raw = self._last(file, self._end(file))
            return None if raw is None else (None, raw)

    def lines(self, after: int = 0) -> Iterator[bytes]:
        if self._is_missing():
            return
        with self._settled() as file:
            end = self._end(file)
        with _stored(), self._path.open("rb") as lines:
            number = 0
            while lines.tell() < end:
                raw, number = lines.readline().removesuffix(b"\n"), number + 1
                if number > after:
                    yield raw

    def candidates(self, shred: UUID) -> Iterator[tuple[int, bytes]]:
        wanted = str(shred).encode()
        return ((number, raw) for number, raw in enumerate(self.lines(), start=1) if wanted in raw)

    def add(self, line: Line) -> bool:
        with _stored():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._opened(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as file:
            end = self._end(file)
            last = self._last(file, end)
            if line.previous != (NOTHING_BEFORE if last is None else sha256(last).hexdigest()):
                return False
            if end == 0:
                sync(self._folder)
                sync(self._folder.parent)
            _store(file, line.encoded() + b"\n", at=end)
        return True

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

    @staticmethod
    def _last(file: int, end: int) -> bytes | None:
        if end == 0:
            return None
        start = _after_newline(file, before=end - 1)
        return os.pread(file, end - 1 - start, start)


def _store(file: int, content: bytes, *, at: int) -> None:
    os.ftruncate(file, at)
    try:
        _write(file, content, at=at)
        os.fsync(file)
    except OSError:
        # Nobody may take a line for stored whose append has failed.
        with suppress(OSError):
            os.ftruncate(file, at)
        raise


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
        raise LedgerUnavailable(f"the ledger cannot be read or written: {error.strerror}") from error
