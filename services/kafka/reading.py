"""Reading: a member of a consumer group that follows the stored positions rather than the broker's.

What is handed out of a partition follows on what is stored of it, from the moment it was sought. A partition that was
assigned is sought before anything of it is handed out; one that was kept in a rebalance goes on. The group's offset at
the broker is a mirror: where it is behind the stored position, somebody stopped between storing and telling, and what
lies between is handed out once more, as `again`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from kafka import TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from services.kafka.decoding import CORRUPT, Unreadable
from services.kafka.faring import Faring
from services.kafka.joining import ANSWER_MILLISECONDS, Member, Rebalances
from services.kafka.seeking import Place, Positions, Seeking, commits
from services.kafka.stalling import Stalls
from services.log import Position

POLL_MILLISECONDS = 500
#: Bytes of one batch. Intake needs several times as much memory, for drafts and seals.
BATCH_BYTES = 16 * 1024 * 1024
#: Records that are taken from the client at once, and fewer while they are large. What comes compressed shows its size
#: only then.
CHUNK = 64
#: Batches with a wrong checksum are fetched again so often: it may have happened on the way.
TRIES = 3


class Stop(Protocol):
    """A wish to end, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Tell whether to end after the batch at hand."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records to take as one, in order within each partition, and how far the partitions are read with them."""

    messages: Sequence[Any] = field(repr=False)
    positions: Sequence[Position]
    mirrors: Mapping[TopicPartition, int]
    again: bool = False


