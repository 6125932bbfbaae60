"""The promises of the house, for any history of a helpdesk: live = rebuilt, counts stay, what is gone opens nowhere.

A history is drawn from the catalogue: records of every type that may be published, in batches of any size and in any
order, with shreds, purges and records that come twice in between. What has to be readable is told by a model that
knows the log's clear fields and what was planted, and no key. Each example is a tenant of its own in the same
databases.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crypto.opening import SHREDDED, open_leaves
from crypto.register import Register
from crypto.sealing import header_of
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.agents import AgentDeleted
from domain.catalogue import CATALOGUE, INTERNAL, PEOPLE, Plan
from domain.contacts import ContactMadeAgent, ContactMentioned, ContactMerged
from domain.errors import ReferenceUnknown, ShredRefused
from domain.fact import Effect, FactAtRest
from domain.ids import KeyId
from domain.personal import Clear, Declares, Kind, Mark, Names, Reference, Word
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED
from projections import paging
from services import keeping
from services.embedded import Endpoints
from services.finding import references_in
from services.intake import Intake, digest_of
from services.opening_facts import opened_facts
from services.projecting import MODELS
from services.reading import Reveal
from services.records import parcel_of
from services.shredding import Order
from services.wiring import House
from tests.desks import AT, Desk, desk_house

Data = dict[str, Any]
#: A record before it is said: type, subject, data. Where a text belongs stands `TEXT`; each gets a number of its own.
Said = tuple[str, str, Data]
TEXT = "\ue000"
PLANTED = re.compile(r"zq\d+zq")

PEOPLE_IDS = [1, 2, 3, 4, 5]
ADDRESSES = ["ann@example.org", "Bob@example.org", "cy@example.net"]
NUMBERS = {Kind.TICKET: [20, 21, 22], Kind.CONVERSATION: [1, 2, 3], Kind.COMMENT: [1, 2, 3]}
VALUES = {Kind.EMAIL: ADDRESSES, Kind.PHONE: ["+49 30 5550101", "+49 30 5550102"], Kind.PERSON: PEOPLE_IDS}
WORDS = {"purpose": "marketing", "language": "en", "type": "Question", "product": "7", "wording": "v1"}

_numbers = count(1)


# -- histories ------------------------------------------------------------------------------------------------------


def _of(name: str) -> Plan:
    return CATALOGUE[f"sealdesk.{name}.v1"]


def _short(plan: Plan) -> str:
    return plan.record.TYPE.removeprefix("sealdesk.").removesuffix(".v1")


def _mark(plan: Plan, name: str) -> Mark:
    return next(item for item in plan.record.model_fields[name].metadata if isinstance(item, Mark))


def _value(plan: Plan, name: str) -> st.SearchStrategy[Any]:
    """Draw what may stand in one field; a text is a place for one."""
    info, mark = plan.record.model_fields[name], _mark(plan, name)
    many = "list" in str(info.annotation)
    match mark:
        case Names(kind=kind):
            one = st.sampled_from(VALUES.get(kind) or NUMBERS.get(kind) or [1, 2])
            if kind in (Kind.EXTERNAL, Kind.TWITTER, Kind.FACEBOOK):
                one = st.sampled_from([f"{kind}-1", f"{kind}-2"])
        case Clear(what="flag"):
            one = st.booleans()
        case Clear(what="time"):
            one = st.just("2026-03-02T10:00:00Z")
        case Clear():
            one = st.sampled_from([1, -1] if "vote" in name else [1, 3])
        case Declares():
            one = st.just("cf_tier") if name == "vocabulary" else st.sampled_from(["gold", "silver"])
        case Word(vocabulary=vocabulary):
            one = st.sampled_from([WORDS.get(vocabulary, 2), f"odd {TEXT}"])
        case _ if "dict" in str(info.annotation):
            one = st.just({"cf_note": f"a {TEXT}"}) | st.just({"cf_tier": "gold", "cf_note": TEXT})
        case _ if _takes_text(info.annotation):
            one = st.just(TEXT)
        case _:
            one = st.just(114)
    return st.lists(one, min_size=1, max_size=2) if many else one


def _takes_text(annotation: Any) -> bool:
    return annotation is str or any(_takes_text(part) for part in get_args(annotation))


def _records(plan: Plan) -> st.SearchStrategy[Said]:
    """Draw records of one type: its own reference and whatever it needs, and some of the rest."""
    fields = {name: info for name, info in plan.record.model_fields.items() if name != "unknown_fields"}
    own = next((name for name, mark in plan.names if mark.role == "self" and mark.kind.is_upstream_id), None)
    telling = [name for name, mark in plan.names if mark.role in ("requester", "author", "parent", "part", "within")]
    # An edit of an entry says which one.
    edited = {name for name, mark in plan.names if mark.role == "part" and plan.record.EFFECT is not None}
    needed = {n: _value(plan, n) for n, info in fields.items() if info.is_required() or n == own or n in edited}
    likely = {name: _value(plan, name) for name in telling if name not in needed and _mark(plan, name).kind in _USUAL}
    rest = {name: _value(plan, name) for name in fields if name not in needed and name not in likely}
    unknown = st.sampled_from([{}, {}, {"shoe_size": TEXT}, {"hat_size": TEXT}])
    return st.builds(
        lambda must, some, more, further: (_short(plan), "", must | some | more | further),
        st.fixed_dictionaries(needed),
        st.just({}) if not likely else st.fixed_dictionaries({}, optional=likely),
        st.lists(st.sampled_from(sorted(rest)), max_size=4, unique=True).flatmap(
            lambda names: st.fixed_dictionaries({name: rest[name] for name in names})
        ),
        unknown,
    )


_USUAL = {kind for kind in Kind if kind.is_upstream_id}
PUBLISHABLE = [plan for type_, plan in CATALOGUE.items() if type_ not in INTERNAL]
#: What ends something for good is drawn less often, lest there should be nothing left.
ENDING = [plan for plan in PUBLISHABLE if plan.record.EFFECT is Effect.ENDS]
OPENING = [plan for plan in PUBLISHABLE if plan.record.OPENS]
#: What takes something away, writes it anew or puts it elsewhere: no summary may change by it.
_COUNTS_NOTHING = ("deleted", "restored", "purged", "edited", "rectified", "merged", "moved", "locked")
UNCOUNTED = [plan for plan in PUBLISHABLE if _short(plan).endswith(_COUNTS_NOTHING)]
_drawn = {plan.record.TYPE: _records(plan) for plan in PUBLISHABLE}


def _any_of(plans: Sequence[Plan]) -> st.SearchStrategy[Said]:
    return st.sampled_from([plan.record.TYPE for plan in plans]).flatmap(_drawn.__getitem__)


MAKING = [plan for plan in PUBLISHABLE if plan not in ENDING]
EDITING = [plan for plan in PUBLISHABLE if plan.record.EFFECT is Effect.REWRITES]
#: What stands on the stream of a ticket, or moves it.
ON_TICKETS = [plan for plan in MAKING if plan.record.THING == "ticket"]
records = st.one_of(_any_of(MAKING), _any_of(ON_TICKETS), _any_of(EDITING), _any_of(PUBLISHABLE))
shreds = st.sampled_from(
    [f"contact {n}" for n in PEOPLE_IDS]
    + ADDRESSES
    + ["ticket 20", "ticket 21", "topic 1", "comment 1", "call 1", "chat 1", "article 1", "company 1", "forum 1"]
)

#: Most facts need somebody and something to be about; each history begins with most of these, in any order.
BEGINNING: list[Said] = [
    ("contact.created", "", {"id": 1, "name": TEXT, "email": "ann@example.org"}),
    ("contact.created", "", {"id": 2, "name": TEXT, "email": "Bob@example.org", "phone": "+49 30 5550101"}),
    ("contact.created", "", {"id": 3, "name": TEXT}),
    ("agent.created", "", {"id": 4, "name": TEXT, "signature": TEXT}),
    ("ticket.opened", "", {"id": 20, "requester_id": 1, "subject": TEXT, "cc_emails": ["Bob@example.org"]}),
    ("ticket.opened", "", {"id": 21, "email": "Bob@example.org", "description": TEXT, "type": f"odd {TEXT}"}),
    ("ticket.replied", "", {"ticket_id": 20, "id": 1, "body": TEXT, "user_id": 4}),
    ("ticket.replied", "", {"ticket_id": 20, "id": 2, "body": TEXT, "user_id": 2, "incoming": True}),
    ("ticket.attachment_added", "", {"ticket_id": 20, "id": 1, "conversation_id": 2, "name": TEXT}),
    ("discussion.started", "", {"ticket_id": 20, "id": 1, "title": TEXT, "created_by": 4}),
    ("discussion.message_posted", "", {"thread_id": 1, "id": 1, "body": TEXT, "created_by": 4}),
    ("category.posted", "", {"id": 1, "name": TEXT}),
    ("forum.posted", "", {"id": 1, "forum_category_id": 1, "name": TEXT}),
    ("topic.posted", "", {"id": 1, "forum_id": 1, "user_id": 1, "title": TEXT, "message": TEXT}),
    ("comment.posted", "", {"id": 1, "topic_id": 1, "user_id": 2, "body": TEXT}),
    ("call.logged", "", {"id": 1, "user_id": 1, "notes": TEXT, "ticket_id": 20}),
    ("chat.started", "", {"id": 1, "user_id": 3, "subject": TEXT}),
    ("article.drafted", "", {"id": 1, "agent_id": 4, "title": TEXT, "description": TEXT}),
    ("company.created", "", {"id": 1, "name": TEXT}),
]
_beginnings = st.tuples(st.permutations(BEGINNING), st.integers(12, len(BEGINNING)), st.integers(1, len(BEGINNING)))


def _begin(drawn: tuple[list[Said], int, int]) -> list[list[Said]]:
    listed, most, size = drawn
    return [listed[start : start + size] for start in range(0, most, size)]


histories = st.builds(
    lambda first, then: [*_begin(first), *then],
    _beginnings,
    st.lists(
        st.one_of(
            st.lists(records, min_size=1, max_size=8),
            st.lists(records, min_size=1, max_size=8),
            _any_of(UNCOUNTED).map(lambda said: ("alone", said)),
            shreds,
            st.sampled_from(["project", "purge", "again"]),
        ),
        min_size=1,
        max_size=10,
    ),
)


# -- playing them ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(module_databases: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("promises")
    with desk_house(module_databases, folder) as house:
        yield house


class Crash(Exception):
    """A process ends right behind an append."""


@dataclass
class Played:
    """A desk on which a history was played: what was planted in which record, and where on the log it began."""

    desk: Desk
    after: int
    data: list[Data] = field(default_factory=list)
    planted: int = 0

    @property
    def house(self) -> House:
        return self.desk.house

    def write(self, said: Sequence[Said]) -> list[bytes]:
        """Write the next records, with a text of its own in every place for one."""
        raws = []
        for type_, subject, data in said:
            number = len(self.data)
            self.data.append(self._fill(data))
            raw = self.desk.event(type_, subject, AT + timedelta(minutes=number), f"{number}", **self.data[-1])
            raws.append(raw if subject else raw.replace(b'"subject":"",', b"", 1))
        self.desk.said.extend(raws)
        return raws

    def _fill(self, value: Any) -> Any:
        match value:
            case str() if TEXT in value:
                self.planted += 1
                return value.replace(TEXT, f"zq{self.planted}zq")
            case dict():
                return {name: self._fill(item) for name, item in value.items()}
            case list():
                return [self._fill(item) for item in value]
            case _:
                return value

    def take(self, raws: Sequence[bytes], monkeypatch: pytest.MonkeyPatch | None = None) -> None:
        """Take a batch; or crash between the append and the key work, and take it once more, as upstream would."""
        if monkeypatch is not None:
            with monkeypatch.context() as patch:
                patch.setattr(Intake, "_keep", _crash)
                with pytest.raises(Crash):
                    self.desk.take(*raws)
            # The next process begins with what the last one left.
            house = self.house
            self.desk.house = replace(house, intake=Intake(house.facts, house.keys, house.roots, house.tenants))
        self.desk.take(*raws)

    def shred(self, what: str) -> None:
        for reference in references_in(what)[:1]:
            found = self.house.shredding.find(self.desk.tenant.id, reference)
            self.house.shredding.request(found, Order(self.desk.tenant.id, "test", "tester"))

    def purge(self) -> None:
        due = self.house.purging.due(self.desk.tenant, asked=True)
        self.house.purging.purge(self.desk.tenant, due, actor="tester")

    def facts(self) -> list[FactAtRest]:
        """Read what this desk has on the log."""
        facts: list[FactAtRest] = []
        while page := self.house.facts.page(facts[-1].position if facts else self.after, 5_000):
            facts.extend(page)
        return [fact for fact in facts if fact.tenant == self.desk.tenant.id]


def _crash(*_: object) -> None:
    raise Crash


def _play(
    house: House,
    history: list[Any],
    *,
    crashes: frozenset[int] = frozenset(),
    monkeypatch: pytest.MonkeyPatch | None = None,
) -> Played:
    """Play a history. Every summary stays equal over each shred, purge and end."""
    played = Played(Desk(house, f"desk-{next(_numbers)}"), house.facts.head())
    desk = played.desk
    for number, step in enumerate(history):
        match step:
            case "project":
                house.projecting.catch_up()
            case "again":
                played.take(desk.said[-9:])
            case list():
                raws = played.write(step)
                if number in crashes:
                    played.take(raws, monkeypatch)
                played.take(raws)
            case _:
                before = desk.reports()
                try:
                    match step:
                        case "purge":
                            played.purge()
                        case str():
                            played.shred(step)
                        case (_, said):
                            played.take(played.write([said]))
                except (ReferenceUnknown, ShredRefused):
                    continue
                assert desk.reports() == before
    house.projecting.catch_up()
    return played


# -- the model: what has to be readable ------------------------------------------------------------------------------


@dataclass
class Expected:
    """One fact, and what the model says of it."""

    fact: FactAtRest
    #: What it says, by field: what was planted there.
    says: dict[str, frozenset[str]]
    owners: set[UUID]
    gone: bool = False

    @property
    def part(self) -> str | None:
        part: str | None = self.fact.clear.get("part")
        return part


class Model:
    """Follow the log in order, by its clear fields alone: whose is what, and what is gone."""

    def __init__(self, played: Played) -> None:
        self.expected: list[Expected] = []
        self._agents: set[UUID] = set()
        self._above: dict[UUID, UUID] = {}
        self._owner: dict[UUID, UUID | None] = {}
        self._parent: dict[UUID, UUID] = {}
        for data, facts in _by_record(played):
            self._record(data, facts)

    def _record(self, data: Data, facts: Sequence[FactAtRest]) -> None:
        for fact in facts:
            self._who(fact)
        for fact in facts:
            clear = fact.clear
            if fact.type == SUBJECT_SHREDDED:
                gone = {UUID(text) for text in clear["subjects"]}
                self._end(one for one in self.expected if not gone.isdisjoint(one.owners))
            elif fact.type == CONTENT_SHREDDED:
                self._end(one for one in self.expected if one.fact.stream.hex == clear["thing"])
            else:
                self._fact(data, facts, fact)

    def _who(self, fact: FactAtRest) -> None:
        """Note who is one person from now on, and who is an agent."""
        clear, record = fact.clear, CATALOGUE[fact.type].record if fact.type in CATALOGUE else None
        if record is None:
            return
        for secondary in clear.get("secondary", ()) if fact.type == ContactMerged.TYPE else ():
            below, above = self._root(UUID(secondary)), self._root(UUID(clear["person"]))
            if below != above:
                self._above[below] = above
                if below in self._agents:
                    self._agents.add(above)
        agents = [clear.get("responder"), *(clear.get("members") or ())]
        if record.TEAM:
            agents.append(clear.get("author"))
        if record.THING == "agent" or fact.type == ContactMadeAgent.TYPE:
            agents.append(clear.get("person"))
        self._agents.update(self._root(UUID(agent)) for agent in agents if agent)
        if fact.type == AgentDeleted.TYPE:
            self._agents.discard(self._root(UUID(clear["person"])))

    def _root(self, person: UUID) -> UUID:
        while person in self._above:
            person = self._above[person]
        return person

    def _fact(self, data: Data, facts: Sequence[FactAtRest], fact: FactAtRest) -> None:
        plan, clear = CATALOGUE[fact.type], fact.clear
        record = plan.record
        # A record that names whoever asks already does not move the thing, so that its clear fields do not tell.
        asks = UUID(named) if (named := facts[0].clear.get("requester")) else self._owner.get(facts[0].stream)
        says_of = _said(plan, data, facts, fact, None if asks is None else self._root(asks))
        one = Expected(fact, says_of, self._owners(plan, data, fact))
        stood = [old for old in self.expected if old.fact.stream == fact.stream]
        if clear.get("requester") and stood:
            # What stood there before it moved is the new requester's, too.
            for old in stood:
                old.owners.add(UUID(clear["requester"]))
        if "parent" in clear:
            self._parent[fact.stream] = UUID(clear["parent"])
        if record.EFFECT is Effect.REWRITES:
            version = [old for old in stood if not old.gone and old.part == one.part and keeping.is_version(old.fact)]
            says: dict[str, frozenset[str]] = {}
            for old in version:
                says |= old.says
                one.owners |= old.owners
            one.says = says | one.says
            self._end(old for old in stood if old.part == one.part and (one.part or not _apart(old.fact)))
        elif record.EFFECT is Effect.ENDS and one.part is not None:
            self._end(old for old in stood if one.part in (old.part, old.fact.clear.get("within")))
        self.expected.append(one)
        if record.EFFECT is Effect.ENDS and one.part is None:
            self._end(old for old in self.expected if self._is_beneath(old.fact.stream, fact.stream))

    def _owners(self, plan: Plan, data: Data, fact: FactAtRest) -> set[UUID]:
        """Say whose a fact is: the person's, the requester's and a writing contact's, the author's, or the desk's."""
        record, clear = plan.record, fact.clear
        if record.THING in PEOPLE:
            return {UUID(clear["person"])}
        author = UUID(clear["author"]) if clear.get("author") else None
        if fact.stream not in self._owner:
            owner = UUID(clear["requester"]) if clear.get("requester") else None
            if record.WHOSE == "author" and author is not None and author not in self._agents:
                owner = author
            self._owner[fact.stream] = owner
            return set() if owner is None else {owner}
        former = self._owner[fact.stream]
        owners = set() if former is None else {former}
        if clear.get("requester"):
            self._owner[fact.stream] = UUID(clear["requester"])
            return owners | {UUID(clear["requester"])}
        written = author is not None and not record.TEAM and record.WHOSE is None and record.THING in _CONVERSATIONS
        if written and author is not None and (former is None or self._root(former) != author):
            incoming = data.get("incoming")
            if incoming is True or (incoming is None and author not in self._agents):
                owners.add(author)
        return owners

    def _is_beneath(self, thing: UUID, top: UUID) -> bool:
        seen: set[UUID] = set()
        while thing != top and thing in self._parent and thing not in seen:
            seen.add(thing)
            thing = self._parent[thing]
        return thing == top

    @staticmethod
    def _end(ended: Any) -> None:
        for one in list(ended):
            one.gone = True

    def readable(self) -> set[str]:
        """Name every planted text that somebody can still read."""
        return {text for one in self.expected if not one.gone for texts in one.says.values() for text in texts}


