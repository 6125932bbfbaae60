"""Every place of a house where something could still stand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

from services.blobs.stores import blob_store
from services.embedded import Endpoints
from services.kafka.topics import OWN_TOPICS
from services.proving.buckets import Bucket
from services.proving.clusters import ClusterFiles, WriteAheadLog
from services.proving.dumps import Catalogs, Tables
from services.proving.folders import Folder, Logs
from services.proving.matching import Matcher
from services.proving.places import BOTH, VALUES, NotSearched, Place, Searched
from services.proving.topics import Topics
from services.settings import Settings

_LOG = frozenset(("facts_events", "privacy_events"))
_OUTBOX = frozenset(("outbox", "outbox_pages", "tellings"))
#: What only the owner of a database has to do with: which file was run when.
_MIGRATIONS = frozenset(
    f"{which}_migrations{what}" for which in ("log", "keys") for what in ("", "_log", "_version", "_lock")
)
FACTS = "the log"
QUARANTINE = "the quarantine"
MODELS = "read models, and what analysts read"
REST_OF_LOG = "other tables of the log database"
LOG_MIGRATIONS, KEY_MIGRATIONS = "migrations of the log database", "migrations of the key database"
LOG_CATALOGS = "catalogs, statistics, comments and large objects of the log database"
OUTBOX = "the outbox"
REST_OF_KEYS = "other tables of the key database"
KEY_CATALOGS = "catalogs, statistics, comments and large objects of the key database"
FILES = "sealed files"
SERVER_LOGS = "logs of our servers"
REST_OF_DATA = "whatever else is in the data folder"
LEDGER, LEDGER_COPY = "the ledger", "the copy of the ledger"
PROCESS_LOGS = "logs of other processes"
RECORDS, OWN = "topics of records", "topics of receipts, news and replies"


class Elsewhere:
    """A place that this house cannot look into."""

    residue = BOTH
    needed = False

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    def search(self, matcher: Matcher, into: Searched) -> None:
        """Say why not.

        Raises:
            NotSearched: always.
        """
        raise NotSearched(self._why)


def everywhere(
    settings: Settings,
    endpoints: Endpoints,
    records: Callable[[], Iterable[str]],
    read: Callable[[], Collection[UUID]],
) -> list[Place]:
    """List all of them. `records` names the topics of records, `read` gives the ids of those that ever were read."""
    log, keys = endpoints.log_dsn, endpoints.keys_dsn
    broker = endpoints.kafka or settings.kafka
    return [
        Tables(FACTS, log, lambda schema, name: schema == "public" and name in _LOG),
        Tables(QUARANTINE, log, lambda schema, name: (schema, name) == ("public", "quarantine")),
        Tables(MODELS, log, lambda schema, _: schema != "public"),
        Tables(
            REST_OF_LOG,
            log,
            lambda schema, name: schema == "public" and name not in {*_LOG, *_MIGRATIONS, "quarantine"},
        ),
        Tables(LOG_MIGRATIONS, log, _migrations, needed=False),
        Catalogs(LOG_CATALOGS, log),
        Tables(OUTBOX, keys, lambda _, name: name in _OUTBOX),
        Tables(
            REST_OF_KEYS,
            keys,
            lambda schema, name: name not in _OUTBOX and not _migrations(schema, name),
        ),
        Tables(KEY_MIGRATIONS, keys, _migrations, needed=False),
        Catalogs(KEY_CATALOGS, keys),
        *_files(settings, endpoints),
        _blobs(settings.blobs),
        *_logs(settings),
        *_rest(settings),
        Topics(RECORDS, broker, records, read),
        Topics(OWN, broker, lambda: OWN_TOPICS),
    ]


def _migrations(schema: str, name: str) -> bool:
    return schema == "public" and name in _MIGRATIONS


def _files(settings: Settings, endpoints: Endpoints) -> Sequence[Place]:
    """List the files of both servers. Of a server that somebody else runs they are out of reach."""
    found: list[Place] = []
    # In the key database's files wrapped keys stay until the roots above them die; nowhere else are there any.
    for cluster, dsn, residue in (("log", endpoints.log_dsn, BOTH), ("key", endpoints.keys_dsn, VALUES)):
        log, files = f"write-ahead log of the {cluster} database", f"files of the {cluster} database"
        if settings.log_dsn is not None or settings.data is None:
            found += [Elsewhere(name, "the server is run by somebody else") for name in (log, files)]
        else:
            folder = settings.data / ("log" if cluster == "log" else "keys")
            # First the log: a checkpoint lets segments of it go.
            found += [WriteAheadLog(log, folder, residue), ClusterFiles(files, folder, dsn, residue)]
    return found


def _blobs(place: str | None) -> Place:
    if place is None:
        return Elsewhere(FILES, "no setting names a store")
    if place.startswith("s3://"):
        return Bucket(FILES, blob_store(place))
    return Folder(FILES, Path(place).expanduser())


def _rest(settings: Settings) -> Iterator[Place]:
    if settings.data is not None:
        yield Folder(REST_OF_DATA, settings.data, without=_places_in(settings, settings.data))
    for name, place in ((LEDGER, settings.ledger), (LEDGER_COPY, settings.ledger_copy)):
        if isinstance(place, Path):
            yield Folder(name, place)
        elif place is not None:
            yield Elsewhere(name, "it is in no folder")


def _places_in(settings: Settings, data: Path) -> set[str]:
    """Name the folders of the data folder that are places of their own; what an earlier setting left is none."""
    without = {"run"}
    if settings.log_dsn is None:
        without |= {"log", "keys"}
    blobs = settings.blobs
    if blobs and not blobs.startswith("s3://") and Path(blobs).expanduser().resolve() == (data / "blobs").resolve():
        without.add("blobs")
    return without


def _logs(settings: Settings) -> Sequence[Place]:
    ours: Place = (
        Elsewhere(SERVER_LOGS, "the servers are run by somebody else")
        if settings.data is None
        else Logs(SERVER_LOGS, [settings.data / "run"])
    )
    return ours, Logs(PROCESS_LOGS, settings.logs)
