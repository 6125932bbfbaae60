"""Look at topics as the brokers have them: ids, settings, leaders, replicas, offsets, and the bytes in their files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    ClusterAuthorizationFailedError,
    RetriableError,
    TopicAuthorizationFailedError,
    UnknownTopicIdError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.protocol.api_key import ApiKey
from kafka.protocol.consumer import OffsetSpec

from domain.errors import BrokerUnavailable
from services.kafka.connecting import ANSWER_MILLISECONDS, Broker, client, told

#: A partition by the name of its topic and its number.
Spot: TypeAlias = tuple[str, int]


class TopicsRead(Protocol):
    """What is stored about topics."""

    def topics_read(self) -> set[UUID]:
        """Return the ids of all topics of which a position is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """One partition. Offsets and `newest` (milliseconds since 1970) are None while nobody leads it.

    `newest` is the time of the newest record in the files, also of one that is deleted. `size` has the bytes of all
    segments by broker, for the brokers that answer.
    """

    number: int
    leader: int
    replicas: frozenset[int]
    in_sync: frozenset[int]
    start: int | None = None
    end: int | None = None
    newest: int | None = None
    size: Mapping[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """One topic, with the id that Kafka gave it."""

    name: str
    id: UUID
    settings: Mapping[str, str]
    partitions: tuple[Partition, ...]

    def milliseconds(self, setting: str) -> int:
        """Read a setting that is a time."""
        return int(self.settings[setting])


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a look at a cluster found. `alive` are brokers that take part; `missing` are topics that do not exist."""

    cluster: str
    alive: frozenset[int]
    topics: Mapping[str, Topic]
    missing: tuple[str, ...]


@contextmanager
def administering(broker: Broker, doing: str) -> Iterator[KafkaAdminClient]:
    """Give a client for administration. One is made for each use: it would keep to coordinators that moved.

    Raises:
        BrokerUnavailable: Kafka does not answer, or refuses. `doing` ends the sentence "Kafka does not ...".
    """
    with told(broker, doing):
        admin = client(
            KafkaAdminClient,
            broker,
            bootstrap_timeout_ms=ANSWER_MILLISECONDS,
            request_timeout_ms=ANSWER_MILLISECONDS,
        )
        try:
            yield admin
        finally:
            admin.close()


def keeps_files(admin: KafkaAdminClient) -> bool:
    """Tell whether the broker has files to clear. The embedded one has none, and it dies of being asked to delete."""
    return ApiKey.DescribeLogDirs in admin.api_versions()


def topic_ids(admin: KafkaAdminClient, names: Collection[str]) -> dict[str, UUID]:
    """Ask which of these topics exist, and by which id.

    Raises:
        KafkaError: a topic may not be described, which is another thing than that it does not exist.
    """
    return {found["name"]: UUID(str(found["topic_id"])) for found in _described(admin, names)}


def topics_by_name(admin: KafkaAdminClient, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Describe those of these topics that exist, in the words of kafka-python.

    Raises:
        KafkaError: a topic may not be described, which is another thing than that it does not exist.
    """
    return {found["name"]: found for found in _described(admin, names)}


def names_of(admin: KafkaAdminClient, ids: Collection[UUID]) -> set[str]:
    """Ask for the names of topics by id. Those that do not exist are left out.

    Raises:
        KafkaError: a topic may not be described, which is another thing than that it does not exist.
    """
    return {found["name"] for found in _described(admin, ids)}


def check_cluster(seen: Seen, read: Collection[UUID]) -> None:
    """Refuse a cluster that has none of the topics that were read: what it holds says nothing about our records.

    Raises:
        BrokerUnavailable: topics were read, and the cluster has no topic of such an id.
    """
    if read and not any(topic.id in read for topic in seen.topics.values()):
        raise BrokerUnavailable(
            "This cluster has none of the topics that were read: is SEALDESK_KAFKA right? If they were deleted and "
            "made anew, this passes with the first record that is consumed."
        )


def _described(admin: KafkaAdminClient, wanted: Collection[str] | Collection[UUID]) -> list[dict[str, Any]]:
    found = []
    for each in admin.describe_topics(sorted(wanted)) if wanted else ():
        error = for_code(each["error_code"])
        if error in (UnknownTopicOrPartitionError, UnknownTopicIdError):
            continue
        if each["error_code"]:
            raise error(each["name"] or each["topic_id"])
        found.append(each)
    return found


def look(admin: KafkaAdminClient, names: Collection[str]) -> Seen:
    """Look at topics: ids, settings, leaders, replicas, offsets, and the bytes on each broker."""
    cluster = admin.describe_cluster()
    alive = frozenset(each["broker_id"] for each in cluster["brokers"] if not each.get("is_fenced"))
    described = {each["name"]: each for each in _described(admin, names)}
    partitions = {name: [_partition(one) for one in each["partitions"]] for name, each in described.items()}
    filed = keeps_files(admin)
    offsets = _offsets(admin, partitions, alive, filed)
    sizes = _sizes(admin, partitions, alive) if filed else {}
    settings = _settings(admin, partitions) if filed else {}
    topics = {
        name: Topic(
            name=name,
            id=UUID(str(each["topic_id"])),
            settings=settings.get(name, {}),
            partitions=tuple(
                replace(one, size=sizes.get((name, one.number), {}), **offsets.get((name, one.number), {}))
                for one in sorted(partitions[name], key=lambda one: one.number)
            ),
        )
        for name, each in described.items()
    }
    missing = tuple(sorted(set(names) - set(topics)))
    return Seen(cluster=str(cluster["cluster_id"]), alive=alive, topics=topics, missing=missing)


def _partition(found: Mapping[str, Any]) -> Partition:
    return Partition(
        number=found["partition_index"],
        leader=found["leader_id"],
        replicas=frozenset(found["replica_nodes"]),
        in_sync=frozenset(found["isr_nodes"]),
        size={},
    )


def _offsets(
    admin: KafkaAdminClient, partitions: Mapping[str, Sequence[Partition]], alive: Collection[int], filed: bool
) -> dict[Spot, dict[str, Any]]:
    """Ask the leaders, for the end first: no record below it is then newer than the newest."""
    led = [TopicPartition(name, one.number) for name, ones in partitions.items() for one in ones if one.leader in alive]
    if not led:
        return {}
    ends = admin.list_partition_offsets(dict.fromkeys(led, OffsetSpec.LATEST))
    newest = admin.list_partition_offsets(dict.fromkeys(led, OffsetSpec.MAX_TIMESTAMP)) if filed else {}
    starts = admin.list_partition_offsets(dict.fromkeys(led, OffsetSpec.EARLIEST))
    return {
        (place.topic, place.partition): {
            "start": starts[place].offset,
            "end": ends[place].offset,
            "newest": newest[place].timestamp if place in newest and newest[place].timestamp >= 0 else None,
        }
        for place in led
    }


def _sizes(
    admin: KafkaAdminClient, partitions: Mapping[str, Sequence[Partition]], alive: Collection[int]
) -> dict[Spot, dict[int, int]]:
    """Ask every broker how large its segments are; what waits for the delay of deleted files is not among them."""
    wanted = {name: [one.number for one in ones] for name, ones in partitions.items()}
    sizes: dict[Spot, dict[int, int]] = {}
    for broker in sorted(alive) if wanted else ():
        try:
            [answer] = admin.describe_log_dirs(wanted, brokers=[broker])
        except RetriableError:
            # It went away, and the others do not know yet.
            continue
        for folder in answer["log_dirs"]:
            for topic in folder["topics"]:
                for one in topic["partitions"]:
                    on_brokers = sizes.setdefault((topic["name"], one["partition_index"]), {})
                    on_brokers[broker] = on_brokers.get(broker, 0) + one["partition_size"]
    return sizes


def _settings(admin: KafkaAdminClient, names: Collection[str]) -> dict[str, dict[str, str]]:
    found = _configured(admin, ConfigResourceType.TOPIC, names)
    if not all(found.values()):
        # Kafka answers with no setting at all. kafka-python does not say why.
        raise TopicAuthorizationFailedError("DescribeConfigs")
    return found


def check_seconds(admin: KafkaAdminClient, brokers: Collection[int]) -> tuple[float, float]:
    """Ask how often brokers look for segments to delete, and how long they keep the files of a deleted topic.

    Returns the longest of each, in seconds.

    Raises:
        KafkaError: a broker does not say.
    """
    found = _configured(admin, ConfigResourceType.BROKER, [str(broker) for broker in sorted(brokers)])
    checks = [one.get("log.retention.check.interval.ms") for one in found.values()]
    delays = [one.get("log.segment.delete.delay.ms") for one in found.values()]
    if not checks or None in checks or None in delays:
        raise ClusterAuthorizationFailedError("DescribeConfigs")
    return max(float(each or 0) for each in checks) / 1000, max(float(each or 0) for each in delays) / 1000


def _configured(admin: KafkaAdminClient, kind: ConfigResourceType, names: Collection[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    found = admin.describe_configs([ConfigResource(kind, name) for name in names], config_filter="all")
    said = found.get(kind.name.lower(), {})
    return {name: {setting: str(value["value"]) for setting, value in said.get(name, {}).items()} for name in names}
