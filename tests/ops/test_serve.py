"""`parley serve` for real: starts, stops, and what happens when a part of it, or all of it, is killed."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from parley.v1 import account_pb2, chat_service_pb2_grpc, message_pb2, server_info_pb2

from tests.support import ordinary
from tests.support.certificates import make_certificate
from tests.support.servers import RunningServer, running_server, start_server, wait_ready
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PARLEY = (sys.executable, "-m", "service")
PASSWORD = "correct horse battery"


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


def kill_all(server: RunningServer) -> None:
    """Kills the supervisor and all below it; fine when they have ended."""
    if server.process.poll() is None:
        for process in reversed(family(server)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    server.process.wait()


def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    return subprocess.run(
        [*PARLEY, *arguments], env=environment | settings, capture_output=True, text=True, check=False, timeout=40
    )


def send(target: str, request_id: str) -> message_pb2.SendResponse:
    """Registers alice and bob, where they are missing, and sends one message; waits for a server that is coming up."""
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        try:
            for name in ("alice", "bob"):
                stub.Register(
                    account_pb2.RegisterRequest(username=name, password=PASSWORD), timeout=20, wait_for_ready=True
                )
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        login = stub.Login(account_pb2.LoginRequest(username="alice", password=PASSWORD), timeout=20)
        request = message_pb2.SendRequest(conversation_id="alice:bob", text="hello", request_id=request_id)
        metadata = (("authorization", f"Bearer {login.access_token}"),)
        response: message_pb2.SendResponse = stub.Send(request, metadata=metadata, timeout=20)
        return response


def family(server: RunningServer) -> list[psutil.Process]:
    """The supervisor and all below it."""
    supervisor = psutil.Process(server.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def is_gone(process: psutil.Process) -> bool:
    """Says whether it has ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def child(server: RunningServer, name: str) -> psutil.Process:
    """Waits for the supervisor's child of this name (as `ps` shows it)."""

    def find() -> psutil.Process | None:
        for process in psutil.Process(server.process.pid).children():
            try:
                if name in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    return process
            except psutil.NoSuchProcess:
                pass
        return None

    return wait_until(find, what=name)


def libraries(process: psutil.Process) -> set[str]:
    """The packages of which the process has loaded compiled parts."""
    paths = [Path(mapped.path).parts for mapped in process.memory_maps()]
    return {parts[parts.index("site-packages") + 1] for parts in paths if "site-packages" in parts}


def replaced(server: RunningServer, old: psutil.Process, name: str) -> bool:
    """Waits until another process has taken the place of `old`."""
    return bool(
        wait_until(
            lambda: is_gone(old) and child(server, name).pid != old.pid, limit_seconds=25, what=f"another {name}"
        )
    )


def test_ps_tells_the_processes_apart(running: RunningServer) -> None:
    assert psutil.Process(running.process.pid).cmdline()[0].strip() == "parley serve"
    for name in ("parley worker 0", "parley worker 1", "valkey-server", "bin/postgres"):
        child(running, name)


def test_processes_that_stay_have_not_loaded_what_only_a_start_needs(running: RunningServer) -> None:
    """What was loaded late is seen here by its libraries; `tests/service/test_cli.py` has what is loaded at once."""
    supervisor = libraries(psutil.Process(running.process.pid))
    assert supervisor <= {"setproctitle", "psutil"}  # the second one to find what an earlier run left
    worker = libraries(child(running, "parley worker 0"))
    assert "grpc" in worker
    assert "pydantic_core" not in worker
    assert not [process for process in family(running) if "prepare" in process.cmdline()]


def test_no_secret_is_in_arguments_or_environments_of_workers(running: RunningServer) -> None:
    worker = child(running, "parley worker 0")
    assert not [name for name in worker.environ() if "URL" in name]
    keys = running.data_dir / "keys.json"
    assert keys.stat().st_mode & 0o777 == 0o600


def test_lines_of_the_first_screen_work_as_pasted(running: RunningServer) -> None:
    wait_until(lambda: "/Chat" in running.text, what="the whole screen")
    lines = [line for line in running.output if "grpcurl -" in line]
    assert len(lines) == 6
    (settings,) = re.findall(r"Settings: (\S*/parley config)\.", running.text)  # with its folder: none is on PATH
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-e"],
        input="\n".join([*lines, settings]),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello, Bob!" in done.stdout
    assert "How are you?" in done.stdout
    assert 'listen: "' in done.stdout


def test_a_port_in_use_is_one_clear_line(running: RunningServer, directory: Path) -> None:
    done = run("serve", "--listen", running.target, "--data-dir", str(directory / "d"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"parley: the address {running.target} is in use")
    assert "Traceback" not in done.stderr
    assert not (directory / "d" / "postgres").exists()


def test_a_second_server_on_the_data_directory_is_refused(running: RunningServer) -> None:
    done = run("serve", "--listen", "127.0.0.1:0", "--data-dir", str(running.data_dir))
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"parley: another server (process {running.process.pid}) runs on the data directory")


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


def test_accounts_and_tokens_from_the_command_line(running: RunningServer) -> None:
    place = ("--data-dir", str(running.data_dir))
    assert run("user", "create", "Service-1", *place).stdout == "made service-1\n"
    token = run("token", "service-1", "--ttl", "600", *place).stdout.strip()
    with grpc.insecure_channel(running.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)
        answer = stub.GetUser(account_pb2.GetUserRequest(), metadata=metadata, timeout=10)
        assert answer.user.username == "service-1"
        assert run("user", "disable", "service-1", *place).returncode == 0
        refused = run("token", "service-1", *place)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "there is no open account: service-1" in refused.stderr

        def is_refused() -> bool:
            try:
                stub.GetUser(account_pb2.GetUserRequest(), metadata=metadata, timeout=10)
            except grpc.RpcError as error:
                return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
            return False

        wait_until(is_refused, limit_seconds=15, what="the end of a disabled account's token")


