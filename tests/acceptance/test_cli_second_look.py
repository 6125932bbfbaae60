"""The command line where somebody mistypes, asks once more, or means something other than a person or a ticket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli.entering import settings_of
from tests.acceptance.conftest import Sealdesk
from tests.acceptance.test_cli import event

HISTORY = b"".join(
    [
        event("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.example"),
        event("contact.created", "contact 2", id=2, name="Bob Brown", email="bob@home.example"),
        event("agent.created", "agent 7", id=7, name="Nora Beck"),
        event("ticket.opened", "ticket 20", id=20, requester_id=1, subject="lamp"),
        event("ticket.replied", "ticket 20", id=30, user_id=7, body="soon"),
        event("call.logged", "call 5", id=5, contact_id=1, duration_seconds=61, direction="incoming"),
        event("company.created", "company 9", id=9, name="Lamps"),
    ]
)

READING = {
    "query": ("query", "tickets"),
    "query reports": ("query", "reports"),
    "find": ("find", "contact 1"),
    "status": ("status",),
    "verify": ("verify",),
    "certificate": ("certificate", "show", "0b9c5a52-6b6e-4d8a-b1a4-0c6ad6f3b8c1"),
    "keys status": ("keys", "status"),
    "keys check": ("keys", "check"),
    "hold list": ("hold", "list"),
    "purge list": ("purge", "list"),
    "quarantine list": ("quarantine", "list"),
    "tenant list": ("tenant", "list"),
    "shred": ("shred", "contact", "--ref", "1", "--ground", "test", "--yes"),
    "rebuild": ("rebuild", "all"),
}


@pytest.fixture
def desk(sealdesk: Sealdesk) -> Sealdesk:
    sealdesk.done("import", "-", "--format", "cloudevents", stdin=HISTORY)
    return sealdesk


@pytest.fixture
def own_servers(monkeypatch: pytest.MonkeyPatch, config_home: Path) -> pytest.MonkeyPatch:
    """No setting says where databases are: a data folder has its own."""
    for name in ("DATA", "LOG_DSN", "KEYS_DSN", "ROOTS", "LEDGER", "SIGNING"):
        monkeypatch.delenv(f"SEALDESK_{name}", raising=False)
    return monkeypatch


@pytest.mark.parametrize("command", READING)
def test_a_folder_that_is_no_desk_stays_as_it_is_and_nothing_is_started(
    own_servers: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    sealdesk, mistyped = Sealdesk(own_servers), tmp_path / "dekc"
    for there in (False, True):
        if there:
            mistyped.mkdir()
        ended = sealdesk(*READING[command], "--data", str(mistyped))
        assert ended.status == 2
        assert f"There is no desk in {mistyped}; sealdesk import or sealdesk up makes one." in ended.err
        assert mistyped.exists() is there
    assert list(mistyped.iterdir()) == []
    own_servers.setenv("SEALDESK_DATA", str(mistyped))
    assert sealdesk(*READING[command]).status == 2
    assert list(mistyped.iterdir()) == []


def test_whoever_makes_a_desk_says_so_once(
    own_servers: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_of(tmp_path / "desk", makes=True)
    assert f"a new desk is made in {tmp_path / 'desk'}" in capsys.readouterr().err
    settings_of(tmp_path / "desk", makes=True)
    settings_of(tmp_path / "desk")
    assert capsys.readouterr().err == ""


def test_a_repeated_shred_of_many_gives_their_first_certificates(desk: Sealdesk, tmp_path: Path) -> None:
    people, out = tmp_path / "people.txt", tmp_path / "certificates.json"
    people.write_text("contact 1\nann@home.example\ncontact 999\n")
    order = ("shred", "contact", "--from", str(people), "--ground", "test", "--yes")
    first = desk.json(*order)
    assert len(first) == 1
    assert desk.json(*order, "--out", str(out)) == first
    assert json.loads(out.read_text()) == first

    people.write_text("contact 1\ncontact 2\n")
    ended = desk.done(*order, "--json", "--out", str(out))
    assert [first[0]["certificate_id"] in str(certificate) for certificate in ended.json] == [True, False]
    assert json.loads(out.read_text()) == ended.json
    assert "shredded before, with their first certificates: 1" in ended.err


def test_a_list_of_certificates_is_checked_one_by_one(desk: Sealdesk, tmp_path: Path) -> None:
    certificates = desk.json(
        *("shred", "contact", "--from", "-", "--ground", "test", "--yes"), stdin=b"contact 1\ncontact 2\n"
    )
    check = ("certificate", "verify", "-")
    whole = json.dumps(certificates).encode()
    good = {"valid": True, "origin_checked": False, "checked": 2, "bad": []}
    assert desk.json(*check, stdin=whole) == good
    key = tmp_path / "signing" / "certificate.pub"
    assert desk.json(*check, "--key", str(key), stdin=whole) == good | {"origin_checked": True}
    assert "All 2 certificates are unchanged" in desk.done(*check, stdin=whole).out

    certificates[1]["counts"]["facts"] += 1
    ended = desk(*check, "--json", stdin=json.dumps([*certificates, "no certificate"]).encode())
    assert ended.status == 1
    assert ended.json == {"valid": False, "origin_checked": False, "checked": 3, "bad": [2, 3]}
    assert "certificate 2 of 3: " in ended.err
    assert desk(*check, stdin=b"[]").status == 1


@pytest.mark.parametrize(
    ("reference", "kind"),
    [("contact 1", "person"), ("ticket 20", "ticket"), ("call 5", "call"), ("company 9", "company")],
)
def test_find_says_of_what_kind_it_is(desk: Sealdesk, reference: str, kind: str) -> None:
    assert [one["kind"] for one in desk.json("find", reference)["found"]] == [kind]


@pytest.mark.parametrize("thing", ["call 5", "company 9", "ticket 20"])
def test_whatever_can_be_shredded_can_be_held(desk: Sealdesk, thing: str) -> None:
    held = desk.json("hold", "add", thing, "--why", "court case")["hold"]
    shred = ("shred", "thing", thing, "--ground", "test", "--yes")
    assert desk(*shred).status == 4
    desk.done("hold", "release", held, "--why", "it is over")
    assert desk(*shred).status == 0


def test_a_hold_is_on_one_thing_or_person_and_on_what_is_one(desk: Sealdesk) -> None:
    for words in (("call 5", "--contact", "1"), (), ("note 5",), ("call",)):
        assert desk("hold", "add", *words, "--why", "court case").status == 2


def test_reports_are_tables_of_words_and_numbers(desk: Sealdesk) -> None:
    shown = desk.done("query", "reports").out
    assert "{" not in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["reply", "by_author", "agent", "1"] in rows
    assert ["call", "by_day", "2026-03-01", "1"] in rows
