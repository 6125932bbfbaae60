"""`project`, `keep`, `up`, `status` and `rebuild`: the processes that run for long, how everything is, models anew."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from crypto.keystore import rows_of
from crypto.tree import SQL
from domain.errors import SettingsWrong
from services import embedded, wiring
from services.cli.entering import entered, settings_of
from services.cli.options import Data, Json
from services.cli.printing import progress, table, tell, write_json, write_line
from services.cli.serving import Watch, going_on, hands, watched
from services.cli.streaming import taken_in
from services.following import follow, listening
from services.kafka.admission import admission_of
from services.keeping import is_behind
from services.log import STATEMENTS
from services.projecting import MODELS
from services.rounds import Rounds, Step
from services.settings import log_dsn_of
from services.steps import steps_of
from services.watching.pulse import Stop
from services.wiring import House, Projector, projector


def project(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help=f"Only these: {', '.join(MODELS)}.", show_default=False),
    ] = None,
    data: Data = None,
) -> None:
    """Keep read models at the head of the log until SIGTERM or Ctrl-C. It has no keys, and asks for none.

    With servers of your own it needs SEALDESK_LOG_DSN and nothing else.

    Example:

        sealdesk project tickets reports
    """
    if unknown := set(models or ()) - set(MODELS):
        raise SettingsWrong(f"{len(unknown)} of these are no read models; there are {', '.join(MODELS)}.")
    with watched("models") as watch, _log_of(data, makes=True) as log_dsn:
        watch.tells(lambda wired: wired.models(log_dsn))

        def work(opened: Callable[[], None]) -> None:
            with projector(log_dsn, ours=log_dsn_of() is None) as open_projector:
                opened()
                _follow(watch, open_projector, models)

        _say("projecting; Ctrl-C ends it")
        going_on(watch, work)
    write_line("stopped")


@contextmanager
def _log_of(data: Path | None, *, makes: bool = False) -> Iterator[str]:
    """Find the log database, and nothing of what opens anything: its DSN, or the servers of a data folder."""
    if log_dsn := log_dsn_of():
        yield log_dsn
        return
    with embedded.serving(settings_of(data, makes=makes)) as endpoints:
        yield endpoints.log_dsn


def _follow(watch: Watch, projector: Projector | House, models: Collection[str] | None = None) -> None:
    def caught_up(seconds: float) -> None:
        watch.step("project", seconds)
        watch.readiness.there("models")

    follow(projector.facts, projector.projecting, watch.stop, models=models, caught_up=caught_up)


def keep(data: Data = None) -> None:
    """Do what has to be done again and again, until SIGTERM or Ctrl-C.

    Key work that a crash left, shreds that were begun, purges, what expires; with Kafka, topics are cleared and
    recipients told. Several of these processes share the work.

    Example:

        sealdesk keep
    """
    settings = settings_of(data, makes=True)
    with watched("gate") as watch, embedded.serving(settings) as endpoints:
        watch.tells(lambda wired: wired.databases(endpoints, settings.quarantine_days))

        def work(opened: Callable[[], None]) -> None:
            watch.readiness.there("gate", False)
            with wiring.house(settings, endpoints) as house:
                opened()
                with listening(house.facts) as append:
                    _keep(watch, house, append)

        _say("keeping; Ctrl-C ends it")
        going_on(watch, work)
    write_line("stopped")


def _keep(watch: Watch, house: House, append: Callable[[float, Stop], bool] | None = None) -> None:
    """Go on with the rounds until it is asked to end.

    With a way to wait for an append, the key work that an intake leaves is done as soon as it is stored.
    """
    watch.readiness.there("gate")
    watch.tells(lambda wired: wired.ledger(house.ledger))
    rounds = Rounds([*steps_of(house, tell), *_looking_at_topics(watch, house)], house.keys.alone, watch)
    if append is None:
        while not watch.stop.wait(rounds.turn(watch.pulse.beat)):
            pass
        return
    while not watch.stop.is_set():
        if append(rounds.turn(watch.pulse.beat), watch.stop) and is_behind(house.keys, house.facts):
            rounds.hurry("mend")


def _looking_at_topics(watch: Watch, house: House) -> list[Step]:
    """Ask the brokers about the topics, if anybody can hear what they say."""
    if house.endpoints.kafka is None or watch.standing is None:
        return []
    # With it comes the client of Prometheus, which other commands start without.
    from services.watching.brokers import SECONDS, Brokers

    brokers = Brokers(house.endpoints.kafka, house.facts, admission_of().topics)
    watch.tells(lambda _: [brokers.source()])
    return [Step("topics", SECONDS, brokers.step, alone=False)]


def up(
    consuming: Annotated[
        bool, typer.Option("--consume/--no-consume", help="Also take in what is published to Kafka.")
    ] = True,
    data: Data = None,
) -> None:
    """Be the whole house in one process, until Ctrl-C: servers, intake from Kafka, read models, and what `keep` does.

    Other commands on the same folder use these servers.

    The broker is for demos and tests: it is in memory, and every account of this machine can reach it.

    Example:

        sealdesk up --data ./desk
    """
    with (
        watched("gate", "models", *(["group"] if consuming else [])) as watch,
        entered(data, kafka=True, makes=True) as house,
    ):
        running = embedded.status(house.settings)
        for name in ("log", "keys"):
            where = f"{house.settings.data}/{name}" if running.get(name) else "as configured"
            write_line(f"{name}: {where}")
        assert house.endpoints.kafka is not None
        write_line(f"kafka: {house.endpoints.kafka.bootstrap}")
        _say("ready; Ctrl-C ends it")
        watch.tells(lambda wired: wired.databases(house.endpoints, house.settings.quarantine_days))
        with hands(watch) as start:
            start("project", lambda: _follow(watch, house))
            if consuming:
                start("consume", lambda: deque(taken_in(watch, house), maxlen=0))

            def work(opened: Callable[[], None]) -> None:
                opened()
                _keep(watch, house)

            going_on(watch, work)
    write_line("stopped")


def _say(line: str) -> None:
    """Write a line for whoever waits for this process to be there."""
    write_line(line)
    sys.stdout.flush()


def status(json: Json = False, data: Data = None) -> None:
    """Say how the house is: servers, head of the log, lag of the read models, counts, and why records were not taken.

    Example:

        sealdesk status --json
    """
    settings = settings_of(data)
    before = embedded.status(settings)
    with entered(data) as house:
        found = _found(house, before)
    if json:
        write_json(found)
        return
    table(("server", ""), found["servers"].items())
    models = [(name, model["position"], model["lag"]) for name, model in found["read_models"].items()]
    table(("read model", "position", "lag"), models)
    table(("count", ""), found["counts"].items())
    if found["quarantine"]:
        rows = [(row["code"], row["path"], row["records"]) for row in found["quarantine"]]
        table(("quarantined because", "at", "records"), rows)


def _found(house: House, before: dict[str, int | None]) -> dict[str, Any]:
    positions = house.projecting.positions()
    head = house.facts.head()
    with house.facts.cursor() as cursor:
        [counts] = cursor.execute(STATEMENTS.counts.sql).fetchall()
        quarantine = cursor.execute(STATEMENTS.quarantined.sql).fetchall()
    with house.keys.transaction() as keys:
        [held] = rows_of(keys, SQL.head_counts.sql)
    given = {
        "log": house.settings.log_dsn,
        "keys": house.settings.keys_dsn,
        "kafka": house.settings.kafka,
    }
    return {
        "servers": {
            name: "configured" if given[name] else ("running" if before.get(name) else "started when needed")
            for name in given
        },
        "head": head,
        "read_models": {name: {"position": at, "lag": max(0, head - at)} for name, at in positions.items()},
        "counts": {
            **counts,
            **held,
            "ledger_head": house.ledger.head(),
            "tenants": len(house.tenants.by_name()),
        },
        "quarantine": [dict(row) for row in quarantine],
    }


def rebuild(
    name: Annotated[str, typer.Argument(metavar="NAME|all", help=f"{', '.join(MODELS)}, or all.")],
    json: Json = False,
    data: Data = None,
) -> None:
    """Build a read model anew from the log, beside the live one, and swap. Readers notice nothing.

    It has no keys, and asks for none: with servers of your own it needs SEALDESK_LOG_DSN and nothing else.

    Example:

        sealdesk rebuild all
    """
    if name != "all" and name not in MODELS:
        raise SettingsWrong(f"There is no such read model; there are {', '.join(MODELS)}, and all.")
    reached: dict[str, int] = {}
    # Not the whole house: what a crash left of a shred waits for read models, and would be carried out first.
    with _log_of(data) as log_dsn, projector(log_dsn, ours=log_dsn_of() is None) as log:
        for model in MODELS if name == "all" else (name,):
            with progress(f"rebuild {model}") as shown:
                reached[model] = log.projecting.rebuild(model, shown.to)
    if json:
        write_json(reached)
        return
    for model, position in reached.items():
        write_line(f"{model}: built up to position {position}")
