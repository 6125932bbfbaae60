"""Files below a folder, byte by byte: sealed files, and the logs of processes.

Rule: links are not followed and nothing but plain files is opened, so that nobody leads the search elsewhere or holds
it up. What is compressed is inflated where the standard library can. Whatever else is passed over is counted as unread:
what is closed, a link that leads out, a folder that cannot be listed, a file that went before it was opened and did not
turn up again under another name.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

from services.proving.matching import BLOCK_BYTES, Matcher
from services.proving.places import BOTH, NotSearched, Searched

#: A file as it was listed: its path, and the number of its inode with the time of the last change, by which it is known
#: again where it was renamed. A number alone is given to the next file when its own went.
Listed: TypeAlias = tuple[Path, tuple[int, int]]
#: Times that a folder is listed until nothing new turns up.
MOST_PASSES = 10
_INFLATE: Mapping[str, Callable[[IO[bytes]], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_CLOSED = frozenset((".zst", ".zip", ".lz4", ".7z", ".br"))
#: What a compressed file begins with, whatever it is called: RFC 1952, and the descriptions of each format.
_BEGINNINGS: Mapping[bytes, str] = {
    b"\x1f\x8b\x08": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PK\x03\x04": ".zip",
    b"\x04\x22\x4d\x18": ".lz4",
    b"7z\xbc\xaf\x27\x1c": ".7z",
    # What pg_dump compresses by itself.
    b"PGDMP": ".zst",
}
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


def plain_files(folder: Path, into: Searched, without: Collection[str] = ()) -> Iterator[Listed]:
    """List the plain files below a folder, in order.

    `without` are names of folders in it that are passed over. What cannot be listed is counted as unread, and so is a
    link that leads out of the folder.
    """
    yield from _below(folder, folder.resolve(), into, without)


def _below(folder: Path, home: Path, into: Searched, without: Collection[str] = ()) -> Iterator[Listed]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(((entry, _changed(entry)) for entry in found), key=lambda both: both[0].name)
    except FileNotFoundError:
        # It went, or has another name by now.
        return
    except OSError:
        into.unread += 1
        return
    for entry, changed in entries:
        path = Path(entry.path)
        if entry.is_symlink():
            into.unread += _leads_out(path, home)
        elif entry.is_file(follow_symlinks=False):
            yield path, (entry.inode(), changed)
        elif entry.is_dir(follow_symlinks=False) and entry.name not in without:
            yield from _below(path, home, into)


def _changed(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return -1


def _leads_out(link: Path, home: Path) -> bool:
    try:
        return not link.resolve(strict=True).is_relative_to(home)
    except (OSError, RuntimeError):
        return True


def bytes_of(path: Path) -> Iterator[bytes]:
    """Read a file in blocks.

    Raises:
        OSError: it is gone, or may not be read.
    """
    with _opened(path) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


class Listing:
    """The plain files below a folder, listed again until no new one turns up: they are made and renamed meanwhile.

    What cannot be listed, what went before it was opened and did not turn up under another name, and what is still new
    after `MOST_PASSES` lists, is counted as unread.
    """

    def __init__(self, folder: Path, into: Searched, without: Collection[str] = ()) -> None:
        self._folder = folder
        self._into = into
        self._without = without
        self._given: set[tuple[Path, int]] = set()
        self._there: set[tuple[int, int]] = set()
        self._gone: set[tuple[int, int]] = set()
        self._last: tuple[int, int] | None = None

    def gone(self) -> None:
        """Say that the file that was given last was not there any more."""
        if self._last is not None:
            self._there.discard(self._last)
            self._gone.add(self._last)

    def __iter__(self) -> Iterator[Path]:
        """Give each file once. One that has another name when it is listed again comes again."""
        unlisted = new = 0
        for attempt in range(MOST_PASSES + 1):
            # What cannot be listed counts once, and not with every list.
            listing, new = Searched(), 0
            for path, file in plain_files(self._folder, listing, self._without):
                if (path, file[0]) not in self._given:
                    new += 1
                    if attempt < MOST_PASSES:
                        self._given.add((path, file[0]))
                        self._there.add(file)
                        self._last = file
                        yield path
            unlisted = max(unlisted, listing.unread)
            if not new:
                break
        self._into.unread += unlisted + new + len(self._gone - self._there)


def search_files(matcher: Matcher, files: Listing | Sequence[Path], into: Searched, *, inflate: bool = True) -> None:
    """Look through files, each for itself. One that cannot be read to its end, or not be inflated, is unread."""
    for path in files:
        try:
            _search_file(matcher, path, into, inflate)
        except FileNotFoundError:
            if isinstance(files, Listing):
                files.gone()
            else:
                into.unread += 1
        except OSError:
            into.unread += 1


def _search_file(matcher: Matcher, path: Path, into: Searched, inflate: bool) -> None:
    form = _form_of(path) if inflate else None
    if form is not None and form in _INFLATE:
        try:
            matcher.count(_inflated(path, form), into.hits)
        except FileNotFoundError:
            raise
        except _BROKEN:
            into.unread += 1
        else:
            return
    elif form is not None:
        into.unread += 1
    # What could not be inflated may not be what its name says.
    matcher.count(bytes_of(path), into.hits)


def _form_of(path: Path) -> str | None:
    """Say how a file is compressed: by what it begins with, and else by its name."""
    with _opened(path) as file:
        beginning = file.read(max(map(len, _BEGINNINGS)))
    for signs, form in _BEGINNINGS.items():
        if beginning.startswith(signs):
            return form
    return path.suffix if path.suffix in _INFLATE or path.suffix in _CLOSED else None


class Folder:
    """All files below a folder, but for some folders in it that are places of their own."""

    residue = BOTH
    needed = False

    def __init__(self, name: str, folder: Path, without: Collection[str] = ()) -> None:
        self.name = name
        self._folder = folder
        self._without = without

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Look through each, inflated where it is compressed.

        Raises:
            NotSearched: the folder is not there.
        """
        if not self._folder.is_dir():
            raise NotSearched("the folder is not there")
        search_files(matcher, Listing(self._folder, into, self._without), into)


class Logs:
    """Logs of processes: files, and folders with all that is below them."""

    residue = BOTH
    needed = False

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        self.name = name
        self._paths = paths

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Look through each, inflated where it is compressed.

        Raises:
            NotSearched: nobody said where logs are.
        """
        if not self._paths:
            raise NotSearched("no setting names any")
        for path in self._paths:
            # The setting may name a link; below it none is followed.
            path = path.resolve()
            if path.is_dir():
                search_files(matcher, Listing(path, into), into)
            elif path.is_file():
                search_files(matcher, [path], into)
            else:
                into.unread += 1


def _inflated(path: Path, form: str) -> Iterator[bytes]:
    with _opened(path) as file, _INFLATE[form](file) as inner:
        # What comes before a break is given: `read` would keep it.
        while block := inner.read1(BLOCK_BYTES):
            yield block


def _opened(path: Path) -> IO[bytes]:
    # Between the listing and this it could have become a link, or a pipe that waits for ever.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
