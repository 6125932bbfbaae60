"""The key work that facts of upstream call for, and that it may run at any time, any number of times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.findings import Wrong
from crypto.keystore import rows_of
from crypto.opening import SHREDDED, open_leaves
from crypto.register import Register
from crypto.sealing import header_of
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.personal import Kind, Reference
from services import keeping
from services.embedded import Endpoints
from services.intake import Intake
from services.integrity import LogIntegrity
from services.wiring import House
from tests.desks import AT, Desk, desk_house

GONE = {"shredded": True}
_NOBODY = 1_000_000


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened:
        yield opened


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house)


@pytest.fixture
def nobody_keeps(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let intake append its facts and die before the key work, until undone."""
    monkeypatch.setattr(Intake, "_keep", lambda *_: None)
    monkeypatch.setattr(keeping, "advance", lambda *_: None)
    monkeypatch.setattr(keeping, "is_behind", lambda *_: False)
    return monkeypatch


def catch_up(desk: Desk) -> None:
    keeping.catch_up(desk.house.keys, desk.house.roots, desk.house.facts)


def agents(desk: Desk) -> set[UUID]:
    with desk.house.keys.transaction() as cursor:
        return {row["subject_id"] for row in rows_of(cursor, "SELECT subject_id FROM subjects WHERE agent")}


def subject(desk: Desk, kind: Kind, value: str) -> UUID:
    """Find whom a reference means, through merges."""
    with desk.house.keys.transaction() as cursor:
        tree = Tree(cursor, desk.house.roots)
        register = Register(tree, desk.tenant.id)
        index = register.index(Reference(kind, value))
        inside = register.look_up([index])[index].inside
        assert inside is not None
        return tree.people([inside])[inside].root


def keys(desk: Desk) -> str:
    """Read everything that stands in the key database about this desk, but for what is random or only counts."""
    with desk.house.keys.transaction() as cursor:
        people = rows_of(cursor, "SELECT subject_id, parent, agent, upstream, line FROM subjects ORDER BY subject_id")
        things = rows_of(cursor, "SELECT thing_id, owner, line FROM things ORDER BY thing_id")
        leaves = rows_of(
            cursor, "SELECT thing_id, key_id, owner, co_owners, wrapped IS NULL AS gone, line FROM leaves ORDER BY 1, 2"
        )
        entries = rows_of(cursor, "SELECT blind_index, told FROM register ORDER BY blind_index")
        [backs] = rows_of(cursor, "SELECT count(*) AS n FROM register_backs")
        register = Register(Tree(cursor, desk.house.roots), desk.tenant.id)
        known = register.look_up([row["blind_index"] for row in entries])
    return repr((people, things, leaves, entries, backs, sorted((i, repr(k)) for i, k in known.items())))


