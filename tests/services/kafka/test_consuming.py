"""Whatever happens to whom: every record is stored once, in order, and everybody is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import KafkaConnectionError

from domain.errors import (
    BatchDisturbed,
    BrokerUnavailable,
    GateShut,
    KeysUnavailable,
    LogUnavailable,
    PositionMoved,
)
from services.kafka import consuming, faring, reading, stalling
from services.kafka.connecting import Broker, told
from services.kafka.consuming import Consuming, Stored
from services.kafka.reading import Reader
from services.kafka.stalling import Stalls, Timed, Wedged
from services.log import Position
from services.outcomes import Outcome, Taken, Tally
from services.records import Parcel
from tests.services.kafka.groups import Consumer, Group, Log

NOW = datetime(2024, 5, 1, tzinfo=UTC)
NOWHERE = Broker(bootstrap="127.0.0.1:1")


@pytest.fixture(autouse=True)
def waits_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consuming, "FIRST_WAIT_SECONDS", 0.0001)
    monkeypatch.setattr(consuming, "LONGEST_WAIT_SECONDS", 0.0001)


class Crashed(BaseException):
    """The process is gone."""


@dataclass
class Desk:
    """Intake in memory: records and positions change together or not at all."""

    positions: dict[UUID, dict[int, int]] = field(default_factory=dict)
    epochs: dict[UUID, dict[int, int]] = field(default_factory=dict)
    stored: list[tuple[UUID, int, int]] = field(default_factory=list)
    #: What happens in the next takes: before it is stored, or after.
    before: list[Callable[[], None]] = field(default_factory=list)
    after: list[Callable[[], None]] = field(default_factory=list)

    def take_each(
        self, parcels: Sequence[Parcel], *, at: datetime, positions: Sequence[Position] = (), again: bool = False
    ) -> Taken:
        if self.before:
            self.before.pop()()
        known = {(each.topic_id, each.partition): each for each in positions}
        for (topic_id, partition), each in known.items():
            if self.positions.get(topic_id, {}).get(partition) != each.expected:
                raise PositionMoved("somebody else was first")
        if not again:
            topics = {each.partition: each.topic_id for each in positions}
            for parcel in parcels:
                assert parcel.place is not None
                self.stored.append((topics[parcel.place.partition], parcel.place.partition, parcel.place.offset))
        for each in positions:
            self.positions.setdefault(each.topic_id, {})[each.partition] = each.offset
            self.epochs.setdefault(each.topic_id, {})[each.partition] = each.leader_epoch
        if self.after:
            self.after.pop()()
        outcomes = tuple(Outcome("duplicate" if again else "stored") for _ in parcels)
        return Taken(Tally.of(outcomes), outcomes)

    def stored_positions(self, topic_id: UUID) -> Mapping[int, int]:
        return dict(self.positions.get(topic_id, {}))

    def stored_epochs(self, topic_id: UUID) -> Mapping[int, int]:
        return {number: epoch for number, epoch in self.epochs.get(topic_id, {}).items() if epoch >= 0}


@dataclass
class Told:
    """Hears of what is stored, or keeps it for later when it cannot be told now."""

    told: set[tuple[int, int]]
    fails: list[Exception | Crashed | bool] = field(default_factory=list)
    kept: set[tuple[int, int]] = field(default_factory=set)

    def __call__(self, stored: Stored) -> bool:
        self.kept |= {(place.partition, place.offset) for place, _, _ in stored.records}
        match self.fails.pop() if self.fails else True:
            case True:
                self.told |= self.kept
                self.kept.clear()
                return True
            case BaseException() as error:
                raise error
        return False


@dataclass
class Trouble:
    """Hears what went wrong."""

    heard: list[str] = field(default_factory=list)

    def step(self, name: str, seconds: float) -> None:
        pass

    def failed(self, name: str, error: BaseException) -> None:
        self.heard.append(str(error))

    def member(self, is_in: bool) -> None:
        pass


@dataclass
class Quiet:
    """A wish to end once nothing comes any more."""

    consumers: list[Consumer] = field(default_factory=list)
    polls: int = 4
    asked: bool = False

    def is_set(self) -> bool:
        return self.asked or (bool(self.consumers) and self.consumers[-1].empty >= self.polls)


def consuming_of(
    group: Group,
    desk: Desk,
    told_of: Told,
    stop: Quiet | None = None,
    trouble: Trouble | None = None,
    *,
    batch_size: int = 5,
    until_idle: bool = False,
) -> Iterator[Stored]:
    stop = stop or Quiet()

    def read(member: Any) -> Reader:
        stop.consumers.append(member.consumer)
        return Reader(member, [group.topic], batch_size=batch_size, tells=True)

    return Consuming(
        join=group.joined,
        read=read,
        taker=desk,
        positions=desk,
        admit=lambda parcel: parcel,
        opener=nullcontext,
        followers=[told_of],
        stop=stop,
        until_idle=until_idle,
        observer=trouble or Trouble(),
        clock=lambda: NOW,
    ).run(lambda: told(NOWHERE, "serve this"))


def away() -> None:
    raise LogUnavailable("the log database cannot be reached")


def crash() -> None:
    raise Crashed


@settings(deadline=None)
@given(st.data())
def test_every_record_is_stored_once_and_told_of_whatever_happens(data: st.DataObject) -> None:
    group = Group("t", data.draw(st.integers(1, 3)))
    desk, told_of = Desk(), set[tuple[int, int]]()
    members: list[tuple[Iterator[Stored], Told]] = []

    def publish() -> None:
        for _ in range(data.draw(st.integers(1, 9))):
            log = data.draw(st.sampled_from(group.logs))
            log.skip(data.draw(st.sampled_from([0, 0, 0, 2])))
            log.append(b"{}")

    def shared_anew() -> None:
        group.share(lambda _, members: data.draw(st.sampled_from(members)))

    def clear() -> None:
        # As `services.kafka.clearing` does: below what is stored and what is told.
        for number, log in enumerate(group.logs):
            stored = desk.positions.get(group.topic_id, {}).get(number, 0)
            log.begin = max(log.begin, min(stored, group.committed.get(TopicPartition("t", number), 0)))

    for _ in range(data.draw(st.integers(5, 25))):
        match data.draw(
            st.sampled_from(["publish", "join", "go on", "go on", "go on", "kill", "share", "clear", "fail"])
        ):
            case "publish":
                publish()
            case "join" if len(members) < 3:
                follower = Told(told_of)
                members.append((consuming_of(group, desk, follower), follower))
            case "share":
                shared_anew()
            case "clear":
                clear()
            case "kill" if members:
                members.pop(data.draw(st.integers(0, len(members) - 1)))[0].close()
            case "fail":
                what = data.draw(st.sampled_from([away, crash, shared_anew]))
                data.draw(st.sampled_from([desk.before, desk.after])).append(what)
                if members:
                    failure = data.draw(st.sampled_from([False, BrokerUnavailable("told nobody"), Crashed()]))
                    data.draw(st.sampled_from(members))[1].fails.append(failure)
            case "go on" if members:
                chosen = data.draw(st.sampled_from(members))
                try:
                    next(chosen[0])
                except (StopIteration, Crashed):
                    members.remove(chosen)
    desk.before, desk.after = [], []
    for running, _ in members:
        running.close()
    publish()
    last = Told(told_of)
    list(consuming_of(group, desk, last))

    published = [(group.topic_id, number, offset) for number, log in enumerate(group.logs) for offset in log.records]
    assert sorted(desk.stored) == sorted(published)
    for number in range(group.partitions):
        in_order = [offset for _, partition, offset in desk.stored if partition == number]
        assert in_order == sorted(in_order)
    assert told_of == {(partition, offset) for _, partition, offset in published}


def published(group: Group, count: int) -> None:
    for number in range(count):
        group.logs[number % group.partitions].append(b"{}")


def test_a_topic_that_is_created_anew_is_read_from_its_beginning_even_while_it_is_read() -> None:
    group, desk = Group("t", 1), Desk()
    published(group, 20)
    running = consuming_of(group, desk, Told(set()))
    next(running)
    first = group.topic_id
    group.recreate()
    published(group, 8)

    list(running)

    assert [offset for topic, _, offset in desk.stored if topic == group.topic_id] == list(range(8))
    assert [offset for topic, _, offset in desk.stored if topic == first] == list(range(5))


def test_databases_that_go_away_are_waited_for_and_said_once_a_try() -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 10)
    desk.before = [away, away, away]

    tallies = [stored.tally.stored for stored in consuming_of(group, desk, Told(set()), trouble=trouble)]

    assert tallies == [5, 5]
    assert trouble.heard == ["the log database cannot be reached"] * 3


def test_an_answer_that_is_lost_after_the_commit_stores_nothing_twice_and_is_told_of_again() -> None:
    group, desk, told_of = Group("t", 1), Desk(), set[tuple[int, int]]()
    published(group, 5)
    desk.after = [away]

    batches = list(consuming_of(group, desk, Told(told_of)))

    assert [(stored.again, stored.tally.duplicates, stored.positions) for stored in batches] == [(True, 5, ())]
    assert len(desk.stored) == len(told_of) == 5


def test_while_databases_are_away_partitions_that_come_are_read_afterwards_from_their_stored_position() -> None:
    group, desk = Group("t", 2), Desk()
    published(group, 20)
    other = consuming_of(group, desk, Told(set()))
    next(other)
    mine = consuming_of(group, desk, Told(set()))
    group.share(lambda partition, members: members[partition.partition % len(members)])
    desk.before = [lambda: group.share(lambda _, members: members[-1]), away]

    list(mine)
    list(other)

    assert sorted(offset for _, _, offset in desk.stored) == sorted(2 * list(range(10)))


def test_what_does_not_pass_by_itself_is_not_waited_for() -> None:
    group, desk = Group("t", 1), Desk()
    published(group, 3)

    def shut() -> None:
        raise GateShut("restore a newer copy")

    desk.before = [shut]

    with pytest.raises(GateShut):
        list(consuming_of(group, desk, Told(set())))
    assert desk.stored == []


def test_a_wish_to_end_is_heard_while_a_database_is_away() -> None:
    group, desk, stop = Group("t", 1), Desk(), Quiet()
    published(group, 3)

    def ask() -> None:
        stop.asked = True
        raise KeysUnavailable("the key database cannot be reached")

    desk.before = [ask]

    assert list(consuming_of(group, desk, Told(set()), stop)) == []
    assert desk.stored == []
    assert group.members == []


def test_until_idle_gives_up_what_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consuming, "GIVE_UP_SECONDS", 0.0)
    group, desk = Group("t", 1), Desk()
    published(group, 3)
    desk.before = [away]

    with pytest.raises(LogUnavailable):
        list(consuming_of(group, desk, Told(set()), until_idle=True))


def test_a_broker_that_goes_away_is_waited_for_once_we_were_in(monkeypatch: pytest.MonkeyPatch) -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 10)
    running = consuming_of(group, desk, Told(set()), trouble=trouble)
    next(running)
    next(running)
    failing = iter([KafkaConnectionError("gone")])
    poll = Consumer.poll

    def polled(consumer: Consumer, **how: Any) -> Any:
        for error in failing:
            raise error
        return poll(consumer, **how)

    monkeypatch.setattr(Consumer, "poll", polled)
    published(group, 4)

    assert sum(stored.tally.stored for stored in running) == 4
    assert len(trouble.heard) == 1
    assert "SEALDESK_KAFKA" in trouble.heard[0]


def test_a_broker_that_refuses_at_the_start_is_not_waited_for() -> None:
    def refused() -> AbstractContextManager[Any]:
        raise KafkaConnectionError("nobody there")

    group = Group("t", 1)
    group.joined = refused  # type: ignore[method-assign]

    with pytest.raises(BrokerUnavailable):
        next(consuming_of(group, Desk(), Told(set())))


def test_what_the_broker_deleted_before_it_was_read_is_said() -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 10)
    running = consuming_of(group, desk, Told(set()), trouble=trouble)
    next(running)
    running.close()
    group.logs[0].begin = 8
    group.logs[0].records = {8: b"{}", 9: b"{}"}

    list(consuming_of(group, desk, Told(set()), trouble=trouble))

    assert [offset for _, _, offset in desk.stored] == [0, 1, 2, 3, 4, 8, 9]
    assert trouble.heard == ["the broker deleted 3 records of t-0 that were not read"]


def test_what_the_broker_deleted_while_it_was_read_is_said_and_where_transactions_ended_is_not() -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 5)
    group.logs[0].skip(2)
    published(group, 5)
    running = consuming_of(group, desk, Told(set()), trouble=trouble)
    next(running)
    next(running)
    published(group, 5)
    group.logs[0].begin = 15
    group.logs[0].records = {15: b"{}", 16: b"{}"}

    list(running)

    assert [offset for _, _, offset in desk.stored] == [*range(5), *range(7, 12), 15, 16]
    assert trouble.heard == ["the broker deleted 3 records of t-0 that were not read"]


def test_a_transaction_that_ended_under_another_leader_is_not_taken_for_a_log_that_was_cut() -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 5)
    running = consuming_of(group, desk, Told(set()))
    next(running)
    group.logs[0].epoch, group.logs[0].epoch_began = 1, 5
    group.logs[0].skip(1)
    list(running)
    assert desk.stored_positions(group.topic_id) == {0: 6}

    list(consuming_of(group, desk, Told(set()), trouble=trouble))

    assert [offset for _, _, offset in desk.stored] == list(range(5))
    assert trouble.heard == []


def test_a_crash_while_all_is_told_once_more_leaves_no_partition_untold() -> None:
    group, desk, told_of = Group("t", 2), Desk(), set[tuple[int, int]]()
    published(group, 20)

    class Forgetful(Told):
        def __call__(self, stored: Stored) -> bool:
            try:
                return super().__call__(stored)
            except BrokerUnavailable:
                self.kept.clear()
                raise

    # Nothing could be told, nor was it kept; now it can be told again, but a batch later comes a crash.
    fails: list[Exception | Crashed | bool] = [Crashed(), True, BrokerUnavailable("start anew"), False, False, False]
    with pytest.raises(Crashed):
        list(consuming_of(group, desk, Forgetful(told_of, fails)))
    assert len(told_of) < 20

    list(consuming_of(group, desk, Told(told_of)))

    assert len(desk.stored) == len(told_of) == 20


def test_where_a_broker_lost_records_what_comes_in_their_place_is_stored() -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 10)
    list(consuming_of(group, desk, Told(set())))
    group.logs[0] = type(group.logs[0])()
    published(group, 4)

    list(consuming_of(group, desk, Told(set()), trouble=trouble))

    assert [offset for _, _, offset in desk.stored] == [*range(10), *range(4)]
    assert desk.stored_positions(group.topic_id) == {0: 4}
    assert trouble.heard == ["the broker lost records of t-0; it is read from its beginning"]


def test_a_log_that_began_again_and_has_passed_what_was_read_is_read_from_its_beginning() -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 10)
    list(consuming_of(group, desk, Told(set())))
    # A disk was replaced: as many records and more stand there by now, under the next leader.
    group.logs[0] = Log(epoch=1)
    published(group, 14)

    list(consuming_of(group, desk, Told(set()), trouble=trouble))
    list(consuming_of(group, desk, Told(set()), trouble=trouble))

    assert [offset for _, _, offset in desk.stored] == [*range(10), *range(14)]
    assert desk.stored_positions(group.topic_id) == {0: 14}
    assert trouble.heard == ["the broker lost records of t-0; it is read from its beginning"]


def test_the_next_leader_of_a_log_that_lost_nothing_is_no_trouble() -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 10)
    list(consuming_of(group, desk, Told(set())))
    group.logs[0].epoch, group.logs[0].epoch_began = 1, 10
    published(group, 4)

    list(consuming_of(group, desk, Told(set()), trouble=trouble))

    assert [offset for _, _, offset in desk.stored] == [*range(14)]
    assert trouble.heard == []


def test_the_end_of_a_transaction_is_stored_so_that_a_partition_can_be_cleared_to_its_end() -> None:
    group, desk = Group("t", 1), Desk()
    published(group, 3)
    group.logs[0].skip(1)

    list(consuming_of(group, desk, Told(set())))
    assert desk.stored_positions(group.topic_id) == {0: 4}
    # An aborted one brings no record at all.
    group.logs[0].skip(5)
    list(consuming_of(group, desk, Told(set())))

    assert desk.stored_positions(group.topic_id) == {0: 9}
    assert group.committed == {TopicPartition("t", 0): 9}
    assert [offset for _, _, offset in desk.stored] == [0, 1, 2]


def test_a_topic_that_is_read_is_known_before_its_first_record() -> None:
    group, desk = Group("t", 2), Desk()

    list(consuming_of(group, desk, Told(set())))

    assert desk.stored_positions(group.topic_id) == {0: 0, 1: 0}


def test_a_batch_is_bounded_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_BYTES", 1000)
    monkeypatch.setattr(reading, "CHUNK", 2)
    group, desk = Group("t", 1), Desk()
    for _ in range(10):
        group.logs[0].append(b"x" * 400)

    sizes = [len(stored.records) for stored in consuming_of(group, desk, Told(set()), batch_size=1000)]

    assert sizes == [3, 3, 3, 1]


def test_partitions_that_go_and_come_back_are_not_stored_again_though_the_broker_believes_so() -> None:
    group, desk = Group("t", 1), Desk()
    published(group, 15)
    mine, other = (consuming_of(group, desk, Told(set(), [False, False])) for _ in range(2))
    next(mine)
    with group.joined():
        group.share(lambda _, members: members[-1])
        group.members[0].hear()
    group.members[0].hear()

    list(mine)
    list(other)

    assert [offset for _, _, offset in desk.stored] == list(range(15))


def test_what_cannot_be_told_again_gives_up_what_was_fetched_with_it() -> None:
    group, desk, told_of = Group("t", 1), Desk(), set[tuple[int, int]]()
    published(group, 3)
    running = consuming_of(group, desk, Told(told_of, [Crashed()]))
    with pytest.raises(Crashed):
        next(running)
    published(group, 2)

    batches = list(consuming_of(group, desk, Told(told_of, [BrokerUnavailable("start anew")])))

    assert [stored.again for stored in batches] == [True, True, False]
    assert [offset for _, _, offset in desk.stored] == [0, 1, 2, 3, 4]
    assert len(told_of) == 5


def test_a_client_that_gives_nothing_though_there_is_more_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalling, "STALL_SECONDS", 0.0)
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 5)
    running = consuming_of(group, desk, Told(set()), Quiet(polls=40), trouble)
    next(running)
    wedged, poll = group.members[0], Consumer.poll
    monkeypatch.setattr(Consumer, "poll", lambda self, **how: {} if self is wedged else poll(self, **how))
    published(group, 5)

    assert [stored.tally.stored for stored in running] == [5]
    assert len(trouble.heard) == 1
    assert "Wedged" in trouble.heard[0]


def test_a_partition_that_waits_for_its_turn_is_not_taken_for_stuck() -> None:
    now = [0.0]
    stalls = Stalls(clock=lambda: now[0])
    partition = TopicPartition("t", 0)
    for seconds in range(0, 100, 20):
        now[0] = float(seconds)
        stalls.look(True, lambda: {partition: 7})
    now[0] = 200.0
    with pytest.raises(Wedged):
        stalls.look(False, lambda: {partition: 7})


def test_a_client_that_does_not_answer_is_given_up_at_once_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalling, "CALL_SECONDS", 0.01)
    never = threading.Event()
    timed = Timed(never)
    assert timed.is_set() is False
    with pytest.raises(Wedged, match="does not answer"):
        timed.wait()
    with pytest.raises(Wedged):
        timed.is_set()
    never.set()


def test_a_client_that_breaks_is_told_by_the_kind_of_its_error_alone() -> None:
    with pytest.raises(Wedged, match=r"^Wedged: the client is broken: KeyError$"):
        Timed({}).pop("Karl")


def test_a_partition_that_nobody_leads_stops_no_other_and_is_read_once_somebody_does() -> None:
    group, desk, trouble, stop = Group("t", 2), Desk(), Trouble(), Quiet()
    published(group, 10)
    unled = TopicPartition("t", 1)
    group.unled.add(unled)

    list(consuming_of(group, desk, Told(set()), trouble=trouble))
    assert desk.stored_positions(group.topic_id) == {0: 5}
    assert trouble.heard == [
        "no broker leads t-1, and the other partitions are read on; look at the brokers that have it"
    ]

    running = consuming_of(group, desk, Told(set()), stop, trouble)
    published(group, 2)
    next(running)
    group.unled.clear()
    list(running)
    assert desk.stored_positions(group.topic_id) == {0: 6, 1: 6}


def test_a_partition_that_loses_its_leader_while_it_is_read_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalling, "STALL_SECONDS", 0.0)
    group, desk, trouble = Group("t", 2), Desk(), Trouble()
    published(group, 10)
    running = consuming_of(group, desk, Told(set()), Quiet(polls=10), trouble, batch_size=20)
    next(running)
    published(group, 10)
    group.unled.add(TopicPartition("t", 1))

    list(running)

    assert desk.stored_positions(group.topic_id)[0] == 10
    assert trouble.heard == [
        "no broker leads t-1, and the other partitions are read on; look at the brokers that have it"
    ]


def test_until_idle_waits_for_a_leader_and_then_says_what_was_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faring, "JOIN_SECONDS", 0.05)
    group, desk = Group("t", 2), Desk()
    published(group, 10)
    group.unled.add(TopicPartition("t", 1))

    with pytest.raises(BrokerUnavailable, match=r"No broker leads t-1, so it was not read to its end"):
        list(consuming_of(group, desk, Told(set()), Quiet(polls=10**9), until_idle=True))

    assert desk.stored_positions(group.topic_id) == {0: 5}


def test_a_right_that_goes_is_said_once_and_the_client_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faring, "RIGHTS_SECONDS", 0.0)
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 5)
    stop = Quiet(polls=8)
    running = consuming_of(group, desk, Told(set()), stop, trouble)
    next(running)
    published(group, 5)
    next(running)
    group.closed = True
    published(group, 5)
    polled = [0]
    poll = Consumer.poll

    def given_back(consumer: Consumer, **how: Any) -> Any:
        polled[0] += 1
        group.closed = polled[0] < 4
        return poll(consumer, **how)

    monkeypatch.setattr(Consumer, "poll", given_back)

    assert sum(stored.tally.stored for stored in running) == 5
    assert len(stop.consumers) == 1
    assert trouble.heard == [
        "we may not read t, and read the other topics on; who may do what, says: sealdesk topics rights"
    ]


def test_a_right_that_is_missing_is_refused_at_the_start_and_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 10)
    running = consuming_of(group, desk, Told(set()), trouble=trouble)
    next(running)
    next(running)
    for consumer in group.members:
        consumer._cluster.unauthorized_topics = frozenset({"t"})
    published(group, 5)

    assert sum(stored.tally.stored for stored in running) == 5
    assert len(trouble.heard) == 1

    fresh = consuming_of(group, desk, Told(set()))
    monkeypatch.setattr(Consumer, "subscribe", closed_at_the_start)
    with pytest.raises(BrokerUnavailable, match="TopicAuthorizationFailedError"):
        next(fresh)


def closed_at_the_start(consumer: Consumer, topics: Sequence[str], listener: Any) -> None:
    consumer._listener = listener
    consumer._cluster.unauthorized_topics = frozenset(topics)


def test_a_batch_that_others_disturb_again_and_again_is_waited_for() -> None:
    group, desk, trouble = Group("t", 1), Desk(), Trouble()
    published(group, 5)

    def disturbed() -> None:
        raise BatchDisturbed("a batch was disturbed 20 times; take it again")

    desk.before = [disturbed, disturbed]

    assert [stored.tally.stored for stored in consuming_of(group, desk, Told(set()), trouble=trouble)] == [5]
    assert len(trouble.heard) == 2


def test_a_broker_without_files_is_not_believed_about_where_a_partition_ends() -> None:
    group, desk, trouble = Group("t", 1, keeps_files=False), Desk(), Trouble()
    published(group, 5)
    list(consuming_of(group, desk, Told(set())))
    list(consuming_of(group, desk, Told(set()), trouble=trouble))

    assert [offset for _, _, offset in desk.stored] == list(range(5))
    assert trouble.heard == []


def test_what_was_told_of_a_partition_that_went_and_came_back_is_not_mirrored_at_the_end() -> None:
    group, desk = Group("t", 1), Desk()
    published(group, 5)
    stop = Quiet(polls=10**9)
    mine = consuming_of(group, desk, Told(set(), [False, True]), stop)
    next(mine)
    here = TopicPartition("t", 0)
    with group.joined():
        group.share(lambda _, members: members[-1])
        group.members[0].hear()
        desk.positions[group.topic_id] = {0: 5}
        group.committed[here] = 9
    group.members[0].hear()
    stop.asked = True

    list(mine)

    assert group.committed[here] == 9
