"""An open stream: frames go out through a queue, and come in through another, read by a thread."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import json_format
from parley.v1 import chat_pb2

from conformance.errors import describe


class Stream:
    """A Chat or Subscribe that is open.

    Args:
        method: of the stub.
        request: Subscribe's; None for Chat.
        metadata: with the token.
    """

    def __init__(self, method: Any, request: Any, metadata: list[tuple[str, str]]) -> None:
        self._out: queue.SimpleQueue[chat_pb2.ChatRequest | None] = queue.SimpleQueue()
        self._in: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._call = method(self._frames() if request is None else request, metadata=metadata)
        threading.Thread(target=self._listen, daemon=True).start()

    def write(self, frame: chat_pb2.ChatRequest) -> bool:
        """Writes a frame; gives whether the stream is open."""
        self._out.put(frame)
        return bool(self._call.is_active())

    def read(self, timeout_seconds: float) -> dict[str, Any]:
        """Gives the next frame, the end, or nothing."""
        try:
            return self._in.get(timeout=timeout_seconds)
        except queue.Empty:
            return {"nothing": True}

    def close(self) -> None:
        """Half-closes."""
        self._out.put(None)

    def cancel(self) -> None:
        """Cancels."""
        self._call.cancel()

    def _frames(self) -> Iterator[chat_pb2.ChatRequest]:
        while (frame := self._out.get()) is not None:
            yield frame

    def _listen(self) -> None:
        try:
            for frame in self._call:
                self._in.put({"frame": json_format.MessageToDict(frame)})
            self._in.put({"end": {"code": "OK"}})
        except grpc.RpcError as error:
            self._in.put({"end": describe(error)})
        self._out.put(None)  # lets the thread end that waits for frames
