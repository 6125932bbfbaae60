from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from services.embedded import Endpoints
from services.projecting import MODELS
from services.watching.looking import Look
from services.watching.standing import FRESH_SECONDS, Standing, keys_source, ledger_source, log_source
from services.wiring import House
from tests.desks import Desk, desk_house

DAYS = 14


class Watcher:
    """A registry over the databases of one house, with a clock that goes when it is told to."""

    def __init__(self, house: House) -> None:
        self.now = 100.0
        self.registry = CollectorRegistry()
        self.standing = Standing(lambda: self.now)
        self.looks = [Look(house.endpoints.log_dsn), Look(house.endpoints.keys_dsn)]
        self.standing.add(log_source(self.looks[0], list(MODELS), DAYS))
        self.standing.add(keys_source(self.looks[1]))
        self.standing.add(ledger_source(house.ledger))
        self.registry.register(self.standing)

    def see(self, name: str, **labels: str) -> float | None:
        """Read one number, as a scrape after a while would."""
        self.now += FRESH_SECONDS
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened:
        yield opened


@pytest.fixture
def watcher(house: House) -> Iterator[Watcher]:
    watcher = Watcher(house)
    yield watcher
    for look in watcher.looks:
        look.close()


def test_a_read_model_is_behind_until_it_has_folded_the_newest_fact(house: House, watcher: Watcher) -> None:
    desk = Desk(house)
    assert watcher.see("sealdesk_read_model_lag", model="tickets") == 0
    desk.happens("contact.created", "contact 1", id=1, name="Ann Falke")
    head = house.facts.head()
    assert watcher.see("sealdesk_log_head") == head
    assert watcher.see("sealdesk_read_model_lag", model="tickets") == head
    aged = watcher.see("sealdesk_unprojected_fact_age_seconds", model="tickets")
    assert aged is not None
    assert 0 < aged < 60
    house.projecting.catch_up()
    assert watcher.see("sealdesk_read_model_position", model="tickets") == head
    assert watcher.see("sealdesk_unprojected_fact_age_seconds", model="tickets") == 0


def test_the_quarantine_is_counted_by_why_and_by_when_it_goes(house: House, watcher: Watcher) -> None:
    desk = Desk(house)
    assert watcher.see("sealdesk_quarantine_expiry_seconds") == DAYS * 86_400
    desk.take(b"nonsense", b"more nonsense")
    assert watcher.see("sealdesk_quarantined_records", code="not_json") == 2
    with psycopg.connect(house.endpoints.log_dsn) as connection:
        connection.execute("UPDATE quarantine SET at = at - interval '13 days'")
    left = watcher.see("sealdesk_quarantine_expiry_seconds")
    assert left is not None
    assert 86_000 < left < 86_400


def test_refusals_and_shreds_are_counted(house: House, watcher: Watcher) -> None:
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1, name="Ann Falke")
    desk.shred("contact 1")
    desk.happens("contact.updated", "contact 1", id=1, name="Ann F.")
    assert watcher.see("sealdesk_unfinished_shreds") == 0
    assert watcher.see("sealdesk_ledger_head") == watcher.see("sealdesk_ledger_line_carried_out") == 1
    [refused] = [
        sample.value
        for family in watcher.registry.collect()
        for sample in family.samples
        if sample.name == "sealdesk_refusals_total"
    ]
    assert refused == 1
    with psycopg.connect(house.endpoints.keys_dsn) as connection:
        connection.execute("UPDATE shreds SET step = 'destroyed', begun_at = now() - interval '10 minutes'")
    assert watcher.see("sealdesk_unfinished_shreds") == 1
    aged = watcher.see("sealdesk_unfinished_shred_age_seconds")
    assert aged is not None
    assert aged >= 600


def test_a_database_that_is_away_is_told_as_down_and_its_numbers_are_left_out(house: House, watcher: Watcher) -> None:
    watcher.looks[0]._dsn = "host=/nowhere dbname=x"
    watcher.looks[0].close()
    assert watcher.see("sealdesk_up", part="log") == 0
    assert watcher.see("sealdesk_log_head") is None
    assert watcher.see("sealdesk_up", part="keys") == 1
    assert not watcher.standing.answers("log")


def test_a_database_that_ended_our_session_is_asked_again(house: House, watcher: Watcher) -> None:
    assert watcher.see("sealdesk_up", part="log") == 1
    with psycopg.connect(house.endpoints.log_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert watcher.see("sealdesk_up", part="log") == 1


def test_scrapes_that_come_together_ask_once(house: House, watcher: Watcher) -> None:
    desk = Desk(house)
    before = watcher.see("sealdesk_log_head")
    desk.happens("contact.created", "contact 1", id=1, name="Ann Falke")
    assert watcher.registry.get_sample_value("sealdesk_log_head") == before
    assert watcher.see("sealdesk_log_head") != before


def test_no_label_holds_anything_but_words_of_the_house(house: House, watcher: Watcher) -> None:
    desk = Desk(house, name="acme")
    desk.happens("contact.created", "contact 1", id=1, name="Ann Falke", email="ann@example.org")
    desk.take(b'{"specversion": "1.0", "ann@example.org": 1}')
    said = [
        value for family in watcher.registry.collect() for sample in family.samples for value in sample.labels.values()
    ]
    assert said
    assert not [value for value in said if "ann" in value.lower() or "acme" in value or "@" in value]
