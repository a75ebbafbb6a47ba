"""The processes of a server that tests start, and commands that run beside it."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.servers import RunningServer
from tests.support.waiting import wait_until

PARLEY = (sys.executable, "-m", "service")


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


def family(server: RunningServer) -> list[psutil.Process]:
    """The supervisor and all below it."""
    supervisor = psutil.Process(server.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def is_gone(process: psutil.Process) -> bool:
    """Returns whether it has ended."""
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
