"""Kafka: whether it answers, the way there, and whether its topics let records go when they should."""

from __future__ import annotations

from collections.abc import Iterator

from services.doctor.findings import Case, Finding, State
from services.doctor.reaching import is_here
from services.kafka.admission import admission_of
from services.kafka.connecting import Broker
from services.kafka.inspecting import administering, keeps_files, look
from services.kafka.topics import OWN_TOPICS, Policy, differences, warnings


def findings(case: Case) -> Iterator[Finding]:
    """Look at the brokers that are configured; without SEALDESK_KAFKA there is nothing to say."""
    broker = case.settings.kafka
    if broker is None:
        return
    yield _way(broker)
    policy = Policy(days=case.settings.topic_days)
    with administering(broker, "say how its topics are set") as admin:
        files = keeps_files(admin)
        seen = look(admin, [*admission_of().topics, *OWN_TOPICS])
    yield Finding("kafka", State.OK, f"{len(seen.alive)} brokers answer")
    if not files:
        yield Finding(
            "topics", State.WARNING, "the broker is in memory", "for anything but demos and tests set SEALDESK_KAFKA"
        )
        return
    said = [f"{name}: it does not exist" for name in seen.missing]
    said += [f"{name}: {one}" for name, topic in seen.topics.items() for one in warnings(topic, policy)]
    for one in said:
        yield Finding("topics", State.WARNING, one, "compare, and create or set them: sealdesk topics create --help")
    if not said:
        differ = len(differences(seen, policy))
        yield Finding(
            "topics", State.OK, f"{differ} settings are other than ours, and none matters" if differ else "as set"
        )


def _way(broker: Broker) -> Finding:
    """See that nobody on the way reads what publishers send in clear."""
    hosts = [address.rpartition(":")[0].strip("[]") for address in broker.bootstrap.split(",")]
    if broker.tls or all(is_here(host) for host in hosts):
        return Finding("kafka: way there", State.OK, "TLS" if broker.tls else "it is on this machine")
    return Finding("kafka: way there", State.WARNING, "no TLS", "set SEALDESK_KAFKA_TLS=on: records come in clear")