_CONVERSATIONS = {"ticket", "call", "chat"}


def _apart(fact: FactAtRest) -> bool:
    return CATALOGUE[fact.type].record.APART


def _said(
    plan: Plan, data: Data, facts: Sequence[FactAtRest], fact: FactAtRest, asks: UUID | None
) -> dict[str, frozenset[str]]:
    """Tell what a fact says of what was planted in its record, by field. `asks` is the requester."""
    if fact.type == ContactMentioned.TYPE and fact.ordinal:
        told = [other for other in facts if other.type == fact.type and other.ordinal]
        first = next((other for other in told if UUID(other.clear["person"]) == asks), None)
        return {"name": _texts(data["name"])} if fact is first and "name" in fact.sealed_fields else {}
    if fact.ordinal:
        return {}
    known, own = plan.record.model_fields, {name for name, _ in plan.profile}
    says = {
        name if name in known else f"unknown {name}": _texts(value) for name, value in data.items() if name not in own
    }
    # A field that is given without a text takes the place of one that had it.
    return {name: texts for name, texts in says.items() if texts or name in {*plan.personal, *dict(plan.words)}}


def _texts(value: Any) -> frozenset[str]:
    return frozenset(PLANTED.findall(repr(value)))


def _by_record(played: Played) -> Iterator[tuple[Data, list[FactAtRest]]]:
    """Group the facts of the log by the record that they come from, in order, with the record's data."""
    house, tenant = played.house, played.desk.tenant.id
    with house.keys.transaction() as cursor:
        dedup = Tree(cursor, house.roots).service_key(tenant, "dedup").key
    data = {
        digest_of(dedup, tenant, draft): said
        for raw, said in zip(played.desk.said, played.data, strict=True)
        for draft in parcel_of(raw).drafts
    }
    with house.facts.cursor() as cursor:
        rows = cursor.execute(
            "SELECT notification_id AS position, record_digest FROM facts_events WHERE tenant = %s", (tenant,)
        ).fetchall()
    digests = {row["position"]: bytes(row["record_digest"]) for row in rows}
    grouped: list[tuple[bytes, list[FactAtRest]]] = []
    for fact in played.facts():
        digest = digests[fact.position]
        if not grouped or grouped[-1][0] != digest:
            grouped.append((digest, []))
        grouped[-1][1].append(fact)
    for digest, facts in grouped:
        yield data.get(digest, {}), facts


