"""The files of a database server that sealdesk runs: heap, indexes, temporary files, and the write-ahead log.

PostgreSQL does not forget: rows that were changed or deleted stand there until something else is written over them. Of
the key database that is what the root epoch is for, so wrapped keys are counted there and are no residue: they die with
the roots above them. A value in the clear is residue anywhere.

What PostgreSQL compressed (a column of more than 2 kB) reads as noise here; a living row of it is seen in the tables,
and a certificate names it among what was not searched. A tablespace is a link that leads out: it is counted as unread.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import psycopg

from crypto.keystore import patient
from services.proving.folders import Listing, bytes_of, search_files
from services.proving.matching import Matcher
from services.proving.places import Kind, NotSearched, Searched

WAL = "pg_wal"
#: XLOG_BLCKSZ, and the headers of a page (access/xlog_internal.h): a segment begins with the long one.
WAL_PAGE_BYTES = 8192
_LONG_HEADER = 0x0002
_HEADER_BYTES, _LONG_HEADER_BYTES = 24, 40
_SEGMENT_NAME = 24


class ClusterFiles:
    """All files of a cluster but its write-ahead log, after a checkpoint: what is in memory is written down before."""

    needed = False

    def __init__(self, name: str, folder: Path, dsn: str, residue: Collection[Kind]) -> None:
        self.name = name
        self.residue = residue
        self._folder = folder
        self._dsn = dsn

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Have everything written, and look through each file.

        Raises:
            NotSearched: the folder is not here; or its files were searched, and the server did not write a checkpoint
                for this role before.
        """
        _check(self._folder)
        written = self._checkpoint()
        # Files of a server are not inflated: they begin with anything.
        search_files(matcher, Listing(self._folder, into, {WAL}), into, inflate=False)
        if not written:
            raise NotSearched("the server did not write down what it had in memory")

    def _checkpoint(self) -> bool:
        try:
            with psycopg.connect(patient(self._dsn), autocommit=True) as connection:
                connection.execute("CHECKPOINT")
        except psycopg.Error:
            return False
        return True


class WriteAheadLog:
    """The write-ahead log of a cluster, with the segments that wait to be used again.

    A record goes on behind the header of the next page and in the next segment, so headers are taken out. A segment
    that is renamed meanwhile, to be used again, is looked for under its new name.
    """

    needed = False

    def __init__(self, name: str, folder: Path, residue: Collection[Kind]) -> None:
        self.name = name
        self.residue = residue
        self._folder = folder / WAL

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Look through it from end to end.

        Raises:
            NotSearched: the folder is not here.
        """
        _check(self._folder)
        matcher.count(self._records(into), into.hits)

    def _records(self, into: Searched) -> Iterator[bytes]:
        segments = Listing(self._folder, into)
        for path in segments:
            try:
                yield from _without_headers(path) if len(path.name) == _SEGMENT_NAME else bytes_of(path)
            except FileNotFoundError:
                segments.gone()
            except OSError:
                into.unread += 1


def _without_headers(path: Path) -> Iterator[bytes]:
    for block in bytes_of(path):
        for start in range(0, len(block), WAL_PAGE_BYTES):
            page = block[start : start + WAL_PAGE_BYTES]
            is_long = int.from_bytes(page[2:4], sys.byteorder) & _LONG_HEADER
            yield page[_LONG_HEADER_BYTES if is_long else _HEADER_BYTES :]


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise NotSearched("the folder of the server is not here")
