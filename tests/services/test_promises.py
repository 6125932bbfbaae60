"""The promises of the house, for any history: live = rebuilt, counts stay, what is shredded opens nowhere.

Each example is a tenant of its own in the same databases.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.opening import SHREDDED, open_leaves
from crypto.sealing import header_of
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.errors import ReferenceUnknown, ShredRefused
from projections import paging
from services.embedded import Endpoints
from services.projecting import MODELS
from services.records import parcel_of
from services.wiring import House
from tests.desks import AT, Desk, desk_house

PEOPLE = st.integers(1, 4)
TICKETS = st.integers(20, 23)
ADDRESSES = st.sampled_from(["ann@example.org", "Bob@example.org", "cy@example.net"])
_names = count(1)


def _contact(person: int, address: str | None, name: str) -> tuple[str, str, dict[str, Any]]:
    return (
        "contact.created",
        f"contact {person}",
        {"id": person, "name": name} | ({"email": address} if address else {}),
    )


records = st.one_of(
    st.builds(_contact, PEOPLE, st.none() | ADDRESSES, st.sampled_from(["Ann Abbott", "Bo Brook", "Cy Coe"])),
    st.builds(lambda p, a: ("contact.updated", f"contact {p}", {"id": p, "email": a}), PEOPLE, ADDRESSES),
    st.builds(lambda a, n: ("contact.created", a, {"email": a, "name": n}), ADDRESSES, st.sampled_from(["Dee", "Ed"])),
    st.builds(lambda p: ("agent.created", f"agent {p}", {"id": p, "name": "Agent"}), PEOPLE),
    st.builds(
        lambda p, q: (
            "contact.merged",
            f"contact {p}",
            {"primary_contact_id": p, "secondary_contact_ids": [q]},
        ),
        PEOPLE,
        PEOPLE,
    ),
    st.builds(lambda p: ("contact.deleted", f"contact {p}", {"id": p}), PEOPLE),
    st.builds(lambda p: ("contact.restored", f"contact {p}", {"id": p}), PEOPLE),
    st.builds(
        lambda t, p, c, a: (
            "ticket.opened",
            f"ticket {t}",
            {
                "id": t,
                "requester_id": p,
                "subject": "help",
                "description": "it broke",
                "cc_emails": c,
                "responder_id": a,
                "source": 1,
            },
        ),
        TICKETS,
        PEOPLE,
        st.lists(ADDRESSES, max_size=2),
        st.none() | PEOPLE,
    ),
    st.builds(
        lambda t, a: ("ticket.opened", f"ticket {t}", {"id": t, "email": a, "name": "Somebody", "type": "odd"}),
        TICKETS,
        ADDRESSES,
    ),
    st.builds(
        lambda t, s, p: ("ticket.updated", f"ticket {t}", {"status": s, "priority": p}),
        TICKETS,
        st.sampled_from([2, 3, 4, 5]),
        st.sampled_from([1, 4]),
    ),
    st.builds(lambda t, p: ("ticket.updated", f"ticket {t}", {"requester_id": p, "subject": "moved"}), TICKETS, PEOPLE),
    st.builds(
        lambda t, u, i: ("ticket.replied", f"ticket {t}", {"body": "a reply", "user_id": u, "incoming": i}),
        TICKETS,
        st.none() | PEOPLE,
        st.none() | st.booleans(),
    ),
    st.builds(
        lambda t, a: ("ticket.note_added", f"ticket {t}", {"body": "a note", "from_email": a, "private": True}),
        TICKETS,
        ADDRESSES,
    ),
    st.builds(lambda t, r: ("ticket.rated", f"ticket {t}", {"rating": r, "feedback": "so so"}), TICKETS, PEOPLE),
    st.builds(lambda t: ("ticket.deleted", f"ticket {t}", {"id": t}), TICKETS),
)
shreds = st.one_of(st.builds(lambda p: f"contact {p}", PEOPLE), st.builds(lambda t: f"ticket {t}", TICKETS), ADDRESSES)
#: Most facts need somebody and something to be about; each history begins with some of these, in any order.
BEGINNING: list[tuple[str, str, dict[str, Any]]] = [
    _contact(1, "ann@example.org", "Ann Abbott"),
    _contact(2, "Bob@example.org", "Bo Brook"),
    ("agent.created", "agent 4", {"id": 4, "name": "Agent", "signature": "Yours, Agent"}),
    ("ticket.opened", "ticket 20", {"id": 20, "requester_id": 1, "subject": "help", "cc_emails": ["Bob@example.org"]}),
    ("ticket.opened", "ticket 21", {"id": 21, "email": "Bob@example.org", "description": "it broke", "type": "odd"}),
    ("ticket.opened", "ticket 22", {"id": 22, "requester_id": 3, "name": "Cy Coe", "responder_id": 4}),
    ("ticket.replied", "ticket 20", {"body": "a reply", "user_id": 4}),
    ("ticket.replied", "ticket 20", {"body": "me too", "user_id": 2, "incoming": True}),
]
histories = st.builds(
    lambda first, then: [first, *then],
    st.permutations(BEGINNING).map(lambda listed: listed[:7]),
    st.lists(st.one_of(st.lists(records, min_size=1, max_size=8), shreds, st.just("project")), min_size=1, max_size=10),
)


@pytest.fixture(scope="module")
def opened(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("promises")
    with desk_house(module_databases, folder) as house:
        yield house


def _play(desk: Desk, history: list[Any]) -> int:
    """Play a history; returns how many shreds were carried out. Every summary stays equal over each of them."""
    carried_out, minute = 0, 0
    for step in history:
        if step == "project":
            desk.house.projecting.catch_up()
        elif isinstance(step, str):
            before = desk.reports()
            try:
                desk.shred(step)
            except (ReferenceUnknown, ShredRefused):
                continue
            carried_out += 1
            assert desk.reports() == before
        else:
            batch = []
            for type_, subject, data in step:
                minute += 1
                batch.append(desk.event(type_, subject, AT + timedelta(minutes=minute), **data))
                desk.said.append(batch[-1])
            desk.take(*batch)
    desk.house.projecting.catch_up()
    return carried_out


def _tables(house: House, tenant: Any) -> dict[str, list[Any]]:
    with house.facts.connection() as connection:
        names = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.columns"
            " WHERE column_name = 'tenant' AND table_schema = ANY(%s) ORDER BY 1, 2",
            (list(MODELS),),
        ).fetchall()
        return {
            f"{schema}.{table}": sorted(
                connection.execute(f"SELECT * FROM {schema}.{table} WHERE tenant = %s", (tenant,)).fetchall(), key=repr
            )
            for schema, table in names
        }


@given(history=histories, page_size=st.integers(1, 7))
@settings(max_examples=40)
def test_live_equals_rebuilt_whatever_happened_and_whatever_the_paging(
    opened: House, history: list[Any], page_size: int
) -> None:
    desk = Desk(opened, f"rebuilt-{next(_names)}")
    _play(desk, history)
    live = _tables(opened, desk.tenant.id)
    assert any("tickets.entries" in name for name in live)
    for model in MODELS.values():
        with opened.facts.connection() as connection:
            connection.execute(f"DROP SCHEMA {model.name} CASCADE")
            paging.catch_up(connection, _Of(opened, desk), model, page_size=page_size)
    assert _tables(opened, desk.tenant.id) == live


class _Of:
    """The log as one tenant wrote it: a fold of one tenant must not need the others."""

    def __init__(self, house: House, desk: Desk) -> None:
        self._facts = [fact for fact in _all(house) if fact.tenant == desk.tenant.id]
        self._head = house.facts.head()

    def head(self) -> int:
        return self._head

    def page(self, after: int, limit: int, types: Collection[str] | None = None) -> list[Any]:
        wanted = (fact for fact in self._facts if fact.position > after and (types is None or fact.type in types))
        return list(islice(wanted, limit))


def _all(house: House) -> list[Any]:
    facts: list[Any] = []
    while page := house.facts.page(facts[-1].position if facts else 0, 5_000):
        facts.extend(page)
    return facts


@given(history=histories, last=shreds)
@settings(max_examples=40)
def test_what_is_shredded_opens_nowhere_and_everything_else_opens(opened: House, history: list[Any], last: str) -> None:
    desk = Desk(opened, f"opens-{next(_names)}")
    _play(desk, [*history, last])
    facts = [fact for fact in _all(opened) if fact.tenant == desk.tenant.id]
    gone = {fact.clear["thing"] for fact in facts if "thing" in fact.clear}
    for fact in facts:
        gone.update(fact.clear.get("subjects", ()))
    later: dict[Any, set[str]] = {}
    for fact in reversed(facts):
        # What stood in a ticket before it moved belongs to the later requesters, too.
        owners = {owner.hex for owner in fact.owners} | later.get(fact.stream, set())
        if fact.clear.get("requester"):
            later.setdefault(fact.stream, set()).add(fact.clear["requester"])
        if fact.seal is None:
            continue
        place = (fact.stream, header_of(fact.seal).key_id)
        with opened.keys.transaction() as cursor:
            key = open_leaves(Tree(cursor, opened.roots), fact.tenant, [place])[place]
        if fact.stream.hex in gone or not gone.isdisjoint(owners):
            assert key is SHREDDED
        else:
            assert isinstance(key, Key)
    assert sum(opened.residue.of_all(desk.tenant.id).values()) == 0


@given(history=histories)
@settings(max_examples=25)
def test_the_same_history_once_more_stores_nothing(opened: House, history: list[Any]) -> None:
    desk = Desk(opened, f"again-{next(_names)}")
    _play(desk, history)
    head = opened.facts.head()
    tally = opened.intake.take([parcel_of(raw) for raw in desk.said], at=datetime.now(UTC))
    assert tally.stored == 0
    assert opened.facts.head() == head


@given(history=histories)
@settings(max_examples=15)
def test_nobody_has_two_keys_and_every_reference_leads_to_one(opened: House, history: list[Any]) -> None:
    desk = Desk(opened, f"keys-{next(_names)}")
    _play(desk, history)
    with opened.keys.transaction() as cursor:
        rows = cursor.execute(
            "SELECT count(*) AS entries, (SELECT count(*) FROM register_backs AS b WHERE EXISTS"
            " (SELECT 1 FROM wrapping_keys AS w WHERE w.key_id = b.page AND w.tenant = %(tenant)s)) AS backs"
            " FROM register WHERE tenant = %(tenant)s",
            {"tenant": desk.tenant.id},
        ).fetchall()
    assert rows[0]["entries"] == rows[0]["backs"]
