"""What `sealdesk keep` does, and how often.

Each step is small, may run twice, and may be cut off anywhere: whatever it leaves, its next turn finds.
"""

from __future__ import annotations

from collections.abc import Callable

from crypto.lines import expire_ledger_keys
from crypto.register import expire_fences
from crypto.tree import Tree
from crypto.turning import Turning
from domain.errors import ShredRefused
from services import epochs, gate
from services.kafka.admission import admission_of
from services.kafka.clearing import Clearing
from services.kafka.consuming import GROUP
from services.kafka.replies import Replies
from services.kafka.sources import Sources
from services.kafka.telling import Telling, again_after
from services.ledgers.places import ledger_topics
from services.publishing.retiring import Retiring
from services.rounds import Step
from services.wiring import House, now

#: An officer who waits for a certificate after a crash waits this long for somebody to go on with it.
RESUME_SECONDS = 30.0
#: Key work that a killed intake left; the next intake does it, too, before anything else.
MEND_SECONDS = 5.0
#: A promoted standby that lacks the last shreds is noticed after this long.
GATE_SECONDS = 60.0
PURGE_SECONDS = 3600.0
#: What names the facts whose seals somebody has changed.
_NAMED_BY = "sealdesk keys check --deep"
#: Whether a turn or the destruction of a root is due. An epoch lasts for hours.
TURN_SECONDS = 900.0
#: Intake takes up what waits with the record that it waited for; only a crash leaves anything to this.
WAITING_SECONDS = 3600.0
#: Recipients have a month by law (Article 12(3) GDPR) and are told within seconds.
TELL_SECONDS = 5.0
#: Records lie in topics for a minute at least, until their segment ends. So some seconds are soon enough.
CLEAR_SECONDS = 10.0
#: The days of the quarantine and the quarters of fences end at midnight, so an hour is soon enough.
EXPIRE_SECONDS = 3600.0


def steps_of(house: House, tell: Callable[[str], object]) -> list[Step]:
    """List the steps of a house. `tell` takes a sentence for whoever reads the process log."""
    return [
        Step("gate", GATE_SECONDS, lambda: gate.check(house.facts, house.keys, house.ledger)),
        Step("resume", RESUME_SECONDS, house.resume),
        Step("mend", MEND_SECONDS, lambda: mend(house, tell)),
        Step("waiting", WAITING_SECONDS, lambda: house.intake.take_up(at=now())),
        Step("expire", EXPIRE_SECONDS, lambda: expire(house)),
        Step("purge", PURGE_SECONDS, lambda: purge(house, tell)),
        Step("turn", TURN_SECONDS, lambda: turn(house)),
        *telling_of(house, tell),
        *clearing_of(house, tell),
        *retiring_of(house),
    ]


def clearing_of(house: House, tell: Callable[[str], object]) -> list[Step]:
    """List the steps that delete from topics what is stored, and certify that nothing is left there."""
    broker = house.endpoints.kafka
    if broker is None:
        return []
    topics = admission_of().topics
    recertify = house.certifying.recertify_within
    sources = Sources(broker, house.keys, house.facts, topics, recertify, clock=now)
    steps = [Step("sources", CLEAR_SECONDS, sources.step)]
    # The embedded broker has no files, and would say so in every process log.
    if house.settings.clearing and house.settings.kafka is not None:
        clearing = Clearing(broker, house.facts, topics, group=GROUP, tell=tell, clock=now, spared=ledger_topics())
        steps.insert(0, Step("clear", CLEAR_SECONDS, clearing.step))
    return steps


def retiring_of(house: House) -> list[Step]:
    """List the step that lets pairs go which publishers sealed to and no topic needs any more."""
    broker = house.endpoints.kafka
    if broker is None:
        return []
    retiring = Retiring(broker, house.pairs, house.facts, admission_of().topics, clock=now)
    return [Step("pairs", EXPIRE_SECONDS, retiring.step)]


def telling_of(house: House, tell: Callable[[str], object]) -> list[Step]:
    """List the steps that tell recipients and read what they answer. Outbox keys die in time also without Kafka."""
    broker = house.endpoints.kafka
    parts = (house.keys, house.roots, house.tenants, house.news, house.certifying)
    telling = Telling(broker, *parts, clock=now, again=again_after(house.settings.topic_days))

    def say() -> None:
        told = telling.step()
        if told.missed:
            tell(f"{told.missed} news ended before recipients could be told; see: sealdesk recipients list")
        if told.passed_over:
            tell(f"{told.passed_over} news cannot be told: a tenant is not known, or keys or seals were changed")

    steps = [Step("tell", TELL_SECONDS, say)]
    if broker is not None:
        replies = Replies(broker, house.keys, house.roots, clock=now)
        # Before the others: what is acknowledged now need not wait for the next turn.
        steps.insert(0, Step("replies", TELL_SECONDS, replies.step))
    return steps


def mend(house: House, tell: Callable[[str], object]) -> None:
    """Carry out the key work that stored facts call for, and say of how many a part could not be read."""
    if changed := house.mend():
        tell(
            f"the seals of {changed} facts were changed, so not all that they call for could be done; see: {_NAMED_BY}"
        )


def expire(house: House) -> None:
    """Let go what has had its time: days of the quarantine and quarters of fences, through the death of their keys."""
    house.quarantine.expire(at=now())
    with house.keys.transaction() as cursor:
        expire_fences(Tree(cursor, house.roots), at=now(), days=house.settings.fence_days)
    expire_ledger_keys(house.roots, at=now(), days=house.settings.fence_days)


def turn(house: House) -> None:
    """Turn the root epoch when it is due, destroy the roots before it in time, and let certificates say so."""
    turning = Turning(house.keys, house.roots, now)
    recertify = house.certifying.recertify
    epochs.keep_turning(turning, house.keys, house.roots, recertify, at=now(), hours=house.settings.epoch_hours)


def purge(house: House, tell: Callable[[str], object]) -> None:
    """Purge what is due, tenant by tenant; what the brake or a hold stops waits for somebody to look."""
    for tenant in house.tenants.by_name().values():
        due = house.purging.due(tenant)
        try:
            outcomes = house.purging.purge(tenant, due, actor="purge") if due else []
        except ShredRefused as refused:
            tell(f"the trash is full: {refused}; see: sealdesk purge run --dry-run")
            continue
        if stayed := sum(isinstance(outcome, ShredRefused) for outcome in outcomes):
            tell(f"{stayed} things in the trash are held, and stay")
