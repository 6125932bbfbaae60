"""What SEALDESK_LEDGER and SEALDESK_LEDGER_COPY may name, and the ledger that is there.

    FOLDER                            a file in a folder of its own
    kafka://TOPIC                     a topic of the brokers that SEALDESK_KAFKA names
    s3://BUCKET/PREFIX?endpoint=URL   a bucket with Object Lock; the endpoint is for servers other than Amazon's

Rule: the topic of a ledger is no topic of records, of ours or of publishers: nothing of it is read as one or cleared.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.ledger import Copy, FileLedger, Ledger
from crypto.mirroring import MirroredLedger
from crypto.roots import Roots
from domain.errors import SettingsWrong
from services.kafka.connecting import Broker

VARIABLES = ("SEALDESK_LEDGER", "SEALDESK_LEDGER_COPY")
#: What Kafka takes as the name of a topic.
_TOPIC = re.compile(r"kafka://((?!\.{1,2}$)[a-zA-Z0-9._-]{1,249})")
_DAYS_OF_A_YEAR = 365


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of Kafka."""

    name: str
    broker: Broker


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of S3. Nobody can delete a line in it for so many years."""

    name: str
    prefix: str
    endpoint: str | None
    years: int


LedgerPlace = Path | Topic | Bucket


def place_of(variable: str, text: str, broker: Broker | None, *, years: int, fence_days: int) -> LedgerPlace:
    """Read what a variable names.

    Raises:
        SettingsWrong: it is malformed, or contradicts another setting.
    """
    if text.startswith("kafka://"):
        match = _TOPIC.fullmatch(text)
        if match is None or match[1] in _others_topics():
            raise SettingsWrong(f"{variable} is kafka://TOPIC: a topic of its own, of a-z A-Z 0-9 . _ -")
        if broker is None:
            raise SettingsWrong(f"{variable} names a topic: say where Kafka is with SEALDESK_KAFKA.")
        return Topic(match[1], broker)
    if text.startswith("s3://"):
        if years * _DAYS_OF_A_YEAR <= fence_days:
            raise SettingsWrong("SEALDESK_LEDGER_YEARS has to be longer than SEALDESK_FENCE_DAYS.")
        return _bucket(variable, text, years)
    return Path(text).expanduser().resolve()


def ledger_topics(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Name the topics that the ledger lies in: nobody reads records from them."""
    named = (_TOPIC.fullmatch(environ.get(variable) or "") for variable in VARIABLES)
    return frozenset(match[1] for match in named if match)


def ledger_at(place: LedgerPlace, copy: LedgerPlace | None, signing: Ed25519PrivateKey, roots: Roots) -> Ledger:
    """Open the ledger, in two places if there is a copy. Nothing is made or reached before it is used."""
    first = _opened(place, signing, roots)
    if copy is None:
        return first
    names = _name(VARIABLES[0], place), _name(VARIABLES[1], copy)
    way_out = f"; see to it, or set {VARIABLES[1]} to another place, which is filled, or to none"
    return MirroredLedger(first, _opened(copy, signing, roots), names=names, way_out=way_out)


def _name(variable: str, place: LedgerPlace) -> str:
    match place:
        case Path():
            return f"{variable}, the folder {place}"
        case Topic(name):
            return f"{variable}, the topic {name}"
        case Bucket(name, prefix):
            return f"{variable}, the bucket {name}/{prefix}"


def _opened(place: LedgerPlace, signing: Ed25519PrivateKey, roots: Roots) -> Copy:
    match place:
        case Path():
            return FileLedger(place, signing, roots)
        case Topic(name, broker):
            # Loaded where one is used: most houses have files, and these are large libraries.
            from services.ledgers.topic import TopicLedger

            return TopicLedger(broker, name, signing, roots)
        case Bucket(name, prefix, endpoint, years):
            from services.ledgers.bucket import BucketLedger

            return BucketLedger(name, prefix, signing, roots, years=years, endpoint=endpoint)


def _bucket(variable: str, text: str, years: int) -> Bucket:
    try:
        url = urlsplit(text)
        options = parse_qs(url.query, strict_parsing=True) if url.query else {}
        # Reading it checks it: what follows the colon has to be a number.
        bare = url.hostname is not None and url.port is None and url.username is None
    except ValueError:
        bare, options = False, {}
    if not bare or not options.keys() <= {"endpoint"}:
        raise SettingsWrong(f"{variable} is a folder, kafka://TOPIC, s3://BUCKET/PREFIX or s3://…?endpoint=URL.")
    return Bucket(url.netloc, url.path.strip("/"), options.get("endpoint", [None])[0], years)


def _others_topics() -> frozenset[str]:
    from services.kafka.topics import OWN_TOPICS, RECORDS

    return frozenset({*OWN_TOPICS, RECORDS})
