"""Files: what goes in comes out with a reason, dies with its key and with nothing else, and is swept after it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from crypto import keystore
from crypto.keystore import KeyStore
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import (
    BlobMissing,
    BlobsUnavailable,
    KeyLost,
    KeysUnavailable,
    RecordFenced,
    ReferenceUnknown,
    SealBroken,
    SettingsWrong,
)
from domain.ids import ThingId
from domain.personal import Kind, Reference
from services.blobs import attaching
from services.blobs.attaching import Attaching, Swept
from services.blobs.stores import FolderBlobs
from services.embedded import Endpoints
from services.reading import Reveal
from tests.desks import Desk, desk_house

MIB = 2**20
SCAN, PHOTO = Reference(Kind.ATTACHMENT, "4"), Reference(Kind.ATTACHMENT, "5")
WHY = Reveal("tester", "test")


class Files:
    """A desk with Ann's ticket and two files of it, and with Bob, who wrote one of them; and the way to the files."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk = desk
        self.folder = folder
        self.store = FolderBlobs(folder)
        self.attaching = self.over()
        desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott")
        desk.happens("contact.created", "contact 2", id=2, name="Bob Brown")
        desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help")
        desk.happens("ticket.attachment_added", "ticket 20", id=4, name="scan.pdf", user_id=1)
        desk.happens("ticket.attachment_added", "ticket 20", id=5, name="photo.jpg", user_id=2)

    def over(self, **parts: Any) -> Attaching:
        """Make the same with some parts exchanged."""
        house = self.desk.house
        given = {"keys": house.keys, "roots": house.roots, "store": self.store} | parts
        return Attaching(house.facts, leave_access_line=house.reading.leave_access_line, **given)

    def put(self, reference: Reference, *chunks: bytes) -> UUID:
        return self.attaching.put(self.desk.tenant.id, reference, chunks)[0]

    def put_from(self, reference: Reference, chunks: Iterable[bytes]) -> UUID:
        return self.attaching.put(self.desk.tenant.id, reference, chunks)[0]

    def get(self, reference: Reference) -> bytes:
        return b"".join(self.chunks(reference))

    def chunks(self, reference: Reference) -> Any:
        return self.attaching.get(self.desk.tenant.id, reference, WHY)

    def sweep_all(self) -> Swept:
        return self.attaching.sweep_all([self.desk.tenant.id])

    def listed(self) -> dict[UUID, Any]:
        return {row["blob_id"]: row for row in self.attaching.listed([self.desk.tenant.id])}

    def object_of(self, blob: UUID) -> Path:
        [path] = self.folder.rglob(f"{blob}.blob")
        return path

    def access_lines(self) -> int:
        with self.desk.house.facts.cursor() as cursor:
            row = cursor.execute("SELECT count(*) AS lines FROM access_lines WHERE what = 'file'").fetchone()
        assert row is not None
        return int(row["lines"])


@pytest.fixture
def files(databases: Endpoints, tmp_path: Path) -> Iterator[Files]:
    with desk_house(databases, tmp_path / "house") as opened:
        yield Files(Desk(opened), tmp_path / "files")


def shred_ann(desk: Desk) -> None:
    desk.shred("contact 1")


def shred_bob(desk: Desk) -> None:
    desk.shred("contact 2")


def shred_ticket(desk: Desk) -> None:
    desk.shred("ticket 20")


def delete_photo(desk: Desk) -> None:
    desk.happens("ticket.attachment_deleted", "ticket 20", id=5)
    desk.house.shredding.mend()


#: Every way in which the photo, which Bob gave to Ann's ticket, can end.
ENDS = [shred_ann, shred_bob, shred_ticket, delete_photo]


# -- in and out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 5])
def test_a_file_comes_back_as_it_was_given(files: Files, size: int) -> None:
    content = os.urandom(size)
    blob = files.put(SCAN, content[:1000], content[1000:])
    assert files.get(SCAN) == content
    row = files.listed()[blob]
    assert row["bytes"] == files.object_of(blob).stat().st_size > size
    assert list(files.store.ids()) == [blob]


def test_a_file_that_is_given_again_replaces(files: Files) -> None:
    assert files.put(SCAN, b"the first") == files.put(SCAN, b"another")
    assert files.get(SCAN) == b"another"


def test_nothing_of_a_file_lies_anywhere_in_clear(files: Files, tmp_path: Path) -> None:
    words = b"Ann Abbott lives at 4 Park Row"
    files.put(SCAN, words)
    (files.folder / "control").write_bytes(words)
    found = [path for path in tmp_path.rglob("*") if path.is_file() and words in path.read_bytes()]
    assert found == [files.folder / "control"]


