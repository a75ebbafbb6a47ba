"""One server as a child process: starting, waiting until it answers, stopping, and ending what a killed run left.

What is PostgreSQL's or Valkey's own is in the files of those names.
"""

import contextlib
import hashlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from storage.embedded.children import EmbeddedError, child_options, make_private_directory, open_private

_log = logging.getLogger(__name__)

_SOCKET_PATH_BYTES = 107  # sun_path of Linux is 108 with the closing NUL; macOS has 104
_SOCKET_PATH_BYTES_MACOS = 103
_LOG_FILE_BYTES = 16 * 1024 * 1024  # above this a start begins a new file and keeps the last one
_POLL_SECONDS = 0.01

# After a kill -9 PostgreSQL replays up to max_wal_size (1 GB) before it answers.
_START_SECONDS = 180.0
# A server that ends while it starts is tried again for this long: backends of a killed PostgreSQL may still be ending.
_RETRY_SECONDS = 20.0


class EmbeddedServer(ABC):
    """A server that runs as a child process with a directory of its own.

    Args:
        data_dir: made with mode 0700 where it is missing.
        name: of the directory in `data_dir`, and of the log file there.
    """

    program: str  # as the process list has it
    socket_name: str
    pid_file_name: str
    stop_signal: signal.Signals
    stop_seconds: float

    def __init__(self, data_dir: Path, name: str) -> None:
        self.name = name
        self.data_dir = data_dir.expanduser().absolute()
        self.directory = self.data_dir / name
        self.log_file = self.data_dir / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._socket_directory: Path | None = None

    @property
    def socket_path(self) -> Path:
        """The Unix socket. Where the data directory's path is too long for one, it is in the temporary directory."""
        return self._directory_of_socket() / self.socket_name

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients connect to."""

    @abstractmethod
    def answers(self) -> bool:
        """Returns whether a real connection works; takes a second at most."""

    @abstractmethod
    def _prepare(self) -> None:
        """Makes what the first start needs."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    def _user(self) -> tuple[int, int] | None:
        """The (uid, gid) to run as; None: the caller's."""
        return None

    def start(self) -> None:
        """Starts the server and waits until it answers.

        Raises:
            EmbeddedError: it can't be started.
        """
        self.spawn()
        self.wait()

    def spawn(self) -> None:
        """Starts the server without waiting for its answer. It must not be running.

        Raises:
            EmbeddedError: it can't be started.
        """
        try:
            make_private_directory(self.data_dir, parents=True)
            self._end_orphan()
            self._prepare()
            self._rotate_log()
            self._run()
        except OSError as error:
            raise EmbeddedError(f"can't start {self.name} in {self.data_dir}: {error}") from error

    def wait(self, limit_seconds: float = _START_SECONDS, check: Callable[[], None] = lambda: None) -> None:
        """Waits until a spawned server answers; one that ends meanwhile is tried again for a while.

        Args:
            check: called while it waits; raises to end that.

        Raises:
            EmbeddedError: it does not answer in time, or keeps ending.
        """
        begin = time.monotonic()
        while not self.answers():
            check()
            waited = time.monotonic() - begin
            if not self.is_alive():
                if waited > _RETRY_SECONDS:
                    raise EmbeddedError(f"{self.name} ended while starting: {self._last_log_line()}")
                time.sleep(min(0.1 + waited / 4, 1.0))
                self.spawn()
            elif waited > limit_seconds:
                raise EmbeddedError(f"{self.name} does not answer after {limit_seconds:.0f} s; see {self.log_file}")
            time.sleep(_POLL_SECONDS)

    def is_alive(self) -> bool:
        """Returns whether the process that was started still runs."""
        return self.process is not None and self.process.poll() is None

    def restart_if_dead(self) -> bool:
        """Starts the server again if it has ended by itself; does not wait for its answer. True: it did.

        Raises:
            EmbeddedError: it can't be started.
        """
        if self.process is None or self.is_alive():
            return False
        _log.warning("%s ended with status %s; starting it again", self.name, self.process.returncode)
        self.spawn()
        return True

    def stop(self) -> None:
        """Shuts the server down and waits; one that does not end in time is killed. Fine when it does not run."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(self.stop_signal)
            try:
                process.wait(self.stop_seconds)
            except subprocess.TimeoutExpired:
                _log.warning("%s does not end; killing it", self.name)
                self._end_by_force(process)
        directory = self._socket_directory
        if directory is not None and directory != self.directory:
            with contextlib.suppress(OSError):  # not empty: a server that was killed leaves its socket
                directory.rmdir()

    def _end_by_force(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def _run(self) -> None:
        with open(self.log_file, "ab", opener=open_private) as log:  # Path.open takes no opener
            self.process = subprocess.Popen(  # noqa: S603 # our own command
                self._command(), stdout=log, stderr=log, **child_options(self.directory, self._user(), self.stop_signal)
            )

    def _directory_of_socket(self) -> Path:
        if self._socket_directory is None:
            limit = _SOCKET_PATH_BYTES_MACOS if sys.platform == "darwin" else _SOCKET_PATH_BYTES
            directory = self.directory
            if len(os.fsencode(directory / self.socket_name)) > limit:
                digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
                directory = Path(tempfile.gettempdir()) / f"parley-{digest}"
                if len(os.fsencode(directory / self.socket_name)) > limit:
                    raise EmbeddedError(
                        f"the path {directory} is too long for a Unix socket; set TMPDIR to a shorter one"
                    )
            self._socket_directory = directory
        return self._socket_directory

    def _end_orphan(self) -> None:
        """Ends this directory's server of an earlier run, which may still be shutting down."""
        pid = self._read_pid()
        if pid is None or not self._is_ours(pid):
            return
        _log.warning("waiting for %s of an earlier run (process %d) to end", self.name, pid)
        for signal_number, seconds in (
            (self.stop_signal, self.stop_seconds),
            (signal.SIGQUIT, 10),
            (signal.SIGKILL, 5),
        ):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if not self._is_ours(pid):
                    return
                time.sleep(_POLL_SECONDS)
        raise EmbeddedError(f"{self.name} of an earlier run (process {pid}) does not end")

    def _read_pid(self) -> int | None:
        try:
            first_line = (
                (self.directory / self.pid_file_name).read_text(encoding="ascii", errors="replace").split("\n")[0]
            )
        except FileNotFoundError:
            return None
        return int(first_line) if first_line.strip().isdigit() else None

    def _is_ours(self, pid: int) -> bool:
        """Returns whether the process is this program working in this directory: pids are given again."""
        import psutil  # only a start after a crash comes here

        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.name().startswith(self.program[:15]) and Path(process.cwd()) == self.directory.resolve()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _rotate_log(self) -> None:
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_FILE_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))

    def _last_log_line(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        telling = [line for line in lines if "FATAL" in line or "PANIC" in line or "rror" in line]
        return (telling or lines or ["no log"])[-1] + f" (see {self.log_file})"
