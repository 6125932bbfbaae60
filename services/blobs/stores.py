"""Where sealed files lie: a folder or a bucket, one object a file, under the id of the file.

Rule: an object is there as a whole or not at all. Whatever breaks off while it is written leaves what stood there
before.

What is stored is sealed (`crypto.streaming`); a store never sees a key, a name or a word of a person.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from crypto.roots import sync
from domain.errors import BlobMissing, BlobsUnavailable, SettingsWrong

#: Bytes that are read of an object at once: about a segment of the seal.
CHUNK_BYTES = 2**20


class BlobStore(Protocol):
    """Hold sealed files by their ids."""

    def put(self, blob: UUID, chunks: Iterable[bytes]) -> None:
        """Store a file whole, in place of what stood there; or, if `chunks` or the store breaks off, nothing of it.

        Raises:
            BlobsUnavailable: the store cannot be reached, or refuses.
        """
        ...

    def open(self, blob: UUID) -> Iterator[bytes]:
        """Read a file in chunks. A file that is replaced or deleted meanwhile is read on as it was, or breaks off.

        Raises, with the first chunk:
            BlobMissing: there is no such file.
            BlobsUnavailable: the store cannot be reached, or refuses; later chunks may raise it too.
        """
        ...

    def delete(self, blobs: Iterable[UUID]) -> int:
        """Delete files. Returns how many of them were there.

        Raises:
            BlobsUnavailable: the store cannot be reached, or refuses. Some may be deleted; deleting again is safe.
        """
        ...

    def ids(self) -> Iterator[UUID]:
        """List every file that is stored, in no order.

        Raises:
            BlobsUnavailable: the store cannot be reached, or refuses.
        """
        ...


def blob_store(place: str | Path | None) -> BlobStore:
    """Choose the store by the setting SEALDESK_BLOBS: a folder, or `s3://BUCKET/PREFIX`.

    `s3://BUCKET/PREFIX?endpoint=https://HOST:PORT` names a server that is not Amazon's. Nothing is opened yet.

    Raises:
        SettingsWrong: an address of a bucket cannot be read. Without a place, every use of the store raises it.
    """
    if place is None or not str(place):
        return NoBlobs()
    if not str(place).startswith("s3://"):
        return FolderBlobs(Path(place).expanduser())
    try:
        url = urlsplit(str(place))
        options = parse_qs(url.query, strict_parsing=True) if url.query else {}
        # Reading it checks it: what follows the colon has to be a number.
        bare = url.hostname is not None and url.port is None and url.username is None
    except ValueError:
        bare, options = False, {}
    if not bare or not options.keys() <= {"endpoint"}:
        raise SettingsWrong("SEALDESK_BLOBS is a folder, s3://BUCKET/PREFIX or s3://BUCKET/PREFIX?endpoint=URL.")
    # Imported here, because Amazon's library is large and most houses have a folder.
    from services.blobs.bucket import S3Blobs

    return S3Blobs(url.netloc, url.path, options.get("endpoint", [None])[0])


class NoBlobs:
    """The store of a house that was not told where files lie: it says so as soon as there is a file."""

    def put(self, blob: UUID, chunks: Iterable[bytes]) -> None:
        raise self._told()

    def open(self, blob: UUID) -> Iterator[bytes]:
        raise self._told()

    def delete(self, blobs: Iterable[UUID]) -> int:
        raise self._told()

    def ids(self) -> Iterator[UUID]:
        raise self._told()

    def _told(self) -> SettingsWrong:
        return SettingsWrong("Say where files lie: SEALDESK_BLOBS is a folder, or s3://BUCKET/PREFIX.")


class FolderBlobs:
    """Keep files in a folder that only its owner can read.

        ab/abcdef01-....blob     the file with that id, in one of 256 folders by its first two digits
        incoming/....new         files on their way, each locked (flock) by the process that writes it

    Folders have mode 0700 and files 0600. A file on its way that nobody holds was left by a crash; the next `put`
    removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, blob: UUID, chunks: Iterable[bytes]) -> None:
        with _reachable():
            incoming = _made(_made(self._folder) / "incoming")
            _remove_stale(incoming)
            draft, file = _draft(incoming)
        try:
            with file:
                for chunk in chunks:
                    # Only the writing: what the chunks themselves raise is not the folder's.
                    with _reachable():
                        file.write(chunk)
                with _reachable():
                    file.flush()
                    os.fsync(file.fileno())
                    path = self._path(blob)
                    _made(path.parent)
                    draft.rename(path)
                    sync(path.parent)
        finally:
            draft.unlink(missing_ok=True)

    def open(self, blob: UUID) -> Iterator[bytes]:
        with _reachable():
            try:
                file = self._path(blob).open("rb")
            except FileNotFoundError:
                raise BlobMissing("nothing is stored of this file") from None
        with file:
            while chunk := _read(file):
                yield chunk

    def delete(self, blobs: Iterable[UUID]) -> int:
        deleted: list[Path] = []
        with _reachable():
            for blob in blobs:
                with suppress(FileNotFoundError):
                    self._path(blob).unlink()
                    deleted.append(self._path(blob))
            for folder in {path.parent for path in deleted}:
                sync(folder)
        return len(deleted)

    def ids(self) -> Iterator[UUID]:
        for shard in range(256):
            with _reachable():
                names = _names(self._folder / f"{shard:02x}")
            for name in names:
                with suppress(ValueError):
                    blob = UUID(name.removesuffix(".blob"))
                    if name == self._path(blob).name:
                        yield blob

    def _path(self, blob: UUID) -> Path:
        return self._folder / blob.hex[:2] / f"{blob}.blob"


def _draft(incoming: Path) -> tuple[Path, BinaryIO]:
    """Begin a file under a name of its own, held by this process against whoever removes what is stale."""
    while True:
        path = incoming / f"{uuid4()}.new"
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        # Between its making and its lock it looked stale to another process, which has removed it.
        file.close()


def _remove_stale(incoming: Path) -> None:
    for name in _names(incoming):
        with suppress(FileNotFoundError, BlockingIOError), (incoming / name).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (incoming / name).unlink()


def _made(folder: Path) -> Path:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(folder.parent)
    return folder


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _read(file: BinaryIO) -> bytes:
    with _reachable():
        return file.read(CHUNK_BYTES)


@contextmanager
def _reachable() -> Iterator[None]:
    """Translate what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise BlobsUnavailable(f"the folder of sealed files cannot be used: {error.strerror}") from error
