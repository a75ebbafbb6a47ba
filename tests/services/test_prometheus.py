"""Prometheus scrapes a server, takes the alerts and the dashboard that are shipped, and sees when it is gone."""

import asyncio
import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.services.callers import calling
from tests.services.prometheus import ALERTS, Prometheus
from tests.services.site import Site, free_port
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "parley.json"


async def test_scrapes_alerts_and_dashboard_work(site: Site) -> None:
    target = f"127.0.0.1:{free_port()}"
    with running_server(settings={"PARLEY_METRICS_LISTEN": target}) as server:
        prometheus = Prometheus(site, target)
        await asyncio.to_thread(prometheus.start)
        async with calling(server.target) as tally:
            await tally.grow(200)
            await wait_for(lambda: prometheus.query("parley_sends_total > 20"), limit_seconds=20, what="sends")
        check_metrics(target)
        groups = prometheus.ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert {rule["name"] for rule in rules} == {rule["alert"] for rule in shipped_rules()}
        await wait_for(lambda: healths(prometheus) == {"ok"}, limit_seconds=20, what="alerts that were evaluated")
        assert prometheus.query('ALERTS{alertstate="firing"}') == []
        expressions = list(dashboard_expressions())
        assert expressions
        for expression in expressions:
            prometheus.query(expression)  # refused ones fail
        await gone(prometheus, server)


def shipped_rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def healths(prometheus: Prometheus) -> set[str]:
    return {rule["health"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]}


def dashboard_expressions() -> list[str]:
    """What the panels ask, with values for Grafana's own variables."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("expr"), str):
                found.append(node["expr"])
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(json.loads(DASHBOARD.read_text(encoding="utf-8")))
    values = {"$__rate_interval": "1m", "$__interval": "1m", "$instance": ".*", "$job": "parley"}
    for name, value in values.items():
        found = [expression.replace(name, value) for expression in found]
    assert not [expression for expression in found if "$" in expression]
    return found


def check_metrics(target: str) -> None:
    """promtool finds nothing to say about the names."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{target}/metrics", timeout=10) as answer:
        text = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


async def gone(prometheus: Prometheus, server: RunningServer) -> None:
    """The expression of the first alert becomes true when the server has ended."""
    down = next(rule for rule in shipped_rules() if rule["alert"] == "ParleyDown")
    assert prometheus.query(down["expr"]) == []
    await asyncio.to_thread(server.stop)
    await wait_for(lambda: prometheus.query(down["expr"]), limit_seconds=20, what="the alert's expression")
