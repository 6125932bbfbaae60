"""`query`: the lists and summaries, sealed unless a reason is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import typer

from domain.ids import TenantId
from domain.personal import Kind, Reference
from projections import contacts, tickets
from services.cli import browsing
from services.cli.asking import found, one_line, reference
from services.cli.entering import entered
from services.cli.listing import (
    SHORT_ID,
    After,
    All,
    Limit,
    Revealed,
    Why,
    behind,
    day,
    most,
    on,
    ready,
    reason,
    show,
    state,
    word,
)
from services.cli.options import Data, Email, Json, Ref, Tenant
from services.cli.printing import table, write_line, write_sorted
from services.wiring import House

commands = typer.Typer(help="What can be asked. Personal fields read as sealed or shredded, unless revealed.")


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
    """List people, in the order in which they became known; in JSON with what they consented to.

    Examples:

        sealdesk query contacts

        sealdesk query contacts --email - --reveal --why "access request 17" --json
    """
    opening = reason(reveal, why)
    with entered(data) as house:
        account, seen = ready(house, tenant, opening)
        choice: dict[str, Any] = {"all": all or json, "limit": most(limit, json), "agent": True if agents else None}
        if after is not None:
            choice["after"] = behind(house, account, after, contacts.rows, column="profile", what="person")
        if ref is None and email is None:
            rows = house.reading.contacts(account, seen, **choice)
        else:
            person = found(house, account, reference(Kind.PERSON, ref, email))
            profiles = sorted(person.profiles, key=lambda profile: (profile != person.profile, profile))
            rows = (
                row for profile in profiles for row in house.reading.contacts(account, seen, **choice, profile=profile)
            )
        headings = ("profile", "name", "email", "phone", "agent", "language", "state")
        show(rows, headings, _contact_cells, limit=limit, json=json, spare=("language", "phone"))


@commands.command("tickets")
def query_tickets(
    ref: Annotated[str | None, typer.Option("--ref", metavar="ID", help="Only this requester, by id.")] = None,
    email: Annotated[
        str | None,
        typer.Option("--email", metavar="ADDRESS", help="Only this requester, by address; '-' reads standard input."),
    ] = None,
    ticket: Annotated[str | None, typer.Option("--ticket", metavar="ID", help="Only this ticket.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="ID", help="Only this responder.")] = None,
    status: Annotated[str | None, word("status")] = None,
    priority: Annotated[str | None, word("priority")] = None,
    channel: Annotated[str | None, word("channel")] = None,
    type: Annotated[str | None, word("type")] = None,
    group: Annotated[str | None, word("group")] = None,
    product: Annotated[str | None, word("product")] = None,
    since: Annotated[str | None, day("since", "Opened on this day or later.")] = None,
    until: Annotated[str | None, day("until", "Opened on this day or earlier.")] = None,
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
    opening = reason(reveal, why)
    days = on(since, "--since"), on(until, "--until")
    with entered(data) as house:
        account, seen = ready(house, tenant, opening)
        choice: dict[str, Any] = {
            "all": all or json,
            "limit": most(limit, json),
            "status": status,
            "priority": priority,
            "channel": channel,
            "type": type,
            "group": group,
            "product": product,
            "opened_from": days[0],
            "opened_until": days[1],
            **_whose(house, account, ref, email, agent),
        }
        if after is not None:
            choice["after"] = behind(house, account, after, tickets.rows, column="ticket", what="ticket")
        if ticket is not None:
            choice["ticket"] = found(house, account, Reference(Kind.TICKET, one_line(ticket, "id"))).id
        rows = house.reading.tickets(account, seen, **choice)
        headings = ("ticket", "opened", "status", "priority", "channel", "type", "group", "entries", "subject", "state")
        columns = ("opened_on", *headings[2:-1])
        cells = _cells("ticket", columns)
        show(rows, headings, cells, limit=limit, json=json, spare=("entries", "channel", "group", "type"))


Contact = Annotated[
    str | None, typer.Option("--contact", metavar="ID", help="Only this contact, by id.", show_default=False)
]
ContactEmail = Annotated[
    str | None,
    typer.Option(
        "--email",
        metavar="ADDRESS",
        help="Only this contact, by address; '-' reads standard input.",
        show_default=False,
    ),
]
Agent = Annotated[str | None, typer.Option("--agent", metavar="ID", help="Only this agent.", show_default=False)]
Group = Annotated[str | None, word("group")]
Since = Annotated[str | None, day("since", "Begun on this day or later.")]
Until = Annotated[str | None, day("until", "Begun on this day or earlier.")]


@commands.command("calls")
def query_calls(
    contact: Contact = None,
    email: ContactEmail = None,
    call: Annotated[
        str | None, typer.Option("--call", metavar="ID", help="Only this call.", show_default=False)
    ] = None,
    agent: Agent = None,
    group: Group = None,
    since: Since = None,
    until: Until = None,
    reveal: Revealed = False,
    why: Why = None,
    all: All = False,
    limit: Limit = None,
    after: After = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List calls, in the order in which they were recorded; in JSON with recordings and transcripts.

    Examples:

        sealdesk query calls --contact 432

        sealdesk query calls --contact 432 --reveal --why "access request 17" --json
    """
    opening = reason(reveal, why)
    days = on(since, "--since"), on(until, "--until")
    with entered(data) as house:
        account, seen = ready(house, tenant, opening)
        choice: dict[str, Any] = {
            "all": all or json,
            "limit": most(limit, json),
            "group": group,
            "opened_from": days[0],
            "opened_until": days[1],
            **_whose(house, account, contact, email, agent),
        }
        if after is not None:
            choice["after"] = behind(
                house, account, after, partial(tickets.rows, kind="call"), column="ticket", what="call"
            )
        if call is not None:
            choice["ticket"] = found(house, account, Reference(Kind.CALL, one_line(call, "id"))).id
        rows = house.reading.calls(account, seen, **choice)
        headings = ("call", "began", "direction", "seconds", "group", "entries", "subject", "state")
        cells = _cells("call", ("opened_at", "direction", "duration_seconds", "group", "entries", "subject"))
        show(rows, headings, cells, limit=limit, json=json, spare=("entries", "group"))


