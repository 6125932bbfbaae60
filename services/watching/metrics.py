"""What a process counts of itself, for Prometheus.

Rule: a label is a word of a closed list, the name of a topic or a partition's number. No label holds a tenant, a
reference or an id, so nothing personal gets out here and the number of series does not grow with the desks.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from domain.errors import SealdeskError

#: A batch holds up to SEALDESK_BATCH records (1000); a quiet topic gives one or two.
RECORDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
#: From a batch of one on a quiet machine to one that waited for a shred.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one process. Each has a registry of its own, so that tests and threads do not share any."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        self.records = Counter(
            "sealdesk_records",
            "Records read from Kafka, by what became of them: stored, duplicate, refused, quarantined; and why.",
            ("outcome", "code"),
            registry=registry,
        )
        self.batch_records = Histogram(
            "sealdesk_batch_records", "Records of one batch.", buckets=RECORDS, registry=registry
        )
        self.batch_seconds = Histogram(
            "sealdesk_batch_seconds", "Seconds from a batch at hand to its commit.", buckets=SECONDS, registry=registry
        )
        self.done_at = Gauge(
            "sealdesk_step_success_timestamp_seconds",
            "When a step last ended well, in seconds since 1970.",
            ("step",),
            registry=registry,
        )
        self.step_seconds = Gauge(
            "sealdesk_step_seconds", "How long a step took when it last ended well.", ("step",), registry=registry
        )
        self.failures = Counter(
            "sealdesk_step_failures",
            "How often a step ended badly, by the type of the error.",
            ("step", "error"),
            registry=registry,
        )
        self.restarts = Counter(
            "sealdesk_restarts",
            "How often the work began anew because a server had gone away, by the type of the error.",
            ("error",),
            registry=registry,
        )
        Info("sealdesk_build", "Which version runs.", registry=registry).info(
            {"version": importlib.metadata.version("sealdesk"), "python": platform.python_version()}
        )
        ProcessCollector(registry=registry)

    def batch(self, outcomes: Mapping[tuple[str, str], int], seconds: float) -> None:
        """Count one stored batch: how many records fared how (outcome and reason code), and how long it took."""
        for (outcome, code), records in outcomes.items():
            self.records.labels(outcome, code).inc(records)
        self.batch_records.observe(sum(outcomes.values()))
        self.batch_seconds.observe(seconds)

    def step(self, name: str, seconds: float) -> None:
        """Note that a step ended well."""
        self.done_at.labels(name).set_to_current_time()
        self.step_seconds.labels(name).set(seconds)

    def failed(self, name: str, error: BaseException) -> None:
        """Note that a step ended badly."""
        self.failures.labels(name, kind_of(error)).inc()

    def restart(self, error: BaseException) -> None:
        """Note that the work begins anew because of this."""
        self.restarts.labels(kind_of(error)).inc()


def kind_of(error: BaseException) -> str:
    """Name an error of the house by its type, and any other as what it is to an operator: unexpected."""
    return type(error).__name__ if isinstance(error, SealdeskError) else "unexpected"
