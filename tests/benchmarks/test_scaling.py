from __future__ import annotations

from typing import Any

import orjson
import pytest

from benchmarks import scaling
from benchmarks.scaling import Assumptions, Plan
from benchmarks.scaling_words import HEAD, TAIL

SMALL = Assumptions(
    tenants=100, facts_a_month=2_592_000, peak=4, months_kept=1, load=0.5, people_a_fact=0.1, shreds_a_person_a_year=1
)  # fmt: skip


def figures(**values: float) -> dict[str, dict[str, Any]]:
    """Make a run in which everything is fast and small, but for what is said otherwise."""
    usual = dict.fromkeys(scaling.NEEDED, 1_000_000.0) | {name: 1.0 for name in scaling.NEEDED if "bytes" in name}
    return {
        name: {"name": name, "value": value, "items": 1_000_000, "cpu_us_per_item": 100.0}
        for name, value in (usual | {"shred to destroyed": 50.0} | values).items()
    }


def values(lines: list[scaling.Line]) -> dict[str, str]:
    return {line.name: line.value for line in lines}


def test_rates_and_cores_follow_from_the_load_and_the_measured_cpu() -> None:
    needs = values(Plan(figures(), SMALL).needs())

    # 2,592,000 facts in thirty days are one a second.
    assert needs["facts a second, mean"] == "1"
    assert needs["facts a second, peak"] == "4"
    assert Plan(figures(), Assumptions()).needs()[2].value == "0.4"
    assert needs["cells"] == "1"
    assert needs["the largest tenant fits into a cell"] == "yes"


@pytest.mark.parametrize(
    ("slow", "value", "part"),
    [
        ("intake", 1.0, "appends (one at a time in a cell)"),
        ("projector", 1.0, "projector (one process a cell)"),
        ("rebuild", 1.0, "rebuild within its hours"),
        ("bytes on disk, log", 1e8, "disk of log and read models"),
        ("bytes on disk, keys", 1e8, "disk of the key database"),
    ],
)
def test_what_is_slow_or_large_decides_how_many_cells_there_are(slow: str, value: float, part: str) -> None:
    plan = Plan(figures(**{slow: value}), SMALL)

    assert plan.saturates == part
    assert plan.cells == plan.cells_for[part] > 1
    assert values(plan.needs())["tenants a cell"] == f"{100 / plan.cells:,.0f}"


def test_a_run_that_lacks_a_figure_is_refused_by_name() -> None:
    lines = [orjson.dumps(figure).decode() for name, figure in figures().items() if name != "rebuild"]

    with pytest.raises(SystemExit, match="the run lacks: rebuild"):
        scaling.read(lines)


def test_the_page_names_every_assumption_and_its_words_in_docs_are_current() -> None:
    page = scaling.page(Plan(figures(), SMALL))

    for reason in scaling.SAYS.values():
        assert f"| {reason} |" in page
    written = scaling.PATH.read_text(encoding="utf-8")
    assert written.startswith(HEAD)
    assert written.endswith(TAIL)
