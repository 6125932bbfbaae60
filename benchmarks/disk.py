"""Bytes on disk for each fact, keys, register and read models included, against the same facts and rows in clear.

Both sides are measured by what they take beyond their empty tables after each portion of records, indexes included,
after VACUUM and a checkpoint. The write-ahead log is left out of both: it is recycled, and as large as an operator
lets it be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import psycopg

from benchmarks import history
from benchmarks.clear import ClearFacts
from benchmarks.figures import Figure, Progress, Target, amount
from benchmarks.ground import Ground, batches, ground, parcels
from benchmarks.masking import Masking

#: Records on each side.
FACTS = 24_000
_SIZES = """
SELECT n.nspname || '.' || c.relname, pg_total_relation_size(c.oid)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
#: Smaller tables than this are not told of, in bytes a fact.
_WORTH_TELLING = 1
#: What the sealed side consists of, by how the names of tables begin, `DATABASE SCHEMA.`: the first that fits.
_PARTS = {"keys": "keys ", "log": "log public.", "read models": "log "}


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure what both sides take beyond their empty tables, after each portion, and tell where it goes."""
    number = max(1, facts // repeats)
    records = history.records(number * repeats)
    sealed, clear = list[Counter[str]](), list[Counter[str]]()
    with ground() as place, closing(ClearFacts(dsn := place.database("clear"))) as log:
        progress(f"disk: {repeats} times {number} records, both sides")
        with closing(Masking(dsn)) as models:
            place.house.projecting.catch_up()
            empty, empty_clear = _sizes(place), _sizes_of(dsn, "clear")
            for stored in range(number, len(records) + 1, number):
                portion = records[stored - number : stored]
                place.take(portion)
                place.house.projecting.catch_up()
                for batch in batches(portion):
                    log.put(parcels(batch))
                _project_anew(dsn, models)
                sealed.append(_a_fact(_sizes(place), empty, stored))
                clear.append(_a_fact(_sizes_of(dsn, "clear"), empty_clear, stored))
        versions = place.versions
    for side in (sealed, clear):
        _tell(side[-1], progress)
    yield amount(
        "bytes on disk",
        "bytes/fact",
        items=number * repeats,
        to="the bytes of the same facts and of their read models in clear, without keys and register",
        of=[portion.total() for portion in sealed],
        other=[portion.total() for portion in clear],
        servers=versions,
        target=Target(2, 1.4, at_most=True),
    )
    for part in _PARTS:
        yield amount(
            f"bytes on disk, {part}",
            "bytes/fact",
            items=number * repeats,
            to="all the bytes of the other side",
            of=[sum(size for name, size in portion.items() if _part_of(name) == part) for portion in sealed],
            other=[portion.total() for portion in clear],
            servers=versions,
        )


def _part_of(name: str) -> str:
    return next(part for part, begins in _PARTS.items() if name.startswith(begins))


def _a_fact(sizes: Counter[str], empty: Counter[str], facts: int) -> Counter[str]:
    """Say what a fact takes of each table; `Counter` counts fractions as well."""
    return Counter({name: (size - empty[name]) / facts for name, size in sizes.items()})


def _project_anew(dsn: str, models: Masking) -> None:
    """Build the read models in clear of all facts so far: no row of them has ever changed, which is kind to them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(b"DROP TABLE IF EXISTS clear_tickets, clear_entries, clear_contacts")
        connection.execute(b"DROP INDEX IF EXISTS clear_facts_by_owner")
    models.project()


def _sizes(place: Ground) -> Counter[str]:
    endpoints = place.house.endpoints
    return _sizes_of(endpoints.log_dsn, "log") + _sizes_of(endpoints.keys_dsn, "keys")


def _sizes_of(dsn: str, database: str) -> Counter[str]:
    """Say how large each table of a database is, with its indexes."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(b"VACUUM ANALYZE")
        connection.execute(b"CHECKPOINT")
        return Counter({f"{database} {name}": size for name, size in connection.execute(_SIZES)})


def _tell(portion: Counter[str], progress: Progress) -> None:
    by_size = sorted(portion.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{name} {size:.0f}" for name, size in by_size if size >= _WORTH_TELLING)
    progress(f"disk: {portion.total():.0f} bytes a fact: {parts}")
