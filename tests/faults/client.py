"""A device that does what a client has to do, and writes down what it saw.

Resumes from its acks, sends unanswered requests again with the same request id and before anything newer, and
acknowledges at the latest when half of its window is used; how it stays connected is in `connection.py`.
"""

import asyncio
import contextlib
import math
from collections import deque
from dataclasses import dataclass
from typing import Any

from google.rpc import status_pb2
from parley.v1 import chat_pb2, message_pb2

from tests.faults.connection import Connection, stream_numbers
from tests.faults.history import Ack, Delivery, Event, Op, Receipt
from tests.support.people import reason_of

_ACK_SECONDS = 0.1
_RETRY_SECONDS = 0.3
_READ_ID = -2
# Of the acks, how many say that the user has read it, too.
_READ_SHARE = 0.1
_FRAMES_WAITING, _REQUESTS_A_FRAME = 4, 100
# Refusals after which the same request is sent again: the outcome is open, or nothing was wrong with the request.
_LEAVES_OPEN = frozenset({"RETRY_EXHAUSTED"})
_PASSES = frozenset({"DATABASE_UNAVAILABLE", "OVERLOADED", "SHUTTING_DOWN", "DEADLINE_PASSED"})


@dataclass(slots=True, eq=False)
class Pending:
    """A request that is not answered for good.

    Attributes:
        not_before: when it may be sent again, after a refusal that passes.
    """

    conversation_id: str
    request_id: str
    text: str
    not_before: float = 0.0


