"""Who may do what with our topics, for brokers with an authorizer.

Publishers write to the topics that SEALDESK_TOPICS gives them and read receipts; recipients read the news and write
their replies; sealdesk reads, clears and beats. Nobody else is let in here, and nobody is shut out: rules that stand
already stay. Which groups publishers and recipients read with is theirs to choose, and for whoever runs Kafka to allow.
https://kafka.apache.org/43/security/authorization-and-acls/
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)
from kafka.errors import SecurityDisabledError

from domain.errors import SettingsWrong
from services.kafka.topics import NEWS, OWN_TOPICS, RECEIPTS, REPLIES

#: DeleteRecords asks for DELETE, heartbeats for WRITE, how topics are set for DESCRIBE_CONFIGS.
_INTAKE = (
    ACLOperation.READ,
    ACLOperation.WRITE,
    ACLOperation.DELETE,
    ACLOperation.DESCRIBE,
    ACLOperation.DESCRIBE_CONFIGS,
)
_OWN = (ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
#: The ledger is made with its first line and only grows: nothing deletes from it, or changes how it is set.
_LEDGER = (*_OWN, ACLOperation.CREATE)
#: How large files are, and how often brokers look for old ones.
_CLUSTER = (ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
_WRITES = (ACLOperation.WRITE, ACLOperation.DESCRIBE)
_READS = (ACLOperation.READ, ACLOperation.DESCRIBE)


def rules(
    publishers: Mapping[str, Collection[str]],
    *,
    ours: Collection[str] = (),
    recipients: Collection[str] = (),
    ledgers: Collection[str] = (),
    group: str,
) -> list[ACL]:
    """Say what principals may do. `publishers` has those of each intake topic; a principal is `User:NAME`.

    `ledgers` are the topics that the ledger lies in.

    Raises:
        SettingsWrong: a principal is none.
    """
    found = []
    for topic, principals in publishers.items():
        for principal in principals:
            found += [*_topic(principal, topic, _WRITES), *_topic(principal, RECEIPTS, _READS)]
    for principal in recipients:
        found += [*_topic(principal, NEWS, _READS), *_topic(principal, REPLIES, _WRITES)]
    for principal in ours:
        for topic in publishers:
            found += _topic(principal, topic, _INTAKE)
        for topic in OWN_TOPICS:
            found += _topic(principal, topic, _OWN)
        for topic in ledgers:
            found += _topic(principal, topic, _LEDGER)
        groups = ResourcePattern(ResourceType.GROUP, group, ACLResourcePatternType.PREFIXED)
        found += _rules(principal, groups, _READS)
        found += _rules(principal, ResourcePattern(ResourceType.CLUSTER, "kafka-cluster"), _CLUSTER)
    return list(dict.fromkeys(found))


def _topic(principal: str, topic: str, operations: Collection[ACLOperation]) -> Iterator[ACL]:
    return _rules(principal, ResourcePattern(ResourceType.TOPIC, topic), operations)


def _rules(principal: str, what: ResourcePattern, operations: Collection[ACLOperation]) -> Iterator[ACL]:
    kind, _, name = principal.partition(":")
    if kind != "User" or not name or name == "*":
        raise SettingsWrong("A principal is User:NAME, as the brokers know it.")
    return (ACL(principal, "*", operation, ACLPermissionType.ALLOW, what) for operation in operations)


def allow(admin: KafkaAdminClient, wanted: Collection[ACL]) -> int:
    """Write rules; those that stand already stay. Returns how many were written.

    Raises:
        SettingsWrong: the brokers have no authorizer.
        KafkaError: we may not write rules.
    """
    if not wanted:
        return 0
    failed = admin.create_acls(list(wanted))["failed"]
    if SecurityDisabledError in failed:
        raise SettingsWrong("These brokers have no authorizer: everybody may do everything. Set authorizer.class.name.")
    for error in failed:
        raise error("CreateAcls")
    return len(wanted)
