"""`shred --prove`, as an officer types it, on servers of a data folder: all that they wrote is looked through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from services.cli.handing_over import is_proven, proofs_in_words
from services.embedded import Endpoints, serving
from services.proving import gathering
from services.settings import Settings
from tests.acceptance.conftest import Sealdesk
from tests.acceptance.test_cli_forgetting import HISTORY, event
from tests.conftest import IN_A_HURRY


class Ours:
    """The command line over servers of a data folder, and what they can be reached by."""

    def __init__(self, sealdesk: Sealdesk, folder: Path, endpoints: Endpoints) -> None:
        self.sealdesk = sealdesk
        self.folder = folder
        self.endpoints = endpoints


@pytest.fixture(scope="module")
def ours(config_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    """A desk of three people, an agent and a file, after the servers have gathered statistics."""
    folder = tmp_path_factory.mktemp("house")
    history = HISTORY + b"".join(
        [
            event("agent.created", "20", id=7, name="Nora North", email="nora@desk.example", signature="Yours, Nora"),
            event("contact.created", "21", id=4, name="Dora Dean", email="dora@home.example"),
            event("ticket.opened", "22", id=23, requester_id=4, subject="a lamp for Dora", description="it is dark"),
            event("contact.created", "23", id=5, name="Emil Eck", email="emil@home.example"),
            event("contact.created", "24", id=6, name="Fay Ferro", email="fay@home.example"),
            event("contact.created", "25", id=8, name="Gus Grant", email="gus@home.example", phone="+49 30 9876543"),
            event("contact.created", "26", id=9, name="Hal Hook", email="hal@home.example"),
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALDESK_DATA", str(folder / "data"))
        patch.setenv("SEALDESK_LOGS", str(folder / "logs"))
        (folder / "logs").mkdir()
        with serving(Settings.read(folder / "data", {}), extra=IN_A_HURRY) as endpoints:
            sealdesk = Sealdesk(patch)
            sealdesk.done("import", "-", "--format", "cloudevents", "--tenant", "acme", stdin=history)
            for dsn in (endpoints.log_dsn, endpoints.keys_dsn):
                with psycopg.connect(dsn, autocommit=True) as connection:
                    connection.execute("ANALYZE")
            yield Ours(sealdesk, folder, endpoints)


def shred(*words: str) -> tuple[str, ...]:
    return ("shred", *words, "--ground", "test", "--yes", "--prove")


def test_a_person_is_forgotten_and_all_that_the_servers_wrote_is_looked_through(ours: Ours, tmp_path: Path) -> None:
    reports = ours.sealdesk.done("query", "reports", "--json").out
    out = tmp_path / "certificate.json"
    ended = ours.sealdesk.done(*shred("contact", "--ref", "1"), "--out", str(out))
    assert ended.out.endswith("proof: it holds\n")
    assert "FOUND" not in ended.out
    assert "Abbott" not in ended.out + ended.err + out.read_text()
    proof = json.loads(out.read_text())["proof"]
    assert {one["place"] for one in proof["not_searched"]} == {
        "topics of records",
        "topics of receipts, news and replies",
        # No file was ever attached.
        "sealed files",
    }
    places = {place["place"]: place for place in proof["places"]}
    # Of the keys that died, the files of the key database still hold what roots above them have yet to make worthless.
    assert {name for name, place in places.items() if place["wrapped_keys"]} == {
        "files of the key database",
        "write-ahead log of the key database",
    }
    assert not any(place["values"] or place["residue"] for place in places.values())
    assert places["files of the log database"]["bytes"] > 10**7
    assert ours.sealdesk("certificate", "verify", str(out)).status == 0
    assert ours.sealdesk.done("query", "reports", "--json").out == reports
    assert ours.sealdesk("verify").status == 0


@pytest.mark.parametrize("words", ["agent --ref 7", "ticket --ref 22", "thing call_5"])
def test_an_agent_a_ticket_and_any_thing_can_be_proven_gone(ours: Ours, words: str) -> None:
    certificate = ours.sealdesk.json(*shred(*(word.replace("_", " ") for word in words.split())))
    assert certificate["proof"]["holds"]
    assert certificate["proof"]["values"] > 0
    assert certificate["proof"]["wrapped_keys"] > 0


def test_a_value_in_the_log_of_a_process_ends_with_1_and_the_same_command_again_says_so_again(ours: Ours) -> None:
    (ours.folder / "logs" / "proxy.log").write_text("GET /contacts?email=dora%40home.example HTTP/1.1\n")
    for _ in range(2):
        ended = ours.sealdesk(*shred("contact", "--ref", "4"))
        assert ended.status == 1
        assert "FOUND in logs of other processes: 1 values, 0 wrapped keys" in ended.out
        assert ended.out.endswith("proof: IT DOES NOT HOLD\n")
        assert "dora" not in ended.out + ended.err
    (ours.folder / "logs" / "proxy.log").unlink()


def test_everybody_in_a_file_shares_a_proof(ours: Ours, tmp_path: Path) -> None:
    people = tmp_path / "people.txt"
    people.write_text("contact 2\nemil@home.example\n")
    ended = ours.sealdesk.done(*shred("contact", "--from", str(people)), "--json")
    proofs = [certificate["proof"] for certificate in ended.json]
    assert [(proof["shreds"], proof["holds"]) for proof in proofs] == [(2, True), (2, True)]
    assert "proof: it holds" in ended.err


def test_who_asks_for_a_proof_after_a_shred_without_one_is_told_that_it_is_too_late(ours: Ours) -> None:
    ours.sealdesk.done("shred", "contact", "--ref", "6", "--ground", "test", "--yes")
    ended = ours.sealdesk(*shred("contact", "--ref", "6"))
    assert ended.status == 1
    assert "proof: none" in ended.out


def test_the_same_file_again_hands_over_the_first_proofs(ours: Ours, tmp_path: Path) -> None:
    people = tmp_path / "people.txt"
    people.write_text("contact 2\nemil@home.example\n")
    ended = ours.sealdesk.done(*shred("contact", "--from", str(people)))
    assert ended.out.count("shredded before; proof: it holds") == 1


def test_a_hit_is_told_though_a_table_beside_it_has_a_type_without_a_binary_form(ours: Ours) -> None:
    with psycopg.connect(ours.endpoints.log_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE a_notes AS SELECT 493098765430 / 10 AS phone")
        connection.execute("CREATE TABLE b_grants (who aclitem)")
    try:
        ended = ours.sealdesk(*shred("contact", "--ref", "8"))
    finally:
        with psycopg.connect(ours.endpoints.log_dsn, autocommit=True) as connection:
            connection.execute("DROP TABLE a_notes, b_grants")
    assert ended.status == 1
    assert "FOUND in other tables of the log database: 1 values, 0 wrapped keys" in ended.out
    assert ended.out.endswith("proof: IT DOES NOT HOLD\n")


def test_a_proof_that_looked_for_less_than_there_was_does_not_say_that_it_holds(
    ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MOST_VALUES", 1)
    ended = ours.sealdesk(*shred("contact", "--ref", "9"), "--json")
    assert ended.status == 1
    assert (ended.json["proof"]["outcome"], ended.json["proof"]["holds"]) == ("partly", False)
    again = ours.sealdesk(*shred("contact", "--ref", "9"))
    assert again.status == 1
    assert "beyond what is looked for at once: 1" in again.out
    assert "proof: PARTLY. Nothing was found, but" in again.out


def test_proofs_of_earlier_certificates_are_read_as_they_were_meant(ours: Ours) -> None:
    place = {"place": "the log", "bytes": 9, "values": 0, "wrapped_keys": 0, "residue": 0}
    proof = {
        "holds": True,
        "shreds": 1,
        "values": 2,
        "wrapped_keys": 1,
        "left_out": 0,
        "beyond": 0,
        "waiting": 0,
        "places": [place],
        "not_searched": [{"place": "the log", "why": "3 of its parts cannot be read here"}],
    }
    assert is_proven({"proof": proof})
    assert proofs_in_words([{"proof": proof}])[-2:] == [
        "not searched: the log (3 of its parts cannot be read here)",
        "proof: it holds",
    ]
    found = proof | {"holds": False, "places": [place | {"values": 1, "residue": 1}]}
    assert not is_proven({"proof": found})
    assert proofs_in_words([{"proof": found}])[-1] == "proof: IT DOES NOT HOLD"
