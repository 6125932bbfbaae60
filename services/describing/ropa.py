"""The records of processing activities: Article 30(1) for a controller, 30(2) for a processor."""

from __future__ import annotations

from typing import Any

from domain.processing import ACTIVITIES, HOUSE, Activity, People, Purpose
from services.describing import flow
from services.describing.fields import becomings
from services.describing.markdown import GENERATED, bullets, joined, table
from services.describing.measures import LIMITS, MEASURES, OPERATORS
from services.describing.operator import Operator, lines, party, place


def of_controller(operator: Operator) -> dict[str, Any]:
    """Record what a controller does with sealdesk (Article 30(1))."""
    return {
        "article": "30(1)",
        "controller": party(operator.controller, "controller"),
        "joint_controllers": [party(one, "joint controller") for one in operator.joint_controllers],
        "activities": [_activity(activity, operator) for activity in ACTIVITIES if activity.people],
        "house": _house(operator),
        "data_subjects": [one.value for one in People],
        "recipients": [f"{one.name}: {one.why}" for one in operator.recipients],
        "processors": [operator.processor.name] if operator.processor is not None else [],
        "transfers": transfers(operator),
        "measures": measures(),
    }


def of_processor(operator: Operator) -> dict[str, Any]:
    """Record what a processor does on behalf of controllers (Article 30(2))."""
    served = operator.controllers or ((operator.controller,) if operator.controller is not None else ())
    return {
        "article": "30(2)",
        "processor": party(operator.processor, "processor"),
        "sub_processors": sub_processors(operator),
        "controllers": [party(one, "controller") for one in served] or [party(None, "controller")],
        "categories": [
            {
                "title": activity.title,
                "people": [one.short for one in activity.people],
                "personal_data": categories(activity),
            }
            for activity in ACTIVITIES
            if activity.people
        ],
        "operations": list(OPERATIONS),
        "transfers": transfers(operator),
        "measures": measures(),
    }


#: What is done with all of it, in the words of Article 4(2).
OPERATIONS: tuple[str, ...] = (
    "taking records in, sealing and storing them",
    "folding them into lists and counts without opening a seal",
    "showing fields to those who reveal them, for a reason",
    "erasing by the destruction of keys, and signing an account of it",
)


def purpose_of(purpose: Purpose, operator: Operator) -> dict[str, Any]:
    """Describe a purpose, with the controller's legal basis."""
    actual = operator.purpose(purpose)
    return {
        "code": actual.code,
        "aim": actual.aim,
        "legal_basis": f"6(1)({actual.basis})",
        "interest": actual.interest or None,
    }


def categories(activity: Activity) -> list[str]:
    """Name the categories of personal data in an activity."""
    found = {field.category for record in activity.records for field in becomings(record.TYPE) if field.category}
    return sorted(found)


def _activity(activity: Activity, operator: Operator) -> dict[str, Any]:
    return {
        "code": activity.code,
        "title": activity.title,
        "purposes": [purpose_of(purpose, operator) for purpose in activity.purposes],
        "people": [one.short for one in activity.people],
        "personal_data": categories(activity),
        "sources": [one.value for one in activity.sources],
        "recipients": [one.value for one in activity.recipients],
        "erasure": operator.kept(activity.retention),
    }


def _house(operator: Operator) -> list[dict[str, Any]]:
    return [
        {
            "what": kept.what,
            "holds": kept.holds,
            "purpose": purpose_of(kept.purpose, operator),
            "erasure": kept.gone_when,
        }
        for kept in HOUSE
    ]


def transfers(operator: Operator) -> list[str]:
    """List transfers to third countries. sealdesk makes none by itself."""
    return [f"{one.country}, to {one.recipient}: {one.safeguard}" for one in operator.transfers]


def sub_processors(operator: Operator) -> list[str]:
    """List who works for the processor. sealdesk calls nobody by itself."""
    return [f"{one.name}, {one.service}, {place(one.country, 'country')}" for one in operator.sub_processors]


