"""What the databases and the ledger say of the house, read at most once every few seconds.

Rule: a scrape never fails and never waits long. Whatever does not answer is told as down, and what it would have said
is left out, so that no old number looks like a new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from time import monotonic
from typing import Any

import aiosql
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg import Connection, sql
from psycopg.rows import DictRow

from crypto.ledger import Ledger
from crypto.recipients import SQL as OUTBOX
from domain.errors import SealdeskError
from services.watching.looking import Look

STATEMENTS: Any = aiosql.from_str(
    (files("services") / "sql/watching.sql").read_text(), "psycopg", mandatory_parameters=False
)
#: Two probes and a scrape that come together ask the databases once.
FRESH_SECONDS = 5.0
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Source:
    """Something that can be asked how it stands: None means that it does not answer."""

    name: str
    read: Callable[[], Sequence[Metric] | None]


class Standing(Collector):
    """Ask each source, at most once every few seconds, for whoever scrapes or probes."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._sources: dict[str, Source] = {}
        self._lock = threading.Lock()
        self._seen: dict[str, Sequence[Metric] | None] = {}
        self._seen_at = -FRESH_SECONDS

    def add(self, source: Source) -> None:
        """Ask this source, too, or in place of the one of the same name."""
        with self._lock:
            self._sources[source.name] = source
            self._seen_at = -FRESH_SECONDS

    def answers(self, name: str) -> bool:
        """Tell whether a source answers."""
        return self._fresh().get(name) is not None

    def collect(self) -> Iterator[Metric]:
        """Give every number of every source that answers, and of each source whether it does."""
        seen = self._fresh()
        up = GaugeMetricFamily("sealdesk_up", "Whether what the house stands on answers: 1 or 0.", labels=("part",))
        for name, found in seen.items():
            up.add_metric((name,), float(found is not None))
        yield up
        for found in seen.values():
            yield from found or ()

    def describe(self) -> Iterable[Metric]:
        """Say nothing before the first scrape: a registration asks no database."""
        return ()

    def _fresh(self) -> dict[str, Sequence[Metric] | None]:
        with self._lock:
            if self._clock() - self._seen_at >= FRESH_SECONDS:
                self._seen = {source.name: source.read() for source in self._sources.values()}
                self._seen_at = self._clock()
            return self._seen


def log_source(look: Look, models: Sequence[str], quarantine_days: int | None = None) -> Source:
    """Ask the log database: head and read models; with its days also the quarantine, which not everybody sees."""

    def read(connection: Connection[DictRow]) -> Sequence[Metric]:
        projected = _projected(connection, models)
        if quarantine_days is None:
            return [*projected]
        return [*projected, *_quarantined(connection, quarantine_days), _refused(connection)]

    return Source("log", lambda: look(read))


def answering(name: str, look: Look) -> Source:
    """Ask a database nothing but whether it answers."""

    def read(connection: Connection[DictRow]) -> Sequence[Metric]:
        connection.execute("SELECT 1")
        return ()

    return Source(name, lambda: look(read))


def keys_source(look: Look) -> Source:
    """Ask the key database: unfinished shreds, ledger lines that were carried out, what recipients wait for."""

    def read(connection: Connection[DictRow]) -> Sequence[Metric]:
        now = datetime.now(UTC)
        [news] = connection.execute(OUTBOX.outbox_counts.sql, {"at": now}).fetchall()
        [begun] = connection.execute(STATEMENTS.shreds_begun.sql).fetchall()
        [line] = connection.execute(STATEMENTS.lines_carried_out.sql).fetchall()
        return [
            _gauge("sealdesk_unfinished_shreds", "Shreds that were begun and are not finished.", begun["shreds"]),
            _gauge(
                "sealdesk_unfinished_shred_age_seconds",
                "How long ago the oldest unfinished shred was begun; 0 without one.",
                begun["seconds"] or 0,
            ),
            _gauge(
                "sealdesk_ledger_line_carried_out",
                "The last line of the ledger that the key database has carried out.",
                line["line"],
            ),
            _gauge("sealdesk_news_unsent", "Records for recipients that were not sent yet.", news["unsent"]),
            _gauge(
                "sealdesk_news_unsent_age_seconds",
                "How long ago that came to pass which the oldest unsent record tells; 0 without one.",
                (now - news["unsent_since"]).total_seconds() if news["unsent_since"] else 0,
            ),
            _gauge(
                "sealdesk_news_unanswered",
                "Records that were sent and that their recipients have not acknowledged.",
                news["unanswered"],
            ),
            _gauge(
                "sealdesk_news_overdue",
                "Records whose deadline is over without an acknowledgement: their key is destroyed.",
                news["overdue"],
            ),
        ]

    return Source("keys", lambda: look(read))


