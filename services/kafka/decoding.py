"""Decoding: every record of a fetch comes out, readable or not.

kafka-python raises at the first record it cannot read and then can go neither on nor back: its poll spins for ever. So
its reader is given batches that do not raise. In place of what cannot be read stands a record with a header whose name
is `Unreadable`; its value is that reason's code:

    wrong_header   the name of a header is not UTF-8; the rest of the record is there
    corrupt        the checksum of a batch is wrong, or it cannot be taken apart; the value is the batch as it came
    too_large      a batch inflates beyond all measure; the value is the batch as it came

Of a batch with a wrong checksum only what stands outside of it is believed: where it begins, and how long it is.
`tests/contracts/test_kafka_contract.py` holds what is overridden here against the version that is pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from struct import unpack_from
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord
from kafka.record.util import decode_varint

from services.kafka.inflating import CannotInflate, TooLarge, inflate


class Unreadable(str):
    """The name of a header that is none: its value says why the record cannot be read."""

    __slots__ = ()


CORRUPT, TOO_LARGE, WRONG_HEADER = b"corrupt", b"too_large", b"wrong_header"


def tolerate(consumer: KafkaConsumer) -> None:
    """Let a consumer go on behind what it cannot read. To be called before its first poll."""
    fetcher = consumer._fetcher

    def end_of(partition: Any) -> int | None:
        state = consumer._subscription.assignment.get(partition)
        return None if state is None else state.highwater

    fetcher.PartitionRecords = partial(_PartitionRecords, end_of)


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # kafka-python has no types.
    """One partition's part of a fetch, whose batches are read as above."""

    def __init__(self, end_of: Callable[[Any], int | None], offset: int, tp: Any, records: Any, **how: Any) -> None:
        super().__init__(offset, tp, _Records(records, offset, partial(end_of, tp)), **how)


class _Records:
    """The batches of one partition."""

    def __init__(self, records: Any, wanted: int, end: Callable[[], int | None]) -> None:
        self._records = records
        self._wanted = wanted
        self._end = end

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        if batch is None or batch.magic < 2:
            # Kafka 4 has no older format.
            return batch
        following = self._records._next_slice
        begins = None if following is None else unpack_from(">q", following)[0]
        return _Batch(batch, begins, self._wanted, self._end)


class _Batch:
    """One batch, as kafka-python asks about it."""

    magic = 2

    def __init__(self, batch: Any, following: int | None, wanted: int, end: Callable[[], int | None]) -> None:
        self._batch = batch
        self._raw = batch._buffer
        self._following = following
        self._wanted = wanted
        self._end = end
        self._reason: bytes | None = None

    def validate_crc(self) -> bool:
        """Look at the checksum. It is never wrong: then all of this is one record that cannot be read."""
        if not self._batch.validate_crc():
            self._reason = CORRUPT
        return True

    @property
    def base_offset(self) -> int:
        """Return where the batch begins."""
        return int(self._batch.base_offset)

    @property
    def last_offset(self) -> int:
        """Return where it ends."""
        return self.next_offset - 1

    @property
    def next_offset(self) -> int:
        """Return where the next one begins."""
        if self._reason is None:
            return int(self._batch.next_offset)
        least = max(self.base_offset, self._wanted) + 1
        if self._following is not None:
            return max(least, self._following)
        most = self._end()
        said = int(self._batch.next_offset)
        return max(least, said if most is None else min(said, most))

    @property
    def leader_epoch(self) -> int:
        """Return under which leader it was written; of a wrong checksum, that is not known (-1)."""
        return -1 if self._reason else int(self._batch.leader_epoch)

    def has_producer_id(self) -> bool:
        """Tell whether it may be part of a transaction."""
        return self._reason is None and bool(self._batch.has_producer_id())

    @property
    def producer_id(self) -> int:
        """Return whose transaction that is."""
        return int(self._batch.producer_id)

    @property
    def is_transactional(self) -> bool:
        """Tell whether it is part of a transaction."""
        return bool(self._batch.is_transactional)

    @property
    def is_control_batch(self) -> bool:
        """Tell whether it ends a transaction rather than holding records."""
        return self._reason is None and bool(self._batch.is_control_batch)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        batch, left = self._batch, -1
        if self._reason is None:
            try:
                self._inflate()
                left = batch.records_count
                while left:
                    yield self._read()
                    left -= 1
                if batch._pos != len(batch._buffer):
                    self._reason = CORRUPT
            except TooLarge:
                self._reason = TOO_LARGE
            except (CannotInflate, CorruptRecordError, ValueError, IndexError):
                self._reason = CORRUPT
        if self._reason is not None:
            yield self._unreadable()

    def _inflate(self) -> None:
        batch = self._batch
        if batch.compression_type:
            batch._buffer = bytearray(inflate(batch.compression_type, bytes(memoryview(batch._buffer)[batch._pos :])))
            batch._pos = 0
        batch._decompressed = True

    def _read(self) -> Any:
        batch = self._batch
        try:
            return batch._read_msg()
        except UnicodeDecodeError:
            return self._with_any_header()

    def _with_any_header(self) -> DefaultRecord:
        """Read the record at hand once more, and write what is no UTF-8 in names of headers as \\xNN.

        https://kafka.apache.org/documentation/#record
        """
        batch = self._batch
        buffer = batch._buffer
        length, at = decode_varint(buffer, batch._pos)
        end = at + length
        _, at = decode_varint(buffer, at)
        _, at = decode_varint(buffer, at)
        delta, at = decode_varint(buffer, at)
        key, at = _bytes(buffer, at)
        value, at = _bytes(buffer, at)
        count, at = decode_varint(buffer, at)
        headers: list[tuple[str, bytes | None]] = [(Unreadable(), WRONG_HEADER)]
        for _ in range(count):
            name, at = _bytes(buffer, at)
            content, at = _bytes(buffer, at)
            headers.append(((name or b"").decode(errors="backslashreplace"), content))
        if at != end:
            raise CorruptRecordError
        batch._pos = end
        return DefaultRecord(length, batch.base_offset + delta, batch.first_timestamp, 0, key, value, headers)

    def _unreadable(self) -> DefaultRecord:
        reason = self._reason or CORRUPT
        return DefaultRecord(len(self._raw), self.last_offset, -1, 0, None, bytes(self._raw), [(Unreadable(), reason)])


def _bytes(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    if length < 0:
        return None, at
    if at + length > len(buffer):
        raise CorruptRecordError
    return bytes(buffer[at : at + length]), at + length
