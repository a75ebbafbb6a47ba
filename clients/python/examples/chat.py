"""Logs in, sends three notes to itself on a stream that breaks in the middle, resumes it and acknowledges what came.

Arguments: [host:port].
"""

import queue
import random
import sys
import time
import uuid
from collections.abc import Iterator

import grpc
from parley.v1 import account_pb2, chat_pb2, chat_service_pb2_grpc, message_pb2

ME = {"username": "chat-grpcio", "password": "correct horse battery staple"}
NOTES = "chat-grpcio:chat-grpcio"  # the direct conversation with oneself
PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


class Device:
    """What a client keeps from one stream to the next: its outbox, in order, and the highest seq that came."""

    def __init__(self, parley: chat_service_pb2_grpc.ChatServiceStub, token: str) -> None:
        self._parley = parley
        self._metadata = [("authorization", f"Bearer {token}")]
        self._position = 0
        # The request_id is made once, not for each attempt: so a note is stored once, however often it is sent.
        self._outbox = {
            number: message_pb2.SendRequest(conversation_id=NOTES, text=text, request_id=uuid.uuid4().hex)
            for number, text in enumerate(("one", "two", "three"), start=1)
        }

    def chat(self, *, breaks: bool) -> None:
        """Sends what is in the outbox and receives until all of it came back.

        Args:
            breaks: cut the stream at its first answer, as a connection can be.
        """
        frames: queue.SimpleQueue[chat_pb2.ChatRequest | None] = queue.SimpleQueue()
        # The same device in each hello: what it did not acknowledge comes again.
        frames.put(chat_pb2.ChatRequest(hello=chat_pb2.Hello(device_id="example")))
        for number, request in self._outbox.items():
            frames.put(chat_pb2.ChatRequest(correlation_id=number, send=chat_pb2.SendFrame(requests=[request])))
        written: Iterator[chat_pb2.ChatRequest] = iter(frames.get, None)
        stream = self._parley.Chat(written, metadata=self._metadata)
        awaited = 0
        for frame in stream:
            if breaks and (frame.results or frame.messages):
                stream.cancel()
                continue
            for refused in frame.errors:
                raise RuntimeError(refused.error.message)
            for result in frame.results:
                if result.HasField("error"):
                    raise RuntimeError(result.error.message)
                del self._outbox[result.correlation_id]
                awaited = max(awaited, result.accepted.seq)
                again = ", once more: it was stored before" if result.accepted.deduplicated else ""
                print(f"stored as {result.accepted.seq}{again}")
            for message in frame.messages:
                if message.seq > self._position:  # else it came before
                    self._position = message.seq
                    print(f"received {message.seq}: {message.text}")
            if not self._outbox and self._position >= awaited:
                position = chat_pb2.Position(conversation_id=NOTES, seq=self._position)
                frames.put(chat_pb2.ChatRequest(ack=chat_pb2.AckFrame(positions=[position])))
                frames.put(None)  # our half of the stream ends; the server ends its own with OK
                awaited = self._position + 1


def main(target: str) -> None:
    """Comes back after a pause when the stream breaks; what will never succeed is raised."""
    with grpc.insecure_channel(target) as channel:
        parley = chat_service_pb2_grpc.ChatServiceStub(channel)
        try:
            login = parley.Register(account_pb2.RegisterRequest(**ME), timeout=10)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
            login = parley.Login(account_pb2.LoginRequest(**ME), timeout=10)
        device = Device(parley, login.access_token)
        for attempt in range(8):
            try:
                device.chat(breaks=attempt == 0)
            except grpc.RpcError as error:
                if error.code() not in PASSING:
                    raise
                print("the stream broke:", error.code().name)
                time.sleep(random.uniform(0, min(0.5 * 2**attempt, 15)))  # noqa: S311 # spreads clients, hides nothing
            else:
                return
        sys.exit("the server did not come back")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
