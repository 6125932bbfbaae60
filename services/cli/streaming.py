"""`publish` and `consume`: records to Kafka, and from it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import BrokerUnavailable, SettingsWrong
from services import embedded, reading_files
from services.cli.entering import settings_of, settle
from services.cli.options import Data, Json
from services.cli.printing import progress, tell, write_json, write_line
from services.cli.serving import Watch, watched
from services.kafka.admission import admission_of
from services.kafka.connecting import Broker
from services.kafka.consuming import EMBEDDED_SESSION_SECONDS, GROUP, SESSION_SECONDS, Follower, Stored, consume
from services.kafka.receipts import Receipts
from services.kafka.topics import RECORDS
from services.outcomes import Tally
from services.publishing import sending
from services.publishing.opening import Opening
from services.publishing.sealing import Sealer
from services.publishing.sending import Mode
from services.settings import broker_of, receipts_of
from services.wiring import House, house

Topic = Annotated[str, typer.Option("--topic", metavar="NAME", help="The Kafka topic.")]

_GROUP = "The consumer group. An installation uses one: of two groups each gives up what the other has stored."
_NO_BROKER = (
    "No broker runs. The embedded one lives in memory and forgets everything when its last user leaves, so keep "
    "'sealdesk up' running beside this, or set SEALDESK_KAFKA to a broker of your own."
)


def publish(
    file: Annotated[str, typer.Argument(help="CloudEvents, one a line; '-' for standard input.", metavar="FILE")],
    topic: Topic = RECORDS,
    mode: Annotated[str, typer.Option("--mode", help="How CloudEvents travel: structured or binary.")] = "structured",
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="NAME", help="Whose the records are that name no tenant.")
    ] = None,
    seal: Annotated[
        Path | None,
        typer.Option("--seal", metavar="DESK.pub.json", help="Seal each record to this public half of the desk."),
    ] = None,
    secret: Annotated[
        Path | None,
        typer.Option("--secret", metavar="FILE", help="With --seal: this publisher's secret; the first use makes it."),
    ] = None,
    signed_by: Annotated[
        Path | None,
        typer.Option("--signed-by", metavar="FILE", help="With --seal: the desk's certificate.pub, to check by."),
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="With --seal: do without --signed-by. Whoever swaps the file reads all.")
    ] = False,
    receipts: Annotated[
        float | None,
        typer.Option("--receipts", metavar="SECONDS", help="Wait so long for what becomes of the records.", min=0),
    ] = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Send a file of records to Kafka, each looked at first; an invalid one is counted and not sent.

    Publishing the same file again is safe: intake stores a record once. With --seal the topic holds no plaintext.

    Examples:

        sealdesk publish examples/desk.jsonl --topic sealdesk.records

        sealdesk publish examples/desk.jsonl --seal desk.pub.json --signed-by certificate.pub --secret publisher.secret
    """
    chosen: Mode
    match mode:
        case "structured" | "binary":
            chosen = mode
        case _:
            raise SettingsWrong("--mode is structured or binary.")
    sealer = _sealer(seal, secret, signed_by, unchecked)
    with reading_files.opened(file) as records, _broker(data) as broker:
        parcels = reading_files.cloudevents(records, tenant)
        write = None if sealer is None else sealer.message
        counted = sending.publish(parcels, broker, topic, mode=chosen, write=write, receipts_seconds=receipts)
    if json:
        write_json({name: value for name, value in asdict(counted).items() if value is not None})
        return
    write_line(f"{counted.read} read, {counted.sent} sent")
    if counted.invalid:
        write_line(f"{counted.invalid} invalid and not sent; why, says an import: sealdesk import FILE")
    if counted.receipts is not None:
        told = asdict(counted.receipts)
        write_line("receipts: " + ", ".join(f"{count} {name}" for name, count in told.items()))


