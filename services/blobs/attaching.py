"""Files of things: seal them on their way into the store, open them with a reason, and sweep those whose key is gone.

A file is a part of a thing: an attachment, a picture, a recording. The fact that tells of it gives it a leaf key of its
own with the fact's owners, so the file dies when the fact does, wherever its bytes are. Sweeping frees the space and is
no part of forgetting.

Rule: a file is deleted only if its key reads as shredded. A key that is lost, broken or out of reach is none of that.

The way of a file: its row, the object in the store, the size in the row. Whatever breaks off between leaves a row, by
which a sweep finds the object. What takes long looks again, every `ANSWER_SECONDS` at least, whether the key lives.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow

from crypto.keystore import KeyStore
from crypto.opening import Shredded, open_leaves
from crypto.register import Register
from crypto.roots import Roots
from crypto.streaming import blob_bound, open_stream, seal_stream
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.errors import KeyLost, RecordFenced, ReferenceUnknown, SealdeskError, SettingsWrong
from domain.ids import KeyId, TenantId, ThingId
from domain.personal import Reference
from services.blobs.stores import BlobStore
from services.log import STATEMENTS, Facts
from services.reading import ANSWER_SECONDS, Reveal

#: Files whose keys are looked at with one query.
PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class File:
    """A part of a thing that is a file. `blob` is the part, the id of its key and the id of its object alike."""

    tenant: TenantId
    thing: ThingId
    blob: UUID

    @property
    def place(self) -> tuple[ThingId, KeyId]:
        """Name its leaf."""
        return self.thing, KeyId(self.blob)

    @property
    def bound(self) -> bytes:
        """Give the associated data of its stream."""
        return blob_bound(self.tenant, self.thing, self.blob)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found.

    deleted   objects that are gone from the store, after their keys
    living    files that can be read
    lost      files whose key is missing, and no shred explains it: for an operator, and kept
    broken    files whose key does not open at its place: the same
    unknown   objects in the store that no row tells of (a log that was restored, another house): kept
    """

    deleted: int = 0
    living: int = 0
    lost: int = 0
    broken: int = 0
    unknown: int = 0


