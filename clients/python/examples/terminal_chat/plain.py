"""A screen without an editor: for pipes and files, and for terminals that can't draw."""

import asyncio
import io
import os
import sys
import threading
from collections.abc import Iterable

from terminal_chat.screen import Event, Signal, Submitted


class PlainScreen:
    """Reads and prints whole lines, without a prompt."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    def start(self) -> None:
        """Begins to read lines."""
        loop = asyncio.get_running_loop()
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")  # No message takes what is not Unicode.

        def read() -> None:
            # A thread, since a file can't be waited for; a daemon, since nothing interrupts a read.
            for line in sys.stdin:
                loop.call_soon_threadsafe(self.events.put_nowait, Submitted(line.rstrip("\n")))
            loop.call_soon_threadsafe(self.events.put_nowait, Signal.LEAVE)

        threading.Thread(target=read, name="stdin", daemon=True).start()

    async def stop(self) -> None:
        """Does nothing: nothing was changed."""

    def print(self, lines: Iterable[str], *, is_dim: bool = False) -> None:
        """Prints lines."""
        try:
            for line in lines:
                print(line, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Nobody reads any more.
            self.events.put_nowait(Signal.LEAVE)

    def set_prompt(self, prompt: str) -> None:
        """Does nothing: there is no prompt."""
