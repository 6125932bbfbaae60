"""Objects of a Freshdesk export made into events, and the files that they stand in. No database."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalogue import CATALOGUE
from domain.errors import SettingsWrong
from domain.personal import Kind, Reference
from services.freshdesk.adapting import course
from services.freshdesk.folder import Export, export_in, kind_of
from services.freshdesk.objects import Event, Told, told_by
from services.freshdesk.shapes import LISTED, SHAPES
from services.records import RECORD_BYTES, draft_of

EXPORT = Path(__file__).parents[2] / "examples" / "freshdesk"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPENED, CHANGED = "2025-10-06T08:00:00Z", "2025-10-08T12:00:00Z"


def told(kind: str, /, **data: Any) -> list[Told]:
    return list(told_by(kind, orjson.dumps({"id": 20, "created_at": OPENED, "updated_at": CHANGED} | data), at=AT))


def types(events: tuple[Event, ...]) -> list[str]:
    return [event["type"].removeprefix("sealdesk.").removesuffix(".v1") for event in events]


def codes(found: list[Told]) -> list[str]:
    return [parcel.error.code for one in found for parcel in one.parcels("acme", stands=False) if parcel.error]


def write(folder: Path, **files: object) -> Path:
    for name, rows in files.items():
        (folder / f"{name}.json").write_bytes(orjson.dumps(rows))
    return folder


# -- what objects tell -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stands", [False, True])
def test_every_event_of_the_example_is_valid_by_the_catalogue(stands: bool) -> None:
    found = list(export_in(EXPORT).told(at=AT))

    assert {one.error for one in found} == {None}
    events = [event for one in found for event in (one.later if stands else one.first)]
    assert events
    for event in events:
        assert draft_of(event, "acme").type == event["type"]


def test_the_example_holds_every_list_and_tells_every_kind_of_object() -> None:
    export = export_in(EXPORT)
    assert [kind for kind, _ in export.files] == list(LISTED)
    assert export.others == ()
    labels = {one.about.kind for one in export.told(at=AT) if one.about is not None}
    assert labels == {shape.kind for shape in SHAPES.values()}


def test_every_type_that_a_table_names_is_in_the_catalogue() -> None:
    named = [type_ for shape in SHAPES.values() for type_ in (shape.first, shape.later, *shape.flags.values())]
    assert [type_ for type_ in named if isinstance(type_, str) and f"sealdesk.{type_}.v1" not in CATALOGUE] == []


def test_the_same_version_has_the_same_id_whether_it_is_the_first_or_a_later_fact() -> None:
    (topic,) = told("topics", title="Pallets", message="Where?", user_id=1)
    assert types(topic.first) == ["topic.posted"]
    assert types(topic.later) == ["topic.edited"]
    assert topic.first[0]["id"] == topic.later[0]["id"] == f"topic/20/{CHANGED}"
    assert (topic.first[0]["time"], topic.later[0]["time"]) == (OPENED, CHANGED)
    assert topic.about == Reference(Kind.TOPIC, "20")


def test_a_null_says_nothing_of_what_is_new_and_clears_what_stands() -> None:
    (contact,) = told("contacts", name="Rosa", phone=None)
    assert "phone" not in contact.first[0]["data"]
    assert contact.later[0]["data"]["phone"] is None


def test_an_object_without_a_time_of_change_is_a_new_version_when_it_says_something_else() -> None:
    ids = [
        told("forums", updated_at=None, created_at=None, name=name)[0].first[0]["id"]
        for name in ("Orders", "Orders", "Ideas")
    ]
    assert ids[0] == ids[1] != ids[2]


def test_a_forum_has_no_time_and_is_told_at_the_time_of_the_import() -> None:
    (forum,) = told("forums", updated_at=None, created_at=None, name="Orders")
    assert forum.first[0]["time"] == AT.isoformat()


def test_an_agent_takes_the_fields_of_its_nested_contact() -> None:
    contact = {"name": "Mette", "email": "mette@desk.example", "updated_at": "2025-12-01T00:00:00Z", "created_at": "x"}
    (agent,) = told("agents", contact=contact, ticket_scope=1)
    data = agent.first[0]["data"]
    assert (data["name"], data["email"], data["created_at"]) == ("Mette", "mette@desk.example", OPENED)
    assert "contact" not in data
    assert agent.later[0]["id"] == "agent/20/2025-12-01T00:00:00Z"


def test_agents_and_contacts_of_one_id_are_one_person_with_a_version_each() -> None:
    (agent,), (contact,) = told("agents"), told("contacts")
    assert agent.about == contact.about == Reference(Kind.PERSON, "20")
    assert agent.first[0]["id"] != contact.first[0]["id"]


def test_what_is_deleted_or_blocked_is_told_beside() -> None:
    (contact,) = told("contacts", deleted=True, blocked=True)
    assert types(contact.first) == ["contact.created", "contact.deleted", "contact.blocked"]
    assert types(contact.later) == ["contact.updated", "contact.deleted", "contact.blocked"]
    assert "deleted" not in contact.first[0]["data"]
    (ticket,) = told("tickets", deleted=True, requester_id=1, status=2)
    assert types(ticket.first) == ["ticket.opened", "ticket.deleted"]


@pytest.mark.parametrize(
    ("source", "private", "type_"),
    [
        (0, False, "ticket.replied"),
        (None, None, "ticket.replied"),
        (2, True, "ticket.note_added"),
        (2, False, "ticket.note_added"),
        (0, True, "ticket.note_added"),
        (6, False, "ticket.note_added"),
        (8, True, "ticket.forwarded"),
        (9, False, "ticket.replied"),
    ],
)
def test_a_conversation_is_a_reply_a_note_or_a_forward_by_its_source(
    source: int | None, private: bool | None, type_: str
) -> None:
    (entry,) = told("conversations", ticket_id=1, source=source, private=private)
    assert types(entry.first) == [type_]
    assert types(entry.later) == ["ticket.entry_edited"]


@pytest.mark.parametrize(("status", "first", "later"), [(1, "drafted", "edited"), (2, "published", "published")])
def test_an_article_is_drafted_or_published_by_its_status(status: int, first: str, later: str) -> None:
    (article,) = told("articles", status=status)
    assert types((*article.first, *article.later)) == [f"article.{first}", f"article.{later}"]


def test_what_stands_in_an_object_is_told_for_itself_and_nowhere_else() -> None:
    found = told(
        "tickets",
        requester_id=1,
        requester={"id": 1, "name": "Rosa", "email": "rosa@mill.example"},
        company={"id": 6, "name": "Mill"},
        attachments=[{"id": 4, "name": "a.png"}],
        conversations=[{"id": 3, "body": "Hello", "user_id": 7, "attachments": [{"id": 5, "name": "b.png"}]}],
        status=2,
    )
    assert [types(one.first)[0] for one in found] == [
        "contact.created",
        "company.created",
        "ticket.opened",
        "ticket.attachment_added",
        "ticket.replied",
        "ticket.attachment_added",
    ]
    assert [one.beside for one in found] == [True, True, False, True, True, True]
    assert all(draft_of(event, "acme") for one in found for event in one.first)
    person, _, ticket, file, entry, its_file = (one.first[0]["data"] for one in found)
    assert person["created_at"] == OPENED
    assert not {"requester", "company", "attachments", "conversations"} & ticket.keys()
    assert (file["ticket_id"], file["user_id"]) == (20, 1)
    assert (entry["ticket_id"], "attachments" in entry) == (20, False)
    assert (its_file["ticket_id"], its_file["conversation_id"], its_file["user_id"]) == (20, 3, 7)
    assert found[0].later == found[1].later == found[3].later == ()


def test_a_chat_that_ended_and_a_call_that_was_written_down_are_told_with_ids_of_their_own() -> None:
    chat, message = told("chats", ended_at=CHANGED, messages=[{"id": "m", "body": "Hello"}])
    assert types(chat.first) == ["chat.started", "chat.ended"]
    assert types(chat.later) == ["chat.ended"]
    assert message.first[0]["data"]["chat_id"] == 20
    call, recording = told("calls", transcript="With a K", recording={"id": 9})
    assert types(call.first) == ["call.logged", "call.transcript_added"]
    assert call.first[1]["data"] == {"body_text": "With a K", "call_id": 20}
    assert types(recording.first) == ["call.recording_added"]


def test_people_in_copy_are_gathered_and_the_desks_own_address_is_nobody() -> None:
    (ticket,) = told(
        "tickets",
        support_email="help@desk.example",
        to_emails=["Help <HELP@desk.example>", "undisclosed-recipients:;"],
        cc_emails=["Ann <ann@home.example>"],
        reply_cc_emails=["ann@home.example", "bob@home.example"],
        requester_id=1,
        status=2,
    )
    data = ticket.first[0]["data"]
    assert data["cc_emails"] == ["Ann <ann@home.example>", "bob@home.example"]
    assert data["other_recipients"] == ["undisclosed-recipients:;"]
    assert not {"to_emails", "reply_cc_emails"} & data.keys()
    (entry,) = told(
        "conversations",
        ticket_id=1,
        support_email="help@desk.example",
        to_emails=["help@desk.example", "ann@home.example"],
        delivery_details={"failed_emails": ["ann@home.example"]},
    )
    assert entry.first[0]["data"]["to_emails"] == ["ann@home.example"]
    assert "ann@home.example" not in str({**entry.first[0]["data"], "to_emails": None})


# -- how the status of a ticket went -----------------------------------------------------------------------------


def test_a_ticket_that_was_never_done_is_opened_as_it_stands() -> None:
    assert course({"status": 6, "updated_at": CHANGED}).opened == 6
    assert course({"status": 3}).changes == ()


def test_a_resolved_ticket_is_opened_as_open_and_resolved_when_its_stats_say() -> None:
    at = {"resolved_at": "2025-10-07T00:00:00Z", "closed_at": "2025-10-08T00:00:00Z", "reopened_at": None}
    found = course({"status": 5, "updated_at": "2025-11-01T00:00:00Z", "stats": at})
    assert (found.opened, found.settled) == (2, None)
    assert found.changes == ((at["resolved_at"], 4), (at["closed_at"], 5))


def test_without_stats_a_ticket_was_done_at_its_last_change_at_the_latest() -> None:
    found = course({"status": 4, "created_at": OPENED, "updated_at": CHANGED})
    assert (found.opened, found.changes, found.settled) == (2, (), (CHANGED, 4))


def test_a_reopened_ticket_stands_as_its_status_says() -> None:
    stats = {"resolved_at": "2025-10-07T00:00:00Z", "reopened_at": "2025-10-08T00:00:00Z"}
    assert course({"status": 2, "stats": stats}).settled is None
    pending = course({"status": 3, "updated_at": CHANGED, "stats": stats})
    assert pending.settled == (CHANGED, 3)


def test_a_later_version_of_a_ticket_tells_its_changes_before_its_state() -> None:
    (ticket,) = told("tickets", requester_id=1, status=4, stats={"resolved_at": "2025-10-07T00:00:00Z"})
    assert [event["data"]["status"] for event in ticket.first] == [2, 4]
    assert [(event["id"], event["data"]["status"]) for event in ticket.later] == [
        ("ticket/20/status/4/2025-10-07T00:00:00Z", 4),
        (f"ticket/20/{CHANGED}", 4),
    ]


_TIMES = st.sampled_from([None, *(f"2025-10-{day:02}T00:00:00Z" for day in range(7, 12))])


@given(
    status=st.integers(2, 7),
    stats=st.none() | st.fixed_dictionaries({f"{name}_at": _TIMES for name in ("resolved", "reopened", "closed")}),
)
def test_the_course_of_a_ticket_ends_with_its_status_and_goes_forward(
    status: int, stats: dict[str, str | None] | None
) -> None:
    found = course({"status": status, "stats": stats, "created_at": OPENED, "updated_at": "2025-10-30T00:00:00Z"})
    steps = [*found.changes, *([] if found.settled is None else [found.settled])]
    assert [OPENED, *(at for at, _ in steps)] == sorted([OPENED, *(at for at, _ in steps)])
    assert (steps[-1][1] if steps else found.opened) == status


# -- what is wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"nonsense", "not_json"),
        (b"[]", "not_an_object"),
        (b'"20"', "not_an_object"),
        (b"{}", "missing_field"),
        (b'{"id": null}', "missing_field"),
        (b'{"id": true}', "wrong_field"),
        (b'{"id": {"20": 1}}', "wrong_field"),
        (b'{"id": 20, "requester_id": 1}', "no_time"),
        (b'{"id": 20, "created_at": "yesterday"}', "wrong_field"),
        (b'{"id": 20, "created_at": "2025-10-06T08:00:00Z", "subject": ["x"]}', "wrong_field"),
        (b'{"id": 20, "custom_fields": ' + b"[" * 300 + b"]" * 300 + b"}", "too_deep"),
        (b'{"id": 20, "x": "' + b"x" * RECORD_BYTES + b'"}', "too_large"),
    ],
)
def test_an_object_that_is_wrong_says_how_and_nothing_more(raw: bytes, code: str) -> None:
    found = list(told_by("tickets", raw, at=AT))
    assert codes(found) == [code]
    assert len(found[0].parcels("acme", stands=False)[0].raw) <= RECORD_BYTES


def test_what_is_wrong_in_an_object_does_not_harm_what_is_right_in_it() -> None:
    found = told("tickets", requester_id=1, status=2, conversations=["secret", {"id": None}, {"id": 3, "body": "Hi"}])
    assert codes(found) == ["not_an_object", "missing_field"]
    assert [types(one.first) for one in found if one.error is None] == [["ticket.opened"], ["ticket.replied"]]
    assert b"Hi" not in b"".join(one.raw for one in found if one.error is not None)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=8)
    | st.sampled_from([OPENED, "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
_FIELDS = ["id", "created_at", "updated_at", "status", "stats", "contact", "conversations", "attachments", "to_emails"]
_FIELDS += ["support_email", "requester", "deleted", "messages", "transcript", "ended_at", "source", "avatar"]


@given(
    kind=st.sampled_from(sorted(LISTED)), data=st.dictionaries(st.sampled_from(_FIELDS) | st.text(max_size=5), _VALUES)
)
def test_whatever_an_object_says_it_makes_parcels(kind: str, data: dict[str, Any]) -> None:
    for one in told_by(kind, orjson.dumps(data), at=AT):
        for stands in (False, True):
            for parcel in one.parcels("acme", stands=stands):
                assert parcel.error is not None or len(parcel.drafts) == 1
                assert "\0" not in str(parcel.error)


# -- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tickets.json", "tickets"),
        ("Tickets.JSON", "tickets"),
        ("tickets_001.json", "tickets"),
        ("tickets-page-2.json", "tickets"),
        ("time-entries.json", "time_entries"),
        ("article_folders.2.jsonl.gz", "article_folders"),
        ("satisfaction_ratings.json", "ratings"),
        ("threads.json", "discussions"),
        ("people_in_short.json", None),
        ("contacts_in_short.json", None),
        ("tickets.csv", None),
        ("tickets", None),
        ("settings.json", None),
    ],
)
def test_a_file_is_named_after_what_it_lists(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


def ids(export: Export) -> list[str]:
    return [one.about.value for one in export.told(at=AT) if one.about is not None]


def test_parts_are_read_in_order_whether_in_a_folder_or_packed_or_an_object_a_line(tmp_path: Path) -> None:
    rows = [{"id": number, "created_at": OPENED, "requester_id": 1} for number in range(1, 6)]
    write(tmp_path, tickets_2=rows[1:2], tickets_10=rows[2:3])
    (tmp_path / "tickets_1.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows[0]).encode() + b"\n"))
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets" / "7.json").write_text(json.dumps(rows[3:]))
    write(tmp_path, agents=[{"id": 9, "created_at": OPENED}])
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    export = export_in(tmp_path)
    assert ids(export)[0] == "9"
    assert sorted(ids(export)) == ["1", "2", "3", "4", "5", "9"]
    assert ids(export).index("2") < ids(export).index("3")
    assert export.done == export.size == sum(path.stat().st_size for _, path in export.files)


def test_files_of_other_names_are_named_and_left_alone(tmp_path: Path) -> None:
    write(tmp_path, tickets=[], settings={})
    (tmp_path / "readme.txt").write_text("x")
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets" / "notes.txt").write_text("x")
    (tmp_path / "pictures").mkdir()
    export = export_in(tmp_path)
    assert export.others == ("pictures", "readme.txt", "settings.json", "tickets/notes.txt")
    assert ids(export) == []


@pytest.mark.parametrize("content", [b"", b" \n", b"[]", b"\xef\xbb\xbf[\n]", b'{"id": 1}'])
def test_a_file_may_be_empty_or_hold_an_array_or_an_object_a_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tickets.json").write_bytes(content)
    assert len(export_in(tmp_path).files) == 1


@pytest.mark.parametrize("content", [b"<html>secret</html>", b'{"tickets": []}', b'{\n"secret": []}', b"null", b"\xff"])
def test_a_file_that_lists_nothing_is_named_and_stops_the_import_before_it_begins(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "tickets.json").write_bytes(content)
    with pytest.raises(SettingsWrong, match=r"tickets\.json holds neither") as raised:
        export_in(tmp_path)
    assert "secret" not in str(raised.value)


def test_a_folder_that_is_not_there_or_lists_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong, match="is no folder"):
        export_in(tmp_path / "nowhere")
    with pytest.raises(SettingsWrong, match="lists anything"):
        export_in(tmp_path)


def test_a_list_is_read_in_flat_memory(tmp_path: Path) -> None:
    row = orjson.dumps({"id": 1, "created_at": OPENED, "requester_id": 1, "description": "x" * 4000})
    (tmp_path / "tickets.json").write_bytes(b"[" + b",".join([row] * 5_000) + b"]")
    export = export_in(tmp_path)
    tracemalloc.start()
    assert sum(1 for _ in export.told(at=AT)) == 5_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # One record of the largest size may be held, and copied, whatever the list.
    assert peak < 3 * RECORD_BYTES < export.size
