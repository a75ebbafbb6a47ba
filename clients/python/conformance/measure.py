"""How many messages a second one stream sends."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from parley.v1 import chat_pb2, chat_service_pb2_grpc, message_pb2

_TEXT = "x" * 100


def measure(
    stub: chat_service_pb2_grpc.ChatServiceStub, metadata: list[tuple[str, str]], command: dict[str, Any]
) -> dict[str, Any]:
    """Sends `count` messages, one a frame, with at most `outstanding` unanswered; gives the time that it took."""
    places = threading.Semaphore(command["outstanding"])
    begin: queue.SimpleQueue[None] = queue.SimpleQueue()

    def frames() -> Iterator[chat_pb2.ChatRequest]:
        yield chat_pb2.ChatRequest(hello=chat_pb2.Hello(start=chat_pb2.START_LATEST, no_echo=True))
        begin.get()
        request = message_pb2.SendRequest(conversation_id=command["conversation_id"], text=_TEXT)
        for number in range(1, command["count"] + 1):
            places.acquire()
            yield chat_pb2.ChatRequest(correlation_id=number, send=chat_pb2.SendFrame(requests=[request]))

    answered = accepted = 0
    started = 0.0
    for frame in stub.Chat(frames(), metadata=metadata):
        if frame.welcomes:
            started = time.perf_counter()
            begin.put(None)
        for result in frame.results:
            answered += 1
            accepted += result.HasField("accepted")
            places.release()
        if answered == command["count"]:
            return {"seconds": time.perf_counter() - started, "accepted": accepted}
    raise RuntimeError("the stream ended before all was answered")
