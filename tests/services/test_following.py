from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from domain.errors import LogUnavailable
from services import following
from services.embedded import Endpoints
from services.following import follow
from services.wiring import House, projector
from tests.desks import Desk, desk_house


@pytest.fixture
def house(databases: Endpoints, tmp_path: Path) -> Iterator[House]:
    with desk_house(databases, tmp_path) as opened:
        yield opened


class Follower:
    """A projector in a thread."""

    def __init__(self, log_dsn: str, models: list[str] | None = None) -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._caught_up = threading.Condition()
        self._turns = 0
        self._thread = threading.Thread(target=self._run, args=(log_dsn, models))

    def _run(self, log_dsn: str, models: list[str] | None) -> None:
        try:
            with projector(log_dsn) as opened:
                follow(opened.facts, opened.projecting, self.stop, models=models, caught_up=self._turn)
        except BaseException as error:
            self.error = error

    def _turn(self, seconds: float) -> None:
        with self._caught_up:
            self._turns += 1
            self._caught_up.notify_all()

    def turns(self, more: int) -> None:
        """Wait for so many further turns."""
        with self._caught_up:
            wanted = self._turns + more
            assert self._caught_up.wait_for(lambda: self._turns >= wanted, timeout=60)

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()

    @contextmanager
    def running(self) -> Iterator[Follower]:
        """Let it run for a while."""
        self._thread.start()
        try:
            yield self
        finally:
            self.stop.set()
            self.join()


def test_what_is_appended_is_folded_without_anybody_asking(house: House) -> None:
    desk = Desk(house)
    with Follower(house.endpoints.log_dsn).running() as follower:
        follower.turns(1)
        desk.happens("contact.created", "contact 1", id=1, name="Ann Falke")
        follower.turns(2)
        assert set(house.projecting.positions().values()) == {house.facts.head()}
    assert follower.error is None


def test_an_append_wakes_it_long_before_it_would_look(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 600.0)
    desk = Desk(house)
    with Follower(house.endpoints.log_dsn).running() as follower:
        follower.turns(1)
        desk.happens("contact.created", "contact 1", id=1, name="Ann Falke")
        follower.turns(1)
        follower.stop.set()
        # One more append, so that it looks whether to end.
        desk.happens("contact.created", "contact 2", id=2, name="Bert Falke")
        follower.join()
    assert house.projecting.positions()["contacts"] > 0


def test_only_the_models_that_are_named_are_fed(house: House) -> None:
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1, name="Ann Falke")
    with Follower(house.endpoints.log_dsn, ["reports"]).running() as follower:
        follower.turns(1)
    positions = house.projecting.positions()
    assert positions["reports"] == house.facts.head()
    assert positions["contacts"] == 0


def test_a_database_that_goes_away_is_told_and_nothing_is_half_folded(house: House) -> None:
    desk = Desk(house)
    desk.happens("contact.created", "contact 1", id=1, name="Ann Falke")
    with Follower(house.endpoints.log_dsn).running() as follower:
        follower.turns(1)
        with psycopg.connect(house.endpoints.log_dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                " AND pid <> pg_backend_pid()"
            )
        follower.join()
    assert isinstance(follower.error, LogUnavailable)
    with Follower(house.endpoints.log_dsn).running() as again:
        again.turns(1)
    assert house.projecting.positions()["contacts"] == house.facts.head()
