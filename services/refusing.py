"""Refusing: what cannot be taken and is about somebody who was shredded does not even come to the quarantine."""

from __future__ import annotations

from crypto.keystore import rows_of
from crypto.register import Known, Register
from crypto.tree import SQL, Tree
from domain.errors import RecordFenced, RecordInvalid
from services.batches import TenantBatch
from services.changes import Changes
from services.naming import known_among, references_named

#: References of one record that are looked up while a batch waits. No record that is right has as many.
MOST_NAMED = 10_000


def refuse_fenced(tree: Tree, register: Register, batch: TenantBatch, changes: Changes) -> None:
    """Keep out of the quarantine what names somebody who was shredded as its owner, however wrong it is.

    Whoever lives is held with the batch: a shred that comes now waits, and finds the record in the quarantine.

    Of what names too many, none is looked up here. It is quarantined as `too_many_references`, so that whoever reads
    why records were not taken sees that it was not judged; `Quarantine.judge` does that.
    """
    named = {
        id(one): references_named(one.parcel.raw)
        for one in batch.judged
        if one.refusal is not None and not isinstance(one.refusal, RecordFenced)
    }
    for one in batch.judged:
        if len(named.get(id(one), ())) > MOST_NAMED:
            del named[id(one)]
            if isinstance(one.refusal, RecordInvalid):
                one.refusal = RecordInvalid("too_many_references")
    if not named:
        return
    known = known_among(register, {reference for found in named.values() for reference in found})
    inside = {entry.inside for entry in known.values() if entry.inside is not None}
    things = {row["thing_id"]: row for row in rows_of(tree.cursor, SQL.things_by_id.sql, thing_ids=[*inside])}
    owner_of = {id_: row["owner"] for id_, row in things.items() if row["owner"] != batch.tenant.id}
    people = tree.people({*(inside - things.keys()), *owner_of.values()})

    def is_shredded(entry: Known) -> bool:
        if entry.inside is None:
            return True
        thing, person = things.get(entry.inside), people.get(owner_of.get(entry.inside, entry.inside))
        return (thing is not None and thing["line"] is not None) or (person is not None and not person.living)

    shredded = {reference for reference, entry in known.items() if is_shredded(entry)}
    for one in batch.judged:
        if not shredded.isdisjoint(named.get(id(one), ())):
            one.refusal = RecordFenced("fenced")
    changes.named.update(person.subject_id for person in people.values() if person.living)
