"""Epochs of leaders: finding out that a log was cut below what was read of it (KIP-320).

Offsets alone do not tell: a broker whose disk was replaced, or a leader that lacked the newest records, begins again
below, and soon reaches the offsets that were read before. But each record carries the number of the leader that
appended it. Whoever keeps that of the last record which was read can ask where that leader's records end now. If that
is below what was read, other records stand there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import TopicPartition
from kafka.errors import LeaderNotAvailableError, for_code
from kafka.protocol.api_key import ApiKey
from kafka.protocol.consumer import OffsetForLeaderEpochRequest

#: We are no broker, and see what is committed.
_CONSUMER = -1
_ANY_LEADER = -1
_Topic = OffsetForLeaderEpochRequest.OffsetForLeaderTopic
_Partition = _Topic.OffsetForLeaderPartition


def epoch_ends(
    client: Any, asked: Mapping[TopicPartition, int], leaders: Mapping[TopicPartition, int] | None = None
) -> dict[TopicPartition, int]:
    """Ask where epochs end: the offset behind the last record of that leader or of one before it.

    -1 where the leader knows no such epoch: its log has nothing of that time, or is from before it. A broker that does
    not know the question gives nothing. `client` is any client of kafka-python 3.0, which asks so only for itself.

    `leaders` are the brokers that lead the partitions; without them, those that the client knows of.

    Raises:
        KafkaError: a broker does not answer, leads the partition no more, or refuses.
    """
    if not asked or ApiKey.OffsetForLeaderEpoch not in client._manager.broker_version_data.api_versions:
        return {}
    if leaders is None:
        leaders = {place: client._manager.cluster.leader_for_partition(place) for place in asked}
    by_leader: dict[int, dict[str, list[Any]]] = {}
    for place, epoch in asked.items():
        leader = leaders.get(place)
        if leader is None or leader < 0:
            raise LeaderNotAvailableError("OffsetForLeaderEpoch")
        said = _Partition(partition=place.partition, current_leader_epoch=_ANY_LEADER, leader_epoch=epoch)
        by_leader.setdefault(leader, {}).setdefault(place.topic, []).append(said)
    found: dict[TopicPartition, int] = {}
    for leader, by_topic in by_leader.items():
        topics = [_Topic(topic=name, partitions=ones) for name, ones in by_topic.items()]
        request = OffsetForLeaderEpochRequest(replica_id=_CONSUMER, topics=topics)
        answer = client._manager.run(_sent, client._manager, request, leader)
        for topic in answer.topics:
            for one in topic.partitions:
                if one.error_code:
                    raise for_code(one.error_code)("OffsetForLeaderEpoch")
                found[TopicPartition(topic.topic, one.partition)] = one.end_offset
    return found


async def _sent(manager: Any, request: Any, node: int) -> Any:
    return await manager.send(request, node_id=node)


def was_cut(stored: int | None, end: int | None) -> bool:
    """Tell whether other records stand where some were read. `end` is where their epoch ends, None if nobody knows."""
    return stored is not None and end is not None and end < stored
