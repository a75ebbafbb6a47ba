"""Starting programs and stopping them: their lines are shown behind their names, and none outlives the stage.

On Linux none outlives this process either, also where it is killed: the kernel sends them SIGTERM then.
"""

import asyncio
import contextlib
import ctypes
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from pathlib import Path

_STOP_SECONDS = 15.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Program:
    """A process that a stage has started."""

    def __init__(self, name: str, process: Process, *, is_shown: bool) -> None:
        self._name = name
        self._process = process
        self._is_shown = is_shown
        self._lines: list[str] = []
        self._has_news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def line_with(self, pattern: str) -> re.Match[str]:
        """Waits for a line and gives what matched.

        Raises:
            ChildProcessError: it ended without one.
        """
        while True:
            is_last = self._reading.done()
            for line in self._lines:
                if found := re.search(pattern, line):
                    return found
            if is_last:
                raise ChildProcessError("\n".join([f"{self._name} ended early", *self._lines]))
            self._has_news.clear()
            await self._has_news.wait()

    async def end(self) -> None:
        """Waits for its end.

        Raises:
            ChildProcessError: it did not end well.
        """
        await asyncio.wait([self._reading])
        if code := await self._process.wait():
            raise ChildProcessError(f"{self._name} ended with {code}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, by force when it takes too long."""
        if self._process.returncode is None:
            self._process.send_signal(number)
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self._lines.append(line.decode().rstrip())
                self._has_news.set()
                if self._is_shown:
                    print(f"{self._name:>10} | {self._lines[-1]}", flush=True)
        finally:
            self._has_news.set()


class Stage:
    """Starts programs, and stops all at its end, the newest first.

    Args:
        settings: environment variables of all programs; no other of Parley's comes through.
    """

    def __init__(self, stack: contextlib.AsyncExitStack, settings: Mapping[str, str]) -> None:
        self._stack = stack
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
        self._environment = inherited | dict(settings)

    async def start(self, name: str, *command: str | Path, token: str = "", is_shown: bool = True) -> Program:
        """Starts a program, in a process group of its own: Ctrl-C is for us, who stop it."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env=self._environment | {"SERVICE_TOKEN": token},
            process_group=0,
            preexec_fn=_end_with_parent(),
        )
        program = Program(name, process, is_shown=is_shown)
        self._stack.push_async_callback(program.stop)
        return program


def _end_with_parent() -> Callable[[], None]:
    """Returns what a child runs before its program: it asks for SIGTERM when this process has ended."""
    parent = os.getpid()

    def ask() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
            if os.getppid() != parent:  # it ended before this line
                os._exit(1)

    return ask
