"""The log of facts, on the `eventsourcing` library.

Facts are appended in batches and never through `save()`. One append is one transaction: the advisory lock, versions,
deduplication, the insert, and whatever has to be true together with the facts (Kafka positions, quarantined records,
refusals). Position order is commit order, because every append takes the same lock first.

The library's own ways to append are overridden or closed here; `tests/contracts/test_library_contract.py` holds each
override against the version that is pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from typing import Any, cast
from uuid import UUID

import aiosql
import orjson
import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    Mapper,
    PersistenceError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore, PostgresFactory
from eventsourcing.utils import Environment, strtobool
from psycopg import Cursor
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg.sql import SQL, Literal

from crypto.keystore import AWAY, patient
from crypto.roles import LACKING, Role, as_role, refused
from crypto.sealing import fields_of
from domain.catalogue import KEPT
from domain.errors import LogUnavailable, NobodyCanAct, PositionMoved, RightMissing, SealBroken, SettingsWrong
from domain.fact import FactAtRest
from domain.ids import EventId, TenantId, ThingId
from domain.upcasting import upcast

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/log.sql").read_text(), "psycopg", mandatory_parameters=False
)

#: Where the library's recorder says (NOTIFY) that facts were appended: the name of the table.
CHANNEL = "facts_events"

#: A schema into which a role may not look is none for it, and neither are its tables.
LACKING_OR_HIDDEN = (LACKING, psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)

#: Page transactions and appends may wait for locks; the library's 5 s would cut them.
IDLE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Position:
    """How far a Kafka partition is stored: the next offset to read.

    `expected` is the one that its reader believes to be stored, and None where it believes that there is none. If
    something else is stored, somebody else has read there: then nothing is (`PositionMoved`). `leader_epoch` is the
    leader under which the last record was appended, as the broker counts leaders; -1 where it says none.
    """

    topic_id: UUID
    partition: int
    offset: int
    expected: int | None = None
    leader_epoch: int = -1


def store_positions(cursor: Cursor[DictRow], positions: Sequence[Position]) -> None:
    """Store how far Kafka partitions are read, in the transaction of the facts that they gave.

    Raises:
        PositionMoved: of one of them something else is stored than its reader expects. The transaction has to end.
    """
    stored = cursor.execute(
        STATEMENTS.store_positions.sql,
        {
            "topic_ids": [position.topic_id for position in positions],
            "partitions": [position.partition for position in positions],
            "offsets": [position.offset for position in positions],
            "expected": [position.expected for position in positions],
            "leader_epochs": [position.leader_epoch for position in positions],
        },
    ).fetchall()
    if len(stored) < len(positions):
        raise PositionMoved("somebody else has stored records of the same Kafka partition")


@dataclass(frozen=True, slots=True)
class SealedFact:
    """A fact on its way to the log: sealed, and without a position."""

    stream: ThingId
    tenant: TenantId
    event_id: EventId
    type: str
    record_digest: bytes
    ordinal: int
    occurred_at: datetime
    clear: Mapping[str, Any]
    owners: tuple[UUID, ...]
    seal: bytes | None = field(repr=False)


@dataclass(frozen=True)
class StoredFact(StoredEvent):
    """The library's stored event, with the further columns of a fact."""

    fact: SealedFact


class FactMapper(Mapper[UUID]):
    """Only encode: sealing happened before, with the keys of the whole batch."""

    def to_stored_event(self, domain_event: Any) -> StoredFact:
        """Encode the clear fields. The version is given by the database, under the lock."""
        fact = cast(SealedFact, domain_event)
        return StoredFact(fact.stream, 0, fact.type, orjson.dumps(fact.clear), fact)


class Unpipelined(psycopg.Connection[Any]):
    """A connection whose pipeline is none.

    psycopg's does not flush what did not fit into the socket: with a thousand statements both sides wait for ever.
    """

    @contextmanager
    def pipeline(self) -> Iterator[Any]:
        """Send each statement and wait for it."""
        yield self

    def sync(self) -> None:
        """Do nothing: whatever was sent is answered."""


