"""Nothing reaches the log without a mark that says what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, Field, ValidationError

from domain.catalogue import CATALOGUE, INTERNAL, PEOPLE, marks_of, plan_of
from domain.fact import UNKNOWN, Record, Text
from domain.personal import Category, Clear, Kind, Mark, Names, Personal, Word
from domain.vocabularies import CLOSED, DECLARED
from tests.records import least

SECRET = "Zephyrine Quux"
TYPES = sorted(CATALOGUE)
FIELDS = [(type_, name) for type_ in TYPES for name in CATALOGUE[type_].record.model_fields]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(("type_", "name"), FIELDS)
def test_every_field_of_every_type_carries_exactly_one_mark(type_: str, name: str) -> None:
    metadata = CATALOGUE[type_].record.model_fields[name].metadata
    assert len([item for item in metadata if isinstance(item, Mark)]) == 1


@pytest.mark.parametrize("type_", TYPES)
def test_a_plan_has_a_way_for_every_field_and_for_each_only_one(type_: str) -> None:
    plan = CATALOGUE[type_]
    ways = [
        *plan.personal,
        *plan.clear,
        *plan.declares,
        *(name for part in (plan.words, plan.names, plan.profile) for name, _ in part),
    ]
    assert sorted(ways) == sorted(plan.record.model_fields)
    assert plan.texts <= set(plan.personal)


def test_every_type_stands_under_its_own_name_and_says_what_it_is_about() -> None:
    for type_, plan in CATALOGUE.items():
        assert type_ == plan.record.TYPE
        thing = plan.record.THING
        assert thing in PEOPLE | {"tenant"} | {kind.value for kind in Kind if kind.is_thing}
        about = {"ticket": {"ticket", "discussion"}, "tenant": {"vocabulary"}}.get(thing, {thing})
        assert type_.split(".")[1] in about
        assert type_.endswith(".v1")


def test_what_only_sealdesk_appends_is_said_to_be_so() -> None:
    assert "sealdesk.contact.mentioned.v1" in INTERNAL
    assert "sealdesk.subject.shredded.v1" not in CATALOGUE
    assert "sealdesk.content.shredded.v1" not in CATALOGUE


@pytest.mark.parametrize("type_", TYPES)
def test_every_word_has_a_vocabulary(type_: str) -> None:
    for _, mark in CATALOGUE[type_].words:
        assert mark.vocabulary in {*CLOSED, *DECLARED}


@pytest.mark.parametrize("type_", TYPES)
def test_a_text_field_is_personal_or_a_word_or_names_somebody(type_: str) -> None:
    """Said here a second time, and not by the check in the catalogue: by what a field takes."""
    plan = CATALOGUE[type_]
    for name in plan.clear:
        for text in (SECRET, [SECRET], {"a": SECRET}):
            with pytest.raises(ValidationError):
                plan.record.model_validate(least(plan) | {name: text})


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CATALOGUE["sealdesk.contact.sold.v1"] = next(iter(CATALOGUE.values()))  # type: ignore[index]


class TestTypesThatCannotExist:
    def test_a_field_without_a_mark(self) -> None:
        class Leaky(Record):
            nickname: str | None = None

        with pytest.raises(TypeError, match=r"Leaky\.nickname carries 0 marks"):
            plan_of(Leaky)

    def test_a_field_with_two_marks(self) -> None:
        class Torn(Record):
            nickname: Annotated[str | None, Personal(Category.IDENTITY), Word("language", "language")] = None

        with pytest.raises(TypeError, match=r"Torn\.nickname carries 2 marks"):
            plan_of(Torn)

    @pytest.mark.parametrize("what", ["number", "time", "flag"])
    @pytest.mark.parametrize(
        "annotation",
        [
            str,
            str | None,
            Text,
            Text | None,
            int | str,
            bytes,
            Any,
            list[str],
            dict[str, Any],
            Annotated[int | Annotated[str, Field(max_length=3)], Field()] | None,
        ],
        ids=str,
    )
    def test_a_clear_field_that_could_hold_a_text(self, annotation: Any, what: Any) -> None:
        class Chatty(Record):
            __annotations__: ClassVar[dict[str, Any]] = {"nickname": Annotated[annotation, Clear(what)]}
            nickname = None

        with pytest.raises(TypeError, match=r"Chatty\.nickname is marked as a clear"):
            plan_of(Chatty)

    def test_a_clear_field_that_holds_something_else_than_its_mark_says(self) -> None:
        class Mislabelled(Record):
            __annotations__: ClassVar[dict[str, Any]] = {"late": Annotated[int | None, Clear("flag")]}
            late = None

        with pytest.raises(TypeError, match=r"Mislabelled\.late"):
            plan_of(Mislabelled)


def test_a_clear_field_may_be_a_number_a_time_or_a_flag() -> None:
    class Plain(Record):
        __annotations__: ClassVar[dict[str, Any]] = {
            "count": Annotated[int | None, Field(ge=0), Clear("number")],
            "share": Annotated[Annotated[float, Field(le=1)] | None, Clear("number")],
            "since": Annotated[AwareDatetime | None, Clear("time")],
            "open": Annotated[bool, Clear("flag")],
        }
        count = None
        share = None
        since = None
        open = False

    assert set(marks_of(Plain)) >= {"count", "share", "since", "open"}


@pytest.mark.parametrize("type_", TYPES)
def test_a_record_is_frozen(type_: str) -> None:
    record = CATALOGUE[type_].record.model_validate(least(CATALOGUE[type_]))
    with pytest.raises(ValidationError):
        record.created_at = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("type_", "name"), FIELDS)
def test_no_printed_record_and_no_error_about_one_shows_a_value(type_: str, name: str) -> None:
    plan = CATALOGUE[type_]
    for value in (SECRET, [SECRET], {"key": SECRET}, "Zephyrine-Quux"):
        try:
            record = plan.record.model_validate(least(plan) | {name: value})
        except ValidationError as error:
            printed = str(error) + repr(error)
        else:
            printed = f"{record!r} {record} {[record]!r}"
        assert "Quux" not in printed


@pytest.mark.parametrize("type_", TYPES)
def test_what_a_type_does_not_declare_is_gathered_and_sealed(type_: str) -> None:
    plan = CATALOGUE[type_]
    record = plan.record.model_validate(least(plan) | {"shoe_size": 44, "cf": {"a": [1]}, UNKNOWN: "mine"})
    assert record.unknown_fields == {"shoe_size": 44, "cf": {"a": [1]}, UNKNOWN: "mine"}
    assert UNKNOWN in plan.personal
    assert "shoe_size" not in repr(record)


@given(st.sampled_from(TYPES), st.dictionaries(st.text(max_size=12), json_values, max_size=5))
def test_whatever_is_unknown_is_kept_as_it_came_and_nothing_else_is(type_: str, unknown: dict[str, Any]) -> None:
    plan = CATALOGUE[type_]
    unknown = {name: value for name, value in unknown.items() if name not in plan.record.model_fields}
    record = plan.record.model_validate(least(plan) | unknown)
    assert record.unknown_fields == (unknown or None)


@given(st.sampled_from(TYPES), st.data())
def test_a_record_reads_back_as_it_was_written(type_: str, data: st.DataObject) -> None:
    plan = CATALOGUE[type_]
    given_fields = least(plan)
    for name, value in {
        "name": "Ann",
        "email": "ann@x.org",
        "body": "Dear Ann",
        "description": "help",
        "subject": "hi",
        "custom_fields": {"a": [1, {"b": None}]},
        "status": 2,
        "type": "Question",
        "company_id": 7,
        "created_at": "2026-01-01T00:00:00+02:00",
        "incoming": True,
        "other_emails": ["a@x.org"],
        "unknown": "yes",
    }.items():
        if (name in plan.record.model_fields or name == "unknown") and data.draw(st.booleans()):
            given_fields[name] = value
    record = plan.record.model_validate(given_fields)
    again = plan.record.model_validate_json(record.model_dump_json(exclude_unset=True, exclude={UNKNOWN}))
    kept = {name: getattr(record, name) for name in record.model_fields_set if name != UNKNOWN}
    assert kept == {name: getattr(again, name) for name in again.model_fields_set if name != UNKNOWN}
    assert kept.keys() == given_fields.keys() - {"unknown"}


def test_a_field_that_is_null_differs_from_one_that_is_absent() -> None:
    record = CATALOGUE["sealdesk.contact.updated.v1"].record
    assert record.model_validate({"name": None}).model_fields_set == {"name"}
    assert record.model_validate({}).model_fields_set == set()


def test_the_default_question_is_the_rating() -> None:
    record = CATALOGUE["sealdesk.ticket.rated.v1"].record
    rated = record.model_validate({"ratings": {"default_question": 103, "question_1": -103}})
    assert rated.rating == 103  # type: ignore[attr-defined]
    assert rated.ratings == {"default_question": 103, "question_1": -103}  # type: ignore[attr-defined]


def test_contacts_and_agents_share_the_ids_of_upstream() -> None:
    for type_ in ("sealdesk.contact.created.v1", "sealdesk.agent.created.v1"):
        marks = dict(CATALOGUE[type_].names)
        assert marks["id"] == Names("self", Kind.PERSON)
