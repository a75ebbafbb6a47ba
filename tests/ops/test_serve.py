"""`parley serve` for real: how it starts, what it shows, and how it stops."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

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
    assert done.stderr.startswith("parley: can't use the data directory")


def test_plaintext_beyond_loopback_needs_a_setting(directory: Path) -> None:
    done = run("serve", "--listen", "0.0.0.0:0", "--data-dir", str(directory / "d"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "TLS is not set up" in done.stderr
    assert not (directory / "d").exists()
