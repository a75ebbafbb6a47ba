"""What all senders have in common: when they send. How they do is each one's own."""

import asyncio
import collections
from abc import ABC, abstractmethod
from collections.abc import Iterable

from bench.verify import Acks


class Outbox(ABC):
    """A sender; in an open loop it is told when something was due, in a closed one it goes by the answers.

    Attributes:
        acks: what the server acknowledged, by conversation.
    """

    def __init__(self, conversations: Iterable[str]) -> None:
        self.acks = {conversation: Acks() for conversation in conversations}
        self._due: collections.deque[int] = collections.deque()
        self._change = asyncio.Event()
        self._is_stopped = False

    def push(self, time_ns: int) -> None:
        """Has something sent that was due then; for an open loop."""
        self._due.append(time_ns // 1000)
        self._change.set()

    def stop(self) -> None:
        """Sends nothing more."""
        self._is_stopped = True
        self._change.set()

    async def send_open(self) -> None:
        """Sends what is pushed, until `stop`. Raises: RunBroken."""
        while not self._is_stopped:
            while self._due:
                await self._send(self._due.popleft())
            self._change.clear()
            if not self._is_stopped:
                await self._change.wait()

    @abstractmethod
    async def send_closed(self, window_frames: int) -> None:
        """Sends as answers come, so many frames unanswered at most, until `stop`. Raises: RunBroken."""

    @abstractmethod
    async def drain(self) -> None:
        """Waits until all is answered."""

    @abstractmethod
    async def _send(self, time_us: int) -> None:
        """Sends once what was due then. Raises: RunBroken."""
