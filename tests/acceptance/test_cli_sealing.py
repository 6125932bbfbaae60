"""A publisher seals to the desk on the command line, and the desk opens; pairs are turned and listed."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from kafka import KafkaAdminClient

from services.embedded import Endpoints
from services.kafka.connecting import Broker
from services.kafka.topics import RECEIPTS
from tests.acceptance.conftest import Sealdesk

DESK = "examples/desk.jsonl"


@pytest.fixture
def topic(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SEALDESK_KAFKA", broker.bootstrap)
    name = f"sealing.{uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    known = admin.list_topics()
    for one in {name, RECEIPTS} - set(known):
        admin.create_topics({one: {"num_partitions": 1, "replication_factor": 1}})
    admin.close()
    return name


@pytest.fixture
def half(sealdesk: Sealdesk, tmp_path: Path) -> Path:
    """The desk's public half, as an officer hands it over."""
    sealdesk.done("tenant", "add", "acme")
    path = tmp_path / "desk.pub.json"
    path.write_text(sealdesk.done("keys", "public", "--tenant", "acme").out)
    return path


def test_a_file_that_was_published_sealed_is_taken_in_whole(
    sealdesk: Sealdesk, topic: str, half: Path, tmp_path: Path
) -> None:
    secret, trusted = tmp_path / "publisher.secret", tmp_path / "signing" / "certificate.pub"
    sealed = ("--seal", str(half), "--secret", str(secret), "--signed-by", str(trusted))

    sent = sealdesk.json("publish", DESK, "--topic", topic, *sealed)
    taken = sealdesk.json("consume", "--until-idle", "--topic", topic, "--group", topic)
    imported = sealdesk.json("import", DESK)

    assert sent == {"read": 129, "sent": 127, "invalid": 2}
    # One line of the file stands there twice.
    assert (taken["read"], taken["stored"], taken["duplicates"]) == (127, 126, 1)
    # What came sealed is known when it comes in clear: the ids inside are the publisher's own.
    assert (imported["stored"], imported["duplicates"]) == (0, 127)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_a_publisher_waits_for_receipts_no_longer_than_it_was_told(
    sealdesk: Sealdesk, topic: str, half: Path, tmp_path: Path
) -> None:
    sealed = ("--seal", str(half), "--secret", str(tmp_path / "secret"), "--unchecked")

    sent = sealdesk.json("publish", DESK, "--topic", topic, *sealed, "--receipts", "0.5")
    said = sealdesk.done("publish", DESK, "--topic", topic, "--receipts", "0").out

    # Two lines of the file have one id, and so one receipt.
    nothing = {"stored": 0, "duplicates": 0, "refused": 0, "quarantined": 0, "missing": 126}
    assert sent["receipts"] == nothing
    assert said.splitlines()[-1] == "receipts: 0 stored, 0 duplicates, 0 refused, 0 quarantined, 126 missing"


@pytest.mark.parametrize(
    "words",
    [
        ("--seal", "HALF"),
        ("--secret", "x"),
        ("--signed-by", "x"),
        ("--seal", "x", "--secret", "y", "--unchecked"),
        ("--unchecked",),
    ],
)
def test_sealing_by_halves_is_refused_with_what_is_missing(
    sealdesk: Sealdesk, topic: str, half: Path, words: tuple[str, ...]
) -> None:
    ended = sealdesk("publish", DESK, "--topic", topic, *(str(half) if word == "HALF" else word for word in words))

    assert ended.status == 2
    assert "--secret" in ended.err or "cannot be read" in ended.err


def test_a_public_half_that_was_swapped_is_refused(sealdesk: Sealdesk, topic: str, half: Path, tmp_path: Path) -> None:
    swapped = json.loads(half.read_text()) | {"public_key": "A" * 43 + "="}
    half.write_text(json.dumps(swapped))

    sealed = ("--seal", str(half), "--secret", str(tmp_path / "secret"))
    ended = sealdesk("publish", DESK, "--topic", topic, *sealed, "--unchecked")

    assert (ended.status, ended.out) == (2, "")
    assert "sealdesk keys public" in ended.err


def test_whether_the_public_half_is_checked_has_to_be_said(
    sealdesk: Sealdesk, topic: str, half: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    sealed = ("publish", DESK, "--topic", topic, "--seal", str(half), "--secret", str(secret))
    ended = sealdesk(*sealed)

    assert (ended.status, ended.out) == (2, "")
    assert "--signed-by" in ended.err
    assert not secret.exists()
    # A path that was mistyped makes a new secret, and it is said.
    assert f"{secret} was not there and was made" in sealdesk.done(*sealed, "--unchecked").err
    assert "was made" not in sealdesk.done(*sealed, "--unchecked").err


def test_what_did_not_open_is_replayed_once_its_pair_is_there_again(
    sealdesk: Sealdesk, topic: str, half: Path, tmp_path: Path, databases: Endpoints
) -> None:
    sealed = ("--seal", str(half), "--secret", str(tmp_path / "s"), "--unchecked")
    sealdesk.done("publish", DESK, "--topic", topic, *sealed)
    with psycopg.connect(databases.keys_dsn) as connection:
        # As after a restore to a time before the pair was made.
        connection.execute("CREATE TABLE backup AS TABLE pairs")
        connection.execute("DELETE FROM pairs")
    taken = sealdesk.json("consume", "--until-idle", "--topic", topic, "--group", topic)
    again = sealdesk.json("quarantine", "replay", "--unclaimed")
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("INSERT INTO pairs SELECT * FROM backup")
    replayed = sealdesk.json("quarantine", "replay", "--unclaimed")

    assert (taken["read"], taken["stored"]) == (127, 0)
    assert (again["stored"], again["quarantined"]) == (0, again["read"])
    # One line of the file stands there twice: sealed, its two records are not the same bytes.
    assert (replayed["read"], replayed["stored"], replayed["duplicates"]) == (127, 126, 1)
    for under in (("--unclaimed",), ()):
        assert sealdesk.done("quarantine", "list", "--json", *under).json == []
    assert sealdesk.json("import", DESK)["stored"] == 0


def test_pairs_are_turned_and_listed(sealdesk: Sealdesk, half: Path) -> None:
    first = json.loads(half.read_text())
    turned = sealdesk.json("keys", "pair", "turn")
    second = json.loads(sealdesk.done("keys", "public").out)
    listed = sealdesk.json("keys", "pair", "list")

    assert (first["epoch"], second["epoch"], turned["epoch"]) == (1, 2, 2)
    assert first["public_key"] != second["public_key"]
    assert first["signing_key"] == second["signing_key"]
    assert [(pair["epoch"], pair["state"]) for pair in listed] == [(1, "superseded"), (2, "current")]
    assert listed[0]["gone_at"] is None
    assert listed[0]["waits_for"].startswith("publishers have until")
    assert listed[1]["waits_for"] == ""
    assert datetime.fromisoformat(listed[0]["superseded_at"]).tzinfo is UTC
    assert "superseded" in sealdesk.done("keys", "pair", "list", "--tenant", "acme").out
    assert sealdesk("keys", "public", "--tenant", "nobody").status == 2
