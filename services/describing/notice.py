"""What people are told about what is done with their data (Articles 13 and 14), as a text to be completed."""

from __future__ import annotations

from typing import Any

from domain.processing import ACTIVITIES, PURPOSES, Activity, Basis, Purpose
from services.describing.markdown import bullets, joined, table
from services.describing.operator import Operator, lines, party, place
from services.describing.ropa import categories, transfers

#: The rights of Articles 15 to 22, and the one that consent brings.
RIGHTS: tuple[str, ...] = (
    "to learn what is kept about you, and to get a copy (Article 15)",
    "to have what is wrong put right (Article 16)",
    "to be forgotten: the key is destroyed, and nobody can read it again (Article 17)",
    "to have processing restricted (Article 18)",
    "to get what you gave us in a form that machines read (Article 20)",
    "to object to what is done for a legitimate interest (Article 21)",
)


def of(operator: Operator) -> dict[str, Any]:
    """Say what the notice says, as data."""
    purposes = [operator.purpose(purpose) for purpose in _purposes()]
    return {
        "controller": party(operator.controller, "controller"),
        "purposes": [_purpose(purpose) for purpose in purposes],
        "data": [_kept(activity, operator) for activity in ACTIVITIES if activity.people],
        "recipients": [f"{one.name}: {one.why}" for one in operator.recipients],
        "transfers": transfers(operator),
        "rights": [*RIGHTS, *_withdrawal(purposes)],
        "authority": place(None if operator.authority is None else operator.authority.name, "supervisory authority"),
        "automated_decisions": False,
    }


def _purposes() -> list[Purpose]:
    """List the purposes for which something of people is kept."""
    used = {purpose.code for activity in ACTIVITIES if activity.people for purpose in activity.purposes}
    return [purpose for code, purpose in PURPOSES.items() if code in used]


def _purpose(purpose: Purpose) -> dict[str, Any]:
    return {"aim": purpose.aim, "legal_basis": f"6(1)({purpose.basis})", "interest": purpose.interest or None}


def _kept(activity: Activity, operator: Operator) -> dict[str, Any]:
    return {
        "title": activity.title,
        "personal_data": categories(activity),
        "sources": [one.value for one in activity.sources],
        "kept": operator.kept(activity.retention),
    }


def _withdrawal(purposes: list[Purpose]) -> list[str]:
    if not any(purpose.basis is Basis.CONSENT for purpose in purposes):
        return []
    return ["to take a consent back at any time; what was done until then stays lawful (Article 7(3))"]


def markdown(operator: Operator) -> str:
    """Write the notice."""
    said = of(operator)
    return joined(
        "# How we treat your data",
        "This is a draft, made from what sealdesk does. What stands in square brackets is the controller's to say,"
        " and so is whether the legal bases are right.",
        "## Who is responsible",
        bullets(lines(said["controller"])),
        "## What for, and on what legal basis",
        table(
            ("purpose", "legal basis (GDPR)", "our interest"),
            [(one["aim"], one["legal_basis"], one["interest"]) for one in said["purposes"]],
        ),
        "## What we keep, from whom, and how long",
        "What you write is kept unreadable without keys, and shown only to those who have a reason. Names of other"
        " people in a text are kept with that text.",
        table(
            ("what", "kinds of data", "known from", "kept"),
            [
                (one["title"], ", ".join(one["personal_data"]), ", ".join(one["sources"]), one["kept"])
                for one in said["data"]
            ],
        ),
        "After that, counts, times and words stay, which name nobody; and for some time a mark that keeps late records"
        " about you from coming in again.",
        "## Who gets to see it",
        bullets(
            ["people of our team, where they have a reason", *(said["recipients"] or ["[other recipients, or: none]"])]
        ),
        "## Outside the European Union",
        bullets(said["transfers"] or ["[none, or: country, recipient, safeguard and where to get a copy of it]"]),
        "## Your rights",
        bullets(f"You have the right {right}." for right in said["rights"]),
        f"You may also complain to a supervisory authority: {said['authority']}.",
        "## Whether you have to",
        "[Whether giving the data is required by law or for a contract, and what follows if you do not.]",
        "Nothing is decided about you by a machine alone.",
    )
