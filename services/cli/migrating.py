"""`migrate`: bring log and key database to the version of this program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from domain.errors import SettingsWrong
from services import embedded
from services.cli.options import Data, Json
from services.cli.printing import table, tell, write_json
from services.schema import KEYS, LOG, Schema
from services.settings import Settings, keys_dsn_of, log_dsn_of


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be applied, and change nothing.")] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    """Bring log and key database to the version of this program; say what was applied.

    It is run by the owner of the tables, before the first start and before each start of a newer version, with
    SEALDESK_LOG_DSN and SEALDESK_KEYS_DSN; with one of them alone it migrates that database. A data folder is migrated
    by whatever starts in it. It may be stopped and run again at any moment. Read models are not migrated: they are
    folds of the log, and sealdesk rebuild makes them anew.

    Example:

        sealdesk migrate --dry-run
    """
    # Nobody else imports the library that runs the files.
    from services.migrating import migrate as bring

    found: dict[str, Any] = {}
    with databases_of(data, make=not dry_run) as databases:
        for schema, dsn in databases.items():
            done = bring(schema, dsn, _told(schema), dry_run=dry_run)
            found[schema.what] = {
                "was": list(done.before.applied),
                "adopted": done.adopted,
                "would_apply" if dry_run else "applied": list(done.applied),
                "changed": list(done.before.changed),
            }
            for name in done.before.changed:
                tell(f"{name} was applied to the {schema.called} and reads otherwise today: install sealdesk anew")
    if json:
        write_json(found)
        return
    table(
        ("database", "was at", "to apply" if dry_run else "applied"),
        [line for name, row in found.items() for line in _rows(name, row)],
    )


def _rows(name: str, row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Write a line for each migration: together they would be wider than a screen."""
    was = row["was"][-1] if row["was"] else ("its tables, without an account" if row["adopted"] else "empty")
    first, *further = row.get("would_apply", row.get("applied", ())) or ["nothing"]
    return [(name, was, first), *(("", "", each) for each in further)]


def _told(schema: Schema) -> Any:
    return lambda name: tell(f"{schema.called}: {name}")


@contextmanager
def databases_of(data: Path | None, *, make: bool = True) -> Iterator[dict[Schema, str]]:
    """Find the databases that are configured, or those of the data folder, which is made if it is not there.

    Raises:
        SettingsWrong: a setting is; or without `make`, the data folder holds no databases.
    """
    given = {LOG: log_dsn_of(), KEYS: keys_dsn_of()}
    if there := {schema: dsn for schema, dsn in given.items() if dsn}:
        for schema in given.keys() - there.keys():
            tell(f"the {schema.called} is left as it is: SEALDESK_{schema.what.upper()}_DSN is not set")
        yield there
        return
    settings = Settings.read(data, make=make)
    if not make and not embedded.are_made(settings):
        raise SettingsWrong(
            f"{settings.data} holds no databases: nothing was started in this data folder yet, or it is another one; "
            "sealdesk migrate makes them."
        )
    with embedded.serving(settings) as endpoints:
        yield {LOG: endpoints.log_dsn, KEYS: endpoints.keys_dsn}