def kept(desk: Desk) -> int:
    with psycopg.connect(desk.house.endpoints.keys_dsn) as connection:
        row = connection.execute("SELECT position FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def opened(desk: Desk) -> dict[str, list[Any]]:
    """Tell of each type of fact what became of the keys: a key, a shred or an error."""
    found: dict[str, list[Any]] = {}
    for fact in desk.house.facts.page(0, 1_000):
        if fact.seal is not None:
            place = fact.stream, header_of(fact.seal).key_id
            with desk.house.keys.transaction() as cursor:
                key = open_leaves(Tree(cursor, desk.house.roots), fact.tenant, [place])[place]
            found.setdefault(fact.type.split(".", 1)[1], []).append("key" if isinstance(key, Key) else key)
    return found


# -- what moved -------------------------------------------------------------------------------------------------------


def moved(desk: Desk) -> None:
    """Ann's ticket, with an entry of Cy's, moves to Bob and is answered there."""
    desk.happens("contact.created", "contact 1", id=1, name="Ann")
    desk.happens("contact.created", "contact 2", id=2, name="Bob")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi", description="Ann's")
    desk.happens("ticket.replied", "ticket 20", body="Cy's", user_id=3, incoming=True)
    desk.happens("ticket.updated", "ticket 20", requester_id=2, tags=["moved"])
    desk.happens("ticket.replied", "ticket 20", body="Bob's", user_id=2, incoming=True)


def test_a_moved_ticket_gives_its_old_leaves_the_new_requester_as_an_owner(desk: Desk) -> None:
    moved(desk)
    ann, bob, cy = (subject(desk, Kind.PERSON, str(number)) for number in (1, 2, 3))
    with desk.house.keys.transaction() as cursor:
        [thing] = rows_of(cursor, "SELECT thing_id, owner FROM things")
        leaves = {
            row["key_id"]: (row["owner"], *(row["co_owners"] or ()))
            for row in rows_of(cursor, "SELECT * FROM leaves WHERE thing_id = %(thing)s", thing=thing["thing_id"])
        }
    assert thing["owner"] == bob
    stream = [fact for fact in desk.house.facts.stream(thing["thing_id"]) if fact.seal is not None]
    assert [leaves[header_of(fact.seal or b"").key_id] for fact in stream] == [
        (ann, bob),
        (ann, cy, bob),
        (bob, ann),
        (bob,),
    ]
    ticket = desk.ticket(20)
    assert ticket["description"] == "Ann's"
    assert [entry["body"] for entry in ticket["conversation"] if "body" in entry] == ["Cy's", "Bob's"]


@pytest.mark.parametrize(
    ("going", "subject_", "entries"),
    [("contact 1", GONE, [GONE, "Bob's"]), ("contact 2", GONE, [GONE, GONE]), ("contact 3", "hi", [GONE, "Bob's"])],
)
def test_a_shred_of_either_requester_blanks_what_stood_in_the_ticket_before_it_moved(
    desk: Desk, going: str, subject_: Any, entries: list[Any]
) -> None:
    moved(desk)
    desk.shred(going)
    [ticket] = desk.tickets()
    assert ticket["subject"] == subject_
    assert [entry["body"] for entry in ticket["conversation"] if "body" in entry] == entries


def test_a_ticket_that_moves_twice_belongs_to_all_three(desk: Desk) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    desk.happens("ticket.updated", "ticket 20", requester_id=2)
    desk.happens("ticket.updated", "ticket 20", requester_id=3)
    desk.happens("ticket.updated", "ticket 20", requester_id=2)
    assert desk.ticket(20)["requester"] == str(subject(desk, Kind.PERSON, "2"))
    desk.shred("contact 3")
    assert desk.tickets()[0]["subject"] == GONE


@pytest.mark.parametrize("going", ["contact 1", "contact 2"])
def test_what_a_crash_left_unmoved_is_moved_before_anybody_is_shredded(
    desk: Desk, nobody_keeps: pytest.MonkeyPatch, going: str
) -> None:
    moved(desk)
    nobody_keeps.undo()
    desk.shred(going)
    assert desk.tickets()[0]["subject"] == GONE


def test_what_stood_in_a_ticket_dies_if_it_moved_to_somebody_who_was_shredded_before_the_keys_followed(
    desk: Desk, nobody_keeps: pytest.MonkeyPatch
) -> None:
    moved(desk)
    bob = subject(desk, Kind.PERSON, "2")
    with desk.house.keys.transaction() as cursor:
        tree = Tree(cursor, desk.house.roots)
        tree.destroy_subjects(rows_of(cursor, "SELECT * FROM subjects WHERE subject_id = %(id)s", id=bob), 1)
        before = rows_of(cursor, "SELECT subject_id, losses FROM subjects")
    nobody_keeps.undo()
    catch_up(desk)
    assert opened(desk)["ticket.opened.v1"] == [SHREDDED]
    assert opened(desk)["ticket.replied.v1"] == [SHREDDED, SHREDDED]
    # The old files still hold these leaves under Ann's key alone, so her key has to be replaced at the next turn.
    ann = subject(desk, Kind.PERSON, "1")
    with desk.house.keys.transaction() as cursor:
        after = {row["subject_id"]: row["losses"] for row in rows_of(cursor, "SELECT subject_id, losses FROM subjects")}
    assert after[ann] == {row["subject_id"]: row["losses"] for row in before}[ann] + 2


# -- who was merged ---------------------------------------------------------------------------------------------------


def merged(desk: Desk) -> None:
    for number, name in ((1, "Ann"), (2, "Anna"), (3, "Annie")):
        desk.happens("contact.created", f"contact {number}", id=number, name=name)
        desk.happens("ticket.opened", f"ticket {number}", id=number, requester_id=number, subject=name)
    desk.happens("contact.merged", "contact 2", primary_contact_id=2, secondary_contact_ids=[3])
    desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[2])


