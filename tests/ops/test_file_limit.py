"""Few files: the server raises its limit, and keeps some for its databases, however many clients connect."""

import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.support.processes import child, is_gone
from tests.support.scrapes import ON, scrape
from tests.support.sending import send
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until

_HARD = 160


def limited(soft: int) -> tuple[str, ...]:
    """The command of a server that begins with this soft limit."""
    return ("sh", "-c", f"ulimit -Sn {soft} && ulimit -Hn {_HARD} && exec {sys.executable} -m service serve")


def soft_limit(pid: int) -> int:
    """How many files a process may have open."""
    (line,) = [each for each in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in each]
    return int(line.split()[3])


def is_stored(server: RunningServer) -> bool:
    """Whether a message is taken now."""
    try:
        return send(server.target, "after").message.seq > 1
    except grpc.RpcError:  # PostgreSQL is just coming back
        return False


@pytest.fixture
def server(start: Callable[..., RunningServer]) -> RunningServer:
    """A server with few files."""
    return start(command=limited(64), settings=ON)


def test_the_limit_is_raised_warned_of_and_shown(server: RunningServer) -> None:
    pids = [child(server, name).pid for name in ("parley worker 0", "valkey-server", "bin/postgres")]
    assert [soft_limit(pid) for pid in (server.process.pid, *pids)] == [_HARD] * 4
    (warning,) = [line for line in server.output if "fewer files may be open" in line]
    assert f'"limit": {_HARD}' in warning
    shown = scrape(server)
    worker = (("process", "worker 0"),)
    assert shown["parley_process_max_fds", worker] == _HARD
    assert 10 < shown["parley_process_open_fds", worker] < _HARD


def test_clients_that_only_connect_leave_room_for_the_database(server: RunningServer) -> None:
    assert send(server.target, "before").message.seq == 1
    host, _, port = server.target.rpartition(":")
    with contextlib.ExitStack() as stack:

        def connect() -> None:
            for _ in range(200):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=10))

        connect()
        postgres = child(server, "bin/postgres")
        postgres.send_signal(signal.SIGINT)
        wait_until(lambda: is_gone(postgres), limit_seconds=20, what="the end of PostgreSQL")
        connect()  # the first ones are hung up on by and by, since they say nothing
        ready = (("worker", "0"),)
        wait_until(lambda: scrape(server)["parley_database_up", ready] == 1, limit_seconds=30, what="PostgreSQL again")
        assert scrape(server)["parley_process_open_fds", (("process", "worker 0"),)] < _HARD
    wait_until(lambda: is_stored(server), limit_seconds=20, what="a call")
    assert "Too many open files" not in server.text
