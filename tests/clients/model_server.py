"""A server in memory, for the client's session: logs, cursors, epochs and one stream. Only what docs/clients.md says.

Nothing happens by itself: the test says which frame the server takes next, what becomes of a send, when entries go out,
and when everything breaks.
"""

from collections import deque
from dataclasses import dataclass, field

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from parley.v1 import chat_pb2, message_pb2


def refusal(
    reason: str, code: grpc.StatusCode, *, retry_seconds: float | None = None, **metadata: str
) -> status_pb2.Status:
    """A status as the server makes it."""
    status = status_pb2.Status(code=code.value[0], message=reason)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="parley.v1", metadata=metadata))
    if retry_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(retry_seconds * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


@dataclass(slots=True)
class ModelStream:
    """An open stream: what is on its way in each direction, and up to where entries went out."""

    to_server: deque[chat_pb2.ChatRequest] = field(default_factory=deque)
    to_client: deque[chat_pb2.ChatResponse] = field(default_factory=deque)
    positions: dict[str, int] = field(default_factory=dict)
    ends_at_hello: dict[str, int] = field(default_factory=dict)
    to_catch_up: set[str] = field(default_factory=set)


class ModelServer:
    """One user, one device, these conversations."""

    def __init__(self, *conversation_ids: str) -> None:
        self.epoch = 1
        self.logs: dict[str, list[str]] = {name: [] for name in conversation_ids}
        self.cursors = dict.fromkeys(conversation_ids, 0)
        self.cursor_epochs = dict.fromkeys(conversation_ids, 0)
        self.stream: ModelStream | None = None
        self.late: deque[tuple[str, str]] = deque()
        self._ends: list[tuple[int, dict[str, int]]] = []

    def restore(self, keep: dict[str, int]) -> dict[str, list[str]]:
        """Comes back in an earlier state, as a new epoch; gives what is gone."""
        gone = {name: log[keep[name] :] for name, log in self.logs.items()}
        for name, log in self.logs.items():
            del log[keep[name] :]
            self.cursors[name] = min(self.cursors[name], len(log))
        self.epoch += 1
        self._ends.append((self.epoch, {name: len(log) for name, log in self.logs.items()}))
        self.late.clear()
        self.stream = None
        return gone

    def store_late(self) -> None:
        """An attempt that was given up takes effect after all."""
        name, request_id = self.late.popleft()
        if request_id not in self.logs[name]:
            self.logs[name].append(request_id)

    def acknowledge(self, name: str, seq: int) -> None:
        """Moves a cursor, never back."""
        self.cursors[name] = max(seq, self.cursors[name])
        self.cursor_epochs[name] = self.epoch

    def deliver(self, name: str, count: int) -> None:
        """Sends up to `count` entries of a conversation, and says when its past is there."""
        stream = self.stream
        if stream is None or name not in stream.positions:
            return
        frame, log = chat_pb2.ChatResponse(), self.logs[name]
        for seq in range(stream.positions[name] + 1, min(stream.positions[name] + count, len(log)) + 1):
            frame.messages.add(conversation_id=name, seq=seq, text=log[seq - 1])
            stream.positions[name] = seq
        if name in stream.to_catch_up and stream.positions[name] == len(log):
            stream.to_catch_up.discard(name)
            frame.caught_up.add(conversation_id=name, seq=len(log), complete=not stream.to_catch_up)
        if frame.ByteSize():
            stream.to_client.append(frame)

    def take(self, fate: str) -> chat_pb2.ChatRequest | None:
        """Takes the next frame of the client; `fate` is what becomes of it if it is a send that is new."""
        assert self.stream is not None
        if not self.stream.to_server:
            return None
        frame = self.stream.to_server.popleft()
        match frame.WhichOneof("payload"):
            case "hello":
                self._open(self.stream, frame)
            case "send":
                (request,) = frame.send.requests
                result = message_pb2.SendResult(correlation_id=frame.correlation_id)
                self._store(request, fate, result)
                self.stream.to_client.append(chat_pb2.ChatResponse(results=[result]))
            case "ack":
                for position in frame.ack.positions:
                    self._ack(self.stream, position)
        return frame

    def _open(self, stream: ModelStream, frame: chat_pb2.ChatRequest) -> None:
        welcome = chat_pb2.Welcome(correlation_id=frame.correlation_id, epoch=self.epoch)
        stream.to_client.append(chat_pb2.ChatResponse(welcomes=[welcome]))
        given = {position.conversation_id: position.seq for position in frame.hello.positions}
        for name, log in self.logs.items():
            start = given.get(name, self.cursors[name])
            epoch = frame.hello.epoch or (0 if name in given else self.cursor_epochs[name])
            common = start
            if epoch not in (0, self.epoch):
                common = min(ends[name] for number, ends in self._ends if number > epoch)
            if start > len(log) or epoch not in (0, self.epoch):
                start = min(start, len(log), common)
                reset = chat_pb2.Reset(conversation_id=name, seq=start, epoch=self.epoch)
                stream.to_client.append(chat_pb2.ChatResponse(resets=[reset]))
            stream.positions[name] = start
            stream.ends_at_hello[name] = len(log)
            stream.to_catch_up.add(name)

    def _store(self, request: message_pb2.SendRequest, fate: str, result: message_pb2.SendResult) -> None:
        log, key = self.logs[request.conversation_id], (request.conversation_id, request.request_id)
        if request.request_id not in log:
            if fate == "refused" and key not in self.late:
                result.error.CopyFrom(refusal("ROLE_TOO_LOW", grpc.StatusCode.PERMISSION_DENIED))
                return
            if fate == "overloaded":
                overloaded = refusal("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_seconds=0.5)
                result.error.CopyFrom(overloaded)
                return
            if fate != "late":
                log.append(request.request_id)
            if fate in ("late", "unknown"):
                if fate == "late":
                    self.late.append(key)
                exhausted = refusal("RETRY_EXHAUSTED", grpc.StatusCode.UNAVAILABLE, retry_seconds=1.0)
                result.error.CopyFrom(exhausted)
                return
        result.accepted.conversation_id = request.conversation_id
        result.accepted.seq = log.index(request.request_id) + 1

    def _ack(self, stream: ModelStream, position: chat_pb2.Position) -> None:
        name = position.conversation_id
        assert position.seq <= max(stream.positions[name], stream.ends_at_hello[name]), "ACK_BEYOND_DELIVERED"
        self.acknowledge(name, position.seq)