def test_after_a_merge_everything_opens_as_before(desk: Desk) -> None:
    merged(desk)
    assert {row["subject"] for row in desk.tickets()} == {"Ann", "Anna", "Annie"}
    assert len({subject(desk, Kind.PERSON, str(number)) for number in (1, 2, 3)}) == 1


@pytest.mark.parametrize("going", ["contact 1", "contact 2", "contact 3"])
@pytest.mark.parametrize("crashed", [False, True])
def test_whoever_of_the_merged_is_shredded_all_are(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, going: str, crashed: bool
) -> None:
    if crashed:
        with monkeypatch.context() as patch:
            patch.setattr(Intake, "_keep", lambda *_: None)
            patch.setattr(keeping, "advance", lambda *_: None)
            merged(desk)
    else:
        merged(desk)
    desk.shred(going)
    assert [row["subject"] for row in desk.tickets()] == [GONE] * 3
    assert all(found == [SHREDDED] * len(found) for found in opened(desk).values())
    assert [row["erased"] for row in desk.contacts()] == [True] * len(desk.contacts())
    for number in (1, 2, 3):
        raw = desk.event("contact.updated", f"contact {number}", AT, f"late{number}", id=number, name="Ann")
        assert desk.take(raw).refused == 1


def test_a_merge_that_a_crash_left_until_its_primary_was_shredded_takes_the_secondary_along(
    desk: Desk, nobody_keeps: pytest.MonkeyPatch
) -> None:
    desk.happens("contact.created", "contact 1", id=1, name="Ann")
    desk.happens("contact.created", "contact 2", id=2, name="Anna")
    desk.happens("ticket.opened", "ticket 2", id=2, requester_id=2, subject="Anna")
    catch_up(desk)
    # The merge comes to the log after the shred has looked for what a crash left.
    approve = desk.house.shredding._approve

    def then_merge(*given: Any) -> None:
        approve(*given)
        desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[2])

    nobody_keeps.setattr(desk.house.shredding, "_approve", then_merge)
    desk.shred("contact 1")
    nobody_keeps.undo()
    catch_up(desk)
    assert opened(desk)["ticket.opened.v1"] == [SHREDDED]
    raw = desk.event("contact.updated", "contact 2", AT, "late", id=2, name="Anna")
    assert desk.take(raw).refused == 1


# -- catching up ------------------------------------------------------------------------------------------------------


def test_intake_keeps_its_own_batches_so_that_nothing_is_left_to_catch_up(desk: Desk) -> None:
    moved(desk)
    merged_here = Desk(desk.house, "other")
    merged(merged_here)
    assert kept(desk) == desk.house.facts.head()
    before = keys(desk)
    catch_up(desk)
    assert keys(desk) == before


STORIES = [
    ("contact.created", "contact 1", {"id": 1, "email": "a@x.org"}),
    ("contact.created", "contact 2", {"id": 2, "email": "b@x.org"}),
    ("contact.created", "contact 3", {"id": 3, "email": "a@x.org", "other_emails": ["c@x.org"]}),
    ("contact.updated", "contact 1", {"id": 1, "email": "c@x.org"}),
    ("contact.updated", "contact 2", {"id": 2, "email": "a@x.org"}),
    ("contact.created", "c@x.org", {"email": "c@x.org", "name": "C"}),
    ("ticket.opened", "ticket 20", {"id": 20, "requester_id": 1, "subject": "hi", "responder_id": 7}),
    ("ticket.opened", "ticket 21", {"id": 21, "email": "c@x.org", "subject": "hello"}),
    ("ticket.updated", "ticket 20", {"requester_id": 2}),
    ("ticket.updated", "ticket 20", {"email": "c@x.org"}),
    ("ticket.updated", "ticket 21", {"requester_id": 3, "responder_id": 1}),
    ("contact.merged", "contact 1", {"primary_contact_id": 1, "secondary_contact_ids": [2]}),
    ("contact.merged", "contact 3", {"primary_contact_id": 3, "secondary_contact_ids": [1]}),
    ("agent.created", "agent 2", {"id": 2, "email": "b@x.org"}),
    ("ticket.opened", "ticket 22", {"id": 22, "requester_id": 3, "email": "a@x.org"}),
    ("contact.rectified", "contact 1", {"id": 1, "name": "Ann"}),
    ("contact.rectified", "contact 3", {"id": 3, "name": "Cy"}),
]


