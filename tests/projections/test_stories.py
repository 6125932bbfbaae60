from __future__ import annotations

from uuid import UUID

from domain.ids import TenantId
from projections import tickets
from tests.projections.desk import TENANT, Desk, ModelsUnderTest, minutes, part, subject, thing


def test_a_field_reads_from_the_last_fact_that_gave_it(desk: Desk, models: ModelsUnderTest) -> None:
    first = desk.person("ada", "name", "email", language="en")
    second = desk.person("ada", "name", type_="contact.updated", active=True)
    models.follow(desk.log)
    row = models.profile("ada")
    assert row.personal == {"email": first.position, "name": second.position}
    assert (row.subject, row.language, row.active, row.agent) == (subject("ada"), "en", True, False)
    third = desk.person("ada", "email", type_="contact.updated")
    models.follow(desk.log)
    assert models.profile("ada").personal == {"email": third.position, "name": second.position}
    assert [part.at for part in models.profile("ada").seals] == [second.position, third.position]


def test_a_clear_word_replaces_the_sealed_original_of_an_earlier_one(desk: Desk, models: ModelsUnderTest) -> None:
    opened = desk.open("t", "ada", "subject", "source", channel="other")
    models.follow(desk.log)
    assert models.ticket("t").personal == {"subject": opened.position, "source": opened.position}
    desk.update("t", channel="phone")
    models.follow(desk.log)
    assert models.ticket("t").personal == {"subject": opened.position}
    assert models.ticket("t").channel == "phone"


