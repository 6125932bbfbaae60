"""A page of tickets with their conversations, revealed, against the same page from tables that hold clear text.

Each ticket belongs to somebody else, so that a page has as many keys as it can have. The revealed page leaves its
access line, sealed and committed; the clear one leaves none. Both end as the bytes of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import aiosql
import orjson
import psycopg
from psycopg.rows import dict_row

from benchmarks import history
from benchmarks.figures import Figure, Progress, Sample, Stopwatch, Target, alternate, duration
from benchmarks.ground import Ground, ground
from domain.ids import TenantId
from services.reading import Reading, Reveal

_SQL: Any = aiosql.from_str((files("benchmarks") / "sql/page.sql").read_text(), "psycopg", mandatory_parameters=False)

#: Records that stand around: each contact has a profile, a ticket, and its entries.
FACTS = 14_000
#: What a screen of a helpdesk shows.
TICKETS = 30
ENTRIES = 5
#: How often a page is read in one sample: one takes some milliseconds, and CPU is counted in hundredths of a second.
TIMES = 20
_SEALED = {"sealed": True}
_REVEAL = Reveal("benchmarks", "to measure")


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure how long a page takes, to read and to reveal, against reading it in clear."""
    with ground() as place:
        progress(f"page: storing {facts} records")
        positions = _stored(place, facts)
        tenant, reading = place.house.tenants.named(history.TENANT).id, place.house.reading
        shown = min(TICKETS, len(positions))
        # The pages are spread over the whole list, and both sides read the same ones.
        starts = [positions[turn * (len(positions) - shown) // TIMES] - 1 for turn in range(TIMES)]
        with psycopg.connect(place.house.endpoints.log_dsn, autocommit=True, row_factory=dict_row) as connection:
            clear = _Clear(connection, tenant)
            clear.fill(reading)
            assert of_revealed(reading, tenant, starts[0], shown) == clear.page(starts[0], shown)
            progress(f"page: {repeats} times {TIMES} pages of {shown} tickets with {ENTRIES} entries each")

            def revealed(repeat: int) -> Mapping[str, Sample]:
                watch = Stopwatch()
                for after in starts:
                    of_revealed(reading, tenant, after, shown)
                return {"revealed": _each(watch.read())}

            def in_clear(repeat: int) -> Mapping[str, Sample]:
                watch = Stopwatch()
                for after in starts:
                    clear.page(after, shown)
                return {"clear": _each(watch.read())}

            samples = alternate([revealed, in_clear], repeats)
        versions = place.versions
    yield duration(
        "page revealed",
        items=1,
        to=f"the time of the same page from tables in clear; {shown} tickets with {ENTRIES} entries each",
        of=samples["revealed"],
        other=samples["clear"],
        servers=versions,
        target=Target(3, 1.5, at_most=True),
    )


def _stored(place: Ground, facts: int) -> list[int]:
    """Store lives of some facts each, and return where their tickets begin, in order."""
    lives = range(1, max(1, facts // (ENTRIES + 2)) + 1)
    place.take([record for contact in lives for record in history.life(contact, ENTRIES + 2, entries=ENTRIES)])
    place.house.projecting.catch_up()
    with psycopg.connect(place.house.endpoints.log_dsn) as connection:
        rows = connection.execute("SELECT first_position FROM tickets.tickets ORDER BY 1").fetchall()
    return [position for (position,) in rows]


def of_revealed(reading: Reading, tenant: TenantId, after: int, limit: int) -> bytes:
    """Read and reveal a page of tickets, and give its JSON."""
    return orjson.dumps(list(reading.tickets(tenant, _REVEAL, after=after, limit=limit)), option=orjson.OPT_SORT_KEYS)


def _each(sample: Sample) -> Sample:
    return Sample(sample.wall / TIMES, sample.cpu / TIMES)


class _Clear:
    """The same rows with their texts in clear."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], tenant: TenantId) -> None:
        self._connection = connection
        self._tenant = tenant

    def fill(self, reading: Reading) -> None:
        """Copy the rows, reveal every text, and put it beside its row."""
        self._connection.execute(_SQL.create.sql)
        tickets: list[tuple[str, str]] = []
        entries: list[tuple[str, str]] = []
        pairs = zip(reading.tickets(self._tenant), reading.tickets(self._tenant, _REVEAL), strict=True)
        for sealed, revealed in pairs:
            tickets.append((sealed["ticket"], _said(sealed, revealed)))
            both = zip(sealed["conversation"], revealed["conversation"], strict=True)
            entries += [(one["part"], _said(one, other)) for one, other in both]
        for statement, column, rows in ((_SQL.fill_tickets, "tickets", tickets), (_SQL.fill_entries, "parts", entries)):
            given = {column: [id_ for id_, _ in rows], "said": [said for _, said in rows]}
            self._connection.execute(statement.sql, given)
        self._connection.execute(b"VACUUM ANALYZE clear.tickets, clear.entries, tickets.tickets, tickets.entries")
        self._connection.execute(b"VACUUM ANALYZE tickets.seals, facts_events")

    def page(self, after: int, limit: int) -> bytes:
        """Read one page, as plainly as it can be done."""
        cursor = self._connection.cursor(binary=True)
        given = {"tenant": self._tenant, "after": after, "limit": limit}
        tickets = cursor.execute(_SQL.list.sql, given).fetchall()
        conversations: dict[Any, list[dict[str, Any]]] = {row["ticket"]: [] for row in tickets}
        for entry in cursor.execute(_SQL.list_entries.sql, {**given, "tickets": list(conversations)}):
            conversations[entry.pop("ticket")].append({**entry.pop("said"), **entry})
        rows = [{**row.pop("said"), **row, "conversation": conversations[row["ticket"]]} for row in tickets]
        return orjson.dumps(rows, option=orjson.OPT_SORT_KEYS)


def _said(sealed: Mapping[str, Any], revealed: Mapping[str, Any]) -> str:
    """Pick what a seal held."""
    return orjson.dumps({name: revealed[name] for name, value in sealed.items() if value == _SEALED}).decode()
