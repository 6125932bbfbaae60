"""Three consumers, a projector and a keeper, and everything beneath and beside them dies in turn.

Then: every record is on the log once and in order; nothing was deleted that was not stored, and in the end nothing is
left lying; every recipient was told.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from services.embedded import Endpoints
from services.projecting import MODELS
from services.wiring import House
from tests.desks import desk_house
from tests.kafka.cluster import Cluster
from tests.kafka.databases import Databases
from tests.kafka.history import compare
from tests.kafka.storm import FORGOTTEN, RECIPIENTS, Storm, storm

RECORDS = int(os.environ.get("SEALDESK_TEST_RECORDS", "10000"))
#: A fault every few seconds, and each at least once.
FAULTS = max(8, RECORDS // 2_000)
#: Of this story's people; those of the others have longer numbers.
PLANTED = re.compile(rb"zq\d{1,6}x\d+zq")
PATIENCE_SECONDS = 150

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def after(
    cluster: Cluster, databases_that_crash: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Storm]:
    folder = tmp_path_factory.mktemp("storm")
    with storm(cluster, databases_that_crash, folder, records=RECORDS, faults=FAULTS) as found:
        yield found


def test_every_fault_happened(after: Storm) -> None:
    assert {name for name, times in after.faults.counts.items() if times > 0} == set(after.faults.kinds())


def test_every_record_is_on_the_log_once_and_in_order(after: Storm) -> None:
    with desk_house(after.endpoints, after.folder) as house:
        told = compare(house, after.lines())
    assert told.is_right(), told


def test_read_models_are_what_a_rebuild_makes_of_the_log(after: Storm) -> None:
    with desk_house(after.endpoints, after.folder) as house:
        assert _live(house, after.endpoints) == _rebuilt(house, after.endpoints)


def test_every_recipient_was_told_of_everybody_and_that_is_known(after: Storm) -> None:
    assert after.recipients is not None
    wanted = {f"{what} {person}" for person in FORGOTTEN for what in ("contact", "ticket")}
    _wait_until(lambda: all(state["waiting"] == 0 == state["overdue"] for state in _states(after)))
    for name in RECIPIENTS:
        assert set(after.recipients.told[name]) == wanted
        assert after.recipients.kinds[name] == {"erased"}
    assert [state["name"] for state in _states(after)] == list(RECIPIENTS)
    for state in _states(after):
        assert state["acknowledged"] == len(FORGOTTEN)


def test_nothing_was_deleted_that_was_not_stored_and_in_the_end_nothing_is_left(after: Storm) -> None:
    assert after.clearing is not None
    assert after.clearing.violations == []
    assert after.clearing.cleared > 0, "nothing was ever cleared, so nothing was shown"
    _wait_until(lambda: after.cluster.offsets(after.topic)[0] == after.faults.stored())
    _wait_until(lambda: _waits_for(after) is None, lambda: _waits_for(after))
    assert after.cluster.holding(PLANTED) == []


def test_every_process_ends_in_good_order_when_asked(after: Storm) -> None:
    after.fleet.tend()
    after.fleet.end(*after.fleet.members)


def _states(after: Storm) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = json.loads(after.fleet.run("recipients", "list", "--json"))
    return sorted(states, key=lambda state: str(state["name"]))


def _waits_for(after: Storm) -> Any:
    """Say what certificates wait for until they can say that nothing is left; None once they do."""
    return json.loads(after.fleet.run("topics", "--json"))["certificates"] or None


def _wait_until(is_so: Callable[[], bool], instead: Callable[[], Any] = lambda: "") -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, f"not so after {PATIENCE_SECONDS} seconds: {instead()}"
        time.sleep(3)


def _live(house: House, endpoints: Endpoints) -> dict[str, list[str]]:
    house.shredding.mend()
    house.projecting.catch_up()
    return _dump(endpoints)


def _rebuilt(house: House, endpoints: Endpoints) -> dict[str, list[str]]:
    for model in MODELS:
        house.projecting.rebuild(model)
    return _dump(endpoints)


def _dump(endpoints: Endpoints) -> dict[str, list[str]]:
    """Read every row of every table of every read model."""
    found = {}
    with psycopg.connect(endpoints.log_dsn) as connection:
        tables: list[Any] = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s) ORDER BY 1, 2", (list(MODELS),)
        ).fetchall()
        for schema, table in tables:
            query = SQL("SELECT row::text FROM {} AS row ORDER BY 1").format(Identifier(schema, table))
            found[f"{schema}.{table}"] = [text for (text,) in connection.execute(query)]
    return found
