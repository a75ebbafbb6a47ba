"""A histogram as plain numbers: how many observations fell into each bucket. Cheap; knows nothing of metrics."""

from bisect import bisect_left
from collections.abc import Sequence

# From a tenth of a millisecond, which is a statement on a local socket, to the ten seconds after which sends are given
# up; each about two and a half times the one before.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Messages of a batch or frame: batches end at 500, frames at 1 MiB.
MESSAGES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


class Histogram:
    """Counts observations by size.

    Args:
        bounds: the upper bounds of the buckets, each included, rising; one more bucket has what is above all.

    Attributes:
        counts: observations of each bucket, the last one without bound; not cumulative.
        total: the sum of what was observed.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Notes one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
