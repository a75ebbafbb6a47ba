"""The page: numbers that a worker writes and its supervisor reads, in memory that both have.

It outlives the worker: the next one of the same place counts on. There is nothing to ask a worker for, which may hang,
and no file to be left over. Each number has its place, from the catalogue's order; the page says first of which
catalogue, since files may be upgraded under a supervisor that runs. Loads nothing of ours: the first worker gets its
page before anything else is known.
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
PAGE_BYTES = 64 * 1024
# Where the page has what `identify` says of the catalogue that it was written by; 0 before that.
LAYOUT = 0


def make_page() -> int:
    """Makes a page of zeros; gives its file descriptor, which has no name anywhere."""
    if hasattr(os, "memfd_create"):
        page = os.memfd_create("parley-metrics")
    else:
        with tempfile.TemporaryFile() as file:
            page = os.dup(file.fileno())
    os.ftruncate(page, PAGE_BYTES)
    return page


def open_page(page: int) -> "memoryview[float]":
    """Maps a page; the numbers are those that the other side sees."""
    return memoryview(mmap.mmap(page, PAGE_BYTES)).cast("d")


def lay_out(metrics: "Iterable[Metric]") -> "dict[str, dict[Key, slice]]":
    """Says where the numbers of each series are, by metric and label values."""
    places: dict[str, dict[Key, slice]] = {}
    at = LAYOUT + 1
    for metric in metrics:
        places[metric.name] = {
            key: slice(at + nth * metric.size, at + (nth + 1) * metric.size) for nth, key in enumerate(metric.keys())
        }
        at += len(places[metric.name]) * metric.size
    assert at * 8 <= PAGE_BYTES
    return places


def identify(metrics: "Iterable[Metric]") -> float:
    """Gives a number that differs when the places or what their numbers mean do; never 0."""
    layout = [(metric.name, metric.kind, metric.bounds, dict(metric.labels)) for metric in metrics]
    return 1.0 + zlib.crc32(repr(layout).encode())
