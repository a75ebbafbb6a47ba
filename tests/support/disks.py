"""A small file system of its own, so that a disk can be full without the machine's being so."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(directory: Path, size_bytes: int) -> Iterator[None]:
    """Mounts a file system of this size on a directory; the test is shown as skipped where it may not."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0755", "none", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system can't be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
