"""Sealed files in a bucket: each is read as it is stored, up to a limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from domain.errors import BlobMissing
from services.blobs.stores import BlobStore
from services.proving.matching import Matcher
from services.proving.places import BOTH, NotSearched, Searched

#: What is read of a bucket for one proof. Reading it is paid for, and goes over a network.
MOST_BYTES = 2**30


class Bucket:
    """The files of a store that is no folder."""

    residue = BOTH
    needed = False

    def __init__(self, name: str, store: BlobStore, most_bytes: int = MOST_BYTES) -> None:
        self.name = name
        self._store = store
        self._most_bytes = most_bytes

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Read each file.

        Raises:
            NotSearched: the bucket holds more than is read.
        """
        left = self._most_bytes
        for blob in self._store.ids():
            before = into.hits.bytes
            with suppress(BlobMissing):
                matcher.count(_up_to(left, self._store.open(blob)), into.hits)
            left -= into.hits.bytes - before


def _up_to(most_bytes: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        most_bytes -= len(chunk)
        if most_bytes < 0:
            raise NotSearched("the bucket holds more than a proof reads")
        yield chunk