@settings(max_examples=15)
@given(st.lists(st.sampled_from(STORIES), max_size=8), st.integers(0, 8))
def test_catching_up_any_log_once_more_from_anywhere_changes_no_key(
    module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory, story: list[Any], back: int
) -> None:
    with desk_house(module_databases, tmp_path_factory.getbasetemp() / "catching-up") as house:
        desk = Desk(house, f"desk {house.facts.head()} {len(house.tenants.by_name())}")
        for type_, subject_, data in story:
            desk.happens(type_, subject_, **data)
        before = keys(desk)
        for _ in range(2):
            with house.keys.transaction() as cursor:
                cursor.execute("UPDATE kept SET position = greatest(position - %s, 0)", (back,))
            catch_up(desk)
            assert keys(desk) == before
        assert kept(desk) == house.facts.head()


@settings(max_examples=15)
@given(st.lists(st.sampled_from(STORIES), min_size=1, max_size=8), st.data())
def test_a_batch_that_nobody_kept_is_kept_by_catching_up_as_intake_would_have(
    module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory, story: list[Any], data: st.DataObject
) -> None:
    lost = data.draw(st.integers(0, len(story) - 1))
    with desk_house(module_databases, tmp_path_factory.getbasetemp() / "catching-up") as house:
        seen = []
        for crashed in (False, True):
            desk = Desk(house, f"desk {house.facts.head()} {len(house.tenants.by_name())}")
            for number, (type_, subject_, fields) in enumerate(story):
                if crashed and number == lost:
                    with pytest.MonkeyPatch.context() as patch:
                        patch.setattr(Intake, "_keep", lambda *_: None)
                        patch.setattr(keeping, "advance", lambda *_: None)
                        desk.happens(type_, subject_, **fields)
                    catch_up(desk)
                else:
                    desk.happens(type_, subject_, **fields)
            seen.append(who_is_who(desk))
        assert seen[0] == seen[1]


def test_an_address_that_a_tickets_requester_claims_is_claimed_by_catching_up_too(
    desk: Desk, nobody_keeps: pytest.MonkeyPatch
) -> None:
    desk.happens("contact.created", "contact 1", id=1, email="a@x.org")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=2, email="a@x.org")
    nobody_keeps.undo()
    catch_up(desk)
    assert subject(desk, Kind.EMAIL, "a@x.org") == subject(desk, Kind.PERSON, "2")


@pytest.mark.parametrize("rectified", [1, 2])
def test_an_address_stays_with_who_claimed_it_last_whoevers_profile_is_rectified(desk: Desk, rectified: int) -> None:
    desk.happens("contact.created", "contact 2", id=2)
    desk.happens("contact.created", "contact 1", id=1, email="a@x.org")
    desk.happens("contact.updated", "contact 2", id=2, email="a@x.org")
    desk.happens("contact.updated", "contact 1", id=1, email="a@x.org")
    desk.happens("contact.updated", "contact 2", id=2, email="a@x.org")
    desk.happens("contact.rectified", f"contact {rectified}", id=rectified, name="Ann")
    with desk.house.keys.transaction() as cursor:
        cursor.execute("UPDATE kept SET position = 0")
    catch_up(desk)
    assert subject(desk, Kind.EMAIL, "a@x.org") == subject(desk, Kind.PERSON, "2")


