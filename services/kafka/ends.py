"""Where partitions ended when a shred was noted, and what is in the way of their being cleared up to there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from services.kafka.inspecting import Seen, Spot


@dataclass(frozen=True, slots=True)
class End:
    """Where a partition ended when a shred was noted, and how far it is.

    `newest` is the time of the newest record below the end, in milliseconds since 1970; `passed` the first record that
    is known to stand in a later segment. `brokers` are all that have been seen with a replica since, `holders` those
    that have one now, `away` those of them that took no part at the last look, and `strays` those that lost theirs
    while away. `segment` is how long a segment lasted at the last look, in milliseconds. `tiered` is whether its topic
    was ever seen with tiered storage.
    """

    topic: str
    id: UUID
    partition: int
    end: int
    newest: int
    brokers: tuple[int, ...]
    holders: tuple[int, ...] = ()
    away: tuple[int, ...] = ()
    strays: tuple[int, ...] = ()
    segment: int | None = None
    tiered: bool = False
    passed: int | None = None

    @property
    def place(self) -> Spot:
        """Name the partition."""
        return (self.topic, self.partition)

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> End:
        """Read it as it is stored."""
        lists = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
        return cls(**{**said, **lists, "id": UUID(said["id"])})

    def stored(self) -> dict[str, Any]:
        """Write it as it is stored."""
        return asdict(self) | {"id": str(self.id)}

    def without(self, broker: int) -> End:
        """Forget a broker."""
        brokers, strays = set(self.brokers) - {broker}, set(self.strays) - {broker}
        return replace(self, brokers=tuple(sorted(brokers)), strays=tuple(sorted(strays)))

    def looked_at(self, seen: Seen, *, now: int, unbroken: bool) -> End:
        """Take note of who has a replica now. Who lost one without being there may have set it aside.

        Where segments were made shorter, a record from before that has begun none. So only what is newer than `now`, in
        milliseconds since 1970, will count; and so where nobody looked for a while: they may have been longer then.
        """
        holders = {
            broker
            for one in (seen.topics[self.topic].partitions if is_there(self, seen) else ())
            if one.number == self.partition
            for broker in one.replicas
        }
        settings = seen.topics[self.topic].settings if is_there(self, seen) else {}
        segment = int(settings["segment.ms"]) if settings else self.segment
        shorter = self.segment is not None and segment is not None and segment < self.segment
        if not unbroken and settings and self.passed is None:
            shorter = True
        left = set(self.holders) - holders
        aside = {broker for broker in left if not unbroken or broker in self.away or broker not in seen.alive}
        return replace(
            self,
            newest=max(self.newest, now) if shorter else self.newest,
            segment=segment,
            tiered=self.tiered or settings.get("remote.storage.enable") == "true",
            brokers=tuple(sorted({*self.brokers, *holders})),
            holders=tuple(sorted(holders)),
            away=tuple(sorted(holders - seen.alive)),
            strays=tuple(sorted({*self.strays, *aside})),
        )


def ends_of(seen: Seen, now: int) -> list[End] | None:
    """Say where the topics end, partition by partition; None while nobody leads one of them. `now` in milliseconds.

    A partition that never had a record is left out.
    """
    ends = []
    for topic in seen.topics.values():
        for one in topic.partitions:
            if one.end is None:
                return None
            if one.end:
                end = End(topic.name, topic.id, one.number, one.end, max(one.newest or 0, now), ())
                ends.append(end.looked_at(seen, now=now, unbroken=True))
    return ends


def why_not(end: End, seen: Seen, lowest: Mapping[Spot, int]) -> str:
    """Say what is in the way of a partition's being cleared; nothing if it is."""
    if end.tiered:
        return "tiered storage is on, and nobody here looks into it"
    if end.strays:
        return f"broker {end.strays[0]} may have set a copy aside"
    if away := set(end.brokers) - seen.alive:
        return f"broker {min(away)} is away"
    if not is_there(end, seen):
        return ""
    one = next((one for one in seen.topics[end.topic].partitions if one.number == end.partition), None)
    if one is None or one.end is None:
        return "nobody leads it"
    if end.passed is None:
        return "its segment goes on"
    if one.in_sync != one.replicas:
        return "a replica is not in sync"
    if one.end <= end.passed or lowest.get(end.place, 0) < end.passed:
        return "it is not cleared so far"
    return ""


def is_there(end: End, seen: Seen) -> bool:
    """Tell whether the topic of an end still exists. One of the same name with another id is another topic."""
    return end.topic in seen.topics and seen.topics[end.topic].id == end.id


def led(seen: Seen) -> list[Spot]:
    """Name the partitions that somebody leads."""
    return [
        (topic.name, one.number) for topic in seen.topics.values() for one in topic.partitions if one.end is not None
    ]
