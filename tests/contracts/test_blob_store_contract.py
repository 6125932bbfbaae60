"""What every store of sealed files promises."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from domain.errors import BlobMissing, BlobsUnavailable, SettingsWrong
from services.blobs import bucket as bucket_blobs
from services.blobs.bucket import PART_BYTES, S3Blobs
from services.blobs.stores import BlobStore, FolderBlobs, NoBlobs, blob_store

BUCKET = "sealed-files"
MIB = 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that speaks like S3, on loopback, with one bucket."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "of-tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # One that refuses refuses at once, and no profile or proxy of whoever runs this has a say.
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("NO_PROXY", "127.0.0.1")
        served = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        served.start()
        try:
            host, port = served.get_host_and_port()
            client_of(f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
            yield f"http://{host}:{port}"
        finally:
            served.stop()


def client_of(server: str) -> Any:
    return boto3.client("s3", endpoint_url=server)


@pytest.fixture(params=["folder", "bucket"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], BlobStore]:
    """Open a store by a name: the same files under the same name, and others under another."""
    if request.param == "folder":
        return lambda name: FolderBlobs(tmp_path / name)
    server, run = request.getfixturevalue("server"), uuid4().hex
    return lambda name: S3Blobs(BUCKET, f"{run}/{name}", server)


@pytest.fixture
def store(make: Callable[[str], BlobStore]) -> BlobStore:
    return make("files")


def read(store: BlobStore, blob: UUID) -> bytes:
    return b"".join(store.open(blob))


class _Broken(BaseException):
    """Ends a process, as a signal does."""


def broken(error: BaseException, size: int = 3) -> Iterator[bytes]:
    """Give so many MiB, and then break off."""
    yield from (os.urandom(MIB) for _ in range(size))
    raise error


@pytest.mark.parametrize("size", [0, 1, MIB, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 5])
def test_a_file_is_read_as_it_was_put(store: BlobStore, size: int) -> None:
    blob, content = uuid4(), os.urandom(size)
    store.put(blob, (content[at : at + 700_001] for at in range(0, size, 700_001)))
    chunks = list(store.open(blob))
    assert b"".join(chunks) == content
    assert max(map(len, chunks), default=0) <= MIB


def test_it_is_there_for_whoever_opens_the_store_anew(make: Callable[[str], BlobStore]) -> None:
    blob = uuid4()
    make("files").put(blob, [b"sealed"])
    assert read(make("files"), blob) == b"sealed"
    assert list(make("files").ids()) == [blob]


def test_what_is_put_again_replaces(store: BlobStore) -> None:
    blob = uuid4()
    store.put(blob, [b"a longer one"])
    store.put(blob, [b"another"])
    assert read(store, blob) == b"another"
    assert list(store.ids()) == [blob]


def test_a_file_that_is_not_there_is_missing_with_the_first_chunk(store: BlobStore) -> None:
    store.put(uuid4(), [b"another"])
    with pytest.raises(BlobMissing):
        next(store.open(uuid4()))


def test_an_empty_store_has_nothing(store: BlobStore) -> None:
    assert list(store.ids()) == []
    assert store.delete([uuid4()]) == 0
    with pytest.raises(BlobMissing):
        next(store.open(uuid4()))


@pytest.mark.parametrize("size", [0, 3, 20])
@pytest.mark.parametrize("error", [_Broken(), OSError(5, "the source broke"), ValueError("the source broke")])
def test_what_breaks_off_leaves_nothing_and_raises_as_it_broke(
    store: BlobStore, error: BaseException, size: int
) -> None:
    blob = uuid4()
    with pytest.raises(type(error)) as raised:
        store.put(blob, broken(error, size))
    assert raised.value is error
    assert list(store.ids()) == []


@pytest.mark.parametrize("size", [3, 20])
def test_what_breaks_off_leaves_what_stood_there(store: BlobStore, size: int) -> None:
    blob = uuid4()
    store.put(blob, [b"the first"])
    with pytest.raises(ValueError, match="broke"):
        store.put(blob, broken(ValueError("broke"), size))
    assert read(store, blob) == b"the first"


def test_files_are_listed_and_deleted_by_their_ids(store: BlobStore) -> None:
    blobs = [uuid4() for _ in range(5)]
    for blob in blobs:
        store.put(blob, [blob.bytes])
    assert sorted(store.ids()) == sorted(blobs)
    assert store.delete(iter([*blobs[:2], uuid4()])) == 2
    assert sorted(store.ids()) == sorted(blobs[2:])
    assert [read(store, blob) for blob in blobs[2:]] == [blob.bytes for blob in blobs[2:]]
    with pytest.raises(BlobMissing):
        next(store.open(blobs[0]))
    assert store.delete(blobs) == 3
    assert store.delete(blobs) == 0
    assert store.delete([]) == 0


def test_stores_are_apart(make: Callable[[str], BlobStore]) -> None:
    blob = uuid4()
    make("files").put(blob, [b"of one"])
    make("files2").put(blob, [b"of the other"])
    assert list(make("files").ids()) == [blob]
    assert make("files2").delete([blob]) == 1
    assert read(make("files"), blob) == b"of one"


def test_a_reader_that_stops_leaves_nothing_open(store: BlobStore) -> None:
    blob = uuid4()
    store.put(blob, [os.urandom(3 * MIB)])
    # A file or connection that stays open is a warning, and a warning fails.
    chunks: Any = store.open(blob)
    assert len(next(chunks)) == MIB
    chunks.close()


def test_several_threads_may_use_one_store(store: BlobStore) -> None:
    files, start = {uuid4(): os.urandom(MIB) for _ in range(4)}, Barrier(4)

    def there_and_back(blob: UUID) -> bytes:
        start.wait()
        store.put(blob, [files[blob]])
        return read(store, blob)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(there_and_back, files)) == list(files.values())


# -- out of reach -----------------------------------------------------------------------------------------------------


def _folder_in_a_file(folder: Path, server: str) -> BlobStore:
    (folder / "secret-name").write_text("a file")
    return FolderBlobs(folder / "secret-name" / "files")


def _no_such_bucket(folder: Path, server: str) -> BlobStore:
    return S3Blobs("secret-name", "files", server)


def _nobody_listens(folder: Path, server: str) -> BlobStore:
    # The discard port; nothing listens there on a machine of today.
    return S3Blobs(BUCKET, "files", "http://127.0.0.1:9/secret-name")


@pytest.fixture(params=[_folder_in_a_file, _no_such_bucket, _nobody_listens])
def unreachable(request: pytest.FixtureRequest, tmp_path: Path, server: str) -> BlobStore:
    made: BlobStore = request.param(tmp_path, server)
    return made


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.put(uuid4(), [b"x"]),
        lambda store: store.put(uuid4(), (bytes(MIB) for _ in range(20))),
        lambda store: list(store.open(uuid4())),
        lambda store: store.delete([uuid4()]),
        lambda store: list(store.ids()),
    ],
    ids=["put", "put in parts", "open", "delete", "ids"],
)
def test_a_store_that_cannot_be_reached_says_so_and_quotes_nothing(
    unreachable: BlobStore, use: Callable[[BlobStore], object]
) -> None:
    with pytest.raises(BlobsUnavailable) as refused:
        use(unreachable)
    assert "secret-name" not in str(refused.value)
    assert "127.0.0.1" not in str(refused.value)


# -- a folder ---------------------------------------------------------------------------------------------------------


def test_only_the_owner_can_read_a_folder_of_files(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path / "new" / "files")
    before = os.umask(0)
    try:
        store.put(uuid4(), [b"sealed"])
    finally:
        os.umask(before)
    found = [tmp_path / "new" / "files", *(tmp_path / "new" / "files").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    assert [stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()] == [0o600]


def test_what_a_crash_left_is_removed_and_what_is_on_its_way_is_not(tmp_path: Path) -> None:
    store, blob = FolderBlobs(tmp_path), uuid4()

    def meanwhile() -> Iterator[bytes]:
        yield b"the first half, "
        (tmp_path / "incoming" / "left.new").write_bytes(b"half a file")
        FolderBlobs(tmp_path).put(uuid4(), [b"another"])
        assert not (tmp_path / "incoming" / "left.new").exists()
        assert len(os.listdir(tmp_path / "incoming")) == 1
        yield b"the second"

    store.put(blob, meanwhile())
    assert read(store, blob) == b"the first half, the second"
    assert os.listdir(tmp_path / "incoming") == []


def test_of_several_that_write_one_file_at_once_one_stands_there_whole(tmp_path: Path) -> None:
    store, blob, start = FolderBlobs(tmp_path), uuid4(), Barrier(4)

    def put(sign: bytes) -> None:
        start.wait()
        store.put(blob, (sign * MIB for _ in range(3)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, [b"a", b"b", b"c", b"d"]))
    assert read(store, blob) in [sign * 3 * MIB for sign in (b"a", b"b", b"c", b"d")]
    assert os.listdir(tmp_path / "incoming") == []


def test_nothing_on_its_way_is_left_by_what_breaks_off(tmp_path: Path) -> None:
    with pytest.raises(_Broken):
        FolderBlobs(tmp_path).put(uuid4(), broken(_Broken()))
    assert os.listdir(tmp_path / "incoming") == []


def test_a_file_that_is_deleted_is_read_on_to_its_end(tmp_path: Path) -> None:
    store, blob, content = FolderBlobs(tmp_path), uuid4(), os.urandom(2 * MIB)
    store.put(blob, [content])
    chunks = store.open(blob)
    first = next(chunks)
    assert store.delete([blob]) == 1
    assert first + b"".join(chunks) == content


def test_other_files_in_the_folder_are_not_taken_for_ours(tmp_path: Path) -> None:
    store, blob = FolderBlobs(tmp_path), uuid4()
    store.put(blob, [b"sealed"])
    shard = tmp_path / blob.hex[:2]
    for name in ("notes.txt", f"{uuid4().hex}.blob", f"{blob}.blob~", f"{blob}".upper() + "x"):
        (shard / name).write_text("not ours")
    assert list(store.ids()) == [blob]


# -- a bucket ---------------------------------------------------------------------------------------------------------


def test_parts_of_what_breaks_off_are_taken_back(server: str) -> None:
    store = S3Blobs(BUCKET, uuid4().hex, server)
    uploads: list[Any] = []

    def source() -> Iterator[bytes]:
        yield os.urandom(2 * PART_BYTES)
        uploads.extend(client_of(server).list_multipart_uploads(Bucket=BUCKET)["Uploads"])
        raise _Broken

    with pytest.raises(_Broken):
        store.put(uuid4(), source())
    assert len(uploads) == 1
    assert "Uploads" not in client_of(server).list_multipart_uploads(Bucket=BUCKET)


def test_many_files_are_deleted_in_several_requests(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_blobs, "DELETED_AT_ONCE", 2)
    store, blobs = S3Blobs(BUCKET, uuid4().hex, server), [uuid4() for _ in range(5)]
    for blob in blobs:
        store.put(blob, [b"sealed"])
    assert store.delete([*blobs, uuid4()]) == 5
    assert list(store.ids()) == []


def test_other_objects_of_the_bucket_are_not_taken_for_ours(server: str) -> None:
    prefix, blob = uuid4().hex, uuid4()
    store = S3Blobs(BUCKET, prefix, server)
    store.put(blob, [b"sealed"])
    for name in (f"{prefix}/notes", f"{prefix}/below/{uuid4()}", f"{prefix}/{uuid4().hex}", f"{prefix}{uuid4()}"):
        client_of(server).put_object(Bucket=BUCKET, Key=name, Body=b"not ours")
    assert list(store.ids()) == [blob]


# -- the setting ------------------------------------------------------------------------------------------------------


def test_a_setting_chooses_the_store(server: str, tmp_path: Path) -> None:
    blob, prefix = uuid4(), uuid4().hex
    stores: Iterable[tuple[BlobStore, BlobStore]] = [
        (blob_store(str(tmp_path / "files")), FolderBlobs(tmp_path / "files")),
        (blob_store(tmp_path / "more"), FolderBlobs(tmp_path / "more")),
        (blob_store(f"s3://{BUCKET}/{prefix}/x/?endpoint={server}"), S3Blobs(BUCKET, f"{prefix}/x", server)),
        (blob_store(f"s3://{BUCKET}?endpoint={server}"), S3Blobs(BUCKET, "", server)),
    ]
    for chosen, same in stores:
        chosen.put(blob, [b"sealed"])
        assert read(same, blob) == b"sealed"
        assert chosen.delete([blob]) == 1


@pytest.mark.parametrize(
    "place",
    [
        "s3://",
        "s3:///prefix",
        "s3://ann:secret@bucket/x",
        "s3://bucket:80/x",
        "s3://bucket:x",
        "s3://bucket?x=1",
        "s3://b?x",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_repeated(place: str) -> None:
    with pytest.raises(SettingsWrong, match="SEALDESK_BLOBS") as refused:
        blob_store(place)
    assert "secret" not in str(refused.value)


def test_an_endpoint_that_is_none_is_refused_at_the_first_use() -> None:
    with pytest.raises(SettingsWrong, match="endpoint"):
        blob_store("s3://bucket?endpoint=nowhere").put(uuid4(), [b"x"])


@pytest.mark.parametrize("place", [None, ""])
def test_without_a_setting_every_use_says_what_to_set(place: str | None) -> None:
    store = blob_store(place)
    assert isinstance(store, NoBlobs)
    for use in (
        lambda: store.put(uuid4(), [b"x"]),
        lambda: store.open(uuid4()),
        lambda: store.delete([uuid4()]),
        lambda: store.ids(),
    ):
        with pytest.raises(SettingsWrong, match="SEALDESK_BLOBS"):
            use()
