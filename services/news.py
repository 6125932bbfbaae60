"""What recipients have to be told (Article 19 GDPR): what was erased, rectified or restricted, by the ids of upstream.

A shred writes its news before its ledger line, because afterwards nobody knows the ids: most of it before the locks,
and under them only what came since. It may be told in the transaction that destroys the key. A rectification and a
restriction stand on the log, so a follower writes them down when it comes by.

Rule: a news names things and people as upstream numbers them, `contact 432`, `ticket 20`; never an inside id, an
address or a name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any, TypeVar
from uuid import UUID

from crypto.keystore import KeyStore, rows_of
from crypto.outbox import Outbox
from crypto.recipients import SQL, Kind, Recipient
from crypto.roots import Roots
from crypto.tree import SQL as TREE
from crypto.tree import Tree
from domain.agents import AgentRectified
from domain.catalogue import CATALOGUE
from domain.contacts import ContactBlocked, ContactMentioned, ContactRectified, ContactUnblocked
from domain.errors import KeyLost, ReferenceUnknown, SealBroken
from domain.fact import FactAtRest
from domain.ids import TenantId, ThingId
from domain.personal import Kind as ReferenceKind
from services import finding
from services.finding import Found
from services.log import Facts
from services.opening_facts import opened_facts

_Item = TypeVar("_Item")

#: Things in one record for a recipient, and whose facts are opened at once.
PAGE_THINGS = 500
#: Things whose facts are all read at once, where the newest does not say which thing it is.
PAGE_STREAMS = 50
#: Facts that are looked through in one transaction.
PAGE_FACTS = 1_000

#: What a shred makes recipients have to know.
ERASURES: tuple[Kind, ...] = ("erased", "content_erased")
#: What a fact on the log makes recipients have to know.
FOLLOWED: dict[str, Kind] = {
    ContactRectified.TYPE: "rectified",
    AgentRectified.TYPE: "rectified",
    ContactBlocked.TYPE: "restricted",
    ContactUnblocked.TYPE: "unrestricted",
}


@dataclass(frozen=True, slots=True)
class Held:
    """The news of a shred that is not told yet: its full pages so far, the names beyond, the things that these mean."""

    tenant: TenantId
    kind: Kind
    shred: UUID
    news: UUID
    pages: int
    things: frozenset[UUID]
    rest: tuple[str, ...] = field(repr=False)
    #: Things that nobody can name, because a seal was changed.
    unnamed: int = 0


class News:
    """Write down what recipients have to be told. The ids of a news are kept for `days` at most."""

    def __init__(self, facts: Facts, keys: KeyStore, roots: Roots, *, days: int, clock: Callable[[], datetime]) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._days = days
        self._clock = clock

    def deadline(self) -> datetime:
        """Say until when the ids of a news that is released now are kept."""
        return self._clock() + timedelta(days=self._days)

    # -- shreds -------------------------------------------------------------------------------------------------

    def hold(self, tenant: TenantId, shred: UUID, targets: Sequence[UUID]) -> Held | None:
        """Write down what a shred will have to tell, before it takes any lock; None where nobody wants to know.

        `targets` is one thing, or everybody who goes. What an earlier attempt held of the same shred is replaced.
        """
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            outbox = Outbox(tree)
            # First of all: where nobody wants to know, it must not matter how much there is to be told.
            wanted: list[Kind] = [kind for kind in ERASURES if outbox.wanting(tenant, kind)]
            if not wanted:
                return None
            found = finding.of_targets(tree, targets)
            kind: Kind = "erased" if found.kind == "subject" else "content_erased"
            if kind not in wanted:
                return None
            news, key = outbox.begin(tenant, kind, shred=shred, at=self._clock())
            things, pages = _things_of(found), 0
            rest: tuple[str, ...] = ()
            unnamed: list[UUID] = []
            for page in _batched(_named(tree, self._facts, tenant, things, unnamed), PAGE_THINGS):
                # The last page is left open for what complete() adds.
                if len(page) < PAGE_THINGS:
                    rest = page
                else:
                    outbox.add_page(tenant, news, key, pages, page)
                    pages += 1
            return Held(tenant, kind, shred, news, pages, frozenset(things), rest, len(unnamed))

    def complete(self, held: Held, targets: Sequence[UUID]) -> None:
        """Add what came since, and say who is to be told. Whoever calls this holds the locks of the targets.

        It has a transaction of its own, so that it stands before the ledger line does. It may run twice. Where nothing
        has a number upstream, or nobody wants to know any more, nobody is to be told, and the release drops the news.
        """
        with self._keys.transaction() as cursor:
            tree = Tree(cursor, self._roots)
            outbox = Outbox(tree)
            found = finding.of_targets(tree, targets)
            key = outbox.open_key(held.news)
            if key is None:
                return
            gone = list(held.things.difference(_things_of(found)))
            if any(row["line"] is None for row in rows_of(cursor, TREE.things_by_id.sql, thing_ids=gone)):
                # Something moved to somebody else, and stays. Nobody may be told to forget it, so all is named anew.
                held = replace(held, pages=0, things=frozenset(), rest=(), unnamed=0)
            outbox.cut(held.news, held.pages)
            # The profiles only now: one more id may have come to the person meanwhile.
            streams = list(found.profiles if found.kind == "subject" else ())
            streams += [thing for thing in _things_of(found) if thing not in held.things]
            pages = held.pages
            unnamed: list[UUID] = []
            names = _named(tree, self._facts, held.tenant, streams, unnamed)
            for page in _batched(chain(names, held.rest), PAGE_THINGS):
                outbox.add_page(held.tenant, held.news, key, pages, page)
                pages += 1
            outbox.address(held.news, pages, outbox.wanting(held.tenant, held.kind))
            outbox.leave_unnamed(held.news, held.unnamed + len(unnamed))

    # -- facts --------------------------------------------------------------------------------------------------

    def follow(self, unreadable: list[int] | None = None) -> int:
        """Write down the rectifications and restrictions that the log tells since the last time, up to its head.

        A page of the log and the news about it are one transaction, so each is told once. Returns how many there were.
        Where keys were changed or lost, so that nobody can say whom a fact is about, its position is put into
        `unreadable`, and it is passed over.
        """
        passed = [] if unreadable is None else unreadable
        total = 0
        while True:
            head = self._facts.head()
            with self._keys.transaction() as cursor:
                tree = Tree(cursor, self._roots)
                after = rows_of(cursor, SQL.followed.sql)[0]["position"]
                page = self._facts.page_for_keeping(after, PAGE_FACTS)
                # Of a tenant that was closed nobody is told: its recipients went with it.
                closed = tree.hold_tenants(fact.tenant for fact in page)
                told = [fact for fact in page if fact.type in FOLLOWED and fact.tenant not in closed]
                total += sum(self._tell_of(tree, fact, passed) for fact in told)
                full = len(page) == PAGE_FACTS
                # What was appended since we asked for the head may be on the page already.
                newest = page[-1].position if page else head
                cursor.execute(SQL.follow.sql, {"position": newest if full else max(head, newest)})
            if not full:
                return total

    def _tell_of(self, tree: Tree, fact: FactAtRest, passed: list[int]) -> bool:
        outbox, kind = Outbox(tree), FOLLOWED[fact.type]
        wanting = [one for one in outbox.wanting(fact.tenant, kind) if one.since < fact.position]
        try:
            found = finding.inside(tree, UUID(fact.clear["person"]))
            # Nothing opens of somebody who was forgotten meanwhile; then that is the news.
            unnamed: list[UUID] = []
            done = write(
                tree,
                self._facts,
                wanting,
                kind,
                found.profiles,
                at=self._clock(),
                deadline=self.deadline(),
                position=fact.position,
                person=found.id,
                unnamed=unnamed,
            )
        except ReferenceUnknown:
            return False
        except (SealBroken, KeyLost):
            # Whatever is read is read before anything is written.
            passed.append(fact.position)
            return False
        if unnamed and not done:
            passed.append(fact.position)
        return done


def write(
    tree: Tree,
    facts: Facts,
    wanting: Sequence[Recipient],
    kind: Kind,
    streams: Sequence[UUID],
    *,
    at: datetime,
    deadline: datetime,
    position: int | None = None,
    person: UUID | None = None,
    shred: UUID | None = None,
    unnamed: list[UUID] | None = None,
) -> bool:
    """Write one news that may be told at once, in the transaction that makes it true.

    It is about a fact (`position`) of a person, or about a shred. False where nobody wants to know, or nothing has an
    id of upstream that can be read; what changed seals hide is put into `unnamed`.
    """
    if not wanting:
        return False
    outbox, tenant = Outbox(tree), wanting[0].tenant
    unnamed = [] if unnamed is None else unnamed
    pages = list(_batched(_named(tree, facts, tenant, streams, unnamed), PAGE_THINGS))
    if not pages:
        return False
    news, key = outbox.begin(tenant, kind, shred=shred, position=position, person=person, at=at)
    outbox.leave_unnamed(news, len(unnamed))
    for number, page in enumerate(pages):
        outbox.add_page(tenant, news, key, number, page)
    outbox.address(news, len(pages), wanting)
    outbox.release(news, deadline=deadline)
    return True


# -- ids ------------------------------------------------------------------------------------------------------------


def _named(tree: Tree, facts: Facts, tenant: TenantId, streams: Sequence[UUID], unnamed: list[UUID]) -> Iterator[str]:
    """Read from living seals what upstream calls some things and people.

    The newest fact of a thing says which it is, as a rule. Where it does not (it is another person's too, and does not
    open), all are read; and of a person, to whom several ids may have come. Where changed seals hide every
    name, nobody can say it any more: that is noted in `unnamed`, and stops nothing.
    """
    for some in _batched(streams, PAGE_THINGS):
        things = [row["thing_id"] for row in rows_of(tree.cursor, TREE.things_by_id.sql, thing_ids=list(some))]
        said, _ = _said(tree, tenant, facts.newest_sealed, things)
        for few in _batched([stream for stream in some if not said.get(stream)], PAGE_STREAMS):
            more, changed = _said(tree, tenant, facts.streams, few)
            said |= more
            unnamed.extend(stream for stream in few if stream in changed and not more.get(stream))
        for stream in some:
            yield from sorted(said.get(stream, ()))


def _said(
    tree: Tree, tenant: TenantId, read: Callable[[Sequence[UUID]], Sequence[FactAtRest]], streams: Sequence[UUID]
) -> tuple[dict[UUID, set[str]], set[UUID]]:
    """Give what facts of some streams call what they are about, and the streams in which a seal was changed."""
    broken: list[FactAtRest] = []
    try:
        said = _names(opened_facts(tree, tenant, read(streams), broken))
    except SealBroken:
        # A header does not parse. Nothing else of its stream can be read, but all of the others.
        if len(streams) == 1:
            return {}, set(streams)
        apart = [_said(tree, tenant, read, [stream]) for stream in streams]
        return {stream: names for said, _ in apart for stream, names in said.items()}, set().union(
            *(changed for _, changed in apart)
        )
    return said, {fact.stream for fact in broken}


def _names(opened: Iterable[tuple[FactAtRest, dict[str, Any]]]) -> defaultdict[UUID, set[str]]:
    """Read from opened facts what upstream calls what they are about, by stream: `contact 432`, `ticket 20`.

    An agent who was merely mentioned counts as a contact, so a mention only counts where nothing else says it.
    """
    said: defaultdict[UUID, set[str]] = defaultdict(set)
    mentioned: defaultdict[UUID, set[str]] = defaultdict(set)
    for fact, personal in opened:
        plan = CATALOGUE[fact.type]
        for name, mark in plan.names:
            if mark.role != "self" or not mark.kind.is_upstream_id or personal.get(name) is None:
                continue
            what = plan.record.THING if mark.kind is ReferenceKind.PERSON else mark.kind.value
            where = mentioned if fact.type == ContactMentioned.TYPE else said
            where[fact.stream].add(f"{what} {personal[name]}")
    for stream, names in mentioned.items():
        numbers = {name.partition(" ")[2] for name in said[stream]}
        said[stream].update(name for name in names if name.partition(" ")[2] not in numbers)
    return said


def _things_of(found: Found) -> tuple[ThingId, ...]:
    """List the things that a shred of what was found takes whole."""
    return found.things if found.kind == "subject" else (ThingId(found.id),)


def _batched(items: Iterable[_Item], most: int) -> Iterator[tuple[_Item, ...]]:
    """Cut into tuples of so many at most."""
    left = iter(items)
    while some := tuple(islice(left, most)):
        yield some
