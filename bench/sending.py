"""A stream that sends: makes frames, writes them by pace or by window, and notes what the server answered."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from parley.v1 import chat_pb2, message_pb2

from bench.connections import delay_of_status, reason_of_status
from bench.meter import Meter, now_us
from bench.outbox import Outbox
from bench.reading import ReadingStream
from bench.streams import Stream
from bench.texts import REQUEST_ID, Texts
from bench.verify import to_key

_FIRST_CORRELATION_ID = 2  # hello has 1


@dataclass(slots=True)
class _Frame:
    """A frame that is not answered: its first number, when it was to be sent, and how many answers are to come.

    Attributes:
        is_repeat: whether the same was sent before; then it must be told to be no news.
    """

    first_number: int
    time_us: int
    left: int
    is_repeat: bool = False


class Sender(Outbox):
    """Sends numbered texts on one stream to its conversations in turn.

    Attributes:
        doubled: repeats that the server took for new messages.
    """

    def __init__(
        self,
        stream: Stream,
        index: int,
        conversations: Sequence[str],
        texts: Texts,
        meter: Meter,
        frame_messages: int,
        repeat_every: int = 0,
        *,
        is_spread: bool = False,
    ) -> None:
        """Makes ready.

        Args:
            repeat_every: each such frame is sent twice, as a client does that was not answered; 0: none.
            is_spread: the messages of a frame go to conversations in turn, not all to one.
        """
        super().__init__(conversations)
        self.stream = stream
        self._index = index
        self._conversations = conversations
        self._texts = texts
        self._head = texts.head(index)
        self._meter = meter
        self._size = frame_messages
        self._number = 1
        self._repeat_every = repeat_every
        # How many messages in a row go to one conversation.
        self._row = 1 if is_spread else frame_messages
        self.doubled = 0
        self._ids = itertools.count(_FIRST_CORRELATION_ID)
        self._pending: dict[int, _Frame] = {}
        self._pause_seconds = 0.0
        self._readers: Sequence[ReadingStream] = ()
        # Made once: filling the same messages anew is twice as fast as making them.
        self._request = chat_pb2.ChatRequest()
        for conversation in itertools.islice(itertools.cycle(conversations), frame_messages):
            self._request.send.requests.add(conversation_id=conversation)

    def hold_for(self, readers: Sequence[ReadingStream]) -> None:
        """Counts a message of a closed loop as outstanding until these have it, too."""
        self._readers = readers
        for reading in readers:
            reading.on_read = self._change.set

    async def send_closed(self, window_frames: int) -> None:
        """Sends as long as fewer frames than that are unanswered, until `stop`. Raises: RunBroken."""
        while not self._is_stopped:
            if len(self._pending) < window_frames and self._count_unread() < window_frames * self._size:
                if self._pause_seconds:
                    await asyncio.sleep(self._pause_seconds)  # as the server asked
                    self._pause_seconds = 0.0
                await self._send(now_us())
            else:
                self._change.clear()
                await self._change.wait()

    def _count_unread(self) -> int:
        """How many acknowledged messages the slowest reader that is waited for has not."""
        return max(
            (
                acks.seqs[-1] + 1 - reading.reader.next_seqs[name]
                for reading in self._readers
                for name, acks in self.acks.items()
                if acks.seqs
            ),
            default=0,
        )

    async def drain(self) -> None:
        """Waits until all is answered."""
        while self._pending:
            self._change.clear()
            await self._change.wait()

    def take_answers(self, frame: chat_pb2.ChatResponse) -> None:
        """Notes what a frame from the server says of what was sent."""
        if frame.results:
            self.take_results(frame.results)
        for error in frame.errors:
            self.take_error(error)

    def take_results(self, results: Sequence[message_pb2.SendResult]) -> None:
        """Notes answers."""
        now = now_us()
        acked, last_id, last_acked = 0, 0, 0
        frame = _Frame(0, 0, 0)
        conversations, count, row = self._conversations, len(self._conversations), self._row
        sender_key = to_key(self._index, 0)
        for result in results:
            if result.correlation_id != last_id:
                if acked > last_acked:
                    self._meter.time("ack", frame.time_us, now, acked - last_acked)
                last_id, last_acked = result.correlation_id, acked
                frame = self._pending[last_id]
            number = frame.first_number + result.index
            if frame.is_repeat:
                self.doubled += not result.accepted.deduplicated and not result.HasField("error")
            elif seq := result.accepted.seq:
                acks = self.acks[conversations[(number - 1) // row % count]]
                acks.seqs.append(seq)
                acks.keys.append(sender_key | number)
                acked += 1
            else:
                self._meter.error(reason_of_status(result.error))
                self._pause_seconds = max(self._pause_seconds, delay_of_status(result.error))
            frame.left -= 1
            if not frame.left:
                del self._pending[last_id]
        if acked > last_acked:
            self._meter.time("ack", frame.time_us, now, acked - last_acked)
        self._meter.count("acked", acked)
        self._change.set()

    def take_error(self, error: chat_pb2.StreamError) -> None:
        """Notes that a whole frame was refused."""
        frame = self._pending.pop(error.correlation_id, None)
        self._meter.error(reason_of_status(error.error), frame.left if frame else 1)
        self._pause_seconds = max(self._pause_seconds, delay_of_status(error.error))
        self._change.set()

    async def _send(self, time_us: int) -> None:
        """Writes a frame, and again if it is one of those."""
        await self.stream.write(self._make_frame(time_us))
        if self._repeat_every and (self._number - 1) // self._size % self._repeat_every == 0:
            first = self._pending.get(self._request.correlation_id)
            if first is not None:
                self._request.correlation_id = next(self._ids)
                self._pending[self._request.correlation_id] = replace(first, left=self._size, is_repeat=True)
                await self.stream.write(self._request.SerializeToString())

    def _make_frame(self, time_us: int) -> bytes:
        numbers = range(self._number, self._number + self._size)
        self._number += self._size
        request, conversations, count = self._request, self._conversations, len(self._conversations)
        request.correlation_id = next(self._ids)
        for number, each, text in zip(
            numbers, request.send.requests, self._texts.make(self._head, numbers, time_us), strict=True
        ):
            each.text = text
            each.request_id = text[REQUEST_ID]
            if count > 1:
                each.conversation_id = conversations[(number - 1) // self._row % count]
        self._pending[request.correlation_id] = _Frame(numbers.start, time_us, self._size)
        self._meter.count("sent", self._size)
        return request.SerializeToString()
