"""What becomes of each field of a record type: in data, and in one line of words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from domain.catalogue import CATALOGUE, PEOPLE, Plan, marks_of
from domain.fact import UNKNOWN
from domain.personal import OWN_ROLES, Category, Clear, Declares, Kind, Mark, Names, Personal, ProfileOf, Word
from domain.processing import category_of
from domain.vocabularies import CLOSED, DECLARED

#: The clear field that an inside id takes, by the role of the reference.
_INSIDE: Mapping[str, str] = MappingProxyType(
    {
        "part": "part",
        "within": "within",
        "parent": "parent",
        "requester": "requester",
        "author": "author",
        "responder": "responder",
        "copied": "copied",
        "member": "members",
        "voter": "voter",
        "named": "named",
        "secondary": "secondary",
    }
)
#: Roles of people who are not the one the record is about. What names them goes to their own profile.
OTHERS = frozenset({"requester", "author", "responder", "copied", "member", "voter", "named"})

#: Fields of every type.
COMMON = ("created_at", "updated_at", UNKNOWN)


@dataclass(frozen=True, slots=True)
class Becoming:
    """What becomes of one field.

    `sealed` says whether its value stands in the seal of the fact: always, never, or only if it is no word (`other`).
    `clear` is the clear field that it becomes, if any, and `profile` the person to whose profile the value goes.
    `category` is None for a field that holds nothing personal by itself: a number, a time, a flag, a declared word.
    """

    name: str
    mark: str
    category: Category | None
    sealed: str
    clear: str | None
    profile: str | None
    kind: Kind | None
    role: str | None
    vocabulary: str | None
    required: bool
    words: str

    @property
    def is_personal(self) -> bool:
        """Tell whether the value itself is personal data. An inside id in its place is pseudonymous."""
        return self.category is not None

    def as_dict(self) -> dict[str, object]:
        """Give what a program may want to know of the field."""
        return {
            "name": self.name,
            "mark": self.mark,
            "category": self.category,
            "kind": self.kind,
            "role": self.role,
            "vocabulary": self.vocabulary,
            "required": self.required,
            "sealed": self.sealed,
            "clear": self.clear,
            "profile": self.profile,
        }


def becomings(type_: str) -> tuple[Becoming, ...]:
    """Say what becomes of every field of a type: its own in order of declaration, then those of every type."""
    plan = CATALOGUE[type_]
    marks = marks_of(plan.record)
    names = [name for name in marks if name not in COMMON]
    return tuple(_becoming(plan, name, marks[name]) for name in (*names, *COMMON))


def _becoming(plan: Plan, name: str, mark: Mark) -> Becoming:
    required = plan.record.model_fields[name].is_required()
    category: Category | None = None
    sealed, clear, profile = "never", None, None
    kind, role, vocabulary = None, None, None
    match mark:
        case Personal():
            category, sealed = mark.category, "always"
            words = "sealed" if name != UNKNOWN else "sealed, with whatever else the record holds"
        case Clear():
            clear, words = name, f"a {mark.what} in the clear"
        case Word():
            category, sealed, clear, vocabulary = Category.CIRCUMSTANCES, "other", mark.stored_as, mark.vocabulary
            words = f"a word in the clear ({words_of(vocabulary)}); anything else is sealed and counts as `other`"
        case Names():
            kind, role = mark.kind, mark.role
            category = category_of(kind)
            clear = _inside(plan, role)
            sealed = "always" if role in OWN_ROLES else "never"
            profile = role if role in OTHERS else None
            words = _reference(role, clear, profile)
            if role == "author" and kind is Kind.EMAIL:
                words += "; sealed here if the desk sent it"
        case ProfileOf():
            category, role, profile = Category.IDENTITY, mark.role, mark.role
            words = f"sealed in the profile of the {mark.role}"
        case Declares():
            clear, words = name, "in the clear, for good"
    return Becoming(
        name,
        type(mark).__name__.lower(),
        category,
        sealed,
        clear,
        profile,
        kind,
        role,
        vocabulary,
        required,
        words,
    )


def _inside(plan: Plan, role: str) -> str:
    if role == "self":
        return "person" if plan.record.THING in PEOPLE else "stream"
    return _INSIDE[role]


def _reference(role: str, clear: str, profile: str | None) -> str:
    inside = "an inside id names the stream" if clear == "stream" else f"an inside id in the clear, as `{clear}`"
    if role in OWN_ROLES:
        return f"{inside}; sealed as well"
    if profile is not None:
        return f"{inside}; sealed in that person's profile"
    return f"{inside}; the reference itself is not kept"


def words_of(vocabulary: str) -> str:
    """List the words of a vocabulary, with their numbers, or say that tenants declare them."""
    closed = CLOSED.get(vocabulary, {})
    listed = ", ".join(f"{number} {word}" for number, word in closed.items())
    if vocabulary not in DECLARED:
        return listed
    return f"{listed}, or declared" if listed else "declared by the tenant"
