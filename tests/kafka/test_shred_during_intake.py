"""A person is forgotten while three consumers take in their records, and everybody else's."""

from __future__ import annotations

import os
import random
import re
from itertools import islice
from pathlib import Path

import pytest

from crypto.tree import Tree
from services.log import STATEMENTS
from services.opening_facts import opened_facts
from services.wiring import House
from tests.desks import desk_house
from tests.kafka.cluster import Cluster
from tests.kafka.databases import Databases
from tests.kafka.faults import Faults
from tests.kafka.fleet import Fleet, environment
from tests.kafka.history import TENANT, Line, address, compare, history, of_one, woven
from tests.kafka.publisher import Publisher

RECORDS = int(os.environ.get("SEALDESK_TEST_RECORDS", "10000")) // 4
#: People who write all the time, so that some of each one's records are stored, some in flight, some still to come.
FORGOTTEN = (7_000_001, 7_000_002, 7_000_003)
#: The others' numbers are longer than those of other stories, so that what these plant can be told apart.
FIRST = 8_000_001
EVERY = 8
PARTITIONS, CONSUMERS = 4, 3
PLANTED = re.compile(r"zq(\d+)x\d+zq")
PAGE = 500


@pytest.mark.timeout(1800)
def test_who_is_forgotten_during_intake_is_gone_and_nobody_else_loses_a_fact(
    cluster: Cluster, databases_that_crash: Databases, tmp_path: Path
) -> None:
    topic = cluster.create_topic("acme.records", partitions=PARTITIONS)
    lines = list(
        islice(woven(history(RECORDS, first_ticket=FIRST), [of_one(person) for person in FORGOTTEN], EVERY), RECORDS)
    )
    with databases_that_crash.fresh("shred") as endpoints:
        with desk_house(endpoints, tmp_path) as house:
            house.tenants.add(TENANT)
        fleet = Fleet(environment(tmp_path, endpoints, cluster, topic, TENANT), tmp_path)
        consume = ("consume",)
        faults = Faults(
            cluster, databases_that_crash, fleet, topic, PARTITIONS, endpoints.log_dsn, consume, random.Random(1)
        )
        try:
            for _ in range(CONSUMERS):
                fleet.start(*consume)
            publisher = Publisher(iter(lines), cluster.broker, topic, at_once=RECORDS // 25)
            publisher.start()
            step = RECORDS / (len(FORGOTTEN) + 1)
            for number, person in enumerate(FORGOTTEN, start=1):
                publisher.let(step * number)
                publisher.wait_until_all_is_sent_that_it_was_let()
                faults.wait_until_stored(120, share=0.6)
                # The rest of this step is taken in, and half of the next published, while the person goes.
                publisher.let(step * (number + 0.5))
                fleet.run("shred", "contact", "--email", address(person), "--ground", "test", "--yes")
            assert publisher.sent < RECORDS, "all was published before the last was forgotten"
            publisher.finish()
            faults.wait_until_stored(300)
            fleet.end(*fleet.members)
        finally:
            fleet.stop()
        assert fleet.fallen == []
        with desk_house(endpoints, tmp_path) as house:
            _check(house, lines, again=publisher.again)


def _check(house: House, lines: list[Line], *, again: int) -> None:
    gone = {f"{what} {person}" for person in FORGOTTEN for what in ("contact", "ticket")}
    told = compare(house, [line for line in lines if line.thing not in gone])
    assert not told.missing
    assert not told.repeated
    assert not told.out_of_order
    theirs = compare(house, [line for line in lines if line.thing in gone])
    readable = _readable(house)
    assert not readable.intersection(FORGOTTEN)
    assert len(readable) == len({line.thing for line in lines if line.thing.startswith("contact")} - gone)
    with house.facts.cursor() as cursor:
        [counts] = cursor.execute(STATEMENTS.counts.sql).fetchall()
    late, stored = len(theirs.missing), theirs.published - len(theirs.missing)
    print(f"\nof {theirs.published} records of the forgotten {stored} were stored, {late} came late")
    assert stored > len(FORGOTTEN)
    assert late > len(FORGOTTEN)
    assert counts["quarantined"] == 0
    # What is published twice is refused twice.
    assert counts["refused"] == late or (again and counts["refused"] > late)
    tenant = house.tenants.by_name()[TENANT].id
    assert not any(house.residue.of_all(tenant).values())


def _readable(house: House) -> set[int]:
    """Say of whom anything on the log can be read."""
    tenant, after = house.tenants.by_name()[TENANT].id, 0
    found: set[int] = set()
    while page := house.facts.page(after, PAGE):
        after = page[-1].position
        with house.keys.transaction() as cursor:
            opened = [personal for _, personal in opened_facts(Tree(cursor, house.roots), tenant, page)]
        found.update(map(int, PLANTED.findall(repr(opened))))
    return found
