"""Sends three notes to itself, and receives and acknowledges them; `session.py` does the hard part.

Arguments: [host:port].
"""

import asyncio
import contextlib
import logging
import sys

from grpc import aio
from parley.v1 import account_pb2, chat_service_pb2_grpc, message_pb2
from session import Session

USERNAME, PASSWORD = "chat-grpcio", "correct horse battery staple"
NOTES = "chat-grpcio:chat-grpcio"  # the direct conversation with oneself


async def main(target: str) -> None:
    """Makes the account where there is none, then talks with itself."""
    async with aio.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        with contextlib.suppress(aio.AioRpcError):  # most likely the name is taken, by this example
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)
            await stub.Register(account_pb2.RegisterRequest(username=USERNAME, password=PASSWORD), timeout=10)
    session = await Session.open(target, USERNAME, PASSWORD, device_id="example")
    last_seq = 0
    for text in ("one", "two", "three"):
        last_seq = (await session.send(NOTES, text)).seq
        print("stored as", last_seq)
    async for entry in session.messages():
        if isinstance(entry, message_pb2.Message):
            print(f"received {entry.seq}: {entry.text}")
            session.ack(entry.conversation_id, entry.seq)
            if entry.seq == last_seq:
                break
    await session.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"))
