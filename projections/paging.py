"""The runner: one page of facts, one transaction, compare-and-set on the position.

Rules: the head is read before the page, so that an empty end of the log moves the position too; ids on the
log have gaps, so no page expects the next number; of two runners on one read model one gives up, and
nothing is folded twice. The last page goes into all read models in one transaction, if they stand together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import date
from operator import attrgetter
from typing import Any, Protocol
from uuid import UUID

from psycopg import Connection, Cursor, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from domain.errors import PositionMoved, SchemaUnfit
from domain.fact import FactAtRest
from domain.subjects import TENANT_CLOSED
from projections import closed
from projections.statements import alone, statements

_SQL = statements("paging")

#: Facts a page. Beyond this the rate hardly grows, and the rows of a page are all in memory.
PAGE_SIZE = 2_000
#: Facts after which somebody looks whether tables have grown so much that they have to be analysed.
LOOKED_AT_AFTER = 1_000

#: Called after each page with (position, head).
Progress = Callable[[int, int], None]


class FactLog(Protocol):
    """Where facts are read from, in the order of their positions."""

    def head(self) -> int:
        """Return the highest position, 0 on an empty log."""
        ...

    def page(self, after: int, limit: int, types: Collection[str] | None = None) -> Sequence[FactAtRest]:
        """Return the first facts after a position, ascending, at most `limit`; if types are given, of these only."""
        ...


class ReadModel(Protocol):
    """A fold of the log into tables of its own. A module with these five names is one."""

    @property
    def name(self) -> str:
        """Name the model, and with it its schema."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """Name the types of facts that it folds. The others are not even read."""
        ...

    def create(self, cursor: Cursor[Any], /) -> None:
        """Create the tables in the current schema."""
        ...

    def fold_page(self, cursor: Cursor[Any], facts: Sequence[FactAtRest], /) -> None:
        """Fold a page of facts into the tables of the current schema, in a few statements."""
        ...

    def close(self, cursor: Cursor[Any], tenant: UUID, on: date, /) -> None:
        """Leave of a tenant that was closed on a day what can be counted. It may run twice."""
        ...


def catch_up(
    connection: Connection[Any],
    log: FactLog,
    model: ReadModel,
    *,
    page_size: int = PAGE_SIZE,
    progress: Progress | None = None,
    schema: str | None = None,
) -> int:
    """Fold all facts that the model has not seen, and return the position reached.

    The tables are created if there are none. `schema` is another one than the model's own during a rebuild.
    The connection should be in no transaction: each page commits its own.

    Raises:
        PositionMoved: another runner feeds this model. Nothing of the last page was kept.
    """
    schema = schema or model.name
    prepare(connection, model, schema=schema)
    reached, grown = _position(connection, schema), 0
    while True:
        head = log.head()
        facts = log.page(reached or 0, page_size, model.reads | {TENANT_CLOSED})
        is_full = len(facts) == page_size
        target = facts[-1].position if is_full else max(head, facts[-1].position if facts else 0, reached or 0)
        if target != reached:
            _fold(connection, model, facts, schema=schema, expected=reached, position=target)
            reached = target
        grown += len(facts)
        if grown >= LOOKED_AT_AFTER:
            _analyse(connection, schema)
            grown = 0
        if progress:
            progress(target, max(head, target))
        if not is_full:
            return target


def catch_up_together(
    connection: Connection[Any],
    log: FactLog,
    models: Sequence[ReadModel],
    *,
    page_size: int = PAGE_SIZE,
    progress: Progress | None = None,
) -> int | None:
    """Fold one page, the last one, into several read models in one transaction, and return the position reached.

    Behind a small append the models stand at one position, and most of them have nothing to fold: one look, one page
    and one commit do for all. None, and nothing was folded, where that cannot be: tables are missing, a model is
    elsewhere, or there is more than a page. Then `catch_up` brings each there by itself.

    Raises:
        PositionMoved: another runner feeds one of the models. Nothing of the page was kept.
    """
    # In one order, whatever the caller's: two runners that lock what the other needs would wait for ever.
    models = sorted(models, key=attrgetter("name"))
    reached = _one_position(connection, [model.name for model in models])
    if reached is None:
        return None
    head = log.head()
    facts = log.page(reached, page_size, frozenset({TENANT_CLOSED}).union(*(model.reads for model in models)))
    if len(facts) == page_size:
        return None
    target = max(head, facts[-1].position if facts else 0, reached)
    if target != reached:
        with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
            cursor.execute(_SQL["try_lock_pages"], {"models": [model.name for model in models]})
            if cursor.fetchone() != (True,):
                # Somebody waits to swap one: the others need not wait for that.
                return None
            _advance_all(cursor, [model.name for model in models], expected=reached, position=target)
            for model in models:
                if page := [fact for fact in facts if fact.type in model.reads or fact.type == TENANT_CLOSED]:
                    cursor.execute(_SQL["enter"], {"schema": model.name})
                    closed.fold(cursor, model, page)
    if progress:
        progress(target, max(head, target))
    return target


def _one_position(connection: Connection[Any], schemas: Sequence[str]) -> int | None:
    """Read the position at which all of these models stand; None if they do not, or one is not there yet."""
    positions = [sql.SQL("(SELECT position FROM {})").format(sql.Identifier(name, "position")) for name in schemas]
    with alone(connection), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_SQL["all_exist"], {"tables": [f"{name}.closed" for name in schemas]})
        if cursor.fetchone() != (True,):
            return None
        cursor.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(positions)))
        found = set(cursor.fetchone() or ())
    one = found.pop()
    return None if found or one is None else int(one)


def position(connection: Connection[Any], model: ReadModel) -> int:
    """Return the position up to which the model is folded, 0 if it was never fed."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        is_there = exists(cursor, model.name)
    return (_position(connection, model.name) or 0) if is_there else 0


