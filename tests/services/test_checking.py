"""Whoever publishes can try records at home, and hears what intake would say of each in itself."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.references import canonical
from domain.catalogue import CATALOGUE, INTERNAL
from domain.errors import RecordInvalid, RecordRefused
from domain.ids import TenantId
from services import checking
from services.changes import View
from services.checking import Finding, Summary, Verdict
from services.cli.app import run
from services.records import draft_of, parcel_of
from services.resolving import Desk
from tests.records import least, whole

ROOT = Path(__file__).parents[2]
SECRET = "Zephyrine Quux"
AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
PUBLISHED = sorted(set(CATALOGUE) - INTERNAL)


def record(type_: str = "contact.created", data: Mapping[str, Any] | None = None, **attributes: Any) -> bytes:
    event = {
        "specversion": "1.0",
        "type": f"sealdesk.{type_}.v1",
        "source": "/helpdesk",
        "id": "1",
        "time": "2026-03-02T10:00:00Z",
        "tenant": "acme",
        "data": {"id": 432} if data is None else data,
    }
    said = event | attributes
    return json.dumps({name: value for name, value in said.items() if value is not None}).encode()


def found(*raw: bytes) -> list[Finding]:
    return list(checking.check(parcel_of(one) for one in raw))


def wrong(raw: bytes) -> tuple[str | None, str | None]:
    (finding,) = found(raw)
    assert finding.verdict is Verdict.WRONG
    return finding.code, finding.path


class Ended:
    """A command line that needs no house."""

    def __init__(self, *words: str, stdin: bytes = b"") -> None:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            for name in ("SEALDESK_DATA", "SEALDESK_LOG_DSN", "SEALDESK_KEYS_DSN"):
                patch.delenv(name, raising=False)
            self.status = run(words)
        self.out, self.err = out.getvalue(), err.getvalue()


def test_a_record_that_is_fine_is_said_to_be_so() -> None:
    assert found(record()) == [Finding(1, Verdict.OK, "sealdesk.contact.created.v1")]


def test_the_same_source_and_id_are_said_to_come_again() -> None:
    first, second = found(record(), record(data={"id": 433}))
    assert (first.verdict, second.verdict) == (Verdict.OK, Verdict.AGAIN)
    assert [one.verdict for one in found(record(), record(tenant="other"))] == [Verdict.OK, Verdict.OK]


@pytest.mark.parametrize(
    ("raw", "code", "path"),
    [
        (b"{", "not_json", ""),
        (b'"x"', "not_an_object", ""),
        (record(time=None), "no_time", "time"),
        (record(time="yesterday"), "wrong_field", "time"),
        (record(tenant=None), "no_tenant", "tenant"),
        (record("contact.sold"), "unknown_type", "type"),
        (record("contact.mentioned"), "unknown_type", "type"),
        (record(data={"id": 1, "active": SECRET}), "wrong_field", "data.active"),
        (record("ticket.rated", {"ticket_id": 1}), "missing_field", "data.rating"),
        (record(data={"id": 1, "email": SECRET}), "malformed_reference", "data.email"),
        (record("ticket.replied", {"ticket_id": 1, "cc_emails": [SECRET]}), "malformed_reference", "data.cc_emails"),
        (record(subject="ticket 20"), "subject_differs", "subject"),
        (record(subject="contact 433"), "subject_differs", "subject"),
        (record(data={"name": SECRET}), "no_reference", "subject"),
        (record("ticket.opened", {"id": 20}), "no_requester", "data.requester_id"),
        (record("topic.posted", {"id": 20}), "no_author", "data.user_id"),
        (record("contact.avatar_added", {"id": 20}), "no_reference", "subject"),
        (record("vocabulary.declared", {"vocabulary": "type", "words": ["a@b"]}), "wrong_field", "data.words"),
    ],
)
def test_a_wrong_record_is_told_by_its_code_and_the_declared_path(raw: bytes, code: str, path: str) -> None:
    assert wrong(raw) == (code, path)


@pytest.mark.parametrize("type_", PUBLISHED)
def test_a_record_of_any_type_that_has_everything_is_fine(type_: str) -> None:
    (finding,) = found(record(type_.removeprefix("sealdesk.").removesuffix(".v1"), whole(CATALOGUE[type_], "planted")))
    assert finding.verdict is Verdict.OK


@given(st.data())
def test_what_is_wrong_in_itself_is_wrong_for_intake_with_the_same_code_and_path(data: st.DataObject) -> None:
    type_ = data.draw(st.sampled_from(PUBLISHED))
    plan = CATALOGUE[type_]
    said = data.draw(st.sampled_from([least(plan), whole(plan, "planted")]))
    for name, mark in data.draw(st.lists(st.sampled_from(plan.names), max_size=3)) if plan.names else ():
        what = data.draw(st.sampled_from(["leave out", "null", "no reference", "another"]))
        many = isinstance(said.get(name), list)
        if what == "leave out":
            said.pop(name, None)
        else:
            value = {"null": None, "no reference": " ", "another": 7 if mark.kind.is_upstream_id else "q@example.org"}[
                what
            ]
            said[name] = [value] if many and value is not None else value
    subject = data.draw(st.sampled_from([None, "contact 7100001", "contact 8", "ticket 7100001", "a@b.example", "x@ "]))
    parcel = parcel_of(record(type_.removeprefix("sealdesk.").removesuffix(".v1"), said, subject=subject))
    (finding,) = checking.check([parcel])
    error = parcel.error or _refused_by_intake(parcel.raw)
    if isinstance(error, RecordInvalid):
        assert (finding.verdict, finding.code, finding.path) == (Verdict.WRONG, error.code, error.path)
    else:
        assert finding.verdict is Verdict.OK


def _refused_by_intake(raw: bytes) -> RecordRefused | None:
    """Let the decision of intake read a record as the first of a house in which nothing is known."""
    view = View(TenantId(uuid4()), {}, {}, {}, {}, {})
    draft = draft_of(json.loads(raw))
    try:
        Desk(view, index=canonical, new_id=uuid4, now=AT).decide([(draft, b"")])
    except RecordRefused as refused:
        return refused
    return None


def test_a_summary_counts_by_type_and_by_code() -> None:
    summary = Summary.empty()
    for finding in found(record(), record(), record(time=None), b"{"):
        summary.add(finding)
    assert summary.as_dict() == {
        "read": 4,
        "again": 1,
        "wrong": 2,
        "types": {"sealdesk.contact.created.v1": 2},
        "codes": {"no_time": 1, "not_json": 1},
    }


class TestTheCommand:
    def test_it_takes_the_example_without_a_house_and_finds_what_is_wrong_in_it_on_purpose(self) -> None:
        ended = Ended("check", str(ROOT / "examples/desk.jsonl"))
        assert ended.status == 1
        assert "2 wrong" in ended.out

    def test_it_ends_well_when_nothing_is_wrong(self) -> None:
        ended = Ended("check", "-", stdin=record())
        assert (ended.status, ended.err) == (0, "")
        assert "1 read, 0 wrong" in ended.out

    def test_json_has_a_line_a_record_and_one_of_counts(self) -> None:
        ended = Ended("check", "-", "--json", stdin=record() + b"\n" + record(id="2", time=None))
        lines = [json.loads(line) for line in ended.out.splitlines()]
        assert ended.status == 1
        assert lines[0] == {"record": 1, "verdict": "ok", "type": "sealdesk.contact.created.v1"}
        assert lines[1] == {"record": 2, "verdict": "wrong", "type": None, "code": "no_time", "path": "time"}
        assert lines[2]["codes"] == {"no_time": 1}

    def test_a_tenant_can_stand_in_and_a_packed_file_is_unpacked(self, tmp_path: Path) -> None:
        file = tmp_path / "records.jsonl.gz"
        file.write_bytes(gzip.compress(record(tenant=None)))
        assert Ended("check", str(file)).status == 1
        assert Ended("check", str(file), "--tenant", "acme").status == 0

    @pytest.mark.parametrize("words", [(), ("--json",)])
    def test_no_value_of_a_record_is_ever_repeated(self, words: tuple[str, ...]) -> None:
        planted = [
            record(id=SECRET, data={"id": 1, "active": SECRET, SECRET: 1}),
            record(source=SECRET, subject=SECRET),
            record(type=SECRET),
            record(data={"email": SECRET, "name": SECRET}),
            SECRET.encode(),
            record(tenant=SECRET, data={"id": 1, "name": SECRET}),
        ]
        ended = Ended("check", "-", *words, stdin=b"\n".join(planted))
        assert ended.status == 1
        assert "Zephyrine" not in ended.out + ended.err

    def test_a_long_list_of_findings_is_cut_and_says_so(self) -> None:
        ended = Ended("check", "-", stdin=b"\n".join([b"{}"] * 60))
        assert "and 10 more" in ended.out
        assert "60 read, 60 wrong" in ended.out
