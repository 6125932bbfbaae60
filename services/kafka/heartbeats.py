"""Heartbeats: records of nothing, so that a quiet partition begins a new segment.

A broker ends a segment only when the next record comes. What is deleted in the last segment of a partition that gets no
record stays on the disk, so one is sent: without key, without value, with a content type that intake passes over.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kafka import KafkaProducer
from kafka.errors import KafkaError

from services.kafka.connecting import ANSWER_MILLISECONDS, Broker, client, told
from services.kafka.inspecting import Spot

#: The content type of a heartbeat. `messages` gives it no parcel: it is neither taken, nor refused, nor receipted.
HEARTBEAT = b"application/vnd.sealdesk.heartbeat"


@dataclass(frozen=True, slots=True)
class Beat:
    """Where a heartbeat stands, and when it was appended, in milliseconds since 1970."""

    offset: int
    at: int


def beat(broker: Broker, places: Collection[Spot]) -> dict[Spot, Beat]:
    """Send a heartbeat to each of these partitions, and wait until every replica that is in sync has it.

    A partition that takes none is left out, as long as another takes one.

    Raises:
        BrokerUnavailable: Kafka does not answer, or does not let us write to any of them.
    """
    if not places:
        return {}
    with told(broker, "take heartbeats"):
        producer = client(
            KafkaProducer,
            broker,
            acks="all",
            bootstrap_timeout_ms=ANSWER_MILLISECONDS,
            request_timeout_ms=ANSWER_MILLISECONDS,
            max_block_ms=ANSWER_MILLISECONDS,
        )
        try:
            headers = [("content-type", HEARTBEAT)]
            sent = {
                (topic, partition): producer.send(topic, value=b"", partition=partition, headers=headers)
                for topic, partition in places
            }
            answers = {}
            refused: KafkaError | None = None
            for place, each in sent.items():
                try:
                    answers[place] = each.get(timeout=ANSWER_MILLISECONDS / 1000)
                except KafkaError as error:
                    refused = error
            if refused is not None and not answers:
                raise refused
        finally:
            producer.close(timeout=ANSWER_MILLISECONDS / 1000)
    return {place: Beat(answer.offset, answer.timestamp) for place, answer in answers.items()}