# -- the promises -----------------------------------------------------------------------------------------------------


#: A record that tells what somebody is called who asks already.
NAMED_ONCE_MORE = [BEGINNING[:12], [("ticket.updated", "", {"id": 20, "requester_id": 1, "name": TEXT})]]


@given(history=histories, last=shreds)
@example(history=NAMED_ONCE_MORE, last="contact 2")
@settings(max_examples=40)
def test_what_is_gone_opens_nowhere_and_everything_else_opens(opened: House, history: list[Any], last: str) -> None:
    played = _play(opened, [*history, last])
    model = Model(played)
    found = _keys_of(played, model.expected)
    for one in model.expected:
        for place in _places(one.fact):
            if one.gone:
                assert found[place] is SHREDDED
            else:
                assert isinstance(found[place], Key)
    readable, expected = _readable(played), model.readable()
    assert readable <= expected, "what is gone can be read"
    assert expected <= readable, "what nobody took away is lost"
    assert sum(opened.residue.of_all(played.desk.tenant.id).values()) == 0
    shown = _shown(played)
    assert not any(word in shown for word in ("{'lost': True}", "{'broken': True}"))
    assert set(PLANTED.findall(shown)) <= model.readable()


def _places(fact: FactAtRest) -> list[tuple[Any, KeyId]]:
    """Name the keys of a fact: that of its seal, and that of a file that may come along."""
    places = [] if fact.seal is None else [(fact.stream, header_of(fact.seal).key_id)]
    if CATALOGUE[fact.type].record.BLOB:
        places.append((fact.stream, KeyId(UUID(fact.clear["part"]))))
    return places


