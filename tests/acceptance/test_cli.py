"""The command line as its users meet it: exit statuses, shapes of JSON, and what it never repeats."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from tenacity import Retrying, stop_after_delay, wait_fixed

from crypto import certificates
from services.cli.app import app, run
from services.embedded import Endpoints
from services.kafka.connecting import Broker
from services.projecting import MODELS
from tests.acceptance.conftest import Sealdesk

ROOT = Path(__file__).parents[2]
DESK, WORDS = str(ROOT / "examples" / "desk.jsonl"), str(ROOT / "examples" / "acme_vocabulary.toml")
SHRED = ("shred", "contact", "--ground", "art17-1-a")
ANN = b"ann@home.org"
EFFECT = {
    *("facts", "tickets", "calls", "chats", "posts", "files", "references"),
    *("others_tickets", "others_entries", "merged"),
}


def event(type_: str, subject: str, /, id_: str | None = None, **data: Any) -> bytes:
    written = {
        "specversion": "1.0",
        "id": id_ or f"{type_} {subject} {len(data)}",
        "source": "tests",
        "type": f"sealdesk.{type_}.v1",
        "subject": subject,
        "tenant": "acme",
        "time": "2026-03-01T12:00:00Z",
        "data": data,
    }
    return json.dumps(written).encode() + b"\n"


ANNS = [
    event("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.org"),
    event("contact.created", "contact 2", id=2, name="Abbott, Ánn", email="a.n.n+desk@home.org"),
    event("contact.created", "contact 3", id=3, name="Bob Brown", email="bob@work.org"),
    event("agent.created", "agent 7", id=7, name="Nora Beck", email="nora@desk.org"),
    event("ticket.opened", "ticket 20", id=20, requester_id=1, subject="The bell", status="open", priority="high"),
    event("ticket.opened", "ticket 30", id=30, requester_id=3, subject="Ann Abbott says hello", status="closed"),
    event("ticket.replied", "ticket 30", ticket_id=30, user_id=1, incoming=True, body_text="I can help. Ann"),
]


@pytest.fixture
def desk(sealdesk: Sealdesk) -> Sealdesk:
    """Ann, who is known twice, Bob, Nora the agent, and two tickets."""
    sealdesk.done("import", "-", stdin=b"".join(ANNS))
    return sealdesk


@pytest.fixture(scope="module")
def bad_input(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records that cannot be taken, each with a secret in it."""
    lines = [
        b'{"secret-of-ann": ',
        event("contact.hugged", "contact 1", name="secret-of-ann"),
        event("ticket.opened", "secret-of-ann", subject="secret-of-ann"),
        event("ticket.rated", "ticket 20", rating="secret-of-ann"),
        event("contact.created", "contact 1", name={"secret-of-ann": 1}),
    ]
    path = tmp_path_factory.mktemp("bad") / "bad.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


# -- exit statuses and what is said -------------------------------------------------------------------------------


def test_without_a_command_the_help_is_shown(sealdesk: Sealdesk) -> None:
    ended = sealdesk()
    assert ended.status == 2
    assert "Usage: sealdesk" in ended.out


def _commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = getattr(command, "commands", None)
    if below is None:
        return [path]
    return [found for name, inner in below.items() for found in _commands(inner, (*path, name))]


