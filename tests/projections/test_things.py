from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.catalogue import CATALOGUE
from domain.ids import TenantId
from domain.personal import Kind
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED
from projections import articles, branches, companies, groups
from projections.forums import KINDS
from tests.projections.board import Board, BoardModels, kinds, types_of
from tests.projections.desk import NOON, Dump, minutes, part, subject, thing


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def models(connection: psycopg.Connection[Any]) -> BoardModels:
    return BoardModels(connection)


# -- stories ----------------------------------------------------------------------------------------------------


def test_every_kind_of_thing_stands_in_exactly_one_read_model() -> None:
    conversations = {Kind.TICKET.value, Kind.CALL.value, Kind.CHAT.value}
    assert kinds() == {kind.value for kind in Kind if kind.is_thing} - conversations
    assert sum(len(model.KINDS) for model in (articles, companies, groups)) + len(KINDS) == len(kinds())


def test_no_clear_field_of_a_thing_is_a_text() -> None:
    for kind in kinds():
        declared = {name for type_ in types_of(kind) for name in CATALOGUE[type_].personal}
        assert not declared.intersection(branches.clear_fields(kind))
    assert "title" not in branches.clear_fields("topic")
    assert {"locked", "hits", "replied_at"} <= set(branches.clear_fields("topic"))
    assert "vote" not in branches.clear_fields("topic")
    assert "visibility" in branches.clear_fields("forum")


