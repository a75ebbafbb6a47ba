"""Servers that the tests of this folder start and hurt."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import kill_all
from tests.support.servers import RunningServer, running_server, start_server, wait_ready


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    """A server with two workers that the tests of this module hurt."""
    with running_server(workers=2) as server:
        yield server


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short path, so that sockets fit; open to other users."""
    path = Path(tempfile.mkdtemp(prefix="parley-ops-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers on `directory / "d"`; none is left at the end, whatever became of the test."""
    started: list[RunningServer] = []

    def start_one(*, is_awaited: bool = True, **options: Any) -> RunningServer:
        server = start_server(directory / "d", **options)
        started.append(server)
        if is_awaited:
            wait_ready(server)
        return server

    yield start_one
    for server in started:
        kill_all(server)