class Reader:
    """A consumer, and where it is in each of its partitions. `tells` is whether anybody hears of what is stored."""

    def __init__(self, member: Member, topics: Sequence[str], *, batch_size: int, tells: bool) -> None:
        self._consumer = member.consumer
        self._batch_size = batch_size
        self._places: dict[TopicPartition, Place] = {}
        self._rebalances = Rebalances(self._forget, member.assignor)
        self._told: dict[TopicPartition, int] = {}
        self._mirrored: dict[TopicPartition, int] = {}
        self._broken: dict[tuple[TopicPartition, int], int] = {}
        self._stalls = Stalls()
        #: Bytes of the largest record of late: it decides how many are asked for next.
        self._largest = BATCH_BYTES // 4
        self.faring = Faring(self._consumer, topics, self._rebalances)
        self._seeking = Seeking(member, self.faring.missed, tells=tells)
        self._consumer.subscribe(list(topics), listener=self._rebalances)

    # -- what comes next ----------------------------------------------------------------------------------------

    def poll(self) -> Iterator[Batch]:
        """Wait a little for records, and hand them out in batches. What was not sought yet is not handed out.

        Raises:
            KafkaError: the broker refuses, or the client is wedged.
        """
        self.faring.ask_again()
        found: dict[TopicPartition, list[Any]] = {}
        count = size = 0
        wait = POLL_MILLISECONDS
        while count < self._batch_size and size < BATCH_BYTES:
            chunk = max(1, min(CHUNK, self._batch_size - count, (BATCH_BYTES - size) // self._largest))
            some = self._polled(wait, chunk)
            if not some:
                break
            wait = 0
            for partition, messages in some.items():
                kept = self._accepted(partition, messages)
                if kept:
                    found.setdefault(partition, []).extend(kept)
                count += len(messages)
                sizes = [_bytes(message) for message in messages]
                size += sum(sizes)
                self._largest = max(self._largest // 2, *sizes, 1)
        if not count and self._consumer.assignment() <= self._places.keys():
            self.faring.find_ends()
        self._stalls.look(bool(count), self.faring.unread)
        yield from self._batches(found, self._passed())

    def _polled(self, wait: int, count: int) -> Mapping[TopicPartition, Sequence[Any]]:
        try:
            found: Mapping[TopicPartition, Sequence[Any]] = self._consumer.poll(timeout_ms=wait, max_records=count)
        except TopicAuthorizationFailedError as error:
            # A right went while we read: the other topics still have theirs.
            refused = error.args[0] if error.args else None
            if not isinstance(refused, set):
                raise
            self.faring.refused(refused)
            return {}
        return found

    def _passed(self) -> set[TopicPartition]:
        """Go along where the client has passed what it hands out to nobody, as the end of a transaction.

        Returns the partitions of which that has to be stored; among them those of which nothing is: whoever waits until
        the topics are cleared has to know that they are read, also if there was no record yet.
        """
        passed = set()
        for partition, place in list(self._places.items()):
            if place.topic_id != self._seeking.topic_id(partition.topic):
                continue
            if place.stored is None:
                passed.add(partition)
            at = self.faring.at(partition)
            if at > place.next:
                self._seeking.look_for_loss(partition, place.next)
                # Whoever appended what was passed may be a later leader than that of the last record.
                place.next, place.epoch = at, -1
                if at > (place.stored or 0):
                    passed.add(partition)
        return passed

    def _batches(
        self, found: Mapping[TopicPartition, Sequence[Any]], passed: Collection[TopicPartition]
    ) -> Iterator[Batch]:
        old: list[Any] = []
        new: dict[TopicPartition, list[Any]] = {}
        for partition, messages in found.items():
            # The client's own thread may forget a partition at any moment.
            below = place.again_below if (place := self._places.get(partition)) else 0
            old.extend(message for message in messages if message.offset < below)
            if fresh := [message for message in messages if message.offset >= below]:
                new[partition] = fresh
        if old:
            mirrors = {TopicPartition(one.topic, one.partition): one.offset + 1 for one in old}
            yield Batch(old, (), mirrors, again=True)
        for partition in passed:
            new.setdefault(partition, [])
        # Whoever took the older batch may have given us up meanwhile.
        places = {partition: place for partition in new if (place := self._places.get(partition))}
        if places:
            positions = [
                Position(place.topic_id, partition.partition, place.next, place.stored, place.epoch)
                for partition, place in places.items()
            ]
            mirrors = {partition: place.next for partition, place in places.items()}
            yield Batch([message for partition in places for message in new[partition]], positions, mirrors)

    def _accepted(self, partition: TopicPartition, messages: Sequence[Any]) -> Sequence[Any]:
        """Keep what follows on what we have of a partition."""
        place = self._places.get(partition)
        if place is None or place.topic_id != self._seeking.topic_id(partition.topic):
            # It was just assigned, or is a topic created anew: what was fetched stood at the broker's idea of it.
            self._places.pop(partition, None)
            return ()
        for number, message in enumerate(messages):
            before = messages[number - 1].offset + 1 if number else place.next
            if _is_corrupt(message) and self._try_again(partition, before):
                messages = messages[:number]
                break
        if messages:
            # A broker that lost records begins again below: what stands there now was never seen.
            if messages[0].offset < place.next:
                place.again_below = min(place.again_below, messages[0].offset)
            elif messages[0].offset > place.next:
                self._seeking.look_for_loss(partition, place.next)
            place.next, place.epoch = messages[-1].offset + 1, messages[-1].leader_epoch
        return messages

    def _try_again(self, partition: TopicPartition, offset: int) -> bool:
        tries = self._broken[partition, offset] = self._broken.get((partition, offset), 0) + 1
        if tries >= TRIES:
            del self._broken[partition, offset]
            return False
        self._consumer.seek(partition, offset)
        return True

    # -- where to read ------------------------------------------------------------------------------------------

    def seek(self, positions: Positions) -> None:
        """Go to the stored position of every partition that was assigned since, once somebody leads it.

        Raises:
            LogUnavailable: nothing was sought.
            KafkaError: the broker does not answer.
        """
        if new := sorted(self.faring.led() - self._places.keys()):
            self.faring.begin_anew()
            self._seeking.seek(new, positions, self._places)

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        """Forget partitions that come or go; the client's own thread calls this."""
        for partition in partitions:
            self._places.pop(partition, None)
            # Whoever has it meanwhile tells the broker more.
            self._mirrored.pop(partition, None)

    def forget(self) -> None:
        """Believe nothing about positions any more: all partitions are sought anew.

        What was told, and not mirrored, is told again: the mirror must not pass over what comes `again` before it.
        """
        self._places.clear()
        self._told.clear()
        self._mirrored.clear()

    # -- what is done -------------------------------------------------------------------------------------------

    def stored(self, batch: Batch) -> None:
        """Note that a batch is stored."""
        for position, partition in zip(batch.positions, batch.mirrors, strict=False):
            if place := self._places.get(partition):
                place.stored = position.offset
        self._told |= batch.mirrors

    def mirror(self) -> None:
        """Tell the broker how far we are, without waiting whether it listens."""
        if ours := self._ours(self._told):
            self._consumer.commit_async(commits(ours))
            self._mirrored |= ours
        self._told.clear()

    def mirror_at_last(self) -> None:
        """Tell the broker how far we are, and wait for it: before a good end, so that nobody is told things again."""
        if ours := self._ours(self._mirrored):
            with suppress(KafkaError):
                self._consumer.commit(commits(ours), timeout_ms=ANSWER_MILLISECONDS // 2)

    def _ours(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        assigned = self._consumer.assignment()
        return {partition: offset for partition, offset in list(offsets.items()) if partition in assigned}

    def keep_alive(self, seconds: float, stop: Stop) -> None:
        """Stay in the group for a while and read nothing. What is assigned meanwhile is sought afterwards."""
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0 and not stop.is_set():
            self._consumer.pause(*self._consumer.assignment())
            # Of what was assigned just now something may come all the same: it is sought afterwards.
            self._consumer.poll(timeout_ms=min(POLL_MILLISECONDS, int(left * 1000) + 1))
        self._consumer.resume(*self._consumer.paused())


def _bytes(message: Any) -> int:
    sizes = (message.serialized_key_size, message.serialized_value_size, message.serialized_header_size)
    return sum(size for size in sizes if size > 0)


def _is_corrupt(message: Any) -> bool:
    return any(isinstance(name, Unreadable) and value == CORRUPT for name, value in message.headers)
