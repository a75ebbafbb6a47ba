"""What this machine could do at most, with nothing of Parley in between: what `parley bench limit` measures.

One file a limit, each a bare loop over a library or the system. `measure.py` starts what they need, and is the one
place of `bench` that imports `storage`.
"""

from bench.limit.measure import LimitError, measure_limits

__all__ = ["LimitError", "measure_limits"]