class Attaching:
    """The files of one installation. `leave_access_line` is that of `services.reading`."""

    def __init__(
        self,
        facts: Facts,
        keys: KeyStore,
        roots: Roots,
        store: BlobStore,
        leave_access_line: Callable[[TenantId, str, Sequence[UUID], Reveal], object],
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._store = store
        self._leave_access_line = leave_access_line

    # -- in and out -----------------------------------------------------------------------------------------------

    def put(self, tenant: TenantId, reference: Reference, chunks: Iterable[bytes]) -> tuple[UUID, int]:
        """Seal a file into the store, in place of what stood there. Returns its id, and its sealed size in bytes.

        Raises:
            ReferenceUnknown: no fact has told of such a file.
            RecordFenced: it was shredded or deleted, before or meanwhile; nothing of it is stored.
            BlobsUnavailable, KeysUnavailable, LogUnavailable: putting it again is safe; it replaces what was stored.
        """
        file = self._find(tenant, reference)
        size = 0

        def counted(sealed: Iterable[bytes]) -> Generator[bytes, None, None]:
            nonlocal size
            for chunk in sealed:
                size += len(chunk)
                yield chunk

        # Only the stream itself holds the key, and it ends with the stream.
        stream = counted(seal_stream(self._key(file), file.bound, self._while_living(file, chunks)))
        try:
            with closing(stream):
                self._run(STATEMENTS.begin_blob.sql, blob_id=file.blob, tenant=tenant, thing=file.thing)
                self._store.put(file.blob, stream)
            self._run(STATEMENTS.end_blob.sql, blob_id=file.blob, bytes=size)
            # A shred that came after the last look has found no object to delete.
            self._check(file)
        except RecordFenced:
            self._delete([file.blob], even_if_coming=True)
            raise
        return file.blob, size

    def get(self, tenant: TenantId, reference: Reference, reveal: Reveal) -> Iterator[bytes]:
        """Open a file, after leaving an access line. The chunks come from the store as they are asked for.

        If it breaks off with an error, what was given out is no file and has to be thrown away.

        Raises, at once:
            SettingsWrong: there is no reason.
            ReferenceUnknown: no fact has told of such a file.
            RecordFenced: it was shredded or deleted.
            KeyLost, SealBroken: its key is missing, or does not open at its place.
        Raises, with a chunk:
            BlobMissing: the file never came to the store.
            RecordFenced: it was shredded meanwhile.
            SealBroken: what is stored was changed, cut or moved.
            BlobsUnavailable, KeysUnavailable: a store cannot be reached.
        """
        if not reveal.why.strip():
            raise SettingsWrong("a reveal needs a reason: --why TEXT")
        file = self._find(tenant, reference)
        self._check(file)
        self._leave_access_line(tenant, "file", [file.thing, file.blob], reveal)
        return self._opened(file)

    def opened(self, tenant: TenantId, thing: ThingId, blob: UUID) -> Iterator[bytes]:
        """Open a file by its inside ids, for whoever has left an access line for all that is read.

        Raises, with a chunk: what `get` raises.
        """
        return self._opened(File(tenant, thing, blob))

    def _opened(self, file: File) -> Iterator[bytes]:
        with closing(self._stored(file)) as sealed:
            yield from self._while_living(file, open_stream(self._key(file), file.bound, sealed))

    def _stored(self, file: File) -> Generator[bytes, None, None]:
        yield from self._store.open(file.blob)

    def listed(self, tenants: Iterable[TenantId]) -> Iterator[DictRow]:
        """List what is stored, or on its way: id, tenant, thing, sealed bytes, since when. Nothing is opened."""
        wanted, after = list(tenants), None
        while page := self._rows(STATEMENTS.blobs_page.sql, tenants=wanted, after=after, limit=PAGE_ROWS):
            yield from page
            after = page[-1]["blob_id"]

    # -- sweeping -------------------------------------------------------------------------------------------------

    def sweep(self, blobs: Iterable[tuple[ThingId, UUID]]) -> Swept:
        """Delete what is stored of these files, given as (thing, id), if their keys are gone.

        Raises:
            KeysUnavailable, LogUnavailable, BlobsUnavailable: some may be swept; sweeping again is safe.
        """
        rest, found = iter(blobs), Counter[str]()
        while some := {blob: thing for thing, blob in islice(rest, PAGE_ROWS)}:
            rows = self._rows(STATEMENTS.blobs_by_id.sql, blob_ids=list(some))
            found += self._sweep([row for row in rows if row["thing"] == some[row["blob_id"]]])
        return Swept(**found)

    def sweep_all(self, tenants: Iterable[TenantId]) -> Swept:
        """Delete every stored file of these tenants whose key is gone, and count what no row tells of.

        Raises:
            KeysUnavailable, LogUnavailable, BlobsUnavailable: some may be swept; sweeping again is safe.
        """
        found, rows = Counter[str](), self.listed(tenants)
        while page := list(islice(rows, PAGE_ROWS)):
            found += self._sweep(page)
        ids = self._store.ids()
        while some := list(islice(ids, PAGE_ROWS)):
            told = {row["blob_id"] for row in self._rows(STATEMENTS.blobs_by_id.sql, blob_ids=some)}
            found["unknown"] += sum(blob not in told for blob in some)
        return Swept(**found)

    def _sweep(self, rows: Sequence[DictRow]) -> Counter[str]:
        found, gone = Counter[str](), list[UUID]()
        for tenant, some in groupby(sorted(rows, key=_tenant), key=_tenant):
            files = [File(TenantId(tenant), ThingId(row["thing"]), row["blob_id"]) for row in some]
            with self._keys.transaction() as cursor:
                keys = open_leaves(Tree(cursor, self._roots), TenantId(tenant), [file.place for file in files])
            for file in files:
                match keys[file.place]:
                    case Key():
                        found["living"] += 1
                    case SealdeskError() as error:
                        found["lost" if isinstance(error, KeyLost) else "broken"] += 1
                    case Shredded.SHREDDED:
                        gone.append(file.blob)
        if gone:
            found["deleted"] += self._delete(gone)
        return found

    def _delete(self, blobs: Sequence[UUID], *, even_if_coming: bool = False) -> int:
        """Delete objects, and then their rows: a row that is left is swept again."""
        deleted = self._store.delete(blobs)
        self._run(STATEMENTS.forget_blobs.sql, blob_ids=list(blobs), even_if_coming=even_if_coming)
        return deleted

    # -- looking --------------------------------------------------------------------------------------------------

    def _find(self, tenant: TenantId, reference: Reference) -> File:
        if reference.kind.is_file:
            with self._keys.transaction() as cursor:
                register = Register(Tree(cursor, self._roots), tenant)
                index = register.index(reference)
                known = register.look_up([index]).get(index)
            if known is not None and known.inside is not None and known.part is not None:
                return File(tenant, ThingId(known.inside), known.part)
            if known is not None and known.fenced is not None:
                raise RecordFenced("fenced", "attachment")
        raise ReferenceUnknown("No file is known by this reference.")

    def _key(self, file: File) -> Key:
        with self._keys.transaction() as cursor:
            found = open_leaves(Tree(cursor, self._roots), file.tenant, [file.place])[file.place]
        match found:
            case Key():
                return found
            case Shredded.SHREDDED:
                raise RecordFenced("fenced", "attachment")
            case SealdeskError():
                raise found

    def _check(self, file: File) -> None:
        """Look whether the key still lives."""
        self._key(file)

    def _while_living(self, file: File, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass chunks on as long as the key lives."""
        since = time.monotonic()
        for chunk in chunks:
            if time.monotonic() - since > ANSWER_SECONDS:
                self._check(file)
                since = time.monotonic()
            yield chunk

    def _run(self, statement: str, **parameters: Any) -> None:
        with self._facts.cursor() as cursor:
            cursor.execute(statement, parameters)

    def _rows(self, statement: str, **parameters: Any) -> list[DictRow]:
        with self._facts.cursor() as cursor:
            return cursor.execute(statement, parameters).fetchall()


def _tenant(row: DictRow) -> UUID:
    found: UUID = row["tenant"]
    return found
