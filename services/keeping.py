"""The key work that facts of upstream call for: a merged contact, a moved ticket, a claimed address, an edited reply.

These are facts first. Intake carries them out for its own batch, right after the append and under the same locks;
`catch_up` follows the log and carries out what a crash left. Everything here may run twice.

A fact whose seal somebody has changed says no more than what stands in the clear: that much is done, the fact is
counted, and nobody behind it waits. `sealdesk keys check --deep` names it.

Rule: nothing is merged, moved or destroyed on the word of a fact that the house did not seal (`services.vouching`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from psycopg import Cursor
from psycopg.rows import DictRow
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from crypto import outbox
from crypto.keystore import Disturbed, KeyStore, rows_of
from crypto.outbox import DAYS, Outbox
from crypto.register import Register
from crypto.roots import Roots
from crypto.sealing import header_of
from crypto.tree import SQL, Owner, Person, Tree
from domain.agents import AgentDeleted
from domain.catalogue import CATALOGUE, MOVES, TAKES
from domain.contacts import ContactMadeAgent, ContactMerged
from domain.errors import KeyLost, ReferenceMalformed
from domain.fact import Effect, FactAtRest
from domain.ids import EventId, KeyId, SubjectId, TenantId, ThingId
from domain.personal import Reference
from domain.subjects import SUBJECT_SHREDDED
from services import news
from services.log import Facts, SealedFact
from services.opening_facts import opened_facts
from services.vouching import Leaves, is_vouched, leaves_in, requesters, vouched

PAGE = 1_000
DIGEST_BYTES = 16
#: Types that say in which thing theirs hangs.
HANGS = frozenset(name for name, plan in CATALOGUE.items() if "parent" in plan.roles)


def advance(cursor: Cursor[DictRow], head: int, newest: int) -> None:
    """Note that everything up to `newest` is kept, if everything up to `head` was."""
    cursor.execute(SQL.advance_kept_from.sql, {"head": head, "newest": newest})


def is_behind(keys: KeyStore, facts: Facts, done: int = 0) -> bool:
    """Tell whether a fact may still call for key work: another process may have died right behind its append.

    Up to the position `done`, whoever asks has seen to it that none does.
    """
    with keys.transaction() as cursor:
        after = max(rows_of(cursor, SQL.kept_now.sql)[0]["position"], done)
    return bool(facts.page_for_keeping(after, 1))


def merge(tree: Tree, facts: Facts, secondary: SubjectId, primary: SubjectId) -> None:
    """Hang one person under another. If the primary was shredded meanwhile, the secondary goes the same way."""
    people = tree.people([secondary, primary])
    if secondary not in people or primary not in people:
        raise KeyLost("a merged person is missing")
    below, above = people[people[secondary].root], people[people[primary].root]
    if below.root == above.root or not below.living:
        return
    if above.living:
        tree.merge(below, above)
    else:
        _follow(tree, facts, below, above)


def _follow(tree: Tree, facts: Facts, below: Person, above: Person) -> None:
    """Shred a person under the ledger line that ended the one he was merged into.

    Only a crash between the append of a merge and its key work can leave this to do. The line and the merge on the log
    together say that both are gone, so that a restore carries it out again.
    """
    shred = rows_of(tree.cursor, SQL.shred_of_target.sql, target=above.subject_id)[0]
    group = rows_of(tree.cursor, SQL.everyone_merged.sql, subject_id=below.subject_id)
    ids = [row["subject_id"] for row in group]
    rows_of(tree.cursor, SQL.take_subjects.sql, subject_ids=ids)
    things = [row["thing_id"] for row in rows_of(tree.cursor, SQL.things_of_owners.sql, owners=ids)]
    news.write(
        tree,
        facts,
        Outbox(tree).wanting(below.tenant, "erased"),
        "erased",
        [*(row["profile"] for row in group), *things],
        at=shred["destroyed_at"],
        deadline=shred["news_until"] or shred["destroyed_at"] + timedelta(days=DAYS),
        shred=shred["shred_id"],
    )
    outbox.stop_following(tree.cursor)
    outbox.overtake(tree.cursor, ids, at=datetime.now(UTC))
    tree.destroy_subjects([row for row in group if row["line"] is None], shred["line"])
    profiles = [row["profile"] for row in group]
    Register(tree, below.tenant).fence([*ids, *things, *profiles], shred["destroyed_at"])
    tree.cursor.execute(SQL.sweep_leaves.sql, {"owners": ids, "limit": None})
    tree.cursor.execute(SQL.join_shred.sql, {"shred_id": shred["shred_id"], "joining": ids})
    facts.append([shredded_fact(shred, below.profile, ids)])


def shredded_fact(shred: DictRow, profile: ThingId, ids: Sequence[UUID]) -> SealedFact:
    """Write the fact that people were shredded. Its digest comes from shred and profile, so it is stored once."""
    digest = hashlib.sha256(shred["shred_id"].bytes + profile.bytes).digest()[:DIGEST_BYTES]
    clear = {"ground": shred["ground"], "line": shred["line"], "subjects": [id_.hex for id_ in ids]}
    at: datetime = shred["destroyed_at"]
    tenant = TenantId(shred["tenant"])
    return SealedFact(profile, tenant, EventId(uuid4()), SUBJECT_SHREDDED, digest, 0, at, clear, (), None)


def move(tree: Tree, facts: Facts, thing: ThingId) -> None:
    """Give every fact of a ticket the owners that it gained by moving, and the ticket its newest requester.

    What stood in a ticket before it moved belongs to both: its leaf is wrapped under the later requester too. If that
    person was shredded, the leaf dies.
    """
    stream = facts.stream(thing)
    leaves = {row["key_id"]: row for row in rows_of(tree.cursor, SQL.leaves_of_thing.sql, thing_id=thing)}
    hung: Leaves = {(thing, key_id): row for key_id, row in leaves.items()}
    moves = requesters(tree, stream, hung, facts.accepted_up_to())
    people = tree.people(requester for _, requester in moves)
    for fact in stream:
        for leaf in _leaves_of(fact, leaves):
            if leaf["wrapped"] is not None:
                for requester in (who for position, who in moves if position > fact.position):
                    _gain(tree, leaf, people, requester)
    if moves:
        tree.cursor.execute(SQL.set_thing_owner.sql, {"thing_id": thing, "owner": moves[-1][1]})


def _gain(tree: Tree, leaf: DictRow, people: dict[UUID, Person], requester: UUID) -> None:
    owners = {leaf["owner"], *(leaf["co_owners"] or ())}
    person = people.get(requester)
    if person is None:
        raise KeyLost("a requester of a moved ticket is missing")
    if requester in owners or leaf["wrapped"] is None:
        return
    if person.key is None or not person.living:
        line = rows_of(tree.cursor, SQL.line_of_subject.sql, subject_id=requester)[0]["line"]
        if line is not None:
            tree.destroy_leaf(leaf, line)
            leaf["wrapped"] = None
        return
    if tree.add_owner(leaf, Owner(requester, person.key)):
        fresh = rows_of(tree.cursor, SQL.leaf.sql, thing_id=leaf["thing_id"], key_id=leaf["key_id"])
        leaf.update(fresh[0])


def _leaves_of(fact: FactAtRest, leaves: Mapping[UUID, DictRow]) -> list[DictRow]:
    """Find the keys of a fact among those of its thing."""
    return [leaves[id_] for id_ in key_ids_of(fact) if id_ in leaves]


def key_ids_of(fact: FactAtRest) -> list[KeyId]:
    """Name the keys of a fact: that of its seal, and that of a file that came along."""
    ids = [] if fact.seal is None or fact.broken else [header_of(fact.seal).key_id]
    if fact.type in CATALOGUE and CATALOGUE[fact.type].record.BLOB:
        ids.append(KeyId(UUID(fact.clear["part"])))
    return ids


def is_version(fact: FactAtRest) -> bool:
    """Tell whether a fact says what its thing or part is, so that writing it anew replaces it."""
    plan = CATALOGUE.get(fact.type)
    return plan is not None and plan.tells and not plan.record.APART


def settle(tree: Tree, facts: Facts, tenant: TenantId, stream: ThingId) -> None:
    """Carry out what the facts of a stream wrote anew or ended: older keys go, references of what ended are fenced.

    A row whose key goes is marked with the position of the fact that called for it, below zero, and our MAC.
    """
    whole = facts.stream(stream)
    leaves = {row["key_id"]: row for row in rows_of(tree.cursor, SQL.leaves_of_thing.sql, thing_id=stream)}
    hung: Leaves = {(stream, key_id): row for key_id, row in leaves.items()}
    ours = vouched(tree, whole, hung, TAKES, facts.accepted_up_to())
    positions = {fact.position for fact in ours}
    told = [fact for fact in whole if fact.type in CATALOGUE and (fact.type not in TAKES or fact.position in positions)]
    for fact in ours:
        if CATALOGUE[fact.type].record.EFFECT is Effect.ENDS and "part" not in CATALOGUE[fact.type].roles:
            _end_thing(tree, facts, tenant, stream, fact)
            return
    for older, position in given_way(told):
        for leaf in _leaves_of(older, leaves):
            if leaf["line"] is None:
                tree.destroy_leaf(leaf, -position)
    for fact in ours:
        if CATALOGUE[fact.type].record.EFFECT is Effect.ENDS and "part" in fact.clear:
            _fence_part(tree, tenant, fact)


def given_way(told: Sequence[FactAtRest]) -> Iterator[tuple[FactAtRest, int]]:
    """Name the facts of a stream whose keys go with a later one, each with the position of the first that calls for it.

    Of a thing or profile that is written anew, everything goes that says what it is or only refers to it; what stands
    for itself (a consent, a part) stays. With a part that ends goes what hangs in it. Each fact is looked at once.
    """
    by_part: dict[str | None, int] = {}
    by_within: dict[str, int] = {}
    for fact in reversed(told):
        record, part = CATALOGUE[fact.type].record, fact.clear.get("part")
        calls = [by_part[part]] if part in by_part and not (part is None and record.APART) else []
        if fact.clear.get("within") in by_within:
            calls.append(by_within[fact.clear["within"]])
        if calls:
            yield fact, min(calls)
        if record.EFFECT is not None and ("part" not in CATALOGUE[fact.type].roles or part is not None):
            by_part[part] = fact.position
            if record.EFFECT is Effect.ENDS and part is not None:
                by_within[part] = fact.position


def _end_thing(tree: Tree, facts: Facts, tenant: TenantId, thing: ThingId, fact: FactAtRest) -> None:
    """End a thing with everything that hangs in it: its keys go, its references are fenced."""
    beneath = {row["thing_id"]: row for row in rows_of(tree.cursor, SQL.things_beneath.sql, thing_id=thing)}
    hung = _hung_in(tree, facts, thing, beneath.keys() - {thing})
    living = [id_ for id_, row in beneath.items() if id_ in hung and row["line"] is None]
    for id_ in living:
        rows_of(tree.cursor, SQL.take_leaves_of_thing.sql, thing_id=id_)
        tree.destroy_thing(tenant, ThingId(id_), -fact.position)
    Register(tree, tenant).fence(living, fact.recorded_at)


def _hung_in(tree: Tree, facts: Facts, thing: UUID, others: Collection[UUID]) -> set[UUID]:
    """Choose the things that hang in one by what the log says, and not by their rows alone, which intake may write."""
    told, leaves = facts.streams(list(others)) if others else [], leaves_in(tree, others)
    # What opens a thing comes first in its stream, sealed or not, and nobody can come before it afterwards.
    opening = {fact.stream: fact for fact in reversed(told)}.values()
    hanging = vouched(tree, told, leaves, HANGS, facts.accepted_up_to())
    ours = sorted({fact.position: fact for fact in (*opening, *hanging)}.items())
    parents = {fact.stream: UUID(fact.clear["parent"]) for _, fact in ours if fact.clear.get("parent")}
    hung, more = {thing}, {thing}
    while more:
        more = {id_ for id_, parent in parents.items() if parent in more and id_ not in hung}
        hung |= more
    return hung


def _fence_part(tree: Tree, tenant: TenantId, fact: FactAtRest) -> None:
    """Turn the reference of a part that ended into a fence. The fact that ended it still says which."""
    register = Register(tree, tenant)
    for index in _part_indexes(register, tree, [fact], []):
        register.fence_part(fact.stream, index, fact.recorded_at)


@retry(retry=retry_if_exception_type(Disturbed), stop=stop_after_attempt(20), wait=wait_random(0, 0.1), reraise=True)
def catch_up(keys: KeyStore, roots: Roots, facts: Facts) -> int:
    """Carry out whatever a crash left, up to the head of the log. Returns of how many facts a seal was changed."""
    changed = 0
    while True:
        broken: list[FactAtRest] = []
        head = facts.head()
        with keys.transaction() as cursor:
            after = rows_of(cursor, SQL.kept_position.sql)[0]["position"]
            page = facts.page_for_keeping(after, PAGE)
            tree = Tree(cursor, roots)
            full, newest = len(page) == PAGE, page[-1].position if page else head
            # Of a tenant that was closed every key is gone already.
            closed = tree.hold_tenants(fact.tenant for fact in page)
            page = [fact for fact in page if fact.tenant not in closed]
            # First: an edit may be of a part that the register does not know to be told.
            _tell_parts(tree, page, broken)
            for fact in page:
                _keep(tree, facts, fact, broken)
            effects = [
                fact for fact in page if fact.type in CATALOGUE and CATALOGUE[fact.type].record.EFFECT is not None
            ]
            for tenant, stream in dict.fromkeys((fact.tenant, fact.stream) for fact in effects):
                settle(tree, facts, tenant, stream)
            cursor.execute(SQL.advance_kept.sql, {"position": newest if full else head})
        changed += len({fact.position for fact in broken})
        if not full:
            return changed


def _keep(tree: Tree, facts: Facts, fact: FactAtRest, broken: list[FactAtRest]) -> None:
    plan = CATALOGUE.get(fact.type)
    if plan is None:
        return
    if fact.type == ContactMerged.TYPE and not is_vouched(tree, facts, fact):
        broken.append(fact)
    elif fact.type == ContactMerged.TYPE:
        primary = SubjectId(UUID(fact.clear["person"]))
        for secondary in (SubjectId(UUID(text)) for text in fact.clear["secondary"]):
            merge(tree, facts, secondary, primary)
    elif fact.type in MOVES and fact.clear.get("requester"):
        move(tree, facts, fact.stream)
    _mark_agents(tree, fact)
    if person := fact.clear.get("person"):
        if {"id", "primary_contact_id"} & set(fact.sealed_fields):
            tree.cursor.execute(SQL.mark_upstream.sql, {"subject_ids": [UUID(person)]})
        _claim(tree, fact, SubjectId(UUID(person)), broken)


def _tell_parts(tree: Tree, page: Sequence[FactAtRest], broken: list[FactAtRest]) -> None:
    """Note which parts the log tells, so that they can be edited and do not come a second time."""
    makers = [fact for fact in page if "part" in fact.clear and CATALOGUE[fact.type].record.EFFECT is None]
    for tenant in dict.fromkeys(fact.tenant for fact in makers):
        register = Register(tree, tenant)
        register.told(_part_indexes(register, tree, [fact for fact in makers if fact.tenant == tenant], broken))


def _part_indexes(register: Register, tree: Tree, facts: Sequence[FactAtRest], broken: list[FactAtRest]) -> list[bytes]:
    """Compute the blind indexes of the parts that facts of one tenant make or end, as long as their seals open."""
    return [
        register.index(Reference(mark.kind, str(personal[name])))
        for fact, personal in opened_facts(tree, facts[0].tenant, facts, broken)
        for name, mark in CATALOGUE[fact.type].names
        if mark.role == "part" and personal.get(name) is not None
    ]


def _mark_agents(tree: Tree, fact: FactAtRest) -> None:
    """Note who is an agent by this fact, or is none any more."""
    record = CATALOGUE[fact.type].record
    agents = [fact.clear.get("responder"), *(fact.clear.get("members") or ())]
    if record.TEAM:
        agents.append(fact.clear.get("author"))
    if record.THING == "agent" or fact.type == ContactMadeAgent.TYPE:
        agents.append(fact.clear.get("person"))
    ids = [UUID(agent) for agent in agents if agent]
    if fact.type == AgentDeleted.TYPE:
        tree.cursor.execute(SQL.unmark_agents.sql, {"subject_ids": ids})
    elif ids:
        tree.cursor.execute(SQL.mark_agents.sql, {"subject_ids": ids})


def _claim(tree: Tree, fact: FactAtRest, person: SubjectId, broken: list[FactAtRest]) -> None:
    """Note what a profile fact tells, and let the addresses that it claims lead to its person, as intake would have."""
    opened = list(opened_facts(tree, fact.tenant, [fact], broken))
    if not opened:
        return
    [(_, personal)] = opened
    register = Register(tree, fact.tenant)
    told: list[bytes] = []
    claimed: list[bytes] = []
    for name, mark in CATALOGUE[fact.type].names:
        value = personal.get(name)
        if mark.role == "self" and value is not None:
            for item in value if isinstance(value, list) else (value,):
                try:
                    index = register.index(Reference(mark.kind, str(item)))
                except ReferenceMalformed:
                    continue
                told.append(index)
                if name in fact.clear.get("claimed", ()):
                    claimed.append(index)
    if claimed:
        inside = {index: entry.inside for index, entry in register.look_up(claimed).items() if entry.inside is not None}
        people = tree.people([person, *inside.values()])
        mine = people[person].root
        if people[mine].living:
            others = [index for index, who in inside.items() if people[who].root != mine]
            register.claim(dict.fromkeys(others, mine), fact.position)
    register.told(told)
