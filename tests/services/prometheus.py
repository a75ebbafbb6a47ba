"""Prometheus of Debian (2.42) that scrapes a server, with the alerts that are shipped."""

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.services.site import Daemon, Site, free_port
from tests.support.waiting import wait_until

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"


class Prometheus:
    """One Prometheus.

    Args:
        target: host:port of a server's metrics.
    """

    def __init__(self, site: Site, target: str) -> None:
        self._site = site
        self._daemon: Daemon | None = None
        self._port = free_port()
        self._data = site.make_directory("prometheus")
        alerts = site.write("alerts.yaml", ALERTS.read_text(encoding="utf-8"))
        document = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(alerts)],
            "scrape_configs": [{"job_name": "parley", "static_configs": [{"targets": [target]}]}],
        }
        self.configuration = site.write("prometheus.yaml", yaml.safe_dump(document))

    def start(self) -> None:
        """Starts it and waits for a first scrape."""
        self._daemon = self._site.spawn(
            *("prometheus", "prometheus", f"--config.file={self.configuration}"),
            *(f"--storage.tsdb.path={self._data}", f"--web.listen-address=127.0.0.1:{self._port}"),
        )
        wait_until(lambda: self.query("up == 1"), limit_seconds=30, what="a scrape")

    def query(self, expression: str) -> list[Any]:
        """Evaluates an expression; gives the series, none as well while it does not answer."""
        return list(self.ask("query", query=expression).get("result", []))

    def ask(self, path: str, **parameters: str) -> dict[str, Any]:
        """Asks its API; gives the data of the answer, none while it does not answer.

        Raises:
            AssertionError: it refuses the question.
        """
        assert self._daemon is not None
        assert self._daemon.is_running, self._daemon.text
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            response = connection.getresponse()
            text = response.read().decode()
        except OSError:
            return {}
        finally:
            connection.close()
        if response.status == 503:  # it starts
            return {}
        answer = json.loads(text)
        assert answer["status"] == "success", answer
        return dict(answer["data"])
