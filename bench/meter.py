"""What one generator process counts and times."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bench.histogram import Times
from bench.window import Window


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter holds, to be sent to the parent.

    Attributes:
        counts: of the measured part.
        totals: of the whole run.
        times: name to an encoded histogram.
    """

    counts: Mapping[str, int]
    totals: Mapping[str, int]
    errors: Mapping[str, int]
    times: Mapping[str, bytes]


class Meter:
    """Counts events by name; those in the measured part count for the result.

    A time counts when that which was timed was to begin in the measured part.
    """

    def __init__(self) -> None:
        self._window = Window(0, 0, 0)
        self.counts: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._times: dict[str, Times] = {}
        self._from_us = self._to_us = 0

    def set_window(self, window: Window) -> None:
        """Says when the measured part is."""
        self._window = window
        self._from_us, self._to_us = window.start_ns // 1000, window.end_ns // 1000

    def count(self, name: str, number: int = 1) -> None:
        """Notes that something happened now."""
        self.totals[name] += number
        if self._window.start_ns <= time.monotonic_ns() < self._window.end_ns:
            self.counts[name] += number

    def error(self, reason: str, number: int = 1) -> None:
        """Notes refusals, whenever they came."""
        self.errors[reason] += number

    def time(self, name: str, begin_us: int, end_us: int, number: int = 1) -> None:
        """Notes how long something took; CLOCK_MONOTONIC microseconds."""
        if self._from_us <= begin_us < self._to_us:
            times = self._times.get(name)
            if times is None:
                times = self._times[name] = Times()
            times.add(end_us - begin_us, number)

    def read(self) -> Reading:
        """All of it."""
        return Reading(
            dict(self.counts),
            dict(self.totals),
            dict(self.errors),
            {name: times.encode() for name, times in self._times.items()},
        )


def now_us() -> int:
    """CLOCK_MONOTONIC in microseconds."""
    return time.monotonic_ns() // 1000
