"""Proofs: what they look for, what they find, and what certificates say of them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto import certificates
from crypto.accounts import UNREAD, PlaceSearched, proof_entry
from domain.errors import SettingsWrong
from domain.personal import Kind, Reference
from services.blobs.stores import blob_store
from services.embedded import Endpoints
from services.proving import everywhere, gathering
from services.proving.buckets import Bucket
from services.proving.dumps import Catalogs, Tables
from services.proving.forms import KEY_BYTES, PIECE, is_telling
from services.proving.gathering import Gathering, Known, needles_of
from services.proving.matching import Matcher
from services.proving.places import Searched
from services.proving.proof import Proof, Proving
from services.rights import KEEPER
from services.shredding import Order
from tests.desks import AT, Desk, desk_house
from tests.logins import Logins, logins, projected

ANN = Reference(Kind.EMAIL, "ann@example.org")


class Crash(Exception):
    """What a test throws where a process could die."""


@pytest.fixture
def desk(databases: Endpoints, tmp_path: Path) -> Iterator[Desk]:
    with desk_house(databases, tmp_path) as opened:
        yield filled(Desk(opened))


def filled(desk: Desk) -> Desk:
    desk.happens("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org", phone="+4930123456")
    desk.happens("contact.created", "contact 2", id=2, name="Bo Brook", email="bo@example.org")
    desk.happens(
        "ticket.opened",
        "ticket 20",
        id=20,
        requester_id=1,
        subject="a broken kettle",
        description="it drips on the oven " * 40 + "and stops",
        custom_fields={"serial of the kettle": "K-77-2041", "bought": "2026-01-30", "how many": 3},
    )
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=2, subject="the toaster of Bo")
    desk.happens("ticket.replied", "ticket 21", body="mine burns as well", user_id=1)
    return desk


def known(desk: Desk, reference: Reference = ANN) -> Known:
    found = desk.house.shredding.find(desk.tenant.id, reference)
    return Gathering(desk.house.facts, desk.house.keys, desk.house.roots).of(desk.tenant.id, found)


# -- what is looked for -------------------------------------------------------------------------------------------


def test_every_value_and_every_key_that_goes_is_read_and_nothing_of_anybody_else(desk: Desk) -> None:
    read = known(desk)
    ours = {"Ann Abbott", "ann@example.org", "+4930123456", "a broken kettle", "serial of the kettle", "K-77-2041"}
    assert ours <= set(read.values)
    assert any(value.startswith("it drips") and value.endswith("and stops") for value in read.values)
    # Written in somebody else's ticket, and theirs all the same.
    assert "mine burns as well" in read.values
    assert not {"Bo Brook", "bo@example.org", "the toaster of Bo"} & set(read.values)
    # The person, the profile, the ticket, the answer.
    assert len(read.wrapped_keys) == 4
    assert not {"subject", "description", "custom_fields"} & set(read.values)


def test_of_one_thing_only_what_stands_in_it_is_read(desk: Desk) -> None:
    read = known(desk, Reference(Kind.TICKET, "20"))
    assert "a broken kettle" in read.values
    assert "Ann Abbott" not in read.values
    assert len(read.wrapped_keys) == 1


def test_names_and_addresses_come_first_so_that_a_limit_falls_on_long_texts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = known(desk), known(desk, Reference(Kind.EMAIL, "bo@example.org"))
    monkeypatch.setattr(gathering, "MOST_VALUES", 5)
    monkeypatch.setattr(gathering, "MOST_KEYS", 3)
    needles = needles_of([first, second], [])
    assert (needles.values, needles.wrapped_keys) == (5, 3)
    assert needles.beyond > 0
    for value in ("Ann Abbott", "ann@example.org", "Bo Brook", "bo@example.org"):
        assert needles.matcher.count([value.encode()]).values > 0
    assert needles.matcher.count([b"a broken kettle"]).values == 0


def test_what_says_nothing_of_anybody_is_left_out_and_counted() -> None:
    values = ("Ann", "2026-03-01", "refund", "Ann Abbott")
    needles = needles_of([Known(values, ())], [b"words: question, Refund, incident".lower()])
    assert (needles.values, needles.left_out, needles.beyond) == (1, 3, 0)
    assert needles.matcher.count([b"refund 2026-03-01 Ann"]).values == 0
    assert needles.matcher.count([b"Ann Abbott"]).values > 0


def test_a_value_that_only_contains_a_clear_word_is_looked_for() -> None:
    needles = needles_of([Known(("my refund is late",), ())], [b"refund"])
    assert needles.matcher.count([b"my refund is late"]).values > 0


def test_nothing_that_is_known_is_shown(desk: Desk) -> None:
    read = known(desk)
    shown = repr(read) + repr(needles_of([read], []))
    assert not [value for value in read.values if len(value) > 3 and value in shown]


# -- what a proof says --------------------------------------------------------------------------------------------


def places_of(certificate: dict[str, Any]) -> dict[str, Any]:
    certificates.verify(certificate)
    return {place["place"]: place for place in certificate["proof"]["places"]}


def test_a_shred_is_proven_and_its_certificate_says_where_was_looked_for_how_much(desk: Desk) -> None:
    certificate = desk.shred("ann@example.org", prove=True)
    proof = certificate["proof"]
    assert proof["holds"]
    assert (proof["shreds"], proof["wrapped_keys"], proof["beyond"], proof["waiting"]) == (1, 4, 0, 0)
    assert proof["values"] >= 8
    assert proof["left_out"] >= 3
    places = places_of(certificate)
    assert places[everywhere.FACTS]["bytes"] > 1_000
    assert all(place["residue"] == place["values"] == place["wrapped_keys"] == 0 for place in places.values())
    elsewhere = [one["place"] for one in proof["not_searched"]]
    assert certificate["residue"]["not_searched"] == [
        "backups",
        "what is compressed in database files",
        "contents of attached files",
        *elsewhere,
    ]
    assert (proof["outcome"], proof["tables_read"]) == ("holds", True)
    assert "write-ahead log of the key database" in elsewhere


def test_without_a_proof_nothing_is_said_of_one(desk: Desk) -> None:
    certificate = desk.shred("ann@example.org")
    assert "proof" not in certificate
    assert "process logs" in certificate["residue"]["not_searched"]


def test_a_value_that_somebody_wrote_down_in_the_clear_breaks_the_proof(desk: Desk) -> None:
    with psycopg.connect(desk.house.endpoints.log_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes AS SELECT %s::jsonb AS note", ('{"said by": "Ann Abbott"}',))
    certificate = desk.shred("ann@example.org", prove=True)
    assert not certificate["proof"]["holds"]
    found = {name: place for name, place in places_of(certificate).items() if place["residue"]}
    assert list(found) == [everywhere.REST_OF_LOG]
    assert found[everywhere.REST_OF_LOG]["values"] == 1


def test_a_wrapped_key_that_somebody_copied_breaks_the_proof(desk: Desk) -> None:
    with psycopg.connect(desk.house.endpoints.keys_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE aside AS SELECT wrapped FROM subjects")
    certificate = desk.shred("ann@example.org", prove=True)
    assert not certificate["proof"]["holds"]
    assert places_of(certificate)[everywhere.REST_OF_KEYS]["wrapped_keys"] == 1


def test_statistics_keep_no_key_that_was_shredded(desk: Desk) -> None:
    with psycopg.connect(desk.house.endpoints.keys_dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")
    assert desk.shred("ann@example.org", prove=True)["proof"]["holds"]


def test_news_that_waits_is_said_and_breaks_nothing(desk: Desk) -> None:
    desk.house.recipients.add(desk.tenant.id, "crm", ("erased",))
    proof = desk.shred("ann@example.org", prove=True)["proof"]
    assert (proof["holds"], proof["waiting"]) == (True, 1)


def test_the_shreds_of_one_order_share_a_proof(desk: Desk) -> None:
    with psycopg.connect(desk.house.endpoints.log_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes AS SELECT 'Bo Brook' AS note")
    wanted = [
        desk.house.shredding.find(desk.tenant.id, Reference(Kind.EMAIL, address))
        for address in ("ann@example.org", "bo@example.org")
    ]
    searched: list[str] = []
    order = Order(desk.tenant.id, "test", "tester", prove=True)
    outcomes = desk.house.shredding.request_all(wanted, order, searching=lambda place, _: searched.append(place))
    proofs = [outcome["proof"] for outcome in outcomes if isinstance(outcome, dict)]
    assert len(proofs) == 2
    assert proofs[0] == proofs[1]
    assert (proofs[0]["shreds"], proofs[0]["holds"]) == (2, False)
    told = {one["place"] for one in (*proofs[0]["places"], *proofs[0]["not_searched"])}
    assert len(searched) == len(set(searched)) == len(told)


def test_a_shred_that_a_crash_cut_off_has_no_proof(
    databases: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: object) -> None:
        raise Crash

    with desk_house(databases, tmp_path) as opened:
        desk = filled(Desk(opened))
        with monkeypatch.context() as patch:
            patch.setattr(opened.shredding, "_sweep", dying)
            with pytest.raises(Crash):
                desk.shred("ann@example.org", prove=True)
    with desk_house(databases, tmp_path) as again:
        again.shredding.resume()
        certificate = again.shredding.first_certificate(Desk(again, "other").house.tenants.named("acme").id, ANN)
    assert certificate is not None
    assert "proof" not in certificate
    assert "process logs" in certificate["residue"]["not_searched"]


def test_a_place_out_of_reach_keeps_nobody_from_being_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise psycopg.OperationalError("quotes Ann Abbott")

    monkeypatch.setattr(Catalogs, "search", broken)
    certificate = desk.shred("ann@example.org", prove=True)
    said = {one["place"]: one["why"] for one in certificate["proof"]["not_searched"]}
    assert said[everywhere.LOG_CATALOGS] == said[everywhere.KEY_CATALOGS] == "it could not be read to its end"
    assert certificate["residue"]["found"] == 0


def test_looking_for_a_person_leaves_one_access_line(desk: Desk) -> None:
    with psycopg.connect(desk.house.endpoints.log_dsn, autocommit=True) as connection:
        count = "SELECT count(*) FROM access_lines"
        before = connection.execute(count).fetchone()
        desk.shred("contact 1", prove=True, living=True)
        after = connection.execute(count).fetchone()
    assert before is not None
    assert after is not None
    assert after[0] - before[0] == 1


def test_a_proof_stays_when_a_certificate_is_issued_anew(desk: Desk) -> None:
    certificate = desk.shred("ann@example.org", prove=True)
    key = desk.house.signing
    again = certificates.reissued(certificate, {"source_cleared_since": AT}, key, at=AT + timedelta(days=1))
    certificates.verify(again)
    assert again["proof"] == certificate["proof"]


def counts(**more: Any) -> dict[str, Any]:
    names = ("shreds", "values", "wrapped_keys", "left_out", "beyond", "waiting")
    return dict.fromkeys(names, 0) | {"tables_read": True} | more


@pytest.mark.parametrize(
    ("given", "residue", "outcome"),
    [
        (counts(values=1), 0, "holds"),
        (counts(wrapped_keys=1), 0, "holds"),
        (counts(), 0, "partly"),
        (counts(values=5, beyond=1), 0, "partly"),
        (counts(values=5, tables_read=False), 0, "partly"),
        (counts(values=5), 1, "found"),
        (counts(beyond=1, tables_read=False), 1, "found"),
    ],
)
def test_a_proof_holds_only_where_enough_was_looked_for_in_enough_places(
    given: dict[str, Any], residue: int, outcome: str
) -> None:
    entry = proof_entry(**given, places=[PlaceSearched("the log", 9, residue, 0, residue)], not_searched=[])
    assert (entry["outcome"], entry["holds"]) == (outcome, outcome == "holds")


def test_a_proof_of_many_parts_that_cannot_be_read_can_be_written() -> None:
    """After a shred it is too late for an error: numbers are no part of a phrase."""
    proof = Proof(1, 1, 1, 0, 0, 0, [(Tables("the log", "", lambda *_: True), Searched(unread=12_345_678))], [])
    unread = Proof(1, 1, 1, 0, 0, 0, proof.searched, [("the log", UNREAD)])
    entry = unread.as_entry()
    assert entry["outcome"] == "partly"
    assert entry["not_searched"] == [{"place": "the log", "why": UNREAD}]
    # The place was not looked into, but for that.
    assert entry["places"] == []
    assert proof.as_entry()["places"][0]["unread"] == 12_345_678


def test_what_was_found_before_a_place_broke_off_breaks_the_proof(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Tables.search

    def broken(place: Tables, matcher: Matcher, into: Searched) -> None:
        search(place, matcher, into)
        raise RuntimeError("quotes Ann Abbott")

    with psycopg.connect(desk.house.endpoints.log_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes AS SELECT 'Ann Abbott' AS note")
    monkeypatch.setattr(Tables, "search", broken)
    certificate = desk.shred("ann@example.org", prove=True)
    proof = certificate["proof"]
    assert (proof["holds"], proof["outcome"], proof["tables_read"]) == (False, "found", False)
    assert places_of(certificate)[everywhere.REST_OF_LOG]["residue"] == 1
    assert {"place": everywhere.REST_OF_LOG, "why": "it could not be read to its end"} in proof["not_searched"]


def shred_as_keeper(made: Logins, folder: Path, reference: Reference) -> dict[str, Any]:
    with desk_house(made.of(KEEPER), folder) as opened:
        tenant = opened.tenants.named("acme").id
        found = opened.shredding.find(tenant, reference)
        proof: dict[str, Any] = opened.shredding.request(found, Order(tenant, "test", "tester", prove=True))["proof"]
        return proof


def test_a_keeper_proves_what_it_may_read_and_is_told_what_it_may_not(databases: Endpoints, tmp_path: Path) -> None:
    with desk_house(databases, tmp_path) as opened:
        filled(Desk(opened)).tickets()
    with logins(databases) as made, projected(made):
        proof = shred_as_keeper(made, tmp_path, ANN)
        assert (proof["outcome"], proof["tables_read"]) == ("holds", True)
        assert {one["place"] for one in proof["not_searched"] if one["why"] == UNREAD} == {
            everywhere.LOG_CATALOGS,
            everywhere.LOG_MIGRATIONS,
            everywhere.KEY_CATALOGS,
            everywhere.KEY_MIGRATIONS,
        }
        with psycopg.connect(databases.log_dsn, autocommit=True) as owner:
            owner.execute("CREATE TABLE of_the_owner AS SELECT 'Bo Brook' AS note")
        proof = shred_as_keeper(made, tmp_path, Reference(Kind.EMAIL, "bo@example.org"))
    assert (proof["outcome"], proof["tables_read"]) == ("partly", False)


def test_a_wrong_setting_is_told_before_anything_is_destroyed(databases: Endpoints, tmp_path: Path) -> None:
    with desk_house(databases, tmp_path) as opened:
        desk = filled(Desk(opened))
        # As it would be after an edit of the settings that nothing else has met.
        wrong = Proving(
            Gathering(opened.facts, opened.keys, opened.roots),
            opened.keys,
            lambda: [Bucket("files", blob_store("s3://bucket?region=x"))],
            list,
        )
        with pytest.raises(SettingsWrong):
            wrong.known(desk.tenant.id, opened.shredding.find(desk.tenant.id, ANN))


def test_of_long_texts_and_keys_only_what_is_looked_for_is_kept(desk: Desk) -> None:
    read = known(desk)
    assert max(map(len, read.values)) <= 3 * PIECE
    assert {len(key) for key in read.wrapped_keys} == {KEY_BYTES}
    whole = "it drips on the oven " * 40 + "and stops"
    matcher = needles_of([read], []).matcher
    for start in (0, len(whole) // 2 - 30, len(whole) - PIECE):
        assert matcher.count([whole[start : start + 60].encode()]).values > 0


def test_what_is_short_comes_before_long_texts() -> None:
    texts = ["x" * 64, "a long text " * 9, "+4930123456", "Ann Abbott", "an address of some length, 12345 Town"]
    in_order = sorted(texts, key=gathering._by_weight)
    assert in_order[0] == "x" * 64
    assert in_order[-1].startswith("a long text")


def test_a_limit_falls_on_long_texts_of_other_things_and_not_on_numbers(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = known(desk)
    telling = [value for value in read.values if is_telling(value)]
    assert telling[-1].startswith("it drips")
    monkeypatch.setattr(gathering, "MOST_VALUES", len(telling) - 1)
    needles = needles_of([read], [])
    assert needles.beyond == 1
    assert needles.matcher.count([b"K-77-2041"]).values > 0


def test_words_that_the_product_is_written_in_are_not_looked_for_in_large_letters_either() -> None:
    needles = needles_of([Known(("Select all", "Ann Abbott"), ())], [b"select all"])
    assert needles.matcher.count([b"SELECT ALL"]).values == 0
    assert needles.matcher.count([b"ANN ABBOTT"]).values == 1


def test_only_phrases_of_ours_stand_in_a_proof() -> None:
    given = counts()
    for private in ("ann@example.org", "4f7c1d2e-0000-4000-8000-000000000000", ""):
        with pytest.raises(ValueError, match="phrases of our own"):
            proof_entry(**given, places=[PlaceSearched(private, 0, 0, 0, 0)], not_searched=[])
        with pytest.raises(ValueError, match="phrases of our own"):
            proof_entry(**given, places=[], not_searched=[("the log", private)])
    assert not proof_entry(**given, places=[PlaceSearched("the log", 1, 1, 0, 1)], not_searched=[])["holds"]


def test_needles_are_collected_with_their_search(desk: Desk) -> None:
    """No part of the house holds what was looked for once the certificate is signed."""
    desk.shred("ann@example.org", prove=True)
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Known)]
