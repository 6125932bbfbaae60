"""The channel of records as AsyncAPI 3.0: one message a type in CloudEvents' binary mode, one for the structured mode.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from typing import Any

from services.describing.events import doc_of
from services.describing.schemas import MANDATORY, PUBLISHED, attributes, envelope, name_of, schema_of
from services.kafka.topics import RECORDS
from services.publishing.sending import STRUCTURED_TYPE

#: Of what publishers rely on, not of sealdesk: the first number rises when a type goes, the second when one comes.
VERSION = "1.0.0"
_JSON = "application/json"
_BINDING = "0.5.0"
#: The one message that is not of one type.
STRUCTURED = "structured"


def document() -> dict[str, Any]:
    """Write the document."""
    names = [STRUCTURED, *map(name_of, PUBLISHED)]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "sealdesk",
            "version": VERSION,
            "description": "What happens in a helpdesk, published as CloudEvents 1.0. sealdesk takes each record once, "
            "seals what is personal in it, and keeps the rest beside the seal.",
        },
        "defaultContentType": _JSON,
        "channels": {
            "records": {
                "address": RECORDS,
                "title": "Records",
                "description": "Where publishers say what happened. Structured and binary mode may be mixed.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
                "bindings": {"kafka": {"topic": RECORDS, "bindingVersion": _BINDING}},
            }
        },
        "operations": {
            "takeRecords": {
                "action": "receive",
                "channel": {"$ref": "#/channels/records"},
                "summary": "Take records, each once.",
            }
        },
        "components": {
            "messages": {STRUCTURED: _structured(), **{name_of(type_): _message(type_) for type_ in PUBLISHED}},
            "messageTraits": {"cloudevent": _trait()},
            "schemas": {name_of(type_): _payload(type_) for type_ in PUBLISHED},
        },
    }


def _payload(type_: str) -> dict[str, Any]:
    schema = schema_of(type_)
    return {name: value for name, value in schema.items() if name not in ("$schema", "$id")}


def _place(type_: str) -> str:
    return f"#/components/schemas/{name_of(type_)}"


def _message(type_: str) -> dict[str, Any]:
    """Describe a type in binary mode: attributes in headers, `data` as the value."""
    return {
        "name": type_,
        "title": name_of(type_),
        "summary": doc_of(type_),
        "contentType": _JSON,
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "headers": {
            "type": "object",
            "properties": {"ce_type": {"description": "What happened.", "type": "string", "const": type_}},
        },
        "payload": {"$ref": _place(type_)},
    }


def _trait() -> dict[str, Any]:
    """Describe the headers that every record in binary mode has."""
    headers = {f"ce_{name}": {"type": "string", **shape} for name, shape in attributes().items()}
    mandatory = ["ce_specversion", "ce_type", *(f"ce_{name}" for name in MANDATORY)]
    return {
        "headers": {"type": "object", "properties": headers, "required": mandatory},
        "bindings": {"kafka": _key()},
    }


def _structured() -> dict[str, Any]:
    """Describe a record in structured mode: the whole CloudEvent as the value."""
    return {
        "name": STRUCTURED,
        "title": "Any record, in structured mode",
        "summary": "The whole CloudEvent in JSON; its type says which schema its data fits.",
        "contentType": STRUCTURED_TYPE,
        "headers": {
            "type": "object",
            "properties": {"content-type": {"type": "string", "const": STRUCTURED_TYPE}},
            "required": ["content-type"],
        },
        "payload": envelope(_place),
        "bindings": {"kafka": _key()},
    }


def _key() -> dict[str, Any]:
    return {
        "key": {
            "type": "string",
            "description": "Tenant and what the record is about, so that the records of one thing keep their order.",
        },
        "bindingVersion": _BINDING,
    }
