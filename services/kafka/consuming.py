"""Consuming: records from Kafka to intake, batch by batch.

Each batch, in this order:
1. read    records as parcels; sealed ones are opened, and each topic brings only the tenants that it may
2. store   facts and how far the partitions are read, in one transaction
3. tell    followers, such as receipts, hear what became of each record
4. mirror  the group's offset at the broker follows, for lag monitors; it is never believed

So a batch is stored with its position or not at all, whenever a process ends and whoever reads a partition next. Two
readers of one partition cannot both store: the position has to stand where the reader believes that it stands, and
whoever was second gives the batch up and reads on from what is stored. Where a crash came between 2 and 4, the records
are read `again`, only to be told of.

A topic that was deleted and created anew has another id, and is read from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Protocol, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from domain.errors import (
    BatchDisturbed,
    BrokerUnavailable,
    GateShut,
    KeysUnavailable,
    LogUnavailable,
    PositionMoved,
)
from services.kafka.connecting import Broker, told
from services.kafka.faring import GivenUp
from services.kafka.joining import Member, joined
from services.kafka.messages import parcel_from
from services.kafka.reading import Batch, Reader, Stop
from services.kafka.receipts import record_in
from services.kafka.seeking import Positions
from services.kafka.topics import RECORDS
from services.log import Position
from services.outcomes import Outcome, Taken, Tally
from services.records import Parcel, Place
from services.sealed import OpenSealed

GROUP = "sealdesk"
#: Apache Kafka refuses less than 6 seconds by default. A consumer that is killed is missed after this long.
SESSION_SECONDS = 10.0
#: For the embedded broker, where a first consumer waits for half of this to be let in.
EMBEDDED_SESSION_SECONDS = 1.5
#: What went away is asked for after this long, then ever less often.
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 15.0
#: `until_idle` gives up what stays away for so long.
GIVE_UP_SECONDS = 60.0
#: The name under which an observer hears of us.
STEP = "consume"

_Result = TypeVar("_Result")


class Taker(Protocol):
    """Intake, as it is needed here: facts and positions in one transaction."""

    def take_each(
        self, parcels: Sequence[Parcel], *, at: datetime, positions: Sequence[Position] = (), again: bool = False
    ) -> Taken:
        """Store a batch and how far the partitions are read, or neither."""


class Observer(Protocol):
    """Whoever wants to know how it goes, to say so once. `services.cli.serving.Watch` is one."""

    def step(self, name: str, seconds: float) -> None:
        """Hear that a batch was stored, and how long it took."""

    def failed(self, name: str, error: BaseException) -> None:
        """Hear of trouble that is waited out."""

    def member(self, is_in: bool) -> None:
        """Hear, once a turn, whether the group has let us in."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch that is stored: each record with where it stood, its hash, and what became of it, in order.

    Records of earlier batches that were taken up with it (`services.outcomes.Later`) are among them. With `again` they
    were stored before, and perhaps nobody was told. `seconds` is how long storing took.
    """

    records: Sequence[tuple[Place, bytes, Outcome]] = field(repr=False)
    tally: Tally
    positions: Sequence[Position]
    seconds: float
    again: bool = False


#: Hears of a batch that is stored. False means that the broker's idea of the group may not follow yet.
Follower = Callable[[Stored], bool | None]
#: Gives what opens the sealed records of one batch.
Opener = Callable[[], AbstractContextManager[OpenSealed | None]]


@dataclass(frozen=True, slots=True)
class _Unwatched:
    def step(self, name: str, seconds: float) -> None:
        """Let it pass."""

    def failed(self, name: str, error: BaseException) -> None:
        """Let it pass."""

    def member(self, is_in: bool) -> None:
        """Let it pass."""


class _Unasked:
    def is_set(self) -> bool:
        return False


def consume(
    broker: Broker,
    taker: Taker,
    positions: Positions,
    *,
    topics: Collection[str] = (RECORDS,),
    group: str = GROUP,
    admit: Callable[[Parcel], Parcel] = lambda parcel: parcel,
    opener: Opener = nullcontext,
    followers: Sequence[Follower] = (),
    until_idle: bool = False,
    stop: Stop | None = None,
    observer: Observer | None = None,
    batch_size: int = 1000,
    session_seconds: float = SESSION_SECONDS,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Stored]:
    """Take batch after batch, and yield how each fared once it is stored and told.

    It ends after the batch at hand when `stop` is set, and with `until_idle` once everything is read that the topics
    held when they first ran dry. Databases and brokers that go away are waited for, in the group if that can be; the
    observer hears of it.

    Raises:
        BrokerUnavailable: Kafka does not answer or refuses at the start, or with `until_idle` stays away.
        LogUnavailable, KeysUnavailable: with `until_idle`, a database stays away. What was yielded is stored.
        GateShut: log, keys and ledger do not fit together. Somebody has to look.
    """
    names = sorted(topics)
    consuming = Consuming(
        join=lambda: joined(broker, group, session_seconds=session_seconds),
        read=lambda member: Reader(member, names, batch_size=batch_size, tells=bool(followers)),
        taker=taker,
        positions=positions,
        admit=admit,
        opener=opener,
        followers=followers,
        stop=stop or _Unasked(),
        until_idle=until_idle,
        observer=observer or _Unwatched(),
        clock=clock,
    )
    yield from consuming.run(lambda: told(broker, f"serve {', '.join(names)} to the group {group}"))


@dataclass(slots=True)
class Consuming:
    """The loop, and what it is given."""

    join: Callable[[], AbstractContextManager[Member]]
    read: Callable[[Member], Reader]
    taker: Taker
    positions: Positions
    admit: Callable[[Parcel], Parcel]
    opener: Opener
    followers: Sequence[Follower]
    stop: Stop
    until_idle: bool
    observer: Observer
    clock: Callable[[], datetime]
    #: Whether the brokers ever served us: then trouble is waited out.
    was_served: bool = False

    def run(self, translated: Callable[[], AbstractContextManager[None]]) -> Iterator[Stored]:
        """Take batches over one client, and over another when the first has failed or is wedged."""
        failures, since = 0, monotonic()
        while not self.stop.is_set():
            began = monotonic()
            try:
                with translated(), self.join() as member:
                    yield from self._batches(self.read(member))
                    return
            except BrokerUnavailable as error:
                if monotonic() - began > LONGEST_WAIT_SECONDS:
                    failures, since = 0, monotonic()
                if isinstance(error, GivenUp) or not self.was_served or self._gives_up(monotonic() - since):
                    raise
                self.observer.failed(STEP, error)
                self.observer.member(False)
            failures += 1
            self._sleep(min(FIRST_WAIT_SECONDS * 2**failures, LONGEST_WAIT_SECONDS))

    def _batches(self, reader: Reader) -> Iterator[Stored]:
        while not self.stop.is_set():
            self._waited(reader, lambda: reader.seek(self.positions))
            for batch in reader.poll():
                if (stored := self._stored(reader, batch)) is not None:
                    yield stored
                if self.stop.is_set():
                    break
            faring = reader.faring
            if self.until_idle or not self.was_served:
                faring.check_rights()
            self.observer.member(faring.is_in())
            self.was_served = self.was_served or faring.is_served()
            for said in faring.trouble():
                self.observer.failed(STEP, BrokerUnavailable(said))
            if self.until_idle and faring.is_idle():
                break
        reader.mirror_at_last()

    def _stored(self, reader: Reader, batch: Batch) -> Stored | None:
        """Store one batch and tell of it; None if that was somebody else's to do, or we shall end."""
        began = monotonic()
        try:
            stored = self._waited(reader, lambda: self._take(batch))
        except PositionMoved:
            # Somebody else has a partition, or our own commit went through and its answer did not.
            stored = None
        if stored is None:
            reader.forget()
            return None
        reader.stored(batch)
        self.observer.step(STEP, monotonic() - began)
        try:
            answers = [follower(stored) for follower in self.followers]
            if False not in answers:
                reader.mirror()
        except BrokerUnavailable as error:
            # What was not told is read once more, from where the broker believes us to be.
            self.observer.failed(STEP, error)
            reader.forget()
        return stored

    def _take(self, batch: Batch) -> Stored:
        parcels: list[Parcel] = []
        hashes: list[bytes] = []
        places: list[Place] = []
        began = monotonic()
        with self.opener() as open_sealed:
            for message in batch.messages:
                place = Place(message.topic, message.partition, message.offset)
                parcel = parcel_from(message, place, open_sealed)
                if parcel is not None:
                    places.append(place)
                    hashes.append(record_in(message, parcel))
                    parcels.append(self.admit(parcel))
        taken = self.taker.take_each(parcels, at=self.clock(), positions=batch.positions, again=batch.again)
        records = list(zip(places, hashes, taken.outcomes, strict=True))
        records.extend((later.place, later.record, later.outcome) for later in taken.later)
        return Stored(records, taken.tally, batch.positions, monotonic() - began, batch.again)

    def _waited(self, reader: Reader, do: Callable[[], _Result]) -> _Result | None:
        """Do something with the databases, and wait in the group while they are away or others stand in the way.

        None if we shall end.
        """
        retrying = Retrying(
            retry=retry_if_exception(_is_away),
            wait=wait_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS),
            stop=lambda state: self.stop.is_set() or self._gives_up(state.seconds_since_start or 0.0),
            sleep=lambda seconds: reader.keep_alive(seconds, self.stop),
            before_sleep=self._say,
            reraise=True,
        )
        try:
            return retrying(do)
        except (LogUnavailable, KeysUnavailable, BatchDisturbed) as error:
            if _is_away(error) and self.stop.is_set():
                return None
            raise

    def _say(self, state: RetryCallState) -> None:
        if state.outcome is not None and (error := state.outcome.exception()) is not None:
            self.observer.failed(STEP, error)

    def _gives_up(self, seconds: float) -> bool:
        return self.until_idle and seconds > GIVE_UP_SECONDS

    def _sleep(self, seconds: float) -> None:
        end = monotonic() + seconds
        while not self.stop.is_set() and (left := end - monotonic()) > 0:
            sleep(min(left, 0.5))


def _is_away(error: BaseException) -> bool:
    """Tell whether this passes by itself. That log, keys and ledger do not fit together does not."""
    return isinstance(error, LogUnavailable | KeysUnavailable | BatchDisturbed) and not isinstance(error, GateShut)
