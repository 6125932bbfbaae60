"""Stalling: noticing a client that is wedged, so that another can take its place.

kafka-python 3.0 can wedge in two ways. Its thread spins or waits for ever, and then every call of the client waits with
it: so each call has a time. Or it goes on and gives nothing, though there is more: the broker's word for where a
partition ends shows it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from domain.errors import SealdeskError

#: Every call of ours asks for an answer within 10 seconds.
CALL_SECONDS = 30.0
#: A healthy broker gives the next records within a second, one that elects a leader within some.
STALL_SECONDS = 15.0
#: While others flow, a partition may have to wait for its turn for as many times as long.
_PATIENCE = 8


class Wedged(KafkaError):  # type: ignore[misc]  # kafka-python has no types.
    """The client does not answer, gives nothing though there is something, or is broken."""


class Timed:
    """Calls a client in a thread of its own, and waits for it so long and no longer. It has the client's methods.

    Each raises:
        Wedged: there is no answer, or an error that the client is not meant to raise. It is of no use any more.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._calls: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[tuple[Any, BaseException | None]]] | None]
        self._calls = SimpleQueue()
        self._is_wedged = False
        # A thread that hangs must not keep the process from ending.
        threading.Thread(target=self._work, name="calls of a consumer", daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return partial(self._call, found) if callable(found) else found

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """Give the client to a function, in that thread."""
        return self._call(question, self._client)

    def end(self) -> None:
        """Let the thread end, if it can."""
        self._calls.put(None)

    def _call(self, do: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if self._is_wedged:
            raise Wedged("the client does not answer")
        answer: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._calls.put((partial(do, *given, **named), answer))
        try:
            result, error = answer.get(timeout=CALL_SECONDS)
        except Empty:
            self._is_wedged = True
            raise Wedged(f"the client does not answer within {CALL_SECONDS:.0f} seconds") from None
        if error is None:
            return result
        if isinstance(error, KafkaError | SealdeskError | ValueError):
            raise error
        raise Wedged(f"the client is broken: {type(error).__name__}") from error

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            do, answer = call
            try:
                answer.put((do(), None))
            except BaseException as error:
                answer.put((None, error))


class Stalls:
    """Since when each partition stands still."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._look_at = clock() + STALL_SECONDS
        self._stands: Mapping[TopicPartition, tuple[int, float]] = {}

    def look(self, flows: bool, unread: Callable[[], Mapping[TopicPartition, int]]) -> None:
        """Look, if it is time. `flows` is whether any record came just now; `unread` gives the offset we are at in
        each partition of which there is more.

        Raises:
            Wedged: one of them stands still.
            KafkaError: nothing comes, and the broker does not say why.
        """
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + STALL_SECONDS
        try:
            found = unread()
        except KafkaError:
            if flows:
                return
            raise
        before = self._stands
        self._stands = {
            partition: before[partition] if partition in before and before[partition][0] == offset else (offset, now)
            for partition, offset in found.items()
        }
        longest = STALL_SECONDS * (_PATIENCE if flows else 1)
        if any(now - since >= longest for _, since in self._stands.values()):
            raise Wedged("the client reads no further, though there is more")
