"""`up`, `status` and `rebuild`: keep everything running, see how it is, build the read models anew."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from crypto.keystore import rows_of
from crypto.tree import SQL
from domain.errors import SettingsWrong, ShredRefused
from services import embedded
from services.cli.entering import entered, settle
from services.cli.options import Data, Json
from services.cli.printing import progress, table, tell, write_json, write_line
from services.cli.streaming import stopping
from services.log import STATEMENTS
from services.projecting import MODELS
from services.settings import Settings
from services.wiring import House

#: How often `up` looks for new facts.
LOOK_SECONDS = 1.0
#: How often `up` purges what is due.
PURGE_SECONDS = 3600.0


def up(data: Data = None) -> None:
    """Keep the servers of a data folder running, the read models at the head of the log, and the trash purged.

    It runs until Ctrl-C, and purges once an hour what is due (see: sealdesk purge list).

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
        if house.endpoints.kafka is not None:
            write_line(f"kafka: {house.endpoints.kafka.bootstrap}")
        write_line("ready; Ctrl-C ends it")
        sys.stdout.flush()
        settle(house)
        seen, purged_at = house.facts.head(), -PURGE_SECONDS
        while not stop.wait(LOOK_SECONDS):
            if (head := house.facts.head()) != seen:
                house.projecting.catch_up()
                seen = head
            if time.monotonic() - purged_at > PURGE_SECONDS:
                _purge(house)
                purged_at = time.monotonic()
    write_line("stopped")


def _purge(house: House) -> None:
    """Purge what is due, tenant by tenant; what the brake or a hold stops waits for somebody to look."""
    for tenant in house.tenants.by_name().values():
        due = house.purging.due(tenant)
        try:
            outcomes = house.purging.purge(tenant, due, actor="purge") if due else []
        except ShredRefused as refused:
            tell(f"the trash is full: {refused}; see: sealdesk purge run --dry-run")
            continue
        if stayed := sum(isinstance(outcome, ShredRefused) for outcome in outcomes):
            tell(f"{stayed} things in the trash are held, and stay")


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