def test_a_topic_stands_with_its_comments_in_order(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada", sticky=True, hits=3, created_at="2026-03-02T13:00:00+01:00")
    board.comment("c", "bob", "t")
    board.topic("u", "bob")
    board.comment("d", "eve", "t", by="agent", answer=True)
    models.follow(board.log)
    listed = models.listed(topic=thing("t"))
    assert [row.thing for row in listed] == [thing("t"), thing("c"), thing("d")]
    topic, _, answer = listed
    assert (topic.kind, topic.parent, topic.author, topic.by) == ("topic", thing("forum"), subject("ada"), "contact")
    assert topic.said == {"sticky": True, "hits": 3, "created_at": "2026-03-02T12:00:00+00:00"}
    assert (answer.by, answer.author, answer.said) == ("agent", subject("eve"), {"answer": True})
    assert set(topic.personal) == {"title", "message"}


def test_what_is_written_anew_leaves_no_older_seal(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada", hits=3, locked=False)
    anew = board.post("topic.edited", "t", "title", "message", sticky=True)
    models.follow(board.log)
    row = models.row("t")
    assert row.personal == {"title": anew.position, "message": anew.position}
    assert row.said == {"hits": 3, "locked": False, "sticky": True}
    assert row.author == subject("ada")


def test_what_changes_in_part_keeps_the_rest(board: Board, models: BoardModels) -> None:
    first = board.post("company.created", "c", "name", "note", renewal_date="2027-01-01T00:00:00+00:00")
    second = board.post("company.updated", "c", "note", words={"cf_tier": "gold"})
    models.follow(board.log)
    assert models.row("c").personal == {"name": first.position, "note": second.position}
    assert models.row("c").said["words"] == {"cf_tier": "gold"}
    assert models.row("c").said["renewal_date"] == "2027-01-01T00:00:00+00:00"
    board.post("company.updated", "c", renewal_date=None, words={"cf_tier": None})
    models.follow(board.log)
    assert models.row("c").said == {}


def test_a_moved_topic_stands_elsewhere_and_a_locked_one_says_so(board: Board, models: BoardModels) -> None:
    opened = board.topic("t", "ada", locked=False)
    board.post("topic.moved", "t", "id", parent="other")
    board.post("topic.locked", "t", "id", locked=True)
    models.follow(board.log)
    row = models.row("t")
    assert (row.parent, row.said["locked"]) == (thing("other"), True)
    # What merely refers to a topic says nothing that it is read from.
    assert row.personal == {"title": opened.position, "message": opened.position}


def test_votes_are_summed_and_nobody_is_kept_as_their_voter(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada")
    for vote in (1, 1, -1, 1):
        board.post("topic.voted", "t", vote=vote, voter=subject("bob").hex)
    models.follow(board.log)
    assert (models.row("t").votes, models.row("t").said) == (2, {})
    assert subject("bob") not in mentioned(models.dump())


def test_a_deleted_topic_takes_its_comments_along_and_leaves_their_places(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada")
    board.comment("c", "bob", "t")
    board.comment("d", "eve", "t", by="agent")
    board.attach("c", "file", "comment")
    kept = board.topic("u", "ada")
    models.follow(board.log)
    board.post("topic.deleted", "t", "id")
    board.comment("late", "cy", "t")
    models.follow(board.log)
    assert [row.thing for row in models.listed()] == [thing("u")]
    for name in ("t", "c", "d", "late"):
        row = models.row(name)
        assert (row.deleted, row.erased) == (True, False)
        assert set(row.personal.values()) == {None}
    assert [models.row(name).author for name in ("t", "c", "d", "late")] == [None, None, subject("eve"), None]
    assert [file.personal for file in models.attachments("c")] == [{"id": None, "name": None}]
    assert models.row("u").personal["title"] == kept.position


@pytest.mark.parametrize("page_size", [1, 2, 3, 2000])
def test_a_category_takes_everything_along_however_deep_and_in_whatever_order_it_came(
    board: Board, models: BoardModels, page_size: int
) -> None:
    board.comment("c", "bob", "t")
    board.post("category.posted", "top", "name")
    board.post("category.posted", "other", "name")
    board.topic("t", "ada", parent="f")
    board.topic("u", "ada", parent="g")
    board.topic("moved-out", "ada", parent="f")
    board.post("topic.moved", "moved-out", parent="g")
    board.post("category.deleted", "top", "id")
    board.post("forum.posted", "g", "name", parent="other")
    board.post("forum.posted", "f", "name", parent="top")
    board.comment("late", "bob", "t")
    models.follow(board.log, page_size)
    state = {name: models.row(name).deleted for name in ("top", "f", "t", "c", "late")}
    assert state == dict.fromkeys(state, True)
    assert not any(models.row(name).deleted for name in ("other", "g", "u", "moved-out"))


def test_things_that_stand_in_a_circle_end(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada", parent="u")
    board.topic("u", "ada", parent="t")
    models.follow(board.log)
    board.post("topic.deleted", "t")
    models.follow(board.log)
    assert [models.row(name).deleted for name in ("t", "u")] == [True, True]


def test_a_shredded_person_leaves_erased_posts_in_their_places_between_those_of_others(
    board: Board, models: BoardModels
) -> None:
    board.topic("t", "ada")
    theirs = board.comment("c", "bob", "t")
    board.comment("d", "ada", "t")
    board.attach("t", "file")
    models.follow(board.log)
    board.shred("ada")
    models.follow(board.log)
    listed = models.listed(topic=thing("t"))
    assert [(row.thing, row.erased) for row in listed] == [(thing("t"), True), (thing("c"), False), (thing("d"), True)]
    assert [row.author for row in listed] == [None, subject("bob"), None]
    assert listed[0].personal == {"title": None, "message": None}
    assert listed[1].personal == {"body": theirs.position}
    assert [file.personal for file in models.attachments("t")] == [{"id": None, "name": None}]
    assert subject("ada") not in mentioned(models.dump())


def test_a_shredded_agent_leaves_the_work_to_the_desk(board: Board, models: BoardModels) -> None:
    written = board.topic("t", "eve", by="agent")
    article = board.post("article.drafted", "a", "title", author="eve", by="agent")
    models.follow(board.log)
    board.shred("eve")
    models.follow(board.log)
    for name, fact in (("t", written), ("a", article)):
        row = models.row(name)
        assert (row.erased, row.author) == (False, subject("eve"))
        assert row.personal["title"] == fact.position


def test_one_thing_can_be_shredded_alone(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada")
    theirs = board.comment("c", "bob", "t")
    board.post("article.drafted", "a", "title", author="eve", by="agent")
    for name in ("t", "a", "later"):
        board.shred_thing(name)
    board.topic("later", "ada")
    models.follow(board.log)
    assert [(models.row(name).erased, models.row(name).author) for name in ("t", "later")] == [(True, None)] * 2
    assert (models.row("a").erased, models.row("a").author) == (True, subject("eve"))
    assert models.row("c").personal == {"body": theirs.position}
    assert models.listed(articles) == []
    assert [row.thing for row in models.listed(articles, all=True)] == [thing("a")]


def test_what_merged_people_wrote_goes_with_the_person_they_turned_out_to_be(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada-at-home")
    models.follow(board.log)
    board.merge("ada", "ada-at-home")
    models.follow(board.log)
    assert models.row("t").author == subject("ada")
    assert [row.thing for row in models.listed(authors=[subject("ada"), subject("ada-at-home")])] == [thing("t")]
    board.shred("ada")
    models.follow(board.log)
    assert models.row("t").erased


def test_who_is_merged_into_somebody_shredded_is_forgotten_as_well(board: Board, models: BoardModels) -> None:
    board.topic("t", "bob")
    board.shred("ada")
    board.merge("ada", "bob")
    board.topic("u", "bob")
    models.follow(board.log)
    assert [models.row(name).erased for name in ("t", "u")] == [True, True]


def test_what_comes_late_of_the_shredded_is_blank_from_the_start(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada")
    board.shred("ada")
    models.follow(board.log)
    board.comment("c", "ada", "t")
    board.post("topic.edited", "t", "title", "message")
    board.attach("t", "file")
    models.follow(board.log)
    for name in ("t", "c"):
        assert (models.row(name).erased, models.row(name).author) == (True, None)
        assert set(models.row(name).personal.values()) == {None}
    assert models.attachments("t")[0].personal == {"id": None, "name": None}


def test_an_article_is_what_its_facts_say_it_became(board: Board, models: BoardModels) -> None:
    board.post("article_folder.posted", "folder", "name", parent="category", visibility="all")
    board.post("article.drafted", "a", "title", author="eve", by="agent", parent="folder")
    board.post("article.published", "b", "title", author="eve", by="agent", parent="folder", article_status="other")
    models.follow(board.log)
    assert [models.row(name).said["article_status"] for name in ("a", "b")] == ["draft", "other"]
    anew = board.post("article.published", "a", "title", hits=7)
    models.follow(board.log)
    assert models.row("a").said == {"article_status": "published", "hits": 7}
    assert models.row("a").personal == {"title": anew.position}
    assert [row.thing for row in models.listed(articles, folder=thing("folder"))] == [thing("a"), thing("b")]
    assert [row.thing for row in models.listed(articles, status="published")] == [thing("a")]


def test_a_deleted_company_is_gone_for_good(board: Board, models: BoardModels) -> None:
    board.post("company.created", "c", "name", "domains")
    board.post("company.deleted", "c", "id")
    board.post("company.updated", "c", "name")
    models.follow(board.log)
    assert models.listed(companies) == []
    assert set(models.row("c").personal.values()) == {None}


def test_who_leaves_the_team_leaves_its_groups(board: Board, models: BoardModels) -> None:
    board.group("g", ["eve", "flo", "gus"])
    models.follow(board.log)
    assert models.row("g").members == (subject("eve"), subject("flo"), subject("gus"))
    board.person("eve", type_="agent.deleted")
    board.merge("flo", "gus")
    models.follow(board.log)
    assert models.row("g").members == (subject("flo"),)
    board.group("g", ["flo", "eve"], "group.updated")
    models.follow(board.log)
    assert models.row("g").members == (subject("flo"), subject("eve"))


def test_lists_go_on_behind_a_row_and_keep_to_what_is_asked(board: Board, models: BoardModels) -> None:
    for number in range(7):
        board.topic(f"t{number}", "ada" if number % 2 else "bob")
    models.follow(board.log)
    first = models.listed(limit=3)
    rest = models.listed(after=first[-1].first_position)
    assert [row.thing for row in first + rest] == [thing(f"t{number}") for number in range(7)]
    assert len(models.listed(authors=[subject("ada")])) == 3
    assert models.listed(kind="comment") == []
    assert len(models.listed(parent=thing("forum"), limit=5)) == 5


def test_another_tenant_with_the_same_ids_is_untouched(models: BoardModels) -> None:
    here, there = Board(), Board()
    there.tenant, there.log = TenantId(UUID(int=2)), here.log
    for board in (here, there):
        board.topic("t", "ada")
        board.comment("c", "bob", "t")
        board.attach("t", "file")
        board.group("g", ["eve"])
    models.follow(here.log)
    before = models.dump()
    here.shred("ada")
    here.post("topic.deleted", "t")
    here.person("eve", type_="agent.deleted")
    models.follow(here.log)
    for name, rows in models.dump().items():
        theirs = [row for row in rows if row.get("tenant") == there.tenant]
        assert theirs == [row for row in before[name] if row.get("tenant") == there.tenant]


# -- promises ---------------------------------------------------------------------------------------------------

CONTACTS = ("ada", "bob", "cy")
AGENTS = ("eve", "flo")
FORUMS, TOPICS, COMMENTS, ARTICLES = ("f", "g"), ("t", "u", "v"), ("c", "d", "e"), ("a", "b")

contacts = st.sampled_from(CONTACTS)
agents = st.sampled_from(AGENTS)
forums = st.sampled_from(FORUMS)
topics = st.sampled_from(TOPICS)
comments = st.sampled_from(COMMENTS)
posts = st.sampled_from(TOPICS + COMMENTS)
anything = st.sampled_from(("top", *FORUMS, *TOPICS, *COMMENTS, *ARTICLES, "co", "gr"))
whens = st.integers(-90, 5_000_000).map(lambda seconds: NOON + timedelta(seconds=seconds))
authors = st.sampled_from([*((name, "contact") for name in CONTACTS), *((name, "agent") for name in AGENTS)])

happenings = st.one_of(
    st.tuples(st.just("forum"), forums, st.sampled_from(("posted", "edited", "moved"))),
    st.tuples(st.just("topic"), topics, authors, forums, whens),
    st.tuples(st.just("topic"), topics, authors, topics, whens),
    st.tuples(st.just("comment"), comments, authors, topics, whens),
    st.tuples(st.just("edited"), posts, st.none() | topics),
    st.tuples(st.just("moved"), topics, st.sampled_from(FORUMS + TOPICS)),
    st.tuples(st.just("voted"), posts, contacts, st.sampled_from((-1, 1))),
    st.tuples(st.just("attached"), posts, st.integers(1, 3)),
    st.tuples(st.just("article"), st.sampled_from(ARTICLES), agents, st.sampled_from(("drafted", "published"))),
    st.tuples(st.just("company"), st.sampled_from(("created", "updated")), st.sampled_from((None, "gold"))),
    st.tuples(st.just("group"), st.lists(agents, max_size=2), st.sampled_from(("created", "updated"))),
    st.tuples(st.just("fired"), agents),
    st.tuples(st.just("merged"), contacts, contacts),
    st.tuples(st.just("merged"), agents, agents),
)
endings = st.one_of(
    st.tuples(st.just("ended"), anything),
    st.tuples(st.just("forgotten"), st.sampled_from(CONTACTS + AGENTS), whens),
    st.tuples(st.just("purged"), anything, whens),
)
#: Left alone, Hypothesis writes histories of five happenings, in which hardly anything meets an end.
histories = st.lists(happenings | endings, min_size=15, max_size=50)

KIND = (
    dict.fromkeys(FORUMS, "forum")
    | dict.fromkeys(TOPICS, "topic")
    | dict.fromkeys(COMMENTS, "comment")
    | dict.fromkeys(ARTICLES, "article")
    | {"top": "category", "co": "company", "gr": "group"}
)


def happen(board: Board, what: tuple[Any, ...]) -> None:
    """Write down one happening, whether it makes sense or not: a fold never refuses."""
    match what:
        case "forum", name, how:
            board.post(f"forum.{how}", name, *(() if how == "moved" else ("name",)), parent="top")
        case ("topic" | "comment") as kind, name, (author, by), parent, at:
            author = board.whom(author)
            board.post(f"{kind}.posted", name, "id", "body", author=author, by=by, parent=parent, at=at, hits=1)
        case "edited", name, parent:
            board.post(f"{KIND[name]}.edited", name, "body", parent=parent, hits=2)
        case "moved", name, parent:
            board.post("topic.moved", name, "id", parent=parent)
        case "voted", name, voter, vote:
            board.post(f"{KIND[name]}.voted", name, vote=vote, voter=subject(voter).hex)
        case "attached", name, number:
            board.attach(name, f"{name}{number}", KIND[name])
        case "article", name, author, how:
            board.post(f"article.{how}", name, "title", author=board.whom(author), by="agent", parent="folder")
        case "company", how, word:
            board.post(f"company.{how}", "co", "name", "note", words={"cf_tier": word})
        case "group", members, how:
            board.group("gr", members, f"group.{how}")
        case "fired", agent:
            board.person(agent, type_="agent.deleted")
        case "merged", one, other:
            if board.whom(one) != board.whom(other):
                board.merge(board.whom(one), board.whom(other))
        case "ended", name:
            board.post(f"{KIND[name]}.deleted", name, "id")
        case "forgotten", name, at:
            board.shred(name, at=at)
        case "purged", name, at:
            board.shred_thing(name, at=at)
        case _:
            raise AssertionError(what)


def written(history: list[tuple[Any, ...]]) -> Board:
    board = Board()
    for what in history:
        happen(board, what)
    return board


def folded(models: BoardModels, board: Board, page_size: int = 2000) -> Dump:
    models.begin_again()
    models.follow(board.log, page_size)
    return models.dump()


def mentioned(dump: Dump) -> set[Any]:
    """List every id that a table holds, and where every seal stands, apart from those of what is noted as shredded."""
    return {
        item
        for name, rows in dump.items()
        if not name.endswith(".shredded")
        for row in rows
        for column, value in row.items()
        for item in (value if isinstance(value, list) else [value])
        if isinstance(item, UUID | bytes) or (column == "seal" and item is not None)
    }


@given(histories, st.integers(1, 9), st.integers(0, 50))
def test_live_equals_rebuilt_however_the_log_was_paged(
    models: BoardModels, history: list[tuple[Any, ...]], page_size: int, pause: int
) -> None:
    board = written(history)
    rebuilt = folded(models, board)
    models.begin_again()
    later = board.log.facts[pause:]
    del board.log.facts[pause:]
    models.follow(board.log, page_size)
    board.log.facts += later
    models.follow(board.log, page_size)
    assert models.dump() == rebuilt


class Plain:
    """What has to be gone, found by going through the log fact by fact, without pages, tables or an index."""

    def __init__(self, board: Board) -> None:
        self.forgotten: set[UUID] = set()
        self.purged: set[UUID] = set()
        self.ended: set[UUID] = set()
        self.parent: dict[UUID, UUID] = {}
        opened: set[UUID] = set()
        for fact in board.log.facts:
            record = CATALOGUE[fact.type].record if fact.type in CATALOGUE else None
            if fact.type == SUBJECT_SHREDDED:
                self.forgotten |= {UUID(id_) for id_ in fact.clear["subjects"]}
            elif fact.type == CONTENT_SHREDDED:
                self.purged.add(fact.stream)
            elif record is not None and record.THING in kinds():
                if record.OPENS or branches.ends(fact):
                    opened.add(fact.stream)
                if branches.ends(fact):
                    self.ended.add(fact.stream)
                elif fact.stream in opened and "parent" in fact.clear:
                    self.parent[fact.stream] = UUID(fact.clear["parent"])
            while beneath := {
                child for child, above in self.parent.items() if above in self.ended and child not in self.ended
            }:
                self.ended |= beneath


@given(histories)
def test_what_is_deleted_is_deleted_with_all_beneath_it_and_nothing_else_is(
    models: BoardModels, history: list[tuple[Any, ...]]
) -> None:
    board = written(history)
    dump = folded(models, board)
    plain = Plain(board)
    rows = [row for name, listed in dump.items() if name.endswith(".things") for row in listed]
    for row in rows:
        assert row["deleted"] == (row["thing"] in plain.ended)
        assert row["erased"] or row["thing"] not in plain.purged


@given(histories)
def test_nothing_of_the_shredded_and_the_deleted_stands_in_any_table(
    models: BoardModels, history: list[tuple[Any, ...]]
) -> None:
    board = written(history)
    found = mentioned(folded(models, board))
    plain = Plain(board)
    gone = plain.forgotten | {subject(name) for name in board.primary if subject(board.whom(name)) in plain.forgotten}
    assert not {subject(name) for name in CONTACTS} & gone & found
    of_gone = [
        fact
        for fact in board.log.facts
        if fact.seal is not None and (fact.stream in plain.ended | plain.purged or gone.intersection(fact.owners))
    ]
    assert not {fact.position for fact in of_gone} & found


@given(histories)
def test_what_lives_reads_from_the_seals_that_still_stand(models: BoardModels, history: list[tuple[Any, ...]]) -> None:
    board = written(history)
    dump = folded(models, board)
    for name, rows in dump.items():
        for row in rows if name.endswith(".things") else ():
            if row["deleted"] or row["erased"]:
                continue
            seals: dict[str, int | None] = {}
            for fact in board.log.facts:
                plan = CATALOGUE.get(fact.type)
                if plan is None or fact.stream != row["thing"] or fact.position < row["first_position"]:
                    continue
                if plan.tells and "part" not in fact.clear:
                    seals = {} if plan.record.EFFECT == "rewrites" else seals
                    seals |= dict.fromkeys(fact.sealed_fields, fact.position)
            kept = {
                field: seal["seal"]
                for seal in dump[name.replace(".things", ".seals")]
                if seal["thing"] == row["thing"]
                for field in seal["fields"]
            }
            assert kept == seals


def test_times_of_a_thing_are_those_of_its_first_fact(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada", at=minutes(5))
    board.post("topic.edited", "t", "title", at=minutes(9))
    models.follow(board.log)
    assert models.row("t").at == minutes(5)


def test_a_file_is_found_by_its_part(board: Board, models: BoardModels) -> None:
    board.topic("t", "ada")
    fact = board.attach("t", "file")
    models.follow(board.log)
    [file] = models.attachments("t")
    assert (file.part, file.inline) == (part("file"), False)
    assert file.personal == {"id": fact.position, "name": fact.position}


@settings(max_examples=20)
@given(histories, histories, st.integers(1, 9))
def test_of_a_closed_tenant_every_thing_keeps_its_place_and_no_seal_whatever_came_first(
    models: BoardModels, history: list[tuple[Any, ...]], late: list[tuple[Any, ...]], page_size: int
) -> None:
    late = late[:10]
    places = {name: len(rows) for name, rows in folded(models, written([*history, *late])).items()}
    board = written(history)
    board.close()
    for what in late:
        happen(board, what)
    rebuilt = folded(models, board)
    assert {name: len(rows) for name, rows in rebuilt.items() if name.endswith(".things")} == {
        name: rows for name, rows in places.items() if name.endswith(".things")
    }
    assert not any(isinstance(item, int | bytes) for item in mentioned(rebuilt))
    for name, rows in rebuilt.items():
        if name.endswith(".things"):
            assert all(row["erased"] and (row["author"] is None or row["by"] == "agent") for row in rows)
    assert folded(models, board, page_size) == rebuilt
