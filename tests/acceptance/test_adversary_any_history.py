"""Whatever happened in a helpdesk, and whenever its epoch turned: with every copy of all times, only what lives opens.

The histories, and the model that says what has to be readable, are those of `tests.services.test_promises`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.sealing import header_of
from crypto.turning import Turning
from domain.catalogue import CATALOGUE
from domain.errors import ReferenceUnknown, SealBroken, ShredRefused
from services.embedded import Endpoints
from services.wiring import House, now
from tests.acceptance.adversary import Adversary, Opened, living_keys
from tests.conftest import _cloned
from tests.desks import Desk, desk_house
from tests.services.test_promises import PLANTED, Model, Played, histories, shreds

#: An example is a history of its own in databases of its own, and takes a second or two.
EXAMPLES = 10


@given(history=histories, last=shreds, turned=st.integers(0, 9))
@settings(max_examples=EXAMPLES)
def test_the_adversary_opens_what_lives_and_nothing_else(
    clusters: Endpoints,
    templates: Endpoints,
    database_names: Iterator[str],
    tmp_path: Path,
    history: list[Any],
    last: str,
    turned: int,
) -> None:
    name = next(database_names)
    roots, ledger = tmp_path / name / "roots", tmp_path / name / "ledger" / "ledger.jsonl"
    with (
        _cloned(clusters.log_dsn, name) as log_dsn,
        _cloned(clusters.keys_dsn, name) as keys_dsn,
        desk_house(Endpoints(log_dsn, keys_dsn, None), tmp_path / name) as opened,
    ):
        adversary, played = Adversary(opened.endpoints, ledger=ledger), Played(Desk(opened), 0)
        for number, step in enumerate(history):
            _carry_out(played, step)
            adversary.copy()
            if number == turned:
                _turn(opened)
                adversary.copy()
        before = Model(played).readable()
        _carry_out(played, last)
        adversary.copy()
        kept = living_keys(roots)
        _turn(opened)
        adversary.copy()

        living, readable = living_keys(roots), Model(played).readable()
        assert _words(adversary.opens(living)) == readable
        # The control: with the root of before, whatever the last shred took opens still.
        assert _words(adversary.opens([*living, *kept])) >= readable | before


def _carry_out(played: Played, step: Any) -> None:
    with suppress(ReferenceUnknown, ShredRefused):
        match step:
            case "project":
                played.house.projecting.catch_up()
            case "again":
                played.take(played.desk.said[-9:])
            case "purge":
                played.purge()
            case str():
                played.shred(step)
            case list():
                played.take(played.write(step))
            case (_, said):
                played.take(played.write([said]))


def _turn(opened: House) -> None:
    turning = Turning(opened.keys, opened.roots, now)
    turning.turn()
    turning.destroy_older(grace=timedelta(0))


def _words(opened: Opened) -> set[str]:
    """Name the planted words in the seals of facts."""
    return {word for seal, text in opened.said.items() if _is_fact(seal) for word in PLANTED.findall(text.decode())}


def _is_fact(content: bytes) -> bool:
    try:
        return header_of(content).type in CATALOGUE
    except SealBroken:
        return False
