"""Logs in, sends three notes to itself on a stream that breaks in the middle, resumes it and acknowledges what came.

Arguments: [host:port].
"""

import asyncio
import contextlib
import random
import sys
import uuid
from collections.abc import AsyncIterator

import betterproto
from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.exceptions import StreamTerminatedError
from parley_betterproto.parley import v1

ME = {"username": "chat-betterproto", "password": "correct horse battery staple"}
NOTES = "chat-betterproto:chat-betterproto"  # the direct conversation with oneself
PASSING = {Status.UNAVAILABLE, Status.CANCELLED, Status.INTERNAL, Status.UNKNOWN}


class Device:
    """What a client keeps from one stream to the next: its outbox, in order, and the highest seq that came."""

    def __init__(self, parley: v1.ChatServiceStub, token: str) -> None:
        self._parley = parley
        self._metadata = {"authorization": f"Bearer {token}"}
        self._position = 0
        # The request_id is made once, not for each attempt: so a note is stored once, however often it is sent.
        self._outbox = {
            number: v1.SendRequest(conversation_id=NOTES, text=text, request_id=uuid.uuid4().hex)
            for number, text in enumerate(("one", "two", "three"), start=1)
        }

    async def chat(self, *, breaks: bool) -> None:
        """Sends what is in the outbox and receives until all of it came back.

        Args:
            breaks: cut the stream at its first answer, as a connection can be.
        """
        frames: asyncio.Queue[v1.ChatRequest | None] = asyncio.Queue()
        # The same device in each hello: what it did not acknowledge comes again.
        frames.put_nowait(v1.ChatRequest(hello=v1.Hello(device_id="example")))
        for number, request in self._outbox.items():
            frames.put_nowait(v1.ChatRequest(correlation_id=number, send=v1.SendFrame(requests=[request])))
        awaited = 0
        stream = self._parley.chat(_written(frames), metadata=self._metadata)
        async with contextlib.aclosing(stream):
            async for frame in stream:
                if breaks and (frame.results or frame.messages):
                    raise StreamTerminatedError("cut by the example")
                for refused in frame.errors:
                    raise RuntimeError(refused.error.message)
                for result in frame.results:
                    arm, outcome = betterproto.which_one_of(result, "outcome")
                    if arm == "error":
                        raise RuntimeError(outcome.message)
                    del self._outbox[result.correlation_id]
                    awaited = max(awaited, outcome.seq)
                    again = ", once more: it was stored before" if outcome.deduplicated else ""
                    print(f"stored as {outcome.seq}{again}")
                for message in frame.messages:
                    if message.seq > self._position:  # else it came before
                        self._position = message.seq
                        print(f"received {message.seq}: {message.text}")
                if not self._outbox and self._position >= awaited:
                    position = v1.Position(conversation_id=NOTES, seq=self._position)
                    frames.put_nowait(v1.ChatRequest(ack=v1.AckFrame(positions=[position])))
                    frames.put_nowait(None)  # our half of the stream ends; the server ends its own with OK
                    awaited = self._position + 1


async def _written(frames: "asyncio.Queue[v1.ChatRequest | None]") -> AsyncIterator[v1.ChatRequest]:
    while (frame := await frames.get()) is not None:
        yield frame


async def main(target: str) -> None:
    """Comes back after a pause when the stream breaks; what will never succeed is raised."""
    host, _, port = target.rpartition(":")
    async with Channel(host, int(port)) as channel:
        parley = v1.ChatServiceStub(channel)
        try:
            login = await parley.register(v1.RegisterRequest(**ME), timeout=10)
        except GRPCError as error:
            if error.status is not Status.ALREADY_EXISTS:
                raise
            login = await parley.login(v1.LoginRequest(**ME), timeout=10)
        device = Device(parley, login.access_token)
        for attempt in range(8):
            try:
                await device.chat(breaks=attempt == 0)
            except (GRPCError, StreamTerminatedError, OSError) as error:
                if isinstance(error, GRPCError) and error.status not in PASSING:
                    raise
                print("the stream broke:", error)
                pause = random.uniform(0, min(0.5 * 2**attempt, 15))  # noqa: S311 # spreads clients, hides nothing
                await asyncio.sleep(pause)
            else:
                return
        sys.exit("the server did not come back")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"))
