"""The one place that knows concrete classes: from settings and endpoints to a house that works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.rows import DictRow

from crypto import certificates
from crypto.keystore import KeyStore
from crypto.ledger import Ledger, Line
from crypto.lines import expire_ledger_keys
from crypto.pairs import Pairs
from crypto.register import expire_fences
from crypto.roles import Role, refused
from crypto.roots import Roots
from crypto.tree import Tree
from domain.errors import RightMissing
from services import gate, schema
from services.analysts.publication import Analysts
from services.blobs.attaching import Attaching
from services.blobs.stores import blob_store
from services.certifying import Certifying
from services.closed import Remains
from services.closing import Closing
from services.doors import Doors, doors, entering, folds
from services.embedded import Endpoints, serving
from services.exporting import Exporting
from services.holds import Holds
from services.intake import Intake
from services.kafka.admission import admission_of
from services.key_work import KeyWork
from services.ledgers.places import ledger_at
from services.living import Living
from services.log import Facts, LogDatastore
from services.news import News
from services.privacy import Privacy
from services.projecting import FOLDS_APART, Projecting
from services.proving.clear_words import clear_words
from services.proving.everywhere import everywhere
from services.proving.gathering import Gathering
from services.proving.proof import Proving
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
    #: The log under no role, for what only its owner may do: the schemas and roles of analysts.
    as_login: Facts
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
    closing: Closing
    exporting: Exporting
    #: Whether this process may destroy, and so finishes what others left.
    mends: bool

    def resume(self) -> int:
        """Finish, or abandon, whatever a crash left of shreds and closings. Returns how many there were.

        A process that may not destroy leaves that to one that may.
        """
        return self.shredding.resume() + self.closing.resume() if self.mends else 0

    def mend(self) -> int:
        """Carry out the key work that stored facts call for and that a crash, or another process, left.

        Returns how many of these facts have a seal that somebody has changed.
        """
        return self.shredding.mend() if self.mends else 0


@contextmanager
def house(settings: Settings, endpoints: Endpoints) -> Iterator[House]:
    """Connect the parts over databases that are up, each under its role, and close the connections at the end.

    Raises:
        GateShut: something has to be carried out first, and the login may not do that.
        RightMissing: a login has none of the roles.
    """
    with doors(endpoints, ours=settings.log_dsn is None) as ways:
        yield _house(settings, endpoints, ways)


def _house(settings: Settings, endpoints: Endpoints, ways: Doors) -> House:
    facts, keys = ways.facts(Role.KEEPER), ways.keys(Role.KEEPER)
    readers, opening = ways.facts(Role.READER), ways.keys(Role.READER)
    mends = ways.may(Role.KEEPER)
    roots = roots_at(settings.kept)
    signing = certificates.load_or_create(settings.signing)
    ledger = ledger_at(settings.ledger, settings.ledger_copy, signing, roots)
    # Whoever takes records in may add the tenant that they name.
    tenants = Tenants(ways.facts(Role.KEEPER if mends else Role.INTAKE))
    projecting = Projecting(ways.facts(Role.PROJECTOR), folds=ways.folds, waits=mends, sees=ways.sees)
    residue = Residue(readers, opening, roots)
    living = Living(readers, opening, roots)
    reading = Reading(readers, opening, roots, now)
    gate.check_roots(keys, roots)
    quarantine = Quarantine(facts, keys, roots, settings.quarantine_days)
    if mends:
        with keys.transaction() as cursor:
            expire_fences(Tree(cursor, roots), at=now(), days=settings.fence_days)
        expire_ledger_keys(roots, at=now(), days=settings.fence_days)
        quarantine.expire(at=now())
    privacy = Privacy(ways.datastore(Role.KEEPER))
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
        Proving(
            Gathering(facts, keys, roots),
            keys,
            lambda: everywhere(settings, endpoints, lambda: admission_of().topics, facts.topics_read),
            lambda: clear_words(facts, keys, [str(settings.data or ""), settings.actor]),
        ),
        brake=settings.brake,
        clock=now,
    )
    analysts = Analysts(ways.facts(), keys, roots, projecting.catch_up, now, settings.fold)
    remains = Remains(facts, keys, roots, attaching, analysts)
    closing = Closing(
        facts,
        keys,
        roots,
        ledger,
        privacy,
        shredding,
        certifying,
        remains,
        projecting.catch_up,
        brake=settings.brake,
        clock=now,
    )

    def tell(row: DictRow, line: Line) -> None:
        (closing.tell_again if row["kind"] == "tenant" else shredding.tell)(row, line)

    def resume() -> int:
        return shredding.resume() + closing.resume()

    if mends:
        Restoring(facts, keys, roots, ledger, resume, tell, closing.know).bring_up()
    else:
        gate.check_strictly(facts, keys, ledger)
    return House(
        settings=settings,
        endpoints=endpoints,
        facts=facts,
        as_login=ways.facts(),
        keys=keys,
        roots=roots,
        pairs=Pairs(keys, roots),
        ledger=ledger,
        signing=signing,
        tenants=tenants,
        intake=Intake(
            ways.facts(Role.INTAKE),
            ways.keys(Role.INTAKE),
            roots,
            tenants,
            KeyWork(facts, keys, roots)
            if mends
            else KeyWork(ways.facts(Role.INTAKE), ways.keys(Role.INTAKE), roots, mine=False),
        ),
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
        analysts=analysts,
        closing=closing,
        exporting=Exporting(facts, keys, roots, quarantine, attaching, reading.leave_access_line, now),
        mends=mends,
    )


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
    with serving(settings) as endpoints, databases(endpoints, ours=settings.log_dsn is None) as (facts, keys):
        roots = roots_at(settings.kept)
        signing = certificates.load_or_create(settings.signing)
        yield Examined(facts, keys, roots, ledger_at(settings.ledger, settings.ledger_copy, signing, roots))


@contextmanager
def databases(endpoints: Endpoints, *, ours: bool | None = None) -> Iterator[tuple[Facts, KeyStore]]:
    """Connect log and key database, as the most that the logins may be, without looking whether they fit together.

    `ours`, and what is raised: see `doors`.
    """
    with doors(endpoints, ours=ours) as ways:
        yield ways.facts(Role.KEEPER), ways.keys(Role.KEEPER)


@dataclass(frozen=True, slots=True)
class Projector:
    """What read models need: the log, and nothing that opens anything."""

    facts: Facts
    projecting: Projecting


@contextmanager
def projector(log_dsn: str, *, ours: bool = False) -> Iterator[Projector]:
    """Connect the log alone, as the projector: no key database, no roots, no ledger. Close the connections at the end.

    `ours` says that the database is one of our own data folder, which is brought to today's version.
    """
    with schema.connected(schema.LOG, log_dsn) as connection:
        schema.see_to(connection, schema.LOG, log_dsn, ours=ours)
        login = entering(connection, schema.LOG)
        folding = folds(login, connection)
    if not folding:
        raise RightMissing(FOLDS_APART if Role.PROJECTOR in login.roles else refused(None, "log"))
    datastore = LogDatastore(log_dsn, Role.PROJECTOR)
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