class LogDatastore(PostgresDatastore):
    """The library's pool, on a whole DSN: its own factory drops `sslmode` and every other parameter.

    Every connection takes `role` while it is made; without one it is what the login of the DSN is.
    """

    def __init__(self, dsn: str, role: Role | None = None) -> None:
        super().__init__(
            "", "", "", "", "", pool_size=0, max_overflow=8, idle_in_transaction_session_timeout=IDLE_SECONDS
        )
        self.role = role
        self._plain = dsn
        self.pool.conninfo = as_role(patient(dsn), role)
        self.pool.connection_class = Unpipelined
        self.pool.kwargs = {"row_factory": dict_row}

    def __repr__(self) -> str:
        return "LogDatastore()"

    def as_role(self, role: Role | None) -> LogDatastore:
        """Give the same database to work in as another role, with a pool of its own that opens when it is needed."""
        sibling = LogDatastore(self._plain, role)
        # What the library has learned of the types of a database holds for every connection to it.
        sibling.psycopg_type_adapters = self.psycopg_type_adapters
        sibling.psycopg_python_types = self.psycopg_python_types
        return sibling


class LockedRecorder(PostgresApplicationRecorder):
    """The stock recorder with one advisory lock a table on every append.

    The table lock of the library would stop every writer while VACUUM or ANALYZE works.
    """

    def __init__(self, datastore: PostgresDatastore, *, events_table_name: str = "stored_events") -> None:
        if datastore.enable_db_functions:
            raise SettingsWrong("POSTGRES_ENABLE_DB_FUNCTIONS appends without a lock; leave it off")
        super().__init__(datastore, events_table_name=events_table_name)
        self.lock_table_statements = [
            SQL("SELECT pg_advisory_xact_lock(hashtextextended({0}, 0))").format(
                Literal(f"sealdesk/log/{events_table_name}")
            )
        ]
        self.sql_create_statements = [
            statement
            for statement in self.sql_create_statements
            if statement is not self.sql_create_pg_function_insert_events
        ]


