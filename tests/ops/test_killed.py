"""What happens when a part of a server, or all of it, is killed."""

import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.support import ordinary
from tests.support.processes import child, family, is_gone, kill_all, replaced
from tests.support.sending import send
from tests.support.servers import RunningServer, wait_ready
from tests.support.waiting import wait_until


@pytest.mark.parametrize("name", ["parley worker 0", "valkey-server", "bin/postgres"])
def test_what_dies_is_started_again(running: RunningServer, name: str) -> None:
    victim = child(running, name)
    victim.kill()
    assert replaced(running, victim, name)

    def sends_again() -> bool:
        try:
            return send(running.target, f"after {name}").message.seq > 0
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:  # the one answer that says: try again
                raise
            return False

    wait_until(sends_again, limit_seconds=20, what="a send that is accepted")


def test_a_worker_that_stalls_is_killed_and_started_again(running: RunningServer) -> None:
    victim = child(running, "parley worker 1")
    victim.suspend()
    assert replaced(running, victim, "parley worker 1")
    assert "silent for too long" in running.text


@pytest.fixture
def waiting(start: Callable[..., RunningServer]) -> RunningServer:
    """A server whose preparation waits for a database that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    server = start(settings={"PARLEY_DATABASE_URL": f"postgresql://u@127.0.0.1:{port}/d"}, is_awaited=False)
    wait_until(lambda: "waiting for PostgreSQL" in server.text, limit_seconds=30, what="word of the wait")
    return server


def test_sigterm_ends_a_preparation_that_waits(waiting: RunningServer) -> None:
    everybody = family(waiting)
    assert waiting.stop() == 0
    for process in everybody:
        wait_until(lambda process=process: is_gone(process), what=f"the end of {process}")


def test_a_preparation_that_is_killed_ends_the_start_with_a_line(waiting: RunningServer) -> None:
    everybody = family(waiting)
    child(waiting, "service prepare").kill()
    assert waiting.process.wait(30) == 1
    wait_until(lambda: "parley: the preparation was killed by signal 9" in waiting.output, what="the line")
    for process in everybody:
        wait_until(lambda process=process: is_gone(process), what=f"the end of {process}")


@pytest.mark.parametrize("user", [None, ordinary.USER])
def test_after_a_kill_of_the_whole_tree_the_next_start_has_everything(
    directory: Path, start: Callable[..., RunningServer], user: str | None
) -> None:
    """As who runs the tests, and as an ordinary user where that is root."""
    python = ordinary.Python(sys.executable, {})
    if user is not None:
        python = ordinary.python_of_ordinary_user("service.worker.server")
        shutil.chown(directory, user)
    for attempt in range(2):
        server = start(user=user, command=(python.path, "-m", "service", "serve"), settings=python.settings)
        answer = send(server.target, "the same")
        assert (answer.deduplicated, answer.message.seq) == (attempt == 1, 1)
        kill_all(server)


def test_a_start_waits_for_the_workers_of_a_supervisor_that_was_killed(start: Callable[..., RunningServer]) -> None:
    server = start()
    everybody = family(server)
    worker = child(server, "parley worker 0")
    worker.suspend()  # one that takes its time to finish
    try:
        server.process.kill()
        server.process.wait()
        again = start(settings={"PARLEY_LISTEN": server.target}, is_awaited=False)
        wait_until(lambda: "waiting for workers" in again.text, limit_seconds=20, what="word of the wait")
    finally:
        worker.resume()
    wait_ready(again)
    for process in everybody:
        wait_until(lambda process=process: is_gone(process), what=f"the end of {process}")
