"""A device that does what a client has to do, and writes down what it saw.

Connects again with jitter, resumes from its acks, sends unanswered requests again with the same request id and before
anything newer, acknowledges at the latest when half of its window is used, obeys go_away, and takes a stream without
heartbeats for dead.
"""

import asyncio
import contextlib
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2
from grpc import aio
from parley.v1 import chat_pb2, chat_service_pb2_grpc, message_pb2

from tests.faults.history import Ack, Delivery, Event, History, Op, Receipt
from tests.support.people import reason_of

_CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
# With these a reader that stops is felt by the server after some 64 KiB instead of megabytes.
_SMALL_WINDOW = [("grpc.http2.bdp_probe", 0)]
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.05, 1.0
_SILENT_HEARTBEATS = 4
# A server that a whole node's clients turn to at once takes its time for the welcome; who asks anew makes it worse.
_HELLO_SECONDS = 20.0
_HELLO_ID = -1
_ACK_SECONDS = 0.1
_RETRY_SECONDS = 0.3
# Of the acks, how many say that the user has read it, too.
_READ_SHARE = 0.1
_FRAMES_WAITING, _REQUESTS_A_FRAME = 4, 100
# Refusals after which the same request is sent again: the outcome is open, or nothing was wrong with the request.
_LEAVES_OPEN = frozenset({"RETRY_EXHAUSTED"})
_PASSES = frozenset({"DATABASE_UNAVAILABLE", "OVERLOADED", "SHUTTING_DOWN", "DEADLINE_PASSED"})

stream_numbers = itertools.count(1)


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


