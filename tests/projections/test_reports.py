from __future__ import annotations

from datetime import timedelta

from projections import erasures, reports
from tests.projections.desk import NOON, TENANT, Desk, ModelsUnderTest, minutes, subject


def test_the_summaries_of_a_small_desk(desk: Desk, models: ModelsUnderTest) -> None:
    agent = str(subject("agent"))
    desk.open("t", "ada", channel="email", priority="high", type="Question", group="billing", responder=agent)
    desk.reply("t", "agent", "agent", private=True, at=minutes(1))
    desk.reply("t", "agent", "agent", at=minutes(9))
    desk.reply("t", "agent", "agent", at=minutes(4))
    desk.reply("t", "ada", "requester", at=minutes(2))
    desk.update("t", status="resolved", at=minutes(60))
    desk.update("t", status="closed", at=minutes(90))
    desk.rate("t", 103)
    desk.open("u", "bob", channel="email", at=NOON + timedelta(days=1))
    desk.reply("u", "agent", "agent", at=NOON)
    desk.update("u", status="resolved", at=minutes(60))
    desk.update("u", status="open", at=minutes(70))
    desk.rate("u", -103)
    desk.open("v", "bob", channel="phone", priority="high")
    desk.reply("v", "agent", "agent", at=minutes(8))
    models.follow(desk.log)
    assert reports.summaries(models.connection, TENANT) == {
        "activity": {
            "reply": {"by_author": {"agent": 5, "requester": 1}, "by_day": {"2026-03-02": 6}, "count": 6},
        },
        "first_response": {
            "by_channel": {
                "email": {"count": 2, "mean": 240.0, "median": 240.0, "negative": 1, "p90": 240.0},
                "phone": {"count": 1, "mean": 480.0, "median": 480.0, "negative": 0, "p90": 480.0},
            },
            "by_priority": {
                "high": {"count": 2, "mean": 360.0, "median": 360.0, "negative": 0, "p90": 456.0},
                "low": {"count": 1, "mean": None, "median": None, "negative": 1, "p90": None},
            },
            "overall": {"count": 3, "mean": 360.0, "median": 360.0, "negative": 1, "p90": 456.0},
        },
        "ratings": {"by_value": {"-103": 1, "103": 1}, "count": 2, "mean": 0.0},
        "resolution": {
            "by_channel": {"email": {"count": 1, "mean": 3600.0, "median": 3600.0, "negative": 0, "p90": 3600.0}},
            "by_priority": {"high": {"count": 1, "mean": 3600.0, "median": 3600.0, "negative": 0, "p90": 3600.0}},
            "overall": {"count": 1, "mean": 3600.0, "median": 3600.0, "negative": 0, "p90": 3600.0},
        },
        "tickets": {
            "by_agent": {agent: 1, "none": 2},
            "by_channel": {"email": 2, "phone": 1},
            "by_group": {"billing": 1, "none": 2},
            "by_opened_on": {"2026-03-02": 2, "2026-03-03": 1},
            "by_priority": {"high": 2, "low": 1},
            "by_product": {"none": 3},
            "by_status": {"closed": 1, "open": 2},
            "by_type": {"Question": 1, "none": 2},
            "total": 3,
        },
    }


def test_a_desk_without_tickets_has_summaries_too(desk: Desk, models: ModelsUnderTest) -> None:
    models.follow(desk.log)
    summary = reports.summaries(models.connection, TENANT)
    assert summary["tickets"] == {"total": 0}
    assert summary["ratings"] == {"by_value": {}, "count": 0, "mean": None}
    assert erasures.summaries(models.connection, TENANT) == {"by_day": {}, "open_erased_total": 0}