def _keys_of(played: Played, expected: Sequence[Expected]) -> Mapping[Any, Any]:
    house = played.house
    with house.keys.transaction() as cursor:
        places = [place for one in expected for place in _places(one.fact)]
        return open_leaves(Tree(cursor, house.roots), played.desk.tenant.id, places)


def _readable(played: Played) -> set[str]:
    with played.house.keys.transaction() as cursor:
        tree = Tree(cursor, played.house.roots)
        said = [personal for _, personal in opened_facts(tree, played.desk.tenant.id, played.facts())]
    return set(PLANTED.findall(repr(said)))


def _shown(played: Played) -> str:
    """Write down whatever any list says to somebody with a reason."""
    lists = ("contacts", "tickets", "calls", "chats", "forums", "articles", "companies", "groups")
    reading, tenant = played.house.reading, played.desk.tenant.id
    return repr([list(getattr(reading, name)(tenant, Reveal("tester", "test"), all=True)) for name in lists])


@given(history=histories, page_size=st.integers(1, 7))
@settings(max_examples=15)
def test_live_equals_rebuilt_whatever_happened_and_whatever_the_paging(
    opened: House, history: list[Any], page_size: int
) -> None:
    played = _play(opened, history)
    live = _tables(opened, played.desk.tenant.id)
    assert {name.partition(".")[0] for name in live} == set(MODELS)
    log = _Log(played)
    for model in MODELS.values():
        with opened.as_login.connection() as connection:
            connection.execute("SET ROLE sealdesk_projector")
            connection.execute(f"DROP SCHEMA {model.name} CASCADE")
            paging.catch_up(connection, log, model, page_size=page_size)
            connection.execute("RESET ROLE")
    assert _tables(opened, played.desk.tenant.id) == live