def ledger_source(ledger: Ledger) -> Source:
    """Ask the ledger for its last line."""

    def read() -> Sequence[Metric] | None:
        try:
            return [_gauge("sealdesk_ledger_head", "The number of the last line of the ledger.", ledger.head())]
        except SealdeskError:
            return None

    return Source("ledger", read)


def _projected(connection: Connection[DictRow], models: Sequence[str]) -> Iterator[Metric]:
    [row] = connection.execute(STATEMENTS.log_head.sql).fetchall()
    head = row["head"]
    positions = dict.fromkeys(models, 0) | _positions(connection, models)
    given = {"models": list(positions), "positions": list(positions.values())}
    position = GaugeMetricFamily(
        "sealdesk_read_model_position", "Up to which position of the log a read model is folded.", labels=("model",)
    )
    lag = GaugeMetricFamily(
        "sealdesk_read_model_lag", "How many positions a read model is behind the head of the log.", labels=("model",)
    )
    age = GaugeMetricFamily(
        "sealdesk_unprojected_fact_age_seconds",
        "How long ago the oldest fact was stored that a read model has not folded yet; 0 without one.",
        labels=("model",),
    )
    for found in connection.execute(STATEMENTS.oldest_behind.sql, given).fetchall():
        position.add_metric((found["model"],), found["position"])
        lag.add_metric((found["model"],), max(0, head - found["position"]))
        age.add_metric((found["model"],), float(found["seconds"] or 0))
    yield _gauge("sealdesk_log_head", "The position of the newest fact on the log.", head)
    yield from (position, lag, age)


def _positions(connection: Connection[DictRow], models: Sequence[str]) -> dict[str, int]:
    """Read the positions of all models that have one, with one statement."""
    there = connection.execute(STATEMENTS.read_models_there.sql, {"models": list(models)}).fetchall()
    if not there:
        return {}
    each = [
        sql.SQL("SELECT {} AS model, position FROM {}").format(
            sql.Literal(row["model"]), sql.Identifier(row["model"], "position")
        )
        for row in there
    ]
    return {row["model"]: row["position"] for row in connection.execute(sql.SQL(" UNION ALL ").join(each))}


def _quarantined(connection: Connection[DictRow], days: int) -> Iterator[Metric]:
    records = GaugeMetricFamily(
        "sealdesk_quarantined_records", "Records in the quarantine, by why they are there.", labels=("code",)
    )
    rows = connection.execute(STATEMENTS.quarantined_by_code.sql).fetchall()
    for row in rows:
        records.add_metric((row["code"],), row["records"])
    yield records
    oldest = float(max((row["seconds"] for row in rows), default=0))
    yield _gauge(
        "sealdesk_quarantine_age_seconds", "How long the oldest record of the quarantine is there; 0 without.", oldest
    )
    yield _gauge(
        "sealdesk_quarantine_expiry_seconds",
        "In how many seconds the oldest record of the quarantine goes for good; all its days without one.",
        days * DAY_SECONDS - oldest,
    )


def _refused(connection: Connection[DictRow]) -> Metric:
    refused = CounterMetricFamily(
        "sealdesk_refusals", "Records that were refused because of a fence, as the log keeps count.", labels=("code",)
    )
    for row in connection.execute(STATEMENTS.refused_by_code.sql).fetchall():
        refused.add_metric((row["code"],), row["refused"])
    return refused


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=float(value))
