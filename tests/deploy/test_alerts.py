"""The alerts, the dashboard and the page ask for metrics that there are, with labels and values that these have."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics.catalogue import SUPERVISOR_METRICS, WORKER_METRICS, Kind, Metric

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/parley.json"
PAGE = ROOT / "docs/operations/watching.md"
# What Prometheus itself adds to each series.
_ADDED = {"instance", "job"}
_SELECTOR = re.compile(r"\b(parley_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:\\.|[^"])*)"')


def list_samples() -> dict[str, Metric]:
    """Each name that a scrape shows, with its metric."""
    samples = {}
    for metric in (*WORKER_METRICS, *SUPERVISOR_METRICS):
        names = [metric.name]
        if metric.kind is Kind.HISTOGRAM:
            names = [f"{metric.name}_{part}" for part in ("bucket", "count", "sum")]
        samples |= dict.fromkeys(names, metric)
    return samples


def labels_of(metric: Metric) -> set[str]:
    """The labels that its series have in a scrape."""
    labels = set(metric.labels) | _ADDED
    if metric.kind is Kind.HISTOGRAM:
        labels.add("le")
    if metric.kind is Kind.GAUGE and metric in WORKER_METRICS:
        labels.add("worker")
    return labels


def find_faults(expression: str) -> list[str]:
    """What an expression asks for that no scrape has."""
    samples, faults = list_samples(), []
    selectors = _SELECTOR.findall(expression.replace("\\|", "|"))
    for name, matchers in selectors:
        if name not in samples:
            faults.append(f"there is no {name}")
            continue
        for label, operator, value in _MATCHER.findall(matchers):
            known = samples[name].labels.get(label)
            wanted = value.split("|") if "~" in operator else [value]
            if label not in labels_of(samples[name]):
                faults.append(f"{name} has no {label}")
            elif known:
                faults += [f"{name} has no {label} {each}" for each in wanted if each not in known]
    for clause in re.findall(r"\bby \(([^)]*)\)", expression):
        for label in (part.strip() for part in clause.split(",")):
            if not any(name in samples and label in labels_of(samples[name]) for name, _ in selectors):
                faults.append(f"nothing in it has {label}")
    return faults


def list_alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def list_targets() -> list[dict[str, Any]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target | {"title": panel["title"]} for panel in panels for target in panel.get("targets", ())]


@pytest.mark.parametrize("alert", list_alerts(), ids=lambda alert: alert["alert"])
def test_alert_asks_for_what_there_is(alert: dict[str, Any]) -> None:
    assert find_faults(alert["expr"]) == []
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"]


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: f"{target['title']} {target['refId']}")
def test_panel_asks_for_what_there_is(target: dict[str, Any]) -> None:
    assert _SELECTOR.search(target["expr"])
    assert find_faults(target["expr"]) == []
    for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
        assert any(label in labels_of(list_samples()[name]) for name, _ in _SELECTOR.findall(target["expr"]))


def test_expressions_of_the_page_ask_for_what_there_is() -> None:
    table = PAGE.read_text().partition("| expression | says |")[2].partition("\n\n")[0]
    expressions = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    assert len(expressions) > 5
    assert {expression: find_faults(expression) for expression in expressions if find_faults(expression)} == {}


@pytest.mark.parametrize(
    "expression",
    [
        "parley_nothing > 0",
        'parley_errors_total{reason="NO_SUCH"}',
        "sum by (user) (parley_streams)",
        'up{x="y"} + parley_bus_up{user="a"}',
    ],
)
def test_expression_that_asks_for_what_is_not_there_is_found(expression: str) -> None:
    assert find_faults(expression)
