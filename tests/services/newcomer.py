"""A newcomer's machine: a Debian 12 with Python and make, and a copy of the checkout for each who tries it.

newcomer = Newcomer(debian, "1000:1000", "/home/newcomer/parley")
newcomer.copy_checkout()
with newcomer.running() as terminal:
    terminal.sees("Parley is ready on ")
"""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.services.debian import Debian
from tests.support.terminals import Terminal

_ROOT = Path(__file__).parents[2]
_BECOME = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
# The port is one that is free; all else is as in the README.
_ANY_PORT = {"PARLEY_LISTEN": "127.0.0.1:0"}


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody with a copy of the checkout.

    Attributes:
        user: user:group, numbers.
        home: as the shell has it; "" where the user has none.
        checkout: where the copy is, inside.
    """

    debian: Debian
    user: str
    home: str
    checkout: str

    @property
    def folder(self) -> Path:
        """Where the copy is, as seen from outside."""
        return self.debian.folder / self.checkout.removeprefix("/")

    def copy_checkout(self) -> None:
        """Copies what is committed, as `git clone` does."""
        self.folder.mkdir(parents=True)
        with subprocess.Popen(["git", "archive", "HEAD"], cwd=_ROOT, stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "-x", "-C", str(self.folder)], stdin=archive.stdout, check=True)
        assert archive.returncode == 0
        self.debian.run("chown", "-R", self.user, self.checkout)

    def command(self, *arguments: str, **variables: str) -> list[str]:
        """Returns a command line that runs a command in the copy, as this user's shell does."""
        own = {"TERM": "xterm", "LANG": "C.UTF-8"} | ({"HOME": self.home} if self.home else {})
        return self.debian.command(
            *arguments, user=self.user, where=self.checkout, environment=own | _ANY_PORT | variables
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Runs a command to its end; gives its status, and what it said."""
        done = subprocess.run(
            self.command(*arguments, **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    @contextlib.contextmanager
    def running(self) -> Iterator[Terminal]:
        """Runs `make run` at a terminal; Ctrl-C ends it at the end, and all that it started."""
        terminal = Terminal(["-c", _BECOME, *self.command("make", "run")], {})
        try:
            yield terminal
            terminal.types("\x03")
            terminal.ends()
        finally:
            terminal.process.kill()
            terminal.process.wait()
            left = self.processes()
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        assert left == []

    def processes(self) -> list[psutil.Process]:
        """Lists what runs on this machine."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, OSError):
                if Path(f"/proc/{process.pid}/root").samefile(self.debian.folder):
                    found.append(process)
        return found
