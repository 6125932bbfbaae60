"""`query`: the lists and summaries, sealed unless a reason is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import typer

from domain.errors import ReferenceUnknown, SettingsWrong
from domain.ids import TenantId, ThingId
from domain.personal import Kind, Reference
from projections import contacts, tickets
from services.cli.asking import found, one_line, reference, whole_text
from services.cli.entering import entered
from services.cli.options import Data, Email, Json, Ref, Tenant
from services.cli.printing import table, tell, write_line, write_rows, write_sorted
from services.reading import Reveal
from services.wiring import House

#: Rows of a table unless --limit says otherwise; a screen holds about as many.
TABLE_ROWS = 30
#: Characters of an id in a table: enough to tell rows apart.
SHORT_ID = 8

commands = typer.Typer(help="What can be asked. Personal fields read as sealed or shredded, unless revealed.")

Revealed = Annotated[bool, typer.Option("--reveal", help="Show personal data; needs --why, and leaves an access line.")]
Why = Annotated[
    str | None,
    typer.Option("--why", metavar="TEXT", help="Why it is revealed; '-' reads standard input.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="Also rows that are deleted, merged or erased. JSON shows them too.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="At most so many rows; by default 30, in JSON all."),
]
After = Annotated[
    str | None,
    typer.Option("--after", metavar="ID", help="Go on behind the row with this id, as JSON has it."),
]


def _word(name: str) -> Any:
    return typer.Option(f"--{name}", metavar="WORD", help=f"Only this {name}.", show_default=False)


def _day(name: str, help: str) -> Any:
    return typer.Option(f"--{name}", metavar="YYYY-MM-DD", help=help, show_default=False)


@commands.command("contacts")
def query_contacts(
    ref: Ref = None,
    email: Email = None,
    agents: Annotated[bool, typer.Option("--agents", help="Only agents.")] = False,
    reveal: Revealed = False,
    why: Why = None,
    all: All = False,
    limit: Limit = None,
    after: After = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List people, in the order in which they became known.

    Examples:

        sealdesk query contacts

        sealdesk query contacts --email - --reveal --why "access request 17" --json
    """
    opening = _reason(reveal, why)
    with entered(data) as house:
        account, seen = _ready(house, tenant, opening)
        choice: dict[str, Any] = {"all": all or json, "limit": _limit(limit, json), "agent": True if agents else None}
        if after is not None:
            choice["after"] = _behind_profile(house, account, after)
        if ref is None and email is None:
            rows = house.reading.contacts(account, seen, **choice)
        else:
            person = found(house, account, reference(Kind.PERSON, ref, email))
            profiles = sorted(person.profiles, key=lambda profile: (profile != person.profile, profile))
            rows = (
                row for profile in profiles for row in house.reading.contacts(account, seen, **choice, profile=profile)
            )
        if json:
            write_rows(rows)
            return
        headings = ("profile", "name", "email", "phone", "agent", "language", "state")
        _show(headings, rows, limit, _contact_cells, spare=("language", "phone"))


