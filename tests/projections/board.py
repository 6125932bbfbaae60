"""A helpdesk with forums, articles, companies and groups, written by name, and the read models that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import ModuleType
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from domain.catalogue import CATALOGUE
from domain.fact import FactAtRest
from projections import articles, companies, forums, groups, things
from projections.paging import catch_up
from projections.things import AttachmentRow, ThingRow
from tests.projections.desk import NOON, TENANT, Desk, Dump, ListedLog, part, subject, thing

MODELS: tuple[ModuleType, ...] = (forums, articles, companies, groups)
#: Whose a thing is when it is nobody's.
DESK = "the desk"


class Board(Desk):
    """It knows whose a thing is, as intake would."""

    def __init__(self) -> None:
        super().__init__()
        self.owner_of: dict[str, str] = {}

    def post(
        self,
        type_: str,
        name: str,
        *sealed: str,
        author: str | None = None,
        by: str = "contact",
        parent: str | None = None,
        at: datetime = NOON,
        **clear: Any,
    ) -> FactAtRest:
        """Open a thing, or say something of it. Who opened it as a contact owns it, whoever opens it once more."""
        if author is not None:
            clear = {"author": subject(author).hex, "by": by, **clear}
            self.owner_of.setdefault(name, author if by == "contact" else DESK)
        if parent is not None:
            clear = {"parent": thing(parent).hex, **clear}
        owner = subject(self.whom(self.owner_of.get(name, DESK)))
        return self.put(type_, thing(name), clear, owners=[owner], sealed=sealed, at=at)

    def topic(self, name: str, author: str, *, by: str = "contact", parent: str = "forum", **clear: Any) -> FactAtRest:
        return self.post("topic.posted", name, "title", "message", author=author, by=by, parent=parent, **clear)

    def comment(self, name: str, author: str, topic: str, *, by: str = "contact", **clear: Any) -> FactAtRest:
        return self.post("comment.posted", name, "body", author=author, by=by, parent=topic, **clear)

    def attach(self, name: str, file: str, kind: str = "topic") -> FactAtRest:
        return self.post(f"{kind}.attachment_added", name, "id", "name", part=part(file).hex, inline=False)

    def group(self, name: str, members: Sequence[str], type_: str = "group.created") -> FactAtRest:
        return self.post(type_, name, "name", members=[subject(member).hex for member in members])


class BoardModels:
    """The four read models in one database."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def follow(self, log: ListedLog, page_size: int = 2000) -> None:
        for model in MODELS:
            catch_up(self.connection, log, model, page_size=page_size)  # type: ignore[arg-type]

    def begin_again(self) -> None:
        with self.connection.transaction(), self.connection.cursor(row_factory=tuple_row) as cursor:
            for schema, table in self._tables(cursor):
                cursor.execute(SQL("DELETE FROM {}").format(Identifier(schema, table)))

    def _tables(self, cursor: psycopg.Cursor[Any]) -> list[tuple[str, str]]:
        cursor.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s) ORDER BY 1, 2",
            ([model.name for model in MODELS],),
        )
        return cursor.fetchall()

    def dump(self) -> Dump:
        """Read every row of every table of every model."""
        found: Dump = {}
        with self.connection.transaction(), self.connection.cursor(row_factory=tuple_row) as cursor:
            for schema, table in self._tables(cursor):
                cursor.execute(SQL("SELECT * FROM {}").format(Identifier(schema, table)))
                columns = [column.name for column in cursor.description or ()]
                rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
                found[f"{schema}.{table}"] = sorted(rows, key=repr)
        return found

    def row(self, name: str) -> ThingRow:
        (row,) = [row for model in MODELS for row in model.rows(self.connection, TENANT, all=True, thing=thing(name))]
        return row

    def listed(self, model: ModuleType = forums, **choice: Any) -> list[ThingRow]:
        return list(model.rows(self.connection, TENANT, **choice))

    def attachments(self, name: str, model: ModuleType = forums) -> list[AttachmentRow]:
        return things.attachments(self.connection, model.name, TENANT, [thing(name)])[thing(name)]


def kinds() -> frozenset[str]:
    """Name every kind of thing that one of these models keeps."""
    return frozenset(kind for model in MODELS for kind in model.KINDS)


def types_of(kind: str) -> list[str]:
    """Name every type of fact about a kind of thing."""
    return [name for name, plan in CATALOGUE.items() if kind == plan.record.THING]
