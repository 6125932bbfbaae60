"""The map of the data: every field of every record type, with whose it is, what for, under which key, and until when.

A value that is put into somebody's profile (the address of a requester, a name in copy) is mapped as that profile is.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from domain.catalogue import CATALOGUE, PEOPLE
from domain.contacts import ContactMentioned
from domain.fact import Record
from domain.processing import ACTIVITIES, ACTIVITY, HOUSE, PURPOSES, RETENTIONS, Activity, People
from services.describing import flow
from services.describing.fields import COMMON, Becoming, becomings
from services.describing.lifetimes import BELONGING, ends, short, whose
from services.describing.markdown import GENERATED, bullets, joined, table


def entries() -> list[dict[str, Any]]:
    """Map every field of every type: those that hold something personal first say what of, the others say None."""
    return [_entry(type_, field) for type_ in CATALOGUE for field in becomings(type_)]


def _entry(type_: str, field: Becoming) -> dict[str, Any]:
    """Map one field. What goes to a profile is kept as `contact.mentioned` keeps it."""
    record = _kept_in(type_, field)
    activity = ACTIVITY[record.TYPE]
    entry: dict[str, Any] = {"type": type_, "thing": CATALOGUE[type_].record.THING, **field.as_dict()}
    if not field.is_personal:
        return entry | {"personal": False}
    purpose = activity.purpose_of(field.category) if field.category is not None else activity.purpose
    return entry | {
        "personal": True,
        "kept": _is_kept(field),
        "activity": activity.code,
        "whose": whose(record),
        "purpose": purpose.code,
        "legal_basis": f"6(1)({purpose.basis})",
        "retention": activity.retention,
        "key": BELONGING[whose(record)].key,
        "gone_when": [{"happening": end.happening, "of": end.of} for end in ends(record)],
        "shown": [shown.command for shown in activity.shown],
    }


def _kept_in(type_: str, field: Becoming) -> type[Record]:
    if field.profile is not None and CATALOGUE[type_].record.THING not in PEOPLE:
        return ContactMentioned
    return CATALOGUE[type_].record


def _is_kept(field: Becoming) -> bool:
    """Tell whether the value itself is kept, sealed, here or in a profile; else only an inside id or nothing is."""
    return field.sealed != "never" or field.profile is not None


def as_data() -> dict[str, Any]:
    """Write the map as data, with what its codes mean."""
    return {
        "purposes": {
            code: {"aim": purpose.aim, "legal_basis": f"6(1)({purpose.basis})", "interest": purpose.interest or None}
            for code, purpose in PURPOSES.items()
        },
        "retention": {code.value: words for code, words in RETENTIONS.items()},
        "whose": {code.value: {"words": one.words, "key": one.key} for code, one in BELONGING.items()},
        "activities": {
            activity.code: {
                "title": activity.title,
                "types": [record.TYPE for record in activity.records],
                "purposes": [purpose.code for purpose in activity.purposes],
                "people": [people.value for people in activity.people],
                "sources": [source.value for source in activity.sources],
                "recipients": [recipient.value for recipient in activity.recipients],
                "shown": [{"model": shown.model, "command": shown.command} for shown in activity.shown],
            }
            for activity in ACTIVITIES
        },
        "fields": entries(),
        "house": [
            {
                "what": kept.what,
                "holds": kept.holds,
                "key": kept.key,
                "purpose": kept.purpose.code,
                "gone_when": kept.gone_when,
            }
            for kept in HOUSE
        ],
    }


def markdown() -> str:
    """Write `docs/data-map.md`."""
    return joined(
        "# Data map",
        GENERATED,
        "Every field of every [record type](events.md): what becomes of it, whose it is, what it is kept for, under"
        " which key it hangs, and when it is gone. The same as data is in [data-map.json](data-map.json).",
        "A *sealed* field cannot be read without the keys above it; when one of them is destroyed, nobody can read it"
        " again. What stands *in the clear* are numbers, times, flags, inside ids and words of a vocabulary; they stay."
        " An inside id is random and names nobody once its person is shredded. Texts may hold anything that somebody"
        " wrote, special categories of Article 9 included; no field is meant for them.",
        "The legal basis is a default by Article 6(1) GDPR. It is the controller who decides; `sealdesk ropa"
        " --controller FILE.toml` puts another in its place.",
        "## How data flows",
        flow.mermaid(),
        "## Whom it is about",
        bullets(f"{one[0].upper()}{one[1:]}." for one in People),
        "## Purposes",
        table(
            ("purpose", "aim", "basis", "interest"),
            [(f"`{one.code}`", one.aim, f"6(1)({one.basis})", one.interest) for one in PURPOSES.values()],
        ),
        "## Retention",
        "No clock of sealdesk ends anything by itself. Upstream does, or an officer, or whoever runs"
        " `sealdesk purge run`: that ends what lay in the trash for as long as the tenant says. What ends is gone at"
        " once.",
        table(("class", "kept"), [(f"`{code}`", words) for code, words in RETENTIONS.items()]),
        "## Every type has",
        table(("field", "category", "what becomes of it"), [_field(one) for one in _common()]),
        *(block for activity in ACTIVITIES for block in _section(activity)),
        "## What sealdesk keeps beside the facts",
        table(
            ("what", "holds", "under which key", "purpose", "gone when"),
            [(kept.what, kept.holds, kept.key, f"`{kept.purpose.code}`", kept.gone_when) for kept in HOUSE],
        ),
    )


def _common() -> list[Becoming]:
    return [field for field in becomings(ContactMentioned.TYPE) if field.name in COMMON]


def _section(activity: Activity) -> list[list[str] | str]:
    """Write one activity: what holds for all of it, then its fields, each once for all types that have it alike."""
    return [
        f"## {activity.title}",
        bullets(
            [
                f"About: {', '.join(one.short for one in activity.people) or 'nobody'}.",
                f"Purpose: {_purposes(activity)}.",
                f"Retention: `{activity.retention}`.",
                f"Shown: {_shown(activity)}.",
                f"Known from: {', '.join(activity.sources)}.",
                *_files(activity),
            ]
        ),
        table(
            ("types", "whose", "key above the leaf", "gone when"),
            [
                (", ".join(f"`{short(record.TYPE)}`" for record in records), words, key, gone or "never")
                for (words, key, gone), records in _alike(activity).items()
            ],
        ),
        table(
            ("field", "category", "what becomes of it", "in"),
            [(*_field(field), ", ".join(f"`{name}`" for name in names)) for field, names in _fields(activity).items()],
        ),
    ]


def _purposes(activity: Activity) -> str:
    """Name the purposes: the main one, and for which categories of fields there is another."""
    said: list[str] = []
    for purpose in activity.purposes:
        of = sorted(category for category, other in activity.by_category.items() if other is purpose)
        where = f" for fields of {' and '.join(of)}" if of else ""
        said.append(f"`{purpose.code}`, 6(1)({purpose.basis}){where}")
    return "; ".join(said)


def _files(activity: Activity) -> list[str]:
    """Say with which types a file may come along."""
    types = ", ".join(f"`{short(record.TYPE)}`" for record in activity.records if record.BLOB)
    return [f"A file may come along with {types}, under a key of its own that goes with the fact's."] if types else []


def _shown(activity: Activity) -> str:
    shown = [f"read model {one.model}, `sealdesk {one.command}`" for one in activity.shown]
    return "; ".join(shown) or "in no read model; it stands on the log"


def _alike(activity: Activity) -> dict[tuple[str, str, str], list[type[Record]]]:
    """Put the types of an activity together that are somebody's, and gone, alike."""
    found: dict[tuple[str, str, str], list[type[Record]]] = defaultdict(list)
    for record in activity.records:
        belonging = BELONGING[whose(record)]
        gone = "; ".join(end.words for end in ends(record))
        found[belonging.words, belonging.key, gone].append(record)
    return found


def _fields(activity: Activity) -> dict[Becoming, list[str]]:
    found: dict[Becoming, list[str]] = defaultdict(list)
    for record in activity.records:
        for field in becomings(record.TYPE):
            if field.name not in COMMON:
                found[field].append(short(record.TYPE))
    return found


def _field(field: Becoming) -> tuple[str, str, str]:
    return f"`{field.name}`", field.category or "", field.words