def who_is_who(desk: Desk) -> list[tuple[str, int, bool, bool]]:
    """Tell which references mean the same person, and what is known of each person, without ids."""
    references = [(Kind.PERSON, str(n)) for n in (1, 2, 3, 7)] + [(Kind.EMAIL, f"{a}@x.org") for a in "abc"]
    groups: dict[UUID, int] = {}
    found = []
    with desk.house.keys.transaction() as cursor:
        tree = Tree(cursor, desk.house.roots)
        register = Register(tree, desk.tenant.id)
        for kind, value in references:
            index = register.index(Reference(kind, value))
            known = register.look_up([index]).get(index)
            if known is None or known.inside is None:
                continue
            people = tree.people([known.inside])
            root = people[people[known.inside].root]
            group = groups.setdefault(root.subject_id, len(groups))
            found.append((value, group, root.agent, root.upstream, known.told))
        things = rows_of(
            cursor, "SELECT owner FROM things WHERE tenant = %(tenant)s ORDER BY owner", tenant=desk.tenant.id
        )
        owners = sorted(groups.get(tree.people([row["owner"]])[row["owner"]].root, _NOBODY) for row in things)
    return [*found, ("tickets of", *owners)]  # type: ignore[list-item]


def test_whoever_was_put_into_a_group_before_a_crash_is_known_as_an_agent(
    desk: Desk, nobody_keeps: pytest.MonkeyPatch
) -> None:
    desk.happens("contact.created", "contact 1", id=1, name="Ann")
    desk.happens("group.created", "group 1", id=1, agent_ids=[1])
    nobody_keeps.undo()
    catch_up(desk)
    assert agents(desk) == {subject(desk, Kind.PERSON, "1")}


def test_an_agent_who_answered_before_a_crash_is_known_as_an_agent(
    desk: Desk, nobody_keeps: pytest.MonkeyPatch
) -> None:
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, responder_id=7)
    nobody_keeps.undo()
    catch_up(desk)
    desk.happens("ticket.replied", "ticket 20", body="hello", user_id=7)
    assert [entry["by"] for entry in desk.ticket(20)["conversation"]] == ["agent"]


def test_catching_up_goes_on_page_by_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Intake, "_keep", lambda *_: None)
        patch.setattr(keeping, "advance", lambda *_: None)
        moved(desk)
        for number in range(5, 9):
            desk.happens("contact.created", f"contact {number}", id=number, email=f"{number}@x.org")
            desk.happens("contact.updated", f"contact {number}", id=number, email="shared@x.org")
    monkeypatch.setattr(keeping, "PAGE", 2)
    catch_up(desk)
    assert subject(desk, Kind.EMAIL, "shared@x.org") == subject(desk, Kind.PERSON, "8")
    assert kept(desk) == desk.house.facts.head()
    desk.shred("contact 2")
    assert desk.tickets()[0]["subject"] == GONE


def test_catching_up_an_empty_log_does_nothing(desk: Desk) -> None:
    catch_up(desk)
    assert kept(desk) == 0


# -- seals that somebody has changed ----------------------------------------------------------------------------------

CHANGED = {
    "so that nothing of its header can be read": b"\x09",
    "so that the ids in its header have no length": b"\x01\x00\x0a" + bytes(10),
    "in its ciphertext": b"",
}


def change_seal(desk: Desk, type_: str, seal: bytes, *, newest: bool = True) -> tuple[int, bytes]:
    """Change the seal of the newest, or the oldest, fact of a type; without a new one, its last byte."""
    found = [fact for fact in desk.house.facts.page(0, 1_000) if fact.type == f"sealdesk.{type_}.v1"]
    fact = found[-1 if newest else 0]
    assert fact.seal is not None
    put_seal(desk, fact.position, seal or fact.seal[:-1] + bytes([fact.seal[-1] ^ 1]))
    return fact.position, fact.seal


def put_seal(desk: Desk, position: int, seal: bytes) -> None:
    with psycopg.connect(desk.house.endpoints.log_dsn) as log:
        log.execute("UPDATE facts_events SET seal = %s WHERE notification_id = %s", (seal, position))


