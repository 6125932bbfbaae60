"""How data flows, as a drawing: from whom it comes, over the keys, into the read models, to whom it is shown."""

from __future__ import annotations

from collections.abc import Iterable

from domain.processing import ACTIVITIES, Activity, People, Recipient
from services.describing.lifetimes import Whose, whose

#: The key that stands above, by whose something is.
_KEYS: dict[Whose, tuple[str, ...]] = {
    Whose.PERSON: ("subject",),
    Whose.REQUESTER: ("subject",),
    Whose.REQUESTER_AND_WRITER: ("subject",),
    Whose.CALLER: ("subject", "desk"),
    Whose.CALLER_AND_WRITER: ("subject", "desk"),
    Whose.AUTHOR: ("subject", "desk"),
    Whose.DESK: ("desk",),
}


def mermaid() -> list[str]:
    """Draw it in Mermaid, from the declarations of `domain.processing`."""
    people = [f'{_id(one)}(["{one.short}"])' for one in People]
    activities = [f'{activity.code}["{activity.title}"]' for activity in ACTIVITIES]
    models = dict.fromkeys(shown.model for activity in ACTIVITIES for shown in activity.shown)
    edges = [edge for activity in ACTIVITIES for edge in _edges(activity)]
    return [
        "```mermaid",
        "flowchart LR",
        *_group("people", "whom it is about", people),
        '    upstream[/"helpdesk upstream: records"/]',
        *_group("activities", "facts on the log, sealed", activities),
        *_group("keys", "keys", ['subject{{"key of the person"}}', 'desk{{"key of the desk"}}']),
        *_group("models", "read models, without keys", [f'model_{name}[("{name}")]' for name in models]),
        '    querying(["who queries: clear fields"])',
        '    officers(["officers who reveal, with a reason"])',
        *(f"    {_id(one)} --> upstream" for one in People),
        *(f"    {edge}" for edge in dict.fromkeys(edges)),
        *(f"    model_{name} --> querying" for name in models),
        "    subject --> officers",
        "    desk --> officers",
        "```",
    ]


def _edges(activity: Activity) -> Iterable[str]:
    yield f"upstream --> {activity.code}"
    for record in activity.records:
        for key in _KEYS[whose(record)]:
            yield f"{activity.code} -. sealed under .-> {key}"
    for shown in activity.shown:
        yield f"{activity.code} --> model_{shown.model}"
    if Recipient.OFFICERS not in activity.recipients:
        yield f"{activity.code} -. not shown .-> officers"


def _group(code: str, title: str, lines: Iterable[str]) -> list[str]:
    return [f'    subgraph {code}_["{title}"]', *(f"        {line}" for line in lines), "    end"]


def _id(people: People) -> str:
    return f"people_{people.name.lower()}"
