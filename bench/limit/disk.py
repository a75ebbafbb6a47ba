"""How often this disk can be told to keep 8 KiB, as PostgreSQL tells it at each commit."""

import os
import time
from pathlib import Path

_BLOCK_BYTES = 8192  # a page of PostgreSQL's log
_FILE_BYTES = 16 * 1024 * 1024  # a file of that log, which is made before it is written
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def measure_disk(directory: Path, seconds: float) -> dict[str, float]:
    """Writes 8 KiB and waits for the disk, again and again.

    Returns:
        "fsync_per_second" into a file that has its size already, as PostgreSQL writes, with "fsync_p99_ms" and
        "fsync_max_ms"; "fsync_append_per_second" at the end of a file that grows.

    Raises:
        OSError: the disk is full, or can't be written.
    """
    waits = _write(directory / "overwritten", seconds / 2, made_bytes=_FILE_BYTES)
    appended = _write(directory / "appended", seconds / 2, made_bytes=0)
    waits.sort()
    return {
        "fsync_per_second": len(waits) / sum(waits),
        "fsync_p99_ms": 1000 * waits[len(waits) * 99 // 100],
        "fsync_max_ms": 1000 * waits[-1],
        "fsync_append_per_second": len(appended) / sum(appended),
    }


def _write(path: Path, seconds: float, *, made_bytes: int) -> list[float]:
    """Returns how long each block took, in seconds."""
    block = os.urandom(_BLOCK_BYTES)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for at in range(0, made_bytes, _BLOCK_BYTES):
            os.pwrite(descriptor, block, at)
        os.fsync(descriptor)
        waits: list[float] = []
        begin = now = time.perf_counter()
        while now - begin < seconds:
            at = len(waits) * _BLOCK_BYTES
            os.pwrite(descriptor, block, at % made_bytes if made_bytes else at)
            _sync(descriptor)
            waits.append(-now + (now := time.perf_counter()))
        return waits
    finally:
        os.close(descriptor)
        path.unlink()
