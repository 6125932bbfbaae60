"""`up`, `status` and `rebuild`: keep everything running, see how it is, build the read models anew."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from crypto.keystore import rows_of
from crypto.tree import SQL
from domain.errors import SettingsWrong
from services import embedded
from services.cli.entering import entered, settle
from services.cli.options import Data, Json
from services.cli.printing import progress, table, write_json, write_line
from services.cli.streaming import stopping
from services.log import STATEMENTS
from services.projecting import MODELS
from services.settings import Settings
from services.wiring import House

#: How often `up` looks for new facts.
LOOK_SECONDS = 1.0


def up(data: Data = None) -> None:
    """Keep the servers of a data folder running, and the read models at the head of the log, until Ctrl-C.

    Other commands on the same folder use these servers.

    The broker is for demos and tests: it is in memory, and every account of this machine can reach it.

    Example:

        sealdesk up --data ./desk
    """
    with entered(data, kafka=True) as house, stopping() as stop:
        running = embedded.status(house.settings)
        for name in ("log", "keys"):
            where = f"{house.settings.data}/{name}" if running.get(name) else "as configured"
            write_line(f"{name}: {where}")
        write_line(f"kafka: {house.endpoints.kafka}")
        write_line("ready; Ctrl-C ends it")
        sys.stdout.flush()
        settle(house)
        seen = house.facts.head()
        while not stop.wait(LOOK_SECONDS):
            if (head := house.facts.head()) != seen:
                house.projecting.catch_up()
                seen = head
    write_line("stopped")


def status(json: Json = False, data: Data = None) -> None:
    """Say how the house is: servers, head of the log, lag of the read models, counts, and why records were not taken.

    Example:

        sealdesk status --json
    """
    settings = Settings.read(data)
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

    Example:

        sealdesk rebuild all
    """
    if name != "all" and name not in MODELS:
        raise SettingsWrong(f"There is no such read model; there are {', '.join(MODELS)}, and all.")
    reached: dict[str, int] = {}
    with entered(data) as house:
        for model in MODELS if name == "all" else (name,):
            with progress(f"rebuild {model}") as shown:
                reached[model] = house.projecting.rebuild(model, shown.to)
    if json:
        write_json(reached)
        return
    for model, position in reached.items():
        write_line(f"{model}: built up to position {position}")
