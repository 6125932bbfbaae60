from __future__ import annotations

import os
from xml.etree import ElementTree

import orjson
import pytest

from benchmarks import __main__ as command
from benchmarks import document, figures, growth, history, smoke
from benchmarks.figures import Figure, Sample, Target
from benchmarks.picture import picture
from domain.errors import RecordInvalid
from services.records import parcel_of

FIGURES = {
    "intake": {"intake", "intake against clear"},
    "consuming": {"consuming"},
    "processes": {"processes"},
    "seal": {"seal at the publisher", "open at the desk"},
    "projector": {"projector"},
    "rebuild": {"rebuild"},
    "page": {"page revealed"},
    "disk": {"bytes on disk", "bytes on disk, keys", "bytes on disk, log", "bytes on disk, read models"},
    "memory": {"memory, intake", "memory, projector", "memory, rebuild"},
    "shred": {
        "shred to destroyed",
        "shred to destroyed against masking",
        "shred to certificate",
        "shred to certificate against masking for good",
    },
    "waiting": {"wait under intake"},
    "growth": {
        "growth, a record taken in",
        "growth, a fact in a rebuild",
        "growth, a page of tickets revealed",
        "growth, a shred to destroyed",
        "growth, a shred to certificate",
    },
    "turn": {"turn, 0.01% shredded", "turn, 0.10% shredded", "turn, 1.00% shredded"},
    "proving": {"search for 5 values", "search for 100 values", "search for 1,000 values"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(command.BENCHMARKS))
def test_each_benchmark_prints_one_json_line_a_figure(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # At each of five sizes so much is done for one sample; here it need not outweigh anything.
    monkeypatch.setattr(growth, "RECORDS", 20)
    monkeypatch.setattr(growth, "PEOPLE", 1)

    assert command.main([name, "--json", "--facts", "60", "--repeats", "1"]) == 0

    printed = capsys.readouterr()
    lines = [orjson.loads(line) for line in printed.out.splitlines()]
    assert {line["name"] for line in lines} == FIGURES[name]
    assert printed.err == ""
    for line in lines:
        assert line["value"] > 0
        assert line["other"] > 0
        assert line["ratio"] > 0
        assert line["cpu_us_per_item"] is None or line["cpu_us_per_item"] > 0
        assert line["unit"]
        assert line["to"]
        assert line["repeats"] == 1
        assert line["cores"] == os.cpu_count()
        assert {"python", "postgres", "psycopg", "eventsourcing"} <= line["versions"].keys()


def test_the_history_is_the_same_every_time_and_every_record_of_it_is_valid() -> None:
    records = history.records(3_000)

    assert records == history.records(3_000)
    assert records[:500] == history.records(500)
    assert not [parcel.error for parcel in map(parcel_of, records) if isinstance(parcel.error, RecordInvalid)]
    assert {parcel.drafts[0].type for parcel in map(parcel_of, records)} == {
        "sealdesk.agent.created.v1",
        "sealdesk.contact.created.v1",
        "sealdesk.contact.updated.v1",
        "sealdesk.ticket.opened.v1",
        "sealdesk.ticket.rated.v1",
        "sealdesk.ticket.replied.v1",
        "sealdesk.ticket.updated.v1",
    }


def test_a_life_has_as_many_records_as_were_asked_for_and_no_two_are_the_same() -> None:
    parcels = [parcel_of(record) for contact in (1, 2) for record in history.life(contact, 25)]

    assert [parcel.error for parcel in parcels] == [None] * 50
    assert len({(parcel.drafts[0].source, parcel.drafts[0].id) for parcel in parcels}) == 50


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[tuple[str, int]] = []

    def side(name: str) -> figures.Side:
        def run(repeat: int) -> dict[str, Sample]:
            calls.append((name, repeat))
            return {name: Sample(float(repeat), 0.0)}

        return run

    samples = figures.alternate([side("one"), side("other")], 2)

    assert calls == [("one", 0), ("other", 0), ("other", 1), ("one", 1), ("one", 2), ("other", 2)]
    assert [sample.wall for sample in samples["one"]] == [1.0, 2.0]


def test_a_rate_is_larger_and_a_duration_is_smaller_when_it_is_better() -> None:
    fast, slow = [Sample(1.0, 0.5)] * 3, [Sample(2.0, 2.0)] * 3

    as_rate = figures.rate("r", "x/s", items=100, to="slow", of=fast, other=slow, servers={})
    as_time = figures.duration("d", items=1, to="slow", of=fast, other=slow, servers={})

    assert (as_rate.value, as_rate.other, as_rate.ratio, as_rate.cpu_ratio) == (100.0, 50.0, 2.0, 4.0)
    assert as_rate.cpu_us_per_item == 5_000.0
    assert (as_time.value, as_time.other, as_time.ratio, as_time.cpu_ratio) == (1_000.0, 2_000.0, 0.5, 0.25)


def test_a_wrong_name_or_number_is_a_mistake_in_the_call(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nothing"], ["--facts", "0"], ["--repeats", "many"]):
        with pytest.raises(SystemExit, match="2"):
            command.main(arguments)
    assert ", ".join(command.BENCHMARKS) in capsys.readouterr().err


def test_the_page_says_every_figure_and_what_it_is_compared_with() -> None:
    samples = [Sample(1.0, 0.5)] * 5
    figure: Figure = figures.rate("intake", "records/s", items=10, to="nothing", of=samples, other=samples, servers={})

    page = document.page([figure])

    assert page.startswith(document.HEAD)
    assert "| intake | 10 records/s | **1** |  |  |  | 1 | nothing (10 records/s) | 50,000 us | 5 |" in page


def test_what_was_measured_apart_stands_in_a_table_of_its_own() -> None:
    samples = [Sample(1.0, 0.5)]
    figure: Figure = figures.rate("rebuild", "x/s", items=10_000, to="it", of=samples, other=samples, servers={})

    page = document.page([], [figure])

    assert document.LARGE in page
    assert "| rebuild | 10,000 | 10,000 x/s | **1** |  |  |  | 1 | it (10,000 x/s) | 50 us | 1 |" in page
    assert document.LARGE not in document.page([figure])


def test_the_words_of_the_page_in_docs_are_current() -> None:
    assert document.PATH.read_text(encoding="utf-8").startswith(document.HEAD)


def test_a_target_is_met_on_its_own_side_of_the_floor() -> None:
    samples = [Sample(1.0, 0.5)] * 5
    made = [
        figures.rate("r", "x/s", items=1, to="it", of=samples, other=samples, servers={}, target=target)
        for target in (Target(0.9, 2), Target(1.1, 2), Target(1.1, at_most=True), Target(0.9, at_most=True))
    ]

    assert [figure.met for figure in made] == [True, False, True, False]
    assert (made[0].floor, made[0].aim) == (0.9, 2)
    assert "| **1** | 1.1 | 2 | **no** |" in document.page(made)


def test_what_has_fallen_by_more_than_a_third_is_named_and_nothing_else() -> None:
    recorded = {"intake": 0.9, "rebuild": 0.9, "shred": 0.9}

    assert smoke.fallen({"intake": 0.61, "rebuild": 0.59, "shred": 2.0, "new": 0.1}, recorded) == ["rebuild"]


def test_every_rate_of_the_small_runs_is_recorded() -> None:
    recorded = orjson.loads(smoke.RECORDED.read_bytes())

    assert recorded.keys() == smoke.SMALL.keys()
    assert all(0 < ratio < 1_000 for ratio in recorded.values())


def test_a_cost_that_grows_with_the_root_of_what_is_stored_has_the_exponent_one_half() -> None:
    points = [(100, 30.0), (10_000, 300.0), (1_000_000, 3_000.0)]

    figure = figures.grown("growth, a fit", points=points, repeats=3, servers={})

    assert (figure.exponent, figure.ratio, figure.value, figure.other) == (0.5, 100.0, 3_000.0, 30.0)
    assert orjson.loads(figure.as_line())["points"] == [[100, 30.0], [10_000, 300.0], [1_000_000, 3_000.0]]


def test_costs_at_several_sizes_are_a_table_and_a_picture() -> None:
    made = [
        figures.grown(f"growth, {name}", points=[(100, cost), (1_000, 2 * cost)], repeats=3, servers={})
        for name, cost in (("one", 10.0), ("other", 0.0))
    ]

    page = document.page(made)
    assert "| one more of | 100 | 1,000 | grows as |" in page
    assert "| one | 10 us | 20 us | n^0.3 |" in page
    drawn = ElementTree.fromstring(picture(made))
    lines = [element for element in drawn.iter() if element.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]
    assert {"one", "other"} <= {element.text for element in drawn.iter()}
