"""Recipients on the command line: who is told, and what a person who asks can be shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Sealdesk

NOBODY = "00000000-0000-0000-0000-000000000000"


def event(type_: str, subject: str, /, **data: Any) -> bytes:
    written = {
        "specversion": "1.0",
        "id": f"{type_} {subject}",
        "source": "tests",
        "type": f"sealdesk.{type_}.v1",
        "subject": subject,
        "tenant": "acme",
        "time": "2026-03-01T12:00:00Z",
        "data": data,
    }
    return json.dumps(written).encode() + b"\n"


@pytest.fixture
def desk(sealdesk: Sealdesk) -> Sealdesk:
    records = [
        event("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.org"),
        event("ticket.opened", "ticket 20", id=20, requester_id=1, subject="The bell"),
    ]
    sealdesk.done("import", "-", stdin=b"".join(records))
    return sealdesk


def test_the_secret_is_shown_once_and_alone_on_standard_output(desk: Sealdesk) -> None:
    ended = desk.done("recipients", "add", "crm")
    assert len(bytes.fromhex(ended.out.strip())) == 32
    assert ended.out.strip() not in ended.err
    for words in (("list",), ("show", "crm")):
        assert ended.out.strip() not in desk.done("recipients", *words, "--json").out


def test_a_shred_says_who_is_to_be_told_and_the_lists_say_how_that_stands(desk: Sealdesk) -> None:
    desk.done("recipients", "add", "crm", "--kinds", "erased, rectified")
    shred = ("shred", "contact", "--ref", "1", "--ground", "art17-1-a", "--yes")
    assert "recipients who have acknowledged: 0 of 1" in desk.done(*shred).out
    certificate = desk.json(*shred)
    [one] = desk.json("recipients", "list")
    assert {name: one[name] for name in ("name", "kinds", "sealed", "removed", "unsent", "acknowledged")} == {
        "name": "crm",
        "kinds": ["erased", "rectified"],
        "sealed": False,
        "removed": None,
        "unsent": 1,
        "acknowledged": 0,
    }
    [told] = desk.json("recipients", "told", certificate["certificate_id"])
    assert [told] == desk.json("recipients", "show", "crm")
    assert (told["recipient"], told["kind"], told["state"]) == ("crm", "erased", "unsent")
    assert desk.done("certificate", "show", certificate["certificate_id"]).json == certificate
    assert "crm" in desk.done("recipients", "list").out
    assert "erased" in desk.done("recipients", "show", "crm").out
    desk.done("recipients", "remove", "crm")
    assert desk.json("recipients", "list")[0]["removed"] is not None
    assert desk.json("recipients", "told", certificate["certificate_id"])[0]["recipient"] == "crm"


def test_no_list_says_what_upstream_calls_the_forgotten(desk: Sealdesk) -> None:
    records = [event("contact.created", "contact qz-77", id="qz-77", email="qz@home.org")]
    desk.done("import", "-", stdin=b"".join(records))
    desk.done("recipients", "add", "crm")
    shred = ("shred", "contact", "--ref", "qz-77", "--ground", "art17-1-a", "--yes", "--json")
    certificate = desk.done(*shred)
    for words in (("list",), ("show", "crm"), ("told", certificate.json["certificate_id"])):
        assert "qz-77" not in desk.done("recipients", *words, "--json").out
    assert "qz-77" not in certificate.out


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("add", "Secret Of Ann"), 2),
        (("add", "crm", "--kinds", "secret-of-ann"), 2),
        (("add", "crm", "--kinds", ","), 2),
        (("add", "crm", "--key", "/nowhere/key.pem"), 2),
        (("remove", "secret-of-ann"), 3),
        (("show", "secret-of-ann"), 3),
        (("resend", "secret-of-ann"), 3),
        (("told", "secret-of-ann"), 3),
        (("told", NOBODY), 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_said_in_one_line_that_repeats_nothing(
    desk: Sealdesk, words: tuple[str, ...], status: int
) -> None:
    ended = desk("recipients", *words)
    assert (ended.status, ended.out) == (status, "")
    assert ended.err.count("\n") == 1
    assert "of-ann" not in ended.err
    assert "Of Ann" not in ended.err


def test_a_key_that_is_no_x25519_key_is_refused_before_anybody_is_added(desk: Sealdesk, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("no key")
    assert desk("recipients", "add", "crm", "--key", str(file)).status == 2
    assert desk.json("recipients", "list") == []
