"""What has to hold after every schedule, once everything was started anew and every record was sent once more.

each text is readable if the model says so, in the log and in the lists, and nothing reads as lost or broken
whatever is gone has its line, mark and certificate, and the log was told of it once
rows, counters and register agree; living read models are as rebuilt ones; counts are as if nobody had gone
after a turn and the end of the older roots: a thief with every row of all times opens nothing that is gone
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from crypto import certificates
from crypto.integrity import Integrity
from crypto.keystore import rows_of
from crypto.opening import SHREDDED, open_leaves
from crypto.register import ID_BYTES
from crypto.sealing import header_of
from crypto.tree import Tree
from crypto.turning import SQL as TURNING
from crypto.wrapping import Key
from domain.errors import KeyLost
from domain.fact import FactAtRest
from domain.personal import Kind, Reference
from domain.subjects import CONTENT_SHREDDED, SUBJECT_SHREDDED
from services import epochs
from services.opening_facts import opened_facts
from services.projecting import MODELS
from services.reading import Reveal
from services.wiring import House, now
from tests.adversary import Adversary
from tests.desks import Desk
from tests.protocol import scene
from tests.protocol.scene import ACTS, PLANTED, Act, Model
from tests.protocol.worlds import Worlds

#: Whom a line of the ledger can be about.
_TARGETS = {
    scene.ANN: Reference(Kind.PERSON, "1"),
    scene.BOB: Reference(Kind.PERSON, "2"),
    scene.MINE: Reference(Kind.TICKET, "21"),
    scene.HIS: Reference(Kind.TICKET, "22"),
}
#: Whoever and whatever lives, by inside id: what the register may lead to.
_LIVING = """
SELECT subject_id AS id FROM subjects WHERE line IS NULL
UNION ALL SELECT thing_id FROM things JOIN subjects ON subject_id = owner
          WHERE things.line IS NULL AND subjects.line IS NULL
UNION ALL SELECT thing_id FROM things WHERE line IS NULL AND owner = tenant
UNION ALL SELECT profile FROM subjects WHERE line IS NULL
"""
_READ_MODELS = "SELECT schemaname AS model, tablename AS name FROM pg_tables WHERE schemaname = ANY(%s) ORDER BY 1, 2"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a world before a schedule.

    `ids` name inside ids, `facts` counts them by type, and `reports` are the counts by what was taken in.
    """

    model: Model
    ids: Mapping[UUID, str]
    facts: Counter[str]
    reports: dict[frozenset[str], Any] = field(default_factory=dict)


def known_of(desk: Desk, model: Model, ids: Mapping[UUID, str] | None = None) -> Known:
    """Look at a world. `ids` are those of an earlier one, in which nobody was shredded yet."""
    if ids is None:
        find = desk.house.shredding.find
        ids = {find(desk.tenant.id, reference).id: name for name, reference in _TARGETS.items()}
    return Known(model, ids, Counter(fact.type for fact in _facts(desk.house)))


def taken_in(desk: Desk, known: Known, acts: Iterable[Act]) -> list[Act]:
    """Name the records of a schedule that stand on the log. Each stands there once."""
    more = Counter(fact.type for fact in _facts(desk.house))
    more.subtract(known.facts)
    taken = [act for act in acts if act.type and more[act.type]]
    assert all(more[act.type] == 1 for act in taken), "a record is stored once"
    return taken


def check(desk: Desk, worlds: Worlds, known: Known, acts: Iterable[Act], *, thorough: bool) -> None:
    """Check everything. What takes the longest, and follows from the rest unless a fold is wrong, only if `thorough`.

    Raises:
        AssertionError: says what does not hold.
    """
    house = desk.house
    model, taken = known.model, taken_in(desk, known, acts)
    for act in sorted(taken, key=lambda act: list(ACTS).index(act.name)):
        model = act.means(model)
    # Whoever had been merged into somebody goes along, also where a restored copy knows of no merge.
    gone = {id_ for line in house.ledger.read() for id_ in house.ledger.fences_of(line).targets}
    expected = model.readable(known.ids[id_] for id_ in gone)

    check_log(desk, expected)
    _check_shreds(desk)
    assert desk.reports() == known.reports[frozenset(act.name for act in taken)], "counts are as if nobody had gone"
    _check_rows(house)
    if thorough:
        _check_lists(desk, expected)
        _check_rebuilt(house)
    check_thief(desk, worlds)
    check_log(desk, expected)
    if thorough:
        _check_rows(house)


# -- reading --------------------------------------------------------------------------------------------------------


def _facts(house: House) -> list[FactAtRest]:
    return house.facts.page(0, 10_000)


def check_log(desk: Desk, expected: set[str], *, lost_after: int | None = None) -> None:
    """Check that of the log exactly the expected texts open. Behind a position that is named, keys may be lost."""
    house, tenant = desk.house, desk.tenant.id
    facts = [fact for fact in _facts(house) if fact.seal is not None]
    with house.keys.transaction() as cursor:
        tree = Tree(cursor, house.roots)
        places = {(fact.stream, header_of(fact.seal).key_id): fact.position for fact in facts}
        for place, found in open_leaves(tree, tenant, places).items():
            is_lost = lost_after is not None and places[place] > lost_after and isinstance(found, KeyLost)
            assert isinstance(found, Key) or found is SHREDDED or is_lost, f"{places[place]} reads as {found!r}"
        opened = {text for _, personal in opened_facts(tree, tenant, facts) for text in _texts(personal)}
    assert opened & PLANTED == expected, "on the log"


