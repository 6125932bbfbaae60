"""`topics`: create them as they should be, see what they hold, clear them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from domain.errors import BrokerUnavailable
from services.cli.entering import entered
from services.cli.options import Data, Json
from services.cli.printing import table, tell, write_json, write_line
from services.kafka import rights
from services.kafka.admission import admission_of
from services.kafka.clearing import Behind, Clearing, behind, committed
from services.kafka.connecting import Broker
from services.kafka.consuming import GROUP
from services.kafka.inspecting import Partition, Seen, Spot, administering, keeps_files, look, names_of
from services.kafka.sources import Sources, Standing, forget_broker, standing_of
from services.kafka.topics import OWN_TOPICS, Difference, Policy, apply, create, differences, warnings
from services.ledgers.places import ledger_topics
from services.settings import broker_of, topic_days_of
from services.wiring import House, now

commands = typer.Typer(
    help="Topics of Kafka: create them, see what they hold, clear them.", invoke_without_command=True
)

Group = Annotated[str, typer.Option("--group", metavar="NAME", help="The consumer group.")]
_NO_BROKER = "No broker is set: set SEALDESK_KAFKA, or keep 'sealdesk up' running beside this for the embedded one."


@commands.callback()
def topics(context: typer.Context, group: Group = GROUP, json: Json = False, data: Data = None) -> None:
    """Show what the topics hold: how far they are read, what is still on the brokers' disks, and what is wrong.

    "held" is bytes in segments on all brokers together, also of what is deleted and waits for its segment to end. A
    partition that is cleared and rolled keeps one heartbeat, some hundred bytes without personal data, on each.

    Examples:

        sealdesk topics

        sealdesk topics --json
    """
    if context.invoked_subcommand is not None:
        return
    with entered(data, kafka=True) as house:
        broker = house.endpoints.kafka
        if broker is None:
            raise BrokerUnavailable(_NO_BROKER)
        intake = list(admission_of(os.environ).topics)
        with administering(broker, "say what its topics hold") as admin:
            read = names_of(admin, house.facts.topics_read()) if keeps_files(admin) else set()
            unlisted = sorted(read - {*intake, *OWN_TOPICS})
            intake += unlisted
            seen = look(admin, [*intake, *OWN_TOPICS])
            mirrors = committed(admin, group, seen)
            others = behind(admin, group, _only(seen, intake)) if keeps_files(admin) else []
        rows = [
            _row(house, seen, name, one, mirrors) for name, topic in seen.topics.items() for one in topic.partitions
        ]
        standing = standing_of(house.keys)
        said = _warnings(seen, Policy(days=house.settings.topic_days), others) + [
            f"{name}: it was read, and SEALDESK_TOPICS does not list it; it is cleared, and certificates wait for it"
            for name in unlisted
        ]
    if json:
        waiting = [asdict(one) | {"noted_at": one.noted_at.isoformat()} for one in standing]
        write_json({"partitions": rows, "warnings": said, "certificates": waiting})
        return
    _show(rows, said, standing)


def _only(seen: Seen, names: Sequence[str]) -> Seen:
    kept = {name: topic for name, topic in seen.topics.items() if name in names}
    return Seen(cluster=seen.cluster, alive=seen.alive, topics=kept, missing=())


def _row(house: House, seen: Seen, name: str, one: Partition, mirrors: Mapping[Spot, int]) -> dict[str, Any]:
    topic = seen.topics[name]
    stored = house.facts.stored_positions(topic.id).get(one.number)
    newest = None if one.newest is None else datetime.fromtimestamp(one.newest / 1000, UTC)
    return {
        "topic": name,
        "id": str(topic.id),
        "partition": one.number,
        "leader": one.leader,
        "replicas": sorted(one.replicas),
        "in_sync": sorted(one.in_sync),
        "start": one.start,
        "end": one.end,
        "stored": stored,
        "committed": mirrors.get((name, one.number)),
        "unread": None if one.end is None or name in OWN_TOPICS else max(0, one.end - max(stored or 0, one.start or 0)),
        "records": None if one.end is None or one.start is None else one.end - one.start,
        "bytes": {str(broker): size for broker, size in sorted(one.size.items())},
        "newest": None if newest is None else newest.isoformat(timespec="seconds"),
        "age_seconds": None if newest is None else max(0, int((now() - newest).total_seconds())),
    }


def _warnings(seen: Seen, policy: Policy, others: Sequence[Behind]) -> list[str]:
    # The embedded broker creates topics when they are first used.
    embedded = bool(seen.topics) and not any(topic.settings for topic in seen.topics.values())
    missing = () if embedded else seen.missing
    said = [f"{name}: it does not exist; create it with: sealdesk topics create" for name in missing]
    said += [f"{name}: {one}" for name, topic in seen.topics.items() for one in warnings(topic, policy)]
    return said + [
        f"{one.topic}: the group {one.group} reads it, too, and is {one.records} records behind: clearing takes them"
        for one in others
    ]


def _show(rows: Sequence[Mapping[str, Any]], said: Sequence[str], standing: Sequence[Standing]) -> None:
    headings = ("topic", "", "leader", "in sync", "start", "end", "stored", "committed", "unread", "held", "age")
    shown = [
        (
            row["topic"],
            row["partition"],
            row["leader"],
            f"{len(row['in_sync'])} of {len(row['replicas'])}",
            row["start"],
            row["end"],
            row["stored"],
            row["committed"],
            row["unread"],
            sum(row["bytes"].values()),
            None if row["age_seconds"] is None else f"{row['age_seconds']} s",
        )
        for row in rows
    ]
    table(headings, shown, spare=("committed", "leader"))
    for one in standing:
        write_line(
            f"{one.shreds} certificates wait since {one.noted_at.isoformat(timespec='seconds')} "
            f"until {one.partitions} partitions are cleared" + (f"; {one.waits_for}" if one.waits_for else "")
        )
    for sentence in said:
        tell(sentence)


@commands.command("create")
def create_topics(
    partitions: Annotated[int, typer.Option("--partitions", min=1, help="How many each new topic gets.")] = 8,
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", min=1, help="On how many brokers; by default three, or all.", show_default=False),
    ] = None,
    change: Annotated[bool, typer.Option("--apply", help="Set what differs on topics that exist.")] = False,
    ours: Annotated[
        list[str] | None,
        typer.Option("--principal", metavar="User:NAME", help="Whom sealdesk logs in as: allow what it needs."),
    ] = None,
    recipients: Annotated[
        list[str] | None,
        typer.Option("--recipient", metavar="User:NAME", help="Who reads the news and replies: allow that."),
    ] = None,
    group: Group = GROUP,
    json: Json = False,
) -> None:
    """Create the topics of SEALDESK_TOPICS and our own, set so that nothing is left lying in them.

    Of topics that exist it shows what differs from that; --apply sets it. With --principal or --recipient it also
    writes rules for the brokers' authorizer, those for the publishers of SEALDESK_TOPICS among them. It may run twice.

    Examples:

        sealdesk topics create --partitions 8

        sealdesk topics create --apply --principal User:sealdesk --recipient User:acme-crm
    """
    broker = _configured()
    admitted = admission_of(os.environ).topics
    policy = Policy(days=topic_days_of(os.environ))
    wanted = (
        rights.rules(
            {name: each.principals for name, each in admitted.items()},
            ours=ours or (),
            recipients=recipients or (),
            ledgers=sorted(ledger_topics()),
            group=group,
        )
        if ours or recipients
        else []
    )
    with administering(broker, "create topics") as admin:
        names = [*admitted, *OWN_TOPICS]
        seen = look(admin, names)
        created = create(admin, seen, policy, partitions=partitions, replicas=replicas)
        differ = [one for one in differences(look(admin, names) if created else seen, policy) if one.setting]
        if change:
            apply(admin, differ)
        allowed = rights.allow(admin, wanted)
    if json:
        write_json(
            {"created": sorted(seen.missing), "differ": list(map(asdict, differ)), "applied": change, "rules": allowed}
        )
        return
    _say_created(seen, differ, change, allowed)


def _say_created(seen: Seen, differ: Sequence[Difference], change: bool, allowed: int) -> None:
    for name in seen.missing:
        write_line(f"created: {name}")
    if differ:
        rows = [(one.topic, one.setting, one.found, one.wanted) for one in differ]
        table(("topic", "setting", "it was" if change else "it is", "it is now" if change else "should be"), rows)
    if differ and not change:
        tell("nothing of this was changed; --apply does")
    if allowed:
        write_line(f"{allowed} rules for the authorizer")
    if not (seen.missing or differ or allowed):
        write_line("all is as it should be")


@commands.command("clear")
def clear(group: Group = GROUP, json: Json = False, data: Data = None) -> None:
    """Delete now, once, what is stored, as `sealdesk keep` does all the time unless SEALDESK_CLEARING is off.

    Example:

        sealdesk topics clear
    """
    with entered(data, kafka=True) as house:
        broker, intake = house.endpoints.kafka, admission_of(os.environ).topics
        if broker is None:
            raise BrokerUnavailable(_NO_BROKER)
        spared = ledger_topics()
        done = Clearing(broker, house.facts, intake, group=group, tell=tell, clock=now, spared=spared).step()
        recertify = house.certifying.recertify_within
        certified = Sources(broker, house.keys, house.facts, intake, recertify, clock=now).step()
    if json:
        write_json(asdict(done) | {"certified": certified})
    elif done.able:
        write_line(
            f"{done.records} records deleted, {done.heartbeats} heartbeats sent, {certified} certificates issued anew"
        )


@commands.command("broker-clean")
def broker_clean(
    number: Annotated[int, typer.Argument(metavar="ID", help="The id of the broker.")],
    json: Json = False,
    data: Data = None,
) -> None:
    """Say that the disks of a broker were looked at, or destroyed: certificates wait for it no longer.

    What a broker finds on its return of a topic that was deleted meanwhile, or of a partition that was moved, it keeps
    for ever, in folders that end in "-stray". Kafka tells nobody of them. Delete them first.

    Example:

        sealdesk topics broker-clean 3
    """
    with entered(data) as house:
        forgotten = forget_broker(house.keys, number)
    if json:
        write_json({"marks": forgotten})
    else:
        write_line(f"{forgotten} marks no longer wait for broker {number}")


def _configured() -> Broker:
    broker = broker_of(os.environ)
    if broker is None:
        raise BrokerUnavailable("No broker is set: set SEALDESK_KAFKA. The embedded one creates topics by itself.")
    return broker
