"""What a scrape gets: the segments of all workers added up, and what the supervisor itself knows, as Prometheus has it.

The numbers of one scrape are of one moment up to a second ago; a histogram's count is always the sum of its buckets.
"""

import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.domain.distribution import version
from service.host.restart_policy import RestartPolicy
from service.host.serving_process import ServingProcess
from service.metrics.catalogue import BUILD_LABELS, SUPERVISOR_METRICS, WORKER_METRICS, Kind, Metric
from service.metrics.segment import LAYOUT, identify, lay_out, open_segment
from service.settings.variables import COMMIT_VARIABLE

# Series that are shown at zero, too: Prometheus sees no growth in one that begins at 1, and one of these is too many.
_ALWAYS_SHOWN = "INTERNAL"
_SUPERVISOR = {metric.name: metric for metric in SUPERVISOR_METRICS}


class Exposition(Collector):
    """Reads the segments when it is asked; one that no worker of the same code has begun is left out.

    Args:
        workers: all workers; the gauges of those that do not serve are left out.
        policies: of all processes.
    """

    def __init__(self, workers: Sequence[ServingProcess], policies: Sequence[RestartPolicy]) -> None:
        self._workers = workers
        self._policies = policies
        self._segments = [open_segment(worker.segment) for worker in workers]
        self._places = lay_out(WORKER_METRICS)
        self._layout = identify(WORKER_METRICS)
        self._readable = self._find_readable()

    def collect(self) -> Iterator[Family]:
        """Yields every metric."""
        self._readable = self._find_readable()
        for metric in WORKER_METRICS:
            yield _FAMILIES[metric.kind](self, metric)
        yield from self._of_supervisor()

    def find_trouble(self) -> str:
        """Says why calls should go to other servers; "" where they should come here."""
        if not any(worker.is_ready for worker in self._workers):
            return "no worker serves"
        place = self._places["parley_database_up"][()].start
        known = [segment[place] for worker, segment in self._find_readable() if worker.is_ready]
        return "PostgreSQL does not answer" if known and not any(known) else ""

    def _find_readable(self) -> "list[tuple[ServingProcess, memoryview[float]]]":
        return [
            (worker, segment)
            for worker, segment in zip(self._workers, self._segments, strict=True)
            if segment[LAYOUT] == self._layout
        ]

    def _counter(self, metric: Metric) -> Family:
        family = CounterMetricFamily(metric.name, metric.meaning, labels=list(metric.labels))
        for key, place in self._places[metric.name].items():
            value = self._sum(place.start)
            if value or not metric.is_sparse or _ALWAYS_SHOWN in key:
                family.add_metric(key, value)
        return family

    def _shared(self, metric: Metric) -> Family:
        family = CounterMetricFamily(metric.name, metric.meaning)
        (place,) = self._places[metric.name].values()
        known = [segment[place.start] for _, segment in self._readable if not math.isnan(segment[place.start])]
        if known:
            family.add_metric([], max(known))
        return family

    def _gauge(self, metric: Metric) -> Family:
        family = GaugeMetricFamily(metric.name, metric.meaning, labels=["worker"])
        (place,) = self._places[metric.name].values()
        for worker, segment in self._readable:
            if worker.is_ready and not math.isnan(segment[place.start]):
                family.add_metric([str(worker.index)], segment[place.start])
        return family

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.meaning, labels=list(metric.labels))
        for key, place in self._places[metric.name].items():
            *counts, total = map(self._sum, range(place.start, place.stop))
            family.add_metric(key, _to_buckets(metric, counts), total)
        return family

    def _sum(self, nth: int) -> float:
        return sum(segment[nth] for _, segment in self._readable)

    def _of_supervisor(self) -> Iterator[Family]:
        build = _family("parley_build_info", *BUILD_LABELS)
        build.add_metric([version(), os.environ.get(COMMIT_VARIABLE, ""), platform.python_version()], 1)
        yield build
        ready = _family("parley_workers_ready")
        ready.add_metric([], sum(worker.is_ready for worker in self._workers))
        yield ready
        ends = _family("parley_process_ends_total", "process")
        planned = _family("parley_process_planned_restarts_total", "process")
        for policy in self._policies:
            ends.add_metric([policy.name], policy.end_count)
            planned.add_metric([policy.name], policy.planned_count)
        yield ends
        yield planned
        memory = _family("parley_process_resident_memory_bytes", "process")
        cpu = _family("parley_process_cpu_seconds_total", "process")
        files = {name: _family(f"parley_{name}", "process") for name in ("process_open_fds", "process_max_fds")}
        for name, pid in [("serve", "self"), *((worker.name, str(worker.pid)) for worker in self._workers)]:
            for found in _look_at(pid):
                if found.name == "process_resident_memory_bytes":
                    memory.add_metric([name], found.samples[0].value)
                elif found.name == "process_cpu_seconds":
                    cpu.add_metric([name], found.samples[0].value)
                elif found.name in files:
                    files[found.name].add_metric([name], found.samples[0].value)
        yield memory
        yield from files.values()
        yield cpu


_FAMILIES: dict[Kind, Callable[[Exposition, Metric], Family]] = {
    Kind.COUNTER: Exposition._counter,
    Kind.SHARED: Exposition._shared,
    Kind.GAUGE: Exposition._gauge,
    Kind.HISTOGRAM: Exposition._histogram,
}


def _to_buckets(metric: Metric, counts: Sequence[float]) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, metric.bounds), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))


def _family(name: str, *labels: str) -> CounterMetricFamily | GaugeMetricFamily:
    metric = _SUPERVISOR[name]
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    return kind(name, metric.meaning, labels=labels)


def _look_at(pid: str) -> list[Family]:
    """What the system says of a process; nothing where there is no /proc, or when it has ended."""
    return list(ProcessCollector(pid=lambda: pid, registry=None).collect())