class _Log:
    """The log as one tenant wrote it: a fold of one tenant must not need the others."""

    def __init__(self, played: Played) -> None:
        self._facts = played.facts()
        self._head = played.house.facts.head()

    def head(self) -> int:
        return self._head

    def page(self, after: int, limit: int, types: Collection[str] | None = None) -> list[FactAtRest]:
        wanted = (fact for fact in self._facts if fact.position > after and (types is None or fact.type in types))
        return list(islice(wanted, limit))


def _tables(house: House, tenant: Any) -> dict[str, list[Any]]:
    with house.facts.connection() as connection:
        names = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.columns"
            " WHERE column_name = 'tenant' AND table_schema = ANY(%s) ORDER BY 1, 2",
            (list(MODELS),),
        ).fetchall()
        return {
            f"{schema}.{table}": sorted(
                connection.execute(f"SELECT * FROM {schema}.{table} WHERE tenant = %s", (tenant,)).fetchall(), key=repr
            )
            for schema, table in names
        }


@given(history=histories)
@settings(max_examples=15)
def test_the_same_once_more_stores_nothing_and_the_key_work_done_again_changes_nothing(
    opened: House, history: list[Any]
) -> None:
    played = _play(opened, history)
    head = opened.facts.head()
    tally = opened.intake.take(played.desk.parcels(), at=datetime.now(UTC))
    assert tally.stored == 0
    assert opened.facts.head() == head
    before = _key_database(played)
    with opened.keys.transaction() as cursor:
        cursor.execute("UPDATE kept SET position = %s", (played.after,))
    keeping.catch_up(opened.keys, opened.roots, opened.facts)
    assert _key_database(played) == before