def _check_lists(desk: Desk, expected: set[str]) -> None:
    companies = desk.house.reading.companies(desk.tenant.id, Reveal("tester", "test"), all=True)
    shown = {text for row in (*desk.tickets(), *desk.contacts(), *companies) for text in _texts(row)}
    assert shown & PLANTED == expected, "in the lists"


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for one in value.values():
                yield from _texts(one)
        case list() | tuple():
            for one in value:
                yield from _texts(one)
        case _:
            pass


# -- accounts -------------------------------------------------------------------------------------------------------


def _check_shreds(desk: Desk) -> None:
    house = desk.house
    with house.keys.transaction() as cursor:
        shreds = rows_of(cursor, "SELECT * FROM shreds")
        marks = rows_of(cursor, "SELECT line FROM subjects WHERE line > 0 UNION SELECT line FROM things WHERE line > 0")
    lines = {line.shred: line for line in house.ledger.read()}
    assert {row["step"] for row in shreds} <= {"finished", "abandoned"}, "nothing is left half done"
    done = {row["shred_id"]: row for row in shreds if row["step"] == "finished"}
    assert done.keys() == lines.keys(), "a line for each shred that was carried out, and no other"
    assert sorted(line.number for line in lines.values()) == list(range(1, house.ledger.head() + 1))
    assert {row["line"] for row in marks} <= {line.number for line in lines.values()}
    for id_, row in done.items():
        assert row["line"] == lines[id_].number
        assert certificates.verify(dict(row["certificate"])), "it has its certificate"
    told = Counter(
        (fact.clear["line"], fact.stream) for fact in _facts(house) if fact.type in (SUBJECT_SHREDDED, CONTENT_SHREDDED)
    )
    assert set(told.values()) <= {1}, "the log was told once"
    assert {line for line, _ in told} == {line.number for line in lines.values()}, "the log was told of each"


def _check_rows(house: House) -> None:
    report = Integrity(house.keys, house.roots, house.ledger, now).check()
    assert report.is_clean, report.as_dict()["named"]


def _check_rebuilt(house: House) -> None:
    before = _dumped(house)
    for name in MODELS:
        house.projecting.rebuild(name)
    assert _dumped(house) == before, "read models are as rebuilt ones"


def _dumped(house: House) -> dict[str, list[str]]:
    with house.facts.cursor() as cursor:
        tables = cursor.execute(_READ_MODELS, (list(MODELS),)).fetchall()
        return {
            f"{row['model']}.{row['name']}": sorted(
                one["row"]
                for one in cursor.execute(f'SELECT t::text AS row FROM {row["model"]}."{row["name"]}" AS t'.encode())
            )
            for row in tables
        }


# -- the thief ------------------------------------------------------------------------------------------------------


def check_thief(desk: Desk, worlds: Worlds) -> None:
    """Check that with every row of all times nothing opens that is gone, once the roots of the time are destroyed.

    What went during a turn that was begun may stand under its root, so that turn is finished, and one comes behind it.
    Then every certificate says so.
    """
    for _ in range(2 if scene.is_turning(desk) else 1):
        scene.turn(desk)
        scene.destroy(desk)
    epochs.certify_destroyed(desk.house.keys, desk.house.certifying.recertify, at=now())
    thief = Adversary(desk.house.roots, desk.tenant.id)
    for table, rows in worlds.stolen().items():
        thief.steal(table, rows)
    with desk.house.keys.transaction() as cursor:
        tree = Tree(cursor, desk.house.roots)
        leaves = [(row["thing_id"], row["key_id"]) for row in rows_of(cursor, "SELECT thing_id, key_id FROM leaves")]
        found = open_leaves(tree, desk.tenant.id, leaves)
        register, living = _opened_register(tree, desk), {row["id"].bytes for row in rows_of(cursor, _LIVING)}
        recoverable = rows_of(cursor, TURNING.recoverable.sql)[0]["shreds"]
        dead = {row["subject_id"] for row in rows_of(cursor, "SELECT subject_id FROM subjects WHERE line IS NOT NULL")}
    assert recoverable == 0, "a certificate says less than is true"
    living_keys = {key.material for key in found.values() if isinstance(key, Key)}
    for material, (thing, key_id, owners) in thief.opened_leaves().items():
        # A key of which a restored copy never heard may open as long as everybody lives whose it was.
        is_allowed = material in living_keys if (thing, key_id) in found else not owners & dead
        assert is_allowed, f"a thief opens the key {key_id}, which is gone"
    gone = {content for content in thief.opened_entries() - register if content[:ID_BYTES] not in living}
    assert not gone, "references"


def _opened_register(tree: Tree, desk: Desk) -> set[bytes]:
    """Open every row of the register that lives."""
    now_ = Adversary(desk.house.roots, desk.tenant.id)
    for table in ("wrapping_keys", "register", "register_backs"):
        now_.steal(table, rows_of(tree.cursor, f"SELECT * FROM {table}"))
    return now_.opened_entries()
