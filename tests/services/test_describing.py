"""What sealdesk says of itself is what it does: the map of the data is compared with the rules that carry it out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from crypto.references import canonical
from domain.catalogue import CATALOGUE, INTERNAL, PEOPLE, RECORDS
from domain.errors import SettingsWrong
from domain.fact import UNKNOWN, Effect, FactAtRest, Record
from domain.ids import EventId, TenantId, ThingId
from domain.personal import Kind, Names, Personal, Reference
from domain.processing import ACTIVITIES, ACTIVITY, PURPOSES, RETENTIONS, activities_by_type
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED
from services.changes import View
from services.cli.app import app
from services.describing import agreement, data_map, events, notice, ropa
from services.describing.fields import becomings
from services.describing.lifetimes import BELONGING, Whose, ends, roles, whose
from services.describing.operator import NOBODY, read_operator
from services.describing.schemas import PUBLISHED, SOURCE_CHARACTERS, SUBJECT_CHARACTERS, schema_of
from services.keeping import given_way
from services.projecting import MODELS
from services.records import draft_of, parcel_of
from services.resolving import Desk
from tests.records import least, whole

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
TYPES = sorted(CATALOGUE)
REQUESTER, WRITER, AGENT, THING, PART, WITHIN, PARENT = 1, 2, 9, 20, 30, 40, 50


class Stage:
    """Decides records in memory, as intake would for one tenant, and says whose the last one is."""

    def __init__(self) -> None:
        view = View(TenantId(uuid4()), {}, {}, {}, {}, {})
        self._desk = Desk(view, index=canonical, new_id=uuid4, now=AT + timedelta(days=1))
        self._numbers = count()
        for type_, id_ in (("contact", REQUESTER), ("contact", WRITER), ("agent", AGENT)):
            self.take(f"sealdesk.{type_}.created.v1", {"id": id_, "name": "Somebody"})

    def take(self, type_: str, data: Mapping[str, Any]) -> frozenset[int]:
        """Decide one record, and name its owners by the ids that upstream gave them."""
        event = {"type": type_, "source": "/t", "id": str(next(self._numbers)), "time": AT.isoformat(), "data": data}
        facts = self._desk.decide([(draft_of(event, "acme"), b"")])
        known = {self._desk.changes.entries.get(canonical(_person(id_))): id_ for id_ in (REQUESTER, WRITER, AGENT)}
        return frozenset(known[owner] for owner in facts[0].owners)

    def about(self, record: type[Record], *, author: int = WRITER, requester: int | None = REQUESTER) -> frozenset[int]:
        """Decide a record of a type, with whatever has to be there before it."""
        if record.THING not in PEOPLE and record.THING != "tenant":
            opener = next(one for one in RECORDS if one.THING == record.THING and one.OPENS)
            if record is not opener:
                self.take(opener.TYPE, _data(opener, author=requester, requester=requester))
        for role, id_ in (("part", PART), ("within", WITHIN)):
            if kinds := roles(record).get(role):
                if role == "part" and record.EFFECT is None:
                    continue
                makers = (one for one in RECORDS if one.EFFECT is None and roles(one).get("part") == kinds)
                maker = next(one for one in makers if one.THING == record.THING)
                data = _data(maker, author=author, requester=None) | _part(maker, id_)
                self.take(maker.TYPE, {name: it for name, it in data.items() if name not in _within(maker)})
        own = _data(record, author=requester if record.WHOSE == "author" else author, requester=requester)
        return self.take(record.TYPE, own)


def _person(id_: int) -> Reference:
    return Reference(Kind.PERSON, str(id_))


def _part(record: type[Record], id_: int) -> dict[str, Any]:
    return {name: id_ for name, mark in CATALOGUE[record.TYPE].names if mark.role == "part"}


def _within(record: type[Record]) -> set[str]:
    return {name for name, mark in CATALOGUE[record.TYPE].names if mark.role == "within"}


def _data(record: type[Record], *, author: int | None, requester: int | None) -> dict[str, Any]:
    """Give the least that a type takes, with ids of our own for whom and what it names."""
    plan = CATALOGUE[record.TYPE]
    said = {
        "self": REQUESTER if record.THING in PEOPLE else THING,
        "part": PART,
        "within": WITHIN,
        "parent": PARENT,
        "secondary": 77,
        "author": author,
        "requester": requester if record.OPENS else None,
        "voter": WRITER,
        "named": WRITER,
        "member": AGENT,
    }
    data = least(plan)
    for name, mark in plan.names:
        id_ = said.get(mark.role)
        if mark.kind.is_upstream_id and id_ is not None:
            many = "list" in str(plan.record.model_fields[name].annotation)
            data[name] = [id_] if many else id_
    return data


@pytest.mark.parametrize("type_", PUBLISHED)
def test_a_fact_is_theirs_whose_the_map_says_it_is(type_: str) -> None:
    record = CATALOGUE[type_].record
    if "secondary" in roles(record) and record.THING == "ticket":
        stage = Stage()
        opener = CATALOGUE["sealdesk.ticket.opened.v1"].record
        stage.take(opener.TYPE, _data(opener, author=None, requester=REQUESTER) | {"id": 77})
        found = stage.about(record)
    else:
        found = Stage().about(record)
    theirs = {
        Whose.PERSON: {REQUESTER},
        Whose.REQUESTER: {REQUESTER},
        Whose.CALLER: {REQUESTER},
        Whose.REQUESTER_AND_WRITER: {REQUESTER, WRITER},
        Whose.CALLER_AND_WRITER: {REQUESTER, WRITER},
        Whose.AUTHOR: {REQUESTER},
        Whose.DESK: set(),
    }[whose(record)]
    assert found == theirs


@pytest.mark.parametrize("type_", [type_ for type_ in PUBLISHED if whose(CATALOGUE[type_].record) is Whose.AUTHOR])
def test_a_post_of_an_agent_is_the_desks(type_: str) -> None:
    assert Stage().about(CATALOGUE[type_].record, requester=AGENT) == set()


@pytest.mark.parametrize("type_", [type_ for type_ in PUBLISHED if CATALOGUE[type_].record.THING in ("call", "chat")])
def test_a_call_or_chat_of_nobody_known_is_the_desks(type_: str) -> None:
    record = CATALOGUE[type_].record
    writer = {WRITER} if whose(record) is Whose.CALLER_AND_WRITER else set()
    assert Stage().about(record, requester=None) == writer


@pytest.mark.parametrize("type_", TYPES)
def test_a_fact_gives_way_to_the_later_facts_that_the_map_names(type_: str) -> None:
    record = CATALOGUE[type_].record
    named = {end.happening for end in ends(record)} - {SUBJECT_SHREDDED, CONTENT_SHREDDED}
    for later in RECORDS:
        if later.EFFECT is None or (later.EFFECT is Effect.ENDS and "part" not in roles(later)):
            continue
        same = later.THING == record.THING or {later.THING, record.THING} <= PEOPLE
        parts = roles(later).get("part")
        inside = parts is None or parts in (roles(record).get("part"), roles(record).get("within"))
        over = record.EFFECT is Effect.ENDS and "part" in roles(record)
        expected = (
            same
            and inside
            and not over
            and any(
                given.position == 1 for given, _ in given_way([_at_rest(record, 1, parts), _at_rest(later, 2, parts)])
            )
        )
        assert (later.TYPE in named) == expected, later.TYPE


def _at_rest(record: type[Record], position: int, about: list[Kind] | None) -> FactAtRest:
    """Write a fact whose part, or the part it hangs in, is the one of the given kind."""
    clear: dict[str, Any] = {}
    for role in ("part", "within"):
        if kinds := roles(record).get(role):
            clear[role] = UUID(int=1 if kinds == about else 2).hex
    return FactAtRest(
        position,
        ThingId(UUID(int=9)),
        1,
        TenantId(UUID(int=8)),
        EventId(UUID(int=7)),
        record.TYPE,
        0,
        AT,
        AT,
        clear,
        (),
        (),
        None,
    )


class TestNothingIsListedHalf:
    def test_a_type_that_stands_in_no_activity_stops_the_import(self) -> None:
        with pytest.raises(TypeError, match=r"sealdesk\.ticket\.sold\.v1"):
            activities_by_type(types=frozenset(CATALOGUE) | {"sealdesk.ticket.sold.v1"})

    def test_a_type_that_stands_in_two_activities_stops_the_import(self) -> None:
        with pytest.raises(TypeError, match=r"sealdesk\.contact\.created\.v1"):
            activities_by_type((*ACTIVITIES, ACTIVITIES[0]))

    def test_every_field_of_every_type_is_mapped_once(self) -> None:
        mapped = [(entry["type"], entry["name"]) for entry in data_map.entries()]
        wanted = [(type_, name) for type_ in TYPES for name in CATALOGUE[type_].record.model_fields]
        assert sorted(mapped) == sorted(wanted)

    def test_a_personal_field_has_everything_that_the_map_promises(self) -> None:
        promised = ("category", "whose", "purpose", "legal_basis", "retention", "key", "activity")
        personal = [entry for entry in data_map.entries() if entry["personal"]]
        assert personal
        for entry in personal:
            assert all(entry[name] for name in promised), entry
            assert entry["purpose"] in PURPOSES
            assert entry["retention"] in set(RETENTIONS)
            assert entry["whose"] in set(BELONGING)

    def test_whatever_is_sealed_is_gone_some_day(self) -> None:
        lasting = {entry["type"] for entry in data_map.entries() if entry["personal"] and not entry["gone_when"]}
        assert lasting == {"sealdesk.vocabulary.declared.v1"}

    def test_every_field_that_is_sealed_or_names_somebody_counts_as_personal(self) -> None:
        for type_ in TYPES:
            for name, info in CATALOGUE[type_].record.model_fields.items():
                entry = next(one for one in becomings(type_) if one.name == name)
                if any(isinstance(mark, Personal | Names) for mark in info.metadata):
                    assert entry.is_personal

    def test_what_names_others_is_kept_as_their_profile_is(self) -> None:
        entries = {(entry["type"], entry["name"]): entry for entry in data_map.entries()}
        copied = entries["sealdesk.ticket.replied.v1", "cc_emails"]
        assert (copied["activity"], copied["whose"], copied["category"]) == ("contacts", "person", "address")
        assert entries["sealdesk.ticket.replied.v1", "body"]["activity"] == "tickets"


def test_a_retention_class_says_whether_upstream_can_end_what_is_kept() -> None:
    """Said here a second time: what only a shred ends, and what upstream edits or deletes."""
    only_shreds = {"picture", "consent", "with_ticket", "talk", "words"}
    for activity in ACTIVITIES:
        upstream = {end.happening for record in activity.records for end in ends(record)}
        upstream -= {SUBJECT_SHREDDED, CONTENT_SHREDDED}
        assert bool(upstream) == (activity.retention not in only_shreds), activity.code


def test_the_read_models_that_the_map_names_are_those_that_there_are() -> None:
    assert {shown.model for activity in ACTIVITIES for shown in activity.shown} == set(MODELS)


def test_the_commands_that_the_map_names_exist() -> None:
    groups = {group.name: group.typer_instance for group in app.registered_groups if group.typer_instance is not None}
    for activity in ACTIVITIES:
        for shown in activity.shown:
            group, _, command = shown.command.partition(" ")
            assert command in {one.name for one in groups[group].registered_commands}, shown.command


def test_every_purpose_is_used_by_something() -> None:
    used = {entry["purpose"] for entry in data_map.entries() if entry["personal"]}
    beside = {"serve_rights", "measure_service", "take_in_once"}
    assert set(PURPOSES) - used == beside
    assert {kept["purpose"] for kept in data_map.as_data()["house"]} == beside


class TestSchemas:
    @pytest.mark.parametrize("type_", PUBLISHED)
    def test_records_that_a_type_takes_fit_its_schema(self, type_: str) -> None:
        validator = Draft202012Validator(schema_of(type_))
        for data in (least(CATALOGUE[type_]), whole(CATALOGUE[type_], "planted")):
            CATALOGUE[type_].record.model_validate(data)
            assert list(validator.iter_errors(data)) == []

    @given(st.data())
    def test_what_fits_a_schema_the_type_takes(self, data: st.DataObject) -> None:
        # What a tenant declares has rules of its own, and a text is hardly ever a time.
        type_ = data.draw(st.sampled_from([one for one in PUBLISHED if not CATALOGUE[one].declares]))
        plan = CATALOGUE[type_]
        name = data.draw(st.sampled_from([*plan.record.model_fields, "shoe_size"]))
        if name in plan.clear and "time" in str(plan.record.model_fields[name].metadata):
            return
        text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=120)
        simple = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | text
        value = data.draw(simple | st.lists(simple, max_size=3) | st.dictionaries(text, simple, max_size=2))
        said = least(plan) | {name: value}
        if Draft202012Validator(schema_of(type_)).is_valid(said):
            plan.record.model_validate(said)

    @given(st.data())
    def test_what_a_type_refuses_does_not_fit_its_schema(self, data: st.DataObject) -> None:
        type_ = data.draw(st.sampled_from([one for one in PUBLISHED if least(CATALOGUE[one])]))
        said = least(CATALOGUE[type_])
        del said[data.draw(st.sampled_from(sorted(said)))]
        with pytest.raises(ValidationError):
            CATALOGUE[type_].record.model_validate(said)
        assert not Draft202012Validator(schema_of(type_)).is_valid(said)

    @pytest.mark.parametrize(
        ("type_", "data"),
        [
            ("sealdesk.ticket.rated.v1", {"ratings": {"default_question": 103}}),
            ("sealdesk.ticket.time_logged.v1", {"time_spent": "01:20"}),
        ],
    )
    def test_freshdesks_own_way_to_say_it_fits_too(self, type_: str, data: dict[str, Any]) -> None:
        CATALOGUE[type_].record.model_validate(data)
        assert Draft202012Validator(schema_of(type_)).is_valid(data)

    def test_the_lengths_of_attributes_are_those_that_records_have(self) -> None:
        def code(**attributes: str) -> str | None:
            event = {"type": "sealdesk.contact.created.v1", "source": "/t", "id": "1", "time": AT.isoformat()}
            error = parcel_of(json.dumps(event | {"data": {"id": 1}} | attributes).encode(), "acme").error
            return None if error is None else error.path

        assert code(source="s" * SOURCE_CHARACTERS, id="i" * SOURCE_CHARACTERS) is None
        assert code(source="s" * (SOURCE_CHARACTERS + 1)) == "source"
        assert code(id="i" * (SOURCE_CHARACTERS + 1)) == "id"
        host = "@example.org"
        assert code(subject="a" * (SUBJECT_CHARACTERS - len(host)) + host) is None
        assert code(subject="a" * (SUBJECT_CHARACTERS + 1 - len(host)) + host) == "subject"

    def test_no_schema_asks_for_the_field_in_which_unknown_ones_are_gathered(self) -> None:
        assert all(UNKNOWN not in schema_of(type_)["properties"] for type_ in PUBLISHED)


class TestEvents:
    def test_every_type_is_listed_with_what_it_does(self) -> None:
        listed = {event["type"]: event for event in events.events()}
        assert sorted(listed) == TYPES
        for type_, event in listed.items():
            assert event["doc"]
            assert event["published"] == (type_ not in INTERNAL) == (event["schema"] is not None)
            assert {field["name"] for field in event["fields"]} == set(CATALOGUE[type_].record.model_fields)

    def test_a_field_says_its_mark_and_what_goes_with_it(self) -> None:
        event = next(one for one in events.events() if one["type"] == "sealdesk.ticket.replied.v1")
        fields = {field["name"]: field for field in event["fields"]}
        assert (fields["body"]["mark"], fields["body"]["category"]) == ("personal", "content")
        assert (fields["cc_emails"]["role"], fields["cc_emails"]["kind"]) == ("copied", "email")
        assert fields["source"]["vocabulary"] == "entry_source"
        assert not fields["body"]["required"]


class TestTheOperatorsPapers:
    def test_without_a_file_every_gap_is_a_placeholder(self) -> None:
        for text in (ropa.controller_markdown(NOBODY), notice.markdown(NOBODY), agreement.markdown(NOBODY)):
            assert "[name of the controller]" in text
        assert "[name of the processor]" in ropa.processor_markdown(NOBODY)

    def test_what_the_file_says_stands_in_every_paper(self) -> None:
        operator = read_operator(ROOT / "examples/controller.toml")
        papers = [ropa.controller_markdown(operator), notice.markdown(operator), agreement.markdown(operator)]
        for text in papers:
            assert "acme bicycle parts ltd" in text
            assert "[name of the controller]" not in text
            assert "Six months after the call." in text
        assert "Example Datacentres, machines, Germany" in agreement.markdown(operator)
        assert "Example Hosting" in ropa.processor_markdown(operator)

    def test_the_controller_puts_another_legal_basis_in_place_of_the_default(self) -> None:
        def basis(record: dict[str, Any]) -> dict[str, str]:
            return {p["code"]: p["legal_basis"] for one in record["activities"] for p in one["purposes"]}

        before = basis(ropa.of_controller(NOBODY))
        after = basis(ropa.of_controller(read_operator(ROOT / "examples/controller.toml")))
        assert {code for code in before if before[code] != after[code]} == {"record_calls"}
        assert after["record_calls"] == "6(1)(f)"

    def test_consent_can_be_taken_back_only_where_something_rests_on_it(self) -> None:
        assert "take a consent back" in notice.markdown(NOBODY)
        assert "take a consent back" not in notice.markdown(read_operator(ROOT / "examples/controller.toml"))

    @pytest.mark.parametrize(
        "text",
        [
            "[controller",
            "[controller]\nname = 3",
            "[controler]\nname = 'x'",
            "[basis]\nsell = 'f'",
            "[basis]\nanswer = 'z'",
            "[retention]\ntalk = ''",
        ],
    )
    def test_a_file_that_is_wrong_is_refused_and_not_quoted(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "c.toml"
        file.write_text(f"{text}\n# Zephyrine Quux\n")
        with pytest.raises(SettingsWrong) as refused:
            read_operator(file)
        assert "Zephyrine" not in str(refused.value)

    def test_a_file_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsWrong):
            read_operator(tmp_path / "none.toml")

    def test_every_activity_that_is_about_people_is_in_the_record(self) -> None:
        recorded = {one["code"] for one in ropa.of_controller(NOBODY)["activities"]}
        assert recorded == {activity.code for activity in ACTIVITY.values() if activity.people}