def measures() -> list[dict[str, str]]:
    """List the measures of Article 32."""
    return [{"goal": one.goal, "what": one.what, "shown_by": one.shown_by} for one in MEASURES]


def measures_markdown() -> list[list[str] | str]:
    """Write the measures, what they do not reach, and what is the operator's to say."""
    return [
        table(("goal", "measure", "shown by"), [(one.goal, one.what, f"`{one.shown_by}`") for one in MEASURES]),
        "They do not reach:",
        bullets(LIMITS),
        "The operator adds:",
        bullets(f"{one} [what is done]" for one in OPERATORS),
    ]


def _said(listed: list[str], nothing: str) -> list[str]:
    return bullets(listed or [nothing])


def controller_markdown(operator: Operator) -> str:
    """Write the record of a controller."""
    record = of_controller(operator)
    joint = [line for one in record["joint_controllers"] for line in lines(one)]
    return joined(
        "# Records of processing: the controller, Article 30(1)",
        "## Controller",
        bullets(lines(record["controller"])),
        *(["Joint controllers:", bullets(joint)] if joint else []),
        "## Activities",
        "Whom it is about:",
        bullets(record["data_subjects"]),
        table(
            ("activity", "purposes and legal basis", "people", "personal data", "recipients", "erased"),
            [
                (
                    one["title"],
                    " ".join(f"{purpose['aim']} ({purpose['legal_basis']})" for purpose in one["purposes"]),
                    "; ".join(one["people"]),
                    ", ".join(one["personal_data"]),
                    "; ".join(one["recipients"]),
                    one["erasure"],
                )
                for one in record["activities"]
            ],
        ),
        "Beside these, for the rights of people and for its own work:",
        table(
            ("what", "holds", "purpose and legal basis", "erased"),
            [
                (
                    one["what"],
                    one["holds"],
                    f"{one['purpose']['aim']} ({one['purpose']['legal_basis']})",
                    one["erasure"],
                )
                for one in record["house"]
            ],
        ),
        "## Other recipients and processors",
        _said(
            [*record["recipients"], *(f"{name}: processor" for name in record["processors"])],
            "[recipients and processors of the controller; sealdesk itself sends nothing to anybody]",
        ),
        "## Transfers to third countries",
        _said(record["transfers"], "[none, or: country, recipient, safeguard; sealdesk itself makes none]"),
        "## Technical and organisational measures",
        *measures_markdown(),
    )


def processor_markdown(operator: Operator) -> str:
    """Write the record of a processor."""
    record = of_processor(operator)
    return joined(
        "# Records of processing: the processor, Article 30(2)",
        "## Processor",
        bullets(lines(record["processor"])),
        "## On behalf of",
        *(bullets(lines(one)) for one in record["controllers"]),
        "## Categories of processing",
        bullets(record["operations"]),
        table(
            ("of what", "people", "personal data"),
            [(one["title"], "; ".join(one["people"]), ", ".join(one["personal_data"])) for one in record["categories"]],
        ),
        "## Sub-processors",
        _said(record["sub_processors"], "[none, or: name, service, country; sealdesk itself calls nobody]"),
        "## Transfers to third countries",
        _said(record["transfers"], "[none, or: country, recipient, safeguard; sealdesk itself makes none]"),
        "## Technical and organisational measures",
        *measures_markdown(),
    )


def markdown(operator: Operator) -> str:
    """Write `docs/ropa.md`: both records and the drawing, with a place for whatever only the operator knows."""
    both = [_deeper(controller_markdown(operator)), _deeper(processor_markdown(operator))]
    return joined(
        "# Records of processing activities",
        GENERATED,
        "What stands in square brackets is the operator's to say: `sealdesk ropa --controller FILE.toml` puts it there."
        " [examples/controller.toml](../examples/controller.toml) is such a file. Legal bases are defaults, which the"
        " controller changes in the same file.",
        *both,
        "## How data flows",
        flow.mermaid(),
    )


def _deeper(text: str) -> str:
    """Put the headings of a text one level down."""
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in text.splitlines())
