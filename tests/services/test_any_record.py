"""Whatever a publisher sends: it is taken or refused, folding never fails, and nothing else in its batch is harmed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.catalogue import CATALOGUE, INTERNAL
from services.embedded import Endpoints
from services.records import parcel_of
from services.wiring import House
from tests.desks import Desk, desk_house

_names = count(1)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["a@example.org", "+49 30 1234567", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31", "\0", ""]
    )
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@st.composite
def anything(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event of some type whose fields mostly exist and mostly make sense."""
    type_ = draw(st.sampled_from(sorted(CATALOGUE.keys() - INTERNAL)))
    fields = sorted(CATALOGUE[type_].record.model_fields)
    data = draw(st.dictionaries(st.sampled_from(fields) | st.text(max_size=8), _values, max_size=6))
    subjects = ["ticket 20", "contact 1", "agent 2", "a@example.org", "ticket \0", "contact"]
    return {
        "specversion": "1.0",
        "id": draw(st.text(max_size=10)),
        "source": draw(st.text(min_size=1, max_size=10)),
        "type": type_,
        "subject": draw(st.sampled_from(subjects) | st.text(max_size=10)),
        "time": draw(st.sampled_from(["2026-03-01T12:00:00Z", "0001-01-01T00:00:00Z", "1900-01-01T00:00:00+14:00"])),
        "data": data,
    }


@pytest.fixture(scope="module")
def opened(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with desk_house(module_databases, tmp_path_factory.mktemp("any")) as house:
        yield house


@given(events=st.lists(anything(), min_size=1, max_size=12))
@settings(max_examples=60)
def test_any_record_is_taken_or_refused_and_whatever_is_taken_can_be_folded_and_shown(
    opened: House, events: list[dict[str, Any]]
) -> None:
    desk = Desk(opened, f"any-{next(_names)}")
    desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="a@example.org")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    raws = [_json(event) for event in events]
    good = desk.event("ticket.replied", "ticket 20", datetime(2026, 3, 1, tzinfo=UTC), "good", body="I am still here")
    parcels = [parcel_of(raw, desk.name) for raw in [*raws, good]]
    tally = opened.intake.take(parcels, at=datetime.now(UTC))
    assert tally.read == len(parcels) == tally.stored + tally.duplicates + tally.refused + tally.quarantined
    tickets, contacts = desk.tickets(), desk.contacts()
    assert any(entry.get("body") == "I am still here" for row in tickets for entry in row["conversation"])
    assert not any("lost" in str(row) and row.get("name") == {"lost": True} for row in contacts)
    desk.shred("ticket 20")
    assert sum(opened.residue.of_all(desk.tenant.id).values()) == 0


@given(raw=st.binary(max_size=200))
@settings(max_examples=150)
def test_any_bytes_make_a_parcel(raw: bytes) -> None:
    parcel = parcel_of(raw, "acme")
    assert parcel.error is not None or parcel.drafts


@pytest.mark.parametrize("depth", [100, 250, 254, 255, 300, 1_000])
def test_what_nests_too_deeply_is_refused_before_it_could_stop_a_batch(depth: int) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    event = {"id": "1", "source": "s", "type": "sealdesk.contact.created.v1", "time": "2026-03-01T12:00:00Z"}
    raw = orjson.dumps(event)[:-1] + b',"data":{"id":1,"custom_fields":' + nested + b"}}"
    parcel = parcel_of(raw, "acme")
    assert (parcel.error is None) == (depth <= 250)


def _json(event: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(event)
    except TypeError:
        # Integers beyond 64 bits are JSON, though not every writer's.
        import json

        return json.dumps(event).encode()
