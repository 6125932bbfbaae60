"""Lock whoever and whatever a batch is about, and look whether anything changed since it was decided.

Rule: the locks last until the transaction of the key database ends. A shred takes the same rows FOR UPDATE, so it waits
for the batch in flight, or the batch is decided anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import Cursor
from psycopg.rows import DictRow

from crypto import tree as trees
from crypto.keystore import Disturbed, rows_of
from crypto.register import SQL as REGISTER
from crypto.register import Register
from crypto.tree import Tree
from services.batches import TenantBatch, opened_by
from services.log import Facts


def hold_tenants(tree: Tree, batches: Sequence[TenantBatch]) -> None:
    """Hold the tenants of a batch, so that nobody closes one before the log has committed.

    Raises:
        Disturbed: one was closed since the batch was decided.
    """
    closed = tree.hold_tenants([batch.tenant.id for batch in batches])
    if any(batch.tenant.id in closed and not batch.closed for batch in batches):
        raise Disturbed("a tenant was closed meanwhile")


def hold(facts: Facts, cursor: Cursor[DictRow], batch: TenantBatch) -> None:
    """Lock whoever and whatever the facts are about, and whoever they name.

    Raises:
        Disturbed: somebody or something was shredded, or moved, since the batch was decided.
    """
    changes = batch.changes
    things_known = changes.things.keys() | (batch.view.things.keys() if batch.view is not None else set())
    rewritten = changes.settled - things_known
    changed = {*changes.merged, *changes.merged.values(), *changes.agents, *changes.upstream}
    # Whoever writes a profile anew does so alone, lest one of two should not know what the other said.
    changed |= {owner for fact in changes.facts if fact.stream in rewritten for owner in fact.owners}
    named = {owner for fact in changes.facts for owner in fact.owners} | changes.named
    taken = rows_of(cursor, trees.SQL.take_subjects.sql, subject_ids=list(changed))
    held = rows_of(cursor, trees.SQL.hold_subjects.sql, subject_ids=list(named - changed))
    touched = {fact.stream for fact in changes.facts}
    # Only parents that this batch gives: what hangs in something that was shredded may still change or end.
    decided_on = batch.view.things if batch.view is not None else {}
    touched |= {
        thing.parent
        for id_, thing in changes.things.items()
        if thing.parent is not None and (id_ not in decided_on or decided_on[id_].parent != thing.parent)
    }
    alone = changes.moved.keys() | opened_by(batch) | (changes.settled & things_known)
    things = [
        *rows_of(cursor, trees.SQL.take_things.sql, thing_ids=list(alone)),
        *rows_of(cursor, trees.SQL.hold_things.sql, thing_ids=list(touched - alone)),
    ]
    if held[0]["gone"] or not all(row["living"] for row in (*taken, *things)):
        raise Disturbed("somebody or something was shredded meanwhile")
    if batch.view is not None:
        _check_people(batch, taken)
    leaned = list(changes.leaned)
    if len(rows_of(cursor, REGISTER.still_known.sql, tenant=batch.tenant.id, indexes=leaned)) < len(leaned):
        raise Disturbed("a part that something hangs in ended meanwhile")
    newest = batch.view.newest if batch.view is not None else {}
    known = {stream: position for stream, position in newest.items() if stream in changes.settled}
    if known != facts.newest(sorted(known)):
        raise Disturbed("something that is written anew changed meanwhile")
    for row in things:
        thing = decided_on.get(row["thing_id"])
        if thing is not None and thing.opened and (thing.owner or batch.tenant.id) != row["owner"]:
            raise Disturbed("something moved meanwhile")


def _check_people(batch: TenantBatch, taken: Sequence[DictRow]) -> None:
    """Check that nobody was merged, or got an id of upstream, since the batch decided on either.

    Whom the batch made itself can be found by another writer from the moment at which the references are entered.
    """
    assert batch.view is not None
    changes = batch.changes
    deciding = {*changes.merged, *changes.merged.values(), *changes.upstream}
    for row in taken:
        id_ = row["subject_id"]
        if id_ not in deciding:
            continue
        person = batch.view.people.get(id_)
        gained = row["upstream"] and not (person is not None and person.upstream)
        # Once its references are entered, the batch itself is who made them known upstream.
        others = gained and not (batch.entered and id_ in changes.upstream)
        if row["merged"] or (others and (id_ in changes.merged or id_ in changes.upstream)):
            raise Disturbed("somebody was merged, or became known upstream, meanwhile")


def hold_parts(tree: Tree, batch: TenantBatch) -> None:
    """Hold the references of the parts that this batch makes.

    Raises:
        Disturbed: another writer has brought one of them meanwhile, under an id of its own.
    """
    if not (parts := batch.changes.parts):
        return
    rows = rows_of(tree.cursor, REGISTER.take_entries.sql, tenant=batch.tenant.id, indexes=list(parts))
    # What stands as this batch has sealed it need not be opened.
    mine = {row["blind_index"] for row in rows if row["sealed"] == batch.written.get(row["blind_index"])}
    others = [index for index in parts if index not in mine]
    known = Register(tree, batch.tenant.id).look_up(others)
    if any(index not in known or known[index].part != parts[index] for index in others):
        raise Disturbed("somebody else brought the same part meanwhile")
