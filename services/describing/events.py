"""The catalogue of record types, as data and as a document."""

from __future__ import annotations

from typing import Any

from domain.catalogue import CATALOGUE, INTERNAL
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED, TENANT_CLOSED
from services.describing.fields import COMMON, Becoming, becomings
from services.describing.lifetimes import BELONGING, short, whose
from services.describing.markdown import GENERATED, joined, table
from services.describing.schemas import PUBLISHED, file_of, schema_of


def events() -> list[dict[str, Any]]:
    """Describe every type of the catalogue, in its order. What only sealdesk appends has no schema."""
    return [_event(type_) for type_ in CATALOGUE]


def _event(type_: str) -> dict[str, Any]:
    record = CATALOGUE[type_].record
    return {
        "type": type_,
        "thing": record.THING,
        "doc": doc_of(type_),
        "opens": record.OPENS,
        "effect": record.EFFECT,
        "whose": whose(record),
        "team": record.TEAM,
        "file": record.BLOB,
        "published": type_ not in INTERNAL,
        "fields": [field.as_dict() for field in becomings(type_)],
        "schema": schema_of(type_) if type_ in PUBLISHED else None,
    }


def doc_of(type_: str) -> str:
    """Say on one line what a type means."""
    return " ".join((CATALOGUE[type_].record.__doc__ or "").split())


def rows() -> list[tuple[str, str, str, str, str]]:
    """List the types for a table: type, opens, effect, whose, meaning."""
    return [
        (
            short(type_),
            "yes" if plan.record.OPENS else "",
            plan.record.EFFECT or "",
            BELONGING[whose(plan.record)].words.partition(";")[0],
            doc_of(type_),
        )
        for type_, plan in CATALOGUE.items()
    ]


def markdown() -> str:
    """Write `docs/events.md`."""
    common = {field.name: field for field in becomings(PUBLISHED[0])}
    return joined(
        "# Record types",
        GENERATED,
        "What a publisher may send, as a [CloudEvent](asyncapi.json) of type `sealdesk.THING.HAPPENED.v1`. Each has a"
        " JSON Schema in [events](events/record.schema.json). How types change is said in"
        " [schema evolution](schema-evolution.md); `sealdesk check FILE` tries records.",
        "An update leaves what is absent and clears what is null. *Opens* says that the record may be the first of its"
        " thing. *Rewrites* says that older texts can never be read again, and *ends* that nothing of it can.",
        "Every type has these fields:",
        table(("field", "what becomes of it"), [(f"`{name}`", common[name].words) for name in COMMON]),
        "## All of them",
        table(
            ("type", "opens", "effect", "whose", "meaning"),
            [(f"[{name}](#{_anchor(name)})", opens, effect, who, doc) for name, opens, effect, who, doc in rows()],
        ),
        *(block for type_ in CATALOGUE for block in _section(type_)),
        "## What sealdesk alone appends",
        "`" + "`, `".join(sorted({short(type_) for type_ in INTERNAL})) + "`: a publisher that sends one is refused. "
        f"`{short(SUBJECT_SHREDDED)}` and `{short(CONTENT_SHREDDED)}` tell a shred: inside ids, a ground and a"
        f" number of the ledger, and no seal. `{short(TENANT_CLOSED)}` says the same of everything of a tenant.",
    )


def _anchor(name: str) -> str:
    return name.replace(".", "")


def _section(type_: str) -> list[list[str] | str]:
    record = CATALOGUE[type_].record
    said = [f"About: {record.THING}. Whose: {BELONGING[whose(record)].words}."]
    if record.OPENS:
        said.append("It may be the first of its thing.")
    if record.EFFECT is not None:
        said.append(f"It {record.EFFECT} what stood there.")
    if record.BLOB:
        said.append("A file may come along, under a key of its own.")
    if type_ in PUBLISHED:
        said.append(f"[Schema](events/{file_of(type_)}).")
    else:
        said.append("Only sealdesk appends it.")
    own = [field for field in becomings(type_) if field.name not in COMMON]
    fields = table(("field", "category", "what becomes of it"), map(_row, own)) if own else []
    return [f"### {short(type_)}", doc_of(type_), " ".join(said), fields]


def _row(field: Becoming) -> tuple[str, str, str]:
    return f"`{field.name}`{' (required)' if field.required else ''}", field.category or "", field.words
