"""`parley serve` for real: how it starts, what it shows, and how it stops."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import psutil

from service.host.banner import GRPCURL
from tests.support.processes import child, family, is_gone, libraries, run
from tests.support.sending import send
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


def test_ps_tells_the_processes_apart(running: RunningServer) -> None:
    assert psutil.Process(running.process.pid).cmdline()[0].strip() == "parley serve"
    for name in ("parley worker 0", "parley worker 1", "valkey-server", "bin/postgres"):
        child(running, name)


def test_processes_that_stay_have_not_loaded_what_only_a_start_needs(running: RunningServer) -> None:
    """What was loaded late is seen here by its libraries; `tests/cli/test_main.py` has what is loaded at once."""
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


def read_screen(terminal: int) -> str:
    """Reads what a server shows on a terminal, up to its last line."""
    screen = ""
    while "ChatService/Chat\r\n" not in screen:
        ready, _, _ = select.select([terminal], [], [], 30)
        assert ready, screen
        screen += os.read(terminal, 65_536).decode()
    return screen


def test_lines_of_the_first_screen_work_as_pasted(start: Callable[..., RunningServer]) -> None:
    ours, theirs = pty.openpty()
    server = start(terminal=theirs, settings={"NO_COLOR": "1", "PATH": "/usr/bin:/bin"})
    lines = read_screen(ours).splitlines()
    os.close(ours)
    os.close(theirs)
    assert not [line for line in server.output if "Parley is ready" in line]
    (chat,) = [line for line in lines if line.endswith(f"terminal_chat {server.target} --user alice")]
    (path,) = [line for line in lines if line.startswith("PATH=")]
    calls = [line for line in lines if "grpcurl -" in line]
    assert len(calls) == 6
    assert lines.index(chat) < lines.index(path) < lines.index(calls[0])
    (settings,) = re.findall(r"Settings: (\S*/parley config)\.", "\n".join(lines))  # with its folder: none is on PATH
    done = subprocess.run(
        ["sh", "-e"],
        input="\n".join([path, *calls, settings, f"PARLEY_PASSWORD='correct horse battery' {chat} </dev/null"]),
        env=os.environ | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello, Bob!" in done.stdout
    assert "How are you?" in done.stdout
    assert 'listen: "' in done.stdout


def test_without_a_terminal_there_are_lines_of_the_log_alone(running: RunningServer) -> None:
    assert [line for line in running.output if not line.startswith("{")] == []


def test_where_grpcurl_is_missing_one_line_brings_the_version_that_the_tests_run() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    assert GRPCURL in wanted


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


def test_ctrl_c_while_it_starts_stops_everything(directory: Path, start: Callable[..., RunningServer]) -> None:
    server = start(is_awaited=False)
    wait_until((directory / "d" / "valkey").exists, limit_seconds=30, what="a start under way")
    everybody = family(server)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    for process in everybody:
        wait_until(lambda process=process: is_gone(process), what=f"the end of {process}")
    assert "Traceback" not in server.text


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
    assert done.stderr == f"parley: can't use the data directory {directory / 'file'}: it is no directory\n"


def test_plaintext_beyond_loopback_needs_a_setting(directory: Path) -> None:
    done = run("serve", "--listen", "0.0.0.0:0", "--data-dir", str(directory / "d"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "TLS is not set up" in done.stderr
    assert not (directory / "d").exists()
