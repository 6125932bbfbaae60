"""Which records of a topic stand: whatever writers do at once, all readers agree; what was tampered with is found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from crypto.lines import Fences, Line, Scribe
from crypto.roots import FileRoots
from crypto.wrapping import Key
from domain.errors import LedgerBroken
from domain.ids import TenantId
from services.ledgers.course import Course

SIGNING = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
AT = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> FileRoots:
    return FileRoots(tmp_path_factory.mktemp("roots"))


@pytest.fixture(scope="module")
def scribe(roots: FileRoots) -> Scribe:
    return Scribe(SIGNING, roots)


def drawn_up(scribe: Scribe, last: Line | None) -> Line:
    return scribe.draw_up(
        last,
        tenant=TenantId(UUID(int=1)),
        kind="subject",
        key=uuid4(),
        shred=uuid4(),
        at=AT,
        fences=Fences((), Key(bytes(32)), ()),
        issue_counter=1,
    )


def standing(scribe: Scribe, log: Sequence[Line]) -> list[Line]:
    course = Course(scribe)
    return [line for offset, line in enumerate(log) if course.take(offset, line.encoded())]


class Writers:
    """Writers of one topic, each as far as it has read. `log` is what the brokers have."""

    def __init__(self, scribe: Scribe, count: int) -> None:
        self._scribe = scribe
        self.log: list[Line] = []
        self.drafts: dict[int, Line] = {}
        self.said: list[Line] = []

    def act(self, writer: int) -> None:
        """Let a writer read and draw up a line; or, if it has one, send it, and read whether it stands."""
        if writer not in self.drafts:
            lines = standing(self._scribe, self.log)
            self.drafts[writer] = drawn_up(self._scribe, lines[-1] if lines else None)
            return
        line = self.drafts.pop(writer)
        self.log.append(line)
        if standing(self._scribe, self.log)[-1] == line:
            self.said.append(line)


@given(turns=st.lists(st.integers(0, 3), max_size=30))
def test_whatever_order_writers_come_in_one_unbroken_chain_stands_and_nobody_is_told_wrong(
    scribe: Scribe, turns: list[int]
) -> None:
    writers = Writers(scribe, 4)
    for writer in turns:
        writers.act(writer)
    lines = standing(scribe, writers.log)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert list(scribe.follow(line.encoded() for line in lines)) == lines
    assert writers.said == lines, "whoever heard that a line stands was right, and whoever lost a race heard that"


@given(data=st.data(), turns=st.lists(st.integers(0, 2), min_size=8, max_size=20))
def test_a_record_that_is_sent_twice_or_late_changes_nothing(
    scribe: Scribe, data: st.DataObject, turns: list[int]
) -> None:
    writers = Writers(scribe, 3)
    for writer in turns:
        writers.act(writer)
    again = data.draw(st.sampled_from(writers.log)) if writers.log else None
    if again is not None:
        assert standing(scribe, [*writers.log, again]) == standing(scribe, writers.log)


@pytest.fixture(scope="module")
def raced(scribe: Scribe) -> list[Line]:
    """Five lines that stand, and three records that lost: two on line 3, one on line 5."""
    lines: list[Line] = []
    for _ in range(5):
        lines.append(drawn_up(scribe, lines[-1] if lines else None))
    lost = [drawn_up(scribe, lines[1]), drawn_up(scribe, lines[1]), drawn_up(scribe, lines[3])]
    return [*lines[:3], lost[0], lines[3], lost[1], lines[4], lost[2]]


#: Where the lines that stand are in `raced`.
STAND = (0, 1, 2, 4, 6)


def test_of_a_race_the_first_record_stands(scribe: Scribe, raced: list[Line]) -> None:
    assert standing(scribe, raced) == [raced[place] for place in STAND]


@pytest.mark.parametrize("gone", STAND[:-1])
def test_a_line_that_stands_and_is_taken_out_is_found(scribe: Scribe, raced: list[Line], gone: int) -> None:
    with pytest.raises(LedgerBroken):
        standing(scribe, raced[:gone] + raced[gone + 1 :])


def test_lines_off_the_end_or_records_that_lost_can_be_missing(scribe: Scribe, raced: list[Line]) -> None:
    assert standing(scribe, raced[:6]) == [raced[place] for place in STAND[:-1]]
    assert standing(scribe, [raced[place] for place in STAND]) == [raced[place] for place in STAND]


@given(data=st.data())
def test_any_other_order_that_changes_what_stands_is_found_if_a_line_follows(
    scribe: Scribe, raced: list[Line], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(raced))
    try:
        found = standing(scribe, order)
    except LedgerBroken:
        return
    # Only who is last of all can be exchanged for who lost against it.
    assert found[:-1] == [raced[place] for place in STAND[:-1]]
    assert found[-1] in (raced[6], raced[7])


@given(data=st.data())
def test_any_changed_byte_is_found(scribe: Scribe, raced: list[Line], data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(raced) - 1))
    raw = bytearray(raced[which].encoded())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    course = Course(scribe)
    for offset, line in enumerate(raced[:which]):
        course.take(offset, line.encoded())
    with pytest.raises(LedgerBroken, match=rf"offset {which},"):
        course.take(which, bytes(raw))


def test_a_stranger_who_may_write_is_found(scribe: Scribe, roots: FileRoots, raced: list[Line]) -> None:
    stranger = Scribe(Ed25519PrivateKey.generate(), roots)
    for forged in (drawn_up(stranger, raced[6]), drawn_up(stranger, raced[1])):
        with pytest.raises(LedgerBroken, match="signature"):
            standing(scribe, [*raced, forged])
    for noise in (b"", b"{}", b"heartbeat"):
        with pytest.raises(LedgerBroken, match="offset 0"):
            Course(scribe).take(0, noise)


def test_a_line_of_another_ledger_under_the_same_key_is_found(scribe: Scribe, raced: list[Line]) -> None:
    other = drawn_up(scribe, None)
    # As line 1 it could only have lost; what follows from it never followed from a line here.
    assert standing(scribe, [*raced, other])[-1] == raced[6]
    with pytest.raises(LedgerBroken, match="line 2 of the ledger does not follow"):
        standing(scribe, [*raced, drawn_up(scribe, other)])
    with pytest.raises(LedgerBroken, match="missing"):
        standing(scribe, raced[1:])


@given(data=st.data())
def test_whatever_is_sent_again_the_last_line_stays_the_last(
    scribe: Scribe, raced: list[Line], data: st.DataObject
) -> None:
    course = Course(scribe)
    assert course.last is None
    again = data.draw(st.lists(st.sampled_from(raced), max_size=20))
    for offset, line in enumerate([*raced, *again]):
        course.take(offset, line.encoded())
    assert course.last == (5, raced[6].encoded())
