"""Intake from Kafka, by the consumer as it is, against intake from memory: what the way through a topic costs.

The broker is the embedded one, which keeps its records in memory. The consumer is in its group before anything is
measured, and what a round brings is published before its watch starts. Both sides take the same records, each under a
tenant of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing

from benchmarks import history
from benchmarks.figures import Figure, Progress, Sample, Stopwatch, Target, alternate, rate
from benchmarks.ground import BATCH, VOCABULARY, Ground, ground, parcels
from services.kafka.admission import admission_of
from services.kafka.consuming import EMBEDDED_SESSION_SECONDS, Stored, consume
from services.publishing.opening import Opening
from services.publishing.sending import publish

#: Records on each side, the round that does not count included.
FACTS = 36_000
TARGET = Target(floor=0.75, aim=0.9)
#: The tenant of what comes through Kafka.
_OTHER = "acme-by-kafka"


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure intake from the embedded broker against intake of the same records from memory."""
    number = max(1, facts // (repeats + 1))
    records = history.records(number * (repeats + 1))
    rounds = [records[start : start + number] for start in range(0, len(records), number)]
    with ground(kafka=True) as place, closing(_consumer(place)) as batches:
        place.house.tenants.add(_OTHER, VOCABULARY)
        progress(f"consuming: {repeats} times {number} records, from Kafka and from memory")

        def consumed(repeat: int) -> Mapping[str, Sample]:
            _publish(place, rounds[repeat])
            watch = Stopwatch()
            stored = 0
            while stored < number:
                stored += next(batches).tally.stored
            return {"consumed": watch.read()}

        def taken(repeat: int) -> Mapping[str, Sample]:
            watch = Stopwatch()
            place.take(rounds[repeat])
            return {"taken": watch.read()}

        samples = alternate([consumed, taken], repeats)
    yield rate(
        "consuming",
        "records/s",
        items=number,
        to="the rate of the same records from memory",
        of=samples["consumed"],
        other=samples["taken"],
        servers=place.versions,
        target=TARGET,
    )


def _consumer(place: Ground) -> Generator[Stored, None, None]:
    """Read what `sealdesk consume` reads, as it does."""
    house, admission = place.house, admission_of({})
    assert house.endpoints.kafka is not None
    yield from consume(
        house.endpoints.kafka,
        house.intake,
        house.facts,
        topics=admission.to_read(None),
        admit=admission.admit,
        opener=Opening(house.pairs, house.tenants).batch,
        batch_size=BATCH,
        session_seconds=EMBEDDED_SESSION_SECONDS,
    )


def _publish(place: Ground, records: Sequence[bytes]) -> None:
    broker = place.house.endpoints.kafka
    assert broker is not None
    said = f'"tenant":"{history.TENANT}"'.encode()
    renamed = [record.replace(said, f'"tenant":"{_OTHER}"'.encode()) for record in records]
    published = publish(parcels(renamed), broker)
    assert published.sent == len(records), published