@commands.command("chats")
def query_chats(
    contact: Contact = None,
    email: ContactEmail = None,
    chat: Annotated[
        str | None, typer.Option("--chat", metavar="ID", help="Only this chat.", show_default=False)
    ] = None,
    agent: Agent = None,
    group: Group = None,
    channel: Annotated[str | None, word("channel")] = None,
    since: Since = None,
    until: Until = None,
    reveal: Revealed = False,
    why: Why = None,
    all: All = False,
    limit: Limit = None,
    after: After = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List chats, in the order in which they were recorded; in JSON with their messages.

    Examples:

        sealdesk query chats --contact 432

        sealdesk query chats --since 2026-03-01 --json
    """
    opening = reason(reveal, why)
    days = on(since, "--since"), on(until, "--until")
    with entered(data) as house:
        account, seen = ready(house, tenant, opening)
        choice: dict[str, Any] = {
            "all": all or json,
            "limit": most(limit, json),
            "group": group,
            "channel": channel,
            "opened_from": days[0],
            "opened_until": days[1],
            **_whose(house, account, contact, email, agent),
        }
        if after is not None:
            choice["after"] = behind(
                house, account, after, partial(tickets.rows, kind="chat"), column="ticket", what="chat"
            )
        if chat is not None:
            choice["ticket"] = found(house, account, Reference(Kind.CHAT, one_line(chat, "id"))).id
        rows = house.reading.chats(account, seen, **choice)
        headings = ("chat", "began", "ended", "channel", "group", "entries", "subject", "state")
        cells = _cells("chat", ("opened_at", "ended_at", "channel", "group", "entries", "subject"))
        show(rows, headings, cells, limit=limit, json=json, spare=("entries", "group", "channel"))


commands.command("forums")(browsing.query_forums)
commands.command("articles")(browsing.query_articles)
commands.command("companies")(browsing.query_companies)
commands.command("groups")(browsing.query_groups)


@commands.command("reports")
def query_reports(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """Sum up every ticket ever opened: counts, response times, ratings. Forgetting a person changes none of it.

    Example:

        sealdesk query reports --json
    """
    with entered(data) as house:
        account, _ = ready(house, tenant, None)
        summary = house.reading.reports(account)
    _write_summary(summary, json)


@commands.command("erasures")
def query_erasures(tenant: Tenant = None, json: Json = False, data: Data = None) -> None:
    """Sum up what was erased, by day, and how many of the tickets were open.

    Example:

        sealdesk query erasures --json
    """
    with entered(data) as house:
        account, _ = ready(house, tenant, None)
        summary = house.reading.erasures(account)
    _write_summary(summary, json)


def _whose(house: House, tenant: TenantId, ref: str | None, email: str | None, agent: str | None) -> dict[str, Any]:
    """Keep a list to one person's, and to those in one agent's charge."""
    choice: dict[str, Any] = {}
    if ref is not None or email is not None:
        choice["requester"] = found(house, tenant, reference(Kind.PERSON, ref, email)).id
    if agent is not None:
        choice["responder"] = found(house, tenant, Reference(Kind.PERSON, one_line(agent, "id"))).id
    return choice


def _contact_cells(row: dict[str, Any]) -> tuple[object, ...]:
    names = ("name", "email", "phone", "agent", "language")
    return (row["profile"][:SHORT_ID], *(row.get(name) for name in names), state(row))


def _cells(id_: str, names: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[object, ...]]:
    return lambda row: (row[id_][:SHORT_ID], *(row.get(name) for name in names), state(row))


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
            yield name, "", {measure: count for measure, count in value.items() if not isinstance(count, dict)}
            for dimension, counts in sorted(value.items()):
                for word, count in sorted(counts.items()) if isinstance(counts, dict) else ():
                    yield f"{name} {dimension}", word, {"count": count}
        else:
            for word, counts in sorted(value.items()):
                yield name, word, counts if isinstance(counts, dict) else {"": counts}


#: What the innermost part of a summary counts.
_MEASURES = frozenset({"count", "subjects"})
