"""A JSON Schema (2020-12) for the `data` of each record type, and one for the CloudEvent around it.

They say the shape. What else a record has to be (addresses that can be, times that a helpdesk can mean, words that may
be declared) says `sealdesk check`, which reads records as intake does. Intake is a little more lenient than the
schemas: it also takes a number that is written as a text.

The schemas keep to what JSON Schema 2020-12 and draft 7 have in common, because AsyncAPI 3.0 embeds the latter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from domain.catalogue import CATALOGUE, INTERNAL, PEOPLE
from domain.fact import FIRST_YEAR, ID_CHARACTERS, LAST_YEAR, UNKNOWN, Record
from domain.personal import Kind
from domain.tickets import TicketRated, TicketTimeLogged
from services.describing.fields import Becoming, becomings
from services.describing.lifetimes import short

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: The longest source and id, and the longest subject, that `services.records` takes; a test compares them.
SOURCE_CHARACTERS = 1_000
SUBJECT_CHARACTERS = 400
#: The schema of a whole CloudEvent.
RECORD_FILE = "record.schema.json"

#: Other ways to say a required field, as Freshdesk's API does: the field, and what may stand in its place.
_INSTEAD: Mapping[type[Record], tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        TicketRated: ("rating", {"ratings": {"type": "object", "required": ["default_question"]}}),
        TicketTimeLogged: ("time_spent_in_seconds", {"time_spent": {"type": "string", "pattern": "^[0-9]+:[0-9]+$"}}),
    }
)

#: Types that a publisher may send, in the order of the catalogue.
PUBLISHED: tuple[str, ...] = tuple(type_ for type_ in CATALOGUE if type_ not in INTERNAL)


def file_of(type_: str) -> str:
    """Name the file of a type's schema."""
    return f"{type_.removeprefix('sealdesk.')}.schema.json"


def schema_of(type_: str) -> dict[str, Any]:
    """Write the schema of a type's `data`."""
    record = CATALOGUE[type_].record
    made = record.model_json_schema()
    properties = {
        one.name: _property(made["properties"][one.name], one) for one in becomings(type_) if one.name != UNKNOWN
    }
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "$id": file_of(type_),
        "title": type_,
        "description": f"{made['description']}\n\nWhat is not declared here is taken and sealed.",
        "type": "object",
        "properties": properties,
        "additionalProperties": True,
    }
    if required := made.get("required"):
        schema["required"] = required
    return _or_instead(schema, record)


def _property(made: Mapping[str, Any], field: Becoming) -> dict[str, Any]:
    """Write one property: what pydantic says of the type, and what becomes of the value."""
    kept = {name: value for name, value in made.items() if name not in ("title", "default", "description")}
    words = field.words
    if field.clear is not None and "date-time" in str(made):
        words += f", between the years {FIRST_YEAR} and {LAST_YEAR}"
    return {"description": f"{words[0].upper()}{words[1:]}.", **kept}


def _or_instead(schema: dict[str, Any], record: type[Record]) -> dict[str, Any]:
    if record not in _INSTEAD:
        return schema
    field, instead = _INSTEAD[record]
    schema["required"] = [name for name in schema["required"] if name != field]
    schema["anyOf"] = [
        {"required": [field]},
        *({"required": [name], "properties": {name: shape}} for name, shape in instead.items()),
    ]
    if not schema["required"]:
        del schema["required"]
    return schema


def attributes() -> dict[str, dict[str, Any]]:
    """Describe the attributes of the CloudEvent around a record, by name, without `type` and `data`."""
    things = [kind.value for kind in Kind if kind.is_thing]
    return {
        "specversion": {"description": "The version of CloudEvents.", "const": "1.0"},
        "source": _text("Where the record comes from. Source and id together name it.", SOURCE_CHARACTERS),
        "id": _text("The record's own id. The same source and id are stored once.", SOURCE_CHARACTERS),
        "time": {"description": "When it happened, with a time zone.", "type": "string", "format": "date-time"},
        "subject": _text(
            f"What it is about: {', '.join(sorted(PEOPLE))} or {', '.join(things)}, with upstream's id behind a blank, "
            "or an e-mail address. It may be left out if `data` says it.",
            SUBJECT_CHARACTERS,
        ),
        "tenant": _text("The helpdesk account. An extension of CloudEvents.", ID_CHARACTERS),
    }


#: Attributes that a record cannot do without. An import or a token can stand in for `tenant`.
MANDATORY = ("source", "id", "time")


def _text(description: str, characters: int) -> dict[str, Any]:
    return {"description": description, "type": "string", "minLength": 1, "maxLength": characters}


def record_schema() -> dict[str, Any]:
    """Write the schema of a whole record: a CloudEvent whose `data` fits the schema of its `type`."""
    return {"$schema": DIALECT, "$id": RECORD_FILE, "title": "A record for sealdesk", **envelope(file_of)}


def envelope(place_of: Callable[[str], str]) -> dict[str, Any]:
    """Describe a CloudEvent in JSON. `place_of` says where the schema of a type is."""
    types = [
        {
            "if": {"properties": {"type": {"const": type_}}, "required": ["type"]},
            "then": {"properties": {"data": {"$ref": place_of(type_)}}},
        }
        for type_ in PUBLISHED
    ]
    return {
        "description": "A CloudEvent 1.0 in JSON, with what happened in `data`.",
        "type": "object",
        "properties": {
            **attributes(),
            "type": {"description": "What happened.", "enum": list(PUBLISHED)},
            "data": {"description": "The record itself, with the field names of the Freshdesk API.", "type": "object"},
        },
        "required": ["type", *MANDATORY, "data"],
        "allOf": types,
    }


def all_schemas() -> dict[str, dict[str, Any]]:
    """Write every schema, by file name."""
    return {RECORD_FILE: record_schema(), **{file_of(type_): schema_of(type_) for type_ in PUBLISHED}}


def name_of(type_: str) -> str:
    """Name a type as messages do: without `sealdesk.`."""
    return f"{short(type_)}.{type_.rpartition('.')[2]}"
