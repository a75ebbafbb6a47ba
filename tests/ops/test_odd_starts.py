"""`parley serve` where the caller gives it what few do: no standard streams, a directory whose name is no text."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.processes import run
from tests.support.sending import send
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_until

SERVE = (sys.executable, "-m", "service", "serve")


def test_closed_standard_streams_are_no_files_of_the_server(start: Callable[..., RunningServer]) -> None:
    server = start(command=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *SERVE), is_awaited=False)
    place = ("--listen", "127.0.0.1:0", "--data-dir", str(server.data_dir))
    wait_until(lambda: run("health", *place).returncode == 0, limit_seconds=30, what="a server that serves")
    assert server.stop() == 0
    assert json.loads((server.data_dir / "server.lock").read_text())["pid"] == server.process.pid
    assert (server.data_dir / "workers.lock").read_bytes() == b""


def test_data_directory_may_have_a_name_that_is_no_text(directory: Path) -> None:
    with running_server(directory / os.fsdecode(b"\xff\xfe")) as server:
        assert send(server.target, "here").message.seq == 1
    assert "Traceback" not in server.text
