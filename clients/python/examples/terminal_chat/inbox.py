"""Entries that came and are not on the screen yet, in the order in which they came."""

import asyncio
from collections import deque

from parley.v1 import message_pb2


class Inbox:
    """A queue whose first entry stays until it is shown. Bounded by the window of the stream."""

    def __init__(self) -> None:
        self._messages: deque[message_pb2.Message] = deque()
        self._filled = asyncio.Event()

    def put(self, message: message_pb2.Message) -> None:
        """Adds an entry."""
        self._messages.append(message)
        self._filled.set()

    async def wait_for_first(self) -> message_pb2.Message:
        """Waits for an entry and returns it; it stays."""
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        return self._messages[0]

    def take(self, message: message_pb2.Message) -> bool:
        """Takes the first entry out; False when it is another one by now: this one is void."""
        if not self._messages or self._messages[0] is not message:
            return False
        self._messages.popleft()
        return True

    def void(self, conversation_id: str, seq: int) -> None:
        """Drops the entries of a conversation that are above a seq."""
        self._messages = deque(
            message for message in self._messages if message.conversation_id != conversation_id or message.seq <= seq
        )
