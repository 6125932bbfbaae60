"""Whose records a topic may bring: the file that says so, and what becomes of a record that claims more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from domain.errors import SettingsWrong
from domain.ids import HOUSE
from services.embedded import Endpoints
from services.kafka.admission import Admission, Allowed, admission_of, read
from services.outcomes import Taken
from services.records import Parcel, Place, parcel_of
from services.sealed import kept_whole
from tests.desks import AT, Desk, desk_house

FILE = """
[topics."acme.records"]
tenants = ["acme"]
principals = ["User:acme-crm", "User:acme-phones"]

[topics.shared]
tenants = ["acme", "globex"]

[topics.trusted]
tenants = "*"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "topics.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def desks(databases: Endpoints, tmp_path: Path) -> Iterator[tuple[Desk, Desk]]:
    with desk_house(databases, tmp_path) as opened:
        yield Desk(opened), Desk(opened, "globex")


def _event(tenant: object, **more: Any) -> bytes:
    event = {"specversion": "1.0", "id": "1", "source": "crm", "type": "sealdesk.contact.created.v1"}
    event |= {"time": "2026-03-01T12:00:00Z", "data": {"id": 1, "name": "Ann"}, "tenant": tenant} | more
    return orjson.dumps({name: value for name, value in event.items() if value is not None})


def _came(raw: bytes, topic: str) -> Parcel:
    return parcel_of(raw, place=Place(topic, 0, 7))


def _code(parcel: Parcel) -> str:
    return "" if parcel.error is None else parcel.error.code


# -- the file -------------------------------------------------------------------------------------------------------


def test_the_file_says_which_topics_are_read_whose_records_they_bring_and_who_writes_there(file: Path) -> None:
    admission = admission_of({"SEALDESK_TOPICS": str(file)})
    assert admission.topics == {
        "acme.records": Allowed(frozenset({"acme"}), ("User:acme-crm", "User:acme-phones")),
        "shared": Allowed(frozenset({"acme", "globex"})),
        "trusted": Allowed(None),
    }


def test_without_a_file_one_topic_is_read_and_every_tenant_is_admitted() -> None:
    admission = admission_of({})
    assert list(admission.topics) == ["sealdesk.records"]
    for topic in ("sealdesk.records", "another"):
        parcel = _came(_event("acme"), topic)
        assert admission.admit(parcel) is parcel


def test_a_topic_that_is_not_listed_is_not_read(file: Path) -> None:
    assert read(file).to_read() == ("acme.records", "shared", "trusted")
    assert read(file).to_read(["shared"]) == ("shared",)
    with pytest.raises(SettingsWrong, match="SEALDESK_TOPICS says of no tenant that another"):
        read(file).to_read(["shared", "another"])
    assert admission_of({}).to_read(["another"]) == ("another",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[topics.a]\ntenants = ['Karl']\nprincipals = 'User:Karl'", 'principals of [topics."a"] is a list'),
        ("[topics.a]\ntenants = 'Karl'", 'tenants of [topics."a"] is a list of names'),
        ("[topics.a]\ntenants = []", 'tenants of [topics."a"] is a list of names'),
        ("[topics.a]\ntenants = [7]", 'tenants of [topics."a"] is a list of names'),
        ("[topics.a]\ntenants = ['Karl']\nprincipals = ['User:*']", 'principals of [topics."a"] is a list'),
        ("[topics.a]\nprincipals = ['User:Karl']", 'tenants of [topics."a"] is missing'),
        ("[topics.a]\ntenants = '*'\nowner = 'Karl'", '[topics."a"] has tenants, principals and sealed, and no key'),
        ("topics = 'Karl'", 'needs [topics."NAME"]'),
        ("[topics]\na = 'Karl'", '[topics."a"] is no table'),
        ("[topics]", 'needs [topics."NAME"]'),
        ("", 'needs [topics."NAME"]'),
        ("[topics.'a b']\ntenants = '*'", 'needs [topics."NAME"]'),
        ("[topics.'sealdesk.receipts']\ntenants = '*'", "none of ours"),
        ("[others]\nx = 'Karl'\n[topics.a]\ntenants = '*'", "there is no key others"),
        ("tenants = Karl", "is no TOML"),
    ],
)
def test_a_wrong_file_is_told_by_its_key_and_none_of_its_values(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "topics.toml"
    path.write_text(text)
    with pytest.raises(SettingsWrong) as refused:
        read(path)
    assert str(refused.value).startswith(f"SEALDESK_TOPICS: {path}")
    assert said in str(refused.value)
    assert "Karl" not in str(refused.value)


def test_a_file_that_is_not_there_is_told_as_the_setting_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong, match=r"SEALDESK_TOPICS: .*none.toml cannot be read"):
        admission_of({"SEALDESK_TOPICS": str(tmp_path / "none.toml")})


