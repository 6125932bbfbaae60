"""The key work that facts of upstream call for: a merged contact, a moved ticket, a claimed address.

These are facts first. Intake carries them out for its own batch, right after the append and under the same locks;
`catch_up` follows the log and carries out what a crash left. Everything here may run twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from crypto.keystore import KeyStore, rows_of
from crypto.opening import open_leaves
from crypto.register import Register
from crypto.roots import Roots
from crypto.sealing import header_of, open_seal
from crypto.tree import SQL, Owner, Person, Tree
from crypto.wrapping import Key
from domain.catalogue import CATALOGUE
from domain.errors import KeyLost, ReferenceMalformed
from domain.fact import FactAtRest
from domain.ids import SubjectId, ThingId
from domain.personal import Kind, Reference
from services.log import Facts

PAGE = 1_000
_MERGED = "sealdesk.contact.merged.v1"
_MOVED = "sealdesk.ticket.updated.v1"


def advance(cursor: Cursor[DictRow], head: int, newest: int) -> None:
    """Note that everything up to `newest` is kept, if everything up to `head` was."""
    cursor.execute(SQL.advance_kept_from.sql, {"head": head, "newest": newest})


def merge(tree: Tree, secondary: SubjectId, primary: SubjectId) -> bool:
    """Hang one person under another. Returns whether the primary was shredded, so that the secondary has to go too."""
    people = tree.people([secondary, primary])
    if secondary not in people or primary not in people:
        raise KeyLost("a merged person is missing")
    below, above = people[people[secondary].root], people[people[primary].root]
    if below.root == above.root or not below.living:
        return False
    if not above.living:
        return True
    tree.merge(below, above)
    return False


def move(tree: Tree, facts: Facts, thing: ThingId) -> None:
    """Give every fact of a ticket the owners that it gained by moving, and the ticket its newest requester.

    What stood in a ticket before it moved belongs to both: its leaf is wrapped under the later requester too. If that
    person was shredded, the leaf dies.
    """
    stream = facts.stream(thing)
    moves = [(fact.position, UUID(fact.clear["requester"])) for fact in stream if fact.clear.get("requester")]
    people = tree.people(requester for _, requester in moves)
    leaves = {row["key_id"]: row for row in rows_of(tree.cursor, SQL.leaves_of_thing.sql, thing_id=thing)}
    for fact in stream:
        if fact.seal is None:
            continue
        leaf = leaves.get(header_of(fact.seal).key_id)
        if leaf is None or leaf["wrapped"] is None:
            continue
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
            mark = tree.mark("leaf", leaf["key_id"], leaf["tenant"], line)
            named = {"thing_id": leaf["thing_id"], "key_id": leaf["key_id"], "line": line, "mark": mark}
            if tree.cursor.execute(SQL.destroy_leaf.sql, named).rowcount:
                tree.lose_children(Counter(owners))
            leaf["wrapped"] = None
        return
    if tree.add_owner(leaf, Owner(requester, person.key)):
        fresh = rows_of(tree.cursor, SQL.leaf.sql, thing_id=leaf["thing_id"], key_id=leaf["key_id"])
        leaf.update(fresh[0])


def catch_up(keys: KeyStore, roots: Roots, facts: Facts) -> list[tuple[SubjectId, SubjectId]]:
    """Carry out whatever a crash left, up to the head of the log.

    Returns the pairs (secondary, primary) of merges whose primary was shredded before the merge was carried out: the
    secondary has to be shredded as well.
    """
    orphans: list[tuple[SubjectId, SubjectId]] = []
    while True:
        head = facts.head()
        with keys.transaction() as cursor:
            after = rows_of(cursor, SQL.kept_position.sql)[0]["position"]
            page = facts.page_for_keeping(after, PAGE)
            tree = Tree(cursor, roots)
            for fact in page:
                orphans.extend(_keep(tree, facts, fact))
            full = len(page) == PAGE
            cursor.execute(SQL.advance_kept.sql, {"position": page[-1].position if full else head})
        if not full:
            return orphans


def _keep(tree: Tree, facts: Facts, fact: FactAtRest) -> Iterator[tuple[SubjectId, SubjectId]]:
    if fact.type == _MERGED:
        primary = SubjectId(UUID(fact.clear["person"]))
        for secondary in (SubjectId(UUID(text)) for text in fact.clear["secondary"]):
            if merge(tree, secondary, primary):
                yield secondary, primary
    elif fact.type == _MOVED and fact.clear.get("requester"):
        move(tree, facts, fact.stream)
    if fact.clear.get("responder"):
        tree.cursor.execute(SQL.mark_agents.sql, {"subject_ids": [UUID(fact.clear["responder"])]})
    if person := fact.clear.get("person"):
        if fact.type.startswith("sealdesk.agent."):
            tree.cursor.execute(SQL.mark_agents.sql, {"subject_ids": [UUID(person)]})
        if {"id", "primary_contact_id"} & set(fact.sealed_fields):
            tree.cursor.execute(SQL.mark_upstream.sql, {"subject_ids": [UUID(person)]})
        _claim(tree, fact, SubjectId(UUID(person)))


def _claim(tree: Tree, fact: FactAtRest, person: SubjectId) -> None:
    """Let the addresses of a profile fact lead to its person, as intake would have done."""
    if fact.seal is None:
        return
    header = header_of(fact.seal)
    key = open_leaves(tree, fact.tenant, [(fact.stream, header.key_id)])[fact.stream, header.key_id]
    if not isinstance(key, Key):
        return
    personal = open_seal(fact.seal, key, tenant=fact.tenant, stream=fact.stream, event_id=fact.event_id, type=fact.type)
    register = Register(tree, fact.tenant)
    indexes: list[bytes] = []
    for name, mark in CATALOGUE[fact.type].names:
        value = personal.get(name)
        if mark.role == "self" and mark.kind is not Kind.PERSON and value is not None:
            for item in value if isinstance(value, list) else (value,):
                try:
                    indexes.append(register.index(Reference(mark.kind, str(item))))
                except ReferenceMalformed:
                    continue
    known = register.look_up(indexes)
    inside = {index: entry.inside for index, entry in known.items() if entry.inside is not None}
    people = tree.people([person, *inside.values()])
    mine = people[person].root
    others = {index: people[who] for index, who in inside.items() if people[who].root != mine}
    if people[mine].living and "id" in personal:
        claimed = [index for index, other in others.items() if people[other.root].upstream]
        register.give_up([(inside[index], index) for index in claimed])
        register.enter([(index, mine) for index in claimed])
    register.told(indexes)