def test_a_service_gets_its_account_with_its_first_token(running: RunningServer) -> None:
    place = ("--data-dir", str(running.data_dir))
    missing = run("token", "service-2", *place)
    assert (missing.returncode, missing.stdout) == (1, "")
    tokens = {run("token", "--service", "Service-2", *place).stdout.strip() for _ in range(2)}
    assert len(tokens) == 2
    with grpc.insecure_channel(running.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        for token in tokens:
            metadata = (("authorization", f"Bearer {token}"),)
            answer = stub.GetUser(account_pb2.GetUserRequest(), metadata=metadata, timeout=10)
            assert answer.user.username == "service-2"


def test_a_service_gets_no_token_for_a_name_that_somebody_registered_before_it(running: RunningServer) -> None:
    place = ("--data-dir", str(running.data_dir))
    with grpc.insecure_channel(running.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        stub.Register(account_pb2.RegisterRequest(username="billing", password="of a squatter"), timeout=20)
    refused = run("token", "--service", "Billing", "service-3", *place)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("parley: somebody has a password for billing: ")
    assert run("token", "billing", *place).returncode == 0
    assert run("token", "--service", "service-3", *place).returncode == 0


def test_a_restore_begins_another_epoch_and_workers_start_anew_with_it(running: RunningServer) -> None:
    place = ("--data-dir", str(running.data_dir))
    workers = [child(running, f"parley worker {index}") for index in range(2)]
    told = run("restored", *place)
    assert told.stderr == ""
    epoch = int(told.stdout.removeprefix("epoch ").removesuffix(" begins\n"))
    assert epoch > 1
    for index, worker in enumerate(workers):
        assert replaced(running, worker, f"parley worker {index}")

    def knows_the_epoch() -> bool:
        with grpc.insecure_channel(running.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)
            request = server_info_pb2.GetServerInfoRequest()
            return bool(stub.GetServerInfo(request, timeout=10, wait_for_ready=True).epoch == epoch)

    wait_until(knows_the_epoch, limit_seconds=20, what="the epoch")
    away = run("restored", "--data-dir", str(running.data_dir / "nothing"))
    assert (away.returncode, away.stdout) == (1, "")
    assert "no server runs on the data directory" in away.stderr


def test_ctrl_c_while_it_starts_stops_everything(directory: Path, start: Callable[..., RunningServer]) -> None:
    server = start(is_awaited=False)
    wait_until((directory / "d" / "valkey").exists, limit_seconds=30, what="a start under way")
    everybody = family(server)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    for process in everybody:
        wait_until(lambda process=process: is_gone(process), what=f"the end of {process}")
    assert "Traceback" not in server.text


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
        python = ordinary.python_of_ordinary_user("service.server")
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


def test_the_command_of_make_run_starts_stops_at_sigterm_and_starts_again(
    directory: Path, start: Callable[..., RunningServer]
) -> None:
    recipe = subprocess.run(
        ["make", "--silent", "--dry-run", "run"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    assert recipe == "exec .venv/bin/parley serve"
    command = ("sh", "-c", recipe.replace(".venv/bin", str(Path(sys.executable).parent)))
    for _ in range(2):
        server = start(command=command)
        everybody = family(server)
        assert send(server.target, "same").message.seq == 1
        assert server.stop() == 0
        assert [process for process in everybody if not is_gone(process)] == []
        assert not (directory / "d/postgres/postmaster.pid").exists()
        assert "Traceback" not in server.text


def test_a_data_directory_that_can_not_be_used_is_one_clear_line(directory: Path) -> None:
    (directory / "file").write_text("")
    done = run("serve", "--listen", "127.0.0.1:0", "--data-dir", str(directory / "file"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("parley: can't use the data directory")


def test_plaintext_beyond_loopback_needs_a_setting(directory: Path) -> None:
    done = run("serve", "--listen", "0.0.0.0:0", "--data-dir", str(directory / "d"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "TLS is not set up" in done.stderr
    assert not (directory / "d").exists()


def test_health_finds_a_server_with_tls_on_any_port(directory: Path, start: Callable[..., RunningServer]) -> None:
    certificate, key = make_certificate(directory)
    settings = {"PARLEY_TLS_CERTIFICATE_FILE": str(certificate), "PARLEY_TLS_KEY_FILE": str(key)}
    server = start(settings=settings | {"PARLEY_LISTEN": "0.0.0.0:0"})
    port = server.target.rpartition(":")[2]
    done = run("health", "--data-dir", str(directory / "d"), "--listen", "0.0.0.0:0", **settings)
    assert (done.stdout, done.stderr) == (f"127.0.0.1:{port} SERVING\n", "")
    plain = run("health", "--listen", f"127.0.0.1:{port}")
    assert (plain.returncode, plain.stdout) == (1, "")


def test_health_without_a_server_fails_with_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        target = f"127.0.0.1:{unused.getsockname()[1]}"
    done = run("health", "--listen", target)
    assert done.returncode == 1
    assert done.stderr.startswith(f"parley: {target} does not answer")
