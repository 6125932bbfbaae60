"""Export everything of a tenant that opens, as files that a sealdesk can import again: the return of a processor.

Article 28(3)(g) GDPR: at the end of the contract the processor deletes or returns all personal data. A folder holds

    manifest.json       what is in the folder, counted against the log, and each file with its reference
    records.jsonl       a CloudEvent a line, in the order of the log: `sealdesk import`
    quarantine.jsonl    records that could not be taken, as they came, in base64, each with its reason
    vocabularies.toml   the words that the tenant declared: `sealdesk tenant add NAME --vocabulary`
    files/              attachments, pictures and recordings: `sealdesk blob put REFERENCE FILE`

Rule: the folder appears whole or not at all, for nobody else to read, and on disk before it has its name. What is
written here is in clear: whoever asked for it answers for it from here on. It leaves one access line.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from psycopg.rows import DictRow

from crypto.closing import SQL as CLOSING
from crypto.keystore import KeyStore, rows_of
from crypto.opening import SHREDDED, open_leaves
from crypto.roots import Roots
from crypto.sealing import header_of
from crypto.tree import Tree
from domain.catalogue import CATALOGUE
from domain.errors import (
    BlobMissing,
    KeyLost,
    NobodyCanAct,
    RecordFenced,
    SealBroken,
    SealdeskError,
    SettingsWrong,
)
from domain.fact import FactAtRest
from domain.ids import TenantId
from services.arrived import STATEMENTS, Seen
from services.as_records import References, events_of, is_derived
from services.blobs.attaching import Attaching
from services.drafts import sync, whole, written
from services.log import Facts
from services.opening_facts import opened_facts
from services.quarantine import Quarantine
from services.reading import Reveal
from services.tenants import Tenant

FORMAT = "sealdesk-export/1"
PAGE = 1_000
#: What became of the facts of the tenant: each is one of these.
FATES = ("told", "derived", "shredded", "not_told", "lost")

Opened = tuple[FactAtRest, Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported, counted.

    seen        what there was of the tenant
    records     in records.jsonl
    files       that were written
    never_sent  files of which upstream told, and that it never sent
    facts       what became of each: see `FATES`
    gaps        what the folder lacks although nobody shredded it, by name; only what there is
    """

    seen: Seen
    records: int
    files: int
    never_sent: int
    facts: Mapping[str, int]
    gaps: Mapping[str, int]


