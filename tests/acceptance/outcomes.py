"""What came of a desk: all that a kill could have changed, without what is random or a time in every run."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from crypto.integrity import Integrity
from crypto.keystore import rows_of
from crypto.opening import SHREDDED, open_leaves
from crypto.outbox import Outbox
from crypto.sealing import header_of, open_seal
from crypto.tree import Tree
from crypto.wrapping import Key
from domain.fact import FactAtRest
from domain.ids import TenantId
from services.integrity import LogIntegrity
from services.reading import Reveal
from services.wiring import House, now

_LISTS = ("contacts", "tickets", "calls", "chats", "forums", "articles", "companies", "groups")
#: What a certificate says that is another's in every run, or was said later.
_OF_A_RUN = frozenset(
    {"certificate_id", "issued_at", "unreadable_since", "ledger_commitment", "public_key", "signature"}
)


def outcome_of(house: House, blobs: Path) -> dict[str, Any]:
    """Gather the outcome of a house with one tenant. It has to be resumed, folded and whole."""
    [tenant] = house.tenants.by_name().values()
    shown: dict[str, Any] = {
        "facts": _facts(house, tenant.id),
        "ledger": _ledger(house),
        "certificates": _certificates(house),
        "news": _news(house, tenant.id),
        "files": sorted(path.name for path in blobs.rglob("*") if path.is_file()),
        # A row whose key was dropped, and that a crash left, can be listed until its day is over, and not opened.
        "quarantine": sum(len(page) for page in house.quarantine.opened_pages(tenant.id)),
        "reports": house.reading.reports(tenant.id),
        "erasures": house.reading.erasures(tenant.id),
        "residue": sum(house.residue.of_all(tenant.id).values()),
        "keys": _keys(house, tenant.id),
        "wrong": _wrong(house),
    }
    for name in _LISTS:
        for reveal in (None, Reveal("tester", "test")):
            shown[f"{name} {'sealed' if reveal is None else 'revealed'}"] = list(
                getattr(house.reading, name)(tenant.id, reveal, all=True)
            )
    outcome: dict[str, Any] = orjson.loads(orjson.dumps(shown, default=str))
    return outcome


def _facts(house: House, tenant: TenantId) -> list[Any]:
    """Say of each fact what it tells in the clear, and what its seal answers: its content, or that it was shredded."""
    facts, after = list[FactAtRest](), 0
    while page := house.facts.page(after, 1_000):
        facts += page
        after = page[-1].position
    return sorted(
        ([fact.type, fact.stream.hex, _clear(fact), _answer(house, tenant, fact)] for fact in facts), key=repr
    )


def _clear(fact: FactAtRest) -> Any:
    """Leave out the number of a line: of two shreds of one order either may come first."""
    return {name: value for name, value in sorted(fact.clear.items()) if name != "line"}


def _answer(house: House, tenant: TenantId, fact: FactAtRest) -> Any:
    if fact.seal is None:
        return "never had a key"
    place = fact.stream, header_of(fact.seal).key_id
    with house.keys.transaction() as cursor:
        found = open_leaves(Tree(cursor, house.roots), tenant, [place])[place]
    if isinstance(found, Key):
        return open_seal(fact.seal, found, tenant=tenant, stream=fact.stream)
    return "shredded" if found is SHREDDED else repr(found)


def _ledger(house: House) -> list[Any]:
    """Give kind, target, who went and how many references, line by line."""
    return sorted(
        (line.kind, str(line.key), sorted(map(str, fences.targets)), len(fences.tags))
        for line in house.ledger.read()
        for fences in [house.ledger.fences_of(line)]
    )


def _certificates(house: House) -> list[Any]:
    with house.keys.transaction() as cursor:
        rows = rows_of(cursor, "SELECT target, step, certificate FROM shreds WHERE step <> 'abandoned'")
    return sorted(([str(row["target"]), row["step"], claims_of(row["certificate"] or {})] for row in rows), key=repr)


def claims_of(certificate: dict[str, Any]) -> dict[str, Any]:
    """Give what a certificate claims, without its id, its signature, and times, of which is said only if they are."""
    claims = {name: value for name, value in certificate.items() if name not in _OF_A_RUN}
    if "told" in claims:
        claims["told"] = {n: bool(v) if n.endswith(("deadline", "_at")) else v for n, v in claims["told"].items()}
    return claims | {"unrecoverable_since": claims.get("unrecoverable_since") is not None}


def _news(house: House, tenant: TenantId) -> Any:
    """Say what waits to be told, and how many news there are, told or not."""
    with house.keys.transaction() as cursor:
        told = [(telling.kind, sorted(telling.things)) for telling in Outbox(Tree(cursor, house.roots)).to_send(1_000)]
        rows = rows_of(cursor, "SELECT kind, number IS NULL AS held, key_destroyed_at IS NULL AS open FROM outbox")
    return [sorted(told), sorted(tuple(row.values()) for row in rows)]


def _keys(house: House, tenant: TenantId) -> dict[str, Any]:
    """Count, and name where ids stand from before, what stands in the key database about facts of upstream."""
    statements = {
        "people": "SELECT subject_id, line IS NOT NULL, agent, upstream FROM subjects",
        "things": "SELECT thing_id, owner, line IS NOT NULL FROM things",
        "register": "SELECT blind_index, told FROM register",
        "ways back": "SELECT owner, count(*) FROM register_backs GROUP BY owner",
        "fences": "SELECT day, count(*) FROM fences GROUP BY day",
        "at the root": "SELECT kind, count(DISTINCT epoch) FROM wrapping_keys WHERE kind <> 'outbox' GROUP BY kind",
        "one epoch": "SELECT count(*) FROM wrapping_keys WHERE epoch < (SELECT max(epoch) FROM wrapping_keys)",
    }
    with house.keys.transaction() as cursor:
        found = {name: sorted(map(repr, _values(rows_of(cursor, sql)))) for name, sql in statements.items()}
        leaves = rows_of(cursor, "SELECT key_id, thing_id, owner, co_owners, wrapped IS NULL AS gone FROM leaves")
    of_facts = _keys_of_facts(house)
    # What is taken in gets a key with an id of its own in each run.
    return found | {"leaves": sorted(repr(list(row.values())[1:]) for row in leaves if row["key_id"] in of_facts)}


def _values(rows: list[dict[str, Any]]) -> list[Any]:
    return [list(row.values()) for row in rows]


def _keys_of_facts(house: House) -> set[UUID]:
    """Name the keys of facts and of files; officers' words have keys, too, and ids of their own in each run."""
    with house.facts.cursor() as cursor:
        rows = cursor.execute("SELECT seal FROM facts_events WHERE seal IS NOT NULL").fetchall()
        blobs = cursor.execute("SELECT blob_id FROM blobs").fetchall()
    return {header_of(row["seal"]).key_id for row in rows} | {row["blob_id"] for row in blobs}


def _wrong(house: House) -> list[Any]:

    keys = Integrity(house.keys, house.roots, house.ledger, now).check()
    log = LogIntegrity(house.facts, house.keys, house.roots).check()
    return [*keys.as_dict()["found"], *log.report.as_dict()["found"]]
