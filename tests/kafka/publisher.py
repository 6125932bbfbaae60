"""Publish a history while things go wrong: a slice at a time, each again until it is acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice

from domain.errors import BrokerUnavailable
from services.kafka.connecting import Broker
from services.publishing.sending import publish
from tests.kafka.history import Line

#: Records that are published again together when some of them were not acknowledged.
SLICE = 500
TRIES = 20


class Publisher(threading.Thread):
    """Publishes in the background, never further than it was let to."""

    def __init__(self, lines: Iterator[Line], broker: Broker, topic: str, *, at_once: int = SLICE) -> None:
        super().__init__(daemon=True)
        self._lines = lines
        self._broker = broker
        self._topic = topic
        self._at_once = at_once
        self._allowed = 0.0
        self._more = threading.Condition()
        self.sent = 0
        #: Slices that had to be published again.
        self.again = 0
        self.failure: Exception | None = None

    def let(self, count: float) -> None:
        """Let it publish so many records in all."""
        with self._more:
            self._allowed = max(self._allowed, count)
            self._more.notify()

    def wait_until_all_is_sent_that_it_was_let(self) -> None:
        """Wait until it waits."""
        while self.sent < self._allowed and self.is_alive():
            time.sleep(0.05)

    def run(self) -> None:
        """Publish to the end."""
        try:
            while part := [line.parcel for line in islice(self._lines, self._at_once)]:
                with self._more:
                    self._more.wait_for(lambda: self._allowed > self.sent)
                for _ in range(TRIES):
                    try:
                        publish(part, self._broker, self._topic)
                        break
                    except BrokerUnavailable:
                        self.again += 1
                        time.sleep(1)
                else:
                    raise AssertionError("nobody takes the records")
                self.sent += len(part)
        except Exception as error:
            self.failure = error

    def finish(self) -> None:
        """Wait until all is published."""
        self.let(float("inf"))
        self.join(timeout=600)
        if self.failure is not None:
            raise self.failure
        assert not self.is_alive(), "publishing takes too long"