class Exporting:
    """Export tenants. `leave_access_line` is that of `services.reading`."""

    def __init__(
        self,
        facts: Facts,
        keys: KeyStore,
        roots: Roots,
        quarantine: Quarantine,
        attaching: Attaching,
        leave_access_line: Callable[[TenantId, str, Iterable[Any], Reveal], object],
        clock: Callable[[], datetime],
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._roots = roots
        self._quarantine = quarantine
        self._attaching = attaching
        self._leave_access_line = leave_access_line
        self._clock = clock

    def export(
        self,
        tenant: Tenant,
        folder: Path,
        reveal: Reveal,
        progress: Callable[[int, int], object] = lambda done, of: None,
    ) -> Exported:
        """Write everything of a tenant that opens into a new folder. `progress` is told (facts done, of how many).

        Raises:
            SettingsWrong: the folder exists, cannot be written, or there is no reason. Nothing is left.
            NobodyCanAct: the counts differ from those of the log. Nothing is left.
        """
        if not reveal.why.strip():
            raise SettingsWrong("an export needs a reason")
        head = self._facts.head()
        expected = self._count(tenant.id, head)
        with whole(folder) as draft:
            self._leave_access_line(tenant.id, "export", [], reveal)
            fates, records = Counter(dict.fromkeys(FATES, 0)), 0
            references, files = self._learned(tenant.id, head)
            with written(draft / "records.jsonl") as write:
                for event, fate in self._records(tenant.id, head, references):
                    fates[fate] += 1
                    if event is not None:
                        records += 1
                        write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
                    progress(fates.total(), expected)
            if fates.total() != expected:
                raise NobodyCanAct(f"the log has {expected} facts of this tenant, and the export saw {fates.total()}")
            stored = {row["blob_id"]: row for row in self._attaching.listed([tenant.id])}
            listed = list(self._files(draft / "files", tenant.id, files, references, stored))
            waiting, lost, quarantined = self._quarantined(draft, tenant.id)
            gaps = {
                "facts_lost": fates["lost"],
                "facts_not_told": fates["not_told"],
                "files_lost": sum(file.get("why") in LOST for file in listed),
                "quarantined_lost": lost,
            }
            _write_vocabularies(draft / "vocabularies.toml", tenant)
            manifest = {
                "format": FORMAT,
                "sealdesk": version("sealdesk"),
                "tenant": tenant.name,
                "exported_at": self._clock().isoformat(),
                "position": head,
                "facts": dict(fates),
                "records": records,
                "quarantined": waiting,
                "gaps": gaps,
                "files": listed,
                "not_in_it": NOT_IN_IT,
            }
            with written(draft / "manifest.json") as write:
                write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        return Exported(
            Seen(head, quarantined, frozenset((id_, row["stored_at"]) for id_, row in stored.items())),
            records,
            sum(file["file"] is not None for file in listed),
            sum(file.get("why") == NEVER_SENT for file in listed),
            dict(fates),
            {name: count for name, count in gaps.items() if count},
        )

    def _opened(self, tenant: TenantId, head: int) -> Iterator[list[Opened]]:
        """Go through the facts of a tenant, page by page, with what of each opens."""
        after = 0
        while page := self._facts.page(after, PAGE):
            after = page[-1].position
            ours = [fact for fact in page if fact.tenant == tenant and fact.position <= head]
            with self._keys.transaction() as cursor:
                opened = {
                    fact.position: told for fact, told in opened_facts(Tree(cursor, self._roots), tenant, ours, [])
                }
            yield [(fact, opened.get(fact.position, {} if fact.seal is None else None)) for fact in ours]
            if after >= head:
                return

    def _learned(self, tenant: TenantId, head: int) -> tuple[References, list[FactAtRest]]:
        """Learn what upstream calls everybody and everything, and which facts tell of files."""
        references, files = References(), list[FactAtRest]()
        with self._keys.transaction() as cursor:
            ended = {row["thing_id"] for row in rows_of(cursor, CLOSING.ended_things.sql, tenant=tenant)}
        for page in self._opened(tenant, head):
            for fact, personal in page:
                if fact.type in CATALOGUE and personal is not None:
                    references.learn(fact, personal)
                    if CATALOGUE[fact.type].record.BLOB:
                        files.append(fact)
                elif fact.type in CATALOGUE and fact.stream in ended:
                    references.make_up(fact)
        return references, files

    def _records(
        self, tenant: TenantId, head: int, references: References
    ) -> Iterator[tuple[dict[str, Any] | None, str]]:
        for page in self._opened(tenant, head):
            dead = [fact for fact, personal in page if personal is None]
            lost = self._lost(tenant, dead)
            closed = {fact.position for fact in dead}
            for fact, event in events_of(page, references):
                if fact.type not in CATALOGUE or is_derived(fact):
                    fate = "derived"
                elif fact.position in lost:
                    # Also where its record can be written without what it said.
                    fate = "lost"
                elif event is not None:
                    fate = "told"
                else:
                    fate = "shredded" if fact.position in closed else "not_told"
                yield event, fate

    def _lost(self, tenant: TenantId, facts: list[FactAtRest]) -> set[int]:
        """Tell which facts do not open although nobody shredded them."""
        places = {
            fact.position: (fact.stream, header_of(fact.seal).key_id)
            for fact in facts
            if fact.seal is not None and not fact.broken
        }
        with self._keys.transaction() as cursor:
            found = open_leaves(Tree(cursor, self._roots), tenant, places.values())
        return {fact.position for fact in facts if fact.position not in places} | {
            position for position, place in places.items() if found[place] is not SHREDDED
        }

    def _count(self, tenant: TenantId, head: int) -> int:
        with self._facts.cursor() as cursor:
            return int(rows_of(cursor, STATEMENTS.count_facts.sql, tenant=tenant, head=head)[0]["facts"])

    def _files(
        self,
        folder: Path,
        tenant: TenantId,
        facts: Iterable[FactAtRest],
        references: References,
        stored: Mapping[UUID, DictRow],
    ) -> Iterator[dict[str, Any]]:
        folder.mkdir(mode=0o700)
        for fact in facts:
            [kind] = {mark.kind for _, mark in CATALOGUE[fact.type].names if mark.role == "part"}
            part = UUID(fact.clear["part"])
            said = {"reference": f"{kind.value} {references.parts.get(part, '')}".strip()}
            if part not in stored or stored[part]["bytes"] is None:
                # Of what is on its way, whoever sends it is told at the end whether it came.
                yield {**said, "file": None, "why": NEVER_SENT}
                continue
            digest, size = hashlib.sha256(), 0
            try:
                with written(folder / part.hex) as write:
                    for chunk in self._attaching.opened(tenant, fact.stream, part):
                        digest.update(chunk)
                        size += len(chunk)
                        write(chunk)
            except (BlobMissing, RecordFenced, KeyLost, SealBroken) as error:
                (folder / part.hex).unlink()
                yield {**said, "file": None, "why": _WHY[type(error)]}
                continue
            yield {**said, "file": f"files/{part.hex}", "bytes": size, "sha256": digest.hexdigest()}
        sync(folder)

    def _quarantined(self, draft: Path, tenant: TenantId) -> tuple[int, int, frozenset[UUID]]:
        """Write the records of the quarantine. Returns how many open, how many do not, and which there were."""
        reasons = {row["record"]: row for row in self._quarantine.listed(tenant)}
        opened = set[UUID]()
        with written(draft / "quarantine.jsonl") as write:
            for record in self._quarantine.opened(tenant):
                row = reasons.get(str(record.id), {})
                said = {name: row.get(name) for name in ("code", "path", "at")}
                said["record_base64"] = base64.b64encode(record.raw).decode()
                write(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))
                opened.add(record.id)
        # What was taken up meanwhile is not lost.
        still = {UUID(row["record"]) for row in self._quarantine.listed(tenant) if row["record"] in reasons}
        return len(opened), len(still - opened), frozenset(still | opened)