def _key_database(played: Played) -> dict[str, Any]:
    """Read the key database's rows of a tenant, and where each reference leads; how that is sealed may change."""
    tenant, found = played.desk.tenant.id, dict[str, Any]()
    with played.house.keys.transaction() as cursor:
        for table in ("leaves", "subjects", "things", "fences"):
            rows = cursor.execute(f"SELECT t::text AS row FROM {table} t WHERE tenant = %s", (tenant,)).fetchall()
            found[table] = sorted(row["row"] for row in rows)
        rows = cursor.execute("SELECT blind_index, told FROM register WHERE tenant = %s", (tenant,)).fetchall()
        found["told"] = sorted((bytes(row["blind_index"]), row["told"]) for row in rows)
        register = Register(Tree(cursor, played.house.roots), tenant)
        known = register.look_up([index for index, _ in found["told"]])
        found["leads"] = sorted((index, entry.inside, entry.part) for index, entry in known.items())
        ids = {entry.inside for entry in known.values() if entry.inside is not None}
        found["backs"] = sorted(register.indexes_of(sorted(ids)))
    return found


@given(history=histories)
@settings(max_examples=10)
def test_nobody_has_two_keys_and_every_reference_leads_to_one(opened: House, history: list[Any]) -> None:
    played = _play(opened, history)
    tenant = played.desk.tenant.id
    with opened.keys.transaction() as cursor:
        rows = cursor.execute(
            "SELECT count(*) AS entries, (SELECT count(*) FROM register_backs AS b WHERE EXISTS"
            " (SELECT 1 FROM wrapping_keys AS w WHERE w.key_id = b.page AND w.tenant = %(tenant)s)) AS backs"
            " FROM register WHERE tenant = %(tenant)s",
            {"tenant": tenant},
        ).fetchall()
    assert rows[0]["entries"] == rows[0]["backs"]
    gone = {id_ for fact in played.facts() for id_ in fact.clear.get("subjects", ())}
    for data, facts in _by_record(played):
        record = CATALOGUE[facts[0].type].record if facts[0].type in CATALOGUE else None
        if record is None or record.THING not in PEOPLE or facts[0].type == ContactMerged.TYPE or "id" not in data:
            continue
        if CATALOGUE[facts[0].type].record.BLOB:
            continue
        person = UUID(facts[0].clear["person"])
        try:
            found = opened.shredding.find(tenant, Reference(Kind.PERSON, str(data["id"])))
        except ReferenceUnknown:
            assert person.hex in gone
        else:
            assert person in found.group
            assert person.hex not in gone


