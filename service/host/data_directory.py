"""The data directory: one server at a time, and who that is."""

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.host.running_server import LOCK_NAME, find_server

_WORKERS_NAME = "workers.lock"
_log = logging.getLogger(__name__)

# Workers of a supervisor that was killed finish what they do for up to 12 s.
_DRAIN_SECONDS = 15.0
_LOOK_SECONDS = 0.3
_POLL_SECONDS = 0.05


class DataDirectoryError(Exception):
    """The data directory can't be used; the text is one line for the operator."""


class DataDirectory:
    """A data directory that is locked for this server."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def publish(self, listen: str) -> None:
        """Leaves word for commands that run beside the server."""
        text = json.dumps({"pid": os.getpid(), "listen": listen}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)


@contextmanager
def hold_data_directory(path: Path, check: Callable[[], None]) -> Iterator[DataDirectory]:
    """Makes the directory where it is missing, and locks it.

    Args:
        check: called while it waits; raises to end that.

    Raises:
        DataDirectoryError: another server has it, or it can't be read and written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.listdir(path)  # noqa: PTH208 # says whether it can be read
        descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        _lock(path, descriptor, check)
        _wait_for_workers(path, check)
        yield DataDirectory(path, descriptor)
    finally:
        os.close(descriptor)


def mark_worker(path: Path) -> int:
    """Shows the next server that this worker still uses the directory, until the process ends."""
    descriptor = os.open(path / _WORKERS_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _lock(path: Path, descriptor: int, check: Callable[[], None]) -> None:
    # `find_server` holds the lock for a moment too.
    if not _lock_within(descriptor, _LOOK_SECONDS, check):
        server = find_server(path) or {}
        raise DataDirectoryError(
            f"another server (process {server.get('pid', 'unknown')}) runs on the data directory {path};"
            " stop it, or choose another one with --data-dir"
        )


def _wait_for_workers(path: Path, check: Callable[[], None]) -> None:
    try:
        descriptor = os.open(path / _WORKERS_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        if _lock_within(descriptor, 0.0, check):
            return
        _log.warning("waiting for workers of an earlier server, which was killed, to finish")
        if not _lock_within(descriptor, _DRAIN_SECONDS, check):
            raise DataDirectoryError(f"workers of an earlier server still use the data directory {path}")
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> DataDirectoryError:
    why = "it is no directory" if isinstance(error, FileExistsError) else error.strerror
    return DataDirectoryError(f"can't use the data directory {path}: {why}")


def _lock_within(descriptor: int, seconds: float, check: Callable[[], None]) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        check()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True
