"""The generator processes of a run, seen from the parent."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Pipe

from bench.errors import BenchError
from bench.line import HungUp, Line, Word
from bench.load import Done, Go, Live, Part, Ready, Renew, Sent, Settle, Stop
from bench.verify import find_last_seqs
from bench.window import Window

_STOP_SECONDS = 10.0
# So long after the last acknowledgement a message may come; then it is lost.
SETTLE_SECONDS = 15.0

OnLive = Callable[[Mapping[str, int], int], None]
"""Told the totals so far by name, and how many refusals there were."""


class Generators:
    """Processes that work on the parts of one scenario."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._lines: list[Line] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._live: list[Live] = [Live({}, 0)] * len(parts)
        self._done: dict[int, Done] = {}
        for part in parts:
            here, there = Pipe()
            with there:
                # A program of its own, since multiprocessing would load in each child all that this process has loaded.
                # In a session of its own, so that Ctrl-C comes here alone.
                command = [sys.executable, "-m", "bench.generator", str(there.fileno())]
                process = subprocess.Popen(command, pass_fds=[there.fileno()], start_new_session=True)  # noqa: S603 - our own
            line = Line(here)
            line.say(part)
            self._lines.append(line)
            self._processes.append(process)

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [process.pid for process in self._processes]

    async def ready(self) -> float:
        """Waits until all are connected; gives how many seconds the slowest took.

        Raises:
            BenchError: one could not connect.
        """
        seconds = 0.0
        for place in range(len(self._lines)):
            word = await self._hear(place)
            if isinstance(word, Done):
                raise BenchError(word.failure)
            assert isinstance(word, Ready)
            seconds = max(seconds, word.seconds)
        return seconds

    def go(self, window: Window) -> None:
        """Has all begin."""
        for line in self._lines:
            line.say(Go(window))

    def stop(self) -> None:
        """Has all end early."""
        for place, line in enumerate(self._lines):
            if place not in self._done:
                line.say(Stop())

    def renew(self, tokens: Mapping[str, str]) -> None:
        """Has all go on with fresh tokens, by user name."""
        for place, line in enumerate(self._lines):
            if place not in self._done:
                line.say(Renew(tokens))

    async def finish(self, on_live: OnLive, all_sent: asyncio.Event) -> list[Done]:
        """Waits until all have done their part, sets the event, and until they have looked at what came.

        Returns:
            What they saw.

        Raises:
            BenchError: a process ended.
        """
        sent = await asyncio.gather(*(self._until_sent(place, on_live) for place in range(len(self._lines))))
        all_sent.set()
        last_seqs = find_last_seqs(each.last_seqs for each in sent)
        for place, line in enumerate(self._lines):
            if place not in self._done:
                line.say(Settle(last_seqs, SETTLE_SECONDS))
        await asyncio.gather(*(self._until_done(place) for place in range(len(self._lines))))
        return [self._done[place] for place in sorted(self._done)]

    async def close(self) -> None:
        """Ends the processes."""
        deadline = time.monotonic() + _STOP_SECONDS
        for place, process in enumerate(self._processes):
            if place not in self._done:
                process.terminate()
        for process in self._processes:
            try:
                await asyncio.to_thread(process.wait, max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)

    async def _until_sent(self, place: int, on_live: OnLive) -> Sent:
        while True:
            word = await self._hear(place)
            if isinstance(word, Live):
                self._live[place] = word
                totals: Counter[str] = Counter()
                for each in self._live:
                    totals.update(each.totals)
                on_live(totals, sum(each.error_count for each in self._live))
            elif isinstance(word, Sent):
                return word
            else:
                assert isinstance(word, Done)
                self._done[place] = word
                self.stop()
                return Sent({})

    async def _until_done(self, place: int) -> None:
        while place not in self._done:
            word = await self._hear(place)
            if isinstance(word, Done):
                self._done[place] = word

    async def _hear(self, place: int) -> Word:
        try:
            return await self._lines[place].hear()
        except HungUp:
            status = await asyncio.to_thread(self._processes[place].wait, _STOP_SECONDS)
            raise BenchError(f"a generator process ended with status {status}") from None
