"""A real `parley serve` for the tests: a supervisor and its workers, as processes of their own."""

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storage.embedded import EmbeddedPostgres
from tests.support.waiting import wait_until

START_SECONDS = 30.0
SERVE = (sys.executable, "-m", "service", "serve")


@dataclass(slots=True)
class RunningServer:
    """A server that serves.

    Attributes:
        target: host:port.
        output: lines that it wrote so far, both streams.
    """

    process: "subprocess.Popen[str]"
    data_dir: Path
    target: str = ""
    output: list[str] = field(default_factory=list)

    def stop(self) -> int:
        """Ends it as Ctrl-C would, and gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    @property
    def text(self) -> str:
        """All it wrote so far."""
        return "\n".join(self.output)


@contextlib.contextmanager
def running_server(
    data_dir: Path | None = None,
    *,
    workers: int = 1,
    settings: dict[str, str] | None = None,
    command: Sequence[str] = SERVE,
) -> Iterator[RunningServer]:
    """Starts a server on a free port and waits until it is ready; stops it at the end.

    Args:
        data_dir: None: one of its own, under the system's temporary directory, so that sockets have short paths.
        settings: further PARLEY_* variables.
    """
    with contextlib.ExitStack() as stack:
        if data_dir is None:
            data_dir = Path(tempfile.mkdtemp(prefix="parley-server-"))
            stack.callback(remove_directory, data_dir)
            if "PARLEY_DATABASE_URL" not in (settings or {}):
                # Each cluster would take half a second of processor time to make, and all of them are the same.
                subprocess.run(["cp", "-a", empty_cluster(), data_dir / "postgres"], check=True)
        server = start_server(data_dir, workers=workers, settings=settings, command=command)
        try:
            wait_ready(server)
            yield server
        finally:
            server.stop()


@functools.cache
def empty_cluster() -> Path:
    """The directory of a PostgreSQL that was made and has nothing in it yet; made once a process, never run again."""
    data_dir = Path(tempfile.mkdtemp(prefix="parley-cluster-"))
    atexit.register(remove_directory, data_dir)
    postgres = EmbeddedPostgres(data_dir)
    postgres.start()
    postgres.stop()
    return postgres.directory


def remove_directory(directory: Path) -> None:
    """Removes a data directory; what was killed may still write into it for a moment."""

    def is_removed() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    wait_until(is_removed, what="the directory's removal")


def start_server(
    data_dir: Path,
    *,
    workers: int = 1,
    settings: dict[str, str] | None = None,
    command: Sequence[str] = SERVE,
    user: str | None = None,
    terminal: int | None = None,
) -> RunningServer:
    """Starts a server on a free port, without waiting; as another user where one is named.

    Args:
        terminal: what standard output is; None: a pipe, as standard error is in any case.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    environment |= {
        "PARLEY_LISTEN": "127.0.0.1:0",
        "PARLEY_DATA_DIR": str(data_dir),
        "PARLEY_WORKERS": str(workers),
        **(settings or {}),
    }
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if terminal is None else terminal,
        stderr=subprocess.STDOUT if terminal is None else subprocess.PIPE,
        text=True,
        env=environment,
        user=user,
    )
    server = RunningServer(process, data_dir)
    threading.Thread(target=_collect, args=(server,), daemon=True).start()
    return server


def wait_ready(server: RunningServer) -> None:
    """Waits until the server says that it is ready, and notes where it is."""
    wait_until(lambda: is_ready(server), limit_seconds=START_SECONDS, what="ready")


def is_ready(server: RunningServer) -> bool:
    """Whether the server has logged that it is ready; then `target` is where it said."""
    assert server.process.poll() is None, f"the server ended with {server.process.returncode}:\n{server.text}"
    for line in server.output:
        if '"event": "ready"' in line:
            server.target = json.loads(line)["listen"]
    return bool(server.target)


def _collect(server: RunningServer) -> None:
    written = server.process.stdout or server.process.stderr
    assert written is not None
    with written as lines:
        for line in lines:
            server.output.append(line.rstrip("\n"))
