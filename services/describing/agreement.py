"""The annexes of a processing agreement (Article 28): parties, description, measures, sub-processors."""

from __future__ import annotations

from typing import Any

from domain.processing import ACTIVITIES, People
from services.describing.markdown import bullets, joined, table
from services.describing.operator import Operator, lines, party
from services.describing.ropa import OPERATIONS, categories, measures, measures_markdown, sub_processors, transfers


def of(operator: Operator) -> dict[str, Any]:
    """Say what the annexes say, as data."""
    return {
        "parties": {
            "controller": party(operator.controller, "controller"),
            "processor": party(operator.processor, "processor"),
        },
        "description": {
            "people": [one.value for one in People],
            "personal_data": [
                {
                    "title": activity.title,
                    "categories": categories(activity),
                    "purposes": [purpose.aim for purpose in activity.purposes],
                    "kept": operator.kept(activity.retention),
                }
                for activity in ACTIVITIES
                if activity.people
            ],
            "operations": list(OPERATIONS),
        },
        "measures": measures(),
        "sub_processors": sub_processors(operator),
        "transfers": transfers(operator),
    }


def markdown(operator: Operator) -> str:
    """Write the annexes."""
    said = of(operator)
    description = said["description"]
    return joined(
        "# Annexes of a processing agreement",
        "A draft, made from what sealdesk does. What stands in square brackets is for the parties to say.",
        "## Annex I: parties",
        "Controller:",
        bullets(lines(said["parties"]["controller"])),
        "Processor:",
        bullets(lines(said["parties"]["processor"])),
        "## Annex II: description of the processing",
        "People:",
        bullets(description["people"]),
        "Personal data, purposes and duration:",
        table(
            ("of what", "categories", "purposes", "kept"),
            [
                (one["title"], ", ".join(one["categories"]), " ".join(one["purposes"]), one["kept"])
                for one in description["personal_data"]
            ],
        ),
        "Special categories (Article 9): no field is meant for them. Texts may hold what somebody wrote, sealed like"
        " everything else. [Further limits.]",
        "What is done:",
        bullets(description["operations"]),
        "Place of processing: [where the servers stand].",
        "At the end of the agreement: [return or erasure]. Shredding the people and things of a tenant makes it"
        " unreadable; SECURITY.md says which copies that does not reach.",
        "## Annex III: technical and organisational measures",
        *measures_markdown(),
        "## Annex IV: sub-processors",
        bullets(said["sub_processors"] or ["[none, or: name, service, country; sealdesk itself calls nobody]"]),
        "Transfers to third countries:",
        bullets(said["transfers"] or ["[none, or: country, recipient, safeguard; sealdesk itself makes none]"]),
    )