def test_a_cleared_field_is_null_and_an_absent_one_stays(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada", responder=subject("agent").hex, group="billing", due_by="2026-03-03T09:00:00+01:00")
    desk.update("t", responder=None, status="pending")
    models.follow(desk.log)
    row = models.ticket("t")
    assert (row.responder, row.group, row.status, row.priority) == (None, "billing", "pending", "low")
    assert row.due_by is not None
    assert row.due_by.isoformat() == "2026-03-03T08:00:00+00:00"


def test_a_shredded_contact_leaves_a_profile_without_a_name_or_an_id(desk: Desk, models: ModelsUnderTest) -> None:
    desk.person("ada", "name", "email")
    other = desk.person("bob", "name")
    desk.shred("ada")
    models.follow(desk.log)
    row = models.profile("ada")
    assert row.erased
    assert row.subject is None
    assert row.personal == {"name": None, "email": None}
    assert models.profile("bob").personal == {"name": other.position}


def test_a_shredded_agent_keeps_the_id_and_the_work_stays_the_requesters(desk: Desk, models: ModelsUnderTest) -> None:
    desk.person("agent", "name", "signature", type_="agent.created")
    opened = desk.open("t", "ada", responder=subject("agent").hex)
    answer = desk.reply("t", "agent", "agent")
    desk.shred("agent")
    models.follow(desk.log)
    profile, ticket, (entry,) = models.profile("agent"), models.ticket("t"), models.entries("t")
    assert (profile.erased, profile.subject) == (True, subject("agent"))
    assert profile.personal == {"name": None, "signature": None}
    assert (ticket.erased, ticket.responder) == (False, subject("agent"))
    assert ticket.personal == {"subject": opened.position}
    assert (entry.author, entry.personal) == (subject("agent"), {"body": answer.position})


def test_a_ticket_of_a_shredded_requester_is_erased_and_stays_countable(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada", copied=["bob"])
    desk.update("t", "description")
    desk.reply("t", "agent", "agent", at=minutes(5))
    desk.reply("t", "bob", "contact")
    desk.reply("t", "ada", "requester", type_="ticket.note_added")
    desk.rate("t", 103, "feedback")
    desk.shred("ada")
    models.follow(desk.log)
    row = models.ticket("t")
    assert (row.erased, row.requester, row.copied, row.entries) == (True, None, (), 4)
    assert row.personal == {"subject": None, "description": None}
    assert (row.rating, row.first_response_at) == (103, minutes(5))
    entries = models.entries("t")
    assert [entry.kind for entry in entries] == ["reply", "reply", "note", "rating"]
    assert [entry.author for entry in entries] == [subject("agent"), None, None, None]
    assert all(seal is None for entry in entries for seal in entry.personal.values())
    assert models.listed(all=False) == []


def test_a_colleague_who_is_shredded_takes_along_only_what_the_colleague_wrote(
    desk: Desk, models: ModelsUnderTest
) -> None:
    opened = desk.open("t", "ada", copied=["bob", "cy"])
    desk.reply("t", "bob", "contact")
    own = desk.reply("t", "ada", "requester")
    desk.shred("bob")
    models.follow(desk.log)
    row, (his, hers) = models.ticket("t"), models.entries("t")
    assert (row.erased, row.requester, row.copied) == (False, subject("ada"), (subject("cy"),))
    assert row.personal == {"subject": opened.position}
    assert (his.author, his.personal) == (None, {"body": None})
    assert (hers.author, hers.personal) == (subject("ada"), {"body": own.position})


def test_what_stood_in_a_ticket_before_it_moved_dies_with_the_former_requester(
    desk: Desk, models: ModelsUnderTest
) -> None:
    desk.open("t", "ada")
    desk.reply("t", "ada", "requester")
    desk.update("t", to="bob")
    later = desk.reply("t", "bob", "requester")
    changed = desk.update("t", "description")
    desk.shred("ada")
    models.follow(desk.log)
    row, (before, after) = models.ticket("t"), models.entries("t")
    assert (row.erased, row.requester) == (False, subject("bob"))
    assert row.personal == {"subject": None, "description": changed.position}
    assert (before.personal, before.author) == ({"body": None}, None)
    assert after.personal == {"body": later.position}


def test_what_stood_in_a_ticket_before_it_moved_dies_with_whom_it_moved_to_even_after_a_further_move(
    desk: Desk, models: ModelsUnderTest
) -> None:
    desk.open("t", "ada")
    desk.reply("t", "ada", "requester")
    models.follow(desk.log)
    desk.update("t", to="bob")
    desk.update("t", to="cy")
    models.follow(desk.log)
    desk.shred("bob")
    models.follow(desk.log)
    row, (entry,) = models.ticket("t"), models.entries("t")
    assert (row.erased, row.requester, row.personal) == (False, subject("cy"), {"subject": None})
    assert (entry.author, entry.personal) == (subject("ada"), {"body": None})


def test_merged_people_move_their_tickets_along_and_are_forgotten_together(desk: Desk, models: ModelsUnderTest) -> None:
    desk.person("ada", "name")
    desk.person("ada-at-home", "name", "email")
    desk.open("t", "ada-at-home")
    desk.merge("ada", "ada-at-home")
    models.follow(desk.log)
    assert models.ticket("t").requester == subject("ada")
    assert models.profile("ada-at-home").merged
    assert not models.profile("ada").merged
    assert None not in models.profile("ada-at-home").personal.values()
    desk.shred("ada")
    models.follow(desk.log)
    assert models.ticket("t").erased
    for name in ("ada", "ada-at-home"):
        assert models.profile(name).subject is None
        assert set(models.profile(name).personal.values()) == {None}


def test_a_purged_ticket_forgets_everybody_but_agents(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada", copied=["bob"], responder=subject("agent").hex)
    desk.reply("t", "ada", "requester")
    desk.reply("t", "agent", "agent")
    living = desk.open("u", "ada")
    desk.shred_thing("t")
    models.follow(desk.log)
    row, entries = models.ticket("t"), models.entries("t")
    assert (row.erased, row.requester, row.copied) == (True, None, ())
    assert row.responder == subject("agent")
    assert [entry.author for entry in entries] == [None, subject("agent")]
    assert all(entry.personal == {"body": None} for entry in entries)
    assert models.ticket("u").personal == {"subject": living.position}


def test_what_comes_late_about_the_shredded_is_blank_from_the_start(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.open("u", "bob", copied=["ada"])
    desk.shred("ada")
    desk.shred_thing("v")
    models.follow(desk.log)
    desk.person("ada", "name")
    desk.reply("t", "ada", "requester")
    desk.update("t", "description", to="bob")
    desk.reply("u", "ada", "contact")
    desk.update("u", copied=[subject("ada").hex, subject("cy").hex])
    desk.open("v", "bob")
    desk.open("w", "ada")
    models.follow(desk.log)
    assert (models.profile("ada").erased, models.profile("ada").subject) == (True, None)
    for name in ("t", "v", "w"):
        assert models.ticket(name).erased
        assert models.ticket(name).requester is None
        assert set(models.ticket(name).personal.values()) == {None}
    assert models.ticket("u").copied == (subject("cy"),)
    assert [entry.personal for entry in models.entries("u")] == [{"body": None}]
    assert [entry.author for entry in models.entries("u")] == [None]


def test_the_trash_gives_back_what_it_took(desk: Desk, models: ModelsUnderTest) -> None:
    desk.person("ada", "name")
    desk.open("t", "ada")
    desk.about("contact.deleted", "ada", person=subject("ada").hex)
    desk.about("ticket.deleted", "t")
    models.follow(desk.log)
    assert (models.profile("ada").deleted, models.ticket("t").deleted) == (True, True)
    assert models.listed(all=False) == []
    desk.about("contact.restored", "ada", person=subject("ada").hex)
    desk.about("ticket.restored", "t")
    models.follow(desk.log)
    assert (models.profile("ada").deleted, models.ticket("t").deleted) == (False, False)
    assert [row.ticket for row in models.listed(all=False)] == [thing("t")]


def test_a_fact_of_a_later_version_changes_nothing(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    models.follow(desk.log)
    before = models.dump()
    desk.put("sealdesk.ticket.opened.v2", thing("t"), {"status": "frozen"}, sealed=("subject",))
    models.follow(desk.log)
    after = models.dump()
    for name in before:
        if not name.endswith(".position"):
            assert after[name] == before[name]
        else:
            assert after[name] != before[name]


def test_another_tenant_with_the_same_ids_is_untouched(models: ModelsUnderTest) -> None:
    here = Desk()
    there = Desk(tenant=TenantId(UUID(int=2)), log=here.log)
    for desk in (here, there):
        desk.person("ada", "name")
        desk.open("t", "ada")
        desk.reply("t", "ada", "requester")
    models.follow(here.log)
    before = models.dump()
    here.shred("ada")
    models.follow(here.log)
    for name, rows in models.dump().items():
        theirs = [row for row in rows if row.get("tenant") == there.tenant]
        assert theirs == [row for row in before[name] if row.get("tenant") == there.tenant]
    assert models.ticket("t").erased


def test_an_edited_entry_stays_in_its_place_and_says_only_what_is_new(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    first = desk.reply("t", "ada", "requester", own="a reply", private=False, at=minutes(1))
    desk.reply("t", "agent", "agent", own="another", at=minutes(2))
    models.follow(desk.log)
    before = models.entries("t")
    anew = desk.reply("t", None, None, type_="ticket.entry_edited", own="a reply", private=True, at=minutes(9))
    models.follow(desk.log)
    edited, other = models.entries("t")
    assert (edited.position, edited.kind, edited.at) == (first.position, "reply", minutes(1))
    assert (edited.author, edited.by, edited.private) == (subject("ada"), "requester", True)
    assert (edited.edited_at, edited.deleted) == (minutes(9), False)
    assert edited.personal == {"body": anew.position}
    assert other == before[1]
    assert models.ticket("t").entries == 2
    desk.shred("ada")
    models.follow(desk.log)
    edited, _ = models.entries("t")
    assert (edited.author, edited.personal) == (None, {"body": None})


def test_an_entry_that_a_colleague_edited_dies_with_the_colleague(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.reply("t", "ada", "requester", own="a reply")
    models.follow(desk.log)
    desk.reply("t", "bob", "contact", type_="ticket.entry_edited", own="a reply")
    models.follow(desk.log)
    (entry,) = models.entries("t")
    assert (entry.author, entry.by) == (subject("bob"), "contact")
    desk.shred("bob")
    models.follow(desk.log)
    (entry,) = models.entries("t")
    assert (entry.author, entry.personal) == (None, {"body": None})
    assert not models.ticket("t").erased


def test_an_edit_dies_with_each_of_its_owners_whoever_wrote_it(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.reply("t", "ada", "requester", own="a reply")
    owners = [subject("ada"), subject("cy")]
    desk.put("ticket.entry_edited", thing("t"), {"part": part("a reply").hex}, owners=owners, sealed=("body",))
    models.follow(desk.log)
    desk.shred("cy")
    models.follow(desk.log)
    (entry,) = models.entries("t")
    assert (entry.author, entry.personal) == (subject("ada"), {"body": None})


def test_an_edit_of_what_is_not_there_changes_nothing(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.reply("t", "ada", "requester", own="a reply")
    models.follow(desk.log)
    before = models.entries("t")
    desk.reply("t", "ada", "requester", type_="ticket.entry_edited", own="never told")
    desk.put("ticket.entry_edited", thing("nowhere"), {"part": part("a reply").hex}, sealed=("body",))
    models.follow(desk.log)
    assert models.entries("t") == before


def test_a_deleted_entry_takes_what_hangs_in_it_along_and_stays_countable(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.reply("t", "bob", "contact", own="a reply")
    desk.reply("t", "bob", "contact", type_="ticket.attachment_added", own="a file", within="a reply")
    kept = desk.reply("t", "agent", "agent", type_="ticket.attachment_added", own="another file")
    models.follow(desk.log)
    desk.end("t", "a reply")
    models.follow(desk.log)
    reply, file, other = models.entries("t")
    for gone in (reply, file):
        assert (gone.deleted, gone.author, set(gone.personal.values())) == (True, None, {None})
    assert (other.deleted, other.author, other.personal) == (False, subject("agent"), {"body": kept.position})
    assert models.ticket("t").entries == 3
    desk.reply("t", "agent", "agent", own="a reply")
    desk.reply("t", "bob", "contact", type_="ticket.attachment_added", own="late", within="a file")
    desk.reply("t", "bob", "contact", type_="ticket.attachment_added", own="later", within="late")
    desk.reply("t", "bob", "contact", type_="ticket.entry_edited", own="a reply")
    models.follow(desk.log, page_size=1)
    *_, told_again, late, later = models.entries("t")
    assert [entry.deleted for entry in (told_again, late, later)] == [True, True, True]
    assert [entry.author for entry in (told_again, late, later)] == [subject("agent"), None, None]
    assert all(set(entry.personal.values()) == {None} for entry in (told_again, late, later))
    assert models.entries("t")[0].edited_at is None


def test_the_team_talks_about_a_ticket_and_nobody_is_put_in_copy(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.reply("t", "agent", "agent", type_="discussion.started", own="a thread", discussion="private")
    desk.reply("t", "agent", "agent", type_="discussion.message_posted", own="a message", within="a thread")
    anew = desk.reply("t", "agent", "agent", type_="discussion.message_edited", own="a message")
    desk.reply("t", "agent", "agent", type_="discussion.message_posted", own="a slip", within="a thread")
    desk.end("t", "a slip", "discussion.message_deleted")
    desk.reply("t", "agent", "agent", type_="ticket.time_logged", time_spent_in_seconds=90, billable=True)
    models.follow(desk.log)
    thread, message, slip, spent = models.entries("t")
    assert [entry.kind for entry in (thread, message, slip, spent)] == ["discussion", "message", "message", "time"]
    assert (thread.part, thread.discussion) == (part("a thread"), "private")
    assert (message.within, message.personal) == (part("a thread"), {"body": anew.position})
    assert (slip.deleted, slip.author, slip.personal) == (True, subject("agent"), {"body": None})
    assert (spent.seconds, spent.billable) == (90, True)
    assert models.ticket("t").copied == ()


def test_a_forwarded_ticket_has_more_people_in_copy_and_no_response(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada", copied=["bob"])
    desk.shred("dee")
    forwarded_to = [subject("cy").hex, subject("dee").hex]
    desk.reply("t", "agent", "agent", type_="ticket.forwarded", copied=forwarded_to, at=minutes(3))
    models.follow(desk.log)
    row, (entry,) = models.ticket("t"), models.entries("t")
    assert (row.copied, row.first_response_at) == ((subject("bob"), subject("cy")), None)
    assert entry.kind == "forward"
    desk.shred("cy")
    models.follow(desk.log)
    assert models.ticket("t").copied == (subject("bob"),)


def test_a_merged_ticket_moves_and_leaves_the_list_but_not_the_counts(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.reply("t", "ada", "requester")
    desk.open("u", "bob")
    models.follow(desk.log)
    desk.merge_away("t", "u")
    models.follow(desk.log)
    row = models.ticket("t")
    assert (row.merged_into, row.requester, row.erased) == (thing("u"), subject("bob"), False)
    assert None not in row.personal.values()
    assert [row.ticket for row in models.listed(all=False)] == [thing("u")]
    assert len(models.listed()) == 2
    desk.shred("ada")
    models.follow(desk.log)
    assert set(models.ticket("t").personal.values()) == {None}
    assert [entry.personal for entry in models.entries("t")] == [{"body": None}]
    assert not models.ticket("t").erased
    desk.shred("bob")
    models.follow(desk.log)
    assert models.ticket("t").erased


def test_a_call_is_forgotten_with_its_contact_and_its_recording(desk: Desk, models: ModelsUnderTest) -> None:
    agent = subject("agent").hex
    desk.open("t", "ada")
    logged = desk.begin(
        "call.logged", "a call", "bob", "subject", "notes", ticket="t", responder=agent, direction="incoming",
        duration_seconds=75, ended_at="2026-03-02T12:01:15+00:00", words={"cf_line": "sales"}, group="7",
    )  # fmt: skip
    desk.reply("a call", None, None, type_="call.recording_added", own="a file", duration_seconds=70)
    said = desk.reply("a call", None, None, type_="call.transcript_added")
    models.follow(desk.log)
    row, (recording, transcript) = models.ticket("a call"), models.entries("a call")
    assert (row.kind, row.parent, row.requester, row.responder) == ("call", thing("t"), subject("bob"), UUID(agent))
    assert (row.status, row.priority, row.direction, row.duration_seconds) == (None, None, "incoming", 75)
    assert (row.ended_at, row.words, row.group) == (minutes(1.25), {"cf_line": "sales"}, "7")
    assert row.personal == {"subject": logged.position, "notes": logged.position}
    assert (recording.kind, recording.seconds, transcript.kind) == ("recording", 70, "transcript")
    assert transcript.personal == {"body": said.position}
    assert [row.ticket for row in models.listed()] == [thing("t")]
    assert [row.kind for row in tickets.rows(models.connection, TENANT, kind=None)] == ["ticket", "call"]
    assert [row.kind for row in tickets.rows(models.connection, TENANT, kind="call")] == ["call"]
    desk.shred("bob")
    models.follow(desk.log)
    row = models.ticket("a call")
    assert (row.erased, row.requester, row.parent, row.duration_seconds) == (True, None, thing("t"), 75)
    assert {seal for entry in models.entries("a call") for seal in entry.personal.values()} == {None}
    assert not models.ticket("t").erased


def test_a_chat_of_nobody_known_is_not_erased_and_may_name_a_contact_who_wrote(
    desk: Desk, models: ModelsUnderTest
) -> None:
    begun = desk.begin("chat.started", "a chat", None, channel="chat")
    desk.reply("a chat", "ada", "contact", type_="chat.message_sent", own="hello", incoming=True)
    answer = desk.reply("a chat", "agent", "agent", type_="chat.message_sent", incoming=False)
    desk.about("chat.ended", "a chat", at=minutes(8))
    models.follow(desk.log)
    row = models.ticket("a chat")
    assert (row.kind, row.requester, row.erased, row.ended_at) == ("chat", None, False, minutes(8))
    assert [entry.author for entry in models.entries("a chat")] == [subject("ada"), subject("agent")]
    desk.shred("ada")
    models.follow(desk.log)
    row, (hers, his) = models.ticket("a chat"), models.entries("a chat")
    assert (row.erased, row.personal) == (False, {"subject": begun.position})
    assert (hers.author, hers.personal, his.personal) == (None, {"body": None}, {"body": answer.position})
    desk.shred_thing("a chat")
    models.follow(desk.log)
    assert models.ticket("a chat").erased


def test_what_may_be_purged_is_what_upstream_asked_for_and_what_lies_in_the_trash(
    desk: Desk, models: ModelsUnderTest
) -> None:
    for name in ("t", "u", "v", "w"):
        desk.open(name, "ada" if name == "w" else "bob")
    desk.begin("call.logged", "a call", "bob")
    desk.begin("chat.started", "a chat", "bob")
    desk.about("ticket.deleted", "t", at=minutes(10))
    desk.about("ticket.deleted", "u", at=minutes(20))
    desk.about("ticket.deleted", "v", at=minutes(5))
    desk.about("ticket.restored", "v")
    for name in ("ticket.purged u", "ticket.purged w", "call.purged a call", "chat.purged a chat"):
        desk.about(*name.split(" ", 1), at=minutes(30))
    models.follow(desk.log)
    assert (models.ticket("u").deleted_at, models.ticket("u").purge_asked_at) == (minutes(20), minutes(30))
    assert (models.ticket("v").deleted, models.ticket("v").deleted_at) == (False, None)

    def found(minute: float | None, *, asked: bool) -> list[object]:
        before = None if minute is None else minutes(minute)
        return list(tickets.purgeable(models.connection, TENANT, trashed_before=before, asked=asked))

    assert found(15, asked=False) == [thing("t")]
    assert found(20, asked=False) == [thing("t"), thing("u")]
    assert found(None, asked=False) == []
    desk.shred("ada")
    models.follow(desk.log)
    assert found(None, asked=True) == [thing(name) for name in ("u", "a call", "a chat")]
    assert found(15, asked=True) == [thing(name) for name in ("t", "u", "a call", "a chat")]
    desk.shred_thing("u")
    models.follow(desk.log)
    assert (models.ticket("u").purge_asked_at, models.ticket("w").purge_asked_at) == (None, None)
    assert found(60, asked=True) == [thing(name) for name in ("t", "a call", "a chat")]


def test_words_of_custom_fields_come_from_whoever_said_them_last(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada", words={"cf_tier": "gold", "cf_plan": "team"})
    models.follow(desk.log)
    desk.update("t", words={"cf_tier": "silver", "cf_place": "berlin"})
    desk.update("t", words={"cf_plan": None})
    desk.open("u", "ada")
    models.follow(desk.log)
    assert models.ticket("t").words == {"cf_tier": "silver", "cf_place": "berlin"}
    assert models.ticket("u").words == {}


def test_an_agent_who_leaves_has_nothing_in_charge_and_is_a_contact_again(desk: Desk, models: ModelsUnderTest) -> None:
    desk.person("eve", "name", type_="agent.created")
    desk.person("eve-at-home", "name")
    for name, agent in (("t", "eve"), ("u", "flo"), ("v", "eve-at-home")):
        desk.open(name, "ada", responder=subject(agent).hex)
    answer = desk.reply("t", "eve", "agent")
    models.follow(desk.log)
    desk.merge("eve", "eve-at-home")
    models.follow(desk.log)
    assert models.ticket("v").responder == subject("eve")
    desk.about("agent.deleted", "eve", person=subject("eve").hex)
    desk.open("w", "ada", responder=subject("eve").hex)
    models.follow(desk.log)
    responders = [models.ticket(name).responder for name in ("t", "u", "v", "w")]
    assert responders == [None, subject("flo"), None, subject("eve")]
    row = models.profile("eve")
    assert (row.agent, row.former_agent, row.subject) == (False, True, subject("eve"))
    assert [(entry.author, entry.personal) for entry in models.entries("t")] == [
        (subject("eve"), {"body": answer.position})
    ]
    desk.shred("eve")
    models.follow(desk.log)
    row = models.profile("eve")
    assert (row.erased, row.subject, set(row.personal.values())) == (True, subject("eve"), {None})


def test_a_charge_that_is_handed_over_and_ends_in_one_page_is_the_same_for_tickets_that_the_page_does_not_touch(
    desk: Desk, models: ModelsUnderTest
) -> None:
    desk.open("t", "ada", responder=subject("eve").hex)
    desk.open("u", "ada", responder=subject("flo").hex)
    models.follow(desk.log)
    desk.merge("flo", "eve")
    desk.about("agent.deleted", "flo", person=subject("flo").hex)
    models.follow(desk.log)
    assert [models.ticket(name).responder for name in ("t", "u")] == [None, None]


def test_a_contact_who_was_made_an_agent_keeps_the_id_when_forgotten(desk: Desk, models: ModelsUnderTest) -> None:
    desk.person("ada", "name")
    made = desk.person("ada", "signature", type_="contact.made_agent", occasional=True)
    models.follow(desk.log)
    row = models.profile("ada")
    assert (row.agent, row.former_agent, row.occasional) == (True, False, True)
    assert row.personal["signature"] == made.position
    desk.shred("ada")
    models.follow(desk.log)
    assert models.profile("ada").subject == subject("ada")


def test_a_rectified_profile_reads_from_nothing_older(desk: Desk, models: ModelsUnderTest) -> None:
    desk.person("ada", "name", "email", language="en")
    desk.person("ada", "phone", type_="contact.updated")
    consent = desk.person("ada", "evidence", type_="contact.consent_given", purpose="mailing")
    models.follow(desk.log)
    anew = desk.person("ada", "name", "email", type_="contact.rectified")
    models.follow(desk.log)
    row = models.profile("ada")
    assert row.personal == {"name": anew.position, "email": anew.position}
    assert row.language == "en"
    assert [part.at for part in row.seals] == [anew.position]
    assert [part.at for part in models.consents("ada")[0].seals] == [consent.position]


def test_a_blocked_contact_is_unblocked_and_a_picture_goes_with_the_person(desk: Desk, models: ModelsUnderTest) -> None:
    who = subject("ada").hex
    desk.person("ada", "name")
    desk.about("contact.blocked", "ada", person=who)
    desk.about("contact.avatar_added", "ada", person=who, part=part("a picture").hex)
    models.follow(desk.log)
    assert (models.profile("ada").blocked, models.profile("ada").avatar) == (True, part("a picture"))
    desk.about("contact.unblocked", "ada", person=who)
    desk.shred("ada")
    desk.about("contact.avatar_added", "ada", person=who, part=part("a late picture").hex)
    models.follow(desk.log)
    assert (models.profile("ada").blocked, models.profile("ada").avatar) == (False, None)


def test_consents_hold_until_they_are_taken_back_and_outlive_the_person_as_words(
    desk: Desk, models: ModelsUnderTest
) -> None:
    def say(given: bool, purpose: str, minute: float, *sealed: str, **clear: str) -> int:
        type_ = f"contact.consent_{'given' if given else 'withdrawn'}"
        return desk.person("ada", *sealed, type_=type_, at=minutes(minute), purpose=purpose, **clear).position

    desk.person("ada", "name")
    first = say(True, "mailing", 1, "evidence", wording="v1")
    say(True, "other", 2, "purpose")
    models.follow(desk.log)
    ended = say(False, "mailing", 3, "evidence")
    say(False, "other", 4, "purpose")
    say(True, "mailing", 5)
    models.follow(desk.log)
    mailing, some, no_more, again = models.consents("ada")
    assert (mailing.purpose, mailing.wording) == ("mailing", "v1")
    assert (mailing.given_at, mailing.withdrawn_at) == (minutes(1), minutes(3))
    assert [part.at for part in mailing.seals] == [first]
    assert [part.at for part in mailing.withdrawn_seals] == [ended]
    assert (some.given_at, some.withdrawn_at) == (minutes(2), None)
    assert (no_more.given_at, no_more.withdrawn_at) == (None, minutes(4))
    assert (again.given_at, again.withdrawn_at, again.seals) == (minutes(5), None, ())
    desk.shred("ada")
    say(True, "late", 6, "evidence")
    models.follow(desk.log)
    rows = models.consents("ada")
    assert [row.purpose for row in rows] == ["mailing", "other", "other", "mailing", "late"]
    assert {part.at for row in rows for part in (*row.seals, *row.withdrawn_seals)} == {None}
    assert rows[0].given_at == minutes(1)
    assert models.consents("nobody") == []


def test_what_came_before_the_entry_that_it_hangs_in_goes_when_that_one_comes_too_late(
    desk: Desk, models: ModelsUnderTest
) -> None:
    desk.open("t", "ada")
    desk.reply("t", "ada", "requester", own="a reply")
    desk.reply("t", "ada", "requester", own="early", within="a file")
    models.follow(desk.log)
    desk.end("t", "a reply")
    models.follow(desk.log)
    assert [entry.deleted for entry in models.entries("t")] == [True, False]
    desk.reply("t", "ada", "requester", own="a file", within="a reply")
    models.follow(desk.log)
    assert [entry.deleted for entry in models.entries("t")] == [True, True, True]


def test_an_entry_that_was_told_twice_stands_once_after_an_edit(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    for _ in range(2):
        desk.reply("t", "ada", "requester", own="a reply")
    models.follow(desk.log)
    anew = desk.reply("t", None, None, type_="ticket.entry_edited", own="a reply")
    models.follow(desk.log)
    first, second = models.entries("t")
    assert (first.deleted, first.personal) == (False, {"body": anew.position})
    assert (second.deleted, second.author, second.personal) == (True, None, {"body": None})
