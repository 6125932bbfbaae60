"""`keys turn`, `move`, `status`, `check`, `backed-up`: the root epochs, and whether every key is what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from crypto.findings import MEANING, Report
from crypto.integrity import Integrity
from crypto.keepers import MovingRoots
from crypto.turning import Turning
from domain.errors import SettingsWrong
from services import epochs, gate, rewriting
from services.cli.entering import entered, settings_of
from services.cli.options import Data, Json
from services.cli.printing import progress, table, tell, write_json, write_line
from services.embedded import serving
from services.integrity import LogIntegrity
from services.roots import ROOTS_BEFORE
from services.settings import Settings
from services.wiring import House, databases, examined, now, opened

_GRACE_HOURS = int(epochs.GRACE / timedelta(hours=1))

Grace = Annotated[
    int,
    typer.Option("--grace", metavar="HOURS", min=0, help="How long an older root outlives the turn that replaced it."),
]


def register(group: typer.Typer) -> None:
    """Add these commands to a group."""
    group.command("turn")(turn)
    group.command("move")(move)
    group.command("status")(status)
    group.command("check")(check)
    group.command("backed-up")(backed_up)
    group.command("accept-loss")(accept_loss)


def turn(grace: Grace = _GRACE_HOURS, json: Json = False, data: Data = None) -> None:
    """Turn the root epoch: what lives gets under a new root, and older roots are destroyed once their grace is over.

    With the root dies every copy of the key database from before the turn: make a new one now, and say so with
    'sealdesk keys backed-up'. A turn that was interrupted goes on with the same command. Everything else keeps running.

    Examples:

        sealdesk keys turn

        sealdesk keys turn --grace 0 --json
    """
    with entered(data) as house:
        turning = _turning(house)
        with progress("turning") as shown:
            turning.turn(shown.to)
        said = _ended(house, turning, grace)
    _say(said, json=json)


def move(grace: Grace = _GRACE_HOURS, json: Json = False, data: Data = None) -> None:
    """Move the roots to another place: a turn whose root lies there. What stands beneath the roots is not touched.

    Set SEALDESK_ROOTS, and SEALDESK_KEEPER with the settings of the device, to the new place, and SEALDESK_ROOTS_BEFORE
    and SEALDESK_KEEPER_BEFORE to the old one, for every process. Run this once to move, and once more when the grace
    time is over: it says when the old place is left and the settings of before can go.

    Example:

        SEALDESK_ROOTS=/srv/roots SEALDESK_KEEPER=hsm SEALDESK_ROOTS_BEFORE=/srv/roots-in-files sealdesk keys move
    """
    with entered(data) as house:
        roots = house.roots
        if not isinstance(roots, MovingRoots):
            raise SettingsWrong(f"Say where the roots come from: {ROOTS_BEFORE}; see: sealdesk keys move --help")
        turning = _turning(house)
        with progress("moving") as shown:
            epochs.move(turning, roots, shown.to)
        said = _ended(house, turning, grace)
    _say(said, json=json)
    if not json:
        write_line(
            f"the old place holds nothing any more: take {ROOTS_BEFORE} out of the settings of every process"
            if said["left"]
            else f"the old place still holds roots until their grace is over: keep {ROOTS_BEFORE}, and run this again"
        )


def status(json: Json = False, data: Data = None) -> None:
    """Say which epochs there are, what stands under each, and which copies of the key database still open.

    Warns when the newest copy that opens everything is older than SEALDESK_BACKUP_HOURS (25), or none was told of.

    Example:

        sealdesk keys status --json
    """
    with opened(settings_of(data)) as house:
        hours = house.settings.backup_hours
        found = epochs.status(house.keys, house.roots, at=now(), backup_hours=hours)
    if json:
        write_json(_for_json(found))
    else:
        _show(found)
    if found.is_backup_late:
        newest = "none that was told of" if found.backup is None else f"of {_time(found.backup)}"
        tell(
            f"the newest copy of the key database that opens everything is {newest}, and should be at most {hours} "
            "hours old; make one, and then: sealdesk keys backed-up"
        )


def check(
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also open every seal of the log in memory, and compare the log with the keys."),
    ] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    """Look for keys that were rolled back, swapped, changed or lost. Ends with 1 if there are any.

    What is found is named by kind and inside id; facts by position. Nothing personal is shown, and nothing changed.

    Examples:

        sealdesk keys check

        sealdesk keys check --deep --json
    """
    answers: Mapping[str, int] | None = None
    with examined(settings_of(data)) as house, progress("checking") as shown:

        def tell_progress(what: str, done: int, total: int) -> None:
            shown.to(done, total, what)

        looking = Integrity(house.keys, house.roots, house.ledger, now, tell_progress)
        reports = [looking.check()]
        if deep and looking.can_judge_shreds:
            rootless = looking.rootless
            found = LogIntegrity(house.facts, house.keys, house.roots, tell_progress, rootless=rootless).check()
            answers = found.counts
            reports.append(found.report)
    report = _together(reports)
    said = report.as_dict() | ({} if answers is None else {"facts": dict(answers)})
    if json:
        write_json(said)
    else:
        table(("looked at", "rows"), report.looked_at.items())
        if answers is not None:
            table(("facts", ""), answers.items())
        found_rows = [(kind, wrong.value, count, MEANING[wrong]) for (kind, wrong), count in report.found.items()]
        if found_rows:
            table(("kind", "is", "how many", "which means"), found_rows)
            columns = ("kind", "wrong", "id", "number")
            table(columns, [[finding.as_dict().get(column) for column in columns] for finding in report.named])
        else:
            write_line("every key is what it should be")
    if not report.is_clean:
        tell("see docs/runbooks/loss-of-keys.md")
        raise typer.Exit(1)


def backed_up(
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="When it was begun (ISO 8601); by default now.")
    ] = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Tell that a copy of the key database was made, so that 'sealdesk keys status' knows which one still opens.

    Give the time before the copy was begun: a turn may come in between, and then the copy opens nothing.

    Example:

        begun=$(date --utc +%Y-%m-%dT%H:%M:%SZ)

        pg_dump --format custom --file keys.dump "$SEALDESK_KEYS_DSN" && sealdesk keys backed-up --at "$begun"
    """
    made_at = now() if at is None else _read_time(at)
    with opened(settings_of(data)) as house:
        epochs.note_backup(house.keys, made_at=made_at, at=now())
    if json:
        write_json({"backup": _time(made_at)})
    else:
        write_line(f"noted: a copy of {_time(made_at)}")


