from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import yaml

from domain.errors import GateShut
from services.embedded import Endpoints
from services.kafka.connecting import Broker
from services.rounds import Rounds
from services.steps import steps_of
from services.wiring import House
from tests.desks import Desk, desk_house

ROOT = Path(__file__).parents[2]


class Kept:
    """The rounds of one house, with a clock that goes when it is told to."""

    def __init__(self, house: House) -> None:
        self.now = 0.0
        self.well: set[str] = set()
        self.said: list[str] = []
        self.rounds = Rounds(steps_of(house, self.said.append), house.keys.alone, self, lambda: self.now)

    def step(self, name: str, seconds: float) -> None:
        self.well.add(name)

    def failed(self, name: str, error: BaseException) -> None:
        raise AssertionError(f"{name} failed") from error

    def turn(self) -> None:
        """Go round once, with everything due."""
        self.rounds.turn()
        self.now += 7200


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened:
        yield opened


@pytest.fixture
def kept(house: House) -> Kept:
    return Kept(house)


def test_every_step_does_well_on_a_house_without_kafka(kept: Kept) -> None:
    kept.turn()
    assert kept.well == {"gate", "resume", "mend", "waiting", "expire", "purge", "turn", "tell"}


def test_an_alert_waits_for_a_step_as_long_as_its_own_time(house: House) -> None:
    with_kafka = replace(house.endpoints, kafka=Broker(bootstrap="127.0.0.1:1"))
    steps = {step.name: step.seconds for step in steps_of(replace(house, endpoints=with_kafka), print)}
    assert {"sources", "pairs", "replies"} <= steps.keys()
    rules = {
        rule["alert"]: rule["expr"]
        for group in yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    [seldom] = re.findall(r'step=~"([\w|]+)"', rules["HourlyStepStands"])
    [others] = re.findall(r'step!~"([\w|]+)"', rules["StepStands"])
    # One that is due less often than the other alert waits needs the longer one.
    assert set(seldom.split("|")) == {name for name, seconds in steps.items() if seconds > 300}
    assert set(others.split("|")) == {"consume", *seldom.split("|")}


def test_a_shred_that_was_begun_is_finished(house: House, kept: Kept) -> None:
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1, name="Ann Falke")
    desk.shred("contact 1")
    with psycopg.connect(house.endpoints.keys_dsn) as connection:
        connection.execute("UPDATE shreds SET step = 'destroyed', certificate = NULL")
    kept.turn()
    with psycopg.connect(house.endpoints.keys_dsn) as connection:
        [[step, certified]] = connection.execute("SELECT step, certificate IS NOT NULL FROM shreds").fetchall()
    assert (step, certified) == ("finished", True)


def test_what_lay_in_the_trash_for_long_enough_is_purged(house: House, kept: Kept) -> None:
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1, name="Ann Falke")
    desk.happens("ticket.opened", "ticket 20", id=20, requester_id=1, subject="Help")
    desk.happens("ticket.deleted", "ticket 20", id=20)
    kept.turn()
    with psycopg.connect(house.endpoints.keys_dsn) as connection:
        [[shreds]] = connection.execute("SELECT count(*) FROM shreds").fetchall()
    assert shreds == 1


def test_the_quarantine_lets_go_what_has_had_its_time(house: House, kept: Kept) -> None:
    desk = Desk(house)
    desk.take(b"nonsense")
    with psycopg.connect(house.endpoints.log_dsn) as connection:
        connection.execute("UPDATE quarantine SET at = at - interval '30 days'")
    kept.turn()
    assert list(house.quarantine.listed(desk.tenant.id)) == []


def test_a_key_database_that_falls_behind_its_log_ends_the_rounds(house: House, kept: Kept) -> None:
    kept.turn()
    with psycopg.connect(house.endpoints.log_dsn) as connection:
        connection.execute("UPDATE issue_seen SET issue = issue + 1000")
    with pytest.raises(GateShut):
        kept.turn()