@pytest.mark.parametrize(
    "reference",
    [Reference(Kind.ATTACHMENT, "6"), Reference(Kind.TICKET, "20"), Reference(Kind.PERSON, "1")],
    ids=lambda reference: str(reference.kind),
)
def test_what_no_fact_has_told_of_is_unknown(files: Files, reference: Reference) -> None:
    with pytest.raises(ReferenceUnknown):
        files.put(reference, b"x")
    with pytest.raises(ReferenceUnknown):
        files.chunks(reference)
    assert list(files.store.ids()) == []
    assert files.listed() == {}


def test_a_file_of_one_tenant_is_unknown_to_another(files: Files) -> None:
    files.put(SCAN, b"a scan")
    other = Desk(files.desk.house, "other").tenant.id
    with pytest.raises(ReferenceUnknown):
        files.attaching.get(other, SCAN, WHY)
    assert list(files.attaching.listed([other])) == []


def test_a_file_that_never_came_is_missing(files: Files) -> None:
    with pytest.raises(BlobMissing):
        files.get(SCAN)


def test_opening_leaves_an_access_line_first_and_needs_a_reason(files: Files) -> None:
    files.put(SCAN, b"a scan")
    with pytest.raises(SettingsWrong, match="reason"):
        files.attaching.get(files.desk.tenant.id, SCAN, Reveal("tester", " "))
    assert files.access_lines() == 0
    chunks = files.chunks(SCAN)
    assert files.access_lines() == 1
    assert b"".join(chunks) == b"a scan"
    assert files.access_lines() == 1


def test_a_source_that_breaks_off_leaves_what_stood_there(files: Files) -> None:
    def source() -> Iterator[bytes]:
        yield bytes(2 * MIB)
        raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        files.put_from(SCAN, source())
    assert list(files.store.ids()) == []
    files.put(SCAN, b"the first")
    with pytest.raises(ValueError, match="broke"):
        files.put_from(SCAN, source())
    assert files.get(SCAN) == b"the first"
    # What is not known to be whole has no size.
    assert [row["bytes"] for row in files.listed().values()] == [None]


def test_what_was_changed_or_swapped_in_the_store_does_not_open(files: Files) -> None:
    scan, photo = files.object_of(files.put(SCAN, b"a scan")), files.object_of(files.put(PHOTO, b"a photo"))
    there = scan.read_bytes()
    for changed in (
        photo.read_bytes(),
        there[:-1],
        there + b"x",
        there[:60] + bytes([there[60] ^ 1]) + there[61:],
        b"",
    ):
        scan.write_bytes(changed)
        with pytest.raises(SealBroken):
            files.get(SCAN)
    scan.write_bytes(there)
    assert files.get(SCAN) == b"a scan"


# -- keys and transactions --------------------------------------------------------------------------------------------


def _keys() -> list[Key]:
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, Key)]


def _new_keys(before: list[Key]) -> list[Key]:
    return [key for key in _keys() if not any(key is other for other in before)]


def test_no_key_outlives_its_stream(files: Files) -> None:
    before = _keys()
    files.put(SCAN, os.urandom(3 * MIB))
    assert _new_keys(before) == []
    chunks = files.chunks(SCAN)
    assert _new_keys(before) == []
    next(chunks)
    assert len(_new_keys(before)) == 1
    chunks.close()
    assert _new_keys(before) == []
    files.get(SCAN)
    assert _new_keys(before) == []


def _in_transaction(endpoints: Endpoints) -> int:
    """Count the transactions that are open on this test's databases, apart from the one that counts."""
    found = 0
    for dsn in (endpoints.log_dsn, endpoints.keys_dsn):
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
                " AND pid <> pg_backend_pid()"
            ).fetchone()
        assert row is not None
        found += row[0]
    return found


def test_no_transaction_is_open_while_a_file_streams(files: Files, databases: Endpoints) -> None:
    with files.desk.house.keys.transaction() as cursor:
        cursor.execute("SELECT 1")
        assert _in_transaction(databases) == 1
    open_then: list[int] = []

    def source() -> Iterator[bytes]:
        for _ in range(3):
            open_then.append(_in_transaction(databases))
            yield os.urandom(MIB)

    files.put_from(SCAN, source())
    open_then.extend(_in_transaction(databases) for _ in files.chunks(SCAN))
    assert len(open_then) > 5
    assert set(open_then) == {0}


