"""What a server's metrics say, read as Prometheus reads them."""

import re
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from tests.support.servers import RunningServer

ON = {"PARLEY_METRICS_LISTEN": "127.0.0.1:0"}
# (name of the sample, its labels), for example ("parley_sends_total", (("result", "accepted"),)).
Series = tuple[str, tuple[tuple[str, str], ...]]

_LISTEN = re.compile(r'"metrics": "([^"]+)".*"event": "ready"')


def url_of(server: RunningServer) -> str:
    """Where a server says that its metrics are."""
    found = _LISTEN.search(server.text)
    assert found, server.text
    return f"http://{found[1]}/metrics"


def scrape(server: RunningServer) -> dict[Series, float]:
    """All samples."""
    with urllib.request.urlopen(url_of(server), timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Metrics:
    """One scrape."""

    def __init__(self, server: RunningServer) -> None:
        self.samples = scrape(server)

    def value(self, name: str, **labels: str) -> float:
        """The one sample of this name with these labels; 0 when it is not shown."""
        return self.samples.get((f"parley_{name}", tuple(sorted(labels.items()))), 0.0)

    def by_worker(self, name: str) -> list[float]:
        """A gauge of all workers."""
        return [value for (found, _), value in self.samples.items() if found == f"parley_{name}"]