class Client(Connection):
    """One device of one user, as `Connection`.

    Attributes:
        last_seqs: the highest seq that came, of each conversation.
    """

    def __init__(self, *names: Any, window_messages: int = 0, watches_receipts: bool = False, **options: Any) -> None:
        super().__init__(*names, **options)
        self.last_seqs: dict[str, int] = {}
        self.window_messages = window_messages
        self.watches_receipts = watches_receipts
        self._unsent: deque[Pending] = deque()
        self._sent: dict[int, dict[int, Pending]] = {}
        self._on_stream: dict[str, int] = {}
        self._unacked_count = 0
        self._acked: dict[str, int] = {}
        self._has_read: dict[str, int] = {}
        # When word of what was read is said again: it may have been lost with a stream, or was refused for now.
        self._next_read_time = math.inf

    @property
    def waiting_count(self) -> int:
        """Requests without an answer."""
        return len(self._unsent) + sum(len(frame) for frame in self._sent.values())

    @property
    def has_acked_all(self) -> bool:
        """Whether it has said what it has and has read of all that its stream brought."""
        return self._acked == self._on_stream and self._next_read_time == math.inf

    @property
    def _is_half_of_window_used(self) -> bool:
        """Whether acks must go now, so that the window never fills while the client keeps up."""
        return bool(self.window_messages) and self._unacked_count >= self.window_messages / 2

    def submit(self, conversation_id: str, request_id: str, text: str) -> None:
        """Sends, behind all that was submitted before."""
        self._unsent.append(Pending(conversation_id, request_id, text))
        self._wake.set()

    def stop_reading(self) -> None:
        """Takes nothing more from the stream, which stays open."""
        self._reads.clear()

    def go_on_reading(self) -> None:
        """Ends `stop_reading`."""
        self._reads.set()

    def _make_hello(self) -> chat_pb2.Hello:
        hello = super()._make_hello()
        hello.window_messages = self.window_messages
        hello.watch_receipts = self.watches_receipts
        return hello

    def _take(self, frame: chat_pb2.ChatResponse) -> None:
        now = self._now()
        for message in frame.messages:
            self._history.deliveries.append(
                Delivery(
                    now,
                    self.device,
                    self._stream,
                    message.conversation_id,
                    message.seq,
                    message.sender,
                    message.request_id,
                    message.text,
                )
            )
            self._on_stream[message.conversation_id] = message.seq
            self._unacked_count += 1
            if message.seq > self.last_seqs.get(message.conversation_id, 0):
                self.last_seqs[message.conversation_id] = message.seq
        if frame.messages:
            self._wake.set()
        for receipt in frame.receipts:
            self._history.receipts.append(
                Receipt(
                    now,
                    self.device,
                    receipt.conversation_id,
                    receipt.username,
                    receipt.delivered_seq,
                    receipt.read_seq,
                )
            )
        for result in frame.results:
            self._take_result(result)
        for error in frame.errors:
            if error.correlation_id == _READ_ID and reason_of(error.error) in _LEAVES_OPEN | _PASSES:
                self._next_read_time = now + _RETRY_SECONDS
                self._wake.set()

    def _take_result(self, result: message_pb2.SendResult) -> None:
        frame = self._sent.get(result.correlation_id, {})
        pending = frame.pop(result.index, None)
        if pending is None:
            return
        if not frame:
            del self._sent[result.correlation_id]
        self._wake.set()
        if result.HasField("accepted"):
            self._note(Op.OK, pending, seq=result.accepted.seq, is_repeat=result.accepted.deduplicated)
            return
        self._take_refusal(pending, result.error)

    def _take_refusal(self, pending: Pending, error: status_pb2.Status) -> None:
        reason = reason_of(error)
        self._note(Op.UNKNOWN if reason in _LEAVES_OPEN else Op.FAIL, pending, reason=reason)
        if reason in _LEAVES_OPEN | _PASSES:
            pending.not_before = self._now() + _RETRY_SECONDS
            self._unsent.append(pending)

    async def _write_all(self, stub: Any, call: Any) -> None:
        next_ack = self._now()
        if self._has_read:
            self._next_read_time = next_ack
        while True:
            has_more = bool(self._unsent) or not self.has_acked_all
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ACK_SECONDS if has_more else None):
                    await self._wake.wait()
            self._wake.clear()
            while self._unsent and len(self._sent) < _FRAMES_WAITING and self._leave_seconds is None:
                frame = self._next_frame()
                if frame is None:
                    break
                await call.write(frame)
            if self._now() >= self._next_read_time:
                self._next_read_time = math.inf
                await call.write(self._to_read_frame(self._has_read))
            if self._now() >= next_ack or self._is_half_of_window_used:
                next_ack = self._now() + _ACK_SECONDS
                positions = {name: seq for name, seq in self._on_stream.items() if self._acked.get(name, 0) < seq}
                self._acked |= positions
                self._unacked_count = 0
                for frame in self._ack_frames(positions):
                    await call.write(frame)

    def _ack_frames(self, positions: dict[str, int]) -> list[chat_pb2.ChatRequest]:
        """Acks, and now and then word that the user has read it."""
        if not positions:
            return []
        self._note_positions(positions, is_read=False)
        frames = [chat_pb2.ChatRequest(ack=chat_pb2.AckFrame(positions=_to_positions(positions)))]
        if self._rng.random() < _READ_SHARE:
            self._has_read |= positions
            frames.append(self._to_read_frame(positions))
        return frames

    def _to_read_frame(self, positions: dict[str, int]) -> chat_pb2.ChatRequest:
        self._note_positions(positions, is_read=True)
        return chat_pb2.ChatRequest(
            correlation_id=_READ_ID, read=chat_pb2.ReadFrame(positions=_to_positions(positions))
        )

    def _note_positions(self, positions: dict[str, int], *, is_read: bool) -> None:
        now = self._now()
        self._history.acks += [Ack(now, self.device, self._stream, *place, is_read) for place in positions.items()]

    def _next_frame(self) -> chat_pb2.ChatRequest | None:
        """Takes what may be sent now; None when all of it must wait a little."""
        now = self._now()
        frame: dict[int, Pending] = {}
        for _ in range(len(self._unsent)):
            if len(frame) == _REQUESTS_A_FRAME:
                break
            if self._unsent[0].not_before > now:
                self._unsent.rotate(-1)
                continue
            pending = self._unsent.popleft()
            frame[len(frame)] = pending
            self._note(Op.INVOKE, pending)
        if not frame:
            return None
        correlation_id = next(stream_numbers)
        self._sent[correlation_id] = frame
        requests = [
            message_pb2.SendRequest(
                conversation_id=pending.conversation_id, request_id=pending.request_id, text=pending.text
            )
            for pending in frame.values()
        ]
        return chat_pb2.ChatRequest(correlation_id=correlation_id, send=chat_pb2.SendFrame(requests=requests))

    def _note_end(self, error: Exception | None) -> None:
        """What was not answered goes first on the next stream, in the order in which it was sent."""
        self._on_stream, self._acked = {}, {}
        self._unacked_count = 0
        unanswered = [pending for frame in self._sent.values() for pending in frame.values()]
        self._sent.clear()
        for pending in unanswered:
            self._note(Op.UNKNOWN, pending)
        self._unsent.extendleft(reversed(unanswered))

    def _note(self, op: Op, pending: Pending, *, seq: int = 0, is_repeat: bool = False, reason: str = "") -> None:
        self._history.events.append(
            Event(
                self._now(),
                self.username,
                self._stream,
                op,
                pending.conversation_id,
                pending.request_id,
                pending.text,
                seq,
                is_repeat,
                reason,
            )
        )


def _to_positions(positions: dict[str, int]) -> list[chat_pb2.Position]:
    return [chat_pb2.Position(conversation_id=name, seq=seq) for name, seq in positions.items()]
