"""For every fact type there is, from the catalogue itself: what is stored of it, whose it is, what a shred takes.

A new type is covered by being listed. Nothing here names a type, but for what has to be there before it can happen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from crypto.tree import Tree
from domain.catalogue import CATALOGUE, INTERNAL, PEOPLE, Plan
from domain.fact import Effect, FactAtRest
from domain.personal import Kind
from services.embedded import Endpoints
from services.opening_facts import opened_facts
from services.projecting import MODELS
from services.records import parcel_of
from services.wiring import House
from tests.desks import AT, Desk, desk_house
from tests.records import ID, least, whole

TYPES = sorted(CATALOGUE.keys() - INTERNAL)
DOCS = Path(__file__).parents[2] / "docs"
MAP = json.loads((DOCS / "data-map.json").read_text())["fields"]
PLANTED = "Quibblesnatch"
#: Types that tell something which another fact of the same record writes down, so that no row of their own changes.
TOLD_ELSEWHERE = {"sealdesk.ticket.merged.v1", "sealdesk.contact.merged.v1"}

#: What can only be told of something that was the other way before.
UNDOES = {"restored": "deleted", "unblocked": "blocked"}

_numbers = count(1)


@pytest.fixture(scope="module")
def endpoints(module_databases: Endpoints) -> Endpoints:
    return module_databases


@pytest.fixture(scope="module")
def house(endpoints: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with desk_house(endpoints, tmp_path_factory.mktemp("every")) as opened_house:
        yield opened_house


@dataclass
class Happened:
    """One fact of the type, on a desk of its own, among what had to be there before."""

    desk: Desk
    plan: Plan
    data: dict[str, Any]
    fact: FactAtRest

    def personal(self) -> dict[str, Any] | None:
        """Open the fact, if it still opens."""
        return opened(self.desk, self.fact)


def opened(desk: Desk, fact: FactAtRest) -> dict[str, Any] | None:
    with desk.house.keys.transaction() as cursor:
        found = list(opened_facts(Tree(cursor, desk.house.roots), desk.tenant.id, [fact]))
    return found[0][1] if found else None


@pytest.mark.parametrize("type_", TYPES)
def test_every_promise_holds_for_this_fact(type_: str, house: House, endpoints: Endpoints) -> None:
    plan = CATALOGUE[type_]
    desk = Desk(house, f"every-{next(_numbers)}")
    say(desk, CATALOGUE["sealdesk.contact.created.v1"], {"id": 2, "name": "Bystander"})
    say(desk, CATALOGUE["sealdesk.ticket.opened.v1"], {"id": 2, "requester_id": 2, "subject": "Bystander's ticket"})
    say_what_it_needs(desk, plan)
    house.projecting.catch_up()
    before = read_models(endpoints, desk)
    data = whole(plan, PLANTED)
    assert say(desk, plan, data).stored == 1, "it is taken"
    house.projecting.catch_up()
    fact = next(f for f in reversed(house.facts.page(0, 100_000)) if f.type == plan.record.TYPE)
    happened = Happened(desk, plan, data, fact)
    every_field_goes_one_way_and_none_is_lost(happened)
    nothing_personal_is_in_the_stored_bytes_and_all_of_it_in_the_opened_seal(happened, endpoints)
    after = read_models(endpoints, desk)
    assert before != after or plan.record.THING == "tenant" or type_ in TOLD_ELSEWHERE, "some read model tells it"
    it_has_a_schema_and_every_field_stands_in_the_map_of_the_data(plan)
    what_ends_something_or_writes_it_anew_leaves_nothing_of_it_before(happened)
    a_shred_of_the_owner_takes_it_and_what_is_the_desks_stays(happened)


def test_read_models_that_are_built_anew_are_the_same_whatever_happened(house: House, endpoints: Endpoints) -> None:
    desks = []
    for type_ in TYPES:
        plan, desk = CATALOGUE[type_], Desk(house, f"every-{next(_numbers)}")
        say_what_it_needs(desk, plan)
        assert say(desk, plan, whole(plan, PLANTED)).stored == 1
        desks.append(desk)
    house.projecting.catch_up()
    before = [read_models(endpoints, desk) for desk in desks]
    assert all(any(rows.values()) for rows in before)
    for model in MODELS:
        house.projecting.rebuild(model)
    assert [read_models(endpoints, desk) for desk in desks] == before


def it_has_a_schema_and_every_field_stands_in_the_map_of_the_data(plan: Plan) -> None:
    schema = DOCS / "events" / f"{plan.record.TYPE.removeprefix('sealdesk.')}.schema.json"
    assert json.loads(schema.read_text())["properties"].keys() >= plan.record.model_fields.keys() - {"unknown_fields"}
    mapped = {row["name"]: row for row in MAP if row["type"] == plan.record.TYPE}
    assert mapped.keys() == plan.record.model_fields.keys()
    for name in plan.personal:
        row = mapped[name]
        assert all(row[told] for told in ("category", "whose", "purpose", "legal_basis", "retention", "key"))
        assert row["gone_when"] or plan.record.THING == "tenant", "there is a way for it to go"


def say_what_it_needs(desk: Desk, plan: Plan) -> None:
    for needed in needs(plan):
        assert say(desk, needed, least(needed) | _whose(needed)).stored == 1


def needs(plan: Plan) -> list[Plan]:
    """List what has to be there before: the person, the thing, the parts in which this hangs or which it changes."""
    needed: list[Plan] = []
    undone = next((done for undo, done in UNDOES.items() if f".{undo}." in plan.record.TYPE), None)
    if plan.record.TYPE != "sealdesk.contact.created.v1":
        needed.append(CATALOGUE["sealdesk.contact.created.v1"])
    if plan.record.THING not in PEOPLE | {"tenant"} and not plan.record.OPENS:
        needed.append(_first(lambda p: p.record.OPENS and p.record.THING == plan.record.THING))
    if undone is not None:
        needed.append(_first(lambda p: p.record.THING == plan.record.THING and f".{undone}." in p.record.TYPE))
    for name, mark in plan.names:
        if (mark.role == "part" and plan.record.EFFECT is not None) or mark.role == "within":
            kind = mark.kind
            needed.append(
                _first(
                    lambda p, kind=kind: (
                        p.record.THING == plan.record.THING
                        and p.record.EFFECT is None
                        and any(m.role == "part" and m.kind is kind for _, m in p.names)
                    )
                )
            )
        assert name in plan.record.model_fields
    return needed


def _first(fits: Any) -> Plan:
    return next(plan for plan in CATALOGUE.values() if fits(plan))


def _whose(plan: Plan) -> dict[str, Any]:
    """Say whose a thing is that has to be there."""
    roles = {"self", "part"} | ({plan.record.WHOSE} if plan.record.OPENS else set())
    return {name: ID for name, mark in plan.names if mark.role in roles and mark.kind.is_upstream_id}


def say(desk: Desk, plan: Plan, data: dict[str, Any]) -> Any:
    name = plan.record.TYPE.removeprefix("sealdesk.").removesuffix(".v1")
    raw = desk.event(name, "", AT, f"{len(desk.said)}", **data).replace(b'"subject":"",', b"", 1)
    desk.said.append(raw)
    return desk.house.intake.take([parcel_of(raw)], at=AT + timedelta(days=1))


def read_models(endpoints: Endpoints, desk: Desk) -> dict[str, list[str]]:
    """Read every row of every read model about one desk."""
    rows = _rows(endpoints.log_dsn, lambda schema, table: schema in MODELS and table != "position")
    return {table: [row for row in found if str(desk.tenant.id) in row] for table, found in rows.items()}


def stored(endpoints: Endpoints) -> str:
    """Read whatever stands in both databases, bytes as hexadecimal digits."""
    both = [_rows(dsn, lambda *_: True) for dsn in (endpoints.log_dsn, endpoints.keys_dsn)]
    return "\n".join(row for found in both for rows in found.values() for row in rows)


def _rows(dsn: str, wanted: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in sorted(tables):
            if wanted(schema, table):
                name = sql.Identifier(schema, table)
                rows = connection.execute(sql.SQL("SELECT t::text FROM {} t").format(name)).fetchall()
                found[f"{schema}.{table}"] = sorted(row for (row,) in rows)
    return found


def nothing_personal_is_in_the_stored_bytes_and_all_of_it_in_the_opened_seal(
    happened: Happened, endpoints: Endpoints
) -> None:
    everything = stored(endpoints)
    for value in (PLANTED, "planted"):
        assert value.encode().hex() not in everything
        assert value not in everything
    plan, personal = happened.plan, happened.personal() or {}
    for name in plan.sealable:
        if name not in happened.data or not personal:
            continue
        given = happened.data[name]
        if name in dict(plan.words):
            assert personal.get(name, given) == given
        else:
            assert personal[name] == ([given] if name in plan.texts else given)
    if "unknown_fields" in personal:
        assert PLANTED in personal["unknown_fields"]["shoe_size"]
    sealed = repr(personal)
    for name in plan.clear:
        assert repr(happened.data[name]) not in sealed or not isinstance(happened.data[name], str)


def every_field_goes_one_way_and_none_is_lost(happened: Happened) -> None:
    personal = happened.personal() or {}
    ends_whole = happened.plan.record.EFFECT is Effect.ENDS and "part" not in happened.fact.clear
    for name in happened.plan.clear:
        assert name in happened.fact.clear
    for _, mark in happened.plan.words:
        assert mark.stored_as in happened.fact.clear
    for name in happened.plan.personal:
        assert name in personal or ends_whole, "a personal field is in the seal"


def a_shred_of_the_owner_takes_it_and_what_is_the_desks_stays(happened: Happened) -> None:
    desk, fact = happened.desk, happened.fact
    with desk.house.keys.transaction() as cursor:
        subjects = {row["subject_id"] for row in cursor.execute("SELECT subject_id FROM subjects").fetchall()}
    owned_by_a_person = any(owner in subjects for owner in fact.owners)
    expected = _belongs_to_a_person(happened.plan)
    assert owned_by_a_person == expected, "it belongs to whom its declaration says"
    counts = desk.reports()
    desk.shred(f"contact {ID}")
    ended_whole = happened.plan.record.EFFECT is Effect.ENDS and "part" not in fact.clear
    assert (happened.personal() is None) == (expected or fact.seal is None or ended_whole)
    assert desk.reports() == counts
    assert sum(desk.house.residue.of_all(desk.tenant.id).values()) == 0
    said = repr(desk.tickets()) + repr(desk.contacts())
    assert "Bystander" in said
    assert "Bystander's ticket" in said


def _belongs_to_a_person(plan: Plan) -> bool:
    """Say by design whose a fact is: everything but what the team makes for itself."""
    return plan.record.THING in PEOPLE | {
        kind.value for kind in (Kind.TICKET, Kind.CALL, Kind.CHAT, Kind.TOPIC, Kind.COMMENT)
    }


def what_ends_something_or_writes_it_anew_leaves_nothing_of_it_before(happened: Happened) -> None:
    plan, desk = happened.plan, happened.desk
    if plan.record.EFFECT is None or plan.record.THING == "tenant":
        return
    part = happened.fact.clear.get("part")
    older = [
        fact
        for fact in desk.house.facts.stream(happened.fact.stream)
        if fact.position < happened.fact.position and fact.clear.get("part") == part and fact.seal is not None
    ]
    assert older or plan.record.OPENS
    assert [opened(desk, fact) for fact in older] == [None] * len(older)
    if plan.record.EFFECT is Effect.ENDS:
        again = say(desk, plan, happened.data)
        assert (again.stored, again.refused) == (0, 1)
