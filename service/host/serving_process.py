"""A process that serves, as its supervisor sees it: settings go over its standard input, heartbeats come by a pipe.

Its metrics are in a segment of shared memory (`service/metrics/segment.py`) that stays when the process ends. Neither
its environment nor its arguments have secrets. What a worker does is in `service/worker/main.py`. Imports little, as
all that the supervisor has.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable

from service.host.heartbeats import PLANNED_STATUS, Heartbeats
from service.host.process_end import End
from service.host.roles import Role, spawn
from service.metrics.segment import make_segment


class ServingProcess:
    """One process of a role; `spawn` and `hand` start it, and start it again after its end.

    Args:
        role: one that serves.
        index: which process of its role this is, from 0.
        clock: monotonic, in seconds.

    Attributes:
        is_ready: whether the process serves, as far as `find_end` has heard.
        segment: where its metrics are, a file descriptor.
    """

    def __init__(self, role: Role, index: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.role = role
        self.index = index
        self.name = f"{role.name} {index}"
        self.is_ready = False
        self.segment = make_segment()
        self._clock = clock
        self._news = make_segment()  # settings that changed, for a process that runs
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._heartbeats = Heartbeats(clock())
        self._killed_as_stalled = False

    @property
    def pid(self) -> int | None:
        """The process that was spawned last."""
        return None if self._process is None else self._process.pid

    @property
    def is_spawned(self) -> bool:
        """Returns whether it was ever spawned."""
        return self._process is not None

    def spawn(self) -> None:
        """Starts the process; it loads its modules and then waits for `hand`."""
        self._close_pipe()
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        descriptors = (write_end, self.segment, self._news)
        try:
            self._process = spawn(self.role, self.index, *descriptors, pass_fds=descriptors)
        finally:
            os.close(write_end)
        self._pipe = read_end
        self.is_ready = False
        self._killed_as_stalled = False
        self._heartbeats = Heartbeats(self._clock())

    def hand(self, settings: bytes) -> None:
        """Passes the settings to the process, which then has 30 s to get ready."""
        assert self._process is not None
        assert self._process.stdin is not None
        self.forgive()
        with contextlib.suppress(BrokenPipeError):  # it has ended already; who watches it sees that
            self._process.stdin.write(settings)
            self._process.stdin.close()

    def hand_again(self, settings: bytes) -> None:
        """Passes changed settings to a process that serves."""
        os.ftruncate(self._news, 0)
        os.pwrite(self._news, settings, 0)
        self._send(signal.SIGHUP)

    def find_end(self) -> End | None:
        """Says how the process ended; None while it runs. Kills it first when it has stalled."""
        if self._process is None:
            return End("was never started")
        status = self._process.poll()
        self._hear()
        if status is None:
            if self._heartbeats.is_stalled(self._clock()):
                self._killed_as_stalled = True
                self._process.kill()
            return None
        self.is_ready = False
        if self._killed_as_stalled:
            return End("killed: its event loop was silent for too long")
        if status == PLANNED_STATUS:
            return End("it asked for that", is_planned=True)
        if self._heartbeats.last_words:
            return End(self._heartbeats.last_words.decode(errors="replace"))
        return End(f"killed by signal {-status}" if status < 0 else f"status {status}")

    def forgive(self) -> None:
        """Counts silence from now: the supervisor itself did not run for a while."""
        self._heartbeats.forgive(self._clock())

    def ask_to_end(self, *, is_hasty: bool) -> None:
        """Asks the process to end, if it still runs.

        Args:
            is_hasty: without a delay. One that does not serve yet has none, and takes the ordinary signal quietly.
        """
        self.find_end()  # hears whether it serves by now
        hasty = self.role.hasty_stop_signal if is_hasty and self.is_ready else None
        self._send(hasty or self.role.stop_signal)

    def has_ended(self) -> bool:
        """Returns whether the process has ended or was never started."""
        return self._process is None or self._process.poll() is not None

    def discard(self) -> None:
        """Kills the process if it still runs, waits for its end, and closes what belongs to it."""
        if self._process is not None:
            if self._process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
            self._process.kill()
            self._process.wait()
        self._close_pipe()

    def _send(self, signal_number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal_number)

    def _hear(self) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BlockingIOError):
                self._heartbeats.hear(os.read(self._pipe, 4096), self._clock())
                self.is_ready = self._heartbeats.is_ready

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
