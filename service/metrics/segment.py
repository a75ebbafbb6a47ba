"""The segment: numbers that a worker writes and its supervisor reads, in memory that both have.

It outlives the worker: the next one of the same place counts on. There is nothing to ask a worker for, which may hang,
and no file to be left over. Each number has its place, from the catalogue's order; the segment says first of which
catalogue, since files may be upgraded under a supervisor that runs. Loads nothing of ours: the first worker gets its
segment before anything else is known.
"""

import mmap
import os
import tempfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.metrics.catalogue import Key, Metric

# Four times what the catalogue takes; memory that is never written to is none.
SEGMENT_BYTES = 64 * 1024
# Where the segment has what `identify` says of the catalogue that it was written by; 0 before that.
LAYOUT = 0


def make_segment() -> int:
    """Makes a segment of zeros; gives its file descriptor, which has no name anywhere."""
    if hasattr(os, "memfd_create"):
        segment = os.memfd_create("parley-metrics")
    else:
        with tempfile.TemporaryFile() as file:
            segment = os.dup(file.fileno())
    os.ftruncate(segment, SEGMENT_BYTES)
    return segment


def open_segment(segment: int) -> "memoryview[float]":
    """Maps a segment; the numbers are those that the other side sees."""
    return memoryview(mmap.mmap(segment, SEGMENT_BYTES)).cast("d")


def lay_out(metrics: "Iterable[Metric]") -> "dict[str, dict[Key, slice]]":
    """Says where the numbers of each series are, by metric and label values."""
    places: dict[str, dict[Key, slice]] = {}
    at = LAYOUT + 1
    for metric in metrics:
        places[metric.name] = {
            key: slice(at + nth * metric.size, at + (nth + 1) * metric.size) for nth, key in enumerate(metric.keys())
        }
        at += len(places[metric.name]) * metric.size
    assert at * 8 <= SEGMENT_BYTES
    return places


def identify(metrics: "Iterable[Metric]") -> float:
    """Returns a number, never 0, that differs when the slots or the meaning of their numbers differ."""
    layout = [(metric.name, metric.kind, metric.bounds, dict(metric.labels)) for metric in metrics]
    return 1.0 + zlib.crc32(repr(layout).encode())