def accept_loss(
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Of the ledger: write lines that no place has any more again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, nothing is changed.")] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    """Accept that no copy is left of what is lost: of newer keys, or, with --ledger, of lines of the ledger.

    Of keys: a key database may be older than its log, and what was sealed since stays lost. Of the ledger: its missing
    lines are written again from the key database, without what fences references; turn the epoch then, at once. See
    docs/runbooks/loss-of-keys.md and docs/runbooks/loss-of-the-ledger.md before.

    Examples:

        sealdesk keys accept-loss --yes

        sealdesk keys accept-loss --ledger --yes
    """
    if not yes:
        runbook = "loss-of-the-ledger" if ledger else "loss-of-keys"
        raise SettingsWrong(f"Nothing was changed. Read docs/runbooks/{runbook}.md, and then say --yes.")
    settings = settings_of(data)
    if ledger:
        _write_ledger_again(settings, json=json)
        return
    with serving(settings) as endpoints, databases(endpoints) as (facts, keys):
        issued, seen = gate.accept_loss(facts, keys)
    if json:
        write_json({"issued": issued, "seen": seen})
    elif issued >= seen:
        write_line("no key is missing: nothing was changed")
    else:
        write_line(f"the keys of {seen - issued} batches stay lost; start again")


def _write_ledger_again(settings: Settings, *, json: bool) -> None:
    with examined(settings) as house:
        written = rewriting.write_again(house.facts, house.keys, house.roots, house.ledger, at=now())
    if json:
        write_json({"lines": list(written)})
    elif not written:
        write_line("no line is missing: nothing was changed")
    else:
        write_line(
            f"lines {written[0]} to {written[-1]} of the ledger are written again, without what fences references; "
            "turn the epoch now: sealdesk keys turn --grace 0"
        )


def _turning(house: House) -> Turning:
    return Turning(house.keys, house.roots, now)


def _ended(house: House, turning: Turning, grace: int) -> dict[str, Any]:
    """Destroy the roots that are due, and say what a turn did."""
    destroyed = turning.destroy_older(grace=timedelta(hours=grace))
    epochs.certify_destroyed(house.keys, house.certifying.recertify, at=now())
    said = {"epoch": house.roots.current(), **turning.counted(), "destroyed": destroyed}
    return said if not isinstance(house.roots, MovingRoots) else said | {"left": house.roots.leave()}


def _say(said: Mapping[str, Any], *, json: bool) -> None:
    if json:
        write_json(said)
        return
    write_line(
        f"epoch {said['epoch']}: {said['rewrapped']} keys wrapped under the new root; {said['replaced']} that had lost "
        f"something replaced, with {said['children']} beneath them"
    )
    if said["destroyed"]:
        write_line(f"destroyed: the roots of {', '.join(str(epoch) for epoch in said['destroyed'])}")
    else:
        write_line("destroyed: no root yet; the grace time is not over")
    write_line("make a copy of the key database now, and then: sealdesk keys backed-up")


def _show(found: epochs.Status) -> None:
    columns = ("epoch", "begun_at", "age_hours", "filled_at", "destroyed_at", "effective_at", "keys")
    table(columns, [[_shown(row[column]) for column in columns] for row in found.epochs])
    table(("epoch", "kind", "keys"), [(row["epoch"], row["kind"], row["keys"]) for row in found.keys])
    counts = {
        "living": found.living,
        "shredded": found.shredded,
        "shreds that an old copy could undo": found.recoverable,
    }
    table(("people", ""), counts.items())
    if found.is_unfinished:
        write_line("a turn was begun and not finished; go on with: sealdesk keys turn")
    write_line(f"copies of the key database that open everything: {_since(found.opens_all_since)}")
    write_line(f"copies that open something: {_since(found.opens_something_since)}")
    write_line(f"newest copy that was told of and opens everything: {_shown(found.backup) or 'none'}")


def _for_json(found: epochs.Status) -> dict[str, Any]:
    return {
        "epochs": [{name: _shown(value) for name, value in row.items()} for row in found.epochs],
        "keys": list(found.keys),
        "people": {"living": found.living, "shredded": found.shredded},
        "recoverable": found.recoverable,
        "unfinished": found.is_unfinished,
        "opens_all_since": _shown(found.opens_all_since),
        "opens_something_since": _shown(found.opens_something_since),
        "backup": _shown(found.backup),
        "backup_late": found.is_backup_late,
    }


def _together(reports: list[Report]) -> Report:
    whole = Report()
    for report in reports:
        whole.looked_at.update(report.looked_at)
        whole.found.update(report.found)
        whole.named.update(report.named)
        whole.beneath += report.beneath
    return whole


def _since(at: datetime | None) -> str:
    return "all that were ever made" if at is None else f"those made since {_time(at)}"


def _shown(value: object) -> object:
    return _time(value) if isinstance(value, datetime) else value


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _read_time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsWrong("--at is a time like 2026-05-17T12:00:00Z.") from None
    if at.utcoffset() is None:
        raise SettingsWrong("--at needs its offset from UTC, as in 2026-05-17T12:00:00Z.")
    return at
