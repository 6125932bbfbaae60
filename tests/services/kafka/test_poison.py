"""A poison record never stops its partition: whatever stands in a topic has an outcome, and lies nowhere in clear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.catalogue import CATALOGUE
from domain.ids import HOUSE
from services.embedded import Endpoints
from services.kafka.admission import Admission, Allowed
from services.kafka.messages import parcel_from
from services.kafka.receipts import record_in
from services.records import Place
from services.wiring import House
from tests.desks import AT, Desk, desk_house

#: Stands in everything that is wrong.
WORD = "zqpoisonzq"
_numbers = count(1)


@dataclass(frozen=True)
class Got:
    """A record as kafka-python gives it."""

    value: bytes | None
    headers: list[tuple[str, bytes | None]]


_texts = st.text(max_size=20).map(lambda text: WORD + text)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
_attributes = st.sampled_from(["specversion", "id", "source", "type", "tenant", "subject", "time", "data"])
_types = st.sampled_from(sorted(CATALOGUE))


@st.composite
def _events(draw: st.DrawFn) -> bytes:
    """Draw an event of a known type in which something is wrong, or unheard of."""
    event = {"specversion": "1.0", "id": WORD, "source": "s", "type": draw(_types), "tenant": "acme"}
    event |= {"time": "2026-03-01T12:00:00Z", "data": {WORD: WORD}}
    for name in draw(st.lists(_attributes, max_size=3)):
        event[name] = draw(_values)
    # Integers beyond 64 bits are JSON, though not every writer's.
    return json.dumps(event).encode()[: draw(st.none() | st.integers(0, 400))]


_bytes = st.none() | st.binary(max_size=60) | st.binary(max_size=20).map(lambda raw: WORD.encode() + raw) | _events()
_headers = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "ce_id", "ce_type", "ce_tenant", "ce_time", "ce_source", "ce_data", "x"])
        | st.text(max_size=8),
        st.none()
        | st.binary(max_size=20)
        | _texts.map(str.encode)
        | _types.map(str.encode)
        | st.sampled_from(
            [
                b"application/cloudevents+json",
                b"application/cloudevents+avro",
                b"application/vnd.sealdesk.sealed",
                b"application/json",
                b"acme",
                b"2026-03-01T12:00:00Z",
            ]
        ),
    ),
    max_size=6,
)
_poison = st.builds(Got, _bytes, _headers)


@pytest.fixture(scope="module")
def opened(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with desk_house(module_databases, tmp_path_factory.mktemp("poison")) as house:
        yield house


@given(poison=st.lists(_poison, min_size=1, max_size=10), alone=st.booleans())
@settings(max_examples=150)
def test_whatever_stands_in_a_topic_has_an_outcome_and_the_records_around_it_are_stored(
    opened: House, poison: list[Got], alone: bool
) -> None:
    desk = Desk(opened)
    number = next(_numbers)
    admission = Admission({"t": Allowed(frozenset({"acme"} if alone else {"acme", "globex"}))})
    good = [
        Got(desk.event("contact.created", f"contact {number}", AT, f"{number}-{n}", id=number, name="Ann"), [])
        for n in range(2)
    ]
    messages = [good[0], *poison, good[1]]
    read = [parcel_from(message, Place("t", 0, offset)) for offset, message in enumerate(messages)]
    parcels = [admission.admit(parcel) for parcel in read if parcel is not None]
    hashes = [record_in(message, parcel) for message, parcel in zip(messages, read, strict=True) if parcel is not None]

    taken = opened.intake.take_each(parcels, at=datetime.now(UTC))

    assert len(taken.outcomes) == len(parcels) == len(hashes) == taken.tally.read
    assert {len(digest) for digest in hashes} == {32}
    assert (taken.outcomes[0].status, taken.outcomes[-1].status) == ("stored", "stored")
    assert WORD not in repr(parcels) + repr(taken)
    for tenant in (desk.tenant.id, HOUSE):
        for row in opened.quarantine.listed(tenant):
            assert WORD not in orjson.dumps(row).decode()
        opened.quarantine.summary(tenant)
        assert all(isinstance(record.raw, bytes) for record in opened.quarantine.opened(tenant))


def test_nothing_of_what_was_wrong_lies_in_clear(opened: House) -> None:
    desk = Desk(opened)
    kept = desk.event("contact.updated", "contact 5", AT, f"{next(_numbers)} kept", id=5, name={"x": WORD})
    parcel = parcel_from(Got(kept, []), Place("t", 0, 0))
    assert parcel is not None
    assert opened.intake.take_each([parcel], at=datetime.now(UTC)).tally.quarantined == 1
    for table in ("quarantine", "facts_events"):
        with opened.facts.cursor() as cursor:
            rows = cursor.execute(f"SELECT row_to_json(t)::text AS row FROM {table} AS t").fetchall()
        assert rows
        assert not any(WORD in row["row"] or WORD.encode().hex() in row["row"] for row in rows)
    assert any(WORD.encode() in record.raw for record in opened.quarantine.opened(desk.tenant.id))
