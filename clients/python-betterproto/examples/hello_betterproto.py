"""Registers or logs in, opens Chat, sends a note to itself and prints it when it comes back. Arguments: [host:port]."""

import asyncio
import sys

import grpclib.client
from parley_betterproto.parley import v1

ME = {"username": "hello-betterproto", "password": "correct horse battery staple"}
SEND = v1.SendFrame(requests=[v1.SendRequest("hello-betterproto:hello-betterproto", text="Hello, Parley!")])
FRAMES = [v1.ChatRequest(hello=v1.Hello(start=v1.Start.LATEST)), v1.ChatRequest(correlation_id=1, send=SEND)]


async def main(host: str, port: str) -> None:
    """Does all of it; after the last frame the server still answers, brings the note, and ends the stream."""
    async with grpclib.client.Channel(host, int(port)) as channel:
        parley = v1.ChatServiceStub(channel)
        try:
            login = await parley.register(v1.RegisterRequest(**ME))
        except grpclib.GRPCError:  # most likely the name is taken, by this example; else Login fails too, and says why
            login = await parley.login(v1.LoginRequest(**ME))
        async for frame in parley.chat(FRAMES, metadata={"authorization": f"Bearer {login.access_token}"}):
            for answer in (*frame.results, *frame.messages):
                print(answer)


asyncio.run(main(*(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051").rsplit(":", 1)))
