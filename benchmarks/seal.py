"""Sealing at the publisher and opening at the desk: a record on its way, in an envelope and in clear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import history
from benchmarks.figures import Figure, Progress, Sample, Stopwatch, alternate, rate
from benchmarks.ground import Ground, batches, ground, parcels
from crypto.halves import PublicHalf
from crypto.wrapping import new_key
from services import wiring
from services.kafka.messages import parcel_from
from services.publishing.line import Message
from services.publishing.opening import Opening
from services.publishing.sealing import Sealer
from services.publishing.sending import message_of
from services.records import Parcel

#: Records on each side, the round that does not count included.
FACTS = 60_000


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message as the consumer's client gives it."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure what an envelope costs its publisher, and the desk, against the same records in clear."""
    number = max(1, facts // (repeats + 1))
    records = history.records(number)
    with ground() as place:
        progress(f"seal: {repeats} times {number} records, two sides, here and there")
        sealer = _sealer(place)
        writers = {"sealed": sealer.message, "clear": message_of}
        written = alternate([partial(_write, name, write, records) for name, write in writers.items()], repeats)
        sent = {name: [write(parcel) for parcel in parcels(records)] for name, write in writers.items()}
        read = alternate([partial(_read, name, place, sent[name]) for name in sent], repeats)
        versions = place.versions
    for name, samples in (("seal at the publisher", written), ("open at the desk", read)):
        yield rate(
            name,
            "records/s",
            items=number,
            to="the rate of the same records in clear",
            of=samples["sealed"],
            other=samples["clear"],
            servers=versions,
        )


def _sealer(place: Ground) -> Sealer:
    tenant = place.house.tenants.named(history.TENANT)
    pair = place.house.pairs.current(tenant.id, at=wiring.now())
    return Sealer(PublicHalf(tenant.name, pair.number, pair.public, pair.made_at), new_key())


def _write(
    name: str, write: Callable[[Parcel], Message], records: Sequence[bytes], repeat: int
) -> Mapping[str, Sample]:
    """Read records and write them as messages, as a publisher does with a file."""
    watch = Stopwatch()
    for batch in batches(records):
        for parcel in parcels(batch):
            write(parcel)
    return {name: watch.read()}


def _read(name: str, place: Ground, messages: Sequence[Message], repeat: int) -> Mapping[str, Sample]:
    """Read messages as parcels, batch by batch, as the desk does before it takes them in.

    Raises:
        AssertionError: a record did not open, and so there is nothing to compare.
    """
    opening = Opening(place.house.pairs, place.house.tenants)
    watch = Stopwatch()
    for start in range(0, len(messages), 1_000):
        with opening.batch() as open_sealed:
            for message in messages[start : start + 1_000]:
                parcel = parcel_from(Arrived(message.value, message.headers), None, open_sealed)
                assert parcel is not None
                assert parcel.error is None
    return {name: watch.read()}
