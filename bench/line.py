"""A pipe between the parent and a generator process, on either side's event loop."""

import asyncio
import contextlib
import threading
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from bench.load import Done, Go, Live, Part, Ready, Renew, Sent, Settle, Stop

Word: TypeAlias = Ready | Go | Stop | Renew | Live | Sent | Settle | Done

PipeEnd: TypeAlias = "Connection[Any, Any]"


class HungUp(Exception):
    """The other side is gone."""


class Line:
    """One end of the pipe. A thread reads it: an event loop would make the pipe non-blocking, and words can be large.

    Sending may block the loop, which is no matter for words that are small, or the last.
    """

    def __init__(self, pipe: PipeEnd) -> None:
        self._pipe = pipe
        self._words: asyncio.Queue[Word | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, daemon=True).start()

    def say(self, word: Word | Part) -> None:
        """Sends a word.

        Raises:
            HungUp: nobody is there.
        """
        try:
            self._pipe.send(word)
        except OSError as error:
            raise HungUp from error

    async def hear(self) -> Word:
        """Waits for the next word.

        Raises:
            HungUp: nobody is there.
        """
        word = await self._words.get()
        if word is None:
            raise HungUp
        return word

    def _read(self) -> None:
        word: Word | None = None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody hears any more
            while True:
                try:
                    word = self._pipe.recv()
                except (EOFError, OSError):
                    word = None
                self._loop.call_soon_threadsafe(self._words.put_nowait, word)
                if word is None:
                    return
