"""The ledger in a bucket of S3, under a lock that nobody can open before its time, not even the account's owner.

    PREFIX/000000000001.json   line 1

Rule: of each number the first version counts that is a line of this number, as its signature says. A line is put only
where there is nothing yet (`If-None-Match: *`), with a retention (Object Lock, mode COMPLIANCE) of `years`; its
versions cannot be deleted or changed before that. Whoever may write to the bucket can still put another version over
it, or a mark that it is deleted: readers look below. What somebody put where the next line goes is no line, and the
line is put over just that (`If-Match`). https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html

A request that timed out may have been carried out. So after each, whatever came of it, the writer looks which line
stands. The bucket has to exist, with Object Lock, which keeps versions. It needs the rights s3:PutObject,
s3:PutObjectRetention, s3:GetObject, s3:GetObjectVersion, s3:ListBucketVersions and
s3:GetBucketObjectLockConfiguration.

Rule: no error repeats what the server or the library said; they quote addresses and names of buckets.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypedDict
from uuid import UUID

from boto3.exceptions import Boto3Error
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.ledger import ChainedLedger
from crypto.lines import Line, Scribe
from crypto.roots import Roots
from domain.errors import LedgerBroken, LedgerUnavailable, SettingsWrong

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectVersionsRequestTypeDef

_NAME = re.compile(r"([0-9]{12})\.json")
#: Lines that are listed, then fetched, `AT_ONCE` at a time.
LISTED = 1_000
#: An answer takes tens of milliseconds.
AT_ONCE = 16
#: A put that was refused as being in conflict with another may be tried again.
TRIES = 3
#: Whoever shreds holds the locks of the person meanwhile.
CLIENT = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3})
DAYS_OF_A_YEAR = 366


class _Version(NamedTuple):
    """What was stored under a key. `is_latest` if nothing was put over it, also no mark that it is deleted."""

    id: str
    etag: str
    is_latest: bool


class _Condition(TypedDict, total=False):
    """What has to be so for a put to be carried out."""

    IfNoneMatch: str
    IfMatch: str


class BucketPlace:
    """Keep lines as objects of one bucket. The prefix may be empty; `years` is how long nobody can delete them."""

    def __init__(
        self, bucket: str, prefix: str, scribe: Scribe, *, years: int, endpoint: str | None, now: Callable[[], datetime]
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._scribe = scribe
        self._years = years
        self._endpoint = endpoint
        self._now = now
        self._lock = threading.Lock()
        #: Of which shred each line is, and up to which number that is known.
        self._shreds: dict[UUID, int] = {}
        self._indexed = 0
        #: Lines do not go, so the end is looked for from the one that was the last before.
        self._head = 0

    def last(self) -> tuple[int | None, bytes] | None:
        while number := self._find_head():
            if (raw := self._line(number)) is not None:
                return number, raw
            # What was the last line is not there any more, which the lock should not allow.
            self._head = 0
        return None

    def lines(self, after: int = 0) -> Iterator[bytes]:
        return (raw for _, raw in self._numbered(after))

    def candidates(self, shred: UUID) -> Iterator[tuple[int, bytes]]:
        with self._lock:
            for number, raw in self._numbered(self._indexed):
                self._shreds.setdefault(self._scribe.check_at(number, raw).shred, number)
                self._indexed = number
        found = self._line(self._shreds[shred]) if shred in self._shreds else None
        if found is not None:
            yield self._shreds[shred], found

    def add(self, line: Line) -> bool:
        self._check()
        raw = line.encoded()
        failed = LedgerUnavailable("the bucket of the ledger does not show whether it took a line")
        over: str | None = None
        for _ in range(TRIES):
            try:
                self._put(line.number, raw, over)
            except _Taken:
                pass
            except LedgerUnavailable as error:
                failed = error
            versions = self._versions_of(line.number)
            if (stands := self._standing(line.number, versions)) is not None:
                return stands == raw
            over = next((version.etag for version in versions if version.is_latest), None)
        raise failed

    def _put(self, number: int, raw: bytes, over: str | None) -> None:
        """Put a line where there is nothing, or over just that of which the entity tag is given.

        Raises:
            _Taken: another stands there, or is about to; or this one, if a request before this was carried out.
        """
        condition: _Condition = {"IfNoneMatch": "*"} if over is None else {"IfMatch": over}
        with _reachable():
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._key(number),
                Body=raw,
                ContentType="application/json",
                # The library adds a checksum, without which S3 takes nothing under a lock.
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=self._now() + timedelta(days=self._years * DAYS_OF_A_YEAR),
                **condition,
            )

    def _line(self, number: int) -> bytes | None:
        """Read the line of a number, if there is one."""
        return self._standing(number, self._versions_of(number))

    def _standing(self, number: int, versions: list[_Version]) -> bytes | None:
        """Read the first version that is a line of this number."""
        for version in versions:
            raw = self._get(number, version.id)
            try:
                self._scribe.check_at(number, raw)
            except LedgerBroken:
                # Somebody else put it there. If it was a line, the next one does not follow.
                continue
            return raw
        return None

    def _get(self, number: int, version: str) -> bytes:
        with _reachable():
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(number), VersionId=version)
            return answer["Body"].read()

    def _numbered(self, after: int) -> Iterator[tuple[int, bytes]]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            versions = self._versions(after)
            while some := list(islice(versions, LISTED)):
                for (number, _), raw in zip(some, pool.map(lambda one: self._standing(*one), some), strict=True):
                    if raw is not None:
                        yield number, raw

    def _versions_of(self, number: int) -> list[_Version]:
        """List what was ever stored under a number, the first one first."""
        return next((found for _, found in self._versions(number - 1, key=self._key(number))), [])

    def _versions(self, after: int, *, key: str | None = None) -> Iterator[tuple[int, list[_Version]]]:
        """List what was ever stored under each number behind one, or under one key alone; the first one first."""
        for listed, versions in groupby(self._listed(after, key), key=itemgetter(0)):
            number = self._number(listed)
            if number is not None and number > after and key in (None, listed):
                # The newest version of a key is listed first.
                yield number, [version for _, version in versions][::-1]

    def _listed(self, after: int, key: str | None) -> Iterator[tuple[str, _Version]]:
        """List keys with their versions, page by page."""
        marker, version = self._key(after) if after and key is None else "", ""
        while True:
            wanted: ListObjectVersionsRequestTypeDef = {"Bucket": self._bucket}
            wanted["Prefix"] = self._prefix if key is None else key
            if marker:
                wanted["KeyMarker"] = marker
            if version:
                wanted["VersionIdMarker"] = version
            with _reachable():
                page = self._client.list_object_versions(**wanted)
            for listed in page.get("Versions", []):
                yield listed["Key"], _Version(listed["VersionId"], listed["ETag"], listed["IsLatest"])
            if not page["IsTruncated"]:
                return
            marker, version = page["NextKeyMarker"], page["NextVersionIdMarker"]

    def _find_head(self) -> int:
        """Find the last number in few requests: leap ahead, ever farther, then halve. There is no gap below a line."""
        self._check()
        low, step = self._head, 1
        while self._is_there(low + step):
            low, step = low + step, 2 * step
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._is_there(middle) else (low, middle)
        self._head = low
        return low

    def _is_there(self, number: int) -> bool:
        return self._line(number) is not None

    def _check(self) -> None:
        """Refuse a bucket without Object Lock. With it, it cannot be turned off."""
        _ = self._locked

    @cached_property
    def _locked(self) -> bool:
        with _reachable():
            try:
                said = self._client.get_object_lock_configuration(Bucket=self._bucket)["ObjectLockConfiguration"]
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "ObjectLockConfigurationNotFoundError":
                    raise
                said = {}
        if said.get("ObjectLockEnabled") != "Enabled":
            raise SettingsWrong(
                "The bucket of the ledger has no Object Lock: its lines could be deleted. Make a bucket with it, as "
                "with: aws s3api create-bucket --object-lock-enabled-for-bucket"
            )
        return True

    @cached_property
    def _client(self) -> S3Client:
        try:
            with _reachable():
                return Session().client("s3", endpoint_url=self._endpoint, config=CLIENT)
        except ValueError:
            raise SettingsWrong("The endpoint of the ledger's bucket is no address.") from None

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number:012d}.json"

    def _number(self, key: str) -> int | None:
        match = _NAME.fullmatch(key.removeprefix(self._prefix))
        return int(match[1]) if match else None


class BucketLedger(ChainedLedger):
    """Keep the ledger in a bucket."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        signing: Ed25519PrivateKey,
        roots: Roots,
        *,
        years: int,
        endpoint: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        scribe = Scribe(signing, roots)
        super().__init__(BucketPlace(bucket, prefix, scribe, years=years, endpoint=endpoint, now=now), scribe)


class _Taken(LedgerUnavailable):
    """There is something where a line was to be put, or somebody is just putting it there."""


@contextmanager
def _reachable() -> Iterator[None]:
    """Translate what the library raises, without what it quotes."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT):
            raise _Taken("the bucket of the ledger has a line of this number") from None
        raise LedgerUnavailable(f"the bucket of the ledger refuses (HTTP status {status})") from None
    except (BotoCoreError, Boto3Error):
        raise LedgerUnavailable("the bucket of the ledger cannot be reached") from None
