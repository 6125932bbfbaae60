from __future__ import annotations

import gc

import pytest

from services import garbage


@pytest.fixture
def threshold() -> tuple[int, int, int]:
    return gc.get_threshold()


def test_it_is_looked_for_less_inside_the_blocks_and_as_before_behind_them(threshold: tuple[int, int, int]) -> None:
    with garbage.looked_for_less():
        assert gc.get_threshold() == (garbage.OBJECTS, *threshold[1:])
        with garbage.looked_for_less():
            assert gc.get_threshold()[0] == garbage.OBJECTS
        # The inner block leaves it to the outer one.
        assert gc.get_threshold()[0] == garbage.OBJECTS
        assert gc.isenabled()
    assert gc.get_threshold() == threshold


def test_blocks_that_overlap_leave_it_as_it_was(threshold: tuple[int, int, int]) -> None:
    one, other = garbage.looked_for_less(), garbage.looked_for_less()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert gc.get_threshold()[0] == garbage.OBJECTS
    other.__exit__(None, None, None)
    assert gc.get_threshold() == threshold


def test_a_batch_that_fails_leaves_it_as_it_was(threshold: tuple[int, int, int]) -> None:
    @garbage.looked_for_less()
    def fail() -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        fail()
    assert gc.get_threshold() == threshold


def test_what_somebody_turned_off_stays_off(threshold: tuple[int, int, int]) -> None:
    gc.set_threshold(0)
    try:
        with garbage.looked_for_less():
            assert gc.get_threshold()[0] == 0
        assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*threshold)
