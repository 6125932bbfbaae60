"""The projector in its steady state: records arrive in small batches, and all read models follow each of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial

import psycopg
from psycopg.rows import TupleRow

from benchmarks import history
from benchmarks.figures import Figure, Progress, Sample, Stopwatch, Target, alternate, rate
from benchmarks.ground import Ground, ground
from benchmarks.runner import Runner
from domain.fact import FactAtRest
from services import schema
from services.log import Facts, LogDatastore, SealedFact
from services.projecting import Projecting

#: Records on each side, the round that does not count included.
FACTS = 12_000
#: Facts that arrive together: what one append of a busy desk stores, a twentieth of a page of a rebuild.
TOGETHER = 100
#: What both sides have to make alike, row by row, or in number where a row holds a position of its own log.
_ALIKE = "SELECT md5(string_agg(t::text, ' ' ORDER BY t.tenant, t.ticket)) FROM reports.tickets AS t"
_COUNTS = """
SELECT (SELECT count(*) FROM contacts.profiles), (SELECT count(*) FROM contacts.seals),
    (SELECT count(*) FROM tickets.tickets), (SELECT count(*) FROM tickets.seals),
    (SELECT count(*) FROM tickets.entries), (SELECT count(*) FROM tickets.involved),
    (SELECT count(*) FROM reports.ratings), (SELECT sum(count) FROM reports.activity),
    (SELECT sum(entries) FROM tickets.tickets), (SELECT max(first_response_at) FROM tickets.tickets)
"""


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure the projector against the library's runner, which makes the same rows, one event a transaction."""
    number = max(1, facts // (repeats + 1))
    with ground() as place, ExitStack() as stack:
        progress(f"projector: storing {facts} records")
        place.take(history.records(number * (repeats + 1)))
        rounds = _rounds(place, repeats + 1)
        ours, theirs = place.database("followed"), place.database("runner")
        following = stack.enter_context(closing(_Following(ours)))
        runner = stack.enter_context(closing(Runner(theirs)))
        progress(f"projector: {repeats} times {len(rounds[0])} facts, {TOGETHER} at a time")
        samples = alternate([partial(_follow, "ours", following, rounds), partial(_follow, "runner", runner, rounds)],
                            repeats)  # fmt: skip
        assert _made(ours) == _made(theirs), (_made(ours), _made(theirs))
        versions = place.versions
    yield rate(
        "projector",
        "facts/s",
        items=len(rounds[0]),
        to=f"the rate of the library's ProjectionRunner, one event a transaction; {TOGETHER} facts arrive at a time",
        of=samples["ours"],
        other=samples["runner"],
        servers=versions,
        target=Target(20, 60),
    )


class _Following:
    """A log of its own and all read models over it, in another database than the facts come from."""

    def __init__(self, dsn: str) -> None:
        # One database takes both schemas: the second stays empty here.
        schema.create(dsn, dsn)
        self._datastore = LogDatastore(dsn)
        self._facts = Facts(self._datastore)
        self._projecting = Projecting(self._facts)

    def arrive(self, facts: Sequence[FactAtRest]) -> None:
        """Append facts as they stand, each under a digest of its own."""
        self._facts.append(
            [
                SealedFact(
                    fact.stream,
                    fact.tenant,
                    fact.event_id,
                    fact.type,
                    os.urandom(16),
                    0,
                    fact.occurred_at,
                    fact.clear,
                    fact.owners,
                    fact.seal,
                )
                for fact in facts
            ]
        )

    def follow(self) -> None:
        """Bring every read model to the head, as `sealdesk project` does after each append."""
        self._projecting.catch_up()

    def close(self) -> None:
        """Close the connections."""
        self._facts.close()
        self._datastore.close()


def _rounds(place: Ground, number: int) -> list[list[FactAtRest]]:
    """Read what was stored, in so many rounds of the same length. A record may have given a second fact."""
    facts = place.house.facts.page(0, place.house.facts.head())
    length = len(facts) // number
    return [facts[start : start + length] for start in range(0, number * length, length)]


def _follow(
    name: str, side: _Following | Runner, rounds: Sequence[Sequence[FactAtRest]], repeat: int
) -> Mapping[str, Sample]:
    """Let one round arrive batch by batch, and sum up what following each takes. Appending is not counted."""
    wall = cpu = 0.0
    for start in range(0, len(rounds[repeat]), TOGETHER):
        side.arrive(rounds[repeat][start : start + TOGETHER])
        watch = Stopwatch()
        side.follow()
        sample = watch.read()
        wall, cpu = wall + sample.wall, cpu + sample.cpu
    return {name: Sample(wall, cpu)}


def _made(dsn: str) -> tuple[TupleRow | None, ...]:
    """Say what stands in the tables."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(_ALIKE).fetchone(), connection.execute(_COUNTS).fetchone()
