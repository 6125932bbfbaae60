"""Sealed files in a bucket of S3, or of a server that speaks like it.

A file of up to 16 MiB goes up in one request, a larger one in parts of that size; S3 takes 10,000 of them: 156 GiB. A
bucket that keeps versions keeps what is deleted here: it stays sealed, under a key that is gone. Parts that a crash
leaves are no object and are not listed; a lifecycle rule of the bucket (AbortIncompleteMultipartUpload) clears them.

Who may reach the bucket is said as for every client of boto3: AWS_ACCESS_KEY_ID, a profile, or the role of the machine.

Rule: no error repeats what the server or the library said; they quote addresses and names of buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING
from uuid import UUID

from boto3.exceptions import Boto3Error
from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError

from crypto.streaming import cut
from domain.errors import BlobMissing, BlobsUnavailable, SettingsWrong
from services.blobs.stores import CHUNK_BYTES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 16 * 2**20
#: How many objects one request may delete.
DELETED_AT_ONCE = 1_000
_NOT_FOUND = 404


class S3Blobs:
    """Keep files as objects `PREFIX/ID` of one bucket, which exists already. The prefix may be empty."""

    def __init__(self, bucket: str, prefix: str = "", endpoint: str | None = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._endpoint = endpoint

    def put(self, blob: UUID, chunks: Iterable[bytes]) -> None:
        parts = cut(chunks, PART_BYTES, PART_BYTES)
        first, only = next(parts)
        if only:
            with _reachable():
                self._client.put_object(Bucket=self._bucket, Key=self._key(blob), Body=first)
        else:
            self._put_parts(self._key(blob), (part for part, _ in chain([(first, only)], parts)))

    def _put_parts(self, key: str, parts: Iterable[bytes]) -> None:
        with _reachable():
            upload = self._client.create_multipart_upload(Bucket=self._bucket, Key=key)["UploadId"]
        try:
            stored: list[CompletedPartTypeDef] = []
            for number, part in enumerate(parts, 1):
                with _reachable():
                    answer = self._client.upload_part(
                        Bucket=self._bucket, Key=key, UploadId=upload, PartNumber=number, Body=part
                    )
                stored.append({"PartNumber": number, "ETag": answer["ETag"]})
                # The library adds a checksum to each part; a server that has seen it wants it once more at the end.
                if "ChecksumCRC32" in answer:
                    stored[-1]["ChecksumCRC32"] = answer["ChecksumCRC32"]
            with _reachable():
                self._client.complete_multipart_upload(
                    Bucket=self._bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": stored}
                )
        except BaseException:
            # Also when a signal ends it: parts without an object would be paid for, and nobody would see them.
            with suppress(BlobMissing, BlobsUnavailable), _reachable():
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)
            raise

    def open(self, blob: UUID) -> Iterator[bytes]:
        with _reachable():
            body = self._client.get_object(Bucket=self._bucket, Key=self._key(blob))["Body"]
        with closing(body):
            while True:
                with _reachable():
                    chunk = body.read(CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    def delete(self, blobs: Iterable[UUID]) -> int:
        rest, deleted = iter(blobs), 0
        while some := list(islice(rest, DELETED_AT_ONCE)):
            # S3 does not tell what was there, so it is asked before, a request for each.
            there = sum(map(self._is_there, some))
            with _reachable():
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": [{"Key": self._key(blob)} for blob in some], "Quiet": True},
                )
            if answer.get("Errors"):
                raise BlobsUnavailable("the bucket of sealed files keeps what should be deleted")
            deleted += there
        return deleted

    def ids(self) -> Iterator[UUID]:
        with _reachable():
            pages = iter(
                self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            )
        while True:
            with _reachable():
                page = next(pages, None)
            if page is None:
                return
            for listed in page.get("Contents", []):
                with suppress(ValueError):
                    blob = UUID(listed["Key"].removeprefix(self._prefix))
                    if listed["Key"] == self._key(blob):
                        yield blob

    @cached_property
    def _client(self) -> S3Client:
        """Make the client with the first use: it takes a tenth of a second, and most commands need none."""
        try:
            with _reachable():
                # A session of its own, because threads may not make clients of the common one at once.
                return Session().client("s3", endpoint_url=self._endpoint)
        except ValueError:
            raise SettingsWrong("The endpoint in SEALDESK_BLOBS is no address.") from None

    def _is_there(self, blob: UUID) -> bool:
        try:
            with _reachable():
                self._client.head_object(Bucket=self._bucket, Key=self._key(blob))
        except BlobMissing:
            return False
        return True

    def _key(self, blob: UUID) -> str:
        return f"{self._prefix}{blob}"


@contextmanager
def _reachable() -> Iterator[None]:
    """Translate what the library raises, without what it quotes."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        # A bucket that is missing gives the same status as a file; only its own code tells them apart.
        if status == _NOT_FOUND and error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
            raise BlobMissing("nothing is stored of this file") from None
        raise BlobsUnavailable(f"the bucket of sealed files refuses (HTTP status {status})") from None
    except (BotoCoreError, Boto3Error):
        raise BlobsUnavailable("the bucket of sealed files cannot be reached") from None
