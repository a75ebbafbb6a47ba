"""A worker as its supervisor sees it: a process started by exec, a pipe of heartbeats, settings handed over stdin.

Its metrics are on a page of memory (`service/metrics/segment.py`) that stays when the process ends.

Secrets are in neither its environment nor its arguments. What the process does is in `service/worker/main.py`.
Imports little, as all that the supervisor has.
"""

import contextlib
import os
import signal
import subprocess
import time

from service.host.process_end import End
from service.host.roles import to_command
from service.metrics.segment import make_page
from storage.embedded.children import die_with_parent

READY = b"R"
BEAT = b"."
# What comes after it is why the worker fails, in UTF-8.
LAST_WORDS = b"!"
# A worker that asked for its own restart ends with this status; that is no failure.
PLANNED_STATUS = 3

# How long a worker's event loop may be silent before it is taken for stalled.
_SILENT_SECONDS = 10.0
_STARTING_SECONDS = 30.0


class WorkerProcess:
    """One worker; `spawn` and `hand` start it, and start it again after its end."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.name = f"worker {index}"
        self.is_ready = False
        self.page = make_page()
        self._news = make_page()  # settings that changed, for a worker that runs
        self._process: subprocess.Popen[bytes] | None = None
        self._beats: int | None = None
        self._heard_time = 0.0
        self._killed_as_stalled = False
        self._last_words = b""

    @property
    def pid(self) -> int | None:
        """The process that was spawned last."""
        return None if self._process is None else self._process.pid

    @property
    def is_spawned(self) -> bool:
        """Says whether it was ever spawned."""
        return self._process is not None

    def spawn(self) -> None:
        """Starts the process; it loads its modules and then waits for `hand`."""
        self._close_beats()
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        descriptors = (write_end, self.page, self._news)
        try:
            self._process = subprocess.Popen(  # noqa: S603 # our own command
                to_command("worker", self.index, write_end, self.page, self._news),
                stdin=subprocess.PIPE,
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        finally:
            os.close(write_end)
        self._beats = read_end
        self.is_ready = False
        self._killed_as_stalled = False
        self._last_words = b""
        self._heard_time = time.monotonic()

    def hand(self, settings: bytes) -> None:
        """Hands the settings over; from then on the worker has 30 s to get ready."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._heard_time = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # it has ended already; who watches it sees that
            self._process.stdin.write(settings)
            self._process.stdin.close()

    def hand_again(self, settings: bytes) -> None:
        """Gives settings that changed to a worker that serves."""
        os.ftruncate(self._news, 0)
        os.pwrite(self._news, settings, 0)
        self.send(signal.SIGHUP)

    def find_end(self) -> End | None:
        """Says how the process ended; None while it runs. Kills it first when it has stalled."""
        if self._process is None:
            return End("was never started")
        status = self._process.poll()
        if self._beats is not None:
            self._hear()
        if status is None:
            self._kill_if_stalled()
            return None
        self.is_ready = False
        if self._killed_as_stalled:
            return End("killed: its event loop was silent for too long")
        if status == PLANNED_STATUS:
            return End("it asked for that", is_planned=True)
        if self._last_words:
            return End(self._last_words.decode(errors="replace"))
        return End(f"killed by signal {-status}" if status < 0 else f"status {status}")

    def forgive(self) -> None:
        """Counts silence from now: the supervisor itself did not run for a while."""
        self._heard_time = time.monotonic()

    def send(self, signal_number: signal.Signals) -> None:
        """Sends a signal, if the process still runs."""
        if self._process is not None:
            self._process.send_signal(signal_number)

    def has_ended(self) -> bool:
        """Says whether the process has ended or was never started."""
        return self._process is None or self._process.poll() is not None

    def discard(self) -> None:
        """Kills the process if it still runs, waits for its end, and closes what belongs to it."""
        if self._process is not None:
            if self._process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
            self._process.kill()
            self._process.wait()
        self._close_beats()

    def _hear(self) -> None:
        assert self._beats is not None
        try:
            heard = os.read(self._beats, 4096)
        except BlockingIOError:
            return
        if self._last_words or LAST_WORDS in heard:
            self._last_words += heard if self._last_words else heard.partition(LAST_WORDS)[2]
        elif heard:
            self._heard_time = time.monotonic()
            self.is_ready = self.is_ready or READY in heard

    def _kill_if_stalled(self) -> None:
        limit = _SILENT_SECONDS if self.is_ready else _STARTING_SECONDS
        if time.monotonic() - self._heard_time > limit and self._process is not None:
            self._killed_as_stalled = True
            self._process.kill()

    def _close_beats(self) -> None:
        if self._beats is not None:
            os.close(self._beats)
            self._beats = None
