"""Shred of a person: to the moment from which nothing opens, and to the certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from unittest.mock import patch

from benchmarks import history
from benchmarks.clear import ClearFacts
from benchmarks.figures import Figure, Progress, Sample, Stopwatch, alternate, duration, rate
from benchmarks.ground import batches, ground, parcels
from benchmarks.masking import Masking
from crypto.ledger import Line
from domain.ids import TenantId
from domain.personal import Kind, Reference
from services.shredding import Order, Shredding

#: Facts of the person who has many, and of the one who has few.
FACTS = 10_000
FEW = 10
#: Facts of others that stand around.
AROUND = 2_000
_MANY_FROM, _FEW_FROM = 500_000, 600_000


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure a shred against one of a person with few facts, and against masking the same facts and rows."""
    many = [history.life(_MANY_FROM + repeat, facts) for repeat in range(repeats + 1)]
    few = [history.life(_FEW_FROM + repeat, min(FEW, facts)) for repeat in range(repeats + 1)]
    with ground() as place, closing(ClearFacts(dsn := place.database("clear"))) as clear:
        progress(f"shred: storing {repeats + 1} people with {facts} facts each")
        place.take(history.records(min(AROUND, facts)))
        for life in (*many, *few):
            place.take(life)
        for life in many:
            for batch in batches(life):
                clear.put(parcels(batch))
        place.house.projecting.catch_up()
        shredding, tenant = place.house.shredding, place.house.tenants.named(history.TENANT).id
        with closing(Masking(dsn)) as masking:
            masking.project()
            progress(f"shred: {repeats} times")

            def mask(repeat: int) -> Mapping[str, Sample]:
                person = clear.person(_MANY_FROM + repeat)
                watch = Stopwatch()
                masked = masking.mask(person)
                sample = watch.read()
                assert masked == facts, masked
                return {"masked": sample}

            samples = alternate(
                [
                    lambda repeat: _shred(shredding, tenant, _MANY_FROM + repeat, "many"),
                    lambda repeat: _shred(shredding, tenant, _FEW_FROM + repeat, "few"),
                    mask,
                ],
                repeats,
            )
    yield duration(
        "shred to destroyed",
        items=1,
        to=f"the time for a person with {len(few[0])} facts; this one has {facts}",
        of=samples["many, destroyed"],
        other=samples["few, destroyed"],
        servers=place.versions,
    )
    yield rate(
        "shred to certificate",
        "facts/s",
        items=facts,
        to="the rate of masking the same facts and rows by UPDATE",
        of=samples["many, certified"],
        other=samples["masked"],
        servers=place.versions,
    )


def _shred(shredding: Shredding, tenant: TenantId, contact: int, who: str) -> Mapping[str, Sample]:
    found = shredding.find(tenant, Reference(Kind.PERSON, str(contact)))
    # Beyond the brake, what the dry run says has to be repeated.
    order = Order(tenant, "test", "benchmarks", expect=shredding.effect(found).facts)
    destroy, destroyed = shredding._destroy, list[Sample]()

    def destroy_and_read(*given: Any, **named: Any) -> Line | None:
        """Read the stopwatch as soon as the key material is gone, and go on."""
        line = destroy(*given, **named)
        destroyed.append(watch.read())
        return line

    with patch.object(shredding, "_destroy", destroy_and_read):
        watch = Stopwatch()
        certificate = shredding.request(found, order)
        certified = watch.read()
    assert certificate["residue"]["found"] == 0, certificate["residue"]
    [sample] = destroyed
    return {f"{who}, destroyed": sample, f"{who}, certified": certified}
