"""The map of a CSV file: which column is which field of which fact. One row makes several facts.

A map is a TOML file that an operator writes. It is checked as a whole before a row is read: fact types
and field names against the catalogue, column names against the header of the file. `csv_rows` carries it out;
`examples/support_tickets.toml` is one.

    tenant = "shop"                       the account, unless the command names one (optional)
    source = "/imports/shop"              the CloudEvents source of every fact
    timezone = "Europe/Berlin"            of dates that do not say theirs; UTC by default
    [id]            columns               what tells rows apart: fact n of a row is `<row id>/<n>`
    [dialect]       delimiter, encoding   "," and "utf-8" by default
    [formats]       COLUMN = FORMAT       how a column writes dates: "iso" or a strptime format
    [vocabularies]  VOCABULARY = [WORD]   words that may stand in the clear for this tenant
    [values.TABLE]  CELL = VALUE          what a cell means; the cell "*" stands for any other
    [[fact]]        type, time, subject   `subject` is a template: "ticket {Ticket ID}"
      when          filled, equal         columns that are not empty, columns that hold one of some values
      [fact.data]   FIELD = CELL          a field, or for `custom_fields` a table of them

A CELL is one of `column`, `template` and `constant`. A column may be read by a table (`values`), as a date
(`format`), as another type (`as`: integer, number, flag) or as a list (`split` at a separator). Cells are
trimmed, and an empty cell means that the field is absent.

Rule: a map belongs to the operator, so an error may name its keys and columns. A cell belongs to a person, so
no error repeats one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from domain.catalogue import CATALOGUE, INTERNAL, Plan
from domain.errors import SettingsWrong
from domain.fact import UNKNOWN
from domain.vocabularies import DECLARED, OTHER, WORD_CHARACTERS, declarable_name

#: Vocabulary -> the words that a tenant declares.
Vocabularies = dict[str, list[Annotated[str, Field(min_length=1, max_length=WORD_CHARACTERS)]]]

#: The key of a value table that stands for every cell the table does not list.
ANY = "*"
#: A place in a template: the name of a column in braces.
PLACE = re.compile(r"\{([^{}]*)\}")

_Model = TypeVar("_Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cell(_Strict):
    """Say where a value comes from and how it is read."""

    column: str | None = None
    template: str | None = None
    constant: str | int | float | bool | None = None
    values: str | None = None
    format: str | None = None
    kind: Literal["text", "integer", "number", "flag"] = Field(default="text", alias="as")
    split: Annotated[str, Field(min_length=1)] | None = None


def _shape(value: object) -> str:
    nested = isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values())
    return "table" if nested else "cell"


Target = Annotated[Annotated[Cell, Tag("cell")] | Annotated[dict[str, Cell], Tag("table")], Discriminator(_shape)]


class Condition(_Strict):
    """Say when a row makes this fact: every column filled, every column equal to (one of) its values."""

    filled: list[str] = []
    equal: dict[str, str | list[str]] = {}


class FactMap(_Strict):
    """Say how a row makes one fact."""

    type: str
    time: Cell
    subject: str | None = None
    when: Condition = Condition()
    data: dict[str, Target]


class RowId(_Strict):
    """Say which columns tell one row from all others."""

    columns: Annotated[list[str], Field(min_length=1)]


class Dialect(_Strict):
    """Say how the file is written."""

    delimiter: Annotated[str, Field(pattern=r'^[^"\r\n]$')] = ","
    encoding: str = "utf-8"


class CsvMap(_Strict):
    """A whole map, checked."""

    tenant: str | None = None
    source: Annotated[str, Field(min_length=1)]
    timezone: str = "UTC"
    id: RowId
    dialect: Dialect = Dialect()
    formats: dict[str, str] = {}
    vocabularies: Vocabularies = {}
    values: dict[str, dict[str, str | int | float | bool]] = {}
    fact: Annotated[list[FactMap], Field(min_length=1)]

    @property
    def columns(self) -> list[str]:
        """Name every column that this map reads, in the order of first use."""
        names = [*self.id.columns, *self.formats]
        for fact in self.fact:
            names += [*fact.when.filled, *fact.when.equal, *PLACE.findall(fact.subject or "")]
            names += [name for _, cell in _cells(fact) for name in _columns(cell)]
        return list(dict.fromkeys(names))

    def check_header(self, header: Sequence[str]) -> None:
        """Compare the map with the header of a file.

        Raises:
            SettingsWrong: a column of the map is not there, or is there twice.
        """
        missing = [name for name in self.columns if name not in header]
        if missing:
            raise SettingsWrong(
                f"The file has no column {_listed(missing)}. Check the spelling in the map, and [dialect]: "
                f"the delimiter here is {self.dialect.delimiter!r}."
            )
        if twice := [name for name in self.columns if header.count(name) > 1]:
            raise SettingsWrong(
                f"The file has more than one column {_listed(twice)}, and the map means one. Rename one."
            )


def read_map(path: Path) -> CsvMap:
    """Read and check a map.

    Raises:
        SettingsWrong: it cannot be read, or something in it does not fit; the message names the key.
    """
    table = _toml(path)
    found = _validated(CsvMap, table, path)
    for problem in _problems(found):
        raise SettingsWrong(f"{path}: {problem}")
    return found


def read_vocabularies(path: Path) -> Vocabularies:
    """Read the words that a tenant declares: the table [vocabularies] of a file, which may be a map.

    Raises:
        SettingsWrong: it cannot be read, or something in it does not fit; the message names the key.
    """

    class File(BaseModel):
        vocabularies: Vocabularies

    words = _validated(File, _toml(path), path).vocabularies
    for problem in _vocabulary_problems(words):
        raise SettingsWrong(f"{path}: {problem}")
    return words


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingsWrong(f"The file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise SettingsWrong(f"The file {path} is not written in UTF-8, as TOML must be.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsWrong(f"The file {path} is no TOML: {error}.") from error


def _validated(model: type[_Model], table: dict[str, Any], path: Path) -> _Model:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        # A misspelt key is told before the right one is said to be missing.
        first = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"] if part not in ("cell", "table"))
        raise SettingsWrong(f"{path}: {key}: {_said(first['type'], first['msg'])}") from None


def _said(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "a map knows no such key. Remove it, or check its spelling."
    if kind == "missing":
        return "this key is missing. Add it."
    return f"{message[:1].lower()}{message[1:]}."


def _problems(found: CsvMap) -> Iterable[str]:
    """Say what the catalogue, the vocabularies and the parts of the map have against each other."""
    yield from _vocabulary_problems(found.vocabularies)
    yield from (f"formats.{name}: {problem}" for name, form in found.formats.items() for problem in _bad_format(form))
    try:
        ZoneInfo(found.timezone)
    except (KeyError, OSError, ValueError):
        yield f'timezone: "{found.timezone}" is no time zone. Write it as in "Europe/Berlin" or "UTC".'
    try:
        "".encode(found.dialect.encoding)
    except LookupError:
        yield f'dialect.encoding: "{found.dialect.encoding}" is no encoding. Try "utf-8" or "cp1252".'
    for number, fact in enumerate(found.fact):
        plan = CATALOGUE.get(fact.type)
        if plan is None or fact.type in INTERNAL:
            known = sorted(name for name in CATALOGUE if name not in INTERNAL)
            yield f'fact.{number}.type: "{fact.type}" is no fact type. There are: {", ".join(known)}.'
            return
        yield from (f"fact.{number}.{problem}" for problem in _fact_problems(fact, plan, found))


def _vocabulary_problems(words: Vocabularies) -> Iterable[str]:
    for name in words:
        try:
            declarable_name(name)
        except ValueError:
            vocabularies = ", ".join(sorted(DECLARED))
            yield f"vocabularies.{name}: a tenant declares words for {vocabularies}, or for a custom field by its name."
        if OTHER in words[name]:
            yield f'vocabularies.{name}: "{OTHER}" already stands for every word not declared. Leave it out.'


def _fact_problems(fact: FactMap, plan: Plan, found: CsvMap) -> Iterable[str]:
    fields = plan.record.model_fields
    for name, target in fact.data.items():
        if name not in fields or name == UNKNOWN:
            close = ", ".join(sorted(field for field in fields if field != UNKNOWN))
            yield f"data.{name}: {fact.type} has no such field. It has: {close}."
        elif not isinstance(target, Cell) and "dict" not in str(fields[name].annotation):
            yield f"data.{name}: this field is no table of others. Say one column."
    for name, info in fields.items():
        if info.is_required() and name not in fact.data:
            yield f"data.{name}: {fact.type} needs this field. Add it."
    if fact.subject is None and not any(mark.role == "self" and name in fact.data for name, mark in plan.names):
        yield 'subject: nothing says what the fact is about. Add, for instance, subject = "ticket {COLUMN}".'
    for key, cell in _cells(fact):
        yield from (f"{key}: {problem}" for problem in _cell_problems(key, cell, found))


def _cell_problems(key: str, cell: Cell, found: CsvMap) -> Iterable[str]:
    given = [name for name in ("column", "template", "constant") if getattr(cell, name) is not None]
    if len(given) != 1:
        yield "say one of column, template and constant."
    if "column" not in given and (cell.values or cell.format or cell.split or cell.kind != "text"):
        yield "values, format, as and split go with a column."
    yield from _bad_format(cell.format or "iso")
    if cell.values is not None and cell.values not in found.values:
        yield f"there is no table [values.{cell.values}]. Add it, or check the spelling."
    if key == "time" and (cell.template or cell.values or cell.split or cell.kind != "text"):
        yield "a time is a column with a format, or a constant."
    if (cell.format is not None or cell.column in found.formats) and (cell.values or cell.split):
        yield "a column is read as a date, by a table or as a list: only one of them."


def _bad_format(form: str) -> Iterable[str]:
    example = datetime(2024, 12, 31, 23, 59, 58, tzinfo=UTC)
    try:
        if form != "iso":
            datetime.strptime(example.strftime(form), form)  # noqa: DTZ007
    except ValueError:
        yield f'"{form}" is no date format. Write "iso", or strptime\'s codes as in "%d.%m.%Y %H:%M".'


def _cells(fact: FactMap) -> Iterable[tuple[str, Cell]]:
    yield "time", fact.time
    for name, target in fact.data.items():
        if isinstance(target, Cell):
            yield f"data.{name}", target
        else:
            yield from ((f"data.{name}.{inner}", cell) for inner, cell in target.items())


def _columns(cell: Cell) -> list[str]:
    return [cell.column] if cell.column is not None else PLACE.findall(cell.template or "")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