def exists(cursor: Cursor[Any], schema: str) -> bool:
    """Tell whether a schema is there; the rows of the cursor are tuples."""
    cursor.execute(_SQL["exists"], {"schema": schema})
    return cursor.fetchone() == (True,)


def prepare(connection: Connection[Any], model: ReadModel, *, schema: str) -> None:
    """Create the schema and its tables, unless they are there.

    Raises:
        SchemaUnfit: they are those of an earlier version, whose rows held seals.
    """
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_SQL["lock_creation"], {"schema": schema})
        if exists(cursor, schema):
            cursor.execute(_SQL["is_former"], {"schema": schema})
            if cursor.fetchone() == (True,):
                raise SchemaUnfit(f"the read model {model.name} is of an earlier version; run: sealdesk rebuild all")
            closed.add_to(cursor, schema)
            return
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        cursor.execute(_SQL["enter"], {"schema": schema})
        cursor.execute(_SQL["create"])
        closed.create(cursor)
        model.create(cursor)


def _analyse(connection: Connection[Any], schema: str) -> None:
    """Let the planner know of tables that have grown manyfold since they were analysed, or never were.

    The server does that by itself a minute later: on a rebuild that is most of the time, each page of it planned for
    empty tables. Statistics hold values: of the columns that name people, the tables gather none. Whoever is at a table
    is not waited for.
    """
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        return
    with alone(connection), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_SQL["grown"], {"schema": schema})
        names = [sql.Identifier(schema, name) for (name,) in cursor.fetchall()]
        if names:
            cursor.execute(sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(sql.SQL(", ").join(names)))


def lock_swap(cursor: Cursor[Any], model: ReadModel) -> None:
    """Let no page of the model begin before this transaction ends, and wait for the one in flight."""
    cursor.execute(_SQL["lock_swap"], {"model": model.name})


def _position(connection: Connection[Any], schema: str) -> int | None:
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_SQL["enter"], {"schema": schema})
        cursor.execute(_SQL["read"])
        row = cursor.fetchone()
    return int(row[0]) if row else None


def _fold(
    connection: Connection[Any],
    model: ReadModel,
    facts: Sequence[FactAtRest],
    *,
    schema: str,
    expected: int | None,
    position: int,
) -> None:
    """Fold one page. The position moves first: a second runner waits there and finds that it is late."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        cursor.execute(_SQL["lock_page"], {"model": model.name})
        cursor.execute(_SQL["enter"], {"schema": schema})
        _advance(cursor, schema, expected=expected, position=position)
        if facts:
            closed.fold(cursor, model, facts)


def _advance_all(cursor: Cursor[Any], schemas: Sequence[str], *, expected: int, position: int) -> None:
    """Move the positions of some schemas in one statement.

    Each asks whether the one before it moved: that orders their locks, whatever the planner makes of the rest, and
    where one does not move, the last one does not either.
    """
    parts: list[sql.Composed] = []
    for before, schema in zip([None, *schemas], schemas, strict=False):
        moved = sql.SQL("EXISTS (SELECT FROM {})").format(sql.Identifier(before)) if before else sql.SQL("true")
        of = {"name": sql.Identifier(schema), "table": sql.Identifier(schema, "position"), "moved": moved}
        parts.append(sql.SQL(_SQL["advance_one"].decode()).format(**of))
    chain = sql.SQL("WITH {} SELECT EXISTS (SELECT FROM {})").format(
        sql.SQL(", ").join(parts), sql.Identifier(schemas[-1])
    )
    cursor.execute(chain, {"position": position, "expected": expected})
    if cursor.fetchone() != (True,):
        raise PositionMoved(f"one of {', '.join(schemas)} is not at {expected} any more: another runner feeds it")


def _advance(cursor: Cursor[Any], schema: str, *, expected: int | None, position: int) -> None:
    """Move the position of the schema that was entered."""
    if expected is None:
        cursor.execute(_SQL["begin"], {"position": position})
    else:
        cursor.execute(_SQL["advance"], {"position": position, "expected": expected})
    if cursor.rowcount != 1:
        raise PositionMoved(f"{schema} is not at {expected} any more: another runner feeds it")