@pytest.mark.parametrize("how", CHANGED)
def test_a_fact_whose_seal_was_changed_is_counted_and_keeps_nobody_behind_it_waiting(
    desk: Desk, nobody_keeps: pytest.MonkeyPatch, how: str
) -> None:
    desk.happens("contact.created", "contact 1", id=1, name="Ann", email="old@example.org")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    desk.happens("ticket.replied", "ticket 20", id=5, body="first", user_id=1)
    desk.happens("contact.created", "contact 2", id=2, name="Bob", email="old@example.org")
    desk.happens("contact.merged", "contact 1", primary_contact_id=1, secondary_contact_ids=[3])
    positions = {change_seal(desk, type_, CHANGED[how])[0] for type_ in ("ticket.replied", "contact.merged")}
    desk.happens("contact.merged", "contact 2", primary_contact_id=2, secondary_contact_ids=[4])
    nobody_keeps.undo()
    positions.add(change_seal(desk, "contact.created", CHANGED[how], newest=False)[0])

    assert keeping.catch_up(desk.house.keys, desk.house.roots, desk.house.facts) == 3

    assert kept(desk) == desk.house.facts.head()
    assert subject(desk, Kind.PERSON, "4") == subject(desk, Kind.PERSON, "2"), "what stands behind it was done"
    is_merged = subject(desk, Kind.PERSON, "3") == subject(desk, Kind.PERSON, "1")
    assert is_merged == (how == "in its ciphertext"), "nobody is merged on the word of a seal that names no key of ours"
    assert keeping.catch_up(desk.house.keys, desk.house.roots, desk.house.facts) == 0, "once"
    answers = LogIntegrity(desk.house.facts, desk.house.keys, desk.house.roots).check()
    assert answers.counts["shredded"] == answers.counts["lost"] == 0
    assert {finding.number for finding in answers.report.named if finding.wrong is Wrong.BROKEN} == positions


@pytest.mark.parametrize("how", CHANGED)
def test_what_nobody_can_read_is_not_written_anew_until_it_is_whole_again_and_all_others_are(
    desk: Desk, how: str
) -> None:
    desk.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    desk.happens("ticket.replied", "ticket 20", id=5, body="first", user_id=1)
    desk.happens("ticket.replied", "ticket 20", id=6, body="second", user_id=1)
    position, whole = change_seal(desk, "ticket.replied", CHANGED[how], newest=False)
    edit = desk.event("ticket.entry_edited", "ticket 20", AT, "edit-5", id=5, body="better")

    tally = desk.take(edit, desk.event("ticket.entry_edited", "ticket 20", AT, "edit-6", id=6, body="best"))

    assert (tally.stored, tally.quarantined) == (1, 1)
    [row] = desk.house.quarantine.listed(desk.tenant.id)
    assert (row["code"], row["path"]) == ("stands_unreadable", "subject")
    # What it held is still to be had: its key lives.
    put_seal(desk, position, whole)
    assert desk.take(edit).stored == 1
    assert [entry["body"] for entry in desk.ticket(20)["conversation"]] == ["better", "best"]


def test_what_was_written_anew_is_known_whatever_became_of_an_older_seal(desk: Desk) -> None:
    desk.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    desk.happens("ticket.replied", "ticket 20", id=5, body="first", user_id=1)
    desk.happens("ticket.entry_edited", "ticket 20", id=5, body="better")
    change_seal(desk, "ticket.replied", b"\x09")
    assert desk.happens("ticket.entry_edited", "ticket 20", id=5, body="best").stored == 1
    assert desk.happens("ticket.entry_deleted", "ticket 20", id=5).stored == 1


@pytest.mark.parametrize("how", CHANGED)
def test_a_seal_that_was_changed_keeps_nobody_from_reading_the_others(desk: Desk, how: str) -> None:
    desk.happens("contact.created", "contact 1", id=1, name="Ann", email="ann@example.org")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="hi")
    desk.happens("ticket.opened", "ticket 21", id=21, requester_id=1, subject="ho")
    shown = {row["subject"] for row in desk.tickets()}
    assert shown == {"hi", "ho"}
    thing = next(row["ticket"] for row in desk.tickets() if row["subject"] == "hi")
    with psycopg.connect(desk.house.endpoints.log_dsn) as log:
        changed = "set_byte(seal, length(seal) - 1, get_byte(seal, length(seal) - 1) # 1)" if not CHANGED[how] else "%s"
        given = [CHANGED[how]] if CHANGED[how] else []
        log.execute(f"UPDATE facts_events SET seal = {changed} WHERE originator_id = %s".encode(), (*given, thing))
    assert [row["subject"] for row in desk.tickets()] == [{"broken": True}, "ho"]
