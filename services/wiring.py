"""The one place that knows concrete classes: from settings and endpoints to a house that works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto import certificates
from crypto.keystore import KeyStore
from crypto.ledger import FileLedger, Ledger
from crypto.mirroring import MirroredLedger
from crypto.pairs import Pairs
from crypto.register import expire_fences
from crypto.roots import Roots
from crypto.tree import Tree
from services import gate, schema
from services.analysts.publication import Analysts
from services.blobs.attaching import Attaching
from services.blobs.stores import blob_store
from services.certifying import Certifying
from services.embedded import Endpoints, serving
from services.holds import Holds
from services.intake import Intake
from services.living import Living
from services.log import Facts, LogDatastore
from services.news import News
from services.privacy import Privacy
from services.projecting import Projecting
from services.purging import Purging
from services.quarantine import Quarantine
from services.reading import Reading, Reveal
from services.recipients import Recipients
from services.residue import Residue
from services.restoring import Restoring
from services.roots import roots_at
from services.settings import Settings
from services.shredding import Shredding
from services.sweeping import Sweeping
from services.tenants import Tenants


def now() -> datetime:
    """Read the clock. Everything below is given the time as `at`."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class House:
    """Everything that a command needs, connected."""

    settings: Settings
    endpoints: Endpoints
    facts: Facts
    keys: KeyStore
    roots: Roots
    pairs: Pairs
    ledger: Ledger
    signing: Ed25519PrivateKey
    tenants: Tenants
    intake: Intake
    projecting: Projecting
    reading: Reading
    residue: Residue
    quarantine: Quarantine
    living: Living
    privacy: Privacy
    holds: Holds
    shredding: Shredding
    certifying: Certifying
    news: News
    recipients: Recipients
    purging: Purging
    analysts: Analysts
    attaching: Attaching


@contextmanager
def house(settings: Settings, endpoints: Endpoints) -> Iterator[House]:
    """Connect the parts over databases that are up, and close the connections at the end."""
    schema.create(endpoints.log_dsn, endpoints.keys_dsn)
    datastore = LogDatastore(endpoints.log_dsn)
    keys = KeyStore(endpoints.keys_dsn)
    facts = Facts(datastore)
    roots = roots_at(settings.kept)
    signing = certificates.load_or_create(settings.signing)
    ledger = _ledger_of(settings, signing, roots)
    tenants = Tenants(facts)
    projecting = Projecting(facts)
    residue = Residue(facts, keys, roots)
    living = Living(facts, keys, roots)
    reading = Reading(facts, keys, roots, now)
    try:
        gate.check_roots(keys, roots)
        with keys.transaction() as cursor:
            expire_fences(Tree(cursor, roots), at=now(), days=settings.fence_days)
        quarantine = Quarantine(facts, keys, roots, settings.quarantine_days)
        quarantine.expire(at=now())
        privacy = Privacy(datastore)
        attaching = Attaching(facts, keys, roots, blob_store(settings.blobs), reading.leave_access_line)
        news = News(facts, keys, roots, days=settings.news_days, clock=now)
        certifying = Certifying(
            keys,
            roots,
            signing,
            quarantine,
            living,
            lambda: settings.kafka is not None or bool(facts.topics_read()),
            now,
            settings.topic_days,
        )
        shredding = Shredding(
            facts,
            keys,
            roots,
            ledger,
            privacy,
            residue,
            quarantine,
            projecting.catch_up,
            Sweeping(keys, roots, attaching.sweep, now).sweep,
            certifying,
            news,
            lambda tenant, ids, actor: reading.leave_access_line(tenant, "living", ids, Reveal(actor, "shred")),
            brake=settings.brake,
            clock=now,
        )
        Restoring(facts, keys, roots, ledger, shredding.resume, shredding.tell).bring_up()
        yield House(
            settings=settings,
            endpoints=endpoints,
            facts=facts,
            keys=keys,
            roots=roots,
            pairs=Pairs(keys, roots),
            ledger=ledger,
            signing=signing,
            tenants=tenants,
            intake=Intake(facts, keys, roots, tenants),
            projecting=projecting,
            reading=reading,
            residue=residue,
            quarantine=quarantine,
            living=living,
            privacy=privacy,
            holds=Holds(privacy, keys, roots, now),
            shredding=shredding,
            certifying=certifying,
            news=news,
            recipients=Recipients(facts, keys, roots, now),
            purging=Purging(facts, keys, roots, shredding, projecting.catch_up, now),
            attaching=attaching,
            analysts=Analysts(facts, keys, roots, projecting.catch_up, now, settings.fold),
        )
    finally:
        keys.close()
        facts.close()
        datastore.close()


def _ledger_of(settings: Settings, signing: Ed25519PrivateKey, roots: Roots) -> Ledger:
    first = FileLedger(settings.ledger, signing, roots)
    if settings.ledger_copy is None:
        return first
    return MirroredLedger(first, FileLedger(settings.ledger_copy, signing, roots))


@dataclass(frozen=True, slots=True)
class Examined:
    """What can be looked at even where nothing may be served."""

    facts: Facts
    keys: KeyStore
    roots: Roots
    ledger: Ledger


@contextmanager
def examined(settings: Settings) -> Iterator[Examined]:
    """Connect what is needed to find out what is wrong, whether or not log, keys, roots and ledger fit together."""
    with serving(settings) as endpoints, databases(endpoints) as (facts, keys):
        roots = roots_at(settings.kept)
        signing = certificates.load_or_create(settings.signing)
        yield Examined(facts, keys, roots, _ledger_of(settings, signing, roots))


@contextmanager
def databases(endpoints: Endpoints) -> Iterator[tuple[Facts, KeyStore]]:
    """Connect log and key database without looking whether they fit together."""
    datastore, keys = LogDatastore(endpoints.log_dsn), KeyStore(endpoints.keys_dsn)
    facts = Facts(datastore)
    try:
        yield facts, keys
    finally:
        keys.close()
        facts.close()
        datastore.close()


@dataclass(frozen=True, slots=True)
class Projector:
    """What read models need: the log, and nothing that opens anything."""

    facts: Facts
    projecting: Projecting


@contextmanager
def projector(log_dsn: str) -> Iterator[Projector]:
    """Connect the log alone: no key database, no roots, no ledger. Close the connections at the end."""
    schema.create_log(log_dsn)
    datastore = LogDatastore(log_dsn)
    facts = Facts(datastore)
    try:
        yield Projector(facts, Projecting(facts))
    finally:
        facts.close()
        datastore.close()


@contextmanager
def opened(settings: Settings, *, kafka: bool = False) -> Iterator[House]:
    """Open the house of a data folder or of the configured servers, starting and stopping what it needs."""
    with serving(settings, kafka=kafka) as endpoints, house(settings, endpoints) as opened_house:
        yield opened_house
