"""Sends three notes to itself, and receives and acknowledges them; `session.py` does the hard part.

Arguments: [host:port].
"""

import asyncio
import contextlib
import logging
import sys

import grpclib
from grpclib.client import Channel
from parley_betterproto.parley import v1
from session import Session

USERNAME, PASSWORD = "chat-betterproto", "correct horse battery staple"
NOTES = "chat-betterproto:chat-betterproto"  # the direct conversation with oneself


async def main(target: str) -> None:
    """Makes the account where there is none, then talks with itself."""
    host, _, port = target.rpartition(":")
    async with Channel(host, int(port)) as channel:
        with contextlib.suppress(grpclib.GRPCError):  # most likely the name is taken, by this example
            request = v1.RegisterRequest(username=USERNAME, password=PASSWORD)
            await v1.ChatServiceStub(channel).register(request, timeout=10)
    session = await Session.open(target, USERNAME, PASSWORD, device_id="example")
    last_seq = 0
    for text in ("one", "two", "three"):
        last_seq = (await session.send(NOTES, text)).seq
        print("stored as", last_seq)
    async for entry in session.messages():
        if isinstance(entry, v1.Message):
            print(f"received {entry.seq}: {entry.text}")
            session.ack(entry.conversation_id, entry.seq)
            if entry.seq == last_seq:
                break
    await session.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"))
