"""Copies what the parts of a worker have counted to its segment, once a second, and measures how late its loop is."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from service.metrics.catalogue import WORKER_METRICS, Kind
from service.metrics.histogram import SECONDS, Histogram
from service.metrics.segment import LAYOUT, identify, lay_out

_LOOK_SECONDS = 0.1
_LOOKS = 10  # between two copies

Number = float | Histogram
# A number, or one for each series that has one, by the value of its label or by all of them. None: not known yet.
Reading = Number | Mapping[Any, Number] | None
# What gives each metric's reading.
Sources = Mapping[str, Callable[[], Reading]]


class Publisher:
    """Publishes one worker's numbers.

    Counters and histograms go on from what the segment has: an earlier worker of the same place has counted that. What
    all workers share never falls. A segment that is new, or of another catalogue, begins with zeros, and with NaN for
    what is shared: not known.

    Args:
        segment: as `open_segment` gives it.
        sources: one for each metric of a worker but the lag of its event loop, which is measured here.
    """

    def __init__(self, segment: "memoryview[float]", sources: Sources) -> None:
        self._segment = segment
        self._lag = Histogram(SECONDS)
        self._sources: Sources = {**sources, "parley_event_loop_lag_seconds": lambda: self._lag}
        self._places = lay_out(WORKER_METRICS)
        self._shared = {self._places[metric.name][()].start for metric in WORKER_METRICS if metric.kind is Kind.SHARED}
        if segment[LAYOUT] != identify(WORKER_METRICS):
            self._clear()
        self._before = [float(number) for number in segment]
        for metric in WORKER_METRICS:
            if metric.kind is Kind.GAUGE:
                for place in self._places[metric.name].values():
                    self._before[place] = [0.0]

    async def run(self) -> None:
        """Publishes until it is cancelled."""
        while True:
            for _ in range(_LOOKS):
                due = time.monotonic() + _LOOK_SECONDS  # uvloop's own clock stands still during a turn of the loop
                await asyncio.sleep(_LOOK_SECONDS)
                self._lag.observe(max(0.0, time.monotonic() - due))
            self.publish()

    def publish(self) -> None:
        """Copies all numbers."""
        for name, read in self._sources.items():
            places = self._places[name]
            reading = read()
            if reading is None:
                continue
            if isinstance(reading, (int, float, Histogram)):
                self._write(places[()], reading)
                continue
            for key, number in reading.items():
                self._write(places[(key,) if isinstance(key, str) else key], number)

    def _write(self, place: slice, number: Number) -> None:
        numbers = [*number.counts, number.total] if isinstance(number, Histogram) else [number]
        before = self._before
        for nth, each in enumerate(numbers, place.start):
            if nth not in self._shared:
                self._segment[nth] = before[nth] + each
            elif not each < self._segment[nth]:  # NaN is not above anything
                self._segment[nth] = each

    def _clear(self) -> None:
        for nth in range(len(self._segment)):
            self._segment[nth] = math.nan if nth in self._shared else 0.0
        self._segment[LAYOUT] = identify(WORKER_METRICS)  # last: only now is it read