def test_a_ticket_that_is_reopened_and_resolved_again_counts_the_last_time(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    for status, at in (("resolved", 10), ("open", 20), ("closed", 30), ("resolved", 40)):
        desk.update("t", status=status, at=minutes(at))
    models.follow(desk.log, page_size=1)
    assert reports.summaries(models.connection, TENANT)["resolution"]["overall"]["mean"] == 1800.0
    assert models.ticket("t").resolved_at == minutes(30)


def test_erasures_say_how_many_of_the_open_tickets_nobody_can_answer(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.open("u", "ada", status="closed")
    desk.open("v", "bob")
    desk.open("w", "ada-at-home")
    desk.merge("ada", "ada-at-home")
    desk.shred("ada", at=NOON + timedelta(days=2))
    desk.shred("ada", at=NOON + timedelta(days=3))
    desk.shred_thing("v", at=NOON + timedelta(days=4))
    desk.shred_thing("a call", at=NOON + timedelta(days=4))
    models.follow(desk.log)
    assert erasures.summaries(models.connection, TENANT) == {
        "by_day": {
            "2026-03-04": {"open_tickets": 2, "subjects": 1, "things": 0, "tickets": 3},
            "2026-03-06": {"open_tickets": 1, "subjects": 0, "things": 2, "tickets": 1},
        },
        "open_erased_total": 3,
    }
    assert reports.summaries(models.connection, TENANT)["tickets"]["by_status"] == {"closed": 1, "open": 3}


def test_activity_is_counted_when_it_happens_and_never_taken_back(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.reply("t", "ada", "requester", own="a reply")
    desk.reply("t", "agent", "agent", type_="ticket.note_added", at=NOON + timedelta(days=1))
    desk.reply("t", "agent", "agent", type_="ticket.time_logged", time_spent_in_seconds=90)
    desk.reply("t", "agent", "agent", type_="ticket.time_logged", time_spent_in_seconds=30)
    desk.begin("call.logged", "a call", None, duration_seconds=75)
    desk.begin("call.logged", "another call", "ada")
    desk.begin("chat.started", "a chat", "ada")
    desk.reply("a chat", "ada", "requester", type_="chat.message_sent")
    for type_ in ("topic.posted", "comment.posted", "comment.voted", "topic.voted", "topic.attachment_added"):
        desk.about(type_, f"of {type_}", by="contact", author=subject("ada").hex)
    desk.about("article.drafted", "an article", by="agent")
    desk.about("article.published", "an article", by="agent")
    desk.person("ada", type_="contact.consent_given", purpose="mailing")
    desk.person("ada", type_="contact.consent_withdrawn", purpose="mailing")
    models.follow(desk.log, page_size=2)
    activity = reports.summaries(models.connection, TENANT)["activity"]
    assert {kind: done["count"] for kind, done in activity.items()} == {
        "article_drafted": 1, "article_published": 1, "attachment": 1, "call": 2, "chat": 1, "chat_message": 1,
        "comment": 1, "consent_given": 1, "consent_withdrawn": 1, "note": 1, "reply": 1, "time": 2, "topic": 1,
        "vote": 2,
    }  # fmt: skip
    assert {kind: done["seconds"] for kind, done in activity.items() if "seconds" in done} == {"call": 75, "time": 120}
    assert activity["note"] == {"by_author": {"agent": 1}, "by_day": {"2026-03-03": 1}, "count": 1}
    assert "by_author" not in activity["call"]
    desk.reply("t", "ada", "requester", type_="ticket.entry_edited", own="a reply")
    desk.end("t", "a reply")
    desk.about("topic.deleted", "of topic.posted")
    desk.shred("ada")
    models.follow(desk.log)
    assert reports.summaries(models.connection, TENANT)["activity"] == activity


def test_tickets_are_counted_by_each_vocabulary_that_was_declared(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada", words={"cf_tier": "gold", "status": "new"})
    desk.open("u", "ada", words={"cf_tier": "silver"}, status="closed")
    desk.open("v", "ada")
    desk.update("u", words={"cf_tier": "gold"})
    models.follow(desk.log, page_size=3)
    counted = reports.summaries(models.connection, TENANT)["tickets"]
    assert counted["by_cf_tier"] == {"gold": 2, "none": 1}
    assert counted["by_custom_status"] == {"new": 1, "none": 2}
    assert counted["by_status"] == {"closed": 1, "open": 2}


def test_a_call_counts_as_no_ticket_and_is_erased_as_a_thing(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.begin("call.logged", "a call", "bob")
    desk.shred("bob")
    desk.shred_thing("a chat")
    models.follow(desk.log)
    assert reports.summaries(models.connection, TENANT)["tickets"]["total"] == 1
    assert erasures.summaries(models.connection, TENANT)["by_day"] == {
        "2026-03-02": {"open_tickets": 0, "subjects": 1, "things": 1, "tickets": 0}
    }


def test_a_ticket_that_was_merged_away_is_erased_with_whom_it_went_to(desk: Desk, models: ModelsUnderTest) -> None:
    desk.open("t", "ada")
    desk.open("u", "bob")
    desk.merge_away("t", "u")
    desk.shred("bob")
    models.follow(desk.log)
    assert erasures.summaries(models.connection, TENANT)["open_erased_total"] == 2
    assert reports.summaries(models.connection, TENANT)["tickets"]["total"] == 2
