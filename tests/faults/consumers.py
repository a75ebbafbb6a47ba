"""A stream with manual acks that fails now and then, and does what docs/manual-acks.md says of a client.

What came to it and what it said goes into the history; `consumer_rules.py` judges it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from grpc import aio
from parley.v1 import chat_pb2

from tests.faults.connection import Connection
from tests.faults.history import Handing, Settling, StreamEnd, Verdict

DEADLINE_SECONDS = 3
_CALL_SECONDS = 2.0
# One request of so many is one that no consumer can handle.
_POISONED_EACH = 50
# Of the first attempts, how many fail and how many are forgotten; of the acks, how many go by the unary call.
_FAILING, _FORGOTTEN, _BY_CALL = 0.02, 0.01, 0.05
# A stream half-closes after so many messages, about, and comes again.
_MESSAGES_A_STREAM = 150


def is_poisoned(request_id: str) -> bool:
    """Whether a message is one that consumers always nack, as long as they are not healed."""
    return request_id.startswith("r") and int(request_id[1:]) % _POISONED_EACH == 0


class Consumer(Connection):
    """One stream of a consumer group, as `Connection`.

    Attributes:
        is_healed: from now on it can handle everything.
    """

    def __init__(self, *names: Any, is_ordered: bool, **options: Any) -> None:
        super().__init__(*names, **options)
        self.is_healed = False
        self._is_ordered = is_ordered
        self._is_finished = False
        self._waiting: deque[Handing] = deque()
        self._messages_to_come = 0
        self._has_half_closed = False
        self._was_refused = False

    async def finish(self) -> None:
        """Half-closes and waits for the server's OK; connects no more."""
        self._is_finished = True
        self._wake.set()
        assert self._task is not None
        async with asyncio.timeout(30):
            await self._task

    def _make_hello(self) -> chat_pb2.Hello:
        self._waiting.clear()
        self._has_half_closed = self._was_refused = False
        self._messages_to_come = self._rng.randint(_MESSAGES_A_STREAM // 2, 2 * _MESSAGES_A_STREAM)
        hello = super()._make_hello()
        hello.ack_mode = chat_pb2.ACK_MODE_MANUAL
        hello.ordered = self._is_ordered
        hello.ack_deadline.CopyFrom(Duration(seconds=DEADLINE_SECONDS))
        return hello

    def _take(self, frame: chat_pb2.ChatResponse) -> None:
        now = self._now()
        for message in frame.messages:
            handing = Handing(
                now,
                self.device,
                self._stream,
                message.conversation_id,
                message.seq,
                message.sender,
                message.request_id,
                message.text,
                message.delivery_attempt,
            )
            self._history.handings.append(handing)
            self._waiting.append(handing)
        self._messages_to_come -= len(frame.messages)
        self._was_refused |= bool(frame.errors)
        self._wake.set()

    async def _write_all(self, stub: Any, call: Any) -> None:
        while True:
            handings = [self._waiting.popleft() for _ in range(len(self._waiting))]
            await self._settle(stub, call, handings)
            if self._is_finished or self._leave_seconds is not None or self._messages_to_come <= 0:
                self._has_half_closed = True
                await call.done_writing()
                return
            await self._wake.wait()
            self._wake.clear()

    async def _settle(self, stub: Any, call: Any, handings: Sequence[Handing]) -> None:
        """Acks, nacks, or forgets what came."""
        acks, nacks = chat_pb2.AckFrame(), chat_pb2.NackFrame()
        by_call: list[Handing] = []
        for handing in handings:
            choice = self._rng.random()
            if reason := self._find_fault(handing, choice):
                self._note(handing, Verdict.NACK, reason)
                nacks.nacks.add(conversation_id=handing.conversation_id, seq=handing.seq, reason=reason)
            elif choice > 1 - _FORGOTTEN and handing.attempt == 1 and not self._is_ordered:
                continue
            elif self._rng.random() < _BY_CALL:
                by_call.append(handing)
            else:
                self._note(handing, Verdict.ACK)
                acks.positions.add(conversation_id=handing.conversation_id, seq=handing.seq)
        if acks.positions:
            await call.write(chat_pb2.ChatRequest(ack=acks))
        if nacks.nacks:
            await call.write(chat_pb2.ChatRequest(nack=nacks))
        for handing in by_call:
            await self._ack_by_call(stub, handing)

    def _find_fault(self, handing: Handing, choice: float) -> str:
        if is_poisoned(handing.request_id) and not self.is_healed:
            return f"poisoned, attempt {handing.attempt}"
        return "not just now" if choice < _FAILING and handing.attempt == 1 else ""

    async def _ack_by_call(self, stub: Any, handing: Handing) -> None:
        position = chat_pb2.Position(conversation_id=handing.conversation_id, seq=handing.seq)
        request = chat_pb2.AckRequest(positions=[position], device_id=self._device_id)
        self._note(handing, Verdict.ACK)
        try:
            await stub.Ack(request, metadata=self._metadata, timeout=_CALL_SECONDS)
        except aio.AioRpcError as error:
            self.errors.append(error.code().name)  # it may have taken effect; else the message comes again
        else:
            self._note(handing, Verdict.ACKED)

    def _note(self, handing: Handing, verdict: Verdict, reason: str = "") -> None:
        self._history.settlings.append(
            Settling(self._now(), self.device, self._stream, handing.conversation_id, handing.seq, verdict, reason)
        )

    def _note_end(self, error: Exception | None) -> None:
        is_server_s = error is None or (
            isinstance(error, aio.AioRpcError)
            and any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
        )
        self._history.stream_ends.append(
            StreamEnd(
                self._now(),
                self.device,
                self._stream,
                may_count=not (is_server_s or self._has_half_closed),
                is_answered=error is None and not self._was_refused,
            )
        )
        self._is_over = self._is_finished and error is None