def _sealer(half: Path | None, secret: Path | None, signed_by: Path | None, unchecked: bool) -> Sealer | None:
    if (half is None) != (secret is None) or (half is None and (signed_by is not None or unchecked)):
        raise SettingsWrong("--seal needs --secret, and --secret, --signed-by and --unchecked are for --seal.")
    if half is None or secret is None:
        return None
    is_new = not secret.exists()
    sealer = Sealer.read(half, secret, signed_by, unchecked=unchecked)
    if is_new:
        tell(f"{secret} was not there and was made: records that were published under another secret get other hashes")
    return sealer


@contextmanager
def _broker(data: Path | None) -> Iterator[Broker]:
    """Find a broker that will still be there afterwards. A publisher needs no database, so none is opened."""
    if configured := broker_of(os.environ):
        yield configured
        return
    settings = settings_of(data)
    if embedded.status(settings).get("kafka") is None:
        raise BrokerUnavailable(_NO_BROKER)
    with embedded.serving(settings, kafka=True) as endpoints:
        assert endpoints.kafka is not None
        yield endpoints.kafka


def consume_topics(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End once everything is read.")] = False,
    topics: Annotated[
        list[str] | None,
        typer.Option(
            "--topic", metavar="NAME", help="A topic, in place of those of SEALDESK_TOPICS.", show_default=False
        ),
    ] = None,
    group: Annotated[str, typer.Option("--group", metavar="NAME", help=_GROUP)] = GROUP,
    json: Json = False,
    data: Data = None,
) -> None:
    """Take records in from Kafka. Without --until-idle it goes on until SIGTERM or Ctrl-C, and ends cleanly.

    How far it has read is stored together with what it read, so nothing is lost and nothing taken twice. Any number of
    these processes shares the partitions. Read models are left to `sealdesk project`, but for --until-idle.

    Examples:

        sealdesk consume

        sealdesk consume --until-idle --json
    """
    settings = settings_of(data, makes=True)
    if not settings.kafka and embedded.status(settings).get("kafka") is None:
        tell(_NO_BROKER)
    with watched("gate", "group") as watch, embedded.serving(settings, kafka=True) as endpoints:
        watch.tells(lambda wired: wired.answers(endpoints))
        total = Tally()
        with house(settings, endpoints) as opened, progress("consume") as shown:
            watch.readiness.there("gate")
            if until_idle:
                # What goes on for long leaves this to `keep`.
                opened.resume()
            for stored in taken_in(watch, opened, topics=topics, group=group, until_idle=until_idle):
                total += Tally() if stored.again else stored.tally
                shown.to(total.read, None, f"{total.read} read, {total.stored} stored")
            if until_idle:
                settle(opened)
    if json:
        write_json(asdict(total))
        return
    write_line(f"{total.read} read, {total.stored} stored, {total.duplicates} stored before, {total.refused} refused")
    if total.quarantined:
        write_line(f"{total.quarantined} in the quarantine, sealed; why, says: sealdesk status")


def taken_in(
    watch: Watch, opened: House, *, topics: Sequence[str] | None = None, group: str = GROUP, until_idle: bool = False
) -> Iterator[Stored]:
    """Take in what is published, batch by batch, until it is asked to end."""
    broker = opened.endpoints.kafka
    assert broker is not None
    admission = admission_of()
    followers: list[Follower] = [watch.stored]
    with ExitStack() as stack:
        if receipts_of():
            followers.append(stack.enter_context(closing(Receipts(broker, tell=tell))))
        yield from consume(
            broker,
            opened.intake,
            opened.facts,
            topics=admission.to_read(topics),
            group=group,
            admit=admission.admit,
            opener=Opening(opened.pairs, opened.tenants).batch,
            followers=followers,
            until_idle=until_idle,
            stop=watch.stop,
            observer=watch,
            batch_size=opened.settings.batch_size,
            session_seconds=SESSION_SECONDS if opened.settings.kafka else EMBEDDED_SESSION_SECONDS,
        )
