"""`query forums`, `articles`, `companies` and `groups`: the lists of what stands in a tree."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer

from domain.errors import ReferenceUnknown, SettingsWrong
from domain.ids import TenantId, ThingId
from domain.personal import Kind, Reference
from projections import articles, companies, forums, groups
from services.cli.asking import found, one_line
from services.cli.entering import entered
from services.cli.listing import (
    SHORT_ID,
    After,
    All,
    Limit,
    Revealed,
    Why,
    behind,
    most,
    ready,
    reason,
    show,
    state,
    word,
)
from services.cli.options import Data, Json, Tenant
from services.wiring import House

Author = Annotated[
    str | None, typer.Option("--author", metavar="ID", help="Only what this person wrote, by id.", show_default=False)
]


def query_forums(
    topic: Annotated[
        str | None,
        typer.Option(
            "--topic",
            metavar="ID",
            help="Only this topic, with its comments; by upstream's id or that of its row.",
            show_default=False,
        ),
    ] = None,
    author: Author = None,
    kind: Annotated[str | None, word("kind")] = None,
    reveal: Revealed = False,
    why: Why = None,
    all: All = False,
    limit: Limit = None,
    after: After = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List categories, forums, topics and comments, in the order in which they were recorded.

    What a forgotten person wrote keeps its place, so that the comments of others can be understood.

    Examples:

        sealdesk query forums --topic 3

        sealdesk query forums --author 432 --reveal --why "access request 17" --json
    """
    opening = reason(reveal, why)
    _check(kind, forums.KINDS)
    with entered(data) as house:
        account, seen = ready(house, tenant, opening)
        choice: dict[str, Any] = {"all": all or json, "limit": most(limit, json), "kind": kind}
        if after is not None:
            choice["after"] = behind(house, account, after, forums.rows, what="post")
        if topic is not None:
            choice["topic"] = _inside(house, account, Kind.TOPIC, topic)
        if author is not None:
            choice["authors"] = found(house, account, Reference(Kind.PERSON, one_line(author, "id"))).group
        rows = house.reading.forums(account, seen, **choice)
        headings = ("thing", "kind", "at", "by", "votes", "text", "state")
        show(rows, headings, _forum_cells, limit=limit, json=json, spare=("by", "votes"))


def query_articles(
    folder: Annotated[
        str | None,
        typer.Option("--folder", metavar="ID", help="Only what stands right in this folder.", show_default=False),
    ] = None,
    status: Annotated[str | None, word("status")] = None,
    author: Author = None,
    kind: Annotated[str | None, word("kind")] = None,
    reveal: Revealed = False,
    why: Why = None,
    all: All = False,
    limit: Limit = None,
    after: After = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List articles, and their folders and categories, in the order in which they were recorded.

    Examples:

        sealdesk query articles --status published

        sealdesk query articles --folder 8 --reveal --why "review" --json
    """
    opening = reason(reveal, why)
    _check(kind, articles.KINDS)
    with entered(data) as house:
        account, seen = ready(house, tenant, opening)
        choice: dict[str, Any] = {"all": all or json, "limit": most(limit, json), "kind": kind, "status": status}
        if after is not None:
            choice["after"] = behind(house, account, after, articles.rows, what="article")
        if folder is not None:
            choice["folder"] = _inside(house, account, Kind.ARTICLE_FOLDER, folder)
        if author is not None:
            choice["authors"] = found(house, account, Reference(Kind.PERSON, one_line(author, "id"))).group
        rows = house.reading.articles(account, seen, **choice)
        headings = ("thing", "kind", "at", "status", "hits", "text", "state")
        show(rows, headings, _article_cells, limit=limit, json=json, spare=("hits",))


def query_companies(
    reveal: Revealed = False,
    why: Why = None,
    all: All = False,
    limit: Limit = None,
    after: After = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List companies, in the order in which they became known.

    Example:

        sealdesk query companies --reveal --why "audit" --json
    """
    opening = reason(reveal, why)
    with entered(data) as house:
        account, seen = ready(house, tenant, opening)
        choice: dict[str, Any] = {"all": all or json, "limit": most(limit, json)}
        if after is not None:
            choice["after"] = behind(house, account, after, companies.rows, what="company")
        rows = house.reading.companies(account, seen, **choice)
        headings = ("thing", "name", "domains", "industry", "renewal", "state")
        show(rows, headings, _company_cells, limit=limit, json=json, spare=("industry", "renewal"))


def query_groups(
    reveal: Revealed = False,
    why: Why = None,
    all: All = False,
    limit: Limit = None,
    after: After = None,
    tenant: Tenant = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """List the groups of the team; in JSON with the agents who belong to them.

    Example:

        sealdesk query groups --json
    """
    opening = reason(reveal, why)
    with entered(data) as house:
        account, seen = ready(house, tenant, opening)
        choice: dict[str, Any] = {"all": all or json, "limit": most(limit, json)}
        if after is not None:
            choice["after"] = behind(house, account, after, groups.rows, what="group")
        rows = house.reading.groups(account, seen, **choice)
        show(rows, ("thing", "name", "members", "state"), _group_cells, limit=limit, json=json, spare=("members",))


def _check(kind: str | None, kinds: frozenset[str]) -> None:
    if kind is not None and kind not in kinds:
        raise SettingsWrong(f"--kind is one of {', '.join(sorted(kinds))}.")


def _inside(house: House, tenant: TenantId, kind: Kind, id_: str) -> ThingId:
    """Find a thing by upstream's id. By that of a row, too: whose author is forgotten has no other one any more."""
    id_ = one_line(id_, "id")
    try:
        return ThingId(found(house, tenant, Reference(kind, id_)).id)
    except ReferenceUnknown:
        try:
            return ThingId(UUID(id_))
        except ValueError:
            pass
        raise


def _text(row: dict[str, Any]) -> object:
    """Choose what tells a row best: a title, a name, or what was written."""
    return next((row[name] for name in ("title", "name", "body_text", "body", "message") if name in row), None)


def _forum_cells(row: dict[str, Any]) -> tuple[object, ...]:
    names = ("kind", "at", "by", "votes")
    return (row["thing"][:SHORT_ID], *(row.get(name) for name in names), _text(row), state(row))


def _article_cells(row: dict[str, Any]) -> tuple[object, ...]:
    names = ("kind", "at", "article_status", "hits")
    return (row["thing"][:SHORT_ID], *(row.get(name) for name in names), _text(row), state(row))


def _company_cells(row: dict[str, Any]) -> tuple[object, ...]:
    names = ("name", "domains", "industry", "renewal_date")
    return (row["thing"][:SHORT_ID], *(row.get(name) for name in names), state(row))


def _group_cells(row: dict[str, Any]) -> tuple[object, ...]:
    return (row["thing"][:SHORT_ID], row.get("name"), len(row["members"]), state(row))