# -- records --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "tenant", "tenant_then", "code"),
    [
        ("acme.records", "acme", "acme", ""),
        ("acme.records", "globex", None, "wrong_tenant"),
        ("acme.records", None, "acme", ""),
        ("acme.records", 5, "acme", "wrong_field"),
        ("shared", "globex", "globex", ""),
        ("shared", "initech", None, "wrong_tenant"),
        ("shared", None, None, "no_tenant"),
        ("trusted", "anybody", "anybody", ""),
        ("unlisted", "acme", None, "wrong_tenant"),
    ],
)
def test_a_record_is_admitted_as_its_topic_may_bring_it(
    file: Path, topic: str, tenant: object, tenant_then: str | None, code: str
) -> None:
    parcel = read(file).admit(_came(_event(tenant), topic))
    assert (parcel.tenant, _code(parcel), parcel.place) == (tenant_then, code, Place(topic, 0, 7))
    assert [draft.tenant for draft in parcel.drafts] == ([] if code else [tenant_then])


def test_what_cannot_be_read_is_that_of_the_only_tenant_of_its_topic(file: Path) -> None:
    admission = read(file)
    assert admission.admit(_came(b"no json", "acme.records")).tenant == "acme"
    assert admission.admit(_came(b"no json", "shared")).tenant is None


def test_a_topic_for_sealed_records_brings_no_others(file: Path) -> None:
    file.write_text(FILE.replace("principals", "sealed = true\nprincipals", 1))
    admission, raw = read(file), _event("acme")
    opened = replace(_came(raw, "acme.records"), told_as=b"hash")
    unopened = _came(kept_whole({"tenant": "acme"}, b"envelope"), "acme.records")

    refused = admission.admit(_came(raw, "acme.records"))
    assert (_code(refused), refused.tenant, refused.drafts, refused.raw) == ("not_sealed", "acme", (), raw)
    assert _code(admission.admit(_came(b"no json", "acme.records"))) == "not_sealed"
    assert admission.admit(opened) == opened
    assert _code(admission.admit(unopened)) == "not_json"
    assert _code(admission.admit(_came(raw, "shared"))) == ""


def test_what_came_in_a_file_is_admitted(file: Path) -> None:
    parcel = parcel_of(_event("initech"))
    assert read(file).admit(parcel) is parcel


def _take(desk: Desk, admission: Admission, *raws: bytes, topic: str = "acme.records") -> Taken:
    parcels = [admission.admit(_came(raw, topic)) for raw in raws]
    return desk.house.intake.take_each(parcels, at=datetime.now(UTC))


def test_a_record_that_claims_another_tenant_is_kept_and_neither_of_the_two_sees_it(
    desks: tuple[Desk, Desk], file: Path
) -> None:
    acme, globex = desks
    admission, kept = read(file), acme.house.quarantine
    raw = globex.event("contact.created", "contact 1", AT, "claims", id=1, name="Ann")
    own = acme.event("contact.created", "contact 1", AT, "own", id=1, name="Bo")
    taken = _take(acme, admission, raw, own)
    assert [(outcome.status, outcome.code) for outcome in taken.outcomes] == [
        ("quarantined", "wrong_tenant"),
        ("stored", ""),
    ]
    assert [list(kept.listed(desk.tenant.id)) for desk in desks] == [[], []]
    [row] = kept.listed(HOUSE)
    assert (row["code"], row["topic"], row["partition"], row["offset"]) == ("wrong_tenant", "acme.records", 0, 7)
    assert kept.show(HOUSE, UUID(row["record"])) == raw
    assert globex.contacts() == []


def test_a_record_is_taken_once_its_topic_may_bring_it_and_waits_as_that_tenants(
    desks: tuple[Desk, Desk], file: Path
) -> None:
    acme, globex = desks
    kept = acme.house.quarantine
    stored = globex.event("contact.created", "contact 1", AT, "first", id=1, name="Ann")
    waits = globex.event("ticket.replied", "ticket 20", AT, "second", body="early", user_id=1)
    _take(acme, read(file), stored, waits)
    file.write_text(FILE.replace('tenants = ["acme"]', 'tenants = ["acme", "globex"]'))

    def replayed() -> list[str]:
        records = [
            (opened.id, HOUSE, read(file).admit(replace(parcel_of(opened.raw), place=opened.place)))
            for opened in kept.opened(HOUSE)
        ]
        taken = acme.house.intake.replay(records, at=datetime.now(UTC))
        return [outcome.status for outcome in taken.outcomes]

    assert replayed() == ["stored", "quarantined"]
    assert list(kept.listed(HOUSE)) == []
    [row] = kept.listed(globex.tenant.id)
    assert (row["code"], row["topic"], row["offset"]) == ("unknown_ticket", "acme.records", 7)
    opened = globex.happens("ticket.opened", "ticket 20", id=20, requester_id=1)
    assert (opened.stored, opened.quarantined, list(kept.listed(globex.tenant.id))) == (2, -1, [])
    assert [entry["body"] for entry in globex.ticket(20)["conversation"]] == ["early"]