@pytest.mark.parametrize("words", _commands(typer.main.get_command(app)), ids=" ".join)
def test_every_command_explains_itself_with_an_example(
    words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Usage: sealdesk {' '.join(words)}" in said
    assert "Example" in said


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("import", "secret-of-ann.jsonl"), 2),
        (("import", DESK, "--format", "secret-of-ann"), 2),
        (("import", "x.csv"), 2),
        (("secret-of-ann",), 2),
        (("query", "secret-of-ann"), 2),
        (("query", "tickets", "--limit", "secret-of-ann"), 2),
        (("query", "tickets", "secret-of-ann"), 2),
        (("query", "tickets", "--since", "secret-of-ann"), 2),
        (("query", "tickets", "--after", "secret-of-ann"), 2),
        (("query", "tickets", "--reveal"), 2),
        (("query", "tickets", "--secret-of-ann@home.org"), 2),
        (("query", "tickets", "--email", "secret-of-ann"), 3),
        (("query", "tickets", "--ref", "secret-of-ann"), 3),
        (("query", "tickets", "--tenant", "secret-of-ann"), 2),
        (("find", "secret-of-ann"), 3),
        (("shred", "contact", "--ref", "1"), 2),
        (("shred", "contact", "--ref", "1", "--ground", "secret-of-ann"), 2),
        ((*SHRED, "--email", "secret-of-ann@home.org", "--yes"), 3),
        ((*SHRED, "--ref", "1", "--email", "secret-of-ann"), 2),
        (SHRED, 2),
        (("shred", "agent", "--ref", "1", "--ground", "test", "--yes"), 3),
        (("shred", "ticket", "--ref", "99", "--ground", "test", "--yes"), 3),
        (("hold", "add", "--why", "secret-of-ann"), 2),
        (("hold", "add", "--contact", "99", "--why", "secret-of-ann"), 3),
        (("hold", "release", "secret-of-ann", "--why", "x"), 2),
        (("hold", "release", "00000000-0000-0000-0000-000000000000", "--why", "x"), 3),
        (("rebuild", "secret-of-ann"), 2),
        (("verify", "--living"), 2),
        (("publish", DESK, "--mode", "secret-of-ann"), 2),
        (("certificate", "verify", "secret-of-ann"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_ends_with_its_status_and_one_line(
    shared_desk: Sealdesk, words: Sequence[str], status: int
) -> None:
    ended = shared_desk(*words)
    assert (ended.status, ended.out) == (status, "")
    assert ended.err.startswith("sealdesk: ")
    assert ended.err.count("\n") == 1
    names_a_file = words[0] == "import" or words[0] == "certificate"
    assert names_a_file or "secret-of-ann" not in ended.err


@pytest.fixture(scope="module")
def shared_desk(shared_sealdesk: Sealdesk) -> Sealdesk:
    """The same desk for every test that changes nothing."""
    shared_sealdesk.done("import", "-", stdin=b"".join(ANNS))
    return shared_sealdesk


def test_servers_that_do_not_answer_end_with_five(sealdesk: Sealdesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALDESK_LOG_DSN", "host=/nowhere dbname=x password=secret-of-ann")
    monkeypatch.setenv("SEALDESK_KEYS_DSN", "host=/nowhere dbname=x password=secret-of-ann")
    ended = sealdesk("query", "tickets")
    assert ended.status == 5
    assert "secret-of-ann" not in ended.err


def test_publishing_to_a_broker_that_would_forget_everything_is_refused_with_advice(
    sealdesk: Sealdesk, tmp_path: Path
) -> None:
    ended = sealdesk("publish", DESK, "--data", str(tmp_path / "data"))
    assert ended.status == 5
    assert "sealdesk up" in ended.err
    assert "SEALDESK_KAFKA" in ended.err


def test_an_unexpected_error_says_its_type_and_nothing_else(shared_desk: Sealdesk) -> None:
    # An argument that is no UTF-8 arrives as a lone surrogate, and the error about it quotes the whole of it.
    ended = shared_desk("tenant", "add", "secret-of-ann \udcff")
    assert ended.status == 1
    assert "(UnicodeEncodeError)" in ended.err
    assert ended.err.count("\n") == 1
    assert "secret-of-ann" not in ended.err


# -- import -----------------------------------------------------------------------------------------------------


def test_an_import_says_in_one_line_how_every_record_fared(sealdesk: Sealdesk) -> None:
    first = sealdesk.done("import", DESK, "--json")
    assert first.out.count("\n") == 1
    assert first.json == {"read": 129, "stored": 126, "duplicates": 1, "refused": 0, "quarantined": 2}
    second = sealdesk.json("import", DESK)
    assert second == {"read": 129, "stored": 0, "duplicates": 127, "refused": 0, "quarantined": 2}


def test_an_import_into_an_empty_folder_creates_the_tenant_that_the_records_name(sealdesk: Sealdesk) -> None:
    sealdesk.done("import", DESK)
    assert [tenant["name"] for tenant in sealdesk.json("tenant", "list")] == ["acme"]


def test_an_import_creates_the_tenant_that_its_option_names_and_no_second_one(sealdesk: Sealdesk) -> None:
    sealdesk.done("import", DESK, "--tenant", "acme")
    assert sealdesk("import", DESK, "--tenant", "other").status == 2
    assert [tenant["name"] for tenant in sealdesk.json("tenant", "list")] == ["acme"]


def test_a_csv_import_declares_the_words_of_its_map(sealdesk: Sealdesk) -> None:
    header = (
        "Ticket ID,Customer Name,Customer Email,Customer Age,Customer Gender,Product Purchased,Date of Purchase,"
        "Ticket Type,Ticket Subject,Ticket Description,Ticket Status,Resolution,Ticket Priority,Ticket Channel,"
        "First Response Time,Time to Resolution,Customer Satisfaction Rating\n"
    )
    row = "1,Ann,ann@home.org,32,Other,GoPro Hero,2021-03-22,Technical issue,Bell,It broke,Open,,Low,Email,,,\n"
    csv_map = str(ROOT / "examples" / "support_tickets.toml")
    stdin = (header + row).encode()
    assert sealdesk.json("import", "-", "--format", "csv", "--map", csv_map, stdin=stdin)["stored"] == 1
    [tenant] = sealdesk.json("tenant", "list")
    assert tenant["name"] == "shop"
    assert "GoPro Hero" in tenant["vocabularies"]["product"]
    [ticket] = sealdesk.json("query", "tickets")
    assert (ticket["product"], ticket["type"], ticket["channel"]) == ("GoPro Hero", "Technical issue", "email")


def test_bad_records_go_to_the_quarantine_and_nothing_of_them_is_repeated(desk: Sealdesk, bad_input: Path) -> None:
    ended = desk.done("import", str(bad_input))
    assert "in the quarantine" in ended.out
    status = desk.done("status", "--json")
    assert sum(row["records"] for row in status.json["quarantine"]) == status.json["counts"]["quarantined"] > 0
    assert "secret-of-ann" not in ended.out + ended.err + status.out + status.err


def test_words_can_be_declared_before_the_first_record(sealdesk: Sealdesk) -> None:
    sealdesk.done("tenant", "add", "acme", "--vocabulary", WORDS)
    sealdesk.done("import", DESK)
    assert sealdesk.json("query", "reports")["tickets"]["by_group"] == {"Billing": 7, "Support": 10, "Workshop": 5}


# -- query ------------------------------------------------------------------------------------------------------


def test_json_lists_hold_one_row_a_line_and_every_row(desk: Sealdesk) -> None:
    ended = desk.done("query", "tickets", "--json")
    assert len(ended.out.splitlines()) == len(ended.json) + 2 == 4
    assert ended.out == desk.done("query", "tickets", "--json").out
    desk.done(*SHRED, "--ref", "1", "--yes")
    assert len(desk.json("query", "tickets")) == 2
    assert len(desk.json("query", "tickets", "--limit", "1")) == 1


def test_tables_hide_what_is_erased_unless_asked(desk: Sealdesk) -> None:
    desk.done(*SHRED, "--ref", "1", "--yes")
    assert "erased" not in desk.done("query", "tickets").out
    assert "erased" in desk.done("query", "tickets", "--all").out


def test_a_list_goes_on_behind_a_row(desk: Sealdesk) -> None:
    whole = desk.json("query", "tickets")
    assert desk.json("query", "tickets", "--after", whole[0]["ticket"]) == whole[1:]
    people = desk.json("query", "contacts")
    assert desk.json("query", "contacts", "--after", people[1]["profile"], "--limit", "1") == people[2:3]
    short = desk.done("query", "tickets", "--limit", "1")
    assert f"--after {whole[0]['ticket']}" in short.err


def test_tickets_are_found_by_word_by_requester_and_by_day(desk: Sealdesk) -> None:
    both = desk.json("query", "tickets")
    assert desk.json("query", "tickets", "--status", "open") == both[:1]
    assert desk.json("query", "tickets", "--priority", "high") == both[:1]
    assert desk.json("query", "tickets", "--email", "-", stdin=ANN) == both[:1]
    assert desk.json("query", "tickets", "--ref", "3") == both[1:]
    assert desk.json("query", "tickets", "--ticket", "30") == both[1:]
    assert desk.json("query", "tickets", "--since", "2026-03-02") == []
    assert desk.json("query", "tickets", "--until", "2026-03-01") == both


def test_a_reveal_shows_values_and_leaves_an_access_line(desk: Sealdesk, databases: Endpoints) -> None:
    sealed = desk.json("query", "contacts", "--ref", "1")
    assert [row["name"] for row in sealed] == [{"sealed": True}]
    assert _access_lines(databases) == []
    revealed = desk.json("query", "contacts", "--ref", "1", "--reveal", "--why", "-", stdin=b"she asked")
    assert [row["name"] for row in revealed] == ["Ann Abbott"]
    assert _access_lines(databases) == ["contacts"]


def _access_lines(databases: Endpoints) -> list[str]:
    with psycopg.connect(databases.log_dsn) as connection:
        return [row[0] for row in connection.execute("SELECT what FROM access_lines ORDER BY at")]


def test_a_table_obeys_no_control_character_of_a_text(desk: Sealdesk) -> None:
    desk.done(
        "import", "-", stdin=event("contact.created", "contact 9", id=9, name="\x1b[2J[red]Eve\nX", email="e@x.org")
    )
    shown = desk.done("query", "contacts", "--reveal", "--why", "test").out
    assert "\x1b" not in shown
    assert "[2J[red]Eve X" in shown


def test_find_tells_inside_ids_and_likely_duplicates_and_no_value(desk: Sealdesk) -> None:
    ended = desk.done("find", "-", "--json", stdin=ANN)
    [ann] = ended.json["found"]
    assert {name: ann[name] for name in ("kind", "by", "agent", "tickets")} == {
        "kind": "person",
        "by": ["email"],
        "agent": False,
        "tickets": 1,
    }
    [other] = ended.json["duplicates"]
    assert (other["of"], other["alike"]) == (ann["id"], ["email", "name"])
    assert "Abbott" not in ended.out
    [ticket] = desk.json("find", "ticket 20")["found"]
    assert ticket["kind"] == "ticket"
    [agent] = desk.json("find", "agent 7")["found"]
    assert agent["agent"]


def test_find_tells_that_a_reference_is_fenced(desk: Sealdesk) -> None:
    desk.done(*SHRED, "--ref", "1", "--yes")
    answer = desk.json("find", "-", stdin=ANN)
    assert answer["found"] == []
    assert [fence["by"] for fence in answer["fenced"]] == ["email"]


# -- shred ------------------------------------------------------------------------------------------------------


def test_a_dry_run_equals_the_effect_and_changes_nothing(desk: Sealdesk) -> None:
    before = desk.done("query", "tickets", "--json").out
    dry = desk.json(*SHRED, "--email", "-", "--dry-run", stdin=ANN)
    assert dry.keys() == EFFECT
    assert (dry["tickets"], dry["others_tickets"], dry["others_entries"]) == (1, 1, 1)
    assert desk.done("query", "tickets", "--json").out == before
    certificate = desk.json(*SHRED, "--email", "-", "--yes", stdin=ANN)
    assert certificate["counts"] == dry


def test_nobody_who_could_confirm_means_no_shred(desk: Sealdesk) -> None:
    ended = desk(*SHRED, "--ref", "1")
    assert ended.status == 2
    assert "--dry-run" in ended.err
    assert "--yes" in ended.err
    assert desk.json("find", "contact 1")["found"]


def test_the_address_and_the_note_come_from_standard_input(desk: Sealdesk, databases: Endpoints) -> None:
    stdin = ANN + b"\nShe wrote a letter.\nSigned Ann.\n"
    certificate = desk.json(*SHRED, "--email", "-", "--note", "-", "--request", "R-17", "--yes", stdin=stdin)
    assert certificate["ground"] == "art17-1-a"
    with psycopg.connect(databases.log_dsn) as connection:
        stored = str(connection.execute("SELECT * FROM privacy_events").fetchall())
    assert "letter" not in stored
    assert "R-17" not in stored


def test_an_empty_standard_input_is_no_address(desk: Sealdesk) -> None:
    assert desk(*SHRED, "--email", "-", "--yes").status == 2


def test_a_repeated_shred_is_done_with_the_first_certificate(desk: Sealdesk, tmp_path: Path) -> None:
    first = desk.json(*SHRED, "--ref", "1", "--yes")
    path = tmp_path / "again.json"
    assert desk.json(*SHRED, "--email", "-", "--yes", "--out", str(path), stdin=ANN) == first
    assert json.loads(path.read_text()) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(desk.json(*SHRED, "--ref", "1", "--dry-run").values()) == {0}


def test_a_ticket_that_went_with_its_person_is_refused_as_such(desk: Sealdesk) -> None:
    desk.done(*SHRED, "--ref", "1", "--yes")
    assert desk("shred", "ticket", "--ref", "20", "--ground", "test", "--yes").status == 4


def test_more_facts_than_the_brake_allows_need_the_number_of_the_dry_run(
    desk: Sealdesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALDESK_BRAKE", "1")
    facts = desk.json(*SHRED, "--ref", "1", "--dry-run")["facts"]
    refused = desk(*SHRED, "--ref", "1", "--yes")
    assert refused.status == 4
    assert f"--expect {facts}" in refused.err
    assert desk(*SHRED, "--ref", "1", "--yes", "--expect", str(facts + 1)).status == 4
    assert desk(*SHRED, "--ref", "1", "--yes", "--expect", str(facts)).status == 0


def test_a_hold_blocks_the_shred_and_the_refusal_is_recorded(desk: Sealdesk, databases: Endpoints) -> None:
    hold = desk.json("hold", "add", "--contact", "1", "--why", "court case")["hold"]
    [listed] = desk.json("hold", "list")
    assert (listed["hold"], listed["why"]) == (hold, "court case")
    assert desk(*SHRED, "--ref", "1", "--yes").status == 4
    with psycopg.connect(databases.log_dsn) as connection:
        topics = [row[0] for row in connection.execute("SELECT topic FROM privacy_events ORDER BY notification_id")]
    assert topics == ["sealdesk.case.hold_placed.v1", "sealdesk.case.shred_refused.v1"]
    desk.done("hold", "release", hold, "--why", "-", stdin=b"the case is closed")
    assert desk.json("hold", "list") == []
    desk.done(*SHRED, "--ref", "1", "--yes")


def test_an_agent_and_a_ticket_can_be_held(desk: Sealdesk) -> None:
    desk.done("hold", "add", "--agent", "7", "--why", "audit")
    desk.done("hold", "add", "--ticket", "20", "--why", "audit")
    assert desk("hold", "add", "--agent", "1", "--why", "audit").status == 3
    assert desk("shred", "agent", "--ref", "7", "--ground", "test", "--yes").status == 4
    assert desk("shred", "ticket", "--ref", "20", "--ground", "test", "--yes").status == 4


def test_a_shred_of_living_texts_says_how_many_still_name_the_person(desk: Sealdesk) -> None:
    certificate = desk.json(*SHRED, "--ref", "1", "--yes", "--living")
    assert certificate["living_text"] == {"searched": True, "found": 1, "not_judged": 0}
    answer = desk.json("verify", "--living", "--values", "-", stdin=b"Ann Abbott\n")
    assert (answer["residue"], answer["living"]) == (0, 1)


def test_without_a_search_the_certificate_says_that_living_texts_were_not_searched(desk: Sealdesk) -> None:
    assert desk.json(*SHRED, "--ref", "1", "--yes")["living_text"] == {
        "searched": False,
        "found": None,
        "not_judged": 0,
    }


def test_every_command_finishes_what_a_crash_left_of_a_shred(desk: Sealdesk, databases: Endpoints) -> None:
    certificate = desk.json(*SHRED, "--ref", "1", "--yes")
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("UPDATE shreds SET step = 'told', certificate = NULL")
    desk.done("status")
    again = desk.json(*SHRED, "--ref", "1", "--yes")
    assert again["counts"] == certificate["counts"]
    assert again["certificate_id"] != certificate["certificate_id"]


def test_read_models_of_before_are_built_anew_though_a_shred_waits_for_them(
    desk: Sealdesk, databases: Endpoints
) -> None:
    """Whatever a crash left of it needs read models, so building them must not wait for it."""
    desk.done(*SHRED, "--ref", "1", "--yes")
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("UPDATE shreds SET step = 'told', certificate = NULL")
    with psycopg.connect(databases.log_dsn) as connection:
        connection.execute("UPDATE tickets.position SET position = position - 1")
        connection.execute("ALTER TABLE tickets.entries ALTER COLUMN seal TYPE bytea USING NULL")
    refused = desk("status")
    assert (refused.status, "sealdesk rebuild all" in refused.err) == (4, True)
    assert desk.json("rebuild", "all").keys() == MODELS.keys()
    desk.done("status")
    with psycopg.connect(databases.keys_dsn) as connection:
        assert connection.execute("SELECT step FROM shreds").fetchall() == [("finished",)]


# -- verify, certificates ---------------------------------------------------------------------------------------


def test_verify_ends_with_the_residue_and_where_it_searched(desk: Sealdesk) -> None:
    desk.done(*SHRED, "--ref", "1", "--yes")
    for words in (("verify",), ("verify", "--json")):
        last = json.loads(desk.done(*words).out.splitlines()[-1])
        assert last["residue"] == 0
        assert {"keys", "log", "register"} <= set(last["searched"])


def test_residue_is_a_negative_answer(desk: Sealdesk, databases: Endpoints) -> None:
    desk.done(*SHRED, "--ref", "1", "--yes")
    with psycopg.connect(databases.keys_dsn) as connection:
        connection.execute("UPDATE subjects SET wrapped = '\\x00', line = NULL, mark = NULL WHERE line IS NOT NULL")
    ended = desk("verify", "--json")
    assert ended.status == 1
    assert ended.json["residue"] > 0


def test_a_certificate_is_checked_without_a_data_folder_and_without_servers(
    desk: Sealdesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "certificate.json"
    certificate = desk.json(*SHRED, "--ref", "1", "--yes", "--out", str(path))
    key = tmp_path / "signing" / "certificate.pub"
    other = tmp_path / "other" / "certificate.pub"
    certificates.load_or_create(other.parent)
    for name in [name for name in os.environ if name.startswith("SEALDESK_")]:
        monkeypatch.delenv(name)

    assert desk.json("certificate", "verify", str(path)) == {"valid": True, "origin_checked": False}
    assert desk.json("certificate", "verify", str(path), "--key", str(key)) == {"valid": True, "origin_checked": True}
    assert "not checked" in desk.done("certificate", "verify", "-", stdin=path.read_bytes()).out
    assert desk("certificate", "verify", str(path), "--key", str(other)).status == 1
    for name in certificate.keys() - {"public_key", "signature"}:
        changed = json.dumps(certificate | {name: "2020-01-01T00:00:00+00:00"}).encode()
        assert desk("certificate", "verify", "-", stdin=changed).status == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"format": 1, "format": 2}', b"\xff", b"[" * 100_000])
def test_what_is_no_certificate_is_a_bad_one(sealdesk: Sealdesk, content: bytes) -> None:
    assert sealdesk("certificate", "verify", "-", stdin=content).status == 1


def test_building_anew_changes_no_row(desk: Sealdesk) -> None:
    desk.done(*SHRED, "--ref", "1", "--yes")
    lists = [("query", name, "--json") for name in ("contacts", "tickets", "reports", "erasures")]
    before = [desk.done(*words).out for words in lists]
    assert desk.json("rebuild", "all").keys() == MODELS.keys()
    assert [desk.done(*words).out for words in lists] == before
    assert desk.json("rebuild", "tickets").keys() == {"tickets"}


def test_status_counts_and_tells_how_far_the_read_models_are(desk: Sealdesk) -> None:
    status = desk.json("status")
    assert status["servers"] == {"log": "configured", "keys": "configured", "kafka": "started when needed"}
    assert status["read_models"].keys() == MODELS.keys()
    assert {model["lag"] for model in status["read_models"].values()} == {0}
    assert status["counts"]["facts"] == status["head"] == len(ANNS)
    assert status["counts"]["ledger_head"] == status["counts"]["shredded"] == 0
    assert "read model" in desk.done("status").out


# -- Kafka, servers, processes ------------------------------------------------------------------------------------


def test_what_is_published_is_consumed_once(
    sealdesk: Sealdesk, broker: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEALDESK_KAFKA", broker.bootstrap)
    records = tmp_path / "records.jsonl"
    records.write_bytes(b"".join([*ANNS, b"nonsense\n"]))
    sealdesk.done("tenant", "add", "acme")
    topic = ("--topic", "acceptance.cli")
    sent = sealdesk.json("publish", str(records), "--mode", "binary", *topic)
    assert sent == {"read": len(ANNS) + 1, "sent": len(ANNS), "invalid": 1}
    group = ("--group", "acceptance-cli")
    first = sealdesk.json("consume", "--until-idle", *topic, *group)
    assert (first["read"], first["stored"]) == (len(ANNS), len(ANNS))
    assert sealdesk.json("consume", "--until-idle", *topic, *group)["read"] == 0
    assert len(sealdesk.json("query", "tickets")) == 2


def _started(*words: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from services.cli.app import main; main()", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_up_keeps_the_servers_of_a_folder_running_and_stops_them_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("SEALDESK_")]:
        monkeypatch.delenv(name)
    sealdesk, data = Sealdesk(monkeypatch), str(tmp_path / "data")
    up = _started("up", "--data", data, environment={})
    try:
        assert up.stdout is not None
        said = [up.stdout.readline() for _ in range(4)]
        assert [line.split(":")[0] for line in said[:3]] == ["log", "keys", "kafka"]
        sealdesk.done("--data", data, "tenant", "add", "acme")
        status = sealdesk.json("status", "--data", data)
        assert set(status["servers"].values()) == {"running"}
        assert sealdesk.json("publish", DESK, "--data", data)["sent"] == 127
        for attempt in Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.2), reraise=True):
            with attempt:
                status = sealdesk.json("status", "--data", data)
                assert status["head"] >= 126
                assert {model["lag"] for model in status["read_models"].values()} == {0}
    finally:
        up.send_signal(signal.SIGTERM)
        out, err = up.communicate()
    assert (up.returncode, out) == (0, "stopped\n")
    assert err == f"sealdesk: a new desk is made in {tmp_path / 'data'}\n"
    assert not list((tmp_path / "data").rglob("postmaster.pid"))


def test_a_hold_is_known_to_every_later_process(desk: Sealdesk) -> None:
    hold = desk.json("hold", "add", "--contact", "1", "--why", "court case")["hold"]
    out, err = _started("hold", "list", "--json", environment={}).communicate()
    assert (json.loads(out)[0]["hold"], err) == (hold, "")
    refused = _started(*SHRED, "--ref", "1", "--yes", environment={})
    refused.communicate()
    assert refused.returncode == 4


def test_a_reader_who_has_seen_enough_is_no_error(desk: Sealdesk, databases: Endpoints) -> None:
    # `head` is gone before the first row comes; more rows than a pipe holds make sure that it is noticed.
    desk.done("import", DESK)
    query = _started("query", "tickets", "--json", "--reveal", "--why", "test", environment={})
    assert query.stdout is not None
    query.stdout.close()
    assert query.wait() in (0, 141)
    assert query.stderr is not None
    assert query.stderr.read() == ""
    query.stderr.close()
