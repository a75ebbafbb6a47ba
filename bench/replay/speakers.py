"""When speakers are online: all the time, or from shortly before their first line until after their last one.

A message goes to everybody who is online, so a hundred and thirty who stay make it a hundred and thirty deliveries.
"""

import asyncio
import collections
import time
from collections.abc import Iterable, Sequence

from bench.replay.plan import Plan, Say, Step
from bench.replay.stream import DeviceStream

LOOKAHEAD_STEPS = 50
"""How far before its first line a speaker comes online."""
_AT_ONCE = 50
_ECHO_SECONDS = 30.0


class Speakers:
    """The speakers' streams, by user name.

    Attributes:
        streams: all of them, whether open or not.
        stay: whether they are online all the time.
    """

    def __init__(self, streams: dict[str, DeviceStream], plans: Sequence[Plan], *, stay: bool) -> None:
        self.streams = streams
        self.stay = stay
        self._remaining = collections.Counter(
            step.sender for plan in plans for step in plan.steps if isinstance(step, Say)
        )
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._owed: dict[str, dict[str, int]] = collections.defaultdict(dict)
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def open_all(self) -> None:
        """Brings everybody online."""
        self._begin(self.streams)
        await asyncio.gather(*self._opening.values())

    def expect(self, steps: Iterable[Step]) -> None:
        """Brings those online who speak in these steps; does not wait."""
        self._begin(step.sender for step in steps if isinstance(step, Say))

    async def get(self, username: str) -> DeviceStream:
        """Returns a speaker's stream when it is open.

        Raises:
            grpc.aio.AioRpcError: the server refuses the stream, or is away for too long.
        """
        self._begin([username])
        await self._opening[username]
        return self.streams[username]

    def note_accepted(self, username: str, conversation_id: str, seq: int) -> None:
        """Notes that a line of a speaker was accepted; after the last one, and its echo, the speaker goes offline."""
        self._owed[username][conversation_id] = max(seq, self._owed[username].get(conversation_id, 0))
        self._remaining[username] -= 1
        if not self.stay and not self._remaining[username]:
            task = asyncio.create_task(self._close_after_echo(username))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Takes everybody offline."""
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), *self._closing, return_exceptions=True)
        await asyncio.gather(*(self._close(stream) for stream in self.streams.values()))

    def _begin(self, usernames: Iterable[str]) -> None:
        for username in usernames:
            if username not in self._opening:
                self._opening[username] = asyncio.create_task(self._open(self.streams[username]))

    async def _open(self, stream: DeviceStream) -> None:
        async with self._room:
            await stream.open()

    async def _close_after_echo(self, username: str) -> None:
        stream = self.streams[username]
        patience_ends = time.monotonic() + _ECHO_SECONDS
        while any(stream.last_seq(conversation_id) < seq for conversation_id, seq in self._owed[username].items()):
            if time.monotonic() > patience_ends:
                break  # What did not come is found missing by the verdict.
            await asyncio.sleep(0.05)
        await self._close(stream)

    async def _close(self, stream: DeviceStream) -> None:
        async with self._room:
            await stream.close()
