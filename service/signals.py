"""The supervisor's one place for signals: they raise while it starts, and are counted once it runs."""

import contextlib
import os
import signal
from types import FrameType
from typing import Self

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """A signal asked to stop while the server was still starting."""


class Signals:
    """Takes the signals over for as long as it is entered.

    Attributes:
        stop_count: how many signals asked to stop.
        wakeup: a descriptor that becomes readable with each signal, a child's end included.
    """

    def __init__(self) -> None:
        self.stop_count = 0
        self.wakeup, self._wakeup_write = os.pipe()
        self._is_starting = True

    def __enter__(self) -> Self:
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._wakeup_write, False)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        for number in _STOPPING:
            # nohup stays in force. SIGINT is taken even so: shells have it ignored in what they start with "&".
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self.wakeup)
        os.close(self._wakeup_write)

    def count_only(self) -> None:
        """From now on signals interrupt nothing; who waits looks at `stop_count`."""
        self._is_starting = False

    def drain(self) -> None:
        """Empties `wakeup`."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup, 4096)

    def _on_stop(self, _: int, __: FrameType | None) -> None:
        self.stop_count += 1
        if self._is_starting:
            self._is_starting = False  # what cleans up must not be interrupted again
            raise StopRequested