@given(history=histories, crashes=st.frozensets(st.integers(0, 8), min_size=1, max_size=4))
@settings(max_examples=15)
def test_a_batch_that_nobody_kept_ends_like_one_that_was(
    opened: House, monkeypatch: pytest.MonkeyPatch, history: list[Any], crashes: frozenset[int]
) -> None:
    undisturbed = _play(opened, history, crashes=crashes)
    crashed = _play(opened, history, crashes=crashes, monkeypatch=monkeypatch)
    assert _state(crashed) == _state(undisturbed)


def _state(played: Played) -> dict[str, Any]:
    """Say what is readable, where each reference leads and who is what, by the places on the log instead of ids."""
    house, tenant, facts = played.house, played.desk.tenant.id, played.facts()
    told = repr([(fact.stream.hex, sorted(fact.clear.items()), [owner.hex for owner in fact.owners]) for fact in facts])
    names = {UUID(id_): f"#{n}" for n, id_ in enumerate(dict.fromkeys(re.findall(r"[0-9a-f]{32}", told)))}
    state: dict[str, Any] = {"readable": _readable(played), "facts": [fact.type for fact in facts]}
    with house.keys.transaction() as cursor:
        for table, statement in _ROWS.items():
            rows = [list(row.values()) for row in cursor.execute(statement, (tenant,)).fetchall()]
            state[table] = sorted([_named(value, names) for value in row] for row in rows if row[0] in names)
    for kind in (Kind.PERSON, Kind.EMAIL, Kind.PHONE, *(kind for kind in Kind if kind.is_thing)):
        for value in VALUES.get(kind) or NUMBERS.get(kind) or [1, 2]:
            try:
                found = house.shredding.find(tenant, Reference(kind, str(value)))
            except ReferenceUnknown as unknown:
                state[f"{kind} {value}"] = str(unknown)
            else:
                state[f"{kind} {value}"] = _named(found.id, names), _named(sorted(found.group), names)
    return state


_ROWS = {
    "people": "SELECT subject_id, agent, upstream, line IS NULL AS living FROM subjects WHERE tenant = %s",
    "things": "SELECT thing_id, kind, owner, parent, line IS NULL AS living FROM things WHERE tenant = %s",
    "keys": "SELECT thing_id, owner, co_owners, blob, wrapped IS NULL AS gone FROM leaves WHERE tenant = %s",
}


def _named(value: Any, names: Mapping[UUID, str]) -> str:
    match value:
        case UUID():
            return names.get(value, "the desk")
        case list():
            return repr(sorted(_named(item, names) for item in value))
        case _:
            return repr(value)
