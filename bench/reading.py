"""A stream that reads: has what comes checked, times it, and acknowledges it now and then."""

import collections
from collections.abc import Callable, Mapping
from typing import Protocol

from parley.v1 import chat_pb2

from bench.connections import reason_of_status
from bench.meter import Meter, now_us
from bench.streams import Stream
from bench.verify import Logs, Reader, Run

_KNOWN_FRAMES = 512
_POSITIONS_A_FRAME = 1000


class TakesAnswers(Protocol):
    """What the same stream sends, where it does."""

    def take_answers(self, frame: chat_pb2.ChatResponse) -> None:
        """Notes results and errors."""


class Frames:
    """Decodes frames and has them digested; a frame that another stream was brought, to the byte, only once."""

    def __init__(self, logs: Logs, meter: Meter, *, is_shared: bool) -> None:
        """Makes ready; `is_shared`: whether several streams here read the same conversations."""
        self._logs = logs
        self._meter = meter
        self._is_shared = is_shared
        self._known: collections.OrderedDict[bytes, list[Run]] = collections.OrderedDict()

    def take(self, data: bytes, sender: TakesAnswers | None) -> list[Run]:
        """The runs of a frame; what it answers goes to the sender."""
        if not self._is_shared:
            return self._decode(data, sender)
        runs = self._known.get(data)
        if runs is None:
            runs = self._decode(data, sender)
            if runs and sender is None:
                self._known[data] = runs
                if len(self._known) > _KNOWN_FRAMES:
                    self._known.popitem(last=False)
        return runs

    def _decode(self, data: bytes, sender: TakesAnswers | None) -> list[Run]:
        frame = chat_pb2.ChatResponse.FromString(data)
        if sender is not None:
            sender.take_answers(frame)
        else:
            for error in frame.errors:
                self._meter.error(reason_of_status(error.error))
        for _ in frame.resets:
            self._meter.error("reset")
        for name in ("presence", "typing", "receipts"):
            if count := len(getattr(frame, name)):
                self._meter.count(name, count)
        return self._logs.digest(frame.messages)


class ReadingStream:
    """Reads one stream to its end.

    Attributes:
        on_read: called when messages came.
    """

    def __init__(
        self,
        stream: Stream,
        base_seqs: Mapping[str, int],
        frames: Frames,
        meter: Meter,
        sender: TakesAnswers | None = None,
    ) -> None:
        self.stream = stream
        self.on_read: Callable[[], None] | None = None
        self._sender = sender
        self.reader = Reader(base_seqs)
        self._frames = frames
        self._meter = meter
        self._acked: dict[str, int] = {}

    async def run(self) -> None:
        """Reads until the stream ends. Raises: RunBroken, when it does."""
        while True:
            data = await self.stream.read()
            now = now_us()
            runs = self._frames.take(data, self._sender)
            if not runs:
                continue
            self._meter.count("delivered", self.reader.advance(runs))
            for run in runs:
                for time_us, count in run.times:
                    self._meter.time("delivery", time_us, now, count)
            if self.on_read is not None:
                self.on_read()

    async def acknowledge(self, *, is_read: bool = False) -> None:
        """Acknowledges what came since the last time, and marks it as read where asked. Raises: RunBroken."""
        positions = [
            chat_pb2.Position(conversation_id=conversation, seq=next_seq - 1)
            for conversation, next_seq in self.reader.next_seqs.items()
            if next_seq - 1 > self._acked.get(conversation, 0)
        ]
        for position in positions:
            self._acked[position.conversation_id] = position.seq
        for at in range(0, len(positions), _POSITIONS_A_FRAME):
            some = positions[at : at + _POSITIONS_A_FRAME]
            await self.stream.write(chat_pb2.ChatRequest(ack=chat_pb2.AckFrame(positions=some)))
            if is_read:
                await self.stream.write(chat_pb2.ChatRequest(read=chat_pb2.ReadFrame(positions=some)))
