"""SIGHUP: a running server takes over what it can, says what it can't, and keeps what it has when all is wrong."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest
from parley.v1 import account_pb2, chat_service_pb2_grpc

from tests.support.processes import child, replaced
from tests.support.servers import RunningServer
from tests.support.terminals import Terminal
from tests.support.waiting import wait_until


def refusal(target: str, name: str) -> grpc.StatusCode:
    """What Register answers."""
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        try:
            stub.Register(account_pb2.RegisterRequest(username=name, password="correct horse battery"), timeout=20)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


@pytest.fixture
def file(directory: Path) -> Path:
    """The configuration file of the server."""
    path = directory / "parley.yaml"
    path.write_text("workers: 2\n")
    return path


def reload(server: RunningServer, file: Path, text: str, word: str) -> None:
    """Writes the file, sends SIGHUP, and waits for this in the log."""
    file.write_text(text)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: word in server.text, limit_seconds=20, what=word)


def test_sighup_takes_over_what_it_can_and_says_what_it_can_not(
    file: Path, start: Callable[..., RunningServer]
) -> None:
    server = start(settings={"PARLEY_CONFIG": str(file)}, workers=2)
    assert refusal(server.target, "alice") is grpc.StatusCode.OK
    wanted = "log: {level: debug}\nauth: {registration: closed}\nretry: {max_attempts: 7}\n"
    reload(server, file, wanted, '"settings": "retry.max_attempts"')
    assert '"changed": "auth.registration, log.level"' in server.text
    wait_until(lambda: refusal(server.target, "bob") is grpc.StatusCode.PERMISSION_DENIED, what="closed")
    worker = child(server, "parley worker 0")
    worker.kill()  # the next one is given the same
    assert replaced(server, worker, "parley worker 0")
    wait_until(lambda: server.text.count('"event": "serving"') == 3, limit_seconds=20, what="the next one")
    assert {refusal(server.target, f"carol{nth}") for nth in range(10)} == {grpc.StatusCode.PERMISSION_DENIED}
    reload(server, file, "auth: {registration: never}\n", "those of before stay in force")
    assert "auth.registration (file" in server.text
    assert refusal(server.target, "dave") is grpc.StatusCode.PERMISSION_DENIED
    assert server.process.poll() is None


def test_under_nohup_sighup_reloads_too(start: Callable[..., RunningServer]) -> None:
    server = start(command=("sh", "-c", f"trap '' HUP; exec {sys.executable} -m service serve"))
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: '"event": "settings reloaded"' in server.text, limit_seconds=20, what="reloaded")
    assert refusal(server.target, "alice") is grpc.StatusCode.OK
    assert server.stop() == 0


def test_sighup_to_all_processes_troubles_no_worker(start: Callable[..., RunningServer]) -> None:
    server = start()
    child(server, "parley worker 0").send_signal(signal.SIGHUP)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: '"event": "settings reloaded"' in server.text, limit_seconds=20, what="reloaded")
    assert refusal(server.target, "alice") is grpc.StatusCode.OK
    assert server.stop() == 0
    assert "Traceback" not in server.text
    assert server.text.count('"event": "serving"') == 1


def test_terminal_that_is_closed_ends_the_server(directory: Path) -> None:
    environment = {"PARLEY_LISTEN": "127.0.0.1:0", "PARLEY_DATA_DIR": str(directory / "d")}
    terminal = Terminal(["-m", "service", "serve"], environment)
    terminal.sees("Parley is ready")
    children = psutil.Process(terminal.process.pid).children()
    assert terminal.hangs_up() in (0, 120)  # 120: Python could not write to the terminal any more
    wait_until(lambda: not any(each.is_running() for each in children), what="no process is left")
