from __future__ import annotations

from uuid import UUID

from domain.ids import TenantId
from tests.projections.desk import Desk, ModelsUnderTest, minutes, subject, thing


def test_a_field_reads_from_the_last_fact_that_gave_it(desk: Desk, models: ModelsUnderTest) -> None:
    first = desk.person("ada", "name", "email", language="en")
    second = desk.person("ada", "name", type_="contact.updated", active=True)
    models.follow(desk.log)
    row = models.profile("ada")
    assert row.personal == {"email": first.seal, "name": second.seal}
    assert (row.subject, row.language, row.active, row.agent) == (subject("ada"), "en", True, False)
    third = desk.person("ada", "email", type_="contact.updated")
    models.follow(desk.log)
    assert models.profile("ada").personal == {"email": third.seal, "name": second.seal}
    assert [part.seal for part in models.profile("ada").seals] == [second.seal, third.seal]


def test_a_clear_word_replaces_the_sealed_original_of_an_earlier_one(desk: Desk, models: ModelsUnderTest) -> None:
    opened = desk.open("t", "ada", "subject", "source", channel="other")
    models.follow(desk.log)
    assert models.ticket("t").personal == {"subject": opened.seal, "source": opened.seal}
    desk.update("t", channel="phone")
    models.follow(desk.log)
    assert models.ticket("t").personal == {"subject": opened.seal}
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
    assert models.profile("bob").personal == {"name": other.seal}


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
    assert ticket.personal == {"subject": opened.seal}
    assert (entry.author, entry.personal) == (subject("agent"), {"body": answer.seal})


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
    assert row.personal == {"subject": opened.seal}
    assert (his.author, his.personal) == (None, {"body": None})
    assert (hers.author, hers.personal) == (subject("ada"), {"body": own.seal})


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
    assert row.personal == {"subject": None, "description": changed.seal}
    assert (before.personal, before.author) == ({"body": None}, None)
    assert after.personal == {"body": later.seal}


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
    assert models.ticket("u").personal == {"subject": living.seal}


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
