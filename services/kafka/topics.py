"""How topics should be set so that nothing is left lying in them, and what is wrong with those that are not.

A record goes from a broker's disk only with its whole segment, once the log starts behind it, a newer segment has begun
and two delays are over. So segments are short, and a deleted file waits a second. Records get the brokers' time when
they are appended (LogAppendTime): a publisher's clock can neither keep a segment open nor end it early.
https://kafka.apache.org/43/configuration/topic-configs/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from domain.errors import SettingsWrong
from services.kafka.inspecting import Seen, Topic
from services.sealed import MESSAGE_BYTES

#: The topic of records unless SEALDESK_TOPICS names others.
RECORDS = "sealdesk.records"
#: What we say and what we are told.
RECEIPTS, NEWS, REPLIES = "sealdesk.receipts", "sealdesk.privacy", "sealdesk.privacy.replies"
OWN_TOPICS = (RECEIPTS, NEWS, REPLIES)
#: Three of the largest records. Kafka 4 allows no less than 1 MiB, and a segment has to hold its largest batch.
SEGMENT_BYTES = 16 * 1024 * 1024
#: How long a partition may stay in one segment: the shortest wait until a record can go from the disk.
SEGMENT_SECONDS = 60
#: How long a file that is deleted stays. Readers that still send from it keep it open by themselves.
FILE_DELETE_SECONDS = 1
_DAY_MILLISECONDS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How long a record may lie unread, in days, and how short segments are, in seconds."""

    days: int = 7
    segment_seconds: int = SEGMENT_SECONDS

    def settings(self, replicas: int) -> dict[str, str]:
        """Say how a topic with so many replicas should be set."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.days * _DAY_MILLISECONDS),
            "retention.bytes": "-1",
            "segment.ms": str(self.segment_seconds * 1000),
            "segment.jitter.ms": "0",
            "segment.bytes": str(SEGMENT_BYTES),
            "file.delete.delay.ms": str(FILE_DELETE_SECONDS * 1000),
            "max.message.bytes": str(MESSAGE_BYTES),
            "message.timestamp.type": "LogAppendTime",
            "min.insync.replicas": str(max(1, replicas - 1)),
            "unclean.leader.election.enable": "false",
            # What publishers send stays as it is: a search for a value is blind to what is compressed.
            "compression.type": "producer",
            "preallocate": "false",
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not as it should be. `topic` alone: the topic is missing."""

    topic: str
    setting: str = ""
    found: str = ""
    wanted: str = ""


def differences(seen: Seen, policy: Policy) -> list[Difference]:
    """Compare topics with the policy."""
    differ = [Difference(name) for name in seen.missing]
    for topic in seen.topics.values():
        replicas = max((len(one.replicas) for one in topic.partitions), default=1)
        for setting, wanted in policy.settings(replicas).items():
            found = topic.settings.get(setting)
            if found is not None and found != wanted:
                differ.append(Difference(topic.name, setting, found, wanted))
    return differ


def create(admin: KafkaAdminClient, seen: Seen, policy: Policy, *, partitions: int, replicas: int | None = None) -> int:
    """Create the topics that are missing, on up to three brokers each. Returns how many there were."""
    copies = replicas or min(3, len(seen.alive))
    wanted = {
        name: {"num_partitions": partitions, "replication_factor": copies, "configs": policy.settings(copies)}
        for name in seen.missing
    }
    for name, options in wanted.items():
        try:
            admin.create_topics({name: options}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            continue
    return len(wanted)


def apply(admin: KafkaAdminClient, differ: Sequence[Difference]) -> None:
    """Set what differs, and nothing else.

    Raises:
        SettingsWrong: the brokers refuse a setting.
    """
    changes: dict[str, dict[str, str]] = {}
    for one in differ:
        if one.setting:
            changes.setdefault(one.topic, {})[one.setting] = one.wanted
    if changes:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, each) for name, each in changes.items()]
        answers = admin.alter_configs(resources, incremental=True)
        for name, said in answers.get("topic", {}).items():
            if said != "OK":
                raise SettingsWrong(f"Kafka refuses the settings of the topic {name}: {said}")


def warnings(topic: Topic, policy: Policy) -> list[str]:
    """Say, in sentences, what about a topic keeps records longer than the policy, or may lose them."""
    settings, said = topic.settings, []
    if not settings:
        return ["its broker keeps no files and cannot delete records: it is for demos and tests"]
    kept = int(settings["retention.ms"])
    if kept < 0:
        said.append("retention is off: what nobody reads lies for ever")
    elif kept > policy.days * _DAY_MILLISECONDS:
        said.append(f"retention is longer than the policy ({kept / _DAY_MILLISECONDS:g} days, not {policy.days})")
    elif kept < policy.days * _DAY_MILLISECONDS:
        said.append(
            f"retention is shorter than the policy ({kept / _DAY_MILLISECONDS:g} days, not {policy.days}): what is not "
            "read by then is lost"
        )
    if int(settings["retention.bytes"]) >= 0:
        said.append(f"retention.bytes is {settings['retention.bytes']}: what is not read before that much came is lost")
    if "compact" in settings["cleanup.policy"]:
        said.append("cleanup.policy is compact: the newest record of each key stays for ever")
    if settings["unclean.leader.election.enable"] == "true":
        said.append("unclean leaders may be elected: acknowledged records can be lost")
    if settings["min.insync.replicas"] == "1":
        said.append("min.insync.replicas is 1: a record can be acknowledged that only one broker has")
    if settings["message.timestamp.type"] != "LogAppendTime":
        said.append("publishers set the time of records: a wrong clock can keep a segment open")
    if settings.get("remote.storage.enable") == "true":
        said.append("tiered storage is on: copies there are not looked at, and no certificate says that it is cleared")
    if int(settings["segment.ms"]) > 2 * policy.segment_seconds * 1000:
        said.append(f"segments are long ({int(settings['segment.ms']) // 1000} s): nothing goes before they end")
    for one in topic.partitions:
        if one.leader < 0:
            said.append(f"partition {one.number} has no leader")
        elif away := sorted(one.replicas - one.in_sync):
            names = ", ".join(map(str, away))
            said.append(f"partition {one.number} is not in sync on broker {names}: files stay there")
    return said