class Client:
    """One device of one user.

    Attributes:
        device: user/device.
        connect_count: how often a session was opened.
        last_seqs: the highest seq that came, of each conversation.
        errors: reasons of refused frames.
        is_open: whether a session is.
        target: where it is connected to, or was last.

    Args:
        history: what it sees goes there.
        find_target: says where to connect to, each time anew: host:port.
        now: the run's clock.
    """

    def __init__(
        self,
        history: History,
        username: str,
        token: str,
        device_id: str,
        *,
        find_target: Callable[[], str],
        now: Callable[[], float],
        rng: random.Random,
        has_small_window: bool = False,
        window_messages: int = 0,
        watches_receipts: bool = False,
        heartbeat_seconds: int = 1,
    ) -> None:
        self.username = username
        self.device = f"{username}/{device_id}"
        self.connect_count = 0
        self.last_seqs: dict[str, int] = {}
        self.errors: list[str] = []
        self.is_open = False
        self.target = ""
        self._history = history
        self._token = token
        self._device_id = device_id
        self._find_target = find_target
        self._now = now
        self._rng = rng
        self._options = _CHANNEL_OPTIONS + (_SMALL_WINDOW if has_small_window else [])
        self.window_messages = window_messages
        self._watches_receipts = watches_receipts
        self._heartbeat_seconds = heartbeat_seconds
        self._unsent: deque[Pending] = deque()
        self._sent: dict[int, dict[int, Pending]] = {}
        self._stream = 0
        self._on_stream: dict[str, int] = {}
        self._unacked_count = 0
        self._reads = asyncio.Event()
        self._reads.set()
        self._wake = asyncio.Event()
        self._leave_seconds: float | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting_count(self) -> int:
        """Requests without an answer."""
        return len(self._unsent) + sum(len(frame) for frame in self._sent.values())

    @property
    def _is_half_of_window_used(self) -> bool:
        """Whether acks must go now, so that the window never fills while the client keeps up."""
        return bool(self.window_messages) and self._unacked_count >= self.window_messages / 2

    def start(self) -> None:
        """Connects, and stays connected until `close`."""
        self._task = asyncio.create_task(self._run(), name=f"client {self.device}")

    async def close(self) -> None:
        """Hangs up."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

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

    async def _run(self) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            self._leave_seconds = None
            self._on_stream = {}
            self._unacked_count = 0
            with contextlib.suppress(aio.AioRpcError, TimeoutError, asyncio.InvalidStateError, OSError):
                await self._run_stream()
            was_open, self.is_open = self.is_open, False
            self._note_unanswered()
            if was_open:
                pause_seconds = _FIRST_PAUSE_SECONDS
            wait_seconds = pause_seconds * self._rng.uniform(0.5, 1.5)
            await asyncio.sleep(wait_seconds if self._leave_seconds is None else self._leave_seconds)
            pause_seconds = min(2 * pause_seconds, _LAST_PAUSE_SECONDS)

    async def _run_stream(self) -> None:
        self._stream = next(stream_numbers)
        self.target = self._find_target()
        async with aio.insecure_channel(self.target, options=self._options) as channel:
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)
            call: Any = stub.Chat(metadata=(("authorization", f"Bearer {self._token}"),))
            writer: asyncio.Task[None] | None = None
            try:
                hello = chat_pb2.Hello(
                    device_id=self._device_id,
                    start=chat_pb2.START_FROM_ACKS,
                    heartbeat=Duration(seconds=self._heartbeat_seconds),
                    window_messages=self.window_messages,
                    watch_receipts=self._watches_receipts,
                )
                async with asyncio.timeout(_HELLO_SECONDS):
                    await call.write(chat_pb2.ChatRequest(correlation_id=_HELLO_ID, hello=hello))
                while (frame := await self._read(call)) is not aio.EOF:
                    if frame.welcomes:
                        self.connect_count += 1
                        self.is_open = True
                        writer = asyncio.create_task(self._write_all(call), name=f"writer {self.device}")
                    self._take(frame)
            finally:
                if writer is not None:
                    writer.cancel()
                    await asyncio.gather(writer, return_exceptions=True)
                call.cancel()

    async def _read(self, call: Any) -> chat_pb2.ChatResponse:
        await self._reads.wait()
        async with asyncio.timeout(_SILENT_HEARTBEATS * self._heartbeat_seconds if self.is_open else _HELLO_SECONDS):
            return await call.read()

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
        self.errors += [reason_of(error.error) for error in frame.errors]
        if any(error.correlation_id == _HELLO_ID for error in frame.errors):
            raise ConnectionError("the hello was refused")  # the stream would stay open, without a session
        if frame.go_aways:
            self._leave_seconds = frame.go_aways[0].reconnect_delay.ToTimedelta().total_seconds()

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

    async def _write_all(self, call: Any) -> None:
        acked: dict[str, int] = {}
        next_ack = self._now()
        try:
            while True:
                has_more = bool(self._unsent) or acked != self._on_stream
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ACK_SECONDS if has_more else None):
                        await self._wake.wait()
                self._wake.clear()
                while self._unsent and len(self._sent) < _FRAMES_WAITING and self._leave_seconds is None:
                    frame = self._next_frame()
                    if frame is None:
                        break
                    await call.write(frame)
                if self._now() >= next_ack or self._is_half_of_window_used:
                    next_ack = self._now() + _ACK_SECONDS
                    positions = {name: seq for name, seq in self._on_stream.items() if acked.get(name, 0) < seq}
                    acked |= positions
                    self._unacked_count = 0
                    for frame in self._ack_frames(positions):
                        await call.write(frame)
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return  # the stream has ended; who reads it sees that

    def _ack_frames(self, positions: dict[str, int]) -> list[chat_pb2.ChatRequest]:
        """Acks, and now and then word that the user has read it."""
        if not positions:
            return []
        frames = [chat_pb2.ChatRequest(ack=chat_pb2.AckFrame(positions=_to_positions(positions)))]
        if is_read := self._rng.random() < _READ_SHARE:
            frames.append(chat_pb2.ChatRequest(read=chat_pb2.ReadFrame(positions=_to_positions(positions))))
        for kind in (False, True)[: 1 + is_read]:
            self._history.acks += [
                Ack(self._now(), self.device, self._stream, name, seq, kind) for name, seq in positions.items()
            ]
        return frames

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

    def _note_unanswered(self) -> None:
        """The stream has ended: what was not answered goes first on the next one, in the order in which it was sent."""
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
