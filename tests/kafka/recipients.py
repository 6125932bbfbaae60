"""Two recipients as others would write them: they read their news, and answer until the answer is acknowledged."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import closing
from typing import Any
from uuid import UUID

import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from crypto.recipients import sign_reply
from services.kafka.connecting import Broker, client

NEWS, REPLIES = "sealdesk.privacy", "sealdesk.privacy.replies"


class Recipients(threading.Thread):
    """Reads news from the beginning, over and over if need be, and answers each record of a known recipient once."""

    def __init__(self, broker: Broker, secrets: dict[str, bytes]) -> None:
        super().__init__(daemon=True)
        self._broker = broker
        self._secrets = secrets
        self._ended = threading.Event()
        self._answered: set[UUID] = set()
        #: Things by recipient, with how often it was told of each.
        self.told: dict[str, dict[str, int]] = {name: defaultdict(int) for name in secrets}
        #: Kinds of news, by recipient.
        self.kinds: dict[str, set[str]] = {name: set() for name in secrets}
        self._seen: set[tuple[int, int]] = set()

    def run(self) -> None:
        """Read and answer until it is asked to end."""
        while not self._ended.is_set():
            try:
                self._read()
            except KafkaError:
                time.sleep(0.5)

    def end(self) -> None:
        """Stop reading."""
        self._ended.set()
        self.join(timeout=60)

    def _read(self) -> None:
        settings: dict[str, Any] = {"group_id": None, "auto_offset_reset": "earliest", "enable_auto_commit": False}
        with (
            closing(client(KafkaConsumer, self._broker, **settings)) as consumer,
            closing(client(KafkaProducer, self._broker, acks="all")) as producer,
        ):
            partitions = consumer.partitions_for_topic(NEWS) or ()
            consumer.assign([TopicPartition(NEWS, number) for number in partitions])
            consumer.seek_to_beginning()
            while not self._ended.is_set():
                for records in consumer.poll(timeout_ms=500).values():
                    for record in records:
                        self._take(record, producer)

    def _take(self, record: Any, producer: Any) -> None:
        if not record.value:
            return  # A heartbeat.
        event = orjson.loads(record.value)
        name, id_ = event["recipient"], UUID(event["id"])
        if name not in self._secrets:
            return
        if (place := (record.partition, record.offset)) not in self._seen:
            self._seen.add(place)
            self.kinds[name].add(event["data"]["kind"])
            for thing in event["data"]["things"]:
                self.told[name][thing] += 1
        if id_ not in self._answered:
            mac = sign_reply(self._secrets[name], id_, "done").hex()
            reply = orjson.dumps({"id": str(id_), "status": "done", "mac": mac})
            producer.send(REPLIES, value=reply).get(timeout=10)
            self._answered.add(id_)
