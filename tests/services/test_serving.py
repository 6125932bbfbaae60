from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from domain.errors import BrokerUnavailable, GateShut, KeysUnavailable, LogUnavailable, NobodyCanAct, SealdeskError
from services.cli import serving
from services.cli.serving import Watch, going_on, hands, watched


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture
def watch() -> Iterator[Watch]:
    with watched("gate") as opened:
        yield opened


@pytest.mark.parametrize("away", [LogUnavailable("log"), KeysUnavailable("keys"), BrokerUnavailable("kafka")])
def test_what_goes_away_is_waited_for(watch: Watch, away: SealdeskError, capsys: pytest.CaptureFixture[str]) -> None:
    begun = 0

    def work(opened: Callable[[], None]) -> None:
        nonlocal begun
        begun += 1
        opened()
        if begun < 4:
            raise away

    going_on(watch, work)
    assert begun == 4
    assert capsys.readouterr().err.count(f"{away}; beginning anew") == 3


def test_what_is_away_at_the_start_is_told_at_once(watch: Watch) -> None:
    def work(opened: Callable[[], None]) -> None:
        raise LogUnavailable("away")

    with pytest.raises(LogUnavailable):
        going_on(watch, work)


@pytest.mark.parametrize("error", [GateShut("older"), NobodyCanAct("a bug"), RuntimeError("another")])
def test_what_does_not_pass_by_itself_ends_the_process(watch: Watch, error: Exception) -> None:
    def work(opened: Callable[[], None]) -> None:
        opened()
        raise error

    with pytest.raises(type(error)):
        going_on(watch, work)


def test_whoever_is_asked_to_end_while_waiting_ends(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "FIRST_WAIT_SECONDS", 600.0)

    def work(opened: Callable[[], None]) -> None:
        opened()
        watch.asked.set()
        raise LogUnavailable("away")

    going_on(watch, work)


def test_a_thread_that_dies_ends_the_others_and_is_heard_of(watch: Watch) -> None:
    ended = threading.Event()

    def other() -> None:
        watch.asked.wait(60)
        ended.set()

    def dies() -> None:
        raise NobodyCanAct("a bug")

    def work_together() -> None:
        with hands(watch) as start:
            start("other", other)
            start("dies", dies)
            assert watch.asked.wait(60)

    with pytest.raises(NobodyCanAct, match="a bug"):
        work_together()
    assert ended.is_set()


def test_trouble_is_told_once_and_its_end_too(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        watch.failed("tell", BrokerUnavailable("Kafka does not answer"))
    watch.failed("tell", ValueError("ann@example.org"))
    watch.step("tell", 0.1)
    watch.step("tell", 0.1)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "sealdesk: tell: Kafka does not answer",
        "sealdesk: tell: something unexpected (ValueError)",
        "sealdesk: tell: well again",
    ]


def test_where_nobody_looks_in_nothing_is_counted_and_nothing_is_asked(watch: Watch) -> None:
    assert watch.metrics is watch.standing is None
    watch.tells(lambda wired: pytest.fail("a source was made"))
