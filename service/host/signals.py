"""The supervisor's one place for signals: they are counted, and whoever works or waits looks at the count.

Nothing is raised out of a handler: it would come up anywhere, also where Python has to swallow it.
"""

import contextlib
import errno
import os
import select
import signal
from types import FrameType
from typing import Self

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_NO_TERMINAL = (errno.ENXIO, errno.EIO, errno.ENOENT)


class StopRequested(Exception):
    """A signal asked to stop while the server was still starting."""


class Signals:
    """Takes the signals over for as long as it is entered.

    Attributes:
        stop_count: how many signals asked to stop.
        is_hasty: the first of them was Ctrl-C: somebody waits for the end.
        wants_reload: SIGHUP asked to read the settings anew; whoever does so takes it back. It stops the server where
            the terminal that the server was started on is gone, unless `nohup` was there.
        wakeup: a descriptor that becomes readable with each signal, a child's end included.
    """

    def __init__(self) -> None:
        self.stop_count = 0
        self.is_hasty = False
        self.wants_reload = False
        self._ends_with_terminal = False
        self.wakeup, self._wakeup_write = os.pipe()

    def __enter__(self) -> Self:
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._wakeup_write, False)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        for number in _STOPPING:
            # SIGINT is taken even where it is ignored: shells have it so in what they start with "&".
            signal.signal(number, self._on_stop)
        self._ends_with_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        signal.signal(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self.wakeup)
        os.close(self._wakeup_write)

    def check(self) -> None:
        """Raises StopRequested if a signal asked to stop."""
        if self.stop_count:
            raise StopRequested

    def wait_readable(self, descriptor: int) -> None:
        """Waits until a descriptor can be read, or has come to its end. Raises StopRequested if that comes first."""
        ready: list[int] = []
        while descriptor not in ready:
            self.check()
            ready, _, _ = select.select([descriptor, self.wakeup], [], [])
            self.drain()

    def drain(self) -> None:
        """Empties `wakeup`."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup, 4096)

    def _on_stop(self, number: int, _: FrameType | None) -> None:
        self.is_hasty = self.is_hasty or (number == signal.SIGINT and not self.stop_count)
        self.stop_count += 1

    def _on_hangup(self, _: int, __: FrameType | None) -> None:
        if self._ends_with_terminal and not _has_terminal():
            self.stop_count = max(self.stop_count, 1)  # the kernel and the shell may both say so
        else:
            self.wants_reload = True


def _has_terminal() -> bool:
    """Returns whether this process has a terminal, which can hang up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError as error:
        return error.errno not in _NO_TERMINAL
    return True
