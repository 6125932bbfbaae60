"""`publish` and `consume`: records to Kafka, and from it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from domain.errors import BrokerUnavailable, SettingsWrong
from services import embedded, reading_files
from services.cli.entering import entered, settle
from services.cli.options import Data, Json
from services.cli.printing import progress, tell, write_json, write_line
from services.intake import Tally
from services.kafka.connecting import Broker
from services.kafka.consuming import EMBEDDED_SESSION_SECONDS, GROUP, SESSION_SECONDS, consume
from services.publishing import sending
from services.publishing.sending import TOPIC, Mode
from services.settings import Settings, broker_of

Topic = Annotated[str, typer.Option("--topic", metavar="NAME", help="The Kafka topic.")]

_NO_BROKER = (
    "No broker runs. The embedded one lives in memory and forgets everything when its last user leaves, so keep "
    "'sealdesk up' running beside this, or set SEALDESK_KAFKA to a broker of your own."
)


def publish(
    file: Annotated[str, typer.Argument(help="CloudEvents, one a line; '-' for standard input.", metavar="FILE")],
    topic: Topic = TOPIC,
    mode: Annotated[str, typer.Option("--mode", help="How CloudEvents travel: structured or binary.")] = "structured",
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="NAME", help="Whose the records are that name no tenant.")
    ] = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Send a file of records to Kafka, each looked at first; an invalid one is counted and not sent.

    Publishing the same file again is safe: intake stores a record once.

    Example:

        sealdesk publish examples/desk.jsonl --topic sealdesk.records
    """
    chosen: Mode
    match mode:
        case "structured" | "binary":
            chosen = mode
        case _:
            raise SettingsWrong("--mode is structured or binary.")
    with reading_files.opened(file) as opened, _broker(data) as broker:
        parcels = reading_files.cloudevents(opened, tenant)
        counted = sending.publish(parcels, broker, topic, mode=chosen)
    if json:
        write_json(asdict(counted))
        return
    write_line(f"{counted.read} read, {counted.sent} sent")
    if counted.invalid:
        write_line(f"{counted.invalid} invalid and not sent; why, says an import: sealdesk import FILE")


@contextmanager
def _broker(data: Path | None) -> Iterator[Broker]:
    """Find a broker that will still be there afterwards. A publisher needs no database, so none is opened."""
    if configured := broker_of(os.environ):
        yield configured
        return
    settings = Settings.read(data)
    if embedded.status(settings).get("kafka") is None:
        raise BrokerUnavailable(_NO_BROKER)
    with embedded.serving(settings, kafka=True) as endpoints:
        assert endpoints.kafka is not None
        yield endpoints.kafka


def consume_topic(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End once everything is read.")] = False,
    topic: Topic = TOPIC,
    group: Annotated[str, typer.Option("--group", metavar="NAME", help="The consumer group.")] = GROUP,
    json: Json = False,
    data: Data = None,
) -> None:
    """Take records in from Kafka. Without --until-idle it goes on until SIGTERM or Ctrl-C, and ends cleanly.

    How far it has read is stored together with what it read, so nothing is lost and nothing taken twice.

    Example:

        sealdesk consume --until-idle --json
    """
    settings = Settings.read(data)
    if not settings.kafka and embedded.status(settings).get("kafka") is None:
        tell(_NO_BROKER)
    total = Tally()
    with entered(data, kafka=True) as house, stopping() as stop, progress("consume") as shown:
        assert house.endpoints.kafka is not None
        tallies = consume(
            house.endpoints.kafka,
            house.intake,
            house.facts,
            topic=topic,
            group=group,
            until_idle=until_idle,
            stop=stop,
            batch_size=settings.batch_size,
            session_seconds=SESSION_SECONDS if settings.kafka else EMBEDDED_SESSION_SECONDS,
        )
        for tally in tallies:
            total += tally
            house.projecting.catch_up()
            shown.to(total.read, None, f"{total.read} read, {total.stored} stored")
        settle(house)
    if json:
        write_json(asdict(total))
        return
    write_line(f"{total.read} read, {total.stored} stored, {total.duplicates} stored before, {total.refused} refused")
    if total.quarantined:
        write_line(f"{total.quarantined} in the quarantine, sealed; why, says: sealdesk status")


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and Ctrl-C set, so that what is at hand is finished first."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, former in before.items():
            signal.signal(number, former)
