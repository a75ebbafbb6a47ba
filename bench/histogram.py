"""Times, gathered cheaply and put into an HdrHistogram in batches: one record of its own costs six microseconds."""

from array import array
from collections import Counter
from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

from bench.results import Latency

_LONGEST_US = 600_000_000
_DIGITS = 3
_BATCH = 50_000
_PERCENTILES = (50, 75, 90, 95, 99, 99.9, 99.99, 100)


class Times:
    """A distribution in the making; microseconds, at least 1."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, _LONGEST_US, _DIGITS)
        self._values: array[int] = array("q")
        self._counts: Counter[int] = Counter()

    def add(self, time_us: int, count: int = 1) -> None:
        """Notes that something took so long, so many times."""
        if count == 1:
            self._values.append(time_us)
            if len(self._values) >= _BATCH:
                self._flush()
        else:
            self._counts[time_us] += count

    def encode(self) -> bytes:
        """All that was noted, as an HdrHistogram's own compressed form; for `to_latency`."""
        self._flush()
        encoded: bytes = self._histogram.encode()
        return encoded

    def _flush(self) -> None:
        self._counts.update(self._values)
        del self._values[:]
        for time_us, count in self._counts.items():
            self._histogram.record_value(min(max(time_us, 1), _LONGEST_US), count)
        self._counts.clear()


def to_latency(encoded: Iterable[bytes]) -> Latency:
    """The distribution of all processes together."""
    whole = HdrHistogram(1, _LONGEST_US, _DIGITS)
    for each in encoded:
        whole.decode_and_add(each)
    count = whole.get_total_count()
    return Latency(
        count=count,
        percentiles_ms={
            f"{percentile:g}": whole.get_value_at_percentile(percentile) / 1000 for percentile in _PERCENTILES
        }
        if count
        else {},
        histogram=whole.encode().decode("ascii") if count else "",
    )