NEVER_SENT = "upstream told of it, and never sent what it holds"
_WHY: Mapping[type[SealdeskError], str] = {
    BlobMissing: "it was stored, and the store has lost it",
    RecordFenced: "it was shredded",
    KeyLost: "its key is lost",
    SealBroken: "somebody has changed it",
}

#: Why a file is lacking although nobody shredded it.
LOST = frozenset({_WHY[BlobMissing], _WHY[KeyLost], _WHY[SealBroken]})
#: What no export can hold; the manifest says so.
NOT_IN_IT = (
    "whoever and whatever was shredded, and what was edited or deleted since: nobody can read it any more",
    "the ids, sources and partitions of the records as they were published: the log keeps no more than a MAC of them",
    "the numbers of what was deleted upstream: its records have numbers that begin with gone-, and no text",
    "holds, requests, access lines and certificates: they are the processor's account, not the tenant's data",
    "what is fenced: whoever imports this would take in late records of the shredded",
)


def _write_vocabularies(path: Path, tenant: Tenant) -> None:
    lines = ["[vocabularies]"]
    for name, words in sorted(tenant.vocabulary.items()):
        lines.append(f"{_quoted(name)} = [{', '.join(_quoted(word) for word in sorted(words))}]")
    with written(path) as write:
        write(("\n".join(lines) + "\n").encode())


def _quoted(text: str) -> str:
    """Write a basic string of TOML: its escapes are a superset of those of JSON."""
    return orjson.dumps(text).decode()