@commands.command("tickets")
def query_tickets(
    ref: Annotated[str | None, typer.Option("--ref", metavar="ID", help="Only this requester, by id.")] = None,
    email: Annotated[
        str | None,
        typer.Option("--email", metavar="ADDRESS", help="Only this requester, by address; '-' reads standard input."),
    ] = None,
    ticket: Annotated[str | None, typer.Option("--ticket", metavar="ID", help="Only this ticket.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="ID", help="Only this responder.")] = None,
    status: Annotated[str | None, _word("status")] = None,
    priority: Annotated[str | None, _word("priority")] = None,
    channel: Annotated[str | None, _word("channel")] = None,
    type: Annotated[str | None, _word("type")] = None,
    group: Annotated[str | None, _word("group")] = None,
    product: Annotated[str | None, _word("product")] = None,
    since: Annotated[str | None, _day("since", "Opened on this day or later.")] = None,
    until: Annotated[str | None, _day("until", "Opened on this day or earlier.")] = None,
    reveal: Revealed = False,
    why: Why = None,
    all: All = False,
    limit: Limit = None,
    after: After = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List tickets, in the order in which they were recorded; in JSON with their conversations.

    Examples:

        sealdesk query tickets --status open --priority urgent

        sealdesk query tickets --email - --reveal --why "access request 17" --json
    """
    opening = _reason(reveal, why)
    days = _date(since, "--since"), _date(until, "--until")
    with entered(data) as house:
        account, seen = _ready(house, tenant, opening)
        choice: dict[str, Any] = {
            "all": all or json,
            "limit": _limit(limit, json),
            "status": status,
            "priority": priority,
            "channel": channel,
            "type": type,
            "group": group,
            "product": product,
            "opened_from": days[0],
            "opened_until": days[1],
        }
        if after is not None:
            choice["after"] = _behind_ticket(house, account, after)
        if ref is not None or email is not None:
            choice["requester"] = found(house, account, reference(Kind.PERSON, ref, email)).id
        if agent is not None:
            choice["responder"] = found(house, account, Reference(Kind.PERSON, one_line(agent, "id"))).id
        if ticket is not None:
            choice["ticket"] = found(house, account, Reference(Kind.TICKET, one_line(ticket, "id"))).id
        rows = house.reading.tickets(account, seen, **choice)
        if json:
            write_rows(rows)
            return
        headings = ("ticket", "opened", "status", "priority", "channel", "type", "group", "entries", "subject", "state")
        _show(headings, rows, limit, _ticket_cells, spare=("entries", "channel", "group", "type"))


@commands.command("reports")
def query_reports(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """Sum up every ticket ever opened: counts, response times, ratings. Forgetting a person changes none of it.

    Example:

        sealdesk query reports --json
    """
    with entered(data) as house:
        account, _ = _ready(house, tenant, None)
        summary = house.reading.reports(account)
    _write_summary(summary, json)


@commands.command("erasures")
def query_erasures(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """Sum up what was erased, by day, and how many of the tickets were open.

    Example:

        sealdesk query erasures --json
    """
    with entered(data) as house:
        account, _ = _ready(house, tenant, None)
        summary = house.reading.erasures(account)
    _write_summary(summary, json)


def _reason(reveal: bool, why: str | None) -> str | None:
    """Give the reason of a reveal, or None when nothing is revealed."""
    if not reveal:
        if why is not None:
            raise SettingsWrong("--why goes with --reveal.")
        return None
    reason = whole_text(why, "reason") or ""
    if not reason.strip():
        raise SettingsWrong("A reveal needs a reason: --reveal --why TEXT.")
    return reason


def _ready(house: House, tenant: str | None, why: str | None) -> tuple[TenantId, Reveal | None]:
    """Bring the read models to the head of the log, and say whose they are and who looks."""
    account = house.tenants.named(tenant).id
    house.projecting.catch_up()
    return account, None if why is None else Reveal(house.settings.actor, why)


def _limit(limit: int | None, json: bool) -> int | None:
    # A table asks for one row more, to know whether there are more.
    return limit if json else (limit or TABLE_ROWS) + 1


def _inside(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise SettingsWrong("--after takes the whole id of a row, as JSON has it.") from None


def _behind_ticket(house: House, tenant: TenantId, after: str) -> int:
    wanted = ThingId(_inside(after))
    with house.facts.connection() as connection:
        rows = list(tickets.rows(connection, tenant, ticket=wanted, all=True))
    if not rows:
        raise ReferenceUnknown("There is no ticket with the id that --after names.")
    return rows[0].first_position


def _behind_profile(house: House, tenant: TenantId, after: str) -> int:
    wanted = ThingId(_inside(after))
    with house.facts.connection() as connection:
        rows = list(contacts.rows(connection, tenant, profile=wanted, all=True))
    if not rows:
        raise ReferenceUnknown("There is nobody with the id that --after names.")
    return rows[0].first_position


def _date(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise SettingsWrong(f"{option} is a day, written as 2024-12-31.") from None


def _show(
    headings: tuple[str, ...],
    rows: Iterator[dict[str, Any]],
    limit: int | None,
    cells: Callable[[dict[str, Any]], tuple[object, ...]],
    *,
    spare: tuple[str, ...],
) -> None:
    most = limit or TABLE_ROWS
    listed = list(islice(rows, most + 1))
    table(headings, [cells(row) for row in listed[:most]], spare=spare)
    if len(listed) > most:
        last = listed[most - 1][headings[0]]
        tell(f"there are more; go on with --after {last}, or take all with --json")


def _contact_cells(row: dict[str, Any]) -> tuple[object, ...]:
    names = ("name", "email", "phone", "agent", "language")
    return (row["profile"][:SHORT_ID], *(row.get(name) for name in names), _state(row))


def _ticket_cells(row: dict[str, Any]) -> tuple[object, ...]:
    names = ("opened_on", "status", "priority", "channel", "type", "group", "entries", "subject")
    return (row["ticket"][:SHORT_ID], *(row.get(name) for name in names), _state(row))


def _state(row: dict[str, Any]) -> str:
    return ", ".join(name for name in ("deleted", "merged", "erased") if row.get(name))


def _write_summary(summary: dict[str, Any], json: bool) -> None:
    if json:
        write_sorted(summary)
        return
    for name, part in sorted(summary.items()):
        if isinstance(part, dict):
            counted = list(_counted(part))
            measures = list(dict.fromkeys(measure for *_, counts in counted for measure in counts))
            rows = [(*words, *(counts.get(measure) for measure in measures)) for *words, counts in counted]
            table(("", "", *measures), rows, title=name)
        else:
            write_line(f"{name}: {part}")


def _counted(part: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Lay a part of a summary out as rows: (dimension, value, counts by name)."""
    for name, value in sorted(part.items()):
        if not isinstance(value, dict):
            yield name, "", {"": value}
        elif not _MEASURES.isdisjoint(value):
            yield name, "", value
        else:
            for word, counts in sorted(value.items()):
                yield name, word, counts if isinstance(counts, dict) else {"": counts}


#: What the innermost part of a summary counts.
_MEASURES = frozenset({"count", "subjects"})
