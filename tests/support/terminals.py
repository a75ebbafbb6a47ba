"""A program at a terminal, with its question and answers.

subprocess starts the program, and not pexpect, which forks: a fork of a process that uses gRPC may hang or crash.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pexpect
import psutil
from pexpect import fdpexpect

from tests.support.waiting import wait_until

# Makes the pseudo-terminal on stdin the controlling one, so that Ctrl-C and a resize are signals; and Ctrl-C is heard
# also where the tests were started in the background by a shell that has its children ignore it.
TAKE_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
LIMIT_SECONDS = 20


class Terminal:
    """A program that reads and writes a terminal of its own."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        terminal, inner = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, sys.executable, *arguments],
            env=os.environ | environment,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        self._screen = fdpexpect.fdspawn(terminal, encoding="utf-8", timeout=LIMIT_SECONDS)

    def sees(self, text: str, limit_seconds: float = LIMIT_SECONDS) -> str:
        """Waits for a text and returns what stood before it."""
        found = self._screen.expect_exact([text, pexpect.EOF, pexpect.TIMEOUT], timeout=limit_seconds)
        assert found == 0, f"{text} did not come; seen: {self._screen.before!r}"
        return str(self._screen.before)

    def is_asked(self, text: str) -> None:
        """Waits for a question, and until the program reads the answer: it hears a signal just before that too late."""
        self.sees(text)
        program = psutil.Process(self.process.pid)
        wait_until(lambda: program.status() == psutil.STATUS_SLEEPING, what="a program that reads")

    def types(self, text: str) -> None:
        """Types a text; "\\x03" is Ctrl-C."""
        self._screen.send(text)

    def hangs_up(self) -> int:
        """Closes the terminal under the program, as its window would; waits for its end and returns its exit code."""
        self._screen.close()
        try:
            return self.process.wait(LIMIT_SECONDS)
        finally:
            self.process.kill()

    def ends(self) -> int:
        """Waits for the program's end and returns its exit code; it must not have ended with a traceback."""
        self._screen.expect([pexpect.EOF, pexpect.TIMEOUT])
        assert "Traceback" not in str(self._screen.before)
        try:
            return self.process.wait(LIMIT_SECONDS)
        finally:
            self.process.kill()
            self._screen.close()
