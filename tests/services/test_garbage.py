from __future__ import annotations

import gc

import pytest

from services import garbage


def test_nothing_is_collected_inside_the_block_and_again_behind_it() -> None:
    assert gc.isenabled()
    with garbage.put_off():
        assert not gc.isenabled()
        with garbage.put_off():
            assert not gc.isenabled()
        # The inner block leaves it to the outer one.
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_batch_that_fails_leaves_the_collector_on() -> None:
    @garbage.put_off()
    def fail() -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        fail()
    assert gc.isenabled()