class FactsRecorder(LockedRecorder):
    """Append and read facts, with statements of our own over the library's table layout."""

    def create_table(self) -> None:
        """Do nothing: `services.schema` creates the table, with the columns that only facts have."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Refuse: facts go through `append`, which says which of them were stored before."""
        raise NobodyCanAct("facts are appended in batches, through Facts.append")

    def append(
        self, stored: Sequence[StoredFact], beside: Callable[[Cursor[DictRow]], None] | None
    ) -> tuple[int, dict[tuple[bytes, int], int]]:
        """Store the facts that are not stored yet, with what `beside` does in the same transaction.

        Returns the head before this append, and the position of each new fact by (record digest, ordinal).
        """
        with (
            self.datastore.get_connection() as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            self._lock_table(cursor)
            head = self._head(cursor)
            positions: dict[tuple[bytes, int], int] = {}
            if stored:
                self._notify_channel(cursor)
                rows = cursor.execute(STATEMENTS.append.sql, _columns(stored)).fetchall()
                positions = {(bytes(row["record_digest"]), row["ordinal"]): row["notification_id"] for row in rows}
            if beside is not None:
                beside(cursor)
        return head, positions

    @staticmethod
    def _head(cursor: Cursor[DictRow]) -> int:
        row = cursor.execute(STATEMENTS.head.sql).fetchone()
        assert row is not None
        return int(row["head"])


def _columns(stored: Sequence[StoredFact]) -> dict[str, list[Any]]:
    facts = [event.fact for event in stored]
    return {
        "streams": [fact.stream for fact in facts],
        "topics": [fact.type for fact in facts],
        "states": [event.state for event in stored],
        "tenants": [fact.tenant for fact in facts],
        "event_ids": [fact.event_id for fact in facts],
        "digests": [fact.record_digest for fact in facts],
        "ordinals": [fact.ordinal for fact in facts],
        "occurred": [fact.occurred_at for fact in facts],
        "owners": ["{" + ",".join(str(owner) for owner in fact.owners) + "}" for fact in facts],
        "kept": [fact.type in KEPT for fact in facts],
        "seals": [fact.seal for fact in facts],
    }


class LogFactory(PostgresFactory):
    """Build recorders over one datastore that several applications share."""

    def __init__(self, env: Environment, datastore: PostgresDatastore) -> None:
        InfrastructureFactory.__init__(self, env)
        if strtobool(self.env.get(self.POSTGRES_ENABLE_DB_FUNCTIONS) or "no"):
            raise SettingsWrong("POSTGRES_ENABLE_DB_FUNCTIONS appends without a lock; leave it off")
        self.datastore = datastore

    def close(self) -> None:
        """Leave the datastore open: others share it, and an application that is collected must not close it."""


class Facts(Application[UUID]):
    """The log of facts."""

    name = "facts"

    def __init__(self, datastore: PostgresDatastore) -> None:
        self._datastore = datastore
        self._role = datastore.role if isinstance(datastore, LogDatastore) else None
        super().__init__()

    @property
    def role(self) -> Role | None:
        """Say as whom the database is used; None for the login itself."""
        return self._role

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """Share the datastore."""
        factory = LogFactory(env, self._datastore)
        factory.application_recorder_class = FactsRecorder
        return factory

    def construct_recorder(self) -> ApplicationRecorder:
        """Use the recorder of facts."""
        with translated(self._role):
            return FactsRecorder(self._datastore, events_table_name="facts_events")

    def construct_mapper(self) -> FactMapper:
        """Use the mapper that only encodes."""
        return FactMapper(transcoder=self.construct_transcoder())

    @property
    def _facts(self) -> FactsRecorder:
        return cast(FactsRecorder, self.recorder)

    def append(
        self, facts: Sequence[SealedFact], beside: Callable[[Cursor[DictRow]], None] | None = None
    ) -> tuple[int, dict[tuple[bytes, int], int]]:
        """Store the facts that are not stored yet, and whatever `beside` does, in one transaction.

        Returns the head before this append, and the position of each new fact by (record digest, ordinal): a fact
        that is missing there was stored before.

        Raises:
            LogUnavailable: the database cannot be reached; nothing, or everything, was stored. Appending again is safe.
        """
        with translated(self._role):
            return self._facts.append([self.mapper.to_stored_event(fact) for fact in facts], beside)  # type: ignore[arg-type, misc]

    @contextmanager
    def cursor(self) -> Iterator[Cursor[DictRow]]:
        """Open one transaction on the log database for what stands beside the facts."""
        with translated(self._role), self._datastore.get_connection() as connection, connection.transaction():
            yield connection.cursor(binary=True)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend one connection of the pool, in autocommit mode, whose rows are tuples."""
        with translated(self._role), self._datastore.get_connection() as lent:
            connection = cast("psycopg.Connection[Any]", lent)
            connection.row_factory = tuple_row
            try:
                yield connection
            finally:
                connection.row_factory = dict_row

    def own_connection(self) -> psycopg.Connection[Any]:
        """Open a connection outside the pool, in autocommit mode; whoever asks for it closes it."""
        with translated(self._role):
            return psycopg.connect(str(self._datastore.pool.conninfo), autocommit=True)

    def head(self) -> int:
        """Read the position of the newest fact, 0 on an empty log."""
        with translated(self._role), self._datastore.get_connection() as connection:
            return FactsRecorder._head(connection.cursor(binary=True))

    def page(self, after: int, limit: int, types: Collection[str] | None = None) -> list[FactAtRest]:
        """Read up to `limit` facts behind a position, in order."""
        if types is None:
            return self._read(STATEMENTS.page.sql, {"after": after, "limit": limit})
        return self._read(STATEMENTS.page_of.sql, {"after": after, "limit": limit, "types": sorted(types)})

    def page_for_keeping(self, after: int, limit: int) -> list[FactAtRest]:
        """Read up to `limit` facts behind a position that may call for key work."""
        return self._read(STATEMENTS.page_for_keeping.sql, {"after": after, "limit": limit})

    def stream(self, thing: ThingId) -> list[FactAtRest]:
        """Read all facts of one thing, in order of position."""
        return self._read(STATEMENTS.stream.sql, {"stream": thing})

    def streams(self, things: Sequence[UUID]) -> list[FactAtRest]:
        """Read all facts of some things, in order of position."""
        return self._read(STATEMENTS.streams.sql, {"things": list(things)})

    def seals(self, tenant: TenantId, positions: Sequence[int]) -> dict[int, bytes]:
        """Read the seals of some facts of a tenant, by position; a fact that has none is left out."""
        if not positions:
            return {}
        with self.connection() as connection, connection.cursor(binary=True) as cursor:
            return dict(cursor.execute(STATEMENTS.seals.sql, {"tenant": tenant, "positions": list(positions)}))

    def newest_sealed(self, things: Sequence[UUID]) -> list[FactAtRest]:
        """Read the newest fact that has a seal, of each of some things."""
        return self._read(STATEMENTS.newest_sealed.sql, {"things": list(things)})

    def stored_already(self, digests: Sequence[bytes]) -> set[bytes]:
        """Tell which of these record digests stand on the log."""
        with self.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.stored_already.sql, {"digests": list(digests)}).fetchall()
        return {bytes(row["record_digest"]) for row in rows}

    def without_facts(self, things: Sequence[UUID]) -> set[UUID]:
        """Tell which of these things have no fact on the log."""
        if not things:
            return set()
        with self.cursor() as cursor:
            return {row["thing"] for row in cursor.execute(STATEMENTS.without_facts.sql, {"things": list(things)})}

    def newest(self, things: Sequence[UUID]) -> dict[UUID, int]:
        """Read the position of the newest fact of each of these things; 0 where there is none."""
        if not things:
            return {}
        with self.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.newest.sql, {"things": list(things)}).fetchall()
        return {row["thing"]: row["position"] or 0 for row in rows}

    def issue_seen(self) -> int:
        """Read the highest issue number of the key database that an append has stored."""
        with self.cursor() as cursor:
            row = cursor.execute(STATEMENTS.issue_seen.sql).fetchone()
        assert row is not None
        return int(row["issue"])

    def accepted_up_to(self) -> int:
        """Read up to which position an operator has accepted that keys are lost; 0 if never."""
        with self.cursor() as cursor:
            row = cursor.execute(STATEMENTS.accepted_up_to.sql).fetchone()
        assert row is not None
        return int(row["position"])

    def line_seen(self) -> int:
        """Read up to which line of the ledger the log has been told of every shred."""
        with self.cursor() as cursor:
            row = cursor.execute(STATEMENTS.line_seen.sql).fetchone()
        assert row is not None
        return int(row["line"])

    def see_line(self, line: int) -> None:
        """Note up to which line of the ledger the log has been told of every shred."""
        with self.cursor() as cursor:
            cursor.execute(STATEMENTS.see_line.sql, {"line": line})

    def stored_positions(self, topic_id: UUID) -> dict[int, int]:
        """Read how far the partitions of a topic are stored: the next offset of each."""
        with self.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.stored_positions.sql, {"topic_id": topic_id}).fetchall()
        return {row["partition"]: row["next_offset"] for row in rows}

    def stored_epochs(self, topic_id: UUID) -> dict[int, int]:
        """Read under which leader the last record of each partition was appended, where the broker said so."""
        with self.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.stored_epochs.sql, {"topic_id": topic_id}).fetchall()
        return {row["partition"]: row["leader_epoch"] for row in rows}

    def heartbeats(self, topic_id: UUID) -> dict[int, int]:
        """Read the offset behind our last heartbeat in each partition of a topic that had one."""
        with self.cursor() as cursor:
            rows = cursor.execute(STATEMENTS.heartbeats.sql, {"topic_id": topic_id}).fetchall()
        return {row["partition"]: row["beaten_to"] for row in rows}

    def note_heartbeat(self, topic_id: UUID, partition: int, offset: int) -> None:
        """Note the offset behind a heartbeat, for every process that might send another."""
        with self.cursor() as cursor:
            given = {"topic_id": topic_id, "partition": partition, "offset": offset}
            cursor.execute(STATEMENTS.note_heartbeat.sql, given)

    def topics_read(self) -> set[UUID]:
        """Read the ids of all topics of which a position is stored."""
        with self.cursor() as cursor:
            return {row["topic_id"] for row in cursor.execute(STATEMENTS.topics_read.sql)}

    def _read(self, statement: str, parameters: Mapping[str, Any]) -> list[FactAtRest]:
        with translated(self._role), self._datastore.get_connection() as connection:
            cursor = connection.cursor(binary=True, row_factory=tuple_row)
            return [_fact(row) for row in cursor.execute(statement, parameters)]


def _fact(row: Sequence[Any]) -> FactAtRest:
    position, stream, version, tenant, event_id, topic, ordinal, occurred, recorded, state, owners, seal = row
    try:
        fields, broken = () if seal is None else fields_of(seal), False
    except SealBroken:
        # Whoever opens it finds out. It must not keep anybody from reading the others.
        fields, broken = (), True
    fact = FactAtRest(
        position,
        ThingId(stream),
        version,
        TenantId(tenant),
        EventId(event_id),
        topic,
        ordinal,
        occurred,
        recorded,
        orjson.loads(state),
        tuple(owners),
        fields,
        seal,
        broken,
    )
    return upcast(fact)


@contextmanager
def translated(role: Role | None = None) -> Iterator[None]:
    """Translate what the library and psycopg raise; neither message is passed on, since it may quote parameters."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, *AWAY):
        raise LogUnavailable("the log database cannot be reached") from None
    except LACKING_OR_HIDDEN:
        raise RightMissing(refused(role, "log")) from None
    except psycopg.Error as error:
        raise NobodyCanAct(f"the log database refused a statement ({error.sqlstate})") from None
    except PersistenceError as error:
        cause = error.__cause__
        state = getattr(cause, "sqlstate", None)
        if cause is None or isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError, *AWAY)):
            raise LogUnavailable("the log database cannot be reached") from None
        if isinstance(cause, LACKING_OR_HIDDEN):
            raise RightMissing(refused(role, "log")) from None
        raise NobodyCanAct(f"the log database refused a statement ({state})") from None