# -- the end of a file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS)
def test_a_file_dies_with_each_of_its_owners_its_thing_and_its_fact(files: Files, end: Callable[[Desk], None]) -> None:
    blob = files.put(PHOTO, b"a photo")
    assert files.get(PHOTO) == b"a photo"
    lines = files.access_lines()
    end(files.desk)
    with pytest.raises(RecordFenced):
        files.chunks(PHOTO)
    with pytest.raises(RecordFenced):
        files.put(PHOTO, b"once more")
    assert files.access_lines() == lines
    assert files.sweep_all() == Swept(deleted=1)
    assert list(files.store.ids()) == []
    assert blob not in files.listed()
    assert files.sweep_all() == Swept()


@pytest.mark.parametrize("end", [shred_bob, delete_photo])
def test_another_file_of_the_ticket_lives_on(files: Files, end: Callable[[Desk], None]) -> None:
    scan, _ = files.put(SCAN, b"a scan"), files.put(PHOTO, b"a photo")
    end(files.desk)
    assert files.get(SCAN) == b"a scan"
    assert files.sweep_all() == Swept(deleted=1, living=1)
    assert list(files.store.ids()) == [scan]
    assert files.get(SCAN) == b"a scan"


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_while_its_file_comes_in_is_refused_and_not_kept(files: Files, end: Callable[[Desk], None]) -> None:
    def source() -> Iterator[bytes]:
        yield os.urandom(2 * MIB)
        end(files.desk)

    with pytest.raises(RecordFenced):
        files.put_from(PHOTO, source())
    assert list(files.store.ids()) == []
    assert files.listed() == {}


