"""Registers or logs in, opens Chat, sends a note to itself and prints it when it comes back. Arguments: [host:port]."""

import asyncio
import sys
from collections.abc import AsyncIterator

from grpclib import GRPCError, Status
from grpclib.client import Channel
from parley_betterproto.parley.v1 import (
    ChatRequest,
    ChatServiceStub,
    Hello,
    LoginRequest,
    RegisterRequest,
    SendFrame,
    SendRequest,
    Start,
)

NAME, SECRET = "hello-betterproto", "correct horse battery staple"


async def main(host: str, port: str) -> None:
    """Does all of it."""
    async with Channel(host, int(port)) as channel:
        parley = ChatServiceStub(channel)
        try:
            login = await parley.register(RegisterRequest(username=NAME, password=SECRET))
        except GRPCError as error:
            if error.status is not Status.ALREADY_EXISTS:
                raise
            login = await parley.login(LoginRequest(username=NAME, password=SECRET))
        done = asyncio.Event()

        async def frames() -> AsyncIterator[ChatRequest]:
            yield ChatRequest(hello=Hello(start=Start.LATEST))
            note = SendRequest(conversation_id=f"{NAME}:{NAME}", text="Hello, Parley!")
            yield ChatRequest(correlation_id=1, send=SendFrame(requests=[note]))
            await done.wait()  # the end of this generator ends our half of the stream

        async for frame in parley.chat(frames(), metadata={"authorization": f"Bearer {login.access_token}"}):
            for result in frame.results:
                print("stored as", result.accepted.seq or result.error.message)
            for message in frame.messages:
                print(f"received {message.seq} from {message.sender}: {message.text}")
                done.set()


asyncio.run(main(*(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051").rsplit(":", 1)))
