"""Shred of a person: to the moment from which nothing opens, and to the certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any
from unittest.mock import patch

from benchmarks import history
from benchmarks.clear import ClearFacts
from benchmarks.figures import Figure, Progress, Sample, Side, Stopwatch, Target, alternate, duration, rate
from benchmarks.ground import Ground, batches, ground, parcels
from benchmarks.masking import Masking
from crypto.ledger import Line
from domain.ids import TenantId
from domain.personal import Kind, Reference
from services.settings import Settings
from services.shredding import Order, Shredding

#: Facts of the person who has many, and of the one who has few.
FACTS = 10_000
FEW = 10
#: Facts of others that stand around.
AROUND = 2_000
_MANY_FROM, _FEW_FROM = 500_000, 600_000


def measure(facts: int, repeats: int, progress: Progress) -> Iterator[Figure]:
    """Measure a shred against one of a person with few facts, and against masking the same facts and rows."""
    few = min(FEW, facts)
    with ground() as place, closing(ClearFacts(dsn := place.database("clear"))) as clear:
        progress(f"shred: storing {repeats + 1} people with {facts} facts each, and as many with {few}")
        place.take(history.records(min(AROUND, facts)))
        for repeat in range(repeats + 1):
            place.take(life := history.life(_MANY_FROM + repeat, facts))
            place.take(history.life(_FEW_FROM + repeat, few))
            for batch in batches(life):
                clear.put(parcels(batch))
        place.house.projecting.catch_up()
        with closing(Masking(dsn)) as masking:
            masking.project()
            progress(f"shred: {repeats} times")
            samples = alternate(list(_sides(place, clear, masking, facts)), repeats)
    yield from _figures(samples, facts, few, place.versions)


def _sides(place: Ground, clear: ClearFacts, masking: Masking, facts: int) -> Iterator[Side]:
    shredding, tenant = place.house.shredding, place.house.tenants.named(history.TENANT).id
    yield lambda repeat: shredded(shredding, tenant, _MANY_FROM + repeat, "many")
    yield lambda repeat: shredded(shredding, tenant, _FEW_FROM + repeat, "few")

    def mask(repeat: int) -> Mapping[str, Sample]:
        person = clear.person(_MANY_FROM + repeat)
        watch = Stopwatch()
        masked = masking.mask(person)
        sample = watch.read()
        masking.rewrite()
        assert masked == facts, masked
        return {"masked": sample, "masked for good": watch.read()}

    yield mask


def _figures(
    samples: Mapping[str, Sequence[Sample]], facts: int, few: int, servers: Mapping[str, str]
) -> Iterator[Figure]:
    yield duration(
        "shred to destroyed",
        items=1,
        to=f"the time for a person with {few} facts; this one has {facts}",
        of=samples["many, destroyed"],
        other=samples["few, destroyed"],
        servers=servers,
        target=Target(1.3, 1.05, at_most=True),
    )
    for name, of, to, other, target in (
        (
            "shred to destroyed against masking",
            "destroyed",
            "masking the same facts and rows by UPDATE",
            "masked",
            None,
        ),
        ("shred to certificate", "certified", "masking the same facts and rows by UPDATE", "masked", Target(5.0, 20.0)),
        (
            "shred to certificate against masking for good",
            "certified",
            "masking them, and rewriting the tables without what stood there before",
            "masked for good",
            None,
        ),
    ):
        yield rate(
            name,
            "facts/s",
            items=facts,
            to=f"the rate of {to}",
            of=samples[f"many, {of}"],
            other=samples[other],
            servers=servers,
            target=target,
        )


def shredded(shredding: Shredding, tenant: TenantId, contact: int, who: str) -> Mapping[str, Sample]:
    """Shred a contact, and say how long it took until nothing opened, and to the certificate.

    Raises:
        AssertionError: something readable was left.
    """
    found = shredding.find(tenant, Reference(Kind.PERSON, str(contact)))
    facts = shredding.effect(found).facts
    # Beyond the brake, what the dry run says has to be repeated.
    order = Order(tenant, "test", "benchmarks", expect=facts if facts > Settings.brake else None)
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
