"""Registers or logs in, opens Chat, sends a note to itself and prints it when it comes back. Arguments: [host:port]."""

import asyncio
import sys
from collections.abc import AsyncIterator

from grpclib import GRPCError
from grpclib.client import Channel
from parley_betterproto.parley import v1

ME = {"username": "hello-betterproto", "password": "correct horse battery staple"}
NOTE = v1.SendRequest(conversation_id="hello-betterproto:hello-betterproto", text="Hello, Parley!")


async def frames(done: asyncio.Event) -> AsyncIterator[v1.ChatRequest]:
    """Gives what we write; its end is the end of our half of the stream."""
    yield v1.ChatRequest(hello=v1.Hello(start=v1.Start.LATEST))
    yield v1.ChatRequest(correlation_id=1, send=v1.SendFrame(requests=[NOTE]))
    await done.wait()


async def main(host: str, port: str) -> None:
    """Does all of it."""
    async with Channel(host, int(port)) as channel:
        parley, done = v1.ChatServiceStub(channel), asyncio.Event()
        try:
            login = await parley.register(v1.RegisterRequest(**ME))
        except GRPCError:  # most likely the name is taken, by this example; else Login fails too, and says why
            login = await parley.login(v1.LoginRequest(**ME))
        async for frame in parley.chat(frames(done), metadata={"authorization": f"Bearer {login.access_token}"}):
            for result in frame.results:
                print("stored as", result.accepted.seq or result.error.message)
            for message in frame.messages:
                print(f"received {message.seq} from {message.sender}: {message.text}")
                done.set()


asyncio.run(main(*(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051").rsplit(":", 1)))
