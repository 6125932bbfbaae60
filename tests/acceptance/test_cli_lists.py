"""The lists of calls, chats, forums, articles, companies and groups on the command line."""

from __future__ import annotations

from itertools import count
from typing import Any

import orjson
import pytest

from tests.acceptance.conftest import Sealdesk

_ids = count()


def event(type_: str, subject: str, /, **data: Any) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": f"{next(_ids)}",
            "source": "tests",
            "type": f"sealdesk.{type_}.v1",
            "subject": subject,
            "tenant": "acme",
            "time": "2026-03-01T12:00:00Z",
            "data": data,
        }
    )


HAPPENED = b"\n".join(
    [
        event("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@example.org"),
        event("contact.created", "contact 2", id=2, name="Bo Brook"),
        event("agent.created", "agent 7", id=7, name="Eve Ellis"),
        event("ticket.opened", "ticket 20", id=20, requester_id=1, subject="help"),
        event("call.logged", "call 80", id=80, user_id=1, direction=1, duration_seconds=61, subject="a call"),
        event("call.logged", "call 81", id=81, user_id=2, direction=2, duration_seconds=5, subject="another"),
        event("chat.started", "chat 90", id=90, user_id=2, channel=7, subject="hello"),
        event("topic.posted", "topic 3", id=3, forum_id=2, user_id=1, title="My bike", message="it broke"),
        event("comment.posted", "comment 4", id=4, topic_id=3, user_id=2, body="mine too"),
        event("topic.posted", "topic 5", id=5, forum_id=2, user_id=2, title="Bells", message="do you like them"),
        event("article_folder.posted", "article_folder 8", id=8, name="Bikes"),
        event("article.drafted", "article 9", id=9, folder_id=8, agent_id=7, title="Brakes"),
        event("article.published", "article 10", id=10, folder_id=8, agent_id=7, title="Chains"),
        event("company.created", "company 50", id=50, name="Abbott Ltd", domains=["abbott.example"]),
        event("group.created", "group 60", id=60, name="Support", agent_ids=[7]),
    ]
)
REVEALED = ("--reveal", "--why", "test")


@pytest.fixture
def desk(sealdesk: Sealdesk) -> Sealdesk:
    sealdesk.done("tenant", "add", "acme")
    sealdesk.done("import", "-", stdin=HAPPENED)
    return sealdesk


def test_every_list_has_a_table_and_says_what_it_is(desk: Sealdesk) -> None:
    for what, shown in (
        ("calls", ("incoming", "61", "a call")),
        ("chats", ("chat", "hello")),
        ("forums", ("comment", "mine too", "My bike")),
        ("articles", ("published", "Chains", "article_folder")),
        ("companies", ("Abbott Ltd", "abbott.example")),
        ("groups", ("Support", "1")),
    ):
        table = desk.done("query", what, *REVEALED).out
        assert not [text for text in shown if text not in table]
        assert "(sealed)" in desk.done("query", what).out
        assert "Examples:" in desk.done("query", what, "--help").out or "Example:" in desk.done("query", what, "-h").out


def test_tickets_are_tickets_alone(desk: Sealdesk) -> None:
    assert [row["kind"] for row in desk.json("query", "tickets")] == ["ticket"]
    assert [row["kind"] for row in desk.json("query", "calls")] == ["call", "call"]
    assert [row["kind"] for row in desk.json("query", "chats")] == ["chat"]


def test_calls_and_chats_are_found_by_contact_and_by_id(desk: Sealdesk) -> None:
    both = desk.json("query", "calls")
    assert desk.json("query", "calls", "--contact", "1") == both[:1]
    assert desk.json("query", "calls", "--email", "-", stdin=b"ann@example.org") == both[:1]
    assert desk.json("query", "calls", "--call", "81") == both[1:]
    assert desk.json("query", "calls", "--until", "2026-02-01") == []
    assert desk.json("query", "chats", "--contact", "1") == []
    assert len(desk.json("query", "chats", "--chat", "90", "--channel", "chat")) == 1


def test_posts_are_found_by_topic_by_author_and_by_kind(desk: Sealdesk) -> None:
    topic, comment, other = desk.json("query", "forums")
    assert desk.json("query", "forums", "--topic", "3") == [topic, comment]
    assert desk.json("query", "forums", "--author", "2") == [comment, other]
    assert desk.json("query", "forums", "--kind", "comment") == [comment]


def test_articles_are_found_by_folder_and_by_status(desk: Sealdesk) -> None:
    folder, draft, published = desk.json("query", "articles")
    assert desk.json("query", "articles", "--folder", "8") == [draft, published]
    assert desk.json("query", "articles", "--status", "draft") == [draft]
    assert desk.json("query", "articles", "--kind", "article_folder") == [folder]
    assert desk.json("query", "articles", "--author", "7") == [draft, published]


@pytest.mark.parametrize(("what", "id_"), [("calls", "call"), ("forums", "thing"), ("articles", "thing")])
def test_a_list_goes_on_behind_a_row(desk: Sealdesk, what: str, id_: str) -> None:
    whole = desk.json("query", what)
    assert desk.json("query", what, "--after", whole[0][id_]) == whole[1:]
    short = desk.done("query", what, "--limit", "1")
    assert f"--after {whole[0][id_]}" in short.err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("forums", "--kind", "secret-of-ann"), 2),
        (("articles", "--after", "secret-of-ann"), 2),
        (("companies", "--after", "00000000-0000-4000-8000-000000000000"), 3),
        (("calls", "--contact", "secret-of-ann"), 3),
        (("chats", "--since", "secret-of-ann"), 2),
        (("forums", "--topic", "99"), 3),
        (("groups", "--reveal"), 2),
    ],
)
def test_a_list_that_cannot_be_made_says_why_and_repeats_nothing(
    desk: Sealdesk, words: tuple[str, ...], status: int
) -> None:
    ended = desk("query", *words)
    assert ended.status == status
    assert "secret-of-ann" not in ended.out + ended.err


def test_a_forgotten_author_leaves_a_place_in_the_topic(desk: Sealdesk) -> None:
    topic = desk.json("query", "forums", "--topic", "3")[0]["thing"]
    desk.done("shred", "contact", "--ref", "1", "--ground", "test", "--yes")
    # Upstream's id leads nowhere any more, but the comments of others are there to be read.
    assert desk("query", "forums", "--topic", "3").status == 3
    table = desk.done("query", "forums", "--topic", topic, *REVEALED).out
    assert "(shredded)" in table
    assert "erased" in table
    assert "mine too" in table
