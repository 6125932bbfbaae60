"""Alerts, their runbook and the table of metrics say the same as the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).parents[2]
OPERATING = (ROOT / "docs/operating.md").read_text()
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"] for rule in group["rules"]
]
SCRAPED: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
COMPOSED: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())


def metrics_in(expression: str) -> set[str]:
    """Parse PromQL, and name the metrics that it asks for."""
    return set(_selected(promql_parser.parse(expression)))


def _selected(node: Any) -> Iterator[str]:
    match node:
        case promql_parser.VectorSelector():
            yield node.name
        case promql_parser.MatrixSelector():
            yield node.vector_selector.name
        case promql_parser.BinaryExpr():
            yield from _selected(node.lhs)
            yield from _selected(node.rhs)
        case promql_parser.Call():
            for argument in node.args:
                yield from _selected(argument)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.SubqueryExpr():
            yield from _selected(node.expr)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return
        case _:
            raise AssertionError(f"{type(node).__name__} is new here")


def documented() -> set[str]:
    """List the metrics of the table in docs/operating.md."""
    return set(re.findall(r"^\| `(sealdesk_\w+)` \|", OPERATING, re.MULTILINE))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_are_told_and_leads_to_its_section(rule: dict[str, Any]) -> None:
    asked = metrics_in(rule["expr"])
    assert asked
    assert asked - {"up"} <= documented()
    assert rule["labels"]["severity"] in {"page", "ticket"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}
    assert rule["annotations"]["summary"].endswith(".")


def test_every_section_of_the_runbook_belongs_to_an_alert() -> None:
    led_to = {rule["annotations"]["runbook"].partition("#")[2] for rule in RULES}
    assert {heading.lower() for heading in re.findall(r"^### (\w+)$", OPERATING, re.MULTILINE)} == led_to


def test_no_two_alerts_have_one_name() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_prometheus_asks_the_processes_of_the_compose_file_where_they_listen() -> None:
    assert SCRAPED["rule_files"] == ["alerts.yml"]
    [job] = SCRAPED["scrape_configs"]
    [found] = job["dns_sd_configs"]
    listening = {
        name: service["environment"]["SEALDESK_LISTEN"].rpartition(":")[2]
        for name, service in COMPOSED["services"].items()
        if "SEALDESK_LISTEN" in service.get("environment", {})
    }
    assert set(listening) == set(found["names"])
    assert set(listening.values()) == {str(found["port"])}
    alerted = {rule["alert"]: rule["expr"] for rule in RULES}["ProcessMissing"]
    assert set(re.findall(r'process="(\w+)"', alerted)) == set(listening)


def test_the_parser_refuses_what_is_no_promql() -> None:
    with pytest.raises(ValueError, match=r"."):
        metrics_in("sum by (topic (sealdesk_up)")
    assert metrics_in("max by (a) (delta(x[5m])) > 1 unless on () absent(y)") == {"x", "y"}