@pytest.mark.parametrize("end", ENDS)
def test_a_slow_upload_is_cut_when_its_key_goes(
    files: Files, end: Callable[[Desk], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attaching, "ANSWER_SECONDS", -1.0)
    asked: list[int] = []

    def source() -> Iterator[bytes]:
        for number in range(5):
            asked.append(number)
            if number == 2:
                end(files.desk)
            yield os.urandom(MIB)

    files.put(PHOTO, b"what stood there")
    with pytest.raises(RecordFenced):
        files.put_from(PHOTO, source())
    assert asked == [0, 1, 2]
    assert list(files.store.ids()) == []
    assert files.listed() == {}


@pytest.mark.parametrize("end", ENDS)
def test_a_slow_download_is_cut_when_its_key_goes(
    files: Files, end: Callable[[Desk], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attaching, "ANSWER_SECONDS", -1.0)
    content = os.urandom(4 * MIB)
    files.put(PHOTO, content)
    assert files.get(PHOTO) == content
    chunks = files.chunks(PHOTO)
    assert content.startswith(next(chunks))
    end(files.desk)
    with pytest.raises(RecordFenced):
        next(chunks)


def test_a_shred_between_asking_and_reading_is_seen(files: Files) -> None:
    files.put(SCAN, b"a scan")
    chunks = files.chunks(SCAN)
    shred_ann(files.desk)
    with pytest.raises(RecordFenced):
        next(chunks)


# -- sweeping ---------------------------------------------------------------------------------------------------------


def test_a_sweep_of_some_files_deletes_those_whose_key_is_gone(files: Files) -> None:
    scan, photo = files.put(SCAN, b"a scan"), files.put(PHOTO, b"a photo")
    thing = ThingId(files.listed()[scan]["thing"])
    shred_bob(files.desk)
    # Nothing is known of these.
    assert files.attaching.sweep([(thing, uuid4()), (ThingId(uuid4()), photo)]) == Swept()
    assert files.attaching.sweep([(thing, scan), (thing, photo)]) == Swept(deleted=1, living=1)
    assert list(files.store.ids()) == [scan]
    assert list(files.listed()) == [scan]
    assert files.attaching.sweep([(thing, scan), (thing, photo)]) == Swept(living=1)


def test_a_sweep_takes_more_files_than_a_page(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attaching, "PAGE_ROWS", 2)
    for number in range(10, 17):
        files.desk.happens("ticket.attachment_added", "ticket 20", id=number, user_id=2 if number < 15 else 1)
        files.put(Reference(Kind.ATTACHMENT, str(number)), b"a file")
    pairs = [(ThingId(row["thing"]), row["blob_id"]) for row in files.listed().values()]
    assert len(pairs) == 7
    for _ in range(3):
        files.store.put(uuid4(), [b"of another house"])
    assert files.sweep_all() == Swept(living=7, unknown=3)
    shred_bob(files.desk)
    some = files.attaching.sweep(pairs[:5])
    assert some.deleted + some.living == 5
    assert files.sweep_all() == Swept(deleted=5 - some.deleted, living=2, unknown=3)


def test_only_the_tenants_that_were_named_are_swept(files: Files) -> None:
    files.put(SCAN, b"a scan")
    shred_ann(files.desk)
    other = Desk(files.desk.house, "other").tenant.id
    assert files.attaching.sweep_all([other]) == Swept()
    assert len(list(files.store.ids())) == 1
    assert files.attaching.sweep_all([other, files.desk.tenant.id]) == Swept(deleted=1)


class _Crashing(FolderBlobs):
    """A store of a process that ends as soon as a file has come."""

    def put(self, blob: UUID, chunks: Iterable[bytes]) -> None:
        super().put(blob, chunks)
        raise SystemExit


def test_what_a_crash_left_is_found_and_swept_after_its_key(files: Files) -> None:
    with pytest.raises(SystemExit):
        files.over(store=_Crashing(files.folder)).put(files.desk.tenant.id, SCAN, [b"a scan"])
    assert files.sweep_all() == Swept(living=1)
    assert files.get(SCAN) == b"a scan"
    shred_ann(files.desk)
    assert files.sweep_all() == Swept(deleted=1)
    # The file may be another that is still coming, so the row stays for a day.
    assert len(files.listed()) == 1
    with files.desk.house.facts.cursor() as cursor:
        cursor.execute("UPDATE blobs SET stored_at = stored_at - interval '25 hours'")
    assert files.sweep_all() == Swept()
    assert files.listed() == {}


def test_an_object_that_no_row_tells_of_is_kept_and_counted(files: Files) -> None:
    files.store.put(uuid4(), [b"of another house"])
    files.put(SCAN, b"a scan")
    assert files.sweep_all() == Swept(living=1, unknown=1)
    assert len(list(files.store.ids())) == 2


@pytest.mark.parametrize(
    ("damage", "error", "swept"),
    [
        ("DELETE FROM leaves WHERE blob", KeyLost, Swept(lost=1)),
        ("UPDATE leaves SET wrapped = NULL WHERE blob", KeyLost, Swept(lost=1)),
        ("UPDATE leaves SET wrapped = NULL, line = 1, mark = '\\x00' WHERE blob", KeyLost, Swept(lost=1)),
        ("DELETE FROM subjects", KeyLost, Swept(lost=1)),
        (
            "UPDATE leaves SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) WHERE blob",
            SealBroken,
            Swept(broken=1),
        ),
    ],
)
def test_a_key_that_is_lost_or_broken_is_no_shred(
    files: Files, damage: str, error: type[Exception], swept: Swept
) -> None:
    files.put(SCAN, b"a scan")
    with files.desk.house.keys.transaction() as cursor:
        cursor.execute(damage.encode())
    with pytest.raises(error):
        files.chunks(SCAN)
    with pytest.raises(error):
        files.put(SCAN, b"another")
    assert files.sweep_all() == swept
    assert len(list(files.store.ids())) == len(files.listed()) == 1


def test_nothing_is_swept_while_the_keys_cannot_be_reached(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.put(SCAN, b"a scan")
    thing, blob = next((ThingId(row["thing"]), row["blob_id"]) for row in files.listed().values())
    shred_ann(files.desk)
    monkeypatch.setattr(keystore, "CONNECT_SECONDS", 0.5)
    nowhere = KeyStore("host=127.0.0.1 port=9 connect_timeout=1")
    try:
        for there in (files.over(keys=nowhere), files.over(roots=FileRoots(tmp_path / "other roots"))):
            with pytest.raises(KeysUnavailable):
                there.sweep_all([files.desk.tenant.id])
            with pytest.raises(KeysUnavailable):
                there.sweep([(thing, blob)])
    finally:
        nowhere.close()
    assert list(files.store.ids()) == list(files.listed()) == [blob]
    assert files.sweep_all() == Swept(deleted=1)


def test_a_row_stays_while_its_store_cannot_be_reached(files: Files, tmp_path: Path) -> None:
    blob = files.put(SCAN, b"a scan")
    shred_ann(files.desk)
    (tmp_path / "a file").write_text("")
    with pytest.raises(BlobsUnavailable):
        files.over(store=FolderBlobs(tmp_path / "a file" / "below")).sweep_all([files.desk.tenant.id])
    assert list(files.listed()) == [blob]
    assert files.sweep_all() == Swept(deleted=1)
